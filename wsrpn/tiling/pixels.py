"""Pixels of many tiles of a slide, each of them once, read in blocks of neighbours.

A block is one region of the slide that many tiles are cut from. Within it a tile is what
`Reader.read` would give for it alone, up to one grey level where pixels have to be resampled: tiles
that are whole pixels apart share a block, others are read one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from wsrpn.errors import InputError
from wsrpn.slides import regions
from wsrpn.slides.reader import Reader

_BLOCK = 2048  # pixels of a level in a side of a block; edges of larger ones hardly cost anything
_MOST = 1024  # tiles of a block that are given at a time, where they overlap a lot
_SPARSE = 0.25  # share of a block under tiles, below which they are read one by one
_FINE = 256  # parts of a pixel: places that differ by less are the same


@dataclass(frozen=True)
class _Grid:
    """Tiles of one size in whole pixels, of a level or else of the pictures.

    Attributes:
        index: which tiles.
        unit_px0: full-size pixels to one of these, in x and y.
        place: column and row of the first pixel of each.
        shift: what is left, in [0, 1); 0 where pixels are taken as they are.
        side: of a block.
    """

    index: Int[np.ndarray, " m"]
    unit_px0: tuple[float, float]
    place: Int[np.ndarray, "m 2"]
    shift: Float[np.ndarray, "m 2"]
    side: int


def read(
    reader: Reader, boxes_px0: Float[np.ndarray, "n 4"], size: int
) -> Iterator[tuple[Int[np.ndarray, " m"], UInt8[np.ndarray, "m {size} {size} 3"]]]:
    """Read tiles, block by block from the top left to the bottom right.

    Args:
        reader: of their slide.
        boxes_px0: x1, y1, x2, y2 of every tile; in any order, may overlap, may have fractions, and
            may reach beyond the slide.
        size: width and height of the pictures in pixels.

    Yields:
        Positions in `boxes_px0`, and RGB of these tiles; white where there is no slide.

    Raises:
        InputError: a box that is none, or the file is damaged there.

    Example:
        >>> from wsrpn.slides.reader import open_slide
        >>> with open_slide(path) as reader:  # doctest: +SKIP
        ...     for which, tiles in read(reader, cut.boxes_px0, 96):
        ...         scores[which] = model(tiles)
    """
    for grid in _grids(reader, boxes_px0, size):
        for members in _blocks(grid):
            yield grid.index[members], _tiles(reader, grid, members, boxes_px0, size)


def _grids(reader: Reader, boxes_px0: Float[np.ndarray, "n 4"], size: int) -> Iterator[_Grid]:
    """Tiles of the same size on the slide, up to rounding, belong together."""
    sides = boxes_px0[:, 2:] - boxes_px0[:, :2]
    if not (np.isfinite(boxes_px0).all() and (sides > 0).all()):
        bad = int(np.argmin(np.isfinite(boxes_px0).all(axis=1) & (sides > 0).all(axis=1)))
        raise InputError(f"{reader.path}: tile {bad} is at {boxes_px0[bad].tolist()}, no place.")
    unit = sides / size
    _, kind = np.unique(np.round(unit * size * _FINE), axis=0, return_inverse=True)
    for number in range(int(kind.max(initial=-1)) + 1):
        index = np.flatnonzero(kind == number)
        yield _grid(reader, boxes_px0[index], index, size)


def _grid(
    reader: Reader, boxes_px0: Float[np.ndarray, "m 4"], index: Int[np.ndarray, " m"], size: int
) -> _Grid:
    x1, y1, x2, y2 = boxes_px0[0].tolist()
    part = regions.plan(reader.downsamples, (x1, y1, x2, y2), (size, size))
    factor = reader.downsamples[part.level]
    if part.seen_level is None:  # pixels of the level, at the same places as `plan` takes them
        place = np.floor(boxes_px0[:, :2] / factor + 0.5).astype(np.int64)
        return _Grid(index, (factor, factor), place, np.zeros(place.shape), max(_BLOCK, 2 * size))
    unit = ((x2 - x1) / size, (y2 - y1) / size)
    at = boxes_px0[:, :2] / np.array(unit)
    place = np.floor(at + 0.5 / _FINE).astype(np.int64)
    side = max(int(_BLOCK * factor / max(unit)), 2 * size)
    return _Grid(index, unit, place, at - place, side)


def _blocks(grid: _Grid) -> Iterator[Int[np.ndarray, " j"]]:
    """The tiles that begin in each block, in rows from the left."""
    block = grid.place // grid.side
    order = np.lexsort((grid.place[:, 0], grid.place[:, 1], block[:, 0], block[:, 1]))
    changes = np.flatnonzero((np.diff(block[order], axis=0) != 0).any(axis=1)) + 1
    for members in np.split(order, changes):
        yield from np.split(members, range(_MOST, len(members), _MOST))


def _tiles(
    reader: Reader,
    grid: _Grid,
    members: Int[np.ndarray, " j"],
    boxes_px0: Float[np.ndarray, "n 4"],
    size: int,
) -> UInt8[np.ndarray, "j {size} {size} 3"]:
    """Tiles of one block; those that are whole pixels apart are cut from one region."""
    found = np.empty((len(members), size, size, 3), dtype=np.uint8)
    fraction = np.round(grid.shift[members] * _FINE)
    _, group = np.unique(fraction, axis=0, return_inverse=True)
    for number in range(int(group.max(initial=-1)) + 1):
        mine = np.flatnonzero(group == number)
        place = grid.place[members[mine]]
        corner, end = place.min(axis=0), place.max(axis=0) + size
        if len(mine) * size * size < _SPARSE * np.prod(end - corner):
            for one in mine.tolist():
                x1, y1, x2, y2 = boxes_px0[grid.index[members[one]]].tolist()
                found[one] = reader.read((x1, y1, x2, y2), (size, size))
            continue
        whole = _region(reader, grid, corner, end, grid.shift[members[mine[0]]])
        for one, (x, y) in zip(mine.tolist(), (place - corner).tolist(), strict=True):
            found[one] = whole[y : y + size, x : x + size]
    return found


def _region(
    reader: Reader,
    grid: _Grid,
    corner: Int[np.ndarray, " 2"],
    end: Int[np.ndarray, " 2"],
    shift: Float[np.ndarray, " 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The region between two places, one pixel to each of the grid's."""
    x1, y1, x2, y2 = (((corner + shift) * grid.unit_px0).tolist()
                      + ((end + shift) * grid.unit_px0).tolist())  # fmt: skip
    wide, high = (end - corner).tolist()
    return reader.read((x1, y1, x2, y2), (wide, high))
