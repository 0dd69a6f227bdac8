"""MIMIC-CXR-JPG and CheXpert from download to figures, through the command line."""

import csv
import json

import pytest

from tests import cli, make_chexpert, make_mimic

FEW = ("--set", "data.classes=[Cardiomegaly,Edema]")


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    """MIMIC-CXR-JPG with reports and Chest ImaGenome beside it."""
    folder = tmp_path_factory.mktemp("physionet")
    make_mimic.imagenome(folder)
    return make_mimic.mimic(folder, size=(48, 48))


def splits(run):
    rows = csv.DictReader((run / "splits.csv").read_text("utf-8").splitlines())
    return {row["image"]: row["split"] for row in rows}


def test_mimic_trains_with_reports_joined_by_study(tmp_path, mimic):
    run = tmp_path / "run"
    done = cli.train(f"mimic:{mimic}", run, *FEW)
    assert done.exit_code == 0, done.stderr
    facts = json.loads((run / "run.json").read_text())
    assert facts["classes"] == ["Cardiomegaly", "Edema"]
    for note in (
        "1 lateral images left out (data.views).",
        "1 studies without a report.",
        "labels are not mentioned: taken as negative (data.blank).",
    ):
        assert note in done.stderr
    counts = list(splits(run).values())
    assert [counts.count(s) for s in ("train", "val", "test")] == [12, 4, 4]
    figures = cli.wsrpn("eval", run, "--split", "val", "--bootstrap", 5, "--json")
    assert figures.exit_code == 0, figures.stderr
    assert json.loads(figures.stdout)["metrics"]["auroc"]["value"] is not None


def test_a_split_that_leaks_is_refused_before_training(tmp_path):
    home = make_mimic.mimic(tmp_path)
    make_chexpert.change(home / "mimic-cxr-2.0.0-split.csv.gz", "10000032,train", "10000032,test")
    done = cli.train(f"mimic:{home}", tmp_path / "run", *FEW)
    assert done.exit_code == 2
    assert "patients in more than one split: 10000032 (test, train)" in done.stderr
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ((), ("uncertain: taken as unknown", "not mentioned: taken as negative")),
        (
            ("data.uncertain=positive", "data.blank=unknown", "data.views=all"),
            ("uncertain: taken as positive", "not mentioned: taken as unknown"),
        ),
    ],
)
def test_chexpert_trains_under_named_policies(tmp_path, changes, told):
    folder = make_chexpert.chexpert(tmp_path / "CheXpert-v1.0-small", size=(48, 48))
    words = [word for change in changes for word in ("--set", change)]
    classes = ("--set", "data.classes=[Cardiomegaly,Lung Opacity]")
    done = cli.train(folder, tmp_path / "run", *classes, *words)
    assert done.exit_code == 0, done.stderr
    for policy in told:
        assert policy in done.stderr
    assert ("lateral images left out" in done.stderr) == (not changes)


def test_data_check_tells_texts_and_leaks(tmp_path, mimic):
    done = cli.wsrpn("data", "check", f"mimic:{mimic}")
    assert done.exit_code == 0, done.stderr
    assert "text: 19 images" in done.stderr
    home = make_mimic.mimic(tmp_path)
    make_chexpert.change(home / "mimic-cxr-2.0.0-split.csv.gz", "10000032,train", "10000032,test")
    done = cli.wsrpn("data", "check", f"mimic:{home}")
    assert "1 patient is in more than one split: 10000032" in done.stderr


def test_region_boxes_say_what_they_are_wherever_they_are_used(tmp_path, mimic):
    run = tmp_path / "run"
    assert cli.train(f"mimic:{mimic}", run, *FEW).exit_code == 0
    words = ("eval", run, "--data", f"mimic:{mimic}?boxes=region-proxy", "--split", "val")
    done = cli.wsrpn(*words, "--bootstrap", 5, "--json")
    assert done.exit_code == 0, done.stderr
    assert "region-proxy" in done.stderr
    assert json.loads(done.stdout)["metrics"]["ap@0.1"]["value"] is not None
    assert "region-proxy" in " ".join(json.loads(done.stdout)["warnings"])
