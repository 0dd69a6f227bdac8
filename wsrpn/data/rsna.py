"""RSNA Pneumonia Detection Challenge, stage 2 (Shih et al., 2019) as Kaggle has it.

    stage_2_train_labels.csv           one row per box; Target 0 has a row with empty cells
    stage_2_detailed_class_info.csv    class of each patientId, again on every row of several boxes
    stage_2_train_images/*.dcm         1024 × 1024; copies as PNG or JPEG of any size will do

`patientId` is the name of an image, not of a patient: the images are from ChestX-ray14, and
patients have several. Which is whose stands in RSNA's own list,
`pneumonia-challenge-dataset-mappings_2018.json`; splits are by patient where it lies beside.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from wsrpn import files
from wsrpn.data import lookup, tables
from wsrpn.data.base import datasets
from wsrpn.data.lookup import Corners
from wsrpn.data.manifest import BOX_COLUMNS, corners
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record

CLASSES = ("Pneumonia",)
LABELS = "stage_2_train_labels.csv"
DETAILS = "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
OPACITY = "Lung Opacity"
DETAIL_CLASSES = ("Normal", "No Lung Opacity / Not Normal", OPACITY)
FRAME_PX = (1024, 1024)


@datasets.register("rsna", marker=LABELS)
def rsna(*, root: Path) -> Dataset:
    """The training images of the challenge: Pneumonia, every box known.

    Args:
        root: the folder with `stage_2_train_labels.csv`.

    Returns:
        `extra` keeps the detailed class, which tells normal images from others without opacity.
        Labels of the test images were not published.

    Raises:
        InputError: a missing or faulty table, with file and line; a Target that contradicts the
            boxes, another row, or the detailed class.
    """
    boxes = _boxes(root / LABELS)
    details = _details(root / DETAILS, boxes)
    patients = _patients(root / MAPPING)
    found = lookup.below(root / "stage_2_train_images")
    if not found.paths:
        found = lookup.below(root)
    records = [
        _record(name, found.paths[name], drawn, details.get(name, ""), patients.get(name, name))
        for name, drawn in boxes.items()
        if name in found.paths
    ]
    counts = {
        f"images of {LABELS} without a file, left out": len(boxes) - len(records),
        "image files without a row, left out": len(found.paths.keys() - boxes.keys()),
        "further image files of a name that was taken, left out": found.repeated,
        f"images are not in {MAPPING}: each counts as a patient": (
            sum(record.id not in patients for record in records) if patients else 0
        ),
    }
    notes = lookup.counted(counts)
    if not patients:
        notes = (*notes, f"No {MAPPING}: every image counts as a patient, splits may leak.")
    return Dataset(str(root), CLASSES, tuple(records), notes)


def _boxes(path: Path) -> dict[str, list[Corners]]:
    """Boxes of each image, [] for Target 0."""
    table = tables.read(path, required=("patientId", *BOX_COLUMNS[2:], "Target"))
    targets: dict[str, str] = {}
    boxes: dict[str, list[Corners]] = defaultdict(list)
    for row in table.rows:
        where, name, target = table.where(row), row["patientId"], row["Target"]
        if target not in {"0", "1"}:
            raise InputError(f"{where}: Target '{target}' is neither 0 nor 1.")
        if targets.setdefault(name, target) != target:
            raise InputError(f"{where}: Target {target}, but not in another row of '{name}'.")
        drawn = boxes[name]
        if target == "1":
            box = corners(row, where=where)
            drawn.extend([box] if box not in drawn else [])
        elif any(row[column] for column in BOX_COLUMNS[2:]):
            raise InputError(f"{where}: Target 0 has a box; leave its cells empty.")
    return boxes


def _details(path: Path, boxes: dict[str, list[Corners]]) -> dict[str, str]:
    if not path.is_file():
        return {}
    table = tables.read(path, required=("patientId", "class"))
    found: dict[str, str] = {}
    for row in table.rows:
        where, name, detail = table.where(row), row["patientId"], row["class"]
        if detail not in DETAIL_CLASSES:
            raise InputError(
                f"{where}: class '{detail}' is unknown. Known: {', '.join(DETAIL_CLASSES)}."
            )
        if found.setdefault(name, detail) != detail:
            raise InputError(f"{where}: class '{detail}', but another row says '{found[name]}'.")
        if name in boxes and (detail == OPACITY) != bool(boxes[name]):
            raise InputError(
                f"{where}: class '{detail}' contradicts the Target of '{name}' in {LABELS}."
            )
    return found


def _patients(path: Path) -> dict[str, str]:
    """Image → patient of ChestX-ray14, from the names of its files there."""
    if not path.is_file():
        return {}
    entries = files.read_json(path, what="RSNA's list of original images")
    found: dict[str, str] = {}
    for position, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        try:
            here, there = entry["subset_img_id"], entry["img_id"]
            found[here] = there.split("_")[0]
        except (TypeError, KeyError, AttributeError):
            raise InputError(
                f"{path}: [{position}] has no texts 'subset_img_id' and 'img_id'."
            ) from None
    return found


def _record(name: str, path: Path, drawn: Sequence[Corners], detail: str, patient: str) -> Record:
    factors = lookup.scale(path, FRAME_PX) if drawn else (1.0, 1.0)
    return Record(
        id=name,
        path=path,
        patient=patient,
        labels=(float(bool(drawn)),),
        boxes=tuple(Box(0, lookup.scaled(box, factors)) for box in drawn),
        extra={"class": detail} if detail else {},
    )
