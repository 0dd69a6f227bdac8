"""Masks and objects of images as files: what a run makes of them with its calibration."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt16

from wsrpn import files
from wsrpn.data import images, tables
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, counted
from wsrpn.masks import clean
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.predict import TrainedRun
from wsrpn.segmentation import maps, objects_table
from wsrpn.segmentation.answers import answer_of, looks_at_drrs, refuse_others, wanted
from wsrpn.segmentation.engine import Answering
from wsrpn.segmentation.outputs import refuse_inputs
from wsrpn.types import Dataset, Record

SUMMARY_COLUMNS = ("image", "mask", "width", "height", "foreground", "objects")
SKIP = "--on-error skip leaves out what cannot be read."
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
        notes: what the user should know.
    """

    masks: dict[str, Path] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)
    summary: Path | None = None
    table: Path | None = None
    count: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _written(out: Path, names: Iterable[str], *, objects: bool, scores: bool) -> Iterator[Path]:
    """Every file that `save` makes."""
    yield out / "summary.csv"
    yield out / "objects.csv"
    for name in names:
        yield out / f"{name}.png"
        if objects:
            yield out / "objects" / f"{name}.png"
        if scores:
            yield out / "maps" / f"{name}.png"


def settings(run: TrainedRun | None, calibration: MaskCalibration | None) -> MaskCalibration:
    """The calibration, or what holds without one: 0.5, nothing removed, objects as in the config.

    Args:
        run: where the maps come from, None for those of others.
        calibration: fitted, or None.
    """
    if calibration is not None:
        return calibration
    return MaskCalibration(touching=run.config.masks.touching if run else "joined")


def adjusted(
    chosen: MaskCalibration, threshold: float | None = None, min_size_px: int | None = None
) -> MaskCalibration:
    """A calibration with numbers of the user's own in the place of what was fitted.

    Args:
        chosen: what holds without them.
        threshold: in [0, 1], or None.
        min_size_px: or None.
    """
    if threshold is not None:
        chosen = replace(chosen, threshold=threshold, objective="")
    if min_size_px is not None:
        chosen = replace(chosen, min_size_px=min_size_px, objective="")
    return chosen


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
    scores: bool = False,
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Saved:
    """Write a mask for every image, and its objects and scores if asked for.

    Every file is looked at before the model runs. What is done when an image stops the command
    stays, and the tables tell of it.

    Args:
        run: a trained model that gives mask logits.
        dataset: the images.
        out: folder; masks are `NAME.png` (0 and 255), label pictures `objects/NAME.png` and scores
            `maps/NAME.png` (16 bits each), tables `summary.csv` and `objects.csv`.
        calibration: of the run; 0.5 without one.
        objects: also write label pictures and the table of objects.
        scores: also write score maps, which `eval`, `calibrate` and `heatmap` take.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: the model answers no pixels, the calibration is of another one, an output would
            overwrite an input, an image cannot be read and `on_error` is `stop`, or has more
            objects than a picture can number.
    """
    refuse_others(run)
    files.refuse_file(out)
    if calibration is not None:
        calibration.refuse_other_model(run.provenance())
    names = maps.names(record.id for record in dataset.records)
    written = list(_written(out, names.values(), objects=objects, scores=scores))
    refuse_inputs(written, dataset)
    if on_error == "stop":
        _refuse_unreadable(dataset)
    chosen, engine, drrs = settings(run, calibration), Answering(run), looks_at_drrs(run)
    saved = Saved(notes=_earlier(out, written))
    lines: list[list[str]] = []
    found: list[tuple[str, ...]] = []
    listed: dict[str, dict[str, str]] = {}
    try:
        for record in dataset.records:
            try:
                score = answer_of(engine, record, drrs=drrs)
            except ImageReadError as error:
                if on_error == "stop":
                    raise InputError(f"{error} {SKIP}") from None
                saved.failed[record.id] = str(error)
                continue
            mask, name = foreground(score, chosen), names[record.id]
            cells = [record.id, f"{name}.png", *map(str, mask.shape[::-1]), f"{mask.mean():.6f}"]
            here: list[tuple[str, ...]] = []
            if objects:
                path = out / "objects" / f"{name}.png"
                here = _write_objects(record, mask, score, chosen, path)
                saved.labels[record.id] = path
            if scores:
                digest = maps.write(out / "maps" / f"{name}.png", score)
                listed[record.id] = {**wanted(record, f"{name}.png"), "sha256": digest}
            saved.masks[record.id] = path = out / f"{name}.png"
            files.write(path, maps.png(mask.astype(np.uint8) * np.uint8(255)))
            found += here
            lines.append([*cells, str(len(here)) if objects else ""])
            if listen:
                listen(1)
    finally:  # of what is done, whatever ended it
        tables.write(out / "summary.csv", SUMMARY_COLUMNS, lines)
        if objects:
            tables.write(out / "objects.csv", objects_table.COLUMNS, found)
        if scores:
            index = {"provenance": run.provenance(), "files": listed}
            maps.write_index(out / "maps", index)
    table = out / "objects.csv" if objects else None
    return replace(saved, summary=out / "summary.csv", table=table, count=len(found))


def _refuse_unreadable(dataset: Dataset) -> None:
    """Stop at images that are none, before the model has worked for an hour.

    Raises:
        InputError: names the first, and how many there are.
    """
    reasons = []
    for record in dataset.records:
        try:
            images.size(record.path)
        except ImageReadError as error:
            reasons.append(str(error))
    if reasons:
        many = f" ({counted(len(reasons), 'image')} of {len(dataset)} like that)"
        raise InputError(f"{reasons[0]}{many if len(reasons) > 1 else ''} {SKIP}")


def _earlier(out: Path, written: Sequence[Path]) -> tuple[str, ...]:
    """Sentences about pictures of an earlier command, which are replaced or stay."""
    kinds = {path.parent for path in written if path.suffix == ".png"}
    there = {path for kind in kinds if kind.is_dir() for path in kind.glob("*.png")}
    replaced, stay = there & set(written), there - set(written)
    notes = []
    if replaced:
        notes.append(f"{out}: {counted(len(replaced), 'picture')} of before replaced.")
    if stay:
        notes.append(
            f"{out}: {counted(len(stay), 'picture')} of before not of these images and left as is; "
            "summary.csv lists what is new."
        )
    return tuple(notes)


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
    return list(objects_table.rows(record.id, numbers, score, images.read(record.path)))
