"""Run-length codes of masks as SIIM-ACR writes them, and boxes around their parts."""

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from wsrpn.data.lookup import Corners
from wsrpn.errors import InputError

SPECK = 1e-4  # share of the image: less than 10 × 10 of 1024 × 1024 is a slip of the mouse


def runs(text: str, pixels: int, *, where: str) -> Int[np.ndarray, "n 2"]:
    """Start and length of each run of a code of *relative* offsets.

    The code is pairs of gap and length: a run begins `gap` pixels after the end of the one before.

    Args:
        text: whole numbers separated by blanks.
        pixels: of the mask.
        where: `file:line`, for the error.

    Raises:
        InputError: no such pairs, or runs that leave the mask.

    Example:
        >>> runs("2 3 1 2", 16, where="here").tolist()
        [[2, 3], [6, 2]]
    """
    words = text.split()
    paired = bool(words) and len(words) % 2 == 0
    # Nine digits are far beyond any mask, and their sums fit.
    if not paired or not all(w.isascii() and w.isdecimal() and len(w) < 10 for w in words):
        raise InputError(f"{where}: the mask is no list of pairs of gap and length, nor -1.")
    pairs = np.array(words, dtype=np.int64).reshape(-1, 2)
    if pairs[:, 1].min() < 1:
        raise InputError(f"{where}: the mask has a run of length 0.")
    ends = pairs.sum(1).cumsum()
    if ends[-1] > pixels:
        raise InputError(f"{where}: the mask ends at pixel {ends[-1]} of {pixels}.")
    return np.stack([ends - pairs[:, 1], pairs[:, 1]], axis=1)


def fill(found: Int[np.ndarray, "n 2"], size_px: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of runs that go down the columns, one column after the other.

    Args:
        found: start and length of each run; they may overlap.
        size_px: height and width.

    Example:
        >>> fill(np.array([[2, 3]]), (3, 2)).astype(int).tolist()
        [[0, 1], [0, 1], [1, 0]]
    """
    height, width = size_px
    flat = np.zeros(height * width, dtype=bool)
    starts, lengths = found.T
    before = lengths.cumsum() - lengths
    flat[np.repeat(starts - before, lengths) + np.arange(lengths.sum())] = True
    return flat.reshape(width, height).T


def parts(mask: Bool[np.ndarray, "h w"], *, speck: float = SPECK) -> tuple[list[Corners], int]:
    """Boxes around the connected parts of a mask (pixels that touch at a corner are connected).

    Args:
        mask: any.
        speck: parts with a smaller share of the image get no box, unless all are that small, when
            the largest gets one.

    Returns:
        Boxes xyxy from left to right, and how many parts got none.
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return [], 0
    left, top = int(columns[0]), int(rows[0])
    cut = mask[top : rows[-1] + 1, left : columns[-1] + 1]  # to label all of it takes most time
    labelled, _ = ndimage.label(cut, structure=np.ones((3, 3)))
    areas = np.bincount(labelled.ravel())[1:]
    large = areas >= min(speck * mask.size, areas.max())
    boxes: list[Corners] = []
    for (y, x), keep in zip(ndimage.find_objects(labelled), large, strict=True):
        if keep:
            x1, x2, y1, y2 = (float(n) for n in (x.start, x.stop, y.start, y.stop))
            boxes.append((x1 + left, y1 + top, x2 + left, y2 + top))
    return sorted(boxes), int((~large).sum())
