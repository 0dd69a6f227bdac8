r"""WSRPN: boxes from image-level labels.

A patch branch scores every cell and pools with log-sum-exp. An ROI branch lets learnable queries
look at the cells, turns each into a box, pools features under the box's Gaussian, classifies them
and joins the regions by noisy-OR. Both answer the same question, "which findings has this image",
so labels of images train both; the box is the by-product that pays for a good answer.

Reference:
    Müller et al., Weakly supervised object detection in chest X-rays with differentiable ROI
    proposal networks and soft ROI pooling, arXiv 2402.11985.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn import gaussian
from wsrpn.errors import InputError
from wsrpn.models import backbones
from wsrpn.models.base import models
from wsrpn.models.blocks import (
    Anchor,
    Classifier,
    GroupNorm,
    Mlp,
    QueryAttention,
    grid_points,
    log_sum_exp_pool,
    moments_of,
    noisy_or,
    places_of,
    region_bias,
    sincos_positions,
)
from wsrpn.types import Batch, ModelOutput, Regions

OFF = -20.0  # logit of a class that a region does not speak of: a probability of 2e-9


class BoxHead(nn.Module):
    """A box for every query, relative to where the query looks.

    Args:
        width: d.
        anchor: what (0, 0, 0, 0) from the last layer means. `image`: the box of the initial size in
            the middle, coordinates by a plain sigmoid. `cell`: centred on the most attended cell,
            the centre moves by at most half an image (the original). `moments`: the mean of the
            attention, and a size of `spread` standard deviations of it.
        size: initial side of a box as a share of the image (`image` and `cell`).
        spread: box side over the standard deviation of the attention (`moments`). A box filled
            evenly has √12 ≈ 3.46.
    """

    def __init__(self, width: int, *, anchor: Anchor, size: float, spread: float) -> None:
        super().__init__()
        self.anchor, self.spread = anchor, spread
        self.layers = Mlp(width, 2 * width, 4)
        last = self.layers.last
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        if anchor != "moments":
            with torch.no_grad():
                last.bias[2:] = math.log(size / (1 - size))

    def forward(
        self,
        queries: Float[Tensor, "b r d"],
        attention: Float[Tensor, "b r m"],
        points: Float[Tensor, "m 2"],
    ) -> Float[Tensor, "b r 4"]:
        """Boxes as cxcywh; centres inside the image, sides up to 1."""
        raw = self.layers(queries).float()
        if self.anchor == "image":
            return raw.sigmoid()
        if self.anchor == "cell":
            nearest = points[attention.argmax(-1)]
            centre = (nearest + raw[..., :2].sigmoid() - 0.5).clamp(0, 1)
            return torch.cat((centre, raw[..., 2:].sigmoid()), -1)
        mean, spread = moments_of(attention, points)
        side = self.spread * spread * raw[..., 2:].tanh().exp()
        centre = mean + 0.5 * side * raw[..., :2].tanh()
        return torch.cat((centre.clamp(0, 1), side.clamp(0.02, 1)), -1)


@models.register("wsrpn", gives=("logits", "maps", "patch_logits", "roi_logits", "regions"))
class Wsrpn(nn.Module):
    """Patch branch and ROI branch over one backbone.

    Args:
        classes: k.
        backbone: name of a backbone.
        grid: cells per side at 224 pixels, 7 or 14.
        weights: of the backbone: none, imagenet or a file.
        width: d, features per cell in the heads.
        regions: r, learnable queries.
        heads: of the cross-attention.
        dropout: in attention and classifiers.
        position: fixed sine–cosine position embedding added to the cells, or none.
        sharpness: r of the log-sum-exp.
        anchor: see `BoxHead`.
        size: see `BoxHead`.
        spread: see `BoxHead`.
        gaussian_head: `tied` takes the Gaussian from the box; `free` gives it a head of its own.
        sigma_scale: σ of a tied Gaussian over the side of its box; ½ is half the box.
        beta: exponent of the kernel.
        detach: stop the ROI branch's gradient before the cells, as the original does.
        guide: how much the queries' attention follows the patch branch. Above 0, region j belongs
            to class j mod k (there are at least k regions): it looks where the cells of that class
            score above the image's mean, by `guide` per standard deviation, and its other classes
            are switched off. 0 leaves the queries to themselves, as the original does on its
            hundred thousand images; on a few hundred they found no place
            (docs/results/tuberculosis.md).
        content: how much the attention follows what query and cell say to each other.
        places: with a guide, how many places a class may have in one image. Above 1 the regions
            of a class share its evidence out among as many places, see `blocks.places_of`; there
            are at least k · places regions.
        prior: image-level probability at which both branches start.
        answer: which branch gives the image-level logits, or the mean of both.
    """

    owner: Tensor
    place: Tensor

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "densenet121",
        grid: backbones.Grid = 14,
        weights: str = "none",
        width: int = 256,
        regions: int = 10,
        heads: int = 8,
        dropout: float = 0.1,
        position: Literal["sincos", "none"] = "sincos",
        sharpness: float = 5.0,
        anchor: Anchor = "moments",
        size: float = 0.3,
        spread: float = 3.0,
        gaussian_head: Literal["tied", "free"] = "tied",
        sigma_scale: float = 0.5,
        beta: float = 2.0,
        detach: bool = False,
        guide: float = 1.0,
        content: float = 0.3,
        places: int = 1,
        prior: float = 0.3,
        answer: Literal["mean", "patch", "roi"] = "mean",
    ) -> None:
        super().__init__()
        self.backbone = backbones.make(backbone, grid=grid, weights=weights)
        self.guide, self.content = guide, content
        if not 1 <= places <= 100:
            raise InputError(f"model.places must be between 1 and 100 (got {places}).")
        self.places = places if guide else 1
        regions = max(regions, classes * places) if guide else regions
        self.register_buffer("owner", torch.arange(regions) % classes, persistent=False)
        place = torch.arange(regions) // classes % self.places
        self.register_buffer("place", place, persistent=False)
        self.position, self.sharpness, self.detach = position, sharpness, detach
        self.sigma_scale, self.beta, self.answer = sigma_scale, beta, answer
        channels = self.backbone.channels
        # Over groups of channels, not over the batch: several processes learn what one would.
        self.project = nn.Sequential(GroupNorm(32, channels), nn.Conv2d(channels, width, 1))
        start = math.log(prior / (1 - prior))
        self.patch_classifier = Classifier(width, classes, dropout=dropout, start=start)
        self.attention = QueryAttention(width, queries=regions, heads=heads, dropout=dropout)
        self.box_head = BoxHead(width, anchor=anchor, size=size, spread=spread)
        self.gaussian_head = Mlp(width, 2 * width, 4) if gaussian_head == "free" else None
        self.values = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        each = -(-regions // classes) if guide else regions  # regions that speak of one class
        start = region_bias(prior, each)
        self.roi_classifier = Classifier(width, classes, dropout=dropout, start=start)

    def forward(self, batch: Batch) -> ModelOutput:
        """Both answers, the cell maps and the regions."""
        cells = self.cells(batch.images)
        maps = self.patch_classifier(cells).permute(0, 3, 1, 2).float()
        patch_logits = log_sum_exp_pool(maps.flatten(2), sharpness=self.sharpness)
        regions = self.propose(cells.detach() if self.detach else cells, maps)
        roi_logits = noisy_or(regions.logits)
        answers = {
            "patch": patch_logits,
            "roi": roi_logits,
            "mean": (patch_logits + roi_logits) / 2,
        }
        return ModelOutput(answers[self.answer], maps, patch_logits, roi_logits, regions)

    def cells(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b gh gw d"]:
        """Features of the grid cells, with their positions."""
        cells = self.project(self.backbone(images)).permute(0, 2, 3, 1)
        if self.position == "none":
            return cells
        return cells + sincos_positions(cells.shape[-1], tuple(cells.shape[1:3]), like=cells)

    def propose(
        self, cells: Float[Tensor, "b gh gw d"], maps: Float[Tensor, "b k gh gw"]
    ) -> Regions:
        """Boxes, Gaussians and class logits of the queries."""
        grid = (cells.shape[1], cells.shape[2])
        evidence = self.evidence(maps, grid) if self.guide else None
        queries, attention = self.attention(cells.flatten(1, 2), evidence, content=self.content)
        points = grid_points(grid, like=attention)
        boxes = self.box_head(queries, attention, points)
        means, sigmas = self.gaussians(boxes, queries, grid)
        log_x, log_y = gaussian.log_maps(means, sigmas, grid, beta=self.beta)
        values = self.values(cells).permute(0, 3, 1, 2)
        logits = self.roi_classifier(gaussian.pool(log_x, log_y, values)).float()
        if self.guide:
            others = self.owner[:, None] != torch.arange(logits.shape[-1], device=logits.device)
            logits = logits.masked_fill(others, OFF)
        attended = torch.cat(moments_of(attention, points), -1)
        return Regions(boxes, means, sigmas, logits, log_x, log_y, attended, self.beta)

    def evidence(
        self, maps: Float[Tensor, "b k gh gw"], grid: tuple[int, int]
    ) -> Float[Tensor, "b r m"]:
        """What the patch branch adds to the attention of each region."""
        found = self.guide * standardised(maps.detach())
        if self.places == 1:
            return found[:, self.owner]
        points = grid_points(grid, like=found)
        belongs = places_of(found.softmax(-1), points, places=self.places)
        return found[:, self.owner] + belongs[:, self.owner, self.place].clamp_min(1e-6).log()

    def gaussians(
        self, boxes: Float[Tensor, "b r 4"], queries: Float[Tensor, "b r d"], grid: tuple[int, int]
    ) -> tuple[Float[Tensor, "b r 2"], Float[Tensor, "b r 2"]]:
        """Centres and widths; a width is at least half a cell, below which gradients die."""
        floor = 0.5 / torch.tensor(grid[::-1], device=boxes.device, dtype=boxes.dtype)
        if self.gaussian_head is None:
            return boxes[..., :2], torch.maximum(boxes[..., 2:] * self.sigma_scale, floor)
        raw = self.gaussian_head(queries).float().tanh()
        means = (boxes[..., :2] + 0.5 * boxes[..., 2:] * raw[..., :2]).clamp(0, 1)
        sigmas = boxes[..., 2:] * self.sigma_scale * raw[..., 2:].exp()
        return means, torch.maximum(sigmas, floor)


def standardised(maps: Float[Tensor, "b k gh gw"]) -> Float[Tensor, "b k m"]:
    """Cells relative to their image and class, in standard deviations; a flat map stays near 0.

    So the attention is equally sharp early in training, when logits are small, and late.
    """
    cells = maps.flatten(2)
    if cells.shape[-1] == 1:
        return torch.zeros_like(cells)  # one cell deviates from nothing
    return (cells - cells.mean(-1, keepdim=True)) / (cells.std(-1, keepdim=True) + 1)
