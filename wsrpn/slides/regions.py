"""Which pixels of which level make a picture of a part of a slide.

Levels of a pyramid have their own pixels; `_level` at the end of a name says so. Where a pixel of
the level is one of the picture, up to half a pixel over the whole width, pixels are taken as they
are: nothing is blurred, and a part is at most half a pixel beside its place. Otherwise a filter
needs a margin around the part, and then neighbouring parts join without a seam.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wsrpn.errors import InputError

REACH = 2.0  # of the bicubic filter, in pixels of the picture or else of the level: the larger
_COARSER = 1.02  # a level is fine enough that is coarser than what is asked for by so little

Box = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True)
class Region:
    """A part of a level, and what of it is seen.

    Attributes:
        level: 0 is the largest.
        corner_level: x and y of the first pixel; may lie outside the slide.
        size_level: width and height.
        seen_level: the part that is brought to the wanted size, x1, y1, x2, y2 from the corner;
            None where the pixels are taken as they are.
    """

    level: int
    corner_level: tuple[int, int]
    size_level: Size
    seen_level: Box | None


def snapped(full: Size, level: Size) -> float:
    """Full-size pixels to a pixel of a level.

    Sizes of levels are rounded, so their ratio is seldom exact. Where a whole number explains both
    sides, up to the pixels that rounding drops, it is that number; else it is the mean of both.

    Example:
        >>> snapped((2220, 2967), (555, 741)), snapped((1000, 800), (300, 240))
        (4.0, 3.3333333333333335)
    """
    ratios = [many / few for many, few in zip(full, level, strict=True)]
    for whole in {round(ratio) for ratio in ratios}:
        lost = [abs(many - few * whole) for many, few in zip(full, level, strict=True)]
        if whole >= 1 and max(lost) < whole:
            return float(whole)
    return sum(ratios) / 2


def level_for(downsamples: Sequence[float], wanted: float) -> int:
    """The coarsest level that is at least as fine as wanted, up to a fiftieth.

    Args:
        downsamples: of the levels, rising.
        wanted: full-size pixels to a pixel of the picture.

    Example:
        >>> [level_for((1.0, 4.0, 16.0), wanted) for wanted in (0.5, 3.0, 3.99, 4.0, 90.0)]
        [0, 0, 1, 1, 2]
    """
    fine = [one for one, factor in enumerate(downsamples) if factor <= wanted * _COARSER]
    return fine[-1] if fine else 0


def plan(downsamples: Sequence[float], box_px0: Box, size_px: Size) -> Region:
    """What to read for a picture.

    Args:
        downsamples: of the levels, rising.
        box_px0: x1, y1, x2, y2 of the part; may reach beyond the slide.
        size_px: width and height of the picture.

    Raises:
        InputError: an empty part, one without numbers, or a picture without pixels.
    """
    x1, y1, x2, y2 = box_px0
    if not (0 < x2 - x1 < math.inf and 0 < y2 - y1 < math.inf) or min(size_px) < 1:
        raise InputError(
            f"the part {x1:g}, {y1:g} to {x2:g}, {y2:g} of a slide cannot become a picture of "
            f"{size_px[0]} × {size_px[1]} pixels."
        )
    scale = ((x2 - x1) / size_px[0], (y2 - y1) / size_px[1])
    level = level_for(downsamples, min(scale))
    factor = downsamples[level]
    x1, y1, x2, y2 = (edge / factor for edge in box_px0)
    drift = (abs(x2 - x1 - size_px[0]), abs(y2 - y1 - size_px[1]))
    if max(drift) <= 0.5:
        return Region(level, (nearest(x1), nearest(y1)), size_px, None)
    reach = [math.ceil(REACH * max(one / factor, 1.0)) + 1 for one in scale]
    left, top = math.floor(x1) - reach[0], math.floor(y1) - reach[1]
    size = (math.ceil(x2) + reach[0] - left, math.ceil(y2) + reach[1] - top)
    return Region(level, (left, top), size, (x1 - left, y1 - top, x2 - left, y2 - top))


def nearest(edge: float) -> int:
    """The whole number next to an edge; halves go up, so that steps of one stay steps of one."""
    return math.floor(edge + 0.5)


def halves(box_px0: Box, size_px: Size) -> Iterator[tuple[Box, Size, tuple[slice, slice]]]:
    """Two parts of a picture, cut between pixels: what to read, its size, and where it belongs."""
    (x1, y1, x2, y2), (wide, high) = box_px0, size_px
    if wide >= high:
        left = wide // 2
        middle = x1 + (x2 - x1) * left / wide
        yield (x1, y1, middle, y2), (left, high), (slice(None), slice(0, left))
        yield (middle, y1, x2, y2), (wide - left, high), (slice(None), slice(left, None))
        return
    above = high // 2
    middle = y1 + (y2 - y1) * above / high
    yield (x1, y1, x2, middle), (wide, above), (slice(0, above), slice(None))
    yield (x1, middle, x2, y2), (wide, high - above), (slice(above, None), slice(None))
