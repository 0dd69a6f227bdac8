"""Smoothing on the lattice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.slides.lattices import grids
from wsrpn.slides.smooth import REACH, smooth

sigmas = st.tuples(*[st.sampled_from([0.0, 0.4, 1.0, 2.3])] * 2)


def slow(grid, sigma):
    """A weighted mean of known cells, cell by cell."""
    result = np.full(grid.shape, np.nan)
    places = np.argwhere(~np.isnan(grid))
    reach = [int(REACH * s + 0.5) for s in sigma]
    for y, x in places:
        total = weight = 0.0
        for v, u in places:
            if abs(v - y) > reach[0] or abs(u - x) > reach[1]:
                continue
            away = [((v - y), sigma[0]), ((u - x), sigma[1])]
            share = np.exp(-sum((d / s) ** 2 / 2 for d, s in away if s))
            total, weight = total + share * grid[v, u], weight + share
        result[y, x] = total / weight
    return result


@given(grids(), sigmas)
def test_smoothing_is_a_weighted_mean_of_the_cells_with_tissue(grid, sigma):
    np.testing.assert_allclose(smooth(grid, sigma), slow(grid, sigma), rtol=1e-9, atol=1e-12)


@given(grids(), sigmas, st.floats(-5, 5), st.floats(0.1, 9))
def test_smoothing_commutes_with_a_change_of_scale(grid, sigma, centre, scale):
    first = smooth((grid - centre) / scale, sigma)
    np.testing.assert_allclose(first, (smooth(grid, sigma) - centre) / scale, atol=1e-9)


@given(grids(levels=0), sigmas)
def test_a_constant_slide_stays_constant_to_the_edge_of_its_tissue(grid, sigma):
    np.testing.assert_allclose(smooth(grid + 7, sigma), grid + 7, rtol=1e-12)


def test_no_sigma_changes_nothing_and_the_given_grid_is_left_alone():
    grid = np.array([[1.0, np.nan], [3.0, 8.0]])
    np.testing.assert_array_equal(smooth(grid, (0.0, 0.0)), grid)
    smooth(grid, (1.0, 1.0))
    np.testing.assert_array_equal(grid, [[1.0, np.nan], [3.0, 8.0]])


def test_far_from_every_edge_it_is_a_gaussian_filter():
    grid = np.random.default_rng(0).normal(size=(40, 50))
    inner = (slice(12, -12),) * 2
    expected = ndimage.gaussian_filter(grid, 2.0, truncate=REACH)
    np.testing.assert_allclose(smooth(grid, (2.0, 2.0))[inner], expected[inner], atol=1e-12)


@pytest.mark.parametrize(("sigma", "axis"), [((1.0, 0.0), 0), ((0.0, 1.0), 1)])
def test_each_sigma_works_along_its_own_axis(sigma, axis):
    grid = np.zeros((9, 9))
    grid[4, 4] = 1
    spread = smooth(grid, sigma) > 0
    assert spread.any(axis=1 - axis).sum() == 9
    assert spread.any(axis=axis).sum() == 1
