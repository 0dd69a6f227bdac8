"""Image-level figures per class: ranking (AUROC, AP) and decisions (F1, sensitivity, specificity).

Unknown labels and images without an answer are left out class by class. A class without positives
is undefined, and AUROC and specificity also need negatives.
"""

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.calibration import sigmoid
from wsrpn.metrics.evidence import Evidence, Values, metrics, over_classes, ratio, share


def runs(values: Float[np.ndarray, " n"]) -> np.ndarray:
    """Where runs of equal values begin, in sorted values.

    Example:
        >>> runs(np.array([3.0, 3.0, 1.0]))
        array([0, 2])
    """
    return np.flatnonzero(np.diff(values, prepend=np.nan) != 0)


def ranking(
    labels: Float[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, "r n"],
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
    """AUROC and average precision for every row of weights; equal scores count as one step.

    Args:
        labels: 0 or 1.
        scores: higher means more likely 1; only their order matters.
        weights: of the samples.

    Returns:
        AUROC (a tie counts one half) and AP (sum of precision × rise of recall), nan where
        undefined.
    """
    if not len(labels):
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    starts = runs(scores[order])
    weights, labels = weights[:, order], labels[order]
    positive = np.add.reduceat(weights * labels, starts, axis=1)
    negative = np.add.reduceat(weights * (1 - labels), starts, axis=1)
    hits, false = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    beaten = (positive * (false[:, -1:] - false + negative / 2)).sum(axis=1)
    auroc = share(beaten, hits[:, -1] * false[:, -1])
    precision = hits / np.maximum(hits + false, 1e-12)
    return auroc, share((precision * positive).sum(axis=1), hits[:, -1])


@metrics.register("ranking")
class Ranking:
    """Gives `auroc` and `image_ap`; the totals are means over the classes.

    Args:
        evidence: predictions and truth.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.labels, self.logits = evidence.labels, evidence.logits
        self.known = known(evidence)

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        auroc, ap = np.full((2, len(counts), self.labels.shape[1]), np.nan)
        for k in range(self.labels.shape[1]):
            here = self.known[:, k]
            auroc[:, k], ap[:, k] = ranking(
                self.labels[here, k], self.logits[here, k], counts[:, here]
            )
        return {"auroc": over_classes(auroc), "image_ap": over_classes(ap)}


@metrics.register("decisions")
class Decisions:
    """Gives `f1`, `sensitivity`, `specificity` at the operating point, `specificity_no_finding`.

    `specificity_no_finding` is the share of images known to have none of the classes on which no
    class reaches its operating point; it has no figure per class.

    Args:
        evidence: predictions and truth.
    """

    def __init__(self, evidence: Evidence) -> None:
        seen = known(evidence)
        yes = sigmoid(evidence.logits) >= evidence.thresholds
        true = evidence.labels == 1
        cells = {"tp": yes & true, "fp": yes & ~true, "fn": ~yes & true, "tn": ~yes & ~true}
        self.cells = {name: (cell & seen).astype(np.float64) for name, cell in cells.items()}
        healthy = (seen & ~true).all(axis=1, keepdims=True)
        self.healthy = healthy.astype(np.float64)
        self.silent = (healthy & ~yes.any(axis=1, keepdims=True)).astype(np.float64)

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        tp, fp, fn, tn = (counts @ self.cells[name] for name in ("tp", "fp", "fn", "tn"))
        f1 = np.where(tp + fn > 0, share(2 * tp, 2 * tp + fp + fn), np.nan)
        return {
            "f1": over_classes(f1),
            "sensitivity": over_classes(share(tp, tp + fn)),
            "specificity": over_classes(share(tn, tn + fp)),
            "specificity_no_finding": Values(ratio(counts, self.silent, self.healthy)[:, 0]),
        }


def known(evidence: Evidence) -> Bool[np.ndarray, "b k"]:
    """Where there are both a label and an answer."""
    return ~np.isnan(evidence.labels) & ~np.isnan(evidence.logits)
