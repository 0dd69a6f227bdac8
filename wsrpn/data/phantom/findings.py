"""Findings of known class, place and size, as attenuation that is added to a thorax.

A finding says where it can be seen: its mask holds the pixels where it changes the film visibly,
and its box is the tight bound of the mask. Nodules end and masses begin at 30 mm (Hansell et al.,
Fleischner Society: Glossary of Terms for Thoracic Imaging, 2008). Left and right are the patient's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from wsrpn.data.phantom.planes import Plane, cloud, step
from wsrpn.data.phantom.thorax import ANGLE, MM_PER_UNIT, Thorax, lateral

Mask = Bool[np.ndarray, "h w"]
Size = Literal["small", "medium", "large"]
Side = Literal["left", "right", ""]
SIZES: tuple[Size, ...] = ("small", "medium", "large")
CLASSES = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Effusion", "Mass", "Nodule", "Pneumothorax",
)  # fmt: skip
DIAMETERS_MM = {
    "Nodule": {"small": (15, 19), "medium": (19, 24), "large": (24, 30)},
    "Mass": {"small": (34, 46), "medium": (46, 62), "large": (62, 82)},
}
RATIOS = {"small": (0.53, 0.57), "medium": (0.57, 0.62), "large": (0.62, 0.68)}


@dataclass(frozen=True)
class Finding:
    """One finding as it stands on the film.

    Attributes:
        name: class.
        size: small, medium or large by the law of its class.
        side: of the patient; the patient's right is the left of the image. "" for the heart.
        zone: upper, middle or lower third of the lung; "" where that is not said.
        mask: pixels where it is seen.
        diameter_mm: of nodules and masses, else None.
    """

    name: str
    size: Size
    side: Side
    zone: str
    mask: Mask
    diameter_mm: float | None = None

    @property
    def xyxy_px(self) -> tuple[float, float, float, float]:
        """Tight bound of the mask: the outer edges of its outermost pixels."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


Made = tuple[Finding, Plane]
Maker = Callable[[Thorax, np.random.Generator, Size, Mask, float], Made]


def heart_ratio(rng: np.random.Generator, size: Size) -> float:
    """Cardiothoracic ratio of an enlarged heart; above 0.5 is enlarged."""
    return float(rng.uniform(*RATIOS[size]))


def make(
    name: str, thorax: Thorax, rng: np.random.Generator, size: Size, *, taken: Mask, contrast: float
) -> Made:
    """A finding and the attenuation that it adds.

    Args:
        name: one of `CLASSES`.
        thorax: the film without it; for cardiomegaly the heart is already drawn large.
        rng: decides place and shape.
        size: size class.
        taken: where other findings are; local findings keep off as far as there is room.
        contrast: factor of the added attenuation.
    """
    return _MAKERS[name](thorax, rng, size, taken, contrast)


def _between(rng: np.random.Generator, size: Size, *bounds: tuple[float, float]) -> float:
    return float(rng.uniform(*bounds[SIZES.index(size)]))


def _largest(mask: Mask, fallback: Mask) -> Mask:
    """The largest connected piece; `fallback` where the mask is empty."""
    pieces, count = ndimage.label(mask)
    if not count:
        return fallback
    return pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))


def _place(
    thorax: Thorax, rng: np.random.Generator, allowed: Mask, taken: Mask, room_px: float
) -> tuple[int, int]:
    """Row and column of a place with room around it; the roomiest place where there is none."""
    free = allowed & ~taken if (allowed & ~taken).any() else allowed
    free = free if free.any() else thorax.field
    room = ndimage.distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1]
    places = np.flatnonzero(room >= min(room_px, 0.8 * room.max()))
    at = int(places[rng.integers(len(places))])
    return at // free.shape[1], at % free.shape[1]


def _where(thorax: Thorax, mask: Mask) -> tuple[Side, str]:
    """Side and third of the lung of the centre of a mask."""
    x, y = float(thorax.x[mask].mean()), float(thorax.y[mask].mean())
    zone = "upper" if y < -0.38 else "middle" if y < -0.02 else "lower"
    return ("right" if x < 0 else "left"), zone


def _grid(thorax: Thorax, at: tuple[int, int]) -> tuple[Plane, Plane]:
    """Offsets from a pixel in units of the image frame: 2 is the side of the film."""
    size = thorax.x.shape[0]
    line = np.arange(size, dtype=np.float32) * (2 / size)
    return np.broadcast_to(line[None] - line[at[1]], (size, size)), np.broadcast_to(
        line[:, None] - line[at[0]], (size, size)
    )


def _nodule(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """A ball: the chord through it, with a hardly irregular rim."""
    return _ball("Nodule", thorax, rng, size, taken, contrast * rng.uniform(1.2, 1.6), rough=0.05)


def _mass(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """A larger body with lobes and spicules."""
    return _ball("Mass", thorax, rng, size, taken, contrast * rng.uniform(1.0, 1.35), rough=0.13)


def _ball(
    name: str, thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, gain: float,
    *, rough: float,
) -> Made:  # fmt: skip
    diameter = float(rng.uniform(*DIAMETERS_MM[name][size]))
    radius = diameter / 2 / MM_PER_UNIT
    pixels = thorax.x.shape[0]
    dx, dy = _grid(thorax, _place(thorax, rng, thorax.field, taken, 1.1 * radius * pixels / 2))
    angle = np.arctan2(dy, dx)
    rim = sum(
        rough * rng.normal() / k**0.7 * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 8)
    )
    r = np.hypot(dx, dy) / (radius * np.clip(1 + rim, 0.75, 1.25))
    body = np.sqrt(np.clip(1.5 * (1 - r * r), 0, 1))
    mask = (r < 1) | (np.hypot(dx, dy) <= 1.0 / pixels)
    side, zone = _where(thorax, mask)
    return Finding(name, size, side, zone, mask, diameter), gain * body


def _effusion(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """Fluid at the base up to a meniscus that climbs the lateral wall; the air is gone below it."""
    left = rng.random() < 0.5
    height = _between(rng, size, (0.22, 0.30), (0.36, 0.50), (0.62, 0.85))
    t = np.clip((np.abs(thorax.x) - 0.1) / (thorax.anatomy.width - 0.1), 0, 1.1)
    surface = ANGLE - height * (0.55 + 0.45 * t**2.4)
    half = step(thorax.x / 0.02 + 0.5) if left else step(0.5 - thorax.x / 0.02)
    fill = half * step((thorax.y - surface) / 0.05 + 0.5)
    add = fill * (0.95 * thorax.air + 0.25 * np.clip(3 * thorax.lung, 0, 1) * min(contrast, 1.5))
    wet = (fill > 0.5) & (thorax.lung > 0.12)
    mask = _largest(wet, fill * thorax.lung >= (fill * thorax.lung).max())
    return Finding("Effusion", size, "left" if left else "right", "", mask), add * mask_edge(mask)


def mask_edge(mask: Mask) -> Plane:
    """1 in a mask and on the pixels around it, fading over one more: keeps a change local."""
    grown = ndimage.binary_dilation(mask, iterations=2)
    return ndimage.uniform_filter(grown.astype(np.float32), 3)


def _pneumothorax(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """Air between chest wall and lung at apex and side: darker, no vessels, a pleural line."""
    halves = [(thorax.field & ~taken & ((thorax.x > 0) == left)).sum() for left in (False, True)]
    left = bool(rng.random() < halves[1] / max(1, sum(halves)))
    lower = _between(rng, size, (0.15, 0.20), (0.22, 0.30), (0.32, 0.42))
    inward = _between(rng, size, (0.05, 0.08), (0.10, 0.15), (0.18, 0.26))
    fade = step((_between(rng, size, (-0.2, 0.0), (0.0, 0.25), (0.3, 0.5)) - thorax.y) / 0.4)
    shrunk = lateral(thorax.anatomy, thorax.y, lower=lower, inward=inward)
    whole = thorax.edge + np.abs(thorax.x)
    gap = np.abs(thorax.x) - (fade * shrunk + (1 - fade) * (whole + 0.02))
    here = ((thorax.x > 0) == left) & thorax.field
    out = step(gap / 0.015 + 0.5) * here
    line = np.exp(-((gap / 0.010) ** 2)) * here * fade
    mask = _largest(out > 0.5, here & (thorax.y <= thorax.y[here].min() + 0.02))
    add = -out * thorax.vessels - 0.22 * contrast * out * thorax.lung + 0.32 * contrast * line
    add = add + 0.10 * contrast * (1 - out) * here * step((0.25 - np.abs(gap)) / 0.25) * fade
    side: Side = "left" if left else "right"
    return Finding("Pneumothorax", size, side, "", mask), add * mask_edge(mask)


def _consolidation(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """Airspaces filled in a fluffy patch, with the air of some bronchi left dark."""
    radius = _between(rng, size, (0.13, 0.16), (0.19, 0.24), (0.28, 0.34))
    pixels = thorax.x.shape[0]
    dx, dy = _grid(thorax, _place(thorax, rng, thorax.field, taken, 0.7 * radius * pixels / 2))
    r2 = (dx / radius) ** 2 + (dy / (radius * rng.uniform(0.75, 1.1))) ** 2
    fluff = np.exp(-0.7 * r2) + 0.16 * cloud(rng, 9, pixels) + 0.08 * cloud(rng, 24, pixels)
    soft = step((fluff * np.exp(-0.12 * r2 * r2) - 0.34) / 0.34) * np.clip(2.5 * thorax.lung, 0, 1)
    ray = np.arctan2(thorax.y + 0.12, np.abs(thorax.x) - 0.15)  # from the hilum outwards
    bronchi = np.exp(-(((np.sin(5 * ray + rng.uniform(0, 6.3)) - 1) / 0.02) ** 2))
    mask = _largest((soft > 0.35) & (thorax.lung > 0.25), r2 <= r2.min())
    grain = 1 + 0.12 * cloud(rng, pixels // 8, pixels)
    add = 0.85 * contrast * soft * (1 - 0.45 * bronchi) * np.clip(grain, 0.5, 1.5)
    side, zone = _where(thorax, mask)
    return Finding("Consolidation", size, side, zone, mask), add * mask_edge(mask)


def _atelectasis(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """A plate of airless lung seen edge on: a slightly bent band in the middle or lower lung."""
    length = _between(rng, size, (0.16, 0.20), (0.22, 0.28), (0.32, 0.40))
    half = _between(rng, size, (0.020, 0.025), (0.027, 0.034), (0.036, 0.046))
    low = thorax.field & (thorax.y > -0.25)
    at = _place(thorax, rng, low, taken, 0.5 * length * thorax.x.shape[0] / 2)
    dx, dy = _grid(thorax, at)
    tilt = rng.uniform(-0.5, 0.5)
    along = dx * math.cos(tilt) + dy * math.sin(tilt)
    across = dy * math.cos(tilt) - dx * math.sin(tilt) + rng.uniform(-0.5, 0.5) * along**2
    half = max(half, 1.6 / thorax.x.shape[0])
    band = np.exp(-((across / half) ** 2)) * step((length - np.abs(along)) / 0.06)
    band = band * np.clip(2.5 * thorax.lung, 0, 1)
    mask = _largest((band > 0.35) & (thorax.lung > 0.2), np.hypot(dx, dy) <= np.hypot(dx, dy).min())
    side, zone = _where(thorax, mask)
    made = Finding("Atelectasis", size, side, zone, mask)
    return made, rng.uniform(1.0, 1.3) * contrast * band * mask_edge(mask)


def _cardiomegaly(
    thorax: Thorax, rng: np.random.Generator, size: Size, taken: Mask, contrast: float
) -> Made:
    """The heart is drawn large with the anatomy; here it only gets its box."""
    return Finding("Cardiomegaly", size, "", "", thorax.heart), np.zeros_like(thorax.lung)


_MAKERS: dict[str, Maker] = {
    "Atelectasis": _atelectasis,
    "Cardiomegaly": _cardiomegaly,
    "Consolidation": _consolidation,
    "Effusion": _effusion,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pneumothorax": _pneumothorax,
}
# Findings that take a place by anatomy come first; those that can move aside follow.
ORDER: Sequence[str] = (
    "Cardiomegaly", "Effusion", "Pneumothorax", "Consolidation", "Mass", "Atelectasis", "Nodule",
)  # fmt: skip
