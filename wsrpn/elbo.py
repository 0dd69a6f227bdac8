r"""What an autoencoder is measured by: how far an image is from its reconstruction, and its nats.

Both are worked out in float32, one value per image, and both stand here because losses minimise
what models score with. Their sum is the negative evidence lower bound of a variational autoencoder
(Kingma & Welling, Auto-encoding variational Bayes, 2014, eq. 10), up to a constant, where the error
is the sum of squares over an image: that of a Gaussian with a variance of ½.
"""

import functools
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from wsrpn.types import Latent

ErrorKind = Literal["mse", "l1", "ssim"]
WINDOW, SIGMA = 11, 1.5  # of SSIM, in pixels
LARGEST = 20.0  # of a log variance, either way; a model keeps well within it


def kl_nats(latent: Latent) -> Float[Tensor, " b"]:
    r"""$KL(N(μ, σ^2) ‖ N(0, 1)) = \frac12 \sum_z (μ^2 + σ^2 - \log σ^2 - 1)$ of each image.

    Args:
        latent: mean and log variance; beyond ±20 a log variance counts as ±20.

    Returns:
        Nats, at least 0.

    Example:
        >>> kl_nats(Latent(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)))
        tensor([0.5000])

    Reference:
        Kingma & Welling, 2014, appendix B.
    """
    mean = latent.mean.float()
    log_variance = latent.log_variance.float().clamp(-LARGEST, LARGEST)
    # expm1(x) − x is exact near 0, where exp(x) − 1 − x would leave rounding.
    return (mean.square() + (torch.expm1(log_variance) - log_variance)).sum(-1) / 2


def errors(
    reconstruction: Float[Tensor, "b c h w"],
    images: Float[Tensor, "b c h w"],
    *,
    kind: ErrorKind = "mse",
) -> Float[Tensor, " b"]:
    """How far each image is from its reconstruction, averaged over pixels and channels.

    Args:
        reconstruction: in [0, 1].
        images: in [0, 1].
        kind: squares, absolute differences, or 1 − SSIM.

    Returns:
        One value per image, 0 where they are equal.

    Raises:
        ValueError: `ssim` of images smaller than its window.
    """
    ours, theirs = reconstruction.float(), images.float()
    if kind == "ssim":
        return 1 - ssim(ours, theirs)
    difference = ours - theirs
    return (difference.square() if kind == "mse" else difference.abs()).mean((1, 2, 3))


def ssim(
    a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"], *, data_range: float = 1.0
) -> Float[Tensor, " b"]:
    r"""Structural similarity: Gaussian windows of 11 pixels, σ 1.5, that lie wholly in the image.

    $$ \frac{(2 μ_a μ_b + C_1)(2 σ_{ab} + C_2)}{(μ_a^2 + μ_b^2 + C_1)(σ_a^2 + σ_b^2 + C_2)}, \quad
       C_1 = (0.01 R)^2, \; C_2 = (0.03 R)^2 $$

    with the moments under the window as those of a population, R the range of the data, averaged
    over windows and channels.

    Args:
        a: images.
        b: images of the same shape.
        data_range: R.

    Returns:
        One value per image, at most 1, which is reached where they are equal.

    Raises:
        ValueError: a side is smaller than the window.

    Reference:
        Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
    """
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs sides of at least {WINDOW} pixels, not {tuple(a.shape[-2:])}")
    # Moments are taken about the middle of the range: a variance is what is left of a square, and
    # so less is lost to rounding.
    x, y = a.float() - data_range / 2, b.float() - data_range / 2
    moments = _blurred(torch.cat((x, y, x * x, y * y, x * y), 1)).chunk(5, 1)
    mean_x, mean_y, square_x, square_y, product = moments
    variance = square_x - mean_x**2 + square_y - mean_y**2
    together = product - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = mean_x + data_range / 2, mean_y + data_range / 2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (light * (2 * together + c2) / (variance + c2)).mean((1, 2, 3))


@functools.cache
def _window() -> tuple[float, ...]:
    at = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * SIGMA**2))
    return tuple((weights / weights.sum()).tolist())


def _blurred(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
    """The Gaussian mean under every window that lies wholly in the image, rows then columns."""
    weights = torch.tensor(_window(), dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    with torch.autocast(images.device.type, enabled=False):
        down = functional.conv2d(
            images, weights.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels
        )
        return functional.conv2d(
            down, weights.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels
        )
