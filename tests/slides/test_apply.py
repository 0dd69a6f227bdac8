"""The steps of a calibration on the tiles of a slide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.slides.lattices import grids, limits, neighbours, tiles_of
from wsrpn.errors import InputError
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps
from wsrpn.slides.clean import clean_grey
from wsrpn.slides.normalise import normalisers, numbers
from wsrpn.slides.smooth import smooth
from wsrpn.tiles import Lattice, Tiles

names = st.sampled_from([name for name in normalisers if name != "reference"])
steps_of_tiles = st.builds(
    Steps,
    normalise=names,
    smooth=st.sampled_from([0.0, 0.7, 2.0]),
    min_area=limits,
    max_hole=limits,
    unit=st.just("tile"),
    connectivity=neighbours,
)


def slide(grid, **given):
    """A slide whose cells without a score are tiles without tissue."""
    tissue = ~np.isnan(grid)
    return tiles_of(np.where(tissue, grid, 99.0), tissue=tissue, **given)


def field(seed=0, shape=(30, 40)):
    return np.random.default_rng(seed).normal(size=shape)


@given(grids(), steps_of_tiles)
def test_values_are_scores_normalised_then_smoothed_then_cleaned(grid, steps):
    tiles = slide(grid)
    centre, scale = numbers(tiles, steps.normalise)
    done = smooth((grid - centre) / scale, (steps.smooth, steps.smooth))
    size = {"min_cells": steps.min_area, "max_hole_cells": steps.max_hole}
    done = clean_grey(np.round(done, 9), **size, connectivity=steps.connectivity)
    expected = np.where(np.isnan(done), -np.inf, done).ravel()
    np.testing.assert_allclose(apply.values(tiles, steps), expected, atol=1e-8)


@given(grids(), steps_of_tiles)
def test_deciding_on_masks_is_comparing_values_with_the_threshold(grid, steps):
    tiles = slide(grid)
    values = apply.values(tiles, steps)
    levels = np.unique(apply.smoothed(tiles, steps))
    for threshold in [-1e9, *levels[np.isfinite(levels)], np.inf]:
        np.testing.assert_array_equal(apply.decide(tiles, steps, threshold), values >= threshold)


@given(grids(), steps_of_tiles)
def test_normalisers_share_one_cleaned_grid_to_the_last_bit(grid, steps):
    tiles = slide(grid)
    cleaned = apply.cleaned_scores(tiles, steps)
    np.testing.assert_array_equal(
        apply.normalised(tiles, cleaned, steps.normalise), apply.values(tiles, steps)
    )


def test_tiles_without_tissue_are_never_called_and_change_nothing():
    grid = field()
    grid[5:9, 7:20] = np.nan
    steps = Steps("z", 1.0, 3.0, float("inf"), "tile")
    with_glass = slide(grid)
    chosen = with_glass.tissue > 0
    lattice = Lattice(
        (0.0, 0.0),
        (100.0, 100.0),
        with_glass.lattice.column[chosen],
        with_glass.lattice.row[chosen],
        grid.shape,
    )
    none = np.zeros(chosen.sum())
    without = Tiles(
        "a", "a", lattice, (100.0, 100.0), with_glass.score[chosen], none, none, none + 1
    )
    values = apply.values(with_glass, steps)
    np.testing.assert_array_equal(values[chosen], apply.values(without, steps))
    assert (values[~chosen] == -np.inf).all()
    assert (apply.smoothed(with_glass, steps)[~chosen] == -np.inf).all()
    assert not apply.decide(with_glass, steps, -1e9)[~chosen].any()


def test_micrometres_and_tiles_are_the_same_steps_on_a_known_lattice():
    tiles = tiles_of(field(), mpp=0.243, pitch=(374.7, 374.7))
    side = 374.7 * 0.243
    in_tiles = Steps("mad", 1.5, 5.0, 9.0, "tile")
    in_um = Steps("mad", 1.5 * side, 5 * side**2, 9 * side**2, "um")
    np.testing.assert_allclose(apply.values(tiles, in_um), apply.values(tiles, in_tiles))


def test_sizes_follow_pitch_and_resolution_of_the_slide():
    tiles = tiles_of(field(), mpp=0.5, pitch=(100.0, 200.0))
    size = apply.cells(tiles, Steps("none", 100.0, 15_000.0, 20_000.0))
    assert size.sigma == (1.0, 2.0), "σ along y, then along x"
    assert (size.min_area, size.max_hole) == pytest.approx((3, 4), rel=1e-5)
    assert apply.cells(tiles, Steps("none", 1.5, 3.0, 4.0, "tile")).sigma == (1.5, 1.5)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 37])
@pytest.mark.parametrize("side", [91.0521, 0.1 + 0.2, 1e3 / 3])
def test_whole_tiles_turned_into_areas_are_whole_tiles_again(count, side):
    tiles = tiles_of(np.append(np.ones(count), 0)[None], mpp=side / 100)
    area = count * side * side
    keeps = apply.values(tiles, Steps(min_area=area))
    assert (keeps[:-1] == 1).all()
    assert apply.cells(tiles, Steps(max_hole=area)).max_hole >= count
    assert (apply.values(tiles, Steps(min_area=area * 1.01)) <= 0).all()


@pytest.mark.parametrize("steps", [Steps(smooth=1.0), Steps(min_area=1.0), Steps(max_hole=1.0)])
def test_micrometres_without_a_resolution_are_refused_with_the_ways_out(steps):
    tiles = tiles_of(field(), mpp=None)
    for use in (apply.values, apply.smoothed, lambda *given: apply.decide(*given, 0.0)):
        with pytest.raises(InputError, match=r"slide a: .*`mpp` in slides.csv.*`2tiles`"):
            use(tiles, steps)


def test_steps_without_sizes_and_holes_of_any_size_need_no_resolution():
    tiles = tiles_of(field(), mpp=None)
    np.testing.assert_array_equal(apply.values(tiles, Steps()), tiles.score)
    filled = apply.values(tiles, Steps(max_hole=float("inf")))
    np.testing.assert_array_equal(
        filled, apply.values(tiles, Steps(max_hole=float("inf"), unit="tile"))
    )
    assert (filled > tiles.score).any()


@pytest.mark.parametrize("name", ["smooth", "min_area", "max_hole"])
@pytest.mark.parametrize("size", [-1.0, float("nan")])
def test_sizes_below_zero_are_refused(name, size):
    with pytest.raises(InputError, match=f"{name} is {size}"):
        apply.values(tiles_of(field()), Steps(**{name: size}))


def test_the_order_of_the_rows_does_not_matter():
    tiles, steps = tiles_of(field()), Steps("z", 1.0, 4.0, 4.0, "tile")
    order = np.random.default_rng(0).permutation(len(tiles))
    lattice = tiles.lattice
    mixed = Tiles(
        "a",
        "a",
        Lattice(
            (0.0, 0.0), (100.0, 100.0), lattice.column[order], lattice.row[order], lattice.shape
        ),
        (100.0, 100.0),
        tiles.score[order],
        *[tiles.tissue] * 3,
    )
    np.testing.assert_allclose(apply.values(mixed, steps), apply.values(tiles, steps)[order])
