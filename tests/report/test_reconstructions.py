"""The picture of reconstructions: every tile where it belongs, differences on one scale."""

import numpy as np
import pytest
from PIL import Image

from wsrpn.report import draw
from wsrpn.report.reconstructions import Rows, sheet


@pytest.fixture
def rows():
    """Tiles of one grey each: what comes back is darker by 0.1, 0.2, …"""
    grey = np.array([0.9, 0.8, 0.7])[:, None, None, None] * np.ones((1, 8, 8, 3))
    lost = np.array([0.1, 0.2, 0.6])[:, None, None, None]
    return Rows(grey, grey - lost, grey / 2, ("normal", "normal", "tumour"))


def shown(figure):
    """The pictures on the page, line by line."""
    return [image.get_array() for image in figure.axes[0].get_images()]


def test_four_lines_of_tiles_are_drawn_in_order(rows):
    lines = np.split(np.arange(12), 4)
    pictures = shown(sheet(rows))
    expected = (rows.images, rows.decoded, rows.latent, rows.differences)
    for line, tiles in zip(lines, expected, strict=True):
        for place, tile in zip(line, tiles, strict=True):
            np.testing.assert_allclose(pictures[place], tile)


def test_differences_share_a_scale_and_their_means_are_written(rows):
    figure = sheet(rows, title="vae")
    images = figure.axes[0].get_images()[9:]
    assert [image.get_clim() for image in images] == [(0, pytest.approx(0.6))] * 3
    words = [text.get_text() for text in figure.texts]
    assert {"0.100", "0.200", "0.600", "vae"} <= {*words}
    assert (words.count("normal"), words.count("tumour")) == (1, 1)


def test_small_differences_stay_dark(rows):
    same = Rows(rows.images, rows.images - 0.01, rows.latent, rows.names)
    assert sheet(same).axes[0].get_images()[-1].get_clim() == (0, 0.25)


def test_labels_stand_apart(rows):
    left = [image.get_extent()[0] for image in sheet(rows).axes[0].get_images()[:3]]
    assert np.diff(left)[1] > np.diff(left)[0] + 0.1


def test_the_same_picture_gives_the_same_bytes(rows, tmp_path):
    for name in ("a.png", "b.png"):
        draw.save(sheet(rows), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 400
