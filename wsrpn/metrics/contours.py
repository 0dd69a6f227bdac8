"""Boundary F1: do the outlines of what was found run where those of the truth do?

The outline of a mask are its pixels that touch, by a side, a pixel outside the mask. The edge of
the image is no outline: the truth does not say that an object ends there, and two masks that are
both cut by it would get hits for nothing. A mask without any outside has the image's frame as its
outline, so that "everything" is not mistaken for "nothing".

* Precision: share of the found outline within the tolerance of the true one.
* Recall: share of the true outline within the tolerance of the found one.
* F1: their harmonic mean; 1 where neither has an outline, 0 where only one has.

Reference:
    Csurka et al., What is a good evaluation measure for semantic segmentation?, 2013, section 3:
    per image, then averaged. Their tolerance is 0.75 % of the image's diagonal (2.7 pixels at
    256²); here it is in pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage, spatial

TOLERANCE_PX = 2.0
DENSE = 0.05  # share of the pixels that is a lot of outline


@dataclass(frozen=True)
class ContourCounts:
    """Pixels of outlines of one image.

    Attributes:
        found: of what was found.
        found_near: those of them within the tolerance of the truth's outline.
        truth: of the truth.
        truth_near: those of them within the tolerance of the found outline.
    """

    found: int
    found_near: int
    truth: int
    truth_near: int

    @property
    def f1(self) -> float:
        """Boundary F1.

        Example:
            >>> ContourCounts(10, 5, 20, 20).f1.__round__(4), ContourCounts(0, 0, 0, 0).f1
            (0.6667, 1.0)
        """
        if not self.found and not self.truth:
            return 1.0
        if not self.found_near or not self.truth_near:
            return 0.0
        precision, recall = self.found_near / self.found, self.truth_near / self.truth
        return 2 * precision * recall / (precision + recall)


def contours(
    found: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
    *,
    tolerance_px: float = TOLERANCE_PX,
) -> ContourCounts:
    """Counts of the outlines of one image, exact.

    Args:
        found: mask that was found.
        truth: mask that is there.
        tolerance_px: largest distance of two pixels' centres that are taken for the same place.

    Example:
        >>> truth = np.zeros((9, 9), dtype=bool)
        >>> truth[2:5, 2:5] = True  # 8 pixels of outline
        >>> contours(np.roll(truth, 1, axis=1), truth, tolerance_px=0.0)
        ContourCounts(found=8, found_near=4, truth=8, truth_near=4)
    """
    ours, theirs = outline(found), outline(truth)
    return ContourCounts(
        int(np.count_nonzero(ours)),
        _near(ours, theirs, tolerance_px),
        int(np.count_nonzero(theirs)),
        _near(theirs, ours, tolerance_px),
    )


def outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The outline of a mask; see the head of this file.

    Example:
        >>> outline(np.array([[True, True, True, False]])).astype(int).tolist()
        [[0, 0, 1, 0]]
    """
    # What lies beyond the edge belongs to the mask, unless the mask leaves nothing out.
    inner = ndimage.binary_erosion(mask, border_value=not mask.all())
    return np.asarray(mask & ~inner)


def _near(
    some: Bool[np.ndarray, "h w"], others: Bool[np.ndarray, "h w"], tolerance_px: float
) -> int:
    """How many of some pixels have one of the others within the tolerance."""
    if not some.any() or not others.any():
        return 0
    # Outlines are thin: a search among their pixels is 20 times faster than a distance transform of
    # 4096², and as exact. Noise is all outline, and the other way round.
    if max(np.count_nonzero(some), np.count_nonzero(others)) > DENSE * some.size:
        away = ndimage.distance_transform_edt(~others)
        return int(np.count_nonzero(away[some] <= tolerance_px))
    # It looks a little further than the tolerance, so that rounding is ours.
    tree = spatial.KDTree(np.argwhere(others))
    distance, _ = tree.query(np.argwhere(some), distance_upper_bound=tolerance_px + 1e-3)
    return int(np.count_nonzero(distance <= tolerance_px))
