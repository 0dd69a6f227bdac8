"""Image figures against scikit-learn; reliability against a loop over bins."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.metrics.worlds import CLASSES, detections, record, world
from wsrpn.calibration import sigmoid
from wsrpn.metrics.gather import gather
from wsrpn.metrics.image import Decisions, Ranking, ranking
from wsrpn.metrics.reliability import Reliability, calibration_error, curve, log_loss
from wsrpn.types import Dataset, Predictions


def evidence(seed=0, **changes):
    return dataclasses.replace(gather(*world(seed)), **changes)


@given(seed=st.integers(0, 10_000), levels=st.integers(2, 30))
def test_auroc_and_ap_equal_scikit_learn_with_ties_and_weights(seed, levels):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, 30), (0, 1)).astype(float)
    values = rng.integers(0, levels, 32).astype(float)
    weights = rng.integers(0, 3, (3, 32)).astype(float)
    weights[:, -2:] = 1
    auroc, ap = ranking(labels, values, weights)
    for i, w in enumerate(weights):
        assert auroc[i] == pytest.approx(sk.roc_auc_score(labels, values, sample_weight=w))
        expected = sk.average_precision_score(labels, values, sample_weight=w)
        assert ap[i] == pytest.approx(expected)


def test_a_class_with_one_label_only_is_undefined_and_left_out_of_the_mean():
    found = Ranking(evidence()).figures(np.ones((1, 40)))
    auroc, ap = found["auroc"], found["image_ap"]
    assert np.isnan([auroc.per_class[0, 2], ap.per_class[0, 2]]).all()
    assert auroc.total[0] == pytest.approx(auroc.per_class[0, :2].mean())


def test_unknown_labels_are_left_out():
    whole = evidence()
    labels = whole.labels.copy()
    labels[::3, 0] = np.nan
    here = ~np.isnan(labels[:, 0])
    found = Ranking(dataclasses.replace(whole, labels=labels)).figures(np.ones((1, 40)))
    expected = sk.roc_auc_score(labels[here, 0], whole.logits[here, 0])
    assert found["auroc"].per_class[0, 0] == pytest.approx(expected)


def test_decisions_equal_scikit_learn():
    thresholds = np.array([0.3, 0.6, 0.99])
    given_ = evidence(1, thresholds=thresholds)
    found = Decisions(given_).figures(np.ones((1, 40)))
    yes, true = sigmoid(given_.logits) >= thresholds, given_.labels == 1
    for k in range(2):
        assert found["f1"].per_class[0, k] == pytest.approx(sk.f1_score(true[:, k], yes[:, k]))
        for name, label in (("sensitivity", 1), ("specificity", 0)):
            expected = sk.recall_score(true[:, k], yes[:, k], pos_label=label)
            assert found[name].per_class[0, k] == pytest.approx(expected)
    assert np.isnan(found["f1"].per_class[0, 2])
    healthy = ~true.any(axis=1)
    expected = (~yes.any(axis=1))[healthy].mean()
    assert found["specificity_no_finding"].total[0] == pytest.approx(expected)


def test_specificity_of_a_class_is_of_images_known_not_to_have_it_and_answered():
    nan = float("nan")
    labels = [(0.0, 0.0), (0.0, nan), (0.0, 1.0), (nan, 0.0), (1.0, 0.0)]
    answers = [(2.0, -1.0), (-1.0, -1.0), (-1.0, 3.0), (0.5, nan), (-1.0, 2.0)]
    records = tuple(record(f"i{i}", (*own, 1.0)) for i, own in enumerate(labels))
    found = tuple(detections(f"i{i}", (), (*own, 0.0)) for i, own in enumerate(answers))
    asked = gather(
        Predictions(CLASSES, found), Dataset("x", CLASSES, records), thresholds={"Nodule": 0.9}
    )
    # Images 0, 1 and 2 are known not to have Mass; 0 and 4 not to have Nodule, and were answered.
    rows = np.array([[1.0] * 5, [0.0, 1, 1, 1, 1], [0.0, 0, 0, 1, 1]])
    specificity = Decisions(asked).figures(rows)["specificity"]
    expected = [[2 / 3, 1.0, nan], [1.0, 1.0, nan], [nan, 1.0, nan]]
    np.testing.assert_allclose(specificity.per_class, expected)
    np.testing.assert_allclose(specificity.total, [5 / 6, 1.0, 1.0])


def test_brier_and_log_loss_equal_scikit_learn():
    given_ = evidence(2)
    found = Reliability(given_).figures(np.ones((1, 40)))
    for k in range(2):
        y, p = given_.labels[:, k], sigmoid(given_.logits[:, k])
        assert found["brier"].per_class[0, k] == pytest.approx(sk.brier_score_loss(y, p))
        assert found["nll"].per_class[0, k] == pytest.approx(sk.log_loss(y, p))


def test_log_loss_is_finite_at_huge_logits():
    both = log_loss(np.array([1.0, 0.0, 1.0]), np.array([-1e4, 1e4, 1e4]))
    np.testing.assert_allclose(both, [1e4, 1e4, 0])


@pytest.mark.parametrize("many", [1, 14, 15, 16, 100])
def test_calibration_error_equals_a_loop_over_bins_of_equal_mass(many):
    rng = np.random.default_rng(many)
    scores, labels = np.sort(rng.random(many)), rng.integers(0, 2, many).astype(float)
    edges = sorted({i * many // 15 for i in range(15)} | {many})
    slow = 0.0
    for low, high in itertools.pairwise(edges):
        slow += abs((scores[low:high] - labels[low:high]).sum()) / many
    found = calibration_error(labels, scores, np.ones((1, many)))
    assert found[0] == pytest.approx(slow)


def test_equal_scores_share_a_bin_whatever_their_order():
    labels = np.array([0.0, 1.0] * 20)
    scores = np.full(40, 0.5)
    assert calibration_error(labels, scores, np.ones((1, 40)))[0] == pytest.approx(0)
    mean, share, many = curve(labels, scores)
    assert (mean[0], share[0], many[0], len(mean)) == (0.5, 0.5, 40, 1)


def test_scores_that_are_frequencies_have_no_calibration_error_left():
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    labels = (rng.random(20_000) < scores).astype(float)
    weights = np.ones((1, 20_000))
    assert calibration_error(labels, scores, weights)[0] < 0.02
    assert calibration_error(labels, scores**3, weights)[0] > 0.1
