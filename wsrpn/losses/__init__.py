"""Losses, by name."""

from wsrpn.losses import consistency, image, paper
from wsrpn.losses.base import Objective, losses

__all__ = ["Objective", "consistency", "image", "losses", "paper"]
