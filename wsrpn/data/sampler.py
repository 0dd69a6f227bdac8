"""Which images a step takes: the same on any number of processes, and after any resume."""

import hashlib
from collections.abc import Iterator

import torch
from torch.utils import data as torch_data

from wsrpn.errors import InputError

Key = tuple[int, int]  # (epoch, index)


def generator_of(*key: int) -> torch.Generator:
    """A random generator that depends on the numbers of `key` and on nothing else."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


class EpochSampler(torch_data.Sampler[list[Key]]):
    """Which images each step of an epoch takes, on this process.

    Every process draws the same order and takes its share of each step's images, so the union over
    the processes is what one process alone would take. A shuffled epoch leaves out the images that
    do not fill a last batch (others every time), so that each step weighs the same; an unshuffled
    one takes every image exactly once.

    Args:
        count: images of the data set.
        batch: images per step, over all processes together.
        seed: of the order.
        rank: number of this process.
        world: number of processes.
        shuffle: random order for training, the order of the records for evaluation.

    Attributes:
        epoch: which epoch `iter` gives.
        start: the step it begins with, to go on inside an epoch.

    Raises:
        InputError: the processes cannot share a batch evenly, or there are no images.
    """

    def __init__(
        self,
        count: int,
        *,
        batch: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
    ) -> None:
        if count < 1:
            raise InputError("no images to load: this split of the data is empty.")
        if shuffle and batch % world:
            raise InputError(
                f"train.batch {batch} cannot be shared by {world} processes; take a multiple."
            )
        if shuffle and count < world:
            raise InputError(f"{count} images cannot be shared by {world} processes.")
        self.count = count
        # Fewer images than a batch are one batch.
        self.batch = batch if not shuffle or count >= batch else count - count % world
        self.seed, self.rank, self.world, self.shuffle = seed, rank, world, shuffle
        self.epoch = 0
        self.start = 0

    @property
    def steps(self) -> int:
        """Steps of a whole epoch."""
        return self.count // self.batch if self.shuffle else -(-self.count // self.batch)

    def __len__(self) -> int:
        return max(self.steps - self.start, 0)

    def order(self, epoch: int) -> list[int]:
        """The images of an epoch, over all processes."""
        if not self.shuffle:
            return list(range(self.count))
        return torch.randperm(self.count, generator=generator_of(self.seed, epoch)).tolist()

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.order(self.epoch)
        for step in range(self.start, self.steps):
            together = order[step * self.batch : (step + 1) * self.batch]
            yield [(self.epoch, index) for index in together[self.rank :: self.world]]
