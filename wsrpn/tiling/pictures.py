"""A folder of tile pictures: class from folders, slide and place from names.

A picture belongs to the class whose name the nearest folder has (normal, tumor, 0, 1 …), to the
split a folder is called after (train, val, test), and to slide and place as its name says them:
`SLIDE_X_Y.png`, `SLIDE_xX_yY.png`, or `10253_idx5_x1001_y1001_class0.png` (the breast tiles of
Janowczyk & Madabhushi 2016). Other names are of the slide that the nearest other folder is called
after, or each a slide of its own.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from wsrpn.data import images
from wsrpn.data.base import images_in
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, counted
from wsrpn.slides.sheet import LABELS
from wsrpn.tiles import Slide, TileSet
from wsrpn.tiling import crops

_NAME = re.compile(
    r"(?P<slide>.+?)(_idx\d+)?_x?(?P<x>\d+)_y?(?P<y>\d+)(_class(?P<label>[01]))?", re.IGNORECASE
)
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_UNREAD = {".dcm", ".dicom", ".mha", ".img"}  # kinds of radiographs


def read(folder: Path) -> TileSet:
    """The pictures below a folder; the header of one of each slide is read for its size.

    Raises:
        InputError: no pictures, a folder and a name that say different classes, a place twice, or a
            slide in two splits.
    """
    paths = [path for path in images_in(folder) if path.suffix.lower() not in _UNREAD]
    if not paths:
        raise InputError(f"{folder}: no pictures of tiles in it (PNG, JPEG, TIFF, BMP).")
    found = [_Named(path, folder) for path in paths]
    _refuse_twice(found)
    slides, number = _slides(found)
    size = _sizes(found)
    nothing = np.full(len(found), np.nan)
    return TileSet(
        name=str(folder),
        slides=slides,
        slide=np.array([number[one.slide] for one in found], dtype=np.int64),
        files=tuple(paths),
        file=np.arange(len(paths), dtype=np.int64),
        box_px=np.full((len(paths), 4), np.nan),
        corner_px0=np.array([one.corner for one in found], dtype=np.float64),
        size_px0=np.array([size[one.slide] for one in found], dtype=np.float64),
        label=np.array([one.label for one in found], dtype=np.float64),
        truth=nothing,
        tissue=np.ones(len(paths)),
        notes=tuple(_notes(found)),
    )


class _Named:
    """What folders and name of a picture say."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        above = path.relative_to(folder).parts[:-1][::-1]
        words = [part.lower() for part in above]
        match = _NAME.fullmatch(path.stem)
        self.corner = (float(match["x"]), float(match["y"])) if match else (np.nan, np.nan)
        self.placed = match is not None
        other = [
            p for p, word in zip(above, words, strict=True) if word not in {**LABELS, **_SPLITS}
        ]
        self.slide = match["slide"] if match else (other[0] if other else path.stem)
        self.alone = match is None and not other
        self.split = next((_SPLITS[word] for word in words if word in _SPLITS), None)
        said = [LABELS[word] for word in words if word in LABELS][:1]
        told = [match["label"] == "1"] if match and match["label"] else []
        if said and told and said != told:
            raise InputError(
                f"{path}: the folder says {_class(said[0])} and the name {_class(told[0])}; "
                "correct one."
            )
        self.label = float((said or told)[0]) if said or told else np.nan


def _class(tumour: bool) -> str:
    return "tumor" if tumour else "normal"


def _refuse_twice(found: list[_Named]) -> None:
    seen: dict[tuple[str, tuple[float, float]], Path] = {}
    for one in found:
        key = (one.slide, one.corner)
        if one.placed and key in seen:
            raise InputError(f"{one.path}: slide and place are those of {seen[key]}, too.")
        seen[key] = one.path


def _slides(found: list[_Named]) -> tuple[tuple[Slide, ...], dict[str, int]]:
    split: dict[str, str | None] = {}
    for one in found:
        if split.setdefault(one.slide, one.split) != one.split:
            raise InputError(
                f"{one.path}: slide {one.slide} is in split {one.split or 'none'} and in "
                f"{split[one.slide] or 'none'}; put all tiles of a slide into one."
            )
    names = tuple(split)
    slides = tuple(Slide(name, name, split=split[name]) for name in names)
    return slides, {name: number for number, name in enumerate(names)}


def _sizes(found: list[_Named]) -> dict[str, tuple[int, int]]:
    """Width and height by slide, from the first of its pictures that can be read."""
    sizes: dict[str, tuple[int, int]] = {}
    for one in found:
        if one.slide in sizes or one.alone:
            continue
        try:
            high, wide = images.size(one.path)
        except ImageReadError:  # told where its pixels are read
            continue
        sizes[one.slide] = (wide, high)
    usual = Counter(sizes.values()).most_common(1)
    return {one.slide: usual[0][0] if usual else (1, 1) for one in found} | sizes


def _notes(found: list[_Named]) -> list[str]:
    """What was taken for granted."""
    slides = len({one.slide for one in found})
    notes = [
        f"Taken from folders and names: {counted(slides, 'slide')}, each a patient of its own, and "
        "sizes on the slide equal to those of the pictures; write tiles.csv to say otherwise."
    ]
    notes += crops.note_of_places(sum(not one.placed for one in found), len(found))
    alone = sum(one.alone for one in found)
    if alone:
        notes.append(f"{counted(alone, 'tile')} whose name says no slide, each a slide of its own.")
    unknown = sum(np.isnan(one.label) for one in found)
    if unknown:
        notes.append(f"{counted(int(unknown), 'tile')} without a class (folders normal and tumor).")
    return notes
