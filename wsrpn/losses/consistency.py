"""Losses that make the two branches of WSRPN agree on where things are."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from wsrpn.losses.base import losses
from wsrpn.types import Regions


def painted_log_odds(regions: Regions) -> Float[Tensor, "b k gh gw"]:
    r"""What the regions say of each cell: the logit of $1 - \prod_j (1 - m_j(i)\, σ(z_{jc}))$.

    $m_j$ is the region's kernel scaled to 1 at its best cell, so a region is as sure at its centre
    as it is of its class.
    """
    kernel_x = (regions.log_x - regions.log_x.amax(-1, keepdim=True))[:, :, None, None, :]
    kernel_y = (regions.log_y - regions.log_y.amax(-1, keepdim=True))[:, :, None, :, None]
    log_p = functional.logsigmoid(regions.logits.float())[..., None, None]
    share = (kernel_x + kernel_y + log_p).clamp(max=-1e-6)
    log_absent = torch.log1p(-share.exp()).sum(1).clamp(max=-1e-7)
    return torch.log(-torch.expm1(log_absent)) - log_absent


def bernoulli_kl(teacher: Float[Tensor, "*n"], student: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    r"""$KL(σ(t) ‖ σ(s))$ from logits, exact and finite for large ones.

    Example:
        >>> bernoulli_kl(torch.tensor(2.0), torch.tensor(-1.0))
        tensor(0.8287)
    """
    p = teacher.sigmoid()
    present = functional.logsigmoid(teacher) - functional.logsigmoid(student)
    absent = functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
    return p * present + (1 - p) * absent


@losses.register("cell_consistency", reads=("output.maps", "output.regions", "batch.labels"))
def cell_consistency_loss(
    maps: Float[Tensor, "b k gh gw"],
    regions: Regions,
    labels: Float[Tensor, "b k"],
    *,
    detach: bool = True,
    positives_only: bool = True,
) -> Float[Tensor, " b"]:
    """KL per cell from the patch branch (teacher) to what the regions paint.

    Args:
        maps: logits of the cells.
        regions: the proposals.
        labels: 1, 0 or nan.
        detach: stop the gradient at the teacher.
        positives_only: only classes that are present, where there is something to point at.

    Returns:
        Mean over cells and classes taken; 0 for an image where none is taken.

    Reference:
        Müller et al., arXiv 2402.11985, ROI–patch consistency; per class here, because findings do
        not exclude each other, where the original normalises over classes.
    """
    teacher = maps.detach() if detach else maps
    divergence = bernoulli_kl(teacher, painted_log_odds(regions)).mean((2, 3))
    taken = labels == 1 if positives_only else torch.ones_like(labels, dtype=torch.bool)
    return (divergence * taken).sum(-1) / taken.sum(-1).clamp_min(1)
