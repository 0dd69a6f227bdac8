"""Where the pixels of listed tiles are: pictures of their own, or squares of contact sheets."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, counted, nearest
from wsrpn.slides import roots
from wsrpn.slides.columns import Columns

PLACES = ("sheet_x", "sheet_y", "size")


def find(
    table: Columns,
) -> tuple[tuple[Path, ...], Int[np.ndarray, " n"], Float[np.ndarray, "n 4"]]:
    """Files, which of them each tile is in, and its box there (nan: the whole picture).

    Args:
        table: with `image`, or `sheet` and `PLACES`, or all of them and a blank for one.

    Raises:
        InputError: with file and row: no picture or two, a path that leaves the folder, a box that
            is none or not inside its sheet, as far as the header of the sheet can be read.
    """
    kinds = [kind for kind in ("image", "sheet") if kind in table]
    if not kinds:
        known = nearest("image", table.cells.column_names)
        raise InputError(f"{table.path}: no column 'image' and no column 'sheet'. {known}")
    places: dict[Path, int] = {}
    file = np.full(len(table), -1, dtype=np.int64)
    box = np.full((len(table), 4), np.nan)
    for kind in kinds:
        codes, texts = table.texts(kind)
        number = np.full(len(texts), -1, dtype=np.int64)
        for code, text in enumerate(texts):
            if text:
                path = _path(table, text, codes == code)
                number[code] = places.setdefault(path, len(places))
        mine = number[codes] >= 0
        if (mine & (file >= 0)).any():
            row = int(np.argmax(mine & (file >= 0)))
            raise InputError(f"{table.where(row)}: both an image and a sheet; leave one blank.")
        file[mine] = number[codes][mine]
        if kind == "sheet" and mine.any():
            box[mine] = _boxes(table, mine)[mine]
    if (file < 0).any():
        row = int(np.argmax(file < 0))
        raise InputError(f"{table.where(row)}: no {' and no '.join(kinds)}; a tile needs pixels.")
    files = tuple(places)
    _refuse_outside(table, files, file, box)
    return files, file, box


def note_of_places(unplaced: int, many: int) -> list[str]:
    """What to say of tiles of which nobody knows where they sit on their slides.

    Args:
        unplaced: tiles without a place.
        many: tiles in all.
    """
    if not unplaced:
        return []
    if unplaced < many:
        return [f"{counted(unplaced, 'tile')} without a place on the slide."]
    return [
        "No tile has a place on its slide: the set is for training, and `wsrpn score` cannot make "
        "a map of it; x and y in tiles.csv say places."
    ]


def _path(table: Columns, text: str, rows: Bool[np.ndarray, " n"]) -> Path:
    """The file that some rows name."""
    try:
        return roots.inside(table.path.parent, text, where="")
    except InputError:  # the line of a row is looked up only where it is told
        where = table.where(int(np.argmax(rows)))
        return roots.inside(table.path.parent, text, where=where)


def _boxes(table: Columns, mine: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "n 4"]:
    """Squares on contact sheets."""
    for name in PLACES:
        if name not in table:
            raise InputError(
                f"{table.path}: no column '{name}'; a tile of a sheet needs {', '.join(PLACES)}."
            )
    x, y, size = (table.numbers(name, blank=True) for name in PLACES)
    for name, values in zip(PLACES, (x, y, size), strict=True):
        odd = mine & ~((values == np.round(values)) & (values >= (name == "size")))
        if odd.any():
            row = int(np.argmax(odd))
            raise InputError(
                f"{table.where(row)}: {name} {values[row]:g} is no whole number of pixels"
                f"{' above 0' * (name == 'size')}."
            )
    return np.stack([x, y, x + size, y + size], axis=1)


def _refuse_outside(
    table: Columns,
    files: tuple[Path, ...],
    file: Int[np.ndarray, " n"],
    box: Float[np.ndarray, "n 4"],
) -> None:
    cut = ~np.isnan(box).any(axis=1)
    for number in np.unique(file[cut]).tolist():
        try:
            high, wide = images.size(files[number])
        except ImageReadError:  # told where it is opened for its pixels
            continue
        beyond = cut & (file == number) & ((box[:, 2] > wide) | (box[:, 3] > high))
        if beyond.any():
            row = int(np.argmax(beyond))
            x1, y1, x2, y2 = box[row]
            raise InputError(
                f"{table.where(row)}: the tile at {x1:g}, {y1:g} of {x2 - x1:g} × {y2 - y1:g} "
                f"pixels leaves its sheet of {wide} × {high}; correct {', '.join(PLACES)}."
            )
