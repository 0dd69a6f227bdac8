"""`heatmap` of a run that answers every pixel, or of anybody's score maps: a panel per image."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from wsrpn import files
from wsrpn.data import images
from wsrpn.errors import InputError, nearest
from wsrpn.masks import clean, truth
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.metrics import pixels
from wsrpn.predict import TrainedRun
from wsrpn.report import draw, mask_view
from wsrpn.report.mask_view import MaskPicture
from wsrpn.segmentation import answers, maps, predict
from wsrpn.segmentation.engine import Answering
from wsrpn.segmentation.maps import Mapped, Maps
from wsrpn.segmentation.outputs import refuse_inputs
from wsrpn.types import Dataset, Record

FORMATS = ("png", "pdf", "svg")
SHEET_NAME = "contact_sheet"
SHEET = 60  # images on the contact sheet
_SMALL = 320  # pixels of an image that waits for the contact sheet


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        panels: image id → file.
        sheet: contact sheet of the first 60.
        overlays: image id → file with the outlines in full resolution, of images that the panel
            shows reduced.
        failed: image id → reason.
    """

    panels: Mapping[str, Path]
    sheet: Path
    failed: Mapping[str, str]
    overlays: Mapping[str, Path]


def heatmap(
    dataset: Dataset,
    scores: Maps,
    out: Path,
    *,
    run: TrainedRun | None = None,
    calibration: MaskCalibration | None = None,
    format: str = "png",
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Drawn:
    """Draw a panel per image and a contact sheet of the first 60.

    Beside the panel of an image that it shows reduced lies `NAME.overlay.png`, in all its pixels.

    Args:
        dataset: the images, with masks where they are known.
        scores: their maps; images that have none there are not drawn.
        out: folder; a panel is named after its image.
        run: whose scores they are; a model with attention is asked where it looks.
        calibration: where to cut and what an object is; without one 0.5, nothing removed, and
            objects as the config of the run has them.
        format: of `FORMATS`.
        on_error: `stop` at an image or a mask that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: an unknown format, a calibration of other weights, or something unreadable.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format}: no such choice. {nearest(format, FORMATS)}")
    rule = predict.settings(run, calibration)
    rule.refuse_other_model(scores.provenance)
    # No image takes the name of the contact sheet, which is drawn last.
    names = maps.names([SHEET_NAME, *(record.id for record in dataset.records)])
    sheet = out / f"{SHEET_NAME}.{format}"
    written = [out / f"{name}.{end}" for name in names.values() for end in (format, "overlay.png")]
    refuse_inputs([sheet, *written], dataset)
    failed = dict(scores.failed)
    panels: dict[str, Path] = {}
    overlays: dict[str, Path] = {}
    kept: list[MaskPicture] = []
    for name, picture in _pictures(dataset, scores, run, rule, failed, on_error == "skip"):
        panels[name] = out / f"{names[name]}.{format}"
        draw.save(mask_view.panel(picture), panels[name])
        if max(picture.image.shape) > mask_view.SIDE:
            overlays[name] = out / f"{names[name]}.overlay.png"
            _paint(picture, overlays[name])
        if len(kept) < SHEET:  # pictures are held in memory
            kept.append(dataclasses.replace(picture.within(_SMALL), attention=None, drr=None))
        if listen:
            listen(1)
    if kept:
        draw.save(mask_view.contact_sheet(kept), sheet)
    return Drawn(panels, sheet, failed, overlays)


def _paint(picture: MaskPicture, path: Path) -> None:
    """Write the outlines over the whole image."""
    painted = Image.fromarray(mask_view.overlay(picture))
    files.write_with(path, lambda temporary: painted.save(temporary, format="PNG"))


def telling(dataset: Dataset, limit: int) -> Dataset:
    """The first images that have a mask, then others, up to a number."""
    ordered = sorted(dataset.records, key=lambda record: record.mask is None)
    return dataclasses.replace(dataset, records=tuple(ordered[:limit]))


def picture(
    record: Record, mapped: Mapped, rule: MaskCalibration, engine: Answering | None = None
) -> MaskPicture:
    """One image with its truth, where it has one, and what the scores say of it.

    Args:
        record: the image.
        mapped: its scores.
        rule: where to cut them.
        engine: of a model with attention, which is asked again.

    Raises:
        InputError: the image, its mask or its DRR cannot be read, or the map has another size.
    """
    image = images.read(record.path)
    if mapped.score.shape != image.shape:
        (high, wide), (h, w) = mapped.score.shape, image.shape
        raise InputError(f"{mapped.path}: {wide} × {high} pixels, and {record.path} has {w} × {h}.")
    known = truth.of(record, image.shape)
    mask = predict.foreground(mapped.score, rule)
    drr = images.read(record.drr) if engine is not None and record.drr is not None else None
    return MaskPicture(
        image=image,
        name=record.id,
        score=mapped.score / np.float32(maps.TOP),
        found=predict.objects_of(mask, rule) if mapped.objects is None else mapped.objects * mask,
        truth=None if known is None else _numbered(known),
        said="" if known is None else _figures(mask, known.inside),
        threshold=rule.threshold,
        attention=None if engine is None else attention(engine, image, drr),
        drr=drr,
    )


def attention(
    engine: Answering, image: Float[np.ndarray, "h w"], drr: Float[np.ndarray, "dh dw"] | None
) -> Float[np.ndarray, "gh gw"] | None:
    """Where a model looks in an image, in [0, 1]; None where the image is answered in tiles.

    Tiles have attention each of their own, which would not make one picture.
    """
    if engine.masks.scale == "native" and max(image.shape) > engine.masks.tile:
        return None
    seen: list[Float[np.ndarray, "gh gw"]] = []

    def keep(module: object, given: object, output: object) -> None:
        found = getattr(output, "attention", None)
        if found is not None:
            seen.append(found[0, 0].float().sigmoid().cpu().numpy())

    hook = engine.model.register_forward_hook(keep)
    try:
        engine(image.copy(), None if drr is None else drr.copy())  # it works in place
    finally:
        hook.remove()
    return seen[0] if seen else None


def _pictures(
    dataset: Dataset,
    scores: Maps,
    run: TrainedRun | None,
    rule: MaskCalibration,
    failed: dict[str, str],
    skip: bool,
) -> Iterator[tuple[str, MaskPicture]]:
    """Images that have a map, in order; one that cannot be read raises, or is written down."""
    looks = run is not None and answers.looks_at_drrs(run)
    engine = Answering(run) if run is not None and looks else None
    for record in dataset.records:
        if record.id not in scores.files:
            continue
        try:
            made = picture(record, scores.of(record.id), rule, engine)
        except InputError as error:
            if not skip:
                raise
            failed[record.id] = str(error)
            continue
        yield record.id, made


def _numbered(known: truth.Truth) -> Int[np.ndarray, "h w"]:
    """Objects of a truth; connected areas where it does not tell them apart."""
    return known.objects if known.instances else clean.areas(known.inside)[0]


def _figures(found: Bool[np.ndarray, "h w"], there: Bool[np.ndarray, "h w"]) -> str:
    """Figures of one image."""
    counts = pixels.counts(found, there)
    if not counts.tp + counts.fp + counts.fn:
        return "nothing there, nothing found"
    return f"Jaccard {counts.jaccard:.2f} · Dice {counts.dice:.2f}"
