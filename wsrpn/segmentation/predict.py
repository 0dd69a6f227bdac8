"""Masks and objects of images as files: what a run makes of them with its calibration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt16

from wsrpn import files
from wsrpn.data import tables
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError
from wsrpn.masks import clean
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.predict import TrainedRun
from wsrpn.segmentation import maps, objects_table
from wsrpn.segmentation.answers import answer_of, looks_at_drrs, refuse_others
from wsrpn.segmentation.engine import Answering
from wsrpn.types import Dataset, Record

SUMMARY_COLUMNS = ("image", "mask", "width", "height", "foreground", "objects")
MOST_OBJECTS = 65535  # in a 16-bit picture


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        masks: id → mask file.
        labels: id → label picture; empty unless asked for.
        summary: table with a line an image.
        table: table with a line an object, or None.
        count: objects in all, 0 unless asked for.
        failed: id → why an image has no mask.
    """

    masks: dict[str, Path] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)
    summary: Path | None = None
    table: Path | None = None
    count: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def settings(run: TrainedRun | None, calibration: MaskCalibration | None) -> MaskCalibration:
    """The calibration, or what holds without one: 0.5, nothing removed, objects as in the config.

    Args:
        run: where the maps come from, None for those of others.
        calibration: fitted, or None.
    """
    if calibration is not None:
        return calibration
    return MaskCalibration(touching=run.config.masks.touching if run else "joined")


def foreground(
    score: UInt16[np.ndarray, "h w"], chosen: MaskCalibration
) -> Bool[np.ndarray, "h w"]:
    """The mask of a map: above the threshold, without areas that are too small."""
    return clean.without_small(maps.found(score, chosen.threshold), chosen.min_size_px)


def objects_of(mask: Bool[np.ndarray, "h w"], chosen: MaskCalibration) -> Int[np.ndarray, "h w"]:
    """The objects of a mask, as a calibration tells them apart."""
    return clean.objects(mask, touching=chosen.touching, min_distance_px=chosen.min_distance_px)


def save(
    run: TrainedRun,
    dataset: Dataset,
    out: Path,
    *,
    calibration: MaskCalibration | None = None,
    objects: bool = False,
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Saved:
    """Write a mask for every image, and its objects if asked for.

    Args:
        run: a trained model that gives mask logits.
        dataset: the images.
        out: folder; masks are `NAME.png` (0 and 255), label pictures `objects/NAME.png` (16 bits),
            tables `summary.csv` and `objects.csv`.
        calibration: of the run; 0.5 without one.
        objects: also write label pictures and the table of objects.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: the model answers no pixels, the calibration is of another one, an image cannot
            be read and `on_error` is `stop`, or has more objects than a picture can number.
    """
    refuse_others(run)
    files.refuse_file(out)
    if calibration is not None:
        calibration.refuse_other_model(run.provenance())
    chosen, engine, drrs = settings(run, calibration), Answering(run), looks_at_drrs(run)
    names = maps.names(record.id for record in dataset.records)
    saved, lines, found = Saved(), [], []
    for record in dataset.records:
        try:
            score = answer_of(engine, record, drrs=drrs)
        except ImageReadError as error:
            if on_error == "stop":
                raise
            saved.failed[record.id] = str(error)
            continue
        mask, name = foreground(score, chosen), names[record.id]
        saved.masks[record.id] = path = out / f"{name}.png"
        files.write(path, maps.png(mask.astype(np.uint8) * np.uint8(255)))
        height, width = mask.shape
        cells = [record.id, path.name, str(width), str(height), f"{mask.mean():.6f}"]
        if objects:
            here = _write_objects(record, mask, score, chosen, out / "objects" / f"{name}.png")
            saved.labels[record.id] = out / "objects" / f"{name}.png"
            found += here
        lines.append([*cells, str(len(here)) if objects else ""])
        if listen:
            listen(1)
    tables.write(out / "summary.csv", SUMMARY_COLUMNS, lines)
    if objects:
        tables.write(out / "objects.csv", objects_table.COLUMNS, found)
    table = out / "objects.csv" if objects else None
    return Saved(saved.masks, saved.labels, out / "summary.csv", table, len(found), saved.failed)


def _write_objects(
    record: Record,
    mask: Bool[np.ndarray, "h w"],
    score: UInt16[np.ndarray, "h w"],
    chosen: MaskCalibration,
    path: Path,
) -> list[tuple[str, ...]]:
    """Write the label picture of an image; its rows of the table.

    Raises:
        InputError: more objects than 16 bits can number.
    """
    numbers = objects_of(mask, chosen)
    if numbers.max() > MOST_OBJECTS:
        raise InputError(
            f"{record.path}: {numbers.max()} objects, more than 16 bits can number; calibrate the "
            "run so that small ones are removed, or leave --objects out."
        )
    files.write(path, maps.png(numbers.astype(np.uint16)))
    return list(objects_table.rows(record.id, numbers, score))
