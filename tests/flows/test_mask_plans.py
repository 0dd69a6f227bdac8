"""Runs and studies of masks that cannot end well are refused when they are asked for."""

import json
from pathlib import Path

import pytest
import yaml

from tests import cli
from tests.flows import mask_runs
from wsrpn.errors import InputError
from wsrpn.segmentation import engine
from wsrpn.study import ablate, plan
from wsrpn.train.run import complete, train


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return mask_runs.discs(tmp_path_factory.mktemp("discs"))


@pytest.mark.parametrize(("tile", "margin", "depth"), [(64, 30, 3), (256, 128, 2), (64, 32, 1)])
def test_tiles_that_answer_nothing_are_refused_with_both_keys(tile, margin, depth):
    changes = (f"masks.tile={tile}", f"masks.margin={margin}", f"model.depth={depth}")
    least = 2 * margin + 2**depth
    with pytest.raises(InputError, match=rf"masks\.tile={tile} .*masks\.margin={margin}.*{least}"):
        complete(mask_runs.native(Path("nowhere"), *changes))
    complete(mask_runs.unet(Path("nowhere"), *changes))  # whole images are answered at once
    enough = complete(mask_runs.native(Path("nowhere"), *changes[1:], f"masks.tile={least}"))
    assert engine.spans(1000, enough.masks.tile, margin, 2**depth)
    with pytest.raises(InputError, match="leaves nothing inside"):
        engine.spans(1000, least - 1, margin, 2**depth)


def test_the_command_line_refuses_such_tiles_before_it_trains_and_with_show_config(
    source, tmp_path
):
    words = ("train", "beads", "--data", source, *cli.sets("masks.tile=256"))
    for more in (("--out", tmp_path / "run"), ("--show-config",)):
        done = cli.wsrpn(*words, *more)
        assert done.exit_code == 2
        assert "masks.margin=128" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("margin", [25, 26])
def test_a_margin_within_what_the_network_sees_is_said_at_training(source, tmp_path, margin):
    changes = (f"masks.margin={margin}", "train.epochs=1")
    out = train(mask_runs.native(source, *changes), tmp_path / "run")
    notes = json.loads((out / "run.json").read_text())["data"]["notes"]
    said = [note for note in notes if "less than the 26 px that this network sees" in note]
    assert len(said) == (margin < 26)


@pytest.mark.parametrize(
    ("base", "changes", "sentence"),
    [
        ("vae-b1", {"train.lr": 0.003}, r"arm 'a': model vae learns from tiles.*wsrpn eval"),
        ("beads", {"model": "wsrpn"}, r"arm 'b': "),
    ],
)
def test_an_ablation_of_models_it_cannot_judge_is_refused_before_it_trains(
    source, tmp_path, base, changes, sentence
):
    tree = {"base": base, "data": str(source), "arms": {"a": {}, "b": changes}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match=sentence):
        ablate.prepare(plan.load(path, plan.Ablation), tmp_path / "out", where=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_training_that_is_refused_leaves_no_folder_of_its_own(source, tmp_path):
    changes = ("train.freeze_backbone=true",)
    mine = tmp_path / "mine"
    mine.mkdir()
    for out in (tmp_path / "run", mine):
        with pytest.raises(InputError, match="has no backbone"):
            train(mask_runs.unet(source, *changes), out)
    assert not (tmp_path / "run").exists()
    assert mine.is_dir()
