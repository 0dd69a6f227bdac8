r"""Looks: how a stain and a scanner colour a slide, and how to bring one look to another.

A *look* is one invertible affine map of optical densities, [M | o] with three rows: M·d + o is the
same for the same tissue, whoever stained it. With the density d = −ln(max(i, 1) / 255) of a level i
a stain adds up by the Beer–Lambert law, so strength and colour of a stain, and the light of the
scanner, are all affine. The way from one look to another is again one such map:
`between(source, target)` is target⁻¹ ∘ source.

*Reinhard*: mean and spread of each channel (Reinhard et al. 2001 do the same in Lαβ). *Macenko*:
the directions of the two stains, and their strengths (Macenko et al. 2009), which leaves glass as
it is, where Reinhard's shift of the mean tints it. Both look at tissue alone, densities above
`TISSUE` in the mean of the channels; Macenko et al. ask it of every channel, which takes pale eosin
away.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wsrpn.config import TilesConfig
from wsrpn.errors import InputError

Stain = Literal["none", "reinhard", "macenko"]
Intensity = Literal["none", "white"]
TISSUE = 0.15  # density of what is stained (Macenko et al. 2009, β)
LEAST = 500  # pixels of tissue that a look is fitted on
MOST = 200_000  # pixels, evenly drawn: percentiles of so many stand to 0.1 %
_ENDS = (1.0, 99.0)  # percentiles of the angles, robust ends (Macenko et al. 2009, α)
_FULL = 99.0  # percentile of a stain's strength
_BRIGHT = 99.0  # percentile of the darkest channel above which there is light alone
_DIM = 150.0  # the light of a scanner is brighter; else there is no glass to be seen
_APART = 0.1  # sine of the angle between two stains, below which there is only one
_FLAT = 1e-3  # spread of a channel, at least
_DENSITY = (-np.log(np.maximum(np.arange(256), 1) / 255)).astype(np.float32)

Tiles = UInt8[np.ndarray, "n h w 3"]


class TooLittleTissue(InputError):
    """Tiles whose stains cannot be seen: glass, or one stain only."""


def identity() -> Float[Tensor, "3 4"]:
    """The look that changes nothing."""
    return torch.eye(3, 4)


def compose(after: Float[Tensor, "*a 3 4"], before: Float[Tensor, "*b 3 4"]) -> Tensor:
    """The map that does `before`, then `after`; of one and of many, the one goes with each."""
    a, b = after.double(), before.double()
    linear = a[..., :3] @ b[..., :3]
    offset = a[..., :3] @ b[..., 3:] + a[..., 3:]
    return torch.cat((linear, offset), dim=-1).float()


def kind(look: Float[Tensor, "3 4"]) -> Stain:
    """What a look without a light of its own was made by.

    Mean and spread of each channel leave the channels apart, directions of stains mix them.
    """
    if torch.equal(look, identity()):
        return "none"
    linear = look[:, :3]
    return "reinhard" if torch.equal(linear, linear.diag().diag()) else "macenko"


def inverse(look: Float[Tensor, "3 4"]) -> Float[Tensor, "3 4"]:
    """The map that undoes a look."""
    back = torch.linalg.inv(look[:, :3].double())
    return torch.cat((back, -back @ look[:, 3:].double()), dim=1).float()


def between(source: Float[Tensor, "3 4"], target: Float[Tensor, "3 4"]) -> Float[Tensor, "3 4"]:
    """The map that gives densities of one look those of another: target⁻¹ ∘ source."""
    if torch.equal(source, target):
        return identity()
    return compose(inverse(target), source)


def mean(looks: Sequence[Float[Tensor, "3 4"]]) -> Float[Tensor, "3 4"]:
    """The look between several: the mean of what they make of the same canonical densities.

    Matrices that lead *to* canonical densities have no useful mean; those that lead back have the
    densities of the stains as columns.
    """
    return inverse(torch.stack([inverse(look).double() for look in looks]).mean(0).float())


def fit(tiles: Tiles, *, stain: Stain, intensity: Intensity) -> Float[Tensor, "3 4"]:
    """The look of some tiles of one slide.

    Args:
        tiles: RGB, tissue and glass.
        stain: what is made canonical; `none` leaves densities as they are.
        intensity: `white` first divides by the light: the median of the brightest colourless
            pixels; where these are dim, there is no glass and the light counts as 255.

    Raises:
        TooLittleTissue: fewer than 500 pixels are tissue, or `macenko` finds one stain only.
    """
    pixels = tiles.reshape(-1, 3)
    pixels = pixels[:: max(1, -(-len(pixels) // MOST))]
    light = _light(pixels) if intensity == "white" else np.zeros(3)
    lit = torch.from_numpy(np.concatenate([np.eye(3), -light[:, None]], axis=1)).float()
    if stain == "none":
        return lit
    density = _DENSITY[pixels].astype(np.float64) - light
    tissue = density[density.mean(axis=1) > TISSUE]
    if len(tissue) < LEAST:
        raise TooLittleTissue(
            f"{len(tissue)} pixels of tissue are too few to see the stains of a slide "
            f"({LEAST} are needed); set tiles.stain=none to leave colours as they are."
        )
    found = _reinhard(tissue) if stain == "reinhard" else _macenko(tissue)
    return compose(torch.from_numpy(found), lit)


def _light(pixels: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, " 3"]:
    """Density of what stands for light alone."""
    if not len(pixels):
        return np.zeros(3)
    darkest = pixels.min(axis=1)
    light = np.median(pixels[darkest >= np.percentile(darkest, _BRIGHT)], axis=0)
    return -np.log(light / 255) if light.min() >= _DIM else np.zeros(3)


def _reinhard(density: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 4"]:
    middle, spread = density.mean(axis=0), np.maximum(density.std(axis=0), _FLAT)
    return np.concatenate([np.diag(1 / spread), -(middle / spread)[:, None]], axis=1)


def _macenko(density: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 4"]:
    """From densities to strengths: two stains and what is neither, which keeps its size."""
    stains = _directions(density)
    third = np.cross(stains[0], stains[1])
    sine = np.linalg.norm(third)
    if sine < _APART:
        raise TooLittleTissue(
            "only one stain can be seen in the tiles of a slide; set tiles.stain=reinhard, or none "
            "to leave colours as they are."
        )
    back = np.stack([*stains, third / sine], axis=1)
    strength = np.percentile(density @ np.linalg.inv(back).T, _FULL, axis=0)
    full = np.array([*np.maximum(strength[:2], _FLAT), 1.0])
    return np.concatenate([np.linalg.inv(back * full), np.zeros((3, 1))], axis=1)


def _directions(density: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "2 3"]:
    """Unit vectors of the two stains, the one with more red density (haematoxylin) first.

    The plane of largest spread goes through the origin; the stains are the robust ends of the
    angles in it (Macenko et al. 2009, section 2).
    """
    plane = np.linalg.eigh(np.cov(density.T))[1][:, :0:-1]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    along = density @ plane
    angle = np.percentile(np.arctan2(along[:, 1], along[:, 0]), _ENDS)
    ends = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane.T
    return ends if ends[0, 0] > ends[1, 0] else ends[::-1]


def of_slide(
    sample: Tiles,
    config: TilesConfig,
    target: Float[Tensor, "3 4"],
    *,
    listen: Callable[[str], None] | None = None,
) -> Float[Tensor, "3 4"]:
    """The map to apply to the tiles of a slide, so that they look as the target does.

    Args:
        sample: some tiles of the slide; 64 are enough.
        config: `stain` and `intensity`.
        target: what training tiles were brought to (`loader.target_look`).
        listen: told why the stains of this slide stay as they are, where they cannot be seen; its
            light is divided by all the same.
    """
    if config.stain == config.intensity == "none":
        return identity()
    try:
        return between(fit(sample, stain=config.stain, intensity=config.intensity), target)
    except TooLittleTissue as error:
        if listen is not None:
            listen(str(error))
        return fit(sample, stain="none", intensity=config.intensity)


def apply(
    images: UInt8[np.ndarray, "b h w 3"] | UInt8[Tensor, "b h w 3"],
    look: Float[Tensor, "*t 3 4"],
) -> Float[Tensor, "b 3 h w"]:
    """Tiles as the network sees them, their densities mapped by a look.

    Args:
        images: 8-bit RGB.
        look: one map for all, or one for each tile (`b 3 4`).

    Returns:
        float32 in [0, 1], channels last in memory; exactly `images / 255` with the identity.
    """
    levels = torch.as_tensor(images)
    if torch.equal(look, identity().expand_as(look)):
        return (levels.float() / 255).permute(0, 3, 1, 2)
    # Channel by channel, and sums by hand: as fast as memory, and the same bits however many
    # threads there are.
    planes = np.ascontiguousarray(np.moveaxis(levels.numpy(), -1, 0))
    red, green, blue = torch.from_numpy(np.take(_DENSITY, planes))
    maps = -look.float().expand(len(levels), 3, 4)[..., None, None]
    whole = torch.empty(levels.shape)
    for row in range(3):
        plane = red * maps[:, row, 0]
        plane.addcmul_(green, maps[:, row, 1]).addcmul_(blue, maps[:, row, 2])
        whole[..., row] = plane.add_(maps[:, row, 3]).exp_().clamp_(max=1)
    return whole.permute(0, 3, 1, 2)
