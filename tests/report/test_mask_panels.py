"""The picture of a training on masks: every plane where it belongs, errors in their colours."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from wsrpn.report import draw, marks
from wsrpn.report.mask_panels import ALARM, HIT, MISS, Rows, errors, outlined, sheet


@pytest.fixture
def rows():
    """Three images of 30 pixels: one half right, one without anything, one with a false alarm."""
    truth, scores = np.zeros((3, 30, 30), bool), np.full((3, 30, 30), 0.1)
    truth[0, 5:15, 5:15] = True
    scores[0, 5:15, 10:20] = 0.9
    scores[2, :3] = 0.5
    images = np.linspace(0, 1, 30)[None, :, None] * np.ones((3, 1, 30))
    return Rows(images, truth, scores, ("a.png", "folder/" * 9 + "b.png", "c.png"))


@pytest.fixture
def seen(rows):
    """The same of a model with attention; the second image has no DRR."""
    attention = np.linspace(0.2, 0.7, 12).reshape(3, 2, 2)
    has = np.array([True, False, True])
    return dataclasses.replace(rows, attention=attention, drrs=1 - rows.images, has_drr=has)


def shown(figure):
    return figure.axes[0].get_images()


def words(figure):
    return [text.get_text() for text in figure.texts]


def test_errors_have_the_colours_of_hit_false_alarm_and_miss_over_the_image():
    truth = np.array([[True, True, False, False]])
    found = np.array([[True, False, True, False]])
    got = errors(np.full((1, 4), 0.5), truth, found)[0].astype(float)
    for pixel, colour in zip(got, (HIT, MISS, ALARM), strict=False):
        np.testing.assert_allclose(pixel, 0.4 * 127.5 + 0.6 * np.array(colour), atol=0.51)
    assert got[3].tolist() == [128, 128, 128]


def test_the_truth_has_one_colour_in_all_pictures():
    assert tuple(bytes.fromhex(marks.TRUTH[1:])) == MISS


def test_the_rim_of_the_truth_lies_inside_it_and_an_edge_of_the_image_is_no_rim():
    truth = np.zeros((7, 7), bool)
    truth[2:6, 3:] = True
    drawn = (outlined(np.zeros((7, 7)), truth) == np.array(MISS)).all(-1)
    expected = truth.copy()
    expected[3:5, 4:] = False
    np.testing.assert_array_equal(drawn, expected)


def test_each_image_has_its_row_and_each_plane_its_column(seen):
    pictures = shown(sheet(seen))
    assert len(pictures) == 5 * 3 - 1
    left = [picture.get_extent()[0] for picture in pictures[:5]]
    assert left == sorted(left)
    scores = [pictures[place] for place in (1, 6, 10)]
    for row, picture in enumerate(scores):
        np.testing.assert_allclose(picture.get_array()[::10, ::10], seen.scores[row], rtol=1e-6)
        assert picture.get_clim() == (0, 1)
    np.testing.assert_allclose(pictures[4].get_array()[::10, ::10], seen.drrs[0], rtol=1e-6)


def test_an_image_without_a_drr_says_so_and_a_model_without_attention_shows_none(rows, seen):
    assert words(sheet(seen)).count("no DRR") == 1
    plain = sheet(rows)
    assert len(shown(plain)) == 9
    assert not {"DRR", "attention", "no DRR"} & {*words(plain)}


def test_attention_maps_share_one_scale_and_a_flat_one_is_not_stretched(seen):
    columns = [shown(sheet(seen))[place] for place in (3, 8, 12)]
    assert all(picture.get_clim() == pytest.approx((0.2, 0.7)) for picture in columns)
    flat = dataclasses.replace(seen, attention=np.full((3, 2, 2), 0.4))
    assert shown(sheet(flat))[3].get_clim() == (0.4, pytest.approx(0.42))


def test_figures_stand_above_each_image_and_long_names_are_cut_at_their_front(rows):
    said = words(sheet(rows, title="unet"))
    assert "unet" in said
    assert "Dice 0.50 · Jaccard 0.33" in said
    assert "nothing there, nothing found" in said
    assert "nothing there, 10.00% found" in said
    (long,) = [word for word in said if word.startswith("…")]
    assert len(long) == 40
    assert long.endswith("b.png")


def test_a_large_image_is_drawn_smaller_and_keeps_its_small_objects():
    truth = np.zeros((1, 2000, 1000), bool)
    truth[0, 100:110, 300:310] = True
    rows = Rows(np.zeros((1, 2000, 1000)), truth, np.zeros((1, 2000, 1000)), ("a",))
    pictures = [picture.get_array() for picture in shown(sheet(rows))]
    assert {picture.shape[:2] for picture in pictures} == {(285, 142)}
    assert (pictures[0] == np.array(MISS)).all(-1).any()
    assert pictures[2].max() > 0.2


def test_the_same_picture_gives_the_same_bytes(seen, tmp_path):
    for name in ("a.png", "b.png"):
        draw.save(sheet(seen), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000
