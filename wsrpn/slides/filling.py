"""Every hole of a grid of levels filled, all basins at a time.

A cell is filled up to the lowest level over which water leaves it for the frame. Cells drain to a
basin each; a basin overflows at its lowest pass; basins that overflow into each other are one basin
with a higher pass (Borůvka's algorithm on basins: Cordonnier, Bovy & Braun 2019). Passes only fall
on the way that water takes within one round, so a basin's level is the larger of its own pass and
of what the basins that it runs into are filled up to.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

Levels = Int[np.ndarray, "hp wp"]
Indices = Int[np.ndarray, " m"]


@dataclass(frozen=True)
class Passes:
    """Where water can run from one basin into another, the lowest first."""

    one: Int[np.ndarray, " e"]
    other: Int[np.ndarray, " e"]
    height: Int[np.ndarray, " e"]


def filled(level: Levels) -> Levels:
    """Levels with every hole filled: the lowest maximum over ways from a cell to the frame.

    Args:
        level: levels, none below 0; the outermost cells are a frame of 0.
    """
    basin, count = _basins(level)
    passes, rounds = _passes(level, basin), []
    while count > 1:
        overflow, target = _overflow(passes, count)
        joined, count = _numbered(_ends(target))
        rounds.append((overflow, joined))
        passes = _between(joined[passes.one], joined[passes.other], passes.height)
    water = np.zeros(1, dtype=level.dtype)
    for overflow, joined in reversed(rounds):
        water = np.maximum(overflow, water[joined])
    return np.maximum(level, water[basin])


def _basins(level: Levels) -> tuple[Levels, int]:
    """The basin that each cell drains to, by steepest descent; 0 is the frame's.

    Of equal levels the one further up and left counts as lower, so flat ground drains, too.
    """
    flat, width = level.ravel(), level.shape[1]
    cell = np.arange(level.size, dtype=np.int32)
    first, last = width, level.size - width  # a row at a time: what wraps is of the frame
    lowest, target = flat[: last - first].copy(), np.zeros_like(cell)
    drain = target[first:last]
    drain[:] = cell[: last - first]
    for step in (-1, 0, 1, width):
        beside = flat[first + step : last + step]
        lower = beside < lowest
        np.copyto(drain, cell[first + step : last + step], where=lower)
        np.copyto(lowest, beside, where=lower)
    target.reshape(level.shape)[:, [0, -1]] = 0
    basin, count = _numbered(_ends(target))
    return basin.reshape(level.shape), count


def _passes(level: Levels, basin: Levels) -> Passes:
    """Neighbours in different basins; the higher of two cells is the height of the pass."""
    flat, basins = level.ravel(), basin.ravel()
    found = []
    for step in (1, level.shape[1]):
        at = np.flatnonzero(basins[:-step] != basins[step:])
        found.append((basins[at], basins[at + step], np.maximum(flat[at], flat[at + step])))
    one, other, height = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(height)
    return Passes(one[order], other[order], height[order])


def _overflow(passes: Passes, count: int) -> tuple[Indices, Indices]:
    """Height of every basin's lowest pass, and the basin behind it; the frame's stays its own."""
    sides = np.stack([passes.one, passes.other], axis=1).ravel()
    lowest = np.zeros(count, dtype=np.int32)
    number = np.repeat(np.arange(len(passes.one), dtype=np.int32), 2)
    lowest[sides[::-1]] = number[::-1]  # the last to be written stays: the lowest
    here = np.arange(count, dtype=np.int32)
    target = passes.one[lowest] + passes.other[lowest] - here
    mutual = (target[target] == here) & (here < target)
    target[mutual] = here[mutual]
    overflow = passes.height[lowest]
    target[0] = overflow[0] = 0
    return overflow, target


def _between(one: Indices, other: Indices, height: Indices) -> Passes:
    """The passes that still part two basins."""
    apart = np.flatnonzero(one != other)
    return Passes(one[apart], other[apart], height[apart])


def _ends(target: Indices) -> Indices:
    """Where following the targets ends, in steps that double."""
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return target
        target = further


def _numbered(ends: Indices) -> tuple[Indices, int]:
    """Of every place the number of its end, and how many ends there are."""
    is_end = ends == np.arange(len(ends), dtype=ends.dtype)
    number = np.cumsum(is_end, dtype=ends.dtype) - 1
    return number[ends], int(is_end.sum())
