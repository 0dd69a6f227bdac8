"""Trains on tiles in one of several processes. Run by `test_tile_training`."""

import json
import os
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
import torch._dynamo  # every optimiser takes it, seconds

from tests.flows import processes, tile_runs
from wsrpn import compat
from wsrpn.train import run
from wsrpn.train.tile_task import TileTask


def main(source: Path, out: Path, rank: int, port: int) -> None:
    """An autoencoder without chance, and a classifier, as one of two processes.

    Args:
        source: of the tiles.
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
    TileTask.show = lambda *_: None  # type: ignore[method-assign]  # pictures only cost time
    with run.world("cpu") as here:
        run.world = lambda device: nullcontext(here)
        configs = (autoencoder(source), frozen(source))
        ends = [
            processes.digest(processes.train(config, out / name))
            for name, config in zip(("vae", "classifier"), configs, strict=True)
        ]
    (out / f"rank{rank}.json").write_text(json.dumps(ends))


def autoencoder(source: Path) -> run.RunConfig:
    """One without chance, through both of its phases."""
    return tile_runs.vae(source, *tile_runs.ALIKE, "train.epochs=2")


def frozen(source: Path) -> run.RunConfig:
    """A classifier whose batch norms count nothing: each process sees other tiles."""
    return tile_runs.classifier(
        source, "train.freeze_backbone=true", "model.dropout=0", "train.epochs=2"
    )
