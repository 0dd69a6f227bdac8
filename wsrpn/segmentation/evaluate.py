"""Score maps and truth → figures with 95 % intervals over patients.

Every image is opened once and leaves counts behind; figures and replicates are made of these.
Jaccard, Dice, precision, recall and boundary F1 are means over the images that have foreground,
`specificity` is the share of the others in which nothing is found, `…_pooled` of all pixels
together; figures of objects are of the objects of all images together, as StarDist has them by
default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

import wsrpn
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, counted, nearest
from wsrpn.evaluate import NO_GROUP
from wsrpn.masks import clean, truth
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.masks.truth import Truth
from wsrpn.metrics import contours, intervals, objects, pixels
from wsrpn.segmentation.maps import Mapped, Maps
from wsrpn.segmentation.predict import foreground, objects_of
from wsrpn.types import Dataset, Figure, Record, Report, digest_of

FLOODED = 3.0  # times as much foreground as there is
HALF = objects.THRESHOLDS.index(0.5)
FIGURES = (
    *pixels.FIGURES, *(f"{name}_pooled" for name in pixels.FIGURES), "specificity", "boundary_f1",
    "object_ap@0.5", "object_ap", "object_f1", "object_count_error",
)  # fmt: skip
JOINED_TRUTH = (
    "Masks that do not number their objects are taken apart into connected areas for figures of "
    "objects, so there two that touch are one ({})."
)


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


def values(
    evidence: Evidence, drawn: Float[np.ndarray, "r b"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Every figure, per row of weights of the images; nan where no image counts.

    `object_count_error` is the mean over images of |objects found - objects there|.
    """
    found: dict[str, Float[np.ndarray, " r"]] = {}
    for name in pixels.FIGURES:
        found[name] = pixels.macro(pixels.values(name, evidence.pixels), drawn)
    for name in pixels.FIGURES:
        found[f"{name}_pooled"] = pixels.pooled(name, evidence.pixels, drawn)
    normal = pixels.specificity(evidence.pixels)
    found["specificity"] = pixels.macro(normal, drawn)
    found["boundary_f1"] = pixels.macro(np.where(np.isnan(normal), evidence.contour, np.nan), drawn)
    *tp, said, there = (drawn @ evidence.objects).T
    hits, either = np.stack(tp, axis=1), (said + there)[:, None]
    nobody = either == 0  # no objects at all is as it should be
    with np.errstate(invalid="ignore"):
        ap = np.where(nobody, 1.0, hits / (either - hits))
        f1 = np.where(nobody[:, 0], 1.0, 2 * hits[:, HALF] / either[:, 0])
    found |= {"object_ap@0.5": ap[:, HALF], "object_ap": ap.mean(1), "object_f1": f1}
    off = np.abs(evidence.objects[:, -2] - evidence.objects[:, -1])
    found["object_count_error"] = pixels.macro(off, drawn)
    nobody_drawn = drawn.sum(1) == 0  # of a group, in a replicate: no image, no figure
    return {name: np.where(nobody_drawn, np.nan, one) for name, one in found.items()}


def figures(
    evidence: Evidence,
    *,
    mask: Float[np.ndarray, " b"] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Figure]:
    """Figures with intervals.

    Args:
        evidence: counts of images.
        mask: 1 for the images that count; all without one.
        bootstrap: replicates of patients; 0 gives no intervals.
        seed: of the replicates.
    """
    kept = np.ones(len(evidence)) if mask is None else mask
    value = values(evidence, kept[None])
    blocks = intervals.draws(evidence.patients, replicates=bootstrap, seed=seed)
    drawn = [values(evidence, block * kept) for block in blocks]
    return {
        name: intervals.figure(
            float(one[0]), np.concatenate([one[:0], *(part[name] for part in drawn)])
        )
        for name, one in value.items()
    }


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


def evaluate(
    maps: Maps,
    dataset: Dataset,
    chosen: MaskCalibration,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    by: str | None = None,
    listen: Callable[[int], None] | None = None,
    keep: Callable[[Evidence], None] | None = None,
) -> Report:
    """All figures of maps on a data set.

    Args:
        maps: scores.
        dataset: truth.
        chosen: threshold, smallest size and objects; see `wsrpn.segmentation.predict.settings`.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        seed: of the replicates.
        by: a column of `Record.extra`; each of its values gets its own figures in `per_group`.
        listen: called with the number of images done since the last call.
        keep: called with the counts of all images, see `wsrpn.segmentation.images_table`.

    Raises:
        InputError: nothing to judge, maps of another size than their images, a mask that cannot be
            read, a calibration of another model, or no such column.
    """
    groups = _groups(usable(maps, dataset)[0], dataset.name, by)  # before hours of work
    evidence, notes = gather(maps, dataset, chosen, listen=listen)
    if keep:
        keep(evidence)
    whole = figures(evidence, bootstrap=bootstrap, seed=seed)
    return Report(
        command="eval",
        version=wsrpn.__version__,
        metrics=whole,
        per_group={
            name: figures(evidence, mask=mask, bootstrap=bootstrap, seed=seed)
            for name, mask in groups.items()
        },
        warnings=(
            *dataset.notes, *notes, *left_out(evidence), *remarks(evidence),
            *silence(evidence),
        ),
        provenance=_provenance(evidence, maps, dataset, chosen, bootstrap, seed),
    )  # fmt: skip


def left_out(evidence: Evidence) -> list[str]:
    """Sentences about images that a mean leaves out, and about objects that nobody numbered."""
    notes = []
    there = evidence.pixels[:, 0] + evidence.pixels[:, 2] > 0
    empty = int((~there).sum())
    if empty:
        notes.append(
            f"{counted(empty, 'image')} with an empty mask: of specificity, pooled figures and "
            "objects, and of no mean over images."
        )
    whole = int((there & ~evidence.numbered).sum())
    if whole:
        notes.append(JOINED_TRUTH.format(counted(whole, "image")))
    return notes


def silent(evidence: Evidence) -> int:
    """Images with foreground in which nothing is found."""
    there = evidence.pixels[:, 0] + evidence.pixels[:, 2] > 0
    return int((there & (evidence.pixels[:, :2].sum(1) == 0)).sum())


def flood(evidence: Evidence) -> float:
    """How many times as many pixels are found as are foreground; 0 where none is."""
    known = evidence.pixels[:, [0, 2]].sum()
    return float(evidence.pixels[:, :2].sum() / known) if known else 0.0


def remarks(evidence: Evidence) -> list[str]:
    """Sentences about images in which nothing is found, and about far too much that is found."""
    notes = []
    nothing, times = silent(evidence), flood(evidence)
    if nothing:
        notes.append(f"precision leaves out {counted(nothing, 'image')} with nothing found.")
    if times > FLOODED:
        found, known, every = (
            evidence.pixels[:, at].sum() for at in ([0, 1], [0, 2], [0, 1, 2, 3])
        )
        notes.append(
            f"{times:.1f} times as many pixels are found as are foreground "
            f"({found / every:.1%} of all, and {known / every:.1%}); with everything as foreground "
            f"the Jaccard index would be {jaccard_all(evidence):.3f}."
        )
    return notes


def silence(evidence: Evidence) -> list[str]:
    """A sentence if there is foreground and none is found."""
    if evidence.pixels[:, :2].any() or not evidence.pixels[:, 2].any():
        return []
    return ["Nothing is found in any image; `wsrpn calibrate` may find a lower threshold."]


def jaccard_all(evidence: Evidence) -> float:
    """Mean Jaccard index over the images with foreground if everything were found: its share."""
    share = evidence.pixels[:, [0, 2]].sum(1) / evidence.pixels.sum(1)
    return float(share[share > 0].mean()) if (share > 0).any() else 0.0


def _groups(
    records: Sequence[Record], name: str, by: str | None
) -> dict[str, Float[np.ndarray, " b"]]:
    if by is None:
        return {}
    if all(record.extra.get(by) is None for record in records):
        known = sorted({column for record in records for column in record.extra})
        raise InputError(f"{name} has no column '{by}'. {nearest(by, known)}")
    cells = np.array([(record.extra.get(by) or "").strip() or NO_GROUP for record in records])
    return {str(value): (cells == value).astype(np.float64) for value in np.unique(cells)}


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


def _provenance(
    evidence: Evidence,
    maps: Maps,
    dataset: Dataset,
    chosen: MaskCalibration,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    *_, found, there = evidence.objects.sum(0)
    counts = evidence.pixels.sum(0)
    return {
        "data": dataset.name,
        "images": len(evidence),
        "patients": len(set(evidence.patients)),
        "images_digest": digest_of(evidence.ids),
        "foreground": float((counts[0] + counts[2]) / max(counts.sum(), 1)),
        "foreground_found": float((counts[0] + counts[1]) / max(counts.sum(), 1)),
        "jaccard_of_everything": jaccard_all(evidence),
        "objects": int(there),
        "objects_found": int(found),
        "images_with_numbered_objects": int(evidence.numbered.sum()),
        "calibrated": bool(chosen.objective),
        "threshold": chosen.threshold,
        "min_size_px": chosen.min_size_px,
        "touching": chosen.touching,
        "min_distance_px": chosen.min_distance_px,
        "boundary_tolerance_px": contours.TOLERANCE_PX,
        "bootstrap": bootstrap,
        "seed": seed,
        "failed": dict(maps.failed),
        "maps": dict(maps.provenance),
    }
