"""Figures of the Gaussian maps: how wide they are, and whether they sit where their boxes do.

`entropy` (nats), `entropy_normalized`, `alignment_error` and `top_patch` are means over the winning
regions: for every image and every class known to be present, the region with the highest score of
that class. The same names with `_all` are means over all regions of all images. Regions are not
boxes: these figures read labels only and use every image. Totals are means over regions, not over
classes.
"""

import numpy as np
from jaxtyping import Float

from wsrpn.metrics.evidence import Evidence, Values, metrics, share
from wsrpn.types import RegionFigures

NAMES = ("entropy", "entropy_normalized", "alignment_error", "top_patch")


@metrics.register("gaussian")
class Gaussian:
    """Means of the region figures over winning regions and over all.

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
        wins, many = counts @ self.wins, counts @ self.many
        named = {}
        for name in NAMES:
            won = counts @ self.won[name]
            named[name] = Values(share(won.sum(axis=1), wins.sum(axis=1)), share(won, wins))
        for name in NAMES:
            named[f"{name}_all"] = Values(share(counts @ self.sums[name], many)[:, 0])
        return named
