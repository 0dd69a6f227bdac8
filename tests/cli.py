"""The command line in this process, and what makes its trainings small."""

from typing import Any

from typer.testing import CliRunner

from wsrpn_cli.app import app

SMALL = (
    "model.backbone=tiny", "model.width=32", "model.heads=2", "model.regions=3", "data.size=48",
    "train.batch=8", "train.lr=0.002", "train.monitor=auroc",
)  # fmt: skip


def wsrpn(*words: object) -> Any:
    """`wsrpn WORDS…`: what has `exit_code`, `stdout` and `stderr`."""
    return CliRunner().invoke(app, [str(word) for word in words])


def sets(*changes: str) -> list[str]:
    """`--set` before each change; those that make a model small without any."""
    return [word for change in changes or SMALL for word in ("--set", change)]


def train(data: object, out: object, *more: object) -> Any:
    """`wsrpn train` of a small model, one epoch unless told otherwise."""
    words = ("train", "wsrpn-demo", "--data", data, "--out", out, "--epochs", 1, *sets(), *more)
    return wsrpn(*words)
