"""From records to batches, so that the order of arrival of bits depends on nothing but the config.

The order of an epoch is keyed by (seed, epoch), the augmentation of an image by (seed, epoch,
index). So the number of workers, the global random state and a resume in the middle of an epoch
change nothing, and the processes of a distributed run together see exactly the batches of one.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils import data as torch_data

from wsrpn.config import AugmentConfig
from wsrpn.data import images
from wsrpn.data.cache import Kind, Pixels, Progress
from wsrpn.data.images import ImageReadError
from wsrpn.data.sampler import EpochSampler, Key, generator_of
from wsrpn.data.transforms import augment, resized
from wsrpn.errors import InputError, nearest
from wsrpn.types import Batch, Dataset, Record, Sample

OnError = Literal["stop", "skip"]


@dataclasses.dataclass(frozen=True)
class Failed:
    """An image that could not be read: its id and the sentence that says why."""

    id: str
    reason: str


class ImageDataset(torch_data.Dataset[Sample]):
    """Samples at network size.

    Args:
        dataset: the records.
        size: side of the square network input.
        augment: random changes; none for evaluation.
        seed: of the augmentation.
        cache: where decoded images are kept.
        folder: of the files of `cache="disk"`.
        masks: also read the per-pixel truth of records that have one.
        max_pixels: larger files are refused.

    `dataset[i]` is sample `i` as it is, `dataset[epoch, i]` the variant of that epoch. Call
    `prepare` before the first epoch: it fills the cache and finds the files that cannot be read.

    Raises:
        ImageReadError: on access to an image that cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size: int,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        cache: Kind = "memory",
        folder: Path | None = None,
        masks: bool = False,
        max_pixels: int = images.MAX_PIXELS,
    ) -> None:
        self.dataset = dataset
        self.size = size
        self.augment = augment
        self.seed = seed
        self.swaps = swap_indices(augment, dataset.classes)
        self.masks = masks
        self.pixels = Pixels(
            dataset.records, size, kind=cache, folder=folder, max_pixels=max_pixels
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | Key) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        sample = self._sample(index)
        if epoch is None or self.augment is None:
            return sample
        generator = generator_of(self.seed, epoch, index)
        return augment(sample, self.augment, generator, swaps=self.swaps)

    def _sample(self, index: int) -> Sample:
        record = self.dataset.records[index]
        decoded = self.pixels[index]
        image = torch.from_numpy(decoded.pixels.astype(np.float32) / np.float32(255))[None]
        height, width = decoded.size_px
        boxes = torch.tensor([box.xyxy_px for box in record.boxes], dtype=torch.float32)
        return Sample(
            id=record.id,
            image=image,
            labels=torch.tensor(record.labels, dtype=torch.float32),
            boxes=boxes.reshape(-1, 4) / torch.tensor([width, height, width, height]),
            box_labels=torch.tensor([box.label for box in record.boxes], dtype=torch.int64),
            size_px=decoded.size_px,
            mask=self._mask(record) if self.masks else None,
        )

    def _mask(self, record: Record) -> torch.Tensor | None:
        if record.mask is None:
            return None
        inside = images.read(record.mask) > 0  # instance numbers and 255 alike
        return resized(torch.from_numpy(inside.astype(np.float32))[None], self.size)

    def prepare(self, progress: Progress | None = None, *, decode: bool = False) -> dict[str, str]:
        """Fill the cache and find what cannot be read; see `Pixels.prepare`.

        Returns:
            Id → reason of the images that cannot be read, in the order of the records.
        """
        self.pixels.prepare(progress, decode=decode)
        return self.failed

    @property
    def failed(self) -> dict[str, str]:
        """Id → reason of the images that could not be read so far."""
        found = sorted(self.pixels.failed.items())
        return {self.dataset.records[index].id: reason for index, reason in found}

    def readable(self) -> Dataset:
        """The data set without the images in `failed`."""
        failed = self.failed
        return self.dataset.where(lambda record: record.id not in failed)


def swap_indices(
    augment: AugmentConfig | None, classes: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """`augment.flip_swaps` as indices.

    Raises:
        InputError: a class that the data do not have.
    """
    pairs = augment.flip_swaps if augment else ()
    for name in (name for pair in pairs for name in pair):
        if name not in classes:
            raise InputError(
                f"data.augment.flip_swaps: no class '{name}'. {nearest(name, classes)}"
            )
    return tuple((classes.index(a), classes.index(b)) for a, b in pairs)


def collate(samples: Sequence[Sample], *, drrs: bool = False) -> Batch:
    """Samples of one size, stacked; their masks too, where all have one.

    Args:
        samples: one at least.
        drrs: also stack reconstructed radiographs, zeros where a sample has none.
    """
    masks = [sample.mask for sample in samples if sample.mask is not None]
    has = [sample.drr is not None for sample in samples]
    blank = torch.zeros_like(samples[0].image[:1])
    beside = [blank if sample.drr is None else sample.drr for sample in samples]
    return Batch(
        ids=tuple(sample.id for sample in samples),
        images=torch.stack([sample.image for sample in samples]),
        labels=torch.stack([sample.labels for sample in samples]),
        sizes_px=torch.tensor([sample.size_px for sample in samples], dtype=torch.int64),
        masks=torch.stack(masks) if len(masks) == len(samples) else None,
        drrs=torch.stack(beside) if drrs else None,
        has_drr=torch.tensor(has) if drrs else None,
    )


class _Fetch(torch_data.Dataset[Sample | Failed]):
    """The data set for worker processes: a failure travels as a value, with its sentence whole.

    Args:
        dataset: the samples.
        threads: that decode the images of a batch together; decoders let go of Python's lock.
    """

    def __init__(self, dataset: ImageDataset, threads: int = 1) -> None:
        self.dataset, self.threads = dataset, threads

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample | Failed]:
        if self.threads == 1:
            return [self[key] for key in keys]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self.__getitem__, keys))

    def __getitem__(self, key: Key) -> Sample | Failed:
        try:
            return self.dataset[key]
        except ImageReadError as error:
            return Failed(self.dataset.dataset.records[key[1]].id, str(error))


def _gather(found: Sequence[Sample | Failed]) -> tuple[Batch | None, tuple[Failed, ...]]:
    samples = [one for one in found if isinstance(one, Sample)]
    failed = tuple(one for one in found if isinstance(one, Failed))
    return (collate(samples) if samples else None), failed


class Batches:
    """Batches of a data set, epoch after epoch; made by `batches`.

    Attributes:
        dataset: where the samples come from.
        sampler: which images a step takes.
        failed: id → reason of the images that were skipped.
    """

    def __init__(
        self, dataset: ImageDataset, sampler: EpochSampler, *, workers: int, on_error: OnError
    ) -> None:
        self.dataset = dataset
        self.sampler = sampler
        self.on_error = on_error
        self.workers = workers
        self.failed: dict[str, str] = {}
        # Augmentation is torch's work, which brings threads of its own.
        plain = dataset.pixels.kind == "none" and dataset.augment is None and not workers
        self._loader = torch_data.DataLoader(
            _Fetch(dataset, min(8, os.cpu_count() or 1) if plain else 1),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_gather,
            # Without its own generator the loader draws from the global one, and a resume drifts.
            generator=torch.Generator().manual_seed(0),
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def steps(self) -> int:
        """Steps of a whole epoch."""
        return self.sampler.steps

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        self.sampler.epoch, self.sampler.start = epoch, start
        return iter(self)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self.workers and self.dataset.pixels.kind != "none":
            self.dataset.prepare()  # once here, not once in every worker
        arriving = iter(self._loader)
        for batch, failed in arriving:
            if failed and self.on_error == "stop":
                break
            self.failed |= {one.id: one.reason for one in failed}
            if batch is not None:
                yield batch
        else:
            return
        # The workers end here: the traceback of what is raised would keep them, and processes
        # forked later would inherit a half-closed loader.
        del arriving
        raise ImageReadError(
            f"{failed[0].reason} To go on without it: --on-error skip "
            "(in training data.on_error=skip)."
        )


def batches(
    dataset: ImageDataset,
    *,
    batch: int,
    seed: int = 0,
    shuffle: bool = False,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    on_error: OnError = "stop",
) -> Batches:
    """Batches of a data set.

    Args:
        dataset: the samples.
        batch: images per step, over all processes together.
        seed: of the order.
        shuffle: True for training; False takes every image once, in order.
        rank: number of this process.
        world: number of processes.
        workers: processes that decode and augment; 0 does it here.
        on_error: stop at an image that cannot be read, or skip it and list it in `failed`.

    Raises:
        InputError: no images, or a batch that the processes cannot share.
    """
    sampler = EpochSampler(
        len(dataset), batch=batch, seed=seed, rank=rank, world=world, shuffle=shuffle
    )
    return Batches(dataset, sampler, workers=workers, on_error=on_error)
