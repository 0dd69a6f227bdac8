"""The network for lung nodules: a backbone, attention on its grid, and a decoder to full size.

The source's decoder begins at a sixteenth of the detail: it has no skip connections, and what is
smaller than a cell of 32 pixels must come through the channels. `skips` adds them.
"""

from typing import Annotated

from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.config import Count, Share
from wsrpn.errors import InputError
from wsrpn.models import backbones
from wsrpn.models.base import models
from wsrpn.models.decoder import (
    Upsample,
    UpStage,
    answer,
    head,
    padded,
    refuse_classes,
    refuse_one_value,
)
from wsrpn.models.spatial_attention import Attention, SpatialAttention
from wsrpn.models.stages import COUNT, pyramid, stages_of
from wsrpn.types import Batch, ModelOutput

MULTIPLE = 2**COUNT


@models.register("nodule", gives=("mask_logits", "attention", "logits"), input="masks")
class Nodule(nn.Module):
    """Backbone, DRR attention at feature resolution, five stages of decoder.

    Features are multiplied by 1 + σ(attention), not by σ as in the source: a factor below one half
    for all cells that were not (yet) found important takes them from the decoder, and through it
    from the gradient, so an early mistake of the attention stays; with the 1 attention can only
    point out (Wang et al. 2017, eq. 1).

    Frozen stages keep their weights and the statistics of their norms, in training too.

    Args:
        classes: 1.
        backbone: name of a backbone, at stride 32.
        weights: of the backbone: none, imagenet or a file.
        trainable: how many of the backbone's five stages learn, counted from the last; 0 freezes
            all of them, 2 is the source's, 5 leaves all free.
        attention: from the DRR, from the DRR at three sizes, or no attention at all. Where an
            image has no DRR, its features say where to look.
        attention_width: channels of the attention's branches, a multiple of 32.
        upsample: how the decoder doubles its size, see `wsrpn.models.decoder.Up`.
        skips: whether the decoder also sees the backbone's features at strides 16 to 2. Frozen
            ones of a backbone with a memory are then computed every time.
        decoder_width: channels of the decoder's first stage; each further one has half as many.
        prior: share of foreground that the untrained network answers.

    Attributes:
        multiple: the sides of images are padded to multiples of it.

    Raises:
        InputError: more classes than one, or a width or prior that no network has.

    Reference:
        Wang et al., Residual attention network for image classification, 2017.
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "resnet50",
        weights: str = "none",
        trainable: Annotated[int, Ge(0), Le(COUNT)] = 2,
        attention: Attention = "drr",
        attention_width: Count = 64,
        upsample: Upsample = "transposed",
        skips: bool = False,
        decoder_width: Count = 256,
        prior: Share = 0.5,
    ) -> None:
        super().__init__()
        refuse_classes("nodule", classes)
        if decoder_width % 2 ** (COUNT - 1):
            raise InputError(
                f"model.decoder_width is halved {COUNT - 1} times and must be a multiple of "
                f"{2 ** (COUNT - 1)} (got {decoder_width})."
            )
        self.multiple, self.trainable = MULTIPLE, trainable
        self.backbone = backbones.make(backbone, grid=7, weights=weights)
        stages = stages_of(self.backbone)
        self.frozen = [module for stage in stages[: COUNT - trainable] for module in stage.modules]
        for module in self.frozen:
            module.requires_grad_(False)
        channels = self.backbone.channels
        self.attention = (
            None
            if attention == "none"
            else SpatialAttention(
                channels, width=attention_width, multiscale=attention == "multiscale"
            )
        )
        self.skips = skips
        beside = [stage.channels if skips else 0 for stage in stages[-2::-1]] + [0]
        widths = [decoder_width // 2**index for index in range(COUNT)]
        self.decoder = nn.ModuleList(
            UpStage(before, after, skip=skip, upsample=upsample)
            for before, after, skip in zip([channels, *widths], widths, beside, strict=False)
        )
        self.head = head(widths[-1], prior)
        self.train()  # norms of frozen stages are in evaluation from the start

    def train(self, mode: bool = True) -> "Nodule":
        """Training mode for what learns; frozen stages stay in evaluation."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, batch: Batch) -> ModelOutput:
        """A logit per pixel, the attention's logits per cell, and the largest of every image."""
        if self.training and self.trainable:
            refuse_one_value(batch.images, MULTIPLE, "")
        levels = self.features(padded(batch.images, MULTIPLE))
        found, seen = levels.pop(), None
        if self.attention is not None:
            drrs = None if batch.drrs is None else padded(batch.drrs, MULTIPLE)
            seen = self.attention(found, drrs, batch.has_drr)
            found = found * (1 + seen.sigmoid()).to(found.dtype)
        for decode in self.decoder:
            found = decode(found, levels.pop() if levels else None)
        return answer(self.head(found), batch.images.shape[-2:], seen)

    def features(self, images: Float[Tensor, "b 1 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The backbone's features; with skips those of all stages, the largest first."""
        return list(pyramid(self.backbone, images)) if self.skips else [self.backbone(images)]
