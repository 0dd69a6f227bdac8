"""Average precision and average recall, equal to pycocotools at any thresholds.

101 recall points, area "all", at most 100 boxes per image and class. A class without true boxes is
undefined (nan), not 0, and is left out of means.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from wsrpn.metrics.evidence import Evidence, Values, metrics, over_classes, share
from wsrpn.metrics.matching import Matches, match

CHEST_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
COCO_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))  # bit for bit COCO's
RECALLS = np.linspace(0.0, 1.0, 101)


def average_precision(
    matches: Matches, counts: Float[np.ndarray, "r b"]
) -> Float[np.ndarray, "r t k"]:
    r"""Interpolated average precision per row of weights, threshold and class.

    $$ AP = \frac{1}{101} \sum_{ρ \in \{0, .01, …, 1\}} \max_{j:\, R_j \ge ρ} P_j $$

    with precision $P_j$ and recall $R_j$ after the $j$ best boxes. Recall rises, and the maximum is
    taken, at hits only, so only they are looked at. A box of an image with weight 2 counts as two
    copies next to each other.

    Args:
        matches: from `match`.
        counts: weights of the images.

    Reference:
        pycocotools `COCOeval.accumulate`.
    """
    classes = matches.truths.shape[1]
    result = np.full((len(counts), len(matches.thresholds), classes), np.nan)
    truths = counts @ matches.truths
    for label in range(classes):
        here = matches.of_class(label)
        weight = counts[:, matches.image[here]]
        seen = np.cumsum(weight, axis=1)
        for t, hit in enumerate(matches.hit[:, here]):
            hits = np.flatnonzero(hit)
            result[:, t, label] = _interpolated(weight[:, hits], seen[:, hits], truths[:, label])
    return result


def _interpolated(
    weight: Float[np.ndarray, "r h"],
    seen: Float[np.ndarray, "r h"],
    truths: Float[np.ndarray, " r"],
) -> Float[np.ndarray, " r"]:
    right = np.cumsum(weight, axis=1)
    precision = right / (seen + np.spacing(1))
    best_after = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / np.maximum(truths, 1)[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")
    steps = np.diff(reached, axis=1, prepend=0)
    return np.where(truths > 0, (steps * best_after).sum(axis=1) / len(RECALLS), np.nan)


def recall(
    matches: Matches, counts: Float[np.ndarray, "r b"], *, boxes: int
) -> Float[np.ndarray, "r t k"]:
    """Share of the true boxes that the best `boxes` boxes of each image and class meet."""
    images, classes = matches.truths.shape
    label = np.repeat(np.arange(classes), np.diff(matches.start))
    place = matches.image * classes + label
    used = matches.rank < boxes
    truths = counts @ matches.truths
    rows = []
    for hit in matches.hit:
        met = np.bincount(place[hit & used], minlength=images * classes).reshape(images, classes)
        rows.append(share(counts @ met.astype(np.float64), truths))
    return np.stack(rows, axis=1)


@metrics.register("detection")
class Detection:
    """AP at each threshold, its means over two sets of thresholds, and recall.

    Gives `ap@0.1` … `ap@0.7`, `ap@0.75`, `map` (mean over 0.1 … 0.7), `map_coco` (mean over
    0.5 … 0.95) and `ar@1`, `ar@10`, `ar@100` (mean recall over 0.5 … 0.95 with so many boxes).

    Args:
        evidence: predictions and truth.
        max_detections: boxes used per image and class, best first.
    """

    def __init__(self, evidence: Evidence, *, max_detections: int = 100) -> None:
        self.matches = match(
            evidence.found,
            evidence.truth,
            sorted({*CHEST_THRESHOLDS, *COCO_THRESHOLDS}),
            images=len(evidence),
            classes=len(evidence.classes),
            max_detections=max_detections,
        )

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        ap = average_precision(self.matches, counts)
        named = {f"ap@{t:g}": ap[:, self._at([t])[0]] for t in (*CHEST_THRESHOLDS, 0.75)}
        named["map"] = ap[:, self._at(CHEST_THRESHOLDS)].mean(axis=1)
        named["map_coco"] = ap[:, self._at(COCO_THRESHOLDS)].mean(axis=1)
        for boxes in (1, 10, 100):
            found = recall(self.matches, counts, boxes=boxes)
            named[f"ar@{boxes}"] = found[:, self._at(COCO_THRESHOLDS)].mean(axis=1)
        return {name: over_classes(values) for name, values in named.items()}

    def _at(self, thresholds: Sequence[float]) -> list[int]:
        return [self.matches.thresholds.index(t) for t in thresholds]
