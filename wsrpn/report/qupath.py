"""GeoJSON that QuPath opens: regions called tumour as annotations, or every tile with its score.

As QuPath reads it: `id` is a UUID (here made from the content, so the same input gives the same
file), `objectType` stands inside `properties`, a classification has a name and a colour, rings are
closed, numbers are finite. Coordinates are full-size pixels of the image as QuPath shows it: with
its bounds cropped, so the offset of the slide is taken off.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from wsrpn import __version__, files
from wsrpn.report.slide_view import Shape, SlideView, components, palette, pieces, touching
from wsrpn.report.slide_view import indices as colour_indices

_SPACE = uuid.UUID("6b0b6c1e-5d0a-5c55-9f0e-6f1f0a4d9c11")  # of all names made here
_TUMOUR, _OTHER = ("Tumor", (200, 0, 0)), ("Other", (49, 54, 149))
_NAN = '"NaN"'  # as QuPath writes it; JSON has none
_MANY = 4096  # tiles to a piece of text


def regions(view: SlideView, *, offset_px0: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    """What is called tumour: one annotation per region, the largest first.

    Outlines are exact unions of tiles, holes included. Measurements are the number of tiles, mean
    and greatest score, the area in mm² where micrometres are known, and the share of tumour where
    the truth is.

    Args:
        view: the slide; without a threshold there are no regions.
        offset_px0: of the image within the slide file (bounds), taken off the coordinates.
    """
    found = np.zeros(len(view.tiles), dtype=bool) if view.found is None else view.found
    label = components(view.tiles.lattice, found, view.connectivity)
    members = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label)))[1:-1]
    members.sort(key=len, reverse=True)
    shapes, shown = _by_region(view, label), view.tiles.lattice.gather(view.heat)
    features = [
        _annotation(view, place, shapes[int(label[inside[0]])], inside, shown[inside], offset_px0)
        for place, inside in enumerate(members, 1)
    ]
    return {"type": "FeatureCollection", "features": features}


def write_regions(
    view: SlideView, path: Path, *, offset_px0: tuple[float, float] = (0.0, 0.0)
) -> int:
    """Write `regions`, whole or not at all; returns their number."""
    found = regions(view, offset_px0=offset_px0)
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    files.write(path, text.encode("utf-8"))
    return len(found["features"])


def write_tiles(
    view: SlideView, path: Path, *, offset_px0: tuple[float, float] = (0.0, 0.0)
) -> int:
    """Write every tile as an object of QuPath's kind `tile` with its score; returns their number.

    Shown there by Measure → Show measurement maps. Colours are those of the heatmap.
    """

    def save(to: Path) -> None:
        with to.open("w", encoding="utf-8") as file:
            file.writelines(tiles_text(view, offset_px0=offset_px0))

    files.write_with(path, save)
    return len(view.tiles)


def tiles_text(view: SlideView, *, offset_px0: tuple[float, float] = (0.0, 0.0)) -> Iterator[str]:
    """The text of `write_tiles`, piece by piece."""
    tiles, lattice = view.tiles, view.tiles.lattice
    # Tiles of a column share their x, those of a row their y: each is put into words once.
    across, down = (
        _edges(lattice.origin_px0[i] - offset_px0[i], lattice.pitch_px0[i], tiles.size_px0[i],
               lattice.shape[1 - i]) for i in (0, 1)
    )  # fmt: skip
    colours = [f"[{r},{g},{b}]" for r, g, b in palette().tolist()]
    called = np.zeros(len(tiles), dtype=bool) if view.found is None else view.found
    kinds = [_classification(*_OTHER), _classification(*_TUMOUR)]
    shown = lattice.gather(view.heat)
    rows = zip(
        lattice.column.tolist(), lattice.row.tolist(), called.tolist(), tiles.score.tolist(),
        shown.tolist(), lattice.gather(colour_indices(view.heat, view.colour)).tolist(),
        strict=True,
    )  # fmt: skip
    name = hashlib.sha1(_SPACE.bytes + f"{tiles.slide}\0tile\0".encode(), usedforsecurity=False)
    yield '{"type":"FeatureCollection","features":['
    comma, piece = "", []
    for c, r, tumour, score, value, colour in rows:
        (x1, x2), (y1, y2) = across[c], down[r]
        own = name.copy()
        own.update(b"%d %d" % (c, r))
        piece.append(
            f'{comma}\n{{"type":"Feature","id":"{_version5(own.hexdigest())}","geometry":'
            f'{{"type":"Polygon","coordinates":[[[{x1},{y1}],[{x2},{y1}],[{x2},{y2}],[{x1},{y2}],'
            f'[{x1},{y1}]]]}},"properties":{{"objectType":"tile","color":{colours[colour]},'
            f'"classification":{kinds[tumour]},"measurements":{{"score":{score!r},"value":'
            f"{value if value == value else _NAN}}}}}}}"
        )
        comma = ","
        if len(piece) == _MANY:
            yield "".join(piece)
            piece = []
    yield "".join(piece)
    yield "\n]}\n"


def _edges(origin: float, pitch: float, size: float, count: int) -> list[tuple[str, str]]:
    """Both edges of the tiles of every column (or row), as text."""
    starts = origin + pitch * np.arange(count)
    ends = (starts + size).round(3).tolist()
    return [(repr(a), repr(b)) for a, b in zip(starts.round(3).tolist(), ends, strict=True)]


def _by_region(view: SlideView, label: Int[np.ndarray, " n"]) -> dict[int, list[Shape]]:
    """Polygons of every region; those that meet in corners alone may belong to one region."""
    tiles = view.tiles
    if not touching(tiles):
        members = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label)))[1:-1]
        return {number: pieces(tiles, inside) for number, inside in enumerate(members, 1)}
    import shapely

    grid = tiles.lattice.spread(label.astype(np.float64))
    polygons = pieces(tiles, label > 0)
    at = shapely.get_coordinates(shapely.point_on_surface(polygons))
    cells = ((at - tiles.lattice.origin_px0) // tiles.lattice.pitch_px0).astype(int)
    shapes: dict[int, list[Shape]] = {}
    for polygon, number in zip(polygons, grid[cells[:, 1], cells[:, 0]], strict=True):
        shapes.setdefault(int(number), []).append(polygon)
    return shapes


def _annotation(
    view: SlideView, place: int, shapes: list[Shape], inside: Int[np.ndarray, " m"],
    values: Float[np.ndarray, " m"], offset_px0: tuple[float, float],
) -> dict[str, Any]:  # fmt: skip
    tiles = view.tiles
    geometry = _geometry(shapes, offset_px0)
    sizes = {
        "tiles": len(inside),
        "score mean": float(tiles.score[inside].mean()),
        "score max": float(tiles.score[inside].max()),
        "value mean": float(np.nanmean(values)) if np.isfinite(values).any() else "NaN",
    }
    if tiles.mpp is not None:
        sizes["area mm^2"] = sum(shape.area for shape in shapes) * tiles.mpp**2 / 1e6
    label = tiles.label[inside]
    if not np.isnan(label).all():
        sizes["tumour share"] = float(np.nanmean(label))
    name, colour = _TUMOUR
    return {
        "type": "Feature",
        "id": _uuid(f"{tiles.slide}\0region\0{json.dumps(geometry)}"),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "name": f"region {place}",
            "classification": {"name": name, "color": list(colour)},
            "isLocked": False,
            "measurements": sizes,
            "metadata": {
                "tool": f"wsrpn {__version__}",
                "threshold": f"{view.threshold}",
                "origin": f"{offset_px0[0]:g} {offset_px0[1]:g}",
            },
        },
    }


def _geometry(shapes: list[Shape], offset_px0: tuple[float, float]) -> dict[str, Any]:
    """A Polygon where one is enough, else a MultiPolygon; rings are closed."""
    polygons = [
        [_ring(ring, offset_px0) for ring in (shape.exterior, *shape.interiors)] for shape in shapes
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _ring(ring: Shape, offset_px0: tuple[float, float]) -> list[list[float]]:
    import shapely

    return (shapely.get_coordinates(ring) - np.array(offset_px0)).tolist()


def _classification(name: str, colour: tuple[int, int, int]) -> str:
    return json.dumps({"name": name, "color": list(colour)}, separators=(",", ":"))


def _uuid(name: str) -> str:
    """The same name, the same UUID (RFC 4122, version 5)."""
    return str(uuid.uuid5(_SPACE, name))


def _version5(digest: str) -> str:
    """A SHA-1 as `uuid.uuid5` writes it, three times as fast."""
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
