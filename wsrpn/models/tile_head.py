"""A supervised head on the encoder of a VAE, meant to stay frozen (`train.freeze_backbone`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from wsrpn import checkpoint
from wsrpn.config import Count, Share
from wsrpn.errors import InputError
from wsrpn.models import weights as weight_files
from wsrpn.models.base import models
from wsrpn.models.blocks import Mlp
from wsrpn.models.tile import TileModel
from wsrpn.models.tile_encoder import GRID, TileEncoder, latent_of
from wsrpn.types import Batch, ModelOutput

USUAL = {"latent": 64, "width": 32, "depth": 4}


def settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the sizes of the encoder written out: those of its weights, or the usual.

    Raises:
        InputError: the weights cannot be read, or have other sizes than were asked for.
    """
    path = options["weights"]
    found = USUAL if path == "none" else sizes(trained(path), path)
    for name, size in found.items():
        asked = options[name]
        if path != "none" and asked not in (None, size):
            raise InputError(
                f"model.{name}: {asked} was asked for, and the encoder in {path} has {size}; leave "
                f"model.{name} out, or name weights of that size."
            )
    sized = {name: options[name] or size for name, size in found.items()}
    return {**options, **sized}


def trained(path: str) -> dict[str, Tensor]:
    """The weights of a trained VAE.

    Args:
        path: of its run folder, its best weights are taken; or of a .safetensors file of one.

    Raises:
        InputError: no such folder or file, damaged, or without the encoder of a VAE.
    """
    if not Path(path).exists():
        raise InputError(
            f"model.weights: no such folder or file: {path}; tile_head takes the run folder of a "
            "vae, a .safetensors of its checkpoints, or none."
        )
    if Path(path).is_dir():
        tensors = dict(checkpoint.load(Path(path) / "checkpoints", "best").tensors)
    else:
        tensors = weight_files.read(path)
    tensors = checkpoint.below("model", tensors) or tensors
    if "encoder.tail.linear.weight" not in tensors:
        raise InputError(
            f"{path}: holds no encoder of a vae; model.weights takes the run folder of one, or a "
            ".safetensors of its checkpoints."
        )
    return tensors


def sizes(tensors: Mapping[str, Tensor], path: str) -> dict[str, int]:
    """Latent, width and depth of the encoder that these are the weights of.

    Raises:
        InputError: they are not those of such an encoder.
    """
    stages = [key for key in tensors if key.startswith("encoder.body.") and key.endswith(".0.bias")]
    last, stem = tensors["encoder.tail.linear.weight"], tensors.get("encoder.body.0.0.weight")
    if stem is None or last.shape[1] != stem.shape[0] * 2 ** (len(stages) - 1) * GRID**2:
        raise InputError(f"{path}: its encoder is not one that this version of wsrpn builds.")
    return {"latent": last.shape[0] // 2, "width": stem.shape[0], "depth": len(stages)}


@models.register("tile_head", gives=("logits", "latent"), input="tiles", settle=settled)
class TileHead(TileModel):
    """Latent → hidden layer → one logit.

    Args:
        classes: 1.
        weights: of the encoder: the run folder of a `vae`, a .safetensors of its checkpoints, or
            none. The colours that it was trained in (`look`) come with it.
        latent: dimensions of its latent; None takes those of the weights, 64 without.
        width: channels of its first stage, likewise; 32.
        depth: its stages, likewise; 4.
        features: what the head reads of the latent: its mean, or also its log variance.
        hidden: features between the two layers.
        dropout: between them.
    """

    def __init__(
        self,
        *,
        classes: int,
        weights: str = "none",
        latent: Count | None = None,
        width: Count | None = None,
        depth: Count | None = None,
        features: Literal["mean", "posterior"] = "mean",
        hidden: Count = 128,
        dropout: Share = 0.1,
    ) -> None:
        super().__init__(classes=classes)
        asked = {"weights": weights, "latent": latent, "width": width, "depth": depth}
        size = settled(asked)
        self.encoder = TileEncoder(latent=size["latent"], width=size["width"], depth=size["depth"])
        self.features = features
        read = size["latent"] * (1 if features == "mean" else 2)
        self.head = Mlp(read, hidden, 1, dropout)
        if weights != "none":
            self._begin(trained(weights), weights)

    def _begin(self, tensors: Mapping[str, Tensor], path: str) -> None:
        """Take the encoder and the look of a trained VAE."""
        own = {
            k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")
        }
        try:
            self.encoder.load_state_dict(own)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(f"{path}: does not fit the encoder ({reason}).") from None
        look = tensors.get("look")
        if look is not None and look.shape == self.look.shape:
            self.look.copy_(look)
            self.look_given = True

    def forward(self, batch: Batch) -> ModelOutput:
        """The logit, and the latent that it is read from."""
        latent = latent_of(self.encoder(batch.images))
        read = latent.mean
        if self.features == "posterior":
            read = torch.cat((read, latent.log_variance), -1)
        return ModelOutput(logits=self.head(read).float(), latent=latent)
