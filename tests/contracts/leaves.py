"""Inputs of any loss: free numbers, and the `ModelOutput` and `Batch` that follow from them.

The numbers are the leaves that gradients are taken at; probabilities and boxes are made from them,
so every value is one that a model could give. A new part of `ModelOutput` gets a line in both.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from wsrpn import gaussian
from wsrpn.models.blocks import grid_points, moments_of
from wsrpn.types import Alignment, Batch, Latent, ModelOutput, PaperTerms, Regions, Texts

B, K, R, GRID, D, L, Z = 5, 3, 4, (3, 4), 6, 2, 4
NAN = float("nan")
LABELS = torch.tensor(
    [[1.0, 0, 0], [0.0, NAN, 1], [NAN, NAN, NAN], [0.0, 0, 0], [1.0, 1, NAN]]
)  # the third image is wholly unknown


def leaves(seed: int = 0, *, scale: float = 1.5) -> dict[str, Tensor]:
    """Random numbers of any sign."""
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "logits": (B, K),
        "maps": (B, K, *GRID),
        "patch_logits": (B, K),
        "roi_logits": (B, K),
        "region_logits": (B, R, K),
        "region_places": (B, R, 4),
        "region_gaussians": (B, R, 4),
        "region_attention": (B, R, GRID[0] * GRID[1]),
        "cells": (B, K + 1, *GRID),
        "patch_bag": (B, K + 2),
        "roi_bag": (B, K + 2),
        "region_probs": (B, R, K + 1),
        "patch_features": (B, K, D),
        "roi_features": (B, K, D),
        "image_embedding": (B, D),
        "text_embedding": (B, L, D),
        "latent_mean": (B, Z),
        "latent_log_variance": (B, Z),
        "reconstruction": (B, 1, 8, 8),
        "mask_logits": (B, 1, 8, 8),
        "attention": (B, 1, *GRID),
    }
    return {k: torch.randn(s, generator=random) * scale for k, s in shapes.items()}


def output(at: dict[str, Tensor]) -> ModelOutput:
    """What a model gives, from the numbers."""
    boxes = at["region_places"].float().clamp(-3, 3).sigmoid()
    apart = at["region_gaussians"].float().tanh()
    means = boxes[..., :2] + 0.1 * apart[..., :2]
    sigmas = boxes[..., 2:] / 2 + 0.1 + 0.05 * apart[..., 2:]
    log_x, log_y = gaussian.log_maps(means, sigmas, GRID)
    attention = at["region_attention"].float().clamp(-3, 3).softmax(-1)
    attended = torch.cat(moments_of(attention, grid_points(GRID, like=attention)), -1)
    return ModelOutput(
        logits=at["logits"],
        maps=at["maps"],
        patch_logits=at["patch_logits"],
        roi_logits=at["roi_logits"],
        regions=Regions(boxes, means, sigmas, at["region_logits"], log_x, log_y, attended),
        paper=PaperTerms(
            cells=at["cells"].float().sigmoid(),
            patch_bag=at["patch_bag"].float().sigmoid(),
            roi_bag=at["roi_bag"].float().sigmoid(),
            regions=at["region_probs"].float().sigmoid(),
            kernels=gaussian.peak_scaled(log_x, log_y),
            patch_features=at["patch_features"],
            roi_features=at["roi_features"],
        ),
        alignment=Alignment(
            image=normalize(at["image_embedding"].float(), dim=-1),
            text=normalize(at["text_embedding"].float(), dim=-1),
            scale=torch.tensor(5.0),
            bias=torch.tensor(-1.0),
        ),
        reconstruction=at["reconstruction"].float().sigmoid(),
        latent=Latent(at["latent_mean"], at["latent_log_variance"]),
        mask_logits=at["mask_logits"],
        attention=at["attention"],
    )


def batch(labels: Tensor = LABELS) -> Batch:
    """What the loader gives, with these labels."""
    count = len(labels)
    return Batch(
        ids=tuple(f"{i}.png" for i in range(count)),
        images=torch.zeros(count, 1, 8, 8),
        labels=labels,
        sizes_px=torch.full((count, 2), 8),
        texts=Texts(torch.zeros(count, L, D), text_ids(labels)),
        masks=masks(labels),
    )


def masks(labels: Tensor) -> Tensor:
    """A soft-edged disc for every known label, larger where it is 1; empty where none is known."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    radius = torch.where(labels == 1, 2.2, 1.4).where(labels.isfinite(), -9.0)[..., None, None]
    across = 1.5 + 2 * torch.arange(labels.shape[1])[:, None, None]
    away = torch.hypot(rows - 3, columns - across)
    return (radius - away + 0.5).clamp(0, 1).amax(1, keepdim=True)


def text_ids(labels: Tensor) -> Tensor:
    """Captions as labels make them: the whole row, then its first class.

    There is none for an image of which nothing is known, and none at the second level for one
    without a finding; two images share their second caption.
    """
    digits = labels.nan_to_num(2).long()
    whole = (digits * 3 ** torch.arange(labels.shape[1])).sum(1)
    whole = torch.where(labels.isnan().all(1), -1, whole)
    first = torch.where((labels == 1).any(1), 100 + digits[:, 0], -1)
    return torch.stack((whole, first), 1)


def of_class(name: str, value: Tensor, image: int, label: int) -> Tensor | None:
    """The numbers of one class of one image, or None where a leaf has no classes."""
    if name in {
        "region_places",
        "region_gaussians",
        "region_attention",
        "image_embedding",
        "text_embedding",
        "latent_mean",
        "latent_log_variance",
        "reconstruction",
        "mask_logits",
        "attention",
    }:
        return None
    if name in {"region_logits", "region_probs"}:
        return value[image, :, label]
    return value[image, label]
