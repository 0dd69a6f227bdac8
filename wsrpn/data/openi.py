"""Open-I, the Indiana University collection (Demner-Fushman et al., 2016), in two layouts.

    ecgen-radiology/*.xml        one report each, with MeSH headings and the names of its images
    *.png or *.dcm               anywhere below the folder

    indiana_reports.csv          Kaggle: uid, MeSH, Problems, image, indication, comparison, …
    indiana_projections.csv      uid, filename, projection (Frontal, Lateral)

Several images belong to one report, and one report to one patient. The XML does not say which
image is lateral; with `indiana_projections.csv` beside it, it is known. A heading is compared whole
(`Emphysema` is of the lung, `Subcutaneous Emphysema` is not) and what follows its slash qualifies
it: `Thickening/pleura/left` is pleural thickening, `Thickening/bronchovascular` is not. `XXXX`
stands for a word that was taken out to hide names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from wsrpn.data import lookup, tables
from wsrpn.data.base import Views, datasets
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record

REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
FOLDER = "ecgen-radiology"
NORMAL = "normal"
SILENT = frozenset({"no indexing", "technical quality of image unsatisfactory"})
SECTIONS = ("INDICATION", "COMPARISON", "FINDINGS", "IMPRESSION")
# Findings named as in ChestX-ray14, each with MeSH headings that mean it. One with a slash asks
# for this qualifier, too.
COMMON: Mapping[str, tuple[str, ...]] = {
    "Atelectasis": ("pulmonary atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Consolidation": ("consolidation",),
    "Edema": ("pulmonary edema",),
    "Effusion": ("pleural effusion", "hydropneumothorax"),
    "Emphysema": ("emphysema", "pulmonary emphysema", "bullous emphysema"),
    "Fibrosis": ("fibrosis", "pulmonary fibrosis"),
    "Fracture": ("fractures, bone",),
    "Granuloma": ("granuloma", "calcified granuloma"),
    "Hiatal hernia": ("hernia, hiatal",),
    "Infiltration": ("infiltrate",),
    "Lung Opacity": ("opacity/lung",),
    "Mass": ("mass",),
    "Nodule": ("nodule",),
    "Pleural_Thickening": ("thickening/pleura",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax", "hemopneumothorax"),
}
_NAME = re.compile(r"^(?:CXR)?(\d+)_(?:\d+_)?(IM-.+)$")


@dataclass(frozen=True)
class _Report:
    """A report: whose it is, its headings with qualifiers, its sections, its images."""

    uid: str
    headings: tuple[str, ...]
    sections: Mapping[str, str]
    images: tuple[str, ...]


@datasets.register("openi", marker=(REPORTS, f"{FOLDER}/*.xml"))
def openi(
    *,
    root: Path,
    views: Views = "frontal",
    labels: Literal["common", "all"] = "common",
) -> Dataset:
    """The Indiana reports with their images: labels by MeSH indexers, text, no boxes.

    Args:
        root: the folder with `ecgen-radiology` or `indiana_reports.csv`.
        views: images to use; those whose view nobody says are used in any case, and counted.
        labels: `common` maps headings to findings (`COMMON`); `all` takes every heading in use,
            without its qualifiers, as a class.

    Returns:
        Findings without a heading are absent; all are unknown in a report that was not indexed.
        All images of a report have its text, its labels and its patient.

    Raises:
        InputError: no reports, or one that cannot be read, with the file (and line).
    """
    if (root / REPORTS).is_file():
        reports = list(_from_csv(root / REPORTS, root / PROJECTIONS))
    else:
        reports = [_from_xml(path) for path in sorted((root / FOLDER).glob("*.xml"))]
    if not reports:
        raise InputError(f"{root}: neither {REPORTS} nor {FOLDER}/*.xml is in this folder.")
    found = lookup.below(root)
    files = {_key(name): path for name, path in found.paths.items()}
    shown = _projections(root / PROJECTIONS)
    classes = _classes(labels, reports)
    records = []
    unseen = missing = other = silent = 0
    for report in reports:
        values = _values(report, classes)
        for name in report.images:
            view = shown.get(_key(name), "")
            if view and views not in {"all", view}:
                other += 1
            elif _key(name) not in files:
                missing += 1
            else:
                records.append(_record(report, name, files[_key(name)], values, view))
                unseen += not view and views != "all"
                silent += not _indexed(report)
    named = {_key(name) for report in reports for name in report.images}
    counts = {
        f"images that are not {views} (data.views), left out": other,
        "images of reports without a file, left out": missing,
        "image files that no report names, left out": len(files.keys() - named),
        "further image files of a name that was taken, left out": found.repeated,
        "reports without images": sum(not report.images for report in reports),
        "images of reports that were not indexed: all labels unknown": silent,
        f"images whose view is not said are used as {views} ({PROJECTIONS} would say it)": (unseen),
    }
    return Dataset(str(root), tuple(classes), tuple(records), lookup.counted(counts))


def _key(name: str) -> str:
    """What the names of one image have in common: report and image.

    `CXR1_1_IM-0001-4001` and `CXR2_IM-0652-1001` in the XML and as PNG, `1_IM-0001-4001.dcm` as
    DICOM, `1_IM-0001-4001.dcm.png` on Kaggle.
    """
    base = lookup.stem(name)
    parts = _NAME.match(base)
    return f"{parts[1]}_{parts[2]}" if parts else base


def _from_xml(path: Path) -> _Report:
    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise InputError(f"{path}: declares a document type, which no report of Open-I does.")
    try:
        tree = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not XML ({error}).") from None
    uid = tree.find("uId")
    if uid is None or not uid.get("id"):
        raise InputError(f"{path}: no uId with an id; an Open-I report has one.")
    images = tuple(image.get("id", "") for image in tree.iter("parentImage"))
    if not all(images):
        raise InputError(f"{path}: a parentImage has no id.")
    texts = {str(node.get("Label")): " ".join((node.text or "").split())
             for node in tree.iter("AbstractText")}  # fmt: skip
    headings = tuple((node.text or "").strip() for node in tree.findall("MeSH/major"))
    return _Report(str(uid.get("id")), tuple(filter(None, headings)), texts, images)


def _from_csv(path: Path, views: Path) -> Iterator[_Report]:
    if not views.is_file():
        raise InputError(f"{views}: no such file; it names the images of {path.name}.")
    images: dict[str, list[str]] = {}
    for row in tables.read(views, required=("uid", "filename", "projection")).rows:
        images.setdefault(row["uid"], []).append(row["filename"])
    table = tables.read(path, required=("uid", "MeSH", "findings", "impression"))
    seen: set[str] = set()
    for row in table.rows:
        if row["uid"] in seen:
            raise InputError(f"{table.where(row)}: report '{row['uid']}' stands twice.")
        seen.add(row["uid"])
        headings = tuple(part.strip() for part in row["MeSH"].split(";") if part.strip())
        texts = {name: " ".join(row.get(name.lower()).split()) for name in SECTIONS}
        yield _Report(row["uid"], headings, texts, tuple(images.pop(row["uid"], ())))
    if images:
        raise InputError(f"{views}: uid '{min(images)}' has no report in {path.name}.")


def _projections(path: Path) -> dict[str, str]:
    """Image → `frontal` or `lateral`."""
    if not path.is_file():
        return {}
    table = tables.read(path, required=("uid", "filename", "projection"))
    found = {}
    for row in table.rows:
        view = row["projection"].lower()
        if view not in {"frontal", "lateral"}:
            raise InputError(
                f"{table.where(row)}: projection '{row['projection']}' is neither Frontal nor "
                "Lateral."
            )
        found[_key(row["filename"])] = view
    return found


def _terms(report: _Report) -> set[str]:
    """Headings in lower case, alone and with each of their qualifiers."""
    terms = set()
    for heading in report.headings:
        first, *more = (" ".join(part.lower().split()) for part in heading.split("/"))
        terms.update([first, *(f"{first}/{qualifier}" for qualifier in more)])
    return terms


def _indexed(report: _Report) -> bool:
    return not SILENT.issuperset(_terms(report))


def _classes(labels: str, reports: Sequence[_Report]) -> Mapping[str, tuple[str, ...]]:
    """Class → terms that make it present."""
    if labels == "common":
        return COMMON
    used: dict[str, str] = {}
    for report in reports:
        for heading in report.headings:
            name = " ".join(heading.split("/")[0].split())
            used.setdefault(name.lower(), name)
    return {used[term]: (term,) for term in sorted(used.keys() - SILENT - {NORMAL})}


def _values(report: _Report, classes: Mapping[str, tuple[str, ...]]) -> tuple[float, ...]:
    if not _indexed(report):
        return (float("nan"),) * len(classes)
    terms = _terms(report)
    return tuple(float(any(term in terms for term in any_of)) for any_of in classes.values())


def _record(report: _Report, name: str, path: Path, values: tuple[float, ...], view: str) -> Record:
    parts = ((title, report.sections.get(title, "")) for title in SECTIONS)
    return Record(
        id=name,
        path=path,
        patient=report.uid,
        labels=values,
        boxes_known=False,
        text="\n".join(f"{title}: {text}" for title, text in parts if text),
        extra={"view": view, "headings": ";".join(report.headings)},
    )
