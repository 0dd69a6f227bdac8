"""NODE21 (Sogancioglu et al., 2024): nodules in images of JSRT, PadChest, ChestX-ray14 and Open-I.

    cxr_images/proccessed_data/metadata.csv (sic)       one row per nodule; label 0 has zeros
    cxr_images/proccessed_data/images/n0001.mha …       1024 × 1024; c0001.mha … have no nodule
    cxr_images/original_data/                           the same before processing
    cxr_images/original_data/filenames_orig_and_new.csv, non_nodule_filenames_orig_and_new.csv

Rows are read by the names of their columns, whose order differs between releases.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wsrpn.data import lookup, tables
from wsrpn.data.base import datasets
from wsrpn.data.lookup import Corners
from wsrpn.data.manifest import BOX_COLUMNS, corners, number
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record

CLASSES = ("Nodule",)
TABLE = "metadata.csv"
FOLDERS = {"processed": ("proccessed_data", "processed_data"), "original": ("original_data",)}
SOURCES = ("filenames_orig_and_new.csv", "non_nodule_filenames_orig_and_new.csv")


@datasets.register(
    "node21",
    marker=(
        "proccessed_data/metadata.csv", "cxr_images/proccessed_data/metadata.csv",
        "original_data/filenames_orig_and_new.csv", "filenames_orig_and_new.csv",
    ),
)  # fmt: skip
def node21(*, root: Path, version: Literal["processed", "original"] = "processed") -> Dataset:
    """NODE21: Nodule, every box known.

    Args:
        root: the download, its `cxr_images`, or a folder with `metadata.csv` and `images`.
        version: which images, where both lie there; boxes are in pixels of each.

    Returns:
        `extra` has the data set that an image comes from, where the lists of origins say it, and
        images of one patient of ChestX-ray14 or Open-I are kept together.

    Raises:
        InputError: a missing or faulty table, with file and line.
    """
    home = _home(root, version)
    boxes = _boxes(home / TABLE)
    found = lookup.below(home / "images" if (home / "images").is_dir() else home)
    origins = _origins(root, home)
    records = tuple(
        _record(name, found.paths[name], drawn, origins.get(name))
        for name, drawn in boxes.items()
        if name in found.paths
    )
    counts = {
        f"images of {TABLE} without a file, left out": len(boxes) - len(records),
        "image files without a row, left out": len(found.paths.keys() - boxes.keys()),
        "further image files of a name that was taken, left out": found.repeated,
        "images of unknown origin: each counts as a patient": (
            sum(record.id not in origins for record in records)
        ),
    }
    return Dataset(str(root), CLASSES, records, lookup.counted(counts))


def _home(root: Path, version: str) -> Path:
    below = [base / name for base in (root, root / "cxr_images") for name in FOLDERS[version]]
    for folder in [*below, root]:
        if (folder / TABLE).is_file():
            return folder
    raise InputError(f"{root}: no {TABLE} here, nor in {FOLDERS[version][0]} or cxr_images.")


def _boxes(path: Path) -> dict[str, list[Corners]]:
    """Boxes of each image by name without suffix, [] for label 0."""
    table = tables.read(path, required=("img_name", "label", *BOX_COLUMNS[2:]))
    labels: dict[str, str] = {}
    boxes: dict[str, list[Corners]] = defaultdict(list)
    for row in table.rows:
        where, name, label = table.where(row), lookup.stem(row["img_name"]), row["label"]
        if label not in {"0", "1"}:
            raise InputError(f"{where}: label '{label}' is neither 0 nor 1.")
        if labels.setdefault(name, label) != label:
            raise InputError(f"{where}: label {label}, but not in another row of '{name}'.")
        drawn = boxes[name]
        if label == "1":
            box = corners(row, where=where)
            drawn.extend([box] if box not in drawn else [])
        elif any(number(row[c] or "0", f"{where}: {c}") for c in ("width", "height")):
            raise InputError(f"{where}: label 0 has a box; its cells are 0.")
    return boxes


def _origins(root: Path, home: Path) -> dict[str, tuple[str, str]]:
    """Image → data set it comes from, and the row's last cell, its name there."""
    folders = dict.fromkeys((home, root, root / "original_data", root / "cxr_images/original_data"))
    found: dict[str, tuple[str, str]] = {}
    for path in (folder / name for folder in folders for name in SOURCES):
        if path.is_file():
            table = tables.read(path, required=("node21_img_id", "orig_dataset"))
            others = [c for c in table.columns if c not in {"", "node21_img_id", "orig_dataset"}]
            for row in table.rows:
                name = row[others[0]] if others else ""
                found[lookup.stem(row["node21_img_id"])] = (row["orig_dataset"], name)
    return found


def _patient(name: str, origin: tuple[str, str] | None) -> str:
    """ChestX-ray14 and Open-I write the patient in front of the first line in a file's name."""
    source, there = origin or ("", "")
    if there and source.lower() in {"chestxray14", "openi"}:
        return f"{source}:{there.split('_')[0]}"
    return f"{source}:{there}" if there else name


def _record(
    name: str, path: Path, drawn: Sequence[Corners], origin: tuple[str, str] | None
) -> Record:
    return Record(
        id=name,
        path=path,
        patient=_patient(name, origin),
        labels=(float(bool(drawn)),),
        boxes=tuple(Box(0, box) for box in drawn),
        extra={"source": origin[0]} if origin else {},
    )
