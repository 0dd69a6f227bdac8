"""CheXpert (Irvin et al., 2019) and CheXpert Plus (Chambon et al., 2024) as they are downloaded.

    train.csv, valid.csv                                    labels
    train/patient00001/study1/view1_frontal.jpg             images
    df_chexpert_plus_240401.csv                             reports of CheXpert Plus
    chexbert_labels/report_fixed.json                       its labels, a line per image

`Path` begins with the name that the folder had at its authors (`CheXpert-v1.0-small/train/…`); only
what follows is used. The full-size download comes in batches whose folders have no `train` in them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsrpn.data import chexpert_files, chexpert_plus, labels, tables
from wsrpn.data.base import Views, datasets
from wsrpn.data.chexpert_files import Name
from wsrpn.data.chexpert_labels import CLASSES, Marks, columns
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record, Split

TABLES: dict[str, Split] = {
    "train.csv": "train", "valid.csv": "val", "test.csv": "test",
    "val_labels.csv": "val", "test_labels.csv": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """An image as a table lists it: place, split, marks per class, and what else is known."""

    where: str
    name: Name
    split: Split
    cells: Mapping[str, str] | None
    extra: Mapping[str, str]


@datasets.register(
    "chexpert",
    marker=("train/patient*", "valid/patient*", "CheXpert*/train.csv", "df_chexpert_plus_*.csv"),
)
def chexpert(
    *,
    root: Path,
    uncertain: labels.Uncertain = "unknown",
    blank: labels.Blank = "negative",
    views: Views = "frontal",
    labels_from: Literal["auto", "csv", "report", "findings", "impression"] = "auto",
    valid: Literal["val", "test"] = "val",
) -> Dataset:
    """CheXpert: thirteen findings by a labeler (`No Finding` is the lack of them), no boxes.

    Args:
        root: the folder with train.csv and valid.csv or with df_chexpert_plus_240401.csv, or the
            one above it.
        uncertain: what -1 becomes.
        blank: what a finding that the report does not mention becomes; see `Marks`.
        views: lateral images are left out by default, and counted.
        labels_from: `csv` are those of train.csv; the others those that CheXbert found in that
            part of the report, from CheXpert Plus. `auto` is `csv` where there is one, else
            `report`.
        valid: split of the official validation images. With `test`, validation images are taken
            from the training patients.

    Returns:
        Patients from the paths. Texts are the sections of CheXpert Plus where it lies in `root`.

    Raises:
        InputError: a missing or faulty table, with file and line.
    """
    folder = home(root)
    plus = chexpert_plus.table(folder)
    finder = chexpert_files.Finder(folder)
    reports = chexpert_plus.reports(plus) if plus else {}
    other = chexpert_plus.marks(folder, _part(folder, labels_from))
    marks = Marks(uncertain=uncertain, blank=blank)
    records, seen, lacking = [], set(), {"view": 0, "file": 0, "labels": 0, "report": 0}
    for one in _listed(folder, plus):
        if one.name.id in seen:
            raise InputError(f"{one.where}: image '{one.name.id}' stands twice.")
        seen.add(one.name.id)
        if views not in ("all", one.name.view):
            lacking["view"] += 1
            continue
        path = finder.find(one.name)
        if path is None:
            lacking["file"] += 1
            continue
        cells = one.cells if other is None else other.get(one.name.key)
        text = reports.get(one.name.key, "")
        lacking["labels"] += cells is None
        lacking["report"] += bool(plus) and not text
        values = marks.labels(cells, where=one.where) if cells else (math.nan,) * len(CLASSES)
        split = valid if one.split == "val" else one.split
        records.append(
            Record(
                id=one.name.id, path=path, patient=one.name.patient, labels=values, split=split,
                boxes_known=False, text=text, extra=one.extra,
            )
        )  # fmt: skip
    counted = {
        f"{'lateral' if views == 'frontal' else 'frontal'} images left out (data.views)": "view",
        "images without a file, left out": "file",
        "images without a line of labels: theirs are unknown": "labels",
        "images without a report": "report",
    }
    notes = [f"{lacking[key]} {what}." for what, key in counted.items() if lacking[key]]
    return Dataset(str(root), CLASSES, tuple(records), (*notes, *marks.notes()))


def home(root: Path) -> Path:
    """The folder with the tables: `root`, or the one below it that has them.

    Raises:
        InputError: none has, or several have.
    """
    found = [root] if _has_tables(root) else sorted(filter(_has_tables, root.glob("CheXpert*/")))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(folder.name for folder in found)
        raise InputError(f"{root}: several releases lie here ({names}); name one of them.")
    raise InputError(
        f"{root}: neither train.csv nor valid.csv nor df_chexpert_plus_240401.csv lies in this "
        "folder."
    )


def _has_tables(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TABLES) or bool(chexpert_plus.table(folder))


def _listed(folder: Path, plus: Path | None) -> Iterator[Listed]:
    found = [name for name in TABLES if (folder / name).is_file()]
    for name in found:
        yield from rows(folder / name, TABLES[name])
    if not found and plus:
        yield from _rows_of_plus(plus)


def rows(table: Path, split: Split) -> Iterator[Listed]:
    """The images of a CheXpert table; sex, age and projection are not in all of them.

    Raises:
        InputError: a missing column, a path or a label that CheXpert does not have.
    """
    named: dict[str, str] = {}
    for row in tables.each(table, required=("Path",)):
        where = f"{table}:{row.line}"
        named = named or columns(row.cells, where=f"{table}:1")
        name = chexpert_files.parse(row["Path"], where=where)
        yield Listed(
            where, name, split, {one: row[column] for one, column in named.items()},
            _extra(name, row.get("AP/PA"), row.get("Sex"), row.get("Age")),
        )  # fmt: skip


def _rows_of_plus(table: Path) -> Iterator[Listed]:
    for row in tables.each(table, required=("path_to_image", "split")):
        where = f"{table}:{row.line}"
        name = chexpert_files.parse(row["path_to_image"], where=where)
        split = TABLES.get(f"{row['split']}.csv")
        if split is None:
            raise InputError(f"{where}: split '{row['split']}' is unknown; use train or valid.")
        extra = _extra(name, row.get("ap_pa"), row.get("sex"), row.get("age"))
        yield Listed(where, name, split, None, extra)


def _extra(name: Name, projection: str, sex: str, age: str) -> dict[str, str]:
    # The projection is empty for lateral images.
    view = projection if name.view == "frontal" and projection else name.view
    return {"view": view, "sex": sex, "age": age, "study": name.study}


def _part(folder: Path, labels_from: str) -> str:
    has_csv = any((folder / name).is_file() for name in TABLES)
    if labels_from == "auto":
        return "csv" if has_csv else "report"
    if labels_from == "csv" and not has_csv:
        raise InputError(f"{folder}: no train.csv or valid.csv; labels_from=report reads others.")
    return labels_from
