"""One figure against another for the arms of a study, and which arms no other one beats."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.comparison import Comparison, Method
from wsrpn.report import arms, fonts, labels, placing
from wsrpn.report.marks import Axes, Drawing

_WIDE, _HIGH = 6.8, 4.6  # inches, of the axes
_LEFT, _RIGHT, _UNDER = 0.68, 0.15, 0.44
_CROWDED = 0.14  # share of the axes that names may cover; beyond, they stand beside it, numbered
_NEAR = 8.0  # points from a mark, within which a name that is far from others needs no leader
_TOWARDS = {"entropy": "sharper", "entropy_normalized": "sharper"}


@dataclass(frozen=True)
class _Arm:
    """What is drawn of an arm; a row is the value with the lower and upper end of its interval.

    Attributes:
        place: in the study.
        name: of the arm.
        x: of the figure that should be low.
        y: of the figure that should be high.
        runs: both figures of each run, none of an only one, which is the point itself.
    """

    place: int
    name: str
    x: Float[np.ndarray, "3"]
    y: Float[np.ndarray, "3"]
    runs: Float[np.ndarray, "s 2"]


def front(
    against: Float[np.ndarray, " n"], good: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Points that no other point beats: none is as good in both and better in one.

    Example:
        >>> front(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.4, 0.6]))
        array([ True, False,  True])
    """
    reaches = (against[:, None] >= against[None]) & (good[:, None] <= good[None])
    better = (against[:, None] > against[None]) | (good[:, None] < good[None])
    return np.asarray(~(reaches & better).any(axis=1))


def pareto(
    comparison: Comparison, *, good: str = "ap@0.3", against: str = "entropy", title: str = ""
) -> Drawing:
    """A point per arm with its 95 % intervals both ways, its runs as small circles.

    Arms on the Pareto front are filled and joined: no other arm has more of `good` at no more of
    `against`. The baseline has a ring. Names stand at their points; where they would cover too much
    of the picture, at its right, under the number that stands at the point. The footer names arms
    without one of the figures.

    Args:
        comparison: of the arms.
        good: figure that should be high, upwards.
        against: figure that should be low, to the right.
        title: heading.
    """
    found = [_arm(place, m, against, good) for place, m in enumerate(comparison.methods)]
    shown = [arm for arm in found if arm is not None]
    best = front(np.array([a.x[0] for a in shown]), np.array([a.y[0] for a in shown]))
    beside = _beside(shown, best)
    column = beside.wide / 72 if beside else 0.0
    absent = [m.name for m, arm in zip(comparison.methods, found, strict=True) if arm is None]
    missing = f"Without {good} or {against}: {', '.join(absent)}." if absent else ""
    note = " ".join([*_reading(shown), missing]).strip()
    high = max(_HIGH, beside.high / 72 if beside else 0.0)
    page = arms.page(_LEFT + _WIDE + column + _RIGHT, high + _UNDER, title, note)
    axes = page.axes(_LEFT, page.top, _WIDE, high)
    _titles(axes, good, against)
    if not shown:
        axes.set(xticks=[], yticks=[])
        return page.figure
    _limits(axes, shown)
    _join(axes, shown, best)
    base = comparison.provenance.get("baseline")
    for arm, filled in zip(shown, best, strict=True):
        _point(axes, arm, filled=bool(filled), ring=arm.name == base)
    _write(axes, shown, best, (72 * _WIDE, 72 * high), numbered=beside is not None)
    if beside:
        _list(axes, shown, best, beside, (72 * _WIDE, 72 * high))
    return page.figure


def _arm(place: int, method: Method, against: str, good: str) -> _Arm | None:
    """What is drawn of a method; None if one of its figures is undefined."""
    x, y = _row(method, against), _row(method, good)
    if x is None or y is None:
        return None
    runs = []
    if len(method.runs) > 1:
        pairs = zip(method.per_run[against], method.per_run[good], strict=True)
        runs = [pair for pair in pairs if None not in pair]
    return _Arm(place, method.name, x, y, np.array(runs, dtype=np.float64).reshape(-1, 2))


def _row(method: Method, name: str) -> Float[np.ndarray, "3"] | None:
    """A figure with the ends of its interval, itself where there is none."""
    found = method.figures.get(name)
    if found is None or found.value is None:
        return None
    ends = [found.value if end is None else end for end in (found.low, found.high)]
    return np.array([found.value, *ends], dtype=np.float64)


def _reading(shown: list[_Arm]) -> list[str]:
    """How the marks are to be read, as far as there are such marks."""
    if not shown:
        return ["No arm has both figures."]
    said = []
    if any(np.ptp(row) > 0 for arm in shown for row in (arm.x, arm.y)):
        said.append("Bars: 95 % over patients, not over seeds.")
    if any(len(arm.runs) for arm in shown):
        said.append("Small circles: runs.")
    return [*said, "Filled and joined: no other arm is better in both. Ring: the baseline."]


def _titles(axes: Axes, good: str, against: str) -> None:
    towards = _TOWARDS.get(against, "lower is better")
    given = {"fontsize": 8.5, "labelpad": 3, **fonts.style()}
    axes.set_xlabel(f"← {towards}      {fonts.legible(arms.unit(against))}", **given)
    axes.set_ylabel(f"{fonts.legible(arms.unit(good))}      higher is better →", **given)
    arms.plain(axes)


def _limits(axes: Axes, shown: list[_Arm]) -> None:
    """Room for all marks; figures that are never negative get no axis far below 0."""
    for column, reach in ((0, axes.set_xlim), (1, axes.set_ylim)):
        rows = [(arm.x, arm.y)[column] for arm in shown]
        every = np.concatenate([*rows, *(arm.runs[:, column] for arm in shown)])
        low, high = float(every.min()), float(every.max())
        room = 0.07 * (high - low) or 0.1 * abs(high) or 0.1
        reach(max(low - room, -0.25 * room) if low >= 0 else low - room, high + room)


def _steps(shown: list[_Arm], best: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "m 2"]:
    """Corners of the border of what is reached, from the lowest arm of the front to the highest."""
    points = sorted((arm.x[0], arm.y[0]) for arm, on in zip(shown, best, strict=True) if on)
    corners = [points[0]]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return np.array(corners, dtype=np.float64)


def _join(axes: Axes, shown: list[_Arm], best: Bool[np.ndarray, " n"]) -> None:
    axes.plot(*_steps(shown, best).T, color="0.5", lw=1.0, zorder=1.5, label="front")


def _point(axes: Axes, arm: _Arm, *, filled: bool, ring: bool) -> None:
    """One arm; the artist with its name as label is its mean."""
    colour, _, marker = arms.look(arm.place)
    (x, left, right), (y, low, high) = arm.x, arm.y
    axes.plot([left, right], [y, y], color=colour, lw=1.0, alpha=0.5, zorder=2)
    axes.plot([x, x], [low, high], color=colour, lw=1.0, alpha=0.5, zorder=2)
    axes.plot(*arm.runs.T, "o", mfc="none", mec=colour, ms=2.6, mew=0.7, zorder=2.5)
    if ring:
        axes.plot([x], [y], "o", mfc="none", mec=arms.DARK, ms=11.5, mew=0.9, zorder=3.5)
    axes.plot([x], [y], marker, mfc=colour if filled else "white", mec=colour, ms=6.2, mew=1.5,
              zorder=4, ls="none", label=arm.name)  # fmt: skip


@dataclass(frozen=True)
class _Beside:
    """Names at the right of the axes: in lines, their heights, and the room for all, in points."""

    words: list[str]
    tall: Float[np.ndarray, " n"]
    wide: float

    @property
    def high(self) -> float:
        """Room for all of them."""
        return float(self.tall.sum())


def _sizes(words: list[str], best: Bool[np.ndarray, " n"], size: float) -> np.ndarray:
    pairs = zip(words, best, strict=True)
    return np.array([labels.extent(w, size, bold=bool(b)) for w, b in pairs]).reshape(-1, 2)


def _words(shown: list[_Arm], best: Bool[np.ndarray, " n"]) -> list[str]:
    """Names as they stand at their points."""
    pairs = zip(shown, best, strict=True)
    return [labels.wrap(arm.name, 145.0, 7.5, lines=3, bold=bool(b)) for arm, b in pairs]


def _beside(shown: list[_Arm], best: Bool[np.ndarray, " n"]) -> _Beside | None:
    """The names as a list, if they would cover too much of the axes."""
    covered = _sizes(_words(shown, best), best, 7.5).prod(axis=1).sum()
    if covered < _CROWDED * _WIDE * _HIGH * 72 * 72:
        return None
    pairs = zip(shown, best, strict=True)
    words = [labels.wrap(arm.name, 200.0, 7.0, lines=3, bold=bool(b)) for arm, b in pairs]
    sizes = _sizes(words, best, 7.0)
    return _Beside(words, sizes[:, 1] + 3.0, float(sizes[:, 0].max()) + 46)


def _write(
    axes: Axes,
    shown: list[_Arm],
    best: Bool[np.ndarray, " n"],
    room: tuple[float, float],
    *,
    numbered: bool,
) -> None:
    """Names or numbers beside their points, with a leader where they had to go far."""
    from matplotlib.patheffects import withStroke

    words = [str(arm.place + 1) for arm in shown] if numbered else _words(shown, best)
    sizes = _sizes(words, best, 7.5)

    def on_page(points: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
        share = (axes.transData + axes.transAxes.inverted()).transform(points)
        return np.asarray(share * np.array(room))

    points = on_page(np.array([(arm.x[0], arm.y[0]) for arm in shown]))
    steps = _steps(shown, best)
    lines = [((arm.x[1], arm.y[0]), (arm.x[2], arm.y[0])) for arm in shown]
    lines += [((arm.x[0], arm.y[1]), (arm.x[0], arm.y[2])) for arm in shown]
    lines += list(zip(map(tuple, steps[:-1]), map(tuple, steps[1:]), strict=True))
    bars = on_page(np.array(lines).reshape(-1, 2)).reshape(-1, 4)
    dots = on_page(np.concatenate([arm.runs for arm in shown]))
    corners = placing.around(points, sizes, room, bars=bars, dots=dots)
    halo = [withStroke(linewidth=2.0, foreground="white")]
    for i, (text, corner) in enumerate(zip(words, corners, strict=True)):
        end = placing.nearest_edge(corner[None], sizes[i], points[i])[0]
        others = np.delete(points, i, axis=0)
        clear = placing.clear(corner[None], sizes[i], points[i], others).item()
        if not clear or np.hypot(*(end - points[i])) > _NEAR:
            axes.plot(*(np.stack([points[i], end]) / np.array(room)).T, lw=0.6, color="0.35",
                      transform=axes.transAxes, zorder=3, scalex=False, scaley=False)  # fmt: skip
        axes.text(*((corner + sizes[i] / 2) / np.array(room)), text, fontsize=7.5, ha="center",
                  va="center", linespacing=1.1, weight="bold" if best[i] else "normal",
                  color=arms.DARK, transform=axes.transAxes, zorder=5, path_effects=halo,
                  **fonts.style())  # fmt: skip


def _list(
    axes: Axes,
    shown: list[_Arm],
    best: Bool[np.ndarray, " n"],
    beside: _Beside,
    room: tuple[float, float],
) -> None:
    """The names at the right, each behind its number and its mark."""
    free = {"transform": axes.transAxes, "clip_on": False}
    top = room[1]
    for arm, words, tall, on in zip(shown, beside.words, beside.tall, best, strict=True):
        colour, _, marker = arms.look(arm.place)
        y = (top - tall / 2) / room[1]
        weight = "bold" if on else "normal"
        given = {"fontsize": 7.0, "va": "center", "weight": weight, "color": arms.DARK,
                 "linespacing": 1.1, "transform": axes.transAxes, **fonts.style()}  # fmt: skip
        axes.text(1 + 30 / room[0], y, str(arm.place + 1), ha="right", **given)
        axes.plot([1 + 38 / room[0]], [y], marker, mfc=colour if on else "white", mec=colour,
                  ms=5, mew=1.3, scalex=False, scaley=False, **free)  # fmt: skip
        axes.text(1 + 46 / room[0], y, words, ha="left", **given)
        top -= tall
