"""Words measured before they are drawn, in points (1/72 inch), and broken into lines to fit."""

import bisect
import functools
import re
from typing import Any

from wsrpn.report import marks
from wsrpn.report.fonts import families, legible

_TIED = re.compile(r"(?<!×) (?!×|\d)")  # spaces at which a line may end
_DPI = (100, 150)  # of a figure as it is made, and as it is saved
LEADING = 1.25  # height of a line over the size of its letters


@functools.cache
def _renderers() -> tuple[Any, ...]:
    """At two resolutions, because letters are fitted to pixels: the wider one counts."""
    pages = [marks.new(1.0, 1.0) for _ in _DPI]
    for page, dpi in zip(pages, _DPI, strict=True):
        page.set_dpi(dpi)
    return tuple(page.canvas.get_renderer() for page in pages)


@functools.lru_cache(4096)
def width(text: str, size: float, *, bold: bool = False) -> float:
    """Width in points of one line."""
    from matplotlib.font_manager import FontProperties

    weight = "bold" if bold else "normal"
    font = FontProperties(family=list(families()), size=size, weight=weight)
    return max(
        float(drawn.get_text_width_height_descent(text, font, False)[0]) * 72 / dpi
        for drawn, dpi in zip(_renderers(), _DPI, strict=True)
    )


def wrap(text: str, points: float, size: float, *, lines: int = 2, bold: bool = False) -> str:
    """The text in lines of about the same width; what is too much is cut out of its middle.

    Lines end before a `+`, never beside a `×` or before a number: names of arms are made so.

    Args:
        text: any words.
        points: width to keep to.
        size: of the letters.
        lines: the most lines.
        bold: letters are wider.

    Example:
        >>> print(wrap("concentration 0.3 + sparsity 0.1", 110.0, 8.0))
        concentration 0.3
        + sparsity 0.1
    """
    whole = legible(text)
    kept = min(1.0, 1.1 * lines * points / max(width(whole, size, bold=bold), 1.0))
    kept = 1.0 if kept > 0.9 else kept
    found = _broken(_shortened(whole, kept), points, size, bold)
    while len(found) > lines and kept > 0.02:
        kept *= 0.95
        found = _broken(_shortened(whole, kept), points, size, bold)
    for narrower in (0.9, 0.8, 0.7, 0.6, 0.5):
        even = _broken(_shortened(whole, kept), narrower * points, size, bold)
        if len(even) > len(found) or len(found) > 4:
            break
        found = even
    return "\n".join(found[:lines])


def _shortened(text: str, share: float) -> str:
    if share >= 1:
        return text
    side = max(1, int(len(text) * share / 2))
    return f"{text[:side].rstrip()}…{text[-side:].lstrip()}"


def _broken(text: str, points: float, size: float, bold: bool) -> list[str]:
    """Lines of whole words; a word too long for a line is broken where the line ends."""
    found, line = [], ""
    for word in _TIED.split(text):
        longer = f"{line} {word}" if line else word
        if width(longer, size, bold=bold) <= points:
            line = longer
            continue
        if line.endswith(" +"):  # it goes with what follows
            line, word = line[:-2], f"+ {word}"
        found += [line] if line else []
        line = word
        while width(line, size, bold=bold) > points and len(line) > 1:
            end = _most(line, points, size, bold)
            found.append(line[:end])
            line = line[end:]
    return [*found, line]


def _most(line: str, points: float, size: float, bold: bool) -> int:
    """How many letters of a line fit, one at least."""
    ends = range(2, len(line))
    return 1 + bisect.bisect_right(ends, points, key=lambda n: width(line[:n], size, bold=bold))


def extent(text: str, size: float, *, bold: bool = False) -> tuple[float, float]:
    """Width and height in points of a text of one or more lines."""
    lines = text.split("\n")
    return max(width(line, size, bold=bold) for line in lines), LEADING * size * len(lines)
