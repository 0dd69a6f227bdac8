"""Every file in examples/ runs as it is, with small settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = {"DATA": "phantom:cxr?images=40&size=48&seed=1", "EPOCHS": "1", "REQUIRE": "auroc>=0"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a user who has activated ours."""
    found = {**os.environ, **SMALL, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    found["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), found["PATH"]))
    return found


def run(name, out, environment):
    """Standard output of an example that must succeed."""
    program = "bash" if name.endswith(".sh") else sys.executable
    done = subprocess.run(
        [program, str(EXAMPLES / name), str(out)],
        cwd=out.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_pipeline_hands_figures_on_and_leaves_pictures(tmp_path, environment):
    said = run("pipeline.sh", tmp_path / "out", environment)
    figures = dict(line.split("\t") for line in said.splitlines())
    assert 0 <= float(figures["auroc"]) <= 1
    assert Path(figures["report"]).is_file()
    assert (tmp_path / "out" / "heatmaps" / "contact_sheet.png").stat().st_size > 1000


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_a_program_draws_the_picture_that_it_is_asked_for(name, tmp_path, environment):
    out = tmp_path / "out.png"
    assert str(out) in run(name, out, environment)
    assert out.stat().st_size > 1000


def test_every_example_is_run_by_a_test():
    assert {p.name for p in EXAMPLES.iterdir() if p.suffix not in {".py", ".pyc"}} <= {
        "pipeline.sh",
        "__pycache__",
    }
