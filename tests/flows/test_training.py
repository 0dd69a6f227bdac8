"""Training on files: a resumed run is the unbroken run, and what cannot go well is refused."""

import csv
import json
import os
import signal
import subprocess
import sys
import warnings
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.testing import assert_close

from tests.flows import runs
from wsrpn import checkpoint, predict
from wsrpn import config as configs
from wsrpn.config import TrainConfig
from wsrpn.data import base
from wsrpn.errors import Diverged, InputError
from wsrpn.losses import losses
from wsrpn.models.backbones import Backbone
from wsrpn.train import folder, radiographs, run
from wsrpn.train.distributed import World
from wsrpn.train.feed import feed
from wsrpn.train.loop import State, learn, step_seed
from wsrpn.train.optimiser import Average, adamw, rate_at
from wsrpn.train.run import train
from wsrpn.train.signals import Interrupted

HERE = World(0, 1, torch.device("cpu"))
KINDS = {"cam": runs.config, "wsrpn": runs.wsrpn, "vl": runs.vl}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return runs.data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def unbroken(source, tmp_path_factory):
    """The fingerprint of a run that nothing stopped, per kind of model."""

    @cache
    def of(kind):
        return runs.fingerprint(train(KINDS[kind](source), tmp_path_factory.mktemp(kind) / "run"))

    return of


class Crash(Exception):
    """What a test throws into a training."""


def stop_at(step, how):
    """A listener that stops a training after a step."""

    def listen(now, row):
        if now.step == step:
            if how == "crash":
                raise Crash
            os.kill(os.getpid(), how)

    return listen


def rows(out):
    with (out / "metrics.csv").open(newline="") as file:
        return [
            {key: float(value) for key, value in row.items() if value != ""}
            for row in csv.DictReader(file)
        ]


# Resume


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_three_ways_ends_as_the_unbroken_one(
    source, unbroken, tmp_path, kind, workers
):
    config, out = KINDS[kind](source, f"train.workers={workers}"), tmp_path / "run"
    with pytest.raises(Crash):  # in the first epoch: no checkpoint yet
        train(config, out, listen=stop_at(2, "crash"))
    with pytest.raises(Interrupted) as stopped:  # inside the second epoch
        train(config, out, resume=True, listen=stop_at(6, signal.SIGTERM))
    assert stopped.value.code == 143
    saved = checkpoint.candidates(out / "checkpoints", "last")
    assert [checkpoint.read(path).step for path in saved] == [6, 4]
    with pytest.raises(Crash):  # inside the third: goes back to its beginning
        train(config, out, resume=True, listen=stop_at(11, "crash"))
    train(config, out, resume=True)
    assert runs.fingerprint(out) == unbroken(kind)
    train(config, out, resume=True)  # nothing is left to do
    assert runs.fingerprint(out) == unbroken(kind)


def test_ctrl_c_saves_and_says_how_to_go_on(source, tmp_path, unbroken):
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="SIGINT after step 5; --resume goes on") as stopped:
        train(runs.config(source), out, listen=stop_at(5, signal.SIGINT))
    assert stopped.value.code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(runs.config(source), out, resume=True)
    assert runs.fingerprint(out) == unbroken("cam")


def test_the_random_state_of_the_program_does_not_matter(source, tmp_path, unbroken):
    torch.manual_seed(99)
    torch.rand(3)
    out = train(runs.config(source), tmp_path / "run", listen=lambda *_: torch.rand(5))
    assert runs.fingerprint(out) == unbroken("cam")


def test_another_seed_is_another_run(source, tmp_path, unbroken):
    out = train(runs.config(source, "train.seed=1"), tmp_path / "run")
    one, other = runs.fingerprint(out), unbroken("cam")
    assert one["metrics.csv"] != other["metrics.csv"]
    assert one["last-12 tensors"] != other["last-12 tensors"]


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_nothing_else(source, tmp_path, unbroken):
    out = tmp_path / "run"
    with pytest.raises(Crash):
        train(runs.config(source), out, listen=stop_at(10, "crash"))
    newest = out / "checkpoints" / "last-00000008.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    with pytest.warns(UserWarning, match="last-00000008.*going on from last-00000004"):
        train(runs.config(source), out, resume=True)
    assert runs.fingerprint(out) == unbroken("cam")


def test_a_kill_between_checkpoint_and_table_leaves_no_gap_in_the_table(source, tmp_path, unbroken):
    out = train(runs.config(source), tmp_path / "run")
    (out / "metrics.csv").unlink()
    train(runs.config(source), out, resume=True)
    assert runs.fingerprint(out) == unbroken("cam")


def test_a_run_can_be_prolonged_and_its_data_can_move(source, tmp_path):
    steady = ("train.schedule=constant", "train.warmup=0")
    out = train(runs.config(source, *steady, "train.epochs=1"), tmp_path / "run")
    moved = tmp_path / "elsewhere"
    moved.symlink_to(source)
    train(runs.config(moved, *steady), out, resume=True)
    whole = train(runs.config(source, *steady), tmp_path / "whole")
    assert runs.fingerprint(out) == runs.fingerprint(whole)
    assert configs.load(out / "config.yaml").train.epochs == 3, "the folder says what was done"


@pytest.mark.parametrize(
    "change",
    ["train.lr=0.002", "model.dropout=0.3", "train.seed=5", "data.augment.rotate=0", "train.ema=0",
    "model.name=grad_cam",
     "losses.image_bce={pos_weight: 2}", "phases=[{weights: {image_bce: 2}}]"],
)  # fmt: skip
def test_another_config_is_refused_by_key(source, tmp_path, change):
    out = tmp_path / "run"
    with pytest.raises(Crash):
        train(runs.config(source), out, listen=stop_at(1, "crash"))
    key = change.split("=")[0]
    with pytest.raises(InputError, match=rf"config\.yaml: {key}.* was .* when this run began"):
        train(runs.config(source, change), out, resume=True)


def test_other_data_are_refused(source, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Crash):
        train(runs.config(source), out, listen=stop_at(1, "crash"))
    other = runs.data(tmp_path / "other", train=20)
    with pytest.raises(InputError, match="data set is not the one this run began with"):
        train(runs.config(other), out, resume=True)
    table = source / "images.csv"
    for old, new, words in (
        ("23.png,p23,val", "23.png,p23,train", "split of the data"),
        ("left", "links", "list of classes"),
    ):
        changed = runs.data(tmp_path / words)
        (changed / "images.csv").write_text(table.read_text().replace(old, new))
        with pytest.raises(InputError, match=f"{words} is not the one this run began with"):
            train(runs.config(changed), out, resume=True)


def test_other_labels_of_the_same_images_are_refused(source, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Crash):
        train(runs.config(source), out, listen=stop_at(1, "crash"))
    other = runs.data(tmp_path / "other")
    text = (other / "images.csv").read_text()
    (other / "images.csv").write_text(text.replace("04.png,p4,train,left", "04.png,p4,train,"))
    with pytest.raises(InputError, match="table of labels is not the one this run began with"):
        train(runs.config(other), out, resume=True)
    facts = json.loads((out / "run.json").read_text())
    del facts["data"]["labels"]  # as runs of before have it
    (out / "run.json").write_text(json.dumps(facts))
    train(runs.config(other), out, resume=True)


def test_a_resume_on_another_machine_warns_that_bits_may_differ(source, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(Crash):
        train(runs.config(source), out, listen=stop_at(5, "crash"))
    real = folder.environment
    monkeypatch.setattr(folder, "environment", lambda here: {**real(here), "threads": 64})
    with pytest.warns(UserWarning, match="threads was 1 and is 64 now: .* equal to rounding"):
        train(runs.config(source), out, resume=True)


def test_looking_at_images_in_threads_leaves_warnings_as_they_were(source):
    filters, show = list(warnings.filters), warnings._showwarnmsg_impl
    for _ in range(10):
        given = feed(base.load(runs.config(source).data), runs.config(source), HERE,
                         training=True, cache=source)  # fmt: skip
        assert len(given) == 24
    assert warnings.filters == filters
    assert warnings._showwarnmsg_impl is show


# One writer, one beginning


def test_a_second_training_in_a_folder_is_refused(source, tmp_path):
    out = train(runs.config(source, "train.epochs=1"), tmp_path / "run")
    before = runs.fingerprint(out)
    with pytest.raises(InputError, match="has a training already; --resume goes on with it"):
        train(runs.config(source), out)
    with pytest.raises(InputError, match="no training to resume; leave --resume out"):
        train(runs.config(source), tmp_path / "new", resume=True)
    assert runs.fingerprint(out) == before


def test_a_second_writer_is_refused_at_once_and_let_in_when_the_first_is_dead(source, tmp_path):
    out = tmp_path / "run"
    code = (
        "import sys, filelock; l = filelock.FileLock(sys.argv[1]); l.acquire(); print(flush=True);"
        "sys.stdin.read()"
    )
    out.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(out / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        holder.stdout.readline()
        with pytest.raises(InputError, match="another training is writing here"):
            train(runs.config(source), out)
        assert sorted(p.name for p in out.iterdir()) == [".lock"]
    finally:
        holder.kill()
        holder.communicate()
    train(runs.config(source, "train.epochs=1"), out)


def test_a_run_folder_that_cannot_be_one_is_refused(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be a run folder"):
        train(runs.config(source), tmp_path / "file" / "run")


# Data that cannot train


def table(folder, lines):
    (folder / "images.csv").write_text("image,patient,split,labels\n" + "\n".join(lines) + "\n")


def test_a_patient_in_two_splits_is_refused(source, tmp_path):
    leaky = runs.data(tmp_path / "leaky")
    text = (leaky / "images.csv").read_text().replace("p20,val", "p3,val")
    (leaky / "images.csv").write_text(text)
    with pytest.raises(InputError, match="p3"):
        train(runs.config(leaky), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(",train,", ",test,"), "no image of split train has a known"),
        (lambda text: text.replace("val,left|right", "val,").replace("val,left", "val,").replace(
            "val,right", "val,"), "needs a class with positive and negative images in split val"),
        (lambda text: text.replace(",val,", ",test,"), "needs a class with positive and negative"),
    ],
)  # fmt: skip
def test_splits_that_cannot_train_or_choose_are_refused(tmp_path, change, words):
    small = runs.data(tmp_path / "small")
    (small / "images.csv").write_text(change((small / "images.csv").read_text()))
    with pytest.raises(InputError, match=words):
        train(runs.config(small, "data.val_share=0"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_without_validation_images_the_last_epoch_is_used(tmp_path):
    small = runs.data(tmp_path / "small", val=0)
    changes = ("data.val_share=0", "data.test_share=0", "train.monitor=loss", "train.ema=0")
    out = train(runs.config(small, *changes), tmp_path / "run")
    best = checkpoint.load(out / "checkpoints", "best")
    last = checkpoint.load(out / "checkpoints", "last")
    assert best.step == last.step
    assert_close(checkpoint.below("model", best.tensors), checkpoint.below("model", last.tensors))
    assert not any(key.startswith("val/") for row in rows(out) for key in row)


def test_a_vote_is_not_left_unfitted_for_want_of_validation_images(tmp_path):
    small = runs.data(tmp_path / "small", val=0)
    changes = ("data.val_share=0", "data.test_share=0", "train.monitor=loss")
    with pytest.raises(InputError, match=r"fusion_late is fitted on .* data\.val_share above 0"):
        train(runs.vl(small, *changes), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_image_without_labels_learns_from_its_caption_and_is_counted_without_one(tmp_path):
    unsure = runs.data(tmp_path / "unsure")
    lines = (unsure / "images.csv").read_text().splitlines()
    lines = [f"{lines[0]},text,unknown", "00.png,p0,train,,A mass.,*", "01.png,p1,train,,,*",
             *(f"{line},A mass.," for line in lines[3:])]  # fmt: skip
    (unsure / "images.csv").write_text("\n".join(lines) + "\n")
    facts = {}
    for kind, changes in (("vl", ["text.captions=text"]), ("cam", [])):
        config = KINDS[kind](unsure, "train.epochs=1", *changes)
        out = train(config, tmp_path / kind)
        facts[kind] = json.loads((out / "run.json").read_text())["data"]
    told = "training images without a known label, or a caption to learn from, left out."
    assert (facts["vl"]["train"], facts["cam"]["train"]) == (15, 14)
    assert f"1 {told}" in facts["vl"]["notes"]
    assert f"2 {told}" in facts["cam"]["notes"]


def test_an_image_that_cannot_be_read_stops_or_is_listed(tmp_path):
    broken = runs.data(tmp_path / "broken")
    (broken / "05.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"05\.png.*data\.on_error=skip"):
        train(runs.config(broken), tmp_path / "stopped")
    out = train(runs.config(broken, "data.on_error=skip"), tmp_path / "run")
    facts = json.loads((out / "run.json").read_text())
    assert list(facts["data"]["unreadable"]) == ["05.png"]
    assert facts["data"]["train"] == 15


# What is not finite


def registered(monkeypatch, function):
    """A loss called `test` for the length of a test."""
    monkeypatch.setitem(losses._parts, "test", function)
    monkeypatch.setitem(losses._facts, "test", {"reads": ("output.logits", "batch.labels")})
    return "phases=[{weights: {test: 1}}]"


BREAKS = {
    "nan loss": lambda logits: logits.sum(1) * float("nan"),
    "infinite loss": lambda logits: logits.sum(1) / 0,
    "nan gradient": lambda logits: (logits * 0).abs().sqrt().sum(1),
}


@pytest.mark.parametrize("how", BREAKS)
def test_what_is_not_finite_stops_before_the_step_and_keeps_the_weights(
    source, tmp_path, monkeypatch, how
):
    calls = []

    def loss(logits, labels):
        calls.append(1)
        return BREAKS[how](logits) if len(calls) == 7 else (logits - labels).square().sum(1)

    config = runs.config(source, registered(monkeypatch, loss))
    out = tmp_path / "run"
    with pytest.raises(
        Diverged, match=r"step 6: loss .* on images .*\.png.*weights before this step"
    ):
        train(config, out)
    story = json.loads((out / "nonfinite-rank0.json").read_text())
    assert story["step"] == 6
    assert story["what"].count(".png") == 4
    saved = checkpoint.load(out / "checkpoints", "last")
    assert saved.step == 4
    assert all(t.isfinite().all() for t in saved.tensors.values())
    train(config, out, resume=True)  # the fault was the machine's: it goes on
    assert checkpoint.load(out / "checkpoints", "last").step == 12


@pytest.mark.parametrize("how", BREAKS)
def test_the_step_that_is_not_finite_changes_no_weight(source, tmp_path, monkeypatch, how):
    change = registered(monkeypatch, lambda logits, labels: BREAKS[how](logits))
    config = runs.config(source, change)
    samples = base.load(config.data).split("train")
    torch.manual_seed(0)
    model = run.model_parts.build(run.complete(config).model, classes=2)
    state = State(model, adamw(model, config.train), Average(model, 0.9))
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    average = {key: value.clone() for key, value in state.average.values.items()}
    given = feed(samples, config, HERE, training=True, cache=tmp_path)
    with pytest.raises(Diverged):
        next(learn(config, state, given, steps_per_epoch=4, world=HERE))
    assert state.step == 0
    assert all(torch.equal(value, before[key]) for key, value in model.named_parameters())
    assert all(torch.equal(value, average[key]) for key, value in state.average.values.items())


def test_losses_are_worked_out_in_float32_even_in_mixed_precision(source, tmp_path, monkeypatch):
    seen = set()

    def loss(logits, labels):
        seen.add((logits.dtype, torch.is_autocast_enabled("cpu")))
        return (logits - labels).square().sum(1)

    change = registered(monkeypatch, loss)
    train(runs.config(source, change, "train.precision=bf16", "train.epochs=1"), tmp_path / "run")
    assert seen == {(torch.float32, False)}


# Which epoch is best, and when to stop


def scripted(monkeypatch, values):
    """Validation that says what the script says, epoch by epoch, and counts its calls."""
    calls = []

    def validate(state, *_):
        epoch = round(state.step / 4)
        calls.append(epoch)
        return {f"val/{name}": series[epoch - 1] for name, series in values.items()}

    monkeypatch.setattr(radiographs, "validate", validate)
    return calls


NAN = float("nan")
FIGURES = {
    "auroc": [0.5, 0.7, 0.7, 0.6, NAN],
    "image_ap": [0.2, 0.3, 0.4, 0.9, 0.8],
    "loss": [NAN, 0.3, 0.2, 0.5, 0.2],
}


@pytest.mark.parametrize(("monitor", "best"), [("auroc", 2), ("image_ap", 4), ("loss", 3)])
def test_the_best_epoch_is_the_first_with_the_best_monitored_figure(
    source, tmp_path, monkeypatch, monitor, best
):
    scripted(monkeypatch, FIGURES)
    monkeypatch.setattr(folder, "write_events", lambda *_, **__: None)
    saved = {}

    def listen(now, row):
        if row is not None:
            kept = checkpoint.load(tmp_path / "run" / "checkpoints", "last").tensors
            saved[now.epoch] = checkpoint.below("average", kept)

    config = runs.config(source, "train.epochs=5", f"train.monitor={monitor}")
    out = train(config, tmp_path / "run", listen=listen)
    found = checkpoint.load(out / "checkpoints", "best")
    assert found.state["epoch"] == best
    assert found.state["value"] == FIGURES[monitor][best - 1]
    assert_close(checkpoint.below("model", found.tensors), saved[best])


@pytest.mark.parametrize(
    ("validate_every", "patience", "stops"), [(1, 2, 4), (1, 1, 3), (2, 1, 4), (1, 0, 5)]
)
def test_patience_ends_a_training_and_a_resume_finds_it_ended(
    source, tmp_path, monkeypatch, validate_every, patience, stops
):
    calls = scripted(monkeypatch, {"auroc": [0.5, 0.7, 0.6, 0.6, 0.6]})
    config = runs.config(
        source, "train.epochs=5", f"train.patience={patience}",
        f"train.validate_every={validate_every}",
    )  # fmt: skip
    out = train(config, tmp_path / "run")
    assert [row["epoch"] for row in rows(out)] == list(range(1, stops + 1))
    before, done = runs.fingerprint(out), len(calls)
    train(config, out, resume=True)
    assert runs.fingerprint(out) == before
    assert len(calls) == done
    assert checkpoint.load(out / "checkpoints", "best").state["epoch"] == 2


# What a run says


def test_the_table_has_the_figures_of_the_weights_that_are_kept(source, tmp_path):
    out = train(runs.config(source, "train.monitor=loss"), tmp_path / "run")
    opened = predict.open_run(out)
    val = base.load(opened.config.data).split("val")
    logits = torch.cat([output.logits for _, output in predict.outputs(opened, val)]).numpy()
    auroc = np.mean([roc_auc_score(val.labels()[:, k], logits[:, k]) for k in range(2)])
    best = checkpoint.load(out / "checkpoints", "best").state["epoch"]
    row = rows(out)[best - 1]
    assert row["val/auroc"] == pytest.approx(auroc, abs=1e-5)
    bce = nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits).double(), torch.from_numpy(val.labels())
    )
    assert row["val/loss"] == pytest.approx(float(bce), abs=1e-5)
    assert row["val/loss"] == min(r["val/loss"] for r in rows(out))


def test_the_table_follows_phases_and_rates(source, tmp_path):
    seen = []
    config = runs.wsrpn(source, "train.warmup=0.5", "train.clip=0")
    out = train(config, tmp_path / "run", listen=lambda now, row: seen.append((now, row)))
    assert [now.step for now, _ in seen] == list(range(1, 13))
    assert [row is not None for _, row in seen] == [False, False, False, True] * 3
    assert [now.rate for now, _ in seen] == [rate_at(config.train, n, 12) for n in range(12)]
    weights = [now.weights.get("cell_consistency", 0.0) for now, _ in seen]
    assert weights == [0] * 4 + [0, 0.125, 0.25, 0.375] + [0.5] * 4
    for now, _ in seen:
        assert now.terms.keys() == {k for k, w in now.weights.items() if w > 0}
        total = sum(now.weights[k] * v for k, v in now.terms.items())
        assert now.loss == pytest.approx(total, rel=1e-5)
    first = [now.terms["detection"] for now, _ in seen[:4]]
    assert rows(out)[0]["train/detection"] == pytest.approx(np.mean(first), rel=1e-5)
    assert rows(out)[1]["train/cell_consistency"] > 0
    assert "train/cell_consistency" not in rows(out)[0]


def test_the_folder_holds_what_repeats_the_run(source, tmp_path):
    config = run.complete(runs.wsrpn(source))
    out = train(config, tmp_path / "run")
    assert configs.load(out / "config.yaml") == config
    facts = json.loads((out / "run.json").read_text())
    assert facts["classes"] == ["left", "right"]
    assert (facts["data"]["train"], facts["data"]["val"]) == (16, 8)
    again = train(configs.load(out / "config.yaml"), tmp_path / "again")
    assert runs.fingerprint(again) == runs.fingerprint(out)
    assert list((out / "tensorboard").glob("events.*"))
    assert not list(out.rglob("*.tmp.*"))


def test_a_tiny_detector_learns_left_from_right(source, tmp_path):
    still = "data.augment={rotate: 0, translate: 0, scale: 0}"
    config = runs.wsrpn(source, "train.epochs=12", "train.lr=0.003", still)
    out = train(config, tmp_path / "run")
    assert rows(out)[-1]["train/detection"] < 0.6 * rows(out)[0]["train/detection"]
    assert max(row["val/auroc"] for row in rows(out)) > 0.9


def test_a_frozen_backbone_stays_as_it_was(source, tmp_path):
    kept = {}

    def listen(now, row):
        if row is not None:
            saved = checkpoint.load(tmp_path / "run" / "checkpoints", "last").tensors
            kept[now.epoch] = checkpoint.below("model", saved)

    changes = ("train.freeze_backbone=true", "model.backbone=resnet18")
    train(runs.config(source, *changes, "train.epochs=2"), tmp_path / "run", listen=listen)
    moved = {key for key in kept[1] if not torch.equal(kept[1][key], kept[2][key])}
    assert moved == {"classify.weight", "classify.bias"}


# The small parts


def test_the_average_of_the_weights_follows_its_formula():
    net = nn.Linear(1, 1, bias=False)
    average, slow = Average(net, 0.9), None
    values = [1.0, 3.0, -2.0, 5.0, 0.5]
    slow = float(net.weight.detach())
    for step, value in enumerate(values, start=1):
        nn.init.constant_(net.weight, value)
        average.update(net, step)
        decay = min(0.9, (1 + step) / (10 + step))
        slow = decay * slow + (1 - decay) * value
    assert average.values["weight"].item() == pytest.approx(slow, rel=1e-5)
    assert average.weights(net) is average.values
    none = Average(net, 0.0)
    none.update(net, 1)
    assert none.weights(net)["weight"].item() == 0.5


def test_the_average_copies_counters():
    net = nn.BatchNorm1d(2)
    average = Average(net, 0.5)
    net(torch.randn(4, 2))
    average.update(net, 100)
    assert average.values["num_batches_tracked"].item() == 1


def test_the_rate_rises_then_falls_to_nothing():
    config = TrainConfig(warmup=0.1)
    rates = [rate_at(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (n + 1) for n in range(10)])
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert 0 < rates[-1] < 1e-3
    constant = TrainConfig(warmup=0.0, schedule="constant")
    assert {rate_at(constant, step, 5) for step in range(5)} == {1.0}
    assert rate_at(TrainConfig(warmup=1.0), 3, 4) == 1.0


def test_vectors_are_not_decayed_and_the_backbone_has_its_own_rate():
    backbone = Backbone()
    backbone.body = nn.Linear(3, 2)
    net = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(2, 2)})
    config = TrainConfig(lr=1e-3, backbone_lr=1e-4, weight_decay=0.1)
    groups = {
        (group["peak"], group["weight_decay"]): [p.ndim for p in group["params"]]
        for group in adamw(net, config).param_groups
    }
    assert groups == {(1e-4, 0.1): [2], (1e-4, 0.0): [1], (1e-3, 0.1): [2], (1e-3, 0.0): [1]}
    assert {g["peak"] for g in adamw(net, TrainConfig(lr=0.5)).param_groups} == {0.5}


def test_no_two_steps_share_a_seed():
    seeds = {
        step_seed(seed, step, rank) for seed in range(4) for step in range(500) for rank in range(4)
    }
    assert len(seeds) == 4 * 500 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
