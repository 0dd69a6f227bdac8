"""Headerless .IMG files of JSRT: 2048 × 2048 big-endian 16-bit values of which 12 bits are used.

They are film densities digitised so that dense tissue is dark; it is turned to bright.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from wsrpn.data import images

SIDE = 2048
WHITE = 4095


def size(path: Path, *, max_pixels: int) -> tuple[int, int]:
    """Height and width, always the same.

    Raises:
        ImageReadError: a file of another length.
    """
    length = path.stat().st_size
    if length != 2 * SIDE * SIDE:
        raise images.ImageReadError.of(
            path,
            f"{length} bytes; an .IMG file of JSRT has no header and {2 * SIDE * SIDE} bytes "
            f"({SIDE} × {SIDE}, 16 bits). Save other images as PNG.",
        )
    images.check_size(path, SIDE, SIDE, max_pixels)
    return SIDE, SIDE


def read(path: Path, *, max_pixels: int, frame: int | None) -> Float[np.ndarray, "h w"]:
    """Decode; `images.read` calls it and gathers its exceptions.

    Args:
        path: the file.
        max_pixels: most pixels.
        frame: None or 0; there is one.

    Returns:
        float32 in [0, 1], bright is dense.
    """
    shape = size(path, max_pixels=max_pixels)
    images.check_frames(path, 1, frame)
    values = np.fromfile(path, dtype=">u2").reshape(shape)
    if values.max() > WHITE:
        raise images.ImageReadError.of(
            path, f"values above {WHITE}; an .IMG file of JSRT has 12 bits, high byte first."
        )
    return (WHITE - values.astype(np.float32)) / WHITE
