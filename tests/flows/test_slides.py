"""Scores of slides through the command line: files in, figures and pictures out, and bad input."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests import cli
from wsrpn.slides import phantom, table
from wsrpn.slides.calibration import SlideCalibration
from wsrpn.slides.phantom import Plan
from wsrpn_cli import slide_source

ROOT = Path(__file__).parents[2]
PHANTOM = "phantom:slides?slides=8&tiles=250&seed=3&burden=0.02-0.2&auc=0.97"
QUICK = ("--smooth", "0,1tiles", "--min-area", "0", "--max-hole", "0", "--normalise", "none,z")
FEW = ("--bootstrap", 50)
KEYS = {"command", "version", "metrics", "per_class", "files", "warnings"}


def done(*words, code=0):
    """What a command leaves that must end with `code`; it never shows a traceback."""
    result = cli.wsrpn(*words)
    assert result.exit_code == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    return result


def document(*words, code=0):
    """The one JSON document of a command."""
    found = json.loads(done(*words, "--json", code=code).stdout)
    assert set(found) >= KEYS
    return found


def sentence(*words):
    """The one line of a command that refuses, with exit code 2."""
    result = done(*words, code=2)
    said = ("note: ", "split ", "calibration: ")
    lines = [line for line in result.stderr.splitlines() if not line.startswith(said)]
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A folder with scores, slides.csv, outlines and thumbnails; copy it before changing it."""
    out = tmp_path_factory.mktemp("slides") / "cohort"
    phantom.write(out, phantom.parse(PHANTOM.removeprefix("phantom:")))
    return out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, cohort):
    """A calibration on the split val."""
    out = tmp_path_factory.mktemp("fitted") / "calibration.json"
    done("calibrate", cohort, *QUICK, "--cross-validate", "--out", out)
    return out


@pytest.fixture
def own(tmp_path, cohort):
    """The folder, to be changed."""
    return shutil.copytree(cohort, tmp_path / "cohort")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_csv(folder, **changes):
    """The scores as CSV rows with some values changed, in `scores.csv` alone."""
    read = pq.read_table(folder / "scores.parquet").to_pylist()
    rows = [{**row, **changes} for row in read]
    (folder / "scores.parquet").unlink()
    write_rows(folder / "scores.csv", rows)
    return folder / "scores.csv", rows


def files_in(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and ".tmp." not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# --- the line


def test_calibrate_takes_val_and_eval_takes_test(cohort, fitted, tmp_path):
    loaded = SlideCalibration.load(fitted)
    splits = {row["slide"]: row["split"] for row in rows_of(cohort / "slides.csv")}
    assert set(loaded.slides) == {name for name, split in splits.items() if split == "val"}
    report = document("eval", cohort, "--calibration", fitted, "--out", tmp_path, *FEW)
    assert set(report["per_slide"]) == {name for name, split in splits.items() if split == "test"}
    assert report["metrics"]["iou_macro"]["value"] > 0.2
    assert report["metrics"]["iou_oracle"]["value"] >= report["metrics"]["iou_macro"]["value"]
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert not any("fit the calibration" in line for line in report["warnings"])


def test_the_calibration_says_what_was_chosen_and_what_each_step_adds(cohort, tmp_path):
    out = tmp_path / "c.json"
    result = done("calibrate", cohort, *QUICK, "--cross-validate", "--out", out, "--json")
    found = json.loads(result.stdout)
    assert found["metrics"]["iou_macro"]["value"] >= found["metrics"]["iou_macro_held_out"]["value"]
    assert found["metrics"]["threshold"]["value"] == SlideCalibration.load(out).threshold
    assert [row["name"] for row in found["provenance"]["contribution"]]
    for words in ("choices", "iou_macro by steps", "+ smoothing", "held out", "chosen: "):
        assert words in result.stderr


def test_a_slide_that_was_fitted_on_is_named_when_it_is_evaluated(cohort, fitted, tmp_path):
    report = document(
        "eval", cohort, "--split", "val", "--calibration", fitted, "--out", tmp_path, *FEW
    )
    told = [line for line in report["warnings"] if "fit the calibration" in line]
    assert "phantom_3_000" in told[0]


def test_mpp_may_be_given_where_nothing_says_it(cohort, tmp_path):
    cohort = shutil.copytree(cohort, tmp_path / "cohort")
    table, _ = as_csv(cohort, mpp="")
    write_rows(
        cohort / "slides.csv",
        [{**row, "mpp": ""} for row in rows_of(cohort / "slides.csv")],
    )
    first = ("calibrate", table, "--split", "all", *QUICK, "--out", tmp_path / "c.json")
    document(*first)
    assert json.loads((tmp_path / "c.json").read_text())["tile_um"] is None
    document(*first, "--mpp", "0.5")
    assert json.loads((tmp_path / "c.json").read_text())["tile_um"] == 128.0
    assert "--mpp -1: a number above 0" in sentence(*first, "--mpp", "-1")


def test_a_phantom_needs_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done("calibrate", PHANTOM, *QUICK)
    assert (tmp_path / "phantom-slides" / "calibration.json").is_file()
    result = done("eval", PHANTOM, *FEW)
    assert "phantom-slides/calibration.json" in result.stderr
    assert (tmp_path / "phantom-slides" / "report.json").is_file()


def test_a_table_with_its_own_truth_needs_nothing_else(own, tmp_path):
    path = shutil.move(own / "scores.parquet", tmp_path / "mine.parquet")
    result = done("calibrate", path, *QUICK, "--split", "all")
    assert SlideCalibration.load(tmp_path / "calibration.json").rule
    assert "is not used" not in result.stderr


def test_slides_csv_beside_a_table_waits_to_be_asked_for(own):
    result = done("eval", own / "scores.parquet", *FEW)
    assert f"--data {own / 'slides.csv'}" in result.stderr


def test_slides_with_a_folder_is_what_the_table_of_slides_is_called(own, fitted, tmp_path):
    words = ("eval", own / "scores.parquet", "--calibration", fitted, *FEW, "--out", tmp_path)
    found = [
        document(*words, "--data", data)["per_slide"]
        for data in (own / "slides.csv", own, f"slides:{own}")
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 3  # those of the split test


def test_without_splits_all_slides_are_taken_and_that_is_said(own):
    rows = rows_of(own / "slides.csv")
    write_rows(own / "slides.csv", [{**row, "split": ""} for row in rows])
    path, kept = as_csv(own)
    write_rows(path, [{k: v for k, v in row.items() if k != "split"} for row in kept])
    result = done("calibrate", own, *QUICK)
    assert "no splits" in result.stderr
    assert len(SlideCalibration.load(own / "calibration.json").slides) == 8
    assert "no splits" in sentence("calibrate", own, "--split", "val")


def test_named_slides_are_taken_from_any_split(cohort, fitted, tmp_path):
    words = ("--slide", "phantom_3_000", "--slide", "phantom_3_001")
    report = document("eval", cohort, *words, "--calibration", fitted, "--out", tmp_path, *FEW)
    assert set(report["per_slide"]) == {"phantom_3_000", "phantom_3_001"}
    assert "Did you mean 'phantom_3_001'" in sentence("eval", cohort, "--slide", "phantom_3_01")


def test_a_requirement_that_is_not_met_ends_with_3_and_leaves_the_report(cohort, fitted, tmp_path):
    words = ("eval", cohort, "--calibration", fitted, "--out", tmp_path, *FEW)
    done(*words, "--require", "iou_macro>=0.1", "--require", "tile_auroc>0.5")
    (tmp_path / "report.json").unlink()
    result = done(*words, "--require", "iou_macro>=0.99", "--json", code=3)
    assert json.loads(result.stdout) == json.loads((tmp_path / "report.json").read_text())
    assert "not met: iou_macro" in result.stderr
    assert "iou_mackro" in done(*words, "--require", "iou_mackro>=0.99", code=2).stderr


def test_steps_of_an_earlier_calibration_leave_only_the_threshold(cohort, fitted, tmp_path):
    out = tmp_path / "again.json"
    done("calibrate", cohort, "--steps", fitted, "--split", "test", "--out", out)
    before, after = SlideCalibration.load(fitted), SlideCalibration.load(out)
    assert after.steps == before.steps
    assert after.slides != before.slides
    assert "--smooth" in sentence("calibrate", cohort, "--steps", fitted, "--smooth", "0")


def test_sizes_are_read_in_micrometres_and_tiles(cohort, tmp_path):
    words = ("calibrate", cohort, "--normalise", "z", "--out", tmp_path / "c.json")
    sizes = ("--smooth", "128", "--min-area", "0", "--max-hole", "all")
    done(*words, *sizes, "--connectivity", "8")
    steps = SlideCalibration.load(tmp_path / "c.json").steps
    assert (steps.smooth, steps.unit, steps.max_hole) == (128.0, "um", float("inf"))
    assert (steps.normalise, steps.connectivity) == ("z", 8)
    done(*words, "--smooth", "1tile", "--min-area", "2tiles", "--max-hole", "0")
    steps = SlideCalibration.load(tmp_path / "c.json").steps
    assert (steps.smooth, steps.min_area, steps.unit) == (1.0, 2.0, "tile")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--smooth", "x"), "--smooth x"),
        (("--smooth", "all"), "--smooth all"),
        (("--min-area", "-3"), "--min-area -3"),
        (("--min-area", "2tiles", "--smooth", "120"), "in one unit"),
        (("--normalise", "zz"), "Did you mean 'z'"),
        (("--over", "mean"), "macro"),
        (("--connectivity", "6"), "4, 8"),
        (("--objective", "iuo"), "iuo"),
        (("--objective", "fnr@0.1"), "9"),
        (("--rule", "half"), "half"),
        (("--split", "vall"), "Did you mean 'val'"),
        (("--score", "scor"), "scor"),
        (("--boxes",), "--boxes is for radiographs"),
        (("--method", "platt"), "--method is for radiographs"),
        (("--map", "A=B"), "--map is for radiographs"),
        (("--data", "no-such.csv"), "no-such.csv"),
        (("--steps", "no-such.json"), "no-such.json"),
    ],
)
def test_calibrate_refuses_in_one_sentence(cohort, tmp_path, words, told):
    assert told in sentence("calibrate", cohort, "--out", tmp_path / "c.json", *words)
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("calibrate", ("--over", "macro")),
        ("calibrate", ("--exclude-non-exhaustive",)),
        ("eval", ("--slide", "a")),
        ("eval", ("--detections", "d")),
        ("heatmap", ("--scale", "slide")),
        ("heatmap", ("--downsample", "8")),
    ],
)
def test_options_of_slides_are_refused_for_a_run(trained, command, words):
    assert f"{words[0]} is for tile scores of slides" in sentence(command, trained, *words)


def test_help_has_a_panel_for_slides():
    for command in ("calibrate", "eval", "heatmap"):
        assert "Slides" in done(command, "--help").stdout


# --- calibrations


def test_a_calibration_of_other_things_is_refused(cohort, fitted, trained, tmp_path):
    loaded = SlideCalibration.load(fitted)
    words = ("eval", cohort, "--out", tmp_path / "r", *FEW, "--calibration")
    for change, told in (
        ({"tile_um": 2 * loaded.tile_um}, "calibrate on these"),
        ({"rule": "any"}, "any"),
    ):
        other = tmp_path / "other.json"
        dataclasses.replace(loaded, **change).save(other)
        asked = () if "rule" not in change else ("--rule", "share@0.5")
        result = done(*words, other, *asked, code=2)
        assert told in result.stderr
    assert "detection" in done(*words, trained / "calibration.json", code=2).stderr
    (tmp_path / "half.json").write_text(fitted.read_text()[:200])
    assert "half.json" in done(*words, tmp_path / "half.json", code=2).stderr
    assert not (tmp_path / "r").exists()


def test_a_calibration_beside_the_scores_is_used_and_named(own, fitted):
    shutil.copy(fitted, own / "calibration.json")
    result = done("eval", own, *FEW)
    assert f"calibration: {own / 'calibration.json'}" in result.stderr
    assert "not calibrated" not in result.stderr


def test_without_a_calibration_figures_that_need_one_are_undefined(cohort, tmp_path):
    report = document("eval", cohort, "--out", tmp_path, *FEW)
    assert report["metrics"]["iou_macro"]["value"] is None
    assert report["metrics"]["tile_auroc"]["value"] > 0.7
    assert report["metrics"]["iou_oracle"]["value"] > 0


def test_detections_of_the_challenge_take_the_place_of_peaks(cohort, fitted, tmp_path):
    hits = tmp_path / "hits"
    hits.mkdir()
    for tiles in table.read(cohort / "scores.parquet").slides:
        best = np.argsort(-tiles.truth, kind="stable")[:1] if tiles.label.any() else []
        lines = [f"0.9,{x + 128:.0f},{y + 128:.0f}" for x, y in tiles.corner_px0[best]]
        (hits / f"{tiles.slide}.csv").write_text("\n".join(lines))
    words = ("eval", cohort, "--calibration", fitted, "--out", tmp_path, *FEW)
    found = {
        how: document(*words, *more)
        for how, more in (("peaks", ()), ("given", ("--detections", hits)))
    }
    froc = {how: report["metrics"]["froc"]["value"] for how, report in found.items()}
    assert 0 < froc["given"] <= 1
    assert froc["given"] != froc["peaks"]
    assert "nowhere" in sentence("eval", cohort, "--detections", tmp_path / "nowhere")


def test_the_rule_of_labels_reaches_the_calibration(cohort, tmp_path):
    found = {}
    for rule in ("any", "share@0.5"):
        out = tmp_path / f"{rule}.json"
        done("calibrate", cohort, *QUICK, "--rule", rule, "--out", out)
        found[rule] = SlideCalibration.load(out)
        assert found[rule].rule == rule
    assert found["any"].threshold < found["share@0.5"].threshold


def test_slides_known_to_be_incomplete_can_be_left_out(own, tmp_path):
    rows = rows_of(own / "slides.csv")
    rows[0]["exhaustive"] = "no"
    write_rows(own / "slides.csv", [{"exhaustive": "yes", **row} for row in rows])
    out = ("--out", tmp_path / "c.json")
    found = document("calibrate", own, *QUICK, *out)
    assert any("phantom_3_000" in line for line in found["warnings"])
    result = done("calibrate", own, *QUICK, *out, "--exclude-non-exhaustive")
    assert "phantom_3_000" in result.stderr
    assert "phantom_3_000" not in SlideCalibration.load(tmp_path / "c.json").slides


# --- one slide that fails


def test_one_broken_annotation_leaves_the_rest(own, fitted, tmp_path):
    broken = next(p for p in (own / "annotations").iterdir() if "phantom_3_001" in p.name)
    broken.write_text("<ASAP_Annotations><Annot" if broken.suffix == ".xml" else '{"type":')
    words = ("--calibration", fitted, "--out", tmp_path / "out")
    report = document("eval", own, *words, *FEW, code=1)
    assert "phantom_3_001" not in report["per_slide"]
    assert len(report["per_slide"]) >= 2
    assert any(broken.name in line for line in report["warnings"])
    drawn = done("heatmap", own, *words, code=1)
    assert "failed phantom_3_001" in drawn.stderr
    assert list((tmp_path / "out").rglob("phantom_3_006*.png"))


def test_one_slide_off_its_lattice_leaves_the_rest(own, tmp_path):
    path, rows = as_csv(own)
    for number, row in enumerate(row for row in rows if row["slide"] == "phantom_3_002"):
        row["x"] = int(row["x"]) + 37 * (number % 5)
    write_rows(path, rows)
    found = document("calibrate", own, *QUICK, "--out", tmp_path / "c.json", code=1)
    assert any(line.startswith("failed phantom_3_002") for line in found["warnings"])
    assert "phantom_3_002" not in SlideCalibration.load(tmp_path / "c.json").slides


def test_a_cohort_of_broken_slides_ends_with_1_and_names_them_all(own, fitted):
    for path in (own / "annotations").iterdir():
        path.write_text("nothing")
    words = ("--slide", "phantom_3_000", "--slide", "phantom_3_001")
    result = done("eval", own, *words, "--calibration", fitted, *FEW, code=1)
    assert "failed phantom_3_000" in result.stderr
    assert "failed phantom_3_001" in result.stderr


# --- bad input


def _cut(path):
    path.write_bytes(path.read_bytes()[:500])


def _text(path):
    path.write_text("this is no table")


def _nothing(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _text, _nothing])
def test_a_damaged_table_is_named_in_a_sentence(own, damage):
    damage(own / "scores.parquet")
    assert "scores.parquet" in sentence("calibrate", own)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("score", "nan", "score"),
        ("score", "high", "high"),
        ("label", "2", "label"),
        ("truth", "1.5", "truth"),
        ("x", "", "x"),
        ("slide", "", "slide"),
    ],
)
def test_a_bad_cell_is_named_by_file_row_and_column(own, column, value, told):
    path, rows = as_csv(own)
    rows[7][column] = value
    write_rows(path, rows)
    said = sentence("eval", own)
    assert "scores.csv" in said
    assert told in said
    assert "9" in said  # the line of the file


def test_wrong_delimiters_and_missing_columns_are_told(own):
    path, _ = as_csv(own)
    text = path.read_text()
    path.write_text(text.replace(",", ";"))
    assert "scores.csv" in sentence("eval", own)
    path.write_text(text.replace("height", "hight", 1))
    assert "height" in sentence("eval", own)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    done("eval", own, *FEW)


def test_outlines_never_come_from_outside_the_folder(own):
    rows = rows_of(own / "slides.csv")
    rows[0]["annotation"] = "../../secret.xml"
    write_rows(own / "slides.csv", rows)
    assert "slides.csv" in sentence("eval", own)


def test_what_is_not_there_is_told(tmp_path):
    for source in ("gone.parquet", "gone"):
        assert source in sentence("eval", tmp_path / source)
    assert "cxr" in sentence("eval", "phantom:cxr?images=3")
    assert "tils" in sentence("calibrate", "phantom:slides?tils=4")


# --- other tools' files


def test_a_folder_of_wsinfer_files_is_calibrated_with_outlines(own, tmp_path):
    scores = tmp_path / "wsinfer"
    scores.mkdir()
    read = table.read(own / "scores.parquet")
    for tiles in read.slides:
        side = round(tiles.size_px0[0])
        write_rows(scores / f"{tiles.slide}.csv", [
            {"minx": round(x), "miny": round(y), "width": side, "height": side, "prob_Tumor": s}
            for (x, y), s in zip(tiles.corner_px0, tiles.score, strict=True)
        ])  # fmt: skip
    words = (*QUICK, "--rule", "share@0.5", "--out", tmp_path / "c.json")
    done("calibrate", scores, "--data", own / "slides.csv", *words)
    done("calibrate", own, *words[:-1], tmp_path / "d.json")
    first, second = (SlideCalibration.load(tmp_path / name) for name in ("c.json", "d.json"))
    assert first.threshold == pytest.approx(second.threshold)
    assert first.slides == second.slides


# --- pictures


def test_heatmaps_of_the_asked_formats_are_there(cohort, fitted, tmp_path):
    found = document(
        "heatmap", cohort, "--calibration", fitted, "--out", tmp_path / "h", "--limit", 2,
        "--format", "png,geojson,tiff,ome-tiff,html",
    )  # fmt: skip
    paths = [Path(path) for path in found["files"].values()]
    assert all(path.is_file() for path in paths)
    endings = {"".join(path.suffixes) for path in paths}
    assert {".png", ".geojson", ".html"} <= endings
    with Image.open(found["files"]["contact_sheet"]) as sheet:
        assert np.asarray(sheet.convert("L")).std() > 5
    assert len(list((tmp_path / "h").rglob("*.geojson"))) == 2


def test_finished_slides_are_left_as_they_are_until_something_changes(cohort, fitted, tmp_path):
    words = ("heatmap", cohort, "--calibration", fitted, "--out", tmp_path / "h", "--limit", 2)
    done(*words)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "h").rglob("phantom_*.png")}
    assert stamps
    assert "2 slides drawn before" in done(*words).stderr
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert "drawn before" not in done(*words, "--clip", "1,99").stderr
    assert all(p.stat().st_mtime_ns > before for p, before in stamps.items())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "gif"), "gif"),
        (("--format", ","), "--format"),
        (("--clip", "95,5"), "5,95"),
        (("--clip", "5"), "5,95"),
        (("--scale", "log"), "log"),
        (("--downsample", "0"), "downsample"),
        (("--class", "Nodule"), "--class is for radiographs"),
        (("picture.png",), "is for radiographs"),
    ],
)
def test_heatmap_refuses_in_one_sentence(cohort, tmp_path, words, told):
    assert told in sentence("heatmap", cohort, *words, "--out", tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_a_heatmap_killed_at_any_change_of_the_disk_goes_on_to_the_same_bytes(
    cohort, fitted, tmp_path
):
    words = (
        "heatmap", str(cohort), "--calibration", str(fitted), "--format", "png,geojson",
        "--limit", "2",
    )  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-m", "tests.flows.kill_slides", str(tmp_path), *words],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    told = json.loads(found.stdout.splitlines()[-1])
    assert told["kills"] >= 4
    unbroken, broken = (files_in(tmp_path / name) for name in ("unbroken", "killed"))
    assert len(unbroken) >= 8
    assert broken == unbroken


# --- making phantoms


def test_phantom_slides_are_written_as_a_user_would_bring_them(tmp_path):
    out = tmp_path / "made"
    words = ("data", "phantom", "slides?auc=0.95", "--out", out, "--slides", 3, "--tiles", 60)
    found = document(*words)
    assert Path(found["files"]["scores"]) == out / "scores.parquet"
    assert len(table.read(out / "scores.parquet").slides) == 3
    assert Plan(slides=3, tiles=60, auc=0.95) == phantom.parse("slides?auc=0.95&slides=3&tiles=60")
    assert "exists already" in sentence(*words)
    assert "images" in sentence("data", "phantom", "slides", "--images", 3, "--out", tmp_path / "x")


def test_doctor_tells_of_what_slides_need():
    told = done("doctor").stderr
    for word in ("OpenSlide", "pyarrow", "sigma-clip"):
        assert word in told


# --- what only the score table knows


def _with_masks(folder):
    """Masks as annotation, and the size and the resolution of slides in the score table alone."""
    sheet = rows_of(folder / "slides.csv")
    known = {row["slide"]: row for row in sheet}
    scores = [
        {**row, "slide_width": known[row["slide"]]["width"],
         "slide_height": known[row["slide"]]["height"]}
        for row in pq.read_table(folder / "scores.parquet").to_pylist()
    ]  # fmt: skip
    (folder / "scores.parquet").unlink()
    write_rows(folder / "scores.csv", scores)
    for row in sheet:
        size = int(row["width"]), int(row["height"])
        mask = np.zeros((size[1] // 64, size[0] // 64), dtype=np.uint8)
        for tile in (tile for tile in scores if tile["slide"] == row["slide"]):
            if tile["label"] == 1:
                x, y = int(float(tile["x"]) / 64), int(float(tile["y"]) / 64)
                mask[y : y + 4, x : x + 4] = 1
        Image.fromarray(mask).save(folder / f"{row['slide']}.png")
        annotation = "" if row["label"] == "normal" else f"{row['slide']}.png"
        row.update(annotation=annotation, mpp="", width="", height="")
    write_rows(folder / "slides.csv", sheet)


def test_sizes_that_only_the_score_table_knows_serve_every_command(own, tmp_path):
    _with_masks(own)
    out = tmp_path / "c.json"
    done("calibrate", own, *QUICK, "--out", out)
    report = document("eval", own, "--calibration", out, "--out", tmp_path / "e", *FEW)
    assert len(report["per_slide"]) >= 2
    drawn = document("heatmap", own, "--calibration", out, "--out", tmp_path / "h", "--limit", 1)
    assert drawn["files"]


def test_outlines_that_cannot_be_read_leave_those_of_the_others(own, capsys):
    found = slide_source.scores(
        slide_source.locate(own, ""), slide_source.Selection(split="all"), usual="all"
    )
    marked = [name for name, row in found.sheet.items() if row.annotation is not None]
    found.sheet[marked[0]].annotation.write_text("nothing")
    read = slide_source.outlines(found)
    assert marked[0] not in read
    assert set(marked[1:]) <= set(read)
    assert marked[0] in capsys.readouterr().err
