"""Schedules of the loss weights: half-open phases, ramps without jumps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpn.config import Phase
from wsrpn.train.phases import weights_at

shares = st.floats(0.0, 2.0, allow_subnormal=False)
phase_lists = st.lists(
    st.builds(
        dict,
        length=st.floats(0.25, 4.0),
        ramp=st.just(0.0) | st.floats(0.1, 6.0),
        curve=st.sampled_from(["linear", "cosine"]),
        weights=st.fixed_dictionaries({}, optional={"a": shares, "b": shares}),
    ),
    min_size=1,
    max_size=4,
)


def scheduled(parts):
    """Phases of the lengths drawn, and the epochs at which they begin and end."""
    ends = [sum(part["length"] for part in parts[: n + 1]) for n in range(len(parts))]
    keys = ("weights", "ramp", "curve")
    made = [
        Phase(until=end, **{key: part[key] for key in keys})
        for part, end in zip(parts, ends, strict=True)
    ]
    return made, [0.0, *ends]


@given(phase_lists)
def test_a_phase_is_half_open_and_begins_where_the_one_before_ended(parts):
    phases, borders = scheduled(parts)
    for n, phase in enumerate(phases):
        start, just_before = borders[n], borders[n] - 1e-9
        before = weights_at(phases, just_before) if n else {}
        at_start = weights_at(phases, start)
        if phase.ramp:  # no jump, even from a ramp that had not got to its end
            for name in "ab":
                assert at_start.get(name, 0) == pytest.approx(before.get(name, 0), abs=1e-6)
        else:
            assert at_start == phase.weights


@given(phase_lists)
def test_a_ramp_ends_at_the_weights_of_its_phase_without_a_jump(parts):
    phases, borders = scheduled(parts)
    for phase, start, end in zip(phases, borders, borders[1:], strict=False):
        done = start + phase.ramp * (1 + 1e-12)
        if done < end:
            assert weights_at(phases, done) == phase.weights
            near = weights_at(phases, max(start, done - 1e-9))
            for name, weight in phase.weights.items() if phase.ramp else ():
                assert near[name] == pytest.approx(weight, abs=1e-6)


@given(phase_lists)
def test_within_a_phase_every_weight_moves_one_way_and_stays_between_its_ends(parts):
    phases, borders = scheduled(parts)
    for phase, start, end in zip(phases, borders, borders[1:], strict=False):
        moments = [start + (end - start) * n / 20 for n in range(20)]
        for name in "ab":
            values = [weights_at(phases, moment).get(name, 0.0) for moment in moments]
            target = phase.weights.get(name, 0.0)
            assert values in (sorted(values), sorted(values, reverse=True))
            assert min(values[0], target) - 1e-12 <= min(values)
            assert max(values) <= max(values[0], target) + 1e-12


@given(phase_lists, st.floats(0.0, 20.0))
def test_weights_depend_on_the_moment_alone_and_stay_after_the_last_phase(parts, epoch):
    phases, _ = scheduled(parts)
    again = weights_at([Phase(**vars(phase)) for phase in phases], epoch)
    assert weights_at(phases, epoch) == again
    open_end = [*phases[:-1], Phase(**{**vars(phases[-1]), "until": None})]
    assert weights_at(open_end, epoch) == again, "the last phase stays, whatever its end"


def test_a_cosine_is_half_a_wave_slow_at_both_ends_and_in_the_middle_a_line():
    curves = {
        curve: [
            weights_at([Phase(weights={"a": 2.0}, ramp=4.0, curve=curve)], epoch)["a"]
            for epoch in (0.0, 0.01, 1.0, 2.0, 3.0, 3.99, 4.0)
        ]
        for curve in ("linear", "cosine")
    }
    assert curves["linear"] == pytest.approx([0.0, 0.005, 0.5, 1.0, 1.5, 1.995, 2.0])
    assert curves["cosine"] == pytest.approx(
        [1 - math.cos(math.pi * epoch / 4) for epoch in (0.0, 0.01, 1.0, 2.0, 3.0, 3.99, 4.0)]
    )


def test_a_ramp_that_its_phase_cuts_short_is_where_the_next_one_starts_from():
    phases = [
        Phase(weights={"a": 1.0}, until=2.0, ramp=4.0),
        Phase(weights={"b": 1.0}, ramp=2.0),
    ]
    assert weights_at(phases, 2.0) == pytest.approx({"a": 0.5, "b": 0.0})
    assert weights_at(phases, 3.0) == pytest.approx({"a": 0.25, "b": 0.5})
    assert weights_at(phases, 4.0) == {"b": 1.0}
