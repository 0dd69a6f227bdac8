"""Miniatures of CheXpert, CheXpert Plus and CheXlocalize.

Headers, prefixes, empty cells and packings are those of the downloads.
"""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import make

MARKS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
    "Support Devices"
)
CHEXPERT_HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{MARKS}"
# Path below the split, sex, age, view, projection, and the fourteen marks.
CHEXPERT_TRAIN = (
    ("patient00001/study1/view1_frontal", "Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0"),
    ("patient00002/study2/view1_frontal",
     "Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,"),
    ("patient00002/study1/view1_frontal", "Female,83,Frontal,AP,,,,1.0,,,-1.0,,,,,,1.0,"),
    ("patient00002/study1/view2_lateral", "Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,"),
    ("patient00003/study1/view1_frontal", "Male,41,Frontal,PA,,,,,,1.0,,,,0.0,,,,"),
    ("patient00004/study1/view1_frontal", "Unknown,0,Frontal,LL,1.0,0.0,,,,,,,,0.0,,,,"),
    ("patient00005/study1/view1_frontal", "Male,33,Frontal,PA,,,1.0,,,,,,,0.0,1.0,,,"),
    ("patient00006/study1/view1_frontal", "Male,33,Frontal,PA,,,0.0,,,,,-1.0,1.0,,0.0,,,-1.0"),
)  # fmt: skip
CHEXPERT_VALID = (
    ("patient64541/study1/view1_frontal", f"Male,73,Frontal,AP,0.0,1.0,1.0,1.0,{'0.0,' * 9}0.0"),
    ("patient64542/study1/view1_frontal", f"Male,70,Frontal,PA,{'0.0,' * 13}1.0"),
    ("patient64542/study1/view2_lateral", f"Male,70,Lateral,,{'0.0,' * 13}1.0"),
    ("patient64543/study1/view1_frontal", f"Female,70,Frontal,PA,1.0,{'0.0,' * 12}0.0"),
    ("patient64544/study1/view1_frontal", f"Female,55,Frontal,PA,0.0,{'0.0,' * 9}1.0,0.0,0.0,0.0"),
)
PLUS_HEADER = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,"
    "report,section_narrative,section_clinical_history,section_history,section_comparison,"
    "section_technique,section_procedure_comments,section_findings,section_impression,"
    "section_end_of_impression,section_summary,section_accession_number,age,sex,race,ethnicity,"
    "interpreter_needed,insurance_type,recent_bmi,deceased,split"
)


def chexpert(
    folder: Path, *, prefix: str = "CheXpert-v1.0-small", suffix: str = ".jpg",
    batches: bool = False, without: Sequence[str] = (), size: tuple[int, int] = (16, 16),
) -> Path:  # fmt: skip
    """The folder with train.csv and valid.csv; `batches` lays the full-size download out."""
    for name, split, rows in (
        ("train", "train", CHEXPERT_TRAIN),
        ("valid", "valid", CHEXPERT_VALID),
    ):
        lines = [f"{prefix}/{split}/{path}.jpg,{rest}" for path, rest in rows]
        write(folder / f"{name}.csv", [CHEXPERT_HEADER, *lines])
        for position, (path, _) in enumerate(rows):
            if path not in without:
                batch = f"CheXpert-v1.0 batch {2 + position % 3} (train {1 + position % 3})"
                home = folder.parent / batch if batches and split == "train" else folder / split
                picture(home / f"{path}{suffix}", position, size)
    return folder


def picture(path: Path, position: int, size: tuple[int, int] = (16, 16)) -> Path:
    """An image that differs from others by where its spot lies."""
    return make.image(
        path, make.blob(size, (0.2 + 0.1 * (position % 7), 0.4)) * (0.9 - 0.01 * position)
    )


def plus(folder: Path, *, labels: bool = True) -> Path:
    """The table of reports, and CheXbert's labels, in a folder of CheXpert."""
    rows = []
    for split, listed in (("train", CHEXPERT_TRAIN), ("valid", CHEXPERT_VALID)):
        for number, (path, rest) in enumerate(listed):
            sex, age, view, projection, *_ = rest.split(",")
            sections = [""] * 11
            if number == 0:
                sections[1], sections[6], sections[7] = (
                    "Cough.",
                    "Clear lungs,\nno effusion.",
                    "Normal.",
                )
                sections[8], sections[9] = "I have reviewed the images.", "1-NORMAL"
            report = "" if number == 2 else "NARRATIVE:\nRadiograph of the chest."
            rows.append([
                f"{split}/{path}.jpg", f"{split}/{path}.dcm", view, projection, path[:12], 1,
                report, *sections, age, sex, "", "", "", "", "", "No", split,
            ])  # fmt: skip
    text = io.StringIO(newline="")
    csv.writer(text).writerows([PLUS_HEADER.split(","), *rows])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "df_chexpert_plus_240401.csv").write_text(text.getvalue(), "utf-8")
    if labels:
        below = folder / "chexbert_labels"
        below.mkdir()
        names = MARKS.split(",")
        for part in ("findings", "impression", "report"):
            lines = []
            for row in rows[:-1]:  # the last image has no line
                marks: dict[str, Any] = dict.fromkeys(names)
                marks |= (
                    {"Edema": 1.0, "Fracture": -1.0} if part == "report" else {"No Finding": 1.0}
                )
                lines.append(json.dumps({"path_to_image": row[0], **marks}))
            write(below / f"{part}_fixed.json", lines)
    return folder


def write(path: Path, lines: Sequence[str]) -> Path:
    """A text file, packed where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path) -> str:
    """The text of a file that `write` wrote."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def change(path: Path, old: str, new: str) -> None:
    """Replace the first `old` in a file; it must be there."""
    text = read(path)
    assert old in text
    write(path, text.replace(old, new, 1).split("\n")[:-1])


# --- CheXlocalize

TASKS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Airspace Opacity", "Edema",
    "Consolidation", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Support Devices",
)  # fmt: skip


def packed(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO packs it, with the code of its authors."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def segments(**areas: tuple[slice, slice]) -> dict[str, Any]:
    """All ten tasks of an image of 40 × 60, those named with an area."""
    found = {}
    for task in TASKS:
        mask = np.zeros((40, 60), bool)
        if (area := areas.get(task.replace(" ", "_"))) is not None:
            mask[area] = True
        found[task] = packed(mask)
    return found


def chexlocalize(folder: Path, *, size: tuple[int, int] = (40, 60)) -> Path:
    """The download: images in `CheXpert/val`, paths that say `valid`, masks of 40 × 60."""
    lines = [f"CheXpert-v1.0/valid/{path}.jpg,{rest}" for path, rest in CHEXPERT_VALID]
    write(folder / "CheXpert/val_labels.csv", [CHEXPERT_HEADER, *lines])
    for position, (path, _) in enumerate(CHEXPERT_VALID):
        picture(folder / f"CheXpert/val/{path}.jpg", position, size)
    # The test table says nothing but path and labels.
    write(
        folder / "CheXpert/test_labels.csv",
        [f"Path,{MARKS}", f"test/patient64741/study1/view1_frontal.jpg,{'0.0,' * 13}1.0"],
    )
    picture(folder / "CheXpert/test/patient64741/study1/view1_frontal.jpg", 5, size)
    heart = (slice(10, 30), slice(20, 44))
    drawn = {
        "patient64541_study1_view1_frontal": segments(
            Enlarged_Cardiomediastinum=(slice(5, 30), slice(20, 44)), Cardiomegaly=heart,
            Airspace_Opacity=(slice(0, 40), slice(58, 60)),
        ),
        "patient64542_study1_view1_frontal": segments(Support_Devices=(slice(0, 4), slice(0, 50))),
    }  # fmt: skip
    test = {"patient64741_study1_view1_frontal": segments(Support_Devices=heart)}
    for split, found in (("val", drawn), ("test", test)):
        write(folder / f"CheXlocalize/gt_segmentations_{split}.json", [json.dumps(found)])
    return folder
