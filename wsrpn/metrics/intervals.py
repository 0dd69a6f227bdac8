"""Bootstrap intervals: patients are drawn, and their images come along.

A replicate draws as many patients as there are, with replacement, and is kept as a row of counts
per image. Rows depend on the seed and on the names of the patients alone, so two models that are
evaluated on the same images meet the same replicates and can be compared pair by pair.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from wsrpn.types import Figure

CELLS = 4_000_000  # numbers in one block of rows; 32 MB as float64


def draws(
    patients: Sequence[str], *, replicates: int, seed: int, width: int = 1
) -> Iterator[Float[np.ndarray, "r b"]]:
    """Rows of counts per image, in blocks that stay small.

    Args:
        patients: of each image.
        replicates: rows in all.
        seed: same seed and same patients, same rows, however they are cut into blocks.
        width: numbers per row that the caller will need at once, for example boxes.
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    rows = max(1, CELLS // max(len(patients), width, 1))
    chance = np.full(len(names), 1 / max(len(names), 1))
    for low in range(0, replicates, rows):
        many = min(rows, replicates - low)
        yield generator.multinomial(len(names), chance, size=many)[:, owner].astype(np.float64)


def left_out(patients: Sequence[str]) -> Iterator[Float[np.ndarray, "p b"]]:
    """Rows of counts per image, each without one of the patients, in blocks that stay small.

    A figure that is undefined in one of them rests on that patient alone, and replicates without
    him say nothing: those that are left repeat his value, and their interval would be far too
    narrow.

    Args:
        patients: of each image.
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rows = max(1, CELLS // max(len(patients), 1))
    for low in range(0, len(names), rows):
        one = np.arange(low, min(low + rows, len(names)))
        yield (owner != one[:, None]).astype(np.float64)


def figure(
    value: float, drawn: Float[np.ndarray, " r"], *, recentred_above: float | None = None
) -> Figure:
    """A value with its percentile interval; replicates in which it is undefined do not count.

    Args:
        value: on all images.
        drawn: on replicates.
        recentred_above: for a figure that resampling itself raises, such as a calibration error:
            its lowest possible value; -inf for a difference of two. The interval is moved by the
            bootstrap's estimate of that bias, mean replicate - value (Efron & Tibshirani, An
            introduction to the bootstrap, 1993, section 10.2), and cut there and at 1: such
            figures are shares.

    Example:
        >>> figure(2.0, np.array([1.0, 2.0, 3.0, np.nan]))
        Figure(value=2.0, low=1.05, high=2.95)
    """
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(known):
        return Figure.of(float(value))
    low, high = np.percentile(known, (2.5, 97.5))
    if recentred_above is not None:
        bias = known.mean() - value
        top = 1.0 if math.isfinite(recentred_above) else math.inf
        low, high = np.clip((low - bias, high - bias), recentred_above, top)
    return Figure.of(float(value), float(low), float(high))
