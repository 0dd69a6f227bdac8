"""Random changes of training tiles, a whole batch at once.

A tile has no upright, so all eight turns and mirror images are alike; its colours vary with stain
and scanner. The numbers behind the changes of a tile depend on its key alone, (seed, epoch, index),
and there are as many of them whatever is switched on: turning on noise does not move the turns.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from wsrpn.config import AugmentConfig
from wsrpn.data.sampler import generator_of
from wsrpn.data.transforms import affine, blurred
from wsrpn.tiling import looks

_DRAWS = 14
# Densities of haematoxylin, eosin and DAB, a row each (Ruifrok & Johnston 2001), as scikit-image
# has them.
HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


def augment(
    levels: UInt8[np.ndarray, "b h w 3"],
    look: Float[Tensor, "*t 3 4"],
    config: AugmentConfig,
    keys: Sequence[tuple[int, int, int]],
) -> Float[Tensor, "b 3 h w"]:
    """Random variants of tiles; exactly `looks.apply` where all of `config` is zero.

    Args:
        levels: square tiles, 8-bit RGB.
        look: map of densities, one for all or one for each tile; changes come after it.
        config: largest changes. What a turn by `rotate`, a shift or a shrinking moves in from
            outside is the tile mirrored at its edge; boxes and `flip_swaps` have no meaning here.
        keys: (seed, epoch, index) of each tile.
    """
    sources = [generator_of(*key) for key in keys]
    drawn = torch.stack([torch.rand(_DRAWS, generator=g, dtype=torch.float64) for g in sources])
    turn, flip, *rest = drawn.unbind(1)
    stains, moves, tones, blur = rest[:3], rest[3:7], rest[7:10], rest[10:]
    number = (turn * 8).long() if config.turns else torch.zeros(len(levels), dtype=torch.int64)
    number = torch.where(flip < config.flip, number ^ 4, number)
    images = looks.apply(turned(levels, number.numpy()), _stained(look, stains, config.stain))
    images = _moved(images, moves, config)
    images = _toned(images, tones, config)
    for index in torch.nonzero(blur[0] < config.blur).flatten().tolist():
        images[index] = blurred(images[index], 0.1 + 1.4 * float(blur[1][index]))
    if config.noise > 0:
        noise = torch.stack([torch.randn(images.shape[1:], generator=g) for g in sources])
        images = (images + noise * config.noise).clamp(0, 1)
    return images


def turned(
    levels: UInt8[np.ndarray, "b h w 3"], number: Int[np.ndarray, " b"]
) -> UInt8[np.ndarray, "b h w 3"]:
    """Square tiles by number of symmetry: 0 to 3 quarter turns, and 4 more for the mirror image."""
    if not number.any():
        return levels
    made = np.empty_like(levels)
    for one in np.unique(number).tolist():
        chosen = np.flatnonzero(number == one)
        part = levels[chosen]
        part = part[:, :, ::-1] if one >= 4 else part
        made[chosen] = np.rot90(part, one % 4, axes=(1, 2))
    return made


def stain_map(change: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 4"]:
    """Maps of densities that make each of the three stains `change` times as strong."""
    stains = torch.tensor(HED, dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    linear = stains.T @ torch.diag_embed(change.double()) @ torch.linalg.inv(stains.T)
    return functional.pad(linear, (0, 1)).float()


def _stained(look: Float[Tensor, "*t 3 4"], draws: Sequence[Tensor], most: float) -> Tensor:
    if most == 0:
        return look
    return looks.compose(stain_map(1 + (2 * torch.stack(list(draws), dim=1) - 1) * most), look)


def _moved(
    images: Float[Tensor, "b 3 h w"], draws: Sequence[Tensor], config: AugmentConfig
) -> Float[Tensor, "b 3 h w"]:
    """Turned by any angle, shifted and scaled; at the edges the tile goes on as its mirror."""
    if not (config.rotate or config.translate or config.scale):
        return images
    shares = np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]])
    size = (images.shape[2], images.shape[3])
    rows = []
    for rotate, x, y, scale in (2 * torch.stack(list(draws), dim=1) - 1).tolist():
        forward = affine(
            size,
            degrees=rotate * config.rotate,
            shift=(x * config.translate, y * config.translate),
            scale=math.exp(scale * math.log1p(config.scale)),
        )
        rows.append((np.linalg.inv(shares) @ np.linalg.inv(forward) @ shares)[:2])
    theta = torch.from_numpy(np.stack(rows).astype(np.float32))
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return moved.clamp_(0, 1)


def _toned(
    images: Float[Tensor, "b 3 h w"], draws: Sequence[Tensor], config: AugmentConfig
) -> Float[Tensor, "b 3 h w"]:
    """Gamma, contrast about the mean of the tile, brightness, as `transforms.tone` does for one."""
    if not (config.brightness or config.contrast or config.gamma):
        return images
    signed = (2 * torch.stack(list(draws)) - 1)[:, :, None, None, None]
    if config.gamma:
        images = images.pow((signed[2] * config.gamma).exp().float())
    bright, contrast = 1 + signed[0] * config.brightness, 1 + signed[1] * config.contrast
    # numpy's mean does not depend on the number of threads; torch's does, in the last bit.
    mean = [float(image.numpy().mean(dtype=np.float64)) for image in images]
    middle = torch.tensor(mean, dtype=torch.float64)[:, None, None, None]
    shift = (middle * (1 - contrast) * bright).float()
    return (images * (contrast * bright).float() + shift).clamp_(0, 1)
