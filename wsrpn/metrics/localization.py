"""Localisation accuracy, pointing game and FROC.

Figures of images whose boxes are known. A class without true boxes is undefined (nan).
"""

import numpy as np
from jaxtyping import Float

from wsrpn.metrics.evidence import (
    BoxTable,
    Evidence,
    Values,
    metrics,
    over_classes,
    per_image,
    ratio,
    share,
)
from wsrpn.metrics.matching import Matches, Overlap, match, pairs, ranks

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


@metrics.register("localization_accuracy")
class LocalizationAccuracy:
    r"""Share of right decisions about boxes, $(TP + TN) / (TP + TN + FP + FN)$ per class.

    Looks at the chosen boxes (see `Evidence.chosen`). TP are pairs of a chosen and a true box that
    overlap enough, matched one to one; FP the chosen boxes and FN the true boxes left over; TN the
    images that have neither. The original counts a true box as found whenever any box overlaps it,
    so one box can be found twice and FP = boxes - TP can fall below 0; one-to-one matching cannot.
    TN dominate where findings are rare: read it beside AP and RoDeO.

    Gives `localization_accuracy@T` for IoU and `localization_accuracy_iobb@T` for the intersection
    over the area of the chosen box.

    Args:
        evidence: predictions and truth.
        thresholds: least overlaps.

    Reference:
        Wang et al., ChestX-ray8, 2017, section 5.
    """

    def __init__(
        self, evidence: Evidence, *, thresholds: tuple[float, ...] = (0.1, 0.3, 0.5)
    ) -> None:
        size = (len(evidence), len(evidence.classes))
        chosen = evidence.chosen.per_image(*size)
        truth = evidence.truth.per_image(*size)
        self.truth = truth
        neither = ((chosen + truth == 0) & evidence.judged).astype(np.float64)
        self.right: dict[str, Float[np.ndarray, "b k"]] = {}
        self.all: dict[str, Float[np.ndarray, "b k"]] = {}
        overlaps: dict[str, Overlap] = {"": "iou", "_iobb": "iobb"}
        for suffix, overlap in overlaps.items():
            for t, pairs_met in zip(thresholds, _met(evidence, thresholds, overlap), strict=True):
                name = f"localization_accuracy{suffix}@{t:g}"
                self.right[name] = pairs_met + neither
                self.all[name] = chosen + truth - pairs_met + neither  # TP+FP + TP+FN - TP + TN

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        present = counts @ self.truth > 0
        return {
            name: over_classes(
                np.where(present, ratio(counts, self.right[name], self.all[name]), np.nan)
            )
            for name in self.right
        }


def _met(
    evidence: Evidence, thresholds: tuple[float, ...], overlap: Overlap
) -> Float[np.ndarray, "t b k"]:
    images, classes = len(evidence), len(evidence.classes)
    matches = match(
        evidence.chosen, evidence.truth, thresholds, images=images, classes=classes, overlap=overlap
    )
    label = np.repeat(np.arange(classes), np.diff(matches.start))
    place = matches.image * classes + label
    many = [np.bincount(place[hit], minlength=images * classes) for hit in matches.hit]
    return np.stack(many).reshape(-1, images, classes).astype(np.float64)


@metrics.register("pointing_game")
class PointingGame:
    """Does the model point into the finding: hits over pairs of an image and a class with boxes.

    The point is the centre of the best-scoring box of the class, whatever its score; a hit lies in
    (or on the border of) any true box of the class. No box of the class is a miss. The total is the
    mean over classes.

    Args:
        evidence: predictions and truth.

    Reference:
        Zhang et al., Top-down neural attention by excitation backprop, 2016, section 4.2.
    """

    def __init__(self, evidence: Evidence) -> None:
        size = (len(evidence), len(evidence.classes))
        best = evidence.found.take(ranks(evidence.found, size[1]) == 0)
        self.asked = (evidence.truth.per_image(*size) > 0).astype(np.float64)
        self.hits = per_image(best, _inside(best, evidence.truth, size[1]), *size)

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        return {"pointing_game": over_classes(ratio(counts, self.hits, self.asked))}


def _inside(best: BoxTable, truth: BoxTable, classes: int) -> Float[np.ndarray, " n"]:
    """1 for each box whose centre lies in a true box of its image and class."""
    left, right = pairs(best.image * classes + best.label, truth.image * classes + truth.label)
    centre = (best.xyxy_px[left, :2] + best.xyxy_px[left, 2:]) / 2
    within = (centre >= truth.xyxy_px[right, :2]) & (centre <= truth.xyxy_px[right, 2:])
    return (np.bincount(left[within.all(axis=1)], minlength=len(best)) > 0).astype(np.float64)


@metrics.register("froc")
class Froc:
    """Mean sensitivity at ⅛, ¼, ½, 1, 2, 4 and 8 false positives per image.

    A true box is found when a box overlaps it at IoU 0.3 or more, matched as for AP; every other
    box is a false positive. All images whose boxes are known count for "per image", the healthy
    ones too, but not those of which nobody knows whether they have the class. Boxes of one score
    cannot be parted by a threshold and come and go together.

    Args:
        evidence: predictions and truth.
        iou: least overlap.

    Reference:
        van Ginneken et al., ANODE09, Medical Image Analysis 2010, section 2.4.
    """

    def __init__(self, evidence: Evidence, *, iou: float = 0.3) -> None:
        self.judged = evidence.judged.astype(np.float64)
        self.matches = match(
            evidence.found,
            evidence.truth,
            (iou,),
            images=len(evidence),
            classes=len(evidence.classes),
        )

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        curve = sensitivity(self.matches, counts, counts @ self.judged)
        return {"froc": over_classes(curve.mean(axis=1))}


def sensitivity(
    matches: Matches,
    counts: Float[np.ndarray, "r b"],
    images: Float[np.ndarray, "r k"],
    *,
    rates: tuple[float, ...] = RATES,
) -> Float[np.ndarray, "r f k"]:
    """The FROC curve: share of true boxes found at each rate of false positives per image.

    Args:
        matches: at one threshold.
        counts: weights of the images.
        images: number of images that false positives of each class are divided by.
        rates: false positives per image.
    """
    truths = counts @ matches.truths
    classes = truths.shape[1]
    right = np.zeros((len(counts), len(rates), classes))
    for label in range(classes):
        here = matches.of_class(label)
        weight = counts[:, matches.image[here]]
        score = matches.score[here]
        last = np.flatnonzero(np.diff(score, append=-np.inf))  # ends of runs of equal scores
        hit = np.cumsum(weight * matches.hit[0, here], axis=1)[:, last]
        false = np.cumsum(weight * ~matches.hit[0, here], axis=1)[:, last]
        for f, rate in enumerate(rates):
            allowed = (false <= (rate * images[:, label])[:, None]).sum(axis=1)
            padded = np.concatenate((np.zeros((len(counts), 1)), hit), axis=1)
            right[:, f, label] = np.take_along_axis(padded, allowed[:, None], axis=1)[:, 0]
    return share(right, np.broadcast_to(truths[:, None], right.shape))
