import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpn.slides import lattice
from wsrpn.slides.lattice import OffLattice


def corners(column, row, *, pitch, origin=(0.0, 0.0), rounding=np.round):
    x = rounding(column * pitch + origin[0])
    y = rounding(row * pitch + origin[1])
    return x, y


def grid(columns, rows):
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    return column.ravel(), row.ravel()


@given(
    pitch=st.floats(20, 900),
    seed=st.integers(0, 999),
    share=st.floats(0.05, 1),
    overlap=st.sampled_from([1.0, 1.0, 0.5, 0.25]),
    rounding=st.sampled_from([np.round, np.floor, np.ceil, lambda v: np.round(v, 2), lambda v: v]),
)
def test_columns_and_rows_come_back_from_rounded_corners(pitch, seed, share, overlap, rounding):
    rng = np.random.default_rng(seed)
    column, row = grid(int(rng.integers(8, 60)), int(rng.integers(8, 60)))
    kept = rng.random(len(column)) < share
    kept[:2] = True  # neighbours
    column, row = column[kept], row[kept]
    x, y = corners(column, row, pitch=pitch, origin=rng.uniform(-50, 1e5, 2), rounding=rounding)
    if len({*column}) < 8 or len({*row}) < 8:
        return
    found = lattice.fit(x, y, (pitch / overlap,) * 2)
    assert np.array_equal(found.column, column - column.min())
    assert np.array_equal(found.row, row - row.min())
    reach = max(np.ptp(column), np.ptp(row))
    assert abs(found.pitch_px0[0] - pitch) <= 2 / np.ptp(column)
    assert np.abs(found.pitch_px0[0] * found.column + found.origin_px0[0] - x).max() <= 1.5
    assert found.shape == (np.ptp(row) + 1, np.ptp(column) + 1)
    assert reach > 0


@given(seed=st.integers(0, 999), downsample=st.floats(3.99, 4.01))
def test_corners_from_a_level_whose_downsample_is_not_whole(seed, downsample):
    rng = np.random.default_rng(seed)
    column, row = grid(300, 40)
    kept = rng.random(len(column)) < 0.3
    x, y = corners(column[kept], row[kept], pitch=96 * downsample, rounding=np.trunc)
    found = lattice.fit(x.astype(int), y.astype(int), (384.0, 384.0))
    assert np.array_equal(found.column, column[kept] - column[kept].min())


def test_whole_pitches_come_out_whole():
    x, y = corners(*grid(20, 30), pitch=256, origin=(1024, 77))
    found = lattice.fit(x.astype(int), y.astype(int), (256.0, 256.0))
    assert (found.origin_px0, found.pitch_px0) == ((1024.0, 77.0), (256.0, 256.0))


def test_corners_rounded_to_pixels_of_a_coarse_level():
    column, row = grid(40, 40)
    x, y = (np.round(edges * 374.68 / 4) * 4 for edges in (column, row))
    found = lattice.fit(x, y, (374.68, 374.68))
    assert np.array_equal(found.column, column)
    assert found.pitch_px0[0] == pytest.approx(374.68, abs=0.1)


def test_one_tile_has_its_size_for_pitch():
    found = lattice.fit(np.array([50]), np.array([7]), (96.0, 97.0))
    assert (found.origin_px0, found.pitch_px0, found.shape) == ((50, 7), (96, 97), (1, 1))


@pytest.mark.parametrize("size", [256.0, 512.0])
def test_one_row_takes_the_pitch_of_its_columns(size):
    found = lattice.fit(np.arange(12) * 256, np.full(12, 99), (size, size))
    assert (found.pitch_px0, found.shape) == ((256, 256), (1, 12))


def test_one_column_of_two_tiles_with_a_gap():
    found = lattice.fit(np.array([0, 0]), np.array([0, 512]), (256.0, 256.0))
    assert (found.pitch_px0, found.shape) == ((256, 256), (3, 1))


def test_two_rows_far_apart_take_the_step_of_the_columns():
    x = np.tile(np.arange(20) * 128, 2)
    found = lattice.fit(x, np.repeat([0, 256], 20), (256.0, 256.0))
    assert (found.pitch_px0, found.shape) == ((128, 128), (3, 20))


def test_steps_above_the_tile_are_kept_where_there_are_many():
    x, y = corners(*grid(12, 12), pitch=512)
    found = lattice.fit(x, y, (256.0, 256.0))
    assert (found.pitch_px0, found.shape) == ((512, 512), (12, 12))


def test_tiles_of_one_pixel():
    column, row = grid(5, 4)
    found = lattice.fit(column, row, (1.0, 1.0))
    assert (found.pitch_px0, found.shape) == ((1, 1), (4, 5))


def test_unequal_pitches_in_x_and_y():
    column, row = grid(30, 30)
    found = lattice.fit(np.round(column * 300.4), np.round(row * 150.7), (301.0, 151.0))
    assert found.pitch_px0 == (pytest.approx(300.4, abs=0.02), pytest.approx(150.7, abs=0.02))


@pytest.mark.parametrize("away", [3, 17, 64, 100, 128, 131])
def test_the_tile_that_is_off_is_named(away):
    x, y = corners(*grid(20, 20), pitch=256)
    x[137] += away
    with pytest.raises(OffLattice, match=rf"x {x[137]:g}, y {y[137]:g} is .* px off in x") as found:
        lattice.fit(x, y, (256.0, 256.0))
    assert found.value.tile == 137
    assert "1 of 400" in str(found.value)


def test_a_stray_pixel_is_forgiven_and_bends_nothing():
    x, y = corners(*grid(40, 40), pitch=256)
    x[700] += 1
    found = lattice.fit(x, y, (256.0, 256.0))
    assert found.pitch_px0[0] == pytest.approx(256, abs=1e-3)
    assert np.array_equal(found.column, grid(40, 40)[0])


def test_two_lattices_side_by_side_are_refused_though_a_finer_one_holds_both():
    x, y = corners(*grid(20, 20), pitch=256)
    both = np.concatenate([x, x + 20 * 256 + 64]), np.concatenate([y, y + 128])
    with pytest.raises(OffLattice, match="400 of 800 tiles are off"):
        lattice.fit(*both, (256.0, 256.0))


@given(seed=st.integers(0, 999), count=st.integers(6, 60))
def test_random_places_are_no_lattice(seed, count):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 100_000, (2, count))
    with pytest.raises(OffLattice, match="off in"):
        lattice.fit(x, y, (256.0, 256.0))


def test_two_tiles_in_one_place_are_named():
    x, y = np.array([0, 256, 512, 256]), np.array([0, 0, 0, 0])
    with pytest.raises(OffLattice, match=r"x 256, y 0 has the place of the one at x 256") as found:
        lattice.fit(x, y, (256.0, 256.0))
    assert found.value.tile == 3


@pytest.mark.parametrize(
    ("x", "size", "said"),
    [
        ([], (256.0, 256.0), "no tile"),
        ([0], (0.0, 256.0), "are none"),
        ([0], (256.0, np.nan), "are none"),
        ([0, 1e300], (256.0, 256.0), "no place on a slide"),
        ([0, np.inf], (256.0, 256.0), "no place on a slide"),
    ],
)
def test_what_is_no_tile_is_refused(x, size, said):
    edges = np.array(x, dtype=float)
    with pytest.raises(OffLattice, match=said):
        lattice.fit(edges, edges, size)


def test_a_tile_far_away_does_not_make_a_lattice_of_all_memory():
    edges = np.array([0.0, 256.0, 256e6])
    with pytest.raises(OffLattice, match="too far away"):
        lattice.fit(edges, edges, (256.0, 256.0))


def test_a_named_lattice_is_taken_as_it_is():
    x, y = corners(*grid(9, 9), pitch=374.6821)
    found = lattice.given(x, y, (0.25, 0.125), (374.6821, 374.6821))
    assert (found.origin_px0, found.pitch_px0) == ((0.25, 0.125), (374.6821, 374.6821))
    assert np.array_equal(found.column, grid(9, 9)[0])


def test_a_tile_off_the_named_lattice_is_named():
    with pytest.raises(OffLattice, match=r"x 300, y 0 is not on the lattice that the table names"):
        lattice.given(np.array([0, 300]), np.array([0, 0]), (0.0, 0.0), (256.0, 256.0))


def test_the_step_is_the_commonest_distance():
    x, y = corners(*grid(9, 9), pitch=128)
    both = np.concatenate([x, x + 5000.5]), np.concatenate([y, y + 33])
    assert lattice.step(*both, (256.0, 256.0)) == (128, 128)


def test_a_million_tiles_take_less_than_two_seconds():
    cells = np.random.default_rng(0).permutation(1300 * 1300)[:1_000_000]
    x, y = corners(cells % 1300, cells // 1300, pitch=374.682)
    begin = time.process_time()
    found = lattice.fit(x.astype(int), y.astype(int), (374.7, 374.7))
    assert time.process_time() - begin < 2
    assert np.array_equal(found.column, cells % 1300)
