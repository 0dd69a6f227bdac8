r"""Objects: two images of numbers (0 outside), matched one to one by overlap (IoU).

At a threshold τ a pair may match where its IoU is τ or more; no object matches twice. Above ½ at
most one partner is possible, so there is nothing to choose; at ½ and below, as many pairs as can be
are matched, and of those ways the one with the most overlap is taken. TP are the pairs, FP found
objects without a partner, FN those of the truth.

"AP" is what the field of nuclei calls so, $TP / (TP + FP + FN)$ at one threshold: there are no
confidences and no curve, and it is not the AP of detection. Its mean over τ = 0.5, 0.55 … 0.95 is
the score of the 2018 Data Science Bowl. StarDist's `matching` and Cellpose's `average_precision`
match in the same way (IoU ≥ τ, most pairs first, IoU as the tie-breaker) and differ at the edges:

* An image without an object, none found: 1 here, as for Jaccard; 0 in StarDist, nan in Cellpose.
* Cellpose takes the largest number for the count of objects, so gaps in the numbers are misses
  there; here numbers are names.
* A mean over images (Data Science Bowl, Cellpose) or counts of all images together (StarDist's
  default): both can be made of the counts.

Reference:
    Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl,
    2019, methods; Schmidt et al., Cell detection with star-convex polygons, 2018, section 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy import optimize

from wsrpn.metrics.evidence import share_or_one

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True)
class Overlaps:
    """Which objects share pixels, and how many; a row for every pair that shares any.

    Attributes:
        found: numbers of the found objects.
        truth: numbers of the true ones.
        found_at: of each pair, the place of its found object in `found`.
        truth_at: of each pair, the place of its true object in `truth`.
        iou: of each pair, intersection over union.
    """

    found: Int[np.ndarray, " n"]
    truth: Int[np.ndarray, " m"]
    found_at: Int[np.ndarray, " p"]
    truth_at: Int[np.ndarray, " p"]
    iou: Float[np.ndarray, " p"]


def overlaps(found: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"]) -> Overlaps:
    """The sparse table of overlaps of two images of numbers.

    Args:
        found: 0 outside, otherwise the number of the object; numbers may have gaps.
        truth: the same.

    Example:
        >>> table = overlaps(np.array([[7, 7, 7, 0]]), np.array([[0, 2, 2, 0]]))
        >>> table.found, table.truth, table.iou.round(3)
        (array([7]), array([2]), array([0.667]))
    """
    ours, our_area, our_places = _objects(found)
    theirs, their_area, their_places = _objects(truth)
    both = (found != 0) & (truth != 0)
    key = our_places[both] * max(len(theirs), 1) + their_places[both]
    pairs, shared = np.unique(key, return_counts=True)
    i, j = np.divmod(pairs, max(len(theirs), 1))
    return Overlaps(ours, theirs, i, j, shared / (our_area[i] + their_area[j] - shared))


def matches(table: Overlaps, *, threshold: float = 0.5) -> Int[np.ndarray, " q"]:
    """The pairs that match, one to one.

    Args:
        table: overlaps of two images.
        threshold: least IoU of a pair, above 0.

    Returns:
        Rows of the table, in its order.

    Example:
        >>> table = overlaps(np.array([[1, 1, 1, 2]]), np.array([[5, 5, 5, 5]]))
        >>> table.iou.tolist(), matches(table, threshold=0.2).tolist()
        ([0.75, 0.25], [0])
    """
    rows = np.flatnonzero(table.iou >= threshold)
    i, j = table.found_at[rows], table.truth_at[rows]
    alone = (np.bincount(i, minlength=1)[i] == 1) & (np.bincount(j, minlength=1)[j] == 1)
    if alone.all():  # always so above ½
        return rows
    contested = rows[~alone]
    return np.sort(np.concatenate((rows[alone], contested[_assigned(table, contested)])))


@dataclass(frozen=True)
class ObjectCounts:
    """Objects of one image, or of several together.

    Attributes:
        tp: matched pairs at each threshold.
        found: objects that were found.
        truth: objects that are there.
        thresholds: least IoU of a pair.
    """

    tp: Int[np.ndarray, " t"]
    found: int
    truth: int
    thresholds: tuple[float, ...] = THRESHOLDS

    def __add__(self, other: "ObjectCounts") -> "ObjectCounts":
        both = (self.found + other.found, self.truth + other.truth)
        return ObjectCounts(self.tp + other.tp, *both, self.thresholds)

    @property
    def fp(self) -> Int[np.ndarray, " t"]:
        """Found objects without a partner at each threshold."""
        return self.found - self.tp

    @property
    def fn(self) -> Int[np.ndarray, " t"]:
        """Objects of the truth without a partner at each threshold."""
        return self.truth - self.tp

    @property
    def ap(self) -> Float[np.ndarray, " t"]:
        """TP / (TP + FP + FN) at each threshold; 1 where there are no objects at all."""
        return average_precision(rows([self]))[0]

    @property
    def f1(self) -> Float[np.ndarray, " t"]:
        """2 TP / (2 TP + FP + FN) at each threshold; 1 where there are no objects at all."""
        return f1(rows([self]))[0]

    @property
    def mean_ap(self) -> float:
        """Mean of `ap` over the thresholds."""
        return float(self.ap.mean())

    @property
    def difference(self) -> int:
        """Objects found too many; below 0, too few."""
        return self.found - self.truth


def counts(
    found: Integer[np.ndarray, "h w"],
    truth: Integer[np.ndarray, "h w"],
    *,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> ObjectCounts:
    """Objects of one image against those of its truth.

    Args:
        found: see `overlaps`.
        truth: see `overlaps`.
        thresholds: least IoU of a pair, each above 0.

    Example:
        >>> one = counts(np.array([[1, 1, 1, 0, 3]]), np.array([[0, 9, 9, 0, 4]]))
        >>> one.tp.tolist(), one.found, one.truth, one.ap[:4].round(3).tolist()
        ([2, 2, 2, 2, 1, 1, 1, 1, 1, 1], 2, 2, [1.0, 1.0, 1.0, 1.0])
    """
    table = overlaps(found, truth)
    tp = [len(matches(table, threshold=least)) for least in thresholds]
    return ObjectCounts(np.array(tp), len(table.found), len(table.truth), thresholds)


# Several images


def rows(images: Iterable[ObjectCounts]) -> Float[np.ndarray, "b n"]:
    """Counts of images as an array: TP at each threshold, found, truth; sums of rows are counts."""
    return np.array([[*one.tp, one.found, one.truth] for one in images], dtype=np.float64)


def average_precision(counts: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b t"]:
    """`ObjectCounts.ap` of rows: of images by themselves, or of weighted sums of them.

    Example:
        >>> two = np.array([[1.0, 1.0, 3.0], [0.0, 0.0, 0.0]])  # one threshold, found, truth
        >>> average_precision(two).T, average_precision(two.sum(axis=0, keepdims=True))
        (array([[0.33333333, 1.        ]]), array([[0.33333333]]))
    """
    tp, both = counts[:, :-2], counts[:, -2:].sum(axis=1, keepdims=True)
    return share_or_one(tp, both - tp)


def f1(counts: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b t"]:
    """`ObjectCounts.f1` of rows; see `average_precision`."""
    tp, both = counts[:, :-2], counts[:, -2:].sum(axis=1, keepdims=True)
    return share_or_one(2 * tp, np.broadcast_to(both, tp.shape))


def _objects(
    image: Integer[np.ndarray, "h w"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, "h w"]]:
    """Numbers that occur, their areas, and of every pixel the place among them (any outside)."""
    names: Integer[np.ndarray, " m"] | None = None
    if image.max(initial=0) > image.size:  # numbers are names, and no lengths of arrays
        names = np.unique(np.append(0, image)).astype(np.int64)
        image = np.searchsorted(names, image)
    area = np.bincount(image.ravel(), minlength=1)
    area[0] = 0
    numbers = np.flatnonzero(area)
    place = np.zeros(len(area), dtype=np.int64)
    place[numbers] = np.arange(len(numbers))
    return numbers if names is None else names[numbers], area[numbers], place[image]


def _assigned(table: Overlaps, rows: Int[np.ndarray, " p"]) -> Int[np.ndarray, " q"]:
    """Places in `rows` of the pairs that are chosen: as many as can be, then the most overlap."""
    i, j = (np.unique(at[rows], return_inverse=True)[1] for at in (table.found_at, table.truth_at))
    gain, which = np.zeros((i.max() + 1, j.max() + 1)), np.full((i.max() + 1, j.max() + 1), -1)
    # Fewer pairs than the smaller side: their overlaps together never outweigh one pair more.
    gain[i, j] = 1 + table.iou[rows] / (2 * min(gain.shape))
    which[i, j] = np.arange(len(rows))
    chosen = which[optimize.linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen >= 0]
