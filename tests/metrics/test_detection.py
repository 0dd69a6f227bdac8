"""AP and recall against pycocotools, and the bootstrap against copies of images."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.metrics.worlds import boxes_of, random_boxes
from wsrpn.metrics.detection import (
    COCO_THRESHOLDS,
    RECALLS,
    average_precision,
    levels_reached,
    recall,
)
from wsrpn.metrics.evidence import BoxTable
from wsrpn.metrics.matching import match, pairs

THRESHOLDS = (0.1, 0.25, 0.3, 0.5, 0.75, 1.0)


def coco(found, truth, images, classes, thresholds, *, areas=(0, 1e10), most=(1, 10, 100)):
    """Precision (t, recalls, k) and recall (t, k, most) of pycocotools; -1 where undefined."""

    def entries(table):
        for i in range(len(table)):
            x1, y1, x2, y2 = table.xyxy_px[i].tolist()
            size = [x1, y1, x2 - x1, y2 - y1]
            yield {
                "id": i + 1,
                "image_id": int(table.image[i]),
                "category_id": int(table.label[i]),
                "bbox": size,
                "area": size[2] * size[3],
                "iscrowd": 0,
                "score": float(table.score[i]),
            }

    with contextlib.redirect_stdout(io.StringIO()):
        gold, guess = COCO(), COCO()
        for side, table in ((gold, truth), (guess, found)):
            side.dataset = {
                "images": [{"id": i} for i in range(images)],
                "categories": [{"id": k} for k in range(classes)],
                "annotations": list(entries(table)),
            }
            side.createIndex()
        judge = COCOeval(gold, guess, "bbox")
        judge.params.iouThrs = np.array(thresholds)
        judge.params.maxDets = list(most)
        judge.params.areaRng, judge.params.areaRngLbl = [list(areas)], ["asked"]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][..., 0, -1], judge.eval["recall"][:, :, 0]


def both(found, truth, images, classes, thresholds=THRESHOLDS):
    precision, reached = coco(found, truth, images, classes, thresholds)
    matches = match(found, truth, thresholds, images=images, classes=classes)
    ones = np.ones((1, images))
    expected = np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1))
    np.testing.assert_allclose(average_precision(matches, ones)[0], expected, atol=1e-9)
    for i, boxes in enumerate((1, 10, 100)):
        wanted = np.where(reached[..., i] < 0, np.nan, reached[..., i])
        np.testing.assert_allclose(recall(matches, ones, boxes=boxes)[0], wanted, atol=1e-9)
    return expected


@given(seed=st.integers(0, 10_000), images=st.integers(1, 9), classes=st.integers(1, 4))
def test_ap_and_recall_equal_pycocotools_with_ties_empty_images_and_absent_classes(
    seed, images, classes
):
    rng = np.random.default_rng(seed)
    most = rng.integers(0, 16, 2)
    found = random_boxes(rng, images, classes, most[0])
    truth = random_boxes(rng, images, classes, most[1])
    both(found, truth, images, classes)


@given(seed=st.integers(0, 10_000))
def test_ap_equals_pycocotools_on_a_crowd_of_free_boxes(seed):
    rng = np.random.default_rng(seed)
    sides = []
    for many in (150, 40):
        xy, wh = rng.uniform(0, 50, (many, 2)), rng.uniform(5, 60, (many, 2))
        image = np.sort(rng.integers(0, 3, many))
        label = rng.integers(0, 2, many)
        sides.append(BoxTable(image, label, np.hstack((xy, xy + wh)), rng.random(many)))
    both(*sides, 3, 2, (*THRESHOLDS, *COCO_THRESHOLDS))


def test_only_the_hundred_best_boxes_of_an_image_and_class_are_used():
    wrong = [(0, 0, 50, 50, 60, 60, 0.9)] * 100
    truth = boxes_of([(0, 0, 0, 0, 10, 10)])
    late = boxes_of([*wrong, (0, 0, 0, 0, 10, 10, 0.1)])
    assert both(late, truth, 1, 1)[0, 0] == 0
    assert both(late.take(np.arange(1, 101)), truth, 1, 1)[0, 0] > 0


def test_a_second_box_on_the_same_finding_is_a_false_alarm():
    truth = boxes_of([(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10)])
    found = boxes_of(
        [(0, 0, 0, 0, 10, 10, 0.9), (0, 0, 0, 0, 10, 10, 0.8), (1, 0, 0, 0, 10, 10, 0.7)]
    )
    expected = (51 * 1 + 50 * 2 / 3) / 101
    np.testing.assert_allclose(both(found, truth, 2, 1)[:, 0], expected)


def test_a_class_without_truth_is_undefined_and_one_without_boxes_is_zero():
    truth, found = boxes_of([(0, 0, 0, 0, 9, 9)]), boxes_of([(0, 1, 0, 0, 9, 9, 0.5)])
    ap = both(found, truth, 1, 2)
    assert (ap[:, 0] == 0).all()
    assert np.isnan(ap[:, 1]).all()


@given(seed=st.integers(0, 10_000))
def test_a_weight_is_that_many_copies_of_the_image(seed):
    rng = np.random.default_rng(seed)
    images, classes = 6, 2
    # Equal scores within one image have no order of their own, and copies could give them another.
    sides = [random_boxes(rng, images, classes, 6, ties=False) for _ in range(2)]
    counts = rng.integers(0, 4, images)
    copies = []
    for side in sides:
        at = [np.flatnonzero(side.image == i) for i in np.repeat(np.arange(images), counts)]
        which = np.concatenate([*at, np.zeros(0, dtype=np.int64)])
        new = np.repeat(np.arange(len(at)), [len(a) for a in at])
        copies.append(BoxTable(new, side.label[which], side.xyxy_px[which], side.score[which]))
    weighted = match(*sides, THRESHOLDS, images=images, classes=classes)
    copied = match(*copies, THRESHOLDS, images=int(counts.sum()), classes=classes)
    ones = np.ones((1, int(counts.sum())))
    w = counts[None].astype(float)
    np.testing.assert_allclose(
        average_precision(weighted, w), average_precision(copied, ones), atol=1e-12
    )
    np.testing.assert_allclose(
        recall(weighted, w, boxes=2), recall(copied, ones, boxes=2), atol=1e-12
    )


def test_rows_of_weights_do_not_influence_each_other():
    rng = np.random.default_rng(3)
    sides = [random_boxes(rng, 8, 2, 5) for _ in range(2)]
    matches = match(*sides, THRESHOLDS, images=8, classes=2)
    counts = rng.integers(0, 3, (5, 8)).astype(float)
    apart = [average_precision(matches, row[None]) for row in counts]
    np.testing.assert_array_equal(average_precision(matches, counts), np.concatenate(apart))


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_all_equal_keys(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, 20), rng.integers(0, 5, 13)
    left, right = pairs(a, b)
    assert list(zip(left, right, strict=True)) == [
        (i, j) for i in range(20) for j in range(13) if a[i] == b[j]
    ]


@pytest.mark.parametrize("second", [(0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 30, 10)])
def test_of_two_equal_overlaps_the_later_true_box_is_taken_as_in_coco(second):
    truth = boxes_of([(0, 0, 0, 0, 12, 10), (0, 0, 18, 0, 30, 10)])
    found = boxes_of([(0, 0, 10, 0, 20, 10, 0.9), (*second, 0.8)])
    expected = both(found, truth, 1, 1, (0.05,))
    assert (expected[0, 0] == 1) == (second[2] == 0)  # the first takes the right-hand box


def test_levels_of_recall_are_counted_as_a_search_counts_them():
    for truths in range(1, 400):
        recalls = np.arange(truths + 1) / truths
        expected = np.searchsorted(RECALLS, recalls, side="right")
        np.testing.assert_array_equal(levels_reached(recalls), expected)
    np.testing.assert_array_equal(levels_reached(RECALLS), np.arange(101) + 1)
