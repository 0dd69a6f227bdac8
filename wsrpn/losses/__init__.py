"""Losses, by name."""

from wsrpn.losses import (
    boundary,
    branches,
    consistency,
    contrastive,
    gaussian,
    image,
    latent,
    overlap,
    paper,
    pixelwise,
    reconstruction,
)
from wsrpn.losses.base import Objective, losses
from wsrpn.losses.weighting import Weighting, weightings

__all__ = [
    "Objective", "Weighting", "boundary", "branches", "consistency", "contrastive", "gaussian",
    "image", "latent", "losses", "overlap", "paper", "pixelwise", "reconstruction", "weightings",
]  # fmt: skip
