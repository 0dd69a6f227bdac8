"""Number of regions of called tiles at every threshold at once.

At a threshold there are as many regions as called tiles less edges of a maximum spanning forest
between called neighbours, an edge being as strong as its weaker tile (Kruskal): two sorted lists
hold all counts.
"""

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from wsrpn.tiles import Lattice

SHIFTS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}


def merges(
    lattice: Lattice, values: Float[np.ndarray, " n"], connectivity: int
) -> Float[np.ndarray, " m"]:
    """Values at which, going down, two regions become one; rising.

    `(values >= t).sum() - (merges >= t).sum()` is the number of regions at t, for every finite t.

    Args:
        lattice: where the tiles sit.
        values: of the tiles; -inf and nan are never called.
        connectivity: 4 or 8 neighbours make a region.

    Example:
        >>> row = Lattice((0.0, 0.0), (1.0, 1.0), np.arange(3), np.zeros(3, dtype=int), (1, 3))
        >>> merges(row, np.array([5.0, 1.0, 4.0]), 4)
        array([1., 1.])
    """
    grid = lattice.spread(values)
    levels, ranks = np.unique(grid[np.isfinite(grid)], return_inverse=True)
    height = np.full(grid.shape, -1, dtype=np.int64)
    height[np.isfinite(grid)] = ranks
    cells = np.arange(grid.size).reshape(grid.shape)
    ends, strengths = [], []
    for down, right in SHIFTS[connectivity]:
        one, two = _neighbours(height, down, right)
        both = (one >= 0) & (two >= 0)
        first, second = _neighbours(cells, down, right)
        ends.append(np.stack([first[both], second[both]]))
        strengths.append(np.minimum(one[both], two[both]))
    edges, strength = np.concatenate(ends, axis=1), np.concatenate(strengths)
    # A weight of 0 would be no edge at all, so costs begin at 1 with the highest value.
    cost = (len(levels) - strength).astype(np.float64)
    graph = coo_array((cost, (edges[0], edges[1])), shape=(grid.size, grid.size)).tocsr()
    kept = minimum_spanning_tree(graph).data
    return np.sort(levels[len(levels) - kept.astype(np.int64)])


def _neighbours(grid: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells with a neighbour `down` and `right` of them, and these neighbours."""
    rows, columns = grid.shape
    if right < 0:
        return grid[: rows - down, -right:], grid[down:, : columns + right]
    return grid[: rows - down, : columns - right], grid[down:, right:]
