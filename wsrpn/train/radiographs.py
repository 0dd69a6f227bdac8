"""Training on radiographs: images with labels of several classes, and captions where they help."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from wsrpn import models as model_parts
from wsrpn.config import RunConfig
from wsrpn.data import base, splits
from wsrpn.errors import InputError
from wsrpn.train import phases, texts
from wsrpn.train.distributed import World
from wsrpn.train.feed import Feed, feed
from wsrpn.train.loop import State
from wsrpn.train.task import Task, refuse_other_input
from wsrpn.train.validate import fit, notes, validate
from wsrpn.types import SPLITS, Dataset


class Radiographs(Task):
    """The images of a config.

    Args:
        config: of the run, complete.

    Raises:
        InputError: the data cannot be read, hold tiles of slides, or have a patient in two splits.
    """

    feed: Feed
    val_feed: Feed

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        refuse_other_input(config)
        self.dataset = base.load(config.data)
        splits.refuse_leaks(self.dataset)
        self.name, self.classes = self.dataset.name, self.dataset.classes

    def open(self, here: World, cache: Path) -> None:
        """See `Task`."""
        config = self.config
        train, self.left_out = usable(self.dataset, config)
        self._refuse_unmonitored()
        val = self.dataset.split("val")
        self.texts = texts.prepare(config, train, val, device=str(here.device))
        self.feed = feed(train, config, here, training=True, cache=cache, texts=self.texts)
        self.val_feed = feed(val, config, here, training=False, cache=cache, texts=self.texts)

    def _refuse_unmonitored(self) -> None:
        labels = self.dataset.split("val").labels()
        both = ((labels == 1).any(0) & (labels == 0).any(0)).any()
        if self.config.train.monitor not in ("loss", "last") and not both:
            raise InputError(
                f"{self.dataset.name}: train.monitor={self.config.train.monitor} needs a class "
                "with positive and negative images in split val; change data.val_share, or "
                "set train.monitor=last."
                + "".join(f" {note}" for note in self.dataset.training_notes)
            )

    def build(self) -> nn.Module:
        """See `Task`."""
        space = self.texts.space(self.classes) if self.texts else None
        return model_parts.build(self.config.model, classes=len(self.classes), text=space)

    def facts(self) -> dict[str, Any]:
        """See `Task`."""
        return {
            "classes": list(self.dataset.classes),
            "data": {
                "name": self.dataset.name,
                "digest": self.dataset.digest(),
                "labels": self.dataset.label_digest(),
                "splits": {name: self.dataset.split(name).digest() for name in SPLITS},
                "train": len(self.feed),
                "val": len(self.val_feed),
                "notes": [
                    *self.dataset.notes,
                    *self.dataset.training_notes,
                    *phases.unreached(self.config.phases, self.config.train.epochs),
                    *self.left_out,
                    *texts.notes(self.config, self.texts),
                    *notes(self.config, self.val_feed.dataset),
                ],
                "unreadable": self.feed.failed | self.val_feed.failed,
            },
            "text": dict(self.texts.facts) if self.texts else None,
        }

    def write_splits(self, path: Path) -> None:
        """See `Task`."""
        splits.write(self.dataset, path)

    def refuse_other(self, out: Path, old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """See `Task`."""
        if not texts.same(old.get("text"), now["text"]):
            raise InputError(
                f"{out}: the text encoder or the captions are not those this run began with; "
                "resume with the same weights in text.encoder and the same texts in the data."
            )

    def judge(self, state: State, here: World) -> tuple[dict[str, float], dict[str, float]]:
        """See `Task`."""
        fitted = fit(state, self.val_feed, self.config, here)
        return fitted, validate(state, self.val_feed, self.config, here)


def usable(dataset: Dataset, config: RunConfig) -> tuple[Dataset, list[str]]:
    """The training images that have a known label or, where a loss reads text, a caption.

    Returns:
        The images, and a sentence if some were left out.

    Raises:
        InputError: none has a known label.
    """
    train = dataset.split("train")
    known = {r.id for r in train.records if any(label == label for label in r.labels)}
    if not known:
        notes = "".join(f" {note}" for note in dataset.notes)
        raise InputError(f"{dataset.name}: no image of split train has a known label.{notes}")
    known |= texts.captioned(config, train.where(lambda r: r.id not in known))
    chosen = train.where(lambda r: r.id in known)
    left = len(train) - len(chosen)
    told = f"{left} training images without a known label, or a caption to learn from, left out."
    return chosen, [told] if left else []
