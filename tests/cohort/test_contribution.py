import numpy as np
import pytest

from tests.cohort.cohorts import reached, world
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.contribution import lines
from wsrpn.cohort.objective import parse
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps

NAMES = ("none", "+ normalise", "+ threshold for iou", "+ clean-up", "+ smoothing")
CHOICES = {
    "normalise": ["none", "z", "mad"],
    "smooth": [0.0, 128.0, 256.0],
    "min_area": [0.0, 4e4],
    "max_hole": [0.0, np.inf],
}


@pytest.fixture(scope="module")
def made():
    return calibrate(world(3, slides=6, side=20), cross_validate=True, bootstrap=200, **CHOICES)


def test_lines_add_one_step_after_the_other(made):
    assert tuple(row.name for row in made.contribution) == NAMES
    none, normalise, threshold, clean, smooth = (row.steps for row in made.contribution)
    assert none == Steps()
    assert (normalise.smooth, normalise.min_area, normalise.max_hole) == (0.0, 0.0, 0.0)
    assert (threshold.smooth, threshold.min_area, threshold.max_hole) == (0.0, 0.0, 0.0)
    assert clean.smooth == 0.0
    assert smooth == made.steps
    assert [row.objective for row in made.contribution] == ["youden"] * 2 + ["iou"] * 3


def test_the_last_line_is_the_calibration(made):
    last = made.contribution[-1]
    assert last.threshold == made.threshold
    for name, figure in last.held_out.items():
        assert figure == made.held_out[name]
        assert last.fitted[name] == made.figures[name]


def test_gains_are_differences_of_the_lines_with_paired_intervals(made):
    assert made.contribution[0].gain == {}
    for before, now in zip(made.contribution, made.contribution[1:], strict=False):
        gain = now.gain["iou_macro"]
        differ = now.held_out["iou_macro"].value - before.held_out["iou_macro"].value
        assert gain.value == pytest.approx(differ, abs=1e-12)
        assert gain.low <= gain.value <= gain.high
    first = made.contribution[1]
    if first.steps == Steps():
        assert first.gain["iou_macro"].high - first.gain["iou_macro"].low < 0.5


def test_a_line_that_changes_nothing_gains_exactly_nothing():
    plain = calibrate(
        world(3, slides=5, side=14, jitter=0.0),
        normalise=["none"],
        smooth=[0.0, 200.0],
        min_area=[0.0],
        max_hole=[0.0],
        bootstrap=50,
    )
    names = [row.name for row in plain.contribution]
    assert names == ["none", "+ threshold for iou", "+ smoothing"]


def test_every_line_is_one_threshold_for_all_slides(made):
    found = world(3, slides=6, side=20)
    for row in made.contribution:
        values = [apply.values(s, row.steps) for s in found.slides]
        for over, name in (("macro", "iou_macro"), ("pooled", "iou")):
            by_hand = reached(found, values, row.threshold, "iou", over)
            assert row.fitted[name].value == pytest.approx(by_hand, abs=1e-12)


def test_without_choices_lines_have_the_given_steps():
    given = Steps("mad", 100.0, 3e4, 0.0)
    table = lines([given], parse("iou"), parse("youden"))
    assert [line.candidates for line in table] == [
        (Steps(),),
        (Steps("mad"),),
        (Steps("mad"),),
        (Steps("mad", 0.0, 3e4),),
        (given,),
    ]


def test_scanners_that_differ_make_normalising_worth_while():
    found = world(11, slides=8, side=24, jitter=0.8, shift=3.0, burden=(0.03, 0.1))
    made = calibrate(found, bootstrap=300, **{**CHOICES, "smooth": [0.0]})
    gain = made.contribution[1].gain["iou_macro"]
    assert made.contribution[1].steps.normalise != "none"
    assert gain.low > 0
