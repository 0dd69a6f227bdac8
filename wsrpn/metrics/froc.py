"""FROC of lesions on slides, after the rules of CAMELYON16.

Lesions: tumour grown by 37.5 µm (so that pieces less than 75 µm apart are one), holes filled,
connected pieces; one whose major axis is below 275 µm (200 µm before it was grown) is *isolated
tumour cells* and no target. A detection in a lesion finds it; one in isolated cells counts
neither way; any other is a false alarm. The curve is sensitivity over false alarms per slide; the
score is its mean at ¼, ½, 1, 2, 4 and 8, linear in between.

The rules are those of the challenge's evaluation; faults of its code are not repeated:

* The lowest score belongs to the curve. (There it is dropped, which goes unnoticed while missed
  lesions enter with score 0; where none is missed, the curve ends one lesion short.)
* A missed lesion has no score, so scores may be 0 or below.
* A slide without tumour has no lesion. (There the distance from nothing draws one in a corner.)
* Whether a slide has tumour is said by its truth, not by the first letters of its name.
* Shapes, instead of a mask whose tumour must be 255 and whose pixels must be 0.243 µm.

Reference:
    Ehteshami Bejnordi et al., Diagnostic assessment of deep learning algorithms for detection of
    lymph node metastases in women with breast cancer, JAMA 318, 2017.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from jaxtyping import Bool, Float
from shapely.geometry.base import BaseGeometry

from wsrpn.metrics.points import Points, detections, read_detections

__all__ = ["Froc", "Hits", "Lesions", "Points", "detections", "hits", "lesions", "read_detections"]

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
GROW_UM = 37.5
TARGET_UM = 275.0
STRICTLY = 1 - 1e-9  # pieces that are exactly 75 µm apart stay two: the rule says "less than"
CELLS = 4_000_000  # numbers in one block of rows


@dataclass(frozen=True)
class Lesions:
    """Lesions of one slide, grown and filled.

    Attributes:
        shapes: a polygon each, in full-size pixels of the slide.
        major_um: major axis of the ellipse with the same second moments.
    """

    shapes: tuple[BaseGeometry, ...] = ()
    major_um: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def target(self) -> Bool[np.ndarray, " m"]:
        """False for isolated tumour cells."""
        return self.major_um >= TARGET_UM


def lesions(tumour: BaseGeometry, mpp: float) -> Lesions:
    """The lesions of a slide.

    Args:
        tumour: polygons in full-size pixels, holes cut out; may be empty.
        mpp: micrometres per full-size pixel.

    Example:
        >>> two = shapely.union(shapely.box(0, 0, 500, 500), shapely.box(574, 0, 1074, 500))
        >>> [len(lesions(two, mpp)) for mpp in (1.0, 1.02)]
        [1, 2]
    """
    if tumour.is_empty:
        return Lesions()
    grown = tumour.buffer(GROW_UM / mpp * STRICTLY, quad_segs=16)
    rings = shapely.get_exterior_ring(shapely.get_parts(grown))
    shapes = tuple(shapely.get_parts(shapely.union_all(shapely.polygons(rings))))
    return Lesions(shapes, np.array([major_axis(shape) * mpp for shape in shapes]))


def major_axis(shape: BaseGeometry) -> float:
    """Major axis of the ellipse with the second moments of a polygon; its holes are not looked at.

    For a filled ellipse the variance along an axis is (length / 4)², so the length is 4 √λ with λ
    the larger eigenvalue of the covariance of the area, found exactly along the outline.

    Example:
        >>> round(major_axis(shapely.box(0, 0, 3, 1)), 4)  # 4 × 3 / √12
        3.4641
    """
    xy = shapely.get_coordinates(shapely.get_exterior_ring(shape))
    x, y = (xy - xy.mean(axis=0)).T
    u, v, x, y = x[1:], y[1:], x[:-1], y[:-1]
    cross = x * v - u * y
    area = cross.sum() / 2
    mean_x, mean_y = (cross @ (x + u) / (6 * area), cross @ (y + v) / (6 * area))
    xx = cross @ (x * x + x * u + u * u) / (12 * area) - mean_x**2
    yy = cross @ (y * y + y * v + v * v) / (12 * area) - mean_y**2
    xy_ = cross @ (x * v + 2 * x * y + 2 * u * v + u * y) / (24 * area) - mean_x * mean_y
    largest = (xx + yy) / 2 + math.hypot((xx - yy) / 2, xy_)
    return 4 * math.sqrt(max(largest, 0.0))


@dataclass(frozen=True)
class Hits:
    """What the detections of one slide come to.

    Attributes:
        found: of each target the highest confidence in it; nan where it is missed.
        false: confidence of every false alarm.
        ignored: detections in isolated tumour cells, or where nobody judges.
    """

    found: Float[np.ndarray, " m"]
    false: Float[np.ndarray, " n"]
    ignored: int = 0


def hits(points: Points, truth: Lesions, excluded: BaseGeometry | None = None) -> Hits:
    """Detections of a slide against its lesions.

    Args:
        points: detections.
        truth: lesions; none on a slide without tumour.
        excluded: where nobody judges; a detection there and in no lesion is ignored.
    """
    where = shapely.points(points.xy_px0)
    shapes = np.array(truth.shapes, dtype=object)
    lesion, point = shapely.STRtree(where).query(shapes, predicate="intersects")
    found = np.full(len(truth), -np.inf)
    np.maximum.at(found, lesion, points.confidence[point])
    false = np.ones(len(points), dtype=bool)
    false[point] = False
    if excluded is not None and not excluded.is_empty:
        shapely.prepare(excluded)
        false &= ~shapely.intersects(excluded, where)
    hitting = np.zeros(len(points), dtype=bool)
    hitting[point[truth.target[lesion]]] = True
    ignored = int((~false & ~hitting).sum())
    found = np.where(np.isneginf(found), np.nan, found)
    return Hits(found[truth.target], points.confidence[false], ignored)


class Froc:
    """The curve of many slides, under any weights of slides.

    Gives `froc`, and `froc@R` for the sensitivity at R false alarms per slide.

    Args:
        slides: what their detections come to; a slide without detections counts in the number of
            slides, None is a slide that is not judged.
        rates: false alarms per slide at which the sensitivity is read.
    """

    def __init__(self, slides: Sequence[Hits | None], *, rates: tuple[float, ...] = RATES) -> None:
        there = [s for s in slides if s is not None]
        number = np.flatnonzero([s is not None for s in slides])
        self.rates, self.judged, self.targets = rates, *np.zeros((2, len(slides)))
        self.judged[number] = 1.0
        self.targets[number] = [len(s.found) for s in there]
        score = np.concatenate([np.zeros(0), *(s.found for s in there), *(s.false for s in there)])
        many = [len(s.found) for s in there] + [len(s.false) for s in there]
        owner = np.repeat(np.tile(number, 2), many)
        hit = np.arange(len(score)) < self.targets.sum()
        known = np.flatnonzero(~np.isnan(score))
        order = known[np.argsort(-score[known])]  # equal scores are one step, in whatever order
        self.score, self.owner, self.hit = score[order], owner[order], hit[order]
        padded = np.append(self.score, -np.inf)
        self.ends = np.flatnonzero(padded[1:] != padded[:-1])

    def curve(
        self, counts: Float[np.ndarray, "r s"], *, steps: int | None = None
    ) -> tuple[Float[np.ndarray, "r t"], Float[np.ndarray, "r t"]]:
        """False alarms per slide and sensitivity from (0, 0) on, one step per distinct score.

        Args:
            counts: weights of slides.
            steps: only so many, from the highest score down; all of them where None.
        """
        ends = self.ends[:steps]
        events = int(ends[-1]) + 1 if len(ends) else 0
        weight, hit = counts[:, self.owner[:events]], self.hit[:events]
        found, false = (np.cumsum(weight * kind, axis=1)[:, ends] for kind in (hit, ~hit))
        slides = np.maximum(counts @ self.judged, 1e-12)[:, None]
        targets = np.maximum(counts @ self.targets, 1e-12)[:, None]
        start = np.zeros((len(counts), 1))
        return np.hstack([start, false / slides]), np.hstack([start, found / targets])

    def figures(self, counts: Float[np.ndarray, "r s"]) -> dict[str, Float[np.ndarray, " r"]]:
        """Values per row of weights; nan without targets."""
        read = np.full((len(counts), len(self.rates)), np.nan)
        defined = np.flatnonzero(counts @ self.targets > 0)
        rows = max(1, CELLS // max(len(self.score), 1))
        for low in range(0, len(defined), rows):
            block = defined[low : low + rows]
            curves = zip(*self._far_enough(counts[block]), strict=True)
            read[block] = [np.interp(self.rates, false, found) for false, found in curves]
        each = {f"froc@{rate:g}": read[:, i] for i, rate in enumerate(self.rates)}
        return {"froc": read.mean(axis=1), **each}

    def _far_enough(
        self, counts: Float[np.ndarray, "r s"]
    ) -> tuple[Float[np.ndarray, "r t"], Float[np.ndarray, "r t"]]:
        """The curve to beyond the highest rate in every row: most detections lie far behind it."""
        most = max(self.rates)
        steps = int(2 * most * len(self.judged)) + 1
        while True:
            false, found = self.curve(counts, steps=steps)
            if steps >= len(self.ends) or (false[:, -1] > most).all():
                return false, found
            steps *= 4
