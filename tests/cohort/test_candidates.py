import dataclasses
import math

import numpy as np
import pytest

from tests.cohort.cohorts import MPP, PITCH_PX0, cohort, tiles, world
from wsrpn.cohort.candidates import candidates, described
from wsrpn.errors import InputError
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps

USUAL = {
    "normalise": None,
    "smooth": None,
    "min_area": None,
    "max_hole": None,
    "unit": None,
    "connectivity": 4,
}


def test_usual_sizes_are_of_the_lattice_whatever_the_unit():
    found = world(slides=2, side=4)
    cells = {apply.cells(found.slides[0], steps) for steps in candidates(found, **USUAL)}
    unknown = world(slides=2, side=4, mpp=None)
    plain = {apply.cells(unknown.slides[0], steps) for steps in candidates(unknown, **USUAL)}
    assert {round(c.sigma[0], 2) for c in cells} == {0.0, 0.5, 1.0, 1.5, 2.0, 3.0}
    assert {round(c.sigma[0], 2) for c in plain} == {0.0, 0.5, 1.0, 1.5, 2.0, 3.0}
    assert {math.ceil(c.min_area) for c in cells} == {0, 2, 5, 10}
    assert {math.floor(c.max_hole) for c in plain if c.max_hole < math.inf} == {0, 5}
    assert max(c.max_hole for c in cells) == math.inf


def test_a_pitch_that_differs_in_the_fourth_digit_decides_nothing():
    one = tiles("a", np.zeros((3, 3)), np.zeros((3, 3)))
    lattice = dataclasses.replace(one.lattice, pitch_px0=(PITCH_PX0 + 0.2, PITCH_PX0 + 0.2))
    other = dataclasses.replace(one, slide="b", patient="b", lattice=lattice)
    for steps in candidates(cohort(one, other), **USUAL):
        here, there = apply.cells(one, steps), apply.cells(other, steps)
        assert math.ceil(here.min_area) == math.ceil(there.min_area)
        if steps.max_hole < math.inf:
            assert math.floor(here.max_hole) == math.floor(there.max_hole)


def test_the_simplest_steps_come_first_and_none_twice():
    found = candidates(world(slides=2, side=4), **USUAL)
    assert found[0] == Steps()
    assert len(set(found)) == len(found) == 5 * 6 * 4 * 3
    assert {steps.unit for steps in found} == {"um"}


def test_reference_tissue_is_a_candidate_where_all_slides_have_it():
    grid = np.zeros((2, 2))
    with_it = cohort(tiles("a", grid, grid, reference=grid == 0))
    assert "reference" in {s.normalise for s in candidates(with_it, **USUAL)}
    without = cohort(*with_it.slides, tiles("b", grid, grid))
    assert "reference" not in {s.normalise for s in candidates(without, **USUAL)}
    with pytest.raises(InputError, match=r"column `reference`.*the first b"):
        candidates(without, **{**USUAL, "normalise": ["reference"]})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"normalise": ["zz"]}, "No normaliser is called 'zz'"),
        ({"normalise": []}, "No normaliser is given"),
        ({"smooth": [-1.0]}, "smooth -1.0: a size is 0 or more"),
        ({"min_area": [math.nan]}, "min_area nan"),
        ({"max_hole": []}, "No max_hole is given"),
        ({"smooth": [math.inf]}, "Only max_hole can be endless"),
        ({"connectivity": 6}, "Connectivity is 4 or 8, not 6"),
    ],
)
def test_what_is_no_candidate_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        candidates(world(slides=2, side=4), **{**USUAL, **given})


def test_micrometres_without_mpp_are_refused_with_the_slide():
    grid = np.zeros((2, 2))
    found = cohort(tiles("a", grid, grid, mpp=MPP), tiles("b", grid, grid, mpp=None))
    assert {s.unit for s in candidates(found, **USUAL)} == {"tile"}
    with pytest.raises(InputError, match="b: sizes in µm need mpp"):
        candidates(found, **{**USUAL, "unit": "um"})


def test_steps_are_described_in_words():
    steps = Steps("mad", 1.5, 4.5, 5.5, unit="tile")
    assert described(steps) == "mad, σ 1.5 tiles, objects ≥ 4.5 tiles, holes ≤ 5.5 tiles"
