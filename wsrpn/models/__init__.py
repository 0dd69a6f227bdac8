"""Models, by name."""

from wsrpn.models import cam, wsrpn, wsrpn_paper
from wsrpn.models.base import build, filled, models

__all__ = ["build", "cam", "filled", "models", "wsrpn", "wsrpn_paper"]
