"""GeoJSON of QuPath and of others, and rings as plain JSON."""

import gzip
import json
import uuid

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tests.slides.areas import nested
from wsrpn.errors import InputError
from wsrpn.slides import geojson
from wsrpn.slides.shapes import Outlines

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def feature(geometry=None, **properties):
    return {
        "type": "Feature", "geometry": geometry or polygon(SQUARE), "properties": properties,
    }  # fmt: skip


def aside(by):
    return polygon([[x + by, y] for x, y in SQUARE])


@pytest.fixture
def read(tmp_path):
    def reading(*features, whole=None):
        path = tmp_path / "a.geojson"
        found = {"type": "FeatureCollection", "features": list(features)}
        path.write_text(json.dumps(found if whole is None else whole))
        return geojson.read(path).outlines()

    return reading


@pytest.mark.parametrize(
    "said",
    [
        "Tumor", {"name": "Tumor", "color": [200, 0, 0]}, {"names": ["Tumor", "Positive"]},
        "Tumor: Positive", "metastases",
    ],
)  # fmt: skip
def test_classes_of_tumour_are_tumour(read, said):
    other = feature(aside(50), classification="Stroma")
    found = read(feature(classification=said), other)
    assert found.tumour.area == 100
    assert any("1 of 'Stroma'" in note for note in found.notes)


def test_ignored_areas_are_excluded_and_unclassified_ones_left_out(read):
    found = read(
        feature(classification="Tumor"),
        feature(aside(5), classification={"name": "Ignore*", "color": [1, 2, 3]}),
        feature(aside(90)),
    )
    assert (found.tumour.area, found.excluded.area) == (50, 100)
    assert any("1 of 'None'" in note for note in found.notes)


def test_where_nothing_has_a_class_everything_is_tumour(read):
    assert read(feature(), feature(aside(20), name="lesion 2")).tumour.area == 200


def test_every_form_of_the_document_is_read(read):
    for whole in ([feature()], feature(), polygon(SQUARE)):
        assert read(whole=whole).tumour.area == 100
    many = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], aside(20)["coordinates"]]}
    assert read(feature(many)).tumour.area == 196
    both = {"type": "GeometryCollection", "geometries": [polygon(SQUARE), many]}
    assert read(feature(both)).tumour.area == 200
    assert read(whole=both).tumour.area == 200


def test_holes_of_a_ring_that_crosses_itself_are_kept(read):
    bow_tie = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    hole = [[8, 4.5], [9, 4.5], [9, 5.5], [8, 5.5], [8, 4.5]]
    assert read(feature(polygon(bow_tie, hole))).tumour.area == 49


def test_points_lines_and_cells_are_counted(read):
    found = read(
        feature(classification="Tumor"),
        feature({"type": "LineString", "coordinates": SQUARE}, classification="Tumor"),
        feature(aside(20), classification="Tumor", objectType="detection"),
        feature(polygon(SQUARE[:2]), classification="Tumor"),
        {"type": "Feature", "geometry": None, "properties": None},
    )
    assert found.tumour.area == 100
    for said in ("LineString", "detection", "fewer than three", "without a geometry"):
        assert any(said in note for note in found.notes)


def test_packed_files_are_read(tmp_path):
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps(feature()).encode()))
    assert geojson.read(path).outlines().tumour.area == 100
    path.write_bytes(b"not packed")
    with pytest.raises(InputError, match="not readable"):
        geojson.read(path)
    with pytest.raises(InputError, match="no such file"):
        geojson.read(tmp_path / "gone.geojson.gz")


def test_rings_of_either_form_are_read(read):
    named = [{"name": "a", "vertices": SQUARE}, {"name": "b", "vertices": SQUARE[:2]}]
    found = read(whole={"positive": named, "negative": [HOLE]})
    assert found.tumour.area == 96
    assert any("fewer than three" in note for note in found.notes)
    assert read(whole={"positive": [SQUARE]}).tumour.area == 100


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ({"type": "Topology"}, "neither GeoJSON"),
        ([1, 2], "neither GeoJSON"),
        ({"type": "FeatureCollection", "features": None}, "neither GeoJSON"),
        (feature({"type": "Polygon", "coordinates": 3}), "list of rings"),
        (feature({"type": "MultiPolygon", "coordinates": 3}), "list of rings"),
        (feature(polygon([[0, 0], [1, "a"], [2, 2], [0, 0]])), "finite numbers"),
        (feature(polygon([[0, 0], [1], [2, 2], [0, 0]])), "finite numbers"),
        ({"positive": 3}, "must be a list"),
        ({"positive": [3]}, "positive ring 0"),
        ({"positive": [[[0, 0], [1, None], [2, 2]]]}, "finite numbers"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(read, whole, said):
    with pytest.raises(InputError, match=said) as caught:
        read(whole=whole)
    assert "a.geojson" in str(caught.value)


@given(seed=st.integers(0, 999))
def test_writing_and_reading_keeps_the_area(tmp_path_factory, seed):
    drawn = Outlines(nested(seed), shapely.box(0, 0, 10 + seed, 10))
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    geojson.write_outlines(path, drawn)
    found = geojson.read(path).outlines()
    for mine, theirs in ((drawn.tumour, found.tumour), (drawn.excluded, found.excluded)):
        assert theirs.area == pytest.approx(mine.area, rel=1e-9)
        assert shapely.symmetric_difference(mine, theirs).area <= 1e-9 * mine.area


def test_what_is_written_is_what_qupath_reads(tmp_path):
    drawn = Outlines(nested(1), shapely.box(0, 0, 9, 9))
    first = geojson.write_outlines(tmp_path / "a.geojson", drawn)
    assert first == geojson.write_outlines(tmp_path / "b.geojson", drawn)  # ids are no chance
    found = json.loads((tmp_path / "a.geojson").read_text())
    ids = [one["id"] for one in found["features"]]
    assert len({uuid.UUID(one) for one in ids}) == len(ids)
    for one in found["features"]:
        assert one["geometry"]["type"] == "Polygon"
        assert one["properties"]["objectType"] == "annotation"
        assert set(one["properties"]["classification"]) == {"name", "color"}
        assert all(ring[0] == ring[-1] for ring in one["geometry"]["coordinates"])
