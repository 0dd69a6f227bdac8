"""Several trained methods on the same images: figures side by side, and paired differences.

Every run meets the same draws of patients, so a difference is that of two figures on one resampled
test set. A method with several seeds is the mean of its runs.

What the intervals cover is in `wsrpn.metrics.seeds`. Letters of shapes: `s` runs, `r` rows (the
value, then the replicates), `c` columns (the total, then the classes).
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn.calibration import Calibration
from wsrpn.comparison import BOTH, PATIENTS, Comparison, Difference, Method
from wsrpn.data.base import pick
from wsrpn.errors import InputError, nearest
from wsrpn.evaluate import evidence_of, provenance, seen_before, unproven
from wsrpn.metrics import seeds
from wsrpn.metrics.evidence import Evidence, Values, metrics
from wsrpn.metrics.gather import Images, gather
from wsrpn.metrics.panel import Panel
from wsrpn.types import Dataset, Detections, Figure, Predictions, Record

FIGURES = ("auroc", "image_ap", "ap@0.1", "ap@0.3", "ap@0.5", "rodeo", "pointing_game")
MANY = 20  # intervals from which on it is said that some leave out 0 by chance


@dataclass(frozen=True)
class Entry:
    """The answers of one run.

    Attributes:
        name: of the run.
        predictions: as the model gave them.
        calibration: applied first; without one, thresholds are 0.5.
        seed: of the training, None where nobody knows.
    """

    name: str
    predictions: Predictions
    calibration: Calibration | None = None
    seed: int | None = None


def compare(
    methods: Mapping[str, Sequence[Entry]],
    dataset: Dataset,
    *,
    figures: Sequence[str] = (),
    baseline: str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    images: Images = "all",
    over_seeds: bool = True,
) -> Comparison:
    """Methods on one data set.

    Args:
        methods: name → runs that differ in nothing but the seed.
        dataset: truth of the test images.
        figures: names to compare; `FIGURES` where none are given, as far as they are defined.
        baseline: the method that is taken from the others; the first where none is named.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        seed: of the replicates.
        images: what an image without a prediction is, see `wsrpn.metrics.gather.gather`; `listed`
            keeps the images that all runs have.
        over_seeds: False leaves the seeds out of the intervals of differences.

    Raises:
        InputError: fewer than two methods, no class or not the same images in common, an unknown
            figure or baseline.
    """
    if len(methods) < 2:
        raise InputError("At least two methods are needed to compare.")
    base = baseline or next(iter(methods))
    if base not in methods:
        raise InputError(f"--baseline: no method is called '{base}'. {nearest(base, methods)}")
    dataset, notes = _shared(methods, dataset, images)
    evidence = _evidence(methods, dataset, images)
    first = evidence[base, 0]
    found = _measured(methods, evidence, figures, bootstrap, seed)
    differences = tuple(
        _difference((name, runs), (base, methods[base]), found, bootstrap, seed, over_seeds)
        for name, runs in methods.items()
        if name != base
    )
    told = [*dataset.notes, *notes, *_evidence_notes(methods, evidence)]
    told += _reading(methods, differences, len(found.figures), bootstrap)
    facts = provenance(first, dataset, methods[base][0].predictions, bootstrap, seed)
    return Comparison(
        figures=found.figures,
        classes=first.classes,
        methods=tuple(_method(name, runs, found) for name, runs in methods.items()),
        differences=differences,
        warnings=tuple(dict.fromkeys(told)),
        provenance={**facts, "predictions": _sources(methods), "baseline": base},
    )


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


def _measured(
    methods: Mapping[str, Sequence[Entry]],
    evidence: Mapping[tuple[str, int], Evidence],
    figures: Sequence[str],
    bootstrap: int,
    seed: int,
) -> Measured:
    first = next(iter(evidence.values()))
    wanted, parts = _providers(first, figures)
    found = {
        key: Panel(one, names=parts, bootstrap=bootstrap, seed=seed).values()
        for key, one in evidence.items()
    }
    rows = {
        name: {
            figure: np.stack([_rows(found[name, i], figure, first) for i in range(len(runs))])
            for figure in wanted
        }
        for name, runs in methods.items()
    }
    if not figures:  # what no run and no truth defines was not asked for
        wanted = [f for f in wanted if any(~np.isnan(own[f][:, 0]).all() for own in rows.values())]
    values = next(iter(found.values()))[0]
    above = {figure: values[figure].recentred_above for figure in wanted}
    by_class = {figure for figure in wanted if values[figure].per_class is not None}
    return Measured(tuple(wanted), first.classes, rows, above, by_class)


def _sources(methods: Mapping[str, Sequence[Entry]]) -> dict[str, Any]:
    return {e.name: dict(e.predictions.provenance) for runs in methods.values() for e in runs}


def _shared(
    methods: Mapping[str, Sequence[Entry]], dataset: Dataset, images: Images
) -> tuple[Dataset, list[str]]:
    """The classes that all runs and the data have, and with `listed` the images."""
    entries = [entry for runs in methods.values() for entry in runs]
    known = [set(entry.predictions.classes) for entry in entries]
    common = tuple(name for name in dataset.classes if all(name in one for one in known))
    if not common:
        parts = "; ".join(f"{e.name}: {', '.join(e.predictions.classes)}" for e in entries)
        raise InputError(f"No class that all runs and {dataset.name} have in common ({parts}).")
    lost = sorted(set(dataset.classes).union(*known) - set(common))
    notes = []
    if lost:
        notes.append(
            f"Compared on the classes that all have, {', '.join(common)}; left out: "
            f"{', '.join(lost)}."
        )
    if images == "listed":
        ids = set.intersection(*({d.id for d in e.predictions.images} for e in entries))
        dataset = dataset.where(lambda record: record.id in ids)
    picked = dataset if common == dataset.classes else pick(dataset, common)
    return picked, notes


def _evidence(
    methods: Mapping[str, Sequence[Entry]], dataset: Dataset, images: Images
) -> dict[tuple[str, int], Evidence]:
    """Predictions of every run beside the truth, all of the same images."""
    found: dict[tuple[str, int], Evidence] = {}
    for name, runs in methods.items():
        for i, entry in enumerate(runs):
            found[name, i] = evidence_of(entry.predictions, dataset, entry.calibration, images)
    (key, first), *rest = found.items()
    for other, one in rest:
        if one.ids != first.ids:
            both = len(set(one.ids) & set(first.ids))
            names = [methods[name][i].name for name, i in (key, other)]
            raise InputError(
                f"{' and '.join(names)} do not answer for the same images ({len(first)} "
                f"and {len(one)}, {both} in common); --images listed takes those in common."
            )
    return found


def _providers(evidence: Evidence, figures: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the figures, and the registered metrics that give them."""
    gives = _gives(evidence)
    wanted = list(dict.fromkeys(figures or (f for f in FIGURES if f in gives)))
    wanted = list(gives) if wanted == ["all"] else wanted
    for figure in wanted:
        if figure not in gives:
            raise InputError(f"--metric: no figure is called '{figure}'. {nearest(figure, gives)}")
    return wanted, list(dict.fromkeys(gives[figure] for figure in wanted))


def _gives(evidence: Evidence) -> dict[str, str]:
    """Figure → the registered metric that gives it."""
    return {
        figure: name
        for name in metrics
        for figure in metrics.build(name, evidence=evidence).figures(np.ones((1, len(evidence))))
    }


def known() -> tuple[str, ...]:
    """Names of all figures, for whoever wants to know them before there are predictions."""
    record = Record("image", Path("image"), "patient", (1.0,))
    nothing = Detections(
        id=record.id,
        size_px=(1, 1),
        xyxy_px=np.zeros((0, 4)),
        scores=np.zeros(0),
        classes=np.zeros(0, dtype=np.int64),
        image_logits=np.full(1, np.nan),
    )
    dataset = Dataset("", ("class",), (record,))
    return tuple(_gives(gather(Predictions(dataset.classes, (nothing,)), dataset)))


def _rows(
    measured: tuple[Mapping[str, Values], Mapping[str, Values]], figure: str, evidence: Evidence
) -> Float[np.ndarray, "r c"]:
    """The value over its replicates, the total beside the classes."""
    parts = []
    for values in (measured[0][figure], measured[1][figure]):
        classes = values.per_class
        if classes is None:
            classes = np.full((len(values.total), len(evidence.classes)), math.nan)
        parts.append(np.concatenate([values.total[:, None], classes], axis=1))
    return np.concatenate(parts)


def _method(name: str, runs: Sequence[Entry], measured: Measured) -> Method:
    rows = measured.rows[name]
    found = {f: seeds.columns(rows[f].mean(0), measured.above[f]) for f in measured.figures}
    return Method(
        name=name,
        runs=tuple(entry.name for entry in runs),
        seeds=tuple(entry.seed for entry in runs),
        figures={figure: columns[0] for figure, columns in found.items()},
        per_class=_per_class(found, measured),
        per_run={f: tuple(Figure.of(float(v)).value for v in rows[f][:, 0, 0]) for f in found},
    )


def _difference(
    of: tuple[str, Sequence[Entry]],
    minus: tuple[str, Sequence[Entry]],
    measured: Measured,
    bootstrap: int,
    seed: int,
    over_seeds: bool,
) -> Difference:
    noise = None
    if over_seeds:
        mine, theirs = ([entry.seed for entry in runs] for _, runs in (of, minus))
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


def _evidence_notes(
    methods: Mapping[str, Sequence[Entry]], evidence: Mapping[tuple[str, int], Evidence]
) -> list[str]:
    """What was left out on the way; the same note of all runs once, of some with their names."""
    said: dict[str, list[str]] = {}
    for (name, i), one in evidence.items():
        entry = methods[name][i]
        # Classes that not all have are told once, for all.
        notes = [note for note in one.notes if not note.startswith("Left out, ")]
        fitted = entry.calibration
        for note in (*notes, *seen_before(one, fitted), *unproven(entry.predictions, fitted)):
            said.setdefault(note, []).append(entry.name)
    entries = [entry for runs in methods.values() for entry in runs]
    raw = [e.name for e in entries if not e.calibration and not _calibrated(e)]
    if raw:
        said["Not calibrated, so thresholds are 0.5."] = raw
    return [
        note if len(names) == len(entries) else f"{', '.join(names)}: {note}"
        for note, names in said.items()
    ]


def _calibrated(entry: Entry) -> bool:
    return bool(entry.predictions.provenance.get("calibrated"))


def _reading(
    methods: Mapping[str, Sequence[Entry]],
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
