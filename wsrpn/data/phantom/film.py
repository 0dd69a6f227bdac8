"""From attenuation to a film: markers and wires on the patient, then quanta and grey levels."""

import numpy as np
from jaxtyping import Float

from wsrpn.data.phantom.planes import Plane, image_frame
from wsrpn.data.phantom.thorax import Thorax


def expose(
    attenuation: Plane, rng: np.random.Generator, noise_rng: np.random.Generator, noise: float
) -> Float[np.ndarray, "h w"]:
    """Quanta, film curve, window. Dense places let few quanta through and are noisier."""
    centre, gain = rng.uniform(1.45, 1.8), rng.uniform(1.45, 2.0)
    gamma, low, high = rng.uniform(0.85, 1.15), rng.uniform(0, 0.04), rng.uniform(0.93, 1.0)
    deviation = noise * rng.uniform(0.008, 0.02)
    grain = noise_rng.standard_normal(attenuation.shape, dtype=np.float32)
    seen = attenuation + deviation * grain * np.exp(0.5 * np.clip(attenuation, 0, 4))
    grey = (1 / (1 + np.exp(-gain * (seen - centre)))) ** gamma
    return np.clip(low + (high - low) * grey, 0, 1).astype(np.float32)


def devices(thorax: Thorax, rng: np.random.Generator, share: float) -> Plane:
    """Side marker in a corner; on some films electrodes with their leads, or a central line."""
    size = thorax.x.shape[0]
    out = np.zeros_like(thorax.x)
    marked, wired, lined = rng.random(3) < (0.7, share, share / 2)
    places = rng.uniform(-1, 1, (2, 5))
    if marked:
        out = np.maximum(out, 2.2 * _marker(size, right=bool(rng.random() < 0.5), jitter=places[0]))
    if wired:
        for i in range(3):
            x, y = 0.6 * places[0, i], -0.25 + 0.45 * places[1, i]
            disc = np.clip((0.032 - np.hypot(thorax.x - x, thorax.y - y)) * size / 3, 0, 1)
            bow = (
                x + 0.35 * places[0, 3] * (thorax.y - y) + 0.3 * places[1, 4] * (thorax.y - y) ** 2
            )
            lead = _line(thorax.x - bow, size) * (thorax.y > y)
            out = np.maximum(out, np.maximum(0.8 * disc, 0.5 * lead))
    if lined:
        tip = 0.02 + 0.08 * places[0, 4]
        bow = -0.07 - 0.32 * np.clip(-0.35 - thorax.y, 0, 1) ** 1.5
        out = np.maximum(
            out, 0.6 * _line(thorax.x - bow, size) * (thorax.y < tip) * (thorax.y > -0.8)
        )
    return out


def _line(distance: Plane, size: int) -> Plane:
    """A wire of about 2 mm, never thinner than the pixels can show."""
    return np.exp(-((distance / max(0.008, 1.3 / size)) ** 2))


_LETTERS = {
    "L": (((0, 0), (0, 1)), ((0, 1), (0.6, 1))),
    "R": (((0, 0), (0, 1)), ((0, 0), (0.6, 0.1)), ((0.6, 0.1), (0.6, 0.42)),
          ((0.6, 0.42), (0, 0.5)), ((0.15, 0.5), (0.65, 1))),
}  # fmt: skip


def _marker(size: int, *, right: bool, jitter: Float[np.ndarray, " n"]) -> Plane:
    """The letter R beside the patient's right shoulder (image left), or L on the other side."""
    u, v = image_frame(size)
    left, top = (-0.88 if right else 0.80) + 0.05 * jitter[0], -0.90 + 0.06 * jitter[1]
    out = np.zeros((size, size), dtype=np.float32)
    for (ax, ay), (bx, by) in _LETTERS["R" if right else "L"]:
        a = np.array((left + 0.09 * ax, top + 0.09 * ay))
        d = np.array((left + 0.09 * bx, top + 0.09 * by)) - a
        t = np.clip(((u - a[0]) * d[0] + (v - a[1]) * d[1]) / (d @ d), 0, 1)
        away = np.hypot(u - a[0] - t * d[0], v - a[1] - t * d[1])
        out = np.maximum(out, np.clip(1.5 - away / max(0.009, 0.9 / size), 0, 1))
    return out
