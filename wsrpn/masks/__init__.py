"""Per-pixel truth: read, fed to training, split into objects; and what a calibration keeps."""
