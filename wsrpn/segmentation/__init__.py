"""Masks of images by a trained run: made, judged, calibrated, drawn."""
