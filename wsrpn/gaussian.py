r"""The Gaussian map: one implementation for model, losses, metrics and heatmaps.

Cell centres are $x_j = (j + ½)/w$ along columns and $y_i = (i + ½)/h$ along rows. The kernel is the
generalised Gaussian

$$ \log g(x, y) = -½ \left( |x - μ_x|^β / σ_x^β + |y - μ_y|^β / σ_y^β \right) $$

and the map is $α = \mathrm{softmax}(\log g)$ over the cells. $g$ is a product of one factor per
axis, so $α$ is the outer product of two softmaxes, $\log α_{ij} = \log α^y_i + \log α^x_j$, and
everything below works on $w + h$ numbers instead of $w h$: the entropy is a sum, the peak a
product. All of it is computed in float32 at least. Dividing by a sum plus an epsilon instead would
give a false minimum of the entropy with dead gradients at small σ.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def cell_centres(cells: int, *, like: Tensor) -> Float[Tensor, " cells"]:
    """Centres of `cells` equal cells of [0, 1].

    Example:
        >>> cell_centres(2, like=torch.zeros(1))
        tensor([0.2500, 0.7500])
    """
    return torch.arange(0.5, cells, device=like.device, dtype=like.dtype) / cells


def exact(values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The values in float32, or as they are where they are finer than that."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_kernel(
    mean: Float[Tensor, "*n"], sigma: Float[Tensor, "*n"], cells: int, *, beta: float = 2.0
) -> Float[Tensor, " cells *n"]:
    """One axis of the log kernel at the cell centres; 0 at the mean.

    The cells come first: a softmax or a sum along a last axis of seven numbers is ten times slower.

    Args:
        mean: centre along this axis, as a share of the image.
        sigma: width along this axis; the caller keeps it positive.
        cells: how many cells the axis has.
        beta: exponent; 2 is the Gaussian, larger is more like a box.
    """
    mean, sigma = exact(mean), exact(sigma)
    centres = cell_centres(cells, like=mean).reshape(-1, *[1] * mean.ndim)
    distance = (centres - mean) / sigma
    if beta == 2.0:
        return -0.5 * distance.square()
    # Within these bounds power and slope are finite: |0|^(β-1) is not for β < 1, 30^β for β > 26.
    return -0.5 * distance.abs().clamp(1e-30, 1e30 ** min(1 / beta, 1)).pow(beta)


def log_maps(
    means: Float[Tensor, "*n 2"],
    sigmas: Float[Tensor, "*n 2"],
    grid: tuple[int, int],
    *,
    beta: float = 2.0,
) -> tuple[Float[Tensor, "*n gw"], Float[Tensor, "*n gh"]]:
    """The two factors of each map, as log-softmax along columns and along rows.

    Args:
        means: (x, y) centres.
        sigmas: (x, y) widths.
        grid: number of rows and columns of cells.
        beta: exponent of the kernel.

    Returns:
        log α^x and log α^y.
    """
    rows, columns = grid
    if rows == columns:  # one pass for both axes: on small maps it is the calls that cost
        both = log_kernel(means, sigmas, rows, beta=beta).log_softmax(0).movedim(0, -1)
        log_x, log_y = both.unbind(-2)
        return log_x, log_y
    log_x = log_kernel(means[..., 0], sigmas[..., 0], columns, beta=beta).log_softmax(0)
    log_y = log_kernel(means[..., 1], sigmas[..., 1], rows, beta=beta).log_softmax(0)
    return log_x.movedim(0, -1), log_y.movedim(0, -1)


def centred_log_maps(
    sigmas: Float[Tensor, "*n 2"], grid: tuple[int, int], *, beta: float = 2.0
) -> tuple[Float[Tensor, "*n gw"], Float[Tensor, "*n gh"]]:
    """The factors of maps of these widths on the middle cell, whatever their own centre.

    The border cuts a map short: at σ = 0.2 its entropy is 3.41 nats in the middle of a 7 × 7 grid,
    2.12 in a corner of the image and 1.12 outside of it at (-0.3, -0.3). Figures of the moved map
    depend on σ alone, so whoever minimises them pulls no centre anywhere.

    Args:
        sigmas: (x, y) widths.
        grid: number of rows and columns of cells.
        beta: exponent of the kernel.
    """
    rows, columns = grid
    sigmas = exact(sigmas)
    middle = [torch.full_like(sigmas[..., 0], (n // 2 + 0.5) / n) for n in (columns, rows)]
    return log_maps(torch.stack(middle, -1), sigmas, grid, beta=beta)


def maps(log_x: Float[Tensor, "*n gw"], log_y: Float[Tensor, "*n gh"]) -> Float[Tensor, "*n gh gw"]:
    """The maps themselves; each sums to 1."""
    return (log_y[..., :, None] + log_x[..., None, :]).exp()


def entropy(log_x: Float[Tensor, "*n gw"], log_y: Float[Tensor, "*n gh"]) -> Float[Tensor, "*n"]:
    r"""Entropy of each map in nats, $H(α) = H(α^x) + H(α^y)$, from 0 to $\log wh$."""
    both = torch.cat((log_x, log_y), -1)
    return -(both.exp() * both).sum(-1)


def normalized_entropy(
    log_x: Float[Tensor, "*n gw"], log_y: Float[Tensor, "*n gh"]
) -> Float[Tensor, "*n"]:
    """Entropy as a share of its largest value, so that grids can be compared; 0 for one cell."""
    cells = log_x.shape[-1] * log_y.shape[-1]
    return entropy(log_x, log_y) / math.log(cells) if cells > 1 else entropy(log_x, log_y)


def top_patch(log_x: Float[Tensor, "*n gw"], log_y: Float[Tensor, "*n gh"]) -> Float[Tensor, "*n"]:
    """Largest cell weight of each map, from 1 / cells to 1; one of equal cells has the gradient."""
    # amax would share the gradient out among them, which takes half as long again.
    return (log_x.max(-1).values + log_y.max(-1).values).exp()


def hoyer(log_x: Float[Tensor, "*n gw"], log_y: Float[Tensor, "*n gh"]) -> Float[Tensor, "*n"]:
    r"""Hoyer's sparseness of each map, from 0 for an even map to 1 for a single cell.

    $$ \frac{\sqrt m - ‖α‖_1 / ‖α‖_2}{\sqrt m - 1}, \quad ‖α‖_1 = 1,
       \quad ‖α‖_2 = ‖α^x‖_2 ‖α^y‖_2 $$

    A grid of one cell has 1.

    Reference:
        Hoyer, Non-negative matrix factorization with sparseness constraints, JMLR 2004, 3.1.
    """
    root = math.sqrt(log_x.shape[-1] * log_y.shape[-1])
    inverse_norm = ((2 * log_x).exp().sum(-1) * (2 * log_y).exp().sum(-1)).rsqrt()
    return 1 - (inverse_norm - 1) / (root - 1) if root > 1 else inverse_norm


def peak_scaled(
    log_x: Float[Tensor, "*n gw"], log_y: Float[Tensor, "*n gh"]
) -> Float[Tensor, "*n gh gw"]:
    """The maps scaled to 1 at their best cell."""
    best_x, best_y = log_x.amax(-1, keepdim=True), log_y.amax(-1, keepdim=True)
    return maps(log_x - best_x, log_y - best_y)


def pool(
    log_x: Float[Tensor, "b r gw"],
    log_y: Float[Tensor, "b r gh"],
    cells: Float[Tensor, "b d gh gw"],
) -> Float[Tensor, "b r d"]:
    """Weighted mean of the cells' features under each map (WSRPN's soft ROI pooling).

    Args:
        log_x: column factors.
        log_y: row factors.
        cells: features on the grid.
    """
    along_rows = torch.einsum("brh,bdhw->brdw", log_y.exp().to(cells.dtype), cells)
    return torch.einsum("brw,brdw->brd", log_x.exp().to(cells.dtype), along_rows)
