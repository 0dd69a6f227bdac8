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


def test_a_threshold_for_what_is_cut_already_is_refused(place):
    masks, given = place / "data" / "masks", ("--data", place / "data", "--threshold", 0.3)
    for words in (("eval", masks), ("heatmap", masks, "--out", place / "drawn")):
        result = wsrpn(*words, *given)
        assert result.exit_code == 2
        assert "holds masks, which are cut already" in result.stderr
    assert not (place / "drawn").exists()


def test_a_folder_of_masks_can_be_judged_as_well(place):
    masks = place / "data" / "masks"
    report = document(wsrpn("eval", masks, "--data", place / "data", "--json"))
    assert value(report, "jaccard") == 1
    missing = wsrpn("eval", masks)
    assert missing.exit_code == 2
    assert "pass --data" in missing.stderr


def test_numbered_objects_of_our_own_have_the_figures_of_their_run(place):
    run, out = place / "run", place / "out"
    wsrpn("calibrate", run)
    own = document(wsrpn("eval", run, "--json"))
    wsrpn("predict", run, "--data", place / "data", "--split", "test", "--out", out, "--objects")
    told = wsrpn("eval", out / "objects", "--data", place / "data", "--json")
    other = document(told)
    assert other["metrics"] == own["metrics"]
    assert any("taken for numbers of objects" in line for line in other["warnings"])
    assert "not calibrated" not in told.stderr
    refused = wsrpn("calibrate", out / "objects", "--data", place / "data", "--split", "test")
    assert refused.exit_code == 2
    assert "no scores to fit a threshold to" in refused.stderr
    asked = wsrpn("eval", run, "--as", "labels")
    assert "is for a folder of files" in asked.stderr


def test_results_of_a_folder_go_beside_it_by_split(place):
    folder = shutil.copytree(place / "data" / "masks", place / "theirs")
    before = sorted(folder.iterdir())
    for split in ("val", "test"):
        said = document(wsrpn("eval", folder, "--data", place / "data", "--split", split, "--json"))
        assert said["files"]["report"] == str(place / f"theirs-eval-{split}" / "report.json")
    assert sorted(folder.iterdir()) == before


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
    ],
)
def test_what_has_no_meaning_for_masks_is_refused_in_a_sentence(place, words, sentence):
    named = {"RUN": place / "run", "DATA": place / "data"}
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


@pytest.mark.parametrize("command", ["eval", "calibrate"])
def test_a_broken_mask_stops_or_is_skipped_and_listed(place, command):
    (place / "data" / "masks" / "02.png").write_bytes(b"no mask")
    words = (command, place / "run", "--split", "test")
    assert wsrpn(*words).exit_code == 2
    result = wsrpn(*words, "--on-error", "skip", "--json")
    assert result.exit_code == 1
    assert "skipped 02.png" in result.stderr
    assert any("02.png" in line for line in json.loads(result.stdout)["warnings"])


def test_where_no_image_can_be_read_that_is_what_is_said(place):
    for name in ("02", "05", "08"):
        (place / "data" / f"{name}.png").write_bytes(b"no image")
    result = wsrpn("eval", place / "run", "--on-error", "skip")
    assert result.exit_code == 2
    assert "none of 3 images can be read; the first: " in result.stderr
    assert "name masks" not in result.stderr


@pytest.mark.parametrize(
    "words", [("predict",), ("predict", "--objects"), ("heatmap", "--split", "all")]
)
@pytest.mark.parametrize("where", [".", "masks"])
def test_no_output_takes_the_place_of_an_input(place, words, where):
    data = place / "data"
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    out = data / where
    result = wsrpn(words[0], place / "run", "--data", data, "--out", out, *words[1:])
    assert result.exit_code == 2
    assert "would be overwritten; name another folder with --out" in result.stderr
    assert {path: path.read_bytes() for path in data.rglob("*.png")} == before


def test_an_image_called_contact_sheet_keeps_its_panel(place):
    image = make.image(place / "in" / "contact_sheet.png", np.zeros((40, 40)))
    said = document(wsrpn("heatmap", place / "run", image, "--out", place / "out", "--json"))
    assert len({str(path) for path in said["files"].values()}) == 2
    assert len(list((place / "out").iterdir())) == 2


def test_what_cannot_be_read_stops_predict_before_it_begins(place):
    for name in ("04", "07"):
        (place / "data" / f"{name}.png").write_bytes(b"no image")
    out = place / "out"
    result = wsrpn("predict", place / "run", "--data", place / "data", "--out", out)
    assert result.exit_code == 2
    assert "(2 images of 9 like that) --on-error skip leaves out" in result.stderr
    assert not out.exists()


def test_what_is_done_when_predict_stops_stays_with_its_tables(place):
    torn = place / "data" / "04.png"  # its header is whole
    torn.write_bytes(torn.read_bytes()[:-40])
    out = place / "out"
    words = ("predict", place / "run", "--data", place / "data", "--out", out, "--objects")
    result = wsrpn(*words)
    assert result.exit_code == 2
    assert "--on-error skip leaves out" in result.stderr
    assert [row["image"] for row in table(out / "summary.csv")] == [f"0{n}.png" for n in range(4)]
    assert {row["image"] for row in table(out / "objects.csv")} == {f"0{n}.png" for n in range(4)}


def test_predict_gives_scores_and_takes_numbers_of_the_user(place):
    run, out = place / "run", place / "out"
    words = ("--data", place / "data", "--split", "test")
    own = document(wsrpn("eval", run, "--json", "--threshold", "0.06", "--min-size", "20"))
    assert own["provenance"]["threshold"] == 0.06
    assert value(own, "jaccard") > 0.9
    said = document(wsrpn(
        "predict", run, *words, "--out", out, "--maps", "--json", "--threshold", "0.06",
        "--min-size", "20", "--objects",
    ))  # fmt: skip
    assert value(said, "threshold") == 0.06
    assert (value(said, "images"), value(said, "objects")) == (3, 6)
    assert said["provenance"]["weights_sha256"]
    same = document(wsrpn(
        "eval", out / "maps", *words, "--json", "--threshold", "0.06", "--min-size", "20"
    ))  # fmt: skip
    assert same["metrics"] == own["metrics"]
    again = wsrpn("predict", run, place / "data" / "00.png", "--out", out)
    assert "3 pictures of before not of these images and left as is" in again.stderr
    again = wsrpn("predict", run, *words, "--out", out)
    assert "3 pictures of before replaced" in again.stderr


def test_every_image_has_a_line_with_its_own_figures(place):
    run = place / "run"
    wsrpn("calibrate", run)
    report = document(wsrpn("eval", run, "--json"))
    rows = table(run / "eval-test" / "images.csv")
    assert [row["image"] for row in rows] == ["02.png", "05.png", "08.png"]
    for name in ("jaccard", "dice", "precision", "recall", "boundary_f1"):
        assert np.mean([float(row[name]) for row in rows]) == pytest.approx(value(report, name))
    assert [row["objects_matched"] for row in rows] == ["2", "2", "2"]
    assert sum(int(row["objects"]) for row in rows) == report["provenance"]["objects"]


def test_much_more_than_there_is_is_said_beside_what_everything_would_reach(place):
    flooded = wsrpn("eval", place / "run", "--threshold", "0", "--json")
    report = document(flooded)
    (said,) = [line for line in report["warnings"] if "times as many pixels" in line]
    truths = [Image.open(place / "data" / "masks" / f"{n}.png") for n in ("02", "05", "08")]
    share = np.mean([(np.asarray(one) > 0).mean() for one in truths])
    assert f"the Jaccard index would be {share:.3f}" in said
    assert value(report, "jaccard") == pytest.approx(share)
    assert report["provenance"]["jaccard_of_everything"] == pytest.approx(share)


def test_data_without_any_mask_are_refused(place):
    for words in (("eval",), ("calibrate",)):
        result = wsrpn(*words, place / "run", "--data", "phantom:cxr?images=6&size=64")
        assert result.exit_code == 2
        assert "no image has a mask, so there is nothing to judge by" in result.stderr


def test_what_is_no_run_is_said_by_predict(place):
    data = ("--data", place / "data", "--out", place / "out")
    missing = wsrpn("predict", place / "nowhere", *data)
    assert "nowhere: not a run folder" in missing.stderr
    pictures = wsrpn("predict", place / "data" / "masks", *data)
    assert "a folder of pictures and no run folder" in pictures.stderr
    assert missing.exit_code == pictures.exit_code == 2


def test_a_calibration_of_other_weights_is_refused_before_images_are_segmented(place):
    run = place / "run"
    wsrpn("calibrate", run)
    other = worlds.run(place / "other", place / "data", offset=2.0)
    for command in ("eval", "heatmap"):
        result = wsrpn(command, other, "--calibration", run / "calibration.json")
        assert result.exit_code == 2
        assert f"{run / 'calibration.json'}, for {other}: The calibration was" in result.stderr
        assert not (other / "eval-test").exists()


def test_a_calibration_of_masks_does_not_send_others_to_calibrate_again(place):
    from wsrpn.calibration import Calibration
    from wsrpn.errors import InputError

    run = place / "run"
    wsrpn("calibrate", run)
    with pytest.raises(InputError, match="belongs to runs that answer every pixel"):
        Calibration.load(run / "calibration.json")
    twins = (f"a={run}", f"b={shutil.copytree(run, place / 'other')}")
    result = wsrpn("compare", *twins, "--bootstrap", 0, "--out", place / "compared")
    assert result.exit_code == 0, result.stderr


def test_score_says_what_such_a_run_is(place):
    result = wsrpn("score", place / "run", "--data", "phantom:slides", "--out", place / "s.parquet")
    assert result.exit_code == 2
    assert "model bright answers every pixel and scores no tiles" in result.stderr


def test_held_out_figures_that_cannot_be_are_said(place):
    lines = (place / "data" / "images.csv").read_text().splitlines()
    kept = [lines[0], *(line for line in lines[1:] if line.startswith("01.png"))]
    (place / "data" / "images.csv").write_text("\n".join(kept) + "\n")
    worlds.run(place / "run", place / "data", offset=-1.0)
    result = wsrpn("calibrate", place / "run", "--cross-validate", "--json")
    assert any("No figures on patients held out" in w for w in document(result)["warnings"])


def test_a_killed_command_goes_on_where_it_was(place, monkeypatch):
    """Killed with no chance to say good-bye: the list is written while maps are made."""
    from wsrpn.data import base
    from wsrpn.predict import open_run
    from wsrpn.segmentation import answers, maps

    monkeypatch.setattr(answers, "EVERY", 0)
    run = open_run(place / "run", device="cpu")
    data = base.load(run.config.data)
    left = []
    answers.answers(
        run, data, place / "maps",
        listen=lambda n: left.append(len(maps.read_index(place / "maps")["files"])),
    )  # fmt: skip
    assert left == list(range(1, 10))


def test_a_requirement_that_is_not_met_ends_with_3(place):
    assert wsrpn("eval", place / "run", "--require", "dice>=0.5").exit_code == 3


def test_groups_and_images_that_were_trained_on_are_told(place):
    result = wsrpn("eval", place / "run", "--split", "all", "--by", "site", "--json")
    report = document(result)
    assert set(report["per_group"]) == {"a", "b"}
    assert any("3 of 9 images were trained on" in line for line in report["warnings"])
