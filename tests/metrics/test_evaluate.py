"""Joining, intervals, groups, comparison and requirements."""

import dataclasses

import numpy as np
import pytest

from tests.metrics.worlds import CLASSES, detections, record, world
from wsrpn.errors import InputError
from wsrpn.evaluate import check_requirements, compare, evaluate
from wsrpn.metrics import intervals, metrics
from wsrpn.metrics.gather import gather
from wsrpn.metrics.panel import Panel
from wsrpn.types import Dataset, Figure, Predictions, Report

NAMES = [
    "auroc", "image_ap", "f1", "specificity", "ap@0.1", "ap@0.2", "ap@0.3", "ap@0.4", "ap@0.5",
    "ap@0.6", "ap@0.7", "map", "map_coco", "rodeo", "rodeo_localization", "rodeo_shape",
    "rodeo_classification", "localization_accuracy@0.3", "pointing_game", "froc", "entropy",
    "entropy_normalized", "alignment_error", "top_patch", "ece", "brier",
]  # fmt: skip


def test_a_report_has_every_promised_name_with_its_interval():
    report = evaluate(*world(), bootstrap=50)
    for name in NAMES:
        figure = report.metrics[name]
        assert figure.value is not None
        assert figure.low <= figure.high
        assert figure.low - 0.2 <= figure.value <= figure.high + 0.2
    assert list(report.per_class) == list(CLASSES)


def test_a_class_without_positives_is_null_and_named():
    report = evaluate(*world(), bootstrap=10)
    effusion = report.per_class["Effusion"]
    assert effusion["ap@0.3"] == effusion["auroc"] == effusion["rodeo"] == Figure(None)
    assert any(w.startswith("Effusion is undefined in") and "auroc" in w for w in report.warnings)
    mean = np.mean([report.per_class[c]["ap@0.3"].value for c in CLASSES[:2]])
    assert report.metrics["ap@0.3"].value == pytest.approx(mean)


def test_the_order_of_images_and_classes_changes_nothing():
    predictions, dataset = world()
    straight = evaluate(predictions, dataset, bootstrap=20)
    shuffled = dataclasses.replace(dataset, records=dataset.records[::-1])
    turned = dataclasses.replace(
        predictions,
        classes=CLASSES[::-1],
        images=tuple(
            dataclasses.replace(
                d,
                classes=2 - d.classes,
                image_logits=d.image_logits[::-1],
                regions=dataclasses.replace(d.regions, scores=d.regions.scores[:, ::-1]),
            )
            for d in predictions.images[::-1]
        ),
    )
    other = evaluate(turned, shuffled, bootstrap=20)
    for name, figure in straight.metrics.items():
        assert other.metrics[name].value == pytest.approx(figure.value)
        assert other.metrics[name].low == pytest.approx(figure.low)


def test_every_metric_answers_for_a_part_as_if_the_rest_were_not_there():
    predictions, dataset = world()
    evidence = gather(predictions, dataset)
    mask = (np.arange(40) % 3 == 0).astype(float)
    part = gather(predictions, dataset.where(lambda r: int(r.id[1:-4]) % 3 == 0), images="listed")
    # RoDeO's class weight and the bins of the ECE belong to the whole set.
    names = [name for name in metrics if name not in {"rodeo", "reliability"}]
    masked = Panel(evidence, names=names, bootstrap=0, seed=0).values(mask)[0]
    alone = Panel(part, names=names, bootstrap=0, seed=0).values()[0]
    for name, values in masked.items():
        np.testing.assert_allclose(values.total, alone[name].total, atol=1e-12)


def test_draws_take_all_images_of_a_patient_together_and_repeat_with_the_seed():
    patients = ["a", "b", "a", "c", "c", "c"]
    rows = np.concatenate(list(intervals.draws(patients, replicates=30, seed=1)))
    cut = np.concatenate(list(intervals.draws(patients, replicates=30, seed=1, width=500_000)))
    np.testing.assert_array_equal(rows, cut)
    np.testing.assert_array_equal(rows[:, 0], rows[:, 2])
    assert (rows[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(rows, axis=0)) > 3


def test_intervals_of_a_mean_have_the_width_that_theory_gives():
    values = np.random.default_rng(0).normal(0, 1, 400)
    rows = np.concatenate(
        list(intervals.draws([str(i) for i in range(400)], replicates=2000, seed=0))
    )
    found = intervals.figure(float(values.mean()), rows @ values / rows.sum(axis=1))
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_of_a_calibration_error_holds_its_value(seed):
    # Resampling adds noise, and noise only ever raises this figure.
    report = evaluate(*world(seed, 80), bootstrap=200)
    for figure in (report.metrics["ece"], report.per_class["Mass"]["ece"]):
        assert 0 <= figure.low < figure.value < figure.high <= 1


def test_an_interval_moved_back_keeps_its_width_and_stops_at_the_lowest_possible_value():
    drawn = np.linspace(0.3, 0.5, 101)
    plain, moved = (intervals.figure(0.2, drawn, recentred_above=a) for a in (None, 0.0))
    assert moved.high - moved.low == pytest.approx(plain.high - plain.low)
    assert (moved.low + moved.high) / 2 == pytest.approx(0.2)
    assert intervals.figure(0.05, drawn, recentred_above=0.0).low == 0


def test_an_interval_moved_back_of_a_share_stops_at_one():
    easier = np.linspace(0.9, 1.0, 101)  # replicates lie below the value, so they are moved up
    found = intervals.figure(0.99, easier, recentred_above=0.0)
    assert found.high == 1.0
    assert found.low < 0.99


def test_the_interval_of_a_difference_of_calibration_errors_may_reach_below_zero():
    predictions, dataset = world(0, 80)
    worse = dataclasses.replace(
        predictions,
        images=tuple(
            dataclasses.replace(d, image_logits=d.image_logits * 3) for d in predictions.images
        ),
    )
    figure = compare(predictions, worse, dataset, bootstrap=200).metrics["ece"]
    assert figure.low < figure.value < 0 < figure.high


def test_groups_have_their_own_figures():
    predictions, dataset = world()
    report = evaluate(predictions, dataset, bootstrap=5, by="source")
    part = dataset.where(lambda r: r.extra["source"] == "a")
    alone = evaluate(predictions, part, bootstrap=5)
    assert list(report.per_group) == ["a", "b"]
    assert report.per_group["a"]["auroc"].value == pytest.approx(alone.metrics["auroc"].value)
    with pytest.raises(InputError, match=r"no column 'sauce'\. Did you mean 'source'"):
        evaluate(predictions, dataset, by="sauce", bootstrap=0)


def test_a_model_does_not_differ_from_itself_and_a_better_one_does():
    predictions, dataset = world()
    same = compare(predictions, predictions, dataset, bootstrap=20)
    assert same.metrics["ap@0.3"] == Figure(0.0, 0.0, 0.0)
    perfect = dataclasses.replace(
        predictions,
        images=tuple(
            dataclasses.replace(d, image_logits=20 * (np.array(r.labels) - 0.5))
            for d, r in zip(predictions.images, dataset.records, strict=True)
        ),
    )
    better = compare(perfect, predictions, dataset, bootstrap=200).metrics["auroc"]
    assert 0 < better.low < better.value < better.high


def test_missing_predictions_are_an_error_or_left_out_or_empty():
    predictions, dataset = world()
    fewer = dataclasses.replace(predictions, images=predictions.images[5:])
    with pytest.raises(InputError, match=r"5 of 40 images of made up have no prediction \(i0\.png"):
        evaluate(fewer, dataset)
    assert len(gather(fewer, dataset, images="listed")) == 35
    empty = gather(fewer, dataset, images="empty")
    assert len(empty) == 40
    assert np.isnan(empty.logits[:5]).all()
    failed = dataclasses.replace(fewer, failed={f"i{i}.png": "broken" for i in range(5)})
    assert "5 images failed" in gather(failed, dataset).notes[0]


def test_what_does_not_fit_is_told():
    predictions, dataset = world()
    renamed = dataclasses.replace(predictions, classes=("x", "y", "z"))
    with pytest.raises(InputError, match="No class in common"):
        evaluate(renamed, dataset)
    partly = dataclasses.replace(predictions, classes=("Mass", "Nodule", "Hernia"))
    notes = gather(partly, dataset).notes
    assert notes[0] == "Left out, predicted but not in the data: Hernia."
    assert notes[1] == "Left out, in the data but not predicted: Effusion."
    twice = dataclasses.replace(predictions, images=(*predictions.images, predictions.images[0]))
    with pytest.raises(InputError, match=r"'i0\.png' twice"):
        evaluate(twice, dataset)
    with pytest.raises(InputError, match="None of the 40 images"):
        evaluate(dataclasses.replace(predictions, images=()), dataset)
    other = dataset.where(lambda r: r.id == "i0.png")
    assert "39 predicted images are not in made up" in gather(predictions, other).notes[0]


def test_data_without_boxes_or_predictions_without_answers_leave_null():
    bare = Dataset("bare", CLASSES, (record("a", (1.0, 0.0, 0.0)), record("b", (0.0, 1.0, 0.0))))
    answers = (
        detections("a", [(0, 0, 0, 5, 5, 0.9)], (np.nan,) * 3),
        detections("b", (), (np.nan,) * 3),
    )
    report = evaluate(Predictions(CLASSES, answers), bare, bootstrap=5)
    for name in NAMES:
        assert report.metrics[name] == Figure(None)
    assert any("no image-level answer" in w for w in report.warnings)
    assert any("no boxes" in w for w in report.warnings)


def test_requirements_are_met_or_named():
    report = Report(
        "eval", "0", {"ap@0.3": Figure(0.25), "auroc": Figure(0.5), "rodeo": Figure(None)}
    )
    met = ["ap@0.3>=0.25", "ap@0.3 <= 0.25", "auroc>0.4", "auroc<0.6", "auroc==0.5"]
    assert check_requirements(report, met) == []
    unmet = check_requirements(report, ["ap@0.3>0.25", "rodeo>=0"])
    assert unmet == ["ap@0.3>0.25 (it is 0.2500)", "rodeo>=0 (it is undefined)"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ap@.3>=0.1", r"no figure is called 'ap@\.3'\. Did you mean 'ap@0\.3'"),
        ("auroc", "write it as NAME>=NUMBER"),
        ("auroc>=high", "write it as NAME>=NUMBER"),
        ("auroc=>0.1", "write it as NAME>=NUMBER"),
        ("auroc>=nan", "write it as NAME>=NUMBER"),
    ],
)
def test_a_wrong_requirement_is_one_sentence(text, sentence):
    report = Report("eval", "0", {"ap@0.3": Figure(0.25), "auroc": Figure(0.5)})
    with pytest.raises(InputError, match=sentence):
        check_requirements(report, [text])


def test_a_box_of_a_class_that_nobody_knows_to_be_absent_is_not_false():
    nan = float("nan")
    gold = (0, 0, 0, 10, 10)
    records = (
        record("a", (1.0, 0.0, 0.0), [gold]),
        record("b", (nan, 0.0, 0.0)),
        record("c", (nan, 0.0, 0.0), [gold]),  # a box says more than an unknown label
    )
    right, wrong = (*gold, 0.5), (0, 40, 40, 50, 50, 0.9)
    found = [detections("a", [right]), detections("b", [wrong]), detections("c", [right])]
    data = Dataset("x", CLASSES, records)
    report = evaluate(Predictions(CLASSES, tuple(found)), data, bootstrap=0)
    assert report.per_class["Mass"]["ap@0.3"].value == 1.0
    assert any("1 boxes are left out of box figures" in note for note in report.warnings)
    present = Dataset("x", CLASSES, (records[0], record("b", (1.0, 0.0, 0.0)), records[2]))
    unboxed = evaluate(Predictions(CLASSES, tuple(found)), present, bootstrap=0)
    assert unboxed.per_class["Mass"]["ap@0.3"].value == 1.0  # it is there: where, nobody has drawn
    known = Dataset("x", CLASSES, (records[0], record("b"), records[2]))
    counted = evaluate(Predictions(CLASSES, tuple(found)), known, bootstrap=0)
    assert counted.per_class["Mass"]["ap@0.3"].value < 0.7
    assert counted.per_class["Mass"]["froc"].value < report.per_class["Mass"]["froc"].value
