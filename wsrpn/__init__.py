"""Weakly supervised detection, segmentation and calibrated heatmaps for radiographs and slides."""

__version__ = "0.1.0"
