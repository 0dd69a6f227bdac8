"""Scores of a slide on a scale that slides share: `(score - centre) / scale`.

Within a slide every normaliser keeps the order of its tiles, so none changes what the best
threshold of that slide alone can reach. They matter because one threshold is shared. Which of them
helps depends on how much of a slide is tumour: tumour moves the mean, the median and, of a large
one, even the mode, so a calibration chooses among them on slides held out.

Only tiles with tissue count. A scale of 0 becomes 1, so constant and one-tile slides are defined.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d

from wsrpn.errors import InputError
from wsrpn.registry import Registry
from wsrpn.tiles import Tiles

Scores = Float[np.ndarray, " n"]
Reference = Bool[np.ndarray, " n"] | None
Numbers = tuple[float, float]

CLIP = 3.0  # standard deviations above the mean that `sigma-clip` keeps
NORMAL_MAD = 1.482602218505602  # standard deviation ÷ median absolute deviation of a normal law
BINS = 512  # of the histogram that the mode is found in
TAIL = 0.02  # share clipped above which a slide counts as contaminated; a normal law has 0.0014

normalisers: Registry[Callable[[Scores, Scores, Reference], Numbers]] = Registry("normaliser")


def inside(tiles: Tiles) -> Bool[np.ndarray, " n"]:
    """The tiles with tissue; the others have no part in any step and are never called tumour."""
    return tiles.inside


def numbers(tiles: Tiles, name: str) -> Numbers:
    """Centre and scale of a slide.

    Args:
        tiles: of the slide.
        name: of the normaliser.

    Raises:
        InputError: no such normaliser, or it needs reference tiles that the slide lacks.
    """
    find = normalisers[name]
    try:
        centre, scale = find(tiles.score, tiles.tissue, tiles.reference)
    except InputError as error:
        raise InputError(f"slide {tiles.slide}: {error}") from None
    return centre, scale


@normalisers.register("none")
def none(score: Scores, tissue: Scores, reference: Reference) -> Numbers:
    """Scores as they are."""
    return 0.0, 1.0


@normalisers.register("z")
def z(score: Scores, tissue: Scores, reference: Reference) -> Numbers:
    """Mean and standard deviation; tumour is part of both."""
    return _moments(_of_tissue(score, tissue))


@normalisers.register("mad")
def mad(score: Scores, tissue: Scores, reference: Reference) -> Numbers:
    """Median, and median absolute deviation on the scale of a normal law."""
    values = _of_tissue(score, tissue)
    if not len(values):
        return 0.0, 1.0
    centre = float(np.median(values))
    return _defined(centre, NORMAL_MAD * float(np.median(np.abs(values - centre))), values)


@normalisers.register("sigma-clip")
def sigma_clip(score: Scores, tissue: Scores, reference: Reference) -> Numbers:
    """Mean and standard deviation of what stays within 3 of them above, clipped until it stays."""
    values = np.sort(_of_tissue(score, tissue))
    while len(values):
        centre, scale = _moments(values)
        kept = int(np.searchsorted(values, centre + CLIP * scale, side="right"))
        if kept == len(values):
            return centre, scale
        values = values[:kept]
    return 0.0, 1.0


@normalisers.register("left-half")
def left_half(score: Scores, tissue: Scores, reference: Reference) -> Numbers:
    """Mode, and root mean square distance of what lies below it: tumour lies above."""
    values = np.sort(_of_tissue(score, tissue))
    if not len(values):
        return 0.0, 1.0
    centre = _mode(values)
    below = values[values <= centre] - centre
    scale = float(np.sqrt(np.mean(below**2))) if len(below) else 0.0
    return _defined(centre, scale, values)


@normalisers.register("reference")
def reference(score: Scores, tissue: Scores, reference: Reference) -> Numbers:
    """Mean and standard deviation of tiles known to be free of tumour.

    Raises:
        InputError: nobody says which tiles these are.
    """
    chosen = reference if reference is not None else np.zeros(len(score), dtype=bool)
    values = score[chosen & (tissue > 0)].astype(np.float64)
    if not len(values):
        raise InputError(
            "normaliser 'reference' needs tiles marked as reference tissue; give the score table a "
            "column `reference` (0 or 1), or choose another normaliser, for example mad."
        )
    return _moments(values)


def contaminated(tiles: Tiles) -> bool:
    """Whether the upper tail suggests that tumour is part of what the slide is normalised by.

    More than 2 % of the tissue is above the mean + 3 standard deviations of what `sigma-clip`
    keeps. A hint only: a skewed law has such a tail without tumour, and tumour of more than a fifth
    of the tissue hides itself, for nothing in the scores tells it from another stain.
    """
    values = _of_tissue(tiles.score, tiles.tissue)
    centre, scale = sigma_clip(values, np.ones(len(values)), None)
    return bool(len(values)) and float(np.mean(values > centre + CLIP * scale)) > TAIL


def _of_tissue(score: Scores, tissue: Scores) -> Float[np.ndarray, " kept"]:
    return score[tissue > 0].astype(np.float64)


def _moments(values: Scores) -> Numbers:
    if not len(values):
        return 0.0, 1.0
    return _defined(float(values.mean()), float(values.std()), values)


def _defined(centre: float, scale: float, values: Scores) -> Numbers:
    """A scale that is 0 but for rounding becomes 1."""
    return centre, scale if scale > _rounding(values) else 1.0


def _rounding(values: Scores) -> float:
    """What differences of values may be though all are the same."""
    return 1e-12 * float(np.abs(values).max())


def _mode(rising: Scores) -> float:
    """Where a smoothed histogram of the inner 98 % is highest."""
    low, quarter, three, high = np.quantile(rising, [0.01, 0.25, 0.75, 0.99])
    if high - low <= _rounding(rising):
        return float(np.median(rising))
    count, edges = np.histogram(rising, bins=BINS, range=(low, high))
    # Silverman's rule of thumb, with the interquartile range for the standard deviation.
    width = 0.9 * (three - quarter) / 1.349 * len(rising) ** -0.2 / (high - low) * BINS
    dense = gaussian_filter1d(count.astype(np.float64), max(width, 1.0), mode="constant")
    best = int(np.argmax(dense))
    return float(edges[best] + edges[best + 1]) / 2
