"""One score table from several of the same slides: of other models, or tiles of other levels.

Scores become z-scores within their slide (mean and standard deviation over its tissue), those of
other levels are brought onto the tiles of the first table by position, and their weighted mean is
the score.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from wsrpn.cohort.ensemble import Ensemble
from wsrpn.errors import InputError, counted
from wsrpn.slides.normalise import numbers
from wsrpn.tiles import Cohort, Tiles

ROUNDING = 1e-3  # share of its side by which a tile may miss another one's place and be the same
PARTNER = 0.01  # share of a tile that another table's tiles must cover to say anything of it


def combine(cohorts: Sequence[Cohort], ensemble: Ensemble) -> Cohort:
    """The tiles of the first table with the weighted mean of all tables' z-scores.

    A tile that no tile of another table overlaps by at least a hundredth has the mean over the
    tables that say something of it, with their weights (equal ones where those are all 0). Slides
    that are not in all tables, or of which two tables share no place, are in `failed`.

    Args:
        cohorts: of the same slides, with coordinates in full-size pixels of the same file.
        ensemble: their names and weights.

    Returns:
        The score column is `score`, beside it `score_NAME`, the z-scores of every table on these
        tiles, nan where a tile has no partner. Labels and all else are of the first table.

    Raises:
        InputError: another number of tables than weights, or no slide in all of them.
    """
    if len(cohorts) != len(ensemble.weights):
        raise InputError(
            f"{counted(len(ensemble.weights), 'weight')} for {counted(len(cohorts), 'table')}."
        )
    kept, failed = common(cohorts, ensemble.names)
    lone, made = 0, []
    for one in kept:
        values = np.stack(members(one))
        strange = np.isnan(values).all(axis=1)
        if strange.any():
            other = ensemble.names[int(np.argmax(strange))]
            failed[one[0].slide] = (
                f"no tile of {other} meets one of {ensemble.names[0]}; coordinates of both must be "
                "full-size pixels of the same file."
            )
            continue
        lone += int(np.isnan(values).any(axis=0).sum())
        others = {f"score_{n}": v for n, v in zip(ensemble.names, values, strict=True)}
        score = mean(values, ensemble.weights)
        made.append(dataclasses.replace(one[0], score=score, others=others))
    if not made:
        raise InputError(f"{' + '.join(ensemble.names)}: {next(iter(failed.values()))}")
    notes = dict.fromkeys(note for cohort in cohorts for note in cohort.notes)
    if lone:
        tiles = sum(len(one) for one in made)
        told = f"{lone} of {counted(tiles, 'tile')} of {ensemble.names[0]} have no partner in every"
        notes[f"{told} other table; their score is the mean of the tables that have one."] = None
    return dataclasses.replace(
        cohorts[0], name=" + ".join(ensemble.names), slides=tuple(made), score="score",
        notes=tuple(notes), failed=failed,
    )  # fmt: skip


def mean(values: Float[np.ndarray, "m n"], weights: Sequence[float]) -> Float[np.ndarray, " n"]:
    """Weighted mean of the tables that say something of a tile, all equal where those weigh 0.

    Example:
        >>> mean(np.array([[1.0, 1.0], [3.0, np.nan]]), (0.5, 0.5))
        array([2., 1.])
    """
    there = ~np.isnan(values)
    share = np.where(there, np.array(weights)[:, None], 0.0)
    share = np.where(share.sum(axis=0) > 0, share, there)
    return np.asarray((share * np.where(there, values, 0.0)).sum(axis=0) / share.sum(axis=0))


def aligned(first: Tiles, other: Tiles, values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " n"]:
    """What tiles of another table say of those of the first: their mean over the shared area.

    Of a table with the very same tile only that one counts, also where its neighbours overlap it.

    Args:
        first: whose tiles are asked about.
        other: of the same slide, whatever their size, pitch and overlap.
        values: of the tiles of `other`; those without tissue are left out.

    Returns:
        A value for every tile of `first`; nan where less than a hundredth of it is covered.
    """
    known = other.lattice.spread(np.where(other.inside, values, np.nan))
    weighed = np.zeros((2, len(first)))
    sides = [_overlaps(first, other, axis) for axis in (0, 1)]
    for column, wide in sides[0]:
        for row, high in sides[1]:
            inside = (column >= 0) & (column < known.shape[1]) & (row >= 0) & (row < known.shape[0])
            here = np.where(inside, known[row * inside, column * inside], np.nan)
            area = np.where(np.isnan(here), 0.0, wide * high)
            weighed += area, area * np.nan_to_num(here)
    covered = weighed[0] >= PARTNER * first.size_px0[0] * first.size_px0[1]
    found = np.where(covered, weighed[1] / np.where(covered, weighed[0], 1.0), np.nan)
    same = _same(first, other, known)
    return np.where(np.isnan(same), found, same)


def _same(first: Tiles, other: Tiles, known: Float[np.ndarray, "gh gw"]) -> Float[np.ndarray, " n"]:
    """What the tile of the other table in the very same place says; nan where there is none."""
    size, pitch = np.array(first.size_px0), np.array(other.lattice.pitch_px0)
    at = (first.corner_px0 - np.array(other.lattice.origin_px0)) / pitch
    column, row = cell = np.round(at).astype(np.int64).T
    here = (np.abs(at - cell.T) * pitch <= ROUNDING * size).all(axis=1)
    here &= bool((np.abs(size - np.array(other.size_px0)) <= ROUNDING * size).all())
    here &= (column >= 0) & (column < known.shape[1]) & (row >= 0) & (row < known.shape[0])
    return np.where(here, known[row * here, column * here], np.nan)


def _overlaps(first: Tiles, other: Tiles, axis: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Along one axis: indices of tiles of `other` that may meet each tile, and shared lengths."""
    low = first.corner_px0[:, axis]
    high = low + first.size_px0[axis]
    origin, pitch = other.lattice.origin_px0[axis], other.lattice.pitch_px0[axis]
    size = other.size_px0[axis]
    start = np.floor((low - size - origin) / pitch).astype(np.int64)
    many = math.ceil((first.size_px0[axis] + size) / pitch) + 2
    found = []
    for step in range(many):
        left = origin + (start + step) * pitch
        shared = np.minimum(high, left + size) - np.maximum(low, left)
        found.append((start + step, np.clip(shared, 0.0, None)))
    return [(index, shared) for index, shared in found if (shared > 0).any()]


def members(slide: Sequence[Tiles]) -> list[Float[np.ndarray, " n"]]:
    """z-scores of every table on the tiles of the first."""
    found = []
    for tiles in slide:
        centre, scale = numbers(tiles, "z")
        z = (tiles.score.astype(np.float64) - centre) / scale
        found.append(z if tiles is slide[0] else aligned(slide[0], tiles, z))
    return found


def common(
    cohorts: Sequence[Cohort], names: Sequence[str]
) -> tuple[list[tuple[Tiles, ...]], dict[str, str]]:
    """The slides of all tables, in the order of the first; those of some → which lacks them."""
    by_name = [{tiles.slide: tiles for tiles in cohort.slides} for cohort in cohorts]
    failed = {slide: reason for cohort in cohorts for slide, reason in cohort.failed.items()}
    for slide in dict.fromkeys(itertools.chain(*by_name)):
        lacks = [name for name, found in zip(names, by_name, strict=True) if slide not in found]
        if lacks and slide not in failed:
            failed[slide] = f"no scores of it in {', '.join(lacks)}"
    kept = [name for name in by_name[0] if name not in failed]
    if not kept:
        why = next(iter(failed.values()), "no slide at all")
        raise InputError(f"{' + '.join(names)}: no slide is in all of these tables ({why}).")
    return [tuple(found[name] for found in by_name) for name in kept], failed
