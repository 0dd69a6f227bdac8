"""Predictions and a data set become evidence: joined by image id, classes by name."""

import hashlib
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from wsrpn import calibration
from wsrpn.errors import InputError
from wsrpn.metrics.evidence import BoxTable, Evidence, Pairs
from wsrpn.types import Dataset, Detections, Predictions, Record, RegionFigures

Images = Literal["all", "listed", "empty"]
POOL = 5000  # most images that retrieval looks among: time and memory grow with their square


def gather(
    predictions: Predictions,
    dataset: Dataset,
    *,
    images: Images = "all",
    thresholds: Mapping[str, float] | None = None,
    box_thresholds: Mapping[str, float] | None = None,
    sizes_px: Mapping[str, tuple[int, int]] | None = None,
) -> Evidence:
    """Join predictions and truth.

    Args:
        predictions: of the images.
        dataset: their truth.
        images: what an image of the data set without a prediction is: an error (`all`), left out
            (`listed`), or an image on which nothing was found (`empty`).
        thresholds: operating point per class; 0.5 where there is none.
        box_thresholds: see `wsrpn.calibration.chosen`.
        sizes_px: height and width of images of which the predictions do not tell them.

    Raises:
        InputError: nothing in common, an image twice, or images without predictions.
    """
    notes: list[str] = list(predictions.provenance.get("notes", ()))
    classes = _classes(predictions, dataset, notes)
    records, detections = _joined(predictions, dataset, images, notes)
    columns = [dataset.classes.index(name) for name in classes]
    theirs = [predictions.classes.index(name) for name in classes]
    labels = np.array([record.labels for record in records], dtype=np.float64)[:, columns]
    logits = _logits(detections, len(predictions.classes))[:, theirs]
    boxed = np.array([record.boxes_known for record in records])
    if not boxed.all():
        notes.append(
            f"{int((~boxed).sum())} of {len(records)} images are left out of box figures: "
            "their boxes are not known."
        )
    truth = _truth(records, boxed, _places(columns, len(dataset.classes)))
    found = _found(detections, boxed, _places(theirs, len(predictions.classes)))
    unsure = (labels != 0) & (truth.per_image(*labels.shape) == 0)  # nan != 0
    lost = unsure[found.image, found.label]
    if lost.any():
        notes.append(
            f"{int(lost.sum())} boxes are left out of box figures: their class is not known to be "
            "absent from their image, and it has no true box there."
        )
    found = found.take(~lost)
    area_px = _areas(detections, sizes_px or {})
    unsized = int((boxed & np.isnan(area_px)).sum())
    if unsized and len(truth):
        notes.append(
            f"{unsized} of {int(boxed.sum())} images with known boxes are left out of figures by "
            "size: how large the image is, neither the predictions nor its file tells."
        )
    limits = np.array([(thresholds or {}).get(c, calibration.DEFAULT_THRESHOLD) for c in classes])
    box_limits = np.array([box_thresholds[c] for c in classes]) if box_thresholds else None
    keep = calibration.chosen(
        found.image, found.label, found.score, calibration.sigmoid(logits), limits, box_limits
    )
    return Evidence(
        ids=tuple(record.id for record in records),
        patients=tuple(record.patient for record in records),
        classes=classes,
        labels=labels,
        logits=logits,
        thresholds=limits,
        found=found,
        chosen=found.take(keep),
        truth=truth,
        boxed=boxed,
        area_px=area_px,
        regions=tuple(_regions(d, theirs) for d in detections),
        pairs=_pairs(detections, notes),
        notes=tuple(notes),
    )


def _pairs(detections: list[Detections], notes: list[str]) -> Pairs | None:
    """Images and texts in one space, or None where no image has both."""
    has = np.array([d.embedding is not None and d.text_embedding is not None for d in detections])
    if not has.any():
        return None
    if not has.all():
        left = f"{int((~has).sum())} of {len(has)}"
        notes.append(f"{left} images have no text and are left out of retrieval.")
    at = np.flatnonzero(has)
    if len(at) > POOL:
        # By a hash of the name, so that every model is asked about the same ones.
        keys = [hashlib.sha256(detections[i].id.encode()).digest() for i in at]
        at = np.sort(at[sorted(range(len(at)), key=keys.__getitem__)[:POOL]])
        notes.append(f"Retrieval is among {POOL} of {int(has.sum())} images, drawn by their names.")
    both = [detections[i] for i in at]
    return Pairs(
        at=at,
        images=np.array([d.embedding for d in both], dtype=np.float64),
        texts=np.array([d.text_embedding for d in both], dtype=np.float64),
        ids=np.array([d.text_id for d in both], dtype=np.int64),
    )


def _classes(predictions: Predictions, dataset: Dataset, notes: list[str]) -> tuple[str, ...]:
    common = tuple(name for name in dataset.classes if name in predictions.classes)
    if not common:
        raise InputError(
            f"No class in common: the predictions know {', '.join(predictions.classes) or 'none'}, "
            f"{dataset.name} has {', '.join(dataset.classes) or 'none'}."
        )
    for what, names in (
        ("predicted but not in the data", set(predictions.classes) - set(common)),
        ("in the data but not predicted", set(dataset.classes) - set(common)),
    ):
        if names:
            notes.append(f"Left out, {what}: {', '.join(sorted(names))}.")
    return common


def _joined(
    predictions: Predictions, dataset: Dataset, images: Images, notes: list[str]
) -> tuple[list[Record], list[Detections]]:
    by_id = {image.id: image for image in predictions.images}
    if len(by_id) != len(predictions.images):
        ids = [image.id for image in predictions.images]
        twice = next(i for i in ids if ids.count(i) > 1)
        raise InputError(f"The predictions have image '{twice}' twice; each image once, please.")
    records = [r for r in dataset.records if r.id in by_id or images == "empty"]
    failed = [r.id for r in dataset.records if r.id in predictions.failed and r.id not in by_id]
    gone = set(failed)
    records = [r for r in records if r.id not in gone]
    missing = len(dataset.records) - len(records) - len(failed)
    if failed:
        notes.append(
            f"{len(failed)} images failed when predicted and are left out: {_some(failed)}."
        )
    if not any(r.id in by_id for r in records):
        here = _some([record.id for record in dataset.records])
        raise InputError(
            f"None of the {len(dataset)} images of {dataset.name} ({here}) has a prediction; the "
            f"predictions are of {_some(sorted(by_id)) or 'no image'}."
        )
    if missing and images == "all":
        lost = [r.id for r in dataset.records if r.id not in by_id and r.id not in gone]
        raise InputError(
            f"{missing} of {len(dataset)} images of {dataset.name} have no prediction "
            f"({_some(lost)}): predict them, or ask for the listed images only."
        )
    if missing:
        notes.append(f"{missing} of {len(dataset)} images have no prediction and are left out.")
    other = sorted(set(by_id) - {record.id for record in dataset.records})
    if other:
        notes.append(f"{len(other)} predicted images are not in {dataset.name}: {_some(other)}.")
    return records, [by_id.get(r.id) or _nothing(r.id, len(predictions.classes)) for r in records]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _nothing(name: str, classes: int) -> Detections:
    return Detections(
        id=name,
        size_px=(0, 0),
        xyxy_px=np.zeros((0, 4)),
        scores=np.zeros(0),
        classes=np.zeros(0, dtype=np.int64),
        image_logits=np.full(classes, np.nan),
    )


def _areas(
    detections: list[Detections], sizes_px: Mapping[str, tuple[int, int]]
) -> Float[np.ndarray, " b"]:
    """Pixels of each image, nan where nobody knows."""
    known = (d.size_px if min(d.size_px) > 0 else sizes_px.get(d.id, (0, 0)) for d in detections)
    area = np.array([float(height * width) for height, width in known])
    return np.where(area > 0, area, np.nan)


def _logits(detections: list[Detections], classes: int) -> Float[np.ndarray, "b k"]:
    rows = [d.image_logits for d in detections]
    return np.array(rows, dtype=np.float64).reshape(len(rows), classes)


def _places(columns: list[int], size: int) -> Int[np.ndarray, " k"]:
    """Old class index → new one, -1 for a class that is left out."""
    places = np.full(size, -1, dtype=np.int64)
    places[columns] = np.arange(len(columns))
    return places


def _found(
    detections: list[Detections], boxed: np.ndarray, places: Int[np.ndarray, " k"]
) -> BoxTable:
    table = BoxTable(
        image=np.repeat(np.arange(len(detections)), [len(d.scores) for d in detections]),
        label=places[np.concatenate([d.classes for d in detections])],
        xyxy_px=np.concatenate([d.xyxy_px for d in detections]).astype(np.float64),
        score=np.concatenate([d.scores for d in detections]).astype(np.float64),
    )
    return table.take((table.label >= 0) & boxed[table.image])


def _truth(records: list[Record], boxed: np.ndarray, places: Int[np.ndarray, " k"]) -> BoxTable:
    flat = [(i, box.label, box.xyxy_px) for i, r in enumerate(records) for box in r.boxes]
    table = BoxTable(
        image=np.array([i for i, _, _ in flat], dtype=np.int64),
        label=places[np.array([label for _, label, _ in flat], dtype=np.int64)],
        xyxy_px=np.array([xyxy for _, _, xyxy in flat], dtype=np.float64).reshape(-1, 4),
        score=np.ones(len(flat)),
    )
    return table.take((table.label >= 0) & boxed[table.image])


def _regions(detections: Detections, columns: list[int]) -> RegionFigures | None:
    regions = detections.regions
    if regions is None:
        return None
    return RegionFigures(
        scores=regions.scores[:, columns],
        entropy=regions.entropy,
        entropy_normalized=regions.entropy_normalized,
        alignment_error=regions.alignment_error,
        top_patch=regions.top_patch,
    )
