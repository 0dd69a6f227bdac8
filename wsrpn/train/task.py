"""What differs between trainings: their data, the batches of these, and what validation asks.

The loop, the run folder, checkpoints, resume and several processes are the same for all of them.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from wsrpn.config import RunConfig
from wsrpn.errors import InputError
from wsrpn.models.base import models
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.types import Batch

TILES, RADIOGRAPHS, MASKS = "tiles", "radiographs", "masks"

# What the models of an input learn from → figures of the validation that may choose an epoch.
MONITORS = {
    RADIOGRAPHS: ("auroc", "image_ap", "loss", "last"),
    TILES: ("auroc", "image_ap", "loss", "last"),
    MASKS: ("dice", "jaccard", "loss", "last"),
}
_HELD = {TILES: "tiles of slides", RADIOGRAPHS: "radiographs", MASKS: "images with masks"}
_NEED = {
    TILES: "tiles.csv, a folder of tile pictures, slides.csv, or phantom:slides",
    RADIOGRAPHS: "images.csv, a folder of images, or phantom:cxr",
    MASKS: "images.csv with a column mask, phantom:beads or phantom:nodules",
}


@runtime_checkable
class Feed(Protocol):
    """Batches of one split for one process, epoch after epoch."""

    @property
    def failed(self) -> Mapping[str, str]:
        """Id → reason of what cannot be read."""

    def __len__(self) -> int:
        """Images that can be read."""

    @property
    def steps(self) -> int:
        """Steps of an epoch."""

    def __call__(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""


class Task(abc.ABC):
    """The data of one training; made by `wsrpn.train.run.task_of`, then opened in each process.

    Attributes:
        name: how the user asked for the data.
        classes: what is asked of every image, in the order of the labels.
        feed: training batches; from `open` on.
        val_feed: validation batches; from `open` on.
        unit: what its images are called in sentences.
        split_notes: how the data came to their splits, for whoever misses one.
    """

    unit = "images"
    name: str
    split_notes: Sequence[str] = ()
    classes: tuple[str, ...]
    feed: Feed
    val_feed: Feed

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @abc.abstractmethod
    def open(self, here: World, cache: Path) -> None:
        """Look at every file once and make the feeds.

        Args:
            here: this process.
            cache: folder of the disk cache.

        Raises:
            InputError: nothing to learn from or to choose by, or an image cannot be read.
        """

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """The model as it begins."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """What `run.json` says of the data: `classes`, `data`, `text` and what a reader needs."""

    @abc.abstractmethod
    def write_splits(self, path: Path) -> None:
        """Write who trains and who validates, as a table."""

    @abc.abstractmethod
    def judge(self, state: State, here: World) -> tuple[dict[str, float], dict[str, float]]:
        """Fit what is fitted on the validation split, then give the figures of it.

        Args:
            state: its weights are those that would be used; what is fitted is put into them.
            here: this process; every one gets the same figures.

        Returns:
            Fitted numbers (`fitted/NAME`), and figures (`val/NAME`), some of which may be nan.
        """

    def refuse_other(  # noqa: B027
        self, out: Path, old: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        """Stop a resume with other data, as far as they are not told by digests.

        Args:
            out: run folder.
            old: facts that the run began with.
            now: facts of today.

        Raises:
            InputError: names what differs.
        """

    def scheduled(self, epoch: int) -> dict[str, float]:
        """Figures of the training that follow from the epoch alone."""
        return {}

    def remarks(self, kept: Mapping[str, float]) -> list[str]:
        """What the user should know of a finished training, in sentences.

        Args:
            kept: the row of `metrics.csv` of the epoch that was kept.
        """
        return []

    def show(self, state: State, out: Path, epoch: int) -> None:  # noqa: B027
        """Draw what the kept weights make of validation images, if there is anything to draw."""

    @property
    def repeats(self) -> bool:
        """Whether images come back unchanged, so that a frozen backbone may remember them."""
        return self.config.data.augment.repeats


def input_of(config: RunConfig) -> str:
    """What the model of a config is trained on: `radiographs`, `tiles`, or images with `masks`."""
    return str(models.facts(config.model["name"]).get("input", RADIOGRAPHS))


def refuse_other_monitor(config: RunConfig) -> None:
    """Stop where the figure that is to choose an epoch is not one of what the model learns from.

    Raises:
        InputError: names the figures that are, or says that patience has nothing to wait for.
    """
    train, able = config.train, MONITORS[input_of(config)]
    if train.monitor not in able:
        raise InputError(
            f"train.monitor={train.monitor}: model {config.model['name']} learns from "
            f"{_HELD[input_of(config)]}, and epochs are chosen by {', '.join(able[:-1])} or "
            f"{able[-1]}; set train.monitor={able[0]}."
        )
    if train.patience and train.monitor == "last":
        raise InputError(
            "train.patience has no effect with train.monitor=last; set train.monitor to "
            f"{', '.join(able[:-2])} or {able[-2]}."
        )


def refuse_other_input(config: RunConfig) -> None:
    """Stop where a source is known to hold what the model does not learn from.

    Raises:
        InputError: names the models that do.
    """
    wanted, there = input_of(config), _kind_of(config.data.source)
    if there in (None, wanted) or (wanted, there) == (MASKS, RADIOGRAPHS):
        return
    able = [name for name in models if models.facts(name).get("input", RADIOGRAPHS) == there]
    raise InputError(
        f"{config.data.source}: {_HELD[str(there)]}, and model {config.model['name']} learns from "
        f"{_HELD[wanted]} ({_NEED[wanted]}). Models for {_HELD[str(there)]}: {', '.join(able)}."
    )


def _kind_of(source: str) -> str | None:
    """What a source holds, where its name or the header of its table tells."""
    from wsrpn.data.base import datasets

    name, mark, _ = source.partition(":")
    if source.startswith(("phantom:slides", "slides:", "tiles:")):
        return TILES
    if mark and name in datasets and not Path(source).exists():
        return RADIOGRAPHS
    path = Path(source)
    if path.is_dir():
        if any((path / table).is_file() for table in ("tiles.csv", "slides.csv")):
            return TILES
        return RADIOGRAPHS if (path / "images.csv").is_file() else None
    return _kind_of_table(path) if path.suffix.lower() == ".csv" and path.is_file() else None


def _kind_of_table(path: Path) -> str | None:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        columns = {column.strip().strip('"') for column in file.readline().split(",")}
    if columns & {"slide", "wsi_id", "slide_id"}:
        return TILES
    return RADIOGRAPHS if columns & {"image", "path", "file"} else None
