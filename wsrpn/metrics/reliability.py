r"""Do scores mean what they say: calibration error, Brier score, negative log-likelihood.

The expected calibration error sorts scores into 15 bins of equal mass and averages, by mass, the
distance of mean score and share of positives in a bin. Equal scores are never parted: a bin border
that falls into a run of them moves to its beginning, so there may be fewer bins. In a bootstrap the
borders stay where the data set puts them.

The error is a sum of absolute values, so noise only ever adds to it: a replicate carries the noise
of the sample and that of the resampling, and nearly all replicates lie above the value itself. Its
interval is therefore moved back by the mean distance of replicates and value. The value keeps the
bias of the sample itself (Kumar et al., Verified uncertainty calibration, 2019, section 4).
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from wsrpn.calibration import sigmoid
from wsrpn.metrics.evidence import Evidence, Values, metrics, over_classes, share
from wsrpn.metrics.image import known

BINS = 15


def bin_starts(ordered: Float[np.ndarray, " n"], *, bins: int = BINS) -> Int[np.ndarray, " m"]:
    """Where bins of equal mass begin in sorted scores.

    Example:
        >>> bin_starts(np.array([0.1, 0.2, 0.2, 0.3]), bins=2)
        array([0, 1])
    """
    wanted = (np.arange(bins) * len(ordered)) // bins
    return np.unique(np.searchsorted(ordered, ordered[wanted], side="left"))


def calibration_error(
    labels: Float[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, "r n"],
    *,
    bins: int = BINS,
) -> Float[np.ndarray, " r"]:
    """Expected calibration error per row of weights; nan without samples."""
    if not len(labels):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    gap = weights[:, order] * (scores - labels)[order]
    inside = np.add.reduceat(gap, bin_starts(scores[order], bins=bins), axis=1)
    return share(np.abs(inside).sum(axis=1), weights.sum(axis=1))


def curve(
    labels: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, bins: int = BINS
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """The reliability curve: mean score, share of positives and number of samples of each bin."""
    if not len(labels):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    order = np.argsort(scores, kind="stable")
    starts = bin_starts(scores[order], bins=bins)
    many = np.diff(starts, append=len(order)).astype(np.float64)
    means = np.add.reduceat(scores[order], starts) / many
    return means, np.add.reduceat(labels[order], starts) / many, many


def log_loss(
    labels: Float[np.ndarray, "*n"], logits: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Negative log-likelihood of each label in nats, finite for any finite logit.

    Example:
        >>> log_loss(np.array([1.0]), np.array([0.0])).round(4)
        array([0.6931])
    """
    return np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits))) - labels * logits


@metrics.register("reliability")
class Reliability:
    """Gives `ece`, `brier` and `nll`; the totals are means over the classes.

    Args:
        evidence: predictions and truth.
        bins: bins of the calibration error.
    """

    def __init__(self, evidence: Evidence, *, bins: int = BINS) -> None:
        self.bins = bins
        self.known = known(evidence)
        self.labels = evidence.labels
        self.scores = sigmoid(evidence.logits)
        self.known_weight = self.known.astype(np.float64)
        self.square = np.where(self.known, (self.scores - self.labels) ** 2, 0.0)
        self.loss = np.where(self.known, log_loss(self.labels, evidence.logits), 0.0)

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        ece = np.full((len(counts), self.labels.shape[1]), np.nan)
        for k in range(self.labels.shape[1]):
            here = self.known[:, k]
            ece[:, k] = calibration_error(
                self.labels[here, k], self.scores[here, k], counts[:, here], bins=self.bins
            )
        whole = counts @ self.known_weight
        return {
            "ece": dataclasses.replace(over_classes(ece), recentred_above=0.0),
            "brier": over_classes(share(counts @ self.square, whole)),
            "nll": over_classes(share(counts @ self.loss, whole)),
        }
