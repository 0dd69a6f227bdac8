"""What is drawn into an axes that runs in full-size pixels of a slide.

Arrays stay as small as the lattice and the small picture of the slide, whatever the slide's size.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from wsrpn.report.marks import Axes, Drawing
from wsrpn.report.slide_view import (
    CALLED,
    TISSUE,
    TUMOUR,
    Frame,
    Shape,
    SlideView,
    fade,
    lattice_frame,
    paint,
    palette,
    round_length,
)

RING_PT = 13.0  # diameter of the ring around tumour too small to see, in points
_LOST_PT = 6.0  # what is smaller than this on the page gets a ring
_PRINT_DPI = 300


def aim(axes: Axes, frame: Frame) -> None:
    """Let an axes show a part of the slide; its shape is that of the frame already."""
    axes.set_aspect("auto")
    axes.set(xlim=(frame[0], frame[2]), ylim=(frame[3], frame[1]), autoscale_on=False)


def backdrop(axes: Axes, view: SlideView) -> None:
    """The slide itself, small; or grey where there is tissue, where nobody has a picture of it."""
    if view.picture is None:
        tissue = np.full((*view.heat.shape, 4), 255, dtype=np.uint8)
        tissue[..., :3] = TISSUE
        tissue[..., 3] = np.where(np.isnan(view.heat), 0, 255)
        _cells(axes, view, tissue, 0)
        return
    width, height = view.extent_px0
    left, right = axes.get_xlim()
    close = view.picture.shape[1] * (right - left) < 900 * width
    axes.imshow(
        view.picture, extent=(0, width, height, 0), aspect="auto", zorder=0,
        interpolation="bilinear" if close else "antialiased",  # a picture has no cells to show
    )  # fmt: skip


def heat(axes: Axes, view: SlideView) -> None:
    """The heatmap alone."""
    _cells(axes, view, paint(view.heat, view.colour), 1)


def overlay(axes: Axes, view: SlideView, frame: Frame, *, line: float) -> None:
    """The heatmap over the slide, with the outlines of the truth and of what is called tumour.

    The truth is dashed, so that where both run along the same edges both are seen.
    """
    aim(axes, frame)
    backdrop(axes, view)
    _cells(axes, view, fade(view.heat, view.colour), 1)
    if view.called is not None:
        outline(axes, view.called, CALLED, width=line)
    if view.tumour is not None:
        outline(axes, view.tumour, TUMOUR, width=line, dashed=True)


def outline(
    axes: Axes, shape: Shape, colour: str, *, width: float, fill: float = 0.0, dashed: bool = False
) -> None:
    """Edges of a geometry in a colour, on white edges a little wider that show on any other."""
    from matplotlib.patches import PathPatch

    path = _path(axes, shape)
    if path is None:
        return
    more: dict[str, Any] = {"fill": False, "joinstyle": "round"}
    dash = (0, (2.6, 2.0)) if dashed else "solid"
    # `add_patch` would look for limits, which are set already, point by point.
    if fill:
        axes.add_artist(PathPatch(path, facecolor=colour, edgecolor="none", alpha=fill, zorder=2))
    axes.add_artist(
        PathPatch(path, edgecolor="white", lw=width + 1.2, alpha=0.85, zorder=3, **more)
    )
    axes.add_artist(PathPatch(path, edgecolor=colour, lw=width * (1.3 if dashed else 1), ls=dash,
                              zorder=5 if dashed else 4, **more))  # fmt: skip


def _path(axes: Axes, shape: Shape) -> Any:
    """What is seen of a geometry, as fine as print shows; None if that is nothing."""
    import shapely
    from matplotlib.path import Path

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inches = axes.get_position().width * axes.figure.get_size_inches()[0]
    parts = shapely.get_parts(shape)
    parts = parts[shapely.intersects(parts, shapely.box(left, top, right, bottom))]
    parts = shapely.simplify(parts, (right - left) / (inches * _PRINT_DPI) / 2)
    paths = [
        Path(ring, closed=True)
        for part in parts
        for ring in map(shapely.get_coordinates, [part.exterior, *part.interiors])
    ]
    return Path.make_compound_path(*paths) if paths else None


def rings(
    axes: Axes, view: SlideView, frame: Frame, *, points: float, size_pt: float = RING_PT
) -> None:
    """Rings around tumour that is too small to be seen in an axes so many points wide."""
    at = small_tumour(view, frame, points=points, size_pt=size_pt)
    for edge, width in (("white", 2.0), (TUMOUR, 1.1)):
        axes.scatter(at[:, 0], at[:, 1], s=size_pt**2, facecolor="none", edgecolor=edge, lw=width,
                     zorder=6)  # fmt: skip


def small_tumour(
    view: SlideView, frame: Frame, *, points: float, size_pt: float = RING_PT
) -> Float[np.ndarray, "n 2"]:
    """Centres (x, y) of rings around tumour that would be lost on a page.

    Pieces inside the ring of another, or beside a piece large enough to be seen, get none.

    Args:
        view: the slide.
        frame: the part that is drawn.
        points: width of the picture on the page.
        size_pt: diameter of a ring.
    """
    import shapely

    if view.tumour is None or view.tumour.is_empty:
        return np.empty((0, 2))
    parts = shapely.get_parts(view.tumour)
    left, top, right, bottom = shapely.bounds(parts).T
    scale = points / (frame[2] - frame[0])  # points to a full-size pixel
    size = np.maximum(right - left, bottom - top) * scale
    middle = np.stack([(left + right) / 2, (top + bottom) / 2], axis=1)
    reach = 0.5 * size_pt / scale
    small = size < _LOST_PT
    seen = shapely.multipolygons(parts[~small])
    shapely.prepare(seen)
    small &= ~shapely.dwithin(seen, parts, reach)
    middle, size = middle[small], size[small]
    found = np.empty((0, 2))
    for at in middle[np.argsort(-size, kind="stable")]:
        if not len(found) or np.hypot(*(found - at).T).min() > reach:
            found = np.append(found, at[None], axis=0)
    return found


def window(axes: Axes, frame: Frame) -> None:
    """A thin box around a part that is shown larger elsewhere."""
    from matplotlib.patches import Rectangle

    left, top, right, bottom = frame
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, lw=0.8,
                             edgecolor="#333333", zorder=6))  # fmt: skip


def scale_bar(axes: Axes, view: SlideView, frame: Frame) -> None:
    """A round length at the bottom left, where micrometres are known."""
    if view.tiles.mpp is not None:
        length_bar(axes, view.tiles.mpp, frame)


def length_bar(axes: Axes, mpp: float, frame: Frame) -> None:
    """A round length at the bottom left, of a slide with so many micrometres per pixel."""
    from matplotlib.patheffects import withStroke

    width = frame[2] - frame[0]
    length, text = round_length(0.3 * width * mpp)
    left, right = frame[0] + 0.04 * width, frame[0] + 0.04 * width + length / mpp
    y = frame[3] - 0.04 * width
    axes.plot([left, right], [y, y], color="black", lw=2.2, solid_capstyle="butt", zorder=6,
              path_effects=[withStroke(linewidth=4.5, foreground="white")])  # fmt: skip
    axes.annotate(text, ((left + right) / 2, y), (0, 3), textcoords="offset points", ha="center",
                  va="bottom", fontsize=7.5, zorder=6,
                  path_effects=[withStroke(linewidth=2.5, foreground="white")])  # fmt: skip


def colour_bar(
    figure: Drawing,
    colour: tuple[float, float],
    threshold: float | None,
    box: tuple[float, float, float, float],
) -> None:
    """The scale of the colours, with a mark at the threshold where it is on the scale.

    Args:
        figure: to draw in.
        colour: values at its ends; values beyond have the colours of its tips.
        threshold: or None.
        box: left, bottom, width and height in inches.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    width, height = figure.get_size_inches()
    place = np.array(box) / (width, height, width, height)
    low, high = colour
    high = high if high > low else low + 1.0
    colours = ListedColormap(palette() / 255.0)
    axes = figure.add_axes(tuple(place))
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), colours), cax=axes, extend="both",
                          extendfrac=0.03)  # fmt: skip
    bar.ax.tick_params(labelsize=7, length=2.5, pad=2)
    bar.outline.set_linewidth(0.4)
    if threshold is not None and low <= threshold <= high:
        bar.ax.axhline(threshold, color=CALLED, lw=1.6)
        bar.ax.plot([-0.4], [threshold], ">", color=CALLED, ms=4, clip_on=False)


def legend(figure: Drawing, *, tumour: bool, threshold: float | None, left: float) -> None:
    """What the outlines mean, at the bottom, `left` inches from the edge."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=TUMOUR, lw=1.6, label="tumour (truth)")] if tumour else []
    if threshold is not None:
        limit = f"≥ {threshold:.3g}" if math.isfinite(threshold) else "nowhere"
        lines.append(Line2D([], [], color=CALLED, lw=1.3, label=f"called tumour ({limit})"))
    if lines:
        width, height = figure.get_size_inches()
        figure.legend(handles=lines, loc="lower left", ncols=2, fontsize=7.5, frameon=False,
                      bbox_to_anchor=(left / width, 0.02 / height), borderaxespad=0,
                      borderpad=0.4)  # fmt: skip


def _cells(axes: Axes, view: SlideView, rgba: UInt8[np.ndarray, "gh gw 4"], layer: int) -> None:
    left, top, right, bottom = lattice_frame(view.tiles)
    axes.imshow(rgba, extent=(left, right, bottom, top), aspect="auto", zorder=layer,
                interpolation="antialiased", interpolation_stage="rgba")  # fmt: skip
