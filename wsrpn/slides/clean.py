"""Small objects removed and small holes filled, of a mask or of all masks of a grid at once.

Both operators are flat and increasing, so they commute with thresholds: `clean_grey(grid) >= t` is
`clean(grid >= t)` for every finite t (Maragos & Ziff 1990). One grey pass holds every threshold.

Cells outside tissue are background at every threshold. Objects have 4 or 8 neighbours, the
background has 4. Holes that touch the border are no holes. Sizes count cells and may be fractions.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from wsrpn.slides.filling import filled
from wsrpn.slides.opening import opened

Connectivity = Literal[4, 8]
Mask = Bool[np.ndarray, "gh gw"]
Levels = Int[np.ndarray, "hp wp"]

CROSS = ndimage.generate_binary_structure(2, 1)
SQUARE = ndimage.generate_binary_structure(2, 2)
FEW = 64  # cells up to which `opened` is faster than a max-tree on any grid


def clean(
    mask: Mask,
    tissue: Mask,
    *,
    min_cells: float = 0.0,
    max_hole_cells: float = 0.0,
    connectivity: Connectivity = 4,
) -> Mask:
    """A mask without small objects, then without small holes, within tissue.

    Args:
        mask: what is called tumour.
        tissue: where there is tissue.
        min_cells: objects of fewer cells go.
        max_hole_cells: holes of at most this many cells are filled; inf for all.
        connectivity: neighbours that make an object.
    """
    found = mask & tissue
    if min_cells > 1:
        found = _large(found, min_cells, connectivity)
    if max_hole_cells >= 1:
        found = _filled(found, max_hole_cells) & tissue
    return found


def clean_grey(
    grid: Float[np.ndarray, "gh gw"],
    *,
    min_cells: float = 0.0,
    max_hole_cells: float = 0.0,
    connectivity: Connectivity = 4,
) -> Float[np.ndarray, "gh gw"]:
    """The values whose every threshold is the cleaned mask of the given values at it.

    Args:
        grid: values; nan outside tissue.
        min_cells: objects of fewer cells go.
        max_hole_cells: holes of at most this many cells are filled; inf for all.
        connectivity: neighbours that make an object.

    Returns:
        nan outside tissue, -inf for cells that no finite threshold keeps.
    """
    if not grid.size or (min_cells <= 1 and max_hole_cells < 1):
        return grid.copy()
    tissue = ~np.isnan(grid)
    cells = np.flatnonzero(np.pad(tissue, 1))
    values = grid[tissue]
    order = np.argsort(values)
    place = np.append(0, cells[order])
    level = np.zeros((grid.shape[0] + 2, grid.shape[1] + 2), dtype=np.int32)
    level.ravel()[place[1:]] = np.arange(1, len(place))
    if min_cells > 1:
        level = _opened(level, place, min_cells, connectivity)
    if max_hole_cells >= 1:
        level = _closed(level, max_hole_cells)
    found = np.append(-np.inf, values[order])[level[1:-1, 1:-1]]
    found[~tissue] = np.nan
    return found


def _large(mask: Mask, min_cells: float, connectivity: Connectivity) -> Mask:
    """Objects with enough cells."""
    objects, count = ndimage.label(mask, CROSS if connectivity == 4 else SQUARE)
    cells = np.flatnonzero(mask)
    object_of = objects.ravel()[cells]
    keep = np.bincount(object_of, minlength=count + 1) >= min_cells
    large = np.zeros(mask.shape, dtype=bool)
    large.ravel()[cells] = keep[object_of]
    return large


def _filled(mask: Mask, max_hole_cells: float) -> Mask:
    """The mask with its small holes: background that does not reach a frame around it."""
    parts, count = ndimage.label(np.pad(~mask, 1, constant_values=True), CROSS)
    outside, parts = parts[0, 0], parts[1:-1, 1:-1]
    if np.isinf(max_hole_cells):
        return parts != outside
    cells = np.flatnonzero(parts * (parts != outside))
    hole_of = parts.ravel()[cells]
    fill = np.bincount(hole_of, minlength=count + 1) <= max_hole_cells
    whole = mask.copy()
    whole.ravel()[cells] = fill[hole_of]
    return whole


def _steps(width: int, connectivity: Connectivity) -> tuple[int, ...]:
    """Flat offsets of the neighbours in rows of this width."""
    cross = (-width, -1, 1, width)
    return cross if connectivity == 4 else (*cross, -width - 1, -width + 1, width - 1, width + 1)


def _opened(
    level: Levels, place: Int[np.ndarray, " m"], min_cells: float, connectivity: Connectivity
) -> Levels:
    """Grey removal of small objects; 0 is outside tissue."""
    least = math.ceil(min(min_cells, level.size))
    if least <= FEW:
        return opened(level, place, least, _steps(level.shape[1], connectivity))
    from skimage import morphology

    return morphology.area_opening(level, least, 1 if connectivity == 4 else 2)


def _closed(level: Levels, max_hole_cells: float) -> Levels:
    """Grey filling of small holes that do not touch the frame."""
    if max_hole_cells < FEW:
        return _small_filled(level, math.floor(max_hole_cells) + 1)
    full = filled(level)
    if max_hole_cells >= level.size:
        return full
    from skimage import morphology

    return np.minimum(full, morphology.area_closing(level, math.floor(max_hole_cells) + 1, 1))


def _small_filled(level: Levels, least: int) -> Levels:
    """Holes of fewer than `least` cells filled: the opening of the depths.

    Depths are ranks of their own; equal levels are told apart by place, which changes no component
    of a whole level. The frame is deeper than all, so what touches it is never lifted.
    """
    height, width = level.shape
    inner = level[1:-1, 1:-1].ravel()
    bits = int(level.size).bit_length()
    keys = (inner.max() - inner.astype(np.int64)) << bits | np.arange(inner.size)
    order = np.sort(keys) & ((1 << bits) - 1)
    row, column = np.divmod(order, width - 2)
    place = np.append(0, (row + 1) * width + column + 1)
    depth = np.full((height, width), len(place), dtype=np.int32)
    depth.ravel()[place[1:]] = np.arange(1, len(place))
    depth = opened(depth, np.append(place, 0), least, _steps(width, 4))
    raised = np.zeros_like(level)
    raised[1:-1, 1:-1] = level.ravel()[place[depth[1:-1, 1:-1]]]
    return raised
