"""How far an autoencoder's images are from what it was given."""

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from wsrpn import elbo
from wsrpn.elbo import ErrorKind
from wsrpn.errors import InputError
from wsrpn.losses.base import losses


@losses.register("reconstruction", reads=("output.reconstruction", "batch.images"))
def reconstruction_loss(
    reconstruction: Float[Tensor, "b c h w"],
    images: Float[Tensor, "b c h w"],
    *,
    kind: ErrorKind = "mse",
    per: Literal["pixel", "image"] = "pixel",
) -> Float[Tensor, " b"]:
    r"""Squares, absolute differences or 1 − SSIM between an image and its reconstruction.

    Beside `latent`, which counts nats of the whole image, the error should be summed over the image
    too (`per: image`). Then β = 1 is the evidence lower bound of pixels with a variance of ½; the
    mean is smaller by the number of values, 27,648 at 96 × 96 × 3, which is β = 27,648, and the
    latent term alone decides what is learned.

    Args:
        reconstruction: in [0, 1].
        images: in [0, 1].
        kind: mse, l1 or ssim (1 − SSIM, windows of 11 pixels).
        per: the mean over pixels and channels, or their sum.

    Returns:
        One value per image, 0 where they are equal.

    Raises:
        InputError: `ssim` on images smaller than its window.

    Example:
        >>> import torch
        >>> black, grey = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
        >>> reconstruction_loss(grey, black), reconstruction_loss(grey, black, per="image")
        (tensor([0.2500]), tensor([12.]))
    """
    if kind == "ssim" and min(images.shape[-2:]) < elbo.WINDOW:
        raise InputError(
            f"losses.reconstruction.kind=ssim needs images of at least {elbo.WINDOW} pixels, these "
            f"have {min(images.shape[-2:])}; take mse or l1, or raise data.size."
        )
    size = math.prod(images.shape[1:]) if per == "image" else 1
    return size * elbo.errors(reconstruction, images, kind=kind)
