"""Average precision and average recall, equal to pycocotools at any thresholds.

101 recall points, all areas or a range of them, at most 100 boxes per image and class. A class
without true boxes is undefined (nan), not 0, and is left out of means.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from wsrpn.metrics.evidence import Evidence, Values, metrics, over_classes, share
from wsrpn.metrics.matching import Matches, match
from wsrpn.metrics.sizes import SIZES, shares, size_of

CHEST_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
COCO_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))  # bit for bit COCO's
BY_SIZE_THRESHOLDS = (0.1, 0.3, 0.5)
RECALLS = np.linspace(0.0, 1.0, 101)
NEXT_RECALLS = np.append(RECALLS[1:], np.inf)


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
    rows, classes = len(counts), matches.truths.shape[1]
    result = np.full((rows, len(matches.thresholds), classes), np.nan)
    truths, weights = counts @ matches.truths, np.ascontiguousarray(counts.T)
    for label in np.flatnonzero(matches.truths.any(axis=0)):
        here = matches.of_class(int(label))
        image, hit = matches.image[here], matches.hit[:, here]
        judged = None if matches.judged is None else matches.judged[:, here]
        for t, (right, seen) in enumerate(_down_to_hits(weights, image, hit, judged)):
            result[:, t, label] = _interpolated(right, seen, truths[:, label])
    return result


def _down_to_hits(
    weights: Float[np.ndarray, "b r"],
    image: Int[np.ndarray, " n"],
    hit: Bool[np.ndarray, "t n"],
    judged: Bool[np.ndarray, "t n"] | None,
) -> Iterator[tuple[Float[np.ndarray, "h r"], Float[np.ndarray, "h r"]]]:
    """Per threshold the weight of right boxes, and of all, down to each hit.

    Args:
        weights: of the images, per row of weights.
        image: of each box of a class, best box first.
        hit: boxes that met a true box.
        judged: boxes that are right or wrong; None where every box is.
    """
    if judged is None:  # one count of all boxes serves all thresholds
        places = np.flatnonzero(hit.any(axis=0))
        all_seen = _weight_down_to(weights, image, places)
        for row in hit:
            hits = np.flatnonzero(row)
            seen = all_seen[np.searchsorted(places, hits)]
            yield np.cumsum(weights[image[hits]], axis=0), seen
    else:
        for row, counted in zip(hit, judged, strict=True):
            hits = np.flatnonzero(row[counted])
            own = image[counted]
            seen = _weight_down_to(weights, own, hits)
            yield np.cumsum(weights[own[hits]], axis=0), seen


def _weight_down_to(
    weights: Float[np.ndarray, "b r"], image: Int[np.ndarray, " n"], places: Int[np.ndarray, " h"]
) -> Float[np.ndarray, "h r"]:
    """Weight of the boxes down to each of some places, which are in rising order."""
    bounds = np.concatenate((np.zeros(1, dtype=np.int64), places + 1))
    last = int(bounds[-1])
    # A row per place, with its image for every box since the place before: a product with it is
    # many times faster than a running sum over all boxes.
    since = sparse.csr_matrix(
        (np.ones(last), image[:last], bounds), shape=(len(places), len(weights))
    )
    return np.cumsum(since @ weights, axis=0)


def _interpolated(
    right: Float[np.ndarray, "h r"],
    seen: Float[np.ndarray, "h r"],
    truths: Float[np.ndarray, " r"],
) -> Float[np.ndarray, " r"]:
    precision = right / (seen + np.spacing(1))
    best_after = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    steps = np.diff(levels_reached(right / np.maximum(truths, 1)), axis=0, prepend=0)
    # Rows of weights one after the other, so that the order of a sum does not hang on their number.
    area = np.ascontiguousarray((steps * best_after).T).sum(axis=1)
    return np.where(truths > 0, area / len(RECALLS), np.nan)


def levels_reached(recall: Float[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """How many of `RECALLS` are not above a recall: `searchsorted`, by arithmetic, which is faster.

    Example:
        >>> levels_reached(np.array([0.0, 0.009, 0.01, 1.0]))
        array([  1,   1,   2, 101])
    """
    level = (recall * (len(RECALLS) - 1)).astype(np.int64)
    level += NEXT_RECALLS[level] <= recall  # a product may round either way
    level -= RECALLS[level] > recall
    return level + 1


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


@metrics.register("detection_by_size")
class DetectionBySize:
    """AP of small, medium and large findings: `ap@0.1_small` … `ap@0.5_large`.

    COCO's rule of area ranges: of one size, true boxes of other sizes are neither found nor missed,
    and neither right nor wrong are found boxes that meet those, or that meet nothing and are of
    another size themselves. Images whose size in pixels is not known are left out.

    Args:
        evidence: predictions and truth.
        max_detections: boxes used per image and class, best first.

    Reference:
        pycocotools `COCOeval.evaluateImg` with `areaRng`; the sizes are those of
        `wsrpn.metrics.sizes`, without their upper ends.
    """

    def __init__(self, evidence: Evidence, *, max_detections: int = 100) -> None:
        sized = ~np.isnan(evidence.area_px)
        found, truth = (t.take(sized[t.image]) for t in (evidence.found, evidence.truth))
        kinds = [size_of(shares(table, evidence.area_px)) for table in (found, truth)]
        self.matches = {
            size: match(
                found,
                truth,
                BY_SIZE_THRESHOLDS,
                images=len(evidence),
                classes=len(evidence.classes),
                max_detections=max_detections,
                asked=(kinds[0] == index, kinds[1] == index),
            )
            for index, size in enumerate(SIZES)
        }

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        named = {}
        for size, matches in self.matches.items():
            ap = average_precision(matches, counts)
            for t, threshold in enumerate(BY_SIZE_THRESHOLDS):
                named[f"ap@{threshold:g}_{size}"] = over_classes(ap[:, t])
        return named
