"""Temperatures, thresholds, and the calibration file."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metrics.worlds import CLASSES, detections, world
from wsrpn import thresholds
from wsrpn.calibrate import calibrate, platt, temperature
from wsrpn.calibration import Calibration, choose, sigmoid
from wsrpn.errors import InputError
from wsrpn.evaluate import evaluate
from wsrpn.metrics.reliability import log_loss
from wsrpn.report.reliability import draw_reliability
from wsrpn.thresholds import best_boxes, threshold_of


def sample(seed=0, many=4000, factor=3.0, shift=0.0):
    """Labels that follow sigmoid(z), and the logits factor × (z - shift) that a model gives."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, many)
    return (rng.random(many) < sigmoid(z)).astype(float), factor * (z - shift)


def test_temperature_scaling_finds_the_factor_that_made_logits_too_sure():
    scale, bias = temperature(*sample(factor=3.0))
    assert 1 / scale == pytest.approx(3.0, rel=0.1)
    assert bias == 0


@given(seed=st.integers(0, 1000), factor=st.floats(0.2, 8))
def test_no_temperature_of_a_grid_has_a_smaller_loss(seed, factor):
    y, z = sample(seed, 60, factor)
    scale, _ = temperature(y, z)
    best = log_loss(y, z * scale).mean()
    for other in np.geomspace(1 / 20, 20, 200):
        assert best <= log_loss(y, z * other).mean() + 1e-9


def test_logits_that_part_the_labels_or_turn_them_round_stop_at_a_bound():
    y, z = np.array([0.0, 0.0, 1.0, 1.0]), np.array([-2.0, -1.0, 1.0, 2.0])
    assert temperature(y, z) == (20.0, 0.0)
    assert temperature(1 - y, z) == (0.05, 0.0)


def test_platt_finds_factor_and_shift():
    scale, bias = platt(*sample(factor=2.0, shift=1.0))
    assert scale == pytest.approx(0.5, rel=0.1)
    assert bias == pytest.approx(1.0, rel=0.15)


def value_of(y, p, cut, objective):
    yes = p >= cut
    tp, fp = (yes & (y == 1)).sum(), (yes & (y == 0)).sum()
    if objective == "f1":
        return 2 * tp / (tp + fp + y.sum())
    if objective == "youden":
        return tp / y.sum() - fp / (1 - y).sum()
    return tp if 1 - fp / (1 - y).sum() >= float(objective.partition("@")[2]) else -1


@given(
    seed=st.integers(0, 10_000),
    objective=st.sampled_from(["f1", "youden", "specificity@0.9", "specificity@1"]),
)
def test_no_threshold_is_better_than_the_one_found(seed, objective):
    rng = np.random.default_rng(seed)
    y = np.append(rng.integers(0, 2, 15), (0, 1)).astype(float)
    p = rng.integers(0, 9, 17) / 8
    found = value_of(y, p, threshold_of(y, p, objective=objective), objective)
    cuts = [*np.unique(p), 2.0]
    assert found == pytest.approx(max(value_of(y, p, cut, objective) for cut in cuts))


def test_a_threshold_parts_neighbouring_floats():
    high = 0.5
    low = float(np.nextafter(high, 0))
    cut = threshold_of(np.array([0.0, 1.0]), np.array([low, high]), objective="f1")
    assert low < cut <= high


def test_box_thresholds_have_the_best_f1():
    hit, scores = np.array([True, True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert best_boxes(hit, scores, 3.0) == pytest.approx(0.55)
    assert best_boxes(hit, scores, 2.0) == pytest.approx(0.75)


def test_an_unknown_objective_is_told():
    with pytest.raises(InputError, match="No objective is called 'f2'"):
        calibrate(*world(), objective="f2")
    with pytest.raises(InputError, match="No objective is called 'specificity@2'"):
        thresholds.check_objective("specificity@2")


def sure_world(factor=4.0, seed=0, images=300):
    predictions, dataset = world(seed, images)
    images_ = tuple(
        dataclasses.replace(d, image_logits=d.image_logits * factor) for d in predictions.images
    )
    return dataclasses.replace(predictions, images=images_), dataset


def test_calibration_lowers_the_error_and_keeps_the_ranking_of_each_class():
    predictions, dataset = sure_world()
    fitted = calibrate(predictions, dataset, bootstrap=20)
    for name in ("ece", "nll"):
        assert fitted.after["Mass"][name].value < fitted.before["Mass"][name].value
    raw, after = (
        evaluate(p, dataset, bootstrap=0) for p in (predictions, fitted.apply(predictions))
    )
    for name in ("auroc", "image_ap", "ap@0.3", "froc", "pointing_game"):
        assert after.metrics[name].value == pytest.approx(raw.metrics[name].value)


def test_f1_at_the_fitted_thresholds_is_at_least_that_at_one_half():
    predictions, dataset = sure_world()
    fitted = calibrate(predictions, dataset, bootstrap=0)
    report = evaluate(predictions, dataset, calibration=fitted, bootstrap=0)
    for label in CLASSES[:2]:
        assert report.per_class[label]["f1"].value >= fitted.before[label]["f1"].value
        assert report.per_class[label]["f1"].value == fitted.after[label]["f1"].value


def test_a_class_of_one_label_is_left_as_it_is_with_a_warning():
    fitted = calibrate(*sure_world(), bootstrap=0)
    assert (fitted.temperature[2], fitted.bias[2], fitted.threshold[2]) == (1.0, 0.0, 0.5)
    assert any(w.startswith("Effusion: all 300 known labels are alike") for w in fitted.warnings)


def test_held_out_figures_come_from_fits_without_the_patient():
    predictions, dataset = sure_world(images=60)
    fitted = calibrate(predictions, dataset, bootstrap=0, cross_validate=True)
    again = calibrate(predictions, dataset, bootstrap=0, cross_validate=True)
    assert fitted.cross_validated == again.cross_validated
    for name in ("nll", "f1"):
        held_out, after = (
            side["all"][name].value for side in (fitted.cross_validated, fitted.after)
        )
        assert held_out != after
    assert fitted.cross_validated["all"]["nll"].value > fitted.after["all"]["nll"].value
    assert calibrate(predictions, dataset, bootstrap=0).cross_validated == {}


def test_boxes_of_a_shown_class_are_its_best_and_those_at_the_box_threshold():
    rows = [
        (0, 0, 0, 5, 5, 0.6),
        (0, 9, 9, 15, 15, 0.7),
        (1, 0, 0, 5, 5, 0.9),
        (0, 1, 1, 2, 2, 0.2),
    ]
    seen = detections("a", rows, (2.0, -2.0, 2.0))
    half = np.full(3, 0.5)
    assert choose(seen).tolist() == [1]
    assert choose(seen, half, half).tolist() == [1, 0]
    unknown = detections("a", rows, (np.nan,) * 3)
    assert choose(unknown).tolist() == [2, 1]


def test_box_thresholds_are_fitted_when_asked_for():
    predictions, dataset = sure_world()
    fitted = calibrate(predictions, dataset, boxes=True, bootstrap=0)
    assert len(fitted.box_threshold) == 3
    assert any("Effusion: no box" in w for w in fitted.warnings)
    assert calibrate(predictions, dataset, bootstrap=0).box_threshold is None


def test_a_calibration_file_comes_back_as_it_was(tmp_path):
    predictions, dataset = sure_world(images=40)
    fitted = calibrate(predictions, dataset, bootstrap=5, boxes=True, cross_validate=True)
    fitted.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == fitted


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 99}, "schema 99"),
        ({"kind": "slides"}, "kind 'slides'"),
        ({"temperature": [1.0]}, "damaged calibration"),
        ({"temperature": [0.0, 1.0, 1.0]}, "damaged calibration"),
        ({"threshold": None}, "damaged calibration"),
        ({"provenance": {"predictions": "a"}}, "damaged calibration"),
    ],
)
def test_a_wrong_calibration_file_is_one_sentence(tmp_path, change, sentence):
    path = tmp_path / "c.json"
    calibrate(*sure_world(images=20), bootstrap=0).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=sentence):
        Calibration.load(path)


def test_other_classes_and_a_second_application_are_refused():
    predictions, dataset = sure_world(images=20)
    fitted = calibrate(predictions, dataset, bootstrap=0)
    with pytest.raises(InputError, match="Calibrate again"):
        fitted.apply(dataclasses.replace(predictions, classes=("a", "b", "c")))
    with pytest.raises(InputError, match="calibrated already"):
        fitted.apply(fitted.apply(predictions))
    with pytest.raises(InputError, match="calibrated already"):
        calibrate(fitted.apply(predictions), dataset)


def test_a_calibration_of_other_weights_is_refused_and_of_unknown_ones_is_not():
    predictions, dataset = sure_world(images=20)

    def of(weights):
        return dataclasses.replace(predictions, provenance=weights)

    fitted = calibrate(of({"weights_sha256": "a"}), dataset, bootstrap=0)
    assert fitted.apply(of({"weights_sha256": "a"})).images
    assert fitted.apply(of({})).images
    with pytest.raises(InputError, match="other weights"):
        fitted.apply(of({"weights_sha256": "b"}))


def test_evaluating_the_images_of_the_fit_is_said_by_name():
    predictions, dataset = sure_world(images=20)
    fitted = calibrate(predictions, dataset.where(lambda r: r.id == "i3.png"), bootstrap=0)
    report = evaluate(predictions, dataset, calibration=fitted, bootstrap=0)
    assert any("1 evaluated image was used to fit" in w and "i3.png" in w for w in report.warnings)


def test_the_reliability_plot_is_a_picture(tmp_path):
    from PIL import Image

    predictions, dataset = sure_world(images=60)
    fitted = calibrate(predictions, dataset, bootstrap=0)
    draw_reliability(fitted, predictions, dataset, tmp_path / "r.png")
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.width > 2 * picture.height
