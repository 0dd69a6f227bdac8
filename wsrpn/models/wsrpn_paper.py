"""The original WSRPN, as its authors' code has it, to compare results with.

What differs from `wsrpn.models.wsrpn`: one classifier for cells and regions; a no-finding class
that multiplies the others down; log-sum-exp on probabilities; cells and positions detached before
the ROI branch; the box is an offset from the most attended cell and *is* the Gaussian,
exp(−|d/s|^β), scaled to 1 at its best cell and averaged over the grid; class features for a
supervised contrast.

Deviations, each because SPEC corrects the original or because ours is the same for all models: box
scores are class probabilities (the original's are "1 − no finding"), boxes are clipped to the image
and suppressed per class, one view per image instead of two, and a centre stays inside the image.

Reference:
    Müller et al., arXiv 2402.11985, and the code published with it.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn import gaussian
from wsrpn.models import backbones
from wsrpn.models.base import models
from wsrpn.models.blocks import (
    Mlp,
    QueryAttention,
    grid_points,
    log_sum_exp_pool,
    moments_of,
    sincos_positions,
)
from wsrpn.types import Batch, ModelOutput, PaperTerms, Regions

_EDGE = 1e-6  # probabilities become logits; at 0 and 1 those would be infinite


@models.register(
    "wsrpn_paper",
    gives=("logits", "maps", "patch_logits", "roi_logits", "regions", "paper"),
)
class WsrpnPaper(nn.Module):
    """The original's architecture and aggregation.

    Args:
        classes: k, without the no-finding class, which is added.
        backbone: name of a backbone; the original has densenet121.
        grid: 7 in the paper.
        weights: of the backbone: none, imagenet or a file.
        width: d.
        regions: r.
        heads: of the cross-attention.
        dropout: everywhere, on the logits of the classifier too, as in the original.
        sharpness: r of the log-sum-exp on probabilities.
        beta: exponent of the generalised Gaussian.
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "densenet121",
        grid: backbones.Grid = 7,
        weights: str = "none",
        width: int = 256,
        regions: int = 10,
        heads: int = 8,
        dropout: float = 0.3,
        sharpness: float = 5.0,
        beta: float = 2.0,
    ) -> None:
        super().__init__()
        self.backbone = backbones.make(backbone, grid=grid, weights=weights)
        self.sharpness, self.beta = sharpness, beta
        # The original reads the backbone's features before its last norm and normalises them here.
        raw_channels = self._raw_channels()
        self.project = nn.Sequential(
            nn.BatchNorm2d(raw_channels), nn.Conv2d(raw_channels, width, 1)
        )
        self.classify = nn.Sequential(
            nn.LayerNorm(width), Mlp(width, 2 * width, classes + 1, dropout), nn.Dropout(dropout)
        )
        self.attention = QueryAttention(width, queries=regions, heads=heads, dropout=dropout)
        self.box_norm = nn.LayerNorm(width)
        self.box = Mlp(width, 2 * width, 4)
        self.values = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.contrast = nn.Sequential(Mlp(width, 2 * width, width, dropout), nn.Dropout(dropout))

    def _raw_channels(self) -> int:
        with torch.no_grad():
            probe = self.backbone.eval().raw(torch.zeros(1, 1, 64, 64))
        self.backbone.train()
        return int(probe.shape[1])

    def forward(self, batch: Batch) -> ModelOutput:
        """Both answers, cell maps, regions, and what the original's losses read."""
        plain = self.project(self.backbone.raw(batch.images)).permute(0, 2, 3, 1)
        grid = (plain.shape[1], plain.shape[2])
        positions = sincos_positions(plain.shape[-1], grid, like=plain)
        cells = (plain + positions).flatten(1, 2)
        cell_probs = self.probabilities(cells)
        regions, features, kernels = self.propose(cells.detach(), positions.flatten(0, 1), grid)
        region_probs = self.probabilities(features)
        patch_bag = self.pool_cells(cell_probs)
        roi_bag = join_regions(region_probs)
        k = cell_probs.shape[-1] - 1
        terms = PaperTerms(
            cells=cell_probs.transpose(1, 2).unflatten(-1, grid),
            patch_bag=patch_bag,
            roi_bag=roi_bag,
            regions=region_probs,
            kernels=kernels,
            patch_features=self.contrast(class_features(cell_probs[..., :k], cells)).float(),
            roi_features=self.contrast(class_features(region_probs[..., :k], features)).float(),
        )
        return ModelOutput(
            logits=logit(roi_bag[:, :k]),
            maps=logit(terms.cells[:, :k]),
            patch_logits=logit(patch_bag[:, :k]),
            roi_logits=logit(roi_bag[:, :k]),
            regions=dataclasses.replace(regions, logits=logit(region_probs[..., :k])),
            paper=terms,
        )

    def probabilities(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b n kf"]:
        """σ(z_c) · (1 − p_nf) for the classes, then p_nf."""
        p = self.classify(features).float().sigmoid()
        none = p[..., -1:]
        return torch.cat((p[..., :-1] * (1 - none), none), -1)

    def pool_cells(self, probs: Float[Tensor, "b m kf"]) -> Float[Tensor, "b kff"]:
        """Soft maximum of every column, and the soft minimum of no-finding."""
        high = log_sum_exp_pool(probs.transpose(1, 2), sharpness=self.sharpness)
        low = -log_sum_exp_pool(-probs[..., -1], sharpness=self.sharpness)
        return torch.cat((high, low[:, None]), -1)

    def propose(
        self, cells: Float[Tensor, "b m d"], positions: Float[Tensor, "m d"], grid: tuple[int, int]
    ) -> tuple[Regions, Float[Tensor, "b r d"], Float[Tensor, "b r gh gw"]]:
        """Boxes, features pooled under their Gaussians, and the Gaussians."""
        queries, attention = self.attention(cells)
        # Forward the most attended cell, backward the attention itself.
        hard = nn.functional.one_hot(attention.argmax(-1), attention.shape[-1]).to(attention.dtype)
        chosen = hard + attention - attention.detach()
        with torch.autocast(attention.device.type, enabled=False):
            centre = chosen @ grid_points(grid, like=attention)
        raw = self.box(self.box_norm(queries) + chosen.to(queries.dtype) @ positions).float()
        means = (centre + raw[..., :2].sigmoid() - 0.5).clamp(0, 1)
        sides = raw[..., 2:].sigmoid().clamp_min(1e-3)
        boxes = torch.cat((means, sides), -1)
        # exp(−|d/s|^β) in the notation of `gaussian`, whose kernel has a ½ in front.
        sigmas = sides * 2 ** (-1 / self.beta)
        log_x, log_y = gaussian.log_maps(means, sigmas, grid, beta=self.beta)
        kernels = gaussian.peak_scaled(log_x, log_y)
        values = self.values(cells).unflatten(1, grid).permute(0, 3, 1, 2)
        share = 1 / (grid[0] * grid[1])
        features = torch.einsum("brhw,bdhw->brd", kernels.to(values.dtype), values) * share
        empty = torch.zeros(*means.shape[:2], 0, device=means.device)
        attended = torch.cat(moments_of(attention, grid_points(grid, like=attention)), -1)
        regions = Regions(boxes, means, sigmas, empty, log_x, log_y, attended, self.beta)
        return regions, features, kernels


def join_regions(probs: Float[Tensor, "b r kf"]) -> Float[Tensor, "b kff"]:
    """Noisy-OR of every column, and "all regions have no finding"."""
    log_none = torch.log1p(-probs.clamp(max=1 - _EDGE)).sum(1)
    log_all = probs[..., -1].clamp_min(_EDGE).log().sum(1)
    return torch.cat((-torch.expm1(log_none), log_all.exp()[:, None]), -1)


def class_features(
    probs: Float[Tensor, "b n k"], features: Float[Tensor, "b n d"]
) -> Float[Tensor, "b k d"]:
    """Features averaged by class probability; the 1 keeps a class that nobody has near zero."""
    weights = probs / (probs.sum(1, keepdim=True) + 1.0)
    return torch.einsum("bnk,bnd->bkd", weights, features.float())


def logit(probability: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Logit, log p/(1 − p), finite at 0 and 1."""
    return probability.clamp(_EDGE, 1 - _EDGE).logit()
