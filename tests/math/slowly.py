"""The Gaussian map and its losses as the formulas are written: one number at a time, in float64.

Autograd of these loops is the slow definition of the gradients, too.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from wsrpn import gaussian
from wsrpn.types import Regions

AREA = 0.15  # of the hinge: small enough to say something on small grids


def leaves(
    seed: int = 0, *, b: int = 3, r: int = 3, k: int = 2, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """What a model would give, at random, with gradients; widths from 0.1 to 0.5."""
    random = torch.Generator().manual_seed(seed)
    given = {
        "boxes": torch.rand(b, r, 4, generator=random),
        "means": torch.rand(b, r, 2, generator=random),
        "sigmas": 0.1 + 0.4 * torch.rand(b, r, 2, generator=random),
        "logits": torch.randn(b, r, k, generator=random),
        "attended": 0.1 + torch.rand(b, r, 4, generator=random) / 2,
    }
    return {name: value.to(dtype).requires_grad_() for name, value in given.items()}


def regions(at: dict[str, Tensor], grid: tuple[int, int], *, beta: float = 2.0) -> Regions:
    """The regions of these numbers, with the library's maps."""
    log_x, log_y = gaussian.log_maps(at["means"], at["sigmas"], grid, beta=beta)
    return Regions(**at, log_x=log_x, log_y=log_y, beta=beta)


def alpha(mean: Any, sigma: Any, grid: tuple[int, int], *, beta: float = 2.0) -> list[list[Tensor]]:
    """Rows of columns of the map: every cell's kernel over the sum of all kernels."""
    rows, columns = grid
    g = [
        [
            torch.exp(
                -(abs((j + 0.5) / columns - mean[0]) ** beta) / (2 * sigma[0] ** beta)
                - abs((i + 0.5) / rows - mean[1]) ** beta / (2 * sigma[1] ** beta)
            )
            for j in range(columns)
        ]
        for i in range(rows)
    ]
    total = sum(sum(row) for row in g)
    return [[value / total for value in row] for row in g]


def entropy(cells: list[list[Tensor]]) -> Any:
    return -sum(a * torch.log(a) for row in cells for a in row if a > 0)


def top(cells: list[list[Tensor]]) -> Tensor:
    return torch.stack([a for row in cells for a in row]).amax()


def hoyer(cells: list[list[Tensor]]) -> Any:
    root = math.sqrt(len(cells) * len(cells[0]))
    norm1 = sum(a for row in cells for a in row)
    norm2 = sum(a**2 for row in cells for a in row) ** 0.5
    return (root - norm1 / norm2) / (root - 1)


def sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def distance(gaussian_: Any, box: Any) -> Any:
    """‖μ − c‖² + ½ ‖σ − s/2‖²."""
    (mx, my, sx, sy), (cx, cy, w, h) = gaussian_, box
    return (mx - cx) ** 2 + (my - cy) ** 2 + 0.5 * ((sx - w / 2) ** 2 + (sy - h / 2) ** 2)


def one(
    name: str, at: dict[str, Tensor], labels: Tensor, grid: tuple[int, int], *, beta: float
) -> Any:
    """The loss of one region: numbers without axes, `logits` and `labels` with one."""
    cells = alpha(at["means"], at["sigmas"], grid, beta=beta)
    even = 1 / (grid[0] * grid[1])
    both = (*at["means"], *at["sigmas"])
    p = [sigmoid(z) for z in at["logits"]]
    absent = [q for q, y in zip(p, labels.tolist(), strict=True) if y == 0]
    match name:
        case "concentration":
            return entropy(cells)
        case "sparsity":
            return even - top(cells)
        case "hoyer_sparsity":
            return 1 - hoyer(cells)
        case "box_alignment":
            return distance(both, at["boxes"])
        case "attention_alignment":
            half = [
                1.5 * at["attended"][2 + i].clamp_min(1 / math.sqrt(12) / cells_)
                for i, cells_ in enumerate((grid[1], grid[0]))
            ]
            return sum(
                ((both[i] - at["attended"][i]) / half[i]) ** 2
                + 0.5 * torch.log(both[2 + i] / half[i]) ** 2
                for i in (0, 1)
            )
        case "negative_suppression":
            silent = len(absent) == len(p)
            return ((top(cells) - even) ** 2 + sum(q**2 for q in p)) * silent
        case "class_suppression":
            return sum((q**2 + q * (top(cells) - even) ** 2 for q in absent), 0 * p[0])
    raise KeyError(name)


def hinge(
    at: dict[str, Tensor], labels: Tensor, grid: tuple[int, int], *, beta: float, area: float
) -> Any:
    """The hinge of one image: only here do the regions weigh differently."""
    rows, columns = grid
    middle = ((columns // 2 + 0.5) / columns, (rows // 2 + 0.5) / rows)
    parts, weights = [], []
    for sigma, logits in zip(at["sigmas"], at["logits"], strict=True):
        nats = entropy(alpha(middle, sigma, grid, beta=beta))
        parts.append(torch.relu(nats - max(math.log(area * rows * columns), 0)))
        present = [sigmoid(z) for z, y in zip(logits, labels.tolist(), strict=True) if y == 1]
        weights.append(sum(present, torch.zeros(())).detach())
    if sum(weights) == 0:
        return 0 * at["sigmas"].sum()
    return sum(w * x for w, x in zip(weights, parts, strict=True)) / sum(weights)


def loss(
    name: str,
    at: dict[str, Tensor],
    labels: Tensor,
    grid: tuple[int, int],
    *,
    beta: float = 2.0,
    area: float = AREA,
) -> Tensor:
    """One value per image."""
    found = []
    for i, y in enumerate(labels):
        image = {key: value[i] for key, value in at.items()}
        if name == "hinge_concentration":
            found.append(hinge(image, y, grid, beta=beta, area=area))
            continue
        count = len(image["means"])
        each = [{key: value[j] for key, value in image.items()} for j in range(count)]
        found.append(sum(one(name, region, y, grid, beta=beta) for region in each) / count)
    return torch.stack(found)


def with_maps_of(found: Regions, means: Tensor, sigmas: Tensor, grid: tuple[int, int]) -> Regions:
    """Regions moved elsewhere, maps and all."""
    log_x, log_y = gaussian.log_maps(means, sigmas, grid, beta=found.beta)
    return dataclasses.replace(found, means=means, sigmas=sigmas, log_x=log_x, log_y=log_y)
