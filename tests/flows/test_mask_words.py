"""What people read of masks: helps that name them, failures that are said once."""

import pytest

from tests import cli
from wsrpn_cli import options


@pytest.mark.parametrize("command", ["predict", "eval", "calibrate", "heatmap"])
def test_helps_speak_of_masks(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    told = " ".join(cli.wsrpn(command, "--help").stdout.replace("│", " ").split())
    assert "phantom:cxr (or beads, nodules)" in told
    if command == "predict":
        assert "boxes and scores, or masks" in told
    else:
        assert "a folder of maps or masks named like the images" in told


def test_another_file_in_the_reason_stays():
    assert options.failure("a.png", "masks/a.png: empty.") == "a.png: masks/a.png: empty."
    assert options.failure("a.png", "a.png: empty.") == "a.png: empty."
