"""Slide files through OpenSlide, tiffslide and Pillow."""

import builtins

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.slides import reader, reading
from wsrpn.tiles import Slide

pytest.importorskip("tiffslide")


def slide_file(path, *, mpp=0.25, unit="CENTIMETER"):
    """A pyramid of 640 × 512 pixels, left half red."""
    values = np.full((512, 640, 3), 255, np.uint8)
    values[:, :320] = [200, 0, 0]
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(2):
            file.write(
                values[:: 2**level, :: 2**level], tile=(256, 256), photometric="rgb",
                subfiletype=int(level > 0), resolution=(1e4 / mpp / 2**level,) * 2,
                resolutionunit=unit, metadata=None,
            )  # fmt: skip
    return path


def without(monkeypatch, *names):
    """As on a machine where these libraries are not installed."""
    real = builtins.__import__

    def importing(name, *rest, **more):
        if name.split(".")[0] in names:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize("missing", [(), ("openslide",)])
def test_a_pyramid_has_size_resolution_and_a_picture(tmp_path, monkeypatch, missing):
    path = slide_file(tmp_path / "s.tif")
    without(monkeypatch, *missing)
    with reader.open_slide(path) as found:
        assert found.extent_px0 == (640, 512)
        assert found.mpp == pytest.approx(0.25, rel=1e-4)
        assert found.offset_px0 == (0.0, 0.0)
        small = found.thumbnail(160)
    assert (small.size, small.mode) == ((160, 128), "RGB")
    pixels = np.asarray(small)
    assert tuple(pixels[64, 20]) == (200, 0, 0)
    assert tuple(pixels[64, 140]) == (255, 255, 255)


@pytest.mark.parametrize("facts", [{"unit": "NONE"}, {"mpp": 352.8}])
def test_a_resolution_that_is_not_there_or_of_a_printer_is_none(tmp_path, facts):
    with reader.open_slide(slide_file(tmp_path / "s.tif", **facts)) as found:
        assert found.mpp is None


def test_a_plain_picture_is_a_slide_on_white(tmp_path):
    picture = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    picture.paste((10, 20, 30, 255), (0, 0, 30, 40))
    picture.save(tmp_path / "s.png")
    with reader.open_slide(tmp_path / "s.png") as found:
        assert (found.extent_px0, found.mpp) == ((60, 40), None)
        pixels = np.asarray(found.thumbnail(60))
    assert tuple(pixels[5, 5]) == (10, 20, 30)
    assert tuple(pixels[5, 55]) == (255, 255, 255)


def test_what_was_not_scanned_is_white():
    empty = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    assert np.asarray(reading.small(empty, 4)).min() == 255


def test_levels_of_16_bits_are_not_cut_off_at_255(tmp_path):
    deep = np.full((64, 64), 40_000, np.uint16)
    for name in ("strips.tif", "plain.png"):  # read by tiffslide and by Pillow
        Image.fromarray(deep).save(tmp_path / name)
        with (
            reader.open_slide(tmp_path / name) as slide,
            pytest.raises(InputError, match=rf"{name}: more than 8 bits a channel"),
        ):
            slide.read((0.0, 0.0, 8.0, 8.0), (8, 8))


def test_what_cannot_be_opened_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        reader.open_slide(tmp_path / "gone.svs")
    for name in ("s.svs", "s.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match="cannot be opened as a slide"):
            reader.open_slide(tmp_path / name)
    # A TIFF cut off before its directory: tiffslide opens it and fails when it is asked.
    (tmp_path / "cut.svs").write_bytes(b"II*\0" + (1_000_000).to_bytes(4, "little") + bytes(64))
    with pytest.raises(InputError, match=r"cut\.svs: the file ends early or is damaged"):
        reader.open_slide(tmp_path / "cut.svs")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    Image.new("L", (10, 10)).save(tmp_path / "big.png")
    with pytest.raises(InputError, match="pyramidal TIFF"):
        reader.open_slide(tmp_path / "big.png")


def test_a_missing_library_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "s.svs").write_bytes(b"x")
    without(monkeypatch, "openslide", "tiffslide")
    with pytest.raises(InputError, match=r"pip install 'wsrpn\[slides\]'"):
        reader.open_slide(tmp_path / "s.svs")


def test_a_file_fills_what_the_table_does_not_say(tmp_path):
    path = slide_file(tmp_path / "s.tif")
    full = reader.complete(Slide("s", "s", file=path))
    assert full.extent_px0 == (640, 512)
    assert full.mpp == pytest.approx(0.25, rel=1e-4)
    told = reader.complete(Slide("s", "s", file=path, mpp=0.5))
    assert (told.mpp, told.extent_px0) == (0.5, (640, 512))


def test_a_file_that_is_not_needed_is_not_opened(tmp_path):
    whole = Slide("s", "s", file=tmp_path / "gone.svs", mpp=0.5, extent_px0=(4, 4))
    assert reader.complete(whole) is whole
    bare = Slide("s", "s")
    assert reader.complete(bare) is bare
