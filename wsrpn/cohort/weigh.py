"""Weights of an ensemble, chosen by what it reaches on patients held out in turn."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from wsrpn.cohort.calibrate import digest
from wsrpn.cohort.cases import Cases, cases_of, levels_of
from wsrpn.cohort.checks import check, labelled, needed
from wsrpn.cohort.combine import combine, common, mean, members
from wsrpn.cohort.ensemble import Ensemble, Tried, given
from wsrpn.cohort.held_out import Assessed, Plan, assess, held_out, own, plan, ranked
from wsrpn.cohort.objective import Objective, parse
from wsrpn.cohort.tally import Tally
from wsrpn.errors import InputError, counted
from wsrpn.slides.calibration import Over, Steps
from wsrpn.tiles import Cohort

STEP = 0.1  # between weights
MOST = 5  # tables: 1001 combinations
ALONE = (
    "Too few patients to hold one out: weights were chosen on the very slides that thresholds were "
    "fitted on."
)


def fit(
    cohorts: Sequence[Cohort],
    names: Sequence[str],
    *,
    objective: str = "iou",
    over: Over = "macro",
    bootstrap: int = 1000,
    seed: int = 0,
    listen: Callable[[int, int], None] | None = None,
) -> Ensemble:
    """Choose weights in steps of 0.1 by what they reach on patients held out in turn.

    Each candidate's mean gets one threshold for all slides, best for the objective on all patients
    but one (more than 20 patients: 20 folds of them), and is judged on that one; nothing is
    smoothed or cleaned. Of equally good weights those nearest to the usual ones are taken.

    Args:
        cohorts: the tables; the labels of the first count.
        names: of the tables.
        objective: as of `calibrate`, but no promise (`fnr@X`).
        over: `macro` for the mean over slides, `pooled` for counts of all slides together.
        bootstrap: replicates behind the intervals.
        seed: of replicates and folds.
        listen: called with the number of candidates done, and of all.

    Raises:
        InputError: one table, or more than 5; an objective that is none or a promise; no slide in
            all tables with what the objective needs.
    """
    aim = _aim(objective, len(cohorts))
    known, left_out = labelled(cohorts[0])
    shared, _ = common((known, *cohorts[1:]), names)
    values_of = [np.stack(members(one)) for one in shared]
    slides = [one[0] for one in shared]
    candidates = _grid(len(cohorts))
    cases = cases_of(slides, seed=seed)
    check(cases, aim, len(candidates))
    fits = plan(cases, needed(cases, aim), nested=True)
    family: list[Assessed] = []
    for weights in candidates:
        scored = [
            dataclasses.replace(tiles, score=mean(values, weights))
            for tiles, values in zip(slides, values_of, strict=True)
        ]
        family.append(_assessed(cases_of(scored, seed=seed), aim, over, fits))
        if listen:
            listen(len(family), len(candidates))
    tally = Tally(cases, bootstrap=bootstrap, seed=seed)
    figure = aim.figure(over)
    places = {id(one): place for place, one in enumerate(family)}
    order = [places[id(one)] for one in ranked(cases, family, aim, over)]
    apart = held_out(cases, family, aim, over) if fits.alone else None
    chosen = given(candidates[order[0]], names, cohorts[0].score)
    combined = combine((known, *cohorts[1:]), chosen)
    return dataclasses.replace(
        chosen, objective=aim.text, over=over, rule=cohorts[0].rule, figure=figure,
        slides=tuple(tiles.slide for tiles in slides),
        patients=tuple(dict.fromkeys(tiles.patient for tiles in slides)),
        digest=digest(combined.slides),
        tried=tuple(
            Tried(candidates[i], tally.figures(own(cases, family[i]))[figure]) for i in order
        ),
        held_out=tally.figures(apart.called) if apart else {},
        warnings=(*left_out, *(() if fits.alone else (ALONE,)), *unused(chosen)),
    )  # fmt: skip


def unused(chosen: Ensemble) -> list[str]:
    """A sentence on tables that a fit gave no weight, if there are any."""
    shares = list(zip(chosen.names, chosen.weights, strict=True))
    without = [name for name, weight in shares if weight == 0]
    if not without:
        return []
    used = ", ".join(name for name, weight in shares if weight > 0)
    adds = "adds" if len(without) == 1 else "add"
    return [f"{', '.join(without)} {adds} nothing to {used} on these slides: the weight is 0."]


def _aim(objective: str, tables: int) -> Objective:
    aim = parse(objective)
    if aim.name == "fnr":
        raise InputError(
            f"Objective '{objective}': a promise holds for weights fixed beforehand only; choose "
            "them by another objective, and calibrate other patients with this one."
        )
    if not 2 <= tables <= MOST:
        raise InputError(f"{counted(tables, 'table')}: a fit takes 2 to {MOST}; give --weights.")
    return aim


def _grid(tables: int) -> list[tuple[float, ...]]:
    """All weights in steps of 0.1 that add up to 1, those nearest to the usual ones first."""
    whole = round(1 / STEP)
    usual = np.array(given([], ["_"] * tables).weights)
    rows = [
        tuple(part / whole for part in parts)
        for parts in itertools.product(range(whole + 1), repeat=tables)
        if sum(parts) == whole
    ]
    return sorted(rows, key=lambda row: (round(float(np.abs(row - usual).sum()), 9), row))


def _assessed(cases: Cases, aim: Objective, over: Over, fits: Plan) -> Assessed:
    """What one mean of the tables reaches, without any steps."""
    regions = aim.name == "fp_regions"
    ((steps, levels),) = levels_of(cases, [Steps(unit="tile")], regions=regions, listen=None)
    return assess(cases, levels, steps, aim, over, fits)
