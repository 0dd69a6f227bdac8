"""A comparison on paper: a forest plot, a table in Markdown, and all numbers as CSV."""

import csv
import io
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from wsrpn.comparison import Comparison
from wsrpn.errors import counted
from wsrpn.report import fonts, marks
from wsrpn.report.draw import LINES
from wsrpn.report.marks import Axes, Drawing
from wsrpn.types import Figure

COLUMNS = (
    "figure", "class", "method", "runs", "value", "low", "high", "lowest_run", "highest_run",
    "baseline", "difference", "difference_low", "difference_high", "difference_covers",
)  # fmt: skip
SAME = 1e-6  # values nearer than that are one
MOST = 12  # figures in one picture; the tables have all of them
LONG = 8  # methods from which on figures stand in two columns
_SIDE = 2.7  # inches: of an axes, at least
_ROW, _HEAD = 0.23, 0.34  # inches: of a method, above the methods of a figure
_LINE = 0.13  # inches: of the footer


def number(figure: Figure | None, *, sign: bool = False) -> str:
    """Three decimals and the interval: `0.123 (0.100…0.150)`; a dash for what is undefined.

    Example:
        >>> number(Figure(0.1234, 0.1, 0.15)), number(Figure(0.1), sign=True), number(Figure(None))
        ('0.123 (0.100…0.150)', '+0.100', '–')
    """
    if figure is None or figure.value is None:
        return "–"
    form = "+.3f" if sign else ".3f"
    if figure.low is None or figure.high is None:
        return f"{figure.value:{form}}"
    return f"{figure.value:{form}} ({figure.low:{form}}…{figure.high:{form}})"


def spread(found: tuple[float, float] | None) -> str:
    """Lowest and highest run.

    Example:
        >>> spread((0.1, 0.25)), spread(None)
        ('0.100…0.250', '')
    """
    return "" if found is None else f"{found[0]:.3f}…{found[1]:.3f}"


def extent(comparison: Comparison) -> str:
    """How many images and patients, and boxes or objects."""
    known = comparison.provenance
    images = f"{counted(known['images'], 'image')} of {counted(known['patients'], 'patient')}"
    if "objects" in known:
        return f"{images}, {counted(known['objects'], 'object')}"
    return f"{images}, {counted(known['boxes'], 'box')}"


def lines(comparison: Comparison) -> Iterator[tuple[str, str, str, str, str, bool]]:
    """A table's lines: figure, method, value, runs, difference, whether that leaves out 0."""
    for figure in comparison.figures:
        for method in comparison.methods:
            gap = comparison.difference(method.name)
            yield (
                figure,
                method.name if len(method.runs) == 1 else f"{method.name} ×{len(method.runs)}",
                number(method.figures[figure]),
                spread(method.spread(figure)),
                number(gap.figures[figure], sign=True) if gap else "",
                gap is not None and gap.clear(figure),
            )


def overview(comparison: Comparison) -> list[str]:
    """A row per method, a column per figure; bold where the difference's interval leaves out 0."""
    names = [name for name in comparison.figures if name in defined(comparison)]
    rows = [f"| | {' | '.join(names)} |", f"|-|{'-|' * len(names)}"]
    for method in comparison.methods:
        gap, cells = comparison.difference(method.name), []
        for name in names:
            value = method.figures[name].value
            text = "–" if value is None else f"{value:.3f}"
            cells.append(f"**{text}**" if gap and gap.clear(name) else text)
        rows.append(f"| {method.name} | {' | '.join(cells)} |")
    return rows


def markdown(comparison: Comparison, *, head: Sequence[str] = (), runs: bool = True) -> str:
    """The table and everything that must be said with it.

    Args:
        comparison: the figures.
        head: lines above the table; the names of the methods where there are none.
        runs: whether the runs of every method are listed.
    """
    known = comparison.provenance
    base = known["baseline"]
    text = [
        *(head or (f"# {', '.join(method.name for method in comparison.methods)}",)),
        "",
        f"{known['data']}: {extent(comparison)}{_classes(comparison)}. "
        f"{known['bootstrap']} replicates.",
        "",
        f"| figure | method | value (95 %) | runs | − {base} (95 %) |",
        "|-|-|-|-|-|",
    ]
    last = ""
    for figure, title, value, reach, gap, clear in lines(comparison):
        cells = (
            "" if figure == last else figure,
            title,
            value,
            reach,
            f"**{gap}**" if clear else gap,
        )
        text.append(f"| {' | '.join(cells)} |")
        last = figure
    text += ["", "*runs*: the lowest and the highest. In bold: the interval leaves out 0.", ""]
    for method in comparison.methods if runs else ():
        pairs = zip(method.runs, method.seeds, strict=True)
        named = [run if seed is None else f"{run} (seed {seed})" for run, seed in pairs]
        text.append(f"- {method.name}: {', '.join(named)}")
    text += ["", *(f"- {warning}" for warning in comparison.warnings)]
    return "\n".join(text) + "\n"


def _classes(comparison: Comparison) -> str:
    return f"; classes {', '.join(comparison.classes)}" if comparison.classes else ""


def table(comparison: Comparison) -> str:
    """CSV with a row per figure, class (`all` for the total) and method; cells may be empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for figure in comparison.figures:
        for label in ("all", *comparison.classes):
            for method in comparison.methods:
                gap = comparison.difference(method.name)
                whole = label == "all"
                value = (method.figures if whole else method.per_class[label]).get(figure)
                away = gap and (gap.figures if whole else gap.per_class[label]).get(figure)
                runs = (method.spread(figure) if whole else None) or (None, None)
                if value is not None:
                    writer.writerow([
                        figure, label, method.name, len(method.runs), *_plain(value), *runs,
                        *((gap.minus, *_plain(away), gap.covers) if gap and away else [""] * 5),
                    ])  # fmt: skip
    return text.getvalue()


def _plain(figure: Figure) -> tuple[float | None, float | None, float | None]:
    return (figure.value, figure.low, figure.high)


def defined(comparison: Comparison) -> tuple[str, ...]:
    """Figures that some method has."""
    return tuple(
        figure
        for figure in comparison.figures
        if any(method.figures[figure].value is not None for method in comparison.methods)
    )


def left_out(
    comparison: Comparison, *, stem: str = "compare", choice: str = "--metric NAME,…"
) -> list[str]:
    """A sentence if `forest` has no room for all figures, else nothing.

    Args:
        comparison: the figures.
        stem: of the names of the tables.
        choice: what chooses the figures.
    """
    rest = defined(comparison)[MOST:]
    if not rest:
        return []
    return [
        f"The picture has room for {MOST} figures; {len(rest)} more are in {stem}.md and "
        f"{stem}.csv, and {choice} chooses those of the picture: {', '.join(rest)}."
    ]


def forest(comparison: Comparison, *, foot: Sequence[str] | None = None) -> Drawing:
    """Values at the left, paired differences to the baseline at the right, figure by figure.

    Lines are 95 % intervals, small circles single runs. A difference whose interval leaves out 0 is
    filled. At most `MOST` figures are drawn, and the footer names the others; figures that nobody
    has are left out.

    Args:
        comparison: the figures.
        foot: sentences below the picture; `left_out` where None.
    """
    drawn = defined(comparison)[:MOST]
    count = len(comparison.methods)
    columns = 2 if count > LONG and len(drawn) > 2 else 1
    rows = max(-(-len(drawn) // columns), 1)
    longest = max(len(method.name) for method in comparison.methods)
    left = 0.35 + 0.075 * min(longest, 40)
    each = max(8.6 / columns, left + 0.55 + 2 * _SIDE)
    width, half = each * columns, (each - left - 0.55) / 2
    block = _HEAD + _ROW * count + 0.2
    said = left_out(comparison) if foot is None else foot
    foot = [part for text in said for part in textwrap.wrap(text, int(17 * width))]
    height = 0.62 + block * rows + 0.3 + _LINE * len(foot)
    figure = marks.new(width, height)
    figure.text(0.1 / width, 0.06 / height, "\n".join(foot), fontsize=7, color="0.35", va="bottom",
                **fonts.style())  # fmt: skip
    known = comparison.provenance
    words = f"{known['data']}: {extent(comparison)}"
    cut = marks._cut(words, int(12 * width))
    figure.text(0.1 / width, 1 - 0.2 / height, cut, fontsize=9, va="center", **fonts.style())
    over = sorted({d.covers for d in comparison.differences})
    titles = (
        "value, 95 % over patients; circles: runs",
        f"− {known['baseline']}, 95 % over {' or '.join(over)}",
    )
    for index, name in enumerate(drawn):
        column, row = divmod(index, rows)
        bottom = height - 0.62 - block * (row + 1) + 0.2
        places = [column * each + left, column * each + left + half + 0.4]
        if row == 0:
            for title, x in zip(titles, places, strict=True):
                cut = marks._cut(title, int(half * 15))
                figure.text(x / width, 1 - 0.48 / height, cut, fontsize=8, color="0.35",
                            va="center", **fonts.style())  # fmt: skip
        sides = [
            figure.add_axes((x / width, bottom / height, half / width, _ROW * count / height))
            for x in places
        ]
        sides[0].set_title(name, fontsize=9, loc="left", pad=3, weight="bold")
        _values(sides[0], comparison, name)
        _differences(sides[1], comparison, name)
    return figure


def _values(axes: Axes, comparison: Comparison, name: str) -> None:
    for place, method in enumerate(comparison.methods):
        colour = LINES[place % len(LINES)]
        found = method.figures[name]
        runs = [value for value in method.per_run[name] if value is not None]
        if len(runs) > 1:
            axes.plot(runs, np.full(len(runs), place - 0.24), "o", mfc="none", mec=colour, ms=3.2,
                      mew=0.8)  # fmt: skip
        _interval(axes, found, place, colour, filled=True)
    _dress(axes, comparison)
    axes.set_yticks(range(len(comparison.methods)))
    names = [marks._cut(m.name, 40) for m in comparison.methods]
    axes.set_yticklabels(names, fontsize=8, **fonts.style())


def _differences(axes: Axes, comparison: Comparison, name: str) -> None:
    axes.axvline(0, color="0.3", lw=0.8, zorder=1)
    for place, method in enumerate(comparison.methods):
        gap = comparison.difference(method.name)
        if gap is None:
            axes.text(0.0, place, " baseline", fontsize=7, color="0.45", va="center")
        else:
            colour = LINES[place % len(LINES)]
            _interval(axes, gap.figures[name], place, colour, filled=gap.clear(name))
    _dress(axes, comparison)
    axes.set_yticks([])
    if len(axes.get_xticks()) == 1:  # all differences are 0 or undefined
        return
    reach = max(map(abs, axes.get_xlim()))
    axes.set_xlim(-reach, reach)


def _interval(axes: Axes, found: Figure, place: int, colour: str, *, filled: bool) -> None:
    if found.value is None:
        axes.text(0.5, place, "undefined", fontsize=7, color="0.45", va="center", ha="center",
                  transform=axes.get_yaxis_transform(), zorder=4,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        return
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [place, place], "-", color=colour, lw=1.6, zorder=2)
    face = colour if filled else "white"
    axes.plot([found.value], [place], "o", mfc=face, mec=colour, ms=5, mew=1.2, zorder=3)


def _dress(axes: Axes, comparison: Comparison) -> None:
    axes.set_ylim(len(comparison.methods) - 0.45, -0.55)
    axes.margins(x=0.06)
    axes.grid(axis="x", alpha=0.25, lw=0.5)
    axes.tick_params(axis="x", labelsize=7, length=2, pad=1)
    axes.tick_params(axis="y", length=0)
    places = [float(x) for line in axes.get_lines() for x in line.get_xdata()]
    if places and max(places) - min(places) < SAME:
        _one_tick(axes, places[0])
    else:
        axes.locator_params(axis="x", nbins=6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _one_tick(axes: Axes, value: float) -> None:
    """An axis on which all is at one value; ticks beside it would be of no figure."""
    axes.set_xlim(value - 1, value + 1)
    axes.set_xticks([value], labels=[f"{value:.3g}"])
