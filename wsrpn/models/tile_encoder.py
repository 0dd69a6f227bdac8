"""The two halves of the tiles' autoencoder: tiles to a latent and a latent to tiles, of any size.

A tile is halved `depth` times (96 → 48 → 24 → 12 → 6), its channels doubled each time. Every stage
is a residual one: what runs through is not normalised, so brightness and stain, which an anomaly
may consist of, reach the latent; only the branch beside it is. Norms go over groups of channels and
not over the batch: several processes learn what one would, and a tile's score does not depend on
its neighbours.

Upwards there is no transposed convolution, which draws checkerboards: a 1 × 1 convolution, the
nearest neighbour, and 3 × 3 convolutions at the larger size. The last doubling is sub-pixel (Shi et
al. 2016), its four phases alike at the start (Aitken et al. 2017).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wsrpn.errors import InputError
from wsrpn.models.backbones import Backbone
from wsrpn.models.blocks import GroupNorm
from wsrpn.types import Latent

GRID = 6  # cells per side that the latent is read from, whatever the size of the tile
GROUPS = 8
WIDEST = 10.0  # of a log variance, either way: σ from 0.007 to 148

# Features of several stages; each has its own channels and size.
Stages = Sequence[Float[Tensor, "b _ _ _"]]


class Residual(nn.Module):
    """A 3 × 3 convolution of the normalised features, added to them (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(GROUPS, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The features with what the convolution finds."""
        return features + self.conv(functional.silu(self.norm(features)))


def widths(width: int, depth: int) -> list[int]:
    """Channels of the stages.

    Raises:
        InputError: a width that the norms cannot divide, or no stage.

    Example:
        >>> widths(32, 4)
        [32, 64, 128, 256]
    """
    if width < GROUPS or width % GROUPS:
        raise InputError(f"model.width must be a multiple of {GROUPS} (got {width}).")
    if not 1 <= depth <= 6:
        raise InputError(f"model.depth must be between 1 and 6 (got {depth}).")
    return [width * 2**stage for stage in range(depth)]


class TileEncoder(Backbone):
    """RGB tiles to the mean and the raw log variance of their latent, as 2 z channels of one cell.

    Args:
        latent: z.
        width: channels of the first stage.
        depth: stages.
    """

    def __init__(self, *, latent: int, width: int, depth: int) -> None:
        super().__init__(mean=0.5, std=0.25)
        if latent < 1:
            raise InputError(f"model.latent must be at least 1 (got {latent}).")
        chosen = widths(width, depth)
        self.channels = 2 * latent
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), Residual(after))
                for before, after in pairwise([3, *chosen])
            )
        )
        self.tail = ToLatent(chosen[-1], latent)

    def finish(self, raw: Float[Tensor, "b c gh gw"]) -> Float[Tensor, "b d 1 1"]:
        """Mean and raw log variance, from the last stage."""
        return self.tail(raw)

    def stages(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Features after each stage, the largest first."""
        found, features = [], (images - self.mean) / self.std
        for stage in self.body.children():
            features = stage(features)
            found.append(features)
        return found


class ToLatent(nn.Module):
    """The last features, brought to a 6 × 6 grid, to 2 z numbers; in float32."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels * GRID**2, 2 * latent)

    def forward(self, features: Float[Tensor, "b c gh gw"]) -> Float[Tensor, "b d 1 1"]:
        """Mean and raw log variance."""
        with torch.autocast(features.device.type, enabled=False):
            cells = functional.adaptive_avg_pool2d(features.float(), GRID)
            return self.linear(cells.flatten(1))[:, :, None, None]


def latent_of(features: Float[Tensor, "b d 1 1"]) -> Latent:
    """The latent that an encoder's features say; a log variance is bent into ±10 by a tanh."""
    mean, raw = features[..., 0, 0].float().chunk(2, -1)
    return Latent(mean, WIDEST * torch.tanh(raw / WIDEST))


class TileDecoder(nn.Module):
    """A latent, and skips where they are there, to tiles in [0, 1].

    Args:
        latent: z.
        width: channels of the largest stage.
        depth: stages.
        skips: whether there are skip connections, from every stage of the encoder but the last.
    """

    def __init__(self, *, latent: int, width: int, depth: int, skips: bool) -> None:
        super().__init__()
        chosen = widths(width, depth)[::-1]
        self.start = nn.Linear(latent, chosen[0] * GRID**2)
        self.first = Residual(chosen[0])
        pairs = list(pairwise(chosen))
        self.narrow = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in pairs)
        # Without a bias, so that a dropped skip and none at all are the same.
        looks = [nn.Conv2d(channels, channels, 1, bias=False) for channels in chosen[1:]]
        self.skips = nn.ModuleList(looks) if skips else None
        self.refine = nn.ModuleList(Residual(after) for _, after in pairs)
        self.last = nn.Sequential(GroupNorm(GROUPS, width), nn.SiLU())
        self.pixels = nn.Conv2d(width, 12, 3, padding=1)
        alike(self.pixels)

    def forward(
        self,
        latent: Float[Tensor, "b z"],
        skips: Stages | None,
        sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
    ) -> Float[Tensor, "b 3 h w"]:
        """Decode.

        Args:
            latent: z.
            skips: of the encoder's stages but the last, the largest first; None decodes as if all
                were dropped.
            sizes: height and width of all stages, the largest first.
            size: height and width of the tiles.
        """
        cells = self.start(latent).unflatten(1, (-1, GRID, GRID))
        if latent.device.type == "cpu":
            cells = cells.contiguous(memory_format=torch.channels_last)
        features = self.first(_at(cells, sizes[-1]))
        for index, (narrow, refine) in enumerate(zip(self.narrow, self.refine, strict=True)):
            stage = len(sizes) - 2 - index
            features = _at(narrow(features), sizes[stage])
            if self.skips is not None and skips is not None:
                features = features + self.skips[index](skips[stage])
            features = refine(features)
        features = self.last(features)
        # In float32: a bf16 near 1 has steps of 1/256, as large as many a difference that is scored
        with torch.autocast(features.device.type, enabled=False):
            tiles = functional.pixel_shuffle(self.pixels(features.float()), 2)
            return tiles[..., : size[0], : size[1]].sigmoid()


def _at(features: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c i j"]:
    """The features at another size, by the nearest neighbour."""
    if tuple(features.shape[-2:]) == tuple(size):
        return features
    return functional.interpolate(features, size=size, mode="nearest")


def alike(conv: nn.Conv2d) -> None:
    """Start the four phases of a sub-pixel convolution alike, so that it begins without a pattern.

    Reference:
        Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017.
    """
    with torch.no_grad():
        conv.weight.copy_(conv.weight[::4].repeat_interleave(4, 0))
        if conv.bias is not None:
            conv.bias.zero_()
