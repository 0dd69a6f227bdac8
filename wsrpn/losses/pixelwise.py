"""Cross-entropies per pixel: focal, weighted, and that of an attention map.

Every pixel is a question of its own, so an empty mask needs no rule: all of its answers are no.
Soft targets count as so much of a yes and the rest of a no, for which all losses here are linear in
the target.
"""

import math
from typing import Annotated, Literal

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from wsrpn.config import Positive, Share
from wsrpn.losses.base import losses

READS = ("output.mask_logits", "batch.masks")


@losses.register("focal", reads=READS)
def focal_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    alpha: Share | None = 0.25,
    gamma: Annotated[float, Ge(0)] = 2.0,
) -> Float[Tensor, " b"]:
    r"""Cross-entropy in which pixels that are nearly right hardly count; mean over the pixels.

    $$ L = -\frac{1}{n} \sum α\, t\, (1 - p)^γ \log p + (1 - α)(1 - t)\, p^γ \log (1 - p) $$

    The paper sums over a whole image and divides by the number of objects; per pixel of a mask the
    mean is what everyone takes, and it makes the loss small: at p = ½, γ = 2, α = ¼ and 12 %
    foreground 0.12, a sixth of the cross-entropy's 0.69.

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; values between are soft labels.
        alpha: α, weight of the foreground, 1 − α that of the background: the paper's ¼ is *against*
            the foreground. None weighs both 1.
        gamma: γ; 0 is the plain (α-weighted) cross-entropy.

    Returns:
        One value per image.

    Example:
        >>> import torch
        >>> focal_loss(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))  # ¼ · ½² · log 2
        tensor([0.0433])

    Reference:
        Lin et al., Focal loss for dense object detection, 2017, eq. 5.
    """
    z, t = logits.float(), target.float()
    log_p, log_q = functional.logsigmoid(z), functional.logsigmoid(-z)
    inside = -t * (gamma * log_q).exp() * log_p
    outside = -(1 - t) * (gamma * log_p).exp() * log_q
    if alpha is not None:
        inside, outside = alpha * inside, (1 - alpha) * outside
    return (inside + outside).flatten(1).mean(-1)


@losses.register("weighted_bce", reads=READS)
def weighted_bce_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    pos_weight: Positive | Literal["dynamic"] = "dynamic",
    factor: Positive = 100.0,
    cap: Positive = 1000.0,
) -> Float[Tensor, " b"]:
    r"""Cross-entropy with a price on missed pixels, mean over the pixels.

    $$ L = -\frac{1}{n} \sum w\, t \log p + (1 - t) \log (1 - p), \qquad
       w = \min(f \cdot \text{neg} / \text{pos},\ \text{cap}) $$

    The dynamic weight is each image's own. With f = 1 foreground and background have the same say;
    the source's f = 100 gives the foreground a hundred times as much. The best answer to a weighted
    pixel of which nothing is known but that a share π is foreground is
    $p = wπ / (wπ + 1 - π)$, for f = 100 and below the cap 0.99: everything is found.

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; values between are soft labels.
        pos_weight: w, or `dynamic`.
        factor: f, of the dynamic weight.
        cap: most that the dynamic weight may be.

    Returns:
        One value per image. neg and pos are at least one pixel, so an empty mask (whose w
        multiplies nothing) and a full one are defined.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
        >>> weighted_bce_loss(torch.zeros(1, 1, 1, 4), target, factor=1.0)  # (3 + 3)/4 · log 2
        tensor([1.0397])

    Reference:
        The weight: Xie & Tu, Holistically-nested edge detection, 2015, eq. 2, whose β and 1 − β
        have the ratio neg / pos; factor and cap are the source's.
    """
    if pos_weight == "dynamic":
        inside = target.float().sum((1, 2, 3))
        outside = target[0].numel() - inside
        weight = (factor * outside.clamp_min(1) / inside.clamp_min(1)).clamp(max=cap)
        return _bce(logits, target, weight[:, None, None, None])
    return _bce(logits, target, pos_weight)


@losses.register("attention", reads=("output.attention", "batch.masks"))
def attention_loss(
    attention: Float[Tensor, "b 1 gh gw"],
    target: Float[Tensor, "b 1 h w"],
    *,
    pos_weight: Positive = 1.0,
) -> Float[Tensor, " b"]:
    """Cross-entropy of an attention map against the mask on its grid.

    The mask is brought to the grid by its largest value per cell, so a nodule of a few pixels is
    still there at stride 32; its mean would tell the cell that it holds next to nothing. Cells are
    squares of 2^n pixels that begin at the upper left, as the models' are: they pad an image at the
    lower right, and nothing is inside there.

    Args:
        attention: where the model looks, as logits.
        target: 1 inside, 0 outside; a cell is the smallest square with which the grid covers it.
        pos_weight: price of a cell that is missed.

    Returns:
        One value per image, the mean over the cells.

    Example:
        >>> import torch
        >>> one_pixel = torch.zeros(1, 1, 8, 4).index_fill(2, torch.tensor([5]), 1.0)
        >>> attention_loss(torch.tensor([[[[-200.0], [200.0]]]]), one_pixel)
        tensor([0.])
    """
    (height, width), (rows, columns) = target.shape[-2:], attention.shape[-2:]
    side = 2 ** max(math.ceil(math.log2(max(height / rows, width / columns))), 0)
    beyond = (0, columns * side - width, 0, rows * side - height)
    cells = functional.max_pool2d(functional.pad(target.float(), beyond), side)
    return _bce(attention, cells, pos_weight)


def _bce(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    weight: Float[Tensor, "b 1 1 1"] | float,
) -> Float[Tensor, " b"]:
    """Mean cross-entropy per image, its positive part times `weight`."""
    z, t = logits.float(), target.float()
    inside = -functional.logsigmoid(z) * t * weight
    outside = -functional.logsigmoid(-z) * (1 - t)
    return (inside + outside).flatten(1).mean(-1)
