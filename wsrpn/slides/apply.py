"""The steps of a calibration on the tiles of a slide: normalise → smooth → clean.

Normalising is affine and increasing, so it commutes with smoothing (up to rounding) and with
cleaning (exactly: cleaning picks values, it computes none). Here it is done after smoothing, so
that all normalisers share `smoothed_scores` and one cleaned grid, to the last bit:
`values = normalised(clean_grey(smooth(score)))`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.errors import InputError
from wsrpn.slides.calibration import Steps
from wsrpn.slides.clean import clean, clean_grey
from wsrpn.slides.normalise import inside, numbers
from wsrpn.slides.smooth import smooth
from wsrpn.tiles import Tiles

Values = Float[np.ndarray, " n"]
ROUNDING = 1e-6  # relative: 5 cells turned into µm² and back are 5 cells


@dataclass(frozen=True)
class Cells:
    """Sizes of `Steps` on the lattice of one slide.

    Attributes:
        sigma: σ along rows (y) and columns (x).
        min_area: objects of fewer cells go.
        max_hole: holes of at most this many cells are filled.
    """

    sigma: tuple[float, float]
    min_area: float
    max_hole: float


def cells(tiles: Tiles, steps: Steps) -> Cells:
    """Sizes in cells of the slide's own lattice.

    Raises:
        InputError: sizes in micrometres, but nobody says how large a pixel of this slide is;
            or a size below 0.
    """
    for name in ("smooth", "min_area", "max_hole"):
        if not getattr(steps, name) >= 0:
            raise InputError(f"steps: {name} is {getattr(steps, name)}; 0 or more is possible.")
    x, y = tiles.lattice.pitch_px0
    if steps.unit == "tile":
        sigma, area = (steps.smooth, steps.smooth), 1.0
    elif tiles.mpp is not None:
        sigma = (steps.smooth / (y * tiles.mpp), steps.smooth / (x * tiles.mpp))
        area = x * y * tiles.mpp**2
    elif {steps.smooth, steps.min_area, steps.max_hole} <= {0.0, float("inf")}:
        sigma, area = (0.0, 0.0), 1.0
    else:
        raise InputError(
            f"slide {tiles.slide}: sizes in µm need its micrometres per pixel; give `mpp` in "
            "slides.csv or in the score table, or calibrate with sizes in tiles, such as `2tiles`."
        )
    least, most = steps.min_area / area * (1 - ROUNDING), steps.max_hole / area * (1 + ROUNDING)
    return Cells(sigma, least, most)


def values(tiles: Tiles, steps: Steps) -> Values:
    """Values to which the threshold applies; -inf for tiles that are never called.

    Raises:
        InputError: an unknown normaliser, missing reference tiles, or sizes without `mpp`.
    """
    return normalised(tiles, cleaned_scores(tiles, steps), steps.normalise)


def smoothed(tiles: Tiles, steps: Steps) -> Values:
    """Normalised and smoothed values before anything is cleaned; -inf outside tissue.

    Raises:
        InputError: as `values`.
    """
    return normalised(tiles, smoothed_scores(tiles, steps), steps.normalise)


def decide(tiles: Tiles, steps: Steps, threshold: float) -> Bool[np.ndarray, " n"]:
    """The tiles that are called tumour: `values(tiles, steps) >= threshold`, by cleaning a mask.

    Raises:
        InputError: as `values`.
    """
    size = cells(tiles, steps)
    called = tiles.lattice.marked(smoothed(tiles, steps) >= threshold)
    tissue = tiles.lattice.marked(inside(tiles))
    limits = {"min_cells": size.min_area, "max_hole_cells": size.max_hole}
    return tiles.lattice.gather(clean(called, tissue, **limits, connectivity=steps.connectivity))


def smoothed_scores(tiles: Tiles, steps: Steps) -> Values:
    """Scores after smoothing alone, whatever the normaliser; -inf outside tissue."""
    return _of_tiles(tiles, smooth(_grid(tiles), cells(tiles, steps).sigma))


def cleaned_scores(tiles: Tiles, steps: Steps) -> Values:
    """Scores after smoothing and cleaning, whatever the normaliser; -inf for what never shows."""
    size = cells(tiles, steps)
    grid = smooth(_grid(tiles), size.sigma)
    limits = {"min_cells": size.min_area, "max_hole_cells": size.max_hole}
    return _of_tiles(tiles, clean_grey(grid, **limits, connectivity=steps.connectivity))


def normalised(tiles: Tiles, scores: Values, name: str) -> Values:
    """Scores of a slide, smoothed and cleaned or not, on the scale of a normaliser."""
    centre, scale = numbers(tiles, name)
    return (scores - centre) / scale


def _grid(tiles: Tiles) -> Float[np.ndarray, "gh gw"]:
    """Scores on the lattice; nan outside tissue."""
    return tiles.lattice.spread(np.where(inside(tiles), tiles.score.astype(np.float64), np.nan))


def _of_tiles(tiles: Tiles, grid: Float[np.ndarray, "gh gw"]) -> Values:
    found = tiles.lattice.gather(grid)
    return np.where(np.isnan(found), -np.inf, found)
