"""Who may import whom, and what the light modules do not load."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "torchvision",
    "pandas",
    "matplotlib",
    "scipy",
    "sklearn",
    "skimage",
    "tensorboard",
    "transformers",
)


def test_imports_go_downwards_only():
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


@pytest.mark.parametrize(
    "modules",
    ["wsrpn, wsrpn.registry, wsrpn.config, wsrpn.errors, wsrpn.files", "wsrpn_cli.app"],
    ids=["light modules", "command line"],
)
def test_light_modules_load_nothing_heavy(modules):
    code = f"import {modules}, sys; print(*(m for m in {HEAVY} if m in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.split() == []


def test_every_package_of_the_repository_is_installed():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in (ROOT / "wsrpn").rglob("*.py")}
    names = {".".join(path.relative_to(ROOT).parts) for path in folders}
    assert names - set(listed["packages"]) == set()


def test_annotations_stay_values():
    """Shapes in annotations are checked at run time, which strings would prevent."""
    late = "from __future__ import annotations"
    assert not [p for p in (ROOT / "wsrpn").rglob("*.py") if late in p.read_text("utf-8")]


@pytest.mark.parametrize(
    "word", [r"pickle\.load", "weights_only=False", r"yaml\.load\(", r"(?<![\w.])(eval|exec)\("]
)
def test_nothing_that_a_file_says_is_executed(word):
    code = [*(ROOT / "wsrpn").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    lines = [
        f"{path.name}: {line.strip()}"
        for path in code
        for line in path.read_text("utf-8").splitlines()
        if re.search(word, line)
    ]
    assert lines == []
