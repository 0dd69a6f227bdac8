"""`wsrpn tune`: what it finds can be trained again, and neither kills nor company change it."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml

import wsrpn.study
from tests import cli
from tests.flows import runs, searches
from wsrpn import checkpoint
from wsrpn import config as configs
from wsrpn.errors import InputError
from wsrpn.study import plan, tune
from wsrpn.train import folder
from wsrpn.train.signals import Interrupted

ROOT = Path(__file__).parents[2]
LR = {"choices": [1e-3, 1e-4, 1e-5]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return runs.data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def searched(source, tmp_path_factory):
    """What `searches.py` found, in processes that were killed or that shared a study."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.searches", str(tmp_path_factory.mktemp("searches"))],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(source, tmp_path_factory):
    """A search of two seeds through the command line: its answer and its folder."""
    home = tmp_path_factory.mktemp("found")
    file = searches.study(
        home, source, ranges={"train.lr": LR}, trials=3, seeds=[0, 3], sampler="random",
        pruner="none", title="Rates",
    )  # fmt: skip
    out = home / "out"
    done = cli.wsrpn("tune", file, "--out", out, "--json", "--set", "train.epochs=2")
    assert done.exit_code == 0, done.stderr
    return done, out, file


def table(out):
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def kept(run, figure):
    """The figure in the row of the kept epoch."""
    epoch = checkpoint.load(run / "checkpoints", "best").state["epoch"]
    return next(row for row in folder.read_metrics(run) if row["epoch"] == epoch)[f"val/{figure}"]


def run(file, out, *more):
    return cli.wsrpn("tune", file, "--out", out, *more)


# What is found


def test_the_value_of_a_trial_is_the_mean_of_its_seeds_at_their_kept_epochs(found):
    _, out, _ = found
    rows = table(out)
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        place = out / f"trial-{row['number']}"
        values = [kept(place / f"seed-{seed}", "loss") for seed in (0, 3)]
        assert float(row["value"]) == pytest.approx(sum(values) / 2, rel=1e-5)
        config = configs.load(place / "seed-3" / "config.yaml")
        assert (config.train.lr, config.train.seed) == (float(row["train.lr"]), 3)
        assert (row["state"], row["epochs"]) == ("complete", "4")
        assert float(row["seconds"]) > 0
    assert {float(row["train.lr"]) for row in rows} == set(LR["choices"])


def test_the_best_are_named_lowest_loss_first_everywhere(found):
    done, out, _ = found
    rows = sorted(table(out), key=lambda row: float(row["value"]))
    document = json.loads(done.stdout)
    assert document == json.loads((out / "tune.json").read_text())
    assert document["command"] == "tune"
    assert document["metrics"]["loss"]["value"] == pytest.approx(float(rows[0]["value"]), rel=1e-5)
    assert document["metrics"]["trials_complete"]["value"] == 3
    assert all(Path(path).is_file() for path in document["files"].values())
    for place, row in enumerate(rows, start=1):
        path = out / f"best-{place}.yaml"
        assert configs.load(path).train.lr == float(row["train.lr"])
        head = path.read_text().splitlines()[0]
        assert head == (
            f"# Rates: trial {row['number']}, val/loss {row['value']}, the mean of seeds 0, 3."
        )
    text = (out / "tune.md").read_text()
    assert text.startswith("# Rates\n")
    assert f"| 1 | {rows[0]['number']} |" in text
    assert "chosen on the validation split" in text
    assert "3 trials (3 complete)" in done.stderr


def test_a_best_config_trains_to_the_value_that_it_claims(found, tmp_path):
    _, out, _ = found
    best = min(table(out), key=lambda row: float(row["value"]))
    done = cli.wsrpn("train", out / "best-1.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    again = runs.fingerprint(tmp_path / "run")
    assert again == runs.fingerprint(out / f"trial-{best['number']}" / "seed-0")


def test_a_finished_search_trains_nothing_and_a_longer_one_goes_on(found, tmp_path):
    done, out, file = found
    before = {path: path.stat().st_mtime_ns for path in out.glob("trial-*/**/*.csv")}
    again = run(out / "study.yaml", out, "--json")  # the study as it was, with its --set
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["metrics"] == json.loads(done.stdout)["metrics"]
    tables = run(file, out, "--set", "train.epochs=2", "--tables-only")
    assert tables.exit_code == 0, tables.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("trial-*/**/*.csv")} == before
    longer = run(file, out, "--set", "train.epochs=2", "--trials", 4)
    assert longer.exit_code == 0, longer.stderr
    rows = table(out)
    assert len(rows) == 4, "of three combinations one comes back"
    same = next(row for row in rows[:3] if row["train.lr"] == rows[3]["train.lr"])
    assert rows[3]["reason"] == f"same values as trial {same['number']}"
    assert rows[3]["value"] == same["value"]
    assert not (out / "trial-3").exists(), "it is not trained again"
    assert len({path.read_text() for path in out.glob("best-*.yaml")}) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--set", "train.epochs=3"], "train.epochs was 2 when this search began, 3 now; take it"),
        (["--set", "train.epochs=2", "--set", "data.uncertain=positive"], "data.uncertain was"),
        (["--set", "train.epochs=2", "--data", "other"], "the data set is not the one"),
    ],
)
def test_a_changed_study_is_refused_before_anything_is_trained(found, tmp_path, change, words):
    _, out, file = found
    change = [str(runs.data(tmp_path, train=20)) if word == "other" else word for word in change]
    done = run(file, out, *change)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_plan_is_shown_without_data_or_training(found, tmp_path):
    _, _, file = found
    done = run(file, tmp_path / "none", "--show-plan", "--sampler", "tpe", "--trials", 9)
    assert done.exit_code == 0, done.stderr
    assert "figure: val/loss, lower is better" in done.stdout
    assert "trials: 9 of 3 combinations, tpe, seed 0" in done.stdout
    assert "  train.lr  0.001, 0.0001, 1e-05" in done.stdout
    assert "all trials: data.size: 48, model: {backbone: tiny, dropout: 0.2}" in done.stdout
    told = json.loads(run(file, tmp_path / "none", "--show-plan", "--json").stdout)["study"]
    assert (told["combinations"], told["seeds"], told["lower_is_better"]) == (3, [0, 3], True)
    assert not (tmp_path / "none").exists()


# Kills and company


def test_a_search_that_is_killed_at_any_write_ends_as_the_unbroken_one(searched):
    assert all(searched["kills"])
    assert searched["killed"] == searched["unbroken"]
    assert searched["write kills"] > 4
    assert searched["writes"] == searched["unbroken"]
    assert searched["left over"] == []


def test_a_trial_below_the_median_is_stopped_early(searched):
    states = {row[0]: (row[1], row[3]) for row in searched["unbroken"]}
    assert {state for state, _ in states.values()} == {"complete", "pruned"}
    for state, epochs in states.values():
        assert epochs == {"complete": 3, "pruned": 2}[state]


def test_two_processes_share_a_search_in_one_folder_or_in_two(searched):
    assert len(searched["alone"]) == 4
    assert searched["shared"] == searched["alone"], "draws depend on the number of the trial"
    assert searched["both"] == searched["alone"]
    left, right = map(set, searched["folders"])
    assert left | right == {f"trial-{number}" for number in range(4)}
    assert not left & right


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_search_with_a_checkpoint_and_it_goes_on(
    source, searched, tmp_path, number
):
    file = searches.study(tmp_path, source, trials=2)
    out, seen = tmp_path / "out", []

    def stop(event, facts):
        seen.append(event)
        if event == "step" and (facts["number"], facts["now"].step) == (1, 6):
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="the same command goes on from there") as stopped:
        searches.search(file, out, stop)
    assert stopped.value.code == 128 + number
    assert checkpoint.load(out / "trial-1" / "checkpoints", "last").step == 6
    rows = tune.trials(plan.load(file, plan.Search), out)
    assert [row.state for row in rows] == ["complete", "running"]
    del seen[:]
    searches.search(file, out, lambda event, facts: seen.append(event))
    assert searches.found(out) == searched["unbroken"][:2]
    assert seen.count("begin") == 1, "only what was left is done"


def test_a_signal_between_two_trials_is_heard(source, tmp_path):
    file = searches.study(tmp_path, source, trials=2)

    def stop(event, facts):
        if event == "end":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        searches.search(file, tmp_path / "out", stop)
    rows = tune.trials(plan.load(file, plan.Search), tmp_path / "out")
    assert [row.state for row in rows] == ["complete"]


def test_a_database_that_is_out_of_reach_for_a_while_costs_nothing(
    source, searched, tmp_path, monkeypatch
):
    real, calls = optuna.storages.RDBStorage.set_trial_intermediate_value, []

    def sometimes(*given):
        calls.append(given)
        if len(calls) in (1, 2, 5):
            raise optuna.exceptions.StorageInternalError("no answer")
        return real(*given)

    monkeypatch.setattr(optuna.storages.RDBStorage, "set_trial_intermediate_value", sometimes)
    searches.search(searches.study(tmp_path, source, trials=2), tmp_path / "out")
    assert searches.found(tmp_path / "out") == searched["unbroken"][:2]
    assert len(calls) == 9, "six epochs, three of them twice"


# What goes wrong


def test_a_training_that_diverges_fails_alone_and_says_why(source, tmp_path):
    ranges = {"train.lr": {"choices": [1e-3, 1e30]}, "train.clip": {"choices": [0]}}
    file = searches.study(tmp_path, source, ranges=ranges, trials=2, sampler="random")
    done = run(file, tmp_path / "out", "--set", "train.epochs=1")
    rows = {row["train.lr"]: row for row in table(tmp_path / "out")}
    assert rows["0.001"]["state"] == "complete"
    failed = rows["1e+30"]
    assert (failed["state"], failed["value"]) == ("failed", "")
    assert failed["reason"].startswith("step ")
    assert done.exit_code == 1, "finished, with a trial that failed"
    line = f"trial {failed['number']} failed: step "
    assert line in done.stderr
    document = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert any(warning.startswith(line) for warning in document["warnings"])
    assert (tmp_path / "out" / "best-1.yaml").is_file()
    assert not (tmp_path / "out" / "best-2.yaml").exists()


def test_trials_that_all_fail_stop_the_search(source, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the accelerator\nis gone")

    monkeypatch.setattr("wsrpn.study.judged.run.train", broken)
    done = run(searches.study(tmp_path, source), tmp_path / "out")
    assert done.exit_code == 1
    words = "3 trials in a row failed, the last one: RuntimeError: the accelerator is gone"
    assert words in done.stderr
    assert [row["state"] for row in table(tmp_path / "out")] == ["failed"] * 3


def test_a_figure_that_is_never_logged_is_refused_and_can_be_corrected(source, tmp_path):
    out = tmp_path / "out"
    done = run(searches.study(tmp_path, source, figure="entropy", trials=1), out)
    assert done.exit_code == 2
    assert "figure: this training logs no entropy; figures that it logs: loss" in done.stderr
    assert not list(out.glob("trial-*"))
    done = run(searches.study(tmp_path, source, figure="auroc", trials=1), out)
    assert done.exit_code == 0, done.stderr
    assert [(row["number"], row["state"]) for row in table(out)] == [("0", "complete")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"figure": "aurok"}, "figure: aurok is not logged on the validation split. Did you mean"),
        ({"figure": "ap@0.3"}, "figure: ap@0.3 needs boxes in split val, and"),
        ({"ranges": {}}, "ranges: name a key and its values"),
        ({"ranges": {"train.lr": {}}}, "ranges.train.lr: name its choices, or low and high."),
        ({"ranges": {"train.lr": {"low": 1, "high": 1}}}, "low 1 is not below high 1"),
        ({"ranges": {"train.lr": {"low": 0, "high": 1, "log": True}}}, "needs low above 0"),
        ({"ranges": {"train.lr": {"low": 0.1, "high": ".inf"}}}, "ranges.train.lr"),
        ({"ranges": {"train.epochs": {"low": 1.5, "high": 3, "integer": True}}}, "whole numbers"),
        ({"ranges": {"train.lr": {"choices": [1, 1.0]}}}, "1.0 stands twice among the choices"),
        ({"ranges": {"train.lr": {"choices": [1], "low": 1}}}, "either choices, or low and high"),
        ({"ranges": {"train.lr": {"choices": [0.1, "fast"]}}}, "'fast' does not fit: "),
        ({"ranges": {"train.rl": {"choices": [1]}}}, "unknown key 'train.rl'"),
        ({"ranges": {"train.seed": {"choices": [1, 2]}}}, "seeds"),
        (
            {"ranges": {"model": {"choices": [{}]}, "model.dropout": {"choices": [0.1]}}},
            "ranges.model.dropout: lies inside model, which is searched as well",
        ),
        ({"seeds": [1, 1]}, "seeds: a number from 1, or a list of different seeds"),
        ({"trials": 0}, "trials: "),
        ({"samplr": "tpe"}, "unknown key 'samplr'"),
        ({"ranges": 5}, "ranges: Input should be a valid dictionary"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_sentence(source, tmp_path, changes, words):
    done = run(searches.study(tmp_path, source, **changes), tmp_path / "out")
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path.parent) in done.stderr, "the file, or the data, is named"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "train.lr=0.1"], "--set train.lr: the study searches train.lr; take it out"),
        (["--set", "train.epochs"], "write it as a.b=value"),
        (["--sampler", "grid"], "--sampler grid: no such choice. Known: random, tpe."),
        (["--storage", "postgresql://me:geheim@h:x/y"], "--storage: not the URL of a database"),
        (["--tables-only"], "no study.db, so there are no trials to make tables of"),
        (["--out", "FILE"], "is a file; a folder is expected"),
    ],
)
def test_a_command_that_cannot_be_is_refused_in_one_sentence(source, tmp_path, more, words):
    file = searches.study(tmp_path, source)
    done = run(file, tmp_path / "out", *[file if word == "FILE" else word for word in more])
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "geheim" not in done.output


def test_trials_of_another_database_are_not_taken_over(found, tmp_path):
    _, out, file = found
    url = f"sqlite:///{tmp_path}/other.db"
    done = run(file, out, "--set", "train.epochs=2", "--storage", url)
    assert done.exit_code == 2
    assert "has trials of a study that" in done.stderr


def test_without_optuna_one_sentence_tells_how_to_get_it(source, tmp_path, monkeypatch):
    for name in ("database", "sampler", "trials"):
        monkeypatch.delitem(sys.modules, f"wsrpn.study.{name}", raising=False)
        monkeypatch.delattr(wsrpn.study, name, raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run(searches.study(tmp_path, source), tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.strip() == (
        "wsrpn tune needs Optuna 4.9 or newer; pip install 'wsrpn[tune]'"
    )


def test_several_processes_of_one_training_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process: start it several times"):
        searches.search(searches.study(tmp_path, source), tmp_path / "out")


@pytest.mark.parametrize(
    ("command", "study", "way"),
    [("tune", "gaussian", "wsrpn ablate gaussian"), ("ablate", "gaussian-search", "wsrpn tune")],
)
def test_a_study_of_the_other_kind_is_sent_to_its_command(tmp_path, command, study, way):
    done = cli.wsrpn(command, study, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert way in done.stderr
    assert len(done.stderr.splitlines()) == 1


# The search of the source


def test_the_shipped_search_runs_small_and_says_that_boxes_chose(data, tmp_path):
    small = (
        "model.backbone=tiny", "model.width=16", "model.heads=2", "model.regions=3",
        "data.size=48", "train.batch=8", "train.epochs=1",
        "phases=[{weights: {detection: 1.0}, until: 0.1}, {weights: {detection: 1.0}, until: 0.2},"
        "{weights: {detection: 1.0, concentration: 0.3}}]",
    )  # fmt: skip
    done = cli.wsrpn(
        "tune", "gaussian-search", "--data", data, "--out", tmp_path, "--trials", 2,
        *cli.sets(*small), "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert "ap@0.3" in document["metrics"]
    assert document["warnings"][0].startswith("Boxes of the validation split chose")
    assert "Boxes of the validation split chose" in done.stderr
    best = (tmp_path / "best-1.yaml").read_text()
    assert "# Boxes of the validation split chose" in best
    config = configs.load(tmp_path / "best-1.yaml")
    assert config.train.watch_boxes
    row = next(r for r in table(tmp_path) if r["state"] == "complete")
    assert set(config.phases[2].weights) == {
        "detection", "concentration", "sparsity", "box_alignment", "negative_suppression",
    }  # fmt: skip
    assert float(row["value"]) == pytest.approx(
        kept(tmp_path / f"trial-{row['number']}", "ap@0.3"), rel=1e-5
    )
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["trials"] == 2
