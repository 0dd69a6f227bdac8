"""Objects of label pictures as rows of a table, one line an object."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt16
from scipy import ndimage

from wsrpn.segmentation.maps import TOP

COLUMNS = (
    "image", "object", "x", "y", "area_px", "diameter_px", "left", "top", "right", "bottom",
    "score", "perimeter_px", "circularity", "major_px", "minor_px", "touches_border", "intensity",
)  # fmt: skip


def rows(
    image: str,
    objects: Int[np.ndarray, "h w"],
    score: UInt16[np.ndarray, "h w"],
    pixels: Float[np.ndarray, "h w"],
) -> Iterator[tuple[str, ...]]:
    """The objects of one image, in the order of their numbers.

    Args:
        image: its id.
        objects: numbers of the objects, 0 outside.
        score: 65,535 × the score of every pixel.
        pixels: grey levels of the image in [0, 1].

    Yields:
        Cells as `COLUMNS`. `x`, `y` is the centre of mass with pixel centres at whole numbers;
        `diameter_px` that of a disc of this area; `right` and `bottom` are the first column and row
        behind the object; `score` and `intensity` are means over its pixels. `perimeter_px` is
        Crofton's in four directions; `circularity` 4π · area / perimeter², about 1 for a disc, at
        most 1; `major_px`, `minor_px` are axes of the ellipse with its second moments.
    """
    from skimage.measure import perimeter_crofton

    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        inside = objects[box] == number
        area = int(inside.sum())
        top, left = (part.start for part in box)
        y = float(inside.sum(1) @ np.arange(inside.shape[0])) / area + top
        x = float(inside.sum(0) @ np.arange(inside.shape[1])) / area + left
        mean = float(score[box][inside].mean(dtype=np.float64)) / TOP
        grey = float(pixels[box][inside].mean(dtype=np.float64))
        edge = float(perimeter_crofton(np.pad(inside, 1), directions=4))
        major, minor = _axes(inside)
        ends = (top, left, objects.shape[0] - box[0].stop, objects.shape[1] - box[1].stop)
        yield (
            image, str(number), f"{x:.2f}", f"{y:.2f}", str(area),
            f"{math.sqrt(4 * area / math.pi):.2f}", str(left), str(top), str(box[1].stop),
            str(box[0].stop), f"{mean:.4f}", f"{edge:.2f}",
            f"{min(4 * math.pi * area / edge**2, 1):.4f}", f"{major:.2f}", f"{minor:.2f}",
            "yes" if 0 in ends else "no", f"{grey:.4f}",
        )  # fmt: skip


def _axes(inside: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """Major and minor axis of the ellipse with the second moments of an object's pixel centres."""
    places = np.argwhere(inside).astype(np.float64)
    away = places - places.mean(0)
    moments = np.linalg.eigvalsh(away.T @ away / len(away))
    return 4 * math.sqrt(max(moments[1], 0)), 4 * math.sqrt(max(moments[0], 0))
