r"""RoDeO, robust detection outcome: where, what shape, which class; no scores, no thresholds.

Per image, chosen and true boxes are matched one to one (Hungarian algorithm) for the largest sum of
$GIoU + w\,[\text{same class}]$, with $w = \max(0, MCC)$ of the image-level findings of the whole
set. Over all matched pairs, with $d$ the distance of the centres in units of the true box's sides:

- localisation: mean $2^{-d^2}$;
- shape: mean IoU of the two boxes laid on the same corner;
- classification: $\max(0, MCC)$ of the one-hot classes.

Each is multiplied by matched / (matched + left over + missed); the total is their harmonic mean.
For $k$ classes the MCC of one-hot pairs is $(k a - 1)/(k - 1)$ with $a$ the share of pairs of equal
class, so sums per image are all that a bootstrap needs. With one class there is nothing to confuse:
the paper asks for two or more, and here the classification of a pair is then 1.

Reference:
    Meissen et al., Robust Detection Outcome: a metric for pathology detection in medical images,
    MIDL 2023, eq. 1 to 6. Written anew after the paper; checked against its published example.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from wsrpn import boxes
from wsrpn.metrics.evidence import BoxTable, Evidence, Values, metrics, per_image, share
from wsrpn.metrics.matching import pairs

TINY = 1e-9


@dataclass(frozen=True)
class Outcome:
    """Sums per image and class; matched pairs go by the class of the true box.

    Attributes:
        place: sum of 2^(-d²).
        shape: sum of the IoU of aligned boxes.
        same: pairs of equal class.
        matched: pairs.
        over: chosen boxes left over, by their own class.
        missed: true boxes without a partner.
    """

    place: Float[np.ndarray, "b k"]
    shape: Float[np.ndarray, "b k"]
    same: Float[np.ndarray, "b k"]
    matched: Float[np.ndarray, "b k"]
    over: Float[np.ndarray, "b k"]
    missed: Float[np.ndarray, "b k"]


def outcome(chosen: BoxTable, truth: BoxTable, *, images: int, classes: int) -> Outcome:
    """Match all images and add up what RoDeO needs."""
    weight = class_weight(chosen.per_image(images, classes), truth.per_image(images, classes))
    mine, true = assign(chosen, truth, weight)
    pair = truth.take(true)
    a, b = chosen.xyxy_px[mine].astype(np.float64), pair.xyxy_px.astype(np.float64)
    same = (chosen.label[mine] == pair.label).astype(np.float64)
    left_over = np.setdiff1d(np.arange(len(chosen)), mine)
    missed = np.setdiff1d(np.arange(len(truth)), true)
    size = (images, classes)
    return Outcome(
        place=per_image(pair, closeness(a, b), *size),
        shape=per_image(pair, aligned_iou(a, b), *size),
        same=per_image(pair, same, *size),
        matched=pair.per_image(*size),
        over=chosen.take(left_over).per_image(*size),
        missed=truth.take(missed).per_image(*size),
    )


def class_weight(chosen: Float[np.ndarray, "b k"], truth: Float[np.ndarray, "b k"]) -> float:
    """Matthews correlation of what images show and have, not below 0; 0 where it is undefined."""
    p, t = (chosen > 0).ravel(), (truth > 0).ravel()
    spread = p.std() * t.std() if p.size else 0.0
    return max(0.0, float(((p * t).mean() - p.mean() * t.mean()) / spread)) if spread else 0.0


def assign(
    chosen: BoxTable, truth: BoxTable, weight: float
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Indices of the matched pairs of all images."""
    left, right = pairs(chosen.image, truth.image)
    a, b = chosen.xyxy_px[left].astype(np.float64), truth.xyxy_px[right].astype(np.float64)
    gain = giou(a, b) + weight * (chosen.label[left] == truth.label[right])
    image = chosen.image[left]
    first = np.flatnonzero(np.diff(image, prepend=-1))
    mine, true = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for low, high in itertools.pairwise([*first, len(left)]):
        columns = int(np.searchsorted(left[low:high], left[low], side="right"))
        rows, partners = linear_sum_assignment(gain[low:high].reshape(-1, columns), maximize=True)
        at = low + rows * columns + partners
        mine.append(left[at])
        true.append(right[at])
    return np.concatenate(mine), np.concatenate(true)


def giou(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Generalised IoU of each pair of rows, from -1 to 1 (Rezatofighi et al., 2019)."""
    inner = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    outer = np.clip(np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2]), 0, None)
    both, hull = inner.prod(axis=1), outer.prod(axis=1)
    union = boxes.area(a) + boxes.area(b) - both
    return both / np.maximum(union, TINY) - (hull - union) / np.maximum(hull, TINY)


def closeness(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """2^(-d²), d the distance of the centres in sides of `b`; ½ at one side."""
    side = np.maximum(b[:, 2:] - b[:, :2], TINY)
    shift = ((a[:, :2] + a[:, 2:]) - (b[:, :2] + b[:, 2:])) / 2 / side
    return np.exp(-math.log(2) * np.minimum((shift**2).sum(axis=1), 1000.0))


def aligned_iou(
    a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
    """IoU of each pair of rows laid on the same corner: how alike their shapes are."""
    both = np.minimum(a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]).clip(0).prod(axis=1)
    return both / np.maximum(boxes.area(a) + boxes.area(b) - both, TINY)


@metrics.register("rodeo")
class Rodeo:
    """Gives `rodeo`, `rodeo_localization`, `rodeo_shape`, `rodeo_classification`.

    Nothing matched gives 0; no true box gives nan, in total and per class. The class weight of the
    matching belongs to the whole set and is not drawn anew in a bootstrap.

    Args:
        evidence: predictions and truth.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.sums = outcome(
            evidence.chosen, evidence.truth, images=len(evidence), classes=len(evidence.classes)
        )
        self.classes = len(evidence.classes)

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        sums = {name: counts @ amount for name, amount in vars(self.sums).items()}
        per_class = scores(sums, self.classes)
        total = scores({name: amount.sum(1) for name, amount in sums.items()}, self.classes)
        return {name: Values(total[name], per_class[name]) for name in total}


def scores(
    sums: dict[str, Float[np.ndarray, "*n"]], classes: int
) -> dict[str, Float[np.ndarray, "*n"]]:
    """The four figures from sums over images (see `Outcome`)."""
    matched, truth = sums["matched"], sums["matched"] + sums["missed"]
    every = np.where(truth > 0, truth + sums["over"], 0.0)  # 0 makes nan: nothing to find
    agree = np.divide(sums["same"], matched, out=np.zeros_like(matched), where=matched > 0)
    mcc = np.maximum(0.0, (classes * agree - 1) / (classes - 1)) if classes > 1 else agree
    parts = {
        "rodeo_localization": share(sums["place"], every),
        "rodeo_shape": share(sums["shape"], every),
        "rodeo_classification": share(mcc * matched, every),
    }
    stack = np.stack(list(parts.values()))
    worst = stack.min(axis=0)
    inverse = (1 / np.where(worst > 0, stack, 1.0)).sum(axis=0)
    return {"rodeo": np.where(worst > 0, 3 / inverse, worst), **parts}
