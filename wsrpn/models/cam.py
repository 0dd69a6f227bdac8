"""CAM and Grad-CAM: the baselines that every result has to stand beside.

Both train the same network, a backbone, mean pooling and one linear layer. CAM reads its map off
the linear layer; Grad-CAM weights `raw` features (before the last normalisation and activation) by
their gradients. Mean pooling and a linear layer commute, so the linear layer is a 1 × 1 convolution
whose map is averaged: image logit and map come from the same numbers.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.models import backbones
from wsrpn.models.base import models
from wsrpn.types import Batch, ModelOutput


@models.register("cam", gives=("logits", "maps"))
class Cam(nn.Module):
    """Class activation maps.

    Args:
        classes: k.
        backbone: name of a backbone.
        grid: cells per side at 224 pixels, 7 or 14.
        weights: of the backbone: none, imagenet or a file.
        dropout: before the linear layer.
        prior: image-level probability at which training starts.

    Reference:
        Zhou et al., Learning deep features for discriminative localization, 2016, eq. 2.
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "densenet121",
        grid: backbones.Grid = 14,
        weights: str = "none",
        dropout: float = 0.1,
        prior: float = 0.3,
    ) -> None:
        super().__init__()
        self.backbone = backbones.make(backbone, grid=grid, weights=weights)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(self.backbone.channels, classes, 1)
        with torch.no_grad():
            self.classify.bias.fill_(math.log(prior / (1 - prior)))  # type: ignore[union-attr]

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits and their maps."""
        maps = self.classify(self.dropout(self.backbone(batch.images))).float()
        return ModelOutput(logits=maps.mean((2, 3)), maps=maps)


@models.register("grad_cam", gives=("logits", "maps"))
class GradCam(Cam):
    r"""Grad-CAM at the backbone's last features before their normalisation and activation.

    $$ L_c = \mathrm{ReLU} \Big( \sum_a w_{ca} A_a \Big), \quad
       w_{ca} = \frac1m \sum_{ij} \frac{∂ z_c}{∂ A_{a,ij}} $$

    The gradient is taken at the features only: one forward pass of the backbone, and a backward
    pass through its last layer and the classifier per class.

    Reference:
        Selvaraju et al., Grad-CAM, 2017, eq. 1 and 2.
    """

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits; in evaluation mode also the maps."""
        if self.training:
            return super().forward(batch)
        raw = self.backbone.raw(batch.images)
        with torch.enable_grad():
            leaf = raw.detach().requires_grad_()
            logits = self.classify(self.backbone.finish(leaf)).float().mean((2, 3))
            maps = [self.map_of(logits[:, c].sum(), leaf) for c in range(logits.shape[1])]
        return ModelOutput(logits=logits.detach(), maps=torch.stack(maps, 1))

    @staticmethod
    def map_of(
        logit: Float[Tensor, ""], features: Float[Tensor, "b c gh gw"]
    ) -> Float[Tensor, "b gh gw"]:
        """The map of one class."""
        (gradient,) = torch.autograd.grad(logit, features, retain_graph=True)
        weights = gradient.float().mean((2, 3))
        # Not an einsum: autocast would do it in bf16.
        return (weights[:, :, None, None] * features.detach().float()).sum(1).relu()
