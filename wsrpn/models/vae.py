"""A β-VAE with skip connections that learns normal tiles, and what it finds abnormal.

A tumour should be reconstructed worse than what was learned, or say more in its latent. Skips make
sharp pictures and tempt the model to copy, tumours included, past a latent that then says nothing
(posterior collapse). Against that each skip of each tile is dropped now and then in training, and
the loss `latent` holds the divergence at a capacity.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wsrpn import elbo
from wsrpn.config import Share
from wsrpn.elbo import ErrorKind
from wsrpn.errors import InputError
from wsrpn.models.base import models
from wsrpn.models.tile import TileModel
from wsrpn.models.tile_encoder import Stages, TileDecoder, TileEncoder, latent_of
from wsrpn.types import Batch, Latent, ModelOutput

# Tiles that a CPU scores in one go: 64 have features that its caches hold, and that the allocator
# gives back for the next ones; of 256 each takes half as long again.
AT_ONCE = 64


@models.register(
    "vae", gives=("logits", "reconstruction", "latent"), input="tiles", normal_only=True
)
class Vae(TileModel):
    """β-VAE with skip connections.

    A dropped skip is zero and a kept one is not rescaled: scoring then sees just what training saw
    when all were kept, or, with `score_skips: false`, when none was. There is no expectation to
    keep, as the decoder is meant to notice what is missing.

    Args:
        classes: 1.
        latent: z, dimensions of the latent.
        width: channels of the first stage; each further one has twice as many.
        depth: times a tile is halved; 4 brings 96 pixels to 6.
        skips: whether the decoder sees the encoder's stages (all but the last) besides the latent.
        skip_dropout: share of the skips that training drops, tile by tile and stage by stage.
        sample: draw the latent in training; without, its mean is decoded, and the model is an
            autoencoder whose latent is held down by the loss alone.
        score: which score leads: of the reconstruction, of the divergence (kl), or of both.
        error: what the score of the reconstruction is.
        score_skips: whether scoring decodes with the skips; without, all must come through z.

    Attributes:
        recon_mean: mean of the reconstruction's score on normal validation tiles.
        recon_std: its standard deviation there.
        kl_mean: the same of the divergence, in nats.
        kl_std: the same of the divergence, in nats.

    Reference:
        Kingma & Welling, Auto-encoding variational Bayes, 2014; Higgins et al., β-VAE, 2017;
        Burgess et al., Understanding disentangling in β-VAE, 2018.
    """

    recon_mean: Tensor
    recon_std: Tensor
    kl_mean: Tensor
    kl_std: Tensor

    def __init__(
        self,
        *,
        classes: int,
        latent: int = 64,
        width: int = 32,
        depth: int = 4,
        skips: bool = True,
        skip_dropout: Share = 0.25,
        sample: bool = True,
        score: Literal["recon", "kl", "both"] = "recon",
        error: ErrorKind = "mse",
        score_skips: bool = True,
    ) -> None:
        super().__init__(classes=classes)
        self.encoder = TileEncoder(latent=latent, width=width, depth=depth)
        self.decoder = TileDecoder(
            latent=latent, width=width, depth=depth, skips=skips and depth > 1
        )
        self.skip_dropout, self.sample = skip_dropout, sample
        self.score, self.error = score, error
        self.score_skips = score_skips and self.decoder.skips is not None
        for name, value in (("recon_mean", 0), ("recon_std", 1), ("kl_mean", 0), ("kl_std", 1)):
            self.register_buffer(name, torch.tensor(float(value)))

    def forward(self, batch: Batch) -> ModelOutput:
        """The leading score in standard deviations of normal tiles, reconstruction and latent."""
        images = batch.images
        latent, stages = self.encode(images)
        drawn, kept = latent.mean, stages[:-1]
        if self.training:
            drawn = self._drawn(latent) if self.sample else drawn
            kept = self._some(kept)
        reconstruction = self.decode(drawn, kept, like=stages, size=images.shape[-2:])
        seen = reconstruction
        if not (self.training or self.score_skips or self.decoder.skips is None):
            seen = self.decode(drawn, None, like=stages, size=images.shape[-2:])
        found = self._standardised(self._recon(seen, images), elbo.kl_nats(latent))
        return ModelOutput(
            logits=found[self.score][:, None], reconstruction=reconstruction, latent=latent
        )

    def encode(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Latent, list[Float[Tensor, "b _ _ _"]]]:
        """The latent of tiles, and the features of all stages, the largest first."""
        stages = self.encoder.stages(images)
        return latent_of(self.encoder.finish(stages[-1])), stages

    def decode(
        self,
        latent: Float[Tensor, "b z"],
        skips: Stages | None,
        *,
        like: Stages,
        size: tuple[int, int] | torch.Size,
    ) -> Float[Tensor, "b 3 h w"]:
        """Tiles from a point of the latent space.

        Args:
            latent: the point.
            skips: of all stages but the last, the largest first; None decodes without.
            like: the features of all stages, for their sizes.
            size: height and width of the tiles.

        Returns:
            Tiles in [0, 1].
        """
        sizes = [(int(stage.shape[-2]), int(stage.shape[-1])) for stage in like]
        return self.decoder(latent, skips, sizes, (int(size[0]), int(size[1])))

    def reconstruct(
        self, images: Float[Tensor, "b 3 h w"], *, skips: bool, swap: bool = False
    ) -> Float[Tensor, "b 3 h w"]:
        """Tiles decoded from the means of their latents.

        Args:
            images: tiles.
            skips: whether the decoder sees the skips.
            swap: give each tile the latent of the one after it, the last that of the first. The
                error that this adds is what the decoder learns from the latent.
        """
        latent, stages = self.encode(images)
        mean = latent.mean.roll(-1, 0) if swap else latent.mean
        seen = stages[:-1] if skips else None
        return self.decode(mean, seen, like=stages, size=images.shape[-2:])

    def scores(self, batch: Batch) -> dict[str, Float[Tensor, " b"]]:
        """`score` (the leading one), `score_recon`, `score_kl` (nats) and `score_both`.

        The last is the mean of the two, each in standard deviations of normal validation tiles.
        """
        recon, kl = self.answers(batch).unbind(-1)
        found = {"recon": recon, "kl": kl, "both": self._standardised(recon, kl)["both"]}
        return {"score": found[self.score]} | {f"score_{k}": value for k, value in found.items()}

    def answers(self, batch: Batch) -> Float[Tensor, "b 2"]:
        """The score of the reconstruction and the divergence in nats, without any chance."""
        images = batch.images
        parts = images.split(AT_ONCE) if images.device.type == "cpu" else [images]
        return torch.cat([self._answers(part) for part in parts])

    def _answers(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2"]:
        latent, stages = self.encode(images)
        seen = stages[:-1] if self.score_skips else None
        reconstruction = self.decode(latent.mean, seen, like=stages, size=images.shape[-2:])
        return torch.stack((self._recon(reconstruction, images), elbo.kl_nats(latent)), -1)

    def fit(
        self, answers: Float[np.ndarray, "n 2"], labels: Float[np.ndarray, "n 1"]
    ) -> dict[str, Tensor]:
        """Mean and standard deviation of both scores on the normal tiles (label 0).

        Returns:
            The buffers that change, by name; none where no tile is known to be normal.
        """
        normal = answers[labels[:, 0] == 0].astype(np.float64)
        if not len(normal):
            return {}
        mean, std = normal.mean(0), normal.std(0)
        std = np.where(std > 1e-6 * np.abs(mean), std, 1.0)  # all alike: nothing to divide by
        found = zip(("recon", "kl"), mean, std, strict=True)
        values = {
            f"{name}_{what}": value
            for name, m, s in found
            for what, value in (("mean", m), ("std", s))
        }
        return {name: self.recon_mean.new_tensor(value) for name, value in values.items()}

    def _recon(
        self, reconstruction: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, " b"]:
        if self.error == "ssim" and min(images.shape[-2:]) < elbo.WINDOW:
            raise InputError(
                f"model.error=ssim needs tiles of at least {elbo.WINDOW} pixels; take mse or l1."
            )
        return elbo.errors(reconstruction, images, kind=self.error)

    def _standardised(
        self, recon: Float[Tensor, " b"], kl: Float[Tensor, " b"]
    ) -> dict[str, Float[Tensor, " b"]]:
        """Both scores in standard deviations of normal tiles, and their mean."""
        far = (recon - self.recon_mean) / self.recon_std
        much = (kl - self.kl_mean) / self.kl_std
        return {"recon": far, "kl": much, "both": (far + much) / 2}

    def _drawn(self, latent: Latent) -> Float[Tensor, "b z"]:
        """A sample of each latent, μ + σ ε."""
        return latent.mean + (latent.log_variance / 2).exp() * torch.randn_like(latent.mean)

    def _some(self, skips: Stages) -> list[Float[Tensor, "b _ _ _"]]:
        """The skips, of each tile and stage some made 0."""
        if not self.skip_dropout:
            return list(skips)
        count = len(skips[0]) if skips else 0
        drawn = torch.rand(len(skips), count, 1, 1, 1, device=self.look.device)
        kept = drawn >= self.skip_dropout
        return [skip * keep.to(skip.dtype) for skip, keep in zip(skips, kept, strict=True)]
