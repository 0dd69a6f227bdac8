"""Every file in examples/ runs as it is, with small settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = {"DATA": "phantom:cxr?images=40&size=48&seed=1", "EPOCHS": "1", "REQUIRE": "auroc>=0"}
RESULTS = {"pipeline.sh": "heatmaps/contact_sheet.png"}  # in the folder that an example is given


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a user who has activated ours."""
    found = {**os.environ, **SMALL, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    found["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), found["PATH"]))
    return found


def run(path, out, environment, **more):
    program = "bash" if path.suffix == ".sh" else sys.executable
    return subprocess.run(
        [program, str(path), str(out)],
        cwd=out.parent,
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.iterdir() if p.is_file()))
def test_an_example_runs(name, tmp_path, environment):
    # A script gets a folder to fill, a program the picture to draw.
    out = tmp_path / ("out" if name.endswith(".sh") else "out.png")
    done = run(EXAMPLES / name, out, environment)
    assert done.returncode == 0, done.stderr
    assert (out / RESULTS[name] if name in RESULTS else out).stat().st_size > 1000
    assert str(out) in done.stdout


def test_the_pipeline_prints_figures_and_ends_with_3_where_a_requirement_is_not_met(
    tmp_path, environment
):
    done = run(EXAMPLES / "pipeline.sh", tmp_path / "out", environment, REQUIRE="auroc>=2")
    assert done.returncode == 3
    assert "not met: auroc>=2 (it is " in done.stderr
    figures = dict(line.split("\t") for line in done.stdout.splitlines())
    assert 0 <= float(figures["auroc"]) <= 1
