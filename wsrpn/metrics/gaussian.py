"""Figures of the Gaussian maps: how wide they are, and whether they sit where their boxes do.

`entropy` (nats), `entropy_normalized`, `alignment_error` and `top_patch` are means over the winning
regions: for every image and every class known to be present, the region with the highest score of
that class. The same names with `_all` are means over all regions of all images. Regions are not
boxes: these figures read labels only and use every image. Totals are means over regions, not over
classes.

With `_small`, `_medium` and `_large` they are means over those winning regions whose image has gold
boxes of the class, the largest of that size (see `wsrpn.metrics.sizes`): what sharpness costs is
seen on large findings first.
"""

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.metrics.evidence import Evidence, Values, metrics, share
from wsrpn.metrics.sizes import SIZES, largest
from wsrpn.types import RegionFigures

NAMES = ("entropy", "entropy_normalized", "alignment_error", "top_patch")


@metrics.register("gaussian")
class Gaussian:
    """Means of the region figures over winning regions, by size of the finding, and over all.

    Args:
        evidence: predictions and truth.
    """

    def __init__(self, evidence: Evidence) -> None:
        images, classes = len(evidence), len(evidence.classes)
        self.won = {name: np.zeros((images, classes)) for name in NAMES}
        self.wins = np.zeros((images, classes))
        self.sums = {name: np.zeros((images, 1)) for name in NAMES}
        self.many = np.zeros((images, 1))
        for i, regions in enumerate(evidence.regions):
            if regions is not None and len(regions.entropy):
                self._add(i, regions, evidence.labels[i] == 1)
        self.size = largest(evidence)

    def _add(self, image: int, regions: RegionFigures, present: np.ndarray) -> None:
        winner = regions.scores.argmax(axis=0)
        self.wins[image] = present
        self.many[image] = len(regions.entropy)
        for name in NAMES:
            values = getattr(regions, name)
            self.won[name][image] = np.where(present, values[winner], 0.0)
            self.sums[name][image] = values.sum()

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        named = self._winners(counts, np.ones_like(self.size, dtype=bool))
        for index, size in enumerate(SIZES):
            own = self._winners(counts, self.size == index)
            named |= {f"{name}_{size}": values for name, values in own.items()}
        many = counts @ self.many
        for name in NAMES:
            named[f"{name}_all"] = Values(share(counts @ self.sums[name], many)[:, 0])
        return named

    def _winners(
        self, counts: Float[np.ndarray, "r b"], where: Bool[np.ndarray, "b k"]
    ) -> dict[str, Values]:
        """Means over the winning regions of some pairs of an image and a class."""
        wins, named = counts @ (self.wins * where), {}
        for name in NAMES:
            won = counts @ (self.won[name] * where)
            named[name] = Values(share(won.sum(axis=1), wins.sum(axis=1)), share(won, wins))
        return named
