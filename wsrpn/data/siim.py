"""SIIM-ACR Pneumothorax Segmentation (2019) as Kaggle has it.

    train-rle.csv or stage_2_train.csv    `ImageId, EncodedPixels` with a blank in the header
    dicom-images-train/STUDY/SERIES/IMAGE.dcm    1024 × 1024; PNG or JPEG copies will do

A code of -1 says that there is no pneumothorax. Others are masks as pairs of gap and length, down
the columns; several rows of an image are parts of one mask. Masks are not written to disk: the
records carry boxes around their connected parts, which is what detection is measured on. Parts
smaller than 0.01 % of the image get none: that is a sixth of them in the real table, most of a
pixel or two.

The images are from ChestX-ray14; whose they are is not published, so every image is its own
patient here.
"""

from pathlib import Path

import numpy as np

from wsrpn.data import lookup, rle, tables
from wsrpn.data.base import datasets
from wsrpn.data.lookup import Corners
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record

CLASSES = ("Pneumothorax",)
TABLES = ("train-rle.csv", "stage_2_train.csv")
NONE = "-1"
FRAME_PX = (1024, 1024)


@datasets.register("siim", marker=TABLES)
def siim(*, root: Path) -> Dataset:
    """Pneumothorax with boxes around the parts of its masks, all known.

    Args:
        root: the folder with the table; images may lie anywhere below it.

    Returns:
        Rows whose file is not there, and parts too small for a box, are counted in the notes.

    Raises:
        InputError: no table, a code that is none, or -1 beside a mask, with file and line.
    """
    path = next((root / name for name in TABLES if (root / name).is_file()), None)
    if path is None:
        raise InputError(f"{root}: neither {' nor '.join(TABLES)} is in this folder.")
    masks = _masks(path)
    found = lookup.below(root)
    records, specks = [], 0
    for name, codes in masks.items():
        if name in found.paths:
            boxes, small = _boxes(codes)
            specks += small
            records.append(_record(name, found.paths[name], boxes))
    counts = {
        f"images of {path.name} without a file, left out": len(masks) - len(records),
        "image files without a row, left out": len(found.paths.keys() - masks.keys()),
        "further image files of a name that was taken, left out": found.repeated,
        "parts of masks under 0.01 % of the image got no box": specks,
    }
    return Dataset(str(root), CLASSES, tuple(records), lookup.counted(counts))


def _masks(path: Path) -> dict[str, list[np.ndarray]]:
    """Runs of every row of an image; [] where there is no pneumothorax."""
    table = tables.read(path, required=("ImageId", "EncodedPixels"))
    masks: dict[str, list[np.ndarray]] = {}
    for row in table.rows:
        where, name, code = table.where(row), row["ImageId"].strip(), row["EncodedPixels"].strip()
        seen = name in masks
        if seen and (code == NONE or not masks[name]):
            raise InputError(f"{where}: '{name}' has several rows, and -1 in one of them.")
        rows = masks.setdefault(name, [])
        if code != NONE:
            rows.append(rle.runs(code, FRAME_PX[0] * FRAME_PX[1], where=where))
    return masks


def _boxes(codes: list[np.ndarray]) -> tuple[list[Corners], int]:
    return rle.parts(rle.fill(np.concatenate(codes), FRAME_PX)) if codes else ([], 0)


def _record(name: str, path: Path, boxes: list[Corners]) -> Record:
    factors = lookup.scale(path, FRAME_PX) if boxes else (1.0, 1.0)
    return Record(
        id=name,
        path=path,
        patient=name,
        labels=(float(bool(boxes)),),
        boxes=tuple(Box(0, lookup.scaled(box, factors)) for box in boxes),
    )
