"""Boundary F1 against distances of all pairs of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import segmentation

from wsrpn.metrics.contours import ContourCounts, contours, outline


def blobs(seed, size=(14, 17)):
    random = np.random.default_rng(seed)
    rows, columns = np.indices(size)
    found = np.zeros(size, dtype=bool)
    for y, x, r in random.uniform((0, 0, 1), (*size, 5), (3, 3)):
        found |= np.hypot(rows - y, columns - x) < r
    return found


def slow_outline(mask):
    """Pixels inside with a neighbour outside; beyond the edge is outside of a full mask only."""
    found = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            v, u = y + step[0], x + step[1]
            if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]:
                found[y, x] |= not mask[v, u]
            else:
                found[y, x] |= mask.all()
    return found


def slow_near(some, others, tolerance):
    """Pixels of one outline that have one of the other within the tolerance."""
    there = np.argwhere(others)
    if not len(there):
        return 0
    return sum(bool(np.hypot(*(there - place).T).min() <= tolerance) for place in np.argwhere(some))


@given(seed=st.integers(0, 99), other=st.integers(0, 99), tolerance=st.sampled_from([0, 1, 2, 2.9]))
def test_counts_equal_the_distances_of_all_pairs(seed, other, tolerance):
    found, truth = blobs(seed), blobs(other)
    ours, theirs = slow_outline(found), slow_outline(truth)
    expected = ContourCounts(
        int(ours.sum()),
        slow_near(ours, theirs, tolerance),
        int(theirs.sum()),
        slow_near(theirs, ours, tolerance),
    )
    assert contours(found, truth, tolerance_px=float(tolerance)) == expected


@given(seed=st.integers(0, 49), tolerance=st.sampled_from([0, 1, 1.5, 2, 2.9]))
def test_noise_that_is_nearly_all_outline_is_counted_by_distances_as_exactly(seed, tolerance):
    random = np.random.default_rng(seed)
    found, truth = random.random((14, 17)) < 0.4, random.random((14, 17)) < 0.02
    ours, theirs = slow_outline(found), slow_outline(truth)
    expected = ContourCounts(
        int(ours.sum()),
        slow_near(ours, theirs, tolerance),
        int(theirs.sum()),
        slow_near(theirs, ours, tolerance),
    )
    with pytest.MonkeyPatch.context() as patch:  # a tree of so many pixels would be slow
        patch.setattr("wsrpn.metrics.contours.spatial", None)
        assert contours(found, truth, tolerance_px=float(tolerance)) == expected


@given(seed=st.integers(0, 99))
def test_the_outline_is_scikit_images_inner_boundary(seed):
    mask = blobs(seed)
    theirs = segmentation.find_boundaries(mask, connectivity=1, mode="inner")
    assert np.array_equal(outline(mask), theirs)


def test_the_outline_of_a_full_mask_is_the_frame_and_of_none_nothing():
    frame = outline(np.ones((4, 5), dtype=bool))
    assert frame.sum() == 14
    assert not frame[1:-1, 1:-1].any()
    assert not outline(np.zeros((4, 5), dtype=bool)).any()


def test_the_edge_of_the_image_is_no_outline():
    # Both are cut by the left edge; only where they end inside the image is there a contour.
    truth, found = np.zeros((10, 20), dtype=bool), np.zeros((10, 20), dtype=bool)
    truth[:, :5], found[:, :15] = True, True
    assert contours(found, truth) == ContourCounts(10, 0, 10, 0)


@pytest.mark.parametrize(("shift", "value"), [(0, 1.0), (2, 1.0), (3, 0.0)])
def test_a_straight_edge_is_found_up_to_the_tolerance_and_not_beyond(shift, value):
    truth = np.zeros((10, 20), dtype=bool)
    truth[:, :8] = True
    found = np.zeros_like(truth)
    found[:, : 8 + shift] = True
    assert contours(found, truth).f1 == value


def test_f1_of_nothing_and_of_everything():
    none, full = np.zeros((8, 8), dtype=bool), np.ones((8, 8), dtype=bool)
    some = none.copy()
    some[2:5, 2:5] = True
    assert contours(none, none).f1 == 1
    assert contours(full, full).f1 == 1
    for found, truth in ((none, full), (full, none), (none, some), (some, none)):
        assert contours(found, truth, tolerance_px=1.0).f1 == 0


def test_an_object_too_many_costs_precision_and_one_too_few_recall():
    one, two = np.zeros((20, 40), dtype=bool), np.zeros((20, 40), dtype=bool)
    one[5:10, 5:10] = two[5:10, 5:10] = two[5:10, 25:30] = True
    assert contours(two, one) == ContourCounts(32, 16, 16, 16)
    assert contours(two, one).f1 == contours(one, two).f1 == pytest.approx(2 / 3)
