"""One page of HTML with a zoomable view of every slide; it needs no network and no other file.

Everything is inside: pictures as data, style and script with their hashes in the page's own content
security policy, which allows nothing else, so a page opened from anywhere loads and sends nothing.
Names and reasons are escaped. What a slide adds is made once (`entry`) and kept as JSON, so that a
cohort's page is put together without drawing anything again.
"""

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from wsrpn.report import slide_facts
from wsrpn.report.slide_marks import small_tumour
from wsrpn.report.slide_view import (
    CALLED,
    TISSUE,
    TUMOUR,
    Shape,
    SlideView,
    frame_of,
    indices,
    lattice_frame,
    palette,
    zoom_of,
)

LONGEST_PX = 1600  # of the picture of a slide
_FINEST = 20_000  # steps of an outline along the longer side of a slide
_CLEAR = 255  # place in the palette of a PNG for cells without a value


def entry(view: SlideView) -> dict[str, Any]:
    """What the page shows of a slide, as plain values for JSON."""
    frame = frame_of(view)
    left, top, right, bottom = lattice_frame(view.tiles)
    width, height = view.extent_px0
    zoom = zoom_of(view, frame, ratio=0.75)
    return {
        "name": view.name,
        "truth": slide_facts.truth(view),
        "called": slide_facts.called(view),
        "meaning": view.meaning,
        "caution": view.caution,
        "mpp": view.tiles.mpp,
        "size": [width, height],
        "frame": list(frame),
        "zoom": None if zoom is None else list(zoom),
        "colour": list(view.colour),
        "threshold": _finite(view.threshold),
        "slide": _picture(view),
        "heat": {"src": _heat(view), "box": [left, top, right - left, bottom - top]},
        "tumour": _path(view.tumour, max(width, height)),
        "found": _path(view.called, max(width, height)),
        "rings": small_tumour(view, frame, points=600.0).round(1).tolist(),
    }


def _finite(value: float | None) -> float | None:
    """A number that JSON can hold, else None."""
    return value if value is not None and math.isfinite(value) else None


def page(
    entries: Sequence[Mapping[str, Any]],
    *,
    title: str,
    failed: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        entries: one per slide, made by `entry`, in the order of the list.
        title: heading.
        failed: slide → reason, of slides that could not be drawn.
        notes: what the reader should know.
    """
    import jinja2

    folder = resources.files("wsrpn.report")
    style = (folder / "slide_page.css").read_text("utf-8")
    script = (folder / "slide_page.js").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((folder / "slide_page.html").read_text("utf-8"))
    shared = {
        "palette": [f"rgb({r},{g},{b})" for r, g, b in _palette().tolist()],
        "tumour": TUMOUR,
        "called": CALLED,
    }
    return template.render(
        title=title, failed=failed or {}, notes=notes, slides=list(entries), shared=shared,
        style=_Trusted(style), script=_Trusted(script),
        style_hash=_hash(style), script_hash=_hash(script),
    )  # fmt: skip


class _Trusted(str):
    """Text of this package, which the template takes as it is."""

    def __html__(self) -> str:
        return str(self)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _palette() -> np.ndarray:
    """The 255 colours of a PNG, low to high; its last place is for cells without a value."""
    return palette()[np.linspace(0, 255, _CLEAR).round().astype(int)]


def _heat(view: SlideView) -> str:
    """The heatmap, one pixel a cell."""
    from PIL import Image

    places = (indices(view.heat, view.colour).astype(np.uint16) * (_CLEAR - 1) + 127) // 255
    places = np.where(np.isfinite(view.heat), places, _CLEAR).astype(np.uint8)
    image = Image.fromarray(places, mode=None)
    image = image.convert("P")
    image.putpalette([*_palette().reshape(-1).tolist(), 255, 255, 255])
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True, transparency=_CLEAR)
    return _data("image/png", data.getvalue())


def _picture(view: SlideView) -> dict[str, Any]:
    """The slide itself, small; or a grey cell for every tile."""
    from PIL import Image

    data = io.BytesIO()
    if view.picture is None:
        left, top, right, bottom = lattice_frame(view.tiles)
        rgba = np.zeros((*view.heat.shape, 4), dtype=np.uint8)
        rgba[np.isfinite(view.heat)] = (*TISSUE, 255)
        Image.fromarray(rgba).save(data, "PNG", optimize=True)
        box = [left, top, right - left, bottom - top]
        return {"src": _data("image/png", data.getvalue()), "box": box, "cells": True}
    image = Image.fromarray(view.picture)
    image.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BOX)
    image.save(data, "JPEG", quality=82, optimize=True)
    box = [0, 0, *view.extent_px0]
    return {"src": _data("image/jpeg", data.getvalue()), "box": box, "cells": False}


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _path(shape: Shape | None, longest_px0: float) -> str | None:
    """A geometry as a path of SVG, as fine as anyone can zoom; None if nobody knows."""
    import shapely

    if shape is None:
        return None
    step = longest_px0 / _FINEST
    parts = shapely.simplify(shapely.get_parts(shape), step / 2)
    digits = 0 if step >= 4 else 1
    return "".join(
        "M" + "L".join(f"{x:.{digits}f} {y:.{digits}f}" for x, y in ring[:-1].tolist()) + "Z"
        for part in parts
        for ring in map(shapely.get_coordinates, [part.exterior, *part.interiors])
    )
