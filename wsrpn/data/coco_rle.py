"""Masks as COCO writes them: lengths of alternating runs down the columns, packed into text.

Boxes are taken from the runs themselves: a radiograph of six million pixels has some thousand runs,
and is never unfolded unless a mask is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from scipy import sparse

from wsrpn.data.lookup import Corners
from wsrpn.errors import InputError


def counts(text: str) -> list[int]:
    """Lengths of the runs, of zeros first, from COCO's packed text (`maskApi.c`, rleFrString).

    Each length stands in groups of five bits, lowest first, from the third on as the difference to
    the length two before it.

    Example:
        >>> counts("52203")  # a 3 × 4 mask of one 2 × 2 block
        [5, 2, 2, 2, 5]
    """
    found: list[int] = []
    value = shift = 0
    for sign in text:
        group = ord(sign) - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        found.append(value + found[-2] if len(found) > 2 else value)
        value = shift = 0
    return found


def parse(tree: Any, *, where: str) -> tuple[list[int], tuple[int, int]]:
    """Runs and size (height, width) of `{"size": …, "counts": …}`, packed or as a list.

    Raises:
        InputError: no such object, or runs that do not fill the mask.
    """
    size, packed = (
        (tree.get("size"), tree.get("counts")) if isinstance(tree, Mapping) else (None, None)
    )
    whole = isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) for n in size)
    if not isinstance(size, list) or not whole or not isinstance(packed, str | list):
        raise InputError(f"{where}: no mask with size [height, width] and counts, as COCO has it.")
    runs = counts(packed) if isinstance(packed, str) else packed
    if not all(isinstance(n, int) and n >= 0 for n in runs) or sum(runs) != size[0] * size[1]:
        raise InputError(f"{where}: the runs do not fill a mask of {size[0]} × {size[1]} pixels.")
    return list(runs), (size[0], size[1])


def boxes(runs: Sequence[int], size: tuple[int, int]) -> list[Corners]:
    """The box around each connected part of a mask; pixels that touch at a corner are connected.

    Args:
        runs: lengths as `counts` gives them.
        size: height and width of the mask.

    Returns:
        xyxy in pixels of the mask, the right and lower edge behind the last pixel, from left to
        right.

    Example:
        >>> boxes([5, 2, 2, 2, 5], (4, 4))
        [(1.0, 1.0, 3.0, 3.0)]
    """
    column, top, bottom = _segments(runs, size[0])
    if not len(column):
        return []
    first, second = _touching(column, top, bottom, size[0])
    links = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(column),) * 2)
    count, part = sparse.csgraph.connected_components(links, directed=False)
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.zeros((count, 2), dtype=np.int64)
    np.minimum.at(low, part, np.stack((column, top), axis=1))
    np.maximum.at(high, part, np.stack((column + 1, bottom), axis=1))
    return sorted((float(x1), float(y1), float(x2), float(y2))
                  for (x1, y1), (x2, y2) in zip(low, high, strict=True))  # fmt: skip


def _segments(
    runs: Sequence[int], height: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Column, first row and row behind the last of each run of ones, cut where columns end."""
    ends = np.cumsum(np.asarray(runs, dtype=np.int64))
    start, stop = ends[:-1:2], ends[1::2]
    start, stop = start[: len(stop)][stop > start[: len(stop)]], stop[stop > start[: len(stop)]]
    pieces = (stop - 1) // height - start // height + 1
    run = np.repeat(np.arange(len(start)), pieces)
    number = np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    column = start[run] // height + number
    top = np.maximum(start[run], column * height) - column * height
    bottom = np.minimum(stop[run], (column + 1) * height) - column * height
    return column, top, bottom


def _touching(
    column: Int[np.ndarray, " n"],
    top: Int[np.ndarray, " n"],
    bottom: Int[np.ndarray, " n"],
    height: int,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Pairs of segments in neighbouring columns that share a side or a corner."""
    # Columns are laid end to end with a gap of two, so that no search runs into another column.
    stride = height + 2
    begin, end = column * stride + top, column * stride + bottom
    first = np.searchsorted(end, begin - stride, side="left")  # its end reaches my beginning
    last = np.searchsorted(begin, end - stride, side="right")  # its beginning reaches my end
    many = np.maximum(last - first, 0)
    mine = np.repeat(np.arange(len(column)), many)
    number = np.arange(len(mine)) - np.repeat(np.cumsum(many) - many, many)
    return mine, first[mine] + number


def mask(runs: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask as pixels."""
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size, order="F")
