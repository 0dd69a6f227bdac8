"""Thresholds for `score >= threshold`: exact over all cuts between scores, placed half-way."""

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.errors import InputError


def threshold_of(
    labels: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, objective: str
) -> float:
    """The best threshold on labelled scores; of equally good cuts the highest.

    Args:
        labels: 0 or 1.
        scores: in [0, 1].
        objective: `f1`, `youden` (sensitivity + specificity - 1), or `specificity@X`: the lowest
            threshold that keeps this specificity.

    Raises:
        InputError: an objective of another name.

    Example:
        >>> threshold_of(np.array([0.0, 1.0]), np.array([0.2, 0.4]), objective="f1").__round__(4)
        0.3
    """
    least = check_objective(objective)
    order = np.argsort(-scores, kind="stable")
    ends = _ends(scores[order])
    hits = np.append(0.0, np.cumsum(labels[order])[ends - 1])
    false = np.append(0.0, ends) - hits
    positives, negatives = max(hits[-1], 1.0), max(false[-1], 1.0)
    if least is not None:
        value = np.where(1 - false / negatives >= least, hits, -1.0)
    elif objective == "youden":
        value = hits / positives - false / negatives
    else:
        value = 2 * hits / (hits + false + positives)
    return _between(scores[order][ends - 1], int(np.argmax(value)))


def best_boxes(
    hit: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], truths: float
) -> float:
    """The threshold of the best F1 of boxes.

    Args:
        hit: whether each box met a true box.
        scores: of the boxes, falling.
        truths: number of true boxes.
    """
    ends = _ends(scores)
    value = 2 * np.cumsum(hit)[ends - 1] / (ends + truths)
    return _between(scores[ends - 1], int(np.argmax(value)) + 1)


def check_objective(objective: str) -> float | None:
    """The X of `specificity@X`, None for the others.

    Raises:
        InputError: an objective of another name.
    """
    if objective in {"f1", "youden"}:
        return None
    name, _, number = objective.partition("@")
    try:
        least = float(number)
    except ValueError:
        least = -1.0
    if name != "specificity" or not 0 <= least <= 1:
        raise InputError(
            f"No objective is called '{objective}'. Known: f1, youden, specificity@0.95."
        )
    return least


def _ends(falling: Float[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """How many values there are down to the end of each run of equal ones."""
    return np.flatnonzero(np.diff(falling, append=-np.inf)) + 1


def _between(levels: Float[np.ndarray, " n"], above: int) -> float:
    """A number that parts the `above` highest of falling levels from the others."""
    high = float(levels[above - 1]) if above else float(np.nextafter(1.0, 2.0))
    low = float(levels[above]) if above < len(levels) else 0.0
    middle = (high + low) / 2
    return middle if low < middle <= high else high
