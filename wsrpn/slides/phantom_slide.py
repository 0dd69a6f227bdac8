"""One phantom slide: tissue, tumour with exact outlines, and scores of a model that is not there.

Everything of a slide depends on (seed, index) alone. Tissue, tumour, scanner and noise draw from
streams of their own, so that options of one leave the others as they are.
"""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float
from scipy import ndimage, stats

from wsrpn.tiles import Lattice, Tiles

_TISSUE, _TUMOUR, _SCANNER, _NOISE, _PAINT = range(1, 6)
_MEAN, _SPREAD = 0.03, 0.01  # of scores without jitter: a reconstruction error of the source
_FILLED = 0.45  # share of the lattice that is tissue
_LEAST_TISSUE = 0.1  # tiles with less are not scored
_ROUND = 3.0  # cells around a tumour that are tissue
_CORNERS = 96  # of a piece of tumour


@dataclass(frozen=True)
class PhantomSlide:
    """One slide with everything that is known about it.

    Attributes:
        tiles: its scored tiles with their truth; `label` is 1 where half of a tile is tumour.
        tumour: outlines in full-size pixels; empty on a slide without tumour.
        tissue: share of every cell of the lattice.
    """

    tiles: Tiles
    tumour: shapely.Geometry
    tissue: Float[np.ndarray, "gh gw"]


def generate(
    name: str,
    key: tuple[int, int],
    *,
    tiles: int = 4000,
    burden: float = 0.0,
    outline: shapely.Geometry | None = None,
    auc: float = 0.9,
    jitter: float = 0.13,
    correlation: float = 1.0,
    mpp: float = 0.5,
    tile: float = 256.0,
    patient: str = "",
    split: str | None = None,
) -> PhantomSlide:
    """Make one slide.

    A score is `m + s (e + d t)`: m and s are the slide's own mean and spread, e is noise of unit
    variance, t the tumour's share of the tile, and `d = √2 Φ⁻¹(auc)`, so that `auc` is the AUROC of
    tiles full of tumour against tiles without.

    Args:
        name: of the slide.
        key: seed of the cohort and index of the slide.
        tiles: about so many with tissue.
        burden: about this share of the tissue becomes tumour, in pieces of random smooth shape.
        outline: a tumour of this shape and size instead, in full-size pixels from anywhere.
        auc: above; 0.5 for scores that know nothing.
        jitter: relative spread (log-normal) of m and of s between slides.
        correlation: length l of the noise in tiles: its correlation at distance a is exp(−a²/2l²).
        mpp: micrometres per pixel; 0 where nobody knows.
        tile: side and pitch of a tile in pixels.
        patient: whose slide; `name` where empty.
        split: of the slide.
    """
    rng = stream(key, _TUMOUR)
    if outline is None:
        side = math.ceil(math.sqrt(tiles / _FILLED))
        field = _field(stream(key, _TISSUE), (side, side))
        tumour = _pieces(rng, field >= np.quantile(field, 1 - _FILLED), burden * tiles, tile)
    else:
        tumour, shape = _placed(rng, outline, tiles, tile)
        field = _field(stream(key, _TISSUE), shape)
    truth = cover(tumour, field.shape, tile)
    tissue = _tissue(field, truth, tiles)
    noise = _noise(stream(key, _NOISE), field.shape, correlation)
    values = _scored(stream(key, _SCANNER), noise + math.sqrt(2) * _probit(auc) * truth, jitter)
    row, column = np.nonzero(tissue >= _LEAST_TISSUE)
    share = truth[row, column]
    scored = Tiles(
        slide=name,
        patient=patient or name,
        lattice=Lattice((0.0, 0.0), (tile, tile), column, row, (field.shape[0], field.shape[1])),
        size_px0=(tile, tile),
        score=values[row, column],
        label=(share >= 0.5).astype(np.float64),
        truth=share,
        tissue=tissue[row, column],
        mpp=mpp or None,
        extent_px0=(math.ceil(field.shape[1] * tile), math.ceil(field.shape[0] * tile)),
        split=split,
    )
    return PhantomSlide(scored, tumour, tissue)


def cover(
    outline: shapely.Geometry, shape: tuple[int, ...], tile: float
) -> Float[np.ndarray, "gh gw"]:
    """Share of every cell of a lattice from (0, 0) that lies inside an outline.

    Example:
        >>> cover(shapely.box(0, 0, 15, 10), (1, 2), 10.0)
        array([[1. , 0.5]])
    """
    found = np.zeros(shape)
    if outline.is_empty:
        return found
    row, column = _near(outline, shape, tile)
    x, y = column * tile, row * tile
    cells = shapely.box(x, y, x + tile, y + tile)
    shapely.prepare(outline)
    whole = shapely.contains_properly(outline, cells)
    cut = ~whole & shapely.intersects(outline, cells)
    found[row[whole], column[whole]] = 1.0
    found[row[cut], column[cut]] = shapely.area(shapely.intersection(cells[cut], outline)) / tile**2
    return found


def paint(made: PhantomSlide, key: tuple[int, int], *, longest_px: int = 512) -> np.ndarray:
    """A small picture as of a stained section: rose tissue, violet tumour on white; h × w × 3."""
    rng = stream(key, _PAINT)
    tissue, lattice = made.tissue, made.tiles.lattice
    tumour = np.nan_to_num(lattice.spread(made.tiles.truth))
    factor = max(1, longest_px // max(tissue.shape))
    shape = (tissue.shape[0] * factor, tissue.shape[1] * factor)
    inside, cancer = (
        np.clip(ndimage.zoom(one, factor, order=1, grid_mode=True, mode="nearest"), 0, 1)
        for one in (tissue, tumour)
    )
    fibres = _noise(rng, shape, float(factor)) + _noise(rng, shape, 1.0)
    stain = np.array([226.0, 158.0, 190.0]) + cancer[..., None] * np.array([-88.0, -70.0, -34.0])
    colour = stain + 9.0 * fibres[..., None]
    picture = 244.0 + inside[..., None] * (colour - 244.0)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def stream(key: tuple[int, int], part: int) -> np.random.Generator:
    """Random numbers of one part of one slide."""
    return np.random.default_rng([key[0] & 0xFFFFFFFFFFFFFFFF, key[1], part])


def _probit(auc: float) -> float:
    return float(stats.norm.ppf(auc))


def _noise(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> np.ndarray:
    """Gaussian noise of unit variance with correlation exp(−a²/2l²) at distance a."""
    white = rng.standard_normal(shape)
    if length <= 0:
        return white
    # White noise under a Gaussian of σ has a correlation of σ√2. Sums of squares of the weights:
    # the variance that is left.
    sigma = length / math.sqrt(2)
    impulse = np.zeros(2 * math.ceil(4 * sigma) + 1)
    impulse[len(impulse) // 2] = 1.0
    kernel = ndimage.gaussian_filter1d(impulse, sigma)
    smooth = ndimage.gaussian_filter(white, sigma, mode="wrap")
    return np.asarray(smooth / float((kernel**2).sum()))


def _field(rng: np.random.Generator, shape: tuple[int, int]) -> Float[np.ndarray, "gh gw"]:
    """A smooth height that falls towards the border; tissue is where it is high."""
    rough = _noise(rng, shape, max(shape) / 8)
    y, x = (np.linspace(-1, 1, length)[:, None] for length in shape)
    return rough - 4.0 * (y**4 + (x**4).T)


def _tissue(
    field: Float[np.ndarray, "gh gw"], truth: Float[np.ndarray, "gh gw"], tiles: int
) -> Float[np.ndarray, "gh gw"]:
    """Share of every cell that is tissue: about `tiles` cells, and all around the tumour."""
    around = np.zeros(field.shape, dtype=bool)
    if truth.any():
        around = ndimage.distance_transform_edt(truth == 0) <= _ROUND
    more = max(0, tiles - int(around.sum()))
    free = np.sort(field[~around])[::-1]
    limit = free[min(more, len(free) - 1)] if len(free) else 0.0
    slope = float(np.median(np.hypot(*np.gradient(field)))) if min(field.shape) > 1 else 1.0
    share = np.clip(0.5 + (field - limit) / (2 * max(slope, 1e-9)), 0, 1)
    return np.where(around, 1.0, share)


def _scored(
    rng: np.random.Generator, values: Float[np.ndarray, "gh gw"], jitter: float
) -> Float[np.ndarray, "gh gw"]:
    mean, spread = np.exp(jitter * rng.standard_normal(2))
    return _MEAN * mean + _SPREAD * spread * values


def _near(
    outline: shapely.Geometry, shape: tuple[int, ...], tile: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells in the bounding box of an outline."""
    left, top, right, bottom = outline.bounds
    low = np.clip(np.floor(np.array([top, left]) / tile).astype(int) - 1, 0, None)
    high = np.ceil(np.array([bottom, right]) / tile).astype(int) + 1
    rows = np.arange(low[0], min(high[0], shape[0]))
    columns = np.arange(low[1], min(high[1], shape[1]))
    row, column = np.meshgrid(rows, columns, indexing="ij")
    return row.ravel(), column.ravel()


def _pieces(
    rng: np.random.Generator, tissue: Bool[np.ndarray, "gh gw"], cells: float, tile: float
) -> shapely.Geometry:
    """Tumour of about `cells` cells in one to four pieces that start inside the tissue."""
    if cells <= 0:
        return shapely.Polygon()
    parts = rng.dirichlet(np.full(int(rng.integers(1, 5)), 3.0)) * cells * tile**2
    deep = ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1]
    made: list[shapely.Geometry] = []
    for area in sorted(parts, reverse=True):
        radius = math.sqrt(area / math.pi)
        # Where the piece fits; where it fits nowhere, as deep inside as can be.
        fits = np.argwhere(deep >= min(radius / tile, float(deep.max()) * 0.8))
        centre = (rng.permutation(fits)[0][::-1] + rng.random(2)) * tile
        made.append(_blob(rng, centre, radius))
    everything = shapely.union_all(made)
    frame = shapely.box(0, 0, tissue.shape[1] * tile, tissue.shape[0] * tile)
    whole = shapely.set_precision(shapely.intersection(everything, frame), 0.01)
    return shapely.set_precision(whole, 0)  # else whatever is cut from it is rounded, too


def _blob(rng: np.random.Generator, centre: np.ndarray, radius: float) -> shapely.Geometry:
    """A star-shaped piece of area π radius²; a large one may have a hole."""
    angle = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    wave = np.arange(2, 7)
    height = rng.normal(0, 0.35, len(wave)) / wave
    bend = np.cos(wave[:, None] * angle + rng.uniform(0, 2 * math.pi, (len(wave), 1)))
    reach = np.exp(height @ bend)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None]
    hole = [0.25 * ring[::-1]] if rng.random() < 0.3 else []
    shape = shapely.Polygon(ring, hole)
    scale = radius * math.sqrt(math.pi / shape.area)
    return shapely.transform(shape, lambda points: points * scale + centre)


def _placed(
    rng: np.random.Generator, outline: shapely.Geometry, tiles: int, tile: float
) -> tuple[shapely.Geometry, tuple[int, int]]:
    """An outline moved onto a lattice that has room for it; the lattice's rows and columns."""
    left, top, right, bottom = outline.bounds
    least = math.ceil(math.sqrt(tiles / _FILLED))
    wide, high = (max(least, math.ceil(a / tile) + 12) for a in (right - left, bottom - top))
    room = np.array([wide * tile - (right - left), high * tile - (bottom - top)])
    move = np.rint(room * rng.uniform(0.3, 0.7, 2) - np.array([left, top]))
    return shapely.transform(outline, lambda points: points + move), (high, wide)
