"""WSRPN-VL and the ways of fusion as a user trains them: text in the data, one command each."""

import csv
import json

import numpy as np
import pytest
import yaml

from tests import cli, make
from wsrpn import checkpoint, predict
from wsrpn.data import base
from wsrpn.data.base import DataConfig

LABELS = ("left", "right", "left|right", "")
SAID = {"left": "A round opacity on the left.", "right": "A round opacity on the right."}
SMALL = (
    "model.backbone=tiny", "model.width=32", "model.heads=2", "model.regions=3", "data.size=48",
    "train.batch=8", "train.lr=0.003", "text.encoder=hashing",
)  # fmt: skip
VL = ("wsrpn-vl", "fusion-late", "fusion-mid")  # the others are the first two, or parts of them


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Spots on the left, on the right, on both sides or nowhere, with reports; some have none."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for n in range(32):
        name, label = f"{n:02d}.png", LABELS[n % 4]
        picture = np.full((48, 48), 0.005 * n)
        for side, x in (("left", 0.25), ("right", 0.75)):
            if side in label:
                picture = picture + make.blob((48, 48), (x, 0.3 + 0.01 * n), 0.12)
        make.image(folder / name, picture.clip(0, 1))
        text = " ".join(SAID[part] for part in label.split("|") if part) or "The lungs are clear."
        rows.append({
            "image": name, "patient": f"p{n}", "labels": label, "text": "" if n % 8 == 5 else text,
            "split": "train" if n < 16 else "val" if n < 24 else "test",
        })  # fmt: skip
    return make.manifest(folder, rows, pictures=False)


@pytest.fixture(scope="module")
def late(source, tmp_path_factory):
    """A late fusion with a running average of its weights."""
    out = tmp_path_factory.mktemp("late") / "run"
    return trained("fusion-late", source, out, "train.ema=0.5", epochs=4)


def trained(preset, source, out, *changes, epochs=3):
    found = cli.wsrpn(
        "train", preset, "--data", source, "--out", out, "--epochs", epochs,
        *cli.sets(*SMALL, "text.captions=text", f"text.cache={source / 'cache'}", *changes),
    )  # fmt: skip
    assert found.exit_code == 0, found.stderr
    parameters = json.loads((out / "run.json").read_text())["parameters"]
    told = f"{parameters['all']['parameters']:,} parameters, "
    assert told in found.stderr
    assert "s a step" in found.stderr
    return out


def rows(out):
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("preset", VL)
def test_every_preset_that_reads_text_trains_calibrates_and_evaluates(source, tmp_path, preset):
    out = trained(preset, source, tmp_path / "run")
    assert cli.wsrpn("calibrate", out).exit_code == 0
    found = cli.wsrpn("eval", out, "--bootstrap", 20, "--json")
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["metrics"]["auroc"]["value"] is not None
    retrieval = report["metrics"]["retrieval@1"]["value"]
    assert (retrieval is None) == (preset == "fusion-mid")
    told = json.loads((out / "run.json").read_text())
    assert told["text"]["encoder"] == "hashing"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert ("contrastive" in config["losses"]) == (preset != "fusion-mid")
    if preset == "wsrpn-vl":  # the phases of its source
        table = rows(out)
        assert [row["train/contrastive"] != "" for row in table] == [False, False, True]
        assert [row["weight/detection"] for row in table] == ["1"] * 3
        assert (table[2]["weight/contrastive"], table[2]["weight/consistency"]) == ("0.5", "0.5")


@pytest.mark.parametrize("kind", ["multi_positive", "siglip"])
def test_a_contrastive_loss_falls_by_its_own_name_and_with_learned_weights(source, tmp_path, kind):
    phases = f"phases=[{{weights: {{detection: 1.0, {kind}: 0.5}}}}]"
    bias = ("model.bias=-3", "model.learn_temperature=true") if kind == "siglip" else ()
    changes = (phases, "train.weighting=uncertainty", "train.validate_every=10", *bias)
    table = rows(trained("wsrpn-vl", source, tmp_path / "run", *changes, epochs=10))
    losses = [float(row[f"train/{kind}"]) for row in table]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert float(table[-1][f"log_variance/{kind}"]) != 0


def test_the_vote_is_fitted_at_the_end_and_used_from_the_checkpoint(source, late):
    fitted = float(rows(late)[-1]["fitted/vote"])
    run = predict.open_run(late)
    assert run.model.vote.item() == pytest.approx(fitted, abs=1e-4)
    best = checkpoint.load(late / "checkpoints", "best").tensors
    assert best["model/vote"].item() == run.model.vote.item()
    run.model.vote.fill_(1.0)
    images = base.load(DataConfig(source=str(source))).split("test")
    zero_shot = predict.predict(run, images)
    run.model.vote.fill_(0.0)
    alone = predict.predict(run, images)
    assert not np.allclose(zero_shot.images[0].image_logits, alone.images[0].image_logits)


def test_a_frozen_backbone_is_frozen_in_both_towers(source, tmp_path):
    out = trained(
        "fusion-independent", source, tmp_path / "run", "train.freeze_backbone=true",
        "phases=[{weights: {detection: 1.0, contrastive: 1.0}}]", "train.ema=0", epochs=1,
    )  # fmt: skip
    weights = checkpoint.below("model", checkpoint.load(out / "checkpoints", "last").tensors)
    for name, value in weights.items():
        if name.startswith("backbone."):
            twin = weights["tower.0." + name.removeprefix("backbone.")]
            assert (value == twin).all(), name  # both as they began
    assert (weights["tower.1.1.weight"] != weights["project.1.weight"]).any()


def test_text_at_inference_is_not_the_report(source, late, tmp_path):
    """The same images with other reports get the same boxes and answers."""
    other = tmp_path / "other"
    other.mkdir()
    with (source / "images.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        row["text"] = "Something else entirely."
        (other / row["image"]).write_bytes((source / row["image"]).read_bytes())
    make.manifest(other, table, pictures=False)
    run = predict.open_run(late)
    found = [
        predict.predict(run, base.load(DataConfig(source=str(folder))).split("test"))
        for folder in (source, other)
    ]
    for a, b in zip(*(part.images for part in found), strict=True):
        assert np.array_equal(a.image_logits, b.image_logits)
        assert np.array_equal(a.scores, b.scores)
        assert np.array_equal(a.xyxy_px, b.xyxy_px)


def test_phases_that_are_never_reached_are_a_note_until_a_resume_reaches_them(source, tmp_path):
    out = tmp_path / "run"
    words = ("--data", source, "--out", out, *cli.sets(*SMALL, "train.monitor=last"))
    told = "phases 2… begin at epoch 2 and are never reached with train.epochs=1: contrastive, "
    short = cli.wsrpn("train", "wsrpn-vl-demo", *words, "--epochs", 1)
    assert f"note: {told}" in short.stderr
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert any(told in note for note in notes)
    longer = cli.wsrpn("train", "wsrpn-vl-demo", *words, "--epochs", 3, "--resume")
    assert longer.exit_code == 0, longer.stderr
    assert "never reached" not in longer.stderr + (out / "run.json").read_text()


def test_a_table_of_boxes_is_said_to_lack_the_image_scores(source, late, tmp_path):
    told = "CSV holds boxes only; write .json to keep image scores"
    for name in ("p.csv", "p.json"):
        made = cli.wsrpn("predict", late, "--data", source, "--out", tmp_path / name, "--json")
        assert made.exit_code == 0, made.stderr
        assert (told in made.stderr) == (name == "p.csv")
        assert (told in made.stdout) == (name == "p.csv")
