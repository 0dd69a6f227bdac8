"""Exact thresholds for `value >= threshold` on tiles with positive and negative weight.

Weights are 0 and 1 for labels, or areas or shares of a tile. Lowering a threshold over a tile
without positive weight can only add false alarms, so every objective here is best at the value of a
positive tile (or where nothing is called): those few are all that is looked at.
"""

import numpy as np
from jaxtyping import Float

from wsrpn.errors import InputError

Values = Float[np.ndarray, " n"]
EXACT = ("iou", "f1", "youden", "specificity")
LIMITED = ("specificity", "fnr", "fp_mm2", "fp_regions")
EXAMPLES = "iou, f1, youden, specificity@0.95, fp_mm2@0.1, fp_regions@2, fnr@0.1"


def check(objective: str) -> tuple[str, float | None]:
    """Name and number of an objective such as `iou` or `specificity@0.95`.

    Raises:
        InputError: an objective of another name, or a number that it cannot have.
    """
    name, at, number = objective.partition("@")
    if name in EXACT and name not in LIMITED and not at:
        return name, None
    try:
        limit = float(number)
    except ValueError:
        limit = -1.0
    most = np.inf if name.startswith("fp_") else 1.0
    if name not in LIMITED or not 0 <= limit <= most or limit == np.inf:
        raise InputError(f"No objective is called '{objective}'. Known: {EXAMPLES}.")
    return name, limit


def best(
    values: Values, positive: Values, negative: Values, objective: str = "iou"
) -> tuple[float, float]:
    """The best threshold and what it reaches; of equally good ones the highest.

    Args:
        values: of the tiles; -inf and nan are never called.
        positive: weight as tumour, never negative.
        negative: weight as anything else, never negative.
        objective: `iou`, `f1`, `youden` (sensitivity + specificity - 1), or `specificity@X`: the
            best sensitivity with at least this specificity.

    Returns:
        A value of a positive tile, or inf where calling nothing is best; the figure there, nan
        without positives (Youden's J also without negatives).

    Raises:
        InputError: an objective that is none of these.

    Example:
        >>> labels = np.array([0.0, 1.0, 0.0, 1.0])
        >>> best(np.array([0.1, 0.2, 0.3, 0.4]), labels, 1 - labels)
        (0.2, 0.6666666666666666)
    """
    name, _ = check(objective)
    if name not in EXACT:
        raise InputError(f"Objective '{objective}' is fitted on a cohort of slides, not on tiles.")
    levels = np.unique(values[(positive > 0) & (values > -np.inf)])[::-1]
    hits, false = counts(values, positive, negative, levels)
    all_positive, all_negative = float(positive.sum()), float(negative.sum())
    if all_positive == 0 or (name == "youden" and all_negative == 0):
        return float("inf"), float("nan")
    hits, false = np.append(0.0, hits), np.append(0.0, false)
    reached = figure(hits, false, all_positive, all_negative, objective)
    place = int(np.argmax(reached))
    return float(np.append(np.inf, levels)[place]), float(reached[place])


def figure(
    hits: Float[np.ndarray, " t"],
    false: Float[np.ndarray, " t"],
    positive: float,
    negative: float,
    objective: str = "iou",
) -> Float[np.ndarray, " t"]:
    """An objective from counts; -1 where `specificity@X` is not kept.

    Args:
        hits: positive weight that is called.
        false: negative weight that is called.
        positive: all of it, above 0.
        negative: all of it.
        objective: as in `best`.
    """
    name, limit = check(objective)
    if name == "iou":
        return hits / (positive + false)
    if name == "f1":
        return 2 * hits / (hits + false + positive)
    alarm = false / negative if negative > 0 else np.zeros_like(false)
    if name == "youden":
        return hits / positive - alarm
    return np.where(1 - alarm >= (limit or 0.0), hits / positive, -1.0)


def counts(
    values: Values, positive: Values, negative: Values, thresholds: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Positive and negative weight at or above each threshold.

    Args:
        values: of the tiles; nan is never called.
        positive: weight as tumour.
        negative: weight as anything else.
        thresholds: in any order.
    """
    return _above(values, positive, thresholds), _above(values, negative, thresholds)


def _above(
    values: Values, weight: Values, thresholds: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Weight at or above each threshold; a sort alone is enough where all weights are the same."""
    chosen = (weight != 0) & ~np.isnan(values)
    values, weight = values[chosen], weight[chosen].astype(np.float64)
    if not len(weight) or (weight == weight[0]).all():
        below = np.searchsorted(np.sort(values), thresholds)
        return (len(values) - below) * (weight[0] if len(weight) else 0.0)
    order = np.argsort(values)
    total = np.append(0.0, np.cumsum(weight[order[::-1]]))
    return total[len(values) - np.searchsorted(values[order], thresholds)]
