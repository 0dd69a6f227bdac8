"""Tiles for tests of the mathematics, and slow definitions of what is done on their lattice."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsrpn.tiles import Lattice, Tiles

CROSS = ((-1, 0), (0, -1), (0, 1), (1, 0))
SQUARE = (*CROSS, (-1, -1), (-1, 1), (1, -1), (1, 1))
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
limits = st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 100.0, float("inf")])
neighbours = st.sampled_from([4, 8])


@st.composite
def grids(draw, *, levels=6, holes=True):
    """Small grids with ties; nan where there is no tissue."""
    shape = draw(shapes)
    values = draw(hnp.arrays(np.float64, shape, elements=st.integers(0, levels).map(float)))
    if holes:
        glass = hnp.arrays(np.bool_, shape, elements=st.integers(0, 4).map(lambda i: i == 0))
        values[draw(glass)] = np.nan
    return values


def tiles_of(grid, *, tissue=None, label=None, mpp=0.5, pitch=(100.0, 100.0), **given):
    """One slide with a tile on every cell of a grid."""
    row, column = (index.ravel() for index in np.indices(grid.shape))
    count = grid.size
    return Tiles(
        slide="a",
        patient="a",
        lattice=Lattice((0.0, 0.0), pitch, column, row, grid.shape),
        size_px0=pitch,
        score=grid.ravel(),
        label=np.zeros(count) if label is None else np.asarray(label, dtype=float).ravel(),
        truth=np.full(count, np.nan),
        tissue=np.ones(count) if tissue is None else np.asarray(tissue, dtype=float).ravel(),
        mpp=mpp,
        **given,
    )


def parts(mask, around):
    """Connected sets of cells, by flooding from cell to cell."""
    left = {tuple(cell) for cell in np.argwhere(mask)}
    while left:
        found, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            found.add((y, x))
            beside = {(y + dy, x + dx) for dy, dx in around} & left
            left -= beside
            edge += beside
        yield found


def cleaned(mask, tissue, min_cells, max_hole_cells, connectivity):
    """Objects of too few cells removed, then holes filled, cell by cell."""
    result = mask & tissue
    for part in parts(result, CROSS if connectivity == 4 else SQUARE):
        if len(part) < min_cells:
            result[tuple(zip(*part, strict=True))] = False
    height, width = mask.shape
    for part in list(parts(~result, CROSS)):
        border = any(y in (0, height - 1) or x in (0, width - 1) for y, x in part)
        if not border and len(part) <= max_hole_cells:
            result[tuple(zip(*part, strict=True))] = True
    return result & tissue
