"""Several trained methods on the same images: figures side by side, and paired differences.

Every run meets the same draws of patients, so a difference is that of two figures on one resampled
test set. A method with several seeds is the mean of its runs.

What the intervals cover is in `wsrpn.metrics.seeds`. Letters of shapes: `s` runs, `r` rows (the
value, then the replicates), `c` columns (the total, then the classes).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn import sides
from wsrpn.calibration import Calibration
from wsrpn.comparison import Comparison
from wsrpn.data.base import pick
from wsrpn.errors import InputError, nearest
from wsrpn.evaluate import evidence_of, provenance, seen_before, unproven
from wsrpn.metrics.evidence import Evidence, Values, metrics
from wsrpn.metrics.gather import Images, gather
from wsrpn.metrics.panel import Panel
from wsrpn.types import Dataset, Detections, Predictions, Record

FIGURES = ("auroc", "image_ap", "ap@0.1", "ap@0.3", "ap@0.5", "rodeo", "pointing_game")


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
    base = sides.check(methods, baseline)
    dataset, notes = _shared(methods, dataset, images)
    evidence = _evidence(methods, dataset, images)
    first = evidence[base, 0]
    found = _measured(methods, evidence, figures, bootstrap, seed)
    differences = sides.differences(
        methods, base, found, bootstrap=bootstrap, seed=seed, over_seeds=over_seeds
    )
    told = [*dataset.notes, *notes, *_evidence_notes(methods, evidence)]
    told += sides.reading(methods, differences, len(found.figures), bootstrap)
    facts = provenance(first, dataset, methods[base][0].predictions, bootstrap, seed)
    return Comparison(
        figures=found.figures,
        classes=first.classes,
        methods=sides.methods_of(methods, found),
        differences=differences,
        warnings=tuple(dict.fromkeys(told)),
        provenance={**facts, "predictions": _sources(methods), "baseline": base},
    )


def _measured(
    methods: Mapping[str, Sequence[Entry]],
    evidence: Mapping[tuple[str, int], Evidence],
    figures: Sequence[str],
    bootstrap: int,
    seed: int,
) -> sides.Measured:
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
    return sides.Measured(tuple(wanted), first.classes, rows, above, by_class)


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


def _evidence_notes(
    methods: Mapping[str, Sequence[Entry]], evidence: Mapping[tuple[str, int], Evidence]
) -> list[str]:
    """What was left out on the way, and whose thresholds nobody fitted."""
    notes: list[tuple[str, list[str]]] = []
    for (name, i), one in evidence.items():
        entry = methods[name][i]
        # Classes that not all have are told once, for all.
        own = [note for note in one.notes if not note.startswith("Left out, ")]
        own += [*seen_before(one, entry.calibration)]
        own += [*unproven(entry.predictions, entry.calibration)]
        if not entry.calibration and not _calibrated(entry):
            own.append("Not calibrated, so thresholds are 0.5.")
        notes.append((entry.name, own))
    return sides.told(notes)


def _calibrated(entry: Entry) -> bool:
    return bool(entry.predictions.provenance.get("calibrated"))
