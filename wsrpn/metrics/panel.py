"""Several metrics of one evidence, asked together, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn.metrics import intervals
from wsrpn.metrics.evidence import Evidence, Values, metrics
from wsrpn.types import Figure

Named = Mapping[str, Values]
PerClass = dict[str, dict[str, Figure]]


class Panel:
    """Metrics built once, then asked for parts of the images and for bootstrap replicates.

    Args:
        evidence: predictions and truth.
        names: registered metrics; all of them where none is named.
        bootstrap: replicates behind the intervals; 0 gives none.
        seed: of the replicates.
    """

    def __init__(
        self, evidence: Evidence, *, names: Sequence[str] = (), bootstrap: int, seed: int
    ) -> None:
        self.evidence, self.bootstrap, self.seed = evidence, bootstrap, seed
        self.built: list[Any] = [
            metrics.build(name, evidence=evidence) for name in names or metrics
        ]

    def values(self, mask: Float[np.ndarray, " b"] | None = None) -> tuple[Named, Named]:
        """Values on the images of a mask (all without one), and on its replicates."""
        mask = np.ones(len(self.evidence)) if mask is None else mask
        value = self._measure(mask[None])
        blocks = intervals.draws(
            self.evidence.patients,
            replicates=self.bootstrap,
            seed=self.seed,
            width=len(self.evidence.found),
        )
        parts = [self._measure(block * mask) for block in blocks]
        return value, {name: _stacked(value[name], [p[name] for p in parts]) for name in value}

    def figures(
        self, mask: Float[np.ndarray, " b"] | None = None
    ) -> tuple[dict[str, Figure], PerClass]:
        """Figures with intervals, in total and per class."""
        return figures(*self.values(mask), self.evidence.classes)

    def _measure(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        return {name: v for metric in self.built for name, v in metric.figures(counts).items()}


def figures(
    value: Named, drawn: Named, classes: tuple[str, ...]
) -> tuple[dict[str, Figure], PerClass]:
    """Values and their replicates as figures, in total and per class."""
    total = {
        n: intervals.figure(float(v.total[0]), drawn[n].total, recentred_above=v.recentred_above)
        for n, v in value.items()
    }
    per_class: PerClass = {label: {} for label in classes}
    for name, values in value.items():
        rows = drawn[name].per_class
        if values.per_class is not None and rows is not None:
            for i, label in enumerate(classes):
                one = float(values.per_class[0, i])
                per_class[label][name] = intervals.figure(
                    one, rows[:, i], recentred_above=values.recentred_above
                )
    return total, per_class


def _stacked(like: Values, parts: Sequence[Values]) -> Values:
    total = np.concatenate([like.total[:0], *(part.total for part in parts)])
    if like.per_class is None:
        return Values(total, recentred_above=like.recentred_above)
    rows = [part.per_class for part in parts if part.per_class is not None]
    return Values(total, np.concatenate([like.per_class[:0], *rows]), like.recentred_above)
