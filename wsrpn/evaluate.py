"""Predictions and truth → figures with intervals; two models → their differences."""

import contextlib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import wsrpn
from wsrpn.calibration import Calibration
from wsrpn.data.images import size as stored_size
from wsrpn.errors import InputError, counted, nearest
from wsrpn.metrics import sizes
from wsrpn.metrics.evidence import Evidence
from wsrpn.metrics.gather import Images, gather
from wsrpn.metrics.panel import Panel, figures
from wsrpn.types import Dataset, Figure, Predictions, Report, digest_of

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}

NO_GROUP = "(none)"  # the group of images whose cell is blank


def evaluate(
    predictions: Predictions,
    dataset: Dataset,
    *,
    calibration: Calibration | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    images: Images = "all",
    by: str | None = None,
) -> Report:
    """All figures of predictions on a data set.

    Args:
        predictions: as the model gave them.
        dataset: truth; labels for image figures, boxes for box figures.
        calibration: applied first; without one, thresholds are 0.5.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        seed: of the replicates.
        images: what an image without a prediction is, see `wsrpn.metrics.gather.gather`.
        by: a column of `Record.extra`; each of its values gets its own figures in `per_group`.

    Raises:
        InputError: nothing to join, or classes that do not fit the calibration.
    """
    evidence = evidence_of(predictions, dataset, calibration, images)
    panel = Panel(evidence, bootstrap=bootstrap, seed=seed)
    whole, per_class = panel.figures()
    groups = _groups(evidence, dataset, by)
    return Report(
        command="eval",
        version=wsrpn.__version__,
        metrics=whole,
        per_class=per_class,
        per_group={group: panel.figures(mask)[0] for group, mask in groups.items()},
        warnings=(
            *dataset.notes,
            *evidence.notes,
            *seen_before(evidence, calibration),
            *unproven(predictions, calibration),
            *_undefined(whole, per_class, evidence),
        ),
        provenance=provenance(evidence, dataset, predictions, bootstrap, seed),
    )


def compare(
    first: Predictions,
    second: Predictions,
    dataset: Dataset,
    *,
    calibrations: tuple[Calibration | None, Calibration | None] = (None, None),
    bootstrap: int = 1000,
    seed: int = 0,
    images: Images = "all",
) -> Report:
    """Differences first - second, paired: both meet the same draws of patients.

    An interval that leaves out 0 says that the difference holds for other patients of this kind; it
    says nothing about other seeds of the training.

    Raises:
        InputError: the two do not answer for the same images and classes.
    """
    sides = [
        evidence_of(p, dataset, c, images)
        for p, c in zip((first, second), calibrations, strict=True)
    ]
    if sides[0].ids != sides[1].ids or sides[0].classes != sides[1].classes:
        raise InputError("The two predictions are not of the same images and classes.")
    (a, a_drawn), (b, b_drawn) = (
        Panel(side, bootstrap=bootstrap, seed=seed).values() for side in sides
    )
    value = {name: a[name].minus(b[name]) for name in a}
    drawn = {name: a_drawn[name].minus(b_drawn[name]) for name in a}
    total, per_class = figures(value, drawn, sides[0].classes)
    return Report(
        command="compare",
        version=wsrpn.__version__,
        metrics=total,
        per_class=per_class,
        warnings=tuple(dict.fromkeys((*sides[0].notes, *sides[1].notes))),
        provenance=provenance(sides[0], dataset, first, bootstrap, seed),
    )


def check_requirements(report: Report, requirements: Sequence[str]) -> list[str]:
    """Those of the requirements that a report does not meet, with what it has instead.

    Args:
        report: figures of a run.
        requirements: for example `ap@0.3>=0.1`; also `<=`, `>`, `<`, `==`, and `low(ap@0.3)>0` or
            `high(…)` for the ends of the interval. What is undefined meets nothing.

    Raises:
        InputError: not of this form, or no figure of this name.
    """
    unmet = []
    for text in requirements:
        value, holds = _requirement(text, report)
        if not holds:
            unmet.append(f"{text} (it is {'undefined' if value is None else f'{value:.4f}'})")
    return unmet


def check_form(requirements: Sequence[str]) -> None:
    """Refuse requirements that cannot be read, before anything is computed.

    Raises:
        InputError: not of the form NAME>=NUMBER.
    """
    for text in requirements:
        _parse(text)


def asked(requirement: str) -> str:
    """The name of the figure that a requirement is about.

    Raises:
        InputError: not of the form NAME>=NUMBER.

    Example:
        >>> asked("low(ap@0.3) > 0.1")
        'ap@0.3'
    """
    return _parse(requirement)[1]


def _requirement(text: str, report: Report) -> tuple[float | None, bool]:
    """The value in question, and whether it holds."""
    end, name, holds, bound = _parse(text)
    if name not in report.metrics:
        raise InputError(
            f"--require {text}: no figure is called '{name}'. {nearest(name, report.metrics)}"
        )
    value = getattr(report.metrics[name], end)
    return value, value is not None and holds(value, bound)


def _parse(text: str) -> tuple[str, str, Callable[[float, float], bool], float]:
    parts = re.fullmatch(
        r"\s*(?:(low|high)\((?=.*\)))?([^<>=()]+?)\s*\)?\s*(>=|<=|==|>|<)\s*(\S+)\s*", text
    )
    try:
        bound = float(parts[4]) if parts else float("nan")
    except ValueError:
        parts = None
    if parts is None or bound != bound or bool(parts[1]) != (")" in text):
        raise InputError(f"--require {text}: write it as NAME>=NUMBER, for example ap@0.3>=0.1.")
    return parts[1] or "value", parts[2], COMPARISONS[parts[3]], bound


def evidence_of(
    predictions: Predictions, dataset: Dataset, calibration: Calibration | None, images: Images
) -> Evidence:
    """Predictions, calibrated if there is a calibration, joined with their truth.

    Raises:
        InputError: see `wsrpn.metrics.gather.gather` and `Calibration.apply`.
    """
    sizes_px = _sizes_px(predictions, dataset, images)
    if calibration is None:
        return gather(predictions, dataset, images=images, sizes_px=sizes_px)
    boxes = calibration.box_threshold
    return gather(
        calibration.apply(predictions),
        dataset,
        images=images,
        sizes_px=sizes_px,
        thresholds=dict(zip(calibration.classes, calibration.threshold, strict=True)),
        box_thresholds=None
        if boxes is None
        else dict(zip(calibration.classes, boxes, strict=True)),
    )


def _sizes_px(
    predictions: Predictions, dataset: Dataset, images: Images
) -> dict[str, tuple[int, int]]:
    """Height and width from the headers of files, where predictions such as a CSV lack them.

    An image that is not there, or not readable, is left out: its boxes can be scored all the same.
    """
    if not any(record.boxes for record in dataset.records):
        return {}
    unsized = {d.id for d in predictions.images if min(d.size_px) <= 0}
    if images == "empty":
        unsized |= {record.id for record in dataset.records} - {d.id for d in predictions.images}
    found = {}
    for record in dataset.records:
        if record.id in unsized and record.boxes_known:
            with contextlib.suppress(InputError):
                found[record.id] = stored_size(record.path)
    return found


def _groups(evidence: Evidence, dataset: Dataset, by: str | None) -> dict[str, np.ndarray]:
    if by is None:
        return {}
    column = {record.id: record.extra.get(by) for record in dataset.records}
    if all(value is None for value in column.values()):
        known = sorted({name for record in dataset.records for name in record.extra})
        raise InputError(f"{dataset.name} has no column '{by}'. {nearest(by, known)}")
    values = np.array([(column[name] or "").strip() or NO_GROUP for name in evidence.ids])
    return {str(value): (values == value).astype(np.float64) for value in np.unique(values)}


def seen_before(evidence: Evidence, calibration: Calibration | None) -> list[str]:
    """A sentence if evaluated images were used to fit the calibration, else nothing."""
    seen = sorted(set(evidence.ids) & set(calibration.ids)) if calibration else []
    if not seen:
        return []
    verb = "was" if len(seen) == 1 else "were"
    first = f"{', '.join(seen[:10])}{', …' if len(seen) > 10 else ''}"
    return [
        f"{counted(len(seen), 'evaluated image')} {verb} used to fit the calibration, so "
        f"thresholds and ECE look better than they are: {first}."
    ]


def unproven(predictions: Predictions, calibration: Calibration | None) -> list[str]:
    """A sentence if a calibration and predictions do not both say which weights they are of."""
    if calibration is None:
        return []
    fitted = calibration.provenance.get("predictions", {})
    if fitted.get("weights_sha256") and predictions.provenance.get("weights_sha256"):
        return []  # `Calibration.apply` holds the two against each other
    return [
        "Nothing says that the calibration belongs to these scores: "
        f"{'it' if not fitted.get('weights_sha256') else 'the predictions'} "
        "cannot be traced to a model."
    ]


def _undefined(
    total: Mapping[str, Figure], per_class: Mapping[str, Mapping[str, Figure]], evidence: Evidence
) -> list[str]:
    """Sentences about figures that are null, and about classes that a mean leaves out."""
    notes = []
    if np.isnan(evidence.logits).all():
        notes.append("The predictions have no image-level answer: image figures are undefined.")
    elif np.isnan(evidence.logits).any():
        notes.append("Images without an image-level answer are left out of image figures.")
    if not len(evidence.truth):
        notes.append("The data have no boxes of these classes: box figures are undefined.")
    alike: dict[tuple[str, ...], list[str]] = {}
    for label, own in per_class.items():
        gone = (n for n, f in own.items() if f.value is None and total[n].value is not None)
        alike.setdefault(tuple(n for n in gone if not _of_one_size(n, own)), []).append(label)
    for gone_from, labels in alike.items():
        if gone_from:
            verb = "is" if len(labels) == 1 else "are"
            names = ", ".join(labels)
            notes.append(f"{names} {verb} undefined in, and left out of: {', '.join(gone_from)}.")
    notes += _undefined_by_size(total, per_class)
    if len(evidence.classes) == 1 and total["rodeo"].value is not None:
        notes.append("With one class, rodeo_classification has nothing to tell apart.")
    return notes


def _of_one_size(name: str, figures: Mapping[str, Figure]) -> bool:
    """Whether a figure is the part of another that belongs to findings of one size."""
    whole, size = sizes.split_name(name)
    return bool(size) and whole in figures


def _undefined_by_size(
    total: Mapping[str, Figure], per_class: Mapping[str, Mapping[str, Figure]]
) -> list[str]:
    """A sentence per size with the classes that have boxes, but none of it."""
    notes = []
    for size in sizes.SIZES:
        name = f"ap@0.3_{size}"
        labels = [
            label
            for label, own in per_class.items()
            if own[name].value is None and own["ap@0.3"].value is not None
        ]
        if labels and total[name].value is not None:
            notes.append(f"No {size} findings, so left out of …_{size}: {', '.join(labels)}.")
    return notes


def provenance(
    evidence: Evidence, dataset: Dataset, predictions: Predictions, bootstrap: int, seed: int
) -> dict[str, Any]:
    """What was evaluated on what."""
    return {
        "data": dataset.name,
        "images": len(evidence),
        "images_with_known_boxes": int(evidence.boxed.sum()),
        "patients": len(set(evidence.patients)),
        "boxes": len(evidence.truth),
        "boxes_by_size": sizes.boxes_by_size(evidence),
        "images_digest": digest_of(evidence.ids),
        "bootstrap": bootstrap,
        "seed": seed,
        "predictions": dict(predictions.provenance),
    }
