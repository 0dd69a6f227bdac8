"""Smoothing on the lattice that does not know what is outside tissue, and does not invent it."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

REACH = 4.0  # σ at which the kernel is cut


def smooth(
    grid: Float[np.ndarray, "gh gw"], sigma_cells: tuple[float, float]
) -> Float[np.ndarray, "gh gw"]:
    """Normalised convolution with a Gaussian (Knutsson & Westin 1993): a mean of known cells.

    A cell without a value has no weight, so edges of tissue do not fade. Outside tissue nan stays
    nan. `smooth(a * grid + b)` is `a * smooth(grid) + b`, up to rounding.

    Args:
        grid: values; nan outside tissue.
        sigma_cells: σ along rows (y) and columns (x), in cells; 0 for none.
    """
    if max(sigma_cells) == 0:
        return grid
    known = ~np.isnan(grid)
    blur = {"sigma": sigma_cells, "mode": "constant", "truncate": REACH}
    weight = ndimage.gaussian_filter(known.astype(np.float64), **blur)
    total = ndimage.gaussian_filter(np.where(known, grid, 0.0).astype(np.float64), **blur)
    return np.divide(total, weight, out=np.full(grid.shape, np.nan), where=known)
