"""Look at a data set before training on it: counts, gaps, leaks, odd boxes, and a picture."""

import dataclasses
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from wsrpn import files
from wsrpn.data import images, splits
from wsrpn.data.images import ImageReadError
from wsrpn.types import SPLITS, Dataset, Record

TINY = 1e-4  # share of the image's area; a box of 1 % of both sides
_SHOWN = 20  # ids listed per kind of finding; the counts are always whole


@dataclasses.dataclass(frozen=True)
class Look:
    """What one file says: size and fingerprint, or why it cannot be read."""

    size_px: tuple[int, int] | None = None
    sha256: str = ""
    reason: str = ""


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
    twins = duplicates(dataset, looks)
    boxes = box_findings(dataset, looks)
    found = {
        "name": dataset.name,
        "images": len(dataset),
        "patients": len({record.patient for record in dataset.records}),
        "digest": dataset.digest(),
        "splits": {str(name): _split_counts(dataset, name) for name in (*SPLITS, None)},
        "classes": prevalence(dataset),
        "boxes": {
            "count": sum(len(record.boxes) for record in dataset.records),
            "images_known": sum(record.boxes_known for record in dataset.records),
            **{kind: len(ids) for kind, ids in boxes.items()},
        },
        "text": sum(bool(record.text) for record in dataset.records),
        "masks": sum(record.mask is not None for record in dataset.records),
        "sizes_px": _size_range(looks),
        "unreadable": unreadable,
        "duplicates": twins["same split"],
        "duplicates_across_splits": twins["across splits"],
        "patient_leaks": splits.leaks(dataset),
        "notes": list(dataset.notes),
    }
    problems, warnings = _findings(found, boxes)
    return {**found, "problems": problems, "warnings": warnings}


def _looks(
    records: Sequence[Record], progress: Callable[[int, int], None] | None
) -> dict[str, Look]:
    found: dict[str, Look] = {}
    with ThreadPoolExecutor(4) as pool:
        for record, one in zip(records, pool.map(look, (r.path for r in records)), strict=True):
            found[record.id] = one
            if progress:
                progress(len(found), len(records))
    return found


def look(path: Path) -> Look:
    """Decode a file and take its fingerprint."""
    try:
        pixels = images.read(path)
        return Look(pixels.shape, hashlib.sha256(path.read_bytes()).hexdigest())
    except ImageReadError as error:
        return Look(reason=str(error))


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
        "partly_outside": [], "wholly_outside": [], "tiny": [],
        "box_without_label": [], "label_without_box": [],
    }  # fmt: skip
    for record in dataset.records:
        size = looks[record.id].size_px
        for box in record.boxes:
            if size and (kind := _oddity(box.xyxy_px, size)):
                found[kind].append(record.id)
            if record.labels[box.label] == 0:
                found["box_without_label"].append(record.id)
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
    return "tiny" if (x2 - x1) * (y2 - y1) < TINY * width * height else None


def _size_range(looks: dict[str, Look]) -> dict[str, list[int]]:
    sizes = [look.size_px for look in looks.values() if look.size_px]
    if not sizes:
        return {}
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return {"smallest": list(by_area[0]), "largest": list(by_area[-1])}


def _findings(found: dict[str, Any], boxes: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    problems = [
        *_counted(list(found["unreadable"].values()), "files cannot be read"),
        *_counted(found["patient_leaks"], "patients are in more than one split"),
        *_counted(_pairs(found["duplicates_across_splits"]), "images are in more than one split"),
        *_counted(boxes["wholly_outside"], "boxes lie outside their image"),
    ]
    warnings = [
        *_counted(_pairs(found["duplicates"]), "images are there more than once"),
        *_counted(boxes["partly_outside"], "boxes reach out of their image and will be clipped"),
        *_counted(boxes["tiny"], "boxes are smaller than 1 % of both sides"),
        *_counted(boxes["box_without_label"], "boxes have a class that their image's labels deny"),
        *_counted(boxes["label_without_box"], "labels have no box although boxes are known"),
    ]
    for name, counts in found["classes"].items():
        lacking = [kind for kind in ("present", "absent") if not counts[kind]]
        if lacking and found["images"]:
            warnings.append(f"class '{name}': no image has the label {' or '.join(lacking)}.")
    return problems, warnings


def _pairs(groups: Sequence[Sequence[str]]) -> list[str]:
    return [" = ".join(group) for group in groups]


def _counted(items: Sequence[str], what: str) -> list[str]:
    if not items:
        return []
    different = list(dict.fromkeys(items))
    more = f", … {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    return [f"{len(items)} {what}: {', '.join(different[:_SHOWN])}{more}."]


def lines(found: dict[str, Any]) -> list[str]:
    """What `check` found, for people."""
    parts = [f"{n}: {c['images']}" for n, c in found["splits"].items() if c["images"]]
    told = [
        f"{found['name']}: {found['images']} images of {found['patients']} patients "
        f"({', '.join(parts)})",
        f"boxes: {found['boxes']['count']} · boxes known of {found['boxes']['images_known']} images"
        f" · text: {found['text']} · masks: {found['masks']}",
    ]
    if found["sizes_px"]:
        low, high = found["sizes_px"]["smallest"], found["sizes_px"]["largest"]
        told.append(f"height × width: {low[0]} × {low[1]} to {high[0]} × {high[1]} px")
    told += [
        f"  {name}: {c['present']} present, {c['absent']} absent, {c['unknown']} unknown, "
        f"{c['boxes']} boxes"
        for name, c in found["classes"].items()
    ]
    for title in ("notes", "warnings", "problems"):
        told += [f"{title[:-1]}: {text}" for text in found[title]]
    return told


def contact_sheet(
    dataset: Dataset, path: Path, *, count: int = 24, columns: int = 6, side: int = 192
) -> None:
    """Draw images of a data set with their boxes and labels into one PNG.

    Images are taken evenly from the records, those with boxes first; unreadable ones are grey.

    Args:
        dataset: any.
        path: the PNG.
        count: most images.
        columns: images in a row.
        side: pixels of each.
    """
    chosen = _spread(dataset.records, count)
    rows = max(math.ceil(len(chosen) / columns), 1)
    sheet = Image.new("RGB", (columns * side, rows * (side + 14)), "black")
    for position, record in enumerate(chosen):
        x, y = position % columns * side, position // columns * (side + 14)
        sheet.paste(_thumbnail(record, side), (x, y))
        present = [n for n, v in zip(dataset.classes, record.labels, strict=False) if v == 1]
        caption = ", ".join(present).encode("latin-1", "replace").decode("latin-1") or "-"
        ImageDraw.Draw(sheet).text((x + 2, y + side), caption[: side // 6], fill="white")
    files.write_with(path, lambda temporary: sheet.save(temporary, format="PNG"))


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    ranked = sorted(records, key=lambda record: not record.boxes)
    boxed = sum(bool(record.boxes) for record in records)
    pool = ranked[: max(boxed, min(count, len(ranked)))]
    places = np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)
    return [pool[place] for place in places]


def _thumbnail(record: Record, side: int) -> Image.Image:
    try:
        grey = images.read(record.path)
    except ImageReadError:
        return Image.new("RGB", (side, side), "grey")
    height, width = grey.shape
    small = Image.fromarray((grey * 255).round().astype(np.uint8)).resize((side, side))
    picture = small.convert("RGB")
    draw = ImageDraw.Draw(picture)
    scale = np.array([side / width, side / height] * 2)
    for box in record.boxes:
        draw.rectangle(tuple((np.array(box.xyxy_px) * scale).tolist()), outline="yellow", width=2)
    return picture
