"""Score files of other tools, one file a slide: WSInfer, CLAM, TRIDENT, hs2p.

* WSInfer CSV: `minx, miny, width, height, prob_CLASS…`, in `model-outputs-csv/`.
* CLAM `NAME_blockmap.h5` and `NAME_OVERLAP_roi_False.h5`: `coords` and `attention_scores`. The size
  of a patch stands in `patches/NAME.h5`, else it is the step of the tiles.
* TRIDENT h5: `coords` with `patch_size_level0`, and scores beside them.
* hs2p `NAME.coordinates.npz` with an array of scores, and `NAME.coordinates.meta.json`.

All give level-0 pixels. The slide is the name of the file without what the tool appends.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from wsrpn.errors import InputError, nearest
from wsrpn.slides import arrays as files_of
from wsrpn.slides import cells, columns, lattice, regrid
from wsrpn.slides.arrays import Arrays
from wsrpn.slides.assemble import Found, Rows
from wsrpn.slides.lattice import OffLattice, Scattered
from wsrpn.slides.lines import MOST_OVERLAP

_FAR_PX0 = 1e8  # a size that no tile has
MOST_LATTICES = 0.25  # as a part of the tiles; above it there is no lattice at all
CORNERS = ("minx", "miny", "width", "height")
_APPENDED = re.compile(r"(_blockmap|_patches|_scores|_attention)$")
_ROI = re.compile(r"^(?P<slide>.+)_(?P<overlap>[01]?\.?\d+)_roi_(True|False)$")
_TUMOUR = re.compile(r"tumou?r|cancer|metasta|malign|positive|lesion|(?<!\w)abnormal")
_NORMAL = re.compile(r"(?<![a-z])(no|negative|benign)")  # also not-, non-, notumor, normal


def is_foreign(path: Path) -> bool:
    """Whether a file has one of these forms, by its name and header."""
    suffix = path.suffix.lower()
    if suffix in (*files_of.H5, *files_of.NPZ):
        return True
    if not cells.is_csv(path):
        return False
    try:
        return set(CORNERS) <= set(cells.header(path))
    except InputError:
        return False


def read(path: Path, score: str) -> Found:
    """The tiles of one slide.

    Args:
        path: CSV, h5 or npz.
        score: a column or array; `score` takes the one there is, and of several probabilities the
            one of tumour.

    Raises:
        InputError: with file and row, for what cannot be read.
    """
    if cells.is_csv(path):
        return _wsinfer(path, score)
    name = f"{slide_of(path)}.h5"
    near = (path.parent, path.parent / "patches", path.parent.parent / "patches")
    arrays = files_of.read(path, score, [folder / name for folder in near])
    if len(arrays.score) == 0:
        raise InputError(f"{path}: no tile; at least one was expected.")
    rows, notes = _placed(path, arrays)
    return Found((rows,), arrays.name, len(arrays.score), notes=notes)


def slide_of(path: Path) -> str:
    """The slide that a file is about: its name without what the tool appends.

    Example:
        >>> slide_of(Path("a/tumor_001_blockmap.h5")), slide_of(Path("b.coordinates.npz"))
        ('tumor_001', 'b')
    """
    name = path.name.removesuffix(".gz")
    name = Path(name).stem.removesuffix(".coordinates")
    found = _ROI.match(name)
    return found["slide"] if found else _APPENDED.sub("", name)


def _wsinfer(path: Path, score: str) -> Found:
    names = cells.header(path)
    column, notes = _probability(path, names, score)
    table = columns.read(path, wanted=(*CORNERS, column), required=(*CORNERS, column))
    x, y, width, height = (table.numbers(name) for name in CORNERS)
    rows = Rows(slide_of(path), x, y, width, height, table.numbers(column), table.where)
    return Found((rows,), column, len(table), notes=notes)


def _probability(path: Path, names: Sequence[str], score: str) -> tuple[str, tuple[str, ...]]:
    """The column to take, and what to say of it."""
    found = [name for name in names if name.startswith("prob_")]
    for name in (score, f"prob_{score}"):
        if name in names:
            return name, ()
    if score != files_of.ANY or not found:
        raise InputError(f"{path}: no column '{score}'. {nearest(score, found or names)}")
    words = {name: name.removeprefix("prob_").lower() for name in found}
    like = [n for n, word in words.items() if _TUMOUR.search(word) and not _NORMAL.search(word)]
    chosen = found if len(found) == 1 else like
    if len(chosen) != 1:
        raise InputError(
            f"{path}: {len(found)} probabilities ({', '.join(found)}); name the one that is "
            f"higher where a tile is more abnormal."
        )
    others = [name for name in found if name != chosen[0]]
    said = f"Scores are {chosen[0]}, not {', '.join(others)}."
    return chosen[0], (said,) if others else ()


def _placed(path: Path, arrays: Arrays) -> tuple[Rows, tuple[str, ...]]:
    """Rows with a size, on one lattice if the file has several."""
    slide, notes = slide_of(path), []
    size = arrays.size
    if size is None:
        size = _from_step(path, arrays)
        notes.append(
            f"{slide}: the file names no patch size; the step of its tiles says {size:g} px."
        )
    side = np.full(len(arrays.x), size)
    where = partial(_where, path)
    rows = Rows(
        slide, arrays.x, arrays.y, side, side, arrays.score, where,
        tissue=arrays.tissue, facts=arrays.facts,
    )  # fmt: skip
    try:
        lattice.fit(arrays.x, arrays.y, (size, size))
    except OffLattice as error:
        several = path.suffix.lower() in files_of.H5 and not isinstance(error, Scattered)
        several = several and error.tile is not None
        found = _regridded(rows, size) if several else None
        if found is not None:  # else it fails where the slide is put together, with its reason
            return found[0], (*notes, found[1])
    return rows, tuple(notes)


def _regridded(rows: Rows, size: float) -> tuple[Rows, str] | None:
    """Tiles of a few lattices on one, or None where they are on many."""
    pitch = lattice.step(rows.x, rows.y, (size, size))
    far = max(np.abs(rows.x).max(), np.abs(rows.y).max()) >= lattice.FURTHEST_PX0
    if far or size > MOST_OVERLAP * min(pitch):
        return None
    if regrid.lattices(rows.x, rows.y, pitch) > MOST_LATTICES * len(rows.x):
        return None
    x, y, score = regrid.onto_one(rows.x, rows.y, (size, size), pitch, rows.score)
    said = (
        f"{rows.slide}: {len(rows.x)} tiles lie on several lattices, as CLAM makes them; the mean "
        f"of their scores stands on {len(x)} cells of one, {pitch[0]:g} × {pitch[1]:g} px."
    )
    grid = (float(x.min()), float(y.min())), pitch
    width, height = (np.full(len(x), side) for side in pitch)
    facts = replace(rows.facts, grid=grid)
    return replace(rows, x=x, y=y, score=score, width=width, height=height, facts=facts), said


def _from_step(path: Path, arrays: Arrays) -> float:
    """The size of a patch from the distance of neighbours, and the overlap in CLAM's file name."""
    steps = lattice.step(arrays.x, arrays.y, (_FAR_PX0, _FAR_PX0))
    known = [step for step in steps if step < _FAR_PX0]
    if not known:
        raise InputError(
            f"{path}: no patch size and no two tiles in a row; add 'patch_size_level0'."
        )
    found = _ROI.match(path.stem)
    return min(known) / (1 - min(float(found["overlap"]) if found else 0.0, 0.99))


def _where(path: Path, row: int) -> str:
    return f"{path}: tile {row + 1}"
