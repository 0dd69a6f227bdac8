"""A table of tiles, `tiles.csv`: which slide each is of, where its pixels are, what it shows.

Columns: `slide`, `x`, `y` (full-size pixels, top-left), `label` (normal, tumor, 0, 1 or blank),
`split`, and the pixels: `image` (a picture of its own) or `sheet`, `sheet_x`, `sheet_y`, `size` (a
square of a contact sheet). Optional: `patient`, `width` and `height` or `size` on the slide,
`truth` and `tissue` (shares), `mpp`. Paths are relative to the table and never leave its folder,
unless WSRPN_SLIDES opens further ones (`wsrpn.slides.roots`). CSV, packed with gzip or not, or
Parquet.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from wsrpn.data import images, splits
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, counted, nearest
from wsrpn.slides import columns, rules
from wsrpn.slides.columns import Columns
from wsrpn.slides.facts import MPP_UM
from wsrpn.slides.sheet import LABELS
from wsrpn.tiles import Slide, TileSet
from wsrpn.tiling import crops
from wsrpn.types import SPLITS

NAME = "tiles.csv"
_WANTED = (
    "slide", "x", "y", "label", "split", "patient", "image", "sheet", *crops.PLACES, "width",
    "height", "truth", "tissue", "mpp", "level",
)  # fmt: skip
_BLANK = {"", "nan", "na", "n/a", "null", "none"}


def read(path: Path, *, rule: str = rules.DEFAULT) -> TileSet:
    """Read a table of tiles; of sheets the headers are read, too.

    Args:
        path: the table.
        rule: what makes a label of `truth` where a tile has no label: any, or share@X.

    Raises:
        InputError: with file and row: a cell of the wrong kind, a path that leaves the folder, a
            box outside its sheet, a tile that stands twice, a slide in two splits.
    """
    table = columns.read(path, wanted=_WANTED, required=("slide",))
    slide, names = table.texts("slide")
    if "" in names:
        row = int(np.argmax(slide == names.index("")))
        raise InputError(f"{table.where(row)}: no name of a slide; every tile needs one.")
    files, file, box = crops.find(table)
    corner, size, notes = _places(table, slide, file, files)
    truth, tissue = _shares(table, "truth"), _shares(table, "tissue")
    label, told = _by_truth(_labels(table), truth, rule)
    slides = _slides(table, slide.astype(np.int64), names)
    return TileSet(
        name=str(path),
        slides=slides,
        slide=slide.astype(np.int64),
        files=files,
        file=file,
        box_px=box,
        corner_px0=corner,
        size_px0=size,
        label=label,
        truth=truth,
        tissue=np.where(np.isnan(tissue), 1.0, tissue),
        notes=(*table.notes, *notes, *told),
    )


def _places(
    table: Columns,
    slide: Int[np.ndarray, " n"],
    file: Int[np.ndarray, " n"],
    files: tuple[Path, ...],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], list[str]]:
    """Corners and sizes on the slide, and what was taken for granted."""
    if ("x" in table) != ("y" in table):
        raise InputError(f"{table.path}: x without y, or y without x; give both or neither.")
    nowhere = np.full(len(table), np.nan)
    axes = [table.numbers(n, blank=True) if n in table else nowhere for n in ("x", "y")]
    corner = np.stack(axes, axis=1)
    half = np.isnan(corner[:, 0]) != np.isnan(corner[:, 1])
    if half.any():
        raise InputError(f"{table.where(int(np.argmax(half)))}: x without y, or y without x.")
    notes = []
    notes += crops.note_of_places(int(np.isnan(corner[:, 0]).sum()), len(table))
    _refuse_twice(table, slide, corner)
    size = _sizes(table)
    if np.isnan(size).any():
        wide_high, note = _picture_size(files[file[int(np.argmax(np.isnan(size[:, 0])))]])
        size = np.where(np.isnan(size), wide_high, size)
        notes.append(note)
    return corner, size, notes


def _refuse_twice(
    table: Columns, slide: Int[np.ndarray, " n"], corner: Float[np.ndarray, "n 2"]
) -> None:
    placed = np.flatnonzero(~np.isnan(corner[:, 0]))
    keys = np.concatenate([slide[placed, None].astype(np.float64), corner[placed]], axis=1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which.ravel()] != np.arange(len(placed)))
    if len(again):
        row, before = int(placed[again[0]]), int(placed[first[which.ravel()[again[0]]]])
        x, y = corner[row]
        raise InputError(
            f"{table.where(row)}: the tile at {x:g}, {y:g} stands already in "
            f"{table.where(before)}; a tile counts once."
        )


def _sizes(table: Columns) -> Float[np.ndarray, "n 2"]:
    """Width and height on the slide, nan where the table does not say."""
    unknown = np.full(len(table), np.nan)
    square = table.numbers("size", blank=True) if "size" in table else unknown
    sides = [table.numbers(n, blank=True) if n in table else unknown for n in ("width", "height")]
    size = np.stack([np.where(np.isnan(side), square, side) for side in sides], axis=1)
    if (size <= 0).any():
        row = int(np.argmax((size <= 0).any(axis=1)))
        raise InputError(f"{table.where(row)}: a tile without width or height.")
    level = table.numbers("level", blank=True) if "level" in table else unknown
    shrunk = (level > 0) & (np.isnan(sides[0]) | np.isnan(sides[1]))
    if shrunk.any():
        row = int(np.argmax(shrunk))
        raise InputError(
            f"{table.where(row)}: a tile of level {level[row]:g}, whose size on the slide nobody "
            "knows; add columns width and height in full-size pixels."
        )
    return size


def _picture_size(path: Path) -> tuple[tuple[int, int], str]:
    """Width and height of a picture, taken for those of all tiles on their slides."""
    try:
        high, wide = images.size(path)
    except ImageReadError:
        return (1, 1), f"Sizes of tiles on their slides are unknown ({path.name} cannot be read)."
    return (wide, high), f"Sizes of tiles on their slides taken from {path.name}: {wide} × {high}."


def _labels(table: Columns) -> Float[np.ndarray, " n"]:
    if "label" not in table:
        return np.full(len(table), np.nan)
    codes, texts = table.texts("label")
    values = np.full(len(texts), np.nan)
    for code, text in enumerate(texts):
        word = text.lower().removesuffix(".0")
        if word in LABELS:
            values[code] = float(LABELS[word])
        elif word not in _BLANK:
            where = table.where(int(np.argmax(codes == code)))
            raise InputError(f"{where}: label '{text}' is unknown. {nearest(word, LABELS)}")
    return values[codes]


def _shares(table: Columns, name: str) -> Float[np.ndarray, " n"]:
    if name not in table:
        return np.full(len(table), np.nan)
    values = table.numbers(name, blank=True)
    odd = (values < 0) | (values > 1)
    if odd.any():
        row = int(np.argmax(odd))
        raise InputError(
            f"{table.where(row)}: {name} {values[row]:g} is no share; write 0 to 1, or nothing."
        )
    return values


def _by_truth(
    label: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], rule: str
) -> tuple[Float[np.ndarray, " n"], list[str]]:
    """Labels by the rule where there is a share and no label."""
    name, least = rules.parse(rule)
    missing = np.isnan(label) & ~np.isnan(truth)
    if not missing.any():
        return label, []
    many = counted(int(missing.sum()), "tile")
    if name == "centre":
        return label, [f"{many} with a share of tumour but no label: unknown under rule centre."]
    made = np.where(missing, rules.by_share(truth, name, least), label)
    return made, [f"{many} labelled from their share of tumour by {rule}."]


def _slides(
    table: Columns, slide: Int[np.ndarray, " n"], names: tuple[str, ...]
) -> tuple[Slide, ...]:
    """What rows of one slide agree on."""
    said = {name: _agreed(table, slide, names, name) for name in ("patient", "split", "mpp")}
    made = []
    for number, name in enumerate(names):
        mpp, row = said["mpp"][number]
        split, split_row = said["split"][number]
        made.append(
            Slide(
                id=name,
                patient=said["patient"][number][0] or name,
                split=_split(split, table, split_row) if split else None,
                mpp=_mpp(mpp, table, row) if mpp else None,
            )
        )
    return tuple(made)


def _agreed(
    table: Columns, slide: Int[np.ndarray, " n"], names: tuple[str, ...], column: str
) -> list[tuple[str, int]]:
    """Of every slide the one text that its rows have in a column, and a row that has it."""
    found = [("", 0)] * len(names)
    if column not in table:
        return found
    codes, texts = table.texts(column)
    pairs, rows = np.unique(np.stack([slide, codes]), axis=1, return_index=True)
    for (number, code), row in zip(pairs.T.tolist(), rows.tolist(), strict=True):
        text, before = texts[code], found[number]
        if text.lower() in _BLANK:
            continue
        if before[0]:
            raise InputError(
                f"{table.where(row)}: {column} of slide {names[number]} is '{text}', but "
                f"'{before[0]}' in {table.where(before[1])}; a slide has one {column}."
            )
        found[number] = (text, row)
    return found


def _split(text: str, table: Columns, row: int) -> str:
    return text if text in SPLITS else splits.parse(text, where=table.where(row))


def _mpp(text: str, table: Columns, row: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not MPP_UM[0] <= value <= MPP_UM[1]:
        raise InputError(
            f"{table.where(row)}: mpp '{text}' is no resolution of a slide; give micrometres per "
            f"pixel, {MPP_UM[0]:g} to {MPP_UM[1]:g}."
        )
    return value
