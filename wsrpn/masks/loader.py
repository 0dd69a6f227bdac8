"""From images with masks to batches, with the same promises as `wsrpn.data.loader`.

The order of an epoch is keyed by (seed, epoch), crop and changes of an image by (seed, epoch,
index): the number of workers, a resume in the middle of an epoch and the number of processes change
nothing.

`masks.scale=fit` brings every image to `data.size` squared. With `native` pixels stay as they are:
training takes one random crop of `data.size` an image and epoch, validation cuts every image into
windows of `data.size` that cover it, the last ones shifted inside. What is smaller than a window
goes on as its mirror image, the mask alike.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch.utils import data as torch_data

from wsrpn.config import AugmentConfig, RunConfig
from wsrpn.data.images import ImageReadError
from wsrpn.data.loader import collate
from wsrpn.data.sampler import EpochSampler, Key, generator_of
from wsrpn.data.transforms import Edge, augment
from wsrpn.masks.store import Planes, Store
from wsrpn.types import Batch, Dataset, Sample

_MARK = "@"  # between the id of an image and the number of a window


class MaskFeed:
    """Batches of one split for this process; made by `feed`.

    Attributes:
        dataset: the images that can be read.
        failed: id → reason of those that cannot.
    """

    def __init__(
        self,
        samples: "_Samples",
        sampler: EpochSampler | None,
        failed: dict[str, str],
        *,
        workers: int,
    ) -> None:
        self.dataset, self.failed = samples.dataset, failed
        self._sampler = sampler
        self._loader = None if sampler is None else torch_data.DataLoader(
            samples,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_as_it_is,
            # Without its own generator the loader draws from the global one, and a resume drifts.
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._sampler.steps if self._sampler else 0

    def __call__(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on.

        Raises:
            ImageReadError: an image that could be read before cannot be any more.
        """
        if self._sampler is None or self._loader is None:
            return
        self._sampler.epoch, self._sampler.start = epoch, start
        arriving = iter(self._loader)
        for batch in arriving:
            if isinstance(batch, str):
                del arriving  # the workers end here; a traceback would keep them
                raise ImageReadError(batch)
            if batch is not None:  # the last one of a validation may not reach every process
                yield batch


def feed(
    dataset: Dataset,
    config: RunConfig,
    *,
    training: bool,
    cache: Path | None,
    rank: int = 0,
    world: int = 1,
) -> MaskFeed:
    """Look at every file once, then feed what can be read.

    Args:
        dataset: images whose pixels are known (see `truth.usable`).
        config: of the run.
        training: shuffled, cropped and changed at random, or in order, whole and plain.
        cache: folder of the disk cache.
        rank: number of this process.
        world: number of processes.

    Raises:
        ImageReadError: an image, a mask or a DRR cannot be read, or a mask has not the size of its
            image, and `data.on_error` is `stop`.
        InputError: there are no images to train on.
    """
    store = _store(dataset, config, cache)
    # A step cannot do without an image that fails in the middle of an epoch.
    store.prepare(decode=config.data.on_error == "skip")
    failed = {dataset.records[i].id: reason for i, reason in sorted(store.failed.items())}
    if failed and config.data.on_error == "stop":
        more = f" ({len(failed) - 1} more like it.)" if len(failed) > 1 else ""
        raise ImageReadError(
            f"{next(iter(failed.values()))}{more} To go on without: --set data.on_error=skip."
        )
    if failed:
        dataset = dataset.where(lambda record: record.id not in failed)
    kept = [index for index in range(len(store)) if index not in store.failed]
    samples = _Samples(dataset, store, kept, config, training=training)
    sampler = EpochSampler(
        len(samples),
        batch=config.train.batch,
        seed=config.train.seed,
        rank=rank,
        world=world,
        shuffle=training,
    ) if len(samples) or training else None  # fmt: skip
    return MaskFeed(samples, sampler, failed, workers=config.train.workers)


def image_of(name: str) -> str:
    """The id of the image that a validation window is cut from, of the ids in a native batch.

    Example:
        >>> image_of("films/a@b.png@12")
        'films/a@b.png'
    """
    return name.rpartition(_MARK)[0]


def corners(size_px: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Top and left of the windows that cover an image, row by row.

    Args:
        size_px: height and width of the image.
        side: of a window.

    Example:
        >>> corners((100, 250), 100)
        [(0, 0), (0, 100), (0, 150)]
    """
    rows, columns = (
        [*range(0, max(length - side, 0), side), max(length - side, 0)] for length in size_px
    )
    return [(top, left) for top in rows for left in columns]


def _store(dataset: Dataset, config: RunConfig, cache: Path | None) -> Store:
    size = config.data.size if config.masks.scale == "fit" else None
    return Store(dataset.records, size, kind=config.data.cache, folder=cache)


def _as_it_is(batch: Any) -> Any:
    return batch


class _Samples(torch_data.Dataset[Batch]):
    """Whole batches by their keys; a failure travels as its sentence."""

    def __init__(
        self,
        dataset: Dataset,
        store: Store,
        kept: Sequence[int],
        config: RunConfig,
        *,
        training: bool,
    ) -> None:
        # The store also counts what cannot be read: `kept` are the places of the others.
        self.dataset, self.store, self.kept = dataset, store, kept
        self.side, self.seed = config.data.size, config.train.seed
        self.native, self.training = config.masks.scale == "native", training
        self.augment: AugmentConfig | None = config.data.augment if training else None
        self.drrs = any(record.drr is not None for record in dataset.records)
        self.windows: list[tuple[int, int, int, int]] = []  # image, number, top, left
        if self.native and not training:
            self.windows = [
                (index, number, *corner)
                for index in range(len(dataset))
                for number, corner in enumerate(corners(store.size_px(kept[index]), self.side))
            ]

    def __len__(self) -> int:
        return len(self.windows) if self.native and not self.training else len(self.dataset)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | str | None:
        if not keys:
            return None
        try:
            samples = [self._sample(epoch, index) for epoch, index in keys]
        except ImageReadError as error:
            return str(error)
        return collate(samples, drrs=self.drrs)

    def _sample(self, epoch: int, index: int) -> Sample:
        if not self.training:
            return self._window(index) if self.native else self._whole(index)
        generator = generator_of(self.seed, epoch, index)
        # As many draws whatever is switched on: crops do not move the turns.
        down, right, turn = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        planes = self.store[self.kept[index]]
        if self.native:
            height, width = planes.image.shape
            top = int(down * (max(height - self.side, 0) + 1))
            left = int(right * (max(width - self.side, 0) + 1))
            planes = cut(planes, top, left, self.side)
        sample = _sample(self.dataset.records[index].id, planes)
        if self.augment is None:
            return sample
        if self.augment.turns:
            sample = turned(sample, int(turn * 8))
        # A radiograph ends at the edge of the film; a crop goes on.
        edge: Edge = "mirror" if self.native else "black"
        return augment(sample, self.augment, generator, edge=edge)

    def _whole(self, index: int) -> Sample:
        return _sample(self.dataset.records[index].id, self.store[self.kept[index]])

    def _window(self, index: int) -> Sample:
        image, number, top, left = self.windows[index]
        name = f"{self.dataset.records[image].id}{_MARK}{number}"
        planes = self.store[self.kept[image]]
        return _sample(name, cut(planes, top, left, self.side))


def cut(planes: Planes, top: int, left: int, side: int) -> Planes:
    """A square of all planes; where the image ends before it does, the mirror image goes on."""

    def part(plane: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "side side"]:
        piece = plane[top : top + side, left : left + side]
        missing = [(0, side - length) for length in piece.shape]
        return np.pad(piece, missing, mode="symmetric") if piece.shape != (side, side) else piece

    drr = None if planes.drr is None else part(planes.drr)
    return dataclasses.replace(planes, image=part(planes.image), mask=part(planes.mask), drr=drr)


def turned(sample: Sample, number: int) -> Sample:
    """One of the eight symmetries: 0 to 3 quarter turns, and 4 more for the mirror image first.

    The sample is square and has no boxes.
    """

    def one(plane: torch.Tensor) -> torch.Tensor:
        plane = plane.flip(-1) if number >= 4 else plane
        return torch.rot90(plane, number % 4, dims=(-2, -1)).contiguous()

    return dataclasses.replace(
        sample,
        image=one(sample.image),
        mask=None if sample.mask is None else one(sample.mask),
        drr=None if sample.drr is None else one(sample.drr),
    )


def _sample(name: str, planes: Planes) -> Sample:
    """The label is what the mask of this very sample says: a crop may hold nothing."""
    mask = _levels(planes.mask)
    return Sample(
        id=name,
        image=_levels(planes.image),
        labels=(mask.amax()[None] > 0).float(),
        boxes=torch.zeros(0, 4),
        box_labels=torch.zeros(0, dtype=torch.int64),
        size_px=planes.size_px,
        mask=mask,
        drr=None if planes.drr is None else _levels(planes.drr),
    )


def _levels(plane: UInt8[np.ndarray, "h w"]) -> torch.Tensor:
    return torch.from_numpy(plane.astype(np.float32) / np.float32(255))[None]
