"""Values and replicates of runs → figures of methods and paired differences between them.

For everything that is compared, whatever its figures are of: `wsrpn.compare` has images with
labels and boxes, `wsrpn.segmentation.compare` masks.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from wsrpn.comparison import BOTH, PATIENTS, Difference, Method
from wsrpn.errors import InputError, nearest
from wsrpn.metrics import seeds
from wsrpn.types import Figure

MANY = 20  # intervals from which on it is said that some leave out 0 by chance


@runtime_checkable
class Run(Protocol):
    """What is asked of a run."""

    @property
    def name(self) -> str:
        """How it is called in the comparison."""

    @property
    def seed(self) -> int | None:
        """Of the training, None where nobody knows."""


Methods = Mapping[str, Sequence[Run]]


@dataclass(frozen=True)
class Measured:
    """Values and replicates of all runs.

    Attributes:
        figures: names.
        classes: names.
        rows: method → figure → runs.
        above: figure → see `wsrpn.metrics.intervals.figure`.
        by_class: figures that classes have a part in.
    """

    figures: tuple[str, ...]
    classes: tuple[str, ...]
    rows: Mapping[str, Mapping[str, seeds.Rows]]
    above: Mapping[str, float | None]
    by_class: Set[str]


def check(methods: Methods, baseline: str | None) -> str:
    """The method that is taken from the others: the first where none is named.

    Raises:
        InputError: fewer than two methods, or none of that name.
    """
    if len(methods) < 2:
        raise InputError("At least two methods are needed to compare.")
    base = baseline or next(iter(methods))
    if base not in methods:
        raise InputError(f"--baseline: no method is called '{base}'. {nearest(base, methods)}")
    return base


def methods_of(methods: Methods, measured: Measured) -> tuple[Method, ...]:
    """The mean over the runs of each method."""
    return tuple(_method(name, runs, measured) for name, runs in methods.items())


def differences(
    methods: Methods,
    base: str,
    measured: Measured,
    *,
    bootstrap: int,
    seed: int,
    over_seeds: bool,
) -> tuple[Difference, ...]:
    """Every other method minus the baseline.

    Args:
        methods: name → runs.
        base: name of the baseline.
        measured: values and replicates, all of the same draws.
        bootstrap: how many replicates there are.
        seed: of the draws that stand for other seeds.
        over_seeds: False leaves these out.
    """
    return tuple(
        _difference((name, runs), (base, methods[base]), measured, bootstrap, seed, over_seeds)
        for name, runs in methods.items()
        if name != base
    )


def _method(name: str, runs: Sequence[Run], measured: Measured) -> Method:
    rows = measured.rows[name]
    found = {f: seeds.columns(rows[f].mean(0), measured.above[f]) for f in measured.figures}
    return Method(
        name=name,
        runs=tuple(run.name for run in runs),
        seeds=tuple(run.seed for run in runs),
        figures={figure: columns[0] for figure, columns in found.items()},
        per_class=_per_class(found, measured),
        per_run={f: tuple(Figure.of(float(v)).value for v in rows[f][:, 0, 0]) for f in found},
    )


def _difference(
    of: tuple[str, Sequence[Run]],
    minus: tuple[str, Sequence[Run]],
    measured: Measured,
    bootstrap: int,
    seed: int,
    over_seeds: bool,
) -> Difference:
    noise = None
    if over_seeds:
        mine, theirs = ([run.seed for run in runs] for _, runs in (of, minus))
        noise = seeds.noise(mine, theirs, replicates=bootstrap, seed=seed)
    one, other = measured.rows[of[0]], measured.rows[minus[0]]
    # A difference of figures that resampling raises has such a bias too, but no lowest value.
    above = {f: None if measured.above[f] is None else -math.inf for f in measured.figures}
    found = {f: seeds.difference(one[f], other[f], noise, above=above[f]) for f in measured.figures}
    return Difference(
        of=of[0],
        minus=minus[0],
        figures={figure: columns[0] for figure, columns in found.items()},
        per_class=_per_class(found, measured),
        covers=PATIENTS if noise is None else BOTH,
    )


def _per_class(
    found: Mapping[str, Sequence[Figure]], measured: Measured
) -> dict[str, dict[str, Figure]]:
    return {
        label: {f: columns[i + 1] for f, columns in found.items() if f in measured.by_class}
        for i, label in enumerate(measured.classes)
    }


def told(notes: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """What must be said of runs: a note that all have once, one that some have with their names.

    Args:
        notes: name of each run and its notes.
    """
    said: dict[str, list[str]] = {}
    for name, own in notes:
        for note in dict.fromkeys(own):
            said.setdefault(note, []).append(name)
    return [
        note if len(names) == len(notes) else f"{', '.join(names)}: {note}"
        for note, names in said.items()
    ]


def reading(
    methods: Methods,
    differences: Sequence[Difference],
    figures: int,
    bootstrap: int,
) -> list[str]:
    """How the intervals are to be read."""
    if not bootstrap:
        return ["No replicates were drawn, so there are no intervals."]
    several = [name for name, runs in methods.items() if len(runs) > 1]
    notes = ["Intervals of values are over patients; they do not cover other seeds."]
    if several and any(d.covers == BOTH for d in differences):
        notes.append(
            "Intervals of differences are over patients (the same draws for all) and seeds "
            "(Student's t)."
        )
    elif several:
        notes.append("Intervals of differences are over patients (the same draws for all) only.")
    alone = [name for name, runs in methods.items() if len(runs) == 1]
    if alone:
        verb = "has" if len(alone) == 1 else "have"
        notes.append(
            f"{', '.join(alone)} {verb} one run: differences say nothing of other seeds of it."
        )
    few = [name for name, runs in methods.items() if len(runs) == 2]
    if few and several:
        notes.append(f"Two seeds tell little of the spread: {', '.join(few)}.")
    if figures * len(differences) >= MANY:
        notes.append(
            f"Of {figures * len(differences)} intervals of differences, about one in twenty leaves "
            "out 0 by chance alone."
        )
    return notes
