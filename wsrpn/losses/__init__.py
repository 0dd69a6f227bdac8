"""Losses, by name."""

from wsrpn.losses import (
    branches,
    consistency,
    contrastive,
    gaussian,
    image,
    latent,
    paper,
    reconstruction,
)
from wsrpn.losses.base import Objective, losses
from wsrpn.losses.weighting import Weighting, weightings

__all__ = [
    "Objective", "Weighting", "branches", "consistency", "contrastive", "gaussian", "image",
    "latent", "losses", "paper", "reconstruction", "weightings",
]  # fmt: skip
