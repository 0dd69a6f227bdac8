"""The boundary loss: how far outside the truth is what is found."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from wsrpn.losses.base import losses


@losses.register("boundary", reads=("output.mask_logits", "batch.masks"), below_zero=True)
def boundary_loss(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    unit: Literal["pixel", "side"] = "side",
) -> Float[Tensor, " b"]:
    r"""Mean over the pixels of what is found times its signed distance from the truth's outline.

    $$ L = \frac{1}{n} \sum_q φ_G(q)\, σ(z_q) $$

    with φ the distance to the outline, negative inside. It is lowest, and below 0, for the truth
    itself. It needs an overlap loss beside it: a small object has small distances inside, so that
    "nothing" (0) is hardly worse than the truth, and by itself it ends there. The paper begins with
    a weight of 0.01 that grows while training goes on (`phases`).

    Args:
        logits: scores before the sigmoid.
        target: 1 inside, 0 outside; a soft label is inside above ½.
        unit: distances in pixels, or as a share of the image's larger side, so that the weight
            beside other losses means the same at every size.

    Returns:
        One value per image. An empty mask is a whole larger side away from everywhere, a full one
        as far inside: φ = ±1 side.

    Example:
        >>> target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> all_found = torch.full((1, 1, 1, 4), 99.0)
        >>> boundary_loss(all_found, target, unit="pixel")  # (−1.5 − 0.5 + 0.5 + 1.5) / 4
        tensor([0.])
        >>> boundary_loss((target - 0.5) * 400, target, unit="pixel")  # (−1.5 − 0.5) / 4
        tensor([-0.5000])

    Reference:
        Kervadec et al., Boundary loss for highly unbalanced segmentation, 2019, eq. 5. Their code
        puts the outline through the centres of the outermost pixels inside (φ is 0 there, and such
        a pixel teaches nothing) and leaves φ = 0 for an empty mask; here it runs between pixels.
    """
    inside = (target.detach() > 0.5)[:, 0].cpu().numpy()
    distance = torch.from_numpy(np.stack([signed_distance(one) for one in inside]))
    if unit == "side":
        distance = distance / max(target.shape[-2:])
    scores = logits.float().sigmoid()[:, 0]
    return (scores * distance.to(scores)).flatten(1).mean(-1)


def signed_distance(inside: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance in pixels of every pixel's centre to the outline, negative inside, as float32.

    The outline runs half a pixel before the nearest pixel of the other side. Without another side
    the distance is the image's larger side.

    Example:
        >>> signed_distance(np.array([[False, True, True]])).tolist()
        [[0.5, -0.5, -1.5]]
    """
    if inside.all() or not inside.any():
        far = float(max(inside.shape))
        return np.full(inside.shape, -far if inside.any() else far, dtype=np.float32)
    beyond = ndimage.distance_transform_edt(~inside)
    within = ndimage.distance_transform_edt(inside)
    return np.where(inside, 0.5 - within, beyond - 0.5).astype(np.float32)
