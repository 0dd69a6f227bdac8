"""Models, by name."""

from wsrpn.models import (
    cam,
    fusion,
    mil,
    nodule,
    tile_classifier,
    tile_head,
    unet,
    vae,
    vl,
    wsrpn,
    wsrpn_paper,
)
from wsrpn.models.base import build, filled, models

__all__ = [
    "build", "cam", "filled", "fusion", "mil", "models", "nodule", "tile_classifier",
    "tile_head", "unet", "vae", "vl", "wsrpn", "wsrpn_paper",
]  # fmt: skip
