"""A search on paper: what the picture shows of it, and what the tables say."""

import csv
import io

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wsrpn.report import draw, search, trials
from wsrpn.report.trials import Found, Span, Trial

SCALES = {
    "train.lr": Span(1e-5, 1e-1, log=True),
    "train.batch": Span(1.0, 64.0),
    "model.name": ("cam", "wsrpn"),
    "phases.2.weights": ({"a": 1}, {"a": 2}, None, "图 $x$"),
}


def trial(number, state="complete", value=0.5, **more):
    chosen = {
        "train.lr": 10.0 ** -(1 + number % 4), "train.batch": 1 + number,
        "model.name": ("cam", "wsrpn")[number % 2],
        "phases.2.weights": SCALES["phases.2.weights"][number % 4],
    }  # fmt: skip
    return Trial(number, state, value, 3, 1.5, chosen, **more)


def found(*trials, lower=False, **more):
    return Found("Mine", "loss" if lower else "ap@0.3", lower, SCALES, trials, **more)


MIXED = (
    trial(0, value=0.3), trial(1, value=0.2), trial(2, "pruned", 0.1),
    trial(3, "failed", None, reason="diverged, | at step 3"), trial(4, value=0.6),
    trial(5, "running", None),
)  # fmt: skip


def marks_of(axes, face=None):
    """Corners of the circles in an axes: hollow ones, or those of a colour."""
    chosen = [line for line in axes.get_lines() if line.get_marker() == "o"]
    return [line.get_xydata() for line in chosen if line.get_markerfacecolor() == face][0]


@pytest.mark.parametrize("lower", [False, True])
def test_best_first_and_equal_ones_by_number(lower):
    values = (0.4, 0.9, 0.1, 0.4)
    trials = [trial(n, value=value) for n, value in enumerate(values)]
    order = [2, 0, 3, 1] if lower else [1, 0, 3, 2]
    assert [t.number for t in found(*trials, lower=lower).best()] == order
    assert found(*MIXED).best() == [MIXED[4], MIXED[0], MIXED[1]]
    again = trial(4, value=0.6, reason="same values as trial 4")
    assert found(*MIXED, again).best()[0] is MIXED[4]
    assert len(found(*MIXED, again).best()) == 3


def test_pruned_trials_are_hollow_and_the_best_one_coloured_in_every_panel():
    history, *panels = search.picture(found(*MIXED)).axes
    assert len(panels) == len(SCALES)
    assert_allclose(marks_of(history, "none"), [[2, 0.1]])
    assert_allclose(marks_of(history, draw.LINES[0]), [[0, 0.3], [1, 0.2], [4, 0.6]])
    assert_allclose(marks_of(history, draw.LINES[1]), [[4, 0.6]])
    crosses = [line for line in history.get_lines() if line.get_marker() == "x"]
    assert_allclose(crosses[0].get_xdata(), [3])
    for panel in panels:
        assert_allclose(marks_of(panel, "none")[:, 1], [0.1])
        assert_allclose(sorted(marks_of(panel, draw.LINES[0])[:, 1]), [0.2, 0.3, 0.6])
    assert_allclose(marks_of(panels[0], draw.LINES[1]), [[0.1, 0.6]])


@pytest.mark.parametrize("lower", [False, True])
def test_the_best_so_far_never_gets_worse_and_ends_with_the_best(lower):
    values = np.random.default_rng(0).random(20)
    given = found(*[trial(n, value=float(v)) for n, v in enumerate(values)], lower=lower)
    steps = [
        line for line in search.picture(given).axes[0].get_lines() if line.get_linewidth() == 1.2
    ]
    drawn = np.asarray(steps[0].get_ydata())
    assert_allclose(drawn[:20], (np.minimum if lower else np.maximum).accumulate(values))
    assert drawn[-1] == given.best()[0].value


def test_axes_are_what_was_searched():
    _, rate, batch, name, weights = search.picture(found(*MIXED)).axes
    assert rate.get_xscale() == "log"
    assert rate.get_xlim()[0] < 1e-5 < 1e-1 < rate.get_xlim()[1]
    assert batch.get_xscale() == "linear"
    assert batch.get_xlim()[1] > 64
    assert [label.get_text() for label in name.get_xticklabels()] == ["cam", "wsrpn"]
    assert len(weights.get_xticks()) == 4
    places = marks_of(name, draw.LINES[0])[:, 0]
    assert_allclose(np.round(places), [0, 1, 0]), "each beside its own choice"
    assert len(set(places)) == 3


def test_equal_choices_do_not_hide_each_other():
    given = found(*[trial(4 * n, value=0.5) for n in range(12)])
    name = search.picture(given).axes[3]
    places = np.sort(marks_of(name, draw.LINES[0])[:, 0])
    assert np.diff(places).min() > 0.01
    assert np.abs(places).max() < 0.5


@pytest.mark.parametrize("few", [(), MIXED[:1], MIXED[3:4], MIXED[5:]], ids=len)
def test_few_trials_make_a_picture_and_tables(tmp_path, few):
    given = found(*few)
    draw.save(search.picture(given), tmp_path / "a.png")
    draw.save(search.picture(given), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(trials.table(given).splitlines()) == 1 + len(few)
    assert trials.markdown(given).startswith("# Mine\n")


def test_the_csv_has_every_trial_with_every_digit_of_its_values():
    rows = list(csv.DictReader(io.StringIO(trials.table(found(*MIXED)))))
    assert [row["state"] for row in rows] == [t.state for t in MIXED]
    assert [row["value"] for row in rows] == ["0.3", "0.2", "0.1", "", "0.6", ""]
    assert [float(row["train.lr"]) for row in rows] == [t.chosen["train.lr"] for t in MIXED]
    assert rows[3]["reason"] == "diverged, | at step 3"
    assert rows[0]["phases.2.weights"] == '{"a": 1}'


def test_the_table_says_what_failed_and_what_must_be_said():
    text = trials.markdown(found(*MIXED, notes=("Boxes chose.",)))
    assert "6 trials (3 complete, 1 pruned, 1 failed, 1 running)" in text
    assert "- Boxes chose.\n- trial 3 failed: diverged, | at step 3\n" in text
    lines = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert lines == ['| 1 | 4 | 0.6 | 3 | 0.1 | 5 | cam | {"a": 1} |']
