"""Bones of the chest: ribs, spine, shoulders; and the windpipe, which lies before the spine."""

import numpy as np

from wsrpn.data.phantom.patient import Anatomy, Pose
from wsrpn.data.phantom.planes import Plane, oval, step

_RIB_STEP, _FRONT_STEP = 0.128, 0.19


def bones(
    anatomy: Anatomy, x: Plane, y: Plane, edge: Plane, below: Plane, pose: Pose,
    rng: np.random.Generator,
) -> Plane:  # fmt: skip
    """Ribs, spine and the air of the windpipe before it."""
    side = np.abs(x)
    inside = step((edge + 0.07) / 0.06) * step((side - 0.05) / 0.04)
    caudal = step((0.75 - y) / 0.1) * step((y - anatomy.apex + 0.04) / 0.06)
    caudal = caudal * (1 - 0.6 * below)
    t = side / anatomy.width
    # All posterior ribs in one formula: the phase tells which rib, its remainder how far from it.
    fall = anatomy.slope * (0.30 + 0.10 * y)
    phase = (y - anatomy.ribs + 0.10 * np.sin(np.pi * np.clip(t, 0, 1)) - fall * t**2.2) / _RIB_STEP
    steep = np.sqrt(1 + (2.2 * fall * t**1.2 / anatomy.width) ** 2)
    gain = rng.uniform(0.8, 1.15, 64).astype(np.float32)[np.round(phase).astype(int) % 64]
    back = _ridge((phase - np.round(phase)) * _RIB_STEP / steep, 0.032) * gain * inside * caudal
    phase = (y - anatomy.ribs - 0.55 * anatomy.slope * (0.8 - t)) / _FRONT_STEP
    front = _ridge((phase - np.round(phase)) * _FRONT_STEP / 1.2, 0.040)
    front = front * inside * caudal * step((t - 0.40) / 0.3) * step((0.45 - y) / 0.2)
    wall = np.exp(-(((edge + 0.03) / 0.025) ** 2)) * caudal
    spine = np.clip(1 - ((x - 0.4 * pose.turn) / 0.085) ** 2, 0, 1)
    spine = spine * (0.80 + 0.20 * np.cos(2 * np.pi * (y - anatomy.ribs) / 0.125))
    pipe = np.clip(1 - ((x - 0.01) / 0.048) ** 2, 0, 1) * step((-0.24 - y) / 0.08)
    fork = np.exp(-(((y + 0.26 - 0.75 * side) / 0.035) ** 2)) * step((0.17 - side) / 0.06)
    out = (
        0.34 * back + 0.17 * front + 0.22 * wall + 0.26 * spine - 0.50 * np.sqrt(pipe) - 0.25 * fork
    )
    return out + _shoulders(side, x, y, pose)


def _ridge(distance: Plane, half: float) -> Plane:
    """Cross-section of a flat bone: a soft band with denser rims."""
    t = np.abs(distance) / half
    return 0.6 * step((1.15 - t) / 0.3) + 0.4 * np.exp(-(((t - 0.88) / 0.2) ** 2))


def _shoulders(side: Plane, x: Plane, y: Plane, pose: Pose) -> Plane:
    """Collarbones, shoulder blades, heads of the humeri."""
    t = (side - 0.06 - np.sign(x) * pose.turn) / 0.78
    line = -0.60 - 0.08 * t + 0.03 * np.sin(2 * np.pi * t) + 0.6 * pose.turn * np.sign(x)
    collar = _ridge(y - line, 0.036) * step(t / 0.04 + 0.5) * step((1.1 - t) / 0.1)
    blade = side - (0.70 + 0.10 * step((y + 0.7) / 0.7))
    scapula = step(blade / 0.03 + 0.5) * step((y + 0.75) / 0.1) * step((0.02 - y) / 0.15)
    rim = np.exp(-((blade / 0.018) ** 2)) * step((y + 0.7) / 0.1) * step((0.02 - y) / 0.1)
    head = np.sqrt(np.clip(1 - oval(side, y, (1.0, -0.60), (0.13, 0.13)), 0, 1))
    return 0.42 * collar + 0.13 * scapula + 0.10 * rim + 0.45 * head
