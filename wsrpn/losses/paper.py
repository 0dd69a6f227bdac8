"""The losses of the original WSRPN, as its code has them.

They weigh or contrast images within a batch, so an image's value depends on its neighbours.

Reference:
    Müller et al., arXiv 2402.11985, and the code published with it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from wsrpn.losses.base import losses
from wsrpn.types import PaperTerms


@losses.register("paper_bce", reads=("output.paper", "batch.labels"), batchwise=True)
def paper_bce_loss(
    terms: PaperTerms, labels: Float[Tensor, "b k"], *, patch: float = 1.0, roi: float = 1.0
) -> Float[Tensor, " b"]:
    r"""Cross-entropy of both branches, weighted by how rare a label is in the batch.

    Columns: the k classes, "some cell has no finding" (target 1 for every image), "no cell has a
    finding" (target: the image has none). $w^± = (N + 1)/(N^± + 1)$ per column.

    Args:
        terms: image-level probabilities of both branches.
        labels: 1, 0 or nan; unknown ones are left out, and an image with an unknown label has an
            unknown "no finding" unless some finding is present. An image without any known label
            has no part in it.
        patch: weight of the patch branch.
        roi: weight of the ROI branch.
    """
    present = (labels == 1).any(1)
    none = torch.where(present, 0.0, labels.sum(1) * 0.0 + 1.0)
    target = torch.cat((labels, torch.ones_like(none)[:, None], none[:, None]), 1)
    known = ~target.isnan() & ~labels.isnan().all(1, keepdim=True)
    target = target.nan_to_num(0.0)
    count = known.sum(0)
    positive = (target * known).sum(0)
    weight = torch.where(
        target > 0.5, (count + 1) / (positive + 1), (count + 1) / (count - positive + 1)
    )

    def bce(bag: Float[Tensor, "b kff"]) -> Float[Tensor, " b"]:
        p = bag.clamp(1e-7, 1 - 1e-7)
        loss = -(target * p.log() + (1 - target) * torch.log1p(-p))
        return (weight * loss * known).mean(1)

    return patch * bce(terms.patch_bag) + roi * bce(terms.roi_bag)


@losses.register("paper_supcon", reads=("output.paper", "batch.labels"), batchwise=True)
def paper_supcon_loss(
    terms: PaperTerms, labels: Float[Tensor, "b k"], *, temperature: float = 0.15
) -> Float[Tensor, " b"]:
    """Per class, images with the same label attract each other, in both branches.

    Args:
        terms: class features of both branches.
        labels: 1, 0 or nan; unknown ones take no part.
        temperature: τ.

    Returns:
        Mean over the classes in which the image has a partner; 0 where it has none.
    """
    return _supcon(terms.patch_features, labels, temperature) + _supcon(
        terms.roi_features, labels, temperature
    )


def _supcon(
    features: Float[Tensor, "b k d"], labels: Float[Tensor, "b k"], temperature: float
) -> Float[Tensor, " b"]:
    unit = torch.nn.functional.normalize(features, dim=-1).transpose(0, 1)
    similar = unit @ unit.transpose(1, 2) / temperature
    known = ~labels.T.isnan()
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    others = known[:, None] & known[:, :, None] & ~itself
    same = others & (labels.T[:, :, None] == labels.T[:, None])
    # −1e4 instead of −inf: a row without any other would give nan gradients.
    spread = similar.masked_fill(~others, -1e4).logsumexp(-1)
    partners = same.sum(-1)
    pull = (similar * same).sum(-1) / partners.clamp_min(1)
    counted = partners > 0
    return ((spread - pull) * counted).sum(0) / counted.sum(0).clamp_min(1)


@losses.register("paper_consistency", reads=("output.paper",))
def paper_consistency_loss(terms: PaperTerms) -> Float[Tensor, " b"]:
    """KL per cell from the patch branch (detached) to what the regions paint there.

    Both sides are renormalised over the classes and no-finding; a region that does not cover a cell
    says "no finding" of it.
    """
    teacher = terms.cells.detach()
    teacher = teacher / (teacher.sum(1, keepdim=True) + 1e-3)
    kernels = terms.kernels[:, :, None]
    each = kernels * terms.regions[..., None, None]
    found = -torch.expm1(torch.log1p(-each[:, :, :-1].clamp(max=1 - 1e-6)).sum(1))
    none = (each[:, :, -1:] + 1 - kernels).clamp(1e-6, 1).log().sum(1).exp()
    student = torch.cat((found, none), 1)
    student = (student / (student.sum(1, keepdim=True) + 1e-3)).clamp_min(1e-3)
    ratio = teacher.clamp_min(1e-12).log() - student.log()
    return (teacher * ratio).sum(1).mean((1, 2))
