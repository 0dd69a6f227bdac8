"""Boxes, suppression, and boxes around the high areas of a map."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from wsrpn import boxes, maps

corner = st.tuples(*[st.integers(0, 6)] * 4).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
many = st.lists(corner, max_size=8)


def array(found):
    return np.array(found, dtype=np.float64).reshape(-1, 4)


def pixels(box):
    """The unit squares that a box of whole numbers covers."""
    x1, y1, x2, y2 = map(int, box)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@given(many, many)
def test_overlap_equals_counting_pixels(first, second):
    found, both = (
        boxes.iou(array(first), array(second)),
        boxes.intersection(array(first), array(second)),
    )
    assert found.shape == (len(first), len(second))
    for i, a in enumerate(first):
        assert boxes.area(array([a]))[0] == len(pixels(a))
        for j, b in enumerate(second):
            shared, union = len(pixels(a) & pixels(b)), len(pixels(a) | pixels(b))
            assert both[i, j] == shared
            assert found[i, j] == pytest.approx(shared / union if union else 0)


def test_a_box_turned_inside_out_has_no_area():
    assert boxes.area(array([(3, 3, 1, 1), (3, 1, 1, 3)])).tolist() == [0, 0]


@given(
    found=st.lists(
        st.tuples(corner, st.sampled_from([0.2, 0.5, 0.8]), st.integers(0, 1)), max_size=10
    ),
    threshold=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_suppression_equals_the_slow_definition_with_ties(found, threshold):
    xyxy = array([f[0] for f in found])
    scores = np.array([f[1] for f in found], dtype=np.float64)
    classes = np.array([f[2] for f in found], dtype=np.int64)
    kept = []
    for i in sorted(range(len(found)), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if classes[j] == classes[i]]
        if all(boxes.iou(xyxy[[i]], xyxy[[j]])[0, 0] <= threshold for j in rivals):
            kept.append(i)
    assert boxes.nms(xyxy, scores, classes, threshold=threshold).tolist() == kept


def test_formats_are_inverse_and_clipping_keeps_boxes_on_the_image():
    cxcywh = torch.rand(5, 4)
    assert_close(boxes.xyxy_to_cxcywh(boxes.cxcywh_to_xyxy(cxcywh)), cxcywh)
    clipped = boxes.clip(array([(-5, 2, 30, 40), (25, 3, 26, 4)]), (10, 20))
    assert clipped.tolist() == [[0, 2, 20, 10], [20, 3, 20, 4]]


def test_a_map_is_interpolated_between_cell_centres():
    ramp = np.arange(4.0)[None].repeat(3, 0)
    fine = maps.upsample(ramp, 8)
    assert fine.shape == (24, 32)
    centres = (np.arange(32) + 0.5) / 8 - 0.5
    assert fine == pytest.approx(np.tile(centres.clip(0, 3), (24, 1)))


def test_boxes_lie_around_the_high_areas_best_first():
    cells = np.zeros((6, 8))
    cells[1, 1] = 1.0
    cells[4, 5:7] = 2.0
    found, means = maps.boxes(cells, thresholds=(0.25,), components=5)
    assert len(found) == 2
    assert means[0] > means[1]
    (x1, y1, x2, y2), small = found
    assert x1 < 5.5 / 8 < 6.5 / 8 < x2
    assert y1 < 4.5 / 6 < y2
    assert ((small[0] + small[2]) / 2, (small[1] + small[3]) / 2) == pytest.approx(
        (1.5 / 8, 1.5 / 6)
    )
    one, _ = maps.boxes(cells, thresholds=(0.25,), components=1)
    assert one.tolist() == found[:1].tolist()
    both, _ = maps.boxes(cells, thresholds=(0.25, 0.75), components=5)
    assert len(both) == 3
    assert (both[2][2:] - both[2][:2] < found[0][2:] - found[0][:2]).all()


def test_the_edge_of_an_area_is_where_the_interpolation_crosses_the_threshold():
    cells = np.zeros((1, 9))
    cells[0, 4] = 1.0
    found, _ = maps.boxes(cells, thresholds=(0.5,), components=1)
    assert found[0, [0, 2]] == pytest.approx([4 / 9, 5 / 9], abs=1 / 72)


def test_cells_that_touch_at_a_corner_are_one_area():
    found, _ = maps.boxes(np.eye(4), thresholds=(0.5,), components=9)
    assert len(found) == 1


def test_a_flat_map_has_no_areas_and_scale_does_not_matter():
    assert len(maps.boxes(np.full((3, 3), 7.0), thresholds=(0.5,), components=1)[0]) == 0
    cells = np.random.default_rng(0).normal(size=(5, 5))
    plain = maps.boxes(cells, thresholds=(0.5,), components=3)
    scaled = maps.boxes(cells * 1000 - 3, thresholds=(0.5,), components=3)
    assert plain[0] == pytest.approx(scaled[0])
    assert plain[1] == pytest.approx(scaled[1])
