"""Losses, by name."""

from wsrpn.losses import branches, consistency, contrastive, gaussian, image, paper
from wsrpn.losses.base import Objective, losses
from wsrpn.losses.weighting import Weighting, weightings

__all__ = [
    "Objective", "Weighting", "branches", "consistency", "contrastive", "gaussian", "image",
    "losses", "paper", "weightings",
]  # fmt: skip
