"""Tiny pyramids with known pixels."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


def picture(high: int, wide: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with grain, so that neither a shift nor a blur goes unseen."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 255, (high // 16 + 2, wide // 16 + 2, 3), np.uint8))
    smooth = np.asarray(coarse.resize((wide, high), Image.Resampling.BICUBIC)).astype(np.int64)
    return (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)


def halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 × 2 pixels; an odd row or column is dropped."""
    high, wide = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    blocks = values[:high, :wide].reshape(high // 2, 2, wide // 2, 2, 3)
    return blocks.mean(axis=(1, 3)).astype(np.uint8)


def write(
    path: Path, values: np.ndarray, *, levels: int = 3, mpp: float | None = 0.5, tile: int = 128,
    jpeg: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """A tiled TIFF; returns the pixels of its levels, each half the size of the one before."""
    made = [values]
    while len(made) < levels:
        made.append(halved(made[-1]))
    unit = "NONE" if mpp is None else "CENTIMETER"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, level in enumerate(made):
            file.write(
                level, tile=(tile, tile), photometric="rgb", subfiletype=int(number > 0),
                compression="jpeg" if jpeg else None, resolutionunit=unit, metadata=None,
                resolution=(1e4 / (mpp or 1.0) / 2**number,) * 2,
            )  # fmt: skip
    return made
