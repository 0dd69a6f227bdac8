r"""Losses on the Gaussian maps: sharp, on their box, and silent where nothing is found.

All of them work on the two factors of each map (`wsrpn.gaussian`): the entropy of a map is the sum
of its factors' entropies, its peak the product of their peaks. One value per image, the mean over
its regions.

Reference:
    The forms are those of the project's specification, section S5. Concentration pulls every map
    towards one cell, so it fits small findings and fights large ones.
"""

from jaxtyping import Float
from torch import Tensor

from wsrpn import gaussian
from wsrpn.losses.base import losses
from wsrpn.types import Regions


@losses.register("concentration", reads=("output.regions",))
def concentration_loss(regions: Regions) -> Float[Tensor, " b"]:
    r"""Entropy of the maps in nats, $H(α) = -\sum_i α_i \log α_i$, from 0 to $\log m$.

    Args:
        regions: proposals with their maps.
    """
    return gaussian.entropy(regions.log_x, regions.log_y).mean(-1)


@losses.register("sparsity", reads=("output.regions",), below_zero=True)
def sparsity_loss(regions: Regions) -> Float[Tensor, " b"]:
    r"""$\frac1m - \max_i α_i$: 0 for an even map, $\frac1m - 1$ for a single cell.

    The mean of a map is always $1/m$; it is there so that the loss starts at 0.

    Args:
        regions: proposals with their maps.
    """
    return (1 / _cells(regions) - gaussian.top_patch(regions.log_x, regions.log_y)).mean(-1)


@losses.register("box_alignment", reads=("output.regions",))
def box_alignment_loss(
    regions: Regions, *, centre: float = 1.0, size: float = 0.5
) -> Float[Tensor, " b"]:
    r"""Distance of Gaussian and box, $λ_1 ‖μ - c‖^2 + λ_2 ‖σ - s/2‖^2$.

    σ of a box is half its side everywhere here. With `model.gaussian_head=tied` the Gaussian is the
    box, and the loss is 0 but for boxes below the smallest σ.

    Args:
        regions: proposals with boxes (c, s) and Gaussians (μ, σ), as shares of the image.
        centre: λ₁.
        size: λ₂.
    """
    apart = (regions.means - regions.boxes[..., :2]).square().sum(-1)
    wider = (regions.sigmas - regions.boxes[..., 2:] / 2).square().sum(-1)
    return (centre * apart + size * wider).mean(-1)


@losses.register("negative_suppression", reads=("output.regions", "batch.labels"))
def negative_suppression_loss(
    regions: Regions, labels: Float[Tensor, "b k"]
) -> Float[Tensor, " b"]:
    r"""Flat maps and low probabilities on images known to have no finding.

    $$ L = \Big( \max_i α_i - \frac1m \Big)^2 + \frac1k \sum_c p_c^2 $$

    Args:
        regions: proposals.
        labels: 1, 0 or nan; an image counts where all of its labels are 0.

    Returns:
        0, with a gradient of 0, for every other image.
    """
    peak = gaussian.top_patch(regions.log_x, regions.log_y) - 1 / _cells(regions)
    sure = regions.logits.float().sigmoid().square().mean(-1)
    return (peak.square() + sure).mean(-1) * (labels == 0).all(-1)


def _cells(regions: Regions) -> int:
    return regions.log_x.shape[-1] * regions.log_y.shape[-1]
