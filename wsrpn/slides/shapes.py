"""Outlines as a value, and how what people draw becomes areas that can be computed with."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely

from wsrpn.errors import InputError, counted

Role = Literal["tumour", "hole", "excluded", "unnamed", "other"]

# Groups of CAMELYON16 (Tumor, _0, _1; _2; Exclusion) and 17 (metastases; normal), classes of
# QuPath, and what else people write. Compared in lower case.
_WORDS: dict[str, Role] = {
    **dict.fromkeys(
        (
            "tumor", "tumour", "_0", "_1", "metastases", "metastasis", "cancer", "carcinoma",
            "malignant", "lesion", "positive",
        ),
        "tumour",
    ),
    **dict.fromkeys(("_2", "normal", "hole", "benign", "negative"), "hole"),
    **dict.fromkeys(
        ("exclusion", "exclude", "excluded", "ignore", "ignore*", "artefact", "artifact",
         "unknown"),
        "excluded",
    ),
    **dict.fromkeys(("", "none", "unnamed"), "unnamed"),
}  # fmt: skip


@dataclass(frozen=True)
class Outlines:
    """What an annotation says of a slide, in full-size pixels of the slide file.

    Attributes:
        tumour: area of tumour, without holes and without what is excluded.
        excluded: area of which nothing is known.
        notes: what was left out or repaired, counted.
        grain_px0: longer side of a pixel of the mask they are from, 0 for what was drawn.
    """

    tumour: shapely.Geometry
    excluded: shapely.Geometry
    notes: tuple[str, ...] = ()
    grain_px0: float = 0.0


@dataclass
class Drawing:
    """Polygons as they come out of a file, sorted by what their names say.

    Attributes:
        areas: role → polygons, valid or not.
        others: name → how many areas that are neither tumour, hole nor excluded.
        odd: reason → how many things without an area.
    """

    areas: dict[Role, list[shapely.Geometry]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, area: shapely.Geometry) -> None:
        """Enter an area under the name of its group or class."""
        self.enter(role_of(name), name, area)

    def enter(self, role: Role, name: str, area: shapely.Geometry) -> None:
        """Enter an area whose role is known."""
        if role in ("unnamed", "other"):
            self.others[name.strip() or "None"] += 1
        self.areas.setdefault(role, []).append(area)

    def skip(self, reason: str) -> None:
        """Count something that has no area."""
        self.odd[reason] += 1

    def outlines(self) -> Outlines:
        """Tumour is the union of its areas less holes and less what is excluded."""
        valid, repaired = {}, 0
        for role in ("tumour", "hole", "excluded"):
            drawn = np.array(self.areas.get(role, []), dtype=object)  # type: ignore[call-overload]
            repaired += int((~shapely.is_valid(drawn)).sum())
            valid[role] = united(drawn)
        away = shapely.union(valid["hole"], valid["excluded"])
        tumour = polygonal(shapely.difference(valid["tumour"], away))
        return Outlines(tumour, valid["excluded"], self._notes(repaired))

    def _notes(self, repaired: int) -> tuple[str, ...]:
        notes = [f"{counted(many, 'drawing')} left out: {why}" for why, many in self.odd.items()]
        if self.others:
            names = ", ".join(f"{many} of '{name}'" for name, many in self.others.most_common(5))
            notes.append(f"areas that are neither tumour nor excluded left out: {names}")
        if repaired:
            notes.append(f"{counted(repaired, 'area')} that crossed themselves repaired")
        return tuple(notes)


def role_of(name: str) -> Role:
    """What the name of a group or class means; a derived class (`Tumor: Positive`) by its parts.

    Example:
        >>> role_of(" Tumor"), role_of("_2"), role_of("Stroma: Negative"), role_of("None")
        ('tumour', 'hole', 'other', 'unnamed')
    """
    return _WORDS.get(name.split(":")[0].strip().lower(), "other")


def ring(points: Sequence[Any], where: str) -> shapely.Polygon | None:
    """A closed polygon from its corners, open or closed; None for fewer than three.

    Args:
        points: x and y of the corners.
        where: the beginning of an error's sentence.

    Raises:
        InputError: a coordinate that is no finite number.
    """
    try:
        corners = np.array(points, dtype=np.float64).reshape(len(points), -1)
    except (TypeError, ValueError):
        corners = np.full((1, 2), np.nan)
    if len(points) and (corners.shape[1] < 2 or not np.isfinite(corners[:, :2]).all()):
        raise InputError(f"{where}: corners must be pairs of finite numbers (x, y).")
    distinct = np.unique(corners[:, :2], axis=0) if len(points) else corners
    return shapely.Polygon(corners[:, :2]) if len(distinct) >= 3 else None


def polygonal(geometry: shapely.Geometry) -> shapely.MultiPolygon:
    """Only the parts that have an area, made valid; overlapping parts become one.

    A ring that crosses itself is filled by the even-odd rule, as ASAP fills its masks.

    Example:
        >>> bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
        >>> polygonal(bow_tie).area
        2.0
    """
    parts = shapely.get_parts(shapely.make_valid(geometry))
    inner = shapely.get_parts(parts[shapely.get_type_id(parts) >= _POINTS])  # a line beside an area
    parts = np.concatenate([parts, inner])
    areas = parts[(shapely.get_type_id(parts) == _POLYGON) & (shapely.area(parts) > 0)]
    return shapely.MultiPolygon(list(areas))


_POLYGON, _POINTS = 3, 4  # types 4 to 7 are collections


def united(areas: Iterable[shapely.Geometry]) -> shapely.MultiPolygon:
    """The union of areas, valid or not."""
    return polygonal(shapely.union_all([polygonal(area) for area in areas]))


def without_holes(area: shapely.Geometry) -> list[shapely.Polygon]:
    """Polygons without holes that cover the same area: those with holes are cut through them."""
    # Halves of an area on a grid of its own would be rounded to that grid.
    left = list(shapely.get_parts(shapely.set_precision(polygonal(area), 0.0)))
    done = []
    while left:
        part = left.pop()
        if not len(part.interiors):
            done.append(part)
            continue
        middle = part.interiors[0].centroid.x
        x1, y1, x2, y2 = part.bounds
        for half in (shapely.box(x1, y1, middle, y2), shapely.box(middle, y1, x2, y2)):
            left += list(polygonal(shapely.intersection(part, half)).geoms)
    return done


def moved(outlines: Outlines, offset_px0: tuple[float, float]) -> Outlines:
    """The outlines with an offset added to all coordinates."""
    if offset_px0 == (0.0, 0.0):
        return outlines
    areas = [
        shapely.transform(area, lambda points: points + np.array(offset_px0))
        for area in (outlines.tumour, outlines.excluded)
    ]
    return dataclasses.replace(outlines, tumour=areas[0], excluded=areas[1])


def refuse_empty(outlines: Outlines, drawing: Drawing, path: Path) -> None:
    """Stop where an annotation of a slide that is not known to be normal has no tumour.

    Raises:
        InputError: it has none; names what was found instead.
    """
    if not outlines.tumour.is_empty:
        return
    names = ", ".join(f"'{name}'" for name, _ in drawing.others.most_common(5))
    found = f" (areas of {names}, which are no names of tumour)" if names else ""
    raise InputError(
        f"{path}: no area of tumour{found}. Give its areas the group or class 'Tumor', or say "
        "label = normal in slides.csv if the slide has none."
    )
