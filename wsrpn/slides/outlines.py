"""The truth of a slide as areas, from any form of annotation.

ASAP's XML, GeoJSON, rings as JSON, and masks (TIFF, PNG) all become `Outlines` in full-size pixels
of the slide file, with the slide's offset added.
"""

import dataclasses
from pathlib import Path

import shapely

from wsrpn.errors import InputError
from wsrpn.slides import asap, geojson, masks, reader, shapes
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import Slide

__all__ = ["SUFFIXES", "Outlines", "read"]

SUFFIXES = {".xml", ".geojson", ".json", ".geojson.gz", ".json.gz", *masks.SUFFIXES}


def read(slide: Slide) -> Outlines | None:
    """The outlines of a slide: nothing on a normal one, None where it has no annotation.

    Where the slide's size or its bounds are needed and not known, they are read from its file.

    Raises:
        InputError: the annotation is missing, damaged or of an unknown form; it has no tumour and
            the slide is not said to be normal, or the other way round.
    """
    path = slide.annotation
    if path is None:
        nothing = shapely.MultiPolygon()
        return Outlines(nothing, nothing) if slide.normal else None
    mask = _suffix(path) in masks.SUFFIXES
    if reader.from_bounds(slide) or (mask and slide.extent_px0 is None):
        slide = reader.complete(slide)
    found = _mask(slide, path) if mask else _drawn(slide, path)
    if slide.normal and not found.tumour.is_empty:
        raise InputError(
            f"{path}: outlines tumour, but slides.csv says that {slide.id} is normal; correct one."
        )
    return shapes.moved(found, slide.offset_px0)


def _suffix(path: Path) -> str:
    """The last suffix in small letters, two of them for a packed file."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def _mask(slide: Slide, path: Path) -> Outlines:
    mask = masks.read(slide, path)
    area = masks.tumour(slide, mask, path)
    return Outlines(area, shapely.MultiPolygon(), grain_px0=max(mask.pixel_px0))


def _drawn(slide: Slide, path: Path) -> Outlines:
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: no known form of annotation. Known: .xml (ASAP), .geojson, .json, .tif, .png."
        )
    drawing = asap.read(path) if suffix == ".xml" else geojson.read(path)
    found = drawing.outlines()
    if not slide.normal:
        shapes.refuse_empty(found, drawing, path)
    return dataclasses.replace(found, notes=tuple(f"{path.name}: {note}" for note in found.notes))
