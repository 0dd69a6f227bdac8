"""Score maps and truth → counts of every image, which figures and replicates are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, counted
from wsrpn.masks import clean, truth
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.masks.truth import Truth
from wsrpn.metrics import contours, objects, pixels
from wsrpn.segmentation.maps import Mapped, Maps
from wsrpn.segmentation.predict import foreground, objects_of
from wsrpn.types import Dataset, Record


@dataclass(frozen=True)
class Evidence:
    """Counts of images, one row each.

    Attributes:
        ids: of the images.
        patients: of the images.
        pixels: TP, FP, FN, TN.
        contour: boundary F1.
        objects: TP at each threshold of IoU, objects found, objects there.
        numbered: whether the truth numbers its objects.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    pixels: Float[np.ndarray, "b 4"]
    contour: Float[np.ndarray, " b"]
    objects: Float[np.ndarray, "b t"]
    numbered: Bool[np.ndarray, " b"]

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: Sequence[str]) -> "Evidence":
        """The counts of some of the images, in that order."""
        places = {name: index for index, name in enumerate(self.ids)}
        kept = [places[name] for name in ids]
        return Evidence(
            tuple(ids),
            tuple(self.patients[index] for index in kept),
            self.pixels[kept],
            self.contour[kept],
            self.objects[kept],
            self.numbered[kept],
        )


@dataclass(frozen=True)
class Judged:
    """Counts of one image; see `Evidence`."""

    pixels: pixels.PixelCounts
    contour: float
    objects: objects.ObjectCounts
    numbered: bool


def judge(mapped: Mapped, known: Truth, chosen: MaskCalibration) -> Judged:
    """Counts of one image under a threshold, a smallest size, and a way to tell objects apart."""
    mask = foreground(mapped.score, chosen)
    # Objects that somebody has numbered are theirs; areas that are removed go with them.
    found = objects_of(mask, chosen) if mapped.objects is None else mapped.objects * mask
    return Judged(
        pixels.counts(mask, known.inside),
        contours.contours(mask, known.inside).f1,
        objects.counts(found, objects_in(known)),
        known.instances,
    )


def objects_in(known: Truth) -> Any:
    """The objects of a truth: as it numbers them, else its connected areas."""
    return known.objects if known.instances else clean.areas(known.inside)[0]


def evidence_of(rows: Mapping[str, Judged], patients: Mapping[str, str]) -> Evidence:
    """Counts of images as arrays.

    Args:
        rows: id → counts.
        patients: id → patient.
    """
    every = tuple(rows.values())
    return Evidence(
        tuple(rows),
        tuple(patients[name] for name in rows),
        pixels.rows(one.pixels for one in every),
        np.array([one.contour for one in every], dtype=np.float64),
        objects.rows(one.objects for one in every),
        np.array([one.numbered for one in every], dtype=bool),
    )


def known_of(record: Record, mapped: Mapped) -> Truth:
    """The truth of an image that has one, at the size of its map.

    Raises:
        InputError: the map has another size than the image, or the mask cannot be read.
    """
    shape = (mapped.score.shape[0], mapped.score.shape[1])
    try:
        own = images.size(record.path)
    except ImageReadError:  # scores can be judged where the image is not
        own = shape
    if own != shape:
        raise InputError(
            f"{mapped.path}: the map has {shape[1]} × {shape[0]} pixels and its image {own[1]} × "
            f"{own[0]}; a map is at the size of the image as it is stored."
        )
    found = truth.of(record, own)
    if found is None:
        raise InputError(f"{record.id}: has no mask, and is not known to have nothing.")
    return found


def readable(maps: Maps, dataset: Dataset) -> Maps:
    """The maps of images whose mask can be read; the others are among the failed.

    Args:
        maps: scores.
        dataset: truth.
    """
    failed = dict(maps.failed)
    for record in dataset.records:
        if record.id in maps.files and record.mask is not None:
            try:
                truth.read(record.mask, images.size(record.path))
            except ImageReadError as error:
                failed[record.id] = str(error)
    kept = {name: path for name, path in maps.files.items() if name not in failed}
    return replace(maps, files=kept, failed=failed)


def usable(maps: Maps, dataset: Dataset) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """The images that have a map and a truth, and sentences that count the others.

    Raises:
        InputError: there is none.
    """
    mapped = [record for record in dataset.records if record.id in maps.files]
    kept = tuple(record for record in mapped if truth.has_truth(record))
    lost = [record.id for record in mapped if not truth.has_truth(record)]
    if not kept and maps.failed:
        raise InputError(
            f"{dataset.name}: none of {counted(len(maps.failed), 'image')} can be read; the first: "
            f"{next(iter(maps.failed.values()))}"
        )
    if not kept:
        raise InputError(
            f"{dataset.name}: no image has both a map and a mask; name masks in the column 'mask' "
            "of images.csv."
        )
    some = f"{', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}"
    gone = (
        f"{counted(len(lost), 'image')} without a mask, and not known to have nothing, left out: "
        f"{some}."
    )
    return kept, (gone,) if lost else ()


def gather(
    maps: Maps,
    dataset: Dataset,
    chosen: MaskCalibration,
    *,
    listen: Callable[[int], None] | None = None,
) -> tuple[Evidence, list[str]]:
    """The counts of all images that have a map and a truth, and what must be said of them.

    Args:
        maps: scores.
        dataset: truth.
        chosen: threshold, smallest size and objects.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: as `evaluate`.
    """
    chosen.refuse_other_model(maps.provenance)
    records, notes = usable(maps, dataset)
    rows: dict[str, Judged] = {}
    for record in records:
        mapped = maps.of(record.id)
        rows[record.id] = judge(mapped, known_of(record, mapped), chosen)
        if listen:
            listen(1)
    evidence = evidence_of(rows, {record.id: record.patient for record in records})
    told = [*maps.notes, *maps.provenance.get("notes", ()), *notes]
    return evidence, [*told, *_seen_before(evidence, chosen), *_unproven(maps, chosen)]


def unread(maps: Maps) -> list[str]:
    """A sentence that names the images that could not be read, if there are such."""
    if not maps.failed:
        return []
    count = counted(len(maps.failed), "image")
    return [f"{count} could not be read and are left out: {', '.join(sorted(maps.failed))}."]


def _seen_before(evidence: Evidence, chosen: MaskCalibration) -> list[str]:
    """A sentence if evaluated images were used to fit the calibration."""
    seen = sorted(set(evidence.ids) & set(chosen.ids))
    if not seen:
        return []
    verb = "was" if len(seen) == 1 else "were"
    return [
        f"{counted(len(seen), 'evaluated image')} {verb} used to fit the calibration, so figures "
        f"look better than they are: {', '.join(seen[:10])}{', …' if len(seen) > 10 else ''}."
    ]


def _unproven(maps: Maps, chosen: MaskCalibration) -> list[str]:
    """A sentence if a calibration and maps do not both say which weights they are of."""
    mine = chosen.provenance.get("maps", {}).get("weights_sha256")
    if not chosen.objective or (mine and maps.provenance.get("weights_sha256")):
        return []
    return [
        "Nothing says that the calibration belongs to these maps: "
        f"{'they' if mine else 'it'} cannot be traced to a model."
    ]
