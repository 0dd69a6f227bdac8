"""Which boxes an area meets, and how much of each it covers."""

from collections.abc import Iterator

import numpy as np
import shapely
from jaxtyping import Bool, Float

_CORNERS = 128  # of a piece that boxes are cut with
_DEEPEST = 24  # halvings until a piece is small
_EXACT = 1e-9  # shares this close to 1 are 1


def shares(area: shapely.Geometry, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Exactly how much of each box lies in an area.

    The area is cut into pieces of few corners, and each box meets only those around it; so the time
    does not grow with boxes × corners.

    Args:
        area: valid, in the plane of the boxes.
        boxes: x1, y1, x2, y2.
    """
    pieces = np.array(list(_pieces(area)), dtype=object)
    if not len(pieces):
        return np.zeros(len(boxes))
    tiles = shapely.box(*boxes.T)
    tile, piece = shapely.STRtree(pieces).query(tiles, predicate="intersects")
    shapely.prepare(pieces)
    whole = shapely.contains_properly(pieces[piece], tiles[tile])
    common = np.empty(len(tile))
    common[whole] = shapely.area(tiles[tile[whole]])
    common[~whole] = shapely.area(shapely.intersection(tiles[tile[~whole]], pieces[piece[~whole]]))
    covered = np.bincount(tile, weights=common, minlength=len(boxes))
    share: np.ndarray = covered / shapely.area(tiles)
    share[np.abs(share - 1) < _EXACT] = 1.0
    return np.clip(share, 0.0, 1.0)


def _pieces(area: shapely.Geometry) -> Iterator[shapely.Polygon]:
    """The area in pieces of at most `_CORNERS` corners, halved across their longer side."""
    left = [(part, 0) for part in shapely.get_parts(area)]
    while left:
        part, depth = left.pop()
        if shapely.get_type_id(part) != 3 or part.is_empty:
            continue  # lines and points along a cut have no area
        if shapely.get_num_coordinates(part) <= _CORNERS or depth == _DEEPEST:
            yield part
            continue
        x1, y1, x2, y2 = part.bounds
        if x2 - x1 > y2 - y1:
            x = (x1 + x2) / 2
            halves = shapely.box(x1, y1, x, y2), shapely.box(x, y1, x2, y2)
        else:
            y = (y1 + y2) / 2
            halves = shapely.box(x1, y1, x2, y), shapely.box(x1, y, x2, y2)
        for half in halves:
            left += [
                (one, depth + 1) for one in shapely.get_parts(shapely.intersection(part, half))
            ]


def touched(area: shapely.Geometry, boxes: Float[np.ndarray, "n 4"]) -> Bool[np.ndarray, " n"]:
    """Which boxes meet an area."""
    found = np.zeros(len(boxes), dtype=bool)
    pieces = np.array(list(_pieces(area)), dtype=object)
    if len(pieces):
        tree = shapely.STRtree(pieces)
        found[tree.query(shapely.box(*boxes.T), predicate="intersects")[0]] = True
    return found


def holding(area: shapely.Geometry, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Which points lie in an area or on its edge."""
    shapely.prepare(area)
    return shapely.intersects_xy(area, points[:, 0], points[:, 1])
