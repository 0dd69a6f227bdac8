"""`wsrpn ablate` of models that segment: losses side by side, as the single commands have them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests import cli
from tests.flows import mask_runs
from wsrpn.errors import InputError
from wsrpn.segmentation import counts
from wsrpn.study import ablate, plan, results, training

FEW = ("--bootstrap", 20, "--device", "cpu")
TINY = {
    "model": {"width": 4, "depth": 2}, "data.size": 48, "masks": {"scale": "fit"},
    "train": {"epochs": 2, "batch": 3, "lr": 0.01, "precision": "fp32"},
}  # fmt: skip
ARMS = {
    "combined": {},
    "dice": {"phases": [{"weights": {"dice": 1.0}}]},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return mask_runs.discs(tmp_path_factory.mktemp("discs"), test=5)


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory, source):
    tree = {
        "title": "Losses", "base": "beads", "data": str(source), "set": TINY, "arms": ARMS,
        "seeds": 2,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("plan") / "losses.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), "utf-8")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, plan_file):
    """A finished study, its folder and its document; copy it before changing it."""
    out = tmp_path_factory.mktemp("study") / "out"
    done = cli.wsrpn("ablate", plan_file, "--out", out, *FEW, "--json")
    assert done.exit_code == 0, done.stderr
    return out, json.loads(done.stdout)


def ready(plan_file, out):
    """The study, as the command prepares it."""
    return ablate.prepare(plan.load(plan_file, plan.Ablation), out, where=out)


def test_the_table_has_the_figures_that_eval_and_compare_give_of_its_runs(whole, tmp_path):
    out, found = whole
    runs = [out / arm / f"seed-{seed}" for arm in ARMS for seed in (0, 1)]
    told = {method["name"]: method for method in found["methods"]}
    for run in runs:
        copy = shutil.copytree(run, tmp_path / run.parent.name / run.name)
        report = json.loads(cli.wsrpn("eval", copy, "--bootstrap", 0, "--json").stdout)
        seed = int(run.name.removeprefix("seed-"))
        for name in ("jaccard", "object_f1"):
            value = told[run.parent.name]["per_run"][name][seed]
            assert value == report["metrics"][name]["value"], (run, name)
    words = ("compare", *runs, "--bootstrap", 20, "--out", tmp_path / "compared", "--json")
    beside = json.loads(cli.wsrpn(*words).stdout)
    gap = {d["name"]: d["figures"] for d in beside["differences"]}["dice - combined"]
    assert {d["name"]: d["figures"] for d in found["differences"]}["dice - combined"] == gap
    for name in ("study.md", "study.csv", "study.png", "curves.png", "maps.png"):
        assert (out / name).stat().st_size > 500, name
    assert not (out / "pareto.png").exists()
    with (out / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["figure"] for row in rows} >= {"jaccard", "dice", "boundary_f1", "specificity"}
    assert found["waiting"] == []


def test_a_second_time_nothing_is_done_and_the_tables_are_the_same(whole, plan_file):
    out, _ = whole
    names = ("study.md", "study.csv", "study.png", "maps.png")
    before = [(out / name).read_bytes() for name in names]
    again = cli.wsrpn("ablate", plan_file, "--out", out, *FEW)
    assert again.stderr.count("done already") == 4
    assert [(out / name).read_bytes() for name in names] == before


@pytest.mark.parametrize("lost", ["counts", "damaged", "calibration"])
def test_what_is_lost_is_asked_again_and_no_more_is_trained(whole, plan_file, tmp_path, lost):
    out = shutil.copytree(whole[0], tmp_path / "out")
    run = out / "dice" / "seed-1"
    file = run / "eval-test" / "counts.json"
    if lost == "counts":
        file.unlink()
    elif lost == "damaged":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        (run / "calibration.json").unlink()
    (one,) = [t for t in ready(plan_file, out).trainings if t.name == "dice seed 1"]
    assert training.entry(one) is None
    weights = sorted((run / "checkpoints").iterdir())
    times = [path.stat().st_mtime_ns for path in weights]
    again = cli.wsrpn("ablate", plan_file, "--out", out, *FEW)
    assert again.exit_code == 0, again.stderr
    assert again.stderr.count("done already") == 3
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert (out / "study.csv").read_bytes() == (whole[0] / "study.csv").read_bytes()


def test_a_calibration_of_ones_own_is_taken_as_it_is(whole, plan_file, tmp_path):
    out = shutil.copytree(whole[0], tmp_path / "out")
    run = out / "dice" / "seed-1"
    fitted = run / "calibration.json"
    assert cli.wsrpn("calibrate", run, "--objective", "object_f1").exit_code == 0
    mine = fitted.read_bytes()
    again = cli.wsrpn("ablate", plan_file, "--out", out, *FEW, "--json")
    assert again.stderr.count("done already") == 3
    assert fitted.read_bytes() == mine
    (dice,) = [m for m in json.loads(again.stdout)["methods"] if m["name"] == "dice"]
    alone = json.loads(cli.wsrpn("eval", run, "--bootstrap", 0, "--json").stdout)
    assert dice["per_run"]["precision"][1] == alone["metrics"]["precision"]["value"]


def test_masks_that_were_corrected_are_counted_again(whole, source, plan_file, tmp_path):
    data = shutil.copytree(source, tmp_path / "data")  # data may move
    out = shutil.copytree(whole[0], tmp_path / "out")
    words = ("--data", data, *FEW, "--json")
    for path in sorted((data / "masks").iterdir()):
        image = Image.open(path)
        Image.fromarray(np.roll(np.asarray(image), 9, axis=1)).save(path)
    again = cli.wsrpn("ablate", plan_file, "--out", out, *words)
    assert again.exit_code == 0, again.stderr
    assert "done already" not in again.stderr
    found = json.loads(again.stdout)
    assert found["metrics"] != whole[1]["metrics"]
    run = out / "combined" / "seed-0"
    alone = json.loads(cli.wsrpn("eval", run, "--data", data, "--bootstrap", 0, "--json").stdout)
    assert found["methods"][0]["per_run"]["dice"][0] == alone["metrics"]["dice"]["value"]
    assert json.loads((run / "calibration.json").read_text())["after"]


def test_images_that_cannot_be_read_are_left_out_and_named_and_the_rest_is_drawn(
    plan_file, tmp_path
):
    data, out = mask_runs.discs(tmp_path / "data", test=5), tmp_path / "out"
    (data / "14.png").write_bytes(b"no image")
    words = ("--data", data, "--set", "data.on_error=skip", *FEW)
    done = cli.wsrpn("ablate", once(plan_file, tmp_path), "--out", out, *words, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["provenance"]["images"] == 4
    assert "1 image could not be read and are left out: 14.png." in found["warnings"]
    assert Path(found["files"]["maps"]).is_file()
    assert Path(found["files"]["curves"]).is_file()


def once(plan_file, folder):
    """The same study with one seed and one epoch."""
    tree = yaml.safe_load(plan_file.read_text())
    tree["set"]["train"]["epochs"] = 1
    path = folder / "once.yaml"
    path.write_text(yaml.safe_dump({**tree, "seeds": 1}, sort_keys=False))
    return path


def relabelled(folder, split, label):
    """Rows of a split lose their masks and have this label."""
    data = mask_runs.discs(folder, val=4, test=4)
    with (data / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["split"] == split:
            row |= {"mask": "", "labels": label}
    with (data / "images.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return data


LAST = ("--set", "train.monitor=last", "--set", "train.patience=0")


def test_without_foreground_to_calibrate_on_the_threshold_is_a_half_and_that_is_said(
    plan_file, tmp_path
):
    data = relabelled(tmp_path / "data", "val", "")
    study = once(plan_file, tmp_path)
    words = ("ablate", study, "--out", tmp_path / "out", "--data", data, *LAST, *FEW)
    done = cli.wsrpn(*words, "--json")
    assert done.exit_code == 0, done.stderr
    said = " ".join(json.loads(done.stdout)["warnings"])
    assert "Not calibrated, so the threshold is 0.5: " in said
    assert cli.wsrpn(*words).stderr.count("done already") == 2


def test_a_split_without_masks_is_refused_before_anything_is_trained(plan_file, tmp_path):
    data = relabelled(tmp_path / "data", "test", "bead")
    done = cli.wsrpn("ablate", plan_file, "--out", tmp_path / "out", "--data", data, *FEW)
    assert done.exit_code == 2
    assert "none of 4 images to be judged on has a mask" in done.stderr
    assert not (tmp_path / "out").exists()


def test_counts_come_back_as_they_were_and_damaged_ones_are_refused(whole, plan_file, tmp_path):
    study = ready(plan_file, whole[0])
    (first, *_) = results.finished(study).values()
    path = tmp_path / "counts.json"
    counts.save(path, first.evidence, notes=first.notes, provenance=first.provenance)
    again, notes, known = counts.load(path)
    assert again.ids == first.evidence.ids
    for name in ("pixels", "contour", "objects", "numbered"):
        assert getattr(again, name).tolist() == getattr(first.evidence, name).tolist(), name
    assert (notes, known) == (tuple(first.notes), dict(first.provenance))
    said = json.loads(path.read_text())
    for wrong in ({"ids": []}, {"schema": 9}, {"pixels": "x"}, {"notes": None}):
        path.write_text(json.dumps({**said, **wrong}))
        with pytest.raises(InputError, match=r"counts.json: damaged counts.*evaluate again"):
            counts.load(path)


def test_requirements_are_about_figures_of_masks(whole, plan_file):
    out, _ = whole
    words = ("ablate", plan_file, "--out", out, *FEW, "--require")
    assert cli.wsrpn(*words, "combined/jaccard>=0").exit_code == 0
    assert cli.wsrpn(*words, "dice - combined/dice>=2").exit_code == 3
    wrong = cli.wsrpn(*words, "combined/auroc>=0")
    assert wrong.exit_code == 2
    assert "no figure is called 'combined/auroc'" in wrong.stderr


def test_arms_that_answer_otherwise_or_on_other_images_are_refused(source, plan_file, tmp_path):
    tree = yaml.safe_load(plan_file.read_text())
    path = tmp_path / "study.yaml"
    boxes = {
        "model": {"name": "cam", "backbone": "tiny", "weights": "none"},
        "phases": [{"weights": {"image_bce": 1.0}}], "train.monitor": "auroc",
    }  # fmt: skip
    plain = tmp_path / "plain.yaml"
    plain.write_text(
        "model: {name: unet}\nphases: [{weights: {dice: 1.0}}]\ntrain: {monitor: dice}\n"
    )
    mixed = {**tree, "base": str(plain), "set": {}, "arms": {"a": {}, "b": boxes}}
    apart = mask_runs.discs(tmp_path / "apart", train=20, val=0)
    table = apart / "images.csv"
    table.write_text(table.read_text().replace(",train,", ",,"))
    other = {**tree, "data": str(apart), "arms": {"a": {}, "b": {"data.split_seed": 7}}}
    for study, sentence in (
        (mixed, r"arms a \(unet\) and b \(cam\): one answers every pixel"),
        (other, r"arms 'a' and 'b' have different images to be judged on"),
    ):
        path.write_text(yaml.safe_dump(study))
        with pytest.raises(InputError, match=sentence):
            ready(path, tmp_path / "out")
