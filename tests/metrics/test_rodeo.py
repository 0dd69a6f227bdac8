"""RoDeO against its published example, a slow definition with scikit-learn, and its limits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from tests.metrics.worlds import boxes_of, random_boxes
from wsrpn.metrics.rodeo import class_weight, outcome, scores

NAMES = ("rodeo_localization", "rodeo_shape", "rodeo_classification", "rodeo")


def rodeo(chosen, truth, images, classes):
    sums = vars(outcome(chosen, truth, images=images, classes=classes))
    found = scores({name: amount.sum(keepdims=True)[0] for name, amount in sums.items()}, classes)
    return [float(found[name][0]) for name in NAMES]


def xywh(rows):
    return boxes_of([(0, k, x, y, x + w, y + h) for x, y, w, h, k in rows])


def test_rodeo_of_its_published_example():
    chosen = xywh([(0.1, 0.1, 0.2, 0.1, 0), (0.0, 0.3, 0.1, 0.1, 1), (0.2, 0.2, 0.1, 0.1, 0)])
    truth = xywh([(0.0, 0.0, 0.1, 0.1, 0), (0.0, 0.2, 0.1, 0.1, 1)])
    expected = [0.201704, 0.5, 0.666667, 0.354705]
    assert rodeo(chosen, truth, 1, 2) == pytest.approx(expected, abs=1e-5)


def test_perfect_boxes_have_one():
    boxes = xywh([(1, 2, 30, 40, 0), (50, 60, 20, 10, 1)])
    assert rodeo(boxes, boxes, 1, 2) == pytest.approx([1, 1, 1, 1])


def test_one_of_two_boxes_shifted_by_half_its_width():
    truth = xywh([(0, 0, 20, 20, 0), (50, 50, 20, 20, 1)])
    chosen = xywh([(10, 0, 20, 20, 0), (50, 50, 20, 20, 1)])
    assert rodeo(chosen, truth, 1, 2) == pytest.approx([0.920448, 1, 1, 0.971999], abs=1e-5)


def test_no_box_has_zero_and_no_truth_is_undefined():
    some, none = xywh([(0, 0, 20, 20, 0)]), xywh([])
    assert rodeo(none, some, 1, 2) == [0, 0, 0, 0]
    assert np.isnan(rodeo(some, none, 1, 2)).all()


def test_with_one_class_classification_counts_boxes_only():
    truth = xywh([(0, 0, 20, 20, 0)])
    twice = xywh([(0, 0, 20, 20, 0), (40, 40, 9, 9, 0)])
    assert rodeo(twice, truth, 1, 1)[2] == pytest.approx(0.5)


def test_a_box_of_no_size_breaks_nothing():
    flat, some = xywh([(5, 5, 0, 0, 0)]), xywh([(0, 0, 20, 20, 0)])
    assert np.isfinite(rodeo(flat, some, 1, 2)).all()
    assert np.isfinite(rodeo(some, flat, 1, 2)).all()


def giou_of(a, b):
    inner = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union - (hull - union) / hull


def slowly(chosen, truth, images, classes):
    """The paper's definition, trying every matching of every image."""
    hot = np.zeros((2, images, classes))
    for side, table in enumerate((chosen, truth)):
        hot[side, table.image, table.label] = 1
    w = max(0.0, matthews_corrcoef(hot[0].ravel(), hot[1].ravel()))
    place, shape, left, right = [], [], [], []
    for image in range(images):
        p, t = (np.flatnonzero(side.image == image) for side in (chosen, truth))
        few, many = (p, t) if len(p) <= len(t) else (t, p)
        best, choice = -math.inf, []
        for other in itertools.permutations(many, len(few)):
            met = list(zip(few, other, strict=True))
            met = met if len(p) <= len(t) else [(b, a) for a, b in met]
            gain = sum(
                giou_of(chosen.xyxy_px[i], truth.xyxy_px[j])
                + w * (chosen.label[i] == truth.label[j])
                for i, j in met
            )
            best, choice = (gain, met) if gain > best else (best, choice)
        for i, j in choice:
            a, b = chosen.xyxy_px[i], truth.xyxy_px[j]
            side = b[2:] - b[:2]
            d = ((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2) / side
            both = np.minimum(a[2:] - a[:2], side).prod()
            place.append(2 ** -(d @ d))
            shape.append(both / ((a[2:] - a[:2]).prod() + side.prod() - both))
            left.append(np.eye(classes)[chosen.label[i]])
            right.append(np.eye(classes)[truth.label[j]])
    if not place:
        return [0.0] * 4
    share = len(place) / (len(chosen) + len(truth) - len(place))
    mcc = max(0.0, matthews_corrcoef(np.ravel(left), np.ravel(right)))
    parts = [np.mean(place) * share, np.mean(shape) * share, mcc * share]
    return [*parts, 3 / sum(1 / x for x in parts) if min(parts) > 0 else 0.0]


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
def test_rodeo_equals_its_definition(seed, classes):
    rng = np.random.default_rng(seed)
    chosen, truth = (random_boxes(rng, 4, classes, 4) for _ in range(2))
    jitter = rng.random((len(chosen), 4)) * 0.1  # so that the best matching is the only one
    chosen.xyxy_px[:] += jitter
    expected = slowly(chosen, truth, 4, classes) if len(truth) else [math.nan] * 4
    assert rodeo(chosen, truth, 4, classes) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(seed=st.integers(0, 10_000))
def test_the_class_weight_is_matthews_correlation(seed):
    p, t = (np.random.default_rng(seed + i).integers(0, 2, (5, 3)) for i in range(2))
    expected = max(0.0, matthews_corrcoef(p.ravel(), t.ravel()))
    assert class_weight(p.astype(float), t.astype(float)) == pytest.approx(expected, abs=1e-12)
