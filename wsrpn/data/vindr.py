"""VinDr-CXR (Nguyen et al., 2022) as PhysioNet has it, and its half on Kaggle (VinBigData).

    annotations/image_labels_train.csv    three radiologists an image, 28 columns of 0 and 1
    annotations/annotations_train.csv     their boxes; "No finding" has none
    annotations/image_labels_test.csv     the consensus of five, without rad_id
    annotations/annotations_test.csv
    train/*.dicom, test/*.dicom
    train.csv, train/*.dicom              Kaggle: boxes of 14 findings, labels follow from them

The last label is called `Other diseases` in training and `Other disease` in the test table. Copies
as PNG or JPEG are read with `train_meta.csv` (image_id, dim0, dim1: height and width of the
original) beside them; without it boxes are taken to be in their pixels.
"""

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsrpn.data import consensus, lookup, tables
from wsrpn.data.base import datasets
from wsrpn.data.lookup import Corners
from wsrpn.data.manifest import number
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record, Split

LOCAL = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture",
    "Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity",
    "Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion",
    "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion",
)  # fmt: skip
GLOBAL = ("COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases")
KAGGLE = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD",
    "Infiltration", "Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion",
    "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis",
)  # fmt: skip
NO_FINDING = "No finding"
TEST_SPELLING = {"Other disease": "Other diseases"}
_BOX = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
_CONSENSUS = "consensus"  # the reader of the test tables, which name none


@dataclass
class _Reading:
    """What radiologists say of one image: findings and boxes of each."""

    findings: dict[str, set[str]] = field(default_factory=dict)
    boxes: dict[str, list[tuple[str, Corners]]] = field(default_factory=lambda: defaultdict(list))


@datasets.register(
    "vindr", marker=("annotations/image_labels_train.csv", "annotations/image_labels_test.csv")
)
def vindr(
    *, root: Path, votes: consensus.Votes = "majority", boxes: Literal["fused", "union"] = "fused"
) -> Dataset:
    """VinDr-CXR: 22 findings with boxes and 5 diagnoses without, or the 14 findings of Kaggle.

    Args:
        root: the folder with `annotations`, or Kaggle's with `train.csv`.
        votes: which findings of several radiologists count.
        boxes: `fused` averages boxes of different radiologists that overlap by an IoU over 0.5
            (`consensus.fuse`) and keeps the others; `union` keeps all as they were drawn. Either
            way only boxes of findings that count are kept, so that boxes and labels agree. The
            consensus of the test set is kept as it is.

    Returns:
        The tables of PhysioNet give the splits `train` and `test`; they name no patients. Rows
        whose file is not there are left out and counted.

    Raises:
        InputError: a missing or faulty table, with file and line.
    """
    parts, classes = _tables(root)
    files = lookup.below(root / "train", root / "test")
    originals = _originals(root / "train_meta.csv")
    records, dropped, missing = [], 0, 0
    for split, readings in parts:
        for name, reading in readings.items():
            if name not in files.paths:
                missing += 1
                continue
            found = _agreed(reading, votes)
            kept = _kept(reading, found, boxes)
            dropped += sum(n not in found for each in reading.boxes.values() for n, _ in each)
            record = _record(name, files.paths[name], classes, found, kept, reading)
            record = dataclasses.replace(record, split=split)
            records.append(_on_copy(record, originals))
    counts = {
        "images of the tables without a file, left out": missing,
        "image files without a row, left out": len(
            files.paths.keys() - {name for _, readings in parts for name in readings}
        ),
        "further image files of a name that was taken, left out": files.repeated,
        f"boxes of findings that did not get the votes ({votes}), left out": dropped,
    }
    notes = (*lookup.counted(counts), *_said(records, classes, originals))
    return Dataset(str(root), classes, tuple(records), notes)


Parts = list[tuple[Split | None, dict[str, _Reading]]]


def _tables(root: Path) -> tuple[Parts, tuple[str, ...]]:
    home = root / "annotations" if (root / "annotations").is_dir() else root
    parts: Parts = []
    for split in ("train", "test"):
        if (home / f"image_labels_{split}.csv").is_file():
            parts.append((split, _physionet(home, split)))
    if parts:
        return parts, (*LOCAL, *GLOBAL)
    if (root / "train.csv").is_file():
        return [(None, _kaggle(root / "train.csv"))], KAGGLE
    raise InputError(
        f"{root}: neither annotations/image_labels_train.csv (PhysioNet) nor train.csv (Kaggle) "
        "is in this folder."
    )


def _physionet(home: Path, split: Split) -> dict[str, _Reading]:
    table = tables.read(home / f"image_labels_{split}.csv", required=("image_id",))
    columns = {TEST_SPELLING.get(name, name): name for name in table.columns}
    for name in (*LOCAL, *GLOBAL):
        if name not in columns:
            raise InputError(f"{table.path}: no column '{name}'. {nearest(name, table.columns)}")
    readings: dict[str, _Reading] = defaultdict(_Reading)
    for row in table.rows:
        reader = row.get("rad_id", _CONSENSUS)
        seen = readings[row["image_id"]].findings
        if reader in seen:
            raise InputError(
                f"{table.where(row)}: image '{row['image_id']}' stands twice for {reader}."
            )
        cells = {name: row[columns[name]] for name in (*LOCAL, *GLOBAL)}
        seen[reader] = {n for n, cell in cells.items() if _yes(cell, f"{table.where(row)}: {n}")}
    boxes = home / f"annotations_{split}.csv"
    for where, row, corners in _rows(boxes, LOCAL):
        if row["image_id"] not in readings:
            raise InputError(f"{where}: no image '{row['image_id']}' in {table.path.name}.")
        if corners:
            drawn = readings[row["image_id"]].boxes[row.get("rad_id", _CONSENSUS)]
            drawn.append((row["class_name"], corners))
    return readings


def _yes(cell: str, where: str) -> bool:
    if cell in {"1", "1.0"}:
        return True
    if cell in {"0", "0.0"}:
        return False
    raise InputError(f"{where} '{cell}' is neither 0 nor 1.")


def _kaggle(path: Path) -> dict[str, _Reading]:
    readings: dict[str, _Reading] = defaultdict(_Reading)
    for _, row, corners in _rows(path, KAGGLE, "rad_id"):
        reading, reader = readings[row["image_id"]], row["rad_id"]
        seen = reading.findings.setdefault(reader, set())
        if corners:
            seen.add(row["class_name"])
            reading.boxes[reader].append((row["class_name"], corners))
    return readings


def _rows(
    path: Path, classes: Sequence[str], *more: str
) -> Iterator[tuple[str, tables.Row, Corners | None]]:
    """Place, row and corners of each row; no corners for "No finding"."""
    table = tables.read(path, required=(*_BOX, *more))
    for row in table.rows:
        where, name = table.where(row), row["class_name"]
        if name == NO_FINDING:
            if any(row[column] for column in _BOX[2:]):
                raise InputError(f"{where}: '{NO_FINDING}' has a box; leave its cells empty.")
            yield where, row, None
            continue
        if name not in classes:
            raise InputError(f"{where}: finding '{name}' is unknown. {nearest(name, classes)}")
        x1, y1, x2, y2 = (number(row[column], f"{where}: {column}") for column in _BOX[2:])
        if x2 <= x1 or y2 <= y1:
            raise InputError(f"{where}: the box {x1:g}, {y1:g} to {x2:g}, {y2:g} has no area.")
        yield where, row, (x1, y1, x2, y2)


def _agreed(reading: _Reading, rule: consensus.Votes) -> set[str]:
    votes = Counter(name for found in reading.findings.values() for name in found)
    readers = len(reading.findings)
    return {name for name, count in votes.items() if consensus.present(count, readers, rule)}


def _kept(
    reading: _Reading, found: Set[str], how: Literal["fused", "union"]
) -> list[tuple[str, Corners]]:
    """Boxes of the findings that count, whatever the order of the rows."""
    kept: list[tuple[str, Corners]] = []
    for name in sorted(found):
        drawn = [
            sorted(corners for label, corners in reading.boxes[reader] if label == name)
            for reader in sorted(reading.boxes)
        ]
        single = how == "union" or list(reading.boxes) == [_CONSENSUS]
        boxes = itertools.chain(*drawn) if single else consensus.fuse(drawn)
        kept.extend((name, corners) for corners in boxes)
    return kept


def _record(
    name: str,
    path: Path,
    classes: Sequence[str],
    found: Set[str],
    boxes: Sequence[tuple[str, Corners]],
    reading: _Reading,
) -> Record:
    return Record(
        id=name,
        path=path,
        patient=name,
        labels=tuple(1.0 if label in found else 0.0 for label in classes),
        boxes=tuple(Box(classes.index(label), corners) for label, corners in boxes),
        extra={"readers": "|".join(sorted(reading.findings))},
    )


def _originals(path: Path) -> dict[str, tuple[int, int]]:
    """Height and width of the originals, where copies were made."""
    if not path.is_file():
        return {}
    table = tables.read(path, required=("image_id", "dim0", "dim1"))
    found = {}
    for row in table.rows:
        sides = [int(number(row[c], f"{table.where(row)}: {c}")) for c in ("dim0", "dim1")]
        if min(sides) < 1:
            raise InputError(f"{table.where(row)}: dim0 and dim1 must be positive.")
        found[row["image_id"]] = (sides[0], sides[1])
    return found


def _is_copy(record: Record) -> bool:
    return record.path.suffix.lower() not in {".dicom", ".dcm"}


def _on_copy(record: Record, originals: Mapping[str, tuple[int, int]]) -> Record:
    if not record.boxes or not _is_copy(record) or record.id not in originals:
        return record
    factors = lookup.scale(record.path, originals[record.id])
    boxes = (Box(box.label, lookup.scaled(box.xyxy_px, factors)) for box in record.boxes)
    return dataclasses.replace(record, boxes=tuple(boxes))


def _said(
    records: Sequence[Record], classes: Sequence[str], originals: Mapping[str, tuple[int, int]]
) -> list[str]:
    notes = []
    unsure = sum(bool(r.boxes) and _is_copy(r) and r.id not in originals for r in records)
    if unsure:
        notes.append(
            f"{unsure} boxed images are no DICOM and not in train_meta.csv: their boxes are taken "
            "to be in pixels of the copy."
        )
    if "COPD" in classes:
        notes.append(f"{', '.join(GLOBAL)} are said of whole images and never have boxes.")
    return notes
