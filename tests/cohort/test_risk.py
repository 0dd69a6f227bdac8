import dataclasses

import numpy as np
import pytest

from tests.cohort.cohorts import cohort, tiles, world
from wsrpn.cohort import fit, risk
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.cases import Levels, cases_of
from wsrpn.cohort.objective import parse
from wsrpn.errors import InputError
from wsrpn.slides.calibration import Steps


@pytest.mark.parametrize(
    ("limit", "many"), [(0.5, 1), (0.25, 3), (0.2, 4), (0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)]
)
def test_a_promise_needs_so_many_patients(limit, many):
    assert risk.patients_needed(limit) == many
    assert 1 / (many + 1) <= limit + 1e-12
    assert many == 1 or 1 / many > limit


def test_the_next_patient_is_missed_no_more_than_promised_and_not_much_less():
    random = np.random.default_rng(0)
    limit, patients, repeats = 0.2, 11, 150
    missed = []
    for _ in range(repeats):
        many = random.integers(3, 40, size=patients + 1)
        scores = [np.sort(random.normal(random.normal(), 1, size=n)) for n in many]
        slides = [tiles(f"s{i}", [s], [np.ones(len(s))]) for i, s in enumerate(scores[:-1])]
        cases = cases_of(slides, seed=0)
        levels = Levels(tuple(scores[:-1]), tuple(np.zeros(0) for _ in slides))
        keep = np.ones((1, cases.folds), dtype=bool)
        found = fit.thresholds(cases, levels, keep, parse(f"fnr@{limit}"), "macro")[0]
        missed.append((scores[-1] < found).mean())
    error = np.std(missed) / np.sqrt(repeats)
    assert np.mean(missed) <= limit + 3 * error
    assert np.mean(missed) >= limit - 2 / (patients + 1) - 3 * error


def promising(**options):
    found = world(1, slides=11, side=8, normal=1, burden=(0.1, 0.4))
    return calibrate(found, objective="fnr@0.1", bootstrap=50, cross_validate=True, **options)


def test_a_promise_is_kept_on_the_slides_of_the_fit():
    made = promising(steps=Steps("z"))
    miss = 1 - made.figures["recall_macro"].value
    assert (10 * miss + 1) / 11 <= 0.1 + 1e-9
    assert made.held_out["recall_macro"].value < 1
    assert made.contribution == ()


def test_a_promise_is_refused_where_steps_would_be_chosen_on_the_same_slides():
    with pytest.raises(InputError, match="keeps its promise only for steps that were not chosen"):
        promising(normalise=["none", "z"], smooth=[0.0], min_area=[0.0], max_hole=[0.0])


def test_a_promise_of_too_few_patients_is_refused_with_the_number():
    found = world(1, slides=6, side=6, normal=1, burden=(0.1, 0.4))
    with pytest.raises(InputError, match=r"at least 9 patients.*here are 5.*is fnr@0\.167"):
        calibrate(found, objective="fnr@0.1", steps=Steps())
    calibrate(found, objective="fnr@0.167", steps=Steps(), bootstrap=0)


def test_slides_of_one_patient_are_one_patient():
    found = world(1, slides=10, side=6, normal=0, burden=(0.1, 0.4))
    same = tuple(dataclasses.replace(s, patient="p") for s in found.slides[:2])
    with pytest.raises(InputError, match="at least 9 patients"):
        calibrate(
            dataclasses.replace(found, slides=same + found.slides[2:9]),
            objective="fnr@0.1",
            steps=Steps(),
        )


def test_nothing_is_held_out_where_the_rest_could_promise_nothing():
    found = world(1, slides=9, side=6, normal=0, burden=(0.1, 0.4))
    made = calibrate(found, objective="fnr@0.1", steps=Steps(), bootstrap=0, cross_validate=True)
    assert made.held_out == {}
    assert any("Too few patients to hold one out" in said for said in made.warnings)


def test_clean_up_that_removes_the_tumour_breaks_a_promise():
    score = np.full((3, 3), np.nan)
    score[0, 0], score[2, 2] = 1.0, 2.0  # two tiles on their own
    found = cohort(*(tiles(f"s{i}", score, np.eye(3)) for i in range(4)))
    with pytest.raises(InputError, match="clean-up removes so much tumour"):
        calibrate(found, objective="fnr@0.5", steps=Steps(min_area=2.0, unit="tile"))
