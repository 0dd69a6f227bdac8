"""Where to look, from a radiograph reconstructed from CT (DRR) or from the features themselves.

Attention is worked out on the grid of the features: the DRR goes down to it through strided
convolutions, which choose what of its pixels to keep. The source had it at 512 pixels and shrank
the map, and a nodule of 20 pixels is less than a cell of 32.

Norms go over groups of channels of one image: of a batch some images may have a DRR and others
none, and what is done for the ones must not change the others.
"""

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from wsrpn.errors import InputError
from wsrpn.models.blocks import GroupNorm

Attention = Literal["none", "drr", "multiscale"]
GROUPS = 8
CONTEXT = (1, 2, 4)  # cells of the grid that one cell of a branch stands for


def conv(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """A 3 × 3 convolution with norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        GroupNorm(GROUPS, after),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions added to what came."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The features with what the convolutions find."""
        return features + self.body(features)


class Context(nn.Module):
    """The grid at three sizes: as it is, and with 2 × 2 and 4 × 4 cells as one.

    What has one branch for every size sees a nodule and the lung that it lies in.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv(width, width) for _ in CONTEXT)
        self.fuse = conv(len(CONTEXT) * width, width)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features that know of their surroundings, at the size that they had."""
        rows, columns = features.shape[-2:]
        found = []
        for cells, branch in zip(CONTEXT, self.branches, strict=True):
            fewer = (-(-rows // cells), -(-columns // cells))
            seen = branch(functional.adaptive_avg_pool2d(features, fewer))
            found.append(functional.interpolate(seen, (rows, columns), mode="bilinear"))
        fused: Tensor = self.fuse(torch.cat(found, 1))
        return fused


class SpatialAttention(nn.Module):
    """A logit per cell of the feature grid.

    From the DRR where an image has one, else from the image's features; each by a branch of its
    own. The one that reads a DRR halves it five times, to the stride of the features.

    Args:
        channels: of the features.
        width: channels inside, a multiple of 8.
        multiscale: whether the DRR is seen at three sizes, see `Context`.

    Raises:
        InputError: a width that the norms cannot divide.
    """

    def __init__(self, channels: int, *, width: int, multiscale: bool) -> None:
        super().__init__()
        if width < 4 * GROUPS or width % (4 * GROUPS):
            raise InputError(
                f"model.attention_width must be a multiple of {4 * GROUPS} (got {width})."
            )
        widths = (1, width // 4, width // 2, width, width, width)
        self.drr = nn.Sequential(
            *(conv(before, after, stride=2) for before, after in pairwise(widths)),
            Context(width) if multiscale else Residual(width),
            nn.Conv2d(width, 1, 1),
        )
        self.own = nn.Sequential(
            nn.Conv2d(channels, width, 1), Residual(width), nn.Conv2d(width, 1, 1)
        )

    def forward(
        self,
        features: Float[Tensor, "b c gh gw"],
        drrs: Float[Tensor, "b 1 h w"] | None,
        has_drr: Bool[Tensor, " b"] | None,
    ) -> Float[Tensor, "b 1 gh gw"]:
        """Logits in float32.

        Args:
            features: of the image.
            drrs: in [0, 1], of the image's size; None where no image has one.
            has_drr: which images have one; None for all of `drrs`.
        """
        own: Tensor = self.own(features).float()
        if drrs is None:
            return own
        seen: Tensor = self.drr((drrs - 0.5) / 0.25).float()
        return seen if has_drr is None else torch.where(has_drr[:, None, None, None], seen, own)
