"""From sets of tiles to batches, with the same promises as `wsrpn.data.loader`.

The order of an epoch is keyed by (seed, epoch), the changes of a tile by (seed, epoch, index): the
number of workers, a resume in the middle of an epoch, and the number of processes change nothing.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import data as torch_data

from wsrpn.config import AugmentConfig, RunConfig, TilesConfig
from wsrpn.data.images import ImageReadError
from wsrpn.data.sampler import EpochSampler, Key
from wsrpn.errors import InputError, counted
from wsrpn.tiles import TileSet
from wsrpn.tiling import changes, looks
from wsrpn.tiling.store import TilePixels
from wsrpn.types import Batch

PER_SLIDE = 64  # tiles that the look of a slide is fitted on
_SLIDES = 64  # that the look of a training is fitted on


class TileFeed:
    """Batches of a set of tiles for this process; made by `feed`.

    Attributes:
        dataset: the tiles that can be read; ids of the batches are `dataset.id(index)`.
        failed: name → reason of those that cannot.
        looks: the map of densities of each slide, or None where colours stay as they are.
    """

    def __init__(
        self,
        samples: "_Samples",
        sampler: EpochSampler | None,
        failed: dict[str, str],
        *,
        workers: int,
    ) -> None:
        self.dataset, self.failed, self.looks = samples.tiles, failed, samples.looks
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
            ImageReadError: a tile that could be read before cannot be any more.
        """
        if self._sampler is None or self._loader is None:
            return
        self._sampler.epoch, self._sampler.start = epoch, start
        arriving = iter(self._loader)
        for batch in arriving:
            if isinstance(batch, str):
                del arriving  # the workers end here; a traceback would keep them
                raise ImageReadError(batch)
            yield batch


def feed(
    tiles: TileSet,
    config: RunConfig,
    *,
    training: bool,
    cache: Path | None,
    rank: int = 0,
    world: int = 1,
    look: Tensor | None = None,
) -> TileFeed:
    """Look at every file once, then feed what can be read.

    Args:
        tiles: of one split.
        config: of the run.
        training: shuffled and changed at random, or in order and plain.
        cache: folder of the disk cache.
        rank: number of this process.
        world: number of processes.
        look: what `target_look` found on the training tiles; None leaves colours as they are.

    Raises:
        InputError: a tile cannot be read and `data.on_error` is `stop`.
    """
    pixels = _pixels(tiles, config, cache)
    # A step cannot do without a tile that fails in the middle of an epoch.
    pixels.prepare(decode=config.data.on_error == "skip")
    failed = {tiles.id(index): reason for index, reason in sorted(pixels.failed.items())}
    if failed and config.data.on_error == "stop":
        more = f" ({len(failed) - 1} more like it.)" if len(failed) > 1 else ""
        raise ImageReadError(
            f"{next(iter(failed.values()))}{more} To go on without: --set data.on_error=skip."
        )
    if failed:
        tiles = tiles.where(~np.isin(np.arange(len(tiles)), list(pixels.failed)))
        pixels = _pixels(tiles, config, cache)
        pixels.prepare()
    tiles, maps = _maps(tiles, pixels, config.tiles, look)
    samples = _Samples(
        tiles, pixels, maps, config.data.augment if training else None, config.train.seed
    )
    sampler = EpochSampler(
        len(tiles),
        batch=config.train.batch,
        seed=config.train.seed,
        rank=rank,
        world=world,
        shuffle=training,
    ) if len(tiles) or training else None  # fmt: skip
    return TileFeed(samples, sampler, failed, workers=config.train.workers)


def target_look(tiles: TileSet, config: RunConfig) -> Float[Tensor, "3 4"]:
    """The colours that training tiles have in the mean of their slides.

    Args:
        tiles: of the training.
        config: of the run.

    Returns:
        The look that `feed` and scoring bring all tiles to; the identity where `tiles.stain` is
        none. It has no light of its own: with `tiles.intensity=white` glass becomes white.

    Raises:
        InputError: no slide has enough tissue to see its stains.
    """
    stain, intensity = config.tiles.stain, config.tiles.intensity
    if stain == "none":
        return looks.identity()
    pixels = TilePixels(tiles, config.data.size, kind="none")
    present = np.unique(tiles.slide)
    found, faults = [], []
    for slide in present[_evenly(len(present), _SLIDES)].tolist():
        try:
            sample = _sample(tiles, pixels, slide)
            light = looks.fit(sample, stain="none", intensity=intensity)
            whole = looks.fit(sample, stain=stain, intensity=intensity)
            found.append(looks.compose(whole, looks.inverse(light)))
        except InputError as error:  # damaged files are named by `feed`
            faults.append(str(error))
    if not found:
        raise InputError(
            f"{tiles.name}: the stains of no training slide can be seen"
            f"{': ' + faults[0] if faults else '.'}"
        )
    return looks.mean(found)


def _pixels(tiles: TileSet, config: RunConfig, cache: Path | None) -> TilePixels:
    return TilePixels(tiles, config.data.size, kind=config.data.cache, folder=cache)


def _maps(
    tiles: TileSet, pixels: TilePixels, config: TilesConfig, look: Tensor | None
) -> tuple[TileSet, Float[Tensor, "s 3 4"] | None]:
    """The map of each slide, and the tiles with a note if the stains of some cannot be seen."""
    if look is None or config.stain == config.intensity == "none":
        return tiles, None
    maps = looks.identity().repeat(len(tiles.slides), 1, 1)
    unseen: list[str] = []
    for slide in np.unique(tiles.slide).tolist():
        name = tiles.slides[slide].id
        sample = _sample(tiles, pixels, slide)
        told: list[str] = []
        maps[slide] = looks.of_slide(sample, config, look, listen=told.append)
        if told:
            unseen.append(name)
    if unseen:
        note = (
            f"{counted(len(unseen), 'slide')} whose stains cannot be seen, colours left as they "
            f"are: {', '.join(unseen[:5])}{', …' if len(unseen) > 5 else ''}."
        )
        tiles = dataclasses.replace(tiles, notes=(*tiles.notes, note))
    return tiles, maps


def _sample(tiles: TileSet, pixels: TilePixels, slide: int) -> np.ndarray:
    """Tiles of a slide, evenly drawn from all it has."""
    own = np.flatnonzero(tiles.slide == slide)
    return pixels.take(own[_evenly(len(own), PER_SLIDE)])


def _evenly(count: int, most: int) -> Int[np.ndarray, " m"]:
    """At most so many indices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _as_it_is(batch: Any) -> Any:
    return batch


class _Samples(torch_data.Dataset[Batch]):
    """Whole batches by their keys; a failure travels as its sentence."""

    def __init__(
        self,
        tiles: TileSet,
        pixels: TilePixels,
        maps: Float[Tensor, "s 3 4"] | None,
        augment: AugmentConfig | None,
        seed: int,
    ) -> None:
        self.tiles, self.pixels, self.looks = tiles, pixels, maps
        self.augment, self.seed = augment, seed
        size = np.where(np.isnan(tiles.size_px0), pixels.size, tiles.size_px0)
        self._sizes = np.maximum(size[:, ::-1].round(), 1).astype(np.int64)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | str:
        index = np.array([index for _, index in keys], dtype=np.int64)
        try:
            levels = self.pixels.take(index)
        except ImageReadError as error:
            return str(error)
        look = looks.identity()
        if self.looks is not None:
            look = self.looks[torch.from_numpy(self.tiles.slide[index]).long()]
        if self.augment is None:
            images = looks.apply(levels, look)
        else:
            full = [(self.seed, *key) for key in keys]
            images = changes.augment(levels, look, self.augment, full)
        return Batch(
            ids=tuple(self.tiles.id(one) for one in index.tolist()),
            images=images,
            labels=torch.from_numpy(self.tiles.label[index].astype(np.float32))[:, None],
            sizes_px=torch.from_numpy(self._sizes[index]),
        )
