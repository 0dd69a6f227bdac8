"""Figures with intervals from the tiles that are called on every slide."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from wsrpn.cohort.cases import Cases
from wsrpn.metrics.evidence import share
from wsrpn.metrics.intervals import figure
from wsrpn.metrics.tiles import Means, Overlap, Part, SlidePanel
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps
from wsrpn.types import Figure

PerSlide = Float[np.ndarray, " s"]
Called = Float[np.ndarray, "2 s"]  # tumour tiles and other tiles that are called


class Alarms:
    """Specificity, Youden's J, and area of false alarms on slides without tumour.

    A mean over slides of J is over those with tumour, of specificity over all, of `fp_mm2` over
    slides known to have no tumour.

    Args:
        cases: slides with their numbers of tiles.
        called: tumour tiles and other tiles that are called.
    """

    def __init__(self, cases: Cases, called: Called) -> None:
        hits, false = called
        self.parts = np.stack([hits, cases.positives, false, cases.negatives], axis=1)
        spared = 1 - share(false, cases.negatives)
        found = share(hits, cases.positives)
        # On a slide that is all tumour nothing can be a false alarm.
        means = {
            "specificity_macro": spared,
            "youden_macro": found - np.where(cases.negatives > 0, 1 - spared, 0.0),
        }
        area = np.where(cases.normal, false * cases.cell_mm2, np.nan)
        if not np.isnan(area).all():
            means["fp_mm2"] = area
        self.macro = Means(means)

    def figures(self, counts: Float[np.ndarray, "r s"]) -> dict[str, Float[np.ndarray, " r"]]:
        """Values per row of weights."""
        hits, positives, false, negatives = (counts @ self.parts).T
        alarms = share(false, negatives)
        return {
            "specificity": 1 - alarms,
            "youden": share(hits, positives) - np.where(negatives > 0, alarms, 0.0),
            **self.macro.figures(counts),
        }


def regions(cases: Cases, decided: Sequence[tuple[Steps, float]]) -> PerSlide:
    """Regions of called tiles on each slide known to have no tumour; nan on the others.

    Args:
        cases: the slides.
        decided: steps and threshold for each.
    """
    found = np.full(len(cases), np.nan)
    for s in np.flatnonzero(cases.normal).tolist():
        steps, threshold = decided[s]
        tiles = cases.slides[s]
        called = tiles.lattice.marked(apply.decide(tiles, steps, threshold))
        structure = ndimage.generate_binary_structure(2, steps.connectivity // 4)
        found[s] = ndimage.label(called, structure)[1]
    return found


class Tally:
    """Figures of called tiles, all on the same bootstrap replicates of patients.

    Args:
        cases: slides with their numbers of tumour tiles and others.
        bootstrap: replicates behind the intervals.
        seed: of the replicates.
    """

    def __init__(self, cases: Cases, *, bootstrap: int, seed: int) -> None:
        self.cases, self.bootstrap, self.seed = cases, bootstrap, seed

    def figures(
        self, called: Called, extra: Mapping[str, PerSlide] | None = None
    ) -> dict[str, Figure]:
        """Figures of hits and false alarms per slide.

        Args:
            called: tumour tiles and other tiles that are called.
            extra: further figures, means over the slides on which they are not nan.
        """
        return self._panel(called, extra or {}).figures()

    def gains(self, now: Called, before: Called) -> dict[str, Figure]:
        """Differences of figures, replicate by replicate."""
        value, drawn = self._panel(now, {}).values()
        less, lessened = self._panel(before, {}).values()
        return {
            name: figure(float((value[name] - less[name])[0]), drawn[name] - lessened[name])
            for name in value
        }

    def _panel(self, called: Called, extra: Mapping[str, PerSlide]) -> SlidePanel:
        hits, false = called
        missed = self.cases.positives - hits
        overlap = Overlap(np.stack([hits, false, missed], axis=1))
        parts: list[Part] = [overlap, Alarms(self.cases, called), Means(extra)]
        return SlidePanel(parts, self.cases.patients, bootstrap=self.bootstrap, seed=self.seed)
