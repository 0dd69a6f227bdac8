"""Edges of tiles along one axis, and the straight line of equal steps that they follow.

A line is `origin + index × pitch`. Its pitch is found from the smallest distance of two edges, made
sharp by a periodogram (the pitch under which all edges have one phase), then fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

SLACK_PX0, SLACK_SHARE = 1.0, 0.01  # of a place beyond rounding: a pixel, or a part of the tile
MOST_OVERLAP = 64  # a step is at least this part of a tile
MOST_PARTS = 8  # the same where no two tiles are one step apart
MOST_TRIED = 4096  # parts of the smallest distance; a gap of 512 tiles where that is the least
SAMPLE = 192  # edges that a scan of pitches looks at
CHANCE = 1e-3  # that edges without any order are taken for a line


@dataclass(frozen=True)
class Line:
    """Places at `origin + index × pitch`, and how far the worst is away."""

    origin: float
    pitch: float
    index: Int[np.ndarray, " p"]
    worst: float


@dataclass(frozen=True)
class Axis:
    """The different edges of tiles along one axis.

    Attributes:
        places: sorted.
        place: of every tile, its number among `places`.
        weight: tiles at each place; one stray tile must not bend the lattice of a million.
        size: of a tile.
        grain: what edges are rounded to.
    """

    places: Float[np.ndarray, " p"]
    place: Int[np.ndarray, " n"]
    weight: Int[np.ndarray, " p"]
    size: float
    grain: float

    @staticmethod
    def of(edges: Num[np.ndarray, " n"], size: float) -> "Axis":
        """The axis of left or top edges of tiles with one size."""
        places, place, weight = np.unique(
            edges.astype(np.float64), return_inverse=True, return_counts=True
        )
        return Axis(places, place, weight, size, _grain(places))

    @property
    def span(self) -> float:
        """From the first place to the last."""
        return float(self.places[-1] - self.places[0])

    @property
    def slack(self) -> float:
        """How far a place may be off beyond rounding."""
        return min(SLACK_PX0, SLACK_SHARE * self.size)

    def pitch(self) -> float | None:
        """The largest pitch of all places; 0 for a single place, None where there is none."""
        whole = np.round(self.places / self.grain).astype(np.int64)
        common = float(np.gcd.reduce(np.diff(whole))) * self.grain
        window = self.grain + 2 * self.slack
        if self.span <= min(window, self.size / 2):
            return 0.0
        if common >= 0.99 * self.size:
            return common
        found = self._largest(self.grain)
        if found is None and self.grain < common <= self.size / MOST_OVERLAP:
            found = self._largest(common)  # rounded to pixels of a coarser level
        if found is not None:
            return found
        least = float(np.diff(self.places).min())
        return common if common == least and common >= self.size / MOST_OVERLAP else None

    def fits(self, pitch: float) -> bool:
        """Whether every place is where the pitch wants it."""
        return self.line(pitch).worst <= self.grain / 2 + self.slack

    def _largest(self, grain: float) -> float | None:
        """The largest pitch whose places are all within rounding, from the smallest distance."""
        window = grain + 2 * self.slack
        gaps = np.diff(self.places)
        wide = gaps[gaps > window]
        if not len(wide):
            return None
        base = float(wide.min())
        least = max(2 * window, self.size / MOST_OVERLAP)
        most = int(base / max(2 * window, self.size / MOST_PARTS))
        most = min(max(most, 1), MOST_TRIED)
        for parts in range(1, most + 1 if base >= least else 1):
            pitch = scanned(self.places, base / parts, window / parts)
            line = straight(self.places, self.weight, pitch, window / 2)
            if line.worst <= window / 2 and (parts == 1 or self._meant(line.pitch, window)):
                return line.pitch
        return None

    def _meant(self, pitch: float, window: float) -> bool:
        """Whether a pitch below the smallest distance is the tile, or no accident."""
        if abs(pitch / self.size - 1) < 0.02:
            return True
        tries = self.span / pitch  # about so many pitches are told apart
        odds = (len(self.places) - 2) * math.log(pitch / window)
        return odds > math.log(tries / CHANCE)

    def line(self, pitch: float) -> Line:
        """Places at a pitch that is known, the origin at the first one."""
        return _levelled(self.places, _numbered(self.places, pitch), pitch)


def _grain(places: Float[np.ndarray, " p"]) -> float:
    """The power of ten, from 1 down to 0.001, that places are multiples of."""
    for decimals in range(3):
        if np.all(np.abs(places - np.round(places, decimals)) < 1e-6):
            return 10.0**-decimals
    return 1e-3


def scanned(places: Float[np.ndarray, " p"], guess: float, doubt: float) -> float:
    """The pitch near a guess under which most places have one phase (the periodogram's peak)."""
    if len(places) > SAMPLE:  # drawn at random: an even choice would have a period of its own
        chosen = np.random.default_rng(0).choice(len(places), SAMPLE, replace=False)
        places = places[np.sort(chosen)]
    low, high = 1 / (guess + doubt), 1 / max(guess - doubt, guess / 2)
    steps = int(min(8 * np.ptp(places) * (high - low), 200_000)) + 2
    best, strength = guess, -1.0
    for part in np.array_split(np.linspace(low, high, steps), steps // 2000 + 1):
        phases = np.exp(2j * np.pi * np.outer(part, places - places[0]))
        sums = np.abs(phases.sum(axis=1))
        if sums.max() > strength:
            best, strength = 1 / float(part[sums.argmax()]), float(sums.max())
    return best


def straight(
    places: Float[np.ndarray, " p"], weight: Int[np.ndarray, " p"], pitch: float, enough: float
) -> Line:
    """The line through places, their numbers from the pitch: least squares, else least worst.

    Args:
        places: sorted.
        weight: of each.
        pitch: roughly.
        enough: a largest distance that needs no better line.
    """
    index = _numbered(places, pitch)
    if index[-1] == 0:
        return _levelled(places, index, pitch)
    centred = weight * (index - np.average(index, weights=weight))
    slope = _tidy(float((centred * places).sum() / (centred * index).sum()))
    line = _levelled(places, index, slope)
    if not enough < line.worst < 4 * enough:  # far off there is none
        return line
    other = _levelled(places, index, _least_worst(places, index, slope, line.worst))
    return min(line, other, key=lambda one: one.worst)


def _numbered(places: Float[np.ndarray, " p"], pitch: float) -> Int[np.ndarray, " p"]:
    """The nearest numbers under the phase that most places have; the first is 0."""
    phase = np.exp(2j * np.pi * (places - places[0]) / pitch).sum()
    index = np.round((places - places[0]) / pitch - np.angle(phase) / (2 * np.pi))
    return (index - index.min()).astype(np.int64)


def _levelled(places: Float[np.ndarray, " p"], index: Int[np.ndarray, " p"], pitch: float) -> Line:
    """The origin that most places say, and that rounding allows for all if it can."""
    left = places - index * pitch
    middle, half = float(left.min() + left.max()) / 2, float(np.ptp(left)) / 2
    origin = float(np.median(left))
    if half <= 0.5:
        origin = min(max(origin, middle + half - 0.5), middle - half + 0.5)
    origin = _tidy(origin)
    return Line(origin, pitch, index, float(np.abs(left - origin).max()))


def _tidy(value: float) -> float:
    """A whole number where arithmetic alone keeps it from being one."""
    return float(round(value)) if abs(value - round(value)) < 1e-7 else value


def _least_worst(
    places: Float[np.ndarray, " p"], index: Int[np.ndarray, " p"], slope: float, worst: float
) -> float:
    """The pitch with the smallest largest distance; a convex problem, so a search by thirds."""
    reach = 2 * worst / float(index.max())
    low, high = slope - reach, slope + reach
    for _ in range(60):
        thirds = low + (high - low) / 3, high - (high - low) / 3
        first, second = (np.ptp(places - index * pitch) for pitch in thirds)
        low, high = (low, thirds[1]) if first <= second else (thirds[0], high)
    return (low + high) / 2


def gaps(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Distances of tiles that follow each other in a row."""
    order = np.lexsort((along, across))
    return np.diff(along[order])[np.diff(across[order]) == 0]


def at_least(gaps: Float[np.ndarray, " g"], axis: Axis) -> int:
    """A lattice has no fewer lines: half of the distances in a row are at least its pitch."""
    wide = gaps[gaps > axis.grain + 2 * axis.slack]
    return int(axis.span / float(np.median(wide))) + 1 if len(wide) else 1


def usual(gaps: Float[np.ndarray, " g"], axis: Axis) -> tuple[float, float]:
    """The commonest distance in a row, below twice the tile, and how little it is known."""
    near = gaps[(gaps > axis.grain + 2 * axis.slack) & (gaps < 2 * axis.size)]
    if not len(near):
        return axis.size, axis.grain
    values, counts = np.unique(np.round(near), return_counts=True)
    near = near[np.abs(near - values[counts.argmax()]) <= 1]
    return float(near.mean()), 4 * float(near.std()) / len(near) ** 0.5 + 1e-6


def apart(
    edges: Float[np.ndarray, " n"], pitch: float, doubt: float
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """How far each edge is from the commonest phase of a pitch, and which are too far."""
    bins = int(np.clip(pitch / doubt, 4, 1000))
    phase = (edges / pitch) % 1.0
    counts, ends = np.histogram(phase, bins=bins, range=(0.0, 1.0))
    best = counts + np.roll(counts, -1)  # a phase may lie on the border of two bins
    middle = float(ends[best.argmax() + 1]) * pitch
    away = (edges - middle + pitch / 2) % pitch - pitch / 2
    near = np.abs(away) <= 1.5 * doubt
    away = np.abs(away - (np.median(away[near]) if near.any() else 0.0))
    return away, away > doubt / 2
