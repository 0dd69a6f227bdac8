"""Losses, by name."""

from wsrpn.losses import branches, consistency, contrastive, image, paper
from wsrpn.losses.base import Objective, losses
from wsrpn.losses.weighting import Weighting, weightings

__all__ = [
    "Objective", "Weighting", "branches", "consistency", "contrastive", "image", "losses", "paper",
    "weightings",
]  # fmt: skip
