"""One process or many: the same calls, which do nothing in the plain case.

`torchrun` sets RANK, WORLD_SIZE and LOCAL_RANK; everything else follows from them. Plain
`DistributedDataParallel`: gloo between CPUs, nccl between GPUs.
"""

import datetime
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wsrpn.compute import choose_device


@dataclass(frozen=True)
class World:
    """Which process this is.

    Attributes:
        rank: 0 … size − 1; rank 0 writes the files.
        size: number of processes.
        device: where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model that averages gradients over the processes."""
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in order of rank, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def agree(self, flag: bool) -> bool:
        """True everywhere if it is true anywhere."""
        if self.size == 1:
            return flag
        answer = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return bool(answer)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value averaged over the processes, which all have the same names."""
        if self.size == 1:
            return dict(values)
        together = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return dict(zip(values, (together / self.size).tolist(), strict=True))

    def average(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Numbers without a graph averaged over the processes, the same on every one."""
        if self.size == 1:
            return values
        together = values.clone()
        dist.all_reduce(together)
        return together / self.size

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first: batch norms count on each its own images."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """The processes of this run, joined on entry and left on exit."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if size == 1:
        yield World(0, 1, chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # where nccl puts gathered objects and barriers
    dist.init_process_group(backend, timeout=datetime.timedelta(minutes=10))
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()
