"""CAM, Grad-CAM and Grad-CAM++: the baselines that every result has to stand beside.

They train the same network, a backbone, mean pooling and one linear layer. CAM reads its map off
the linear layer; Grad-CAM weights `raw` features (before the last normalisation and activation) by
their gradients, Grad-CAM++ the features after it. Mean pooling and a linear layer commute, so the
linear layer is a 1 × 1 convolution whose map is averaged: image logit and map come from the same
numbers.
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
        maps = self.cells(batch)[1]
        return ModelOutput(logits=maps.mean((2, 3)), maps=maps)

    def cells(self, batch: Batch) -> tuple[Float[Tensor, "b d gh gw"], Float[Tensor, "b k gh gw"]]:
        """Features of the cells and their logits."""
        features = self.dropout(self.backbone(batch.images))
        return features, self.classify(features).float()


@models.register("grad_cam", gives=("logits", "maps"))
class GradCam(Cam):
    r"""Grad-CAM at the backbone's last features before their normalisation and activation.

    $$ L_c = \mathrm{ReLU} \Big( \sum_a w_{ca} A_a \Big), \quad
       w_{ca} = \frac1m \sum_{ij} \frac{∂ z_c}{∂ A_{a,ij}} $$

    The gradient is taken at the features only: one forward pass of the backbone, and a backward
    pass through its last layer and the classifier per class. Where that last layer begins with a
    1 × 1 convolution (EfficientNet), the mean over cells is taken behind it and multiplied by its
    weights: the same numbers for a fraction of the time.

    Reference:
        Selvaraju et al., Grad-CAM, 2017, eq. 1 and 2.
    """

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits; in evaluation mode the maps are those of Grad-CAM."""
        if self.training:
            return super().forward(batch)
        raw = self.backbone.raw(batch.images)
        linear, rest = pointwise_first(self.backbone.tail)
        with torch.enable_grad():
            leaf = (raw if linear is None else linear(raw)).detach().requires_grad_()
            logits = self.classify(rest(leaf)).float().mean((2, 3))
            weights = [mean_gradient(logits[:, c].sum(), leaf) for c in range(logits.shape[1])]
        maps = [self.map_of(weight, raw, linear) for weight in weights]
        return ModelOutput(logits=logits.detach(), maps=torch.stack(maps, 1))

    @staticmethod
    def map_of(
        weights: Float[Tensor, "b c"], raw: Float[Tensor, "b d gh gw"], linear: nn.Conv2d | None
    ) -> Float[Tensor, "b gh gw"]:
        """The map of one class, from the mean gradient behind `linear`."""
        # In float32: autocast would do the sums over channels in bf16.
        with torch.autocast(raw.device.type, enabled=False):
            if linear is not None:
                weights = weights @ linear.weight.detach().float().flatten(1)
            return (weights[:, :, None, None] * raw.detach().float()).sum(1).relu()


def mean_gradient(
    logit: Float[Tensor, ""], features: Float[Tensor, "b c gh gw"]
) -> Float[Tensor, "b c"]:
    """The gradient of a logit at the features, averaged over the cells."""
    (gradient,) = torch.autograd.grad(logit, features, retain_graph=True)
    return gradient.float().mean((2, 3))


def pointwise_first(tail: nn.Module) -> tuple[nn.Conv2d | None, nn.Module]:
    """A module's first layer where that maps cell by cell, a 1 × 1 convolution, and the rest."""
    first = tail[0] if isinstance(tail, nn.Sequential) and len(tail) else None
    if not isinstance(first, nn.Conv2d) or first.kernel_size != (1, 1):
        return None, tail
    plain = first.stride == (1, 1) and first.padding == (0, 0) and first.groups == 1
    return (first, tail[1:]) if plain else (None, tail)  # type: ignore[index]


@models.register("grad_cam_pp", gives=("logits", "maps"))
class GradCamPlusPlus(Cam):
    r"""Grad-CAM++ at the backbone's last features, in closed form.

    The paper weights the gradients $g$ of a class at a feature map $A ≥ 0$ by

    $$ α_{ij} = \frac{g_{ij}^2}{2 g_{ij}^2 + \sum_{ab} A_{ab}\, g_{ij}^3}, \quad
       w = \sum_{ij} α_{ij}\, \mathrm{ReLU}(g_{ij}), \quad
       L = \mathrm{ReLU} \Big( \sum_A w A \Big) $$

    for $Y = e^z$ and a $z$ that is linear in $A$. Behind mean pooling and a linear layer it is, and
    every cell has the gradient $g = W / m$, so $w = W^+ / (2 + \bar A\, W^+)$: exact, and next to
    free for any number of classes. The factor $e^z$ on the whole map is left out; boxes do not
    depend on it. Taken after the last activation, because before it features may be negative, the
    denominator 0, and the paper's weights are not defined.

    Reference:
        Chattopadhay et al., Grad-CAM++, 2018, eq. 5, 10 and 19.
    """

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits; in evaluation mode the maps are those of Grad-CAM++."""
        features, cells = self.cells(batch)
        logits = cells.mean((2, 3))
        if self.training:
            return ModelOutput(logits=logits, maps=cells)
        features = features.detach().float()
        positive = self.classify.weight.detach().float().flatten(1).relu()
        weights = positive / (2 + features.mean((2, 3))[:, None] * positive)
        with torch.autocast(features.device.type, enabled=False):
            maps = torch.einsum("bkd,bdhw->bkhw", weights, features).relu()
        return ModelOutput(logits=logits, maps=maps)
