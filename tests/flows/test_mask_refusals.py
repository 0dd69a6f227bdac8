"""Trainings on masks that could teach nothing or never end well: refused or said in a sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import make
from tests.flows import mask_runs, runs
from tests.flows.test_training import rows
from wsrpn import checkpoint
from wsrpn.errors import InputError
from wsrpn.train.run import complete, train


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return mask_runs.discs(tmp_path_factory.mktemp("discs"))


def notes(run):
    return json.loads((run / "run.json").read_text())["data"]["notes"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.trainable=2"], "model.trainable=2 keeps the first 3 stages of the backbone as it"),
        (["model.trainable=4"], "model.trainable=4 keeps the first 1 stage of the backbone as it"),
        (["train.freeze_backbone=true"], "train.freeze_backbone keeps the backbone as it is, and"),
        ([], ""),
    ],
)
def test_stages_that_stay_random_for_good_are_said(source, tmp_path, changes, words):
    out = train(mask_runs.nodule(source, "train.epochs=1", *changes), tmp_path / "run")
    said = [note for note in notes(out) if "model.weights=none that is random" in note]
    assert len(said) == bool(words)
    assert all(note.startswith(words) for note in said)


def test_stages_with_trained_weights_may_stay_as_they_are(source):
    from wsrpn.train.mask_task import _never_learned

    config = complete(mask_runs.nodule(source, "model.trainable=2", "model.weights=some.pt"))
    assert _never_learned(config) == []
    assert _never_learned(complete(mask_runs.unet(source))) == []


def test_windows_are_refused_for_a_model_that_looks_at_the_whole_image():
    changes = ("masks.scale=native",)
    with pytest.raises(InputError, match=r"model nodule looks at the whole.*set masks\.scale=fit"):
        complete(mask_runs.nodule(Path("nowhere"), *changes))
    assert complete(mask_runs.unet(Path("nowhere"), *changes)).masks.scale == "native"
    # A section that only masks read is nothing to the others.
    assert complete(runs.config(Path("nowhere"), *changes)).masks.scale == "native"


def test_one_image_of_a_single_cell_a_step_is_one_sentence(source, tmp_path):
    changes = ("data.size=16", "model.depth=4", "train.batch=1", "train.epochs=1")
    with pytest.raises(InputError, match=r"train\.batch.*data\.size above 16.*model\.depth lower"):
        train(mask_runs.unet(source, *changes), tmp_path / "run")


def test_a_monitor_whose_images_cannot_be_read_is_refused_and_not_silent(source, tmp_path):
    other = shutil.copytree(source, tmp_path / "other")
    for n in range(9, 14):
        (other / f"{n:02d}.png").write_bytes(b"no picture")
    changes = ("data.on_error=skip", "train.epochs=1")
    with pytest.raises(InputError, match=r"monitor=dice needs an image .*5 images of it cannot be"):
        train(mask_runs.unet(other, *changes), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
    last = train(mask_runs.unet(other, *changes, "train.monitor=last"), tmp_path / "last")
    assert checkpoint.load(last / "checkpoints", "best").state["epoch"] == 1


@pytest.mark.parametrize("monitor", ["dice", "jaccard"])
def test_validation_without_any_foreground_is_said_and_keeps_the_last_epoch(
    source, tmp_path, monitor
):
    other = shutil.copytree(source, tmp_path / "other")
    for n in range(9, 14):
        if n % 4 != 3:
            make.image(other / "masks" / f"{n:02d}.png", np.zeros((48, 48), np.uint8))
    changes = (f"train.monitor={monitor}", "train.epochs=3", "train.patience=1")
    out = train(mask_runs.unet(other, *changes), tmp_path / "run")
    assert [row["epoch"] for row in rows(out)] == [1, 2, 3]
    assert not any(f"val/{monitor}" in row for row in rows(out))
    kept = checkpoint.load(out / "checkpoints", "best").state
    assert (kept["epoch"], kept["value"]) == (3, None)
    assert any(note.startswith("No pixel of split val is foreground") for note in notes(out))
