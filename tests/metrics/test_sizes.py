"""Figures by size of the finding, against pycocotools' area ranges and by hand."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from tests.metrics.test_detection import coco
from tests.metrics.worlds import CLASSES, boxes_of, detections, random_boxes, record, world
from wsrpn.compare import Entry
from wsrpn.compare import compare as set_side_by_side
from wsrpn.errors import InputError
from wsrpn.evaluate import check_requirements, evaluate
from wsrpn.metrics.detection import BY_SIZE_THRESHOLDS, Detection, DetectionBySize, recall
from wsrpn.metrics.evidence import BoxTable, Evidence
from wsrpn.metrics.gather import gather
from wsrpn.metrics.gaussian import NAMES, Gaussian
from wsrpn.metrics.matching import match
from wsrpn.metrics.sizes import SIZES, boxes_by_size, largest, shares, size_of
from wsrpn.types import Dataset, Figure, Predictions, RegionFigures
from wsrpn_cli import tables

AREA = 1600.0  # 2 % are 32, 10 % are 160: both are areas of boxes of the lattice of `random_boxes`
COCO_RANGES = {"small": (0, 31), "medium": (32, 159), "large": (160, 1e10)}  # both ends belong
YES = (5.0, 5.0, 5.0)


def seen(found, truth, images, classes=1, area=AREA):
    """Evidence of boxes alone."""
    names = tuple(f"i{i}" for i in range(images))
    return Evidence(
        ids=names, patients=names, classes=tuple(f"c{k}" for k in range(classes)),
        labels=(truth.per_image(images, classes) > 0).astype(float),
        logits=np.zeros((images, classes)), thresholds=np.full(classes, 0.5), found=found,
        chosen=found, truth=truth, boxed=np.ones(images, dtype=bool),
        area_px=np.broadcast_to(np.array(area, dtype=float), images),
    )  # fmt: skip


def by_size(evidence, counts=None):
    counts = np.ones((1, len(evidence))) if counts is None else counts
    return DetectionBySize(evidence).figures(counts)


def ap(found, truth, images=1, threshold=0.3):
    """AP of small, medium and large findings of one class."""
    values = by_size(seen(boxes_of(found), boxes_of(truth), images))
    found_of = [float(values[f"ap@{threshold}_{size}"].total[0]) for size in SIZES]
    return pytest.approx(found_of, nan_ok=True)  # as COCO's, a precision of 1 is a hair below 1


def same_as_coco(found, truth, images, classes, ranges=COCO_RANGES):
    evidence = seen(found, truth, images, classes)
    values = by_size(evidence)
    kinds = [size_of(shares(table, evidence.area_px)) for table in (found, truth)]
    for index, (size, areas) in enumerate(ranges.items()):
        precision, reached = coco(found, truth, images, classes, BY_SIZE_THRESHOLDS, areas=areas)
        expected = np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1))
        for t, threshold in enumerate(BY_SIZE_THRESHOLDS):
            own = values[f"ap@{threshold:g}_{size}"]
            np.testing.assert_allclose(own.per_class[0], expected[t], atol=1e-9)
            known = expected[t][~np.isnan(expected[t])]
            mean = known.mean() if len(known) else np.nan
            np.testing.assert_allclose(own.total[0], mean, atol=1e-9)
        asked = (kinds[0] == index, kinds[1] == index)
        matches = match(
            found, truth, BY_SIZE_THRESHOLDS, images=images, classes=classes, asked=asked
        )
        for i, boxes in enumerate((1, 10, 100)):
            wanted = np.where(reached[..., i] < 0, np.nan, reached[..., i])
            found_by = recall(matches, np.ones((1, images)), boxes=boxes)[0]
            np.testing.assert_allclose(found_by, wanted, atol=1e-9)


@given(seed=st.integers(0, 10_000), images=st.integers(1, 9), classes=st.integers(1, 4))
def test_ap_by_size_equals_pycocotools_area_ranges_with_ties_and_boxes_on_the_borders(
    seed, images, classes
):
    rng = np.random.default_rng(seed)
    most = rng.integers(0, 16, 2)
    found = random_boxes(rng, images, classes, most[0])
    truth = random_boxes(rng, images, classes, most[1])
    same_as_coco(found, truth, images, classes)


@given(seed=st.integers(0, 10_000))
def test_ap_by_size_equals_pycocotools_on_a_crowd_of_free_boxes(seed):
    rng = np.random.default_rng(seed)
    sides = []
    for many in (260, 40):  # more than a hundred boxes in some image and class
        xy, wh = rng.uniform(0, 20, (many, 2)), rng.uniform(3, 22, (many, 2))
        image = np.sort(rng.integers(0, 2, many))
        sides.append(
            BoxTable(image, np.zeros_like(image), np.hstack((xy, xy + wh)), rng.random(many))
        )
    ranges = {
        "small": (0, np.nextafter(32, 0)),
        "medium": (32, np.nextafter(160, 0)),
        "large": (160, 1e10),
    }
    same_as_coco(*sides, 2, 1, ranges)


SMALL, MEDIUM, LARGE = (0, 0, 0, 0, 5, 5), (0, 0, 20, 0, 30, 10), (0, 0, 0, 20, 20, 40)


def test_a_box_that_meets_a_finding_of_another_size_is_neither_right_nor_wrong():
    truth = [SMALL, MEDIUM, LARGE]
    best_is_large = [(*LARGE, 0.9), (*MEDIUM, 0.8), (*SMALL, 0.7)]
    assert ap(best_is_large, truth) == [1.0, 1.0, 1.0]


def test_a_box_that_meets_nothing_is_wrong_for_its_own_size_alone():
    lone = (0, 0, 30, 30, 40, 40, 0.9)  # 100 of 1600: medium
    found = [lone, (*SMALL, 0.5), (*MEDIUM, 0.4)]
    assert ap(found, [SMALL, MEDIUM]) == [1.0, 0.5, np.nan]


def test_a_box_of_another_size_that_meets_the_finding_is_right():
    wide = (0, 0, 0, 0, 5, 10, 0.9)  # medium, covers the small finding at IoU ½
    assert ap([wide], [SMALL]) == [1.0, np.nan, np.nan]


def test_a_finding_of_the_size_is_met_before_a_better_fit_of_another_size():
    truth = [(0, 0, 0, 0, 5, 6), (0, 0, 0, 0, 6, 8)]  # 30 is small, 48 is medium
    found = [(0, 0, 0, 0, 6, 7, 0.9), (0, 0, 30, 30, 35, 35, 0.8)]  # 42: IoU 30/42 and 42/48
    assert ap(found, truth) == [1.0, 1.0, np.nan]
    # One box cannot be right of both for all sizes together.
    plain = Detection(seen(boxes_of(found), boxes_of(truth), 1)).figures(np.ones((1, 1)))
    assert plain["ap@0.3"].total[0] == pytest.approx(51 / 101)


def test_a_finding_of_another_size_is_spent_once():
    twice = [(*MEDIUM, 0.9), (*MEDIUM, 0.8), (*SMALL, 0.7)]
    # The second box on the medium finding meets nothing: nothing for small, and a false one after
    # all of medium is found.
    assert ap(twice, [SMALL, MEDIUM]) == [1.0, 1.0, np.nan]
    inner = (0, 0, 20, 0, 26, 5)  # small, IoU 0.3 with the medium finding
    assert ap([(*inner, 0.8), (*SMALL, 0.7)], [SMALL, MEDIUM]) == [1.0, 1.0, np.nan]
    spent = [(*MEDIUM, 0.9), (*inner, 0.8), (*SMALL, 0.7)]
    assert ap(spent, [SMALL, MEDIUM]) == [0.5, 1.0, np.nan]


@given(seed=st.integers(0, 10_000), size=st.sampled_from(SIZES))
def test_with_all_boxes_of_one_size_its_ap_is_the_plain_one_and_the_others_are_undefined(
    seed, size
):
    rng = np.random.default_rng(seed)
    sides = [random_boxes(rng, 6, 2, 6) for _ in range(2)]
    area = {"small": 1e5, "medium": 4000.0, "large": 100.0}[size]
    if size == "medium":  # sides of 9 to 18 px: 81 to 324 of 4000
        sides = [
            BoxTable(
                t.image, t.label, np.hstack((t.xyxy_px[:, :2], t.xyxy_px[:, :2] + side)), t.score
            )
            for t in sides
            for side in [rng.integers(9, 19, (len(t), 2))]
        ]
    evidence = seen(*sides, 6, 2, area)
    counts = rng.integers(0, 3, (4, 6)).astype(float)
    found, plain = by_size(evidence, counts), Detection(evidence).figures(counts)
    for t in BY_SIZE_THRESHOLDS:
        for other in SIZES:
            own = found[f"ap@{t:g}_{other}"]
            if other == size:
                np.testing.assert_array_equal(own.per_class, plain[f"ap@{t:g}"].per_class)
                np.testing.assert_array_equal(own.total, plain[f"ap@{t:g}"].total)
            else:
                assert np.isnan(own.per_class).all()
                assert np.isnan(own.total).all()


@given(seed=st.integers(0, 10_000))
def test_a_weight_is_that_many_copies_of_the_image_and_rows_stand_alone(seed):
    rng = np.random.default_rng(seed)
    sides = [random_boxes(rng, 6, 2, 6, ties=False) for _ in range(2)]
    counts = rng.integers(0, 4, 6)
    copies = []
    for side in sides:
        at = [np.flatnonzero(side.image == i) for i in np.repeat(np.arange(6), counts)]
        copies.append(side.take(np.concatenate([*at, np.zeros(0, dtype=np.int64)])))
        new = np.repeat(np.arange(len(at)), [len(a) for a in at])
        copies[-1] = dataclasses.replace(copies[-1], image=new)
    copied = by_size(seen(*copies, int(counts.sum()), 2))
    weights = np.concatenate([counts[None], rng.integers(0, 3, (3, 6))]).astype(float)
    metric = DetectionBySize(seen(*sides, 6, 2))
    apart = [metric.figures(row[None]) for row in weights]
    for name, values in metric.figures(weights).items():
        np.testing.assert_allclose(values.per_class[:1], copied[name].per_class, atol=1e-12)
        rows = np.concatenate([row[name].per_class for row in apart])
        np.testing.assert_array_equal(values.per_class, rows)


def test_a_size_is_a_share_of_its_own_image():
    found = boxes_of(
        [(0, 0, 0, 0, 10, 10, 0.9), (1, 0, 0, 0, 10, 10, 0.8), (2, 0, 0, 0, 9, 9, 0.7)]
    )
    truth = boxes_of([(i, 0, 0, 0, 10, 10) for i in range(3)])
    evidence = seen(found, truth, 3, area=[1e4, 1e3, np.nan])
    assert boxes_by_size(evidence) == {"small": 1, "medium": 0, "large": 1}
    for size in ("small", "large"):  # the image of unknown size is left out
        assert by_size(evidence)[f"ap@0.5_{size}"].total[0] == pytest.approx(1.0)
    np.testing.assert_array_equal(largest(evidence), [[0], [2], [-1]])


def regions_of(rng, queries=3):
    return RegionFigures(rng.random((queries, 3)), *(rng.random(queries) for _ in NAMES))


def test_figures_of_maps_go_by_the_largest_box_of_the_class():
    small, medium, large = (0, 0, 5, 5), (0, 0, 16, 16), (0, 0, 30, 30)  # of 64 × 64
    rng = np.random.default_rng(0)
    records = (
        record("a", (1.0, 1.0, 0.0), [(0, *small), (0, *medium), (1, *small)]),
        record("b", (1.0, 0.0, 1.0), [(0, *large)]),
        record("c", (1.0, 1.0, 0.0), boxes_known=False),
        record("d", (0.0, np.nan, 0.0), [(1, *large)]),  # not known to be present: nothing wins
    )
    answers = tuple(detections(r.id, [], YES, regions_of(rng)) for r in records)
    evidence = gather(Predictions(CLASSES, answers), Dataset("x", CLASSES, records))
    found = Gaussian(evidence).figures(np.ones((1, 4)))
    for name in NAMES:
        best = [
            [getattr(d.regions, name)[d.regions.scores[:, k].argmax()] for k in range(3)]
            for d in answers
        ]
        expected = {
            "small": [np.nan, best[0][1], np.nan],
            "medium": [best[0][0], np.nan, np.nan],
            "large": [best[1][0], np.nan, np.nan],
        }
        for size, values in expected.items():
            own = found[f"{name}_{size}"]
            np.testing.assert_allclose(own.per_class[0], values)
            np.testing.assert_allclose(own.total[0], np.nanmean(values))
        all_won = [best[0][0], best[0][1], best[1][0], best[1][2], best[2][0], best[2][1]]
        np.testing.assert_allclose(found[name].total[0], np.mean(all_won))


def sized_world(seed=0, images=40):
    """`world` with findings of three sizes."""
    predictions, dataset = world(seed, images)
    sides = (8.0, 16.0, 26.0)  # of 64: 1.6 %, 6 %, 17 %
    records, answers = [], []
    for i, (one, found) in enumerate(zip(dataset.records, predictions.images, strict=True)):
        side = sides[i % 3]
        grown = [(b.label, *b.xyxy_px[:2], *(v + side for v in b.xyxy_px[:2])) for b in one.boxes]
        records.append(record(one.id, one.labels, grown, patient=one.patient, extra=one.extra))
        xyxy = np.hstack((found.xyxy_px[:, :2], found.xyxy_px[:, :2] + side))
        answers.append(dataclasses.replace(found, xyxy_px=xyxy))
    return (
        dataclasses.replace(predictions, images=tuple(answers)),
        dataclasses.replace(dataset, records=tuple(records)),
    )


def test_figures_of_maps_by_size_join_to_that_of_all_where_every_finding_has_a_box():
    evidence = gather(*sized_world())
    counts = np.random.default_rng(0).integers(0, 3, (5, 40)).astype(float)
    found = Gaussian(evidence).figures(counts)
    wins = [counts @ ((largest(evidence) == i) & (evidence.labels == 1)) for i in range(3)]
    for name in NAMES:
        parts = [np.nan_to_num(found[f"{name}_{s}"].per_class) for s in SIZES]
        joined = sum(p * w for p, w in zip(parts, wins, strict=True)).sum(axis=1)
        np.testing.assert_allclose(joined / sum(wins).sum(axis=1), found[name].total)


def test_a_report_has_every_figure_by_size_with_its_interval_in_total_and_per_class():
    report = evaluate(*sized_world(), bootstrap=50)
    names = ("ap@0.1", "ap@0.3", "ap@0.5", *NAMES)
    for name in [f"{name}_{size}" for name in names for size in SIZES]:
        for figure in (report.metrics[name], report.per_class["Mass"][name]):
            assert figure.low <= figure.value <= figure.high
        assert report.per_class["Effusion"][name] == Figure(None)
    assert sum(report.provenance["boxes_by_size"].values()) == report.provenance["boxes"]
    unmet = check_requirements(
        report, ["ap@0.3_small>=0", "ap@0.3_small>1", "low(entropy_large)>0"]
    )
    assert [text.split()[0] for text in unmet] == ["ap@0.3_small>1"]
    with pytest.raises(InputError, match=r"Did you mean 'ap@0\.3_small'"):
        check_requirements(report, ["ap@0.3_smal>=0.1"])
    # Effusion has no boxes at all, and that is said once, not again for every size.
    assert [w for w in report.warnings if "_small" in w or "findings" in w] == []


def test_a_class_without_findings_of_a_size_is_named_once_and_left_out_of_the_mean():
    predictions, dataset = sized_world()
    kept = dataset.where(lambda r: not (r.labels[1] == 1 and int(r.id[1:-4]) % 3 == 0))
    report = evaluate(predictions, kept, bootstrap=0, images="listed")
    assert report.per_class["Nodule"]["ap@0.3_small"] == Figure(None)
    assert report.metrics["ap@0.3_small"] == report.per_class["Mass"]["ap@0.3_small"]
    assert [w for w in report.warnings if "_small" in w] == [
        "No small findings, so left out of …_small: Nodule."
    ]


def test_images_of_unknown_size_are_measured_by_their_files_or_left_out_and_told(tmp_path):
    predictions, dataset = sized_world(images=12)
    foreign = dataclasses.replace(
        predictions,
        images=tuple(dataclasses.replace(d, size_px=(0, 0)) for d in predictions.images),
    )
    report = evaluate(foreign, dataset, bootstrap=0)
    assert report.metrics["ap@0.3_small"] == Figure(None)
    assert report.provenance["boxes_by_size"] == dict.fromkeys(SIZES, 0)
    assert any(
        "12 of 12 images with known boxes are left out of figures by size" in w
        for w in report.warnings
    )
    for one in dataset.records:
        Image.new("L", (64, 64)).save(tmp_path / one.id)
    at = tuple(dataclasses.replace(r, path=tmp_path / r.id) for r in dataset.records)
    there = evaluate(foreign, dataclasses.replace(dataset, records=at), bootstrap=0)
    expected = evaluate(predictions, dataset, bootstrap=0)
    assert there.metrics == expected.metrics
    assert there.provenance["boxes_by_size"] == expected.provenance["boxes_by_size"]
    fewer = dataclasses.replace(predictions, images=predictions.images[:-2])
    answered = evaluate(
        fewer, dataclasses.replace(dataset, records=at), bootstrap=0, images="empty"
    )
    assert answered.provenance["boxes_by_size"] == expected.provenance["boxes_by_size"]


def test_methods_are_compared_by_size():
    predictions, dataset = sized_world()
    other = sized_world(1)[0]
    names = ["ap@0.3_small", "entropy_large"]
    methods = {"one": [Entry("a", predictions)], "other": [Entry("b", other)]}
    found = set_side_by_side(methods, dataset, figures=names, bootstrap=20)
    assert found.figures == tuple(names)
    gap = found.differences[0]
    alone = [evaluate(p, dataset, bootstrap=0).metrics for p in (predictions, other)]
    for name in names:
        expected = alone[1][name].value - alone[0][name].value
        assert gap.figures[name].value == pytest.approx(expected)
        assert gap.figures[name].low <= gap.figures[name].value <= gap.figures[name].high


def printed(report, monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(tables, "Console", lambda **_: Console(file=text, width=80))
    tables.show(report)
    return text.getvalue()


def test_people_see_a_table_by_size_where_there_are_boxes_of_two_sizes(monkeypatch):
    predictions, dataset = sized_world()
    report = evaluate(predictions, dataset, bootstrap=0)
    shown = printed(report, monkeypatch).split("by size of finding")[1].splitlines()
    assert shown[0].split() == ["_small", "_medium", "_large"]
    assert shown[1].split("image")[1].split() == [
        "<",
        "2",
        "%",
        "2",
        "%",
        "…",
        "10",
        "%",
        "≥",
        "10",
        "%",
    ]
    row = next(line for line in shown if line.startswith("  ap@0.3 "))
    assert row.split()[1:] == [f"{report.metrics[f'ap@0.3_{s}'].value:.3f}" for s in SIZES]
    assert all(len(line) <= 80 for line in shown[:9])
    two = dataset.where(lambda r: int(r.id[1:-4]) % 3 != 1)
    plain = dataclasses.replace(
        predictions, images=tuple(dataclasses.replace(d, regions=None) for d in predictions.images)
    )
    shown = printed(evaluate(plain, two, bootstrap=0, images="listed"), monkeypatch)
    shown = shown.split("by size of finding")[1]
    assert shown.split()[:2] == ["_small", "_large"]
    assert "_medium" not in shown
    assert "entropy" not in shown  # a model without maps has no rows of them
    one = dataset.where(lambda r: int(r.id[1:-4]) % 3 == 1)
    shown = printed(evaluate(predictions, one, bootstrap=0, images="listed"), monkeypatch)
    assert "by size" not in shown
    assert "_medium" not in shown
