"""COCO JSON: images, annotations with `bbox` = [x, y, width, height], categories with any ids.

Labels are the categories that have a box; an image without annotations is known to have none.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn import files
from wsrpn.data import splits, tables
from wsrpn.data.base import datasets
from wsrpn.data.manifest import relative
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record


@datasets.register("coco")
def coco(*, root: Path) -> Dataset:
    """Read COCO annotations.

    Args:
        root: the JSON. `file_name` is relative to its folder, or to `images` in it. The keys
            `patient` and `split` of an image are used where they are there.

    Returns:
        Classes in the order of the categories. Crowd boxes are left out and counted in the notes.
        The numbers of images are kept in `extra` as `coco_id`, for lists of results.

    Raises:
        InputError: with the path inside the JSON, for every fault.
    """
    tree = files.read_json(root, what="COCO annotations")
    if not isinstance(tree, dict):
        raise InputError(
            f"{root}: no object with images, annotations and categories, as COCO has them."
        )
    categories = _by_id(tree, "categories", root)
    classes = [_text(one, "name", f"{root}: categories") for one in categories.values()]
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise InputError(f"{root}: categories: '{repeated[0]}' stands twice.")
    images = _by_id(tree, "images", root)
    boxes, crowd = _boxes(tree, root, {key: i for i, key in enumerate(categories)}, images)
    home = _home(root, images)
    records = tuple(
        _record(image, home, boxes.get(key, []), len(classes), f"{root}: images id {key}")
        for key, image in images.items()
    )
    twice = [name for name, count in Counter(r.id for r in records).items() if count > 1]
    if twice:
        raise InputError(f"{root}: images: file_name '{twice[0]}' stands twice.")
    notes = (f"{crowd} crowd boxes left out.",) if crowd else ()
    return Dataset(str(root), tuple(classes), records, notes, tuple(categories))


def _by_id(tree: Mapping[str, Any], key: str, path: Path) -> dict[Any, Mapping[str, Any]]:
    entries = tree.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{path}: no list '{key}'; COCO has images, annotations and categories.")
    found: dict[Any, Mapping[str, Any]] = {}
    for index, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int | str):
            raise InputError(f"{path}: {key}[{index}] has no id.")
        if number in found:
            raise InputError(f"{path}: {key}[{index}]: id {number} stands twice.")
        found[number] = entry
    return found


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: '{key}' is missing or no text.")
    return value


def _boxes(
    tree: Mapping[str, Any], path: Path, index_of: Mapping[Any, int], images: Mapping[Any, Any]
) -> tuple[dict[Any, list[Box]], int]:
    entries = tree.get("annotations")
    if not isinstance(entries, list):
        raise InputError(f"{path}: no list 'annotations'; write [] where there are none.")
    found: dict[Any, list[Box]] = defaultdict(list)
    crowd = 0
    for position, entry in enumerate(entries):
        where = f"{path}: annotations[{position}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is no object.")
        for key, known in (("image_id", images), ("category_id", index_of)):
            if not isinstance(entry.get(key), int | str) or entry[key] not in known:
                raise InputError(f"{where}: {key} {entry.get(key)!r} is not among the ids.")
        if entry.get("iscrowd"):
            crowd += 1
            continue
        corners = _corners(entry.get("bbox"), where)
        found[entry["image_id"]].append(Box(index_of[entry["category_id"]], corners))
    return found, crowd


def _corners(bbox: Any, where: str) -> tuple[float, float, float, float]:
    numbers = isinstance(bbox, list) and all(
        isinstance(n, int | float) and math.isfinite(n) for n in bbox
    )
    if not numbers or len(bbox) != 4 or bbox[2] <= 0 or bbox[3] <= 0:
        raise InputError(f"{where}: bbox {bbox!r} is not [x, y, width, height] of positive size.")
    x, y, width, height = map(float, bbox)
    return (x, y, x + width, y + height)


def _home(path: Path, images: Mapping[Any, Mapping[str, Any]]) -> Path:
    """The folder of the JSON, or `images` in it if only there the first image is."""
    first = next(iter(images.values()), {}).get("file_name", "")
    below = path.parent / "images"
    if isinstance(first, str) and not (path.parent / first).exists() and (below / first).exists():
        return below
    return path.parent


def _record(
    image: Mapping[str, Any], home: Path, boxes: Sequence[Box], classes: int, where: str
) -> Record:
    name = _text(image, "file_name", where)
    present = {box.label for box in boxes}
    split = image.get("split")
    return Record(
        id=name,
        path=tables.inside(home, name, where=where),
        patient=str(image.get("patient") or name),
        labels=tuple(1.0 if index in present else 0.0 for index in range(classes)),
        split=splits.parse(str(split), where=where) if split else None,
        boxes=tuple(boxes),
        extra={"coco_id": str(image["id"])},
    )


def write(dataset: Dataset, path: Path, *, sizes_px: Mapping[str, tuple[int, int]]) -> str:
    """Write COCO annotations of a data set whose files lie below the folder of `path`.

    COCO has no unknown labels and no labels without a box: such images lose them.

    Args:
        dataset: any.
        path: the JSON to write.
        sizes_px: height and width of every image by id.

    Returns:
        sha256 of the file.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(dataset.records, start=1):
        height, width = sizes_px[record.id]
        entry = {
            "id": number, "file_name": relative(record.path, path.parent),
            "height": height, "width": width, "patient": record.patient,
        }  # fmt: skip
        images.append({**entry, "split": record.split} if record.split else entry)
        for box in record.boxes:
            x1, y1, x2, y2 = box.xyxy_px
            size = (x2 - x1, y2 - y1)
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": box.label + 1,
                "bbox": [x1, y1, *size], "area": size[0] * size[1], "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": i, "name": name} for i, name in enumerate(dataset.classes, start=1)]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    return files.write_json(path, tree)
