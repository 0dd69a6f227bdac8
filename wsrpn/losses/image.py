"""Losses against image-level labels: 1 present, 0 absent, nan unknown (left out)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from wsrpn.losses.base import losses


@losses.register("image_bce", reads=("output.logits", "batch.labels"))
def image_bce_loss(
    logits: Float[Tensor, "b k"],
    labels: Float[Tensor, "b k"],
    *,
    pos_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " b"]:
    r"""Binary cross-entropy, averaged over the classes whose label is known.

    $$ L = -\frac{1}{|K|} \sum_{c ∈ K} w\, y_c \log σ(z_c) + (1 - y_c) \log (1 - σ(z_c)) $$

    Args:
        logits: scores before the sigmoid.
        labels: 1, 0 or nan.
        pos_weight: w, the price of a missed finding.
        label_smoothing: labels become `smoothing / 2` and `1 - smoothing / 2`.

    Returns:
        One value per image, 0 for one without any known label.

    Example:
        >>> import torch
        >>> image_bce_loss(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]]))
        tensor([0.6931])
    """
    known = ~labels.isnan()
    target = labels.nan_to_num(0.0) * (1 - label_smoothing) + label_smoothing / 2
    logits = logits.float()
    present = -functional.logsigmoid(logits) * target * pos_weight
    absent = -functional.logsigmoid(-logits) * (1 - target)
    return ((present + absent) * known).sum(-1) / known.sum(-1).clamp_min(1)


@losses.register("detection", reads=("output.patch_logits", "output.roi_logits", "batch.labels"))
def detection_loss(
    patch_logits: Float[Tensor, "b k"],
    roi_logits: Float[Tensor, "b k"],
    labels: Float[Tensor, "b k"],
    *,
    patch: float = 1.0,
    roi: float = 1.0,
    pos_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " b"]:
    """Cross-entropy of the patch branch and of the ROI branch: one per class and branch.

    Noisy-OR has already joined the regions, so no label is asked of a single region.

    Args:
        patch_logits: image-level logits of the patch branch.
        roi_logits: image-level logits of the ROI branch.
        labels: 1, 0 or nan.
        patch: weight of the first.
        roi: weight of the second.
        pos_weight: see `image_bce_loss`.
        label_smoothing: see `image_bce_loss`.

    Reference:
        Müller et al., arXiv 2402.11985, patch and ROI classification losses.
    """
    options = {"pos_weight": pos_weight, "label_smoothing": label_smoothing}
    return patch * image_bce_loss(patch_logits, labels, **options) + roi * image_bce_loss(
        roi_logits, labels, **options
    )
