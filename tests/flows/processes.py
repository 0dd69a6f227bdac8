"""Trains under torchrun, with a signal to one process and a resume. Run by `test_distributed`.

Each process writes what it ended with, and which files of the run it wrote, to `rankN.json`.
"""

import json
import os
import signal
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch

from tests.flows import runs
from wsrpn import checkpoint, compat
from wsrpn.train import run
from wsrpn.train.signals import Interrupted

RANK = int(os.environ.get("RANK", "0"))


def main(source: Path, out: Path) -> None:
    """Four trainings: unbroken, with a signal to the second process, with text, with sizes."""
    torch.set_num_threads(1)
    compat.torchvision()
    warnings.simplefilter("error")
    config = runs.wsrpn(source, *runs.ALIKE)
    written: list[str] = []
    sys.addaudithook(lambda event, given: note(event, given, out, written))
    with run.world("cpu") as here:
        # One meeting of the processes for all trainings: a second one over gloo often fails.
        run.world = lambda device: nullcontext(here)
        ends = [digest(train(config, out / "unbroken"))]
        stop_at(3)
        try:
            train(config, out / "stopped")
            stopped = 0
        except Interrupted as interrupted:
            stopped = interrupted.code
        stop_at(-1)
        ends.append(digest(train(config, out / "stopped", resume=True)))
        ends.append(digest(train(runs.vl(source, *runs.ALIKE), out / "text")))
        ends.append(digest(train(runs.scaled(source, *runs.ALIKE), out / "scaled")))
    told = {"ends": ends, "stopped": stopped, "written": written}
    (out.parent / f"rank{RANK}.json").write_text(json.dumps(told))


def note(event: str, given: tuple[object, ...], out: Path, written: list[str]) -> None:
    """Write down what is made, renamed or opened for writing below `out`."""
    changes = event in {"os.mkdir", "os.rename", "os.remove"}
    opened = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
    if (changes or opened) and str(given[0]).startswith(str(out)):
        written.append(f"{event} {given[0]}")


def train(config: runs.RunConfig, out: Path, **options: bool) -> run.Run:
    """Train, and give the `Run` that did it."""
    made: list[run.Run] = []
    begin = run.Run.__init__

    def keep(self: run.Run, *given: object) -> None:
        begin(self, *given)
        made.append(self)

    run.Run.__init__ = keep
    try:
        run.train(config, out, **options)
    finally:
        run.Run.__init__ = begin
    return made[0]


def stop_at(step: int, count=run.Run._count) -> None:
    """The second process gets SIGTERM after a step."""

    def counted(self: run.Run, now: run.Progress) -> None:
        count(self, now)
        if now.step == step and RANK == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    run.Run._count = counted


def digest(done: run.Run) -> str:
    """sha256 of weights, their average and the optimiser."""
    tensors = {
        **checkpoint.flatten("model", done.state.model.state_dict()),
        **checkpoint.flatten("average", done.state.average.values),
        **checkpoint.flatten("weighting", done.state.weighting.state_dict()),
        **checkpoint.flatten("optimizer", checkpoint.optimizer_tensors(done.state.optimizer)),
    }
    tensors = {key: value.contiguous() for key, value in sorted(tensors.items())}
    return runs._sha(runs.safetensors.torch.save(tensors))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
