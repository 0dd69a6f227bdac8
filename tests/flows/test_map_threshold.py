"""Where class maps are cut into boxes: chosen on validation, kept, and used by every command."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests import cli
from wsrpn import calibrate as fitting
from wsrpn import predict as predictor
from wsrpn import predictions as prediction_files
from wsrpn.calibration import Calibration
from wsrpn.data import base
from wsrpn.errors import InputError
from wsrpn.evaluate import evaluate
from wsrpn.heatmap import heatmap

TINY = cli.sets("model.backbone=tiny", "data.size=48", "train.batch=8", "train.lr=0.005")


@pytest.fixture(scope="module")
def cam(tmp_path_factory, data):
    """A trained CAM; copy it before changing it."""
    run = tmp_path_factory.mktemp("maps") / "cam"
    done = cli.wsrpn("train", "cam", "--data", data, "--out", run, "--epochs", 4, *TINY)
    assert done.exit_code == 0, done.stderr
    return run


@pytest.fixture
def run(cam, tmp_path):
    return shutil.copytree(cam, tmp_path / "cam")


def val(opened):
    return base.load(opened.config.data).split("val")


def same(first, second):
    return all(
        np.array_equal(a.xyxy_px, b.xyxy_px) and np.array_equal(a.scores, b.scores)
        for a, b in zip(first.images, second.images, strict=True)
    )


def test_a_ladder_is_the_predictions_at_each_threshold(cam):
    opened = predictor.open_run(cam, device="cpu")
    made = predictor.ladder(opened, val(opened), (0.2, 0.7))
    for threshold, found in made.items():
        alone = predictor.predict(opened.cut_at(threshold), val(opened))
        assert same(found, alone)
        assert found.provenance == alone.provenance
        assert found.provenance["map_thresholds"] == [threshold]
    assert not same(made[0.2], made[0.7])


def test_the_threshold_of_the_best_average_precision_is_chosen(cam):
    opened = predictor.open_run(cam, device="cpu")
    made = predictor.ladder(opened, val(opened), fitting.MAP_THRESHOLDS)
    choice = fitting.choose_map_threshold(made, val(opened))
    slow = {
        threshold: evaluate(found, val(opened), bootstrap=0).metrics["map"].value
        for threshold, found in made.items()
    }
    assert choice.values == pytest.approx(slow)
    assert len(set(slow.values())) > 1, "the thresholds differ"
    assert choice.threshold == min(t for t in slow if slow[t] == max(slow.values()))
    assert choice.boxes == sum(len(record.boxes) for record in val(opened).records)


def test_without_gold_boxes_nothing_can_be_chosen(cam):
    opened = predictor.open_run(cam, device="cpu")
    blind = dataclasses.replace(
        val(opened),
        records=tuple(dataclasses.replace(r, boxes=()) for r in val(opened).records),
    )
    made = predictor.ladder(opened, blind, (0.5,))
    with pytest.raises(InputError, match="no gold boxes to choose a map threshold by"):
        fitting.choose_map_threshold(made, blind)


def test_auto_is_kept_with_where_it_comes_from_and_every_command_uses_it(run, tmp_path):
    opened = predictor.open_run(run, device="cpu")
    done = cli.wsrpn("calibrate", run, "--map-threshold", "auto", "--json")
    assert done.exit_code == 0, done.stderr
    fitted = Calibration.load(run / "calibration.json")
    made = predictor.ladder(opened, val(opened), fitting.MAP_THRESHOLDS)
    chosen = fitting.choose_map_threshold(made, val(opened))
    assert fitted.map_threshold == chosen.threshold
    facts = fitted.provenance["map_threshold"]
    assert facts["gold_boxes"] == chosen.boxes > 0
    assert facts["values"] == {f"{t:g}": v for t, v in chosen.values.items()}
    assert any("gold boxes" in w for w in json.loads(done.stdout)["warnings"])

    # Another threshold than that of the config, whatever was chosen.
    other = dataclasses.replace(fitted, map_threshold=0.25)
    other.save(run / "calibration.json")
    assert cli.wsrpn("eval", run).exit_code == 0
    found = prediction_files.read(run / "eval-test" / "predictions.json")
    assert found.provenance["map_thresholds"] == [0.25]
    test = base.load(opened.config.data).split("test")
    expected = predictor.predict(opened.cut_at(0.25), test)
    assert all(
        a.xyxy_px == pytest.approx(b.xyxy_px, abs=0.01)
        for a, b in zip(found.images, expected.images, strict=True)
    )
    out = tmp_path / "found.json"
    assert (
        cli.wsrpn("predict", run, "--data", opened.config.data.source, "--out", out).exit_code == 0
    )
    assert prediction_files.read(out).provenance["map_thresholds"] == [0.25]


def test_pictures_show_the_boxes_of_the_chosen_threshold(run, tmp_path, monkeypatch):
    opened = predictor.open_run(run, device="cpu")
    few = dataclasses.replace(val(opened), records=val(opened).records[:2])
    fitted = fitting.calibrate(predictor.predict(opened, val(opened)), val(opened), bootstrap=0)
    fitted = dataclasses.replace(fitted, map_threshold=0.25, threshold=(0.0, 0.0))
    seen = []
    monkeypatch.setattr(
        "wsrpn.report.draw.panel", lambda picture, **_: seen.append(picture.detections)
    )
    monkeypatch.setattr("wsrpn.report.draw.save", lambda *_: None)
    monkeypatch.setattr("wsrpn.report.draw.contact_sheet", lambda *_: None)
    heatmap(opened, few, tmp_path / "out", calibration=fitted)
    expected = predictor.predict(opened.cut_at(0.25), few)
    for drawn, full in zip(seen, expected.images, strict=True):
        assert len(drawn.xyxy_px) == 2
        assert {tuple(b) for b in drawn.xyxy_px.tolist()} <= {
            tuple(b) for b in full.xyxy_px.tolist()
        }


def test_a_number_is_taken_as_it_is_and_calibrating_again_forgets_it(run):
    assert cli.wsrpn("calibrate", run, "--map-threshold", "0.35").exit_code == 0
    fitted = Calibration.load(run / "calibration.json")
    assert fitted.map_threshold == 0.35
    assert fitted.provenance["predictions"]["map_thresholds"] == [0.35]
    assert any("as given" in w for w in fitted.warnings)
    assert cli.wsrpn("calibrate", run).exit_code == 0
    assert Calibration.load(run / "calibration.json").map_threshold is None


def test_boxes_that_were_cut_elsewhere_are_refused(run):
    opened = predictor.open_run(run, device="cpu")
    found = predictor.predict(opened, val(opened))
    fitted = dataclasses.replace(
        fitting.calibrate(found, val(opened), bootstrap=0), map_threshold=0.25
    )
    with pytest.raises(InputError, match=r"cut at 0\.6 .* has chosen 0\.25"):
        fitted.apply(found)
    assert fitted.apply(predictor.predict(opened.cut_at(0.25), val(opened))).images


@pytest.mark.parametrize("value", ["many", "1", "-0.1", "nan"])
def test_a_threshold_that_is_no_share_is_refused(run, value):
    done = cli.wsrpn("calibrate", run, "--map-threshold", value)
    assert done.exit_code == 2
    assert f"--map-threshold {value}: auto or a share in [0, 1)" in done.stderr


def test_a_model_of_regions_and_a_file_of_boxes_have_no_maps_to_cut(trained, data, tmp_path):
    for value in ("auto", "0.5"):
        done = cli.wsrpn(
            "calibrate", trained, "--map-threshold", value, "--out", tmp_path / "c.json"
        )
        assert done.exit_code == 2
        assert "does not cut its boxes out of maps" in done.stderr
    table = tmp_path / "boxes.csv"
    table.write_text("image,label,score,x,y,width,height\nimages/000.png,left,0.5,1,1,5,5\n")
    words = ("--data", data, "--split", "all", "--map-threshold", "auto")
    done = cli.wsrpn("calibrate", table, *words)
    assert done.exit_code == 2
    assert "name the run folder" in done.stderr
