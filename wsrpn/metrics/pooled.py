"""Ranking of the tiles of all slides together, under any weights of slides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from wsrpn.metrics.evidence import share
from wsrpn.metrics.tiles import Drawn, Weighed

BLOCK = 4096  # levels of an average precision that are looked at together
MOST = 10_000_000  # rows × levels of one; more rows look at fewer levels, a single row at all


class Pooled:
    """AUROC and AP of the tiles of all slides together, exact under any weights of slides.

    AUROC is a quadratic form: with A[i, j] the weight of pairs in which a positive of slide i beats
    a negative of slide j (a tie counts one half), it is wᵀAw / ((w·positives) (w·negatives)). So a
    replicate costs s² operations, however many tiles there are.

    Args:
        slides: their tiles.
        auroc: name of the AUROC.
        ap: name of the average precision; "" for none.
    """

    def __init__(self, slides: Sequence[Weighed], *, auroc: str, ap: str = "") -> None:
        self.names = (auroc, ap)
        self.tumour = [_Sorted.of(s.value, s.positive) for s in slides]
        self.other = [_Sorted.of(s.value, s.negative) for s in slides]
        self.positives = np.array([s.total for s in self.tumour])
        self.negatives = np.array([s.total for s in self.other])
        self.beaten = _beaten(self.tumour, self.other)
        found = [s.value for s in self.tumour] or [np.zeros(0)]
        self.levels = np.unique(np.concatenate(found))[::-1]

    def figures(self, counts: Float[np.ndarray, "r s"]) -> Drawn:
        """Values per row of weights."""
        won = ((counts @ self.beaten) * counts).sum(axis=1)
        values = {self.names[0]: share(won, (counts @ self.positives) * (counts @ self.negatives))}
        if self.names[1]:
            values[self.names[1]] = self._ap(counts)
        return values

    def _ap(self, counts: Float[np.ndarray, "r s"]) -> Float[np.ndarray, " r"]:
        """Sum of precision × rise of recall over falling levels."""
        many = max(MOST // max(len(counts), 1), 1)
        step = np.linspace(0, len(self.levels) - 1, min(many, len(self.levels)))
        levels = self.levels[step.astype(np.int64)]
        total, before = np.zeros(len(counts)), np.zeros((len(counts), 1))
        for low in range(0, len(levels), BLOCK):
            part = levels[low : low + BLOCK]
            hits = counts @ np.stack([s.at_least(part) for s in self.tumour])
            false = counts @ np.stack([s.at_least(part) for s in self.other])
            rise = np.diff(hits, axis=1, prepend=before)
            total += (rise * hits / np.maximum(hits + false, 1e-12)).sum(axis=1)
            before = hits[:, -1:]
        return share(total, counts @ self.positives)


@dataclass(frozen=True)
class _Sorted:
    """Values of weight above 0, rising, with how much weight lies below each place."""

    value: Float[np.ndarray, " n"]
    below: Float[np.ndarray, " m"]

    @staticmethod
    def of(value: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"]) -> "_Sorted":
        value, weight = value[weight > 0], weight[weight > 0]
        order = np.argsort(value, kind="stable")
        return _Sorted(value[order], np.append(0.0, np.cumsum(weight[order])))

    @property
    def total(self) -> float:
        return float(self.below[-1])

    @property
    def weight(self) -> Float[np.ndarray, " n"]:
        return np.diff(self.below)

    def at_least(self, levels: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
        """Weight of the values that reach each level."""
        return self.total - self.below[np.searchsorted(self.value, levels, side="left")]


def _beaten(tumour: Sequence[_Sorted], other: Sequence[_Sorted]) -> Float[np.ndarray, "s s"]:
    """The weight of pairs that positives of the row's slide win over the column's negatives."""
    won = np.zeros((len(tumour), len(other)))
    if not len(tumour):
        return won
    values = np.concatenate([s.value for s in tumour])
    weights = np.concatenate([s.weight for s in tumour])
    owner = np.repeat(np.arange(len(tumour)), [len(s.value) for s in tumour])
    order = np.argsort(values, kind="stable")  # neighbours are then looked up side by side
    values, weights, owner = values[order], weights[order], owner[order]
    for j, slide in enumerate(other):
        ends = [np.searchsorted(slide.value, values, side=side) for side in ("left", "right")]
        half = (slide.below[ends[0]] + slide.below[ends[1]]) / 2
        won[:, j] = np.bincount(owner, weights * half, minlength=len(tumour))
    return won
