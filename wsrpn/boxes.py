"""Box formats, overlap, suppression and fusion.

`xyxy` corners, `cxcywh` centre and size; no "+1 pixel".
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def cxcywh_to_xyxy(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Corners of boxes given by centre and size.

    Example:
        >>> cxcywh_to_xyxy(torch.tensor([[0.5, 0.5, 1.0, 0.5]]))
        tensor([[0.0000, 0.2500, 1.0000, 0.7500]])
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Centre and size of boxes given by corners."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def area(xyxy: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n"]:
    """Area of each box; 0 for a box turned inside out."""
    return np.clip(xyxy[..., 2] - xyxy[..., 0], 0, None) * np.clip(
        xyxy[..., 3] - xyxy[..., 1], 0, None
    )


def intersection(
    a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Shared area of every pair."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    side = np.clip(high - low, 0, None)
    return side[..., 0] * side[..., 1]


def iou(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every pair; 0 where both are empty.

    Example:
        >>> iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(4)
        array([[0.3333]])
    """
    both = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def nms(
    xyxy: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    *,
    threshold: float,
) -> Int[np.ndarray, " m"]:
    """Greedy class-wise suppression: a box is dropped if a better one of its class overlaps more.

    Args:
        xyxy: boxes.
        scores: their scores; ties keep the order given.
        classes: boxes of different classes do not touch each other.
        threshold: largest IoU that is left standing.

    Returns:
        Indices of the boxes kept, best first.
    """
    order = np.argsort(-scores, kind="stable")
    overlap = iou(xyxy[order], xyxy[order])
    clash = (overlap > threshold) & (classes[order][:, None] == classes[order][None])
    alive = np.ones(len(order), dtype=bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return order[alive]


def weighted_box_fusion(
    xyxy: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    *,
    threshold: float,
    score: Literal["max", "mean"] = "max",
) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Class-wise fusion: boxes that overlap become their mean, weighted by score.

    Boxes are taken best first. Each joins the fused box of its class that it overlaps most, if that
    is by more than `threshold`, and moves it; otherwise it starts a new one.

    The paper scores a fused box with the mean of its boxes, times the share of the models that
    found it: several models vote, and being found by few is a reason for doubt. All boxes of one
    model are one opinion told several times, so its weaker variants of a good box say nothing
    against it, and the default here is the best score among them, as suppression has it: the two
    then rank images alike and differ in where the boxes are.

    Args:
        xyxy: boxes.
        scores: their scores, not negative; ties keep the order given.
        classes: boxes of different classes do not touch each other.
        threshold: smallest IoU (exclusive) at which a box joins.
        score: of a fused box, the largest or the mean of its boxes' scores.

    Returns:
        Boxes, scores and classes, best first.

    Reference:
        Solovyev et al., Weighted boxes fusion, 2021, section 3, with one model.
    """
    fused, label = np.zeros((len(scores), 4)), np.zeros(len(scores), dtype=classes.dtype)
    best, weight, count = (np.zeros(len(scores)) for _ in range(3))
    used = 0
    for i in np.argsort(-scores, kind="stable"):
        overlap = np.where(label[:used] == classes[i], iou(xyxy[i][None], fused[:used])[0], -1.0)
        at = int(overlap.argmax()) if used else 0
        if not used or overlap[at] <= threshold:
            at, used = used, used + 1
            best[at], label[at] = scores[i], classes[i]
        own = max(float(scores[i]), 1e-12)  # boxes of score 0 have a mean, too
        weight[at] += own
        count[at] += 1
        fused[at] += (xyxy[i] - fused[at]) * (own / weight[at])
    value = best[:used] if score == "max" else weight[:used] / count[:used]
    order = np.argsort(-value, kind="stable")
    return fused[order].astype(xyxy.dtype), value[order].astype(scores.dtype), label[order]


def clip(xyxy_px: Float[np.ndarray, "n 4"], size_px: tuple[int, int]) -> Float[np.ndarray, "n 4"]:
    """Boxes cut to an image of the given height and width."""
    height, width = size_px
    return np.clip(xyxy_px, 0, np.array([width, height, width, height], dtype=xyxy_px.dtype))
