"""Scores of a slide on a scale that slides share."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.slides.lattices import tiles_of
from wsrpn.errors import InputError
from wsrpn.slides.normalise import contaminated, inside, normalisers, numbers

FREE = [name for name in normalisers if name not in {"none", "reference"}]
some = st.lists(st.integers(-20, 40).map(lambda i: i / 4), min_size=1, max_size=60)


def slide(score, **given):
    score = np.asarray(score, dtype=float)
    return tiles_of(score[None], **given)


def skewed(seed, count=4000, *, tumour=0.0, shift=4.0):
    random = np.random.default_rng(seed)
    return random.normal(size=count) + shift * (random.random(count) < tumour)


@pytest.mark.parametrize("name", FREE)
@given(score=some, centre=st.integers(-3, 3), scale=st.sampled_from([0.25, 2.0, 1000.0]))
def test_another_unit_of_the_score_changes_nothing_after_normalising(name, score, centre, scale):
    before = slide(score)
    after = slide(np.array(score) * scale + centre)
    (c1, s1), (c2, s2) = numbers(before, name), numbers(after, name)
    if s1 == 1 and s2 == 1:  # scale 0, maybe
        assert c2 == pytest.approx(c1 * scale + centre)
        return
    first, second = (before.score - c1) / s1, (after.score - c2) / s2
    np.testing.assert_allclose(first, second, atol=1e-6)


@given(some)
def test_z_is_mean_and_standard_deviation(score):
    expected = statistics.fmean(score), statistics.pstdev(score) or 1.0
    assert numbers(slide(score), "z") == pytest.approx(expected)


@given(some)
def test_mad_is_that_of_scipy(score):
    expected = np.median(score), stats.median_abs_deviation(score, scale="normal") or 1.0
    assert numbers(slide(score), "mad") == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_sigma_clip_is_that_of_scipy_with_no_lower_end(seed):
    score = skewed(seed, tumour=0.05)
    kept, _, _ = stats.sigmaclip(score, low=1e9, high=3)
    assert len(kept) < len(score)
    assert numbers(slide(score), "sigma-clip") == pytest.approx((kept.mean(), kept.std()))


def test_the_left_half_finds_what_a_normal_law_is_made_of_whatever_lies_above():
    for tumour in (0.0, 0.02, 0.2):
        centre, scale = numbers(slide(3 + 2 * skewed(0, 40_000, tumour=tumour)), "left-half")
        assert centre == pytest.approx(3, abs=0.3)
        assert scale == pytest.approx(2, rel=0.1)


def test_tumour_moves_the_robust_ones_less_than_z():
    clean, mixed = slide(skewed(1, 20_000)), slide(skewed(1, 20_000, tumour=0.08))
    moved = {name: abs(numbers(mixed, name)[1] - numbers(clean, name)[1]) for name in FREE}
    assert all(moved[name] < moved["z"] / 3 for name in FREE if name != "z")


@pytest.mark.parametrize("name", FREE)
def test_only_tissue_counts(name):
    score = np.append(skewed(2, 500), np.full(200, 99.0))
    tissue = np.append(np.full(500, 0.3), np.zeros(200))
    assert numbers(slide(score, tissue=tissue), name) == numbers(slide(score[:500]), name)
    assert inside(slide(score, tissue=tissue)).sum() == 500


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("score", [[0.1], [0.1] * 7, [0.1] * 1001, [1e-30] * 3, [0.0] * 4])
def test_constant_slides_and_slides_of_one_tile_have_scale_1(name, score):
    assert numbers(slide(score), name) == pytest.approx((score[0], 1.0))


@pytest.mark.parametrize("name", FREE)
def test_a_slide_without_tissue_stays_as_it_is(name):
    assert numbers(slide([1.0, 2.0], tissue=[0, 0]), name) == (0.0, 1.0)
    assert numbers(slide([]), name) == (0.0, 1.0)


def test_none_leaves_scores_as_they_are():
    assert numbers(slide([3.0, 4.0]), "none") == (0.0, 1.0)


def test_reference_is_mean_and_deviation_of_the_marked_tissue():
    marked = np.array([True, True, True, False])
    tiles = slide([1.0, 3.0, 50.0, 9.0], tissue=[1, 1, 0, 1], reference=marked)
    assert numbers(tiles, "reference") == (2.0, 1.0)


@pytest.mark.parametrize("marked", [None, np.zeros(2, dtype=bool)])
def test_reference_without_marked_tissue_says_what_is_missing(marked):
    with pytest.raises(InputError, match=r"slide a: .*column `reference`"):
        numbers(slide([1.0, 2.0], reference=marked), "reference")


def test_an_unknown_normaliser_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"No normaliser is called 'zz'.*left-half"):
        numbers(slide([1.0]), "zz")


def test_a_heavy_upper_tail_is_called_contaminated():
    assert not contaminated(slide(skewed(0)))
    assert contaminated(slide(skewed(0, tumour=0.05)))
    assert not contaminated(slide([1.0] * 9))
    assert not contaminated(slide([]))
