"""The batches of a training and of its validation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsrpn.config import RunConfig
from wsrpn.data import loader
from wsrpn.data.images import ImageReadError
from wsrpn.text import TextTable
from wsrpn.train.distributed import World
from wsrpn.types import Batch, Dataset


@dataclass(frozen=True)
class Feed:
    """Batches of one split for this process.

    Attributes:
        dataset: the images that can be read.
        failed: id → reason of those that cannot.
        batches: the loader.
        texts: captions that go with the images, or None.
    """

    dataset: Dataset
    failed: dict[str, str]
    batches: loader.Batches | None
    texts: TextTable | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.batches.steps if self.batches else 0

    def __call__(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        batches = self.batches.epoch(epoch, start=start) if self.batches else iter(())
        return map(self.texts.attach, batches) if self.texts and self.texts.rows else batches


def feed(
    dataset: Dataset,
    config: RunConfig,
    here: World,
    *,
    training: bool,
    cache: Path,
    texts: TextTable | None = None,
) -> Feed:
    """Look at every file once, then feed what can be read.

    Args:
        dataset: one split.
        config: of the run.
        here: this process.
        training: shuffled and augmented, or in order and plain.
        cache: folder of the disk cache.
        texts: captions that go with the images.

    Raises:
        InputError: an image cannot be read and `data.on_error` is `stop`.
    """
    samples = _samples(dataset, config, training, cache)
    # A step cannot do without an image that fails in the middle of an epoch.
    failed = samples.prepare(decode=config.data.on_error == "skip")
    if failed and config.data.on_error == "stop":
        reason = next(iter(failed.values()))
        more = f" ({len(failed) - 1} more like it.)" if len(failed) > 1 else ""
        raise ImageReadError(f"{reason}{more} To go on without: --set data.on_error=skip.")
    if failed:
        samples = _samples(samples.readable(), config, training, cache)
        samples.prepare()
    batches = loader.batches(
        samples,
        batch=config.train.batch,
        seed=config.train.seed,
        shuffle=training,
        rank=here.rank,
        world=here.size,
        workers=config.train.workers,
    )  if len(samples) or training else None  # fmt: skip
    return Feed(samples.dataset, failed, batches, texts)


def _samples(
    dataset: Dataset, config: RunConfig, training: bool, cache: Path
) -> loader.ImageDataset:
    return loader.ImageDataset(
        dataset,
        size=config.data.size,
        augment=config.data.augment if training else None,
        seed=config.train.seed,
        cache=config.data.cache,
        folder=cache,
    )
