"""Counts of pixels and their figures, against loops and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from wsrpn.metrics import intervals, pixels
from wsrpn.metrics.pixels import (
    PixelCounts,
    counts,
    ladder,
    macro,
    pooled,
    rows,
    specificity,
    values,
)

SEEDS = st.integers(0, 199)
ONE = np.ones((1, 1))


def masks(seed, size=(6, 7)):
    """Found and truth; now and then one of them is empty or full."""
    random = np.random.default_rng(seed)
    cuts = random.choice([-1.0, 0.2, 0.5, 0.9, 2.0], 2)
    return tuple(random.random(size) > cut for cut in cuts)


def image(seed, *, levels=65_536, size=(8, 9)):
    random = np.random.default_rng(seed)
    return random.integers(0, levels, size, dtype=np.uint16), random.random(size) > 0.6


@given(seed=SEEDS)
def test_counts_equal_a_loop_over_pixels(seed):
    found, truth = masks(seed)
    pairs = list(zip(found.ravel().tolist(), truth.ravel().tolist(), strict=True))
    slow = [pairs.count(of) for of in ((True, True), (True, False), (False, True), (False, False))]
    assert counts(found, truth) == PixelCounts(*slow)


@given(seed=SEEDS)
def test_figures_equal_scikit_learns_where_it_defines_them(seed):
    found, truth = masks(seed)
    one, said = counts(found, truth), {"y_true": truth.ravel(), "y_pred": found.ravel()}
    assert one.jaccard == pytest.approx(
        sklearn.jaccard_score(**said, zero_division=1.0) if truth.any() or found.any() else 1.0
    )
    assert one.dice == pytest.approx(sklearn.f1_score(**said, zero_division=1.0))
    for name in ("precision", "recall"):
        theirs = getattr(sklearn, f"{name}_score")(**said, zero_division=np.nan)
        assert getattr(one, name) == pytest.approx(theirs, nan_ok=True)


@given(seed=SEEDS)
def test_dice_and_jaccard_say_the_same_of_one_image(seed):
    one = counts(*masks(seed))
    assert one.dice == pytest.approx(2 * one.jaccard / (1 + one.jaccard))


def test_an_empty_image_with_nothing_found_is_perfect_and_has_no_precision_or_recall():
    one = counts(np.zeros((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool))
    assert (one.jaccard, one.dice) == (1, 1)
    assert math.isnan(one.precision)
    assert math.isnan(one.recall)


def test_a_false_alarm_on_an_empty_image_costs_everything_and_so_does_finding_nothing():
    some, none = np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool)
    alarm, miss = counts(some, none), counts(none, some)
    assert (alarm.jaccard, alarm.dice, alarm.precision) == (0, 0, 0)
    assert math.isnan(alarm.recall)
    assert (miss.jaccard, miss.dice, miss.recall) == (0, 0, 0)
    assert math.isnan(miss.precision)


# Several images


@given(seed=SEEDS)
def test_pooled_is_the_figure_of_the_images_laid_side_by_side(seed):
    pairs = [masks(seed + 7 * i) for i in range(4)]
    joined = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    together = counts(*joined)
    table = rows(counts(*pair) for pair in pairs)
    assert sum((counts(*pair) for pair in pairs), PixelCounts()) == together
    for name in pixels.FIGURES:
        found = pooled(name, table, np.ones((1, 4)))[0]
        assert found == pytest.approx(getattr(together, name), nan_ok=True)


@given(seed=SEEDS)
def test_macro_is_the_mean_of_the_images_with_foreground_that_have_the_figure(seed):
    images = [counts(*masks(seed + 7 * i)) for i in range(5)]
    for name in pixels.FIGURES:
        each = [getattr(one, name) if one.tp + one.fn else math.nan for one in images]
        known = [value for value in each if not math.isnan(value)]
        per_image = values(name, rows(images))
        assert per_image.tolist() == pytest.approx(each, nan_ok=True)
        assert np.isnan(per_image).sum() == len(each) - len(known)
        expected = sum(known) / len(known) if known else math.nan
        assert macro(per_image, np.ones((1, 5)))[0] == pytest.approx(expected, nan_ok=True)


@given(seed=SEEDS)
def test_specificity_is_the_share_of_empty_images_in_which_nothing_is_found(seed):
    pairs = [masks(seed + 7 * i) for i in range(6)]
    empty = [found for found, truth in pairs if not truth.any()]
    per_image = specificity(rows(counts(*pair) for pair in pairs))
    assert np.isnan(per_image).sum() == len(pairs) - len(empty)
    expected = sum(not found.any() for found in empty) / len(empty) if empty else math.nan
    assert macro(per_image, np.ones((1, 6)))[0] == pytest.approx(expected, nan_ok=True)


def test_normal_images_neither_raise_nor_lower_the_mean_of_those_with_foreground():
    hit = counts(np.eye(4, dtype=bool), np.eye(4, dtype=bool) | (np.arange(4) == 0))
    silent, alarm = PixelCounts(tn=16), PixelCounts(fp=3, tn=13)
    for name in pixels.FIGURES:
        expected = getattr(hit, name)
        assert macro(values(name, rows([hit, silent, alarm])), np.ones((1, 3)))[0] == expected
        assert np.isnan(macro(values(name, rows([silent, alarm])), np.ones((1, 2)))).all()
    assert macro(specificity(rows([hit, silent, alarm, silent])), np.ones((1, 4)))[0] == 2 / 3


def test_an_image_that_is_drawn_twice_counts_twice():
    images = [counts(*masks(seed)) for seed in range(4)]
    drawn = next(intervals.draws(list("aabc"), replicates=50, seed=3))
    assert drawn.max() > 1
    table = rows(images)
    for name in pixels.FIGURES:
        both = (macro(values(name, table), drawn), pooled(name, table, drawn))
        for row, mean, whole in zip(drawn.astype(int), *both, strict=True):
            again = rows(one for one, times in zip(images, row, strict=True) for _ in range(times))
            one = np.ones((1, len(again)))
            assert mean == pytest.approx(macro(values(name, again), one)[0], nan_ok=True)
            assert whole == pytest.approx(pooled(name, again, one)[0], nan_ok=True)


def test_pooled_counts_of_many_large_images_stay_exact():
    # 4096² pixels: beyond what float32 counts one by one.
    large = PixelCounts(tp=2**24 + 1, fp=1, fn=0, tn=0)
    table = rows([large] * 1000)
    assert (np.ones((1, 1000)) @ table)[0, 0] == 1000 * (2**24 + 1)


def test_figures_of_no_images_are_undefined():
    assert rows([]).shape == (0, 4)
    assert np.isnan(macro(np.zeros(0), np.ones((1, 0)))).all()


# Every threshold


@given(seed=SEEDS, levels=st.sampled_from([2, 5, 65_536]))
def test_a_ladder_holds_the_counts_at_every_level(seed, levels):
    score, truth = image(seed, levels=levels)
    steps = ladder(score, truth)
    assert len(steps.tp) == len(steps.fp) == 65_537
    some = np.random.default_rng(seed).integers(0, 65_537, 10)
    near = score.ravel()[:10].astype(np.int64)
    for level in {0, 1, 65_535, 65_536, *some.tolist(), *near.tolist(), *(near + 1).tolist()}:
        assert steps.at(level) == counts(score.astype(np.int64) >= level, truth)


@given(seed=SEEDS)
def test_figures_of_a_ladder_equal_scikit_learns_at_every_score_that_occurs(seed):
    score, truth = image(seed, levels=6)
    steps = ladder(score, truth)
    jaccard, dice = steps.figure("jaccard"), steps.figure("dice")
    assert len(jaccard) == 65_537
    for level in np.unique(score).tolist():
        said = (truth.ravel(), (score >= level).ravel())
        assert jaccard[level] == pytest.approx(sklearn.jaccard_score(*said, zero_division=1.0))
        assert dice[level] == pytest.approx(sklearn.f1_score(*said, zero_division=1.0))


@pytest.mark.parametrize("name", ["jaccard", "dice", "precision", "recall"])
def test_a_figure_of_a_ladder_at_a_level_is_that_of_its_counts(name):
    score, truth = image(4, levels=50)
    steps = ladder(score, truth)
    for level in (0, 3, 17, 49, 50, 65_536):
        expected = getattr(steps.at(level), name)
        assert steps.figure(name)[level] == pytest.approx(expected, nan_ok=True)


def test_the_ladder_of_an_empty_image_is_zero_up_to_its_highest_score_and_then_perfect():
    score = np.array([[3, 65_535]], dtype=np.uint16)
    steps = ladder(score, np.zeros((1, 2), dtype=bool))
    assert (steps.positives, steps.negatives) == (0, 2)
    assert (steps.figure("jaccard")[:65_536] == 0).all()
    assert steps.figure("jaccard")[65_536] == 1
    assert np.isnan(steps.figure("recall")).all()
