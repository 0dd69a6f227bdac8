"""What a training tells of itself on the way: figures to look at, raw losses, weights and sizes."""

import json
import signal

import pytest
import torch

from tests import cli
from tests.flows import runs
from wsrpn import checkpoint
from wsrpn import config as configs
from wsrpn.config import Phase
from wsrpn.data import base
from wsrpn.errors import InputError
from wsrpn.evaluate import evaluate
from wsrpn.models.wsrpn import Wsrpn
from wsrpn.predict import open_run, predict
from wsrpn.train import folder
from wsrpn.train.phases import weights_at
from wsrpn.train.run import train
from wsrpn.train.signals import Interrupted
from wsrpn_cli.train import summary

MAPS = ("entropy", "entropy_normalized", "alignment_error", "top_patch")
BOXES = ("ap@0.1", "ap@0.3", "ap@0.5", "rodeo")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return runs.boxes(runs.data(tmp_path_factory.mktemp("data")))


def of_eval(run):
    """What `wsrpn eval RUN --split val` says without a calibration."""
    opened = open_run(run)
    images = base.load(opened.config.data).split("val")
    report = evaluate(predict(opened, images), images, bootstrap=0)
    return {name: figure.value for name, figure in report.metrics.items()}


# Figures to look at


@pytest.mark.parametrize(("ema", "precision"), [(0.0, "fp32"), (0.9, "fp32"), (0.9, "bf16")])
def test_the_kept_epoch_has_the_figures_of_eval(source, tmp_path, ema, precision):
    changes = (f"train.ema={ema}", f"train.precision={precision}", "train.batch=8")
    config = runs.sharp(
        source, *changes, "train.watch_boxes=true", "train.epochs=6", "train.lr=0.01"
    )
    out = train(config, tmp_path / "run")
    best = checkpoint.load(out / "checkpoints", "best").state["epoch"]
    row, said = folder.read_metrics(out)[best - 1], of_eval(out)
    for name in (*MAPS, *BOXES, "auroc", "image_ap"):
        assert row[f"val/{name}"] == pytest.approx(said[name], abs=1e-5), name
    assert row["val/ap@0.1"] > 0, "otherwise nothing would have been compared"


def test_a_model_without_regions_has_box_figures_of_its_maps_and_no_others(source, tmp_path):
    out = train(runs.config(source, "train.watch_boxes=true"), tmp_path / "run")
    best = checkpoint.load(out / "checkpoints", "best").state["epoch"]
    row, said = folder.read_metrics(out)[best - 1], of_eval(out)
    assert not {f"val/{name}" for name in MAPS} & {*row}
    for name in BOXES:
        assert row[f"val/{name}"] == pytest.approx(said[name], abs=1e-4), name


def test_boxes_are_watched_only_when_asked_for_and_change_nothing(source, tmp_path):
    plain = train(runs.sharp(source), tmp_path / "plain")
    watched = train(runs.sharp(source, "train.watch_boxes=true"), tmp_path / "watched")
    for kind in ("last", "best"):
        one, other = (checkpoint.load(run / "checkpoints", kind) for run in (plain, watched))
        assert (one.step, one.state.get("value")) == (other.step, other.state.get("value"))
        assert all(torch.equal(value, other.tensors[key]) for key, value in one.tensors.items())
    rows, more = folder.read_metrics(plain), folder.read_metrics(watched)
    assert {*more[0]} - {*rows[0]} == {f"val/{name}" for name in BOXES}
    assert [{key: b[key] for key in a} for a, b in zip(rows, more, strict=True)] == rows
    assert {f"val/{name}" for name in MAPS} <= {*rows[0]}


@pytest.mark.parametrize("figure", [*BOXES, *MAPS])
def test_no_figure_to_look_at_can_choose_an_epoch(figure):
    with pytest.raises(InputError, match=r"train\.monitor"):
        configs.load("wsrpn", [f"train.monitor={figure}"])


def test_watching_boxes_where_there_are_none_is_told(tmp_path):
    source = runs.data(tmp_path / "data")
    out = train(runs.sharp(source, "train.watch_boxes=true", "train.epochs=1"), tmp_path / "run")
    told = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert "train.watch_boxes has no effect: no validation image has a box." in told
    assert not {f"val/{name}" for name in BOXES} & {*folder.read_metrics(out)[0]}


def test_one_pass_over_the_images_serves_all_figures(source, tmp_path, monkeypatch):
    seen, forward = [], Wsrpn.forward

    def counted(self, batch):
        seen.extend([] if self.training else batch.ids)
        return forward(self, batch)

    monkeypatch.setattr(Wsrpn, "forward", counted)
    train(runs.sharp(source, "train.watch_boxes=true", "train.epochs=2"), tmp_path / "run")
    assert sorted(seen) == sorted(2 * [f"{n:02d}.png" for n in range(16, 24)])


# Losses, weights and sizes on the command line


def test_every_raw_loss_and_its_weight_is_in_the_table(source, tmp_path):
    words = [f"phases={json.dumps(runs.RAMP)}", "model.gaussian_head=free", "train.weighting=scale"]
    done = cli.train(
        source, tmp_path / "run", "--epochs", 3, *cli.sets(*words, "train.watch_boxes=true")
    )
    assert done.exit_code == 0, done.stderr
    rows = folder.read_metrics(tmp_path / "run")
    phases = [Phase(**phase) for phase in runs.RAMP]
    for epoch, row in enumerate(rows, start=1):
        weights = weights_at(phases, epoch - 1 / 2)  # the last of two steps tells the weights
        used = {name: weight for name, weight in weights.items() if weight}
        assert {k for k in row if k.startswith("weight/")} == {f"weight/{n}" for n in weights}
        for name, weight in weights.items():
            assert row[f"weight/{name}"] == pytest.approx(weight, rel=1e-5)
        assert {k for k in row if k.startswith("train/")} == {
            "train/loss", "train/gradient", *(f"train/{name}" for name in used),
        }  # fmt: skip
        assert {k for k in row if k.startswith("scale/")} == {f"scale/{name}" for name in used}
    assert all(row["train/sparsity"] < 0 < row["scale/sparsity"] for row in rows[1:])
    last = rows[-1]
    assert last["scale/detection"] == pytest.approx(last["train/detection"], rel=0.3)
    assert f"entropy {last['val/entropy']:.3f}, ap@0.3 {last['val/ap@0.3']:.3f}" in done.stderr


def test_an_epoch_says_what_it_has():
    row = {"epoch": 2.0, "step": 8.0, "train/loss": 0.5, "val/auroc": 0.75, "val/entropy": 2.5}
    assert summary(row) == "epoch 2: loss 0.500, auroc 0.750, entropy 2.500"
    assert summary({**row, "val/ap@0.3": 0.25}).endswith("entropy 2.500, ap@0.3 0.250")


@pytest.mark.parametrize("kind", ["scale", "uncertainty"])
def test_a_run_that_was_stopped_in_a_ramp_ends_as_the_unbroken_one(source, tmp_path, kind):
    config = runs.sharp(source, f"train.weighting={kind}", "train.watch_boxes=true")
    whole = runs.fingerprint(train(config, tmp_path / "whole"))

    def stop(now, row):
        if now.step == 6:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", listen=stop)
    seen = []
    train(config, tmp_path / "run", resume=True, listen=lambda now, row: seen.append(now))
    assert [now.step for now in seen] == list(range(7, 13))
    assert [now.weights for now in seen] == [weights_at(config.phases, n / 4) for n in range(6, 12)]
    assert runs.fingerprint(tmp_path / "run") == whole


# The table of a run


def test_a_table_is_read_as_it_was_written_without_what_an_epoch_does_not_have(tmp_path):
    rows = [{"epoch": 1.0, "train/a": -0.25}, {"epoch": 2.0, "train/a": 1e-7, "val/auroc": 0.5}]
    folder.write_metrics(tmp_path, rows)
    assert folder.read_metrics(tmp_path) == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"metrics\.csv: no such file; a training writes it when its first epoch ends"),
        ("epoch,loss\n1,0.5\n2,high\n", r"metrics\.csv: row 2: loss is 'high'; a number"),
        ("epoch,loss\n1\n", r"row 1: has another number of cells than the header"),
        ("epoch,loss\n1,2,3\n", r"row 1: has another number of cells than the header"),
        (b"\xff\xfe\x00", r"metrics\.csv: cannot be read as a table"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path, content, words):
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "metrics.csv").write_bytes(data)
    with pytest.raises(InputError, match=words):
        folder.read_metrics(tmp_path)
