"""Counts of images under many thresholds, smallest sizes and distances, from few passes over them.

A histogram gives the pixels at all 65,536 thresholds. Smallest sizes need the connected areas: they
are found once per threshold of a grid, and every size is a sum over those that are large enough.
Objects of an area that is removed go with it, and no other object changes its partner: so one
matching per threshold and distance is enough for every size, too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt16

from wsrpn.masks import clean
from wsrpn.masks.clean import Touching
from wsrpn.metrics import objects, pixels
from wsrpn.segmentation.evidence import known_of, objects_in
from wsrpn.segmentation.maps import TOP, Maps
from wsrpn.types import Record

Listen = Callable[[int], None]
Score = UInt16[np.ndarray, "h w"]
# Networks are sure of most pixels, so thresholds are spread over logits.
GRID = tuple(round(float(TOP / (1 + np.exp(-z)))) for z in np.linspace(-6, 6, 25))
NEAR = (-0.1, -0.05, -0.02, -0.01, 0.01, 0.02, 0.05, 0.1)  # around the best one, in scores
COARSE = GRID[4:-4:2]  # where every threshold costs a matching per distance
DISTANCES = (2, 3, 5, 8, 12, 18)
LARGEST = 0.01  # of the image: a smallest size beyond it would be a choice of objects


@dataclass(frozen=True)
class Areas:
    """Pixels that are left of every image, per threshold and smallest size.

    Attributes:
        levels: of the thresholds.
        sizes: smallest sizes in pixels.
        tp: found and there.
        said: found.
        there: pixels of the truth.
    """

    levels: tuple[int, ...]
    sizes: tuple[int, ...]
    tp: Float[np.ndarray, "b t s"]
    said: Float[np.ndarray, "b t s"]
    there: Float[np.ndarray, " b"]

    def figure(self, name: str, use: Bool[np.ndarray, " b"]) -> Float[np.ndarray, "t s"]:
        """Mean over those of some images that have foreground, of one of `pixels.FIGURES`."""
        use = use & (self.there > 0)
        tp, said = self.tp[use], self.said[use]
        missed = self.there[use, None, None] - tp
        return pixels.FIGURES[name](tp, said - tp, missed).sum(0) / max(int(use.sum()), 1)


@dataclass(frozen=True)
class Objects:
    """Objects that are left of every image, per threshold, distance and smallest size.

    Attributes:
        levels: of the thresholds.
        distances: of the centres of two objects.
        sizes: smallest sizes of areas in pixels.
        tp: matched at IoU 0.5.
        said: found.
        there: objects of the truth.
    """

    levels: tuple[int, ...]
    distances: tuple[int, ...]
    sizes: tuple[int, ...]
    tp: Float[np.ndarray, "b t d s"]
    said: Float[np.ndarray, "b t d s"]
    there: Float[np.ndarray, " b"]

    def f1(self, use: Bool[np.ndarray, " b"]) -> Float[np.ndarray, "t d s"]:
        """F1 of the objects of some images together; 1 where there are none."""
        tp, both = self.tp[use].sum(0), self.said[use].sum(0) + self.there[use].sum()
        return np.divide(2 * tp, both, out=np.ones(tp.shape), where=both > 0)


class Search:
    """Images with their maps, counted pass by pass.

    Args:
        maps: scores.
        records: images that have a map and a truth.
        listen: called with 1 for every image of every pass.
    """

    def __init__(self, maps: Maps, records: Sequence[Record], listen: Listen | None = None) -> None:
        self.maps, self.records, self.listen = maps, records, listen
        self.largest = 0

    def _images(self) -> Iterator[tuple[int, Score, Int[np.ndarray, "h w"]]]:
        """Place, scores and numbered truth of every image."""
        for index, record in enumerate(self.records):
            mapped = self.maps.of(record.id)
            known = known_of(record, mapped)
            self.largest = max(self.largest, mapped.score.size)
            yield index, mapped.score, objects_in(known)
            if self.listen:
                self.listen(1)

    def curves(self, name: str, parts: Int[np.ndarray, " b"]) -> Float[np.ndarray, "p l"]:
        """Sum of a figure over the images of every part that have foreground, per level.

        Levels are 0 … 65,536.

        Args:
            name: of `wsrpn.metrics.pixels.FIGURES`.
            parts: which part an image belongs to, 0 … p - 1.
        """
        sums = np.zeros((int(parts.max()) + 1, pixels.LEVELS + 1))
        for index, score, there in self._images():
            if there.any():
                sums[parts[index]] += pixels.ladder(score, there > 0).figure(name)
        return sums

    def sizes(self) -> tuple[int, ...]:
        """0, and steps of √2 from 2 to 1 % of the largest image; known after one pass."""
        most = max(int(LARGEST * self.largest), 1)
        steps = 2 ** np.arange(1, np.log2(most) + 0.25, 0.5)
        return (0, *dict.fromkeys(round(float(step)) for step in steps))

    def areas(self, levels: Sequence[int]) -> Areas:
        """Pixels per threshold and smallest size."""
        sizes = self.sizes()
        tp = np.zeros((len(self.records), len(levels), len(sizes)))
        said, there = np.zeros_like(tp), np.zeros(len(self.records))
        for index, score, truth in self._images():
            inside = truth > 0
            there[index] = inside.sum()
            for at, level in enumerate(levels):
                tp[index, at], said[index, at] = _areas(score, inside, level, sizes)
        return Areas(tuple(levels), sizes, tp, said, there)

    def objects(
        self, levels: Sequence[int], distances: Sequence[int], touching: Touching
    ) -> Objects:
        """Objects per threshold, distance and smallest size."""
        sizes = self.sizes()
        shape = (len(self.records), len(levels), len(distances), len(sizes))
        tp, said, there = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
        for index, score, truth in self._images():
            there[index] = len(np.unique(truth[truth > 0]))
            for t, level in enumerate(levels):
                mask = _reaching(score, level)
                for d, distance in enumerate(distances):
                    found = clean.objects(mask, touching=touching, min_distance_px=distance)
                    tp[index, t, d], said[index, t, d] = _objects(mask, found, truth, sizes)
        return Objects(tuple(levels), tuple(distances), sizes, tp, said, there)


def plateau(curve: Float[np.ndarray, " l"]) -> int:
    """The level of the highest value: of equal ones the highest run, and of that the middle.

    A network leaves most levels empty, so a run of equal values is the gap between two scores, and
    its middle is as far from both as can be.

    Example:
        >>> plateau(np.array([0.1, 0.5, 0.5, 0.5, 0.2])), plateau(np.array([0.5, 0.2, 0.5]))
        (2, 2)
    """
    best = np.isclose(curve, curve.max(), rtol=0, atol=1e-12)
    last = len(curve) - 1 - int(np.argmax(best[::-1]))
    worse = np.flatnonzero(~best[:last])
    first = int(worse[-1]) + 1 if len(worse) else 0
    return (first + last) // 2


def around(levels: Sequence[int]) -> tuple[int, ...]:
    """The grid of thresholds, with these and their neighbours in it."""
    near = [int(level + step * TOP) for level in levels for step in (0.0, *NEAR)]
    return tuple(sorted({level for level in (*GRID, *near) if 0 < level <= TOP} | set(levels)))


def _reaching(score: Score, level: int) -> Bool[np.ndarray, "h w"]:
    return score >= level  # Python's integer, so that 65,536 is compared and not wrapped


def _areas(
    score: Score, inside: Bool[np.ndarray, "h w"], level: int, sizes: Sequence[int]
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """Pixels that are found and there, and that are found, per smallest size."""
    numbers, count = clean.areas(_reaching(score, level))
    size = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    hits = np.bincount(numbers[inside], minlength=count + 1)[1:]
    return _at_least(size, hits, sizes), _at_least(size, size, sizes)


def _objects(
    mask: Bool[np.ndarray, "h w"],
    found: Int[np.ndarray, "h w"],
    truth: Int[np.ndarray, "h w"],
    sizes: Sequence[int],
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """Objects that match, and that are found, per smallest size of their areas."""
    table = objects.overlaps(found, truth)
    if not len(table.found):
        return np.zeros(len(sizes)), np.zeros(len(sizes))
    numbers, _ = clean.areas(mask)
    area_of = np.zeros(int(found.max()) + 1, dtype=np.int64)
    area_of[found[mask]] = numbers[mask]  # every object lies in one area
    size = np.bincount(numbers.ravel())[area_of[table.found]]
    hit = np.zeros(len(size))
    hit[table.found_at[objects.matches(table, threshold=0.5)]] = 1
    return _at_least(size, hit, sizes), _at_least(size, np.ones(len(size)), sizes)


def _at_least(
    size: Int[np.ndarray, " n"],
    value: Float[np.ndarray, " n"] | Int[np.ndarray, " n"],
    sizes: Sequence[int],
) -> Float[np.ndarray, " s"]:
    """Sums of the values of what has at least each of the sizes."""
    order = np.argsort(size, kind="stable")
    above = np.append(value[order][::-1].cumsum()[::-1], 0).astype(np.float64)
    return above[np.searchsorted(size[order], sizes)]
