"""Objects of label pictures as rows of a table, one line an object."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt16
from scipy import ndimage

from wsrpn.segmentation.maps import TOP

COLUMNS = (
    "image", "object", "x", "y", "area_px", "diameter_px", "left", "top", "right", "bottom",
    "score",
)  # fmt: skip


def rows(
    image: str, objects: Int[np.ndarray, "h w"], score: UInt16[np.ndarray, "h w"]
) -> Iterator[tuple[str, ...]]:
    """The objects of one image, in the order of their numbers.

    Args:
        image: its id.
        objects: numbers of the objects, 0 outside.
        score: 65,535 × the score of every pixel.

    Yields:
        Cells as `COLUMNS`. `x`, `y` is the centre of mass with pixel centres at whole numbers;
        `diameter_px` that of a disc of this area; `right` and `bottom` are the first column and row
        behind the object; `score` is the mean over its pixels.
    """
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        inside = objects[box] == number
        area = int(inside.sum())
        top, left = (part.start for part in box)
        y = float(inside.sum(1) @ np.arange(inside.shape[0])) / area + top
        x = float(inside.sum(0) @ np.arange(inside.shape[1])) / area + left
        mean = float(score[box][inside].mean(dtype=np.float64)) / TOP
        yield (
            image, str(number), f"{x:.2f}", f"{y:.2f}", str(area),
            f"{math.sqrt(4 * area / math.pi):.2f}", str(left), str(top), str(box[1].stop),
            str(box[0].stop), f"{mean:.4f}",
        )  # fmt: skip
