"""One slide under the steps of a calibration: its values, what is called, what it counts for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from wsrpn.metrics.tiles import Weighed, pixels, ranked
from wsrpn.slides import apply
from wsrpn.slides import threshold as thresholds
from wsrpn.slides.calibration import Steps
from wsrpn.slides.normalise import inside
from wsrpn.tiles import Tiles

Weights = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]


@dataclass(frozen=True)
class Truth:
    """What the tiles of a slide count for.

    Attributes:
        tiles: of the slide.
        by_tile: 1 and 0 for tumour, for the rest of the tissue; both 0 where nobody knows.
        by_pixel: pixels of tumour and of other tissue; both 0 where the share is not known.
    """

    tiles: Tiles
    by_tile: Weights
    by_pixel: Weights

    @staticmethod
    def of(tiles: Tiles) -> "Truth":
        """The truth of a slide, inside tissue; tumour beside it counts as tumour that is missed."""
        tumour, other = tiles.label == 1, (tiles.label == 0) & inside(tiles)
        known = ~np.isnan(tiles.label) & ~np.isnan(tiles.truth)
        share = np.where(known, tiles.truth, 0.0)
        positive, negative = pixels(share, tiles.tissue, tiles.size_px0[0] * tiles.size_px0[1])
        by_tile = (tumour.astype(np.float64), other.astype(np.float64))
        return Truth(tiles, by_tile, (positive, np.where(known, negative, 0.0)))

    @property
    def judged(self) -> bool:
        """Whether any tile has a label."""
        return bool(self.by_tile[0].any() or self.by_tile[1].any())

    @property
    def normal(self) -> bool:
        """Known to have no tumour."""
        return self.tiles.normal

    @property
    def ceiling(self) -> Float[np.ndarray, " 3"]:
        """Pixels hit, false and missed when exactly the tumour tiles are called."""
        return _overlap(self.tiles.label == 1, self.by_pixel)


@dataclass(frozen=True)
class View:
    """A slide after the steps.

    Attributes:
        truth: what its tiles count for.
        value: of every tile; -inf for what is never called.
        called: `value >= threshold`, or None without a threshold.
        connectivity: of neighbours in a region.
    """

    truth: Truth
    value: Float[np.ndarray, " n"]
    called: Bool[np.ndarray, " n"] | None = None
    connectivity: int = 4

    def weighed(self, *, pixel: bool = False) -> Weighed:
        """Values with their weights."""
        return Weighed(self.value, *(self.truth.by_pixel if pixel else self.truth.by_tile))

    def ranks(self) -> dict[str, float]:
        """AUROC and AP of tiles, AUROC of pixels."""
        auroc, ap = ranked(self.weighed())
        pixel_auroc, _ = ranked(self.weighed(pixel=True))
        return {"tile_auroc": auroc, "tile_ap": ap, "pixel_auroc": pixel_auroc}

    def oracle(self) -> float:
        """The best IoU that any threshold reaches on this slide."""
        return thresholds.best(self.value, *self.truth.by_tile, "iou")[1]

    def overlap(self, *, pixel: bool = False) -> Float[np.ndarray, " 3"]:
        """What is hit, falsely called and missed; nan without a threshold."""
        if self.called is None:
            return np.full(3, np.nan)
        return _overlap(self.called, self.truth.by_pixel if pixel else self.truth.by_tile)

    def false_alarms(self) -> dict[str, float]:
        """Area and number of regions that are called on a slide without tumour."""
        tiles = self.truth.tiles
        if self.called is None or not self.truth.normal:
            return {"fp_mm2": math.nan, "fp_regions": math.nan}
        area = math.nan if tiles.cell_um2 is None else tiles.cell_um2 / 1e6
        ones = np.ones((3, 3)) if self.connectivity == 8 else None
        regions = ndimage.label(tiles.lattice.marked(self.called), ones)[1]
        return {"fp_mm2": float(self.called.sum()) * area, "fp_regions": float(regions)}


def _overlap(called: Bool[np.ndarray, " n"], weights: Weights) -> Float[np.ndarray, " 3"]:
    positive, negative = weights
    return np.array([positive[called].sum(), negative[called].sum(), positive[~called].sum()])


def views(truth: Truth, wanted: Sequence[tuple[Steps, float | None]]) -> list[View]:
    """A slide under several steps, each worked out once.

    Args:
        truth: the slide.
        wanted: steps with a threshold, or None without one.

    Raises:
        InputError: steps that this slide cannot be put through.
    """
    values = {steps: apply.values(truth.tiles, steps) for steps in {steps for steps, _ in wanted}}
    return [View(truth, values[s], _called(values[s], t), s.connectivity) for s, t in wanted]


def _called(
    values: Float[np.ndarray, " n"], threshold: float | None
) -> Bool[np.ndarray, " n"] | None:
    """A threshold may be -inf; a value of -inf is never called even then."""
    return None if threshold is None else (values >= threshold) & (values > -np.inf)
