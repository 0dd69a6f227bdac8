"""MS-CXR (Boecking et al., 2022): boxes of phrases from reports, on images of MIMIC-CXR-JPG.

    MS_CXR_Local_Alignment_v1.1.0.csv (v1.0.0 in release 0.1)
    dicom_id, category_name, label_text, path, x, y, w, h, image_width, image_height, split

A row is a box; several rows of one image and phrase are several boxes of that phrase.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsrpn.data import mimic, physionet, splits, stored, tables
from wsrpn.data.base import datasets
from wsrpn.data.lookup import Corners
from wsrpn.data.manifest import number
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record, Split

CLASSES = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Lung Opacity", "Pleural Effusion",
    "Pneumonia", "Pneumothorax",
)  # fmt: skip
TABLE = "MS_CXR_Local_Alignment_v*.csv"
_COLUMNS = (
    "dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h",
    "image_width", "image_height",
)  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """One row: a phrase, its finding and one of its boxes in pixels of the original image."""

    where: str
    path: str
    name: str
    text: str
    corners: Corners
    drawn_px: tuple[int, int]
    split: Split | None


@datasets.register("ms_cxr", marker=TABLE)
def ms_cxr(*, root: Path, images: Path | None = None) -> Dataset:
    """MS-CXR: eight findings, their boxes, and the phrases that they ground.

    Args:
        root: the CSV or its folder.
        images: folder of MIMIC-CXR-JPG (with `files` in it), where it is not beside `root`.

    Returns:
        One record per image. A finding with a phrase is present; of others nothing is said, so they
        are unknown. The text is the phrases, one a line; `extra` has them with their boxes as JSON
        (`phrases`: text, finding, xyxy in pixels of the stored file). Boxes fit the stored file,
        also where that is a small copy. Release 0.1 has no splits: those of MIMIC are taken.

    Raises:
        InputError: a missing or faulty table, with file and line, or no images.
    """
    path = _table(root)
    home = _images(path.parent, images)
    phrases: dict[str, list[Phrase]] = defaultdict(list)
    for image, phrase in _rows(path):
        phrases[image].append(phrase)
    official = _mimic_splits(home) if any(p[0].split is None for p in phrases.values()) else {}
    records, missing, resized = [], 0, 0
    for image, found in phrases.items():
        ids = physionet.image_name(found[0].path, where=found[0].where)
        if ids[2] != image:
            raise InputError(f"{found[0].where}: dicom_id '{image}', but the path has '{ids[2]}'.")
        file = physionet.image(home, *ids)
        if file is None:
            missing += 1
            continue
        split = found[0].split or official.get(image)
        record, scaled = _record(image, ids, file, found, split)
        resized += scaled
        records.append(record)
    counted = {
        "images without a file, left out": missing,
        "images whose boxes were scaled to the size of the stored file": resized,
    }
    notes = tuple(f"{count} {what}." for what, count in counted.items() if count)
    return Dataset(str(root), CLASSES, tuple(records), notes)


def _table(root: Path) -> Path:
    if root.is_file():
        return root
    path = max(root.glob(TABLE), default=None)
    if path is None:
        raise InputError(f"{root}: no {TABLE} is in this folder.")
    return path


def _images(folder: Path, given: Path | None) -> Path:
    def fits(path: Path) -> bool:
        return (path / "files").is_dir()

    if given is not None and not fits(given):
        raise InputError(f"images={given}: no folder 'files' is in it, as MIMIC-CXR-JPG has one.")
    globs = (".", "mimic-cxr-jpg*", "mimic-cxr-jpg*/*")
    home = given or physionet.beside(folder, globs, fits)
    if home is None:
        raise InputError(
            f"{folder}: the images of MIMIC-CXR-JPG are not beside it; "
            "name their folder as ms_cxr:DIR?images=FOLDER."
        )
    return home


def _rows(path: Path) -> list[tuple[str, Phrase]]:
    found = []
    for row in tables.each(path, required=_COLUMNS):
        where = f"{path}:{row.line}"
        if row["category_name"] not in CLASSES:
            raise InputError(
                f"{where}: finding '{row['category_name']}' is unknown. "
                f"{nearest(row['category_name'], CLASSES)}"
            )
        x, y, width, height, right, bottom = (
            number(row[name], f"{where}: {name}")
            for name in ("x", "y", "w", "h", "image_width", "image_height")
        )
        if min(width, height, right, bottom) <= 0:
            raise InputError(f"{where}: w, h, image_width and image_height must be positive.")
        cell = row.get("split")
        split = splits.parse(cell, where=where) if cell else None
        phrase = Phrase(
            where, row["path"], row["category_name"], row["label_text"].strip(),
            (x, y, x + width, y + height), (round(bottom), round(right)), split,
        )  # fmt: skip
        found.append((row["dicom_id"], phrase))
    return found


def _mimic_splits(home: Path) -> Mapping[str, Split | None]:
    return mimic.splits(home) if mimic.has_splits(home) else {}


def _record(
    image: str,
    ids: tuple[str, str, str],
    file: Path,
    phrases: Sequence[Phrase],
    split: Split | None,
) -> tuple[Record, bool]:
    drawn = [Box(CLASSES.index(one.name), one.corners) for one in phrases]
    boxes, scaled = stored.to_file(drawn, phrases[0].drawn_px, file)
    grounded: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for one, box in zip(phrases, boxes, strict=True):
        grounded[one.text, one.name].append(list(box.xyxy_px))
    told = [{"text": t, "finding": name, "xyxy": xyxy} for (t, name), xyxy in grounded.items()]
    present = {box.label for box in boxes}
    record = Record(
        id=image, path=file, patient=ids[0], split=split, boxes=boxes,
        labels=tuple(1.0 if k in present else math.nan for k in range(len(CLASSES))),
        text="\n".join(dict.fromkeys(one.text for one in phrases if one.text)),
        extra={"study": ids[1], "phrases": json.dumps(told, ensure_ascii=False)},
    )  # fmt: skip
    return record, scaled
