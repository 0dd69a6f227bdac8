"""Trains on masks in one of several processes. Run by `test_mask_training`."""

import json
import os
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
import torch._dynamo  # every optimiser takes it, seconds

from tests.flows import mask_runs, processes
from wsrpn import compat
from wsrpn.train import loop, run
from wsrpn.train.mask_task import MaskTask


def main(sources: dict[str, Path], out: Path, rank: int, port: int) -> None:
    """A U-Net on crops and a nodule network, both without chance, as one of two processes.

    Args:
        sources: name of the training → its data.
        out: of the runs.
        rank: of this process.
        port: of a store that is there, as torchrun brings one.
    """
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    torch.set_num_threads(1)
    compat.torchvision()
    warnings.simplefilter("error")
    MaskTask.show = lambda *_: None  # type: ignore[method-assign]  # pictures only cost time
    with run.world("cpu") as here:
        run.world = lambda device: nullcontext(here)
        loop.set_training = plain
        ends = {
            name: processes.digest(processes.train(config(name, source), out / name))
            for name, source in sources.items()
        }
    (out / f"rank{rank}.json").write_text(json.dumps(ends))


def config(name: str, source: Path) -> run.RunConfig:
    """A training of two epochs in which nothing is dropped."""
    if name == "nodule":
        return mask_runs.nodule(source, "train.epochs=2", "train.batch=4")
    return mask_runs.native(source, "train.epochs=2", "train.batch=4", "model.dropout=0")


def plain(model: torch.nn.Module, *, frozen: bool) -> None:
    """In place of `loop.set_training`: norms count nothing, as each process sees other images."""
    model.eval()
