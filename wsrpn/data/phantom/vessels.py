"""The bronchovascular tree of both lungs."""

import itertools

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from wsrpn.data.phantom.patient import Pose
from wsrpn.data.phantom.planes import Plane, oval


def vessel_tree(x: Plane, y: Plane, pose: Pose, rng: np.random.Generator, size: int) -> Plane:
    """The bronchovascular tree: three generations of branches, splatted by width and blurred."""
    hila = np.array([[-0.15, -0.10], [0.17, -0.14]])
    fan = np.linspace(-1.35, 1.45, 8)
    heading = np.concatenate((np.pi - fan, fan)) + rng.normal(0, 0.12, 16)
    first = _walk(rng, np.repeat(hila, 8, 0), heading, steps=46, length=0.014)
    trees = [first]
    for children, steps in ((5, 24), (2, 16)):
        parent = trees[-1]
        at = rng.integers(3, parent.shape[0] - 1, (children, parent.shape[1]))
        column = np.arange(parent.shape[1])
        move = parent[at, column] - parent[at - 1, column]
        angle = np.arctan2(move[..., 1], move[..., 0]) + rng.choice((-1, 1), at.shape) * (
            rng.uniform(0.4, 0.9, at.shape)
        )
        start = parent[at, column].reshape(-1, 2)
        trees.append(_walk(rng, start, angle.ravel(), steps=steps, length=0.012))
    points = np.concatenate([tree.reshape(-1, 2) for tree in trees])
    away = np.minimum(*(np.hypot(*(points - hilum).T) for hilum in hila))
    width = 0.022 * np.exp(-away / 0.33) + 0.003
    tree = _splat(points, width, pose, size)
    blobs = sum(np.exp(-3.0 * oval(x, y, (hx, hy), (0.10, 0.17))) for hx, hy in hila)
    return 0.30 * blobs + tree


def _walk(
    rng: np.random.Generator, start: Float[np.ndarray, "n 2"], heading: Float[np.ndarray, " n"],
    *, steps: int, length: float,
) -> Float[np.ndarray, "t n 2"]:  # fmt: skip
    """Paths of vessels, a wandering heading each."""
    turn = rng.normal(0, 0.10, (steps, len(heading))).cumsum(0) + heading
    move = np.stack((np.cos(turn), np.sin(turn)), -1) * length
    return start + move.cumsum(0)


def _splat(
    points: Float[np.ndarray, "n 2"], width: Float[np.ndarray, " n"], pose: Pose, size: int
) -> Plane:
    """Attenuation of tubes along points of the body frame, one blur for each class of widths."""
    c, s = np.cos(pose.angle), np.sin(pose.angle)
    scaled = points * pose.scale
    u = scaled[:, 0] * c - scaled[:, 1] * s + pose.shift[0]
    v = scaled[:, 0] * s + scaled[:, 1] * c + pose.shift[1]
    column, row = ((w + 1) / 2 * size - 0.5 for w in (u, v))
    out = np.zeros((size, size), dtype=np.float32)
    limits = (0.0, 0.007, 0.013, 1.0)
    for low, high in itertools.pairwise(limits):
        here = (width >= low) & (width < high)
        if not here.any():
            continue
        blur = max(0.6, float(width[here].mean()) * size / 4)
        weight = width[here] * 22 * (0.013 * size / 2) * 2.5 * blur * min(1.0, 60 / size + 0.55)
        flat, share = _bilinear(column[here], row[here], size)
        drawn = np.bincount(flat, weights=(share * weight).ravel(), minlength=size * size)
        out += ndimage.gaussian_filter(
            drawn.reshape(size, size).astype(np.float32), blur, truncate=3
        )
    return out


def _bilinear(column: np.ndarray, row: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the four pixels around each point, and its share in each; outside is 0."""
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    fx, fy = column - left, row - top
    flat, shares = [], []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        c, r = left + dx, top + dy
        inside = (c >= 0) & (c < size) & (r >= 0) & (r < size)
        part = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
        flat.append(np.where(inside, r * size + c, 0))
        shares.append(np.where(inside, part, 0.0))
    return np.concatenate(flat), np.stack(shares)
