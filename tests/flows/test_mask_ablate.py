"""`wsrpn ablate` of models that segment: losses side by side, as the single commands have them."""

import csv
import json
import shutil

import pytest
import yaml

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


@pytest.mark.parametrize("lost", ["counts", "damaged", "calibration", "other calibration"])
def test_what_is_lost_is_asked_again_and_no_more_is_trained(whole, plan_file, tmp_path, lost):
    out = shutil.copytree(whole[0], tmp_path / "out")
    run = out / "dice" / "seed-1"
    file = run / "eval-test" / "counts.json"
    if lost == "counts":
        file.unlink()
    elif lost == "damaged":
        file.write_bytes(file.read_bytes()[:-40])
    elif lost == "calibration":
        (run / "calibration.json").unlink()
    else:
        assert cli.wsrpn("calibrate", run, "--objective", "object_f1").exit_code == 0
    (one,) = [t for t in ready(plan_file, out).trainings if t.name == "dice seed 1"]
    assert training.entry(one) is None
    weights = sorted((run / "checkpoints").iterdir())
    times = [path.stat().st_mtime_ns for path in weights]
    again = cli.wsrpn("ablate", plan_file, "--out", out, *FEW)
    assert again.exit_code == 0, again.stderr
    assert again.stderr.count("done already") == 3
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert (out / "study.csv").read_bytes() == (whole[0] / "study.csv").read_bytes()


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
