"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 (Johnson et al., 2019), with what belongs to it.

    mimic-cxr-2.0.0-metadata.csv.gz                    dicom_id, subject_id, study_id, ViewPosition
    mimic-cxr-2.0.0-split.csv.gz                       dicom_id, study_id, subject_id, split
    mimic-cxr-2.0.0-chexpert.csv.gz, …-negbio.csv.gz   labels of studies
    mimic-cxr-2.1.0-test-set-labeled.csv               radiologists' labels of some test studies
    files/p10/p10000032/s50414267/IMAGE.jpg            images
    files/p10/p10000032/s50414267.txt                  reports, from MIMIC-CXR; there or beside it

Labels and reports belong to studies and images to files, so both are joined by study. Chest
ImaGenome is used where it lies beside the images.
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsrpn.data import imagenome, labels, physionet, stored, tables
from wsrpn.data.base import Views, datasets
from wsrpn.data.chexpert_labels import CLASSES, Marks, columns
from wsrpn.data.manifest import number
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record, Split

VIEWS = {"PA": "frontal", "AP": "frontal", "LATERAL": "lateral", "LL": "lateral"}
_SPLITS: dict[str, Split] = {"train": "train", "validate": "val", "test": "test"}
_TABLES = {
    "metadata": "mimic-cxr-2.*-metadata.csv", "split": "mimic-cxr-2.*-split.csv",
    "chexpert": "mimic-cxr-2.*-chexpert.csv", "negbio": "mimic-cxr-2.*-negbio.csv",
    "radiologist": "mimic-cxr-2.*-test-set-labeled.csv",
}  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """An image that is there; `size_px` is height and width of the original, as written."""

    where: str
    patient: str
    study: str
    image: str
    view: str
    path: Path
    size_px: tuple[str, str]


@datasets.register("mimic", marker=("mimic-cxr-2.*-metadata.csv*", "2.*/mimic-cxr-2.*-metadata.*"))
def mimic(
    *,
    root: Path,
    uncertain: labels.Uncertain = "unknown",
    blank: labels.Blank = "negative",
    views: Views = "frontal",
    labels_from: Literal["chexpert", "negbio", "radiologist"] = "chexpert",
    split: Literal["mimic", "imagenome"] = "mimic",
    boxes: Literal["none", "region-proxy", "region-proxy-gold"] = "none",
    reports: Path | None = None,
    scene_graphs: bool = True,
) -> Dataset:
    """MIMIC-CXR-JPG: thirteen findings by a labeler, reports as text, no boxes of findings.

    Args:
        root: the folder with the tables, or the one above it.
        uncertain: what -1 becomes.
        blank: what a finding that the report does not mention becomes; see `Marks`.
        views: PA and AP are `frontal`, LATERAL and LL `lateral`; others, and images without a view,
            are in `all` only. What is left out is counted.
        labels_from: which labeler's; `radiologist` knows some hundred test studies of 2.1.0 only.
        split: the official one (`validate` is `val`), or that of Chest ImaGenome, which leaves out
            the patients of its gold set.
        boxes: regions of Chest ImaGenome as a stand-in for the places of findings, from its silver
            or its gold set. They are no truth about pathology, so none by default. With the gold
            set its images are kept, and its patients are in `test` whatever the split.
        reports: folder or zip of the reports, where it is not beside the images.
        scene_graphs: read Chest ImaGenome where it is there; on the whole set this takes minutes.

    Returns:
        Ids are those of the DICOM files. Texts are whole reports. `extra` has the study, the view
        and, as JSON, the statements of the scene graph (see `imagenome.statements`).

    Raises:
        InputError: a missing or faulty table, with file and line; no image of the gold set.
    """
    home = _home(root)
    wanted = scene_graphs or split == "imagenome" or boxes != "none"
    genome = imagenome.folder(home) if wanted else None
    if genome is None and (split == "imagenome" or boxes != "none"):
        raise InputError(f"{home}: no chest-imagenome… with a silver_dataset lies beside it.")
    counted: Counter[str] = Counter()
    places = splits(home) if split == "mimic" or genome is None else imagenome.splits(genome)
    gold = imagenome.gold(genome) if genome and boxes == "region-proxy-gold" else None
    keep = {image for image, at in places.items() if at} | (gold or {}).keys()
    listed = _listed(home, views, keep if split == "imagenome" else None, counted)
    if gold is not None:
        places |= _held_out(home, listed, gold, places, counted)
    marks = Marks(uncertain=uncertain, blank=blank)
    values = _labels(home, labels_from, {one.study: one.patient for one in listed}, marks)
    unlabelled = (math.nan,) * len(CLASSES)
    texts = _texts(home, listed, reports, counted)
    said = _Said(genome, boxes, gold or {}, silver=scene_graphs, counted=counted)
    records = []
    for one in listed:
        counted["images of studies without labels: theirs are unknown"] += one.study not in values
        counted["images in no split of the source"] += one.image not in places
        found, known, extra = said.of(one)
        records.append(
            Record(
                id=one.image, path=one.path, patient=one.patient,
                labels=values.get(one.study, unlabelled), split=places.get(one.image),
                boxes=found, boxes_known=known, text=texts.get(one.study, ""),
                extra={"study": one.study, "view": one.view, **extra},
            )
        )  # fmt: skip
    said.close()
    notes = [f"{count} {what}." for what, count in counted.items() if count]
    notes += [] if texts else [f"{home}: no reports in or beside it; texts are empty."]
    notes += [] if boxes == "none" else [imagenome.PROXY_NOTE]
    return Dataset(str(root), CLASSES, tuple(records), (*notes, *marks.notes()))


def _home(root: Path) -> Path:
    for home in (root, *sorted(root.glob("2.*/"), reverse=True)):
        if _found(home, "metadata"):
            return home
    raise InputError(f"{root}: no {_TABLES['metadata']}.gz is in this folder.")


def _found(home: Path, name: str) -> Path | None:
    """A table of the newest version, packed or not."""
    paths = [path for end in ("", ".gz") for path in home.glob(_TABLES[name] + end)]
    return max(paths, default=None)


def _table(home: Path, name: str) -> Path:
    found = _found(home, name)
    if found is None:
        raise InputError(f"{home}: no {_TABLES[name]}.gz is in this folder.")
    return found


def has_splits(home: Path) -> bool:
    """Whether the official splits lie in a folder."""
    return _found(home, "split") is not None


def splits(home: Path) -> dict[str, Split | None]:
    """The official split of each image.

    Raises:
        InputError: a missing or faulty table, with file and line.
    """
    path = _table(home, "split")
    found: dict[str, Split | None] = {}
    # Columns stand in another order than in the metadata; only their names are trusted.
    for row in tables.each(path, required=("dicom_id", "study_id", "subject_id", "split")):
        where = f"{path}:{row.line}"
        if row["split"] not in _SPLITS:
            raise InputError(
                f"{where}: split '{row['split']}' is unknown. {nearest(row['split'], _SPLITS)}"
            )
        if row["dicom_id"] in found:
            raise InputError(f"{where}: image '{row['dicom_id']}' stands twice.")
        found[row["dicom_id"]] = _SPLITS[row["split"]]
    return found


def _listed(home: Path, views: Views, keep: Set[str] | None, counted: Counter[str]) -> list[Listed]:
    path = _table(home, "metadata")
    found, seen = [], set()
    for row in tables.each(path, required=("dicom_id", "subject_id", "study_id", "ViewPosition")):
        where = f"{path}:{row.line}"
        ids = (row["subject_id"], row["study_id"], row["dicom_id"])
        physionet.check_ids(ids, where=where)
        if row["dicom_id"] in seen:
            raise InputError(f"{where}: image '{row['dicom_id']}' stands twice.")
        seen.add(row["dicom_id"])
        view = VIEWS.get(row["ViewPosition"], "other")
        if views not in ("all", view):
            what = "images of another or no view" if view == "other" else f"{view} images"
            counted[f"{what} left out (data.views)"] += 1
            continue
        if keep is not None and row["dicom_id"] not in keep:
            counted["images that Chest ImaGenome avoids or does not have, left out"] += 1
            continue
        file = physionet.image(home, *ids)
        if file is None:
            counted["images without a file, left out"] += 1
            continue
        size_px = (row.get("Rows"), row.get("Columns"))
        found.append(Listed(where, *ids, row["ViewPosition"], file, size_px))
    return found


def _held_out(
    home: Path,
    listed: list[Listed],
    gold: imagenome.Found,
    places: Mapping[str, Split | None],
    counted: Counter[str],
) -> dict[str, Split | None]:
    """Split `test` for the images of patients with gold regions that are not in it."""
    patients = {one.patient for one in listed if one.image in gold}
    if not patients:
        raise InputError(
            f"{home}: none of its images has regions in the gold_dataset of Chest ImaGenome; leave "
            "boxes=region-proxy-gold out, or look for the images that are missing."
        )
    theirs = [one.image for one in listed if one.patient in patients]
    moved = [image for image in theirs if places.get(image) != "test"]
    counted["images of patients with gold regions, put into split test"] = len(moved)
    return dict.fromkeys(moved, "test")


def _labels(
    home: Path, source: str, patients: Mapping[str, str], marks: Marks
) -> dict[str, tuple[float, ...]]:
    """Labels of each study."""
    path = _table(home, source)
    named: dict[str, str] = {}
    found: dict[str, tuple[float, ...]] = {}
    for row in tables.each(path, required=("study_id",)):
        study, where = row["study_id"], f"{path}:{row.line}"
        named = named or columns(row.cells, where=f"{path}:1")
        if study not in patients:
            continue
        # The radiologists' table has no patients.
        patient = row.get("subject_id", patients[study])
        if patient != patients[study]:
            raise InputError(
                f"{where}: study {study} is of patient {patient} here and of {patients[study]} in "
                "the metadata."
            )
        if study in found:
            raise InputError(f"{where}: study {study} stands twice.")
        found[study] = marks.labels({k: row[column] for k, column in named.items()}, where=where)
    return found


def _texts(
    home: Path, listed: list[Listed], given: Path | None, counted: Counter[str]
) -> dict[str, str]:
    """Report of each study; none at all where no reports are found."""
    studies = {one.study: one.patient for one in listed}
    some = ((patient, study) for study, patient in itertools.islice(studies.items(), 200))
    if given is not None and not given.exists():
        raise InputError(f"reports={given}: no such folder or zip.")
    members = physionet.Members(given) if given else physionet.reports(home, some)
    if members is None:
        return {}
    found = {s: members.read(physionet.report_name(p, s)) for s, p in studies.items()}
    members.close()
    counted["studies without a report"] += sum(not text for text in found.values())
    return {study: text for study, text in found.items() if text}


class _Said:
    """Boxes and scene graph of images, as far as they are asked for."""

    def __init__(
        self,
        home: Path | None,
        boxes: str,
        gold: imagenome.Found,
        *,
        silver: bool,
        counted: Counter[str],
    ) -> None:
        self.boxes, self.gold = boxes, gold
        self.counted = counted
        # Without its graphs Chest ImaGenome is no fault, unless boxes are to be made of them.
        graphs = home and ((silver and imagenome.has_graphs(home)) or boxes == "region-proxy")
        self.graphs = imagenome.Graphs(home) if home and graphs else None

    def of(self, one: Listed) -> tuple[tuple[Box, ...], bool, dict[str, str]]:
        """Boxes, whether they are known, and columns for `extra`."""
        graph = self.graphs[one.image] if self.graphs else None
        self.counted["images without a scene graph"] += bool(self.graphs) and graph is None
        extra = {}
        if graph is not None:
            extra["scene_graph"] = json.dumps(imagenome.statements(graph), ensure_ascii=False)
        if self.boxes == "none":
            return (), False, extra
        if self.boxes == "region-proxy-gold":
            found = self.gold.get(one.image)
        else:
            found = None if graph is None else imagenome.proxies(graph)
        if found is None:
            return (), False, extra
        drawn = [Box(CLASSES.index(name), corners) for name, corners in found]
        return self._fitted(drawn, one), True, {**extra, "boxes": "region-proxy"}

    def _fitted(self, drawn: list[Box], one: Listed) -> tuple[Box, ...]:
        height, width = (number(cell, f"{one.where}: Rows, Columns") for cell in one.size_px)
        boxes, scaled = stored.to_file(drawn, (int(height), int(width)), one.path)
        self.counted["images whose boxes were scaled to the size of the stored file"] += scaled
        return boxes

    def close(self) -> None:
        """Let go of a zip."""
        if self.graphs:
            self.graphs.members.close()
