"""The patient, and how the patient stands before the film."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Anatomy:
    """What stays the same from film to film of a patient, in body units.

    Attributes:
        female: draws breast shadows.
        width: half of the inner width of the thorax.
        apex: height of the lung apices (negative is up).
        domes: height of the right and of the left dome of the diaphragm.
        heart: heart width over inner thorax width (cardiothoracic ratio) without disease.
        aorta: radius of the aortic knob.
        build: thickness of the soft tissue, 1 is average.
        ribs: shift of the ribs.
        slope: how steeply the ribs fall.
    """

    female: bool
    width: float
    apex: float
    domes: tuple[float, float]
    heart: float
    aorta: float
    build: float
    ribs: float
    slope: float


@dataclass(frozen=True)
class Pose:
    """How the patient stands before the film: shift, rotation in radians, scale, turn to a side."""

    shift: tuple[float, float]
    angle: float
    scale: float
    turn: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient."""
    return Anatomy(
        female=bool(rng.random() < 0.45),
        width=float(rng.uniform(0.70, 0.80)),
        apex=float(rng.uniform(-0.84, -0.76)),
        domes=(float(rng.uniform(0.30, 0.42)), float(rng.uniform(0.36, 0.48))),
        heart=float(rng.uniform(0.39, 0.46)),
        aorta=float(rng.uniform(0.06, 0.09)),
        build=float(rng.uniform(0.88, 1.18)),
        ribs=float(rng.uniform(-0.06, 0.06)),
        slope=float(rng.uniform(0.75, 1.25)),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """A stand before the film."""
    return Pose(
        shift=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.04, 0.06))),
        angle=float(np.clip(rng.normal(0, 0.025), -0.06, 0.06)),
        scale=float(rng.uniform(0.92, 1.08)),
        turn=float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
    )
