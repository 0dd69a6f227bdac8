"""Training on masks: what a run leaves and measures, resume, several processes, refusals."""

import csv
import dataclasses
import json
import math
import multiprocessing
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from torch.distributed import TCPStore

from tests import cli
from tests.flows import mask_processes, mask_runs, runs
from tests.flows.test_training import Crash, rows, stop_at
from wsrpn import checkpoint
from wsrpn.errors import InputError
from wsrpn.losses import Objective
from wsrpn.masks import loader
from wsrpn.train import loop, mask_figures, validate
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.mask_probe import choose
from wsrpn.train.mask_task import MaskTask
from wsrpn.train.optimiser import Average, adamw
from wsrpn.train.phases import weights_at
from wsrpn.train.run import complete, train
from wsrpn.train.signals import Interrupted
from wsrpn.types import Batch, ModelOutput

HERE = World(0, 1, torch.device("cpu"))
FIGURES = {f"val/{n}" for n in ("dice", "jaccard", "precision", "recall", "foreground", "truth")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return mask_runs.discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Images of several sizes, one of them smaller than some windows."""
    return mask_runs.discs(tmp_path_factory.mktemp("mixed"), sizes=mask_runs.SIZES)


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    """Images of which every second has a DRR."""
    return mask_runs.discs(tmp_path_factory.mktemp("chests"), drr=True)


KINDS = {"fit": mask_runs.unet, "native": mask_runs.native, "nodule": mask_runs.nodule}


@pytest.fixture(scope="module")
def sources(source, mixed, chests):
    return {"fit": source, "native": mixed, "nodule": chests}


@pytest.fixture(scope="module")
def unbroken(sources, tmp_path_factory):
    """Kind → its run, not to be changed."""
    made = {}

    def run(kind):
        if kind not in made:
            out = tmp_path_factory.mktemp("runs") / kind
            made[kind] = train(KINDS[kind](sources[kind]), out)
        return made[kind]

    return run


def opened(config):
    """A task with its feeds, and a state with the model as it begins."""
    config = complete(config)
    task = MaskTask(config)
    task.open(HERE, Path("unused"))
    torch.manual_seed(0)
    model = task.build()
    return task, State(model, adamw(model, config.train), Average(model, config.train.ema))


def facts(run):
    return json.loads((run / "run.json").read_text())


# What a run leaves


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_figures_a_picture_splits_and_what_inference_needs(sources, unbroken, kind):
    out = unbroken(kind)
    config = complete(KINDS[kind](sources[kind]))
    for row in rows(out):
        parts = {f"{where}/{name}" for name in config.losses for where in ("train", "val/loss")}
        assert {"val/loss", *parts, *FIGURES} - {"val/precision"} <= row.keys()
    said = facts(out)
    assert said["classes"] == ["bead"]
    assert said["masks"] == {"scale": config.masks.scale, "size": config.data.size}
    assert (said["data"]["train"], said["data"]["val"]) == (9, 5)
    notes = " ".join(said["data"]["notes"])
    assert "2 images of split train without a mask" in notes
    assert ("5 training images without a DRR" in notes) == (kind == "nodule")
    with (out / "splits.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["split"] for line in table] == ["train"] * 9 + ["val"] * 5
    with Image.open(out / "segmentation.png") as picture:
        assert min(picture.size) > 400
    kept = checkpoint.load(out / "checkpoints", "best").state
    best = max(rows(out), key=lambda row: row["val/dice"])
    assert kept["epoch"] == best["epoch"]
    assert kept["value"] == pytest.approx(best["val/dice"], abs=1e-6)


def test_masks_can_be_learned(source, tmp_path, monkeypatch):
    monkeypatch.setattr(MaskTask, "show", lambda *_: None)  # pictures only cost time
    changes = ("train.epochs=17", "train.lr=0.02", "model.dropout=0", "train.ema=0")
    out = train(mask_runs.unet(source, *changes), tmp_path / "run")
    assert max(row["val/dice"] for row in rows(out)) > 0.9


def test_the_command_line_trains_and_tells_where_the_picture_is(source, tmp_path):
    done = cli.wsrpn(
        "train", "beads", "--data", source, "--out", tmp_path / "run", "--epochs", 1, "--json",
        *cli.sets("data.size=32", "model.width=4", "model.depth=2"),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert Path(document["files"]["segmentation"]).is_file()
    assert 0 <= document["metrics"]["dice"]["value"] <= 1
    assert "foreground 0." in done.stderr


# Figures


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 17)
)  # fmt: skip
def test_windows_count_every_pixel_of_an_image_once(height, width, side):
    seen = np.zeros((height, width), int)
    for number, (top, left) in enumerate(loader.corners((height, width), side)):
        down, right = mask_figures.own(f"an@image@{number}", (height, width), side)
        window = np.zeros((side, side), int)
        window[down, right] = 1
        part = window[: height - top, : width - left]
        assert part.sum() == window.sum(), "a mirror image beyond the edge is counted"
        seen[top : top + side, left : left + side] += part
    assert (seen == 1).all()


@given(seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.1, 0.6, 1.0]))
def test_figures_of_pixels_are_those_of_sklearn(seed, share):
    random = np.random.default_rng(seed)
    truth, found = random.random((2, 3, 50)) < [[[0.3], [0.0], [share]], [[0.4], [share], [share]]]
    counts = np.stack(
        [(t & f).sum(1) for t, f in ((truth, found), (~truth, found), (truth, ~found))]
        + [(~truth & ~found).sum(1)],
        axis=1,
    )
    got = mask_figures.overlap(counts)
    slow = {
        "dice": f1_score, "jaccard": jaccard_score, "precision": precision_score,
        "recall": recall_score,
    }  # fmt: skip
    for name, score in slow.items():
        each = [  # of the images with foreground
            score(t, f, **({"zero_division": np.nan} if name == "precision" else {}))
            for t, f in zip(truth, found, strict=True)
            if t.any()
        ]
        expected = np.nan if np.isnan(each).all() else np.nanmean(each)
        assert got[f"val/{name}"] == pytest.approx(expected, nan_ok=True), name
    normal = [not f.any() for t, f in zip(truth, found, strict=True) if not t.any()]
    expected = np.mean(normal) if normal else np.nan
    assert got["val/specificity"] == pytest.approx(expected, nan_ok=True)
    assert got["val/foreground"] == pytest.approx(found.mean())
    assert got["val/truth"] == pytest.approx(truth.mean())


def whole(task, state):
    """Validation images by id with what the model says of them: windows put together again."""
    found, seen = {}, {}
    for batch in task.val_feed():
        with torch.no_grad():
            logits = state.model.eval()(batch).mask_logits
        for place, name in enumerate(batch.ids):
            image, _, number = name.rpartition("@") if task.config.masks.scale == "native" else (
                name, "", "0"
            )  # fmt: skip
            size_px = tuple(batch.sizes_px[place].tolist())
            if task.config.masks.scale == "fit":
                size_px = (task.config.data.size,) * 2
            top, left = loader.corners(size_px, task.config.data.size)[int(number)]
            planes = seen.setdefault(image, np.full((2, *size_px), -1.0))
            part = np.stack([logits[place, 0] >= 0, batch.masks[place, 0] >= 0.5])
            here = planes[:, top : top + part.shape[1], left : left + part.shape[2]]
            new = here[0] < 0  # what an earlier window said holds
            here[:, new] = part[:, : here.shape[1], : here.shape[2]][:, new]
    for image, (f, t) in seen.items():
        both, either = (f * t).sum(), np.maximum(f, t).sum()
        found[image] = (both / either if t.any() else np.nan, f.mean(), f.size, not f.any())
    return found


@pytest.mark.parametrize("kind", ["fit", "native"])
def test_figures_are_those_of_whole_images(sources, kind):
    task, state = opened(KINDS[kind](sources[kind], "train.ema=0", "model.prior=0.4"))
    _, got = task.judge(state, HERE)
    slow = whole(task, state)
    assert len(slow) == 5
    jaccards, shares, areas, silent = np.array(list(slow.values())).T
    normal = np.isnan(jaccards)
    assert 0 < normal.sum() < 5
    assert got["val/jaccard"] == pytest.approx(np.nanmean(jaccards))
    assert got["val/specificity"] == pytest.approx(silent[normal].mean())
    assert got["val/foreground"] == pytest.approx((shares * areas).sum() / areas.sum())
    assert 0 < got["val/truth"] < 0.2


def test_losses_are_logged_apart_and_summed_with_the_weights_of_the_epoch(source):
    task, state = opened(mask_runs.unet(source, "train.ema=0"))
    state.step = 2 * task.feed.steps
    _, got = task.judge(state, HERE)
    config = dataclasses.replace(task.config, train=dataclasses.replace(task.config.train, batch=9))
    (batch,) = loader.feed(task.val_feed.dataset, config, training=False, cache=None)()
    weights = weights_at(config.phases, 2 - 1 / task.feed.steps)
    with torch.no_grad():
        loss, terms = Objective(config.losses)(state.model.eval()(batch), batch, weights)
    assert 0.5 < weights["dice"] < 0.7
    assert got["val/loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, value in terms.items():
        assert got[f"val/loss/{name}"] == pytest.approx(value.item(), rel=1e-5)


def test_the_weights_of_a_row_are_those_of_its_validation_loss(unbroken):
    for row in rows(unbroken("fit")):
        total = sum(row[f"weight/{name}"] * row[f"val/loss/{name}"] for name in ("dice", "focal"))
        assert row["val/loss"] == pytest.approx(total, rel=1e-4)


def test_figures_do_not_depend_on_the_size_of_batches(mixed):
    task, state = opened(mask_runs.native(mixed))
    first = task.judge(state, HERE)[1]
    task.config = dataclasses.replace(
        task.config, train=dataclasses.replace(task.config.train, batch=7)
    )
    feed = loader.feed(task.val_feed.dataset, task.config, training=False, cache=None)
    again, _ = mask_figures.judge(state, feed, task.config, HERE, steps=task.feed.steps)
    assert again == pytest.approx(first, rel=1e-5)


def test_figures_are_those_of_the_averaged_weights(source):
    task, state = opened(mask_runs.unet(source))
    before = task.judge(state, HERE)[1]
    for parameter in state.model.parameters():
        parameter.data.add_(1.0)
    assert task.judge(state, HERE)[1] == before


def test_a_large_image_weighs_in_the_loss_as_much_as_a_small_one():
    told = {
        "a@0": mask_figures.Told((1, 0, 0, 0), {"dice": 1.0}),
        "a@1": mask_figures.Told((1, 0, 0, 0), {"dice": 0.0}),
        "b@0": mask_figures.Told((0, 1, 1, 0), {"dice": 0.1}),
    }
    got = mask_figures.figures(told, {"dice": 2.0}, native=True)
    assert got["val/loss/dice"] == pytest.approx(0.3)
    assert got["val/loss"] == pytest.approx(0.6)
    assert (got["val/dice"], got["val/truth"]) == (0.5, 0.75)


# Early stopping, resume, several processes


def test_training_stops_when_dice_stays(source, tmp_path, monkeypatch):
    told = iter([0.3, 0.5, 0.4, 0.5, 0.9, 0.9])

    def judge(self, state, here):
        return {}, {"val/dice": next(told), "val/loss": 0.1, "val/truth": 0.1}

    monkeypatch.setattr(MaskTask, "judge", judge)
    changes = ("train.epochs=9", "train.patience=2")
    out = train(mask_runs.unet(source, *changes), tmp_path / "run")
    assert [row["val/dice"] for row in rows(out)] == [0.3, 0.5, 0.4, 0.5]
    assert checkpoint.load(out / "checkpoints", "best").state["epoch"] == 2


@pytest.mark.parametrize(("kind", "workers"), [("fit", 0), ("native", 1), ("nodule", 0)])
def test_a_run_that_was_stopped_ends_as_the_unbroken_one(
    sources, unbroken, tmp_path, kind, workers
):
    config = KINDS[kind](sources[kind], f"train.workers={workers}")
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config, out, listen=stop_at(4, signal.SIGTERM))
    with pytest.raises(Crash):  # inside the third epoch: goes back to its beginning
        train(config, out, resume=True, listen=stop_at(8, "crash"))
    train(config, out, resume=True)
    assert runs.fingerprint(out) == runs.fingerprint(unbroken(kind))
    assert (out / "segmentation.png").read_bytes() == (
        unbroken(kind) / "segmentation.png"
    ).read_bytes()


@pytest.fixture(scope="module")
def both(mixed, chests, tmp_path_factory):
    """Runs of one process, and of two."""
    folder = tmp_path_factory.mktemp("two")
    given = {"unet": mixed, "nodule": chests}
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([mask_processes.__name__])
    two = [
        context.Process(target=mask_processes.main, args=(given, folder, rank, store.port))
        for rank in range(2)
    ]
    patch = pytest.MonkeyPatch()
    try:
        for process in two:
            process.start()
        patch.setattr(loop, "set_training", mask_processes.plain)
        for name, data in given.items():
            train(mask_processes.config(name, data), folder / "one" / name)
        for process in two:
            process.join(150)
            assert process.exitcode == 0
    finally:
        patch.undo()
        for process in two:
            process.kill()
    return folder / "one", folder


@pytest.mark.parametrize("kind", ["unet", "nodule"])
def test_two_processes_have_the_curves_and_weights_of_one(both, kind):
    one, two = (rows(folder / kind) for folder in both)
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert b[key] == pytest.approx(a[key], rel=2e-3, abs=1e-3), key
    ours, theirs = (checkpoint.load(f / kind / "checkpoints", "last").tensors for f in both)
    far = [
        (theirs[key] - value).abs().float().flatten()
        for key, value in ours.items()
        if key.startswith("model/")
    ]
    assert torch.cat(far).mean() < 1e-5


def test_both_processes_end_with_the_same_weights(both):
    ends = [json.loads((both[1] / f"rank{n}.json").read_text()) for n in range(2)]
    assert ends[0] == ends[1]


def test_a_frozen_backbone_learns_nothing_and_remembers_no_features(chests, tmp_path):
    changes = ("train.freeze_backbone=true", "train.epochs=1")
    plain = ("data.augment.turns=false", "data.augment.rotate=0", "data.augment.translate=0",
             "data.augment.scale=0", "data.augment.brightness=0",
             "data.augment.contrast=0")  # fmt: skip
    config = mask_runs.nodule(chests, *changes, *plain)
    out = train(config, tmp_path / "run")
    task, state = opened(config)
    assert config.data.augment.repeats
    assert not task.repeats
    before = state.model.state_dict()
    after = checkpoint.load(out / "checkpoints", "last").tensors
    moved = {key for key, value in before.items() if not torch.equal(value, after[f"model/{key}"])}
    assert moved
    assert not any(key.startswith("backbone.") for key in moved)


# The picture


def test_images_to_look_at_are_spread_and_one_of_them_has_nothing():
    areas = {f"{n:02d}": 5 * (n % 4 != 3) for n in range(40)}
    chosen = choose(areas)
    assert len(chosen) == 6
    assert [areas[name] for name in chosen].count(0) == 1
    assert chosen[0] < "03" < "36" < chosen[-1]
    assert choose({"a": 0, "b": 0}) == ["a", "b"]
    assert choose(dict.fromkeys("abcdefgh", 3)) == choose(dict.fromkeys("hgfedcba", 3))


def test_windows_are_called_crops_of_their_image(source, monkeypatch, tmp_path):
    task, state = opened(mask_runs.native(source))
    drawn = []
    monkeypatch.setattr(
        "wsrpn.report.mask_panels.sheet", lambda rows, title: drawn.append((rows.names, title))
    )
    monkeypatch.setattr("wsrpn.report.draw.save", lambda *_: None)
    task.judge(state, HERE)
    task.show(state, tmp_path, 3)
    ((names, title),) = drawn
    assert all(re.fullmatch(r"\d\d\.png, crop \d+", name) for name in names)
    assert title == f"unet, {source.name}: validation images after epoch 3"


def test_the_same_images_are_looked_at_every_time(chests, monkeypatch, tmp_path):
    task, state = opened(mask_runs.nodule(chests))
    drawn = []
    monkeypatch.setattr("wsrpn.report.mask_panels.sheet", lambda rows, title: drawn.append(rows))
    monkeypatch.setattr("wsrpn.report.draw.save", lambda *_: None)
    for epoch in (1, 2):
        task.judge(state, HERE)
        task.show(state, tmp_path, epoch)
    first, second = drawn
    assert first.names == second.names
    assert set(first.names) == {f"{n:02d}.png" for n in range(9, 14)}
    assert first.truth.any((1, 2)).tolist() == [True, True, False, True, True]
    assert first.has_drr.tolist() == [True, False, True, False, True]
    assert first.attention.shape[0] == 5
    assert (first.drrs[0] > 0).any()
    np.testing.assert_array_equal(first.images, second.images)
    (batch,) = loader.feed(
        task.val_feed.dataset,
        dataclasses.replace(task.config, train=dataclasses.replace(task.config.train, batch=9)),
        training=False, cache=None,
    )()  # fmt: skip
    with torch.no_grad(), validate.averaged(state, task.config):
        expected = state.model(batch).mask_logits[:, 0].sigmoid().numpy()
    np.testing.assert_allclose(first.scores, expected, atol=1e-5)


# Remarks


def remarks(source, **kept):
    task = MaskTask(complete(mask_runs.unet(source)))
    return " ".join(task.remarks({f"val/{name}": value for name, value in kept.items()}))


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"truth": 0.1, "foreground": 0.0, "dice": 0.0}, "Nothing is found in any image of split"),
        ({"truth": 0.1, "foreground": 1.0, "dice": 0.2}, "Everything is found: 100.0% of the pix"),
        ({"truth": 0.1, "foreground": 0.2, "dice": 0.0}, "Dice is 0 of split val at the kept"),
        ({"truth": 0.01, "foreground": 0.2, "dice": 0.1}, "20.0 times as many pixels"),
        ({"truth": 0.0, "foreground": 0.2, "dice": 0.1}, "No pixel of split val is foreground"),
    ],
)
def test_a_training_that_went_wrong_is_explained_in_one_sentence(source, kept, words):
    said = remarks(source, **kept)
    assert words in said
    assert said.count("split val") == 1


def test_a_training_that_went_well_is_not_remarked_on(source):
    assert remarks(source, truth=0.1, foreground=0.12, dice=0.8) == ""
    assert remarks(source) == ""


def test_what_a_user_should_know_of_a_training_is_in_its_notes(source, tmp_path):
    changes = ("model.prior=0.001", "train.epochs=1", "train.lr=1e-9", "train.watch_boxes=true",
               "train.monitor=loss", "text.encoder=hashing")  # fmt: skip
    notes = facts(train(mask_runs.unet(source, *changes), tmp_path / "run"))["data"]["notes"]
    said = " ".join(notes)
    assert "Nothing is found in any image" in said
    assert "train.monitor=loss compares epochs by a sum whose weights change" in said
    assert "train.watch_boxes has no effect on images with masks." in notes
    assert "text.encoder=hashing has no effect on images with masks." in notes


# Refusals


@pytest.mark.parametrize(
    ("make", "changes", "words"),
    [
        (mask_runs.unet, ["train.monitor=auroc"], "chosen by dice, jaccard, loss or last"),
        (runs.config, ["train.monitor=dice"], "train.monitor=dice: model cam learns from radiogr"),
        (mask_runs.unet, ["train.monitor=last", "train.patience=2"], "set train.monitor to dice, "),
        (runs.config, ["train.monitor=last", "train.patience=2"], "set train.monitor to auroc, "),
        (mask_runs.nodule, ["model.attention=none"], r"model\.attention=none; .*attention=0"),
        (runs.config, ["phases.0.weights.dice=1"], "reads output.mask_logits, which model 'cam'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_data_are_read(make, changes, words):
    with pytest.raises(InputError, match=words):
        complete(make(Path("nowhere"), *changes))


def test_a_model_without_attention_trains_when_its_loss_has_no_weight(chests, tmp_path):
    changes = ("model.attention=none", "phases.0.weights.attention=0", "train.epochs=1")
    row = rows(train(mask_runs.nodule(chests, *changes), tmp_path / "run"))[-1]
    assert {"val/loss/tversky", "val/loss/weighted_bce"} <= row.keys()
    assert "val/loss/attention" not in row


def test_data_without_masks_are_refused(source, tmp_path):
    with pytest.raises(InputError, match="no image has a mask, and model unet learns from masks"):
        train(mask_runs.unet(runs.data(tmp_path / "plain")), tmp_path / "run")
    text = (source / "images.csv").read_text()
    for split, words in (("train", "of split train has a mask"), ("val", "monitor=dice needs an")):
        other = shutil.copytree(source, tmp_path / split)
        lines = [
            line.replace("masks/" + line.split(",")[0], "") if f",{split}," in line else line
            for line in text.splitlines()
        ]
        (other / "images.csv").write_text("\n".join(lines) + "\n")
        with pytest.raises(InputError, match=words):
            train(mask_runs.unet(other), tmp_path / "run")
    with pytest.raises(InputError, match="tiles of slides, and model unet learns from images with"):
        train(mask_runs.unet(Path("phantom:slides")), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_patient_in_two_splits_is_refused(source, tmp_path):
    other = shutil.copytree(source, tmp_path / "other")
    table = other / "images.csv"
    table.write_text(table.read_text().replace(",p13,", ",p0,"))
    with pytest.raises(InputError, match="p0"):
        train(mask_runs.unet(other), tmp_path / "run")


def test_a_resume_with_other_masks_is_refused(source, unbroken, tmp_path):
    run = shutil.copytree(unbroken("fit"), tmp_path / "run")
    other = shutil.copytree(source, tmp_path / "other")
    table = other / "images.csv"
    table.write_text(table.read_text().replace("masks/00.png", ""))
    with pytest.raises(InputError, match="other images have a mask, or a DRR, than when"):
        train(mask_runs.unet(other, "train.epochs=4"), run, resume=True)


def test_a_run_without_validation_images_keeps_the_last_epoch(tmp_path):
    alone = mask_runs.discs(tmp_path / "alone", train=4, val=0)
    changes = ("data.val_share=0", "data.test_share=0", "train.monitor=loss", "train.epochs=2")
    out = train(mask_runs.unet(alone, *changes), tmp_path / "run")
    assert not any(key.startswith("val/") for row in rows(out) for key in row)
    assert checkpoint.load(out / "checkpoints", "best").state["epoch"] == 2
    assert not (out / "segmentation.png").exists()


def test_scores_of_one_half_count_as_found_and_soft_pixels_from_one_half_on():
    output = ModelOutput(torch.zeros(1, 1), mask_logits=torch.tensor([[[[0.0, -1e-6, 3.0]]]]))
    batch = Batch(
        ids=("a",), images=torch.zeros(1, 1, 1, 3), labels=torch.ones(1, 1),
        sizes_px=torch.tensor([[1, 3]]), masks=torch.tensor([[[[0.5, 0.6, 0.49]]]]),
    )  # fmt: skip
    assert mask_figures.pixels(output, batch, native=False).tolist() == [[1, 1, 1, 0]]
    assert math.isnan(mask_figures.overlap(np.array([[0, 0, 2, 1]]))["val/precision"])
