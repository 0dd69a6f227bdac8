"""ASAP's XML: groups, holes, exclusions, and everything that real files do."""

import pytest
import shapely
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st

from tests.slides.areas import nested
from wsrpn.errors import InputError
from wsrpn.slides import asap, shapes
from wsrpn.slides.shapes import Outlines

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


def annotation(corners, *, group="Tumor", kind="Polygon", name="a", comma=False, order=None):
    text = [
        '<Coordinate Order="{}" X="{}" Y="{}" />'.format(
            place, *(str(float(v)).replace(".", ",") if comma else float(v) for v in corner)
        )
        for place, corner in zip(order or range(len(corners)), corners, strict=True)
    ]
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{''.join(text)}</Coordinates></Annotation>"
    )


def document(*annotations, groups=""):
    return (
        '<?xml version="1.0"?><ASAP_Annotations><Annotations>'
        f"{''.join(annotations)}</Annotations>"
        f"<AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>"
    )


def moved(corners, x, y=0):
    return [(a + x, b + y) for a, b in corners]


@pytest.fixture
def read(tmp_path):
    def reading(text):
        path = tmp_path / "a.xml"
        path.write_text(text)
        return asap.read(path).outlines()

    return reading


@pytest.mark.parametrize("group", ["Tumor", " tumor ", "_0", "_1", "metastases", "TUMOUR"])
def test_groups_of_tumour_are_tumour(read, group):
    assert read(document(annotation(SQUARE, group=group))).tumour.area == 100


@pytest.mark.parametrize("group", ["_2", "normal"])
def test_groups_of_holes_are_taken_away(read, group):
    hole = annotation([(2, 2), (4, 2), (4, 4), (2, 4)], group=group)
    found = read(document(hole, annotation(SQUARE)))
    assert (found.tumour.area, found.excluded.area) == (96, 0)


def test_what_is_excluded_is_neither_tumour_nor_known(read):
    found = read(document(annotation(SQUARE), annotation(moved(SQUARE, 5), group="Exclusion")))
    assert (found.tumour.area, found.excluded.area) == (50, 100)
    assert shapely.intersection(found.tumour, found.excluded).area == 0


def test_ungrouped_areas_are_left_out_and_counted(read):
    found = read(document(annotation(SQUARE), annotation(moved(SQUARE, 50), group="None")))
    assert found.tumour.area == 100
    assert any("1 of 'None'" in note for note in found.notes)


def test_unknown_groups_are_left_out_and_named(read):
    found = read(document(annotation(SQUARE), annotation(moved(SQUARE, 50), group="Stroma")))
    assert found.tumour.area == 100
    assert any("1 of 'Stroma'" in note for note in found.notes)


def test_a_group_counts_as_the_one_it_is_part_of(read):
    groups = '<Group Name="Lesion A" PartOfGroup="Tumor" /><Group Name="x" PartOfGroup="x" />'
    inner = annotation(SQUARE, group="lesion a")
    loop = annotation(moved(SQUARE, 50), group="x")
    assert read(document(inner, loop, groups=groups)).tumour.area == 100


def test_decimal_commas_are_points(read):
    corners = [(0.5, 0.5), (10.5, 0.5), (10.5, 10.5), (0.5, 10.5)]
    found = read(document(annotation(corners, comma=True)))
    assert found.tumour.bounds == (0.5, 0.5, 10.5, 10.5)


def test_corners_are_ordered_by_their_number_not_by_the_file(read):
    shuffled = annotation([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]], order=[0, 2, 1, 3])
    found = read(document(shuffled))
    assert found.tumour.area == 100  # in the order of the file it is a bow-tie of half the area
    assert found.notes == ()


def test_a_closed_ring_is_the_same_as_an_open_one(read):
    closed = read(document(annotation([*SQUARE, SQUARE[0]])))
    assert closed.tumour.equals(read(document(annotation(SQUARE))).tumour)


def test_a_ring_that_crosses_itself_is_filled_by_the_even_odd_rule(read):
    bow_tie = [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]]
    found = read(document(annotation(bow_tie)))
    assert found.tumour.area == 50
    assert any("1 area that crossed themselves" in note for note in found.notes)


def test_two_corners_and_things_without_area_are_counted(read):
    odd = [annotation(SQUARE[:2]), annotation([SQUARE[0]] * 5), annotation(SQUARE[:1], kind="Dot")]
    found = read(document(annotation(SQUARE), *odd))
    assert found.tumour.area == 100
    assert any("2 drawings left out: fewer than three corners" in note for note in found.notes)
    assert any("type Dot" in note for note in found.notes)


@pytest.mark.parametrize("corners", [SQUARE, [(0, 0), (10, 10)]])
def test_rectangles_and_splines_are_areas(read, corners):
    assert read(document(annotation(corners, kind="Rectangle"))).tumour.area == 100
    assert read(document(annotation(SQUARE, kind="Spline"))).tumour.area == 100


def test_overlapping_tumours_count_once(read):
    found = read(document(annotation(SQUARE), annotation(moved(SQUARE, 5), group="_0")))
    assert found.tumour.area == 150


def test_a_file_without_a_root_is_read(read):
    text = document(annotation(SQUARE))
    for tag in ("<ASAP_Annotations>", "</ASAP_Annotations>"):
        text = text.replace(tag, "")
    assert read(text).tumour.area == 100
    assert read(text.replace('<?xml version="1.0"?>', "")).tumour.area == 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not readable"),
        ("<ASAP_Annotations><Annotations>", "not readable"),
        ("<svg/>", "begins with <svg>"),
        ("<Annotations><Annotation><Regions><Region/></Regions></Annotation></Annotations>",
         "ImageScope"),
        (document(annotation(SQUARE)).replace('X="10.0"', 'X="wide"'), "corner 1 has X='wide'"),
        (document(annotation(SQUARE)).replace('X="10.0"', 'X="nan"'), "finite"),
        (document(annotation(SQUARE)).replace('X="10.0" ', ""), "X='None'"),
        ('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><ASAP_Annotations>&a;'
         "</ASAP_Annotations>", "entities"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(read, text, said):
    with pytest.raises(InputError, match=said) as caught:
        read(text)
    assert "a.xml" in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        asap.read(tmp_path / "gone.xml")
    with pytest.raises(InputError, match="cannot be read"):
        asap.read(tmp_path)


@given(seed=st.integers(0, 999))
def test_writing_and_reading_keeps_the_area(tmp_path_factory, seed):
    drawn = Outlines(nested(seed), nested(seed + 1) if seed % 2 else shapely.Polygon())
    drawn = Outlines(drawn.tumour - drawn.excluded, drawn.excluded)
    path = tmp_path_factory.mktemp("asap") / "a.xml"
    asap.write(path, drawn)
    found = asap.read(path).outlines()
    for mine, theirs in ((drawn.tumour, found.tumour), (drawn.excluded, found.excluded)):
        assert found.tumour.is_valid
        assert theirs.area == pytest.approx(mine.area, rel=1e-9)
        assert shapely.symmetric_difference(mine, theirs).area <= 1e-9 * mine.area


def test_what_is_written_is_what_asap_reads(tmp_path):
    asap.write(tmp_path / "a.xml", Outlines(nested(3), shapely.box(0, 0, 10, 10)))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    groups = {group.get("Name") for group in root.iter("Group")}
    for one in root.iter("Annotation"):
        corners = [(c.get("X"), c.get("Y")) for c in one.iter("Coordinate")]
        assert one.get("PartOfGroup") in groups  # ASAP refuses others
        assert one.get("Type") == "Polygon"
        assert corners[0] != corners[-1]  # ASAP closes them itself
        assert [c.get("Order") for c in one.iter("Coordinate")] == [
            str(n) for n in range(len(corners))
        ]


@given(seed=st.integers(0, 999))
def test_pieces_without_holes_cover_the_same_area(seed):
    area = nested(seed)
    parts = shapes.without_holes(area)
    assert all(not len(part.interiors) for part in parts)
    assert sum(part.area for part in parts) == pytest.approx(area.area, rel=1e-9)
    assert shapely.union_all(parts).area == pytest.approx(area.area, rel=1e-9)
