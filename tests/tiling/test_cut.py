"""Which tiles of a slide are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import pyramid
from wsrpn.config import TilesConfig
from wsrpn.errors import InputError
from wsrpn.slides import reader
from wsrpn.slides.reader import Reader
from wsrpn.tiles import Slide
from wsrpn.tiling import cut as cutting
from wsrpn.tiling.cut import cut
from wsrpn.tiling.tissue import Tissue

SLIDE = Slide("s1", "p1", split="val")
ALL = {"tissue": "none", "min_tissue": 0.5}


class Bare(Reader):
    """A slide of which only the facts are read."""

    def __init__(self, extent, *, mpp=0.25, downsamples=(1.0, 4.0), offset=(0.0, 0.0)):
        self.path, self.mpp, self.extent_px0 = None, mpp, extent
        self.downsamples, self.offset_px0 = downsamples, offset

    def _pixels(self, *_):
        raise NotImplementedError

    _whole = _recover = close = _pixels


def test_a_tile_has_the_size_in_micrometres_that_is_asked_for():
    found = cut(SLIDE, Bare((4000, 2000), mpp=0.25), TilesConfig(mpp=1.0, **ALL), size=96)
    assert found.size_px0 == (384.0, 384.0)
    assert found.lattice.pitch_px0 == (384.0, 384.0)
    assert found.lattice.origin_px0 == (0.0, 0.0)
    assert (found.slide.mpp, found.slide.extent_px0) == (0.25, (4000, 2000))
    assert (found.slide.patient, found.slide.split) == ("p1", "val")
    uneven = cut(SLIDE, Bare((4000, 2000), mpp=0.499), TilesConfig(mpp=0.972, **ALL), size=96)
    assert uneven.size_px0[0] * 0.499 == pytest.approx(96 * 0.972)


def test_the_tables_resolution_comes_before_the_files():
    slide = Slide("s1", "p1", mpp=0.5)
    found = cut(slide, Bare((4000, 2000), mpp=0.25), TilesConfig(mpp=1.0, **ALL), size=96)
    assert (found.size_px0, found.slide.mpp) == ((192.0, 192.0), 0.5)


def test_a_level_needs_no_resolution():
    bare = Bare((4000, 2000), mpp=None)
    found = cut(SLIDE, bare, TilesConfig(mpp=1.0, level=1, **ALL), size=96)
    assert (found.size_px0, found.slide.mpp) == ((384.0, 384.0), None)
    with pytest.raises(InputError, match=r"s1: tiles.level = 2, but its last level is 1"):
        cut(SLIDE, bare, TilesConfig(level=2, **ALL), size=96)


def test_an_unknown_resolution_is_refused_with_three_ways_out():
    with pytest.raises(InputError, match="slide s1") as caught:
        cut(SLIDE, Bare((4000, 2000), mpp=None), TilesConfig(mpp=1.0, **ALL), size=96)
    for way in ("column mpp of slides.csv", "--mpp", "--set tiles.level=0"):
        assert way in str(caught.value)
    with pytest.raises(InputError, match=r"tiles.mpp=0.972.*tiles.level=0"):
        cut(SLIDE, Bare((4000, 2000)), TilesConfig(**ALL), size=96)


def test_pixels_are_not_enlarged_much():
    bare = Bare((4000, 2000), mpp=0.5)
    assert len(cut(SLIDE, bare, TilesConfig(mpp=0.5 / 1.3, **ALL), size=96))
    with pytest.raises(InputError, match=r"s1 has 0.5 µm a pixel, and tiles.mpp = 0.38"):
        cut(SLIDE, bare, TilesConfig(mpp=0.38, **ALL), size=96)


def test_a_table_of_annotations_from_bounds_gets_the_offset_of_the_file(tmp_path):
    slide = Slide("s", "s", annotation=tmp_path / "s.geojson")
    bare = Bare((4000, 2000), offset=(30.0, 40.0))
    assert cut(slide, bare, TilesConfig(mpp=1.0, **ALL), size=96).slide.offset_px0 == (30.0, 40.0)
    assert cut(SLIDE, bare, TilesConfig(mpp=1.0, **ALL), size=96).slide.offset_px0 == (0.0, 0.0)


@pytest.mark.parametrize(("overlap", "step"), [(0.0, 96), (0.5, 48), (0.3, 67), (0.95, 5)])
def test_an_overlap_is_whole_pixels_of_a_tile(overlap, step):
    config = TilesConfig(mpp=0.5, overlap=overlap, **ALL)
    found = cut(SLIDE, Bare((1000, 1000), mpp=0.25), config, size=96)
    assert found.lattice.pitch_px0 == (2.0 * step, 2.0 * step)
    assert found.size_px0 == (192.0, 192.0)


def test_a_partial_row_or_column_is_there_if_enough_of_it_is_on_the_slide():
    # 300 × 260 pixels in tiles of 100: three columns and a row of which 60 % is left.
    for least, rows in ((0.5, 3), (0.6, 3), (0.61, 2)):
        config = TilesConfig(mpp=1.0, tissue="none", min_tissue=least)
        found = cut(SLIDE, Bare((300, 260), mpp=1.0), config, size=100)
        assert found.lattice.shape == (3, 3)
        assert sorted(set(found.lattice.row)) == list(range(rows))
        assert sorted(set(found.lattice.column)) == [0, 1, 2]
    exact = cut(SLIDE, Bare((300, 200), mpp=1.0), TilesConfig(mpp=1.0, **ALL), size=100)
    assert exact.lattice.shape == (2, 3)
    # What the tile before shows already gives no tile more.
    half = TilesConfig(mpp=1.0, overlap=0.5, **ALL)
    assert cut(SLIDE, Bare((200, 100), mpp=1.0), half, size=100).lattice.shape == (1, 3)


@given(
    seed=st.integers(0, 99),
    extent=st.tuples(st.integers(30, 150), st.integers(30, 150)),
    size=st.integers(20, 60),
    mpp=st.floats(0.3, 1.2),
    overlap=st.floats(0.0, 0.6),
    least=st.floats(0.0, 1.0),
)
def test_the_tiles_are_those_with_enough_tissue_and_no_others(
    seed, extent, size, mpp, overlap, least
):
    rng = np.random.default_rng(seed)
    wide, high = extent
    mask = rng.random((high // 10 + 1, wide // 10 + 1)) < 0.7
    found = Tissue(mask, (wide / mask.shape[1], high / mask.shape[0]))
    config = TilesConfig(mpp=1.0, overlap=overlap, min_tissue=least)
    bare = Bare(extent, mpp=mpp)
    step, side = max(int(size * (1 - overlap) + 0.5), 1) / mpp, size / mpp
    expected = {}
    for row in range(400):
        if row and (row - 1) * step + side >= high - 1e-6:
            break
        for column in range(400):
            if column and (column - 1) * step + side >= wide - 1e-6:
                break
            x, y = column * step, row * step
            share = found.shares(np.array([[x, y, x + side, y + side]]))[0]
            if share >= least - 1e-9:
                expected[(row, column)] = share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_AT_ONCE", 7)
        try:
            made = cut(SLIDE, bare, config, size=size, tissue=found)
        except InputError:
            assert not expected
            return
    assert list(zip(made.lattice.row, made.lattice.column, strict=True)) == list(expected)
    assert made.tissue == pytest.approx(np.array(list(expected.values())))
    assert made.boxes_px0[:, 2:] - made.boxes_px0[:, :2] == pytest.approx(side)


def test_no_tile_says_what_would_help():
    config = TilesConfig(mpp=1.0, min_tissue=0.9)
    some = Tissue(np.eye(4, dtype=bool), (50.0, 50.0))
    with pytest.raises(
        InputError, match=r"s1: no tile of 100 px is 90% tissue, at most 50.0%; low"
    ):
        cut(SLIDE, Bare((200, 200), mpp=1.0), config, size=100, tissue=some)
    with pytest.raises(InputError, match=r"s1: no tissue was found.*tiles.tissue=none"):
        cut(SLIDE, Bare((200, 200), mpp=1.0), config, size=100,
            tissue=Tissue(np.zeros((4, 4), dtype=bool), (50.0, 50.0)))  # fmt: skip


def test_tissue_of_a_slide_file_is_looked_for(tmp_path):
    values = np.full((600, 800, 3), (243, 241, 244), np.uint8)
    values[:, :400] = (190, 110, 170)
    pyramid.write(tmp_path / "s.tif", values, mpp=0.5)
    with reader.open_slide(tmp_path / "s.tif") as opened:
        found = cut(Slide("s", "s"), opened, TilesConfig(mpp=1.0), size=50)
    assert found.slide.file == tmp_path / "s.tif"
    assert found.lattice.shape == (6, 8)
    assert found.lattice.marked(np.ones(len(found), dtype=bool))[:, :4].all()
    assert len(found) == 24
    assert found.tissue.min() > 0.95
