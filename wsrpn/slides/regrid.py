"""Tiles of several lattices brought onto one.

CLAM starts a lattice of its own in every piece of tissue (`process_contour` steps from the corner
of the piece's bounding box), so its tiles share a pitch but no origin. Their scores make a map that
is constant on each tile; here a cell gets the mean of that map over its area.
"""

import numpy as np
from jaxtyping import Float, Int, Num

LEAST_SHARE = 0.5  # of a cell that tiles must cover


def onto_one(
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    size_px0: tuple[float, float],
    pitch_px0: tuple[float, float],
    values: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Mean values on the lattice that most tiles have.

    Args:
        x: left edges of the tiles, in full-size pixels.
        y: top edges.
        size_px0: width and height of a tile.
        pitch_px0: of every lattice, and of the one that comes out, whose cells have this size.
        values: of every tile.

    Returns:
        Left and top edges of the cells that are covered at least by half, and their values. Tiles
        of the lattice that most have keep their places.
    """
    origin = _commonest(x, y, pitch_px0)
    place = [
        (edges - start) / step for edges, start, step in zip((x, y), origin, pitch_px0, strict=True)
    ]
    reach = [size / step for size, step in zip(size_px0, pitch_px0, strict=True)]
    first = [np.floor(along).astype(np.int64) for along in place]
    least = [int(one.min()) for one in first]
    wide = int(first[0].max()) - least[0] + int(np.ceil(reach[0])) + 2
    keys, areas, sums = [], [], []
    for right in range(int(np.ceil(reach[0])) + 1):
        for down in range(int(np.ceil(reach[1])) + 1):
            cells = first[0] + right, first[1] + down
            area = _overlap(place[0], reach[0], cells[0]) * _overlap(place[1], reach[1], cells[1])
            some = area > 1e-9
            keys.append(((cells[1] - least[1]) * wide + cells[0] - least[0])[some])
            areas.append(area[some])
            sums.append((area * values)[some])
    key, place_of = np.unique(np.concatenate(keys), return_inverse=True)
    area = np.bincount(place_of, np.concatenate(areas))
    mean = np.bincount(place_of, np.concatenate(sums)) / area
    kept = area >= LEAST_SHARE - 1e-9
    column, row = key[kept] % wide + least[0], key[kept] // wide + least[1]
    return origin[0] + column * pitch_px0[0], origin[1] + row * pitch_px0[1], mean[kept]


def _overlap(
    place: Float[np.ndarray, " n"], reach: float, cell: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """How much of a cell lies between `place` and `place + reach`, in cells."""
    return np.clip(np.minimum(place + reach, cell + 1) - np.maximum(place, cell), 0.0, 1.0)


def lattices(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], pitch_px0: tuple[float, float]
) -> int:
    """How many lattices of one pitch the tiles lie on, to whole pixels."""
    return len(_phases(x, y, pitch_px0)[0])


def _commonest(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], pitch_px0: tuple[float, float]
) -> tuple[float, float]:
    """The corner of the first tile of the lattice that most tiles have."""
    first, counts = _phases(x, y, pitch_px0)
    tile = int(first[counts.argmax()])
    return float(x[tile]), float(y[tile])


def _phases(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], pitch_px0: tuple[float, float]
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Of each lattice its first tile and number of tiles."""
    phases = [np.round(edges % step) for edges, step in zip((x, y), pitch_px0, strict=True)]
    _, first, counts = np.unique(
        np.stack(phases, axis=1), axis=0, return_index=True, return_counts=True
    )
    return first, counts
