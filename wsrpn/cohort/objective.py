"""What a threshold is best for: a name, maybe with a limit behind an @."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from wsrpn.errors import InputError
from wsrpn.slides import threshold
from wsrpn.slides.calibration import Over

BEST = ("iou", "f1", "youden")  # the higher the better; they peak at the score of a tumour tile
FIGURES = {"iou": "iou", "f1": "dice", "youden": "youden"}


@dataclass(frozen=True)
class Objective:
    """A parsed objective.

    Attributes:
        text: as the user writes it.
        name: `iou`, `f1`, `youden`, `specificity`, `fp_mm2`, `fp_regions` or `fnr`.
        limit: the number behind the @; nan where there is none.
    """

    text: str
    name: str
    limit: float = math.nan

    @property
    def from_normals(self) -> bool:
        """Whether the threshold is found on slides without tumour alone."""
        return self.name in {"fp_mm2", "fp_regions"}

    def figure(self, over: Over) -> str:
        """The figure that steps are compared by.

        It is the objective's own or, where a limit is kept anyway, how much tumour is found.
        """
        name = FIGURES.get(self.name, "recall")
        return name if over == "pooled" else f"{name}_macro"


def parse(text: str) -> Objective:
    """An objective from its text.

    Raises:
        InputError: an unknown name, or a limit that is missing or out of range.

    Example:
        >>> parse("specificity@0.95").limit
        0.95
    """
    name, limit = threshold.check(text)
    if name == "fnr" and limit in {0.0, 1.0}:
        raise InputError(f"Objective '{text}': no finite number of slides can promise that.")
    return Objective(text, name, math.nan if limit is None else limit)


def value(
    name: str,
    hits: Float[np.ndarray, "a n"],
    false: Float[np.ndarray, "a n"],
    positives: Float[np.ndarray, "a 1"],
    negatives: Float[np.ndarray, "a 1"],
) -> Float[np.ndarray, "a n"]:
    """An objective of `BEST`, or recall, from counts.

    It rises with hits and falls with false alarms, so that over falling thresholds it peaks at the
    score of a tumour tile.

    Args:
        name: `iou` hits / (positives + false), `f1` 2 hits / (hits + false + positives), `youden`
            hits / positives - false / negatives, or `recall` hits / positives.
        hits: tumour tiles that are called.
        false: other tiles that are called.
        positives: tumour tiles; of 0 the value is 0 or less.
        negatives: other tiles; of 0 there are no false alarms.
    """
    if name == "iou":
        return hits / np.maximum(positives + false, 1)
    if name == "f1":
        return 2 * hits / np.maximum(hits + false + positives, 1)
    if name == "recall":
        return hits / np.maximum(positives, 1) + 0 * false
    return hits / np.maximum(positives, 1) - false / np.maximum(negatives, 1)
