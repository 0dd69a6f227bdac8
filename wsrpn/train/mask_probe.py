"""A few validation images that are looked at again and again, always the same ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wsrpn import compute
from wsrpn.config import RunConfig
from wsrpn.masks import loader
from wsrpn.report import draw, mask_panels
from wsrpn.train import validate
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.task import Feed
from wsrpn.types import Batch

DRAWN = 6
_TENSORS = ("images", "labels", "sizes_px", "masks", "drrs", "has_drr")  # of a batch


class MaskProbe:
    """Some validation images, or windows of them; their pixels are kept from the first look on.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._seen: Batch | None = None

    def look(self, feed: Feed, areas: Mapping[str, int], here: World) -> None:
        """Keep the pixels, if that has not been done yet.

        Args:
            feed: of the validation.
            areas: foreground pixels by the id of the image or window.
            here: this process.
        """
        if self._seen is not None or not areas:
            return
        chosen = choose(areas)
        mine: dict[str, Batch] = {}
        for batch in feed():
            for place, name in enumerate(batch.ids):
                if name in chosen:
                    mine[name] = _one(batch, place)
        for part in here.gather(mine):
            mine |= part
        self._seen = _together([mine[name] for name in chosen])

    @torch.no_grad()
    def draw(self, state: State, path: Path, *, device: torch.device, title: str) -> None:
        """Draw what the weights that would be used make of them.

        Args:
            state: with the model.
            path: of the picture.
            device: where the model is.
            title: heading.
        """
        if self._seen is None:
            return
        train, seen = self.config.train, self._seen
        dtype = compute.precision(train.precision, device)
        last = compute.wants_channels_last(train.channels_last, device, dtype)
        with validate.averaged(state, self.config), compute.autocast(dtype, device):
            output = state.model(seen.to(device, channels_last=last))
        native = self.config.masks.scale == "native"
        rows = mask_panels.Rows(
            images=seen.images[:, 0].numpy(),
            truth=cast(Tensor, seen.masks)[:, 0].numpy() >= 0.5,
            scores=_shares(cast(Tensor, output.mask_logits)),
            attention=None if output.attention is None else _shares(output.attention),
            drrs=None if seen.drrs is None else seen.drrs[:, 0].numpy(),
            has_drr=None if seen.has_drr is None else seen.has_drr.numpy(),
            names=tuple(told(name, native=native) for name in seen.ids),
        )
        draw.save(mask_panels.sheet(rows, title=title), path)


def told(name: str, *, native: bool) -> str:
    """What a picture calls an image, or a window of one.

    Example:
        >>> told("films/a.png@12", native=True)
        'films/a.png, crop 12'
    """
    if not native:
        return name
    image = loader.image_of(name)
    return f"{image}, crop {name[len(image) + 1 :]}"


def choose(areas: Mapping[str, int], most: int = DRAWN) -> list[str]:
    """At most so many ids, evenly drawn: one without foreground if there is such, the rest with.

    Example:
        >>> choose({"a": 5, "b": 0, "c": 0, "d": 2, "e": 9}, most=3)
        ['a', 'b', 'e']
    """
    full, empty = ([n for n in sorted(areas) if bool(areas[n]) is there] for there in (True, False))
    few = _evenly(empty, max(min(1, len(empty)), most - len(full)))
    return sorted([*_evenly(full, most - len(few)), *few])


def _evenly(names: Sequence[str], most: int) -> list[str]:
    if len(names) <= most:
        return list(names)
    return [names[i] for i in np.linspace(0, len(names) - 1, most).round().astype(int)]


def _shares(logits: Float[Tensor, "n 1 h w"]) -> Float[np.ndarray, "n h w"]:
    return logits[:, 0].float().sigmoid().cpu().numpy()


def _one(batch: Batch, place: int) -> Batch:
    """One image of a batch, as a batch of copies."""
    values = {name: getattr(batch, name) for name in _TENSORS}
    at = slice(place, place + 1)
    kept: dict[str, Any] = {n: None if v is None else v[at].clone() for n, v in values.items()}
    return Batch(ids=batch.ids[at], **kept)


def _together(parts: Sequence[Batch]) -> Batch:
    """Batches of one image each as one."""
    values = {name: [getattr(part, name) for part in parts] for name in _TENSORS}
    kept: dict[str, Any] = {n: None if v[0] is None else torch.cat(v) for n, v in values.items()}
    return Batch(ids=tuple(name for part in parts for name in part.ids), **kept)
