"""Localisation accuracy, pointing game, FROC and the figures of Gaussian maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metrics.worlds import CLASSES, detections, random_boxes, record, world
from wsrpn.boxes import iou
from wsrpn.metrics.detection import Detection
from wsrpn.metrics.gather import gather
from wsrpn.metrics.gaussian import Gaussian
from wsrpn.metrics.localization import Froc, LocalizationAccuracy, PointingGame, sensitivity
from wsrpn.metrics.matching import match
from wsrpn.types import Dataset, Predictions, RegionFigures

YES = (3.0, -3.0, -3.0)


def evidence(*pairs):
    records, answers = zip(*pairs, strict=True)
    return gather(Predictions(CLASSES, answers), Dataset("made up", CLASSES, records))


def figures(metric, images):
    return metric.figures(np.ones((1, images)))


def test_localization_accuracy_counts_each_true_box_once():
    wide = [(0, 0, 0, 10, 10), (0, 0, 0, 10, 12)]  # one box overlaps both
    asked = evidence(
        (record("a", (1.0, 0.0, 0.0), wide), detections("a", [(0, 0, 0, 10, 11, 0.9)], YES)),
        (record("b"), detections("b")),
    )
    found = figures(LocalizationAccuracy(asked), 2)
    # TP 1, FN 1, TN 1 (image b has the class neither way), FP 0
    assert found["localization_accuracy@0.3"].per_class[0, 0] == pytest.approx(2 / 3)


def test_localization_accuracy_of_iobb_forgives_a_box_that_is_too_small():
    asked = evidence(
        (
            record("a", (1.0, 0.0, 0.0), [(0, 0, 0, 20, 20)]),
            detections("a", [(0, 5, 5, 9, 9, 0.9)], YES),
        )
    )
    found = figures(LocalizationAccuracy(asked), 1)
    assert found["localization_accuracy@0.3"].total[0] == 0
    assert found["localization_accuracy_iobb@0.3"].total[0] == 1


@given(seed=st.integers(0, 10_000))
def test_localization_accuracy_is_a_share(seed):
    asked = gather(*world(seed, images=10))
    for values in figures(LocalizationAccuracy(asked), 10).values():
        known = values.per_class[~np.isnan(values.per_class)]
        assert ((known >= 0) & (known <= 1)).all()


def test_the_pointing_game_looks_at_the_best_box_only():
    truth = [(0, 0, 0, 10, 10)]
    inside, outside = (0, 2, 2, 8, 8), (0, 20, 20, 30, 30)
    hit = detections("a", [(*inside, 0.9), (*outside, 0.8)], YES)
    miss = detections("b", [(*inside, 0.1), (*outside, 0.8)], YES)
    silent = detections("c", [], YES)
    asked = evidence(*((record(d.id, (1.0, 0.0, 0.0), truth), d) for d in (hit, miss, silent)))
    found = figures(PointingGame(asked), 3)["pointing_game"]
    assert found.total[0] == pytest.approx(1 / 3)
    assert np.isnan(found.per_class[0, 1:]).all()


def froc_slowly(found, truth, images, rates):
    """Try every threshold; greedy matching per image at IoU 0.3."""
    points = []
    for cut in [*np.unique(found.score), 2.0]:
        hits = false = 0
        for image in range(images):
            p = np.flatnonzero((found.image == image) & (found.score >= cut))
            t = list(np.flatnonzero(truth.image == image))
            for i in p[np.argsort(-found.score[p], kind="stable")]:
                free = [(iou(found.xyxy_px[[i]], truth.xyxy_px[[j]])[0, 0], j) for j in t]
                best = max(free, default=(0, -1))
                hits, false = (hits + 1, false) if best[0] >= 0.3 else (hits, false + 1)
                if best[0] >= 0.3:
                    t.remove(best[1])
        points.append((false / images, hits / len(truth)))
    return [max(s for f, s in points if f <= rate) for rate in rates]


@given(seed=st.integers(0, 10_000))
def test_froc_equals_trying_every_threshold(seed):
    rng = np.random.default_rng(seed)
    found, truth = (random_boxes(rng, 6, 1, 5) for _ in range(2))
    if not len(truth):
        return
    rates = (0.125, 0.5, 1.0, 2.0)
    matches = match(found, truth, (0.3,), images=6, classes=1)
    curve = sensitivity(
        matches, np.ones((1, 6)), np.full((1, matches.truths.shape[1]), 6.0), rates=rates
    )
    np.testing.assert_allclose(curve[0, :, 0], froc_slowly(found, truth, 6, rates))


def test_images_with_unknown_boxes_change_no_box_figure():
    pairs = [
        (
            record(f"i{i}", (1.0, 0.0, 0.0), [(0, 0, 0, 10, 10)]),
            detections(f"i{i}", [(0, i, 0, 10 + i, 10, 0.5)], YES),
        )
        for i in range(4)
    ]
    stray = (
        record("x", (1.0, 0.0, 0.0), boxes_known=False),
        detections("x", [(0, 0, 0, 9, 9, 0.9)], YES),
    )
    alone, more = evidence(*pairs), evidence(*pairs, stray)
    for metric in (Detection, Froc, PointingGame, LocalizationAccuracy):
        a, b = figures(metric(alone), 4), figures(metric(more), 5)
        for name in a:
            np.testing.assert_array_equal(a[name].per_class, b[name].per_class)
    assert any("1 of 5 images are left out of box figures" in note for note in more.notes)


def test_gaussian_figures_are_of_the_winning_region_of_present_classes():
    scores = np.array([[0.1, 0.9, 0.0], [0.8, 0.2, 0.0]])
    parts = [np.array([1.0, 3.0]), np.array([0.2, 0.6]), np.array([0.1, 0.5]), np.array([0.9, 0.3])]
    regions = RegionFigures(scores, *parts)
    asked = evidence((record("a", (1.0, 0.0, np.nan)), detections("a", [], YES, regions)))
    found = figures(Gaussian(asked), 1)
    assert found["entropy"].total[0] == 3.0
    assert found["entropy_all"].total[0] == 2.0
    assert found["top_patch"].total[0] == 0.3
    assert np.isnan(found["entropy"].per_class[0, 1:]).all()


def test_gaussian_figures_of_a_model_without_regions_are_undefined():
    asked = evidence((record("a", (1.0, 0.0, 0.0)), detections("a", [], YES)))
    assert all(np.isnan(values.total[0]) for values in figures(Gaussian(asked), 1).values())
