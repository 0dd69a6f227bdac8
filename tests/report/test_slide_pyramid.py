"""The pyramids as others read them."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile

from tests.report import views
from wsrpn.errors import InputError
from wsrpn.report import pyramid, slide_view


def sample(**options):
    random = np.random.default_rng(3)
    mask = random.random((17, 31)) < 0.8
    return views.view(mask, score=random.random((17, 31)), extent=(15_000, 9000), **options)


def by_pixel(view, step, size):
    """The definition: the colour of the tile under the centre of each pixel, else white."""
    left, top, right, bottom = slide_view.lattice_frame(view.tiles)
    painted = slide_view.paint(view.heat, view.colour)
    rows, columns = view.heat.shape
    image = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    for i in range(size[1]):
        for j in range(size[0]):
            row = (i + 0.5) * step - top
            column = (j + 0.5) * step - left
            row, column = row / ((bottom - top) / rows), column / ((right - left) / columns)
            if 0 <= row < rows and 0 <= column < columns:
                image[i, j] = painted[int(row), int(column), :3]
    return image


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_both_readers_find_the_levels_and_the_resolution(tmp_path, reader):
    library = pytest.importorskip(reader)
    pyramid.write(sample(), tmp_path / "a.tiff", downsample=8)
    kind = library.OpenSlide if reader == "openslide" else library.TiffSlide
    with kind(str(tmp_path / "a.tiff")) as slide:
        assert slide.level_dimensions[0] == (1875, 1125)
        assert slide.level_count == 4
        assert float(slide.properties[f"{reader}.mpp-x"]) == pytest.approx(0.25 * 8)


@pytest.mark.parametrize("ome", [False, True])
def test_every_pixel_has_the_colour_of_the_tile_under_its_centre(tmp_path, ome):
    one = sample()
    pyramid.write(one, tmp_path / "a.tiff", downsample=32, ome=ome)
    found = tifffile.imread(tmp_path / "a.tiff")
    np.testing.assert_array_equal(found, by_pixel(one, 32, (469, 282)))


@pytest.mark.parametrize("size", [(600.0, 600.0), (200.0, 200.0)])
def test_tiles_that_overlap_or_leave_gaps_are_drawn_around_their_centres(tmp_path, size):
    one = sample(size=size)
    pyramid.write(one, tmp_path / "a.tiff", downsample=64)
    found = tifffile.imread(tmp_path / "a.tiff")
    np.testing.assert_array_equal(found, by_pixel(one, 64, (235, 141)))


def test_pixels_larger_than_tiles_show_means_of_them(tmp_path):
    score = np.array([[0.0, 1.0], [1.0, 1.0]]).repeat(8, 0).repeat(8, 1)
    one = views.view(np.ones((16, 16), dtype=bool), score=score, pitch=(10.0, 10.0),
                     origin=(0.0, 0.0), extent=(160, 160))  # fmt: skip
    pyramid.write(one, tmp_path / "a.tiff", downsample=160)
    expected = slide_view.paint(np.array([[0.75]]), (0.0, 1.0))[..., :3]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tiff").reshape(1, 1, 3), expected)


def test_ome_tiff_keeps_its_levels_below_the_first_and_its_size_in_micrometres(tmp_path):
    pyramid.write(sample(), tmp_path / "a.ome.tiff", downsample=8, ome=True)
    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as file:
        assert file.is_ome
        assert len(file.pages) == 1
        assert [level.shape[:2] for level in file.series[0].levels] == [
            (1125, 1875), (562, 937), (281, 468), (140, 234),
        ]  # fmt: skip
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (2.0, "µm")


def test_without_micrometres_no_reader_is_told_any(tmp_path):
    openslide = pytest.importorskip("openslide")
    for ome, name in ((False, "a.tiff"), (True, "a.ome.tiff")):
        pyramid.write(sample(mpp=None), tmp_path / name, ome=ome)
        with openslide.OpenSlide(str(tmp_path / name)) as slide:
            assert "openslide.mpp-x" not in slide.properties
        with tifffile.TiffFile(tmp_path / name) as file:
            assert "PhysicalSize" not in (file.ome_metadata or "")


def test_every_level_says_its_own_resolution(tmp_path):
    pyramid.write(sample(), tmp_path / "a.tiff", downsample=8)
    with tifffile.TiffFile(tmp_path / "a.tiff") as file:
        for level, page in enumerate(file.pages):
            many, of = page.tags["XResolution"].value
            assert 1e4 * of / many == pytest.approx(0.25 * 8 * 2**level)


def test_what_is_too_large_is_refused_with_a_number_that_would_do():
    one = views.large()
    with pytest.raises(InputError, match="--downsample 4 would do"):
        pyramid.levels(one, 1)
    assert pyramid.levels(one, 4)[0] == (25_000, 25_000)
    with pytest.raises(InputError, match="1 or more"):
        pyramid.levels(one, 0)


def test_the_same_slide_gives_the_same_bytes(tmp_path):
    written = []
    for name in ("a.tiff", "b.tiff"):
        pyramid.write(sample(), tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_no_codec_beyond_the_standard_library_is_needed(tmp_path):
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path\nfrom tests.report.test_slide_pyramid import sample\n"
        "from wsrpn.report import pyramid\n"
        f"pyramid.write(sample(), Path({str(tmp_path / 'a.tiff')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert tifffile.imread(tmp_path / "a.tiff").shape == (282, 469, 3)


def test_halving_is_the_mean_of_what_is_known():
    grid = np.random.default_rng(0).random((7, 5))
    grid[2:4, 0:2] = np.nan
    half = pyramid.halved(grid)
    assert half.shape == (4, 3)
    assert np.isnan(half[1, 0])
    assert half[0, 0] == pytest.approx(grid[:2, :2].mean())
    assert half[3, 2] == pytest.approx(grid[6, 4])
