"""Shapes, colours and frames of a slide."""

import dataclasses

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import ndimage
from sklearn.metrics import jaccard_score

from tests.report import views
from wsrpn.report import slide_facts, slide_view

MASKS = st.builds(
    lambda seed, high, wide, share: np.random.default_rng(seed).random((high, wide)) < share,
    st.integers(0, 999), st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 1),
)  # fmt: skip


@given(mask=MASKS, pitch=st.sampled_from([96.0, 374.7, 100 / 3]), at=st.floats(0, 99))
def test_tiles_are_united_exactly_whatever_the_pitch(mask, pitch, at):
    mask[0, 0] = True
    these = views.tiles(np.ones_like(mask), pitch=(pitch, 2 * pitch), origin=(at, 0.0))
    found = slide_view.pieces(these, these.lattice.gather(mask))
    assert len(found) == ndimage.label(mask)[1]
    assert all(one.is_valid for one in found)
    assert_allclose(sum(one.area for one in found), mask.sum() * 2 * pitch**2, rtol=1e-12)
    middle = these.corner_px0 + np.array((pitch, 2 * pitch)) / 2
    whole = shapely.MultiPolygon(found)
    inside = shapely.contains_xy(whole, *middle.T)
    np.testing.assert_array_equal(inside, these.lattice.gather(mask))


@pytest.mark.parametrize("size", [150.0, 60.0])
def test_tiles_that_overlap_or_leave_gaps_are_united_as_the_boxes_they_are(size):
    mask = np.random.default_rng(1).random((9, 8)) < 0.5
    these = views.tiles(mask, pitch=(100.0, 100.0), size=(size, size))
    whole = slide_view.union(these, np.ones(len(these), dtype=bool))
    x, y = these.corner_px0.T
    boxes = [shapely.box(a, b, a + size, b + size) for a, b in zip(x, y, strict=True)]
    assert whole.symmetric_difference(shapely.unary_union(boxes)).area == 0
    left, top, _, _ = slide_view.lattice_frame(these)
    assert (left, top) == (1873.5 + (size - 100) / 2, 749.4 + (size - 100) / 2)


def test_rounding_of_the_size_of_tiles_leaves_no_slit_between_them():
    these = views.tiles(np.ones((3, 5), dtype=bool), size=(374.0, 375.0))
    (one,) = slide_view.pieces(these, np.ones(15, dtype=bool))
    assert not one.interiors
    assert len(one.exterior.coords) == 5


def test_colours_run_from_blue_over_yellow_to_red_and_stop_at_the_ends():
    palette = slide_view.palette().astype(int)
    blue, yellow, red = palette[0], palette[128], palette[-1]
    assert blue.argmax() == 2
    assert yellow[:2].min() > 200 > yellow[2]
    assert red.argmax() == 0
    assert red[1:].max() < 60
    values = np.array([[-5.0, 0.0, 1.0, 7.0, np.nan]])
    painted = slide_view.paint(values, (0.0, 1.0))
    np.testing.assert_array_equal(painted[0, :2, :3], [blue, blue])
    np.testing.assert_array_equal(painted[0, 2:4, :3], [red, red])
    assert painted[0, :, 3].tolist() == [255, 255, 255, 255, 0]


def test_a_scale_without_width_still_has_colours():
    assert slide_view.indices(np.full((2, 2), 0.3), (0.3, 0.3)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("shape", [(3, 60), (60, 3), (20, 20), (1, 1)])
def test_the_frame_holds_all_tiles_and_all_tumour_and_keeps_its_ratio(shape):
    one = views.view(np.ones(shape, dtype=bool), label=np.zeros(shape))
    one = dataclasses.replace(one, tumour=shapely.box(0, 0, 50, 50))
    left, top, right, bottom = slide_view.frame_of(one, ratio=(0.5, 1.4))
    corner = one.tiles.corner_px0
    assert left < 0
    assert top < 0
    assert (corner.max(axis=0) + 374.7 <= (right, bottom)).all()
    assert 0.5 - 1e-9 <= (bottom - top) / (right - left) <= 1.4 + 1e-9


def test_the_closer_look_is_at_the_largest_tumour_within_the_frame():
    one = views.large()
    frame = slide_view.frame_of(one)
    left, top, right, bottom = slide_view.zoom_of(one, frame, ratio=0.6)
    assert (right - left) / (frame[2] - frame[0]) < 0.3
    assert shapely.box(left, top, right, bottom).contains(one.tumour)
    assert shapely.box(*frame).contains(shapely.box(left, top, right, bottom))
    full = views.view(np.ones((30, 30), dtype=bool), label=np.ones((30, 30)))
    assert slide_view.zoom_of(full, slide_view.frame_of(full), ratio=0.6) is None
    none = views.view(np.ones((60, 60), dtype=bool), label=np.zeros((60, 60)))
    assert slide_view.zoom_of(none, slide_view.frame_of(none), ratio=0.6) is None


def test_without_tumour_the_closer_look_is_at_what_was_called():
    found = np.zeros((80, 80), dtype=bool)
    found[70:73, 5:9] = True
    one = views.view(np.ones((80, 80), dtype=bool), label=np.zeros((80, 80)), found=found)
    zoom = slide_view.zoom_of(one, slide_view.frame_of(one), ratio=0.6)
    assert shapely.box(*zoom).contains(one.called)


def test_the_iou_is_that_of_the_labelled_tiles_and_undefined_without_tumour():
    random = np.random.default_rng(2)
    label = (random.random((20, 20)) < 0.3).astype(float)
    label[:5] = np.nan
    found = random.random((20, 20)) < 0.4
    one = views.view(np.ones((20, 20), dtype=bool), label=label, found=found)
    known = ~np.isnan(label)
    assert_allclose(slide_facts.iou(one), jaccard_score(label[known], found[known]))
    normal = views.view(np.ones((4, 4), dtype=bool), label=np.zeros((4, 4)), found=found[:4, :4])
    assert np.isnan(slide_facts.iou(normal))
    assert slide_facts.truth(normal) == "no tumour"
    assert "IoU" not in slide_facts.called(normal)


def test_words_say_what_is_not_known():
    bare = views.view(np.ones((4, 4), dtype=bool), mpp=None)
    assert slide_facts.truth(bare) == "truth not known"
    assert slide_facts.called(bare) == "no threshold"
    called = views.view(np.ones((4, 4), dtype=bool), mpp=None, found=np.eye(4, dtype=bool))
    assert slide_facts.called(called) == "4 tiles called"
    known = views.view(np.ones((4, 4), dtype=bool), found=np.eye(4, dtype=bool))
    assert slide_facts.called(known) == "0.0351 mm² called"
