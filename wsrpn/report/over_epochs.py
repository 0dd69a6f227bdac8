"""Figures over the epochs of the trainings of a study."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.report import arms, fonts, labels, placing
from wsrpn.report.arms import FEW
from wsrpn.report.marks import Axes, Drawing

Rows = Sequence[Mapping[str, float]]
_LOG = 100.0  # largest over smallest value from which an axis of positive values is logarithmic
_LEFT, _PLOT, _LOW = 0.55, 3.15, 2.1  # inches: left of a panel, its width, its least height
_OVER, _UNDER = 0.34, 0.44  # inches: above and below a panel


@dataclass(frozen=True)
class Series:
    """One figure of one arm.

    Attributes:
        epochs: where some run has it.
        mean: over the runs that have it.
        low: lowest run.
        high: highest run.
        whole: where as many runs have it as anywhere.
    """

    epochs: Float[np.ndarray, " e"]
    mean: Float[np.ndarray, " e"]
    low: Float[np.ndarray, " e"]
    high: Float[np.ndarray, " e"]
    whole: Bool[np.ndarray, " e"]

    def __len__(self) -> int:
        return len(self.epochs)


@dataclass(frozen=True)
class _Tag:
    """How the name of an arm is written: its place, words in lines, width and height in points."""

    place: int
    words: str
    size: float
    extent: tuple[float, float]


def curves(
    rows: Mapping[str, Sequence[Rows]], *, figures: Sequence[str], title: str = ""
) -> Drawing:
    """Figures over the epochs, a panel each: a line per arm, in a band of its runs.

    The line is the mean over the runs of an arm and the band goes from its lowest to its highest
    run; where fewer runs have the figure than elsewhere, the line is thin. The first arm is drawn
    stronger, as what the others are seen against. Of more than `FEW` arms only the first has a
    band. A dotted upright line is where a loss joins or leaves, if all arms in which one does agree
    on the epochs. Positive figures that fall or rise a hundredfold are drawn on a logarithmic axis.

    Args:
        rows: arm → runs → rows of `metrics.csv`; what a row lacks or has as nan is a gap.
        figures: columns to draw; the footer names those that no run has.
        title: heading.
    """
    found = {f: {arm: series(runs, f) for arm, runs in rows.items()} for f in figures}
    drawn = [f for f, of in found.items() if any(map(len, of.values()))]
    tags = _tags(list(rows))
    gap = 0.52 if len(rows) <= FEW else 0.75
    column = gap + max((tag.extent[0] for tag in tags.values()), default=0.0) / 72 + 0.08
    high = max(_LOW, 1.02 * sum(tag.extent[1] for tag in tags.values()) / 72)
    across = min(2, max(1, len(drawn)))
    cell, block = _LEFT + _PLOT + column, _OVER + high + _UNDER
    borders = _borders(rows)
    note = " ".join([*_reading(rows, found, borders), *_missing(found)])
    page = arms.page(across * cell + 0.1, -(-len(drawn) // across) * block, title, note)
    for index, name in enumerate(drawn):
        x, y = index % across * cell + _LEFT, page.top + index // across * block + _OVER
        axes = page.axes(x, y, _PLOT, high)
        axes.set_title(fonts.legible(arms.unit(name)), fontsize=9, loc="left", pad=4, weight="bold",
                       **fonts.style())  # fmt: skip
        _lines(axes, found[name], borders)
        _names(axes, found[name], tags, (72 * _PLOT, 72 * high), 72 * gap)
    return page.figure


def series(runs: Sequence[Rows], name: str) -> Series:
    """A figure of an arm, run by run put together."""
    at: dict[float, list[float]] = {}
    for row in itertools.chain.from_iterable(runs):
        epoch, value = row.get("epoch", math.nan), row.get(name, math.nan)
        if math.isfinite(epoch) and math.isfinite(value):
            at.setdefault(float(epoch), []).append(float(value))
    epochs = sorted(at)
    most = max(map(len, at.values()), default=0)
    return Series(
        np.array(epochs, dtype=np.float64),
        np.array([np.mean(at[e]) for e in epochs], dtype=np.float64),
        np.array([min(at[e]) for e in epochs], dtype=np.float64),
        np.array([max(at[e]) for e in epochs], dtype=np.float64),
        np.array([len(at[e]) == most for e in epochs], dtype=bool),
    )


def _tags(names: Sequence[str]) -> dict[str, _Tag]:
    """Names broken into lines; a long list has smaller letters."""
    wide, size = (130.0, 7.5) if len(names) <= FEW else (160.0, 6.5)
    found = {}
    for place, name in enumerate(names):
        words = labels.wrap(name, wide, size, bold=place == 0)
        found[name] = _Tag(place, words, size, labels.extent(words, size, bold=place == 0))
    return found


def _borders(rows: Mapping[str, Sequence[Rows]]) -> tuple[float, ...]:
    """Epochs after which other losses have a weight; none if arms that have such differ in them."""
    seen = set()
    for run in itertools.chain.from_iterable(rows.values()):
        known = [row for row in run if math.isfinite(row.get("epoch", math.nan))]
        active = [{k for k, v in r.items() if k.startswith("weight/") and v > 0} for r in known]
        changes = [i for i, (one, other) in enumerate(itertools.pairwise(active)) if one != other]
        if changes:
            seen.add(tuple(float(known[i]["epoch"]) for i in changes))
    return seen.pop() if len(seen) == 1 else ()


def _lines(axes: Axes, found: Mapping[str, Series], borders: Sequence[float]) -> None:
    """All lines of a panel, with its axes."""
    from matplotlib.ticker import MaxNLocator

    for border in borders:
        axes.axvline(border, color="0.6", lw=0.8, ls=(0, (1, 2)), zorder=1)
    for place, (arm, one) in enumerate(found.items()):
        if len(one):
            _line(axes, arm, place, one, many=len(found) > FEW)
    there = [one for one in found.values() if len(one)]
    values = np.concatenate([part for one in there for part in (one.low, one.high)])
    if values.min() > 0 and values.max() >= _LOG * values.min():
        axes.set_yscale("log")
    begin, end = min(one.epochs[0] for one in there), max(one.epochs[-1] for one in there)
    axes.set_xlim(begin - 0.5 * (begin == end), end + 0.5 * (begin == end))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch", fontsize=8, labelpad=1)
    arms.plain(axes)


def _line(axes: Axes, arm: str, place: int, one: Series, *, many: bool) -> None:
    """One arm; the artist with its name as label is its mean."""
    colour, style, _ = arms.look(place)
    first = place == 0
    width = 2.2 if first else 1.0 if many else 1.5
    look = {"ls": style, "color": colour, "zorder": 5 if first else 3,
            "alpha": 1.0 if first else 0.75 if many else 0.95}  # fmt: skip
    if (not many or first) and (one.high > one.low).any():
        axes.fill_between(one.epochs, one.low, one.high, color=colour, alpha=0.16, lw=0, zorder=2)
    dot = {"marker": "o", "ms": 3.0} if len(one) == 1 else {}
    thin = 1.0 if one.whole.all() else 0.45
    axes.plot(one.epochs, one.mean, lw=thin * width, label=arm, **look, **dot)
    if not one.whole.all():
        axes.plot(one.epochs, np.where(one.whole, one.mean, np.nan), lw=width, **look)


def _names(
    axes: Axes,
    found: Mapping[str, Series],
    tags: Mapping[str, _Tag],
    room: tuple[float, float],
    gap: float,
) -> None:
    """Names at the right of the panel, each with a sample of its line, led to the line's end.

    Args:
        axes: of the panel, with its final limits.
        found: figure of each arm.
        tags: how names are written.
        room: width and height of the axes in points.
        gap: points from the axes to the names.
    """
    there = [arm for arm, one in found.items() if len(one)]
    ends = np.array([(found[arm].epochs[-1], found[arm].mean[-1]) for arm in there])
    ends = (axes.transData + axes.transAxes.inverted()).transform(ends)
    tall = np.array([tags[arm].extent[1] for arm in there])
    heights = placing.spread(ends[:, 1] * room[1], tall, 0.0, room[1]) / room[1]
    free = {"transform": axes.transAxes, "clip_on": False, "scalex": False, "scaley": False}
    for arm, end, height in zip(there, ends, heights, strict=True):
        tag = tags[arm]
        colour, style, _ = arms.look(tag.place)
        begin = 1 + (gap - 20) / room[0]
        axes.plot([end[0], begin], [end[1], height], color=colour, lw=0.6, zorder=2, **free,
                  alpha=0.8, ls="-" if end[0] > 0.999 else (0, (1, 2)))  # fmt: skip
        axes.plot([begin, 1 + (gap - 4) / room[0]], [height, height], color=colour, zorder=2,
                  ls=style, lw=2.2 if tag.place == 0 else 1.4, **free)  # fmt: skip
        axes.text(1 + gap / room[0], height, tag.words, fontsize=tag.size, color=arms.DARK,
                  va="center", ha="left", linespacing=1.1, transform=axes.transAxes,
                  weight="bold" if tag.place == 0 else "normal", **fonts.style())  # fmt: skip


def _reading(
    rows: Mapping[str, Sequence[Rows]],
    found: Mapping[str, Mapping[str, Series]],
    borders: Sequence[float],
) -> list[str]:
    """How the lines are to be read."""
    there = [one for of in found.values() for one in of.values() if len(one)]
    if not there:
        return []
    counts = sorted({len(runs) for runs in rows.values() if len(runs)})
    if counts[-1] == 1:
        said = ["One run an arm"]
    else:
        many = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        band = "band of the first arm" if len(rows) > FEW else "bands"
        said = [f"Lines: mean of {many} runs; {band}: lowest to highest run"]
    if not all(one.whole.all() for one in there):
        said.append("thin lines: fewer runs")
    if borders:
        said.append("dotted: other losses from here on")
    return [f"{'; '.join(said)}."]


def _missing(found: Mapping[str, Mapping[str, Series]]) -> list[str]:
    """What is not there: figures of no run, and arms without a figure that others have."""
    said = []
    absent = [name for name, of in found.items() if not any(map(len, of.values()))]
    if absent:
        said.append(f"No run has {', '.join(absent)}.")
    for name, of in found.items():
        without = [arm for arm, one in of.items() if not len(one)]
        if without and name not in absent:
            said.append(f"Without {name}: {', '.join(without)}.")
    return said
