"""Weighted box fusion against its definition, its published implementation, and suppression."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsrpn import boxes
from wsrpn.config import InferenceConfig
from wsrpn.detections import detections
from wsrpn.types import Batch, ModelOutput

corner = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
found = st.lists(
    st.tuples(corner, st.sampled_from([0.0, 0.2, 0.5, 0.8]), st.integers(0, 1)), max_size=9
)


def arrays(rows):
    xyxy = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    scores = np.array([row[1] for row in rows], dtype=np.float64)
    return xyxy, scores, np.array([row[2] for row in rows], dtype=np.int64)


def mean_of(cluster):
    """The mean of boxes by score; equal weights where all scores are 0."""
    weights = [score for _, score in cluster]
    if not any(weights):
        weights = [1.0] * len(cluster)
    return [
        sum(w * box[i] for w, (box, _) in zip(weights, cluster, strict=True)) / sum(weights)
        for i in range(4)
    ]


def by_definition(rows, threshold, score):
    """Section 3 of the paper: clusters as lists, each fused box computed anew from its list."""
    clusters = []
    for box, value, label in sorted(rows, key=lambda row: -row[1]):
        overlaps = [
            boxes.iou(np.array([box]), np.array([mean_of(c)]))[0, 0] if own == label else -1.0
            for own, c in clusters
        ]
        best = max(range(len(overlaps)), key=lambda i: (overlaps[i], -i), default=None)
        if best is not None and overlaps[best] > threshold:
            clusters[best][1].append((box, value))
        else:
            clusters.append((label, [(box, value)]))
    fused = []
    for label, cluster in clusters:
        values = [value for _, value in cluster]
        total = max(values) if score == "max" else sum(values) / len(values)
        fused.append((mean_of(cluster), total, label))
    return sorted(fused, key=lambda row: -row[1])


@given(
    rows=found,
    threshold=st.sampled_from([0.0, 0.31, 0.55, 1.0]),
    score=st.sampled_from(["max", "mean"]),
)
def test_fusion_equals_its_definition_with_ties_and_scores_of_zero(rows, threshold, score):
    ours = boxes.weighted_box_fusion(*arrays(rows), threshold=threshold, score=score)
    theirs = by_definition(rows, threshold, score)
    assert len(ours[0]) == len(theirs)
    assert ours[1] == pytest.approx([row[1] for row in theirs], abs=1e-9)
    together = sorted(map(rounded, zip(*ours, strict=True)))
    expected = np.array(sorted(map(rounded, theirs))).reshape(len(theirs), 6)
    assert np.array(together).reshape(-1, 6) == pytest.approx(expected, abs=1e-4)


def rounded(row):
    box, score, label = row
    return (round(float(score), 6), int(label), *(round(float(x), 4) for x in box))


GIVEN = [
    (0.13, 0.16, 0.55, 0.51, 0.86, 0), (0.14, 0.19, 0.5, 0.45, 0.45, 0),
    (0.24, 0.14, 0.48, 0.5, 0.53, 0), (0.19, 0.21, 0.54, 0.57, 0.23, 0),
    (0.17, 0.22, 0.53, 0.47, 0.73, 0), (0.12, 0.28, 0.47, 0.47, 0.36, 1),
    (0.41, 0.31, 0.7, 0.64, 0.88, 0), (0.27, 0.33, 0.68, 0.53, 0.35, 0),
    (0.38, 0.37, 0.65, 0.62, 0.61, 0), (0.32, 0.34, 0.74, 0.55, 0.46, 0),
    (0.4, 0.33, 0.73, 0.65, 0.65, 0), (0.34, 0.34, 0.76, 0.54, 0.28, 1),
]  # fmt: skip
ALONE = [(0.12, 0.28, 0.47, 0.47, 0.36, 1), (0.34, 0.34, 0.76, 0.54, 0.28, 1)]
# weighted_boxes_fusion of the authors' package ensemble-boxes 1.0.9, conf_type avg and max
PUBLISHED = {
    (0.3, "mean"): [
        (0.370949, 0.333864, 0.700136, 0.610983, 0.59, 0),
        (0.167786, 0.180786, 0.522679, 0.492964, 0.56, 0), *ALONE,
    ],
    (0.3, "max"): [
        (0.370949, 0.333864, 0.700136, 0.610983, 0.88, 0),
        (0.167786, 0.180786, 0.522679, 0.492964, 0.86, 0), *ALONE,
    ],
    (0.55, "mean"): [
        (0.398411, 0.333178, 0.69486, 0.637336, 0.713333, 0),
        (0.150925, 0.190308, 0.532643, 0.491322, 0.5675, 0), (0.24, 0.14, 0.48, 0.5, 0.53, 0),
        (0.298395, 0.335679, 0.714074, 0.541358, 0.405, 0), *ALONE,
    ],
    (0.55, "max"): [
        (0.398411, 0.333178, 0.69486, 0.637336, 0.88, 0),
        (0.150925, 0.190308, 0.532643, 0.491322, 0.86, 0), (0.24, 0.14, 0.48, 0.5, 0.53, 0),
        (0.298395, 0.335679, 0.714074, 0.541358, 0.46, 0), *ALONE,
    ],
}  # fmt: skip


@pytest.mark.parametrize(("threshold", "score"), PUBLISHED)
def test_fusion_equals_the_authors_implementation(threshold, score):
    given = arrays([(row[:4], row[4], row[5]) for row in GIVEN])
    xyxy, scores, classes = boxes.weighted_box_fusion(*given, threshold=threshold, score=score)
    ours = np.concatenate((xyxy, scores[:, None], classes[:, None]), 1)
    assert ours == pytest.approx(np.array(PUBLISHED[threshold, score]), abs=2e-6)


@given(found)
def test_boxes_that_do_not_overlap_enough_are_left_alone(rows):
    given = arrays(rows)
    xyxy, scores, classes = boxes.weighted_box_fusion(*given, threshold=1.0)
    order = np.argsort(-given[1], kind="stable")
    assert xyxy.tolist() == given[0][order].tolist()
    assert scores.tolist() == given[1][order].tolist()
    assert classes.tolist() == given[2][order].tolist()


@given(found, st.integers(1, 4))
def test_a_box_told_several_times_is_that_box_with_that_score(rows, times):
    once = boxes.weighted_box_fusion(*arrays(rows), threshold=0.99, score="mean")
    often = boxes.weighted_box_fusion(*arrays(rows * times), threshold=0.99, score="mean")
    single = {row[0] for row in rows}
    if len(single) == len(rows):
        assert sorted(map(rounded, zip(*often, strict=True))) == sorted(
            map(rounded, zip(*once, strict=True))
        )


@given(found)
def test_with_the_largest_score_the_best_of_each_class_is_suppressions(rows):
    given = arrays(rows)
    _, scores, classes = boxes.weighted_box_fusion(*given, threshold=0.3)
    kept = boxes.nms(*given, threshold=0.3)
    for label in set(classes.tolist()):
        best = given[1][kept][given[2][kept] == label].max()
        assert scores[classes == label].max() == best


def test_nothing_becomes_nothing_and_types_are_kept():
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    xyxy, scores, classes = boxes.weighted_box_fusion(*empty, threshold=0.3)
    assert (xyxy.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))
    assert (xyxy.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)


# In prediction


def found_in_a_map(**changes):
    """Two nested areas of one map, cut at two heights."""
    cells = torch.zeros(1, 1, 8, 8)
    cells[0, 0, 2:6, 2:7] = 0.6
    cells[0, 0, 3:5, 3:6] = 1.0
    batch = Batch(("a.png",), torch.zeros(1, 1, 8, 8), torch.zeros(1, 1), torch.tensor([[80, 80]]))
    config = InferenceConfig(map_thresholds=(0.4, 0.8), **changes)
    output = ModelOutput(logits=torch.tensor([[2.0]]), maps=cells)
    return detections(batch, output, config)[0]


def test_prediction_fuses_where_it_is_asked_to():
    apart = found_in_a_map(nms_iou=1.0)
    assert len(apart.scores) == 2
    best = found_in_a_map(nms_iou=0.1)
    assert best.xyxy_px.tolist() == apart.xyxy_px[:1].tolist()
    fused = found_in_a_map(nms_iou=0.1, merge="wbf")
    mean = (apart.xyxy_px * apart.scores[:, None]).sum(0) / apart.scores.sum()
    assert fused.xyxy_px[0] == pytest.approx(mean)
    assert fused.scores.tolist() == best.scores.tolist()
    voted = found_in_a_map(nms_iou=0.1, merge="wbf", merge_score="mean")
    assert voted.scores[0] == pytest.approx(apart.scores.mean())


def test_fused_boxes_are_limited_per_class_as_others_are():
    cells = torch.zeros(1, 2, 9, 9)
    for label in range(2):
        for n in range(4):
            cells[0, label, 1 + 2 * n, 1 + 2 * n] = 1.0 + n
    batch = Batch(("a.png",), torch.zeros(1, 1, 9, 9), torch.zeros(1, 2), torch.tensor([[90, 90]]))
    config = InferenceConfig(merge="wbf", map_components=9, map_thresholds=(0.2,))
    output = ModelOutput(logits=torch.zeros(1, 2), maps=cells)
    full = detections(batch, output, config)[0]
    few = detections(batch, output, dataclasses.replace(config, max_per_class=1))[0]
    assert np.bincount(full.classes).tolist() == [4, 4]
    assert few.classes.tolist() == [0, 1]
    assert few.scores.tolist() == [full.scores.max()] * 2
