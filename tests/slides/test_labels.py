"""Truth of tiles: exact overlap, label rules, and what a cohort gets from a table of slides."""

import dataclasses

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.slides.areas import nested, star
from wsrpn.errors import InputError
from wsrpn.slides import asap, labels, overlap, rules
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import AS_GIVEN, Cohort, Lattice, Slide, Tiles

NOTHING = shapely.MultiPolygon()


def tiles(name="s", shape=(4, 5), pitch=10.0, size=None, **facts):
    row, column = (axis.ravel() for axis in np.indices(shape))
    many = len(row)
    unknown = np.full(many, np.nan)
    known = {
        "score": np.zeros(many), "label": unknown, "truth": unknown.copy(),
        "tissue": np.ones(many), **facts,
    }  # fmt: skip
    lattice = Lattice((0.0, 0.0), (pitch, pitch), column, row, shape)
    patient = known.pop("patient", name)
    return Tiles(name, patient, lattice, (size or pitch, size or pitch), **known)


def outlines(tumour, excluded=NOTHING):
    return Outlines(tumour, excluded)


def boxes(rng, many, low, high, side):
    corner = rng.uniform(low, high, (many, 2))
    return np.concatenate([corner, corner + side * rng.uniform(0.2, 1, (many, 2))], axis=1)


@given(seed=st.integers(0, 999))
def test_shares_equal_the_overlap_one_by_one(seed):
    rng = np.random.default_rng(seed)
    area = nested(seed)
    x1, y1, *_ = area.bounds
    where = boxes(rng, 60, 0, 2200, 400) + np.array([x1, y1, x1, y1])
    cells = shapely.box(*where.T)
    slow = [shapely.intersection(area, cell).area / cell.area for cell in cells]
    np.testing.assert_allclose(overlap.shares(area, where), slow, atol=1e-9)
    touched = [shapely.intersects(area, cell) for cell in cells]
    np.testing.assert_array_equal(overlap.touched(area, where), touched)


def test_shares_of_an_area_with_very_many_corners_are_exact():
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    reach = 1000 + 5 * np.sin(200 * angle)
    ring = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
    area = shapely.Polygon(ring)
    grid = np.stack(np.meshgrid(np.arange(-1100.0, 1100, 50), np.arange(-1100.0, 1100, 50)), -1)
    corner = grid.reshape(-1, 2)
    found = overlap.shares(area, np.concatenate([corner, corner + 50], axis=1))
    assert found.sum() * 2500 == pytest.approx(area.area, rel=1e-9)
    assert set(found[[0, len(found) // 2 + 22]]) == {0.0, 1.0}


def test_nothing_covers_nothing():
    where = np.array([[0.0, 0, 1, 1]])
    assert overlap.shares(NOTHING, where) == [0]
    assert not overlap.touched(NOTHING, where)
    assert overlap.shares(shapely.box(0, 0, 2, 2), where) == [1]


@pytest.mark.parametrize("rule", ["half", "share", "share@0", "share@1.1", "share@x", "any@1", ""])
def test_other_rules_are_refused(rule):
    with pytest.raises(InputError, match=r"Known: any, centre, share@0\.5"):
        labels.parse(rule)


def test_rules_call_tiles_tumour_as_they_say():
    area = shapely.box(0, 0, 14, 10)  # all of tile 0, two fifths of tile 1
    made = {
        rule: rules.label(tiles(shape=(1, 3)), outlines(area), rule).label.tolist()
        for rule in ("any", "centre", "share@0.4", "share@0.5", "share@1")
    }
    assert made == {
        "any": [1, 1, 0], "centre": [1, 0, 0], "share@0.4": [1, 1, 0], "share@0.5": [1, 0, 0],
        "share@1": [1, 0, 0],
    }  # fmt: skip


def test_any_does_not_count_what_rounded_coordinates_may_hide():
    for x, called in ((10.4, 0.0), (10.6, 1.0)):
        made = rules.label(tiles(shape=(1, 3)), outlines(shapely.box(0, 0, x, 10)), "any")
        assert made.label.tolist() == [1, called, 0]
        assert made.truth[1] == pytest.approx((x - 10) / 10)


def test_a_tile_that_touches_an_excluded_area_is_unknown():
    found = outlines(shapely.box(0, 0, 10, 10), shapely.box(10, 0, 11, 10))
    made = rules.label(tiles(shape=(1, 3)), found, "share@0.5")
    np.testing.assert_array_equal(made.label, [1, np.nan, 0])
    np.testing.assert_array_equal(made.truth, [1, np.nan, 0])


def test_overlapping_tiles_each_get_their_own_share():
    made = rules.label(tiles(shape=(1, 3), size=20.0), outlines(shapely.box(0, 0, 20, 20)), "any")
    np.testing.assert_allclose(made.truth, [1, 0.5, 0])


@given(seed=st.integers(0, 999), rule=st.sampled_from(["any", "centre", "share@0.3"]))
def test_the_ceiling_is_the_pixel_iou_of_the_labels(seed, rule):
    rng = np.random.default_rng(seed)
    pixels = np.zeros((40, 50), bool)
    x, y = rng.integers(0, 40, 2)
    pixels[y : y + 13, x : x + 17] = True
    area = shapely.box(x, y, min(x + 17, 50), min(y + 13, 40))
    made = rules.label(tiles(), outlines(area), rule)
    called = np.kron(made.lattice.spread(made.label), np.ones((10, 10))).astype(bool)
    union = (called | pixels).sum()
    assert labels.ceiling(made) == pytest.approx((called & pixels).sum() / union)


def test_the_ceiling_counts_tissue_only_and_is_undefined_without_tumour():
    half = tiles(
        shape=(1, 2), label=np.array([1.0, 0]), truth=np.array([0.4, 0.1]),
        tissue=np.array([0.5, 1]),
    )  # fmt: skip
    assert labels.ceiling(half) == pytest.approx(0.4 / (0.5 + 0.1))
    assert np.isnan(labels.ceiling(tiles(truth=np.zeros(20), label=np.zeros(20))))
    assert np.isnan(labels.ceiling(tiles()))


@pytest.fixture
def drawn(tmp_path):
    """An annotation of the four tiles in the corner."""
    asap.write(tmp_path / "s.xml", outlines(shapely.box(0, 0, 20, 20)))
    return Slide("s", "p", split="val", annotation=tmp_path / "s.xml", mpp=0.5)


def test_outlines_become_labels_and_facts_come_along(drawn):
    drawn = dataclasses.replace(drawn, extent_px0=(50, 40), exhaustive=False)
    found = labels.attach(Cohort("c", (tiles(),)), {"s": drawn})
    (made,) = found.slides
    assert found.rule == "share@0.5"
    assert made.label.sum() == made.truth.sum() == 4
    assert (made.patient, made.split, made.mpp, made.extent_px0) == ("p", "val", 0.5, (50, 40))
    assert not made.exhaustive
    assert found.notes == ()


def test_facts_of_the_score_table_stay_where_the_table_of_slides_has_none(drawn):
    told = tiles(mpp=0.25, split="test", extent_px0=(7, 7), patient="q")
    bare = Slide("s", "s", annotation=drawn.annotation)
    (made,) = labels.attach(Cohort("c", (told,)), {"s": bare}).slides
    assert (made.patient, made.split, made.mpp, made.extent_px0) == ("q", "test", 0.25, (7, 7))
    found = labels.attach(Cohort("c", (told,)), {"s": drawn})
    (made,) = found.slides  # where both know it, the table of slides decides
    assert (made.patient, made.split, made.mpp, made.extent_px0) == ("p", "val", 0.5, (7, 7))
    assert any("mpp differs" in note and "0.5 and 0.25" in note for note in found.notes)


def test_labels_of_the_score_table_stay_where_there_is_no_annotation(drawn):
    own = tiles("t", label=np.ones(20))
    found = labels.attach(Cohort("c", (own,)), {})
    assert found.rule == AS_GIVEN
    assert found.slides[0].label.sum() == 20
    both = labels.attach(Cohort("c", (tiles(), own)), {"s": drawn})
    assert both.rule == "share@0.5"
    assert any("1 slide: not in the table of slides: t" in note for note in both.notes)
    assert any("1 slide with the labels of the score table" in note for note in both.notes)


def test_a_rule_makes_labels_from_shares():
    own = tiles(truth=np.linspace(0, 1, 20), label=np.zeros(20))
    many = {
        rule: labels.attach(Cohort("c", (own,)), {}, rule=rule).slides[0].label.sum()
        for rule in ("any", "share@0.5", "share@1")
    }
    assert many == {"any": 19, "share@0.5": 10, "share@1": 1}
    assert labels.attach(Cohort("c", (own,)), {}).slides[0].label.sum() == 0  # as given
    bare = tiles(truth=np.linspace(0, 1, 20))
    found = labels.attach(Cohort("c", (bare,)), {})
    assert (found.rule, found.slides[0].label.sum()) == ("share@0.5", 10)
    assert (
        "centre needs outlines" in labels.attach(Cohort("c", (own,)), {}, rule="centre").failed["s"]
    )


def test_the_rule_of_the_score_table_is_used_for_outlines_too(drawn):
    inner = tiles(size=30.0)
    found = labels.attach(Cohort("c", (inner,), rule="any"), {"s": drawn})
    assert found.rule == "any"
    assert found.slides[0].label.sum() == 4
    found = labels.attach(Cohort("c", (inner,), rule="of my own"), {"s": drawn})
    assert (found.rule, found.slides[0].label.sum()) == ("share@0.5", 0)


def test_labels_without_shares_are_kept_and_that_is_said():
    own = tiles(label=np.ones(20))
    found = labels.attach(Cohort("c", (own,)), {}, rule="any")
    assert found.rule == AS_GIVEN
    assert any("no shares to apply any to" in note for note in found.notes)
    assert labels.attach(Cohort("c", (own,), rule="any"), {}, rule="any").notes == ()


def test_other_labels_in_the_score_table_are_told(drawn):
    own = tiles(label=np.eye(1, 20).ravel())
    found = labels.attach(Cohort("c", (own,)), {"s": drawn})
    assert found.slides[0].label.sum() == 4
    assert any("s (3 of 20 tiles)" in note for note in found.notes)


def test_tumour_that_lies_under_no_tile_is_told(drawn):
    far = tiles(shape=(1, 1))
    found = labels.attach(Cohort("c", (far,)), {"s": drawn})
    assert any("under no tile" in note and "25% under tiles" in note for note in found.notes)


def test_a_slide_whose_truth_cannot_be_read_fails_alone(drawn, tmp_path):
    gone = Slide("t", "t", annotation=tmp_path / "gone.xml")
    found = labels.attach(Cohort("c", (tiles(), tiles("t"))), {"s": drawn, "t": gone})
    assert [one.slide for one in found.slides] == ["s"]
    assert "no such file" in found.failed["t"]


def test_normal_slides_have_no_tumour_and_may_not_have_any():
    normal = Slide("s", "s", normal=True)
    (made,) = labels.attach(Cohort("c", (tiles(),)), {"s": normal}).slides
    assert made.label.sum() == made.truth.sum() == 0
    wrong = tiles(label=np.ones(20))
    assert "is normal" in labels.attach(Cohort("c", (wrong,)), {"s": normal}).failed["s"]


def test_incomplete_slides_of_camelyon16_are_known_without_a_table_of_slides():
    own = tiles("tumor_020", label=np.ones(20))
    assert not labels.attach(Cohort("c", (own,)), {}).slides[0].exhaustive


def masked(path, values):
    Image.fromarray(np.array(values, np.uint8) * 255).save(path)
    return path


def test_tissue_comes_from_masks_where_the_score_table_has_none(drawn, tmp_path):
    picture = masked(tmp_path / "t.png", [[1, 1, 1, 1, 0], [0] * 5, [0] * 5, [0] * 5])
    with_mask = dataclasses.replace(drawn, tissue=picture, extent_px0=(50, 40))
    (made,) = labels.attach(Cohort("c", (tiles(),)), {"s": with_mask}).slides
    np.testing.assert_allclose(made.tissue, [1, 1, 1, 1, *[0] * 16], atol=1e-9)
    own = tiles(tissue=np.full(20, 0.5))
    (made,) = labels.attach(Cohort("c", (own,)), {"s": with_mask}).slides
    assert made.tissue.tolist() == [0.5] * 20
    masked(picture, np.zeros((4, 5)))
    found = labels.attach(Cohort("c", (tiles(),)), {"s": with_mask})
    assert found.slides[0].tissue.sum() == 20
    assert any("no tissue under any tile" in note for note in found.notes)


def test_a_mask_of_tiles_says_less_than_shares(tmp_path):
    picture = masked(tmp_path / "m.png", np.eye(4, 5))
    slide = Slide("s", "s", annotation=picture, extent_px0=(50, 40))
    (made,) = labels.attach(Cohort("c", (tiles(),)), {"s": slide}).slides
    np.testing.assert_allclose(made.truth, np.eye(4, 5).ravel(), atol=1e-9)
    own = tiles(truth=np.full(20, 0.3))
    found = labels.attach(Cohort("c", (own,)), {"s": slide}, rule="any")
    assert found.slides[0].truth.tolist() == [0.3] * 20
    assert any("shares of the score table kept" in note for note in found.notes)
    middle = labels.attach(Cohort("c", (own,)), {"s": slide}, rule="centre")
    np.testing.assert_allclose(middle.slides[0].label, np.eye(4, 5).ravel())


def test_a_slide_file_that_cannot_be_opened_is_a_note(drawn, tmp_path):
    lost = dataclasses.replace(drawn, mpp=None, file=tmp_path / "gone.svs")
    found = labels.attach(Cohort("c", (tiles(),)), {"s": lost})
    assert found.slides[0].label.sum() == 4
    assert any("nothing is known from its file" in note for note in found.notes)


def test_a_piece_with_a_hole_is_cut_without_loss():
    rng = np.random.default_rng(0)
    area = star(rng, 500, 500, 400) - star(rng, 500, 500, 100)
    grid = np.stack(np.meshgrid(np.arange(0.0, 1000, 100), np.arange(0.0, 1000, 100)), -1)
    corner = grid.reshape(-1, 2)
    found = overlap.shares(area, np.concatenate([corner, corner + 100], axis=1))
    assert found.sum() * 10_000 == pytest.approx(area.area, rel=1e-12)
