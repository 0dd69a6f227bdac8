"""Pictures of a cohort on disk: what is written, what is left, what fails."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from tests.cohort import cohorts
from wsrpn.cohort import draw, finished, pictures
from wsrpn.cohort.draw import FORMATS, SUFFIXES
from wsrpn.errors import InputError
from wsrpn.slides import apply
from wsrpn.slides.calibration import SlideCalibration, Steps
from wsrpn.tiles import AS_GIVEN, Slide

FITTED = SlideCalibration(
    Steps("z", 1.0, 2.0, 0.0, unit="tile"), 1.5, rule=AS_GIVEN, tile_px0=256.0, colour=(-1.0, 2.5),
    slides=("s01",),
)  # fmt: skip


@pytest.fixture
def cohort():
    return cohorts.world(slides=3, side=16)


def names(cohort):
    return [tiles.slide for tiles in cohort.slides]


def times(out):
    return {p.relative_to(out): p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def again(cohort, out, **options):
    """Draw once more; which files changed or are new, the sheet and the page left out."""
    before = times(out)
    done = draw.draw(cohort, {}, out, **options)
    changed = {p.name for p, at in times(out).items() if before.get(p) != at}
    return done, changed - {"contact_sheet.png", "slides.html"}


def test_every_format_is_written_for_every_slide_and_nothing_else_is_left(cohort, tmp_path):
    done = draw.draw(cohort, {}, tmp_path, calibration=FITTED, formats=FORMATS)
    assert not done.failed
    suffixes = [suffix for kind, suffix in SUFFIXES.items() if kind != "html"]
    expected = {f"{name}{suffix}" for name in names(cohort) for suffix in suffixes}
    assert set(done.files) == expected
    assert all(path.is_file() for path in done.files.values())
    found = {p.name for p in tmp_path.iterdir()}
    assert found == expected | {"contact_sheet.png", "slides.html", ".drawn"}
    assert not [p for p in tmp_path.rglob("*") if ".tmp" in p.name]
    page = done.page.read_text()
    assert all(name in page for name in names(cohort))


def test_finished_slides_are_left_as_they_are(cohort, tmp_path):
    options = {"calibration": FITTED, "formats": ("png", "geojson", "tiff", "html")}
    first = draw.draw(cohort, {}, tmp_path, **options)
    assert first.skipped == ()
    done, changed = again(cohort, tmp_path, **options)
    assert list(done.skipped) == names(cohort)
    assert not changed
    assert done.files == first.files


def test_what_changed_is_drawn_again_and_nothing_else(cohort, tmp_path):
    options = {"calibration": FITTED, "formats": ("geojson", "tiff")}
    draw.draw(cohort, {}, tmp_path, **options)
    first, *rest = cohort.slides
    score = first.score.copy()
    score[0] += 1
    moved = dataclasses.replace(cohort, slides=(dataclasses.replace(first, score=score), *rest))
    done, changed = again(moved, tmp_path, **options)
    assert list(done.skipped) == names(cohort)[1:]
    assert changed == {f"{first.slide}{s}" for s in (".geojson", ".tiff", ".json")}
    higher = dataclasses.replace(FITTED, threshold=2.0)
    done, _ = again(moved, tmp_path, calibration=higher, formats=("geojson",))
    assert done.skipped == ()
    assert "3 files of an earlier run" in done.notes[-1]
    assert f"{first.slide}.tiff" in done.notes[-1]
    seen = dataclasses.replace(higher, slides=(names(cohort)[0],))
    done, _ = again(moved, tmp_path, calibration=seen, formats=("geojson",))
    assert list(done.skipped) == [names(cohort)[2]]  # of the others the caution changed
    assert again(moved, tmp_path, calibration=seen, formats=("geojson",), downsample=8)[1]


def test_new_truth_is_drawn_though_its_file_has_the_same_name(cohort, tmp_path):
    annotation = tmp_path / "a.geojson"
    rows = {n: Slide(n, n, annotation=annotation) for n in names(cohort)[:1]}
    box = [[0, 0], [900, 0], [900, 900], [0, 900], [0, 0]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [box]},
               "properties": {"classification": {"name": "Tumor"}}}  # fmt: skip
    for corner, skipped in ((900, 0), (900, 1), (1200, 0)):
        box[1][0] = corner
        annotation.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        done = draw.draw(cohort, rows, tmp_path / "out", names=names(cohort)[:1])
        assert not done.failed
        assert len(done.skipped) == skipped


@pytest.mark.parametrize("harm", [Path.unlink, lambda p: p.write_bytes(p.read_bytes()[:100])])
def test_a_file_that_is_gone_or_cut_short_is_written_again(cohort, tmp_path, harm):
    draw.draw(cohort, {}, tmp_path, formats=("tiff", "geojson-tiles"))
    harm(tmp_path / f"{names(cohort)[1]}.tiff")
    done, changed = again(cohort, tmp_path, formats=("tiff", "geojson-tiles"))
    assert changed == {f"{names(cohort)[1]}.tiff", f"{names(cohort)[1]}.json"}
    assert len(done.skipped) == 2


def test_a_new_format_is_added_to_what_is_there(cohort, tmp_path):
    draw.draw(cohort, {}, tmp_path, formats=("tiff",))
    done, changed = again(cohort, tmp_path, formats=("tiff", "geojson-tiles"))
    assert {p for p in changed if "tiles" in p} == {f"{n}.tiles.geojson" for n in names(cohort)}
    assert not {p for p in changed if p.endswith(".tiff")}
    assert len(done.files) == 6


def test_a_run_that_was_stopped_goes_on_where_it_was(cohort, tmp_path):
    drawn = []

    def listen(count):
        drawn.append(count)
        if len(drawn) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw.draw(cohort, {}, tmp_path, formats=("png",), listen=listen)
    done = draw.draw(cohort, {}, tmp_path, formats=("png",))
    assert list(done.skipped) == names(cohort)[:2]
    assert done.sheet.is_file()


def test_one_failing_slide_does_not_stop_the_others(cohort, tmp_path):
    bad, broken = names(cohort)[0], names(cohort)[2]
    rows = {
        bad: Slide(bad, bad, annotation=tmp_path / "missing.xml"),
        broken: Slide(broken, broken, thumbnail=tmp_path / "broken.png", extent_px0=(4096, 4096)),
    }
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    done = draw.draw(cohort, rows, tmp_path / "out", formats=("png", "html"))
    assert set(done.failed) == {bad, broken}
    assert "missing.xml" in done.failed[bad]
    assert "broken.png" in done.failed[broken]
    assert set(done.files) == {f"{names(cohort)[1]}.png"}
    assert "missing.xml" in done.page.read_text()
    again = draw.draw(cohort, rows, tmp_path / "out", formats=("png", "html"))
    assert set(again.failed) == {bad, broken}
    assert again.skipped == (names(cohort)[1],)


def test_a_slide_of_other_tiles_fails_and_the_others_are_drawn(cohort, tmp_path):
    odd = dataclasses.replace(cohort.slides[0], slide="odd", size_px0=(300.0, 300.0), mpp=None)
    both = dataclasses.replace(cohort, slides=(*cohort.slides, odd))
    side = float(cohort.slides[0].size_px0[0])
    fitted = SlideCalibration(Steps(unit="tile"), 0.5, tile_px0=side, rule=cohort.rule)
    drawn = draw.draw(both, {}, tmp_path, calibration=fitted)
    assert set(drawn.failed) == {"odd"}
    assert "its tiles are 300 px wide" in drawn.failed["odd"]
    assert all(any(name in file for file in drawn.files) for name in names(cohort))


def test_a_fault_of_the_program_stops_one_slide_and_is_named(cohort, tmp_path, monkeypatch):
    whole = pictures.view_of

    def fault(tiles, *more):
        return whole(tiles, *more) if tiles.slide != "s01" else {}["no such thing"]

    monkeypatch.setattr(pictures, "view_of", fault)
    done = draw.draw(cohort, {}, tmp_path, formats=("tiff",))
    assert done.failed == {"s01": "KeyError: 'no such thing'"}
    assert len(done.files) == 2


def test_a_thumbnail_of_another_shape_fails_and_names_the_way_out(cohort, tmp_path):
    one = names(cohort)[0]
    Image.new("RGB", (300, 100)).save(tmp_path / "t.png")
    for extent, said in (((4096, 4096), "do not have the shape"), (None, "give `width`")):
        row = Slide(one, one, thumbnail=tmp_path / "t.png", extent_px0=extent)
        done = draw.draw(cohort, {one: row}, tmp_path / "out", names=[one])
        assert said in done.failed[one]


def test_colours_are_the_same_for_all_slides_unless_asked_otherwise(cohort):
    look = pictures.Look(None, "score", "cohort", (5.0, 95.0), 0.0)
    every = np.concatenate([tiles.score for tiles in cohort.slides])
    assert_allclose(pictures.shared(cohort, look, {}), np.percentile(every, (5, 95)), rtol=1e-6)
    fitted = dataclasses.replace(look, calibration=FITTED)
    assert pictures.shared(cohort, fitted, {}) == FITTED.colour
    wider = dataclasses.replace(fitted, clip=(1.0, 99.0))
    values = np.concatenate([apply.smoothed(t, FITTED.steps) for t in cohort.slides])
    assert_allclose(pictures.shared(cohort, wider, {}), np.percentile(values, (1, 99)), rtol=1e-5)
    one = dataclasses.replace(look, colour=(0.25, 0.75))
    assert {pictures.view_of(t, None, one).colour for t in cohort.slides} == {(0.25, 0.75)}
    own = dataclasses.replace(look, scale="slide")
    assert pictures.shared(cohort, own, {}) is None
    for tiles in cohort.slides:
        view = pictures.view_of(tiles, None, own)
        assert_allclose(view.colour, np.percentile(tiles.score, (5, 95)))


def test_drawing_a_few_uses_the_colours_of_all(cohort, tmp_path):
    one = names(cohort)[1]
    draw.draw(cohort, {}, tmp_path / "all", formats=("tiff",))
    done = draw.draw(cohort, {}, tmp_path / "one", formats=("tiff",), names=[one])
    assert set(done.files) == {f"{one}.tiff"}
    left, right = ((tmp_path / f / f"{one}.tiff").read_bytes() for f in ("all", "one"))
    assert left == right


def test_smoothing_for_display_changes_the_colours_and_nothing_else(cohort, tmp_path):
    for blur in (0.0, 3.0):
        draw.draw(cohort, {}, tmp_path / str(blur), calibration=FITTED, blur_tiles=blur,
                  formats=("geojson", "tiff"))  # fmt: skip
    for name in names(cohort):
        plain, blurred = (
            json.loads((tmp_path / str(blur) / f"{name}.geojson").read_text())["features"]
            for blur in (0.0, 3.0)
        )
        assert [f["geometry"] for f in plain] == [f["geometry"] for f in blurred]
        assert [f["properties"]["measurements"]["score mean"] for f in plain] == [
            f["properties"]["measurements"]["score mean"] for f in blurred
        ]
        left, right = ((tmp_path / f / f"{name}.tiff").read_bytes() for f in ("0.0", "3.0"))
        assert left != right
    tiles = cohort.slides[1]
    look = pictures.Look(FITTED, "score", "cohort", (5.0, 95.0), 3.0, FITTED.colour)
    found = pictures.view_of(tiles, None, look).found
    np.testing.assert_array_equal(found, apply.decide(tiles, FITTED.steps, FITTED.threshold))


def test_cautions_are_on_the_picture(cohort):
    look = pictures.Look(FITTED, "score", "cohort", (5.0, 95.0), 0.0, (0.0, 1.0))
    partly = dataclasses.replace(cohort.slides[1], exhaustive=False)
    said = pictures.view_of(partly, None, look).caution
    assert "fitted on this slide" in said
    assert "not annotated exhaustively" in said
    assert pictures.view_of(cohort.slides[0], None, look).caution == ""


def test_qupath_counts_from_the_bounds_that_its_own_geojson_counts_from(tmp_path):
    at = {"offset_px0": (100.0, 50.0)}
    assert pictures.origin_px0(Slide("a", "a", annotation=Path("a.geojson"), **at)) == (100, 50)
    assert pictures.origin_px0(Slide("a", "a", annotation=Path("a.xml"), **at)) == (0, 0)
    assert pictures.origin_px0(
        Slide("a", "a", annotation=Path("a.xml"), extra={"origin": "bounds"}, **at)
    ) == (100, 50)
    assert pictures.origin_px0(None) == (0, 0)


@pytest.mark.parametrize(("options", "said"), [
    ({"formats": ("gif",)}, "--format gif"),
    ({"formats": ("geojson",)}, "regions need a threshold"),
    ({"scale": "own"}, "--scale own"),
    ({"clip": (95.0, 5.0)}, "--clip 95,5"),
    ({"blur_tiles": -1.0}, "0 or more tiles"),
    ({"names": ["slide_7"]}, "no slide is called 'slide_7'"),
    ({"calibration": dataclasses.replace(FITTED, score="other")}, "column 'other'"),
])  # fmt: skip
def test_wrong_use_is_refused_before_anything_is_drawn(cohort, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        draw.draw(cohort, {}, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_slide_too_large_for_a_layer_fails_alone(cohort, tmp_path):
    vast = dataclasses.replace(cohort.slides[0], extent_px0=(10**6, 10**6))
    mixed = dataclasses.replace(cohort, slides=(vast, *cohort.slides[1:]))
    done = draw.draw(mixed, {}, tmp_path, formats=("tiff",), downsample=4)
    assert list(done.failed) == [vast.slide]
    assert "--downsample" in done.failed[vast.slide]
    assert len(done.files) == 2


MEMORY = """
import numpy as np, pathlib, sys
from wsrpn.cohort import draw
from wsrpn.slides.calibration import SlideCalibration, Steps
from wsrpn.tiles import Cohort, Lattice, Tiles
side = 100
row, column = (part.ravel() for part in np.indices((side, side)))
score = np.random.default_rng(0).normal(size=side * side)
label = (score > 2.5).astype(float)
tiles = Tiles("slide", "slide", Lattice((0.0, 0.0), (1000.0, 1000.0), column, row, (side, side)),
              (1000.0, 1000.0), score, label, label, np.ones(side * side), mpp=0.25,
              extent_px0=(100_000, 100_000))
fitted = SlideCalibration(Steps("none", 1.0, 0.0, 0.0, unit="tile"), 0.5, tile_px0=1000.0)
done = draw.draw(Cohort("one", (tiles,)), {}, pathlib.Path(sys.argv[1]), calibration=fitted,
                 formats=("png", "geojson", "geojson-tiles", "tiff", "ome-tiff", "html"))
assert not done.failed, done.failed
print(next(l for l in open("/proc/self/status") if "VmHWM" in l).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_all_files_of_a_slide_of_100000_pixels_a_side_need_less_than_a_gigabyte(tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(out) / 1024 < 1000


# --- runs that were killed, and runs beside each other


def rescored(cohort):
    """The same slides with other scores, whose flat pictures may well be as large in bytes."""
    slides = tuple(dataclasses.replace(t, score=t.score[::-1].copy()) for t in cohort.slides)
    return dataclasses.replace(cohort, slides=slides)


def kept(cohort, out, formats):
    """Bytes of the pictures of a cohort, drawn where nothing was before."""
    draw.draw(cohort, {}, out, formats=formats)
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}


@pytest.mark.parametrize("death", [OSError, KeyboardInterrupt])
def test_a_picture_of_other_scores_is_never_taken_for_a_finished_one(
    cohort, tmp_path, monkeypatch, death
):
    formats = ("geojson-tiles", "tiff")
    expected = kept(cohort, tmp_path / "expected", formats)
    out = tmp_path / "out"
    draw.draw(cohort, {}, out, formats=formats)
    with monkeypatch.context() as patched:

        def die(*_):
            raise death("the disk is full")

        patched.setattr(finished, "write", die)
        with contextlib.suppress(KeyboardInterrupt):
            draw.draw(rescored(cohort), {}, out, formats=formats)
    assert not (out / ".drawn" / "s00.json").exists()  # no record outlives what it says
    done = draw.draw(cohort, {}, out, formats=formats)
    assert "s00" not in done.skipped
    assert {name: (out / name).read_bytes() for name in expected} == expected


def test_a_file_with_other_bytes_of_the_same_number_is_written_again(cohort, tmp_path):
    draw.draw(cohort, {}, tmp_path, formats=("tiff",))
    path = tmp_path / f"{names(cohort)[1]}.tiff"
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 255]))
    done = draw.draw(cohort, {}, tmp_path, formats=("tiff",))
    assert len(done.skipped) == 2
    assert path.read_bytes() == right


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_of_other_slides(
    cohort, tmp_path
):
    one = names(cohort)[0]
    (tmp_path / ".drawn").mkdir()
    half = [
        f".{one}.tmp.7.tiff", f"{one}.tiles.geojson.tmp.7", f".{one}.tiles.tmp.7.geojson",
        f".drawn/{one}.json.tmp.7", f".drawn/.{one}.cell.tmp.7.png",
    ]  # fmt: skip
    others = [f".{one}0.tmp.7.tiff", f"{one}.tmp.7.txt", f"{one}.tiff.tmp.old"]
    for name in (*half, *others):
        (tmp_path / name).write_bytes(b"half")
    draw.draw(cohort, {}, tmp_path, formats=("tiff",), names=[one])
    assert [name for name in half if (tmp_path / name).exists()] == []
    assert [name for name in others if (tmp_path / name).exists()] == others


def test_two_runs_never_write_the_same_slide_at_once(cohort, tmp_path, monkeypatch):
    whole, inside, most = pictures.view_of, set(), []

    def slow(tiles, *more):
        inside.add(threading.get_ident())
        time.sleep(0.05)
        most.append(len(inside))
        inside.discard(threading.get_ident())
        return whole(tiles, *more)

    monkeypatch.setattr(pictures, "view_of", slow)
    one = names(cohort)[:1]
    runs = [
        threading.Thread(
            target=draw.draw,
            args=(scores, {}, tmp_path),
            kwargs={"formats": ("tiff",), "names": one},
        )
        for scores in (cohort, rescored(cohort))
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert most == [1, 1]
    drawn = [draw.draw(each, {}, tmp_path, formats=("tiff",), names=one).skipped
             for each in (cohort, rescored(cohort))]  # fmt: skip
    assert () in drawn  # at most one of them is finished: the files are of one run
