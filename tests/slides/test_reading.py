"""Pictures of parts of a slide."""

import builtins

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import pyramid, slide_files
from wsrpn.errors import InputError
from wsrpn.slides import direct, reader, reading, regions

pytest.importorskip("tiffslide")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A pyramid without loss, its levels, and the largest of them as a plain picture."""
    folder = tmp_path_factory.mktemp("slides")
    levels = pyramid.write(folder / "s.tif", pyramid.picture(500, 601))
    Image.fromarray(levels[0]).save(folder / "s.png")
    return folder, levels


def without(monkeypatch, name):
    """As on a machine where this library is not installed."""
    real = builtins.__import__

    def importing(wanted, *rest, **more):
        if name and wanted.split(".")[0] == name:
            raise ImportError(wanted)
        return real(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize("missing", ["", "openslide"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_pixels_of_a_level_are_taken_as_they_are(stored, monkeypatch, missing, level):
    folder, levels = stored
    without(monkeypatch, missing)
    scale = 2**level
    with reader.open_slide(folder / "s.tif") as slide:
        assert slide.downsamples == (1.0, 2.0, 4.0)
        for x, y in ((0, 0), (7, 31), (45, 20)):
            box = (x * scale, y * scale, (x + 96) * scale, (y + 64) * scale)
            found = slide.read(tuple(map(float, box)), (96, 64))
            assert np.array_equal(found, levels[level][y : y + 64, x : x + 96])


def test_a_plain_picture_is_read_alike_and_decoded_once(stored, monkeypatch):
    folder, levels = stored
    calls = []
    monkeypatch.setattr(
        reader, "on_white", lambda image: calls.append(1) or reading.on_white(image)
    )
    with reader.open_slide(folder / "s.png") as slide:
        for x in (0, 100, 333):
            found = slide.read((float(x), 50.0, x + 96.0, 146.0), (96, 96))
            assert np.array_equal(found, levels[0][50:146, x : x + 96])
    assert len(calls) == 1


@given(x=st.floats(0, 300), y=st.floats(0, 250), scale=st.floats(0.7, 7.9), side=st.integers(8, 40))
def test_other_scales_are_pillows_filter_on_the_right_level(stored, x, y, scale, side):
    folder, levels = stored
    box = (x, y, x + side * scale, y + side * scale)
    level = 0 if scale * 1.02 < 2 else 1 if scale * 1.02 < 4 else 2
    inside = [edge / 2**level for edge in box]
    high, wide = levels[level].shape[:2]
    with reader.open_slide(folder / "s.tif") as slide:
        found = slide.read(box, (side, side))
        if abs(side * (scale / 2**level - 1)) <= 0.5:
            left, top = (int(np.floor(edge + 0.5)) for edge in inside[:2])
            padded = np.pad(levels[level], ((0, 99), (0, 99), (0, 0)), constant_values=255)
            assert np.array_equal(found, padded[top : top + side, left : left + side])
            return
    padded = np.pad(levels[level], ((40, 400), (40, 400), (0, 0)), mode="edge")
    slowly = np.array(
        Image.fromarray(padded).resize(
            (side, side), Image.Resampling.BICUBIC, tuple(edge + 40 for edge in inside)
        )
    )
    for row in range(side):
        for column in range(side):
            centre = (x + (column + 0.5) * scale, y + (row + 0.5) * scale)
            if centre[0] > wide * 2**level or centre[1] > high * 2**level:
                slowly[row, column] = 255
    assert np.abs(found.astype(int) - slowly).max() <= 2  # rounding of the weights


@given(scale=st.floats(0.8, 30.0), x=st.floats(0, 50), y=st.floats(0, 50))
def test_a_slide_of_one_colour_has_it_at_every_scale(stored, scale, x, y):
    path = stored[0] / "plain.png"
    if not path.exists():
        Image.new("RGB", (900, 900), (180, 90, 200)).save(path)
    with reader.open_slide(path) as slide:
        found = slide.read((x, y, x + 24 * scale, y + 20 * scale), (24, 20))
    assert (found == [180, 90, 200]).all()


@pytest.mark.parametrize("name", ["s.tif", "s.png"])
def test_there_is_white_beyond_the_slide(stored, name):
    folder, levels = stored
    with reader.open_slide(folder / name) as slide:
        found = slide.read((-10.0, 480.0, 86.0, 576.0), (96, 96))
        assert np.array_equal(found[:20, 10:], levels[0][480:, :86])
        assert found[:, :10].min() == found[20:].min() == 255
        assert slide.read((5e6, 5e6, 5e6 + 9, 5e6 + 9), (9, 9)).min() == 255


def test_what_is_transparent_is_white(tmp_path):
    drawn = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    drawn.paste((10, 20, 30, 255), (0, 0, 30, 40))
    drawn.save(tmp_path / "s.png")
    with reader.open_slide(tmp_path / "s.png") as slide:
        found = slide.read((0.0, 0.0, 60.0, 40.0), (60, 40))
    assert found[:, :30].reshape(-1, 3).tolist() == [[10, 20, 30]] * 1200
    assert found[:, 30:].min() == 255


@pytest.mark.parametrize("size", [(300, 250), (451, 7)])
def test_a_large_part_read_piece_by_piece_is_the_same(stored, monkeypatch, size):
    folder, _ = stored
    with reader.open_slide(folder / "s.tif") as slide:
        whole = slide.read((0.0, 0.0, 601.0, 500.0), size)
        monkeypatch.setattr(reading, "_MOST_IN_ONE", 9000)
        pieces = slide.read((0.0, 0.0, 601.0, 500.0), size)
    assert np.abs(whole.astype(int) - pieces).max() <= 2
    assert (whole != pieces).mean() < 0.01


def test_jpeg_tiles_decoded_here_are_those_of_openslide(tmp_path, monkeypatch):
    pyramid.write(tmp_path / "s.tif", pyramid.picture(700, 900), jpeg=True)
    boxes = [((3.0, 5.0, 863.0, 695.0), (860, 690)), ((0.0, 0.0, 900.0, 700.0), (225, 175))]
    with reader.open_slide(tmp_path / "s.tif") as slide:
        assert [slide._tiled.has(level) for level in range(4)] == [True, True, True, False]
        here = [slide.read(box, size) for box, size in boxes]
    monkeypatch.setattr(direct, "VENDORS", set())
    with reader.open_slide(tmp_path / "s.tif") as slide:
        assert slide._tiled is None
        for (box, size), found in zip(boxes, here, strict=True):
            assert np.array_equal(slide.read(box, size), found)


def test_colours_that_are_not_stored_as_rgb_are_left_to_openslide(tmp_path):
    colour = (200, 90, 150)
    values = np.asarray(Image.new("RGB", (300, 300), colour).convert("YCbCr"))
    options = {"photometric": "ycbcr", "subsampling": (1, 1), "compression": "adobe_deflate"}
    tifffile.imwrite(tmp_path / "s.tif", values, tile=(256, 256), **options)
    with reader.open_slide(tmp_path / "s.tif") as slide:
        found = slide.read((0.0, 0.0, 9.0, 9.0), (9, 9))
    assert np.abs(found.astype(int) - colour).max() <= 2


def test_without_imagecodecs_openslide_decodes(tmp_path, monkeypatch):
    pyramid.write(tmp_path / "s.tif", pyramid.picture(300, 300), jpeg=True)
    without(monkeypatch, "imagecodecs")
    with reader.open_slide(tmp_path / "s.tif") as slide:
        assert not slide._tiled.has(0)
        assert slide.read((0.0, 0.0, 96.0, 96.0), (96, 96)).std() > 5


def test_few_decoded_tiles_are_kept(tmp_path, monkeypatch):
    pyramid.write(tmp_path / "s.tif", pyramid.picture(900, 900), jpeg=True)
    monkeypatch.setattr(direct, "_KEPT", 5 * 128 * 128 * 3)
    with reader.open_slide(tmp_path / "s.tif") as slide:
        whole = slide.read((0.0, 0.0, 900.0, 900.0), (900, 900))
        assert len(slide._tiled._kept) == 5
        again = slide.read((0.0, 0.0, 300.0, 300.0), (300, 300))
    assert np.array_equal(whole[:300, :300], again)


@pytest.mark.parametrize("here", [True, False])
def test_a_damaged_place_is_named_and_the_rest_can_be_read(tmp_path, monkeypatch, here):
    if not here:
        monkeypatch.setattr(direct, "VENDORS", set())
    path = slide_files.damaged(tmp_path)
    with reader.open_slide(path) as slide:
        for _ in range(2):  # OpenSlide would give the same answer to everything from now on
            with pytest.raises(
                InputError, match=r"damaged.tif: cannot be read at x 96, y 192 .*copy"
            ):
                slide.read((96.0, 192.0, 192.0, 288.0), (96, 96))
            wide, high = map(float, slide.extent_px0)
            assert slide.read((0.0, 0.0, wide, high), (100, 100)).std() > 5


def test_a_file_that_is_gone_after_a_fault_is_still_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(direct, "VENDORS", set())
    path = slide_files.damaged(tmp_path)
    with reader.open_slide(path) as slide:
        path.unlink()
        for _ in range(2):
            with pytest.raises(InputError, match="cannot be read at x 0, y 0"):
                slide.read((0.0, 0.0, 96.0, 96.0), (96, 96))


def test_a_file_that_ends_within_a_tile_is_named(tmp_path):
    path = tmp_path / "short.tif"
    pyramid.write(path, pyramid.picture(300, 300), levels=1, jpeg=True)
    with tifffile.TiffFile(path) as file:
        last = file.pages[0].dataoffsets[-1]
    path.write_bytes(path.read_bytes()[: last + 10])
    with reader.open_slide(path) as slide, pytest.raises(InputError, match=r"short.tif: cannot"):
        slide.read((250.0, 250.0, 300.0, 300.0), (50, 50))


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 0, 1, 5), (0, 0, np.nan, 5), (0, 0, np.inf, 5)])
def test_a_part_that_is_none_is_refused(stored, box):
    folder, _ = stored
    with reader.open_slide(folder / "s.png") as slide, pytest.raises(InputError, match="the part"):
        slide.read(tuple(map(float, box)), (9, 9))


@given(st.integers(64, 9000), st.integers(64, 9000), st.integers(1, 5))
def test_levels_made_by_halving_have_whole_downsamples(wide, high, times):
    size = (wide, high)
    for _ in range(times):
        size = (size[0] // 2, size[1] // 2)
    assert regions.snapped((wide, high), size) == 2.0**times
