r"""Losses on the Gaussian maps: sharp, on their box, and silent where nothing is found.

All of them work on the two factors of each map (`wsrpn.gaussian`): the entropy of a map is the sum
of its factors' entropies, its peak the product of their peaks. One value per image, the mean over
its regions. The first four are the source's, with its slips put right; each has a second form that
mends what the idea itself leaves open:

- `concentration` pulls every map to one cell, a large finding's too, and centres to the border;
  `hinge_concentration` does neither;
- of `sparsity` only the largest cell has a gradient, of `hoyer_sparsity` all;
- `box_alignment` is 0 where box and Gaussian are one; `attention_alignment` is not;
- `negative_suppression` needs images without any finding; `class_suppression` takes class by class.

Reference:
    The project's specification, section S5, where the slips of the source are listed, too.
"""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from wsrpn import gaussian
from wsrpn.losses.base import losses
from wsrpn.types import Regions


@losses.register("concentration", reads=("output.regions",))
def concentration_loss(regions: Regions) -> Float[Tensor, " b"]:
    r"""Entropy of the maps in nats, $H(α) = -\sum_i α_i \log α_i$, from 0 to $\log m$.

    Its least value is a single cell, so it fits small findings and fights large ones; and it is
    lower at the border, where part of the map is cut off, so it moves centres there.

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


@losses.register("hinge_concentration", reads=("output.regions", "batch.labels"))
def hinge_concentration_loss(
    regions: Regions, labels: Float[Tensor, "b k"], *, area: float = 0.15
) -> Float[Tensor, " b"]:
    r"""Entropy above what a map may have, of the regions that carry a present class.

    $$ L = \max(0, H - \log(a m)) $$

    H is that of the map moved to the middle of the grid (`gaussian.centred_log_maps`), so the
    border plays no part and centres are left alone. A map of n even cells has $\log n$, so
    $e^H / m$ is the share of the image that a map covers, on any grid; of a box that is
    $2πe\,σ_xσ_y \approx 4.3$ times its own share. Regions weigh in by their probability of the
    classes that are present, which has no gradient from here.

    Args:
        regions: proposals with their widths.
        labels: 1, 0 or nan.
        area: a, the share of the image that a map may cover; 0.15 is the source's 2.0 nats on
            7 × 7 cells.

    Returns:
        0, with a gradient of 0, where no class is present.
    """
    grid = (regions.log_y.shape[-1], regions.log_x.shape[-1])
    found = gaussian.entropy(*gaussian.centred_log_maps(regions.sigmas, grid, beta=regions.beta))
    above = (found - math.log(max(area * _cells(regions), 1.0))).relu()
    weight = said(regions, labels == 1).detach()
    return (above * weight).sum(-1) / weight.sum(-1).clamp_min(1e-12)


@losses.register("hoyer_sparsity", reads=("output.regions",))
def hoyer_sparsity_loss(regions: Regions) -> Float[Tensor, " b"]:
    r"""$1 - \mathrm{hoyer}(α)$: 1 for an even map, 0 for a single cell.

    Every cell has a gradient, where `sparsity` has one at the largest alone.

    Args:
        regions: proposals with their maps.

    Reference:
        Hoyer, JMLR 2004, section 3.1; see `wsrpn.gaussian.hoyer`.
    """
    return (1 - gaussian.hoyer(regions.log_x, regions.log_y)).mean(-1)


@losses.register("attention_alignment", reads=("output.regions",))
def attention_alignment_loss(
    regions: Regions, *, centre: float = 1.0, size: float = 0.5, spread: float = 3.0
) -> Float[Tensor, " b"]:
    r"""Distance of the Gaussian and the attention that found it.

    $$ L = λ_1 ‖μ - m‖^2 + λ_2 \Big\| σ - \frac{f}{2} s \Big\|^2 $$

    with m and s the mean and standard deviation of the region's attention over the cells. It says
    something whatever the head of the Gaussian is. Both sides have a gradient.

    Args:
        regions: proposals with Gaussians (μ, σ) and the moments of their attention.
        centre: λ₁.
        size: λ₂.
        spread: f, side of a box over the standard deviation of what fills it; √12 where it is
            filled evenly, and `model.spread` of the boxes that begin there.

    Returns:
        0, with a gradient of 0, for a model that knows no attention.
    """
    if regions.attended is None:
        return (regions.means * 0).sum((-1, -2))
    mean, deviation = regions.attended.split(2, -1)
    apart = (regions.means - mean).square().sum(-1)
    wider = (regions.sigmas - spread / 2 * deviation).square().sum(-1)
    return (centre * apart + size * wider).mean(-1)


@losses.register("class_suppression", reads=("output.regions", "batch.labels"))
def class_suppression_loss(regions: Regions, labels: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Flat maps and low probabilities where a region speaks of a class known to be absent.

    $$ L = \sum_{c:\,y_c = 0} p_c^2 + p_c \Big( \max_i α_i - \frac1m \Big)^2 $$

    `negative_suppression` needs images without any finding; here an image with an effusion says
    that a region should be silent on masses. Where a region says nothing its map is left alone.

    Args:
        regions: proposals.
        labels: 1, 0 or nan.

    Returns:
        The mean over the regions; 0, with a gradient of 0, where no class is known to be absent.
    """
    absent = labels == 0
    peak = gaussian.top_patch(regions.log_x, regions.log_y) - 1 / _cells(regions)
    squares = (regions.logits.float().sigmoid().square() * absent[:, None]).sum(-1)
    return (squares + said(regions, absent) * peak.square()).mean(-1)


def said(regions: Regions, of: Bool[Tensor, "b k"]) -> Float[Tensor, "b r"]:
    """How much each region says of some classes: the sum of its probabilities of them."""
    return (regions.logits.float().sigmoid() * of[:, None]).sum(-1)


def _cells(regions: Regions) -> int:
    return regions.log_x.shape[-1] * regions.log_y.shape[-1]
