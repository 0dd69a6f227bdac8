"""Marks on a picture: a grid of axes in inches, boxes with halos, titles that fit, a legend.

The colours are those of Okabe and Ito (2008), told apart by colour-blind eyes; lines have a dark
halo, so that they stand out on bone and on air.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn.report import fonts

Drawing = Any  # a matplotlib Figure; matplotlib is imported when something is drawn
Axes = Any
TRUTH, FOUND = "#56B4E9", "#F0E442"
_DASH = (0, (3.5, 2.2))
_GAP = 0.10  # inches


def new(width: float, height: float) -> Drawing:
    """An empty figure of a size in inches, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def canvas(
    rows: int,
    columns: int,
    ratio: float,
    heading: str,
    *,
    cell: float = 2.9,
    strip: float = 0.46,
) -> tuple[Drawing, list[list[Axes]]]:
    """A grid of axes placed in inches, so that no title ever meets an image.

    Args:
        rows: of axes.
        columns: of axes.
        ratio: height over width of an axes.
        heading: above all.
        cell: width of an axes in inches.
        strip: room for the titles above each row, in inches.
    """
    high = cell * float(np.clip(ratio, 0.3, 2.5))
    head, foot = (0.34 if heading else 0.06), 0.34
    width = columns * (cell + _GAP) + _GAP
    height = head + rows * (high + strip) + foot
    figure = new(width, height)
    grid = []
    for row in range(rows):
        bottom = (height - head - (row + 1) * (high + strip)) / height
        grid.append([
            figure.add_axes((
                (_GAP + column * (cell + _GAP)) / width, bottom, cell / width, high / height,
            ))
            for column in range(columns)
        ])  # fmt: skip
    if heading:
        short = textwrap.shorten(heading, int(width * 11), placeholder="…") or heading
        figure.text(_GAP / width, 1 - 0.22 / height, fonts.legible(short), fontsize=10,
                    va="center", **fonts.style())  # fmt: skip
    return figure, grid


def radiograph(axes: Axes, image: Float[np.ndarray, "h w"]) -> None:
    """Show an image with its pixel edges on whole numbers."""
    height, width = image.shape
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), zorder=0)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()


def boxes(
    axes: Axes, corners: Sequence[tuple[float, ...]], colour: str, texts: Sequence[str] = (),
    *, dashed: bool = False, small: bool = False,
) -> None:  # fmt: skip
    """Boxes with a dark halo; the text stands above the box, or in it at the top of the image."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    width, size = (0.9, 5.5) if small else (1.3, 7.5)
    halo = [withStroke(linewidth=width + 1.4, foreground="black", alpha=0.75)]
    dark = [withStroke(linewidth=1.6, foreground="black")]
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    for index, (x1, y1, x2, y2) in enumerate(corners):
        style = _DASH if dashed else "solid"
        axes.add_patch(Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, lw=width, linestyle=style,
            path_effects=halo, zorder=3 + dashed,
        ))  # fmt: skip
        if index >= len(texts):
            continue
        below = dashed  # truth is named below its box, predictions above: they seldom meet
        y = y2 if below else y1
        inside = y > 0.93 * bottom if below else y < 0.07 * bottom
        text = _cut(texts[index], 34)
        share = len(text) * 0.6 * size / 72 / inches(axes)
        fits = x1 + share * right <= right
        axes.text(
            x1 if fits else min(x2, right), y, text, color=colour, fontsize=size, zorder=5,
            ha="left" if fits else "right", va="top" if below != inside else "bottom",
            clip_on=True, path_effects=dark, **fonts.style(),
        )  # fmt: skip


def title(axes: Axes, first: str, second: str, *, bold: bool = False, small: bool = False) -> None:
    """Two short lines above an image, cut to its width."""
    size = 6.5 if small else 8.5
    fit = int(inches(axes) * 72 / ((0.65 if bold else 0.57) * size))
    lines = [_cut(line, fit) for line in (first, second)]
    for line, lift in zip(lines, (1.45, 0.25), strict=True):
        if line:
            axes.annotate(
                line, (0, 1), (0, lift * size), xycoords="axes fraction", fontsize=size,
                textcoords="offset points", va="bottom", ha="left",
                weight="bold" if bold and line == lines[0] else "normal", **fonts.style(),
            )  # fmt: skip


def inches(axes: Axes) -> float:
    """How wide axes are on the page."""
    return float(axes.get_position().width * axes.figure.get_size_inches()[0])


def _cut(line: str, fit: int) -> str:
    line = fonts.legible(line)
    return line if len(line) <= fit else f"{line[: fit - 1]}…"


def legend(figure: Drawing) -> None:
    """What the lines mean, at the bottom left."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=TRUTH, lw=1.6, linestyle=_DASH, label="truth"),
        Line2D([], [], color=FOUND, lw=1.6, label="prediction (score)"),
    ]
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=lines, loc="lower left", bbox_to_anchor=(0.0, 0.02 / height), ncols=2, fontsize=7.5,
        frameon=True, facecolor="#555555", edgecolor="none", labelcolor="white", borderpad=0.35,
    )  # fmt: skip
