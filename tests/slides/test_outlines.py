"""Outlines of a slide from any annotation."""

import dataclasses
import json

import numpy as np
import pytest
import shapely
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.slides import asap, geojson, outlines, reader
from wsrpn.slides.outlines import Outlines
from wsrpn.tiles import Slide

SQUARE = shapely.box(10, 10, 30, 20)
DRAWN = Outlines(SQUARE, shapely.MultiPolygon())


def slide(path, **facts):
    return Slide("s", "s", annotation=path, **facts)


@pytest.fixture
def annotations(tmp_path):
    """The same square in every form, on a slide of 40 × 30 pixels."""
    asap.write(tmp_path / "a.xml", DRAWN)
    geojson.write_outlines(tmp_path / "a.geojson", DRAWN)
    ring = [list(corner) for corner in SQUARE.exterior.coords]
    (tmp_path / "a.json").write_text(json.dumps({"positive": [ring], "negative": []}))
    mask = np.zeros((3, 4), np.uint8)
    mask[1, 1:3] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "a.tif")
    return tmp_path


@pytest.mark.parametrize("name", ["a.xml", "a.geojson", "a.json", "a.png", "a.tif"])
def test_every_form_gives_the_same_area_in_full_size_pixels(annotations, name):
    found = outlines.read(slide(annotations / name, extent_px0=(40, 30)))
    assert found is not None
    assert shapely.equals(found.tumour, SQUARE)
    assert found.excluded.is_empty
    assert found.grain_px0 == (10 if name in ("a.png", "a.tif") else 0)
    moved = slide(annotations / name, extent_px0=(40, 30), offset_px0=(5.0, -2.0))
    assert outlines.read(moved).tumour.bounds == (15, 8, 35, 18)


def test_no_annotation_is_no_truth_but_a_normal_slide_has_nothing():
    assert outlines.read(slide(None)) is None
    assert outlines.read(slide(None, normal=True)).tumour.is_empty


def test_an_annotation_without_tumour_is_refused_unless_the_slide_is_normal(tmp_path):
    path = tmp_path / "a.xml"
    asap.write(path, Outlines(shapely.MultiPolygon(), SQUARE))
    with pytest.raises(InputError, match=r"no area of tumour.*label = normal"):
        outlines.read(slide(path))
    assert outlines.read(slide(path, normal=True)).excluded.area == SQUARE.area
    path.write_text(path.read_text().replace("Exclusion", "Stroma"))
    with pytest.raises(InputError, match="'Stroma'"):
        outlines.read(slide(path))


@pytest.mark.parametrize("name", ["a.xml", "a.png"])
def test_tumour_on_a_normal_slide_is_a_contradiction(annotations, name):
    with pytest.raises(InputError, match="correct one"):
        outlines.read(slide(annotations / name, normal=True, extent_px0=(40, 30)))


def test_other_files_are_no_annotations(tmp_path):
    with pytest.raises(InputError, match="no known form of annotation"):
        outlines.read(slide(tmp_path / "a.docx"))


class Scan:
    """A slide file whose scanned part begins at (100, 50)."""

    mpp, extent_px0, offset_px0 = 0.25, (400, 300), (100.0, 50.0)

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        pass


@pytest.fixture
def scan(monkeypatch, tmp_path):
    monkeypatch.setattr(reader, "open_slide", lambda path: Scan())
    return tmp_path / "s.mrxs"


def test_geojson_counts_from_the_bounds_and_the_rest_from_the_corner(annotations, scan):
    corners = {
        name: outlines.read(slide(annotations / name, file=scan)).tumour.bounds[:2]
        for name in ("a.xml", "a.geojson", "a.json", "a.png")
    }
    assert corners == {
        "a.xml": (10, 10), "a.geojson": (110, 60), "a.json": (10, 10), "a.png": (100, 100),
    }  # fmt: skip


def test_the_table_of_slides_decides_where_coordinates_begin(annotations, scan):
    path = annotations / "a.geojson"
    fixed = slide(path, file=scan, extra={"origin": "slide"})
    assert outlines.read(fixed).tumour.bounds[:2] == (10, 10)
    shifted = dataclasses.replace(fixed, offset_px0=(1.0, 2.0))
    assert outlines.read(shifted).tumour.bounds[:2] == (11, 12)
    other = slide(annotations / "a.xml", file=scan, extra={"origin": "bounds"})
    assert outlines.read(other).tumour.bounds[:2] == (110, 60)
