"""Points on slides, as FROC wants them: peaks of a map of scores, or the challenge's own files."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from wsrpn.errors import InputError

RADIUS_UM = 187.0  # half a side of what a peak suppresses: 12 pixels of level 6 in NCRF
HEADERS = ({"confidence", "x", "y"}, {"score", "x", "y"}, {"probability", "x", "y"})


@dataclass(frozen=True)
class Points:
    """Detections on one slide.

    Attributes:
        xy_px0: full-size pixels of the slide.
        confidence: higher is surer; any finite numbers.
    """

    xy_px0: Float[np.ndarray, "n 2"]
    confidence: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.confidence)


def peaks(
    grid: Float[np.ndarray, "gh gw"],
    reach: tuple[int, int],
    *,
    ties: Float[np.ndarray, "gh gw"] | None = None,
) -> Int[np.ndarray, "n 2"]:
    """Rows and columns of peaks by non-maximum suppression, the highest first.

    The highest cell is a peak and removes everything around it, then the highest of the rest.

    Args:
        grid: scores; nan or -inf where there is none.
        reach: rows and columns to each side that a peak removes.
        ties: which of equal scores comes first: the highest here, then the first in reading order.

    Example:
        >>> peaks(np.array([[3.0, 2.0, 1.0, 2.5]]), (0, 1)).tolist()
        [[0, 0], [0, 3]]
    """
    rows, columns = np.nonzero(grid > -np.inf)  # nan is not above anything
    value = grid[rows, columns]
    second = value if ties is None else ties[rows, columns]
    order = np.lexsort((-second, -value))
    rows, columns = rows[order], columns[order]
    free = np.ones(grid.shape, dtype=bool)
    kept = []
    down, right = reach
    for i, (r, c) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        if free[r, c]:
            kept.append(i)
            free[max(r - down, 0) : r + down + 1, max(c - right, 0) : c + right + 1] = False
    return np.stack([rows[kept], columns[kept]], axis=1)


def detections(
    grid: Float[np.ndarray, "gh gw"],
    *,
    origin_px0: tuple[float, float],
    pitch_px0: tuple[float, float],
    size_px0: tuple[float, float],
    mpp: float,
    radius_um: float = RADIUS_UM,
    ties: Float[np.ndarray, "gh gw"] | None = None,
) -> Points:
    """Peaks of a map of scores on a lattice of tiles; a peak is at the centre of its tile.

    No peak is too low: where the curve is read, the low ones come last.

    Args:
        grid: scores; nan or -inf where there is none.
        origin_px0: x and y of the corner of column 0 and row 0.
        pitch_px0: steps in x and y.
        size_px0: width and height of a tile.
        mpp: micrometres per full-size pixel.
        radius_um: half a side of the square that a peak suppresses.
        ties: see `peaks`.
    """
    reach = [math.floor(radius_um / (step * mpp)) for step in pitch_px0]
    cell = peaks(grid, (reach[1], reach[0]), ties=ties)
    corner = np.array(origin_px0) + cell[:, ::-1] * np.array(pitch_px0)
    return Points(corner + np.array(size_px0) / 2, grid[cell[:, 0], cell[:, 1]].astype(np.float64))


def read_detections(folder: Path) -> dict[str, Points]:
    """The challenge's files: one CSV per slide, named like it, `confidence,X,Y` without a header.

    An empty file is a slide on which nothing was found. A first row with these names is no fault.

    Raises:
        InputError: no folder, no CSV in it, or a row that is not three numbers.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: detections are a folder with one CSV per slide.")
    found = {path.stem: _read(path) for path in sorted(folder.glob("*.csv"))}
    if not found:
        raise InputError(f"{folder}: no CSV here; detections are one CSV per slide, named like it.")
    return found


def _read(path: Path) -> Points:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8 CSV.") from None
    rows = [(i, row) for i, row in enumerate(csv.reader(text.splitlines()), 1) if any(row)]
    if rows and {cell.strip().lower() for cell in rows[0][1]} in HEADERS:
        if [cell.strip().lower() for cell in rows[0][1]][1:] != ["x", "y"]:
            raise InputError(f"{path}: columns are confidence,X,Y in this order.")
        rows = rows[1:]
    numbers = np.array([_numbers(path, i, row) for i, row in rows]).reshape(-1, 3)
    return Points(numbers[:, 1:], numbers[:, 0])


def _numbers(path: Path, line: int, row: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{path}, row {line}: '{','.join(row)}' is not `confidence,X,Y`, three numbers with "
            "commas between them."
        )
    return numbers
