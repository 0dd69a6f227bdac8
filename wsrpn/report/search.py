"""The picture of a search: values over trials, and over what was chosen for each key."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn.report import fonts, marks
from wsrpn.report.draw import LINES
from wsrpn.report.marks import Axes, Drawing
from wsrpn.report.trials import Found, Span, Trial, summary, text

_PLAIN, _BEST = LINES[0], LINES[1]
_ACROSS, _CELL, _HEAD = 4, 1.85, 0.55  # panels in a row; inches: height of one, above all


def picture(found: Found) -> Drawing:
    """Values over trials with the best so far, and below them a panel per searched key.

    Pruned trials are hollow circles at the last value seen of them, failed ones crosses at the
    foot; the best trial is drawn in another colour.
    """
    keys = list(found.scales)
    across = min(_ACROSS, max(2, len(keys)))
    rows = -(-len(keys) // across)
    width, top = 8.6, 2.3
    height = _HEAD + top + 0.3 + rows * _CELL + 0.05
    figure = marks.new(width, height)
    heading = marks._cut(fonts.legible(f"{found.title}: {summary(found)}"), 105)
    at = (0.1 / width, 1 - 0.2 / height)
    figure.text(*at, heading, fontsize=9, va="center", **fonts.style())
    bottom = height - _HEAD - top
    axes = figure.add_axes((0.6 / width, bottom / height, (width - 0.85) / width, top / height))
    _history(axes, found)
    cell = (width - 0.85 + 0.15) / across
    for place, key in enumerate(keys):
        row, column = divmod(place, across)
        low = bottom - 0.3 - (row + 1) * _CELL + 0.3
        left = 0.6 + column * cell
        box = (left / width, low / height, (cell - 0.15) / width, (_CELL - 0.6) / height)
        panel = figure.add_axes(box, sharey=axes)
        _panel(panel, found, key, room=cell)
        panel.tick_params(axis="y", labelleft=column == 0)
    return figure


def _history(axes: Axes, found: Found) -> None:
    """All trials by number, and a staircase of the best value so far."""
    _points(axes, found, {t.number: float(t.number) for t in found.trials})
    known = [(t.number, t.value) for t in found.trials if t.state == "complete"]
    if known:
        pick = np.minimum if found.lower else np.maximum
        numbers, values = zip(*known, strict=True)
        best = pick.accumulate(np.array(values, dtype=float))
        last = max(t.number for t in found.trials)
        axes.step([*numbers, last], [*best, best[-1]], where="post", color="0.55", lw=1.2, zorder=1)
    failed = [t.number for t in found.trials if t.state == "failed"]
    axes.plot(failed, np.zeros(len(failed)), "x", color="0.3", ms=5, zorder=3, clip_on=False,
              transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlabel("trial", fontsize=8, labelpad=1)
    axes.set_ylabel(f"val/{found.figure}", fontsize=8, **fonts.style())
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(-0.5, max([t.number for t in found.trials], default=0) + 0.5)
    _dress(axes)
    if not any(t.value is not None for t in found.trials):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no value yet", color="0.45", fontsize=8, ha="center", va="center",
                  transform=axes.transAxes)  # fmt: skip
    _legend(axes, found)


def _panel(axes: Axes, found: Found, key: str, *, room: float) -> None:
    """The value of each trial over what was chosen for a key."""
    scale = found.scales[key]
    if isinstance(scale, tuple):
        names = [fonts.legible(text(value)) for value in scale]
        side = _beside(found, key)
        places = {
            t.number: scale.index(t.chosen[key]) + side[t.number]
            for t in found.trials
            if key in t.chosen
        }
        size = 7.0 if sum(map(len, names)) * 0.06 + 0.12 * len(names) < room else 5.0
        fit = max(2, int(room / len(names) * 72 / (0.6 * size)))
        short = [marks._cut(name, fit) for name in names]
        axes.set_xticks(range(len(names)), labels=short, **fonts.style())
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        places = {t.number: float(t.chosen[key]) for t in found.trials if key in t.chosen}
        size = 7.0
        if scale.log:
            _logarithmic(axes, scale)
        else:
            pad = 0.04 * (scale.high - scale.low)
            axes.set_xlim(scale.low - pad, scale.high + pad)
            axes.locator_params(axis="x", nbins=5)
    _points(axes, found, places)
    title = _shortened(fonts.legible(key), int(room * 14))
    axes.set_title(title, fontsize=8, loc="left", pad=3, **fonts.style())
    _dress(axes)
    axes.tick_params(axis="x", labelsize=size)


def _logarithmic(axes: Axes, scale: Span) -> None:
    """Few labels: powers of ten, or where there is at most one of them, three round numbers."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    pad = (scale.high / scale.low) ** 0.04
    axes.set_xlim(scale.low / pad, scale.high * pad)
    axes.xaxis.set_minor_formatter(NullFormatter())
    if scale.high / scale.low < 100:
        places = [float(f"{x:.1g}") for x in np.geomspace(scale.low, scale.high, 3)]
        axes.set_xticks(places, labels=[f"{x:g}" for x in places])


def _shortened(key: str, fit: int) -> str:
    """The end of a key says more than its beginning.

    Example:
        >>> _shortened("phases.2.weights.sparsity", 18), _shortened("train.lr", 18)
        ('…weights.sparsity', 'train.lr')
    """
    parts = key.split(".")
    while len(".".join(parts)) + 1 > fit and len(parts) > 1:
        parts = parts[1:]
    short = ".".join(parts)
    return marks._cut(short if short == key else f"…{short}", fit)


def _beside(found: Found, key: str) -> dict[int, float]:
    """A shift for each trial, so that those with the same choice do not hide each other."""
    shifts: dict[int, float] = {}
    seen: dict[str, int] = {}
    for trial in found.trials:
        name = text(trial.chosen.get(key))
        order = seen[name] = seen.get(name, 0) + 1
        shifts[trial.number] = ((order * 0.618) % 1 - 0.5) * 0.5
    return shifts


def _points(axes: Axes, found: Found, places: Mapping[int, float]) -> None:
    """Trials with a value as circles: pruned ones hollow, the best one coloured."""
    first = found.best()[:1]
    for state, face in (("pruned", "none"), ("complete", _PLAIN)):
        at = _xy(found, places, [t for t in found.trials if t.state == state])
        axes.plot(*at, "o", mfc=face, mec=_PLAIN, ms=4, mew=0.9, alpha=0.85, zorder=2)
    axes.plot(*_xy(found, places, first), "o", mfc=_BEST, mec=_BEST, ms=6, zorder=4)


def _xy(found: Found, places: Mapping[int, float], trials: list[Trial]) -> Float[np.ndarray, "2 n"]:
    there = [t for t in trials if t.number in places and t.value is not None]
    return np.array([[places[t.number], t.value] for t in there], dtype=float).reshape(-1, 2).T


def _legend(axes: Axes, found: Found) -> None:
    from matplotlib.lines import Line2D

    def circle(face: str, edge: str, label: str) -> Any:
        return Line2D([], [], ls="", marker="o", mfc=face, mec=edge, ms=4.5, label=label)

    shown = [circle(_PLAIN, _PLAIN, "complete")]
    if found.count("pruned"):
        shown.append(circle("none", _PLAIN, "pruned, last value seen"))
    if found.count("failed"):
        shown.append(Line2D([], [], ls="", marker="x", color="0.3", ms=5, label="failed"))
    if found.best():
        best = found.best()[0]
        shown.append(circle(_BEST, _BEST, f"best {best.value:.4g}, trial {best.number}"))
        shown.append(Line2D([], [], color="0.55", lw=1.2, label="best so far"))
    axes.legend(handles=shown, fontsize=7, frameon=False, ncols=len(shown), loc="lower right",
                bbox_to_anchor=(1.0, 0.985), borderaxespad=0, handletextpad=0.3)  # fmt: skip


def _dress(axes: Axes) -> None:
    axes.grid(alpha=0.25, lw=0.5)
    axes.tick_params(labelsize=7, length=2, pad=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
