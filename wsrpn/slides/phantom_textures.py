"""Textures of phantom slides: nuclei and fibres, drawn once for a cohort and repeated.

Their periods have no common factor, so that what several of them make together does not repeat on
a slide.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from wsrpn.slides import phantom_slide

BLOCK = 256  # rows of pixels that are drawn at a time
WIDE = 1024  # pixels in such a row that are
PERIODS = (1024, 875)  # of two layers of nuclei; small factors are quick to transform
FIBRES, GLASS = 729, 539  # periods
LEVELS = 64  # of each stain
_AT_ONCE = 128  # nuclei of about one size
_STREAM = 7  # of random numbers; those before are of the slide

Texture = UInt8[np.ndarray, "_hp _wp"]


@dataclass(frozen=True)
class Textures:
    """Levels of the two stains; all are periodic and wide enough for a block from any place.

    Attributes:
        normal: haematoxylin of two layers of nuclei.
        tumour: the same of tumour.
        stroma: eosin of fibres.
        cells: eosin of what lies between nuclei of tumour.
        glass: noise, as levels below the light.
    """

    normal: tuple[Texture, Texture]
    tumour: tuple[Texture, Texture]
    stroma: Texture
    cells: Texture
    glass: Texture


@lru_cache(maxsize=2)
def of_cohort(mpp: float, seed: int) -> Textures:
    """Those of a cohort; slides begin in them at places of their own."""
    rng = phantom_slide.stream((seed, 0), _STREAM)
    normal, tumour = (
        tuple(_wide(_nuclei(rng, period, mpp, tumour=kind)) for period in PERIODS)
        for kind in (False, True)
    )
    glass = np.clip(128 + 32 * rng.standard_normal((GLASS, GLASS)), 0, 255)
    return Textures(
        normal=(normal[0], normal[1]),
        tumour=(tumour[0], tumour[1]),
        stroma=_wide(_fibres(rng, mpp, middle=26.0, spread=9.0, long_um=22.0)),
        cells=_wide(_fibres(rng, mpp, middle=19.0, spread=4.0, long_um=4.0)),
        glass=_wide(glass.astype(np.uint8)),
    )


def _wide(texture: Texture) -> Texture:
    """With so much of its beginning behind its end that any block can be cut out."""
    return np.pad(texture, ((0, BLOCK), (0, WIDE)), mode="wrap")


def _fibres(
    rng: np.random.Generator, mpp: float, *, middle: float, spread: float, long_um: float
) -> Texture:
    """Wavy lines of a stain: noise smoothed along one direction and bent."""
    size = (FIBRES, FIBRES)
    lines = _smooth(rng, size, 1.2 / mpp, long_um / mpp)
    bend, clouds = (_smooth(rng, size, 45.0 / mpp, 45.0 / mpp) for _ in range(2))
    row, column = np.indices(size)
    at = row + bend * (14.0 / mpp)
    lines = ndimage.map_coordinates(lines, [at, column], order=1, mode="grid-wrap")
    level = lines / lines.std() + 0.35 * clouds + 0.35 * rng.standard_normal(size)
    return np.clip(middle + spread * level, 0, LEVELS - 1).astype(np.uint8)


def _smooth(
    rng: np.random.Generator, size: tuple[int, ...], down: float, along: float
) -> Float[np.ndarray, "h w"]:
    """Periodic noise of unit variance under a Gaussian of so many pixels, at most a sixth of it."""
    widths = [min(one, side / 6) for one, side in zip((down, along), size, strict=True)]
    waves = ndimage.fourier_gaussian(np.fft.rfft2(rng.standard_normal(size)), widths, n=size[1])
    noise = np.fft.irfft2(waves, s=size)
    return np.asarray(noise / noise.std())


def _nuclei(rng: np.random.Generator, period: int, mpp: float, *, tumour: bool) -> Texture:
    """One layer of nuclei on a faint ground, levels of haematoxylin.

    A nucleus is an ellipse whose border has waves, irregular in tumour, with grains inside.
    """
    spacing_um, small_um, slender, wave, dark = (
        (19.0, 4.6, 0.35, 0.16, 40.0) if tumour else (26.0, 2.4, 0.75, 0.04, 34.0)
    )
    side = max(1, round(period * mpp / spacing_um))
    many = side * side
    radius = (
        small_um
        / mpp
        * np.exp(np.clip((0.28 if tumour else 0.12) * rng.standard_normal(many), -0.6, 0.6))
    )
    longer = np.exp(np.clip(np.abs(rng.normal(slender, 0.2, many)), 0, 1))
    order = np.argsort(radius * longer)
    radius, longer = radius[order], longer[order]
    turn = rng.uniform(0, math.pi, many) if tumour else rng.normal(0, 0.5, many)
    # Each nucleus keeps to a square of its own, so that few of one layer overlap.
    square = rng.permutation(many)
    centre = np.stack([square % side, square // side], axis=1) + rng.uniform(0.1, 0.9, (many, 2))
    centre *= period / side
    depth = dark * np.exp(0.18 * rng.standard_normal(many))
    waves = rng.normal(0, wave, (many, 3, 2)) @ np.array([1, 1j])
    found = np.full((period, period), 5.0 if tumour else 1.5)
    for first in range(0, many, _AT_ONCE):
        one = slice(first, first + _AT_ONCE)
        reach = math.ceil(float((radius[one] * longer[one]).max()) * 1.25) + 1
        step = np.arange(-reach, reach + 1)
        place = np.rint(centre[one, :, None]).astype(int) + step
        x, y = ((place[:, axis] - centre[one, axis, None]).astype(np.float32) for axis in (0, 1))
        spin = np.exp(-1j * turn[one, None, None]).astype(np.complex64)
        inside = (x[:, None, :] + 1j * y[:, :, None]) * spin
        inside.real /= longer[one, None, None].astype(np.float32)
        away = np.abs(inside)
        along = inside / np.maximum(away, 1e-3)
        away /= radius[one, None, None].astype(np.float32)
        border = np.ones_like(away)
        power = along
        for n in range(3):
            power = power * along
            border += (power * waves[one, n, None, None].astype(np.complex64)).real
        edge = np.clip((border - away) * radius[one, None, None] + 0.5, 0, 1)
        value = edge * depth[one, None, None] * (0.85 + 0.25 * np.minimum(away, 1))
        at = place[:, 1, :, None] % period, place[:, 0, None, :] % period
        np.maximum.at(found, at, value)
    grains = _smooth(rng, found.shape, 0.7 / mpp, 0.7 / mpp)
    found = found * (1 + (0.22 if tumour else 0.1) * grains)
    return np.clip(found + 0.5, 0, LEVELS - 1).astype(np.uint8)
