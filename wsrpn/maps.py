"""From a class map on a grid of cells to boxes, for every model that gives maps only."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage

_FINE = 8  # pixels per cell side at which the map is cut: box edges fall on eighths of a cell


def upsample(cells: Float[np.ndarray, "gh gw"], factor: int = _FINE) -> Float[np.ndarray, "h w"]:
    """Bilinear interpolation between cell centres; constant beyond the outermost ones.

    Example:
        >>> upsample(np.array([[0.0, 1.0]]), 2)
        array([[0.  , 0.25, 0.75, 1.  ],
               [0.  , 0.25, 0.75, 1.  ]])
    """
    rows, columns = ((np.arange(n * factor) + 0.5) / factor - 0.5 for n in cells.shape)
    where = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(cells, where, order=1, mode="nearest")


def boxes(
    cells: Float[np.ndarray, "gh gw"], *, thresholds: Sequence[float], components: int
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"]]:
    """Boxes around the connected areas where a map is high.

    The map is scaled to [0, 1], interpolated, cut at each threshold, and each 8-connected area
    gives the box around it. A flat map has no areas.

    Args:
        cells: one class's map.
        thresholds: shares of the map's range.
        components: areas kept per threshold, best first by their mean.

    Returns:
        xyxy as shares of the image, and the mean of the scaled map in each area.
    """
    low, high = float(cells.min()), float(cells.max())
    if not high > low:
        return np.zeros((0, 4)), np.zeros(0)
    fine = upsample((cells.astype(np.float64) - low) / (high - low))
    found: list[tuple[float, tuple[float, float, float, float]]] = []
    for threshold in thresholds:
        areas, count = ndimage.label(fine > threshold, structure=np.ones((3, 3)))
        means = ndimage.mean(fine, areas, np.arange(1, count + 1))
        slices = ndimage.find_objects(areas)
        for index in np.argsort(-np.asarray(means), kind="stable")[:components]:
            y, x = slices[index]
            corners = (x.start, y.start, x.stop, y.stop)
            scale = (fine.shape[1], fine.shape[0]) * 2
            found.append((float(means[index]), tuple(np.divide(corners, scale))))  # type: ignore[arg-type]
    xyxy = np.array([box for _, box in found], dtype=np.float64).reshape(-1, 4)
    return xyxy, np.array([mean for mean, _ in found], dtype=np.float64)
