"""Which found box meets which true box: all images, classes and thresholds in one pass.

Greedy, as COCO does it: the boxes of one image and class, best score first, each take the free true
box that they overlap most, if the overlap reaches the threshold (of equal overlaps the later box).
A box of rank n only competes with those of ranks below n, so one round per rank serves all images.

Where only a part of the boxes is asked about, such as those of one size, the others still explain
(COCO's area ranges): a found box takes a true box that is asked about if it can, else one that is
not. It is then neither right nor wrong, as is one that meets nothing and is not asked about itself.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn import boxes
from wsrpn.metrics.evidence import BoxTable

Overlap = Literal["iou", "iobb"]


@dataclass(frozen=True)
class Matches:
    """Who met whom; everything that AP, recall and FROC need for any weights of the images.

    Found boxes are sorted by class, then by falling score; ties keep the order of the images.

    Attributes:
        thresholds: least overlaps.
        image: index of the image of each found box.
        score: its score.
        rank: how many boxes of its image and class are better.
        hit: whether it met a true box that is asked about, per threshold.
        start: the boxes of class i are `start[i]` to `start[i + 1]`.
        truths: number of true boxes per image and class, of those that are asked about.
        judged: whether it is right or wrong, per threshold; None where every box is.
    """

    thresholds: tuple[float, ...]
    image: Int[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    hit: Bool[np.ndarray, "t n"]
    start: Int[np.ndarray, " k1"]
    truths: Float[np.ndarray, "b k"]
    judged: Bool[np.ndarray, "t n"] | None = None

    def of_class(self, label: int) -> slice:
        """Where the boxes of a class stand."""
        return slice(int(self.start[label]), int(self.start[label + 1]))


def match(
    found: BoxTable,
    truth: BoxTable,
    thresholds: Sequence[float],
    *,
    images: int,
    classes: int,
    overlap: Overlap = "iou",
    max_detections: int = 100,
    asked: tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " m"]] | None = None,
) -> Matches:
    """Match found to true boxes of the same image and class.

    Args:
        found: boxes with scores.
        truth: true boxes.
        thresholds: least overlaps; a pair counts at `overlap >= threshold`, as in COCO.
        images: number of images, those without boxes included.
        classes: number of classes.
        overlap: intersection over union, or over the area of the found box.
        max_detections: boxes used per image and class, best first.
        asked: which found and which true boxes are asked about; all where None is given.

    Reference:
        pycocotools `COCOeval.evaluateImg`.
    """
    rank = ranks(found, classes)
    used = np.flatnonzero(rank < max_detections)
    used = used[np.lexsort((-found.score[used], found.label[used]))]  # ties keep the images' order
    of_found, of_truth = asked or (None, np.ones(len(truth), dtype=bool))
    found, rank = found.take(used), rank[used]
    hit, spent = _greedy(found, rank, truth, of_truth, thresholds, classes, overlap)
    return Matches(
        thresholds=tuple(float(t) for t in thresholds),
        image=found.image,
        score=found.score,
        rank=rank,
        hit=hit,
        start=np.searchsorted(found.label, np.arange(classes + 1)),
        truths=truth.take(of_truth).per_image(images, classes),
        judged=None if of_found is None else hit | (of_found[used] & ~spent),
    )


def ranks(found: BoxTable, classes: int) -> Int[np.ndarray, " n"]:
    """How many boxes of its image and class are better than each box; ties: the earlier first."""
    group = found.image * classes + found.label
    order = np.lexsort((-found.score, group))
    _, first, size = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found)) - np.repeat(first, size)
    return rank


def pairs(
    found: Int[np.ndarray, " n"], truth: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Indices of all pairs with equal keys, those of one found box next to each other.

    Example:
        >>> pairs(np.array([7, 8]), np.array([8, 7, 8]))
        (array([0, 1, 1]), array([1, 0, 2]))
    """
    order = np.argsort(truth, kind="stable")
    low = np.searchsorted(truth[order], found, side="left")
    many = np.searchsorted(truth[order], found, side="right") - low
    left = np.repeat(np.arange(len(found)), many)
    first = np.cumsum(many) - many
    return left, order[np.arange(len(left)) + np.repeat(low - first, many)]


def pair_overlap(
    a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "n 4"], *, over: Overlap = "iou"
) -> Float[np.ndarray, " n"]:
    """Overlap of each pair of rows; 0 where there is nothing to divide by.

    Args:
        a: found boxes, xyxy.
        b: true boxes, xyxy.
        over: `iou`, or `iobb`: intersection over the area of `a` (Wang et al., ChestX-ray8, 2017).
    """
    side = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    both = side[:, 0] * side[:, 1]
    whole = boxes.area(a) if over == "iobb" else boxes.area(a) + boxes.area(b) - both
    return np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)


def _greedy(
    found: BoxTable,
    rank: Int[np.ndarray, " n"],
    truth: BoxTable,
    asked: Bool[np.ndarray, " m"],
    thresholds: Sequence[float],
    classes: int,
    over: Overlap,
) -> tuple[Bool[np.ndarray, "t n"], Bool[np.ndarray, "t n"]]:
    """Found boxes that met a true box that is asked about, and those that met another."""
    # COCO's own guard: an overlap of 1 that rounding made smaller still counts as 1.
    least = np.minimum(np.asarray(thresholds, dtype=np.float64), 1 - 1e-10)
    left, right = pairs(found.image * classes + found.label, truth.image * classes + truth.label)
    size = pair_overlap(
        found.xyxy_px[left].astype(np.float64), truth.xyxy_px[right].astype(np.float64), over=over
    )
    near = np.flatnonzero(size >= least.min()) if len(least) else np.zeros(0, dtype=np.int64)
    # The last free pair of a box is its choice: largest overlap, of equal ones the later box; a
    # true box that is asked about goes before all that are not.
    near = near[
        np.lexsort((right[near], size[near], asked[right[near]], left[near], rank[left[near]]))
    ]
    left, right, size = left[near], right[near], size[near]
    hit, spent = np.zeros((2, len(least), len(found)), dtype=bool)
    taken = np.zeros((len(least), len(truth)), dtype=bool)
    rounds = np.flatnonzero(np.diff(rank[left], prepend=-1))
    for low, high in itertools.pairwise([*rounds, len(left)]):
        box, true = left[low:high], right[low:high]
        free = (size[low:high] >= least[:, None]) & ~taken[:, true]
        place = np.where(free, np.arange(high - low), -1)
        choice = np.maximum.reduceat(place, np.flatnonzero(np.diff(box, prepend=-1)), axis=1)
        at, which = np.nonzero(choice >= 0)
        chosen = choice[at, which]
        met = asked[true[chosen]]
        hit[at, box[chosen]], spent[at, box[chosen]] = met, ~met
        taken[at, true[chosen]] = True
    return hit, spent
