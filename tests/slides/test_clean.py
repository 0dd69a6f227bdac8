"""Clean-up of masks and of all masks at once."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.slides.lattices import cleaned, grids, limits, neighbours
from wsrpn.slides import clean as module
from wsrpn.slides.clean import clean, clean_grey
from wsrpn.slides.filling import filled
from wsrpn.slides.opening import opened

sizes = st.fixed_dictionaries(
    {"min_cells": limits, "max_hole_cells": limits, "connectivity": neighbours}
)


def thresholds(grid):
    return [-1e9, *np.unique(grid[~np.isnan(grid)]), 1e9]


def blobs(seed, shape, *, smooth=1.0):
    """A random field, a fifth of it without tissue."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=shape), smooth)
    field[ndimage.gaussian_filter(random.normal(size=shape), 4) > 0.04] = np.nan
    return field


@given(grids(levels=1), sizes)
def test_clean_up_is_what_flooding_cell_by_cell_finds(grid, size):
    mask, tissue = grid == 1, ~np.isnan(grid)
    np.testing.assert_array_equal(clean(mask, tissue, **size), cleaned(mask, tissue, **size))


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_on_random_masks_clean_up_is_that_of_scipy(share, connectivity):
    mask = np.random.default_rng(0).random((80, 91)) < share
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    objects, count = ndimage.label(mask, structure)
    area = ndimage.sum_labels(np.ones(mask.shape), objects, np.arange(count + 1))
    expected = ndimage.binary_fill_holes(mask & (area >= 5)[objects])
    found = clean(
        mask, np.ones_like(mask), min_cells=5.0, max_hole_cells=np.inf, connectivity=connectivity
    )
    np.testing.assert_array_equal(found, expected)


def test_on_random_masks_clean_up_is_that_of_the_source():
    from skimage import morphology

    mask = np.random.default_rng(1).random((80, 91)) < 0.55
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # min_size=5 deletes objects of 5 cells since scikit-image 0.26; 4.5 means the same in all.
        kept = morphology.remove_small_objects(mask, min_size=4.5)
    found = clean(mask, np.ones_like(mask), min_cells=5.0, max_hole_cells=np.inf)
    np.testing.assert_array_equal(found, ndimage.binary_fill_holes(kept))


@given(grids(), sizes)
def test_the_grey_pass_holds_the_clean_up_at_every_threshold(grid, size):
    values, tissue = clean_grey(grid, **size), ~np.isnan(grid)
    for threshold in thresholds(grid):
        expected = clean(grid >= threshold, tissue, **size)
        np.testing.assert_array_equal(values >= threshold, expected)
    np.testing.assert_array_equal(np.isnan(values), ~tissue)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize(
    ("least", "hole"), [(2, 1), (5, np.inf), (7, 9), (40, 63), (65, 64), (200, 300), (9, 0), (0, 9)]
)
def test_the_grey_pass_is_right_on_large_grids_at_limits_small_and_large(least, hole, connectivity):
    grid = blobs(least, (61, 47))
    size = {"min_cells": float(least), "max_hole_cells": float(hole), "connectivity": connectivity}
    values = clean_grey(grid, **size)
    for threshold in np.nanquantile(grid, np.linspace(0, 1, 23)):
        expected = clean(grid >= threshold, ~np.isnan(grid), **size)
        np.testing.assert_array_equal(values >= threshold, expected)


def test_both_ways_of_the_grey_pass_agree(monkeypatch):
    grid, size = blobs(3, (70, 70)), {"min_cells": 23.5, "max_hole_cells": 31.0}
    ours = clean_grey(grid, **size)
    monkeypatch.setattr(module, "FEW", 0)
    np.testing.assert_array_equal(clean_grey(grid, **size), ours)


@given(grids(), sizes, st.floats(-5, 5), st.floats(0.1, 9))
def test_the_grey_pass_commutes_with_a_change_of_scale_to_the_last_bit(grid, size, centre, scale):
    after = clean_grey((grid - centre) / scale, **size)
    np.testing.assert_array_equal((clean_grey(grid, **size) - centre) / scale, after)


@given(grids(), sizes)
def test_filling_what_was_opened_before_is_doing_both(grid, size):
    first = clean_grey(grid, **{**size, "max_hole_cells": 0.0})
    np.testing.assert_array_equal(
        clean_grey(first, **{**size, "min_cells": 0.0}), clean_grey(grid, **size)
    )


@given(grids(), sizes)
def test_cleaning_twice_is_cleaning_once_when_only_objects_go(grid, size):
    once = clean_grey(grid, **{**size, "max_hole_cells": 0.0})
    again = clean_grey(once, **{**size, "max_hole_cells": 0.0})
    np.testing.assert_array_equal(again, once)


def test_sizes_of_objects_are_cells_and_may_be_fractions():
    mask = np.array([[1, 1, 1, 0, 1, 1]], dtype=bool)
    tissue = np.ones_like(mask)
    for least, kept in ((2.0, 5), (2.01, 3), (3.0, 3), (3.01, 0), (np.inf, 0)):
        assert clean(mask, tissue, min_cells=least).sum() == kept


def test_a_hole_is_filled_up_to_its_limit_and_glass_in_it_stays_glass():
    mask = np.ones((5, 6), dtype=bool)
    mask[1:3, 2:4] = False
    tissue = np.ones_like(mask)
    tissue[1, 2] = False
    assert not clean(mask, tissue, max_hole_cells=3.9)[2, 2]
    whole = clean(mask, tissue, max_hole_cells=4.0)
    assert whole[2, 2]
    np.testing.assert_array_equal(whole, tissue)


def test_what_touches_the_border_is_no_hole():
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, :3] = mask[:2, 2] = True  # fences in the corner
    np.testing.assert_array_equal(clean(mask, ~mask | mask, max_hole_cells=np.inf), mask)


def test_eight_neighbours_join_what_four_part():
    mask = np.eye(4, dtype=bool)
    tissue = np.ones_like(mask)
    assert not clean(mask, tissue, min_cells=2.0).any()
    np.testing.assert_array_equal(clean(mask, tissue, min_cells=4.0, connectivity=8), mask)


def test_a_grid_without_cells_and_one_of_a_single_cell_are_defined():
    assert clean_grey(np.zeros((0, 3)), min_cells=5.0, max_hole_cells=5.0).shape == (0, 3)
    assert clean_grey(np.array([[2.0]]), min_cells=2.0)[0, 0] == -np.inf
    assert clean_grey(np.array([[2.0]]), max_hole_cells=np.inf)[0, 0] == 2
    assert np.isnan(clean_grey(np.array([[np.nan]]), min_cells=2.0, max_hole_cells=2.0)).all()


@pytest.mark.parametrize("levels", [1, 3, 20, 5000])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 2), (50, 61)])
def test_flooding_by_basins_is_the_reconstruction_by_erosion(shape, levels):
    from skimage.morphology import reconstruction

    random = np.random.default_rng(levels)
    for smooth in (0, 3):
        field = ndimage.gaussian_filter(random.random(shape), smooth)
        level = np.pad((field / field.max() * levels).astype(np.int32), 1)
        seed = np.where(np.pad(np.ones(shape), 1) == 1, level.max(), 0)
        cross = ndimage.generate_binary_structure(2, 1)
        expected = reconstruction(seed, level, method="erosion", footprint=cross)
        np.testing.assert_array_equal(filled(level), expected)


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("least", [2, 6, 30])
def test_sinking_all_peaks_at_a_time_is_the_area_opening_of_a_max_tree(least, connectivity):
    from skimage import morphology

    random = np.random.default_rng(least)
    level = np.zeros((34, 29), dtype=np.int32)
    inner = random.permutation(32 * 27) + 1
    inner[inner <= 200] = 0  # ground
    level[1:-1, 1:-1] = inner.reshape(32, 27)
    place = np.zeros(inner.max() + 1, dtype=np.int64)
    cells = np.flatnonzero(level)
    place[level.ravel()[cells]] = cells
    steps = (-29, -1, 1, 29) if connectivity == 1 else (-30, -29, -28, -1, 1, 28, 29, 30)
    expected = morphology.area_opening(level, least, connectivity)
    np.testing.assert_array_equal(opened(level, place, least, steps), expected)
