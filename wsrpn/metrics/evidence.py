"""What every metric looks at: predictions beside truth as flat arrays, image by image.

Further letters of shapes: `r` bootstrap replicates (rows of weights per image), `t` thresholds.
A metric is a class under `@metrics.register`: its constructor takes the `Evidence` and does once
the work that does not depend on weights (matching, sorting); `figures(counts)` then answers for any
number of rows of weights per image. A row of ones is the data set, a row of 0 and 1 a part of it,
and a row of whole numbers a bootstrap replicate, so nothing is matched twice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.registry import Registry
from wsrpn.types import RegionFigures


@dataclass(frozen=True)
class BoxTable:
    """Boxes of many images, those of one image next to each other and images in rising order.

    Attributes:
        image: index of the image of each box.
        label: index of its class.
        xyxy_px: corners in pixels of the stored file.
        score: in [0, 1]; 1 for truth.
    """

    image: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    xyxy_px: Float[np.ndarray, "n 4"]
    score: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> "BoxTable":
        """The boxes of a mask or of indices."""
        return BoxTable(
            self.image[which], self.label[which], self.xyxy_px[which], self.score[which]
        )

    def per_image(self, images: int, classes: int) -> Float[np.ndarray, "b k"]:
        """How many boxes each image has of each class."""
        return per_image(self, np.ones(len(self)), images, classes)


@dataclass(frozen=True)
class Pairs:
    """Images and their texts as unit vectors of one space, for the images that have both.

    Attributes:
        at: index of the image in the evidence.
        images: its vector.
        texts: the vector of its text.
        ids: number of the text, the same for equal texts.
    """

    at: Int[np.ndarray, " n"]
    images: Float[np.ndarray, "n e"]
    texts: Float[np.ndarray, "n e"]
    ids: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Evidence:
    """Predictions and truth of the same images and classes.

    Attributes:
        ids: of the images.
        patients: whoever is resampled as one.
        classes: names that predictions and truth share, in the order of the data set.
        labels: 1, 0 or nan.
        logits: image-level answers; nan where there is none.
        thresholds: operating point per class on the image score.
        found: boxes of the model on images whose boxes are known.
        chosen: those that the operating point shows, for metrics that know no scores.
        truth: gold boxes.
        boxed: images whose boxes are known; the others are in none of the three tables.
        area_px: pixels of each image; nan where nobody knows.
        regions: figures of the Gaussian maps per image, with the columns of `classes`, or None.
        pairs: images and texts in one space, or None where no image has both.
        notes: what was left out on the way.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    labels: Float[np.ndarray, "b k"]
    logits: Float[np.ndarray, "b k"]
    thresholds: Float[np.ndarray, " k"]
    found: BoxTable
    chosen: BoxTable
    truth: BoxTable
    boxed: Bool[np.ndarray, " b"]
    area_px: Float[np.ndarray, " b"]
    regions: tuple[RegionFigures | None, ...] = ()
    pairs: Pairs | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def judged(self) -> Bool[np.ndarray, "b k"]:
        """Where a box of a class can be called right or wrong.

        Its image's boxes must be known, and it must have one of the class or be known to have
        none: of a class that is or may be there without a box, no box is false.
        """
        there = self.truth.per_image(len(self), len(self.classes)) > 0
        return self.boxed[:, None] & (there | (self.labels == 0))


@dataclass(frozen=True)
class Values:
    """One metric for every row of weights; nan where it is undefined.

    Attributes:
        total: the figure that goes by the metric's name.
        per_class: the same of each class, or None where classes have no part in it.
        recentred_above: None, or the lowest possible value of a figure that resampling by itself
            moves, so that its interval is moved back (see `wsrpn.metrics.intervals.figure`).
    """

    total: Float[np.ndarray, " r"]
    per_class: Float[np.ndarray, "r k"] | None = None
    recentred_above: float | None = None

    def minus(self, other: "Values") -> "Values":
        """Differences row by row: paired, when both saw the same weights."""
        plain = self.recentred_above is None and other.recentred_above is None
        above = None if plain else -math.inf
        if self.per_class is None or other.per_class is None:
            return Values(self.total - other.total, recentred_above=above)
        return Values(self.total - other.total, self.per_class - other.per_class, above)


class Metric(Protocol):
    """What is registered in `metrics`: built from evidence, asked with weights."""

    def figures(self, counts: Float[np.ndarray, "r b"]) -> Mapping[str, Values]:
        """Name → values, one per row of weights."""
        ...


metrics: Registry = Registry("metric")


def over_classes(per_class: Float[np.ndarray, "r k"]) -> Values:
    """Values whose total is the mean over the classes that are defined."""
    return Values(mean_defined(per_class), per_class)


def mean_defined(values: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
    """Mean of each row without its nan; nan for a row that has nothing else.

    Example:
        >>> mean_defined(np.array([[1.0, np.nan, 2.0]]))
        array([1.5])
    """
    known = ~np.isnan(values)
    return share(np.where(known, values, 0.0).sum(1), known.sum(1).astype(np.float64))


def share(part: Float[np.ndarray, "*n"], whole: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Share of a whole, and nan where the whole is 0.

    Example:
        >>> share(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
        array([0.5, nan])
    """
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def share_or_one(
    part: Float[np.ndarray, "*n"], whole: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Share of a whole, and 1 where the whole is 0: nothing was asked for, and nothing is wrong.

    Example:
        >>> share_or_one(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
        array([0.5, 1. ])
    """
    return np.divide(part, whole, out=np.ones(np.shape(part)), where=whole > 0)


def ratio(
    counts: Float[np.ndarray, "r b"],
    part: Float[np.ndarray, "b k"],
    whole: Float[np.ndarray, "b k"],
) -> Float[np.ndarray, "r k"]:
    """Weighted sum over images of `part` over that of `whole`."""
    return share(counts @ part, counts @ whole)


def per_image(
    boxes: BoxTable, amount: Float[np.ndarray, " n"], images: int, classes: int
) -> Float[np.ndarray, "b k"]:
    """Sum of an amount per box, by image and class."""
    place = boxes.image * classes + boxes.label
    sums = np.bincount(place, amount, minlength=images * classes).reshape(images, classes)
    return sums.astype(np.float64)  # of no boxes at all, numpy gives whole numbers
