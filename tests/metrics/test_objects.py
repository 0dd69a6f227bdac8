"""Matching of objects against slow loops: over all pixels, over all ways to match."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, optimize

from wsrpn.metrics.objects import (
    THRESHOLDS,
    ObjectCounts,
    average_precision,
    counts,
    f1,
    matches,
    overlaps,
    rows,
)

SEEDS = st.integers(0, 199)
LOW = (0.1, 0.25, 1 / 3, 0.5)


def stripes(seed, length=24, numbers=5):
    """One row of touching objects of random lengths; numbers have gaps and may come back."""
    random = np.random.default_rng(seed)
    pieces = [np.full(random.integers(1, 6), random.integers(0, numbers) * 3) for _ in range(24)]
    return np.concatenate(pieces)[None, :length]


def slow_ious(found, truth):
    """IoU of every pair of numbers, by sets of pixels."""
    where = [
        {n: set(np.flatnonzero(image == n).tolist()) for n in np.unique(image).tolist() if n}
        for image in (found, truth)
    ]
    return {
        (a, b): len(p & q) / len(p | q)
        for (a, p), (b, q) in itertools.product(where[0].items(), where[1].items())
    }


def most_pairs(ious, threshold):
    """The most pairs, and then the most overlap, of all ways to match; by trying all of them."""
    pairs = [(a, b, iou) for (a, b), iou in ious.items() if iou >= threshold]

    def best(rest, ours, theirs):
        if not rest:
            return 0, 0.0
        (a, b, iou), *others = rest
        without = best(others, ours, theirs)
        if a in ours or b in theirs:
            return without
        many, overlap = best(others, ours | {a}, theirs | {b})
        return max(without, (many + 1, overlap + iou))

    return best(pairs, frozenset(), frozenset())


@given(seed=SEEDS, other=SEEDS)
def test_the_table_holds_every_pair_that_shares_a_pixel_with_its_iou(seed, other):
    found, truth = stripes(seed), stripes(other)
    table = overlaps(found, truth)
    ours = table.found[table.found_at].tolist()
    theirs = table.truth[table.truth_at].tolist()
    slow = {pair: iou for pair, iou in slow_ious(found, truth).items() if iou > 0}
    assert len(table.iou) == len(slow)
    assert dict(zip(zip(ours, theirs, strict=True), table.iou.tolist(), strict=True)) == slow
    assert table.found.tolist() == sorted(set(found.ravel().tolist()) - {0})
    assert table.truth.tolist() == sorted(set(truth.ravel().tolist()) - {0})


@given(seed=SEEDS, other=SEEDS, threshold=st.sampled_from(LOW + THRESHOLDS))
def test_matches_are_one_to_one_and_the_best_of_all_ways(seed, other, threshold):
    found, truth = stripes(seed), stripes(other)
    table = overlaps(found, truth)
    which = matches(table, threshold=threshold)
    assert len(set(table.found_at[which].tolist())) == len(which)
    assert len(set(table.truth_at[which].tolist())) == len(which)
    assert (table.iou[which] >= threshold).all()
    many, overlap = most_pairs(slow_ious(found, truth), threshold)
    assert len(which) == many
    assert table.iou[which].sum() == pytest.approx(overlap)


@given(seed=SEEDS, other=SEEDS)
def test_counts_are_those_of_stardist_and_cellpose_written_down_again(seed, other):
    """Their matching: assignment on −[IoU ≥ τ] − IoU / (2 n), pairs at or above τ are hits."""
    found, truth = stripes(seed), stripes(other)
    ious = slow_ious(found, truth)
    ours, theirs = (sorted(set(x.ravel().tolist()) - {0}) for x in (found, truth))
    table = np.array([[ious[a, b] for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
    one = counts(found, truth, thresholds=LOW + THRESHOLDS)
    for threshold, tp, fp, fn in zip(one.thresholds, one.tp, one.fp, one.fn, strict=True):
        cost = -(table >= threshold).astype(float) - table / max(2 * min(table.shape), 1)
        hits = int((table[optimize.linear_sum_assignment(cost)] >= threshold).sum())
        assert (tp, fp, fn) == (hits, len(ours) - hits, len(theirs) - hits)


def test_numbers_are_names_and_take_no_memory():
    found = np.array([[2_000_000_000, 2_000_000_000, 5, 0]], np.int32)
    truth = np.array([[1, 1, 2**40, 2**40]])
    tracemalloc.start()
    try:
        table = overlaps(found, truth)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert (table.found.tolist(), table.truth.tolist()) == ([5, 2_000_000_000], [1, 2**40])
    pairs = {
        (int(table.found[i]), int(table.truth[j])): iou
        for i, j, iou in zip(table.found_at, table.truth_at, table.iou.tolist(), strict=True)
    }
    assert pairs == {(2_000_000_000, 1): 1.0, (5, 2**40): 0.5}


@given(seed=SEEDS, other=SEEDS)
def test_large_numbers_match_as_small_ones_do(seed, other):
    found, truth = stripes(seed), stripes(other)
    one = counts(found, truth)
    for large in (counts(found * 1000, truth), counts(found, truth * 1000)):
        assert large.tp.tolist() == one.tp.tolist()
        assert (large.found, large.truth) == (one.found, one.truth)


def test_most_pairs_are_taken_even_where_a_single_pair_overlaps_more():
    # The middle: found 2 with truth 5 overlaps most, but leaves found 1 and truth 6 alone.
    found = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 2, 0]])
    truth = np.array([[5, 5, 5, 5, 5, 5, 5, 6, 6, 6]])
    table = overlaps(found, truth)
    pairs = [
        (int(table.found[table.found_at[i]]), int(table.truth[table.truth_at[i]]))
        for i in matches(table, threshold=0.2)
    ]
    assert pairs == [(1, 5), (2, 6)]
    assert max(slow_ious(found, truth).items(), key=lambda item: item[1])[0] == (2, 5)


def test_two_halves_of_an_object_are_one_hit_at_an_iou_of_exactly_a_half():
    found, truth = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 1, 1]])
    one = counts(found, truth)
    assert one.tp.tolist() == [1] + [0] * 9
    assert one.ap[0] == 1 / 2


@pytest.mark.parametrize(("shared", "hits"), [(11, 2), (12, 3), (19, 10), (10, 1), (9, 0)])
def test_an_iou_of_exactly_a_threshold_counts(shared, hits):
    truth = np.ones((1, 20), dtype=np.int64)
    found = np.zeros_like(truth)
    found[0, :shared] = 4
    assert counts(found, truth).tp.sum() == hits


def test_thresholds_are_the_ten_of_the_data_science_bowl():
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_ap_and_f1_of_a_scene_that_can_be_counted_by_hand():
    truth, found = np.zeros((10, 50), dtype=np.int64), np.zeros((10, 50), dtype=np.int64)
    for i in range(4):  # three are found, one of them at an IoU of 0.8, and one alarm is false
        truth[0:5, 10 * i : 10 * i + 5] = i + 1
    found[0:5, 0:5], found[0:5, 10:15], found[0:4, 20:25] = 9, 4, 7
    found[8, 45] = 2
    one = counts(found, truth)
    assert (one.found, one.truth, one.difference) == (4, 4, 0)
    assert one.tp.tolist() == [3] * 7 + [2] * 3
    assert one.ap[0] == pytest.approx(3 / 5)
    assert one.f1[0] == pytest.approx(3 / 4)
    assert one.mean_ap == pytest.approx((7 * 3 / 5 + 3 * 2 / 6) / 10)


def test_no_objects_at_all_are_perfect_and_any_on_one_side_only_are_not():
    none, some = np.zeros((3, 3), dtype=np.int64), np.eye(3, dtype=np.int64)
    assert counts(none, none).mean_ap == 1
    assert counts(none, none).f1.tolist() == [1] * 10
    assert (counts(some, none).mean_ap, counts(some, none).difference) == (0, 1)
    assert (counts(none, some).mean_ap, counts(none, some).difference) == (0, -1)


@given(seed=SEEDS)
def test_other_numbers_for_the_same_objects_and_other_types_change_nothing(seed):
    found, truth = stripes(seed), stripes(seed + 1)
    names = np.random.default_rng(seed).permutation(np.arange(1, 60_000))[: found.max() + 1]
    names[0] = 0
    one, again = counts(found, truth), counts(names[found].astype(np.uint16), truth.astype(np.int8))
    assert one.tp.tolist() == again.tp.tolist()
    assert (one.found, one.truth) == (again.found, again.truth)


@given(seed=SEEDS)
def test_counts_of_several_images_are_those_of_the_images_side_by_side(seed):
    pairs = [(stripes(seed + i), stripes(seed + 50 + i)) for i in range(3)]
    each = [counts(*pair) for pair in pairs]
    apart = [np.concatenate([x + (x > 0) * 100 * i for i, x in enumerate(side)], axis=1)
             for side in zip(*pairs, strict=True)]  # fmt: skip
    joined = counts(*apart)
    together = each[0] + each[1] + each[2]
    assert together.tp.tolist() == joined.tp.tolist()
    assert (together.found, together.truth) == (joined.found, joined.truth)
    table = rows(each)
    np.testing.assert_array_equal(average_precision(table), [one.ap for one in each])
    np.testing.assert_array_equal(f1(table), [one.f1 for one in each])
    drawn = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
    drawn_ap, drawn_f1 = average_precision(drawn @ table), f1(drawn @ table)
    twice = each[1] + each[1] + each[2]
    np.testing.assert_allclose(drawn_ap, [joined.ap, twice.ap])
    np.testing.assert_allclose(drawn_f1, [joined.f1, twice.f1])


def test_at_one_threshold_the_two_figures_say_the_same():
    one = ObjectCounts(np.array([3]), found=5, truth=7, thresholds=(0.5,))
    assert one.f1[0] == pytest.approx(2 * one.ap[0] / (1 + one.ap[0]))


def test_a_thousand_touching_objects_are_matched_with_themselves_when_moved_a_little():
    spots = np.random.default_rng(0).random((600, 600)) > 0.997
    near = ndimage.distance_transform_edt(~spots, return_distances=False, return_indices=True)
    labels, many = ndimage.label(spots, structure=np.ones((3, 3)))
    cells = labels[tuple(near)]  # every pixel belongs to the nearest spot: no gaps between them
    one = counts(np.roll(cells, 1, axis=0)[1:], cells[1:], thresholds=(0.3, 0.5))
    assert many > 900
    assert one.tp[1] > 0.95 * one.truth
    assert one.tp[0] >= one.tp[1]
