"""Where tissue is on a slide: Otsu's threshold on the saturation of a small picture, or a mask.

Glass has no colour. Otsu's method (1979) finds the saturation that parts pixels best into two
groups, whatever they are; so it is only believed within what stains and glass can be: a slide that
is all tissue is not split into pale and dark, nor one that is all glass into dust and noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from wsrpn.errors import InputError
from wsrpn.slides import masks
from wsrpn.slides.reader import Reader
from wsrpn.tiles import Slide

HOW = ("otsu", "none")
PIXEL_UM = 8.0  # cells are averaged out, and a tile of 96 µm still has 144 pixels
SMALL_UM2 = 1e4  # specks and holes below this, the size of a tile, are cleaned
# Saturation of H&E at 8 µm a pixel, CAMELYON16, IDC and Aperio's test slide: glass up to 0.03,
# the palest twentieth of the tissue from 0.07, Otsu's threshold where there are both 0.10 to 0.21.
THRESHOLDS = (0.05, 0.15)
_BLACK = 20  # grey levels; as dark is no tissue, but what a scanner fills up with
_USUAL_UM = 0.5  # micrometres per pixel where nobody knows, for the size of the small picture only
_FINEST = 256  # pixels that the longer side of the small picture has at least, if the slide has
_MOST = 16_000_000  # pixels of the small picture
_SPECK = 0.05  # of the picture: what is larger is no speck, however small the slide


@dataclass(frozen=True)
class Tissue:
    """Where tissue is.

    Attributes:
        mask: true where it is; its first pixel begins at the corner of the slide.
        pixel_px0: width and height of one of its pixels in full-size pixels.
        by: how it was found: otsu, mask, none.
    """

    mask: Bool[np.ndarray, "gh gw"]
    pixel_px0: tuple[float, float]
    by: str = "otsu"

    def shares(self, boxes_px0: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
        """Exactly how much of each box is tissue; outside the slide there is none.

        Args:
            boxes_px0: x1, y1, x2, y2.
        """
        whole = masks.Mask(self.mask.astype(np.uint8), self.pixel_px0)
        return np.asarray(masks.shares(whole, boxes_px0), dtype=np.float64)


def find(reader: Reader, slide: Slide, how: str) -> Tissue:
    """Find the tissue of a slide.

    A mask that the table of slides names is taken whatever `how` says.

    Args:
        reader: of its file.
        slide: its `tissue` names a mask; its `mpp`, or else the file's, makes sizes physical.
        how: `otsu`, or `none` for tissue everywhere.

    Raises:
        InputError: the file or the mask cannot be read, or a way of another name.
    """
    if slide.tissue is not None:
        mask = masks.read(slide, slide.tissue)
        return Tissue(mask.values != 0, mask.pixel_px0, "mask")
    wide, high = reader.extent_px0
    if how == "none":
        return Tissue(np.ones((1, 1), dtype=bool), (float(wide), float(high)), "none")
    if how != "otsu":
        raise InputError(f"tiles.tissue {how}: no such way. Known: {', '.join(HOW)}.")
    mpp = slide.mpp if slide.mpp is not None else reader.mpp
    size = _size(reader.extent_px0, mpp)
    picture = reader.read((0.0, 0.0, float(wide), float(high)), size)
    pixel = (wide / size[0], high / size[1])
    area_um2 = math.prod(pixel) * (mpp if mpp is not None else _USUAL_UM) ** 2
    least = min(SMALL_UM2 / area_um2, _SPECK * math.prod(size))
    return Tissue(clean(stained(picture), least), pixel)


def _size(extent_px0: tuple[int, int], mpp: float | None) -> tuple[int, int]:
    """Width and height of the small picture."""
    longest = max(extent_px0)
    pixel = PIXEL_UM / (mpp if mpp is not None else _USUAL_UM)
    pixel = max(min(pixel, longest / _FINEST), math.sqrt(math.prod(extent_px0) / _MOST), 1.0)
    wide, high = (max(round(side / pixel), 1) for side in extent_px0)
    return wide, high


def saturation(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Saturation of HSV, in [0, 1]; 0 for black.

    Example:
        >>> saturation(np.array([[[200, 100, 150], [0, 0, 0]]], dtype=np.uint8)).tolist()
        [[0.5, 0.0]]
    """
    least, most = _ends(picture)
    return (most - least) / np.maximum(most, 1).astype(np.float32)


def _ends(picture: UInt8[np.ndarray, "h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """The darkest and the brightest channel; plane by plane, as numpy is slow on an axis of 3."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    least = np.minimum(np.minimum(red, green), blue)
    return least, np.maximum(np.maximum(red, green), blue)


def stained(picture: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where a picture has the colour of stains.

    Pure white and black, which fill up what was not scanned, are no tissue and do not move the
    threshold.
    """
    found = saturation(picture)
    least, most = _ends(picture)
    scanned = (most >= _BLACK) & (least < 255)
    threshold = float(np.clip(otsu(found[scanned]), *THRESHOLDS))
    return scanned & (found > threshold)


def otsu(values: Float[np.ndarray, " n"]) -> float:
    """The threshold that leaves least variance within the two groups; values in [0, 1].

    Of several that are equally good it is the middle, and of no or equal values 0.

    Reference:
        Otsu, A threshold selection method from gray-level histograms, 1979, eq. 12 (the variance
        between the groups, in 256 bins).
    """
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middle = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1].astype(np.float64)
    above = counts.sum() - below
    total = (counts * middle).cumsum()
    apart = total[:-1] * above - (total[-1] - total[:-1]) * below  # difference of means × both
    between = np.divide(apart**2, below * above, out=np.zeros(255), where=below * above > 0)
    best = between.max()
    if best <= 0:
        return 0.0
    equal = np.flatnonzero(between >= best * (1 - 1e-9))
    return float((edges[1 + equal[0]] + edges[1 + equal[-1]]) / 2)


def clean(mask: Bool[np.ndarray, "h w"], least_px: float) -> Bool[np.ndarray, "h w"]:
    """A mask without specks and holes of fewer pixels than `least_px`.

    Holes are filled first; specks that touch only at a corner are two, and so are holes. What the
    frame of the picture cuts is a hole as well if it is small.

    Example:
        >>> ring = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], dtype=bool)
        >>> clean(ring, 2.0).astype(int).tolist()
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    """
    filled = ~_without_small(~mask, least_px)
    return _without_small(filled, least_px)


def _without_small(mask: Bool[np.ndarray, "h w"], least_px: float) -> Bool[np.ndarray, "h w"]:
    labels, count = ndimage.label(mask)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= least_px
    large[0] = False
    return np.asarray(large[labels], dtype=bool)
