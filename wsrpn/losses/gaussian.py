r"""Losses on the Gaussian maps: sharp, on their box, and silent where nothing is found.

All of them work on the two factors of each map (`wsrpn.gaussian`): the entropy of a map is the sum
of its factors' entropies, its peak the product of their peaks. One value per image, the mean over
its regions, in float32 at least. The first four are the source's, with its slips put right; each
has a second form that mends what the idea itself leaves open:

- `concentration` pulls every map to one cell, a large finding's too, and centres to the border;
  `hinge_concentration` does neither;
- of `sparsity` only the largest cell has a gradient, of `hoyer_sparsity` all;
- `box_alignment` is 0 where box and Gaussian are one; `attention_alignment` is not;
- `negative_suppression` needs images without any finding; `class_suppression` takes class by class.

Reference:
    The project's specification, section S5, where the slips of the source are listed, too.
"""

import math

import torch
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
    return -peak(regions).mean(-1)


@losses.register("box_alignment", reads=("output.regions",))
def box_alignment_loss(
    regions: Regions, *, centre: float = 1.0, size: float = 0.5
) -> Float[Tensor, " b"]:
    r"""Distance of Gaussian and box, $λ_1 ‖μ - c‖^2 + λ_2 ‖σ - s/2‖^2$.

    σ of a box is half its side here. With `model.gaussian_head=tied` the Gaussian is the box, and
    the loss is 0 but for boxes below the smallest σ; tied by another factor than
    `model.sigma_scale=0.5` it says nothing but that boxes should be small.

    Args:
        regions: proposals with boxes (c, s) and Gaussians (μ, σ), as shares of the image.
        centre: λ₁.
        size: λ₂.
    """
    middle, side = gaussian.exact(regions.boxes).split(2, -1)
    apart = (regions.means - middle).square().sum(-1)
    wider = (regions.sigmas - side / 2).square().sum(-1)
    return (centre * apart + size * wider).mean(-1)


@losses.register("negative_suppression", reads=("output.regions", "batch.labels"))
def negative_suppression_loss(
    regions: Regions, labels: Float[Tensor, "b k"]
) -> Float[Tensor, " b"]:
    r"""Flat maps and low probabilities on images known to have no finding.

    $$ L = \Big( \max_i α_i - \frac1m \Big)^2 + \sum_c p_c^2 $$

    The source has one confidence per region. A guided region speaks of one class, and its p is
    that: a mean over all classes would make it k times weaker.

    Args:
        regions: proposals.
        labels: 1, 0 or nan; an image counts where all of its labels are 0.

    Returns:
        0, with a gradient of 0, for every other image.
    """
    sure = gaussian.exact(regions.logits).sigmoid().square().sum(-1)
    return (peak(regions).square() + sure).mean(-1) * (labels == 0).all(-1)


@losses.register("hinge_concentration", reads=("output.regions", "batch.labels"))
def hinge_concentration_loss(
    regions: Regions, labels: Float[Tensor, "b k"], *, area: float = 0.6
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
        area: a, the share of the image that a map may cover. A map on the median box of
            cardiomegaly (14 % of the image) covers 0.6, so that no finding's map is too wide. The
            source's 2.0 nats on 7 × 7 cells are 0.15.

    Returns:
        0, with a gradient of 0, where no class is present.
    """
    grid = (regions.log_y.shape[-1], regions.log_x.shape[-1])
    found = gaussian.entropy(*gaussian.centred_log_maps(regions.sigmas, grid, beta=regions.beta))
    above = (found - math.log(max(area * math.prod(grid), 1.0))).relu()
    weight = said(regions.logits.detach(), labels == 1).sum(-1)
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
    r"""Distance of the Gaussian and the attention that found it, in units of the attention.

    $$ L = λ_1 \Big\| \frac{μ - m}{h} \Big\|^2 + λ_2 \Big\| \log \frac{σ}{h} \Big\|^2,
       \quad h = \frac{f}{2} s $$

    with m and s the mean and standard deviation of the region's attention over the cells, s at
    least that of one cell. It says something whatever the head of the Gaussian is. In shares of the
    image instead of h a narrower attention would lower it, and the attention that boxes are made
    from (`model.anchor=moments`) would shrink to one cell; here all of the gradient goes to what
    the head adds to it.

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
        return 0 * gaussian.exact(regions.means).sum((-1, -2))
    mean, deviation = gaussian.exact(regions.attended).split(2, -1)
    # A cell has a width of its own: attention on a single one is not infinitely narrow.
    least = [1 / (math.sqrt(12) * factor.shape[-1]) for factor in (regions.log_x, regions.log_y)]
    axes = [d.clamp_min(f) for d, f in zip(deviation.unbind(-1), least, strict=True)]
    half = spread / 2 * torch.stack(axes, -1)
    apart = ((regions.means - mean) / half).square().sum(-1)
    wider = (regions.sigmas / half).log().square().sum(-1)
    return (centre * apart + size * wider).mean(-1)


@losses.register("class_suppression", reads=("output.regions", "batch.labels"))
def class_suppression_loss(regions: Regions, labels: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Flat maps and low probabilities where a region speaks of a class known to be absent.

    $$ L = \sum_{c:\,y_c = 0} \Big( p_c^2 + p_c \Big( \max_i α_i - \frac1m \Big)^2 \Big) $$

    `negative_suppression` needs images without any finding; here an image with an effusion says
    that a region should be silent on masses. Where a region says nothing its map is left alone: on
    an image without any finding that, the factor $\sum_c p_c$ of the peak, is all that tells the
    two losses apart.

    Args:
        regions: proposals.
        labels: 1, 0 or nan.

    Returns:
        The mean over the regions; 0, with a gradient of 0, where no class is known to be absent.
    """
    wrong = said(regions.logits, labels == 0)
    return (wrong.square().sum(-1) + wrong.sum(-1) * peak(regions).square()).mean(-1)


def said(logits: Float[Tensor, "b r k"], of: Bool[Tensor, "b k"]) -> Float[Tensor, "b r k"]:
    """What regions say of some classes: their probabilities, and 0 for the other classes."""
    return gaussian.exact(logits).sigmoid() * of[:, None]


def peak(regions: Regions) -> Float[Tensor, "b r"]:
    r"""How far the largest cell of each map is above an even map: $\max_i α_i - \frac1m$."""
    cells = regions.log_x.shape[-1] * regions.log_y.shape[-1]
    return gaussian.top_patch(regions.log_x, regions.log_y) - 1 / cells
