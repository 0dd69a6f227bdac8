"""Overlap of a mask that was found with the truth: counts of pixels, and figures of counts.

Counts are kept and ratios made last, so images can be joined, drawn again for an interval, or read
at every threshold at once. With hits TP, false alarms FP and misses FN:

* Jaccard TP / (TP + FP + FN) and Dice 2 TP / (2 TP + FP + FN): 1 where both masks are empty.
* Precision TP / (TP + FP) and recall TP / (TP + FN): nan, for there is nothing to judge, where
  nothing was found or nothing is there. sklearn's `zero_division=1` would reward whoever finds
  nothing.

A mean over images (macro) asks how good a typical image with foreground is, as MONAI's `DiceMetric`
and nnU-Net do: an image whose mask is empty is worth 1 to whoever finds nothing anywhere, and a
network that has learned nothing would be the best one of a set with many normal images. Those
images have a figure of their own, the specificity: the share in which nothing is found. The pooled
figure asks how good a typical pixel is: false alarms in normal images count, and one image with a
lot of foreground decides it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt16

from wsrpn.metrics.evidence import ratio, share, share_or_one

LEVELS = 65_536  # of a 16-bit score; level 65,536 is above all of them


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of one image, or of several together.

    Attributes:
        tp: found and there.
        fp: found and not there.
        fn: there and not found.
        tn: neither.

    Example:
        >>> one = PixelCounts(tp=2, fp=1, fn=1, tn=4)
        >>> one.jaccard, one + one
        (0.5, PixelCounts(tp=4, fp=2, fn=2, tn=8))
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def jaccard(self) -> float:
        """Overlap over union; 1 where both are empty."""
        return self._figure(jaccard)

    @property
    def dice(self) -> float:
        """Twice the overlap over the sum of both; 1 where both are empty."""
        return self._figure(dice)

    @property
    def precision(self) -> float:
        """Share of what was found that is there; nan where nothing was found."""
        return self._figure(precision)

    @property
    def recall(self) -> float:
        """Share of what is there that was found; nan where nothing is there."""
        return self._figure(recall)

    def _figure(self, of: "OfCounts") -> float:
        return float(of(*np.array([self.tp, self.fp, self.fn], dtype=np.float64)[:, None])[0])


def counts(found: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> PixelCounts:
    """Counts of one image.

    Example:
        >>> counts(np.array([[True, True, False]]), np.array([[True, False, False]]))
        PixelCounts(tp=1, fp=1, fn=0, tn=1)
    """
    both = int(np.count_nonzero(found & truth))
    said, there = int(np.count_nonzero(found)), int(np.count_nonzero(truth))
    return PixelCounts(both, said - both, there - both, truth.size - said - there + both)


OfCounts = Callable[
    [Float[np.ndarray, "*n"], Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]],
    Float[np.ndarray, "*n"],
]


def jaccard(
    tp: Float[np.ndarray, "*n"], fp: Float[np.ndarray, "*n"], fn: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """TP / (TP + FP + FN) of arrays of counts; 1 where all are 0."""
    return share_or_one(tp, tp + fp + fn)


def dice(
    tp: Float[np.ndarray, "*n"], fp: Float[np.ndarray, "*n"], fn: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """2 TP / (2 TP + FP + FN) of arrays of counts; 1 where all are 0."""
    return share_or_one(2 * tp, 2 * tp + fp + fn)


def precision(
    tp: Float[np.ndarray, "*n"], fp: Float[np.ndarray, "*n"], fn: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """TP / (TP + FP) of arrays of counts; nan where nothing was found."""
    return share(tp, tp + fp)


def recall(
    tp: Float[np.ndarray, "*n"], fp: Float[np.ndarray, "*n"], fn: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """TP / (TP + FN) of arrays of counts; nan where nothing is there."""
    return share(tp, tp + fn)


FIGURES: Mapping[str, OfCounts] = {
    "jaccard": jaccard, "dice": dice, "precision": precision, "recall": recall,
}  # fmt: skip


# Several images


def rows(images: Iterable[PixelCounts]) -> Float[np.ndarray, "b 4"]:
    """Counts of images as an array: TP, FP, FN, TN."""
    return np.array([astuple(one) for one in images], dtype=np.float64).reshape(-1, 4)


def values(name: str, images: Float[np.ndarray, "b 4"]) -> Float[np.ndarray, " b"]:
    """A figure of every image by itself, `name` out of `FIGURES`; nan where the mask is empty.

    Example:
        >>> values("dice", rows([PixelCounts(tp=1, fp=2), PixelCounts(tn=9)]))
        array([0.5, nan])
    """
    tp, fp, fn, _ = images.T
    return np.where(tp + fn > 0, FIGURES[name](tp, fp, fn), np.nan)


def specificity(images: Float[np.ndarray, "b 4"]) -> Float[np.ndarray, " b"]:
    """1 for an image with an empty mask in which nothing is found, else 0; nan for all others.

    Example:
        >>> specificity(rows([PixelCounts(tn=9), PixelCounts(fp=1, tn=8), PixelCounts(tp=9)]))
        array([ 1.,  0., nan])
    """
    tp, fp, fn, _ = images.T
    return np.where(tp + fn > 0, np.nan, fp == 0)


def macro(
    per_image: Float[np.ndarray, " b"], drawn: Float[np.ndarray, "r b"]
) -> Float[np.ndarray, " r"]:
    """Mean over the images at which a value is defined, per row of weights.

    Args:
        per_image: values, nan where undefined.
        drawn: how often each image counts: a row of ones, or draws of a bootstrap.

    Returns:
        One mean per row; nan where no image has one.

    Example:
        >>> macro(np.array([1.0, 0.5, np.nan]), np.array([[1.0, 1.0, 1.0], [3.0, 1.0, 0.0]]))
        array([0.75 , 0.875])
    """
    known = ~np.isnan(per_image)
    part, whole = np.where(known, per_image, 0.0), known.astype(np.float64)
    return ratio(drawn, part[:, None], whole[:, None])[:, 0]


def pooled(
    name: str, images: Float[np.ndarray, "b 4"], drawn: Float[np.ndarray, "r b"]
) -> Float[np.ndarray, " r"]:
    """A figure of all pixels together, per row of weights.

    Args:
        name: out of `FIGURES`.
        images: see `rows`.
        drawn: see `macro`.

    Example:
        >>> two = rows([PixelCounts(tp=9, fn=1), PixelCounts(tp=0, fn=10)])
        >>> pooled("recall", two, np.ones((1, 2))), macro(values("recall", two), np.ones((1, 2)))
        (array([0.45]), array([0.45]))
    """
    tp, fp, fn, _ = (drawn @ images).T
    return FIGURES[name](tp, fp, fn)


# Every threshold at once


@dataclass(frozen=True)
class Ladder:
    """Counts of one image at all thresholds of a 16-bit score.

    At level l a pixel is found where `score >= l`: at 0 everything is, at 65,536 nothing.

    Attributes:
        tp: hits per level.
        fp: false alarms per level.
        positives: pixels that are there.
        negatives: pixels that are not.
    """

    tp: Int[np.ndarray, " l"]
    fp: Int[np.ndarray, " l"]
    positives: int
    negatives: int

    def at(self, level: int) -> PixelCounts:
        """Counts at one level, 0 … 65,536."""
        tp, fp = int(self.tp[level]), int(self.fp[level])
        return PixelCounts(tp, fp, self.positives - tp, self.negatives - fp)

    def figure(self, name: str) -> Float[np.ndarray, " l"]:
        """A figure at every level, `name` out of `FIGURES`."""
        tp = self.tp.astype(np.float64)
        return FIGURES[name](tp, self.fp.astype(np.float64), self.positives - tp)


def ladder(score: UInt16[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> Ladder:
    """Counts of one image at every level, by a histogram of either side.

    Args:
        score: 65,535 × the score.
        truth: what is there.

    Example:
        >>> steps = ladder(np.array([[7, 9, 7]], dtype=np.uint16), np.array([[True, True, False]]))
        >>> steps.at(7), steps.at(8)
        (PixelCounts(tp=2, fp=1, fn=0, tn=0), PixelCounts(tp=1, fp=0, fn=1, tn=1))
    """
    inside = np.bincount(score[truth], minlength=LEVELS)
    outside = np.bincount(score.ravel(), minlength=LEVELS) - inside
    positives = int(inside.sum())
    return Ladder(_at_least(inside), _at_least(outside), positives, truth.size - positives)


def _at_least(histogram: Int[np.ndarray, " n"]) -> Int[np.ndarray, " l"]:
    """How many are at each level or above; one level more, with none."""
    return np.append(histogram[::-1].cumsum()[::-1], 0)
