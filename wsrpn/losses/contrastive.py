r"""Contrastive losses: an image is nearer to its own text than to the others of the batch.

One vocabulary for all of them. Image $i$ and text $j$ have the logit $s_{ij} = a\, v_i^⊤ t_j + b$
(`Alignment.scale` and `.bias`). Each image gives two contrasts, its row (which text belongs to this
image) and its column (which image belongs to this text), and its value is their mean: the source
adds them, which doubles the weight. Texts with levels of detail give a contrast per level, and an
image the mean over the levels at which it has a text. An image without any counts 0.

Reports repeat ("No acute findings"), and captions made from labels do so all the time: with two
identical pairs the plain loss cannot fall below log 2 and pushes equal texts apart. So pairs that
say the same are never each other's negatives (`Same`).

Under several processes every process compares its own images with those of all, and the gradient
reaches the embeddings wherever they were made; the mean over the processes is the value of one.
The processes have equally many images (`EpochSampler` sees to it).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from wsrpn.losses.base import losses
from wsrpn.types import Alignment, Texts

# What says the same: the same text; also the same known labels; only the image's own text.
Same = Literal["text", "labels", "none"]
READS = ("output.alignment", "batch.texts", "batch.labels")
ABSENT = -1e30  # a logit that has no part in a sum; −inf would give nan gradients


@dataclass(frozen=True)
class Pairs:
    """One direction at one level: the rows are this process's, the columns everyone's.

    Attributes:
        logits: s, in float32 at least.
        own: the pair itself.
        same: it, and every pair that says the same.
        others: pairs that may be told apart.
    """

    logits: Float[Tensor, "b n"]
    own: Bool[Tensor, "b n"]
    same: Bool[Tensor, "b n"]
    others: Bool[Tensor, "b n"]


@losses.register("ntxent", reads=READS, batchwise=True)
def ntxent_loss(
    alignment: Alignment,
    texts: Texts | None,
    labels: Float[Tensor, "b k"],
    *,
    same: Same = "text",
    hardness: float = 0.0,
) -> Float[Tensor, " b"]:
    r"""Normalised temperature-scaled cross-entropy, mean of both directions.

    $$ ℓ_i = -\log \frac{e^{s_{ii}}}{e^{s_{ii}} + \sum_{j ∈ N(i)} w_{ij} e^{s_{ij}}} $$

    $N(i)$ are the pairs that do not say the same as $i$.

    Args:
        alignment: image and text in one space.
        texts: which texts are equal (`ids`).
        labels: 1, 0 or nan; looked at with `same="labels"` only.
        same: what makes two pairs say the same: the text (`text`), the text or the label vector
            (`labels`: known labels equal, at least one known, the same ones unknown), nothing.
        hardness: β ≥ 0 of hard-negative weights $w_{ij} ∝ e^{β s_{ij}}$ with mean 1 over $N(i)$;
            0 weighs all negatives alike.

    Returns:
        One value per image, 0 for one without text or without negatives.

    Reference:
        Sohn, Improved deep metric learning with multi-class N-pair loss objective, 2016; Chen et
        al., SimCLR, 2020, eq. 1. Hardness: Robinson et al., Contrastive learning with hard negative
        samples, 2021, eq. 4 without debiasing ($τ^+ = 0$).
    """

    def value(pairs: Pairs) -> Float[Tensor, " b"]:
        return _softmax_contrast(pairs, pull=pairs.own, hardness=hardness)

    return _both_ways(value, alignment, texts, labels, same)


@losses.register("multi_positive", reads=READS, batchwise=True)
def multi_positive_loss(
    alignment: Alignment,
    texts: Texts | None,
    labels: Float[Tensor, "b k"],
    *,
    same: Same = "text",
    hardness: float = 0.0,
) -> Float[Tensor, " b"]:
    r"""All pairs that say the same attract each other: softmax against a uniform target.

    $$ ℓ_i = -\frac{1}{|P(i)|} \sum_{p ∈ P(i)}
       \log \frac{e^{s_{ip}}}{\sum_{q ∈ P(i)} e^{s_{iq}} + \sum_{j ∈ N(i)} w_{ij} e^{s_{ij}}}
       - \log |P(i)| $$

    with $P(i)$ the pair itself and those that say the same. It is the KL divergence from the
    uniform target: its entropy $\log |P|$ is subtracted, so 0 can be reached with identical
    captions, and is, when all of $P$ are equally near and the others far. Where no two say the same
    it is `ntxent`.

    Args:
        alignment: see `ntxent_loss`.
        texts: see `ntxent_loss`.
        labels: see `ntxent_loss`.
        same: see `ntxent_loss`.
        hardness: see `ntxent_loss`.

    Returns:
        One value per image, 0 for one without text.

    Reference:
        Khosla et al., Supervised contrastive learning, 2020, eq. 2, between images and texts.
    """

    def value(pairs: Pairs) -> Float[Tensor, " b"]:
        return _softmax_contrast(pairs, pull=pairs.same, hardness=hardness)

    return _both_ways(value, alignment, texts, labels, same)


@losses.register("siglip", reads=READS, batchwise=True)
def siglip_loss(
    alignment: Alignment,
    texts: Texts | None,
    labels: Float[Tensor, "b k"],
    *,
    same: Same = "text",
    hardness: float = 0.0,
) -> Float[Tensor, " b"]:
    r"""Every pair by itself: does this text belong to this image?

    $$ ℓ_i = -\sum_{p ∈ P(i)} \log σ(s_{ip}) - \sum_{j ∈ N(i)} w_{ij} \log σ(-s_{ij}) $$

    Nothing is normalised over the batch. Most pairs are negative, so the model should have a
    bias (`bias: -10`).

    Args:
        alignment: see `ntxent_loss`.
        texts: see `ntxent_loss`.
        labels: see `ntxent_loss`.
        same: see `ntxent_loss`.
        hardness: see `ntxent_loss`; for this loss it is an extension of ours.

    Returns:
        One value per image (its mean over images is that of the paper), 0 for one without text.

    Reference:
        Zhai et al., Sigmoid loss for language image pre-training, 2023, algorithm 1.
    """

    def value(pairs: Pairs) -> Float[Tensor, " b"]:
        harder = _log_weights(pairs, hardness).masked_fill(~pairs.others, ABSENT).exp()
        far = -functional.logsigmoid(-pairs.logits) * harder
        near = -functional.logsigmoid(pairs.logits)
        return torch.where(pairs.same, near, far).sum(-1)

    return _both_ways(value, alignment, texts, labels, same)


KINDS: Mapping[str, Callable[..., Tensor]] = {
    "ntxent": ntxent_loss, "multi_positive": multi_positive_loss, "siglip": siglip_loss,
}  # fmt: skip


@losses.register("contrastive", reads=READS, batchwise=True)
def contrastive_loss(
    alignment: Alignment,
    texts: Texts | None,
    labels: Float[Tensor, "b k"],
    *,
    kind: Literal["ntxent", "multi_positive", "siglip"] = "ntxent",
    same: Same = "text",
    hardness: float = 0.0,
) -> Float[Tensor, " b"]:
    """One of the losses above, for phases that say `contrastive` and leave the kind to an option.

    Args:
        alignment: see `ntxent_loss`.
        texts: see `ntxent_loss`.
        labels: see `ntxent_loss`.
        kind: which of them.
        same: see `ntxent_loss`.
        hardness: see `ntxent_loss`.
    """
    return KINDS[kind](alignment, texts, labels, same=same, hardness=hardness)


def _softmax_contrast(
    pairs: Pairs, *, pull: Bool[Tensor, "b n"], hardness: float
) -> Float[Tensor, " b"]:
    """KL from the uniform target on `pull` to the softmax over it and the other pairs."""
    harder = pairs.logits + _log_weights(pairs, hardness)
    row = torch.where(pull, pairs.logits, harder.masked_fill(~pairs.others, ABSENT))
    count = pull.sum(-1).clamp_min(1)
    near = (pairs.logits * pull).sum(-1) / count
    # Never below 0 but by rounding.
    return (row.logsumexp(-1) - near - count.log()).clamp_min(0)


def _log_weights(pairs: Pairs, hardness: float) -> Float[Tensor, "b n"] | Float[Tensor, ""]:
    r"""$\log w_{ij} = β s_{ij} - \log \frac{1}{|N|} \sum_{j ∈ N} e^{β s_{ij}}$, for pairs of N."""
    if not hardness:
        return pairs.logits.new_zeros(())
    # A weight says how much a pair counts; a gradient through it would rather make the easy ones
    # harder, which pulls most of them closer.
    scaled = hardness * pairs.logits.detach()
    total = scaled.masked_fill(~pairs.others, ABSENT).logsumexp(-1, keepdim=True)
    return scaled - total + pairs.others.sum(-1, keepdim=True).clamp_min(1).log()


def _both_ways(
    value: Callable[[Pairs], Tensor],
    alignment: Alignment,
    texts: Texts | None,
    labels: Float[Tensor, "b k"],
    same: Same,
) -> Float[Tensor, " b"]:
    """`value` of both directions at every level, averaged.

    No path leaves the graph early: under several processes the backward pass of `_gathered` waits
    for all of them, whatever their images have.
    """
    if alignment.text is None or texts is None:  # of all processes or of none
        return 0 * alignment.image.float().sum(-1)
    exact = torch.promote_types(alignment.image.dtype, torch.float32)
    here = torch.cat((alignment.image[:, None], alignment.text), 1).to(exact)
    everyone, ids = _gathered(here), _gathered(texts.ids)
    alike = _alike(labels, _gathered(labels)) if same == "labels" else None
    first = _rank() * len(here)
    own = torch.arange(first, first + len(here), device=here.device)[:, None] == torch.arange(
        len(everyone), device=here.device
    )
    total, levels = 0 * here.sum((1, 2)), texts.ids.shape[1]
    for level in range(levels):
        there = (texts.ids[:, level, None] >= 0) & (ids[:, level] >= 0)
        repeats = texts.ids[:, level, None] == ids[:, level]
        repeats = own if same == "none" else repeats if alike is None else repeats | alike
        repeats = (repeats | own) & there
        for row, column in ((0, level + 1), (level + 1, 0)):  # an image's texts, a text's images
            cosines = here[:, row] @ everyone[:, column].T
            logits = alignment.scale.to(exact) * cosines + alignment.bias.to(exact)
            found = value(Pairs(logits, own & there, repeats, there & ~repeats))
            total = total + torch.where(there.any(-1), found, 0.0) / 2
    return total / (texts.ids >= 0).sum(1).clamp_min(1)


def _alike(ours: Float[Tensor, "b k"], all_of_them: Float[Tensor, "n k"]) -> Bool[Tensor, "b n"]:
    """Equal label vectors: the same labels known, at least one, and those equal."""
    a, b = ours[:, None], all_of_them[None]
    equal = (a == b) | (a.isnan() & b.isnan())
    return equal.all(-1) & ~a.isnan().all(-1)


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _gathered(values: Tensor) -> Tensor:
    """The rows of all processes in order of rank; gradients find their way back."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    return _Gather.apply(values)


class _Gather(torch.autograd.Function):
    """All processes' rows forward; backward the sum of what all processes say of one's own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Rows in order of rank."""
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient at the own rows."""
        total = gradients[0].contiguous().clone()  # not ours to change
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
