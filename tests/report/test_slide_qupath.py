"""GeoJSON as QuPath's own code reads it."""

import dataclasses
import json
import uuid

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.report import views
from wsrpn.report import qupath
from wsrpn.slides import outlines
from wsrpn.tiles import Slide


def strict(text):
    """JSON without the words that are none (NaN, Infinity)."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def check(collection):
    """The rules of QuPath 0.4 and later, read in its source."""
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        assert set(feature) == {"type", "id", "geometry", "properties"}
        more = feature["properties"]
        assert more["objectType"] in {"annotation", "detection", "tile"}
        kind = more["classification"]
        assert isinstance(kind["name"], str)
        assert all(isinstance(c, int) and 0 <= c <= 255 for c in kind["color"])
        assert len(kind["color"]) == 3
        for name, value in more["measurements"].items():
            assert isinstance(name, str)
            assert isinstance(value, int | float) or value == "NaN"
        geometry = feature["geometry"]
        polygons = geometry["coordinates"]
        polygons = [polygons] if geometry["type"] == "Polygon" else polygons
        assert geometry["type"] == "Polygon" or len(polygons) > 1
        assert all(len(ring) >= 4 and ring[0] == ring[-1] for p in polygons for ring in p)
    ids = [feature["id"] for feature in collection["features"]]
    assert len(set(ids)) == len(ids)


def shapes(collection):
    return [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]


@given(seed=st.integers(0, 999), connectivity=st.sampled_from([4, 8]), size=st.sampled_from(
    [(374.7, 374.7), (500.0, 500.0), (300.0, 300.0)]))  # fmt: skip
def test_regions_are_exact_unions_of_their_tiles(seed, connectivity, size):
    found = np.random.default_rng(seed).random((9, 11)) < 0.45
    one = views.view(np.ones((9, 11), dtype=bool), found=found, size=size)
    one = dataclasses.replace(one, connectivity=connectivity)
    collection = strict(json.dumps(qupath.regions(one)))
    check(collection)
    structure = ndimage.generate_binary_structure(2, connectivity // 4)
    labels, count = ndimage.label(found, structure)
    assert len(collection["features"]) == count
    sizes = [f["properties"]["measurements"]["tiles"] for f in collection["features"]]
    assert sizes == sorted(np.bincount(labels.ravel())[1:], reverse=True)
    for shape, number in zip(shapes(collection), sizes, strict=True):
        assert shape.is_valid
        if size == (374.7, 374.7):
            assert shape.area == pytest.approx(number * 374.7**2, rel=1e-9)
    middle = one.tiles.corner_px0 + np.array(size) / 2
    whole = shapely.union_all(shapes(collection))
    inside = shapely.contains_xy(whole, *middle.T)
    assert inside[one.found].all()
    if size == (374.7, 374.7):
        np.testing.assert_array_equal(inside, one.found)


def test_a_region_tells_its_scores_its_area_and_its_share_of_tumour():
    found = np.zeros((4, 5), dtype=bool)
    found[1, 1:4] = True
    label = np.zeros((4, 5))
    label[1, 1] = 1
    score = np.arange(20.0).reshape(4, 5)
    one = views.view(np.ones((4, 5), dtype=bool), found=found, label=label, score=score)
    (feature,) = qupath.regions(one)["features"]
    told = feature["properties"]["measurements"]
    assert (told["tiles"], told["score mean"], told["score max"]) == (3, 7.0, 8.0)
    assert told["area mm^2"] == pytest.approx(3 * (374.7 * 0.25) ** 2 / 1e6)
    assert told["tumour share"] == pytest.approx(1 / 3)
    bare = views.view(np.ones((4, 5), dtype=bool), found=found, mpp=None)
    told = qupath.regions(bare)["features"][0]["properties"]["measurements"]
    assert "area mm^2" not in told
    assert "tumour share" not in told


def test_tiles_carry_their_scores_and_lie_where_they_are():
    one = views.large(side=20, found=np.eye(20, dtype=bool))
    heat = one.heat.copy()
    heat[1] = np.nan
    one = dataclasses.replace(one, heat=heat)
    collection = strict("".join(qupath.tiles_text(one)))
    check(collection)
    assert len(collection["features"]) == len(one.tiles)
    for feature, corner, score, row, called in zip(
        collection["features"], one.tiles.corner_px0, one.tiles.score, one.tiles.lattice.row,
        one.found, strict=True,
    ):  # fmt: skip
        more = feature["properties"]
        assert more["objectType"] == "tile"
        assert more["measurements"]["score"] == score
        assert (more["measurements"]["value"] == "NaN") == (row == 1)
        assert more["classification"]["name"] == ("Tumor" if called else "Other")
        left, top, right, bottom = shapely.geometry.shape(feature["geometry"]).bounds
        np.testing.assert_allclose((left, top), corner, atol=1e-3)
        np.testing.assert_allclose((right - left, bottom - top), one.tiles.size_px0, atol=2e-3)


def test_names_are_uuids_of_version_5_and_the_same_every_time():
    one = views.large(side=12, found=np.eye(12, dtype=bool))
    first, again = strict("".join(qupath.tiles_text(one))), strict("".join(qupath.tiles_text(one)))
    assert first == again
    column, row = one.tiles.lattice.column[5], one.tiles.lattice.row[5]
    expected = uuid.uuid5(qupath._SPACE, f"slide\0tile\0{column} {row}")
    assert first["features"][5]["id"] == str(expected)
    assert qupath.regions(one) == qupath.regions(one)
    other = dataclasses.replace(one, tiles=dataclasses.replace(one.tiles, slide="other"))
    ids = {f["id"] for f in qupath.regions(one)["features"]}
    assert not ids & {f["id"] for f in qupath.regions(other)["features"]}


@pytest.mark.parametrize("kind", ["regions", "tiles"])
def test_bounds_are_taken_off_because_qupath_crops_to_them(tmp_path, kind):
    one = views.large(side=12, found=np.eye(12, dtype=bool))
    write = getattr(qupath, f"write_{kind}")
    count = write(one, tmp_path / "a.geojson")
    assert write(one, tmp_path / "b.geojson", offset_px0=(1000.0, 250.5)) == count
    plain, moved = (
        shapes(strict((tmp_path / name).read_text())) for name in ("a.geojson", "b.geojson")
    )
    for a, b in zip(plain, moved, strict=True):
        np.testing.assert_allclose(np.subtract(a.bounds[:2], b.bounds[:2]), (1000, 250.5))


def test_regions_come_back_as_the_outlines_of_an_annotation(tmp_path):
    found = np.random.default_rng(5).random((20, 20)) < 0.5
    one = views.view(np.ones((20, 20), dtype=bool), found=found)
    qupath.write_regions(one, tmp_path / "a.geojson")
    back = outlines.read(Slide("slide", "slide", annotation=tmp_path / "a.geojson"))
    assert back.tumour.area == pytest.approx(one.called.area, rel=1e-9)
    assert back.tumour.symmetric_difference(one.called).area < 1e-6 * one.called.area


def test_a_slide_where_nothing_is_called_gives_an_empty_collection(tmp_path):
    one = views.view(np.ones((3, 3), dtype=bool), found=np.zeros((3, 3), dtype=bool))
    assert qupath.write_regions(one, tmp_path / "a.geojson") == 0
    assert strict((tmp_path / "a.geojson").read_text())["features"] == []
