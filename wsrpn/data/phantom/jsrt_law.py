"""Lung nodules after the law of JSRT: how large, where, how visible; and how one looks on a film.

The numbers are fits to the table of nodules of the JSRT database (Shiraishi et al. 2000, AJR 174:
71-74; one nodule a film, 2048 × 2048 pixels of 0.175 mm), on 80 of its 154 films: sizes log-normal
with a median by subtlety, places normal in coordinates of the lungs' bounding box, cut at its
edges. The table does not say how much brighter a nodule is than the lung around it: `CONTRAST` was
set by eye to the words of the five degrees, from extremely subtle to obvious.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from wsrpn.data.phantom.planes import Plane
from wsrpn.errors import InputError

SUBTLETY_SHARES: Mapping[int, float] = {1: 0.225, 2: 0.1375, 3: 0.275, 4: 0.3, 5: 0.0625}
MEDIAN_MM: Mapping[int, float] = {1: 13.9, 2: 15.5, 3: 15.1, 4: 17.1, 5: 21.6}
SPREAD = 0.40  # standard deviation of the logarithm of the diameter
SMALLEST_MM, LARGEST_MM = 5.0, 60.0  # the table has 6 to 60
RIGHT_SHARE = 0.65  # in the patient's right lung, on the left of the film
MALIGNANT_SHARE = 0.69
# Added attenuation at the middle of a nodule; the air of a lung takes 1.75 away (see thorax).
CONTRAST: Mapping[int, float] = {1: 0.16, 2: 0.26, 3: 0.40, 4: 0.60, 5: 0.85}


@dataclass(frozen=True)
class Places:
    """Where nodules of one lung lie: 0 is the midline or the apex, 1 the lateral wall or the base.

    The lungs of JSRT films are taken to span 230 to 1818 across and 250 to 1680 down the grid of
    2048, all places of the table and a margin.

    Attributes:
        lateral: mean and standard deviation of the distance from the midline.
        down: the same of the height.
        correlation: of both.
    """

    lateral: tuple[float, float]
    down: tuple[float, float]
    correlation: float


RIGHT = Places((0.602, 0.159), (0.364, 0.216), 0.46)
LEFT = Places((0.644, 0.171), (0.505, 0.254), -0.05)


@dataclass(frozen=True)
class Nodule:
    """A nodule as it is added to a film.

    Attributes:
        subtlety: 1 is extremely subtle, 5 obvious.
        diameter_mm: of the disc of its area.
        mask: its pixels, all inside its rim.
        attenuation: what it adds; 0 outside the mask.
    """

    subtlety: int
    diameter_mm: float
    mask: Bool[np.ndarray, "h w"]
    attenuation: Plane


def draw(
    rng: np.random.Generator,
    lungs: Bool[np.ndarray, "h w"],
    *,
    mm_per_px: float,
    subtlety: int | None = None,
    taken: Bool[np.ndarray, "h w"] | None = None,
) -> Nodule:
    """A nodule by the law.

    Args:
        rng: decides all of it.
        lungs: where its middle may lie; the patient's right is on the left.
        mm_per_px: millimetres in the patient that a pixel shows.
        subtlety: 1 to 5; None draws it.
        taken: pixels of other nodules, which it keeps off where there is room.

    Raises:
        InputError: no lung, a subtlety that is none, or pixels without a size.
    """
    if not lungs.any():
        raise InputError("no pixel of the image is lung; a nodule needs some.")
    if not (math.isfinite(mm_per_px) and mm_per_px > 0):
        raise InputError(f"mm_per_px={mm_per_px}: a number above 0 is expected.")
    degrees = list(SUBTLETY_SHARES)
    if subtlety is not None and subtlety not in degrees:
        raise InputError(f"subtlety={subtlety}: JSRT's run from 1 (subtle) to 5 (obvious).")
    drawn = int(rng.choice(degrees, p=list(SUBTLETY_SHARES.values())))
    degree = drawn if subtlety is None else subtlety
    diameter = diameter_mm(rng, degree)
    free = lungs if taken is None or not (lungs & ~taken).any() else lungs & ~taken
    at = place(rng, lungs, free)
    mask, body = shape(rng, lungs.shape, at, diameter / 2 / mm_per_px)
    return Nodule(degree, diameter, mask, np.float32(CONTRAST[degree]) * body)


def diameter_mm(rng: np.random.Generator, subtlety: int) -> float:
    """A diameter by the law of a degree of subtlety, drawn again outside 5 to 60 mm."""
    while True:
        found = MEDIAN_MM[subtlety] * math.exp(SPREAD * rng.standard_normal())
        if SMALLEST_MM <= found <= LARGEST_MM:
            return float(found)


def place(
    rng: np.random.Generator, lungs: Bool[np.ndarray, "h w"], free: Bool[np.ndarray, "h w"]
) -> tuple[int, int]:
    """Row and column of a nodule's middle by the law of its side, within `free`."""
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    top, height = rows[0], rows[-1] - rows[0]
    middle, half = (columns[0] + columns[-1]) / 2, (columns[-1] - columns[0]) / 2
    right = rng.random() < RIGHT_SHARE
    law = RIGHT if right else LEFT
    row = column = 0
    for _ in range(60):
        a, b = rng.standard_normal(2)
        b = law.correlation * a + math.sqrt(1 - law.correlation**2) * b
        lateral, down = law.lateral[0] + law.lateral[1] * a, law.down[0] + law.down[1] * b
        row = round(float(np.clip(top + down * height, 0, len(lungs) - 1)))
        column = round(
            float(np.clip(middle + (-half if right else half) * lateral, 0, lungs.shape[1] - 1))
        )
        if free[row, column]:
            return row, column
    # A field of a shape that the law does not foresee: the nearest place that is free.
    _, nearest = ndimage.distance_transform_edt(~free, return_indices=True)
    return int(nearest[0, row, column]), int(nearest[1, row, column])


def shape(
    rng: np.random.Generator, size_px: tuple[int, ...], at: tuple[int, int], radius_px: float
) -> tuple[Bool[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """A body of one piece with a rim that is rougher where malignant, densest in the middle.

    Returns:
        The pixels within its rim, and its relative attenuation, 1 in the middle.
    """
    rough = rng.uniform(0.05, 0.11) if rng.random() < MALIGNANT_SHARE else rng.uniform(0.02, 0.05)
    stretch, lean = rng.uniform(1.0, 1.3), rng.uniform(0, math.pi)
    waves = [(k, rough * rng.normal() / k**0.8, rng.uniform(0, math.tau)) for k in range(2, 9)]
    power = rng.uniform(0.5, 0.9)  # ½ is the chord of a ball; more is a rim that fades
    radius = max(radius_px, 0.75)
    reach = math.ceil(1.6 * radius) + 1  # no rim is farther, stretch and waves together
    rows = np.arange(max(at[0] - reach, 0), min(at[0] + reach + 1, size_px[0]))
    columns = np.arange(max(at[1] - reach, 0), min(at[1] + reach + 1, size_px[1]))
    dy, dx = (rows - at[0])[:, None], (columns - at[1])[None]
    u = (dx * math.cos(lean) + dy * math.sin(lean)) / math.sqrt(stretch)
    v = (dy * math.cos(lean) - dx * math.sin(lean)) * math.sqrt(stretch)
    angle = np.arctan2(v, u)
    rim = 1 + sum(depth * np.cos(k * angle + phase) for k, depth, phase in waves)
    share = np.hypot(u, v) / (radius * np.clip(rim, 0.7, 1.3))
    mask, body = np.zeros(size_px, dtype=bool), np.zeros(size_px, dtype=np.float32)
    window = np.ix_(rows, columns)
    mask[window] = share < 1
    body[window] = np.clip(1 - share**2, 0, 1) ** power
    return mask, body
