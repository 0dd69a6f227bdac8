"""Exact thresholds on tiles, raw and after clean-up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.slides.lattices import grids, limits, neighbours
from wsrpn.errors import InputError
from wsrpn.slides.clean import clean, clean_grey
from wsrpn.slides.threshold import best, check, counts, figure

OBJECTIVES = ("iou", "f1", "youden", "specificity@0.9", "specificity@0", "specificity@1")
objectives = st.sampled_from(OBJECTIVES)


@st.composite
def scored(draw):
    """Values with ties, tiles that are never called among them, with labels or shares."""
    count = draw(st.integers(1, 24))
    level = st.sampled_from([-np.inf, np.nan, -2.0, 0.0, 0.25, 1.0, 1.5, 7.0])
    values = draw(hnp.arrays(np.float64, count, elements=level))
    share = st.sampled_from([0.0, 1.0] if draw(st.booleans()) else [0.0, 0.125, 0.5, 1.0])
    positive = draw(hnp.arrays(np.float64, count, elements=share))
    known = draw(hnp.arrays(np.bool_, count))
    return values, positive, np.where(known, 1 - positive, 0.0)


def slow(called, positive, negative, objective):
    """An objective by its definition; None where a specificity is not kept."""
    hits, false = positive[called].sum(), negative[called].sum()
    missed = positive.sum() - hits
    if objective == "iou":
        return hits / (hits + false + missed)
    if objective == "f1":
        return 2 * hits / (2 * hits + false + missed)
    alarm = false / negative.sum() if negative.sum() else 0.0
    recall = hits / positive.sum()
    if objective == "youden":
        return recall - alarm
    return recall if 1 - alarm >= float(objective.partition("@")[2]) else None


def cuts(values):
    """Every threshold that can make a difference, lowest first."""
    levels = np.unique(values[np.isfinite(values)])
    return [-1e9, *levels, *(levels[:-1] + levels[1:]) / 2, 1e9]


@given(scored(), objectives)
def test_no_threshold_beats_the_one_that_is_found(tiles, objective):
    values, positive, negative = tiles
    threshold, reached = best(*tiles, objective)
    if positive.sum() == 0 or (objective == "youden" and negative.sum() == 0):
        assert threshold == np.inf
        assert np.isnan(reached)
        return
    assert slow(values >= threshold, positive, negative, objective) == pytest.approx(reached)
    others = [(slow(values >= t, positive, negative, objective), t) for t in cuts(values)]
    assert max(value for value, _ in others if value is not None) <= reached + 1e-12
    same = [t for value, t in others if value is not None and value >= reached - 1e-12]
    # Of equally good thresholds the highest: no tile is called for nothing.
    np.testing.assert_array_equal(values >= threshold, values >= max(same))


@given(grids(levels=9), st.data(), objectives, limits, limits, neighbours)
def test_after_clean_up_no_threshold_beats_the_one_that_is_found(
    grid, data, objective, least, hole, connectivity
):
    truth = data.draw(hnp.arrays(np.float64, grid.shape, elements=st.sampled_from([0.0, 1.0])))
    size = {"min_cells": least, "max_hole_cells": hole, "connectivity": connectivity}
    positive, negative = truth.ravel(), 1 - truth.ravel()
    threshold, reached = best(clean_grey(grid, **size).ravel(), positive, negative, objective)
    if not truth.any() or (truth.all() and objective == "youden"):
        assert np.isnan(reached)
        return
    tissue = ~np.isnan(grid)
    for cut in cuts(grid.ravel()):
        called = clean(grid >= cut, tissue, **size).ravel()
        value = slow(called, positive, negative, objective)
        assert value is None or value <= reached + 1e-12
    called = clean(grid >= threshold, tissue, **size).ravel()
    assert slow(called, positive, negative, objective) == pytest.approx(reached)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_shares_count_as_much_as_so_many_whole_tiles(objective):
    random = np.random.default_rng(0)
    values, share = random.integers(0, 50, 300) / 10, random.integers(0, 9, 300)
    whole = np.repeat(values, 8)
    labels = np.concatenate([np.arange(8) < one for one in share]).astype(float)
    found = best(values, share / 8, 1 - share / 8, objective)
    assert found == pytest.approx(best(whole, labels, 1 - labels, objective), abs=1e-12)


@given(scored())
def test_iou_and_f1_are_best_at_the_same_threshold(tiles):
    by_iou, iou = best(*tiles, "iou")
    by_f1, f1 = best(*tiles, "f1")
    assert by_iou == by_f1
    assert f1 == pytest.approx(2 * iou / (1 + iou), nan_ok=True)


def test_youdens_j_is_that_of_scikit_learn():
    from sklearn.metrics import roc_curve

    random = np.random.default_rng(2)
    labels = (random.random(500) < 0.1).astype(float)
    values = np.round(random.normal(size=500) + labels, 1)
    alarms, recall, levels = roc_curve(labels, values, drop_intermediate=False)
    threshold, reached = best(values, labels, 1 - labels, "youden")
    assert reached == pytest.approx((recall - alarms).max())
    assert threshold == levels[np.argmax(recall - alarms)]


@given(scored(), objectives)
def test_a_threshold_is_the_value_of_a_positive_tile_or_calls_nothing(tiles, objective):
    values, positive, _ = tiles
    threshold, _ = best(*tiles, objective)
    assert threshold == np.inf or threshold in values[positive > 0]


@pytest.mark.parametrize(
    ("labels", "threshold", "iou"),
    [
        ((1, 1, 1), 1.0, 1.0),
        ((0, 0, 1), 3.0, 1.0),
        ((1, 0, 0), 1.0, 1 / 3),
        ((0, 0, 0), np.inf, np.nan),
    ],
)
def test_small_cases_by_hand(labels, threshold, iou):
    labels = np.array(labels, dtype=float)
    found = best(np.array([1.0, 2.0, 3.0]), labels, 1 - labels)
    assert found == pytest.approx((threshold, iou), nan_ok=True)


def test_of_equally_good_thresholds_the_highest_is_found():
    labels = np.array([1.0, 0.0, 0.0, 1.0])
    assert best(np.array([4.0, 3.0, 2.0, 1.0]), labels, 1 - labels) == (4.0, 0.5)


def test_youdens_j_needs_both_kinds_of_tiles():
    for labels in (np.ones(2), np.zeros(2)):
        threshold, reached = best(np.array([1.0, 2.0]), labels, 1 - labels, "youden")
        assert threshold == np.inf
        assert np.isnan(reached)


def test_where_all_scores_are_the_same_all_are_called():
    assert best(np.full(4, 2.0), np.eye(4)[0], 1 - np.eye(4)[0]) == (2.0, 0.25)


def test_where_the_score_points_the_wrong_way_youden_calls_nothing():
    labels = np.array([1.0, 1.0, 0.0, 0.0])
    values = np.array([-np.inf, 1.0, 2.0, 3.0])
    assert best(values, labels, 1 - labels, "youden") == (np.inf, 0.0)


def test_the_grid_of_the_source_is_never_better():
    random = np.random.default_rng(1)
    for burden in (0.001, 0.02, 0.3):
        labels = (random.random(4000) < burden).astype(float)
        labels[0] = 1
        values = random.normal(size=4000) + 1.1 * labels
        grid = [slow(values > t, labels, 1 - labels, "iou") for t in np.linspace(-3, 5, 100)]
        assert best(values, labels, 1 - labels)[1] >= max(grid)


@given(
    scored(), st.lists(st.sampled_from([-np.inf, -2.0, 0.1, 0.25, 7.0, 9.0, np.inf]), max_size=6)
)
def test_counts_are_what_a_loop_over_thresholds_counts(tiles, thresholds):
    values, positive, negative = tiles
    thresholds = np.array(thresholds, dtype=float)
    expected = [(positive[values >= t].sum(), negative[values >= t].sum()) for t in thresholds]
    np.testing.assert_allclose(
        np.stack(counts(*tiles, thresholds), axis=1), np.reshape(expected, (-1, 2)), atol=1e-12
    )


def test_a_figure_without_negatives_has_no_false_alarms():
    hits, false = np.array([0.0, 2.0]), np.zeros(2)
    np.testing.assert_array_equal(figure(hits, false, 4.0, 0.0, "specificity@0.9"), [0, 0.5])


@pytest.mark.parametrize(
    "objective",
    ["dice", "iou@0.5", "specificity", "specificity@2", "fnr@x", "fp_mm2@-1", "fnr@nan"],
)
def test_an_objective_that_is_none_is_refused_with_those_that_are(objective):
    with pytest.raises(InputError, match=f"'{objective}'. Known: iou, f1, youden"):
        check(objective)


def test_objectives_are_a_name_and_maybe_a_number():
    assert check("iou") == ("iou", None)
    assert check("fp_regions@2") == ("fp_regions", 2.0)
    with pytest.raises(InputError, match="on a cohort"):
        best(np.ones(1), np.ones(1), np.zeros(1), "fnr@0.1")
