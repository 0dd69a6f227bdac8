"""A frontal chest as a picture of attenuation: body, lungs, heart, bones and vessels.

Everything is additive attenuation (a log of transmission): shadows overlie each other as on a film;
`film.expose` turns it into grey levels. Two frames: the *image* frame runs from -1 to 1 over the
film, and the *body* frame `x y` is the same after undoing the pose of the patient. x runs to the
right of the image, which is the LEFT of the patient; y runs down. A unit is 200 mm.
The numbers were set by eye to look like adult films; none of them is a measurement.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from wsrpn.data.phantom.bones import bones
from wsrpn.data.phantom.patient import Anatomy, Pose
from wsrpn.data.phantom.planes import Plane, cloud, image_frame, oval, step, union
from wsrpn.data.phantom.vessels import vessel_tree

MM_PER_UNIT = 200.0
ANGLE = 0.62  # height of the costophrenic angles


@dataclass(frozen=True)
class Thorax:
    """Layers of one film; all planes are pixels `h w`.

    Attributes:
        anatomy: of the patient.
        x: body coordinate along columns.
        y: body coordinate along rows.
        lung: share of the way through the body that is air-filled lung, 0 to 1.
        field: the two lung fields: where the lung is seen and no heart lies over it.
        edge: distance to the lateral chest wall, positive inside.
        heart: silhouette of the heart.
        vessels: attenuation of the vessels in the lung.
        tissue: attenuation of all the rest, with the lungs taken as solid.
    """

    anatomy: Anatomy
    x: Plane
    y: Plane
    lung: Plane
    field: Bool[np.ndarray, "h w"]
    edge: Plane
    heart: Bool[np.ndarray, "h w"]
    vessels: Plane
    tissue: Plane

    @property
    def air(self) -> Plane:
        """Attenuation that the air in the lungs takes away."""
        return 1.75 * self.lung

    @property
    def attenuation(self) -> Plane:
        """All layers together."""
        return self.tissue - self.air + self.vessels


def build(
    anatomy: Anatomy, pose: Pose, rng: np.random.Generator, *, size: int, ratio: float
) -> Thorax:
    """The layers of a film.

    Args:
        anatomy: of the patient.
        pose: of this film.
        rng: of vessels and texture; the patient's, so that they stay.
        size: side in pixels.
        ratio: cardiothoracic ratio that the heart is drawn with.
    """
    x, y = _body_frame(pose, size)
    side = np.abs(x)
    edge = lateral(anatomy, y) - side
    heart, centre = _mediastinum(anatomy, x - pose.turn, y, ratio)
    depth, below = _lungs(anatomy, x, y, edge)
    lung = depth * (1 - 0.9 * centre)
    tissue = anatomy.build * (_body(anatomy, x, y) + _abdomen(anatomy, x, y, below, rng))
    tissue += bones(anatomy, x, y, edge, below, pose, rng) + 0.2 * centre
    tissue += 0.05 * cloud(rng, 5, size) + 0.05 * lung * cloud(rng, size // 6, size)
    vessels = vessel_tree(x, y, pose, rng, size) * np.clip(lung * 1.3, 0, 1)
    field = (depth > 0.3) & (centre < 0.3) & (below < 0.2)
    return Thorax(anatomy, x, y, lung, field, edge, heart & (below < 0.9), vessels, tissue)


def _body_frame(pose: Pose, size: int) -> tuple[Plane, Plane]:
    u, v = image_frame(size)
    u, v = u - pose.shift[0], v - pose.shift[1]
    c, s = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
    return (c * u + s * v) / pose.scale, (c * v - s * u) / pose.scale


def lateral(anatomy: Anatomy, y: Plane, *, lower: float = 0.0, inward: float = 0.0) -> Plane:
    """Half width of the lungs at a height: a quarter of an oval, standing on the diaphragm."""
    top = anatomy.apex + lower
    t = np.clip((y - top) / (0.35 - top), 0, 1)
    return 0.19 + (anatomy.width - 0.19 - inward) * np.sqrt(1 - (1 - t) ** 2.1) - 1.0 * (y < top)


def _lungs(anatomy: Anatomy, x: Plane, y: Plane, edge: Plane) -> tuple[Plane, Plane]:
    """Depth of the lungs without the mediastinum, and how far a pixel is below the diaphragm."""
    side = np.abs(x)
    left = step((x + 0.06) / 0.12)
    dome = anatomy.domes[0] * (1 - left) + anatomy.domes[1] * left
    across = np.clip((side - 0.30) / (anatomy.width - 0.30), -1, 1)
    floor = dome + (ANGLE - dome) * np.where(across > 0, np.abs(across) ** 2.3, 0.35 * across**2)
    medial = np.clip((y - anatomy.apex) / 0.25, 0, 1)
    inner = 0.19 - 0.11 * np.sqrt(1 - (1 - medial) ** 2)
    above = floor - y
    depth = np.sqrt(np.clip(edge / 0.16, 0, 1)) * step((side - inner) / 0.05 + 0.5)
    below = 1 - step(above / 0.025 + 0.5)
    behind = 0.18 * step(1 + above / 0.18)  # the recess behind the dome still holds some lung
    return depth * (
        (1 - below) * np.sqrt(np.clip(0.35 + above / 0.2, 0, 1)) + below * behind
    ), below


def _body(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Soft tissue: neck, shoulders, trunk, breasts."""
    side = np.abs(x)
    trunk = anatomy.width + 0.15 + 0.05 * y + 0.75 * step((-0.02 - y) / 0.45)
    shoulder = -1.0 + 0.36 * step((side - 0.10) / 1.15)
    t = np.minimum(trunk - side, y - shoulder) / 0.55
    neck = np.where(y < 0, 0.30 - side, 0) / 0.40
    t = np.clip(np.maximum(t, neck), 0, 1)
    out = 2.25 * np.sqrt(t * (2 - t))
    if anatomy.female:
        r = ((side - 0.46) / 0.33) ** 2 + ((y - 0.30) / 0.27) ** 2
        out = out + 0.42 * np.sqrt(np.clip(1 - r, 0, 1)) * step((y - 0.02) / 0.25)
    return out


def _abdomen(anatomy: Anatomy, x: Plane, y: Plane, below: Plane, rng: np.random.Generator) -> Plane:
    """Liver, spleen and the gas bubble of the stomach under the left dome."""
    cx, cy = rng.uniform(0.28, 0.46), anatomy.domes[1] + rng.uniform(0.10, 0.16)
    r = ((x - cx) / rng.uniform(0.09, 0.17)) ** 2 + ((y - cy) / rng.uniform(0.04, 0.07)) ** 2
    gas = rng.uniform(0.2, 0.8) * np.sqrt(np.clip(1 - r, 0, 1))
    inside = step((anatomy.width + 0.1 - np.abs(x)) / 0.2)
    return below * inside * (0.22 - gas + 0.10 * step(-x / 0.3))


def _mediastinum(
    anatomy: Anatomy, x: Plane, y: Plane, ratio: float
) -> tuple[Bool[np.ndarray, "h w"], Plane]:
    """Silhouette of the heart, and the depth of the whole mediastinum in [0, 1]."""
    width = 2 * ratio * anatomy.width
    right, left = 0.33 * width, 0.67 * width  # of the patient; the image is mirrored
    tall = 0.24 + 0.30 * (ratio - 0.42)
    low = anatomy.domes[1] - 0.16
    atrium = oval(x, y, (-0.25 * right, low - 0.05), (0.75 * right, tall))
    tilt, axis = np.float32(0.55), 0.78 * left
    u = (x - (left - 0.93 * axis)) * np.cos(tilt) + (y - low) * np.sin(tilt)
    v = (y - low) * np.cos(tilt) - (x - (left - 0.93 * axis)) * np.sin(tilt)
    ventricle = (u / axis) ** 2 + (v / (0.92 * tall)) ** 2
    base = oval(x, y, (0.06, low - 0.20), (0.13 + 0.1 * (ratio - 0.42), 0.20))
    heart = union(atrium, ventricle, base)
    knob = oval(x, y, (0.085, -0.37), (anatomy.aorta, anatomy.aorta + 0.02))
    trunk = oval(x, y, (0.07, -0.18), (0.115, 0.17))
    cava = oval(x, y, (-0.06, -0.30), (0.075, 0.45))
    band = (x / (0.11 + 0.10 * np.clip(-0.45 - y, 0, 0.5))) ** 2
    depth = np.sqrt(np.clip(1.6 * (1 - union(heart, knob, trunk, cava, band)), 0, 1))
    return heart < 1, depth
