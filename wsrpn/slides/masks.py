"""Masks of tumour and of tissue: pictures whose pixels are larger than those of the slide.

A mask is read at a level of bounded size, and its size against the slide's gives the scale. What a
value means is a rule, not a guess: 1 of {0, 1}, 255 of {0, 255}, 1 of {0, 1, 2} (CAMELYON17:
metastases 1, normal 2); any other set of values needs `mask_values` in slides.csv.

A tissue mask marks tissue with any value but 0.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from jaxtyping import Bool, Float, Integer
from scipy import ndimage

from wsrpn.errors import InputError
from wsrpn.slides import mask_files
from wsrpn.slides.mask_files import Scale, Size
from wsrpn.tiles import Slide

SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
_LISTED = 6  # values named in an error


@dataclass(frozen=True)
class Mask:
    """One level of a mask.

    Attributes:
        values: of its pixels; of a coloured picture the red channel.
        pixel_px0: width and height of one of its pixels in full-size pixels of the slide.
    """

    values: Integer[np.ndarray, "h w"]
    pixel_px0: tuple[float, float]


def read(slide: Slide, path: Path) -> Mask:
    """Read a mask of a slide.

    Args:
        slide: its `extent_px0` gives the scale; `tile_px0`, `grid_w` and `grid_h` in its `extra`
            say that a mask of that size has one pixel for each tile.
        path: of the mask.

    Raises:
        InputError: the file cannot be read, no scale is known, or the slide has another shape.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        values, scale, full = mask_files.tiff(path)
    else:
        values, scale, full = mask_files.picture(path), (1.0, 1.0), None
    size = (values.shape[1], values.shape[0])
    return Mask(values, _pixel_px0(slide, path, size, scale, full))


def tumour(slide: Slide, mask: Mask, path: Path) -> shapely.MultiPolygon:
    """The exact union of the pixels that are tumour, in full-size pixels.

    Raises:
        InputError: values that no rule covers, or no tumour at all on a slide that is not normal.
    """
    marked = _is_tumour(slide, mask.values, path)
    if not marked.any() and not slide.normal:
        raise InputError(
            f"{path}: no pixel of tumour (all are {_values(mask.values)}). Say label = normal in "
            "slides.csv if the slide has none, or name the values of tumour in mask_values."
        )
    return _scaled(outline(marked), mask.pixel_px0)


def outline(marked: Bool[np.ndarray, "h w"]) -> shapely.MultiPolygon:
    """The union of the marked pixels, each a square of side 1; pixel (0, 0) begins at (0, 0).

    Pixels that only touch at a corner are two areas.

    Example:
        >>> outline(np.array([[True, True], [False, True]])).area
        3.0
    """
    labelled, _ = ndimage.label(marked)
    areas: list[shapely.Geometry] = []
    for number, window in enumerate(ndimage.find_objects(labelled), start=1):
        y, x = window[0].start, window[1].start
        areas += _union(_runs(labelled[window] == number) + np.array([x, y, x, y]))
    return shapely.MultiPolygon(areas)


def shares(mask: Mask, boxes_px0: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Exactly how much of each box is marked (any value but 0); nothing is marked outside a mask.

    The integral of the mask is bilinear between the corners of its pixels, so four readings of it
    give the area in a box.

    Args:
        mask: of tissue.
        boxes_px0: x1, y1, x2, y2.
    """
    marked = mask.values != 0
    whole = np.zeros(np.add(marked.shape, 1), dtype=np.int32)  # up to 4 × MOST
    whole[1:, 1:] = marked.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    boxes = boxes_px0 / np.tile(mask.pixel_px0, 2)
    x1, y1, x2, y2 = boxes.T
    at = [_between(whole, y, x) for y, x in ((y2, x2), (y1, x2), (y2, x1), (y1, x1))]
    area = (x2 - x1) * (y2 - y1)
    return np.clip((at[0] - at[1] - at[2] + at[3]) / area, 0.0, 1.0)


def _between(
    whole: Integer[np.ndarray, "a b"], y: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    y, x = np.clip(y, 0, whole.shape[0] - 1), np.clip(x, 0, whole.shape[1] - 1)
    return ndimage.map_coordinates(whole, [y, x], np.float64, order=1, prefilter=False)


def _pixel_px0(slide: Slide, path: Path, size: Size, scale: Scale, full: Size | None) -> Scale:
    """Full-size pixels of the slide in one pixel of the mask."""
    tile = _tile_px0(slide, size)
    if tile is not None:
        return tile, tile
    if slide.extent_px0 is None and full is None:
        raise InputError(
            f"{path}: the size of slide {slide.id} is not known, so the mask has no scale; give "
            "width_px0 and height_px0 (or file) in slides.csv."
        )
    whole = full or (round(size[0] * scale[0]), round(size[1] * scale[1]))
    extent = slide.extent_px0 or whole
    wrong = mask_files.askew(extent, size)
    if wrong is not None:
        raise InputError(
            f"{path}: {size[0]} × {size[1]} pixels do not fit slide {slide.id} of {extent[0]} × "
            f"{extent[1]} ({wrong}); is it of another slide, or cut?"
        )
    outer = mask_files.fit(extent, whole)
    return scale[0] * outer[0], scale[1] * outer[1]


def _tile_px0(slide: Slide, size: Size) -> float | None:
    """The side of a tile where the mask has one pixel for each, else None.

    A table gives it rounded; where the slide's width or height confirms it, that tells it exactly.
    """
    cell, wide, high = (slide.extra.get(name, "") for name in ("tile_px0", "grid_w", "grid_h"))
    if not cell or (wide, high) != (str(size[0]), str(size[1])):
        return None
    try:
        told = float(cell)
    except ValueError:
        told = 0.0
    if not 0 < told < math.inf:
        raise InputError(f"slides.csv: tile_px0 '{cell}' of slide {slide.id} is no size.")
    rounding = 0.5 * 10.0 ** -len(cell.partition(".")[2])
    exact = [many / few for many, few in zip(slide.extent_px0 or (), size, strict=False)]
    return next((one for one in exact if abs(one - told) <= rounding), told)


def _is_tumour(
    slide: Slide, values: Integer[np.ndarray, "h w"], path: Path
) -> Bool[np.ndarray, "h w"]:
    told = slide.extra.get("mask_values", "").strip()
    if told:
        return np.isin(values, _told(told, slide))
    found = set(np.flatnonzero(np.bincount(values.ravel()))) if values.min(initial=0) >= 0 else {-1}
    for known, value in (({0, 1}, 1), ({0, 255}, 255), ({0, 1, 2}, 1)):
        if found <= known and (value in found or found <= {0}):
            return values == value
    raise InputError(
        f"{path}: values {_values(values)} have no known meaning (known: 0 and 1, 0 and 255, 0 to "
        "2); name those of tumour in the column mask_values of slides.csv, for example 2 or 1|3."
    )


def _told(cell: str, slide: Slide) -> list[int]:
    try:
        return [int(one) for one in cell.split("|")]
    except ValueError:
        raise InputError(
            f"slides.csv: mask_values '{cell}' of slide {slide.id}: write numbers joined by |."
        ) from None


def _values(values: Integer[np.ndarray, "h w"]) -> str:
    found = [str(value) for value in np.unique(values)]
    return ", ".join(found[:_LISTED]) + (", …" if len(found) > _LISTED else "")


def _runs(marked: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "r 4"]:
    """Boxes (x1, y1, x2, y2) of marked stretches in rows, equal ones in rows below made one."""
    edges = np.diff(np.pad(marked, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    y, x1 = np.nonzero(edges == 1)
    x2 = np.nonzero(edges == -1)[1]
    order = np.lexsort((y, x2, x1))
    y, x1, x2 = y[order], x1[order], x2[order]
    same = (np.diff(x1) == 0) & (np.diff(x2) == 0) & (np.diff(y) == 1)
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    last = np.append(first[1:], len(y)) - 1
    return np.stack([x1[first], y[first], x2[first], y[last] + 1], axis=1).astype(np.float64)


def _union(boxes: Float[np.ndarray, "r 4"]) -> list[shapely.Polygon]:
    whole = shapely.union_all(shapely.box(*boxes.T))
    # Corners in the middle of a straight edge go; the area is the same to the last digit.
    return list(shapely.get_parts(shapely.simplify(whole, 0.0)))


def _scaled(area: shapely.Geometry, factor: Scale) -> shapely.MultiPolygon:
    return shapely.transform(area, lambda points: points * np.array(factor))
