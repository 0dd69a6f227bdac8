"""What the pictures of a study share: a page in inches, the look of an arm, figures with units."""

from dataclasses import dataclass
from typing import Any

from wsrpn.report import fonts, labels, marks
from wsrpn.report.draw import LINES
from wsrpn.report.marks import Axes, Drawing

FEW = 7  # arms that have a colour of their own
UNITS = {
    "entropy": "nats",
    "entropy_normalized": "share of the largest",
    "alignment_error": "shares of the image",
    "top_patch": "share in the largest cell",
}
GREY, DARK = "0.40", "0.15"
EDGE = 0.10  # inches around everything
_STYLES, _MARKERS = ("-", (0, (4, 1.5)), (0, (1, 1))), ("o", "s", "^")
_TITLE, _NOTE = 10.5, 7.0  # sizes of letters


@dataclass(frozen=True)
class Page:
    """A figure that is laid out in inches from its upper left corner.

    Attributes:
        figure: of matplotlib.
        width: of the figure.
        height: of the figure.
        top: where the body begins, below the heading.
    """

    figure: Drawing
    width: float
    height: float
    top: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose upper left corner is there."""
        corner = (x / self.width, 1 - (y + height) / self.height)
        return self.figure.add_axes((*corner, width / self.width, height / self.height))

    def text(self, x: float, y: float, words: str, **options: Any) -> None:
        """Words at a place."""
        given = {"va": "center", "color": DARK, **fonts.style(), **options}
        self.figure.text(x / self.width, 1 - y / self.height, words, **given)


def page(width: float, body: float, title: str, note: str) -> Page:
    """A page with a heading, room for a body, and a note below it.

    Args:
        width: in inches; more if the heading of a narrow picture needs it.
        body: height in inches.
        title: heading, on one line.
        note: broken into as many lines as it needs.
    """
    title = fonts.legible(title)
    width = max(width, min(4.2, labels.width(title, _TITLE, bold=True) / 72 + 2 * EDGE))
    room = 72 * (width - 2 * EDGE)
    said = labels.wrap(note, room, _NOTE, lines=40) if note else ""
    foot = labels.extent(said, _NOTE)[1] / 72 + 0.04 if said else 0.0
    top = 0.36 if title else 0.08
    height = top + body + foot + 0.08
    made = Page(marks.new(width, height), width, height, top)
    if title:
        head = labels.wrap(title, room, _TITLE, lines=1, bold=True)
        made.text(EDGE, 0.2, head, fontsize=_TITLE, weight="bold")
    if said:
        made.text(EDGE, height - 0.07, said, fontsize=_NOTE, color=GREY, va="bottom",
                  linespacing=1.2)  # fmt: skip
    return made


def look(place: int) -> tuple[str, Any, str]:
    """Colour, line style and marker of an arm by its place; 21 of them differ."""
    turn = place // len(LINES)
    colour = LINES[place % len(LINES)]
    return colour, _STYLES[turn % len(_STYLES)], _MARKERS[turn % len(_MARKERS)]


def unit(figure: str) -> str:
    """The figure with its unit, without the `val/` of `metrics.csv`.

    Example:
        >>> unit("val/entropy_small"), unit("val/ap@0.3"), unit("train/loss")
        ('entropy_small (nats)', 'ap@0.3', 'train/loss')
    """
    name = figure.removeprefix("val/")
    base = name
    for end in ("_small", "_medium", "_large", "_all"):
        base = base.removesuffix(end)
    return f"{name} ({UNITS[base]})" if base in UNITS else name


def plain(axes: Axes) -> None:
    """A light grid, small ticks, no frame."""
    axes.grid(alpha=0.25, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, length=2, pad=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
