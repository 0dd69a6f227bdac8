"""Contact sheet of a cohort: the overlay of every slide, small, under one colour scale.

A cell is drawn once, while its slide is at hand, and kept as a picture; the sheet is put together
from cells, so it needs no slide again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from wsrpn.report import fonts, labels, marks, slide_facts, slide_marks
from wsrpn.report.marks import Axes, Drawing
from wsrpn.report.slide_view import SlideView, frame_of

CELL = 1.9  # inches
_GAP, _STRIP, _SIDE = 0.12, 0.46, 0.72  # inches: between cells, of words, for the bar
_HEAD, _FOOT = 0.36, 0.36  # of a title of one line
_TITLE_PT = 10.0
_LEGEND = 3.5  # inches that the meaning of both outlines needs
_MOST_ACROSS = 12


@dataclass(frozen=True)
class Cell:
    """A slide on the sheet.

    Attributes:
        lines: its name, how much tumour there is, and what was called tumour.
        image: its overlay.
    """

    lines: tuple[str, str, str]
    image: UInt8[np.ndarray, "h w c"]


def cell(view: SlideView) -> Drawing:
    """The overlay of a slide alone, square."""
    figure = marks.new(CELL, CELL)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    frame = frame_of(view, ratio=(1.0, 1.0))
    slide_marks.overlay(axes, view, frame, line=0.6)
    slide_marks.rings(axes, view, frame, points=CELL * 72, size_pt=9.0)
    return figure


def lines(view: SlideView) -> tuple[str, str, str]:
    """What the sheet says of a slide."""
    return (view.name, slide_facts.truth(view), slide_facts.called(view))


def sheet(
    cells: Sequence[Cell],
    *,
    title: str = "",
    colour: tuple[float, float] | None = None,
    threshold: float | None = None,
) -> Drawing:
    """All cells in a grid, in their order.

    Args:
        cells: of the slides.
        title: heading.
        colour: ends of the colour scale; None where every slide has its own.
        threshold: marked on the colour bar.
    """
    outlined = any(one.lines[1] not in (slide_facts.UNKNOWN, slide_facts.NONE) for one in cells)
    across = _across(len(cells))
    down = max(1, -(-len(cells) // across))
    width = across * (CELL + _GAP) + _GAP + (_SIDE if colour else 0.0)
    if threshold is not None:
        width = max(width, _LEGEND)
    words = labels.wrap(title, (width - 2 * _GAP) * 72, _TITLE_PT, lines=3, bold=True)
    more = words.count("\n") * _TITLE_PT * labels.LEADING / 72
    head = _HEAD + more
    height = head + down * (CELL + _STRIP) + _FOOT
    figure = marks.new(width, height)
    figure.text(_GAP / width, 1 - (0.2 + more / 2) / height, words, fontsize=_TITLE_PT,
                va="center", weight="bold", linespacing=labels.LEADING,
                **fonts.style())  # fmt: skip
    for place, one in enumerate(cells):
        row, column = divmod(place, across)
        left = _GAP + column * (CELL + _GAP)
        bottom = height - head - (row + 1) * (CELL + _STRIP)
        axes = figure.add_axes((left / width, bottom / height, CELL / width, CELL / height))
        _show(axes, one)
    if colour is not None:
        left = across * (CELL + _GAP) + _GAP
        box = (left, height - head - _STRIP - CELL, 0.13, CELL)
        slide_marks.colour_bar(figure, colour, threshold, box)
    slide_marks.legend(figure, tumour=outlined, threshold=threshold, left=_GAP)
    return figure


def _across(count: int) -> int:
    """Cells in a row: about as wide as high, and with few places left empty.

    Example:
        >>> [_across(n) for n in (0, 1, 5, 7, 16, 400)]
        [1, 1, 5, 4, 4, 11]
    """
    if count <= 5:
        return max(1, count)
    about = min(_MOST_ACROSS, max(4, round((1.3 * count) ** 0.5)))
    near = range(max(4, about - 1), min(_MOST_ACROSS, about + 1) + 1)
    return min(near, key=lambda n: (-count % n, abs(n - about)))


def _show(axes: Axes, one: Cell) -> None:
    axes.imshow(one.image, interpolation="antialiased", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, edgecolor="#bbbbbb")
    sizes = (7.5, 6.5, 6.5)
    for line, size, lift in zip(one.lines, sizes, (19.0, 10.5, 2.5), strict=True):
        text = labels.wrap(line, CELL * 72, size, lines=1, bold=size > 7)
        axes.annotate(text, (0, 1), (0, lift), xycoords="axes fraction", fontsize=size,
                      textcoords="offset points", va="bottom", ha="left",
                      weight="bold" if size > 7 else "normal", **fonts.style())  # fmt: skip
