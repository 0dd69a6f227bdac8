"""CheXlocalize (Saporta et al., 2022): radiologists' segmentations of CheXpert's small sets.

    CheXlocalize/gt_segmentations_val.json, …_test.json     masks, as COCO packs them
    CheXpert/val_labels.csv, CheXpert/test_labels.csv       radiologists' labels
    CheXpert/val/patient64541/study1/view1_frontal.jpg      images

`{"patient64541_study1_view1_frontal": {"Airspace Opacity": {"size": [h, w], "counts": "…"}}}`: all
ten findings stand there, empty masks too. `Airspace Opacity` is CheXpert's `Lung Opacity`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from wsrpn import files
from wsrpn.data import chexpert, chexpert_files, coco_rle, labels, stored
from wsrpn.data.base import Views, datasets
from wsrpn.data.cache import fingerprint
from wsrpn.data.chexpert_labels import CLASSES as LABELLED
from wsrpn.data.chexpert_labels import Marks
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record, Split

CLASSES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Lung Opacity", "Edema",
    "Consolidation", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Support Devices",
)  # fmt: skip
_SETS: tuple[tuple[Literal["val", "test"], tuple[str, ...]], ...] = (
    ("val", ("val_labels.csv", "valid.csv")),
    ("test", ("test_labels.csv", "test.csv")),
)
_PICK = [LABELLED.index(name) for name in CLASSES]

Segmentations = Mapping[str, Mapping[str, Any]]


@datasets.register(
    "chexlocalize", marker=("CheXlocalize/gt_segmentations_*.json", "gt_segmentations_*.json")
)
def chexlocalize(
    *,
    root: Path,
    uncertain: labels.Uncertain = "unknown",
    blank: labels.Blank = "negative",
    views: Views = "frontal",
    images: Path | None = None,
    mask: str = "",
) -> Dataset:
    """CheXlocalize: ten findings, a box around each connected part of a segmentation.

    Args:
        root: the folder with `CheXlocalize` and `CheXpert`, or the first of them.
        uncertain: what -1 becomes; the radiologists' tables have none.
        blank: what an empty label becomes; likewise.
        views: lateral images are left out by default, and counted.
        images: the folder with the label tables and images, where it is not `CheXpert`.
        mask: name of a finding whose segmentation becomes `Record.mask`, or `any` for all ten
            together; written once into the user's cache folder. "" makes none.

    Returns:
        Splits are `val` and `test`: there is nothing to train on. Boxes are known of images in the
        segmentation file and of those without one of the ten findings, and are in pixels of the
        stored file, also where that is a small copy.

    Raises:
        InputError: a missing or faulty table, segmentation or image folder.
    """
    if mask not in {"", "any", *CLASSES}:
        raise InputError(f"mask={mask}: no such finding. {nearest(mask, ('any', *CLASSES))}")
    drawn_in = root / "CheXlocalize" if (root / "CheXlocalize").is_dir() else root
    places = [images] if images else [root / "CheXpert", drawn_in.parent / "CheXpert", root]
    folder = next((place for place in places if _tables(place)), None)
    if folder is None:
        raise InputError(
            f"{root}: no val_labels.csv or test_labels.csv in {', '.join(map(str, places))}."
        )
    finder = chexpert_files.Finder(folder)
    marks = Marks(uncertain=uncertain, blank=blank)
    counted: Counter[str] = Counter()
    records: list[Record] = []
    for split, table in _tables(folder):
        path = drawn_in / f"gt_segmentations_{split}.json"
        if not path.is_file():
            counted[f"tables without {path.name}, left out"] += 1
            continue
        drawn = _read(path)
        for one in chexpert.rows(table, split):
            if views not in ("all", one.name.view):
                counted["images of another view left out (data.views)"] += 1
                continue
            found = finder.find(one.name)
            if found is None:
                counted["images without a file, left out"] += 1
                continue
            values = marks.labels(one.cells or {}, where=one.where)
            values = tuple(values[index] for index in _PICK)
            records.append(_record(one, found, values, drawn, path, mask, counted))
    if not records and not counted:
        raise InputError(f"{root}: no gt_segmentations_val.json or gt_segmentations_test.json.")
    notes = [f"{count} {what}." for what, count in sorted(counted.items())]
    return Dataset(str(root), CLASSES, tuple(records), (*notes, *marks.notes()))


def _tables(folder: Path) -> list[tuple[Split, Path]]:
    found: list[tuple[Split, Path]] = []
    for split, names in _SETS:
        here = [folder / name for name in names if (folder / name).is_file()]
        found += [(split, here[0])] if here else []
    return found


def _read(path: Path) -> Segmentations:
    tree = files.read_json(path, what="segmentations of CheXlocalize")
    if not isinstance(tree, dict) or not all(isinstance(one, dict) for one in tree.values()):
        raise InputError(f"{path}: no object with one object per image, as CheXlocalize has it.")
    return tree


def _record(
    one: chexpert.Listed,
    file: Path,
    values: tuple[float, ...],
    drawn: Segmentations,
    path: Path,
    mask: str,
    counted: Counter[str],
) -> Record:
    name = one.name.key.replace("/", "_")
    masks = _masks(drawn.get(name, {}), f"{path}: {name}")
    boxes: tuple[Box, ...] = ()
    for label, (runs, size) in masks.items():
        own = [Box(CLASSES.index(label), corners) for corners in coco_rle.boxes(runs, size)]
        fitted, scaled = stored.to_file(own, size, file)
        counted["segmentations scaled to the size of the stored file"] += scaled
        boxes += fitted
    known = name in drawn or not any(value == 1 for value in values)
    counted["images with a finding but no segmentation: no box figures of them"] += not known
    bare = {CLASSES[k] for k, value in enumerate(values) if value == 1} - {
        CLASSES[box.label] for box in boxes
    }
    counted["labels without a segmentation in an image that has some"] += len(bare) * known
    for key in [key for key, count in counted.items() if not count]:
        del counted[key]
    return Record(
        id=one.name.id, path=file, patient=one.name.patient, labels=values, split=one.split,
        boxes=boxes, boxes_known=known, extra=one.extra,
        mask=_mask_file(masks, mask, path, name) if mask and known else None,
    )  # fmt: skip


def _masks(tree: Mapping[str, Any], where: str) -> dict[str, tuple[list[int], tuple[int, int]]]:
    """Runs and size by class."""
    found = {}
    for task, packed in tree.items():
        label = labels.SPELLINGS.get(task, task)
        if label not in CLASSES:
            raise InputError(f"{where}: finding '{task}' is unknown. {nearest(task, CLASSES)}")
        found[label] = coco_rle.parse(packed, where=f"{where}: {task}")
    return found


def _mask_file(
    masks: Mapping[str, tuple[Sequence[int], tuple[int, int]]], which: str, path: Path, name: str
) -> Path | None:
    """A PNG of the wanted masks together; made once, and made again where the source changed."""
    chosen = [found for label, found in masks.items() if which in ("any", label)]
    if not chosen:
        return None
    folder = files.user_cache() / f"chexlocalize-{fingerprint([path], which)[:16]}"
    file = folder / f"{name}.png"
    if not file.is_file():
        pixels = np.any([coco_rle.mask(runs, size) for runs, size in chosen], axis=0)
        picture = Image.fromarray(pixels.astype(np.uint8) * 255)
        files.write_with(file, lambda temporary: picture.save(temporary, format="PNG"))
    return file
