"""Figures of scored tiles: ranking, overlap with the truth, means over slides.

Further letters of shapes: `s` slides, `r` rows of weights, one weight per slide. As everywhere in
this room a part is built once and then asked with weights: ones are the cohort, 0 and 1 a part of
it, one 1 a single slide, whole numbers a bootstrap replicate (of patients: their slides come
along).

Tiles enter with two weights, how much of each is tumour (`positive`) and how much is not
(`negative`): 1 and 0 for figures of tiles, pixels for figures of pixels. All pixels of a tile share
its value, so a figure of pixels is a weighted figure of tiles, exactly, and nothing is painted.

A slide without tumour has no IoU, no recall and no rank: it is left out of means over slides, and
counts in pooled figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from wsrpn.metrics import intervals
from wsrpn.metrics.evidence import share
from wsrpn.metrics.image import ranking
from wsrpn.types import Figure

Drawn = dict[str, Float[np.ndarray, " r"]]
Rows = dict[str, Float[np.ndarray, " _r"]]


@dataclass(frozen=True)
class Weighed:
    """Tiles of one slide with what they count for.

    Attributes:
        value: higher means more likely tumour.
        positive: weight as tumour.
        negative: weight as no tumour.
    """

    value: Float[np.ndarray, " n"]
    positive: Float[np.ndarray, " n"]
    negative: Float[np.ndarray, " n"]


@runtime_checkable
class Part(Protocol):
    """What a panel asks: figures for any rows of weights of slides."""

    def figures(self, counts: Float[np.ndarray, "r s"]) -> Mapping[str, Float[np.ndarray, " r"]]:
        """Name → one value per row; nan where it is undefined."""
        ...


def ranked(tiles: Weighed) -> tuple[float, float]:
    """AUROC and average precision of weighted tiles; nan where undefined.

    With pixels as weights it is the AUROC of all pixels.

    Example:
        >>> v, p, n = np.array([[2.0, 1.0], [3.0, 0.0], [1.0, 4.0]])
        >>> [round(x, 2) for x in ranked(Weighed(v, p, n))]
        [0.9, 0.75]
    """
    tumour, other = tiles.positive > 0, tiles.negative > 0
    labels = np.repeat([1.0, 0.0], [tumour.sum(), other.sum()])
    values = np.concatenate([tiles.value[tumour], tiles.value[other]])
    weights = np.concatenate([tiles.positive[tumour], tiles.negative[other]])
    finite = np.maximum(values, np.finfo(np.float64).min)  # -inf is a value like any other
    auroc, ap = ranking(labels, finite, weights[None])
    return float(auroc[0]), float(ap[0])


def pixels(
    truth: Float[np.ndarray, " n"], tissue: Float[np.ndarray, " n"], area_px0: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Pixels of tiles that are tumour, and those that are other tissue.

    Pixels beside the tissue are in neither: they are trivially right, and a slide that is mostly
    glass would get an AUROC near 1 from them alone. Tumour that a mask of tissue misses stays
    tumour.

    Args:
        truth: share of each tile that is tumour.
        tissue: share that is tissue.
        area_px0: pixels of a tile.
    """
    return truth * area_px0, np.maximum(tissue - truth, 0.0) * area_px0


class Means:
    """Means over the slides on which a figure is defined.

    Args:
        values: name → figure of each slide, nan where undefined.
    """

    def __init__(self, values: Mapping[str, Float[np.ndarray, " s"]]) -> None:
        self.values = values

    def figures(self, counts: Float[np.ndarray, "r s"]) -> Drawn:
        """Values per row of weights."""
        return {name: mean_over(counts, values) for name, values in self.values.items()}


def mean_over(
    counts: Float[np.ndarray, "r s"], values: Float[np.ndarray, " s"]
) -> Float[np.ndarray, " r"]:
    """Weighted mean of the values that are not nan; nan where there is none.

    Example:
        >>> mean_over(np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 0.0]]), np.array([1.0, np.nan, 4.0]))
        array([ 3., nan])
    """
    known = ~np.isnan(values)
    return share(counts @ np.where(known, values, 0.0), counts @ known.astype(np.float64))


class Overlap:
    """IoU, Dice, precision and recall, pooled (all slides together) and macro (mean over slides).

    Args:
        counts: per slide what was called tumour and is, what was called and is not, and what is
            tumour and was not called; nan where nothing decides what is called.
        names: pattern of the names, for example `pixel_{}`.
        only: the figures that are wanted; all without any.
    """

    def __init__(
        self, counts: Float[np.ndarray, "s 3"], *, names: str = "{}", only: Sequence[str] = ()
    ) -> None:
        self.parts, self.names, self.only = counts, names, tuple(only)
        self.macro = Means({f"{name}_macro": v for name, v in self._ratios(counts).items()})

    def figures(self, counts: Float[np.ndarray, "r s"]) -> Drawn:
        """Values per row of weights."""
        return {**self._ratios(counts @ self.parts), **self.macro.figures(counts)}

    def _ratios(self, parts: Float[np.ndarray, "r 3"]) -> Drawn:
        hit, false, missed = parts.T
        tumour = hit + missed > 0  # without any, the others would be 0 whatever was called
        found = {
            "iou": share(hit, hit + false + missed),
            "dice": share(2 * hit, 2 * hit + false + missed),
            "precision": share(hit, hit + false),
            "recall": share(hit, hit + missed),
        }
        return {
            self.names.format(name): np.where(tumour, v, np.nan)
            for name, v in found.items()
            if name in (self.only or found)
        }


class SlidePanel:
    """Parts asked together: figures with intervals, of all slides, of some, of each alone.

    A figure that is undefined without some one patient has no interval: nothing is known of how
    far others differ from him.

    Args:
        parts: built once.
        patients: of each slide; whoever is drawn as one.
        bootstrap: replicates behind the intervals; 0 gives none.
        seed: of the replicates.
    """

    def __init__(
        self, parts: Sequence[Part], patients: Sequence[str], *, bootstrap: int, seed: int
    ) -> None:
        self.parts, self.patients = tuple(parts), tuple(patients)
        self.bootstrap, self.seed = bootstrap, seed

    def measure(self, counts: Float[np.ndarray, "r s"]) -> Drawn:
        """Name → one value per row of weights."""
        return {name: v for part in self.parts for name, v in part.figures(counts).items()}

    def values(self, mask: Float[np.ndarray, " s"] | None = None) -> tuple[Rows, Rows]:
        """Values on the slides of a mask (all without one), one row, and on its replicates.

        Replicates of a figure that rests on a single patient are nan: so it has no interval, and
        no difference of it has one.
        """
        mask = np.ones(len(self.patients)) if mask is None else mask
        value = self.measure(mask[None])
        blocks = intervals.draws(self.patients, replicates=self.bootstrap, seed=self.seed)
        rows = [self.measure(block * mask) for block in blocks]
        drawn = {n: np.concatenate([v[:0], *(r[n] for r in rows)]) for n, v in value.items()}
        single = self._single(mask) if self.bootstrap else set()
        return value, {n: np.full_like(v, np.nan) if n in single else v for n, v in drawn.items()}

    def _single(self, mask: Float[np.ndarray, " s"]) -> set[str]:
        """Figures that are undefined without some one patient."""
        names: set[str] = set()
        for block in intervals.left_out(self.patients):
            found = self.measure(block * mask)
            names.update(name for name, v in found.items() if np.isnan(v).any())
        return names

    def figures(self, mask: Float[np.ndarray, " s"] | None = None) -> dict[str, Figure]:
        """Figures with intervals on the slides of a mask, all without one."""
        value, drawn = self.values(mask)
        return {name: intervals.figure(float(v[0]), drawn[name]) for name, v in value.items()}

    def each(self) -> list[dict[str, Figure]]:
        """The figures of every slide alone, without intervals."""
        rows = self.measure(np.eye(len(self.patients)))
        return [
            {name: Figure.of(float(v[i])) for name, v in rows.items()}
            for i in range(len(self.patients))
        ]


BURDENS = ("normal", "burden<0.1%", "burden 0.1–2%", "burden≥2%")


def burden_groups(burden: Float[np.ndarray, " s"]) -> Int[np.ndarray, " s"]:
    """Which of `BURDENS` each slide belongs to; -1 where the burden is not known.

    Example:
        >>> burden_groups(np.array([0.0, 0.0005, 0.001, 0.02, np.nan])).tolist()
        [0, 1, 2, 3, -1]
    """
    group = np.searchsorted([0.001, 0.02], burden, side="right") + 1
    return np.where(np.isnan(burden), -1, np.where(burden == 0, 0, group))
