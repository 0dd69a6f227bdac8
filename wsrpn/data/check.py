"""Look at a data set before training on it: counts, gaps, leaks, odd boxes and masks."""

import dataclasses
import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from wsrpn.data import images, labels, mask_check, splits
from wsrpn.data.images import ImageReadError
from wsrpn.data.mask_check import MaskLook
from wsrpn.errors import counted
from wsrpn.types import SPLITS, Dataset, Record

TINY = 1e-4  # share of the image's area; a box of 1 % of both sides
WHOLE = 0.95  # the same; such a box tells nothing of a place
_SHOWN = 20  # ids listed per kind of finding; the counts are always whole


@dataclasses.dataclass(frozen=True)
class Look:
    """What the files of a record say.

    Attributes:
        size_px: height and width of the image, if it can be read.
        sha256: of its bytes.
        reason: why it cannot be read.
        missing: files that are not there, the image, its mask and its DRR.
        mask: what the mask says, if there is one; it must be as large as the image.
        drr: why the DRR cannot be read.
    """

    size_px: tuple[int, int] | None = None
    sha256: str = ""
    reason: str = ""
    missing: tuple[str, ...] = ()
    mask: MaskLook | None = None
    drr: str = ""


def check(
    dataset: Dataset, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Everything worth knowing of a data set; every file is decoded once.

    Args:
        dataset: with splits.
        progress: called with how many files are done, and of how many.

    Returns:
        Plain values for JSON. `problems` would spoil a training or a figure (unreadable files,
        leaks), `warnings` deserve a look (odd boxes, labels without a box).
    """
    looks = _looks(dataset.records, progress)
    unreadable = {i: look.reason for i, look in looks.items() if look.reason}
    missing = {i: list(look.missing) for i, look in looks.items() if look.missing}
    drawn = {i: look.mask for i, look in looks.items() if look.mask}
    masks = {i: mask.fault for i, mask in drawn.items() if mask.fault}
    twins = duplicates(dataset, looks)
    boxes = box_findings(dataset, looks)
    odd = labels.doubts(dataset.classes)
    odd += [told for told in labels.commas(dataset.classes) if told in dataset.notes]
    # What is a warning below is not said twice.
    notes = [n for n in (*dataset.notes, *dataset.training_notes) if n not in odd]
    found: dict[str, Any] = {
        "name": dataset.name,
        "images": len(dataset),
        "patients": len({record.patient for record in dataset.records}),
        "digest": dataset.digest(),
        "splits": {str(name): _split_counts(dataset, name) for name in (*SPLITS, None)},
        "classes": prevalence(dataset),
        "prevalence": {name: prevalence(dataset.split(name)) for name in SPLITS},
        "boxes": {
            "count": sum(len(record.boxes) for record in dataset.records),
            "images_known": sum(record.boxes_known for record in dataset.records),
            **{kind: len(ids) for kind, ids in boxes.items()},
        },
        "text": texts(dataset),
        "masks": sum(record.mask is not None for record in dataset.records),
        "mask_pixels": mask_check.facts(dataset, drawn),
        "odd_masks": masks,
        "unreadable_masks": [i for i, mask in drawn.items() if mask.fault and not mask.misfit],
        "unreadable_drrs": {i: look.drr for i, look in looks.items() if look.drr},
        "sizes_px": _size_range(looks),
        "missing": missing,
        "unreadable": unreadable,
        "duplicates": twins["same split"],
        "duplicates_across_splits": twins["across splits"],
        "patient_leaks": splits.leaks(dataset),
        "notes": [],
    }
    found["notes"] = [*notes, *_of_masks(found)]
    problems, warnings = _findings(found, boxes)
    return {**found, "problems": problems, "warnings": [*warnings, *odd]}


def _looks(
    records: Sequence[Record], progress: Callable[[int, int], None] | None
) -> dict[str, Look]:
    found: dict[str, Look] = {}
    with ThreadPoolExecutor(4) as pool:
        for record, one in zip(records, pool.map(look, records), strict=True):
            found[record.id] = one
            if progress:
                progress(len(found), len(records))
    return found


def look(record: Record) -> Look:
    """Decode an image and take its fingerprint; see that what belongs to it is there."""
    beside = [path for path in (record.path, record.mask, record.drr) if path is not None]
    missing = tuple(str(path) for path in beside if not path.exists())
    if not record.path.exists():
        return Look(missing=missing)
    try:
        size = images.read(record.path).shape
        digest = hashlib.sha256(record.path.read_bytes()).hexdigest()
    except ImageReadError as error:
        return Look(reason=str(error), missing=missing)
    mask = None
    if record.mask is not None and record.mask.exists():
        mask = mask_check.look(record.mask, (size[0], size[1]))
    drr = "" if record.drr is None or not record.drr.exists() else _fault(record.drr)
    return Look((size[0], size[1]), digest, missing=missing, mask=mask, drr=drr)


def _fault(path: Path) -> str:
    try:
        images.read(path)
    except ImageReadError as error:
        return str(error)
    return ""


def _split_counts(dataset: Dataset, name: Any) -> dict[str, int]:
    part = dataset.where(lambda record: record.split == name)
    return {"images": len(part), "patients": len({record.patient for record in part.records})}


def prevalence(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Images with label 1, 0 and unknown, and boxes, per class."""
    labels = dataset.labels()
    boxes = Counter(box.label for record in dataset.records for box in record.boxes)
    return {
        name: {
            "present": int((labels[:, k] == 1).sum()),
            "absent": int((labels[:, k] == 0).sum()),
            "unknown": int(np.isnan(labels[:, k]).sum()),
            "boxes": boxes[k],
        }
        for k, name in enumerate(dataset.classes)
    }


def texts(dataset: Dataset) -> dict[str, float | int]:
    """How many images have a text, how many texts differ, and how long they are.

    Returns:
        `images` with a text and their `share` of all; `distinct` texts; `in_several_splits`, those
        of them that images of more than one split have; `median_words` of the distinct ones.
    """
    where: dict[str, set[Any]] = defaultdict(set)
    for record in dataset.records:
        if record.text:
            where[record.text].add(record.split)
    count = sum(bool(record.text) for record in dataset.records)
    return {
        "images": count,
        "share": count / max(len(dataset), 1),
        "distinct": len(where),
        "in_several_splits": sum(len(splits) > 1 for splits in where.values()),
        "median_words": statistics.median([len(text.split()) for text in where] or [0]),
    }


def duplicates(dataset: Dataset, looks: dict[str, Look]) -> dict[str, list[list[str]]]:
    """Groups of images with the same bytes, by whether they are in one split or in several."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in dataset.records:
        if looks[record.id].sha256:
            groups[looks[record.id].sha256].append(record)
    found: dict[str, list[list[str]]] = {"same split": [], "across splits": []}
    for group in groups.values():
        if len(group) > 1:
            several = len({record.split for record in group}) > 1
            found["across splits" if several else "same split"].append([r.id for r in group])
    return found


def box_findings(dataset: Dataset, looks: dict[str, Look]) -> dict[str, list[str]]:
    """Ids of images with odd boxes, by kind; an image stands once for every such box or label."""
    found: dict[str, list[str]] = {
        "partly_outside": [], "wholly_outside": [], "tiny": [], "whole_image": [], "repeated": [],
        "box_without_label": [], "label_without_box": [],
    }  # fmt: skip
    for record in dataset.records:
        size = looks[record.id].size_px
        for box in record.boxes:
            if size and (kind := _oddity(box.xyxy_px, size)):
                found[kind].append(record.id)
            if record.labels[box.label] == 0:
                found["box_without_label"].append(record.id)
        found["repeated"].extend([record.id] * (len(record.boxes) - len(set(record.boxes))))
        boxed = {box.label for box in record.boxes}
        if record.boxes_known:
            bare = [k for k, value in enumerate(record.labels) if value == 1 and k not in boxed]
            found["label_without_box"].extend([record.id] * len(bare))
    return found


def _oddity(xyxy: tuple[float, float, float, float], size: tuple[int, int]) -> str | None:
    height, width = size
    x1, y1, x2, y2 = xyxy
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return "wholly_outside"
    # Half a pixel of rounding is no fault.
    if x1 < -0.5 or y1 < -0.5 or x2 > width + 0.5 or y2 > height + 0.5:
        return "partly_outside"
    share = (x2 - x1) * (y2 - y1) / (width * height)
    return "tiny" if share < TINY else "whole_image" if share > WHOLE else None


def _size_range(looks: dict[str, Look]) -> dict[str, list[int]]:
    sizes = [look.size_px for look in looks.values() if look.size_px]
    if not sizes:
        return {}
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return {"smallest": list(by_area[0]), "largest": list(by_area[-1])}


def _findings(found: dict[str, Any], boxes: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    missing = [path for paths in found["missing"].values() for path in paths]
    odd, bad = found["odd_masks"], found["unreadable_masks"]
    misfits = [said for name, said in odd.items() if name not in bad]
    twins = _pairs(found["duplicates_across_splits"])
    # Each with its way out.
    problems = [
        *_counted(missing, "file", ("is missing", "are missing"),
                  "Put them there, or take their rows or cells out of the table."),
        *_counted(list(found["unreadable"].values()), "file", ("cannot be read",) * 2,
                  "Fetch or export them again, or take their rows out of the table."),
        *_counted(list(found["unreadable_drrs"].values()), "DRR", ("cannot be read",) * 2,
                  "Fetch or export them again, or take their cells out of the table."),
        *_counted([odd[name] for name in bad], "mask", ("cannot be read as a mask",) * 2,
                  "Save them as PNG or TIFF with one whole number in each pixel, 0 outside."),
        *_counted(misfits, "mask", ("does not fit its image", "do not fit their image"),
                  mask_check.AS_STORED),
        *_counted(found["patient_leaks"], "patient", ("is in more than one split",
                  "are in more than one split"), "Put all images of a patient into one split."),
        *_counted(twins, "image", ("is in more than one split", "are in more than one split"),
                  "Keep each in one split."),
        *_counted(boxes["wholly_outside"], "box", ("lies outside its image",
                  "lie outside their image"), "Boxes are in pixels of the image as it is stored."),
    ]  # fmt: skip
    warnings = [
        *_counted(_pairs(found["duplicates"]), "image", ("is there more than once",
                  "are there more than once")),
        *_counted(boxes["partly_outside"], "box", ("reaches out of its image and will be clipped",
                  "reach out of their image and will be clipped")),
        *_counted(boxes["tiny"], "box", ("is smaller than 1 % of both sides",
                  "are smaller than 1 % of both sides")),
        *_counted(boxes["whole_image"], "box", ("covers nearly the whole image",
                  "cover nearly the whole image")),
        *_counted(boxes["repeated"], "box", ("is there twice", "are there twice")),
        *_counted(boxes["box_without_label"], "box", ("has a class that its image's labels deny",
                  "have a class that their image's labels deny")),
        *_counted(boxes["label_without_box"], "label", ("has no box although boxes are known",
                  "have no box although boxes are known")),
    ]  # fmt: skip
    for ids, noun, what, way_out in mask_check.warnings(found["mask_pixels"]):
        warnings += _counted(ids, noun, what, way_out)
    return problems, [*warnings, *_lacking(found)]


def _drawn_on(found: dict[str, Any]) -> bool:
    """Whether most images have a mask: then masks, not labels, are what is learned from."""
    return bool(found["masks"] and 2 * found["masks"] >= found["images"])


def _of_masks(found: dict[str, Any]) -> list[str]:
    """What data without any class are for, if they have masks."""
    if found["classes"] or not _drawn_on(found):
        return []
    return [f"{counted(found['masks'], 'mask')} and no class: models that segment learn from them."]


def _lacking(found: dict[str, Any]) -> list[str]:
    """Classes of which nothing can be learned, or nothing measured in a split.

    Where most images have a mask, no class or a single one that every image shows is no gap: the
    pixels outside are what has it not.
    """
    drawn = _drawn_on(found)
    if not found["classes"]:
        return [] if drawn else ["there is no class: nothing can be learned or measured here."]
    needed = ("present",) if drawn and len(found["classes"]) == 1 else ("present", "absent")
    lacking: dict[str, list[str]] = defaultdict(list)
    for name, counts in found["classes"].items():
        kinds = [kind for kind in needed if not counts[kind]]
        if kinds and found["images"]:
            lacking[" or ".join(kinds)].append(name)
    gone = {name for names in lacking.values() for name in names}
    told = [f"no image has the label {k} of {', '.join(names)}." for k, names in lacking.items()]
    for split, classes in found["prevalence"].items():
        if not found["splits"][split]["images"]:
            continue
        for kind in needed:
            names = [n for n, counts in classes.items() if not counts[kind] and n not in gone]
            if names:
                told.append(f"split {split}: no image has the label {kind} of {', '.join(names)}.")
    return told


def _pairs(groups: Sequence[Sequence[str]]) -> list[str]:
    return [" = ".join(group) for group in groups]


def _counted(
    items: Sequence[str], noun: str, what: tuple[str, str], way_out: str = ""
) -> list[str]:
    """How many there are, what one or several of them do, which, and what can be done."""
    if not items:
        return []
    # Whole sentences may be among them.
    different = [item.removesuffix(".") for item in dict.fromkeys(items)]
    more = f", … {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    head = f"{counted(len(items), noun)} {what[len(items) > 1]}"
    return [f"{head}: {', '.join(different[:_SHOWN])}{more}.{' ' * bool(way_out)}{way_out}"]


def lines(found: dict[str, Any]) -> list[str]:
    """What `check` found, for people."""
    parts = [f"{n}: {c['images']}" for n, c in found["splits"].items() if c["images"]]
    told = [
        f"{found['name']}: {found['images']} images of {found['patients']} patients "
        f"({', '.join(parts)})",
        f"boxes: {found['boxes']['count']} · boxes known of {found['boxes']['images_known']} images"
        f" · masks: {found['masks']}{_unusable(found)} · {_of_texts(found['text'])}",
    ]
    if found["masks"]:
        told.append(mask_check.line(found["mask_pixels"]))
    if found["sizes_px"]:
        low, high = found["sizes_px"]["smallest"], found["sizes_px"]["largest"]
        told.append(f"height × width: {low[0]} × {low[1]} to {high[0]} × {high[1]} px")
    told += [
        f"  {name}: {c['present']} present, {c['absent']} absent, {c['unknown']} unknown, "
        f"{c['boxes']} boxes{_by_split(found, name)}"
        for name, c in found["classes"].items()
    ]
    for title in ("notes", "warnings", "problems"):
        told += [f"{title[:-1]}: {text}" for text in found[title]]
    return told


def _unusable(found: dict[str, Any]) -> str:
    """How many of the masks are not there or cannot be used."""
    count = found["masks"] - found["mask_pixels"]["whole"]
    return f" ({count} of them cannot be used)" if count else ""


def _of_texts(found: dict[str, float | int]) -> str:
    if not found["images"]:
        return "text: none"
    return (
        f"text: {found['images']} images ({found['share']:.0%}), {found['distinct']} different, "
        f"median {found['median_words']:g} words"
    )


def _by_split(found: dict[str, Any], name: str) -> str:
    """Share of present among known labels of a class, split by split."""
    shares = []
    for split, classes in found["prevalence"].items():
        known = classes[name]["present"] + classes[name]["absent"]
        if known:
            shares.append(f"{split} {classes[name]['present'] / known:.0%}")
    return f" · present in {', '.join(shares)}" if shares else ""
