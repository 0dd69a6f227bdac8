"""COCO JSON: images, annotations with `bbox` = [x, y, width, height], categories with any ids.

Labels are the categories that have a box; an image without annotations is known to have none. What
COCO has no word for stands under the key `wsrpn` of an image, which other programs pass over:
`labels` and `unknown` (names; `*` for all), `boxes_known`, `text`, `mask`, `drr` and `extra`.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn import files
from wsrpn.data import splits, tables
from wsrpn.data.base import datasets
from wsrpn.data.manifest import refuse_soft_labels, relative
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record

MARKER = "annotations.json"
_LISTS = ("images", "annotations", "categories")


def lies_in(folder: Path) -> bool:
    """Whether a folder has COCO annotations under another name at its top."""
    return bool(_annotations(folder))


@datasets.register("coco", marker=MARKER, lies_in=lies_in)
def coco(*, root: Path) -> Dataset:
    """Read COCO annotations.

    Args:
        root: the JSON, or a folder with `annotations.json` or one such file of another name.
            `file_name` is relative to its folder, or to `images` in it. The keys `patient` and
            `split` of an image are used where they are there.

    Returns:
        Classes in the order of the categories. Crowd boxes are left out and counted in the notes.
        The numbers of images are kept in `extra` as `coco_id`, for lists of results, and those of
        the categories in `numbers`.

    Raises:
        InputError: with the path inside the JSON, for every fault.
    """
    root = _file(root) if root.is_dir() else root
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
        _record(image, home, boxes.get(key, []), classes, f"{root}: images id {key}")
        for key, image in images.items()
    )
    twice = [name for name, count in Counter(r.id for r in records).items() if count > 1]
    if twice:
        raise InputError(f"{root}: images: file_name '{twice[0]}' stands twice.")
    notes = (f"{crowd} crowd boxes left out.",) if crowd else ()
    return Dataset(str(root), tuple(classes), records, notes, tuple(categories))


def _file(folder: Path) -> Path:
    if (folder / MARKER).is_file():
        return folder / MARKER
    found = _annotations(folder)
    if not found:
        raise InputError(f"{folder}: no COCO annotations ({MARKER}) are in this folder.")
    if len(found) > 1:
        ways = " or ".join(f"coco:{path}" for path in found)
        raise InputError(f"{folder}: several COCO annotations lie here; write {ways}.")
    return found[0]


def _annotations(folder: Path) -> list[Path]:
    """JSON files of COCO's layout in a folder, but no predictions."""
    return [path for path in sorted(folder.glob("[!.]*.json")) if _is_truth(path)]


def _is_truth(path: Path) -> bool:
    try:
        data = path.read_bytes()
        # Most files need not be parsed to know that they are none.
        tree = json.loads(data) if all(f'"{key}"'.encode() in data for key in _LISTS) else None
    except (OSError, ValueError):
        return False
    if not isinstance(tree, dict) or not all(isinstance(tree.get(key), list) for key in _LISTS):
        return False
    return not any("score" in entry for entry in tree["annotations"][:1]) and (
        "format" not in (tree.get("info") or {})
    )


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
    image: Mapping[str, Any], home: Path, boxes: Sequence[Box], classes: Sequence[str], where: str
) -> Record:
    name = _text(image, "file_name", where)
    split = image.get("split")
    more = image.get("wsrpn", {})
    if not isinstance(more, dict) or not isinstance(more.get("extra", {}), dict):
        raise InputError(f"{where}: 'wsrpn' is no object, or 'extra' in it is none.")
    beside = {key: more.get(key) for key in ("mask", "drr")}
    files_beside = {
        key: tables.inside(home, str(value), where=f"{where}: {key}") if value else None
        for key, value in beside.items()
    }
    return Record(
        id=name,
        path=tables.inside(home, name, where=where),
        patient=str(image.get("patient") or name),
        labels=_labels(more, boxes, classes, where),
        split=splits.parse(str(split), where=where) if split else None,
        boxes=tuple(boxes),
        boxes_known=bool(more.get("boxes_known", True)),
        text=str(more.get("text") or ""),
        mask=files_beside["mask"],
        drr=files_beside["drr"],
        extra={
            **{str(key): str(value) for key, value in more.get("extra", {}).items()},
            "coco_id": str(image["id"]),
        },
    )


def _labels(
    more: Mapping[str, Any], boxes: Sequence[Box], classes: Sequence[str], where: str
) -> tuple[float, ...]:
    """Labels as `wsrpn` names them; where it does not, the classes that have a box."""
    present, unknown = (_names(more, key, classes, where) for key in ("labels", "unknown"))
    if present is None:
        boxed = {box.label for box in boxes}
        return tuple(1.0 if index in boxed else 0.0 for index in range(len(classes)))
    free = math.nan if unknown is not None and "*" in unknown else 0.0
    values = dict.fromkeys(classes, free)
    values |= dict.fromkeys(unknown or (), math.nan) | dict.fromkeys(present, 1.0)
    return tuple(values[name] for name in classes)


def _names(
    more: Mapping[str, Any], key: str, classes: Sequence[str], where: str
) -> list[str] | None:
    names = more.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{where}: wsrpn.{key} is no list of names.")
    for name in names:
        if name not in classes and not (name == "*" and key == "unknown"):
            raise InputError(f"{where}: wsrpn.{key}: '{name}' is no category.")
    return names


def write(dataset: Dataset, path: Path, *, sizes_px: Mapping[str, tuple[int, int]]) -> str:
    """Write COCO annotations of a data set whose files lie below the folder of `path`.

    What COCO has no word for (see above) goes under `wsrpn`, so `coco` reads the same data set
    back. Numbers of images and categories that came from COCO are kept.

    Args:
        dataset: any.
        path: the JSON to write.
        sizes_px: height and width of every image by id.

    Returns:
        sha256 of the file.

    Raises:
        InputError: a file outside the folder of `path`, an image twice, or a label that is not 1,
            0 or unknown.
    """
    refuse_soft_labels(dataset)
    number = _numbers(dataset)
    annotations: list[dict[str, Any]] = []
    images = [
        _entry(record, number[0][i], sizes_px[record.id], path, dataset.classes)
        for i, record in enumerate(dataset.records)
    ]
    twice = [n for n, count in Counter(i["file_name"] for i in images).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is the file of two images; write each image once.")
    for image, record in zip(images, dataset.records, strict=True):
        for box in record.boxes:
            x1, y1, x2, y2 = box.xyxy_px
            size = (x2 - x1, y2 - y1)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image["id"],
                "category_id": number[1][box.label],
                "bbox": [x1, y1, *size], "area": size[0] * size[1], "iscrowd": 0,
            })  # fmt: skip
    categories = [
        {"id": key, "name": name} for key, name in zip(number[1], dataset.classes, strict=True)
    ]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    return files.write_json(path, tree)


def _numbers(dataset: Dataset) -> tuple[list[int], list[int | str]]:
    """Numbers of the images and of the categories: those of the source, or from 1 on."""
    given = [record.extra.get("coco_id", "") for record in dataset.records]
    images = [int(key) for key in given] if all(key.isdecimal() for key in given) else []
    if len(set(images)) < len(given):
        images = list(range(1, len(given) + 1))
    return images, list(dataset.numbers or range(1, len(dataset.classes) + 1))


def _entry(
    record: Record, number: int, size_px: tuple[int, int], path: Path, classes: Sequence[str]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": number, "file_name": relative(record.path, path.parent),
        "height": size_px[0], "width": size_px[1], "patient": record.patient,
    }  # fmt: skip
    if record.split:
        entry["split"] = record.split
    more: dict[str, Any] = {}
    boxed = {box.label for box in record.boxes}
    if record.labels != tuple(1.0 if k in boxed else 0.0 for k in range(len(classes))):
        unknown = [n for n, v in zip(classes, record.labels, strict=True) if math.isnan(v)]
        more["labels"] = [n for n, v in zip(classes, record.labels, strict=True) if v == 1]
        more["unknown"] = ["*"] if len(unknown) == len(classes) else unknown
    paths = {"mask": relative(record.mask, path.parent), "drr": relative(record.drr, path.parent)}
    extra = {key: value for key, value in record.extra.items() if key != "coco_id"}
    more |= {k: v for k, v in {"text": record.text, **paths, "extra": extra}.items() if v}
    if not record.boxes_known:
        more["boxes_known"] = False
    return {**entry, "wsrpn": more} if more else entry
