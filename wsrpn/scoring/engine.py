"""A trained model on batches of tiles: 8-bit pixels in, columns of scores out."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from wsrpn import compute, files
from wsrpn.config import TilesConfig
from wsrpn.errors import InputError
from wsrpn.models import models
from wsrpn.predict import TrainedRun
from wsrpn.scoring.earlier import options_of
from wsrpn.scoring.jobs import Opened
from wsrpn.tiles import Tiles
from wsrpn.tiling import looks
from wsrpn.types import Batch

SCORE = "score"
_FEW = 4  # threads of a CPU that a reader beside the model would be in the way of
SAMPLE = 64  # tiles that the colours of a slide are measured on
_DECIDING = ("mpp", "level", "overlap", "tissue", "min_tissue", "stain", "intensity")
_VERSION = 1  # one more whenever equal tiles get another score


@dataclass(frozen=True)
class Pixels:
    """A batch of tiles: which of their slide, and RGB, 8-bit or as the network sees them."""

    index: Int[np.ndarray, " b"]
    images: UInt8[Tensor, "b h w 3"] | Float[Tensor, "b 3 h w"]


def refuse_radiographs(run: TrainedRun) -> None:
    """Stop where a run has no model of tiles.

    Raises:
        InputError: names the commands for such runs.
    """
    name = run.config.model["name"]
    if models.facts(name).get("input") != "tiles":
        kind = "answers every pixel" if models.facts(name).get("input") == "masks" else (
            "is for radiographs"
        )  # fmt: skip
        raise InputError(
            f"{run.folder}: model {name} {kind} and scores no tiles; `wsrpn predict` "
            "and `wsrpn eval` are for such runs."
        )


class Engine:
    """The model of a run, ready to score.

    Args:
        run: the trained model, on its device.
        tiles: how slides are cut and coloured; the run's own where None.
        batch: tiles at a time.
        precision: auto, fp32 or bf16.

    Attributes:
        size: side of a tile as the network sees it.
        tiles: how slides are cut and coloured.
        batch: tiles at a time.
        ahead: whether the next tiles are read while the model works. On a CPU of few cores they
            take turns: a reader beside it makes the threads of every layer wait for the slowest
            (measured on two: 0.27 s a batch in turns, 0.31 s beside a reader).

    Raises:
        InputError: the model is of radiographs.
    """

    def __init__(
        self,
        run: TrainedRun,
        *,
        tiles: TilesConfig | None = None,
        batch: int = 256,
        precision: str = "auto",
    ) -> None:
        refuse_radiographs(run)
        self.size, self.tiles, self.batch = run.config.data.size, _as_trained(run, tiles), batch
        self.device = next(run.model.parameters()).device
        self.dtype = compute.precision(precision, self.device)
        asked = run.config.train.channels_last
        self.last = compute.wants_channels_last(asked, self.device, self.dtype)
        layout = torch.channels_last if self.last else torch.contiguous_format
        self.model: Any = run.model.to(memory_format=layout)  # type: ignore[call-overload]
        self.run = run
        self.ahead = self.device.type != "cpu" or torch.get_num_threads() > _FEW

    def about(self) -> dict[str, Any]:
        """What decides the scores of a tile, for the table and for the digests of its parts."""
        own = self.tiles
        return {
            **self.run.provenance(),
            "model_options": options_of(self.run),  # which score leads is one, too
            "scoring": _VERSION,
            "size": self.size,
            "precision": str(self.dtype).removeprefix("torch."),
            "tiles": {name: getattr(own, name) for name in _DECIDING},
        }

    def batches(self, opened: Opened, notes: list[str]) -> Iterator[Pixels]:
        """The tiles of a slide in batches, each tile once; to be run in the reading thread.

        Args:
            opened: the slide.
            notes: gets what the user should know of it.
        """
        look = self._look(opened, notes)
        plain = torch.equal(look, looks.identity())
        for index, levels in _full(opened, self.size, self.batch):
            images = torch.from_numpy(levels)
            yield Pixels(index, images if plain else looks.apply(images, look))

    def _look(self, opened: Opened, notes: list[str]) -> Float[Tensor, "3 4"]:
        """The map from the colours of a slide to those that the model was trained on."""
        if self.tiles.stain == self.tiles.intensity == "none":
            return looks.identity()
        count = len(opened.tiles)
        some = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(np.int64))
        found = sorted(opened.read(some), key=lambda block: int(block[0][0]))
        sample = np.concatenate([levels for _, levels in found])
        target = self.model.look.detach().float().cpu()
        return looks.of_slide(
            sample,
            self.tiles,
            target,
            listen=lambda why: notes.append(f"{opened.tiles.slide}: colours are left: {why}"),
        )

    def scores(self, pixels: Pixels, tiles: Tiles) -> dict[str, Float[Tensor, " b"]]:
        """Column → score of each tile of a batch, left on the device."""
        images = pixels.images.to(self.device, non_blocking=True)
        if images.dtype == torch.uint8:
            images = images.permute(0, 3, 1, 2) / 255  # float32 in one pass over the pixels
        if not self.last:
            images = images.contiguous()
        count, side = len(images), max(round(tiles.size_px0[1]), 1)
        batch = Batch(
            ids=tuple(f"{tiles.slide}@{index}" for index in pixels.index.tolist()),
            images=images,
            labels=torch.full((count, len(self.run.classes)), torch.nan, device=self.device),
            sizes_px=torch.tensor([[side, max(round(tiles.size_px0[0]), 1)]]).expand(count, 2),
        )
        with torch.inference_mode(), compute.autocast(self.dtype, self.device):
            found: Mapping[str, Tensor] = self.model.scores(batch)
        return {name: values.float() for name, values in found.items()}


def _as_trained(run: TrainedRun, given: TilesConfig | None) -> TilesConfig:
    """How slides are cut; at the resolution of the training tiles where the config is silent."""
    tiles = given or run.config.tiles
    if tiles.mpp is not None or tiles.level is not None:
        return tiles
    facts = files.read_json(run.folder / "run.json", what="the facts of a run")
    told = facts.get("tiles") if isinstance(facts, dict) else None
    seen = told.get("mpp") if isinstance(told, dict) else None
    return dataclasses.replace(tiles, mpp=float(seen)) if seen else tiles


def _full(
    opened: Opened, size: int, batch: int
) -> Iterator[tuple[Int[np.ndarray, " b"], UInt8[np.ndarray, "b size size 3"]]]:
    """Blocks of any length as batches of one length, the last one shorter."""
    left = len(opened.tiles)
    index, levels, filled = *_room(min(batch, left), size), 0
    for some, block in opened.read(np.arange(left)):
        begin = 0
        while begin < len(some):
            take = min(len(index) - filled, len(some) - begin)
            index[filled : filled + take] = some[begin : begin + take]
            levels[filled : filled + take] = block[begin : begin + take]
            filled, begin = filled + take, begin + take
            if filled == len(index):
                yield index, levels
                left -= filled
                index, levels, filled = *_room(min(batch, left), size), 0


def _room(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.empty(count, dtype=np.int64), np.empty((count, size, size, 3), dtype=np.uint8)
