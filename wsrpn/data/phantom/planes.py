"""Planes of a film and the shapes that are drawn on them."""

import numpy as np
from jaxtyping import Float
from PIL import Image

Plane = Float[np.ndarray, "h w"]


def image_frame(size: int) -> tuple[Plane, Plane]:
    """Coordinates of the pixel centres of a square film, -1 to 1."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
    return np.broadcast_to(line[None], (size, size)), np.broadcast_to(line[:, None], (size, size))


def cloud(rng: np.random.Generator, cells: int, size: int) -> Plane:
    """A smooth random field with about `cells` hills along a side, mean 0 and deviation near 1."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) * np.float32(1.4)


def step(t: Plane) -> Plane:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def oval(x: Plane, y: Plane, at: tuple[float, float], half: tuple[float, float]) -> Plane:
    """Squared distance from the centre of an oval, 1 on its rim."""
    return ((x - at[0]) / half[0]) ** 2 + ((y - at[1]) / half[1]) ** 2


def union(*shapes: Plane) -> Plane:
    """A soft minimum, so that the outlines of ovals flow into each other."""
    return -np.log(sum(np.exp(-9 * np.minimum(shape, 6)) for shape in shapes)) / 9
