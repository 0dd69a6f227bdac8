"""Training on images with masks: models that answer every pixel.

There is one foreground class. Images without a mask teach that there is nothing where their labels
say so, and are left out where nobody knows; `wsrpn.masks` reads both. What is measured on the
validation split stands in `mask_figures`, its picture in `mask_probe`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from wsrpn import models as model_parts
from wsrpn.config import RunConfig
from wsrpn.data import base, splits
from wsrpn.errors import InputError, counted
from wsrpn.masks import loader, truth
from wsrpn.models.stages import COUNT
from wsrpn.train import phases
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.mask_figures import judge
from wsrpn.train.mask_probe import MaskProbe
from wsrpn.train.mask_remarks import remarks
from wsrpn.train.task import Task, refuse_other_input
from wsrpn.types import SPLITS, Dataset, digest_of


class MaskTask(Task):
    """The images and masks of a config.

    Args:
        config: of the run, complete.

    Raises:
        InputError: the data cannot be read, have no masks, hold tiles of slides, or have a patient
            in two splits.
    """

    feed: loader.MaskFeed
    val_feed: loader.MaskFeed
    sees = 0  # pixels around one that its answer may depend on, from `build` on

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        refuse_other_input(config)
        dataset = base.load(config.data)
        splits.refuse_leaks(dataset)
        self.dataset, self.name = dataset, dataset.name
        self.classes = truth.classes_of(dataset)
        self.split_notes = dataset.training_notes
        self._refuse_unmasked()

    def _refuse_unmasked(self) -> None:
        if not any(record.mask for record in self.dataset.split("train").records):
            elsewhere = any(record.mask for record in self.dataset.records)
            raise InputError(
                f"{self.name}: no image {'of split train ' if elsewhere else ''}has a mask, and "
                f"model {self.config.model['name']} learns from masks; name them in column mask "
                f"of images.csv, or try phantom:beads.{self._notes()}"
            )

    def _notes(self) -> str:
        return "".join(f" {note}" for note in (*self.dataset.notes, *self.dataset.training_notes))

    def open(self, here: World, cache: Path) -> None:
        """See `Task`."""
        (train, left), (val, missed) = (truth.usable(self.dataset, n) for n in ("train", "val"))
        self.left_out = [*left, *missed]
        self._refuse_unmonitored(val)
        self.feed, self.val_feed = (
            loader.feed(
                part, self.config, training=training, cache=cache, rank=here.rank, world=here.size
            )
            for part, training in ((train, True), (val, False))
        )
        self._refuse_unmonitored(self.val_feed.dataset, unreadable=len(self.val_feed.failed))
        self.probe = MaskProbe(self.config)

    def _refuse_unmonitored(self, val: Dataset, *, unreadable: int = 0) -> None:
        monitor = self.config.train.monitor
        if monitor in ("dice", "jaccard") and not any(record.mask for record in val.records):
            lost = f" ({counted(unreadable, 'image')} of it cannot be read)" if unreadable else ""
            raise InputError(
                f"{self.name}: train.monitor={monitor} needs an image with a mask in split val"
                f"{lost}; change data.val_share, or set train.monitor=last.{self._notes()}"
            )

    @property
    def repeats(self) -> bool:
        """False: features of several sizes are too large to keep, and crops never come back."""
        return False

    def build(self) -> nn.Module:
        """See `Task`."""
        model = model_parts.build(self.config.model, classes=len(self.classes))
        self.sees = int(getattr(model, "seen", 0))
        return model

    def facts(self) -> dict[str, Any]:
        """See `Task`."""
        data, config = self.dataset, self.config
        return {
            "classes": list(self.classes),
            "data": {
                "name": data.name,
                "digest": data.digest(),
                "labels": data.label_digest(),
                "masks": mask_digest(data),
                "splits": {name: data.split(name).digest() for name in SPLITS},
                "train": len(self.feed),
                "val": len(self.val_feed),
                "notes": [
                    *data.notes,
                    *data.training_notes,
                    *phases.unreached(config.phases, config.train.epochs),
                    *self.left_out,
                    *_moving_loss(config),
                    *_without_effect(config, data),
                    *_never_learned(config),
                    *_seams(config, self.sees),
                ],
                "unreadable": {**self.feed.failed, **self.val_feed.failed},
            },
            "text": None,
            "masks": {"scale": config.masks.scale, "size": config.data.size},
        }

    def write_splits(self, path: Path) -> None:
        """See `Task`."""
        splits.write(self.dataset, path)

    def refuse_other(self, out: Path, old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """See `Task`."""
        if old["data"].get("masks", now["data"]["masks"]) != now["data"]["masks"]:
            raise InputError(
                f"{out}: other images have a mask, or a DRR, than when this run began "
                f"({old['data']['name']}); resume with the same --data."
            )

    def judge(self, state: State, here: World) -> tuple[dict[str, float], dict[str, float]]:
        """See `Task`."""
        figures, areas = judge(state, self.val_feed, self.config, here, steps=self.feed.steps)
        self.probe.look(self.val_feed, areas, here)
        return {}, figures

    def remarks(self, kept: Mapping[str, float]) -> list[str]:
        """See `Task`."""
        return remarks(kept)

    def show(self, state: State, out: Path, epoch: int) -> None:
        """Draw `segmentation.png`."""
        source = self.config.data.source
        of = source if source.startswith("phantom:") else Path(source).name
        title = f"{self.config.model['name']}, {of}: validation images after epoch {epoch}"
        device = next(state.model.parameters()).device
        self.probe.draw(state, out / "segmentation.png", device=device, title=title)


def mask_digest(dataset: Dataset) -> str:
    """A fingerprint of which images have a mask and a DRR."""
    return digest_of(f"{r.id}\0{r.mask is not None}\0{r.drr is not None}" for r in dataset.records)


def _moving_loss(config: RunConfig) -> list[str]:
    """A sentence if epochs are compared by a sum of losses whose weights change."""
    weights = {tuple(sorted(phase.weights.items())) for phase in config.phases}
    if config.train.monitor != "loss" or len(weights) == 1:
        return []
    return [
        "train.monitor=loss compares epochs by a sum whose weights change from phase to phase; "
        "dice and jaccard mean the same in all of them."
    ]


def _never_learned(config: RunConfig) -> list[str]:
    """A sentence if what is frozen has never been trained."""
    if config.model.get("weights") != "none":
        return []
    stages = config.model.get("trainable", COUNT)
    if config.train.freeze_backbone:
        frozen, way_out = "train.freeze_backbone keeps the backbone as it is", ""
    elif stages < COUNT:
        frozen = f"model.trainable={stages} keeps the first {counted(COUNT - stages, 'stage')}"
        frozen, way_out = f"{frozen} of the backbone as it is", f", or set model.trainable={COUNT}"
    else:
        return []
    return [f"{frozen}, and with model.weights=none that is random; name trained weights{way_out}."]


def _seams(config: RunConfig, sees: int) -> list[str]:
    """A sentence if tiles of large images will have seams."""
    masks = config.masks
    if masks.scale != "native" or masks.margin >= sees:
        return []
    return [
        f"masks.margin={masks.margin} is less than the {sees} px that this network sees: answers "
        f"near the seams of tiles may differ slightly; masks.margin={sees} rules that out."
    ]


def _without_effect(config: RunConfig, data: Dataset) -> list[str]:
    """A sentence for each section of the config that masks have no use for."""
    asked = {
        f"text.encoder={config.text.encoder}": config.text.encoder != "none",
        "train.watch_boxes": config.train.watch_boxes,
        "data.augment.stain": config.data.augment.stain > 0,
    }
    notes = [
        f"{key} has no effect on images with masks." for key, is_set in asked.items() if is_set
    ]
    if config.model.get("attention") in ("drr", "multiscale"):
        without = sum(record.drr is None for record in data.split("train").records)
        if without:
            notes.append(
                f"{counted(without, 'training image')} without a DRR: their attention comes from "
                "the image itself."
            )
    return notes
