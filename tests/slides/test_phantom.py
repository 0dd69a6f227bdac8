"""Phantom slides: exact truth, scores of the law that was asked for, files as a user's."""

import csv
import json

import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import stats
from shapely import affinity

from wsrpn.errors import InputError
from wsrpn.slides import labels as labelling
from wsrpn.slides import phantom, phantom_slide, sheet, table
from wsrpn.slides.phantom import Plan

SMALL = {"tiles": 300, "slides": 4}


def ring(*corners):
    return [list(corner) for corner in corners]


@pytest.fixture(scope="module")
def made():
    """A slide with a fifth of tumour, its lattice of fractional pitch."""
    return phantom_slide.generate("s", (3, 1), tiles=900, burden=0.2, tile=374.7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of a small cohort."""
    out = tmp_path_factory.mktemp("phantom")
    phantom.write(out, Plan(slides=6, tiles=300, seed=2, burden="0.01-0.2", tile=100.5))
    return out


# --- truth


def test_the_shares_of_tiles_add_up_to_the_area_of_the_tumour(made):
    assert made.tiles.truth.sum() * 374.7**2 == pytest.approx(made.tumour.area, rel=1e-9)


def test_a_share_is_that_of_points_inside(made):
    rng = np.random.default_rng(0)
    part = np.flatnonzero((made.tiles.truth > 0) & (made.tiles.truth < 1))[:5]
    for index in part:
        corner = made.tiles.corner_px0[index]
        points = corner + 374.7 * rng.random((4000, 2))
        inside = shapely.contains_xy(made.tumour, points[:, 0], points[:, 1]).mean()
        assert made.tiles.truth[index] == pytest.approx(inside, abs=0.04)


def test_shares_of_a_hole_and_of_a_cut_tile_are_exact():
    square = shapely.Polygon(ring((0, 0), (30, 0), (30, 15), (0, 15)), [
        ring((10, 0.0001), (20, 0.0001), (20, 10), (10, 10))
    ])  # fmt: skip
    found = phantom_slide.cover(square, (2, 4), 10.0)
    np.testing.assert_allclose(found, [[1, 0, 1, 0], [0.5, 0.5, 0.5, 0]], atol=2e-5)


@pytest.mark.parametrize("burden", [0.002, 0.02, 0.3])
def test_the_burden_is_about_what_was_asked_for(burden):
    found = [
        phantom_slide.generate("s", (7, k), tiles=2000, burden=burden).tiles.burden
        for k in range(4)
    ]
    assert np.mean(found) == pytest.approx(burden, rel=0.25)


def test_a_slide_without_tumour_has_none():
    found = phantom_slide.generate("s", (0, 0), tiles=200)
    assert found.tumour.is_empty
    assert found.tiles.burden == 0
    assert not found.tiles.label.any()


def test_tumour_lies_in_tissue_and_on_the_slide(made):
    wide, high = made.tiles.extent_px0
    assert shapely.box(0, 0, wide, high).contains(made.tumour)
    assert made.tiles.tissue[made.tiles.truth > 0].min() == 1
    assert len(made.tiles) == pytest.approx(900, rel=0.2)


def test_a_real_outline_keeps_its_shape_and_size():
    outline = shapely.Polygon(ring((9e4, 1e5), (91e3, 1e5), (91e3, 104e3)))
    found = phantom_slide.generate("s", (0, 0), tiles=500, outline=outline)
    here, there = (
        affinity.translate(one, -one.bounds[0], -one.bounds[1]) for one in (found.tumour, outline)
    )
    assert here.equals_exact(there, 1e-6)
    assert found.tiles.truth.sum() * 256**2 == pytest.approx(outline.area, rel=1e-9)


# --- scores


@pytest.mark.parametrize("auc", [0.5, 0.78, 0.95])
def test_scores_part_full_tiles_from_empty_ones_as_asked(auc):
    slides = [
        phantom_slide.generate("s", (1, k), tiles=9000, burden=0.3, auc=auc, correlation=0.0)
        for k in range(6)
    ]
    found = []
    for one in slides:
        full, empty = (one.tiles.score[one.tiles.truth == t] for t in (1.0, 0.0))
        found.append(stats.mannwhitneyu(full, empty).statistic / (len(full) * len(empty)))
    assert np.mean(found) == pytest.approx(auc, abs=0.01)


def test_noise_has_unit_variance_and_the_correlation_asked_for():
    noise = phantom_slide._noise(np.random.default_rng(0), (500, 500), 2.0)
    near = np.corrcoef(noise[:, :-2].ravel(), noise[:, 2:].ravel())[0, 1]
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert near == pytest.approx(np.exp(-0.5), abs=0.02)


def test_jitter_moves_slides_apart_and_nothing_within_them():
    calm, wild = (
        phantom.cohort(**SMALL, jitter=jitter, seed=5, burden="0.01").slides
        for jitter in (0.0, 0.5)
    )
    for still, moved in zip(calm, wild, strict=True):
        assert stats.spearmanr(still.score, moved.score).statistic == pytest.approx(1)
    assert np.std([t.score.mean() for t in wild]) > 5 * np.std([t.score.mean() for t in calm])


# --- cohorts


def test_a_slide_does_not_depend_on_how_many_there_are():
    few, many = (phantom.cohort(tiles=200, slides=n).slides for n in (2, 5))
    np.testing.assert_array_equal(few[1].score, many[1].score)


def test_patients_do_not_cross_splits_and_both_splits_have_tumour_and_normals():
    slides = phantom.cohort(tiles=100, slides=24).slides
    splits = {tiles.patient: set() for tiles in slides}
    for tiles in slides:
        splits[tiles.patient].add(tiles.split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) < len(slides)
    for split in ("val", "test"):
        burdens = [tiles.burden for tiles in slides if tiles.split == split]
        assert {burden > 0 for burden in burdens} == {True, False}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("slides?tile=4&tiles=9&tiles=9", "twice"),
        ("slides?tils=4", "Did you mean 'tiles'"),
        ("slides?slides=0", "slides"),
        ("cubes", "no such phantom"),
        ("slides?auc=1", "auc"),
        ("slides?", "tiles"),
        ("slides?seed", "write options as"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(address, words):
    if address == "slides?":
        assert phantom.parse(address) == Plan()
        return
    with pytest.raises(InputError, match=words):
        phantom.parse(address)


@pytest.mark.parametrize("burden", ["x", "0.3-0.1", "0", "0.1-2"])
def test_a_burden_that_is_none_is_refused(burden):
    with pytest.raises(InputError, match="LOW-HIGH"):
        phantom.cohort(**SMALL, burden=burden)


# --- files


def test_the_table_reads_back_as_it_was_made(folder):
    slides = sheet.read(folder / "slides.csv")
    read = table.read(folder / "scores.parquet", slides=slides)
    made = phantom.cohort(slides=6, tiles=300, seed=2, burden="0.01-0.2", tile=100.5)
    assert [tiles.slide for tiles in read.slides] == [tiles.slide for tiles in made.slides]
    for found, was in zip(read.slides, made.slides, strict=True):
        np.testing.assert_array_equal(found.score, was.score)
        np.testing.assert_allclose(found.corner_px0, was.corner_px0, rtol=1e-12)
        assert found.mpp == was.mpp
        assert found.extent_px0 == was.extent_px0


def test_outlines_on_disk_give_the_truth_of_the_table(folder):
    slides = sheet.read(folder / "slides.csv")
    read = table.read(folder / "scores.parquet", slides=slides)
    again = labelling.attach(read, slides, rule="share@0.5")
    assert not again.failed
    kinds = {one.annotation.suffix for one in slides.values() if one.annotation}
    assert kinds == {".xml", ".geojson"}
    for found, was in zip(again.slides, read.slides, strict=True):
        np.testing.assert_allclose(found.truth, was.truth, atol=1e-9)
        assert found.patient.startswith("patient_")
        assert found.split in {"val", "test"}


def test_thumbnails_show_white_glass_and_the_shape_of_the_slide(folder):
    with (folder / "slides.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        with Image.open(folder / row["thumbnail"]) as picture:
            pixels = np.asarray(picture)
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(
            int(row["width"]) / int(row["height"]), rel=0.01
        )
        assert pixels[0, 0].min() > 230
        assert (pixels[..., 1] < 200).mean() > 0.2


def test_real_outlines_are_drawn_evenly_over_their_sizes(tmp_path):
    for side in (400, 900, 2000, 4000):
        rings = {"positive": [ring((0, 0), (side, 0), (side, side), (0, side))], "negative": []}
        (tmp_path / f"s{side}.json").write_text(json.dumps(rings))
    plan = {"slides": 7, "tiles": 300, "normal": 0.0, "outlines": str(tmp_path), "mpp": 0.243}
    areas = [one.tumour.area for one in phantom.generate(Plan(**plan))]
    assert {round(a**0.5) for a in areas} == {400, 900, 2000, 4000}
    with pytest.raises(InputError, match="own sizes"):
        phantom.cohort(**plan, burden="0.1")
    with pytest.raises(InputError, match="no outlines"):
        phantom.cohort(**{**plan, "outlines": str(tmp_path / "gone")})


def test_a_phantom_is_made_once_and_again_when_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("WSRPN_CACHE", str(tmp_path))
    address = "slides?slides=2&tiles=50"
    first = phantom.folder_of(address)
    before = (first / "scores.parquet").read_bytes()
    stamp = (first / "scores.parquet").stat().st_mtime_ns
    assert phantom.folder_of(address) == first
    assert (first / "scores.parquet").stat().st_mtime_ns == stamp
    assert phantom.folder_of("slides?slides=2&tiles=51") != first
    (first / "scores.parquet").write_bytes(before[:-100])
    with pytest.warns(UserWarning, match="damaged"):
        again = phantom.folder_of(address)
    assert (again / "scores.parquet").read_bytes() == before
