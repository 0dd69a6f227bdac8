"""Slides held out in turn: folds of patients, what candidates reach, and which is chosen.

A *fold* is a patient, or a group of them where there are more than 20. Thresholds are fitted with
every fold left out and, nested, with every pair of folds left out: then the steps, too, can be
chosen without the fold that they are judged on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.cohort.cases import Cases, Levels, Listener, levels_of
from wsrpn.cohort.fit import counts, thresholds
from wsrpn.cohort.objective import BEST, Objective, value
from wsrpn.slides.calibration import Over, Steps

AS_GOOD = 1e-9  # of figures that differ by less the simpler steps are taken


@dataclass(frozen=True)
class Plan:
    """Which fits are made, and which of them judges which slide.

    Attributes:
        keep: the folds of every fit; the first keeps all.
        without: number of the fit without a fold.
        judge: number of the fit whose threshold a slide is judged by while a fold is held out:
            without this fold and the slide's own.
        alone: whether anything can be held out: without any fold there are slides to fit on.
        nested: the same without any two.
    """

    keep: Bool[np.ndarray, "e f"]
    without: Int[np.ndarray, " f"]
    judge: Int[np.ndarray, "f s"]
    alone: bool
    nested: bool


def plan(cases: Cases, needed: Bool[np.ndarray, " s"], *, nested: bool) -> Plan:
    """The fits to be made.

    Args:
        cases: slides and their folds.
        needed: slides that a threshold can be fitted on; some must be left.
        nested: whether pairs of folds are wanted.
    """
    folds = len(np.unique(cases.fold[needed]))
    nested = nested and folds >= 3
    every = np.ones((1, cases.folds), dtype=bool)
    one = ~np.eye(cases.folds, dtype=bool)
    without = 1 + np.arange(cases.folds) if folds >= 2 else np.zeros(cases.folds, dtype=np.int64)
    rows = [every, one] if folds >= 2 else [every]
    pair = np.tile(without[:, None], (1, cases.folds))
    if nested:
        first, second = np.triu_indices(cases.folds, k=1)
        pair[first, second] = pair[second, first] = 1 + cases.folds + np.arange(len(first))
        rows.append(one[first] & one[second])
    return Plan(np.concatenate(rows), without, pair[:, cases.fold], folds >= 2, nested)


@dataclass(frozen=True)
class Assessed:
    """What one candidate reaches, as hits and false alarms per slide.

    Attributes:
        steps: the candidate.
        objective: of the threshold.
        threshold: fitted on all slides.
        apart: fitted without each fold.
        fitted: at `threshold`.
        inner: while a fold is held out: its own slides at the threshold without it, the others at
            the threshold without it and their own fold.
        oracle: IoU of each slide at its own best threshold; nan without tumour.
    """

    steps: Steps
    objective: Objective
    threshold: float
    apart: Float[np.ndarray, " f"]
    fitted: Float[np.ndarray, "2 s"]
    inner: Float[np.ndarray, "2 f s"]
    oracle: Float[np.ndarray, " s"]


def assess(
    cases: Cases, levels: Levels, steps: Steps, objective: Objective, over: Over, fits: Plan
) -> Assessed:
    """Fit all thresholds of one candidate and count."""
    found = thresholds(cases, levels, fits.keep, objective, over)
    called = np.stack(counts(levels, found))
    slides = np.arange(len(cases))
    inner = called[:, slides, fits.judge]
    return Assessed(
        steps,
        objective,
        float(found[0]),
        found[fits.without],
        called[:, :, 0],
        inner,
        oracle(levels),
    )


def assess_all(
    cases: Cases,
    wanted: Sequence[tuple[Steps, Objective]],
    over: Over,
    fits: Plan,
    listen: Listener | None = None,
) -> dict[tuple[Steps, Objective], Assessed]:
    """`assess` of many candidates, whose grids are made once.

    Args:
        cases: the slides.
        wanted: steps, each with the objective of its threshold.
        over: mean over slides, or pooled.
        fits: to be made.
        listen: called with what is done and of how much.
    """
    objectives: dict[Steps, list[Objective]] = {}
    for steps, objective in wanted:
        objectives.setdefault(steps, []).append(objective)
    regions = any(objective.name == "fp_regions" for _, objective in wanted)
    result = {}
    for steps, levels in levels_of(cases, objectives, regions=regions, listen=listen):
        for objective in objectives[steps]:
            result[steps, objective] = assess(cases, levels, steps, objective, over, fits)
    return result


def oracle(levels: Levels) -> Float[np.ndarray, " s"]:
    """IoU of each slide at its own best threshold, an upper bound; nan without tumour."""
    best = np.full(len(levels.positives), np.nan)
    for s, (tumour, other) in enumerate(zip(levels.positives, levels.negatives, strict=True)):
        if len(tumour):
            one = Levels((tumour,), (other,))
            hits, false = counts(one, tumour[tumour > -np.inf])
            total, rest = np.array([[len(tumour)]], float), np.array([[len(other)]], float)
            best[s] = value("iou", hits, false, total, rest).max(initial=0.0)
    return best


def own(cases: Cases, assessed: Assessed) -> Float[np.ndarray, "2 s"]:
    """Hits and false alarms of every slide at the threshold without its fold."""
    return assessed.inner[:, cases.fold, np.arange(len(cases))]


def ranked(cases: Cases, family: Sequence[Assessed], aim: Objective, over: Over) -> list[Assessed]:
    """Candidates by what they reach on slides held out, the best first.

    Of equally good ones the first of the family leads.

    Args:
        cases: the slides.
        family: the candidates.
        aim: what they are compared by, whatever their thresholds are best for.
        over: mean over slides, or pooled.
    """
    called = np.stack([own(cases, one) for one in family], axis=1)
    reached = _judged(cases, called, np.ones(len(cases)), aim, over)
    first = _first_best(reached)
    rest = [i for i in np.argsort(-reached, kind="stable") if i != first]
    return [family[i] for i in [first, *rest]]


@dataclass(frozen=True)
class HeldOut:
    """What a family of candidates reaches on slides that played no part at all.

    Attributes:
        chosen: the candidate for each fold, chosen without it.
        called: hits and false alarms per slide at steps and threshold found without its fold.
        oracle: IoU of each slide at its own best threshold after these steps.
    """

    chosen: tuple[Assessed, ...]
    called: Float[np.ndarray, "2 s"]
    oracle: Float[np.ndarray, " s"]

    def threshold(self, fold: int) -> float:
        """Fitted without a fold, after the steps chosen without it."""
        return float(self.chosen[fold].apart[fold])


def held_out(cases: Cases, family: Sequence[Assessed], aim: Objective, over: Over) -> HeldOut:
    """Choose steps for every fold without it, and count on it; arguments as of `ranked`."""
    inner = np.stack([one.inner for one in family], axis=2)  # 2, folds, candidates, slides
    chosen, called = [], np.zeros((2, len(cases)))
    best = np.full(len(cases), np.nan)
    for f in range(cases.folds):
        here = cases.fold == f
        weights = (~here).astype(np.float64)
        first = family[_first_best(_judged(cases, inner[:, f], weights, aim, over))]
        chosen.append(first)
        called[:, here] = first.inner[:, f, here]
        best[here] = first.oracle[here]
    return HeldOut(tuple(chosen), called, best)


def _judged(
    cases: Cases,
    called: Float[np.ndarray, "2 c s"],
    weights: Float[np.ndarray, " s"],
    aim: Objective,
    over: Over,
) -> Float[np.ndarray, " c"]:
    """The aim per candidate or, where a limit is kept anyway, how much tumour is found."""
    hits, false = called
    name = aim.name if aim.name in BEST else "recall"
    if over == "pooled":
        counts_of = (hits, false, cases.positives[None], cases.negatives[None])
        return value(name, *((x @ weights)[None] for x in counts_of))[0]
    weights = weights * (cases.positives > 0)
    totals = cases.positives[:, None], cases.negatives[:, None]
    return weights @ value(name, hits.T, false.T, *totals) / max(weights.sum(), 1)


def _first_best(reached: Float[np.ndarray, " c"]) -> int:
    return int(np.argmax(reached >= reached.max() - AS_GOOD))
