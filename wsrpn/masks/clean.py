"""From scores to objects: small areas removed, and areas split where they have a waist.

Areas are connected through edges and corners (8 neighbours). An area of touching beads is split by
its distance transform: every bead is a hill as high as its radius, and where two of them touch the
ridge between the hills is low. Hills that a deep enough saddle parts are objects of their own.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

Touching = Literal["joined", "watershed"]
Mask = Bool[np.ndarray, "h w"]
Labels = Int[np.ndarray, "h w"]

MIN_DISTANCE_PX = 5
# Two discs of one radius r whose centres are d apart have a saddle of √(r² − d²/4): 0.9 r where
# centres are 0.87 r apart. What is nearer is one object with an uneven edge.
WAIST = 0.9
SMOOTH = 1.0  # σ in pixels of the distances, against hills that the edge's steps make
_SQUARE = np.ones((3, 3), dtype=bool)


def areas(mask: Mask) -> tuple[Labels, int]:
    """Numbers of the connected areas, 0 outside, and how many there are."""
    numbers = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, _SQUARE, output=numbers)
    return numbers, int(count)


def without_small(mask: Mask, min_size_px: int) -> Mask:
    """The mask without areas of fewer pixels."""
    if min_size_px <= 1:
        return mask
    numbers, _ = areas(mask)
    keep = np.bincount(numbers.ravel()) >= min_size_px
    keep[0] = False
    return keep[numbers]


def objects(
    mask: Mask, *, touching: Touching = "joined", min_distance_px: int = MIN_DISTANCE_PX
) -> Labels:
    """Numbers of the objects, 1 … n in reading order of their areas, 0 outside.

    Args:
        mask: what is foreground.
        touching: an area is an object (`joined`), or split where it has a waist (`watershed`).
        min_distance_px: of the centres of two objects in one area.

    Returns:
        int32; the objects together are the mask.
    """
    numbers, count = areas(mask)
    if touching == "joined":
        return numbers
    result, last = np.zeros_like(numbers), 0
    for index, box in enumerate(ndimage.find_objects(numbers, max_label=count), start=1):
        inside = numbers[box] == index
        parts = split(inside, min_distance_px)
        result[box][inside] = parts[inside] + last
        last += int(parts.max())
    return result


def split(area: Mask, min_distance_px: int) -> Labels:
    """One connected area as 1 … n, split at its waists.

    Args:
        area: of one object or several that touch.
        min_distance_px: hills within it of a higher one do not count.

    Reference:
        Soille, Morphological image analysis, 2003, section 9.2.4, for the watershed of distances.
    """
    whole = area.astype(np.int32)
    if max(area.shape) <= min_distance_px:
        return whole
    height = depths(area)
    ndimage.gaussian_filter(height, SMOOTH, output=height)
    height[~area] = 0
    top = ndimage.maximum_filter(height, size=2 * min_distance_px + 1, mode="constant")
    hills, count = areas(area & (height == top))
    del top  # an area can be as large as the largest image
    if count < 2:
        return whole
    from skimage.segmentation import watershed

    basins = watershed(-height, hills, connectivity=_SQUARE, mask=area)
    peaks = np.append(0.0, ndimage.maximum(height, basins, np.arange(1, count + 1)))
    return _merged(basins.astype(np.int32), height, peaks)


def depths(area: Mask) -> Float[np.ndarray, "h w"]:
    """Distance of every pixel to the nearest one outside, pixels beyond the border included.

    It equals scipy's, in float32, with a quarter of the memory that its float64 steps take.
    """
    nearest = ndimage.distance_transform_edt(
        np.pad(area, 1), return_distances=False, return_indices=True
    )
    rows, columns = (nearest[axis] for axis in (0, 1))
    rows -= np.arange(rows.shape[0], dtype=np.int32)[:, None]
    columns -= np.arange(rows.shape[1], dtype=np.int32)
    rows *= rows
    columns *= columns
    rows += columns
    return np.sqrt(rows[1:-1, 1:-1], dtype=np.float32)


def _merged(
    basins: Labels, height: Float[np.ndarray, "h w"], peaks: Float[np.ndarray, " n"]
) -> Labels:
    """Basins joined where the saddle between them is no waist, numbered 1 … n again.

    Saddles come from the highest down, so that every one meets the hills as they are by then.
    """
    root = np.arange(len(peaks))

    def of(one: int) -> int:
        while root[one] != one:
            one = int(root[one])
        return one

    for one, other, saddle in _saddles(basins, height, len(peaks)):
        high, low = of(one), of(other)
        if peaks[high] < peaks[low]:
            high, low = low, high
        if high != low and saddle >= WAIST * peaks[low]:
            root[low] = high
    kept = np.array([of(one) for one in range(len(peaks))])
    _, dense = np.unique(kept, return_inverse=True)  # 0, outside, is its own and the lowest
    return dense.astype(np.int32)[basins]


def _saddles(
    basins: Labels, height: Float[np.ndarray, "h w"], count: int
) -> list[tuple[int, int, float]]:
    """Pairs of basins that touch with the highest way from one to the other, highest first."""
    pairs, heights = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, basins.shape[0] - down), slice(max(-right, 0), _end(right, basins)))
        there = (slice(down, None), slice(max(right, 0), _end(-right, basins)))
        a, b = basins[here], basins[there]
        meet = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a[meet], b[meet]), np.maximum(a[meet], b[meet])
        pairs.append(low.astype(np.int64) * count + high)
        heights.append(np.minimum(height[here][meet], height[there][meet]))
    pair, ridge = np.concatenate(pairs), np.concatenate(heights)
    known, index = np.unique(pair, return_inverse=True)
    best = np.zeros(len(known), dtype=np.float64)
    np.maximum.at(best, index, ridge)
    order = np.lexsort((known, -best))
    return [(int(known[i] // count), int(known[i] % count), float(best[i])) for i in order]


def _end(right: int, basins: Labels) -> int:
    """Columns that have a neighbour so many steps to the right."""
    return basins.shape[1] - max(right, 0)
