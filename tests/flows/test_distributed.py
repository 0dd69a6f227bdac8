"""Two processes under torchrun learn what one would, and stop and go on together."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows import runs
from wsrpn import checkpoint
from wsrpn.train.run import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left, and beside it the run of one."""
    folder = tmp_path_factory.mktemp("two")
    source = runs.boxes(runs.data(folder / "data"))
    (folder / "runs").mkdir()
    found = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "tests.flows.processes", str(source), str(folder / "runs")],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=150,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-4000:]
    train(runs.wsrpn(source, *runs.ALIKE), folder / "one" / "unbroken")
    train(runs.vl(source, *runs.ALIKE), folder / "one" / "text")
    train(runs.scaled(source, *runs.ALIKE), folder / "one" / "scaled")
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [json.loads((folder / f"rank{n}.json").read_text()) for n in range(2)]


def curve(out):
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


KINDS = ["unbroken", "text", "scaled"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_curves_of_one(folder, kind):
    one, two = curve(folder / "one" / kind), curve(folder / "runs" / kind)
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            if a[key] or b[key]:
                assert float(b[key]) == pytest.approx(float(a[key]), abs=1e-4), key


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_end_with_the_weights_of_one_to_rounding(folder, kind):
    ours = checkpoint.load(folder / "one" / kind / "checkpoints", "last").tensors
    theirs = checkpoint.load(folder / "runs" / kind / "checkpoints", "last").tensors
    assert any(key.startswith("weighting/") for key in ours) == (kind != "unbroken")
    for key, value in ours.items():
        if key.startswith(("model/", "weighting/")):
            # AdamW divides by the root of tiny second moments, so rounding may move single weights.
            assert (theirs[key] - value).abs().float().mean() < 1e-4, key


def test_two_processes_divide_losses_by_the_same_sizes_and_see_the_same_boxes(folder):
    last = curve(folder / "runs" / "scaled")[-1]
    assert {f"scale/{name}" for name in runs.SHARP} <= {*last}
    assert {"val/entropy", "val/ap@0.1", "val/rodeo"} <= {*last}


def test_both_processes_end_with_the_same_weights(ranks):
    assert ranks[0]["ends"] == ranks[1]["ends"]


def test_a_signal_to_one_process_stops_both_and_the_resumed_run_is_the_unbroken_one(folder, ranks):
    assert [told["stopped"] for told in ranks] == [143, 143]
    for told in ranks:
        assert told["ends"][0] == told["ends"][1]
    done = [runs.fingerprint(folder / "runs" / name) for name in ("unbroken", "stopped")]
    assert done[0] == done[1]


def test_only_the_first_process_writes(ranks):
    assert ranks[1]["written"] == []
    assert any("metrics.csv" in line for line in ranks[0]["written"])
