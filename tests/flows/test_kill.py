"""SIGKILL at any moment of a training loses nothing: the resumed run ends as the unbroken one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What `kill.py` found: in each case every newest checkpoint was loadable after every kill."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.flows.kill", str(tmp_path_factory.mktemp("kill"))],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.splitlines()[-1])


def test_twenty_kills_at_random_moments_change_nothing(killed):
    random = killed["random"]
    assert random["kills"] == 20
    assert len(set(random["steps"])) > 3, "kills came early and late"
    assert random["fingerprints"]
    assert all(found == killed["unbroken"] for found in random["fingerprints"])


def test_a_kill_before_or_after_any_change_of_the_disk_changes_nothing(killed):
    assert killed["calls"]["kills"] >= 10
    assert killed["calls"]["fingerprints"] == [killed["unbroken"]]


def test_kills_leave_no_temporary_files_behind(killed):
    assert killed["left over"] == []
