"""How large a finding is: the share of the image that its box covers.

`small` is below 2 %, less than one cell of a 7 × 7 grid (1/49), `large` is 10 % and more, about
five of them. Shares of the image and not pixels as in COCO: radiographs come in any resolution, and
what the cells of a map can resolve is a share.
"""

import numpy as np
from jaxtyping import Float, Int

from wsrpn import boxes
from wsrpn.metrics.evidence import BoxTable, Evidence

SIZES = ("small", "medium", "large")
SMALL_BELOW, LARGE_FROM = 0.02, 0.10


def size_of(share: Float[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """Index in `SIZES` of a box that covers this share of its image; -1 for nan.

    Example:
        >>> size_of(np.array([0.0, 0.0199, 0.02, 0.0999, 0.1, 1.2, np.nan]))
        array([ 0,  0,  1,  1,  2,  2, -1])
    """
    return np.where(np.isnan(share), -1, np.digitize(share, (SMALL_BELOW, LARGE_FROM)))


def split_name(figure: str) -> tuple[str, str]:
    """The name of a figure without its size, and the size, which is "" for one of all sizes.

    Example:
        >>> split_name("ap@0.3_small"), split_name("top_patch")
        (('ap@0.3', 'small'), ('top_patch', ''))
    """
    whole, _, size = figure.rpartition("_")
    return (whole, size) if size in SIZES else (figure, "")


def shares(table: BoxTable, area_px: Float[np.ndarray, " b"]) -> Float[np.ndarray, " n"]:
    """Share of its image that each box covers; nan where the area of the image is not known."""
    return boxes.area(table.xyxy_px).astype(np.float64) / area_px[table.image]


def largest(evidence: Evidence) -> Int[np.ndarray, "b k"]:
    """Size of the largest gold box of each image and class; -1 without one, or of unknown size."""
    found = np.full(len(evidence) * len(evidence.classes), -1, dtype=np.int64)
    place = evidence.truth.image * len(evidence.classes) + evidence.truth.label
    np.maximum.at(found, place, size_of(shares(evidence.truth, evidence.area_px)))
    return found.reshape(len(evidence), len(evidence.classes))


def boxes_by_size(evidence: Evidence) -> dict[str, int]:
    """How many gold boxes there are of each size."""
    known = size_of(shares(evidence.truth, evidence.area_px))
    return {size: int((known == index).sum()) for index, size in enumerate(SIZES)}
