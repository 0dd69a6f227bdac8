"""PadChest (Bustos et al., 2020) as it is downloaded.

    PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv    one row per image, 36 columns
    0/*.png … 54/*.png, or all in one folder                 16-bit PNG

`Labels` is a Python list whose entries may have blanks around them or be empty; `nan` stands where
nothing was read. Three entries say nothing of findings: `unchanged`, `suboptimal study`, `exclude`.
Reports are Spanish and stemmed. A quarter of the labels is by physicians (`MethodLabel`), the rest
by a network that read the reports.
"""

import ast
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from wsrpn.data import lookup, tables
from wsrpn.data.base import Views, datasets
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record

TABLE = "PADCHEST_chest_x_ray_images_labels_160K*.csv*"
SILENT = frozenset({"unchanged", "suboptimal study", "exclude"})
NORMAL = "normal"
# Findings as ChestX-ray14 names them (its hernias need not be hiatal), each with the terms that
# stand below it in PadChest's own tree. `subcutaneous emphysema` is none of the lung, and a
# `pseudonodule` no nodule: terms are compared whole.
COMMON: Mapping[str, tuple[str, ...]] = {
    "Atelectasis": (
        "atelectasis", "laminar atelectasis", "lobar atelectasis", "segmental atelectasis",
        "round atelectasis", "total atelectasis", "atelectasis basal",
    ),
    "Cardiomegaly": ("cardiomegaly",),
    "Consolidation": ("consolidation", "air bronchogram"),
    "Edema": ("pulmonary edema",),
    "Effusion": (
        "pleural effusion", "loculated pleural effusion", "loculated fissural effusion",
        "hydropneumothorax", "empyema",
    ),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("pulmonary fibrosis",),
    "Hiatal hernia": ("hiatal hernia",),
    "Infiltration": (
        "infiltrates", "interstitial pattern", "ground glass pattern", "miliary opacities",
        "reticular interstitial pattern", "reticulonodular interstitial pattern",
        "alveolar pattern", "consolidation", "air bronchogram",
    ),
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("nodule", "multiple nodules"),
    "Pleural_Thickening": (
        "pleural thickening", "apical pleural thickening", "calcified pleural thickening",
    ),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
}  # fmt: skip
VIEWS = {
    "PA": "frontal", "AP": "frontal", "AP_horizontal": "frontal", "L": "lateral",
    "COSTAL": "other", "UNK": "other", "EXCLUDE": "none",
}  # fmt: skip
_COLUMNS = (
    "ImageID", "ImageDir", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
    "Projection", "Pediatric", "Report", "MethodLabel", "Labels",
)  # fmt: skip
_EXTRA = {
    "view": "Projection", "study": "StudyID", "sex": "PatientSex_DICOM", "birth": "PatientBirth",
    "pediatric": "Pediatric", "labelled_by": "MethodLabel",
}  # fmt: skip

Cells = Mapping[str, str]


@datasets.register("padchest", marker=TABLE)
def padchest(
    *,
    root: Path,
    views: Views = "frontal",
    labels: Literal["common", "all"] = "common",
    labelled_by: Literal["any", "physician"] = "any",
) -> Dataset:
    """PadChest: image labels and Spanish reports, no boxes.

    Args:
        root: the folder of the table, with the images below it.
        views: `frontal` is PA, AP and AP_horizontal; `all` adds lateral, costal and unknown ones.
            Images with the projection EXCLUDE are no chest radiographs and always left out.
        labels: `common` joins the terms into findings named as in ChestX-ray14 (`COMMON`); `all`
            takes every term in use as a class of its own.
        labelled_by: `physician` leaves out images with labels by the network.

    Returns:
        Findings that are not listed are absent; all are unknown where the list is missing or only
        says `unchanged`, `suboptimal study` or `exclude`. No image has known boxes.

    Raises:
        InputError: no table or several, a row that cannot be read, with file and line.
    """
    path = _table(root)
    found = lookup.below(root)
    left: Counter[str] = Counter()
    chosen: list[tuple[Cells, tuple[str, ...] | None]] = []
    seen: set[str] = set()
    for line in tables.each(path, required=_COLUMNS):
        where = f"{path}:{line.line}"
        row = {name: line[name].strip() for name in _COLUMNS}
        name = row["ImageID"]
        if name in seen:
            raise InputError(f"{where}: image '{name}' stands twice.")
        seen.add(name)
        terms = _terms(row["Labels"], where)
        if reason := _unwanted(row, where, views, labelled_by):
            left[reason] += 1
        elif lookup.stem(name) not in found.paths:
            left[f"images of {path.name} without a file, left out"] += 1
        else:
            chosen.append((row, terms))
            left["images whose labels say nothing of findings: all unknown"] += terms is None
    files = found.paths.keys() - {lookup.stem(name) for name in seen}
    left["image files without a row, left out"] = len(files)
    left["further image files of a name that was taken, left out"] = found.repeated
    classes = _classes(labels, [terms for _, terms in chosen])
    records = (_record(row, terms, classes, found.paths) for row, terms in chosen)
    return Dataset(str(root), tuple(classes), tuple(records), lookup.counted(left))


def _table(root: Path) -> Path:
    found = sorted(root.glob(TABLE))
    if len(found) != 1:
        what = "several tables" if found else "no table"
        raise InputError(f"{root}: {what} {TABLE} in this folder; one was expected.")
    return found[0]


def _terms(cell: str, where: str) -> tuple[str, ...] | None:
    """Terms of a list, sorted; None where it says nothing of findings."""
    if cell in {"", "nan"}:
        return None
    terms = _parsed(cell)
    if terms is None:
        raise InputError(f"{where}: Labels {cell[:60]!r} is no list of texts, as in ['normal'].")
    return terms if terms and not SILENT.issuperset(terms) else None


@functools.lru_cache(maxsize=65536)  # 160,000 rows hold far fewer different lists
def _parsed(cell: str) -> tuple[str, ...] | None:
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(term, str) for term in value):
        return None
    return tuple(sorted({term.strip() for term in value} - {""}))


def _unwanted(row: Cells, where: str, views: str, labelled_by: str) -> str:
    view = VIEWS.get(row["Projection"])
    if view is None:
        raise InputError(
            f"{where}: Projection '{row['Projection']}' is unknown. Known: {', '.join(VIEWS)}."
        )
    if view == "none":
        return "images with the projection EXCLUDE, left out"
    if views not in {"all", view}:
        return f"images that are not {views} (data.views), left out"
    if labelled_by == "physician" and row["MethodLabel"] != "Physician":
        return "images with labels by the network, left out"
    return ""


def _classes(labels: str, lists: Sequence[tuple[str, ...] | None]) -> Mapping[str, tuple[str, ...]]:
    """Class → terms that make it present."""
    if labels == "common":
        return COMMON
    used = {term for terms in lists for term in terms or ()}
    return {term: (term,) for term in sorted(used - SILENT - {NORMAL})}


def _record(
    row: Cells,
    terms: tuple[str, ...] | None,
    classes: Mapping[str, tuple[str, ...]],
    paths: Mapping[str, Path],
) -> Record:
    unknown = float("nan")
    return Record(
        id=row["ImageID"],
        path=paths[lookup.stem(row["ImageID"])],
        patient=row["PatientID"] or row["StudyID"] or row["ImageID"],
        labels=tuple(
            unknown if terms is None else float(any(term in terms for term in any_of))
            for any_of in classes.values()
        ),
        boxes_known=False,
        text="" if row["Report"] == "nan" else row["Report"],
        extra={name: row[column] for name, column in _EXTRA.items()},
    )
