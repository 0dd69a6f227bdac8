"""The flat overlay."""

import dataclasses

import numpy as np
import pytest
import shapely
from PIL import Image

from tests.report import views
from wsrpn.errors import InputError
from wsrpn.report import slide_flat, slide_view
from wsrpn.report.slide_view import SlideView


def sample(**options):
    random = np.random.default_rng(3)
    mask = random.random((17, 31)) < 0.8
    return views.view(mask, score=random.random((17, 31)), extent=(15_000, 9000), **options)


def by_pixel(view: SlideView, step, ground):
    """The definition: ground, and over it the tile under the centre of each pixel."""
    left, top, right, bottom = slide_view.lattice_frame(view.tiles)
    over = slide_view.fade(view.heat, view.colour).astype(float)
    rows, columns = view.heat.shape
    image = ground.astype(float)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            row = ((i + 0.5) * step - top) / ((bottom - top) / rows)
            column = ((j + 0.5) * step - left) / ((right - left) / columns)
            if 0 <= row < rows and 0 <= column < columns:
                *colour, alpha = over[int(row), int(column)]
                image[i, j] += (np.array(colour) - image[i, j]) * alpha / 255
    return image


def test_every_pixel_is_the_slide_under_the_tile_at_its_centre():
    picture = np.random.default_rng(0).integers(0, 256, (141, 235, 3), dtype=np.uint8)
    one = dataclasses.replace(sample(), picture=picture)
    found = np.asarray(slide_flat.overlay(one, 64))
    np.testing.assert_allclose(found, by_pixel(one, 64, picture), atol=1.5)


def test_without_a_picture_tissue_is_grey_and_glass_white():
    found = np.asarray(slide_flat.overlay(sample(), 64)).astype(int)
    grey = np.array(slide_view.TISSUE)
    expected = by_pixel(sample(), 64, np.full(found.shape, grey))
    outside = (found == 255).all(axis=2)
    assert outside.mean() > 0.3
    np.testing.assert_allclose(found[~outside], expected[~outside], atol=1.5)


def test_outlines_run_along_their_edges():
    box = shapely.box(3000, 3000, 6000, 6000)
    one = dataclasses.replace(sample(), tumour=box)
    found = np.asarray(slide_flat.overlay(one, 30)).astype(int)
    rose = np.array([int(slide_view.TUMOUR[i : i + 2], 16) for i in (1, 3, 5)])
    there = (found == rose).all(axis=2)
    assert there[100, 101:199].all()
    assert there[101:199, 200].all()
    assert not there[110:190, 110:190].any()


def test_the_file_tells_its_resolution_and_is_the_same_every_time(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        slide_flat.write(sample(), tmp_path / name, downsample=16)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (938, 563)
        assert image.info["dpi"][0] == pytest.approx(25_400 / (0.25 * 16), rel=1e-3)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()


def test_what_is_too_large_is_refused_with_a_number_that_would_do(tmp_path):
    with pytest.raises(InputError, match="--downsample 8 would do"):
        slide_flat.write(views.large(), tmp_path / "a.jpg", downsample=4)
    assert slide_flat._size(views.large(), 8) == (12_500, 12_500)
    with pytest.raises(InputError, match="1 or more"):
        slide_flat.write(views.large(), tmp_path / "a.jpg", downsample=0)
