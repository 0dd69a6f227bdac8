"""`calibrate`, `eval` and `predict` of a run that segments, through the command line."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests import make
from tests.cli import wsrpn
from tests.segmentation import worlds


@pytest.fixture(autouse=True)
def _model():
    with worlds.bright():
        yield


@pytest.fixture
def place(tmp_path):
    """A run that finds the specks and not the discs, as its logits are 1 too low."""
    worlds.run(tmp_path / "run", worlds.data(tmp_path / "data", images=9), offset=-1.0)
    return tmp_path


def document(result) -> dict:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def value(report: dict, name: str) -> float:
    return report["metrics"][name]["value"]


def test_a_calibration_turns_misses_into_the_whole_truth(place):
    run = place / "run"
    plain = document(wsrpn("eval", run, "--json"))
    assert value(plain, "jaccard") == 0
    assert plain["provenance"]["threshold"] == 0.5
    fitted = document(wsrpn("calibrate", run, "--json", "--cross-validate"))
    assert value(fitted, "jaccard") == 1
    assert value(fitted, "jaccard_before") == 0
    assert value(fitted, "jaccard_held_out") == 1
    assert 10 <= value(fitted, "min_size_px") <= 190  # specks go, discs stay
    told = wsrpn("eval", run, "--json", "--require", "low(dice)>=0.99")
    report = document(told)
    assert "not calibrated" not in told.stderr
    for name in ("jaccard", "dice", "precision", "recall", "boundary_f1", "object_ap"):
        assert value(report, name) == 1, name
    assert value(report, "object_count_error") == 0
    assert report == json.loads((run / "eval-test" / "report.json").read_text())


def test_maps_are_made_once_and_again_only_where_they_are_damaged(place):
    run, folder = place / "run", place / "run" / "eval-test" / "maps"
    first = document(wsrpn("eval", run, "--json"))
    files = sorted(folder.glob("*.png"))
    times = {file: file.stat().st_mtime_ns for file in files}
    assert [file.stem for file in files] == ["02", "05", "08"]
    files[1].write_bytes(files[1].read_bytes()[:-20])
    assert document(wsrpn("eval", run, "--json")) == first
    assert [f for f in files if f.stat().st_mtime_ns != times[f]] == [files[1]]


def test_maps_of_an_image_that_changed_or_of_other_weights_are_made_again(place):
    run, folder = place / "run", place / "run" / "eval-test" / "maps"
    wsrpn("eval", run)
    before = {file.name: file.read_bytes() for file in folder.glob("*.png")}
    make.image(place / "data" / "02.png", np.zeros((62, 80)))
    wsrpn("eval", run)
    after = {file.name: file.read_bytes() for file in folder.glob("*.png")}
    assert [name for name in before if before[name] != after[name]] == ["02.png"]
    worlds.run(run, place / "data", offset=3.0)
    wsrpn("eval", run)
    again = {file.name: file.read_bytes() for file in folder.glob("*.png")}
    assert all(after[name] != again[name] for name in after)


def test_maps_of_a_folder_give_the_figures_of_the_run_they_came_from(place):
    run = place / "run"
    own = document(wsrpn("eval", run, "--json", "--split", "all"))
    folder = shutil.copytree(run / "eval-all" / "maps", place / "maps")
    (folder / "maps.json").unlink()
    other = document(wsrpn("eval", folder, "--data", place / "data", "--split", "all", "--json"))
    assert other["metrics"] == own["metrics"]
    fitted = document(wsrpn("calibrate", folder, "--data", place / "data", "--json"))
    assert value(fitted, "jaccard") == 1
    assert "calibration.json" in str(fitted["files"])


def test_a_folder_of_masks_can_be_judged_as_well(place):
    masks = place / "data" / "masks"
    report = document(wsrpn("eval", masks, "--data", place / "data", "--json"))
    assert value(report, "jaccard") == 1
    missing = wsrpn("eval", masks)
    assert missing.exit_code == 2
    assert "pass --data" in missing.stderr


def table(path) -> list[dict]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_predict_writes_masks_objects_and_tables(place):
    run, out = place / "run", place / "out"
    wsrpn("calibrate", run)
    files = sorted((place / "data").glob("0[0-2].png"))
    said = document(wsrpn("predict", run, *files, "--out", out, "--objects", "--json"))
    for name in ("00", "01", "02"):
        mask = np.asarray(Image.open(out / f"{name}.png"))
        truth = np.asarray(Image.open(place / "data" / "masks" / f"{name}.png"))
        np.testing.assert_array_equal(mask, truth * 255)
        labels = np.asarray(Image.open(out / "objects" / f"{name}.png"))
        assert labels.dtype == np.uint16
        assert set(np.unique(labels)) == {0, 1, 2}
    rows = table(out / "objects.csv")
    assert len(rows) == 6
    first = rows[0]
    assert (float(first["x"]), float(first["y"])) == (20.0, 20.0)
    area = int(first["area_px"])
    assert float(first["diameter_px"]) == pytest.approx(2 * (area / np.pi) ** 0.5, abs=0.01)
    assert [int(first[k]) for k in ("left", "top", "right", "bottom")] == [12, 12, 29, 29]
    grey = round(0.45 * 255) / 255
    assert float(first["score"]) == pytest.approx(1 / (1 + np.exp(1 - 20 * (grey - 0.5))), abs=1e-4)
    summary = table(out / "summary.csv")
    assert [row["objects"] for row in summary] == ["2", "2", "2"]
    assert said["files"]["objects"] == str(out / "objects.csv")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "RUN", "--data", "DATA", "--out", "p.json"), "need a folder; say --out p"),
        (("eval", "RUN", "--map", "a=b"), "--map is not for masks"),
        (("calibrate", "RUN", "--boxes"), "--boxes is not for masks"),
        (("calibrate", "RUN", "--objective", "f2"), "No objective of masks is called 'f2'"),
        (("calibrate", "RUN", "--touching", "glued"), "--touching glued: no such choice"),
        (("eval", "RUN", "--require", "iou>=1"), "no figure is called 'iou'"),
        (("compare", "RUN", "OTHER"), "answers every pixel"),
    ],
)
def test_what_has_no_meaning_for_masks_is_refused_in_a_sentence(place, words, sentence):
    named = {"RUN": place / "run", "DATA": place / "data"}
    if "OTHER" in words:
        named["OTHER"] = shutil.copytree(place / "run", place / "other")
    result = wsrpn(*(named.get(word, word) for word in words))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("Traceback") == 0


def test_calibrations_of_another_kind_and_of_other_weights_are_refused(place):
    run = place / "run"
    wsrpn("calibrate", run)
    other = worlds.run(place / "other", place / "data", offset=2.0)
    result = wsrpn("eval", other, "--calibration", run / "calibration.json")
    assert result.exit_code == 2
    assert "other weights" in result.stderr
    boxes = place / "boxes.json"
    boxes.write_text(json.dumps({"schema": 1, "kind": "detection"}))
    result = wsrpn("predict", run, "--data", place / "data", "--calibration", boxes)
    assert result.exit_code == 2
    assert "kind 'detection'" in result.stderr


def test_a_broken_image_stops_or_is_skipped_and_listed(place):
    run = place / "run"
    (place / "data" / "02.png").write_bytes(b"no image")
    assert wsrpn("eval", run).exit_code == 2
    result = wsrpn("eval", run, "--on-error", "skip", "--json")
    assert result.exit_code == 1
    assert "skipped 02.png" in result.stderr
    assert any("02.png" in line for line in json.loads(result.stdout)["warnings"])
    out = place / "out"
    result = wsrpn("predict", run, "--data", place / "data", "--on-error", "skip", "--out", out)
    assert result.exit_code == 1
    assert len(list(out.glob("*.png"))) == 8


def test_a_requirement_that_is_not_met_ends_with_3(place):
    assert wsrpn("eval", place / "run", "--require", "dice>=0.5").exit_code == 3


def test_groups_and_images_that_were_trained_on_are_told(place):
    result = wsrpn("eval", place / "run", "--split", "all", "--by", "site", "--json")
    report = document(result)
    assert set(report["per_group"]) == {"a", "b"}
    assert any("3 of 9 images were trained on" in line for line in report["warnings"])
