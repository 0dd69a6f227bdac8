"""From what the user calls DATA to a `Dataset`: find the reader, pick classes, give splits."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

from wsrpn.config import DataConfig
from wsrpn.data import mapping, splits
from wsrpn.errors import InputError, nearest
from wsrpn.registry import Registry, signature_schema
from wsrpn.types import Box, Dataset, Record

Reader = Callable[..., Dataset]
Views = Literal["frontal", "lateral", "all"]

# A reader registers `marker`, a glob or several: a folder in which one of them finds something is
# its data set. `lies_in`, a function of the folder, is asked before it is taken for bare pictures.
datasets: Registry[Reader] = Registry("data set")

# Fields of `DataConfig` that a reader may take as options, and what it lacks where it does not.
POLICIES = {"uncertain": "uncertain labels", "blank": "blank labels", "views": "other views"}

DEPTH, BREADTH = 4, 200  # of the look below: physionet.org/files/NAME/VERSION is what wget leaves

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".mha", ".img",
)  # fmt: skip


def load(config: DataConfig) -> Dataset:
    """The data set of `config.source`: read, its classes picked, every image in a split.

    Args:
        config: `source` is `name:ARG` for a registered reader, or a path that is recognised by what
            lies in it. `uncertain`, `blank` and `views` go to readers that have these options;
            other options of a reader stand in the source, as in `mimic:DIR?labels=negbio`.

    Raises:
        InputError: nothing to read there, a fault in the tables, or an unknown class.
    """
    name, argument = recognise(config.source)
    taken = signature_schema(datasets[name]).model_fields
    wanted = {key: getattr(config, key) for key in POLICIES}
    argument, options = _options(name, argument, taken.keys() - POLICIES.keys())
    options |= {key: value for key, value in wanted.items() if key in taken}
    dataset = _read(name, Path(argument), options)
    dataset = dataclasses.replace(dataset, name=config.source)
    if not dataset.records:
        raise InputError(f"{config.source}: no images in it.{_said(dataset.notes)}")
    for key, what in POLICIES.items():
        if key not in taken and wanted[key] != getattr(DataConfig, key):
            dataset = noted(dataset, f"{name} has no {what}: data.{key} has no effect.")
    dataset = pick(mapping.rename(dataset, config.rename), config.classes)
    return splits.assign(
        dataset, val_share=config.val_share, test_share=config.test_share, seed=config.split_seed
    )


def _read(name: str, root: Path, options: Mapping[str, Any]) -> Dataset:
    """What a reader finds; who named a folder above its data is told where they lie."""
    if _markers(name) and not root.exists():
        raise InputError(f"{name}:{root}: no such file or folder.")
    try:
        return datasets.build(name, options, root=root)
    except InputError as error:
        below = None if not root.is_dir() or _is_marked(name, root) else _below(name, root)
        if below is None:
            raise
        raise InputError(f"{error} Did you mean {name}:{below}?") from None


def _below(name: str, root: Path) -> Path | None:
    """The nearest folder below with the data set of a reader, as far as a short look shows."""
    level = [root]
    for _ in range(DEPTH):
        level = [path for folder in level for path in _folders(folder)][:BREADTH]
        found = next((folder for folder in level if _is_marked(name, folder)), None)
        if found:
            return found
    return None


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(e.path for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []
    return [Path(path) for path in found]


def _options(name: str, argument: str, known: Set[str]) -> tuple[str, dict[str, Any]]:
    """`DIR?key=value&…` into DIR and options; whole for a reader that has none of its own."""
    path, mark, query = argument.partition("?")
    if not mark or not known:
        return argument, {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise InputError(
            f"{name}:{argument}: write options as {name}:DIR?key=value&key=value."
        ) from None
    for key, _ in pairs:
        if key in POLICIES:
            raise InputError(f"{name}:{argument}: set data.{key} in the config instead.")
        if key not in known:
            raise InputError(f"{name}:{argument}: no option '{key}'. {nearest(key, known)}")
    if len(dict(pairs)) < len(pairs):
        raise InputError(f"{name}:{argument}: an option stands twice.")
    return path, dict(pairs)


def files(paths: Sequence[Path]) -> Dataset:
    """Unlabelled image files as a data set, for `predict` and `heatmap`.

    Folders stand for the images in them. Nothing is known of labels and boxes.

    Raises:
        InputError: a path that does not exist, the same file twice, or no image at all.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder.")
        found.extend(images_in(path) if path.is_dir() else [path])
    if not found:
        raise InputError(f"no images in {', '.join(map(str, paths))}.")
    repeated = sorted(str(path) for path, count in Counter(found).items() if count > 1)
    if repeated:
        raise InputError(f"{repeated[0]}: given twice.")
    records = (Record(str(p), p, str(p), (), boxes_known=False) for p in found)
    return Dataset("files", (), tuple(records))


def images_in(folder: Path) -> list[Path]:
    """Image files below a folder by suffix, sorted; hidden ones left out."""
    below = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(p for p in below if p.is_file() and not _is_hidden(p.relative_to(folder)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def recognise(source: str) -> tuple[str, str]:
    """Reader and argument of a DATA string.

    Returns:
        Name in the registry, and what the reader gets as `root`.

    Raises:
        InputError: the path holds nothing that a reader knows; says what was looked for.
    """
    if not source:
        raise InputError("No data given. Pass --data, for example --data phantom:cxr or a folder.")
    name, colon, argument = source.partition(":")
    if colon and name in datasets:
        if not argument:
            raise InputError(f"{source}: something must follow the colon, for example {name}:DIR.")
        return name, argument
    path = Path(source)
    if colon and name.isidentifier() and len(name) > 1 and not path.exists():
        raise InputError(f"{source}: no data set is called '{name}'. {nearest(name, datasets)}")
    if path.is_dir():
        return _recognise_folder(path), source
    if path.is_file() and path.suffix.lower() in {".csv", ".json"}:
        return ("manifest" if path.suffix.lower() == ".csv" else "coco"), source
    raise InputError(
        f"{source}: {'not a data set' if path.exists() else 'no such file or folder'}. "
        f"A manifest (.csv), COCO annotations (.json), a folder, or NAME:ARG is expected. "
        f"Names: {', '.join(datasets)}."
    )


def _recognise_folder(folder: Path) -> str:
    known = {name: _markers(name) for name in datasets if _markers(name)}
    found = [name for name in known if _is_marked(name, folder)]
    if "manifest" in found:  # somebody wrote it to say what is to be read
        return "manifest"
    if len(found) > 1:
        ways = " or ".join(f"{name}:{folder}" for name in found)
        raise InputError(f"{folder}: files of several data sets lie here; write {ways}.")
    if found:
        return found[0]
    for name in datasets:
        if datasets.facts(name).get("lies_in", lambda _: False)(folder):
            return name
    if images_in(folder):
        return "folder"
    names = sorted(known, key=lambda name: (name != "manifest", name))
    looked = " nor ".join(f"{known[name][0]} ({name})" for name in names)
    raise InputError(
        f"{folder}: neither {looked} nor any image ({', '.join(IMAGE_SUFFIXES)}) lies in this "
        "folder."
    )


def _markers(name: str) -> tuple[str, ...]:
    marker = datasets.facts(name).get("marker", ())
    return (marker,) if isinstance(marker, str) else tuple(marker)


def _is_marked(name: str, folder: Path) -> bool:
    return any(next(folder.glob(glob), None) is not None for glob in _markers(name))


def pick(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with these classes in this order; as it is where none are named.

    Raises:
        InputError: the source has no class of that name, or a name stands twice.
    """
    if not classes:
        return dataset
    for name in classes:
        if name not in dataset.classes:
            raise InputError(
                f"{dataset.name}: data.classes: no class '{name}'. {nearest(name, dataset.classes)}"
            )
        if list(classes).count(name) > 1:
            raise InputError(f"data.classes: '{name}' stands twice.")
    old = [dataset.classes.index(name) for name in classes]
    new = {before: now for now, before in enumerate(old)}
    records = tuple(_picked(record, old, new) for record in dataset.records)
    lost = sum(len(r.boxes) for r in dataset.records) - sum(len(r.boxes) for r in records)
    dataset = dataclasses.replace(dataset, classes=tuple(classes), records=records, numbers=())
    return noted(dataset, f"{lost} boxes of classes that are not used.") if lost else dataset


def _picked(record: Record, old: Sequence[int], new: Mapping[int, int]) -> Record:
    labels = tuple(record.labels[index] for index in old)
    boxes = tuple(Box(new[b.label], b.xyxy_px) for b in record.boxes if b.label in new)
    return dataclasses.replace(record, labels=labels, boxes=boxes)


def noted(dataset: Dataset, note: str) -> Dataset:
    """The data set with one more note."""
    return dataclasses.replace(dataset, notes=(*dataset.notes, note))


def _said(notes: Sequence[str]) -> str:
    return f" {' '.join(notes)}" if notes else ""
