"""Where labels go so that none lies on another: along an edge, or around points."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

_ANGLES, _RADII = 16, (5, 8, 12, 18, 26, 36, 50, 68, 90, 120, 160, 210, 280)
_SWEEPS = 6
_PAD = 2.0  # points between labels, and to the border
# What a place costs beside its distance in points.
_ON_LABEL, _ON_POINT, _ON_DOT, _ON_BAR = 1e4, 120.0, 20.0, 8.0
_LEADERS_CROSS, _LEADER_UNDER, _NEARER_OTHER = 60.0, 60.0, 30.0
_CLEAR = 5.0  # points by which a label is nearer to its own point than to all others


def spread(
    wanted: Float[np.ndarray, " n"], heights: Float[np.ndarray, " n"], low: float, high: float
) -> Float[np.ndarray, " n"]:
    """Centres along an edge, as near to the wanted ones as they can be without overlap.

    The least squares solution: without the room that each label takes, the order of the centres is
    all that has to be kept, which is an isotonic regression.

    Args:
        wanted: centres.
        heights: of the labels.
        low: end of the edge; the caller makes it long enough for all.
        high: other end.

    Example:
        >>> spread(np.array([5.0, 5.0]), np.array([2.0, 2.0]), 0.0, 10.0)
        array([4., 6.])
    """
    order = np.argsort(wanted, kind="stable")
    tall = heights[order]
    shift = np.cumsum(tall) - tall / 2
    blocks: list[tuple[float, int]] = []  # mean and size
    for value in wanted[order] - shift:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            other, many = blocks.pop()
            mean, size = (mean * size + other * many) / (size + many), size + many
        blocks.append((mean, size))
    level = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    placed = np.empty(len(wanted))
    placed[order] = np.clip(level, low, max(low, high - tall.sum())) + shift
    return placed


def around(
    points: Float[np.ndarray, "n 2"],
    sizes: Float[np.ndarray, "n 2"],
    room: tuple[float, float],
    *,
    bars: Float[np.ndarray, "m 4"],
    dots: Float[np.ndarray, "d 2"],
) -> Float[np.ndarray, "n 2"]:
    """Lower left corners of labels near their points: off each other, and off the marks.

    Each label in turn takes the cheapest of its places, given the others, until none moves.

    Args:
        points: what the labels name, from the lower left corner of the axes.
        sizes: width and height of each label.
        room: width and height of the axes.
        bars: upright or level lines as x1, y1, x2, y2, which labels rather do not cover.
        dots: small marks, the same.
    """
    labels = [
        _Label(point, size, _choices(point, size, room))
        for point, size in zip(points, sizes, strict=True)
    ]
    fixed = []
    for i, label in enumerate(labels):
        price = label.distance() + label.on_marks(points, dots, bars)
        others = np.delete(points, i, axis=0)
        fixed.append(price + _NEARER_OTHER * ~clear(label.corners, label.size, label.point, others))
    apart = np.sort(np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)), axis=1)
    order = np.argsort(apart[:, :4].sum(1), kind="stable")  # the most crowded choose first
    corners = np.full(points.shape, np.inf)  # an infinite place is in nobody's way
    ends = points.copy()
    for _ in range(_SWEEPS):
        before = corners.copy()
        for i in order.tolist():
            rest = np.arange(len(points)) != i
            price = labels[i].beside(corners[rest], sizes[rest], points[rest], ends[rest])
            best = int((fixed[i] + price).argmin())
            corners[i], ends[i] = labels[i].corners[best], labels[i].ends[best]
        if np.array_equal(corners, before):
            break
    return corners


def nearest_edge(
    corners: Float[np.ndarray, "c 2"], size: Float[np.ndarray, "2"], point: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "c 2"]:
    """The point of each label that is nearest to a point: a leader ends there."""
    return np.clip(point, corners, corners + size)


def clear(
    corners: Float[np.ndarray, "c 2"],
    size: Float[np.ndarray, "2"],
    point: Float[np.ndarray, "2"],
    others: Float[np.ndarray, "o 2"],
) -> Bool[np.ndarray, " c"]:
    """Whether each place of a label is clearly nearer to its point than to others."""
    own = np.hypot(*(nearest_edge(corners, size, point) - point).T)
    edges = np.clip(others, corners[:, None], corners[:, None] + size)
    away = np.hypot(*np.moveaxis(edges - others, -1, 0)).min(axis=1, initial=np.inf)
    return np.asarray(own + _CLEAR < away)


@dataclass(frozen=True)
class _Label:
    """A label, what it names, and the places that it may take."""

    point: Float[np.ndarray, "2"]
    size: Float[np.ndarray, "2"]
    corners: Float[np.ndarray, "c 2"]

    @functools.cached_property
    def ends(self) -> Float[np.ndarray, "c 2"]:
        """Where the leader of each place ends."""
        return nearest_edge(self.corners, self.size, self.point)

    def distance(self) -> Float[np.ndarray, " c"]:
        """From the point to each place."""
        return np.asarray(np.hypot(*(self.ends - self.point).T))

    def on_marks(
        self,
        points: Float[np.ndarray, "n 2"],
        dots: Float[np.ndarray, "d 2"],
        bars: Float[np.ndarray, "m 4"],
    ) -> Float[np.ndarray, " c"]:
        """What the marks below each place cost."""
        price = _ON_POINT * self._over(points, points, pad=4.0)
        price += _ON_DOT * self._over(dots, dots, pad=2.0)
        return price + _ON_BAR * self._over(bars[:, :2], bars[:, 2:], pad=1.0)

    def _over(
        self, start: Float[np.ndarray, "m 2"], end: Float[np.ndarray, "m 2"], *, pad: float
    ) -> Float[np.ndarray, " c"]:
        """How many level or upright lines each place meets; a point is a short line."""
        low, high = self.corners[:, None] - pad, self.corners[:, None] + self.size + pad
        meets = (np.minimum(start, end) < high) & (np.maximum(start, end) > low)
        return meets.all(-1).sum(1).astype(np.float64)

    def beside(
        self,
        corners: Float[np.ndarray, "o 2"],
        sizes: Float[np.ndarray, "o 2"],
        points: Float[np.ndarray, "o 2"],
        ends: Float[np.ndarray, "o 2"],
    ) -> Float[np.ndarray, " c"]:
        """What each place costs beside other labels and their leaders."""
        low, high = self.corners[:, None], self.corners[:, None] + self.size
        meets = ((low < corners + sizes + _PAD) & (high + _PAD > corners)).all(-1)
        crossed = _cross(self.point, self.ends[:, None], points, ends)
        along = points + np.linspace(0, 1, 6)[:, None, None] * (ends - points)
        under = ((along > low[:, None]) & (along < high[:, None])).all(-1).any(1)
        price = _ON_LABEL * meets + _LEADERS_CROSS * crossed + _LEADER_UNDER * under
        return np.asarray(price.sum(1))


def _choices(
    point: Float[np.ndarray, "2"], size: Float[np.ndarray, "2"], room: tuple[float, float]
) -> Float[np.ndarray, "c 2"]:
    """Corners of a label at several distances in all directions, and all over the axes."""
    angle = np.arange(_ANGLES) * 2 * math.pi / _ANGLES
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    middle = size / 2 * way / np.abs(way).max(1, keepdims=True)
    near = [point + radius * way + middle - size / 2 for radius in _RADII]
    free = np.maximum(np.array(room) - size - _PAD, _PAD)
    far = np.meshgrid(np.linspace(_PAD, free[0], 8), np.linspace(_PAD, free[1], 30))
    found = np.concatenate([*near, np.stack(far, axis=-1).reshape(-1, 2)])
    return found[((found >= _PAD) & (found <= free)).all(1)]


def _cross(
    a: Float[np.ndarray, "2"],
    b: Float[np.ndarray, "c 1 2"],
    c: Float[np.ndarray, "o 2"],
    d: Float[np.ndarray, "o 2"],
) -> Bool[np.ndarray, "c o"]:
    """Whether the line from a to each b crosses those from c to d."""

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        u, v = q - p, r - p
        return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])

    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
