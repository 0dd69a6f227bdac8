"""Several radiologists, one answer: votes and fused boxes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpn import boxes
from wsrpn.data.consensus import fuse, present

corners = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
reading = st.lists(st.lists(corners, max_size=3), max_size=4)


@pytest.mark.parametrize("readers", [1, 2, 3, 5])
def test_a_majority_is_more_than_half_and_one_reader_is_all_of_them(readers):
    for votes in range(readers + 1):
        assert present(votes, readers, "majority") == (votes > readers / 2)
        assert present(votes, readers, "any") == (votes >= 1)
        assert present(votes, readers, "unanimous") == (votes == readers)


def test_boxes_of_the_same_place_are_averaged_and_others_stand():
    heart = [[(10.0, 20.0, 30.0, 40.0)], [(12.0, 20.0, 32.0, 40.0)], [(8.0, 20.0, 28.0, 40.0)]]
    assert fuse(heart) == [(10.0, 20.0, 30.0, 40.0)]
    assert fuse([*heart, [(70.0, 70.0, 80.0, 80.0)]])[1] == (70.0, 70.0, 80.0, 80.0)


def test_two_boxes_of_one_reader_are_never_joined():
    double = [(0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 11.0)]
    assert fuse([double]) == double
    assert len(fuse([double, [(0.0, 0.0, 10.0, 10.0)]])) == 2


def test_a_box_joins_the_cluster_it_overlaps_most():
    near = (0.0, 0.0, 10.0, 10.0)
    assert fuse([[(0.0, 0.0, 10.0, 15.0), near], [near]]) == [(0.0, 0.0, 10.0, 15.0), near]


@given(reading)
def test_every_cluster_lies_within_its_boxes_and_none_is_lost(found):
    fused = fuse(found)
    everything = list(itertools.chain(*found))
    most = max((len(one) for one in found), default=0)
    assert most <= len(fused) <= len(everything)
    if everything:
        low, high = np.min(everything, axis=0), np.max(everything, axis=0)
        assert (np.array(fused) >= low - 1e-9).all()
        assert (np.array(fused) <= high + 1e-9).all()


@given(reading)
def test_boxes_that_do_not_overlap_enough_are_left_as_they_are(found):
    everything = list(itertools.chain(*found))
    overlap = boxes.iou(np.array(everything).reshape(-1, 4), np.array(everything).reshape(-1, 4))
    if not (overlap > 0.5).sum() > len(everything):
        assert fuse(found) == everything
