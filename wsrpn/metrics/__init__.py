"""Figures: a metric is a class under `@metrics.register` in a file that is imported here."""

from wsrpn.metrics import detection, gaussian, image, localization, reliability, retrieval, rodeo
from wsrpn.metrics.evidence import BoxTable, Evidence, Metric, Values, metrics

__all__ = [
    "BoxTable",
    "Evidence",
    "Metric",
    "Values",
    "detection",
    "gaussian",
    "image",
    "localization",
    "metrics",
    "reliability",
    "retrieval",
    "rodeo",
]
