"""Training on tiles: what a run leaves and measures, resume, several processes, refusals."""

import csv
import dataclasses
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.distributed import TCPStore
from torch.distributions import Normal, kl_divergence

from tests import cli, tile_files
from tests.flows import runs, tile_processes, tile_runs
from tests.flows.test_training import Crash, rows, stop_at
from wsrpn import checkpoint
from wsrpn import config as configs
from wsrpn.errors import InputError
from wsrpn.losses import Objective, losses
from wsrpn.losses.latent import capacity_at
from wsrpn.predict import open_run
from wsrpn.tiling import loader, sets
from wsrpn.train import probe, tile_figures, tile_task
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.optimiser import Average, adamw
from wsrpn.train.run import complete, train
from wsrpn.train.tile_task import TileTask

HERE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tile_files.folder(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    """The run of an autoencoder; not to be changed."""
    return train(tile_runs.vae(source), tmp_path_factory.mktemp("runs") / "vae")


def opened(config):
    """A task with its feeds, and a state with the model as it begins."""
    config = complete(config)
    task = TileTask(config)
    task.open(HERE, Path("unused"))
    model = task.build()
    return task, State(model, adamw(model, config.train), Average(model, config.train.ema))


# What a run leaves


def test_a_run_leaves_figures_pictures_splits_and_what_scoring_needs(source, trained):
    row = rows(trained)[-1]
    assert {
        "val/loss", "val/reconstruction", "val/kl", "val/active_units", "val/latent_use",
        "val/auroc", "val/image_ap", "train/capacity", "fitted/recon_mean", "fitted/kl_std",
    } <= row.keys()  # fmt: skip
    facts = json.loads((trained / "run.json").read_text())
    assert facts["classes"] == ["tumour"]
    assert facts["tiles"] == {"size": 32, "mpp": 1.0, "level": None}
    assert (facts["data"]["train"], facts["data"]["val"]) == (18, 12)
    assert "18 training tiles of tumour left out." in facts["data"]["notes"]
    with (trained / "splits.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["split"] for line in table] == ["train"] * 6 + ["val"] * 2
    assert {(line["tiles"], line["normal"], line["tumour"]) for line in table} == {("6", "3", "3")}
    with Image.open(trained / "reconstructions.png") as picture:
        assert min(picture.size) > 300
    events = [path.name for path in (trained / "tensorboard").iterdir()]
    assert len(events) == 3


def test_the_colours_of_the_training_tiles_are_in_every_checkpoint(source, trained):
    config = tile_runs.vae(source)
    tiles = sets.load(config).split("train")
    look = loader.target_look(tiles.where(tiles.label == 0), config)
    assert not torch.allclose(look, torch.eye(3, 4), atol=1e-2)
    for kind in ("last", "best"):
        saved = checkpoint.load(trained / "checkpoints", kind).tensors
        assert torch.equal(saved["model/look"], look)
    assert torch.equal(open_run(trained).model.look, look)


def test_the_capacity_that_is_logged_is_that_of_the_loss(trained):
    assert [row["train/capacity"] for row in rows(trained)] == [10, 20, 20]
    assert capacity_at(1.0, capacity=20.0, reached=2.0) == 10


def test_an_autoencoder_never_sees_tumour_in_training(source, trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(source, other)
    for slide in range(6):
        for n in (1, 3, 5):
            noise = np.random.default_rng(n).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(other / f"s{slide}_{n}.png")
    out = train(tile_runs.vae(other), tmp_path / "run")
    assert runs.fingerprint(out) == runs.fingerprint(trained)


def test_the_command_line_trains_and_tells_where_the_picture_is(source, tmp_path):
    done = cli.wsrpn(
        "train", "vae-b1", "--data", source / "tiles.csv", "--out", tmp_path / "run", "--epochs", 1,
        "--json", *cli.sets("data.size=32", "model.width=8", "model.depth=3", "train.batch=6"),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert Path(document["files"]["reconstructions"]).is_file()
    assert document["metrics"]["loss"]["value"] > 0
    assert "active units" in done.stderr


# Figures


def test_figures_are_those_of_their_definitions(source):
    config = complete(tile_runs.vae(source, "train.ema=0"))
    task, state = opened(config)
    fitted, found = tile_figures.judge(
        state, task.val_feed, task.val_feed.dataset, config, HERE, normal_only=True
    )
    assert fitted["fitted/recon_std"] == state.model.recon_std.item()
    whole = dataclasses.replace(config, train=dataclasses.replace(config.train, batch=99))
    (batch,) = loader.feed(
        task.val_feed.dataset, whole, training=False, cache=None, look=state.model.look
    )()
    batch = dataclasses.replace(batch, epoch=3.0)
    normal = batch.labels[:, 0] == 0
    with torch.no_grad():
        output = state.model.eval()(batch)
        kept = dataclasses.replace(
            batch, ids=(), images=batch.images[normal], labels=batch.labels[normal],
            sizes_px=batch.sizes_px[normal],
        )  # fmt: skip
        loss, terms = Objective(config.losses)(state.model(kept), kept, config.phases[-1].weights)
    assert found["val/loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert found["val/reconstruction"] == pytest.approx(terms["reconstruction"].item(), rel=1e-5)
    mean, deviation = output.latent.mean[normal], (output.latent.log_variance[normal] / 2).exp()
    nats = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(1).mean()
    assert found["val/kl"] == pytest.approx(nats.item(), rel=1e-4)
    assert found["val/active_units"] == (np.var(mean.numpy(), axis=0) > 0.01).sum()
    truth, scores = batch.labels[:, 0].numpy(), output.logits[:, 0].numpy()
    assert found["val/auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["val/image_ap"] == pytest.approx(average_precision_score(truth, scores))


def test_figures_do_not_depend_on_the_size_of_batches(source):
    found = {}
    for batch in (5, 18):
        task, state = opened(tile_runs.vae(source, f"train.batch={batch}"))
        found[batch] = task.judge(state, HERE)[1]
    assert found[5].keys() == found[18].keys()
    for name, value in found[18].items():
        assert found[5][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_a_latent_that_says_nothing_is_seen(source):
    task, state = opened(tile_runs.vae(source, "train.ema=0"))
    with torch.no_grad():
        for parameter in state.model.encoder.tail.parameters():
            parameter.zero_()
    found = task.judge(state, HERE)[1]
    assert found["val/kl"] == pytest.approx(0, abs=1e-6)
    assert found["val/active_units"] == 0
    assert found["val/latent_use"] == 0


def test_a_latent_that_is_used_is_seen(source):
    changes = ("train.epochs=12", "model.skips=false", "train.lr=0.005", "train.ema=0",
               "losses.latent.capacity=60", "tiles.stain=none")  # fmt: skip
    task, state = opened(tile_runs.vae(source, *changes))
    before = task.judge(state, HERE)[1]
    dark = torch.linspace(0, 1, 12)[:, None, None, None].expand(12, 3, 32, 32)
    for step in range(60):  # tiles that differ in one number
        torch.manual_seed(step)
        state.optimizer.zero_grad()
        decoded = state.model.reconstruct(dark, skips=False)
        (decoded - dark).square().mean().backward()
        state.optimizer.step()
    task.probe._images = dict(zip(task.probe._images, dark, strict=True))
    after = task.probe.figures(state, HERE)
    assert before["val/latent_use"] < 0.1
    assert after["val/latent_use"] > 1


def test_the_probe_draws_evenly_and_swaps_between_distant_tiles():
    order = probe.apart(np.arange(7))
    assert sorted(order) == list(range(7))
    assert np.abs(np.diff(order)).min() >= 3
    assert probe.evenly(np.arange(10), 3).tolist() == [0, 4, 9]


def test_losses_are_told_the_epoch(source, tmp_path, monkeypatch):
    seen = []

    def timed(logits, labels, epoch, *, price: float = 1.0):
        seen.append(epoch)
        return price * (logits - labels).square().sum(1)

    monkeypatch.setitem(losses._parts, "timed", timed)
    reads = ("output.logits", "batch.labels", "batch.epoch")
    monkeypatch.setitem(losses._facts, "timed", {"reads": reads})
    pictures = runs.data(tmp_path / "data")
    train(runs.config(pictures, "phases=[{weights: {timed: 1}}]"), tmp_path / "run")
    assert seen == [step / 4 for step in range(12)]


# Which epoch is kept, and when to stop


def test_patience_ends_a_training_on_tiles(source, tmp_path, monkeypatch):
    values = iter([5.0, 4.0, 4.5, 4.2, 1.0])
    real = tile_task.judge

    def judge(*given, **named):
        fitted, found = real(*given, **named)
        return fitted, {**found, "val/loss": next(values)}

    monkeypatch.setattr(tile_task, "judge", judge)
    config = tile_runs.vae(source, "train.epochs=5", "train.patience=2")
    out = train(config, tmp_path / "run")
    assert [row["epoch"] for row in rows(out)] == [1, 2, 3, 4]
    assert checkpoint.load(out / "checkpoints", "best").state["epoch"] == 2


# Resume, and several processes


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_stopped_ends_as_the_unbroken_one(source, trained, tmp_path, workers):
    config, out = tile_runs.vae(source, f"train.workers={workers}"), tmp_path / "run"
    for step in (2, 5):  # before the first checkpoint, inside the second epoch
        with pytest.raises(Crash):
            train(config, out, resume=step > 2, listen=stop_at(step, "crash"))
    train(config, out, resume=True)
    assert runs.fingerprint(out) == runs.fingerprint(trained)
    same = [(run / "reconstructions.png").read_bytes() for run in (out, trained)]
    assert same[0] == same[1]


def test_other_tiles_are_refused_on_resume(source, tmp_path):
    copy, out = tmp_path / "tiles", tmp_path / "run"
    shutil.copytree(source, copy)
    with pytest.raises(Crash):
        train(tile_runs.vae(copy), out, listen=stop_at(1, "crash"))
    text = (copy / "tiles.csv").read_text()
    (copy / "tiles.csv").write_text(text.replace("s0_1.png,tumor", "s0_1.png,normal"))
    with pytest.raises(InputError, match="table of labels is not the one this run began with"):
        train(tile_runs.vae(copy), out, resume=True)
    (copy / "tiles.csv").write_text(text)
    train(tile_runs.vae(copy), out, resume=True)


@pytest.fixture(scope="module")
def both(source, tmp_path_factory):
    """Folders of the same trainings by one process and by two."""
    folder = tmp_path_factory.mktemp("two")
    # What torchrun does (`test_distributed` has it), without three times the seconds of imports:
    # both processes are forks of one that has them.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([tile_processes.__name__])
    both = [
        context.Process(target=tile_processes.main, args=(source, folder, rank, store.port))
        for rank in range(2)
    ]
    one = folder / "one"
    try:
        for process in both:
            process.start()
        train(tile_processes.autoencoder(source), one / "vae")
        train(tile_processes.frozen(source), one / "classifier")
        for process in both:
            process.join(150)
            assert process.exitcode == 0
    finally:
        for process in both:
            process.kill()
    return one, folder


@pytest.mark.parametrize("kind", ["vae", "classifier"])
def test_two_processes_have_the_curves_and_weights_of_one(both, kind):
    one, two = (rows(folder / kind) for folder in both)
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert b[key] == pytest.approx(a[key], rel=2e-3, abs=1e-3), key
    ours, theirs = (checkpoint.load(f / kind / "checkpoints", "last").tensors for f in both)
    # AdamW divides by the root of tiny second moments, so rounding may move single weights.
    far = [
        (theirs[key] - value).abs().float().flatten()
        for key, value in ours.items()
        if key.startswith("model/")
    ]
    assert torch.cat(far).mean() < 1e-5


def test_both_processes_end_with_the_same_weights(both):
    ends = [json.loads((both[1] / f"rank{n}.json").read_text()) for n in range(2)]
    assert ends[0] == ends[1]


# Heads and classifiers


def test_a_head_learns_on_an_encoder_that_stays_as_it_was(source, trained, tmp_path):
    out = train(tile_runs.head(source, trained), tmp_path / "run")
    encoder = checkpoint.load(trained / "checkpoints", "best").tensors
    ours = checkpoint.load(out / "checkpoints", "best").tensors
    kept = [key for key in encoder if key.startswith("model/encoder.")]
    assert kept
    assert all(torch.equal(encoder[key], ours[key]) for key in kept)
    assert torch.equal(encoder["model/look"], ours["model/look"])
    row = rows(out)[-1]
    assert {"val/loss", "val/auroc", "val/image_ap"} <= row.keys()
    assert not {"val/kl", "val/latent_use", "train/capacity"} & row.keys()
    assert not (out / "reconstructions.png").exists()
    assert json.loads((out / "run.json").read_text())["data"]["train"] == 36


def test_a_head_in_other_colours_than_its_encoder_is_refused(source, trained, tmp_path):
    config = tile_runs.head(source, trained, "tiles.stain=none")
    with pytest.raises(InputError, match=r"brought to one stain.*set the tiles\.stain of that"):
        train(config, tmp_path / "run")
    config = tile_runs.head(source, trained, "tiles.stain=macenko")
    with pytest.raises(InputError, match=r"one stain \(reinhard\).*has tiles\.stain=macenko"):
        train(config, tmp_path / "run")


def test_a_frozen_encoder_that_learned_nothing_is_told(source, tmp_path):
    config = tile_runs.head(source, "none", "model.width=8", "model.depth=3", "train.epochs=1")
    out = train(config, tmp_path / "run")
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert any("model.weights=none that is random" in note for note in notes)


def test_an_encoder_that_saw_other_pixels_than_its_head_is_told(source, trained, tmp_path):
    config = tile_runs.head(source, trained, "tiles.mpp=3.5", "train.epochs=1")
    out = train(config, tmp_path / "run")
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert any("learned with" in note and "and not 3.5" in note for note in notes)


def test_a_head_of_the_preset_takes_tiles_as_its_encoder_learned_them(source, trained, tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    asked = ("train", "vae-head", "--data", source, "--out", run, "--epochs", 1)
    sets = cli.sets(f"model.weights={trained}", "train.batch=12", "train.monitor=loss")
    shown = cli.wsrpn(*asked, *sets, "--show-config")
    assert shown.exit_code == 0, shown.stderr
    assert cli.wsrpn(*asked, *sets).exit_code == 0
    assert (run / "config.yaml").read_text() == shown.stdout
    config = configs.load(run / "config.yaml")
    assert (config.data.size, config.tiles.mpp, config.tiles.stain) == (32, 1, "reinhard")
    notes = json.loads((run / "run.json").read_text())["data"]["notes"]
    assert not any("learned with" in note for note in notes)
    same = cli.wsrpn("train", run / "config.yaml", "--out", again)
    assert same.exit_code == 0, same.stderr
    assert runs.fingerprint(again) == runs.fingerprint(run)
    longer = cli.wsrpn(*asked[:-1], 2, *sets, "--resume")
    assert longer.exit_code == 0, longer.stderr
    assert [row["epoch"] for row in rows(run)] == [1, 2]


def test_weights_in_a_file_say_nothing_of_tiles_and_the_user_is_told(source, trained, tmp_path):
    weights = next((trained / "checkpoints").rglob("best*.safetensors"))
    out = train(tile_runs.head(source, weights, "train.epochs=1"), tmp_path / "run")
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert any("does not say which tiles" in n and "data.size is 32" in n for n in notes)


def upside_down(self, state, here, judge=TileTask.judge):
    """Figures of a model that ranks tumour below normal tiles."""
    fitted, found = judge(self, state, here)
    return fitted, found | {"val/auroc": 0.02}


def test_an_autoencoder_that_ranks_the_wrong_way_round_is_told_at_the_end(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(TileTask, "judge", upside_down)
    few, out = tile_runs.vae(source, "train.epochs=1"), tmp_path / "run"
    words = "lower in tumour than in normal tiles of split val: AUROC 0.020 at the kept epoch"

    def told():
        return sum(words in n for n in json.loads((out / "run.json").read_text())["data"]["notes"])

    train(few, out)
    assert told() == 1
    train(few, out, resume=True)
    assert told() == 1
    monkeypatch.undo()
    train(tile_runs.vae(source, "train.epochs=1"), out := tmp_path / "good")
    value = rows(out)[0]["val/auroc"]
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert any("lower in tumour" in note for note in notes) == (value < 0.5)
    chosen = TileTask(complete(tile_runs.classifier(source)))  # by auroc, which the user sees
    assert chosen.remarks({"val/auroc": 0.02}) == []


def test_a_classifier_tells_tumour_from_normal(source, tmp_path):
    config = tile_runs.classifier(source, "train.epochs=6", "train.lr=0.005")
    out = train(config, tmp_path / "run")
    assert max(row["val/auroc"] for row in rows(out)) > 0.9


# Data that cannot train


def labelled(folder, labels, **options):
    return tile_files.folder(folder / labels, labels=labels, slides=3, each=2, val=1, **options)


def test_tiles_and_radiographs_do_not_meet(source, tmp_path):
    pictures = runs.data(tmp_path / "data")
    for given in (pictures, pictures / "images.csv", "phantom:cxr"):
        with pytest.raises(InputError, match="radiographs, and model vae learns from tiles of sl"):
            train(tile_runs.vae(given), tmp_path / "run")
    for given in (source, source / "tiles.csv", "phantom:slides"):
        with pytest.raises(InputError, match="tiles of slides, and model cam learns from radio"):
            train(runs.config(given), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_that_cannot_train_or_choose_are_refused(tmp_path):
    tumour, normal = labelled(tmp_path, "tumour"), labelled(tmp_path, "normal")
    blind = tile_files.folder(tmp_path / "blind", slides=3, each=2, val=1)
    text = (blind / "tiles.csv").read_text()
    (blind / "tiles.csv").write_text(text.replace("tumor,val", "normal,val"))
    refused = (
        (tile_runs.vae(tumour), "no tile of split train is labelled normal, and model vae"),
        (tile_runs.classifier(blind), "needs normal and tumour tiles in split val"),
        (tile_runs.classifier(normal, "train.monitor=loss"), "are normal, and model tile_class"),
        (tile_runs.vae(normal, "train.monitor=auroc"), "needs normal and tumour tiles in split"),
    )
    for config, words in refused:
        with pytest.raises(InputError, match=words):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run" / "config.yaml").exists()
    unknown = tile_files.folder(tmp_path / "unknown", slides=3, each=2, val=1)
    lines = (unknown / "tiles.csv").read_text()
    (unknown / "tiles.csv").write_text(
        lines.replace("tumor,val", ",val").replace("normal,val", ",val")
    )
    with pytest.raises(InputError, match=r"train\.monitor=loss needs labelled tiles in split val"):
        train(tile_runs.classifier(unknown, "train.monitor=loss"), tmp_path / "run")
    without = tile_files.folder(tmp_path / "without", slides=2, each=2, val=0)
    nobody = ("data.val_share=0", "data.test_share=0")
    with pytest.raises(InputError, match=r"vae is fitted on .* data\.val_share above 0"):
        train(tile_runs.vae(without, *nobody), tmp_path / "run")
    out = train(
        tile_runs.classifier(without, *nobody, "train.monitor=loss", "train.batch=4"),
        tmp_path / "run",
    )
    assert not any(key.startswith("val/") for row in rows(out) for key in row)


def test_a_split_that_leaves_nothing_to_validate_on_is_told_as_the_cause(tmp_path):
    alone = tile_files.folder(tmp_path / "alone", slides=1, each=4, val=0)
    words = r"fitted on validation tiles .* split of the data leaves none\. .* are of 1 patient"
    with pytest.raises(InputError, match=words) as caught:
        train(tile_runs.vae(alone), tmp_path / "run")
    assert "data.val_share above 0" not in str(caught.value)
    assert "split=val" in str(caught.value)
    with pytest.raises(InputError, match=r"validation tiles when .* set data\.val_share above 0"):
        train(tile_runs.vae(alone, "data.val_share=0"), tmp_path / "run")


def test_tiles_without_a_label_do_not_thin_the_loss(source, tmp_path):
    half = shutil.copytree(source, tmp_path / "half")
    lines = (half / "tiles.csv").read_text().splitlines()
    val = [n for n, line in enumerate(lines) if ",val" in line]
    for number in val[::3]:
        lines[number] = lines[number].replace("tumor,val", ",val").replace("normal,val", ",val")
    (half / "tiles.csv").write_text("\n".join(lines) + "\n")
    task, state = opened(tile_runs.classifier(half, "tiles.stain=none"))
    _, found = task.judge(state, HERE)
    rest = task.val_feed.dataset
    rest = rest.where(~np.isnan(rest.label))
    assert 0 < len(rest) < len(val)
    feed = loader.feed(rest, task.config, training=False, cache=None, look=task.model.look)
    _, alone = tile_figures.judge(state, feed, rest, task.config, HERE, normal_only=False)
    assert found["val/loss"] == pytest.approx(alone["val/loss"])


def test_an_autoencoder_needs_no_tumour_anywhere(tmp_path):
    normal = labelled(tmp_path, "normal")
    out = train(tile_runs.vae(normal, "train.epochs=1", "train.batch=4"), tmp_path / "run")
    row = rows(out)[-1]
    assert "val/loss" in row
    assert "val/auroc" not in row
    assert (out / "reconstructions.png").is_file()


def test_what_has_no_effect_on_tiles_is_said(source, tmp_path):
    changes = ("train.watch_boxes=true", "text.encoder=hashing", "tiles.mpp=2", "train.epochs=1")
    out = train(tile_runs.classifier(source, *changes), tmp_path / "run")
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    assert "train.watch_boxes has no effect on tiles." in notes
    assert "text.encoder=hashing has no effect on tiles." in notes
    assert "The tiles have 1 µm per pixel, and not the 2 of tiles.mpp." in notes
