"""Training on tiles of slides: autoencoders of normal tiles, and classifiers of tiles.

Tiles of every slide are brought to the colours of the training tiles, which go with the weights. A
model that is registered with `normal_only` never sees a tile of tumour in training; in validation
its losses are those of normal tiles, and tumour counts in rankings alone.
"""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsrpn import config as configs
from wsrpn import files
from wsrpn import models as model_parts
from wsrpn.config import RunConfig
from wsrpn.errors import InputError, counted
from wsrpn.losses.latent import capacity_at
from wsrpn.models.base import models
from wsrpn.tiles import TileSet
from wsrpn.tiling import loader, looks, sets
from wsrpn.train import phases
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.probe import Probe
from wsrpn.train.task import Task, refuse_other_input
from wsrpn.train.tile_figures import judge
from wsrpn.types import SPLITS

INVERTED = 0.5  # AUROC below which a score ranks the wrong way round


class TileTask(Task):
    """The tiles of a config.

    Args:
        config: of the run, complete.

    Raises:
        InputError: the data cannot be read, or hold radiographs.
    """

    classes = TileSet.classes
    unit = "tiles"
    feed: loader.TileFeed
    val_feed: loader.TileFeed

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        refuse_other_input(config)
        self.tiles = sets.load(config)
        self.name = self.tiles.name
        self.split_notes = self.tiles.training_notes
        self.normal_only = bool(models.facts(config.model["name"]).get("normal_only", False))

    def open(self, here: World, cache: Path) -> None:
        """See `Task`."""
        config, val = self.config, self.tiles.split("val")
        train, self.left_out = usable(self.tiles, normal_only=self.normal_only, config=config)
        self._refuse_unmonitored(val)
        torch.manual_seed(config.train.seed)
        self.model = model_parts.build(config.model, classes=len(self.classes))
        look: Tensor = self.model.get_buffer("look")
        if getattr(self.model, "look_given", False):
            _refuse_other_look(look, config)
        else:
            look.copy_(here.gather(loader.target_look(train, config))[0])
        self.feed, self.val_feed = (
            loader.feed(
                tiles, config, training=training, cache=cache, rank=here.rank, world=here.size,
                look=look.clone(),
            )
            for tiles, training in ((train, True), (val, False))
        )  # fmt: skip
        self.probe = Probe(self.val_feed.dataset, config)
        self.device = here.device

    def _refuse_unmonitored(self, val: TileSet) -> None:
        train = self.config.train
        normal, tumour = (val.label == 0).any(), (val.label == 1).any()
        notes = "".join(f" {note}" for note in val.training_notes)
        if train.monitor in ("auroc", "image_ap") and not (normal and tumour):
            raise InputError(
                f"{self.name}: train.monitor={train.monitor} needs normal and tumour tiles in "
                f"split val; change data.val_share, or set train.monitor=loss or last.{notes}"
            )
        if train.monitor == "loss" and len(val) and not (normal or tumour or self.normal_only):
            raise InputError(
                f"{self.name}: train.monitor=loss needs labelled tiles in split val; label some, "
                f"change data.val_share, or set train.monitor=last.{notes}"
            )
        if self.normal_only and len(val) and not normal:
            raise InputError(
                f"{self.name}: no tile of split val is labelled normal, and model "
                f"{self.config.model['name']} is judged on normal tiles; change data.val_share."
                f"{notes}"
            )

    def build(self) -> nn.Module:
        """The model; it knows the colours that tiles are brought to."""
        return self.model

    def facts(self) -> dict[str, Any]:
        """See `Task`."""
        tiles, parts = self.tiles, {name: self.tiles.split(name) for name in SPLITS}
        fed = (*self.feed.dataset.notes, *self.val_feed.dataset.notes)
        return {
            "classes": list(self.classes),
            "data": {
                "name": tiles.name,
                "digest": tiles.digest(),
                "labels": tiles.label_digest(),
                "splits": {name: part.digest() for name, part in parts.items()},
                "train": len(self.feed),
                "val": len(self.val_feed),
                "notes": [
                    *tiles.notes,
                    *tiles.training_notes,
                    *phases.unreached(self.config.phases, self.config.train.epochs),
                    *self.left_out,
                    *dict.fromkeys(note for note in fed if note not in tiles.notes),
                    *_other_resolution(self.feed.dataset, self.config),
                    *_other_encoder(self.config),
                    *_without_effect(self.config),
                    *_learned_nothing(self.config),
                ],
                "unreadable": {**tiles.failed, **self.feed.failed, **self.val_feed.failed},
            },
            "text": None,
            "tiles": {
                "size": self.config.data.size,
                "mpp": resolution(self.feed.dataset, self.config),
                "level": self.config.tiles.level,
            },
        }

    def write_splits(self, path: Path) -> None:
        """Write a row per slide that has tiles: whose it is, its split, its tiles by label."""
        tiles, text = self.tiles, io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("slide", "patient", "split", "tiles", "normal", "tumour"))
        count = len(tiles.slides)
        every, normal, tumour = (
            np.bincount(tiles.slide[chosen], minlength=count)
            for chosen in (np.ones(len(tiles), bool), tiles.label == 0, tiles.label == 1)
        )
        for index, slide in enumerate(tiles.slides):
            if every[index]:
                counts = (every[index], normal[index], tumour[index])
                writer.writerow((slide.id, slide.patient, slide.split or "", *counts))
        files.write(path, text.getvalue().encode())

    def judge(self, state: State, here: World) -> tuple[dict[str, float], dict[str, float]]:
        """See `Task`."""
        tiles = self.val_feed.dataset
        fitted, found = judge(
            state, self.val_feed, tiles, self.config, here, normal_only=self.normal_only
        )
        self.probe.look(self.val_feed, here)
        return fitted, found | self.probe.figures(state, here)

    def scheduled(self, epoch: int) -> dict[str, float]:
        """The capacity that the latent was held to when the epoch ended."""
        if "latent" not in self.config.losses:
            return {}
        schedule = {key: self.config.losses["latent"][key] for key in ("capacity", "reached")}
        return {"train/capacity": capacity_at(float(epoch), **schedule)}

    def remarks(self, kept: Mapping[str, float]) -> list[str]:
        """A sentence if tumour is ranked below normal tiles by a figure that nobody chose by."""
        auroc = kept.get("val/auroc", math.nan)
        if self.config.train.monitor in ("auroc", "image_ap") or not auroc < INVERTED:
            return []
        way_out = "train longer"
        if self.normal_only:
            way_out += ", or compare its other columns of scores (--score of calibrate and eval)"
        return [
            f"Scores are lower in tumour than in normal tiles of split val: AUROC {auroc:.3f} at "
            f"the kept epoch, which was chosen by {self.config.train.monitor}; {way_out}."
        ]

    def show(self, state: State, out: Path, epoch: int) -> None:
        """Draw `reconstructions.png`, for a model that reconstructs."""
        title = f"{self.config.model['name']}: validation tiles after epoch {epoch}"
        self.probe.draw(state, out / "reconstructions.png", device=self.device, title=title)


def usable(tiles: TileSet, *, normal_only: bool, config: RunConfig) -> tuple[TileSet, list[str]]:
    """The training tiles that a model learns from.

    Args:
        tiles: of all splits.
        normal_only: whether tumour is left out.
        config: names the model in sentences.

    Returns:
        The tiles, and a sentence if some were left out.

    Raises:
        InputError: there are none, or all have one label where both are needed.
    """
    train, model = tiles.split("train"), config.model["name"]
    known = ~np.isnan(train.label)
    notes = "".join(f" {note}" for note in (*tiles.notes, *tiles.training_notes))
    if not known.any():
        raise InputError(f"{tiles.name}: no tile of split train has a known label.{notes}")
    if normal_only:
        if not (train.label == 0).any():
            raise InputError(
                f"{tiles.name}: no tile of split train is labelled normal, and model {model} "
                f"learns from normal tiles only.{notes}"
            )
        left = {"of tumour": train.label == 1, "without a label": ~known}
        chosen = train.where(train.label == 0)
    else:
        one = {float(label) for label in np.unique(train.label[known])}
        if len(one) == 1:
            there = "tumour" if one == {1.0} else "normal"
            raise InputError(
                f"{tiles.name}: all labelled tiles of split train are {there}, and model {model} "
                f"learns from both labels; models that learn from normal tiles alone: "
                f"{', '.join(n for n in models if models.facts(n).get('normal_only'))}.{notes}"
            )
        left, chosen = {"without a label": ~known}, train.where(known)
    told = [
        f"{counted(int(n.sum()), 'training tile')} {what}" for what, n in left.items() if n.any()
    ]
    return chosen, [f"{' and '.join(told)} left out."] if told else []


def resolution(tiles: TileSet, config: RunConfig) -> float | None:
    """Micrometres per pixel of what the network sees.

    Returns:
        The median over the tiles whose slides tell theirs; else `tiles.mpp`; None where nobody
        says.
    """
    own = np.array([slide.mpp or np.nan for slide in tiles.slides], dtype=np.float64)[tiles.slide]
    seen = own * tiles.size_px0[:, 0] / config.data.size
    known = seen[np.isfinite(seen)]
    return float(np.median(known)) if len(known) else config.tiles.mpp


def _other_resolution(tiles: TileSet, config: RunConfig) -> list[str]:
    """A sentence if tiles that were cut elsewhere are not of the resolution that is asked for."""
    seen, asked = resolution(tiles, config), config.tiles.mpp
    if seen is None or asked is None or abs(seen / asked - 1) < 0.05:
        return []
    return [f"The tiles have {seen:.3g} µm per pixel, and not the {asked:.3g} of tiles.mpp."]


def _refuse_other_look(look: Tensor, config: RunConfig) -> None:
    """Stop where weights were trained on other colours than they are to go on with."""
    made_by = looks.kind(look.cpu())
    if made_by == config.tiles.stain:
        return
    was = "in the colours of their slides"
    if made_by != "none":
        was = f"brought to one stain ({made_by})"
    raise InputError(
        f"model.weights={config.model.get('weights')}: trained on tiles {was}, and this config has "
        f"tiles.stain={config.tiles.stain}; set the tiles.stain of that training."
    )


def _other_encoder(config: RunConfig) -> list[str]:
    """A sentence if tiles come otherwise than the encoder in `model.weights` learned them."""
    weights = Path(config.model.get("weights") or "none")
    if config.model["name"] == "tile_head" and weights.is_file():
        return [
            f"{weights} does not say which tiles its encoder learned from, so data.size is "
            f"{config.data.size}, tiles.mpp {config.tiles.mpp}, tiles.level {config.tiles.level}; "
            "model.weights=RUN, the folder of its training, takes them from there."
        ]
    path = weights / "config.yaml"
    if not path.is_file():
        return []
    was = configs.load(path)
    pairs = {
        "data.size": (was.data.size, config.data.size),
        "tiles.mpp": (was.tiles.mpp, config.tiles.mpp),
        "tiles.level": (was.tiles.level, config.tiles.level),
        "tiles.intensity": (was.tiles.intensity, config.tiles.intensity),
    }
    told = [f"{key} {old} and not {new}" for key, (old, new) in pairs.items() if old != new]
    return [f"The encoder of {path.parent} learned with {', '.join(told)}."] if told else []


def _without_effect(config: RunConfig) -> list[str]:
    """A sentence for each section of the config that tiles have no use for."""
    asked = {
        f"text.encoder={config.text.encoder}": config.text.encoder != "none",
        "train.watch_boxes": config.train.watch_boxes,
        "data.classes": bool(config.data.classes),
        "data.rename": bool(config.data.rename),
    }
    return [f"{key} has no effect on tiles." for key, is_set in asked.items() if is_set]


def _learned_nothing(config: RunConfig) -> list[str]:
    """A sentence if what is frozen has never been trained."""
    if not config.train.freeze_backbone or config.model.get("weights") != "none":
        return []
    return [
        "train.freeze_backbone keeps the encoder as it is, and with model.weights=none that is "
        "random; name trained weights."
    ]
