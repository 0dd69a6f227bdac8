"""`wsrpn ablate`: twelve trainings, killed, shared, damaged, changed, interrupted."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
import yaml

from tests import cli
from tests.flows import runs
from wsrpn import checkpoint, files
from wsrpn.errors import InputError
from wsrpn.study import ablate, plan, pool, results, training
from wsrpn_cli import study as voice

ROOT = Path(__file__).parents[2]
FEW = ("--bootstrap", 20, "--device", "cpu")
SHARED = {
    "model": {"width": 16, "heads": 2, "regions": 2}, "data.size": 32,
    "train": {"epochs": 1, "batch": 12, "precision": "fp32"},
}  # fmt: skip
ARMS = {
    "baseline": {},
    "concentration": {"phases.0.weights.concentration": 0.3},
    "hoyer": {"phases.0.weights.hoyer_sparsity": 0.3},
    "free-head": {"model.gaussian_head": "free"},
}
CRASHES = '''
import os
import signal

from wsrpn.losses import losses


@losses.register("crash", reads=("output.logits",))
def crash_loss(logits):
    """Ends the process as a system does that is short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
'''


def study_file(folder, data, arms=ARMS, **more):
    """A study of small trainings."""
    tree = {
        "base": "wsrpn-demo", "data": str(data), "set": SHARED, "arms": arms, "seeds": 3,
        "figures": ["auroc", "ap@0.3", "entropy"],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**tree, **more}, sort_keys=False), "utf-8")
    return path


def predictions(out):
    """Finished runs → the file that is written last."""
    return {p.parents[1]: p for p in out.glob("*/seed-*/eval-test/predictions.json")}


def stamps(out):
    """Which files the finished runs have: a run that is done twice has others."""
    found = [path for run in predictions(out) for path in run.rglob("*")]
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in found
        if path.suffix in {".safetensors", ".csv"} or path.name == "predictions.json"
    }


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory, data):
    return study_file(tmp_path_factory.mktemp("plan"), data)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, plan_file):
    """A finished study of twelve trainings; copy it before changing it."""
    out = tmp_path_factory.mktemp("studies") / "unbroken"
    done = cli.wsrpn("ablate", plan_file, "--out", out, "--jobs", 2, *FEW, "--json")
    assert done.exit_code == 0, done.stderr
    (out / "said.txt").write_text(done.stderr, "utf-8")
    (out / "json.txt").write_text(done.stdout, "utf-8")
    return out


@pytest.fixture
def copied(tmp_path, unbroken):
    """A copy of it that may be changed; the times of the files are kept."""
    return Path(shutil.copytree(unbroken, tmp_path / "copy"))


@pytest.fixture
def plain(monkeypatch):
    """No curves and maps: they are not what the test is about."""
    monkeypatch.setattr(results, "_pictures", lambda *given: {})


# --- a whole study


def test_a_study_leaves_runs_tables_and_pictures(unbroken):
    assert len(predictions(unbroken)) == 12
    for name in ("study.md", "study.csv", "study.json", "study.yaml", "study.png", "curves.png",
                 "pareto.png", "maps.png"):  # fmt: skip
        assert (unbroken / name).stat().st_size > 0
    assert not list(unbroken.rglob("*.tmp.*"))
    said = (unbroken / "said.txt").read_text("utf-8")
    assert "free-head seed 2: done in " in said
    assert "12 of 12 trainings" in said
    document = json.loads((unbroken / "json.txt").read_text("utf-8"))
    assert document == json.loads((unbroken / "study.json").read_text("utf-8"))
    assert document["command"] == "ablate"
    assert document["study"]["trainings"] == 12
    assert document["waiting"] == []
    assert document["metrics"]["hoyer - baseline/entropy"]["low"] is not None
    assert set(document["files"]) == {
        "report", "table", "csv", "figure", "curves", "pareto", "maps",
    }  # fmt: skip


def test_its_table_is_that_of_compare_on_its_runs(unbroken, tmp_path):
    before = stamps(unbroken)
    methods = [f"{arm}={unbroken / arm / 'seed-*'}" for arm in ARMS]
    figures = ("--metric", "auroc,ap@0.3,entropy")
    done = cli.wsrpn("compare", *methods, "--out", tmp_path, *FEW, *figures)
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "compare.csv").read_bytes() == (unbroken / "study.csv").read_bytes()
    assert stamps(unbroken) == before, "nothing was predicted again"


def test_a_run_of_a_study_is_what_the_single_commands_leave(copied, tmp_path):
    run, alone = copied / "hoyer" / "seed-1", tmp_path / "alone"
    for words in (
        ("train", run / "config.yaml", "--out", alone),
        ("calibrate", alone),
        ("eval", alone, "--bootstrap", 0),
    ):
        done = cli.wsrpn(*words, "--device", "cpu")
        assert done.exit_code == 0, done.stderr
    assert runs.fingerprint(alone) == runs.fingerprint(run)
    for name in ("calibration.json", "eval-val/predictions.json", "splits.csv"):
        one, other = (json_or_text(folder / name) for folder in (alone, run))
        assert one == other, name
    mine, theirs = (
        files.read_json(f / "eval-test" / "predictions.json", what="") for f in (alone, run)
    )
    assert mine["annotations"] == theirs["annotations"]


def json_or_text(path):
    """What a file says, without what names the files of its config."""
    if path.suffix != ".json":
        return path.read_text("utf-8")
    found = json.loads(path.read_text("utf-8"))
    found.get("info", {}).get("provenance", {}).pop("inputs_sha256", None)
    told = found.get("provenance", {}).get("predictions", {})
    told.pop("inputs_sha256", None)
    return found


def test_a_second_time_nothing_is_trained_and_the_tables_are_the_same(copied, plan_file, plain):
    tables = {name: (copied / name).read_bytes() for name in ("study.md", "study.csv")}
    before = stamps(copied)
    done = cli.wsrpn("ablate", plan_file, "--out", copied, *FEW)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count(": done already") == 12
    assert stamps(copied) == before
    assert {name: (copied / name).read_bytes() for name in tables} == tables


# --- killed, and shared by two


def test_a_study_killed_half_way_and_taken_up_by_two_ends_with_the_same_table(
    copied, plan_file, unbroken
):
    for run in sorted(copied.glob("*/seed-*"))[::2]:
        shutil.rmtree(run)  # so the kill is half way through what is left, and the test short
    for path in copied.glob("*.*"):
        path.unlink()
    command = [
        sys.executable, "-m", "wsrpn_cli.app", "ablate", str(plan_file), "--out", str(copied)
    ]  # fmt: skip
    command += [str(word) for word in FEW]
    calm = {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    assert len(predictions(copied)) == 6
    with subprocess.Popen([*command, "--jobs", "2"], **calm) as process:
        until(lambda: len(predictions(copied)) >= 8, process)
        os.killpg(process.pid, signal.SIGKILL)
    while held(copied):  # its trainings are still dying, and would be taken for the next one's
        time.sleep(0.02)
    survived = stamps(copied)
    count = len(predictions(copied))
    assert 8 <= count < 11

    with subprocess.Popen(command, **calm) as other:
        until(lambda: held(copied), other)  # and all but this one are left for both
        os.killpg(other.pid, signal.SIGSTOP)  # until this process has had a part
        wake = threading.Thread(target=wake_after, args=(other, copied, len(predictions(copied))))
        wake.start()
        mine = cli.wsrpn("ablate", plan_file, "--out", copied, *FEW)
        wake.join()
        _, theirs = other.communicate(timeout=120)
    assert (mine.exit_code, other.returncode) == (0, 0), mine.stderr + theirs
    assert {path: found for path, found in stamps(copied).items() if path in survived} == survived
    done = [text.count(": done in ") for text in (mine.stderr, theirs)]
    assert sum(done) == 12 - count, "no training was done by both"
    assert min(done) > 0, "both had a part"
    for name in ("study.md", "study.csv", "study.png"):
        assert (copied / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert not list(copied.rglob("*.tmp.*"))


def wake_after(process, out, count):
    """Let a stopped process go on when more than so many runs are finished."""
    end = time.monotonic() + 100
    while len(predictions(out)) <= count and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGCONT)


def until(true, process):
    """Wait for something that a process brings about."""
    end = time.monotonic() + 100
    while not true():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def held(out):
    """Whether somebody works on a run."""
    for path in out.glob("*/seed-*/.study.lock"):
        try:
            with filelock.FileLock(path).acquire(timeout=0):
                pass
        except filelock.Timeout:
            return True
    return False


def prepared(plan_path, out, **changes):
    """A study as the command prepares it."""
    found = plan.revised(plan.load(plan_path, plan.Ablation), **changes)
    return ablate.prepare(found, out, where=Path())


def test_a_run_that_another_process_holds_is_left_to_it_and_taken_up_when_it_lets_go(
    tmp_path, plan_file
):
    study = prepared(plan_file, tmp_path / "out", count=1)
    first, second, *_ = study.trainings
    lock = filelock.FileLock(first.folder / training.LOCK)
    first.folder.mkdir(parents=True)
    lock.acquire()
    said = []

    def listen(word):
        if word.what != "step":
            said.append((word.what, word.training.name))
        if word.what == "done" and lock.is_locked:
            lock.release()

    failed = pool.run_all([first, second], pool.Means(), listen)
    assert failed == {}
    assert said == [
        ("wait", first.name), ("begin", second.name), ("done", second.name),
        ("begin", first.name), ("done", first.name),
    ]  # fmt: skip


# --- what fails


@pytest.fixture
def failing(copied, tmp_path, data, plain):
    """What a study says and leaves in which arms fail in several ways and runs are damaged."""
    (tmp_path / "crash.py").write_text(CRASHES, "utf-8")
    truncated = copied / "baseline" / "seed-0" / "eval-test" / "predictions.json"
    truncated.write_bytes(truncated.read_bytes()[:500])
    (copied / "hoyer" / "seed-0" / "config.yaml").write_text("model: [", "utf-8")
    arms = {
        **ARMS,
        "diverges": {"train.lr": 1e30, "train.clip": 0.0, "train.epochs": 3},
        "crashes": {"phases.0.weights.crash": 1.0},
        "no weights": {"model.weights": str(tmp_path / "none.pt")},
    }
    path = study_file(tmp_path, data, arms, seeds=1)
    before = stamps(copied)
    words = ("--out", copied, "--code", tmp_path / "crash.py", "--jobs", 2, "--json")
    return cli.wsrpn("ablate", path, *words, *FEW), copied, before


def test_what_fails_is_listed_with_its_reason_and_stops_nothing_else(failing):
    done, out, before = failing
    assert done.exit_code == 1, done.stderr
    lines = done.stderr.splitlines()
    said = {line.split(": ")[1]: line for line in lines if line.startswith("failed: ")}
    assert "Diverged: " in said["diverges seed 0"]
    assert "killed by SIGKILL (out of memory?)" in said["crashes seed 0"]
    assert str(out / "crashes" / "seed-0" / "log.txt") in said["crashes seed 0"]
    assert "none.pt" in said["no weights seed 0"]
    assert "config.yaml: line 1: not YAML" in said["hoyer seed 0"]
    document = json.loads(done.stdout)
    assert set(document["failed"]) == set(said)
    with (out / "study.csv").open(encoding="utf-8") as table:
        methods = {row["method"] for row in csv.DictReader(table)}
    assert methods == {"baseline", "concentration", "free-head"}
    assert "hoyer: no run is done; it is in no table." in document["warnings"]
    after = stamps(out)
    again = {path for path, stamp in before.items() if after.get(path, stamp) != stamp}
    assert again == {out / "baseline" / "seed-0" / "eval-test" / "predictions.json"}


# --- stopped


def test_ctrl_c_ends_all_trainings_with_a_checkpoint(tmp_path, plan_file, monkeypatch):
    begin, out = voice.Voice._step, tmp_path / "out"

    def press(self, name, word):
        begin(self, name, word)
        if word.figures:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(voice.Voice, "_step", press)
    changes = ("--set", "train.epochs=500", "--jobs", 2, "--only", "hoyer", "--only", "baseline")
    done = cli.wsrpn("ablate", plan_file, "--out", out, *changes, *FEW)
    assert done.exit_code == 130, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "stopped by SIGINT; the same command goes on from there"
    )
    assert not held(out)
    begun = [path.parent for path in out.glob("*/*/config.yaml")]
    assert begun
    saved = [run for run in begun if checkpoint.candidates(run / "checkpoints", "last")]
    assert saved, "the one that was heard had begun its steps"
    for run in saved:
        assert checkpoint.load(run / "checkpoints", "last").step > 0


# --- what is changed or wrong


def edit(path, tmp_path, **changes):
    tree = yaml.safe_load(path.read_text("utf-8"))
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump({**tree, **changes}, sort_keys=False), "utf-8")
    return changed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "train.epochs=2"), "train.epochs was 1 in the run that is there, 2 now; take"),
        (("--set", "model.width=8"), "model.width was 16 in the run that is there, 8 now"),
        (("--data", "phantom:cxr?images=9&size=32"), "data.source was"),
        (("--only", "hoier"), "--only hoier: no arm is called that. Did you mean 'hoyer'?"),
        (("--shard", "0/2"), "--shard 0/2: write it as I/N with I from 1 to N, for example 1/4."),
        (("--shard", "half"), "--shard half: write it as I/N"),
        (("--require", "auroc>0"), "no figure is called 'auroc'"),
        (("--require", "hoyer/rodeo>0"), "Did you mean 'hoyer/auroc'?"),
        (("--require", "hoyer/auroc"), "write it as NAME>=NUMBER"),
        (("--device", "quantum"), "--device quantum: no such device"),
        (("--set", "train.seed=3"), "train.seed: seeds of a study stand under `seeds`"),
        (("--set", "train.epochs"), "write it as a.b=value"),
        (("--code", "none.py"), "--code none.py: no such file."),
    ],
)
def test_what_is_wrong_or_not_the_study_that_is_there_is_one_sentence(
    unbroken, plan_file, words, sentence
):
    before = stamps(unbroken)
    done = cli.wsrpn("ablate", plan_file, "--out", unbroken, *FEW, *words)
    assert done.exit_code == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert sentence in line
    assert stamps(unbroken) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"figures": ["auroc", "ap@0.33"]}, "figures: no figure is called 'ap@0.33'. Did you"),
        ({"pictures": ["x.png"]}, "pictures: no image of split test is called 'x.png'."),
        ({"data": "nowhere.csv"}, "nowhere.csv"),
        ({"data": ""}, "--data"),
        ({"arms": {**ARMS, "split": {"data.split_seed": 3}}}, "have different test images"),
        (
            {"arms": {**ARMS, "hoyer": {"phases.0.weights.hoyer_sparsity": 0.5}}},
            "phases.0.weights.hoyer_sparsity was 0.3 in the run that is there, 0.5 now",
        ),
    ],
)
def test_a_changed_study_file_is_refused_where_it_does_not_fit(
    unbroken, plan_file, tmp_path, changes, sentence
):
    changed = edit(plan_file, tmp_path, **changes)
    done = cli.wsrpn("ablate", changed, "--out", unbroken, *FEW)
    assert done.exit_code == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert sentence in line


def test_other_labels_under_the_same_name_are_other_data(copied, plan_file, tmp_path, data):
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    changed = edit(plan_file, tmp_path, data=str(moved))
    prepare = lambda: ablate.prepare(plan.load(changed, plan.Ablation), copied, where=Path())  # noqa: E731
    assert not prepare().damaged, "where the data lie is of no matter"
    table = moved / "images.csv"
    table.write_text(table.read_text("utf-8").replace("left", "LEFT", 1).replace("LEFT", "right"))
    with pytest.raises(InputError, match=r"the table of labels of .*moved is not the one"):
        prepare()


# --- parts of a study


def test_arms_and_shards_divide_the_trainings(unbroken, plan_file):
    study = prepared(plan_file, unbroken)
    assert [t.arm for t in study.share(["hoyer"])] == ["hoyer"] * 3
    shards = [study.share(shard=(n, 3)) for n in (1, 2, 3)]
    assert [len(part) for part in shards] == [4, 4, 4]
    assert {t for part in shards for t in part} == set(study.trainings)


def test_tables_of_a_part_pair_the_seeds_that_all_arms_have(copied, plan_file, plain):
    shutil.rmtree(copied / "hoyer" / "seed-1")
    before = stamps(copied)
    words = ("--tables-only", "--require", "low(hoyer/auroc)>=0", "--require", "baseline/auroc>2")
    done = cli.wsrpn("ablate", plan_file, "--out", copied, *words, *FEW)
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1].startswith("not met: baseline/auroc>2 (it is 0.")
    assert "not done: hoyer seed 1 (1)" in done.stderr
    assert stamps(copied) == before
    text = (copied / "study.md").read_text("utf-8")
    assert "Not done: hoyer seed 1." in text
    assert "Not all arms have seeds 1, so these runs are left out: baseline seed 1" in text
    assert "hoyer ×2" in text
    assert "baseline ×2" in text


def test_nothing_to_compare_is_said(tmp_path, plan_file):
    done = cli.wsrpn("ablate", plan_file, "--out", tmp_path / "out", "--tables-only", *FEW)
    assert done.exit_code == 1
    assert "no tables yet: no two arms have a finished run of the same seed" in done.stderr


def test_the_plan_is_shown_and_nothing_is_written(tmp_path, plan_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli.wsrpn("ablate", plan_file, "--show-plan", "--seeds", 2)
    assert done.exit_code == 0
    assert "  hoyer          phases.0.weights.hoyer_sparsity: 0.3\n" in done.stdout
    assert done.stdout.endswith("seeds: 0, 1\n4 arms × 2 seeds: 8 trainings\n")
    told = json.loads(cli.wsrpn("ablate", plan_file, "--show-plan", "--json").stdout)
    assert told["study"]["arms"] == ARMS
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_of_a_study(tmp_path, plan_file):
    (tmp_path / "out").write_text("")
    done = cli.wsrpn("ablate", plan_file, "--out", tmp_path / "out", *FEW)
    assert done.exit_code == 2
    assert done.stderr.strip() == f"{tmp_path / 'out'}: is a file; a folder is expected."


def test_a_base_of_ones_own_is_looked_for_beside_the_study(tmp_path, data):
    (tmp_path / "recipe.yaml").write_text("base: wsrpn-demo\ntrain: {epochs: 4}\n", "utf-8")
    path = study_file(tmp_path, data, base="recipe.yaml")
    done = cli.wsrpn("ablate", path, "--show-plan")
    assert done.exit_code == 0, done.stderr
    assert f"base: {tmp_path / 'recipe.yaml'}" in done.stdout


# --- what a run needs to be done


def test_a_training_that_ends_by_patience_between_two_saves_is_done(tmp_path, data, plain):
    train = {"epochs": 12, "patience": 1, "save_every": 8, "monitor": "loss", "lr": 0.5}
    shared = {**SHARED, "train": {**SHARED["train"], **train}}
    two = {name: ARMS[name] for name in ("baseline", "hoyer")}
    path = study_file(tmp_path, data, two, set=shared, seeds=1)
    out = tmp_path / "out"
    done = cli.wsrpn("ablate", path, "--out", out, *FEW, "--json")
    assert done.exit_code == 0, done.stderr
    epochs = [len(p.read_text().splitlines()) - 1 for p in out.glob("*/seed-0/metrics.csv")]
    assert len(epochs) == 2
    assert min(epochs) < 8, "patience did not end it before the first save"
    assert json.loads(done.stdout)["waiting"] == []


def test_a_calibration_of_other_images_is_fitted_again(copied, plan_file, plain):
    run = copied / "baseline" / "seed-0"
    own = (run / "calibration.json").read_text()
    moved = cli.wsrpn("calibrate", run, "--split", "test")
    assert moved.exit_code == 0, moved.stderr
    assert (run / "calibration.json").read_text() != own
    done = cli.wsrpn("ablate", plan_file, "--out", copied, *FEW)
    assert done.exit_code == 0, done.stderr
    assert json.loads((run / "calibration.json").read_text()) == json.loads(own)


def test_lost_metrics_are_written_again_from_the_checkpoint(copied, plan_file, plain):
    path = copied / "hoyer" / "seed-1" / "metrics.csv"
    before = path.read_bytes()
    path.unlink()
    done = cli.wsrpn("ablate", plan_file, "--out", copied, *FEW)
    assert done.exit_code == 0, done.stderr
    assert path.read_bytes() == before


def test_a_picture_that_fails_leaves_the_tables(copied, plan_file, monkeypatch):
    def fails(*given):
        raise InputError("no ink")

    (copied / "study.json").unlink()
    monkeypatch.setattr(results, "_pictures", fails)
    done = cli.wsrpn("ablate", plan_file, "--out", copied, *FEW, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads((copied / "study.json").read_text())
    assert "Not all pictures could be drawn: no ink" in told["warnings"]
