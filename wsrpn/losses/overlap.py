r"""Losses of overlap: Dice, Jaccard and Tversky are one function, focal Tversky is a power of it.

Soft counts over the pixels of one image, with $p = σ(z)$ and truth $t$:
$TP = \sum p\,t$, $FP = \sum p\,(1 - t)$, $FN = \sum (1 - p)\,t$. They are sums over an image and
never over a batch, so images do not influence each other; they are made in float32 whatever comes.

An empty mask: TP and FN are 0, and $L = w_p FP / (w_p FP + s)$ is 0 where nothing is found and goes
to 1 with every pixel found too many: the smoothing `smooth` decides how quickly. With `smooth` 0
such an image costs 1 whatever little is found, and teaches nothing.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from wsrpn.config import Positive
from wsrpn.losses.base import losses

Price = Annotated[float, Ge(0)]
READS = ("output.mask_logits", "batch.masks")
TINY = 1e-12  # keeps 0 / 0, which only smooth = 0 can lead to, at 0
LINEAR = 1e-6  # below it a power with an infinite slope at 0 is a straight line


@losses.register("dice", reads=READS)
def dice_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    smooth: Price = 1.0,
) -> Float[Tensor, " b"]:
    r"""One minus the soft Dice coefficient.

    $$ L = 1 - \frac{TP + s}{TP + ½ FP + ½ FN + s}
         = 1 - \frac{2 TP + 2 s}{\sum p + \sum t + 2 s} $$

    The smoothing stands as in Tversky's index, so that one is the other with its defaults; who
    writes $(2 TP + ε) / (\sum p + \sum t + ε)$, as MONAI and nnU-Net do, has $ε = 2 s$.

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; values between are soft labels.
        smooth: s, in pixels; see the head of this file.

    Returns:
        One value per image in [0, 1]; 0 for a perfect 0/1 mask, and for nothing found in an empty
        one.

    Example:
        >>> target = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
        >>> dice_loss(torch.zeros(1, 1, 2, 2), target)  # 1 − (1 + 1) / (1 + ½ + ½ + 1)
        tensor([0.3333])

    Reference:
        Milletari et al., V-Net, 2016, section 3, without the squares in its denominator.
    """
    return _missed(logits, target, fp_weight=0.5, fn_weight=0.5, smooth=smooth)


@losses.register("jaccard", reads=READS)
def jaccard_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    smooth: Price = 1.0,
) -> Float[Tensor, " b"]:
    r"""One minus the soft Jaccard index $J = (TP + s) / (TP + FP + FN + s)$.

    Dice is $2 J / (1 + J)$, at the same s.

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; values between are soft labels.
        smooth: s, in pixels.

    Returns:
        One value per image in [0, 1].

    Example:
        >>> target = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
        >>> jaccard_loss(torch.zeros(1, 1, 2, 2), target)  # 1 − (1 + 1) / (1 + 1 + 1 + 1)
        tensor([0.5000])

    Reference:
        Rahman & Wang, Optimizing intersection-over-union in deep neural networks, 2016.
    """
    return _missed(logits, target, fp_weight=1.0, fn_weight=1.0, smooth=smooth)


@losses.register("tversky", reads=READS)
def tversky_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    fp_weight: Price = 0.5,
    fn_weight: Price = 0.5,
    smooth: Price = 1.0,
) -> Float[Tensor, " b"]:
    r"""One minus the Tversky index.

    $$ L = 1 - \frac{TP + s}{TP + w_p FP + w_n FN + s} $$

    $w_p = w_n = ½$ is Dice, $w_p = w_n = 1$ Jaccard. The letters α and β are not used: one half of
    the field calls the price of a false positive α, the other that of a miss.

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; values between are soft labels.
        fp_weight: $w_p$, price of a false positive pixel.
        fn_weight: $w_n$, price of a missed pixel.
        smooth: s, in pixels; see the head of this file.

    Returns:
        One value per image in [0, 1].

    Example:
        >>> target = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
        >>> tversky_loss((target - 0.5) * 400, target)
        tensor([0.])

    Reference:
        Salehi et al., Tversky loss function for image segmentation, 2017, eq. 3.
    """
    return _missed(logits, target, fp_weight=fp_weight, fn_weight=fn_weight, smooth=smooth)


@losses.register("focal_tversky", reads=READS)
def focal_tversky_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    fp_weight: Price = 0.5,
    fn_weight: Price = 0.5,
    smooth: Price = 1.0,
    gamma: Positive = 0.75,
) -> Float[Tensor, " b"]:
    r"""A power of the Tversky loss: $(1 - TI)^γ$.

    Here γ is the exponent. The paper writes $(1 - TI)^{1/γ}$ and takes γ = 4/3, which is our 0.75;
    segmentation_models_pytorch and many blogs write the exponent itself. Below 1 the loss falls
    steeply when an image is nearly right, above 1 images that are nearly right count for little.

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; values between are soft labels.
        fp_weight: see `tversky_loss`.
        fn_weight: see `tversky_loss`.
        smooth: see `tversky_loss`.
        gamma: γ, the exponent; 1 is the Tversky loss.

    Returns:
        One value per image in [0, 1]. Below a Tversky loss of 1e-6 it is a straight line to 0: the
        slope of a power below 1 has no end there.

    Example:
        >>> target = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
        >>> focal_tversky_loss(torch.zeros(1, 1, 2, 2), target, gamma=2.0)  # (1/3)²
        tensor([0.1111])

    Reference:
        Abraham & Khan, A novel focal Tversky loss function, 2018, eq. 4.
    """
    missed = _missed(logits, target, fp_weight=fp_weight, fn_weight=fn_weight, smooth=smooth)
    return torch.where(
        missed > LINEAR,
        missed.clamp_min(LINEAR).pow(gamma),
        missed * LINEAR ** (gamma - 1),
    )


def _missed(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    fp_weight: float,
    fn_weight: float,
    smooth: float,
) -> Float[Tensor, " b"]:
    """1 − (TP + s) / (TP + wp FP + wn FN + s), without the difference.

    The numerator is what was paid, so the value is never below 0 and exact near it.
    """
    z, t = logits.float().flatten(1), target.float().flatten(1)
    p = z.sigmoid()
    hit = (p * t).sum(-1)
    false_alarm = (p * (1 - t)).sum(-1)
    miss = ((-z).sigmoid() * t).sum(-1)
    paid = fp_weight * false_alarm + fn_weight * miss
    return paid / (hit + paid + smooth).clamp_min(TINY)
