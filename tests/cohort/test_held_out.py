import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from tests.cohort.cohorts import called, cohort, tiles, world
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.cases import MOST_FOLDS, cases_of
from wsrpn.cohort.held_out import assess_all, held_out, own, plan
from wsrpn.cohort.objective import parse
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps

FAMILY = (Steps(), Steps("z"), Steps("z", 128.0), Steps("mad", 0.0, 5e4), Steps("none", 256.0))
LIMITED = ("specificity@0.95", "fp_mm2@0.2", "fp_regions@1.5")


def assessed(found, objective, over):
    cases, aim = cases_of(found.slides, seed=0), parse(objective)
    needed = cases.normal if aim.from_normals else cases.positives > 0
    if aim.name == "specificity":
        needed = cases.negatives > 0
    fits = plan(cases, needed, nested=True)
    made = assess_all(cases, [(steps, aim) for steps in FAMILY], over, fits)
    return cases, [made[steps, aim] for steps in FAMILY], aim


def family_of(found, objective, over):
    """The calibration among FAMILY, by way of the whole function."""
    options = {
        "normalise": ["none", "z"],
        "smooth": [0.0, 128.0],
        "min_area": [0.0, 5e4],
        "max_hole": [0.0],
    }
    return calibrate(
        found, objective=objective, over=over, bootstrap=0, cross_validate=True, **options
    )


@pytest.mark.parametrize(
    ("objective", "over"),
    [("iou", "macro"), ("iou", "pooled"), ("f1", "macro"), *((name, "macro") for name in LIMITED)],
)
def test_a_slide_held_out_is_judged_by_a_calibration_that_never_saw_it(objective, over):
    found = world(4, slides=5, side=10, normal=2 if objective.startswith("fp") else 1)
    whole = family_of(found, objective, over)
    counts, regions = np.zeros((2, len(found))), []
    for i, slide in enumerate(found.slides):
        others = found.only({s.slide for s in found.slides} - {slide.slide})
        made = family_of(others, objective, over)
        values = apply.values(slide, made.steps)
        counts[:, i] = called(cohort(slide), [values], made.threshold)[:, 0]
        if not slide.label.any():
            regions.append(ndimage.label(slide.lattice.marked(values >= made.threshold))[1])
    positives = np.array([(s.label == 1).sum() for s in found.slides])
    pooled = counts[0].sum() / (positives.sum() + counts[1].sum())
    assert whole.held_out["iou"].value == pytest.approx(pooled, abs=1e-12)
    sick = positives > 0
    macro = (counts[0] / np.maximum(positives + counts[1], 1))[sick].mean()
    assert whole.held_out["iou_macro"].value == pytest.approx(macro, abs=1e-12)
    assert whole.held_out["fp_regions"].value == pytest.approx(np.mean(regions))


@pytest.mark.parametrize("objective", ["iou", "youden", *LIMITED])
def test_steps_for_a_slide_are_those_chosen_without_it(objective):
    found = world(7, slides=6, side=16, normal=3)
    cases, family, aim = assessed(found, objective, "macro")
    whole = held_out(cases, family, aim, "macro")
    for i, slide in enumerate(found.slides):
        others = found.only({s.slide for s in found.slides} - {slide.slide})
        rest, again, _ = assessed(others, objective, "macro")
        hits = np.stack([own(rest, one)[0] for one in again])
        false = np.stack([own(rest, one)[1] for one in again])
        sick = rest.positives > 0
        share = {"iou": hits / np.maximum(rest.positives + false, 1)}
        share["youden"] = hits / np.maximum(rest.positives, 1) - false / rest.negatives
        each = share.get(objective, hits / np.maximum(rest.positives, 1))
        best = int(np.argmax(np.round(each[:, sick].mean(axis=1), 9)))
        fold = cases.fold[i]
        assert whole.chosen[fold].steps == FAMILY[best]
        assert whole.chosen[fold].apart[fold] == again[best].threshold


def test_slides_of_a_patient_are_never_on_both_sides():
    found = world(2, slides=6, side=12, normal=0)
    twins = tuple(
        dataclasses.replace(slide, patient=f"p{i // 2}") for i, slide in enumerate(found.slides)
    )
    cases, family, _ = assessed(dataclasses.replace(found, slides=twins), "iou", "macro")
    assert cases.folds == 3
    for f in range(3):
        names = {s.slide for s, at in zip(twins, cases.fold, strict=True) if at != f}
        apart = [one.apart[f] for one in family]
        _, plain, _ = assessed(found.only(names), "iou", "macro")
        assert apart == [one.threshold for one in plain]


def test_many_patients_share_20_folds_with_tumour_in_each():
    found = world(0, slides=53, side=5, normal=30, burden=(0.1, 0.3))
    cases = cases_of(found.slides, seed=1)
    assert cases.folds == MOST_FOLDS
    per_fold = np.bincount(cases.fold, cases.positives > 0)
    assert per_fold.min() >= 1
    assert per_fold.max() <= 2
    assert np.bincount(cases.fold).max() <= 3
    assert not np.array_equal(cases.fold, cases_of(found.slides, seed=2).fold)


def test_the_oracle_is_the_best_threshold_of_each_slide_alone():
    found = world(5, slides=4, side=14, normal=1)
    _, family, _ = assessed(found, "iou", "macro")
    for steps, one in zip(FAMILY, family, strict=True):
        assert np.isnan(one.oracle[0])
        for slide, best in list(zip(found.slides, one.oracle, strict=True))[1:]:
            values = apply.values(slide, steps)
            each = [called(cohort(slide), [values], t)[:, 0] for t in np.unique(values)[1:]]
            total = (slide.label == 1).sum()
            assert best == pytest.approx(max(h / (total + f) for h, f in each), abs=1e-12)


def test_normalisers_do_not_move_the_oracle():
    _, family, _ = assessed(world(8, slides=4, side=14), "iou", "macro")
    assert np.allclose(family[0].oracle, family[1].oracle, equal_nan=True, atol=0)


def test_equally_good_candidates_leave_the_simplest():
    label = np.array([[0, 0, 1, 1]])
    found = cohort(*(tiles(f"s{i}", [[0.0, 0.1, 5.0, 6.0]], label) for i in range(4)))
    made = calibrate(found, smooth=[0.0, 64.0], min_area=[0.0], bootstrap=0)
    assert made.steps == Steps()
    assert made.figures["iou_macro"].value == 1.0
    # All that call alike are one line, but every normaliser shows its best.
    perfect = [row for row in made.choices if row.held_out["iou_macro"].value == 1.0]
    assert len(perfect) == len({row.steps.normalise for row in made.choices}) == 5
