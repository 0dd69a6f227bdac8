"""`heatmap`: Gaussian maps, patch maps and boxes over radiographs, beside the ground truth."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsrpn import calibration as calibrations
from wsrpn import gaussian
from wsrpn.calibration import Calibration
from wsrpn.data import images
from wsrpn.detections import detections
from wsrpn.errors import InputError, nearest
from wsrpn.predict import TrainedRun, outputs
from wsrpn.report import draw
from wsrpn.types import Dataset, Detections, ModelOutput, Predictions, Record

FORMATS = ("png", "pdf", "svg")
SHEET = 60  # images on the contact sheet


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        panels: image id → file.
        sheet: contact sheet of the first 60.
        failed: image id → reason.
    """

    panels: Mapping[str, Path]
    sheet: Path
    failed: Mapping[str, str]


def heatmap(
    run: TrainedRun,
    dataset: Dataset,
    out: Path,
    *,
    calibration: Calibration | None = None,
    classes: Sequence[str] | None = None,
    format: str = "png",
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Drawn:
    """Draw a panel per image and a contact sheet of the first 60.

    Args:
        run: the trained model.
        dataset: the images, with boxes where they are known.
        out: folder; a panel is named after its image.
        calibration: which boxes are shown, and where maps are cut into boxes; without one, the best
            box of each class whose image score reaches 0.5.
        classes: only these.
        format: of `FORMATS`.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: an unknown class or format, or an unreadable image.
    """
    show = _indices(run.classes, classes)
    if format not in FORMATS:
        raise InputError(f"--format {format}: no such choice. {nearest(format, FORMATS)}")
    run = run.calibrated(calibration)
    if calibration is not None:
        calibration.apply(Predictions(run.classes, (), run.provenance()))  # refused before drawing
    failed: dict[str, str] = {}
    names = file_names([record.id for record in dataset.records], format)
    kept: list[draw.Picture] = []
    panels: dict[str, Path] = {}
    skipped = failed if on_error == "skip" else None
    for name, picture in pictures(run, dataset, calibration=calibration, failed=skipped):
        panels[name] = out / names[name]
        draw.save(draw.panel(picture, show=show), panels[name])
        if len(kept) < SHEET:  # pictures are held in memory
            kept.append(picture)
        if listen:
            listen(1)
    sheet = out / f"contact_sheet.{format}"
    if kept:
        draw.save(draw.contact_sheet(kept), sheet)
    return Drawn(panels, sheet, failed)


def pictures(
    run: TrainedRun,
    dataset: Dataset,
    *,
    calibration: Calibration | None = None,
    failed: dict[str, str] | None = None,
) -> Iterator[tuple[str, draw.Picture]]:
    """Each image with what the model says of it, in order.

    Args:
        run: the trained model, cut where its calibration says.
        dataset: the images, with boxes where they are known.
        calibration: see `heatmap`.
        failed: gets id → reason of images that cannot be read; without it such an image raises.

    Yields:
        The id of an image, and its picture.
    """
    records = {record.id: record for record in dataset.records}
    for batch, output in outputs(run, dataset, failed=failed, batch=4):
        for index, raw in enumerate(detections(batch, output, run.config.inference)):
            yield raw.id, _picture(records[raw.id], raw, output, index, run.classes, calibration)


def telling(dataset: Dataset, limit: int) -> Dataset:
    """The first images that have boxes, then others, up to a number: a look at both kinds."""
    boxed = [record for record in dataset.records if record.boxes]
    plain = [record for record in dataset.records if not record.boxes]
    few = min(len(plain), limit // 4)
    chosen = boxed[: limit - few]
    chosen += plain[: limit - len(chosen)]
    return dataclasses.replace(dataset, records=tuple(chosen))


def file_names(ids: Sequence[str], suffix: str) -> dict[str, str]:
    """A file name per image id, safe on every system; two ids never share one.

    Example:
        >>> file_names(["a/x.png", "a_x.png"], "png")
        {'a/x.png': 'a_x.png', 'a_x.png': 'a_x-2.png'}
    """
    taken: dict[str, str] = {}
    for name in ids:
        stem = re.sub(r"[^\w.-]+", "_", str(Path(name).with_suffix(""))).strip("._") or "image"
        stem, number = stem[-100:], 1
        chosen = stem
        while f"{chosen}.{suffix}".lower() in (other.lower() for other in taken.values()):
            number += 1
            chosen = f"{stem}-{number}"
        taken[name] = f"{chosen}.{suffix}"
    return taken


def _indices(known: Sequence[str], wanted: Sequence[str] | None) -> list[int] | None:
    for name in wanted or ():
        if name not in known:
            raise InputError(f"--class {name}: not a class of this run. {nearest(name, known)}")
    return [known.index(name) for name in wanted] if wanted else None


def _picture(
    record: Record,
    raw: Detections,
    output: ModelOutput,
    index: int,
    classes: tuple[str, ...],
    calibration: Calibration | None,
) -> draw.Picture:
    """One image with its truth, the boxes that the operating point shows, and its maps."""
    image = raw
    if calibration is not None:
        image = calibration.apply(Predictions(classes, (raw,))).images[0]
        shown = calibration.of(classes).choose(image)
    else:
        shown = calibrations.choose(image)
    image = dataclasses.replace(
        image,
        xyxy_px=image.xyxy_px[shown],
        scores=image.scores[shown],
        classes=image.classes[shown],
    )
    regions = output.regions
    return draw.Picture(
        image=images.read(record.path),
        classes=classes,
        name=_heading(record.id, image, classes),
        truth=record.boxes,
        detections=image,
        patch_maps=_map_scores(output, index),
        region_maps=gaussian.maps(regions.log_x[index], regions.log_y[index]).cpu().numpy()
        if regions is not None
        else None,
        region_scores=regions.logits[index].sigmoid().float().cpu().numpy()
        if regions is not None
        else None,
    )


def _map_scores(output: ModelOutput, index: int) -> np.ndarray | None:
    """Cell scores of the classes in [0, 1].

    A patch branch scores each cell; the maps of a model without one have a scale of their own, so
    they are drawn from 0 to the image score.
    """
    if output.maps is None:
        return None
    maps = output.maps[index].float()
    if output.patch_logits is not None:
        return maps.sigmoid().cpu().numpy()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    score = output.logits[index].float().sigmoid()[:, None, None]
    return ((maps - low) / (high - low).clamp_min(1e-12) * score).cpu().numpy()


def _heading(name: str, image: Detections, classes: Sequence[str]) -> str:
    scores = calibrations.sigmoid(image.image_logits)
    best = sorted(zip(scores, classes, strict=True), reverse=True)[:3]
    return f"{name}  ({', '.join(f'{label} {score:.2f}' for score, label in best)})"
