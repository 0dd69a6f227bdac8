"""Trains on tiles under torchrun. Run by `test_tile_training`."""

import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch

from tests.flows import processes, tile_runs
from wsrpn import compat
from wsrpn.train import run


def main(source: Path, out: Path) -> None:
    """An autoencoder without chance, and a classifier."""
    torch.set_num_threads(1)
    compat.torchvision()
    warnings.simplefilter("error")
    with run.world("cpu") as here:
        run.world = lambda device: nullcontext(here)
        configs = (tile_runs.vae(source, *tile_runs.ALIKE), frozen(source))
        ends = [
            processes.digest(processes.train(config, out / name))
            for name, config in zip(("vae", "classifier"), configs, strict=True)
        ]
    (out / f"rank{processes.RANK}.json").write_text(json.dumps(ends))


def frozen(source: Path) -> run.RunConfig:
    """A classifier whose batch norms count nothing: each process sees other tiles."""
    return tile_runs.classifier(source, "train.freeze_backbone=true", "model.dropout=0")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
