"""The three-panel picture of a slide: ground truth | heatmap | overlay, and a closer look below."""

from collections.abc import Sequence

from wsrpn.report import fonts, marks, slide_facts, slide_marks
from wsrpn.report.marks import Axes, Drawing
from wsrpn.report.slide_view import (
    TUMOUR,
    Frame,
    SlideView,
    frame_of,
    zoom_of,
)

_WIDTH, _GAP, _SIDE = 2.75, 0.10, 0.78  # inches: of a panel, between panels, for the colour bar
_TITLE, _HEAD, _FOOT = 0.42, 0.34, 0.32  # inches of text above a row, above all, below all
_ZOOM = 0.62  # height over width of a closer look


def panel(view: SlideView) -> Drawing:
    """Ground truth | heatmap | overlay of a slide.

    Tumour that would be lost at this size is ringed, and a second row looks closer at the largest
    tumour, or at the largest region called tumour where there is none. The colour bar has a mark at
    the threshold.
    """
    frame = frame_of(view)
    zoom = zoom_of(view, frame, ratio=_ZOOM)
    high = _WIDTH * (frame[3] - frame[1]) / (frame[2] - frame[0])
    low = _WIDTH * _ZOOM + _GAP if zoom else 0.0
    height = _HEAD + _TITLE + high + low + _FOOT
    figure = marks.new(3 * (_WIDTH + _GAP) + _GAP + _SIDE, height)
    tops = [_axes(figure, i, _FOOT + low, high) for i in range(3)]
    _row(tops, view, frame, line=0.7)
    _titles(tops, view)
    for axes in (tops[0], tops[2]):
        slide_marks.rings(axes, view, frame, points=_WIDTH * 72)
    if zoom:
        closer = [_axes(figure, i, _FOOT, _WIDTH * _ZOOM) for i in range(3)]
        _row(closer, view, zoom, line=1.0)
        for axes in tops:
            slide_marks.window(axes, zoom)
    _heading(figure, view)
    place = (3 * (_WIDTH + _GAP) + _GAP + 0.02, _FOOT + low, 0.13, high)
    slide_marks.colour_bar(figure, view.colour, view.threshold, place)
    tumour = view.tumour is not None and not view.tumour.is_empty
    limit = view.threshold if view.found is not None else None
    slide_marks.legend(figure, tumour=tumour, threshold=limit, left=_GAP)
    return figure


def _axes(figure: Drawing, index: int, bottom: float, high: float) -> Axes:
    width, height = figure.get_size_inches()
    left = _GAP + index * (_WIDTH + _GAP)
    axes = figure.add_axes((left / width, bottom / height, _WIDTH / width, high / height))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, edgecolor="#999999")
    return axes


def _row(axes: Sequence[Axes], view: SlideView, frame: Frame, *, line: float) -> None:
    """The three pictures of one part of the slide."""
    truth, heat, both = axes
    for one in (truth, heat):
        slide_marks.aim(one, frame)
    slide_marks.backdrop(truth, view)
    if view.tumour is not None:
        slide_marks.outline(truth, view.tumour, TUMOUR, width=line, fill=0.35)
    slide_marks.heat(heat, view)
    slide_marks.overlay(both, view, frame, line=line)
    slide_marks.scale_bar(truth, view, frame)


def _titles(axes: Sequence[Axes], view: SlideView) -> None:
    lines = (
        ("Ground truth", slide_facts.truth(view)),
        ("Heatmap", view.meaning),
        ("Overlay", slide_facts.called(view)),
    )
    for one, (first, second) in zip(axes, lines, strict=True):
        marks.title(one, first, second, bold=True)


def _heading(figure: Drawing, view: SlideView) -> None:
    width, height = figure.get_size_inches()
    y = 1 - 0.19 / height
    figure.text(_GAP / width, y, fonts.legible(view.name), fontsize=11, weight="bold", va="center",
                **fonts.style())  # fmt: skip
    right = 1 - (_SIDE + _GAP) / width
    figure.text(right, y, fonts.legible(view.caution), fontsize=7.5, va="center", ha="right",
                color="#a04000", **fonts.style())  # fmt: skip
