"""A few validation tiles that are looked at again and again, always the same ones.

Their pixels are kept from the first validation on. What is measured on them depends on no batch
size and no number of processes.
"""

from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wsrpn import compute
from wsrpn.config import RunConfig
from wsrpn.elbo import errors
from wsrpn.models.base import models
from wsrpn.report import draw, reconstructions
from wsrpn.tiles import TileSet
from wsrpn.train import validate
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.task import Feed

SWAPPED, DRAWN = 128, 6  # normal tiles whose latents are swapped; tiles of a label that are drawn


class Reconstructs(Protocol):
    """A model whose reconstructions can be asked for in several ways."""

    def reconstruct(
        self, images: Float[Tensor, "b 3 h w"], *, skips: bool, swap: bool = False
    ) -> Float[Tensor, "b 3 h w"]:
        """Images decoded from the means of their latents.

        Args:
            images: in [0, 1].
            skips: whether the decoder sees more than the latent.
            swap: give each image the latent of another.
        """


class Probe:
    """Some validation tiles, evenly drawn from the list.

    Args:
        tiles: of the validation.
        config: of the run; a model that cannot be asked to reconstruct is shown none.

    Attributes:
        normal: indices of normal tiles.
        tumour: indices of tiles of tumour.
    """

    def __init__(self, tiles: TileSet, config: RunConfig) -> None:
        self.tiles, self.config = tiles, config
        wanted = hasattr(models[config.model["name"]], "reconstruct")
        self.normal = apart(evenly(np.flatnonzero(tiles.label == 0), SWAPPED if wanted else 0))
        self.tumour = evenly(np.flatnonzero(tiles.label == 1), DRAWN if wanted else 0)
        self._images: dict[int, Float[Tensor, "3 h w"]] = {}

    def look(self, feed: Feed, here: World) -> None:
        """Keep the pixels, if that has not been done yet."""
        chosen = np.concatenate([self.normal, self.tumour]).tolist()
        if self._images or not chosen:
            return
        index = {self.tiles.id(one): one for one in chosen}
        own: dict[int, Float[Tensor, "3 h w"]] = {}
        for batch in feed():
            for name, image in zip(batch.ids, batch.images, strict=True):
                if name in index:
                    own[index[name]] = image.clone()
        for part in here.gather(own):
            self._images |= part

    @torch.no_grad()
    def figures(self, state: State, here: World) -> dict[str, float]:
        """How much the decoder takes from the latent.

        Returns:
            `val/latent_use`: by how much the error rises if each tile is decoded from the latent of
            another, as a share of the error. At 0 the latent says nothing that is used. Empty for a
            model without reconstructions, or where there are no two tiles to swap.
        """
        if len(self.normal) < 2:
            return {}
        images = self._stack(self.normal)
        with validate.averaged(state, self.config):
            right = self._decoded(state, images, here.device, skips=True, swap=False)
            wrong = self._decoded(state, images, here.device, skips=True, swap=True)
        rise = errors(wrong, images).mean() / errors(right, images).mean() - 1
        return {"val/latent_use": float(rise)}

    @torch.no_grad()
    def draw(self, state: State, path: Path, *, device: torch.device, title: str) -> None:
        """Draw what the weights that would be used make of some tiles of each label.

        Args:
            state: with the model.
            path: of the picture.
            device: where the model is.
            title: heading.
        """
        if not self._images:
            return
        few = self.normal[evenly(np.arange(len(self.normal)), DRAWN)]
        images = self._stack(np.concatenate([few, self.tumour]))
        with validate.averaged(state, self.config):
            decoded = self._decoded(state, images, device, skips=True)
            latent = self._decoded(state, images, device, skips=False)
        rows = reconstructions.Rows(
            images=images.permute(0, 2, 3, 1).numpy(),
            decoded=decoded.permute(0, 2, 3, 1).numpy(),
            latent=latent.permute(0, 2, 3, 1).numpy(),
            names=("normal",) * len(few) + ("tumour",) * len(self.tumour),
        )
        draw.save(reconstructions.sheet(rows, title=title), path)

    def _stack(self, index: Int[np.ndarray, " n"]) -> Float[Tensor, "n 3 h w"]:
        return torch.stack([self._images[one] for one in index.tolist()])

    def _decoded(
        self, state: State, images: Float[Tensor, "n 3 h w"], device: torch.device, **how: bool
    ) -> Float[Tensor, "n 3 h w"]:
        """What the model makes of tiles, all at once, in the precision of the training."""
        train, model = self.config.train, cast(Reconstructs, state.model)
        dtype = compute.precision(train.precision, device)
        last = compute.wants_channels_last(train.channels_last, device, dtype)
        layout = torch.channels_last if last else torch.contiguous_format
        with compute.autocast(dtype, device):
            decoded = model.reconstruct(images.to(device, memory_format=layout), **how)
        return decoded.float().cpu()


def evenly(index: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """At most so many of them, evenly drawn from first to last.

    Example:
        >>> evenly(np.arange(100, 110), 4).tolist()
        [100, 103, 106, 109]
    """
    if len(index) <= most:
        return index
    return index[np.linspace(0, len(index) - 1, most).round().astype(np.int64)]


def apart(index: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The same in an order in which neighbours, the ends too, come from different parts of it.

    Example:
        >>> apart(np.arange(6)).tolist()
        [0, 3, 1, 4, 2, 5]
    """
    return index[np.argsort(np.arange(len(index)) % max(1, (len(index) + 1) // 2), kind="stable")]
