"""Figures of cohorts: small ones worked by hand, random ones against scikit-learn."""

import dataclasses
import json
import math

import numpy as np
import pytest
import shapely
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from tests.cohort.cohorts import world
from wsrpn.cohort import fits
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.evaluate import evaluate
from wsrpn.errors import InputError
from wsrpn.evaluate import check_requirements
from wsrpn.metrics.froc import Points
from wsrpn.slides import apply
from wsrpn.slides.calibration import Row, SlideCalibration, Steps
from wsrpn.slides.rules import ceiling
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import Cohort, Lattice, Tiles

NOTHING = shapely.MultiPolygon()


def slide(name, score, label, *, truth=None, tissue=None, side=100.0, pitch=None, **more):
    """A slide from lists of rows; every cell has a tile of 100 px."""
    score, label = np.array(score, dtype=float), np.array(label, dtype=float)
    rows, columns = np.indices(score.shape).reshape(2, -1)
    pitch = side if pitch is None else pitch
    plane = [score, label, label if truth is None else truth, 1.0 if tissue is None else tissue]
    score, label, truth, tissue = (np.broadcast_to(p, score.shape).ravel() * 1.0 for p in plane)
    lattice = Lattice((0.0, 0.0), (pitch, pitch), columns, rows, plane[0].shape)
    more = {"patient": name, "mpp": 1.0, **more}
    return Tiles(
        name, lattice=lattice, size_px0=(side, side), score=score, label=label, truth=truth,
        tissue=tissue, **more,
    )  # fmt: skip


def cohort(*slides, **more):
    return Cohort("made", slides, **more)


def calibration(threshold=0.5, steps=None, **more):
    return SlideCalibration(
        steps or Steps(), threshold, tile_um=100.0, tile_px0=100.0, rule="as given", **more
    )


def random_cohort(seed=0, slides=5):
    rng = np.random.default_rng(seed)
    made = []
    for i in range(slides):
        truth = rng.random((9, 11)) * (rng.random((9, 11)) < 0.2)
        tissue = np.maximum(truth, rng.random(truth.shape).round(1))
        score = (rng.normal(size=truth.shape) + 2 * (truth > 0.5)).round(1) + i / 4
        label = (truth > 0.5).astype(float)
        made.append(slide(f"s{i}", score, label, truth=truth, tissue=tissue, patient=f"p{i // 2}"))
    return cohort(*made)


HAND = cohort(
    slide("large", [[9, 8, 7, 1]], [[1, 1, 0, 0]]),
    slide("small", [[9, 9, 9, 9]], [[1, 0, 0, 0]]),
    slide("normal", [[9, 1, 9, 1]], [[0, 0, 0, 0]]),
)


def value(report, name):
    return report.metrics[name].value


# --- figures --------------------------------------------------------------------------------------


def test_figures_of_a_cohort_worked_by_hand():
    report = evaluate(HAND, calibration=calibration(8.0), bootstrap=0)
    # large: called 2, both right; small: called 4, 1 right; normal: called 2, none right.
    assert value(report, "iou") == pytest.approx(3 / 8)
    assert value(report, "iou_macro") == pytest.approx((1 + 1 / 4) / 2)
    assert value(report, "dice") == pytest.approx(6 / 11)
    assert value(report, "dice_macro") == pytest.approx((1 + 2 / 5) / 2)
    assert value(report, "precision") == pytest.approx(3 / 8)
    assert value(report, "recall") == 1.0
    assert value(report, "iou_oracle") == pytest.approx((1 + 1 / 4) / 2)
    assert value(report, "tile_auroc") == pytest.approx((1 + 1 / 2) / 2)
    assert value(report, "tile_ap") == pytest.approx((1 + 1 / 4) / 2)
    # 3 positives of 9, 8, 9 over 9 negatives, of which 5 are 9 and 4 are below 8.
    assert value(report, "tile_auroc_pooled") == pytest.approx((2 * (4 + 2.5) + 4) / 27)
    # One slide has no tumour: two tiles of 100 µm, not neighbours.
    assert value(report, "fp_mm2") == pytest.approx(2 * 0.01)
    assert value(report, "fp_regions") == 2.0


def test_figures_of_random_slides_are_those_of_scikit_learn():
    made = random_cohort()
    report = evaluate(made, calibration=calibration(1.5), bootstrap=0)
    inside = [t.tissue > 0 for t in made.slides]
    label = [t.label[i] for t, i in zip(made.slides, inside, strict=True)]
    score = [t.score[i] for t, i in zip(made.slides, inside, strict=True)]
    pairs = list(zip(label, score, strict=True))
    every = (np.concatenate(label), np.concatenate(score))
    assert value(report, "tile_auroc") == pytest.approx(np.mean([roc_auc_score(*p) for p in pairs]))
    assert value(report, "tile_auroc_pooled") == pytest.approx(roc_auc_score(*every))
    assert value(report, "tile_ap") == pytest.approx(
        np.mean([average_precision_score(*p) for p in pairs])
    )
    assert value(report, "tile_ap_pooled") == pytest.approx(average_precision_score(*every))
    assert value(report, "iou") == pytest.approx(jaccard_score(every[0], every[1] >= 1.5))
    assert value(report, "iou_macro") == pytest.approx(
        np.mean([jaccard_score(one, two >= 1.5) for one, two in pairs])
    )
    best = [max(jaccard_score(one, two >= t) for t in two) for one, two in pairs]
    assert value(report, "iou_oracle") == pytest.approx(np.mean(best))


def test_pixel_figures_are_those_of_all_painted_pixels():
    rng = np.random.default_rng(3)
    side, painted, tumours, slides = 10, [], [], []
    for i in range(3):
        tumour = rng.random((6 * side, 5 * side)) < rng.random()
        tissue = tumour | (rng.random(tumour.shape) < 0.5)
        score = rng.integers(0, 5, (6, 5)) / 4
        share = [m.reshape(6, side, 5, side).mean(axis=(1, 3)) for m in (tumour, tissue)]
        label = (share[0] > 0.5).astype(float)
        slides.append(
            slide(f"s{i}", score, label, truth=share[0], tissue=share[1], side=float(side))
        )
        painted.append(score.repeat(side, 0).repeat(side, 1)[tissue])
        tumours.append(tumour[tissue])
        perfect = label.repeat(side, 0).repeat(side, 1)[tissue]
        slides[-1] = (slides[-1], perfect)
    ceilings = [jaccard_score(t, p) for t, (_, p) in zip(tumours, slides, strict=True)]
    fitted = dataclasses.replace(calibration(0.5), tile_um=10.0)
    report = evaluate(cohort(*(one for one, _ in slides)), calibration=fitted, bootstrap=0)
    every = (np.concatenate(tumours), np.concatenate(painted))
    assert value(report, "pixel_auroc") == pytest.approx(
        np.mean([roc_auc_score(t, p) for t, p in zip(tumours, painted, strict=True)]), abs=1e-10
    )
    assert value(report, "pixel_auroc_pooled") == pytest.approx(roc_auc_score(*every), abs=1e-10)
    assert value(report, "pixel_iou") == pytest.approx(jaccard_score(every[0], every[1] >= 0.5))
    assert value(report, "pixel_iou_ceiling_macro") == pytest.approx(np.mean(ceilings))


def test_tiles_of_glass_change_no_figure():
    made = random_cohort()
    padded = []
    for t in made.slides:
        rows, columns = t.lattice.shape
        planes = [x.reshape(rows, columns) for x in (t.score, t.label, t.truth, t.tissue)]
        glass = [
            np.pad(p, ((0, 0), (0, 30)), constant_values=v)
            for p, v in zip(planes, (99.0, 0.0, 0.0, 0.0), strict=True)
        ]
        padded.append(
            slide(t.slide, *glass[:2], truth=glass[2], tissue=glass[3], patient=t.patient)
        )
    fitted = calibration(1.0, Steps("z", 100.0, 2e4, 1e4))
    plain, more = (evaluate(c, calibration=fitted, bootstrap=0) for c in (made, cohort(*padded)))
    for name, figure in plain.metrics.items():
        assert more.metrics[name].value == pytest.approx(figure.value), name


def test_pooled_normalised_figures_are_those_of_normalised_scores():
    made = random_cohort()
    raw = evaluate(made, bootstrap=0)
    moved = cohort(
        *(
            dataclasses.replace(t, score=t.score * (i + 1) + 50 * i)
            for i, t in enumerate(made.slides)
        )
    )
    after = evaluate(moved, bootstrap=0)
    name = "tile_auroc_pooled_normalised"
    assert value(after, name) == pytest.approx(value(raw, name), abs=1e-3)  # ties by rounding
    assert value(after, "tile_auroc_pooled") < value(raw, "tile_auroc_pooled") - 0.05
    assert value(after, "tile_auroc") == pytest.approx(value(raw, "tile_auroc"))
    assert raw.provenance["normaliser"] == "z"
    none = evaluate(moved, calibration=calibration(steps=Steps()), bootstrap=0)
    assert value(none, name) == value(none, "tile_auroc_pooled")


def test_regions_on_normal_slides_count_neighbours_as_the_calibration_says():
    made = cohort(slide("n", [[9, 1], [1, 9]], np.zeros((2, 2))), slide("t", [[9, 1]], [[1, 0]]))
    for connectivity, regions in ((4, 2.0), (8, 1.0)):
        fitted = calibration(8.0, Steps(connectivity=connectivity))
        report = evaluate(made, calibration=fitted, bootstrap=0)
        assert value(report, "fp_regions") == regions


def test_a_slide_of_which_a_part_is_not_labelled_is_not_known_to_be_normal():
    partly = slide("n", [[9, 9]], [[0, math.nan]], truth=[[0, math.nan]])
    report = evaluate(cohort(partly, *HAND.slides), calibration=calibration(8.0), bootstrap=0)
    assert report.per_slide["n"]["fp_mm2"].value is None
    assert value(report, "fp_regions") == 2.0


def test_without_a_calibration_figures_at_a_threshold_are_undefined_and_said_to_be():
    report = evaluate(HAND, bootstrap=10)
    assert report.metrics["iou"].value is None
    assert report.metrics["fp_mm2"].value is None
    assert value(report, "iou_oracle") == pytest.approx(5 / 8)
    assert any("No calibration" in said for said in report.warnings)
    assert check_requirements(report, ["iou>=0"]) == ["iou>=0 (it is undefined)"]


def test_a_slide_without_tumour_has_no_iou_of_its_own():
    report = evaluate(HAND, calibration=calibration(8.0), bootstrap=0)
    own = report.per_slide["normal"]
    assert all(own[name].value is None for name in ("iou", "dice", "tile_auroc", "iou_oracle"))
    assert own["fp_mm2"].value == pytest.approx(0.02)
    assert own["burden"].value == 0.0
    assert report.per_slide["large"]["burden"].value == 0.5
    assert report.per_slide["large"]["fp_mm2"].value is None
    assert report.per_slide["large"]["iou"].value == 1.0
    assert report.per_slide["large"]["tiles"].value == 4.0
    assert any("1 slide without a tumour tile" in said for said in report.warnings)


def test_groups_by_burden_have_the_figures_of_their_slides():
    truth = np.zeros((10, 400))
    truth[0, :2] = 1.0  # 2 of 4000: 0.05 %
    tiny = slide("tiny", truth * 9, truth)
    report = evaluate(cohort(*HAND.slides, tiny), calibration=calibration(8.0), bootstrap=20)
    assert list(report.per_group) == ["normal", "burden<0.1%", "burden≥2%"]
    group = report.per_group["burden≥2%"]
    assert group["slides"].value == 2.0
    assert group["iou_macro"].value == pytest.approx(5 / 8)
    assert report.per_group["normal"]["iou"].value is None
    assert report.per_group["normal"]["fp_regions"].value == 2.0
    assert report.per_group["burden<0.1%"]["iou"].value == 1.0


def test_tumour_too_small_for_the_label_rule_is_said():
    made = slide("tiny", [[1, 2]], [[0, 0]], truth=[[0.3, 0.0]])
    report = evaluate(cohort(made, *HAND.slides), calibration=calibration(0.0), bootstrap=0)
    assert any("Too little tumour" in said and "tiny" in said for said in report.warnings)
    assert report.per_slide["tiny"]["fp_mm2"].value is None  # it is not normal


def test_steps_of_the_calibration_are_applied():
    made = random_cohort()
    steps = Steps("mad", 80.0, 15_000.0, 10_000.0)
    report = evaluate(made, calibration=calibration(0.7, steps), bootstrap=0)
    for t in made.slides:
        called = apply.decide(t, steps, 0.7)
        known = t.tissue > 0
        iou = jaccard_score(t.label[known], called[known])
        own = {name: f.value for name, f in report.per_slide[t.slide].items()}
        assert own["iou"] == pytest.approx(iou)
        raw = roc_auc_score(t.label[known], t.score[known])
        assert own["tile_auroc"] == pytest.approx(raw)
        after = np.maximum(apply.values(t, steps)[known], -1e9)
        assert own["tile_auroc_calibrated"] == pytest.approx(roc_auc_score(t.label[known], after))
        assert own["tile_auroc_calibrated"] != own["tile_auroc"]
        assert own["pixel_iou_ceiling"] == pytest.approx(ceiling(t))


# --- intervals ------------------------------------------------------------------------------------


def test_intervals_are_over_patients():
    made = random_cohort(slides=6)
    together = cohort(*(dataclasses.replace(t, patient="one") for t in made.slides))
    report = evaluate(together, calibration=calibration(1.0), bootstrap=50)
    figure = report.metrics["iou_macro"]
    assert figure.value is not None
    assert (figure.low, figure.high) == (None, None)  # one patient says nothing of others
    report = evaluate(made, calibration=calibration(1.0), bootstrap=50)
    for name in ("iou", "iou_macro", "tile_auroc", "tile_ap_pooled", "pixel_auroc_pooled", "froc"):
        figure = report.metrics[name]
        assert figure.low < figure.value < figure.high, name


def test_a_figure_that_rests_on_one_patient_has_no_interval_and_that_is_said():
    normals = [slide(f"n{i}", [[9, 1, i, 1]], np.zeros((1, 4))) for i in range(10)]
    tumour = slide("t", [[9, 7, 8, 1]], [[1, 1, 0, 0]])
    fitted = calibration(8.0, contribution=LINES)
    report = evaluate(cohort(tumour, *normals), calibration=fitted, bootstrap=50)
    for name in ("iou_macro", "iou", "tile_auroc", "pixel_auroc_pooled", "froc", "froc@1"):
        figure = report.metrics[name]
        assert figure.value is not None, name
        assert (figure.low, figure.high) == (None, None), name
    false = report.metrics["fp_mm2"]  # ten patients behind it
    assert false.low < false.value < false.high
    last = report.provenance["contribution"][-1]
    assert [last[name]["low"] for name in ("iou", "froc")] == [None, None]
    assert last["gain"]["iou"]["value"] is not None
    assert last["gain"]["iou"]["low"] is None
    assert any("rest on a single patient" in s and "iou_macro" in s for s in report.warnings)
    without = evaluate(cohort(tumour, *normals), calibration=fitted, bootstrap=0)
    assert not any("single patient" in said for said in without.warnings)
    other = dataclasses.replace(tumour, slide="u", patient="u")
    both = evaluate(cohort(tumour, other, *normals), calibration=fitted, bootstrap=50)
    assert both.metrics["froc"].low is not None
    assert not any("single patient" in said for said in both.warnings)


def test_the_same_seed_gives_the_same_report():
    made = random_cohort()
    first, second = (evaluate(made, calibration=calibration(), bootstrap=30) for _ in range(2))
    assert first == second
    json.dumps(first.document(), allow_nan=False)


# --- the contribution of each step ----------------------------------------------------------------


LINES = (
    Row("none", Steps(), "youden", 1.0),
    Row("+ z", Steps("z"), "iou", 0.8),
    Row("+ clean-up", Steps("z", 0.0, 15_000.0, 10_000.0), "iou", 0.6),
)


def test_every_line_of_the_contribution_is_applied_under_its_own_threshold():
    made = random_cohort()
    fitted = calibration(0.6, LINES[-1].steps, contribution=LINES)
    report = evaluate(made, calibration=fitted, bootstrap=40)
    lines = report.provenance["contribution"]
    assert [line["name"] for line in lines] == ["none", "+ z", "+ clean-up"]
    for line, row in zip(lines, LINES, strict=True):
        alone = evaluate(made, calibration=calibration(row.threshold, row.steps), bootstrap=40)
        for name in ("iou", "iou_macro", "iou_oracle", "froc"):
            assert line[name] == dataclasses.asdict(alone.metrics[name]), name
        calibrated = alone.metrics["tile_auroc_calibrated"]
        assert line["tile_auroc"] == dataclasses.asdict(calibrated)
    assert lines[0]["gain"] == {}
    gain = lines[1]["gain"]["iou_macro"]
    assert gain["value"] == pytest.approx(
        lines[1]["iou_macro"]["value"] - lines[0]["iou_macro"]["value"]
    )
    assert gain["low"] <= gain["value"] <= gain["high"]


def test_gains_are_paired():
    made = random_cohort()
    twice = (LINES[1], dataclasses.replace(LINES[1], name="again"))
    report = evaluate(made, calibration=calibration(contribution=twice), bootstrap=40)
    gain = report.provenance["contribution"][1]["gain"]
    assert set(map(tuple, (one.values() for one in gain.values()))) == {(0.0, 0.0, 0.0)}


# --- FROC -----------------------------------------------------------------------------------------


def lesion_cohort(**names):
    """Three slides of 20 × 20 tiles of 100 µm: lesions at (3, 3) and (12, 15), at (5, 8), none."""
    rng = np.random.default_rng(0)
    made = []
    for key, places in {"a": [(3, 3), (12, 15)], "b": [(5, 8)], "c": []}.items():
        score, label = rng.random((20, 20)) / 10, np.zeros((20, 20))
        for r, c in places:
            label[r : r + 4, c : c + 4] = 1
            score[r + 1, c + 1] = 5.0 + r
        made.append(slide(names.get(key, key), score, label))
    return cohort(*made)


def test_peaks_in_lesions_give_the_froc_and_tiles_their_lesions():
    report = evaluate(lesion_cohort(), bootstrap=0)
    assert value(report, "froc") == 1.0
    assert report.provenance["froc"] == {
        "slides": 3, "lesions": 3, "isolated_tumour_cells": 0, "detections": "peaks of the values",
    }  # fmt: skip
    assert any("made of tumour tiles" in said for said in report.warnings)


def test_names_of_slides_do_not_say_whether_they_have_tumour():
    names = {"a": "normal_001", "b": "test_002", "c": "Tumor_003"}
    assert value(evaluate(lesion_cohort(**names), bootstrap=0), "froc") == 1.0


def test_outlines_decide_where_lesions_are():
    square = shapely.box(300, 300, 700, 700)
    outlines = {
        "a": Outlines(square, NOTHING), "b": Outlines(NOTHING, NOTHING),
        "c": Outlines(NOTHING, NOTHING),
    }  # fmt: skip
    report = evaluate(lesion_cohort(), outlines=outlines, bootstrap=0)
    assert report.provenance["froc"]["lesions"] == 1
    # Highest scores: 17 (a) and 10 (b) are false alarms now, 8 (a) finds it: ⅔ a slide.
    assert [value(report, f"froc@{r}") for r in ("0.25", "0.5", "1")] == [0.0, 0.0, 1.0]
    away = shapely.box(1000, 1000, 2000, 2000)
    outlines = {**outlines, "a": Outlines(square, away)}
    report = evaluate(lesion_cohort(), outlines=outlines, bootstrap=0)
    assert value(report, "froc@0.5") == 1.0  # only b's is left


@pytest.mark.parametrize("side", [100.0, 250.0])
def test_a_detection_in_tissue_of_unknown_truth_is_no_false_alarm(side):
    blank, made = [], lesion_cohort().slides
    for one in made:
        unknown = one.lattice.column >= 19
        score = np.where(unknown, 99.0, one.score)
        label, truth = (np.where(unknown, math.nan, x) for x in (one.label, one.truth))
        blank.append(
            dataclasses.replace(one, score=score, label=label, truth=truth, size_px0=(side, side))
        )
    assert value(evaluate(cohort(*blank), bootstrap=0), "froc") == 1.0
    empty = {one.slide: Outlines(NOTHING, shapely.box(0, 0, 1, 1)) for one in made[1:]}
    report = evaluate(cohort(*blank), outlines=empty, bootstrap=0)
    assert report.provenance["froc"]["lesions"] == 2
    assert value(report, "froc@0.5") == 1.0  # b's lesion is a false alarm now, the blank is none
    known = [dataclasses.replace(b, truth=m.truth) for b, m in zip(blank, made, strict=True)]
    assert value(evaluate(cohort(*known), bootstrap=0), "froc") < 1.0  # shares say: no tumour


def test_detections_that_are_brought_take_the_place_of_peaks():
    brought = {
        "a": Points(np.array([[500.0, 500.0], [1700.0, 1400.0]]), np.array([0.9, 0.8])),
        "b": Points(np.zeros((0, 2)), np.zeros(0)),
        "z": Points(np.zeros((0, 2)), np.zeros(0)),
    }
    report = evaluate(lesion_cohort(), detections=brought, bootstrap=0)
    assert value(report, "froc") == pytest.approx(2 / 3)
    assert report.provenance["froc"]["slides"] == 2
    said = " ".join(report.warnings)
    assert "no file of detections" in said
    assert "1 slide, c." in said
    assert "not evaluated here: z" in said
    with pytest.raises(InputError, match="None of the 3 slides"):
        evaluate(lesion_cohort(), detections={"z": brought["z"]}, bootstrap=0)


def test_slides_without_mpp_are_left_out_of_froc_by_name():
    made = lesion_cohort()
    blind = dataclasses.replace(made.slides[1], mpp=None)
    report = evaluate(cohort(made.slides[0], blind), bootstrap=0)
    assert report.provenance["froc"]["lesions"] == 2
    assert any("`mpp`" in said and "1 slide, b." in said for said in report.warnings)
    none = evaluate(cohort(blind), bootstrap=0)
    assert none.metrics["froc"].value is None


def test_of_a_plateau_made_by_cleaning_the_peak_is_where_the_score_was_highest():
    score = np.zeros((9, 9))
    score[3:6, 5:7] = 1.0
    score[4, 6] = 2.0
    label = np.zeros((9, 9))
    label[3:6, 6:9] = 1.0
    steps = Steps("none", 0.0, 20_000.0, 0.0)
    made = cohort(slide("a", score, label))
    report = evaluate(made, calibration=calibration(0.5, steps), bootstrap=0)
    assert value(report, "froc@0.25") == 1.0  # otherwise the first of equals, beside the lesion


# --- what does not fit ----------------------------------------------------------------------------


def test_a_calibration_of_other_scores_labels_or_tiles_is_refused():
    fitted = calibration()
    evaluate(HAND, calibration=fitted, bootstrap=0)
    for other, said in (
        ({"score": "score_b"}, "column 'score_b'"),
        ({"rule": "any"}, "rule 'any'"),
        ({"tile_um": 97.0}, r"large: its tiles are 100 µm wide, those of .* 97 µm"),
        ({"tile_um": None, "tile_px0": 256.0}, "100 px wide"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(HAND, calibration=dataclasses.replace(fitted, **other), bootstrap=0)
    for fine in ({"tile_um": 98.1}, {"tile_px0": 256.0}, {"rule": ""}):
        evaluate(HAND, calibration=dataclasses.replace(fitted, **fine), bootstrap=0)


def test_the_label_rule_matters_only_where_there_are_labels():
    fitted = dataclasses.replace(calibration(), rule="any")
    unknown = slide("a", [[1, 0]], [[math.nan, math.nan]])
    fits.check(cohort(unknown), fitted)  # for a heatmap
    with pytest.raises(InputError, match="rule 'any'"):
        fits.check(cohort(unknown, HAND.slides[0]), fitted)


def test_the_size_of_a_tile_is_compared_in_um_where_both_are_known():
    half = slide("half", [[1, 0]], [[1, 0]], side=200.0, mpp=0.5)
    evaluate(cohort(half), calibration=calibration(), bootstrap=0)
    blind = dataclasses.replace(half, mpp=None)
    with pytest.raises(InputError, match="200 px wide"):
        evaluate(cohort(blind), calibration=calibration(), bootstrap=0)


def test_slides_that_were_fitted_on_and_slides_not_annotated_exhaustively_are_named():
    partly = dataclasses.replace(HAND.slides[1], exhaustive=False)
    made = cohort(HAND.slides[0], partly, HAND.slides[2])
    fitted = calibration(8.0, slides=("normal", "large", "elsewhere"))
    said = evaluate(made, calibration=fitted, bootstrap=0).warnings
    assert any("2 evaluated slides were used to fit" in s and "large, normal" in s for s in said)
    assert any("not annotated exhaustively" in s and "small" in s for s in said)
    assert not any("used to fit" in s for s in evaluate(HAND, bootstrap=0).warnings)


def test_a_slide_that_fails_is_listed_and_the_rest_goes_on():
    blind = slide("blind", [[1, 0]], [[1, 0]], mpp=None)
    unknown = slide("unknown", [[1, 0]], [[math.nan, math.nan]])
    fitted = calibration(0.5, Steps("z", 100.0))
    report = evaluate(cohort(*HAND.slides, blind, unknown), calibration=fitted, bootstrap=0)
    assert set(report.per_slide) == {"large", "small", "normal"}
    failed = report.provenance["failed"]
    assert set(failed) == {"blind", "unknown"}
    assert "label" in failed["unknown"]
    assert any("blind" in said for said in report.warnings)


def test_a_slide_of_other_tiles_is_left_out_and_the_rest_goes_on():
    wide = slide("wide", [[9, 1]], [[1, 0]], side=200.0)
    fine = slide("fine", [[9, 1]], [[1, 0]], mpp=0.25)
    made = cohort(*HAND.slides, wide, fine)
    fitted = calibration(8.0, slides=("wide", "large"))
    report = evaluate(made, calibration=fitted, bootstrap=0)
    alone = evaluate(HAND, calibration=fitted, bootstrap=0)
    assert report.metrics == alone.metrics
    failed = report.provenance["failed"]
    assert set(failed) == set(fits.misfits(made, fitted)) == {"wide", "fine"}
    assert "200 µm wide" in failed["wide"]
    assert any("slide fine is left out" in s and "25 µm wide" in s for s in report.warnings)
    assert any("1 evaluated slide was used to fit" in s for s in report.warnings)
    with pytest.raises(InputError, match=r"no slide can be evaluated .*wide: .*200 µm") as raised:
        evaluate(cohort(wide), calibration=fitted, bootstrap=0)
    assert "Bring labels" not in str(raised.value)


def test_a_cohort_without_any_truth_is_refused():
    unknown = slide("unknown", [[1, 0]], [[math.nan, math.nan]])
    with pytest.raises(InputError, match=r"no slide can be evaluated .*unknown"):
        evaluate(cohort(unknown), bootstrap=0)
    with pytest.raises(InputError, match="there is none"):
        evaluate(cohort(), bootstrap=0)


def test_tiles_without_a_label_are_in_no_figure():
    made = slide("a", [[9, 8, 7, 1]], [[1, math.nan, 0, 0]], truth=[[1, 0, 0, 0]])
    report = evaluate(cohort(made), calibration=calibration(7.5), bootstrap=0)
    assert value(report, "iou") == 1.0
    assert value(report, "tile_auroc") == 1.0
    assert value(report, "pixel_iou") == 1.0


def test_a_slide_without_shares_has_no_pixel_figures_and_overlapping_tiles_are_said():
    plain = slide("plain", [[9, 1]], [[1, 0]], truth=np.full((1, 2), math.nan))
    dense = slide("dense", [[9, 1]], [[1, 0]], pitch=50.0)
    report = evaluate(cohort(plain, dense), calibration=calibration(), bootstrap=0)
    assert report.per_slide["plain"]["pixel_auroc"].value is None
    assert report.per_slide["plain"]["tile_auroc"].value == 1.0
    assert any("share of tumour in a tile is not known: plain" in s for s in report.warnings)
    assert any("Tiles overlap" in s and "dense" in s for s in report.warnings)


def test_tumour_outside_tissue_is_missed_and_said():
    made = slide("a", [[9, 9, 1]], [[1, 1, 0]], tissue=[[1.0, 0.0, 1.0]])
    report = evaluate(cohort(made), calibration=calibration(5.0), bootstrap=0)
    assert value(report, "recall") == 0.5
    assert any("1 tumour tile outside tissue" in s for s in report.warnings)


def test_odd_slides_are_evaluated():
    odd = cohort(
        slide("one", [[3.0]], [[1.0]]),
        slide("constant", np.ones((4, 4)), np.eye(4)),
        slide("all", np.arange(4.0).reshape(2, 2), np.ones((2, 2))),
        slide("none", np.arange(4.0).reshape(2, 2), np.zeros((2, 2))),
    )
    fitted = calibration(-math.inf, Steps("z", 50.0, 20_000.0, math.inf))
    report = evaluate(odd, calibration=fitted, bootstrap=20)
    # Whatever is not cleaned away is called: the single tile is, being an object of one tile.
    assert report.per_slide["one"]["iou"].value == 0.0
    assert report.per_slide["constant"]["iou"].value == 0.25
    assert report.per_slide["all"]["iou"].value == 1.0
    json.dumps(report.document(), allow_nan=False)


def test_a_slide_whose_patient_was_fitted_on_is_named():
    found = world(slides=6)
    pairs = [
        dataclasses.replace(tiles, patient=f"p{i // 2}") for i, tiles in enumerate(found.slides)
    ]
    first, second = (dataclasses.replace(found, slides=tuple(pairs[i::2])) for i in (0, 1))
    fitted = calibrate(first, bootstrap=0)
    told = evaluate(second, calibration=fitted, bootstrap=0).warnings
    assert any("others of the same patients" in line and "s01, s03, s05" in line for line in told)


def test_a_calibration_of_scores_of_other_weights_is_refused():
    cohort = a_cohort_with_weights("a")
    fitted = dataclasses.replace(
        SlideCalibration(Steps(), 0.5), provenance={"table": {"weights_sha256": "b"}}
    )
    with pytest.raises(InputError, match="scores of other weights; calibrate again"):
        fits.check(cohort, fitted)
    fits.check(a_cohort_with_weights("b"), fitted)
    fits.check(a_cohort_with_weights(""), fitted)  # nobody knows
    fits.check(cohort, SlideCalibration(Steps(), 0.5))


def a_cohort_with_weights(sha256):
    """No slides; only where they come from counts."""
    told = {"weights_sha256": sha256} if sha256 else {}
    return Cohort("c", (), provenance={"file": "c", **told})
