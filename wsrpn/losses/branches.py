"""Agreement of the two branches about the image as a whole.

About places they agree by `cell_consistency` (per class) and by `paper_consistency` (as the
original has it); see `consistency.py` and `paper.py`.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from wsrpn.errors import InputError
from wsrpn.losses.base import losses
from wsrpn.losses.consistency import bernoulli_kl


@losses.register("consistency", reads=("output.roi_logits", "output.patch_logits"))
def branch_consistency_loss(
    roi_logits: Float[Tensor, "b k"],
    patch_logits: Float[Tensor, "b k"],
    *,
    form: Literal["bernoulli", "softmax"] = "bernoulli",
    detach_teacher: bool | None = None,
) -> Float[Tensor, " b"]:
    r"""$KL(\mathrm{roi} ‖ \mathrm{patch})$ of the image-level answers.

    `bernoulli`: the mean over classes of $KL(σ(z^{roi}_c) ‖ σ(z^{patch}_c))$, for findings that do
    not exclude each other. `softmax`: the KL of softmaxes over the classes, as in the source; it
    does not see a shift of all logits, so sigmoids of 0.95 and 0.05 can agree perfectly.

    Args:
        roi_logits: of the ROI branch (noisy-OR as a logit).
        patch_logits: of the patch branch, the teacher.
        form: see above.
        detach_teacher: stop the gradient at the patch branch; None does so for `bernoulli` only.

    Returns:
        One value per image, 0 where the branches agree.

    Raises:
        InputError: `softmax` with one class, whose softmax is always 1.

    Example:
        >>> import torch
        >>> branch_consistency_loss(torch.tensor([[2.0]]), torch.tensor([[-1.0]]))
        tensor([0.8287])

    Reference:
        The softmax form: Hinton et al., Distilling the knowledge in a neural network, 2015, with
        the divergence taken from the student.
    """
    roi, patch = roi_logits.float(), patch_logits.float()
    if detach_teacher or (detach_teacher is None and form == "bernoulli"):
        patch = patch.detach()
    if form == "bernoulli":
        return bernoulli_kl(roi, patch).clamp_min(0).mean(-1)
    if roi.shape[-1] == 1:
        raise InputError(
            "losses.consistency.form=softmax compares classes, and there is one; use bernoulli."
        )
    log_roi, log_patch = functional.log_softmax(roi, -1), functional.log_softmax(patch, -1)
    return (log_roi.exp() * (log_roi - log_patch)).sum(-1).clamp_min(0)
