"""Outlines in GeoJSON as QuPath writes it, plain GeoJSON, and rings as plain JSON.

A feature's class (`properties.classification`) says what its area is. Where no feature of a file
has a class, all areas are tumour. Rings are `{"positive": [ring, …], "negative": [ring, …]}`, a
ring being a list of corners or `{"vertices": corners}`, as NCRF publishes CAMELYON16's outlines.

Reference:
    QuPath, QuPathTypeAdapters.java and GsonTools.java; RFC 7946.
"""

import gzip
import json
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import shapely

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.slides import shapes
from wsrpn.slides.shapes import Drawing, Outlines

MOST_BYTES = 200_000_000  # of JSON text; parsed, it takes some ten times as much memory
_KEYS = ("classification", "label", "class", "class_name", "category")
_OBJECTS = {"cell", "detection", "tile", "tma_core", "tmacore", "root"}
_COLOURS = {"Tumor": [200, 0, 0], "Ignore*": [180, 180, 180]}
_NAMES = uuid.UUID("6a1c1d52-6d6a-5f0e-9f5e-6c1f3f1a9b11")  # makes ids the same in every run


def read(path: Path) -> Drawing:
    """The areas of a file, sorted by their classes.

    Raises:
        InputError: the file cannot be read, is other JSON, or has a broken geometry.
    """
    found = _loaded(path)
    if isinstance(found, dict) and ("positive" in found or "negative" in found):
        return _rings(found, path)
    features = _features(found, path)
    drawing = Drawing()
    named = [_class(feature) for feature in features]
    plain = not any(named)
    for number, (feature, name) in enumerate(zip(features, named, strict=True)):
        kind = str(_properties(feature).get("objectType", "")).lower()
        if kind in _OBJECTS:
            drawing.skip(f"of QuPath's type {kind}, which is no annotation")
            continue
        for area in _areas(feature, f"{path}: feature {number}", drawing):
            if plain:
                drawing.enter("tumour", "", area)
            else:
                drawing.add(name, area)
    return drawing


def _loaded(path: Path) -> Any:
    if path.suffix != ".gz":
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise _too_large(path)
        return files.read_json(path, what="an annotation (GeoJSON)")
    try:
        with gzip.open(path) as packed:
            text = packed.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise _too_large(path)
        return json.loads(text)
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{path}: not readable as packed GeoJSON (nested too deeply).") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; an annotation was expected.") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: not readable as packed GeoJSON ({error}).") from None


def _too_large(path: Path) -> InputError:
    return InputError(
        f"{path}: more than {MOST_BYTES / 1e6:g} MB of JSON are too many for an annotation; export "
        "annotations only, without cells and detections."
    )


def _rings(found: Mapping[str, Any], path: Path) -> Drawing:
    drawing = Drawing()
    for key in ("positive", "negative"):
        listed = found.get(key, [])
        if not isinstance(listed, list):
            raise InputError(f"{path}: '{key}' must be a list of rings.")
        for number, one in enumerate(listed):
            where = f"{path}: {key} ring {number}"
            points = one.get("vertices") if isinstance(one, dict) else one
            if not isinstance(points, list):
                raise InputError(f"{where}: a list of corners was expected.")
            area = shapes.ring(points, where)
            if area is None:
                drawing.skip("fewer than three corners")
            else:
                drawing.add(key, area)
    return drawing


def _features(found: Any, path: Path) -> list[dict[str, Any]]:
    """A collection, QuPath's bare list, one feature, or a bare geometry."""
    if isinstance(found, dict) and found.get("type") == "FeatureCollection":
        found = found.get("features")
    elif isinstance(found, dict) and found.get("type") == "Feature":
        found = [found]
    elif isinstance(found, dict) and ("coordinates" in found or "geometries" in found):
        found = [{"type": "Feature", "geometry": found}]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(
            f"{path}: neither GeoJSON (a FeatureCollection) nor rings "
            '({"positive": […], "negative": […]}).'
        )
    return found


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    found = feature.get("properties")
    return found if isinstance(found, dict) else {}


def _class(feature: Mapping[str, Any]) -> str:
    """The name of the class, "" without one."""
    for key in _KEYS:
        said = _properties(feature).get(key)
        if isinstance(said, dict):
            said = said.get("name") or said.get("names")
        if isinstance(said, list):
            said = ": ".join(str(one) for one in said)
        if said is not None and said != "":
            return str(said)
    return ""


def _areas(feature: Mapping[str, Any], where: str, drawing: Drawing) -> Iterator[shapely.Geometry]:
    """The polygons of a feature; what has no area is counted."""
    left = [feature.get("geometry")]
    while left:
        geometry = left.pop(0)
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if not isinstance(geometry, dict) or kind is None:
            drawing.skip("without a geometry")
        elif kind == "GeometryCollection":
            left += geometry.get("geometries") or []
        elif kind in ("Polygon", "MultiPolygon"):
            coordinates = geometry.get("coordinates")
            parts = [coordinates] if kind == "Polygon" else coordinates
            for rings in parts if isinstance(parts, list) else [None]:
                area = _polygon(rings, where)
                if area is None:
                    drawing.skip("fewer than three corners")
                else:
                    yield area
        else:
            drawing.skip(f"of type {kind}, which has no area")


def _polygon(rings: Any, where: str) -> shapely.Geometry | None:
    """An area with its holes, the rings taken one by one so that each may be broken."""
    if not isinstance(rings, list) or not all(isinstance(one, list) for one in rings):
        raise InputError(f"{where}: the coordinates of a polygon must be a list of rings.")
    drawn = [shapes.ring(one, where) for one in rings]
    if not drawn or drawn[0] is None:
        return None
    holes = [one for one in drawn[1:] if one is not None]
    if not holes:
        return drawn[0]
    simple = shapely.Polygon(drawn[0].exterior, [one.exterior for one in holes])
    if shapely.is_valid(simple):
        return simple
    return shapely.difference(shapes.polygonal(drawn[0]), shapes.united(holes))


def write_outlines(path: Path, outlines: Outlines) -> str:
    """Write outlines so that QuPath opens them and `read` gives the same areas, atomically.

    Returns:
        sha256 of the file.
    """
    features = [
        _feature(name, number, part)
        for name, area in (("Tumor", outlines.tumour), ("Ignore*", outlines.excluded))
        for number, part in enumerate(shapes.polygonal(area).geoms)
    ]
    return files.write_json(path, {"type": "FeatureCollection", "features": features})


def _feature(name: str, number: int, part: shapely.Polygon) -> dict[str, Any]:
    """One annotation as QuPath wants it: a UUID, and a class with name and colour."""
    rings = [part.exterior, *part.interiors]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMES, f"{name} {number} {part.wkt}")),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[list(corner) for corner in one.coords] for one in rings],
        },
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": _COLOURS[name]},
        },
    }
