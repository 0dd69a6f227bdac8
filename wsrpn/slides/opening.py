"""Area opening of a grid of ranks, all peaks at a time.

Vincent's algorithm (1993) takes one regional maximum after the other and sinks it to its highest
neighbour until it is large enough. Maxima do not touch, so here all of them sink one level in each
round; those that meet on a level are one peak from then on. There are at most as many rounds as the
limit, and each looks only at cells of peaks still below it: for the small limits of a clean-up that
is little. A peak waits while something beside it is higher, and wakes when that sinks to it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

Levels = Int[np.ndarray, "hp wp"]
Ranks = Int[np.ndarray, " r"]


@dataclass(frozen=True)
class Peaks:
    """Cells that have sunk, and the level they are at: those at one level are one peak.

    The cell whose own rank that level is belongs to the peak, too, but is not listed.
    """

    cells: Int[np.ndarray, " m"]
    keys: Int[np.ndarray, " m"]

    def only(self, chosen: Bool[np.ndarray, " m"]) -> "Peaks":
        """The chosen cells."""
        return Peaks(self.cells[chosen], self.keys[chosen])

    def with_(self, other: "Peaks") -> "Peaks":
        """These and the others."""
        return Peaks(
            np.concatenate([self.cells, other.cells]), np.concatenate([self.keys, other.keys])
        )


def opened(level: Levels, place: Ranks, least: int, steps: tuple[int, ...]) -> Levels:
    """Levels at which the component around each cell has at least `least` cells.

    Args:
        level: ranks from 1, each of one cell, and 0 for ground that belongs to no component. The
            outermost cells are a frame: 0, or a rank above all others, which is never passed.
        place: flat index of the cell of every rank; anything for 0.
        least: cells of the smallest component that stays; at least 2.
        steps: flat offsets of the neighbours.

    Returns:
        Levels that are ranks of the given ones; 0 where no component is large enough.
    """
    level = level.copy()
    flat = level.ravel()
    sunk = _maxima(level, steps)
    waiting = Peaks(sunk.cells[:0], sunk.keys[:0])
    large, met = np.zeros((2, len(place)), dtype=bool)
    while len(sunk.cells):
        flat[sunk.cells] = sunk.keys
        sunk = sunk.only((sunk.keys > 0) & ~large[sunk.keys])
        met[sunk.keys] = True
        woken = met[waiting.keys]
        met[sunk.keys] = False
        peaks, waiting = sunk.with_(waiting.only(woken)), waiting.only(~woken)
        peaks, count = _small(peaks, least, large)
        sunk, higher = _sunk(flat, place, peaks, count, steps)
        waiting = waiting.with_(higher)
    return level


def _maxima(level: Levels, steps: tuple[int, ...]) -> Peaks:
    """The cells above all neighbours, sunk to the highest of these."""
    height, width = level.shape
    around = np.zeros((height - 2, width - 2), dtype=level.dtype)
    for step in steps:
        y, x = divmod(step + width + 1, width)
        np.maximum(around, level[y : y + height - 2, x : x + width - 2], out=around)
    row, column = np.nonzero(level[1:-1, 1:-1] > around)
    return Peaks((row + 1) * width + column + 1, around[row, column])


def _small(
    peaks: Peaks, least: int, large: Bool[np.ndarray, " r"]
) -> tuple[Peaks, Int[np.ndarray, " p"]]:
    """The peaks below the limit in order of their level, and their cells; marks the others."""
    order = np.argsort(peaks.keys)
    cells, keys = peaks.cells[order], peaks.keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    count = np.diff(first, append=len(keys))
    small = count + 1 < least
    large[keys[first[~small]]] = True
    return Peaks(cells, keys).only(np.repeat(small, count)), count[small]


def _sunk(
    flat: Int[np.ndarray, " hpwp"],
    place: Ranks,
    peaks: Peaks,
    count: Int[np.ndarray, " p"],
    steps: tuple[int, ...],
) -> tuple[Peaks, Peaks]:
    """Peaks above all that is around them, sunk to the highest of it, and those that are not."""
    if not len(count):
        return peaks, peaks
    first = np.cumsum(count) - count
    keys = peaks.keys[first]
    lowest = Peaks(place[keys], keys)
    around = np.maximum.reduceat(_around(flat, peaks, steps), first)
    around = np.maximum(around, _around(flat, lowest, steps))
    sinks = around < keys
    each, now = np.repeat(sinks, count), around[sinks]
    sunk = Peaks(peaks.cells[each], np.repeat(now, count[sinks]))
    return sunk.with_(Peaks(lowest.cells[sinks], now)), peaks.only(~each)


def _around(
    flat: Int[np.ndarray, " hpwp"], peaks: Peaks, steps: tuple[int, ...]
) -> Int[np.ndarray, " m"]:
    """The highest level beside each cell that is not of its own peak."""
    highest = np.zeros(len(peaks.cells), dtype=flat.dtype)
    for step in steps:
        beside = flat[peaks.cells + step]
        beside[beside == peaks.keys] = 0
        np.maximum(highest, beside, out=highest)
    return highest
