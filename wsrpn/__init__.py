"""Weakly supervised detection, segmentation and calibrated heatmaps for radiographs and slides."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Name → module; loaded when first used, so that `import wsrpn` costs nothing.
_PUBLIC = {
    "Calibration": "wsrpn.calibration",
    "Dataset": "wsrpn.types",
    "Detections": "wsrpn.types",
    "Predictions": "wsrpn.types",
    "Report": "wsrpn.types",
    "open_run": "wsrpn.predict",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'wsrpn' has no attribute '{name}'")
