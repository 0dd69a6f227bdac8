"""Small slides ready to be drawn, for the tests of this room."""

import numpy as np

from wsrpn.report.slide_view import SlideView, union
from wsrpn.tiles import Lattice, Tiles


def tiles(
    mask, *, pitch=(374.7, 374.7), origin=(1873.5, 749.4), size=None, score=None, label=None,
    mpp=0.25, extent=None, name="slide",
):  # fmt: skip
    """Tiles where a grid is True, with the scores and labels of grids of the same shape."""
    row, column = np.nonzero(mask)
    of = lambda grid, else_: np.full(len(row), else_) if grid is None else grid[row, column]  # noqa: E731
    truth = of(label, np.nan).astype(float)
    return Tiles(
        name, name, Lattice(origin, pitch, column, row, mask.shape), size or pitch,
        of(score, 0.5).astype(float), truth, truth, np.ones(len(row)), mpp=mpp, extent_px0=extent,
    )  # fmt: skip


def view(mask, *, found=None, colour=(0.0, 1.0), outlines=True, **options):
    """The same with its picture's values: heat is the score, outlines are those of the labels."""
    these = tiles(mask, **options)
    label = these.label
    return SlideView(
        these, these.lattice.spread(these.score), colour,
        found=None if found is None else these.lattice.gather(found),
        threshold=None if found is None else 0.5,
        tumour=union(these, label == 1) if outlines and not np.isnan(label).all() else None,
    )  # fmt: skip


def large(side=100, seed=0, **options):
    """Tissue with gaps on a slide of 100,000 × 100,000 pixels, and a tumour of 6 tiles in it."""
    random = np.random.default_rng(seed)
    mask = random.random((side, side)) < 0.9
    mask[0, 0] = mask[-1, -1] = True
    label = np.zeros((side, side))
    label[30:32, 40:43] = 1
    mask[30:32, 40:43] = True
    score = np.clip(random.normal(0.4, 0.15, (side, side)) + 0.4 * label, 0, 1)
    pitch = 100_000 / side
    return view(mask, score=score, label=label, pitch=(pitch, pitch), origin=(0.0, 0.0),
                extent=(100_000, 100_000), **options)  # fmt: skip
