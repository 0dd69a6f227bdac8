"""From what the user calls DATA to a `Dataset`: find the reader, pick classes, give splits."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wsrpn.config import DataConfig
from wsrpn.data import splits
from wsrpn.errors import InputError, nearest
from wsrpn.registry import Registry, signature_schema
from wsrpn.types import Box, Dataset, Record

Reader = Callable[..., Dataset]
datasets: Registry[Reader] = Registry("data set")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")


def load(config: DataConfig) -> Dataset:
    """The data set of `config.source`: read, its classes picked, every image in a split.

    Args:
        config: `source` is `name:ARG` for a registered reader, or a path that is recognised by what
            lies in it. `uncertain` and `blank` go to readers that have these options.

    Raises:
        InputError: nothing to read there, a fault in the tables, or an unknown class.
    """
    name, argument = recognise(config.source)
    taken = signature_schema(datasets[name]).model_fields
    policies = {"uncertain": config.uncertain, "blank": config.blank}
    options = {key: value for key, value in policies.items() if key in taken}
    dataset = datasets.build(name, options, root=Path(argument))
    dataset = dataclasses.replace(dataset, name=config.source)
    if not dataset.records:
        raise InputError(f"{config.source}: no images in it.{_said(dataset.notes)}")
    if config.uncertain != "unknown" and "uncertain" not in taken:
        dataset = noted(dataset, f"{name} has no uncertain labels: data.uncertain has no effect.")
    if config.blank != "negative" and "blank" not in taken:
        dataset = noted(dataset, f"{name} has no blank labels: data.blank has no effect.")
    dataset = pick(dataset, config.classes)
    return splits.assign(
        dataset, val_share=config.val_share, test_share=config.test_share, seed=config.split_seed
    )


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
    repeated = sorted({str(path) for path in found if found.count(path) > 1})
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
    if (folder / "images.csv").is_file():
        return "manifest"
    if any(folder.glob("Data_Entry_2017*.csv")):
        return "nih"
    if images_in(folder):
        return "folder"
    raise InputError(
        f"{folder}: neither images.csv (manifest) nor Data_Entry_2017*.csv (NIH) nor any image "
        f"({', '.join(IMAGE_SUFFIXES)}) lies in this folder."
    )


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
    labels = tuple(record.labels[index] if index >= 0 else math.nan for index in old)
    boxes = tuple(Box(new[b.label], b.xyxy_px) for b in record.boxes if b.label in new)
    return dataclasses.replace(record, labels=labels, boxes=boxes)


def align(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with a model's classes: what it does not have is unknown, what only it has goes.

    For evaluation on other data than the training's; both kinds are said in the notes.

    Raises:
        InputError: not one class is shared, though the data set has some.
    """
    lacking = [name for name in classes if name not in dataset.classes]
    unused = [name for name in dataset.classes if name not in classes]
    if dataset.classes and len(lacking) == len(classes):
        raise InputError(
            f"{dataset.name}: has none of the model's classes ({', '.join(classes)}); "
            f"its own are {', '.join(dataset.classes)}."
        )
    old = [dataset.classes.index(n) if n in dataset.classes else -1 for n in classes]
    new = {before: now for now, before in enumerate(old) if before >= 0}
    records = tuple(_picked(record, old, new) for record in dataset.records)
    dataset = dataclasses.replace(dataset, classes=tuple(classes), records=records, numbers=())
    for words, names in (("not in these data, so unknown", lacking), ("not the model's", unused)):
        if names and len(names) < len(classes) + len(unused):
            dataset = noted(dataset, f"classes {words}: {', '.join(names)}.")
    return dataset


def noted(dataset: Dataset, note: str) -> Dataset:
    """The data set with one more note."""
    return dataclasses.replace(dataset, notes=(*dataset.notes, note))


def _said(notes: Sequence[str]) -> str:
    return f" {' '.join(notes)}" if notes else ""
