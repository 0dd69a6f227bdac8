"""The pixels of a phantom slide: rose stroma, tumour inside its exact outlines, and glass.

Rose fibres with few, slender nuclei; tumour has more of them, larger, darker and of irregular
shape. Tissue is where the share of tissue, interpolated between the cells of the lattice, is at
least a half. Each pixel is the darkest of two textures of nuclei on a texture of fibres (see
`phantom_textures`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int, UInt8

from wsrpn.slides import phantom_slide, phantom_textures
from wsrpn.slides.phantom_slide import PhantomSlide
from wsrpn.slides.phantom_textures import (
    BLOCK,
    FIBRES,
    GLASS,
    LEVELS,
    PERIODS,
    WIDE,
    Texture,
    Textures,
)

_UNKNOWN_MPP = 0.5  # what is drawn where nobody knows
# Optical densities of the two stains per unit, Macenko et al. 2009, and of the darkest level.
_HAEMATOXYLIN, _EOSIN = np.array([0.5626, 0.7201, 0.4062]), np.array([0.2159, 0.8012, 0.5581])
_DARKEST = 2.1, 1.1
_LOOK = 6  # the stream of a slide's colours; those before are of its other parts


@dataclass(frozen=True)
class _Look:
    """What differs between slides.

    Attributes:
        table: colours by haematoxylin × 64 + eosin, the fourth byte unused.
        light: colours of the glass by its noise.
        shift: x and y at which the textures begin.
    """

    table: UInt8[np.ndarray, "n 4"]
    light: UInt8[np.ndarray, "256 4"]
    shift: Int[np.ndarray, "2"]


def draw(
    made: PhantomSlide, key: tuple[int, int], *, jitter: float = 0.13
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The pixels of a slide as rows of blocks from the top, each over the whole width.

    Args:
        made: the slide.
        key: seed of the cohort and index of the slide.
        jitter: relative spread (log-normal) of the strength of each stain between slides.
    """
    mpp = made.tiles.mpp or _UNKNOWN_MPP
    textures, look = phantom_textures.of_cohort(mpp, key[0]), _look(key, jitter)
    width, height = made.tiles.extent_px0 or (1, 1)
    tile = made.tiles.size_px0[0]
    for top in range(0, height, BLOCK):
        high = min(BLOCK, height - top)
        row = np.empty((high, width, 3), dtype=np.uint8)
        for left in range(0, width, WIDE):
            wide = min(WIDE, width - left)
            tissue = _inside(made.tissue, tile, left, top, wide, high)
            tumour = np.zeros((1, 1), dtype=bool)
            if tissue.any():
                tumour = covered(made.tumour, left, top, wide, high)
            block = _block(textures, look, tissue, tumour, left, top, wide, high)
            row[:, left : left + wide] = block[..., :3]
        yield row


def _block(
    textures: Textures,
    look: _Look,
    tissue: Bool[np.ndarray, "_h _w"],
    tumour: Bool[np.ndarray, "_h2 _w2"],
    left: int,
    top: int,
    wide: int,
    high: int,
) -> UInt8[np.ndarray, "h w 4"]:
    """Colours of one block; masks of one element hold for all of it."""
    x, y = left + int(look.shift[0]), top + int(look.shift[1])

    def part(texture: Texture, period: int) -> Texture:
        return texture[y % period :, x % period :][:high, :wide]

    def coloured(nuclei: tuple[Texture, Texture], eosin: Texture) -> UInt8[np.ndarray, "h w 4"]:
        first, second = (part(one, period) for one, period in zip(nuclei, PERIODS, strict=True))
        index = np.maximum(first, second).astype(np.intp)
        index <<= 6
        index += part(eosin, FIBRES)
        packed = look.table.view(np.uint32)[:, 0].take(index)
        return packed.view(np.uint8).reshape(high, wide, 4)

    found: list[UInt8[np.ndarray, "h w 4"]] = []
    if not tissue.all():
        light = look.light.view(np.uint32)[:, 0].take(part(textures.glass, GLASS))
        found.append(light.view(np.uint8).reshape(high, wide, 4))
    if tissue.any() and not tumour.all():
        found.append(coloured(textures.normal, textures.stroma))
    if tumour.any():
        found.append(coloured(textures.tumour, textures.cells))
    below = found[0].copy()
    masks = ([tissue] if tissue.any() and not tissue.all() else []) + [tumour]
    for mask, above in zip(masks, found[1:], strict=False):
        np.copyto(below.view(np.uint32), above.view(np.uint32), where=mask[..., None])
    return below


def _inside(
    share: Float[np.ndarray, "gh gw"], tile: float, left: int, top: int, wide: int, high: int
) -> Bool[np.ndarray, "_h _w"]:
    """Pixels of a block that are tissue; one element where all of them or none are."""

    def places(first: int, count: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
        at = np.clip((first + np.arange(count) + 0.5) / tile - 0.5, 0, cells - 1)
        low = np.minimum(at.astype(int), max(cells - 2, 0))
        return low, (at - low).astype(np.float32)

    row, down = places(top, high, share.shape[0])
    column, right = places(left, wide, share.shape[1])
    near = share[row[0] : row[-1] + 2, column[0] : column[-1] + 2].astype(np.float32)
    if near.min() >= 0.5 or near.max() < 0.5:
        return np.full((1, 1), near.min() >= 0.5)
    row, column = row - row[0], column - column[0]
    below = np.minimum(row + 1, near.shape[0] - 1)
    beside = np.minimum(column + 1, near.shape[1] - 1)
    lines = near[row] + (near[below] - near[row]) * down[:, None]
    first = lines[:, column]
    return np.asarray(first + (lines[:, beside] - first) * right >= 0.5)


def covered(
    outline: shapely.Geometry, left: int, top: int, wide: int, high: int
) -> Bool[np.ndarray, "_h _w"]:
    """Pixels of a block whose centre lies inside an outline; one element where all or none do.

    Along each row of pixels the edges that it crosses switch between outside and inside.
    """
    frame = shapely.box(left, top, left + wide, top + high)
    if outline.is_empty or not shapely.intersects(outline, frame):
        return np.zeros((1, 1), dtype=bool)
    if shapely.contains(outline, frame):
        return np.ones((1, 1), dtype=bool)
    switch = np.zeros((high, wide + 1), dtype=bool)
    for ring in shapely.get_rings(shapely.get_parts(outline)):
        x, y = shapely.get_coordinates(ring).T - np.array([[left + 0.5], [top + 0.5]])
        for x1, y1, x2, y2 in zip(x[:-1], y[:-1], x[1:], y[1:], strict=True):
            first, last = (min(max(math.ceil(one), 0), high) for one in sorted((y1, y2)))
            if first < last:
                rows = np.arange(first, last)
                at = np.ceil(x1 + (rows - y1) * ((x2 - x1) / (y2 - y1)))
                switch[rows, np.clip(at, 0, wide).astype(int)] ^= True
    return np.asarray(np.logical_xor.accumulate(switch, axis=1)[:, :wide])


def _look(key: tuple[int, int], jitter: float) -> _Look:
    """Strength of the stains, tone of the light and place of the textures of one slide."""
    rng = phantom_slide.stream(key, _LOOK)
    strength = np.exp(jitter * rng.standard_normal(2))
    white = rng.uniform(240, 247) + rng.normal(0, 1.0, 3)
    shift = rng.integers(0, 1_000_000, 2)
    level = np.arange(LEVELS) / (LEVELS - 1)
    purple = level[:, None, None] * _DARKEST[0] * strength[0] * _HAEMATOXYLIN
    rose = level[None, :, None] * _DARKEST[1] * strength[1] * _EOSIN
    stained = white * np.exp(-(purple + rose)).reshape(-1, 3)
    glass = white + (np.arange(256)[:, None] - 128.0) / 32
    return _Look(_bytes(stained), _bytes(glass), shift)


def _bytes(colours: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 4"]:
    whole = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return np.concatenate([whole, np.zeros((len(whole), 1), dtype=np.uint8)], axis=1)
