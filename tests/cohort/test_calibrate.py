import dataclasses
import json
import math

import numpy as np
import pytest

from tests.cohort.cohorts import called, cohort, reached, tiles, world
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.checks import within
from wsrpn.errors import InputError
from wsrpn.slides import apply
from wsrpn.slides.calibration import SlideCalibration, Steps
from wsrpn.tiles import AS_GIVEN

FEW = {
    "normalise": ["none", "z"],
    "smooth": [0.0, 200.0],
    "min_area": [0.0, 4e4],
    "max_hole": [0.0],
}
ONE = {"normalise": ["z"], "smooth": [0.0], "min_area": [0.0], "max_hole": [0.0]}


def quick(found, **options):
    return calibrate(found, **{**FEW, "bootstrap": 20, **options})


@pytest.mark.parametrize("over", ["macro", "pooled"])
def test_figures_are_those_of_the_steps_and_the_threshold_it_says(over):
    found = world(0, slides=5, side=18)
    made = quick(found, over=over)
    decided = [apply.decide(s, made.steps, made.threshold).astype(float) for s in found.slides]
    for name, kind, mean in (
        ("iou_macro", "iou", "macro"),
        ("iou", "iou", "pooled"),
        ("dice_macro", "f1", "macro"),
        ("youden", "youden", "pooled"),
        ("youden_macro", "youden", "macro"),
    ):
        by_hand = reached(found, decided, 1.0, kind, mean)
        assert made.figures[name].value == pytest.approx(by_hand, abs=1e-12)
    hits, false = called(found, decided, 1.0)
    assert made.figures["precision"].value == pytest.approx(hits.sum() / (hits + false).sum())
    area = false[0] * 128.0**2 / 1e6  # the first slide has no tumour
    assert made.figures["fp_mm2"].value == pytest.approx(area)


def test_the_choice_is_the_best_of_the_choices_held_out():
    made = quick(world(1, slides=6, side=18))
    reach = [row.held_out["iou_macro"].value for row in made.choices]
    assert reach == sorted(reach, reverse=True)
    assert (made.choices[0].steps, made.choices[0].threshold) == (made.steps, made.threshold)
    assert {row.steps.normalise for row in made.choices} == {"none", "z"}


def test_the_oracle_is_an_upper_bound_and_intervals_hold_their_values():
    made = quick(world(2, slides=7, side=18, normal=2), cross_validate=True, bootstrap=200)
    for figures in (made.figures, made.held_out):
        assert figures["iou_oracle"].value >= figures["iou_macro"].value
        for figure in figures.values():
            assert figure.low <= figure.value <= figure.high


def test_held_out_figures_come_only_when_asked_for():
    assert quick(world(1, slides=4, side=12)).held_out == {}


def test_a_calibration_is_the_same_every_time_and_in_any_order_of_slides():
    found = world(3, slides=6, side=14, normal=2)
    turned = dataclasses.replace(found, slides=found.slides[::-1])
    one, again, other = (quick(c, cross_validate=True) for c in (found, found, turned))
    assert one == again
    assert (one.steps, one.threshold, one.digest) == (other.steps, other.threshold, other.digest)
    # Replicates are drawn by patient, not by place; sums of floats may differ in the last digit.
    for name, figure in one.held_out.items():
        assert dataclasses.astuple(other.held_out[name]) == pytest.approx(
            dataclasses.astuple(figure), rel=1e-12
        )


def test_what_is_saved_is_read_back_equal(tmp_path):
    found = dataclasses.replace(world(4, slides=5, side=14), provenance={"file": "scores.csv"})
    made = quick(found, max_hole=[math.inf], cross_validate=True)
    made.save(tmp_path / "calibration.json")
    assert SlideCalibration.load(tmp_path / "calibration.json") == made
    assert made.provenance["table"] == {"file": "scores.csv"}


def test_a_calibration_says_what_it_was_fitted_on():
    found = world(5, slides=5, side=12)
    made = quick(dataclasses.replace(found, score="score_kl", rule="share@0.5"))
    assert (made.score, made.rule, quick(found).rule) == ("score_kl", "share@0.5", AS_GIVEN)
    assert made.slides == tuple(s.slide for s in found.slides)
    assert (made.tile_um, made.tile_px0) == (128.0, 256.0)
    assert made.provenance["slides_with_tumour"] == 4
    assert made.provenance["slides_without_tumour"] == 1
    moved = dataclasses.replace(found.slides[0], score=found.slides[0].score + 1e-6)
    other = quick(dataclasses.replace(found, slides=(moved, *found.slides[1:])))
    assert other.digest != made.digest == quick(found).digest


def test_the_colour_scale_is_of_all_slides_before_clean_up():
    found = world(6, slides=4, side=14)
    made = quick(found, min_area=[6e4], smooth=[150.0])
    values = np.concatenate([apply.smoothed(s, made.steps) for s in found.slides])
    assert made.colour == pytest.approx(tuple(np.percentile(values, (5, 95))))


def test_steps_of_another_calibration_are_taken_as_they_are():
    steps = Steps("mad", 1.0, 3.0, 2.0, unit="tile", connectivity=8)
    made = calibrate(world(1, slides=4, side=12), steps=steps, bootstrap=0)
    assert made.steps == steps
    assert [row.steps for row in made.choices] == [steps]


def test_progress_is_told_to_the_end():
    told = []
    quick(world(1, slides=4, side=10), listen=lambda done, of: told.append((done, of)))
    assert told == [(i + 1, 8) for i in range(8)]  # 2 smoothings of 4 slides


def test_slides_without_labels_are_left_out_and_named():
    found = world(1, slides=5, side=12)
    dark = dataclasses.replace(
        found.slides[2], label=np.full(144, np.nan), truth=np.full(144, np.nan)
    )
    made = quick(dataclasses.replace(found, slides=(*found.slides[:2], dark, *found.slides[3:])))
    assert "s02" not in made.slides
    assert "1 slide without labels left out: s02." in made.warnings
    with pytest.raises(InputError, match="no slide has labels"):
        quick(cohort(dark))


def test_tiles_without_label_count_for_nothing():
    found = world(2, slides=4, side=14, normal=0)
    one = found.slides[1]
    hidden = np.where(np.arange(len(one)) % 5 == 0, np.nan, one.label)
    made = quick(cohort(found.slides[0], dataclasses.replace(one, label=hidden), *found.slides[2:]))
    slides = (found.slides[0], dataclasses.replace(one, label=hidden), *found.slides[2:])
    decided = [apply.decide(s, made.steps, made.threshold).astype(float) for s in slides]
    assert made.figures["iou"].value == pytest.approx(
        reached(cohort(*slides), decided, 1.0, "iou", "pooled")
    )


def test_one_patient_with_tumour_is_fitted_and_the_user_told():
    found = world(1, slides=3, side=12, normal=2)
    made = quick(found, cross_validate=True)
    assert made.held_out == {}
    assert all(row.held_out == {} for row in (*made.choices, *made.contribution))
    assert any(said.startswith("Too few patients to hold one out") for said in made.warnings)


def test_two_patients_are_held_out_with_a_word_on_how_steps_were_chosen():
    made = quick(world(1, slides=2, side=12, normal=0), cross_validate=True)
    assert made.held_out["iou_macro"].value is not None
    assert any(said.startswith("Two patients only") for said in made.warnings)


def test_one_tile_one_slide_is_defined():
    made = quick(cohort(tiles("s", [[0.3]], [[1.0]])))
    assert made.threshold == 0.3
    assert made.figures["iou_macro"].value == 1.0
    assert made.figures["specificity"].value is None


def test_constant_scores_are_defined():
    label = np.eye(4)
    flat = cohort(*(tiles(f"s{i}", np.ones((4, 4)), label) for i in range(3)))
    every = {name: choice for name, choice in FEW.items() if name != "normalise"}
    made = calibrate(flat, bootstrap=0, **every)
    assert made.figures["iou_macro"].value == pytest.approx(0.25)


def test_scores_that_say_nothing_call_nothing_by_youden_and_the_user_is_told():
    upside_down = [tiles(f"s{i}", [[0.0, 1.0, 2.0]], [[1, 0, 0]]) for i in range(3)]
    made = calibrate(cohort(*upside_down), objective="youden", bootstrap=0, **ONE)
    assert made.threshold == math.inf
    assert any("nothing is called tumour" in said for said in made.warnings)


def test_scores_that_are_upside_down_are_told_and_kept_though_each_slide_has_its_own_offset():
    label = [[1, 1, 0, 0]]
    down = [tiles(f"s{i}", [[i, i + 1.0, i + 0.5, i + 2.0]], label) for i in range(3)]
    words = "Scores are lower in tumour than in normal tiles (AUROC 0.250)"
    made = calibrate(cohort(*down), bootstrap=0, **ONE)
    assert sum(said.startswith(words) for said in made.warnings) == 1
    # The right way round on each slide, though the most burdened slide has the lowest scores.
    up = [tiles("a", [[5.0, 6.0, 4.0, 3.0]], label), tiles("b", [[1.0, 2.0, 0.5, 0.0]], label)]
    made = calibrate(cohort(*up), bootstrap=0, **ONE)
    assert not any("lower in tumour" in said for said in made.warnings)


def test_slides_of_one_label_each_are_ranked_together():
    slides = [tiles("a", [[1.0, 2.0]], [[1, 1]]), tiles("b", [[3.0, 1.5]], [[0, 0]])]
    assert within(slides) == pytest.approx(0.25)
    assert math.isnan(within(slides[:1]))


def test_a_threshold_that_calls_all_tiles_is_told():
    down = [tiles(f"s{i}", [[0.0, 1.0, 2.0, 3.0]], [[1, 0, 0, 0]]) for i in range(3)]
    made = calibrate(cohort(*down), bootstrap=0, **ONE)
    assert made.figures["recall"].value == 1
    assert made.figures["precision"].value == pytest.approx(0.25)
    said = [one for one in made.warnings if one.startswith("The threshold calls all tiles")]
    assert len(said) == 1
    assert "precision of 0.250" in said[0]
    good = [tiles(f"s{i}", [[3.0, 0.0, 1.0, 2.0]], [[1, 0, 0, 0]]) for i in range(3)]
    assert not any("calls all" in w for w in calibrate(cohort(*good), bootstrap=0, **ONE).warnings)


def test_an_object_limit_above_all_tumour_of_a_slide_is_told():
    found = world(1, slides=5, side=16, burden=(0.004, 0.01))  # one to three tiles
    made = quick(found, min_area=[10 * 128.0**2])
    assert any(
        "smaller than the objects that clean-up removes: s01, s02" in w for w in made.warnings
    )


@pytest.mark.parametrize(("seed", "settled"), [(1, True), (4, False)])
def test_what_is_chosen_without_each_slide_is_kept_and_an_unsettled_choice_told(seed, settled):
    found = world(seed, slides=5, side=14)
    made = quick(found)
    without = made.provenance["without"]
    assert [one["slides"] for one in without] == [[s.slide] for s in found.slides]
    for one, slide in zip(without, found.slides, strict=True):
        rest = quick(found.only({s.slide for s in found.slides} - {slide.slide}), bootstrap=0)
        assert (one["steps"], one["threshold"]) == (rest.choices[0].name, rest.threshold)
    assert settled != any("is not settled by these slides" in said for said in made.warnings)


def test_slides_with_missing_truth_are_named():
    found = world(1, slides=4, side=12)
    partial = dataclasses.replace(found.slides[1], exhaustive=False)
    made = quick(cohort(found.slides[0], partial, *found.slides[2:]))
    assert any("known to be missing from the truth took part: s01" in w for w in made.warnings)


def test_much_tumour_moves_what_is_normal_and_the_user_is_told():
    found = world(1, slides=4, side=20, normal=0, burden=(0.15, 0.3), shift=5.0)
    told = [w for w in quick(found, normalise=["z"]).warnings if "takes as normal" in w]
    assert len(told) == 1
    assert "s00, s01, s02, s03" in told[0]
    assert not [w for w in quick(found, normalise=["none"]).warnings if "takes as normal" in w]


def test_a_label_rule_that_caps_the_pixels_is_told():
    found = world(1, slides=4, side=12)
    thin = tuple(dataclasses.replace(s, truth=0.2 * s.label) for s in found.slides)
    made = quick(dataclasses.replace(found, slides=thin))
    assert made.provenance["label_ceiling"] == pytest.approx(0.2)
    assert any("pixel IoU below 0.5 on 3 slides, 0.20" in w for w in made.warnings)
    assert quick(found).provenance["label_ceiling"] == 1.0


def test_slides_of_another_tile_size_are_named():
    found = world(1, slides=4, side=12)
    made = quick(
        cohort(dataclasses.replace(found.slides[3], size_px0=(300.0, 300.0)), *found.slides[:3])
    )
    assert any("differ by more than 2 %" in w and "s03" in w for w in made.warnings)


@pytest.mark.parametrize("objective", ["fp_mm2@0.2", "fp_regions@2"])
def test_slides_without_tumour_are_enough_for_a_budget_of_false_alarms(objective):
    found = world(1, slides=4, side=12, normal=4)
    made = calibrate(found, objective=objective, bootstrap=0, cross_validate=True, **ONE)
    name, limit = objective.split("@")
    assert made.figures[name].value <= float(limit)
    assert made.held_out[name].value is not None
    assert made.figures["iou_macro"].value is None
    with pytest.raises(InputError, match="nothing tells 8 combinations of steps apart"):
        quick(found, objective=objective)


def test_a_budget_is_fitted_without_the_tumour_of_other_slides():
    found = world(1, slides=6, side=12, normal=3)
    moved = [
        dataclasses.replace(s, score=s.score * 3) if s.label.any() else s for s in found.slides
    ]
    steps = Steps("none")
    one = calibrate(found, objective="fp_mm2@0.2", steps=steps, bootstrap=0)
    other = calibrate(cohort(*moved), objective="fp_mm2@0.2", steps=steps, bootstrap=0)
    assert one.threshold == other.threshold


@pytest.mark.parametrize(
    ("options", "normal", "said"),
    [
        ({"objective": "iuo"}, 1, "No objective is called 'iuo'"),
        ({"objective": "iou"}, 4, "No slide has tumour, which objective iou needs"),
        ({"objective": "fp_mm2@1"}, 0, "known to have no tumour, and none of 4 slides is one"),
        ({"objective": "fnr@0"}, 0, "no finite number of slides can promise that"),
    ],
)
def test_an_objective_that_these_slides_cannot_have_is_refused(options, normal, said):
    with pytest.raises(InputError, match=said):
        quick(world(1, slides=4, side=8, normal=normal), **options)


def test_areas_need_micrometres():
    found = world(1, slides=4, side=8, mpp=None)
    with pytest.raises(InputError, match=r"s00: objective fp_mm2@1 needs mpp"):
        calibrate(found, objective="fp_mm2@1", bootstrap=0)
    made = quick(found, smooth=None, min_area=[0.0], bootstrap=0)
    assert made.steps.unit == "tile"
    assert made.tile_um is None
    assert "fp_mm2" not in made.figures


def test_a_slide_that_is_partly_unlabelled_is_not_one_without_tumour():
    found = world(1, slides=4, side=8)
    unsure = dataclasses.replace(found.slides[0], label=np.where(np.arange(64) < 3, np.nan, 0.0))
    with pytest.raises(InputError, match="known to have no tumour"):
        quick(cohort(unsure, *found.slides[1:]), objective="fp_regions@1")


def test_steps_that_these_slides_chose_are_not_held_out_and_promise_nothing():
    found = world(slides=6, normal=0)
    first = calibrate(found, bootstrap=0, cross_validate=True, **FEW)
    again = calibrate(found, bootstrap=0, cross_validate=True, steps=first.chosen)
    assert first.held_out
    assert not again.held_out
    assert not any(row.held_out for row in (*again.choices, *again.contribution))
    assert any("chosen on 6 slides" in line for line in again.warnings)
    with pytest.raises(InputError, match="chosen on other patients"):
        calibrate(found, objective="fnr@0.5", steps=first.chosen)


def test_steps_of_other_patients_are_held_out_and_may_promise():
    first = calibrate(world(slides=5, normal=0), bootstrap=0, **FEW)
    chosen = dataclasses.replace(first.chosen, slides=("x",), patients=("y",))
    later = calibrate(world(slides=5, normal=0), bootstrap=0, cross_validate=True, steps=chosen)
    assert later.held_out
    assert set(later.chosen.slides) == {"x", *later.slides}
    assert set(later.chosen.patients) == {"y", *later.patients}


def test_glass_is_no_true_negative():
    random = np.random.default_rng(0)
    score, label = random.normal(size=(20, 20)), np.zeros((20, 20))
    label[:3, :3] = 1
    tissue = np.ones((20, 20))
    tissue[:, 10:] = 0.0
    found = cohort(*(tiles(name, score + label, label, tissue=tissue) for name in ("a", "b")))
    fitted = calibrate(
        found, objective="specificity@0.9", normalise=["none"], smooth=[0.0], min_area=[0.0],
        max_hole=[0.0], bootstrap=0,
    )  # fmt: skip
    one = found.slides[0]
    other = (one.label == 0) & (one.tissue > 0)
    spared = float((one.score[other] < fitted.threshold).mean())
    assert fitted.figures["specificity"].value == pytest.approx(spared)
    assert 0.9 <= spared < 0.92


def test_a_slide_with_less_tumour_than_a_tile_is_not_normal():
    tiny = tiles("tiny", np.ones((3, 3)), np.zeros((3, 3)))
    share = tiny.truth.copy()
    share[0] = 0.1
    assert tiny.normal
    assert not dataclasses.replace(tiny, truth=share).normal
    assert not dataclasses.replace(tiny, exhaustive=False).normal


def test_a_threshold_that_nothing_reaches_is_kept_as_null(tmp_path):
    fitted = calibrate(world(slides=3), bootstrap=0, **ONE)
    fitted = dataclasses.replace(fitted, threshold=math.inf)
    fitted.save(tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["threshold"] is None
    assert SlideCalibration.load(tmp_path / "c.json") == fitted
