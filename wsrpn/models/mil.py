r"""Multiple-instance baselines: CAM's network with other ways from cells to an image.

All of them are a backbone and one linear layer on every cell, $z_m = w · h_m + b$ per class; they
differ in how the cell logits become the image's logit, and so in which cells learn. What a model
gives as `maps` is what its paper reads boxes from; one routine turns all of them into boxes
(`wsrpn.maps`). Mean pooling of logits is CAM itself.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wsrpn.config import Count, Positive, Share
from wsrpn.models import backbones
from wsrpn.models.base import models
from wsrpn.models.blocks import log_sum_exp_pool
from wsrpn.models.cam import Cam
from wsrpn.types import Batch, ModelOutput


def mean_probability(logits: Float[Tensor, "*n m"]) -> Float[Tensor, "*n"]:
    r"""The logit of the mean probability, $\mathrm{logit}(\frac1m \sum_i σ(z_i))$.

    $P$ and $1 - P$ are added up in log space, so neither is rounded to 0 or 1.

    Example:
        >>> mean_probability(torch.tensor([-1.0, 1.0]))
        tensor(0.)
    """
    logits = logits.float()
    present = functional.logsigmoid(logits).logsumexp(-1)
    return present - functional.logsigmoid(-logits).logsumexp(-1)


def log_sum_exp_probability(
    logits: Float[Tensor, "*n m"], *, sharpness: float
) -> Float[Tensor, "*n"]:
    r"""The logit of $P = LSE_r(σ(z))$, log-sum-exp over probabilities as in the original WSRPN.

    $P$ is counted from the largest probability and $1 - P$ from the smallest $q = 1 - p$, so that
    neither overflows nor is rounded to 0:
    $P = p^* + \frac1r \log(1 + \overline{e^{r (p - p^*)} - 1})$ and
    $1 - P = q^* - \frac1r \log(1 + \overline{e^{-r (q - q^*)} - 1})$.

    Args:
        logits: of the cells.
        sharpness: r, above 0.

    Example:
        >>> log_sum_exp_probability(torch.tensor([-1.0, -1.0]), sharpness=5.0).round()
        tensor(-1.)
    """
    logits = logits.float()
    p, q = logits.sigmoid(), (-logits).sigmoid()
    most, least = p.amax(-1, keepdim=True), q.amin(-1, keepdim=True)
    present = most[..., 0] + torch.log1p(torch.expm1(sharpness * (p - most)).mean(-1)) / sharpness
    absent = least[..., 0] - torch.log1p(torch.expm1(sharpness * (least - q)).mean(-1)) / sharpness
    tiny = torch.finfo(torch.float32).tiny  # σ(-104) is 0 in float32
    return present.clamp_min(tiny).log() - absent.clamp_min(tiny).log()


def extremes_pool(
    values: Float[Tensor, "*n m"], *, top: float, bottom: float, weight: float
) -> Float[Tensor, "*n"]:
    r"""Mean of the highest values plus `weight` times the mean of the lowest.

    Args:
        values: logits of the cells; ties count as often as they are picked.
        top: share of the cells in the first mean, at least one cell.
        bottom: share in the second; 0 leaves it out.
        weight: α; low values, where a class has a cell that speaks against it, lower the score.

    Example:
        >>> values = torch.tensor([4.0, 1.0, 2.0, -3.0])
        >>> extremes_pool(values, top=0.5, bottom=0.25, weight=1.0)
        tensor(0.)

    Reference:
        Durand et al., WELDON, 2016 (α = 1); Durand et al., WILDCAT, 2017 (α free).
    """
    values = values.float()

    def mean(share: float, largest: bool) -> Tensor:
        count = max(1, round(share * values.shape[-1]))
        return values.topk(count, -1, largest=largest, sorted=False).values.mean(-1)

    high = mean(top, True)
    return high + weight * mean(bottom, False) if bottom else high


def own_probability_weights(logits: Float[Tensor, "*n m"]) -> Float[Tensor, "*n m"]:
    r"""Each cell's probability over the sum of all, $σ(z_m) / \sum_j σ(z_j)$, in log space."""
    return functional.logsigmoid(logits.float()).softmax(-1)


@models.register("mil", gives=("logits", "maps"))
class Mil(Cam):
    """One classifier per cell, pooled by maximum, mean or log-sum-exp; the map is the cell logits.

    Args:
        classes: k.
        backbone: see `Cam`, like grid, weights, dropout and prior.
        grid: cells per side at 224 pixels, 7 or 14.
        weights: of the backbone.
        dropout: before the linear layer.
        prior: probability of a cell at which training starts.
        pooling: max, mean or lse.
        values: what is pooled, logits or probabilities. The maximum is the same for both; the mean
            of logits is CAM.
        sharpness: r of the log-sum-exp.

    Reference:
        Pinheiro & Collobert, From image-level to pixel-level labeling, 2015, eq. 5 (lse on logits);
        Müller et al., WSRPN, arXiv 2402.11985 (lse on probabilities); Ilse et al., Attention-based
        deep multiple instance learning, 2018 (max and mean at the level of instances).
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "densenet121",
        grid: backbones.Grid = 14,
        weights: str = "none",
        dropout: float = 0.1,
        prior: float = 0.3,
        pooling: Literal["max", "mean", "lse"] = "lse",
        values: Literal["logits", "probs"] = "logits",
        sharpness: Positive = 5.0,
    ) -> None:
        super().__init__(
            classes=classes, backbone=backbone, grid=grid, weights=weights, dropout=dropout,
            prior=prior,
        )  # fmt: skip
        self.pooling, self.values, self.sharpness = pooling, values, sharpness

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits and the logits of the cells."""
        maps = self.cells(batch)[1]
        return ModelOutput(logits=self.pool(maps.flatten(2)), maps=maps)

    def pool(self, cells: Float[Tensor, "b k m"]) -> Float[Tensor, "b k"]:
        """The image's logits from those of its cells."""
        if self.pooling == "max":
            return cells.amax(-1)
        if self.pooling == "mean":
            return mean_probability(cells) if self.values == "probs" else cells.mean(-1)
        pool = log_sum_exp_probability if self.values == "probs" else log_sum_exp_pool
        return pool(cells, sharpness=self.sharpness)


@models.register("topk", gives=("logits", "maps"))
class TopK(Cam):
    """The most and the least like cells decide (WELDON); the map is the cell logits.

    Args:
        classes: k.
        backbone: see `Cam`, like grid, weights, dropout and prior.
        grid: cells per side at 224 pixels, 7 or 14.
        weights: of the backbone.
        dropout: before the linear layer.
        prior: image-level probability at which training starts.
        top: see `extremes_pool`.
        bottom: see `extremes_pool`.
        weight: see `extremes_pool`.

    Reference:
        Durand et al., WELDON: weakly supervised learning of deep convolutional neural networks,
        2016; shares of 0.2 as in WILDCAT, 2017.
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "densenet121",
        grid: backbones.Grid = 14,
        weights: str = "none",
        dropout: float = 0.1,
        prior: float = 0.3,
        top: Share = 0.2,
        bottom: Share = 0.2,
        weight: float = 1.0,
    ) -> None:
        super().__init__(
            classes=classes, backbone=backbone, grid=grid, weights=weights, dropout=dropout,
            prior=prior,
        )  # fmt: skip
        self.top, self.bottom, self.weight = top, bottom, weight
        times = 1 + weight if bottom else 1.0  # how often the bias enters the image's logit
        if times > 0:
            with torch.no_grad():
                self.classify.bias.div_(times)  # type: ignore[union-attr]

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits and the logits of the cells."""
        maps = self.cells(batch)[1]
        logits = extremes_pool(
            maps.flatten(2), top=self.top, bottom=self.bottom, weight=self.weight
        )
        return ModelOutput(logits=logits, maps=maps)


@models.register("pcam", gives=("logits", "maps"))
class Pcam(Cam):
    r"""Cells weigh as much as they are probable; the map is their probability.

    $$ z = \sum_m \frac{σ(z_m)}{\sum_j σ(z_j)} z_m $$

    The linear layer that scores the cells also scores the pooled feature, so the image's logit is
    the weighted mean of the cell logits. It lies between CAM's mean and the maximum.

    Reference:
        Ye et al., Weakly supervised lesion localization with probabilistic-CAM pooling, 2020.
    """

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits and the probabilities of the cells."""
        cells = self.cells(batch)[1]
        weights = own_probability_weights(cells.flatten(2))
        return ModelOutput(logits=(weights * cells.flatten(2)).sum(-1), maps=cells.sigmoid())


class GatedAttention(nn.Module):
    r"""Weights of the cells per class, $a_m ∝ \exp(w_c · (\tanh(V h_m) ⊙ σ(U h_m)))$.

    Args:
        channels: features of a cell.
        hidden: width of V and U.
        classes: k; each has a w of its own. It has no bias, which a softmax would not notice.

    Reference:
        Ilse et al., Attention-based deep multiple instance learning, 2018, eq. 9.
    """

    def __init__(self, channels: int, *, hidden: int, classes: int) -> None:
        super().__init__()
        self.content = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(channels, hidden, 1)
        self.weigh = nn.Conv2d(hidden, classes, 1, bias=False)

    def forward(self, features: Float[Tensor, "b d gh gw"]) -> Float[Tensor, "b k m"]:
        """Attention over the cells; sums to 1."""
        hidden = self.content(features).tanh() * self.gate(features).sigmoid()
        return self.weigh(hidden).float().flatten(2).softmax(-1)


@models.register("mil_attention", gives=("logits", "maps"))
class MilAttention(Cam):
    r"""Gated attention says which cells count, per class; the map is what each cell contributes.

    $$ z = \sum_m a_m z_m, \qquad \mathrm{map}_m = m · a_m (w · h_m) $$

    Attention times evidence: a cell that is looked at and speaks for the class is high, one that is
    looked at and speaks against it is low, and one that is not looked at is 0. The map's mean is
    the image's logit without the bias. With equal attention map and logit are CAM's. A linear layer
    on the pooled feature, as in the paper, is the same as pooling the cells' logits.

    Args:
        classes: k.
        backbone: see `Cam`, like grid, weights, dropout and prior.
        grid: cells per side at 224 pixels, 7 or 14.
        weights: of the backbone.
        dropout: before the linear layer and the attention.
        prior: image-level probability at which training starts.
        hidden: width of the attention's layers.

    Reference:
        Ilse et al., Attention-based deep multiple instance learning, 2018, eq. 7 and 9.
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "densenet121",
        grid: backbones.Grid = 14,
        weights: str = "none",
        dropout: float = 0.1,
        prior: float = 0.3,
        hidden: Count = 128,
    ) -> None:
        super().__init__(
            classes=classes, backbone=backbone, grid=grid, weights=weights, dropout=dropout,
            prior=prior,
        )  # fmt: skip
        self.attention = GatedAttention(self.backbone.channels, hidden=hidden, classes=classes)

    def forward(self, batch: Batch) -> ModelOutput:
        """Image logits and each cell's contribution to them."""
        features, cells = self.cells(batch)
        attention = self.attention(features)
        logits = (attention * cells.flatten(2)).sum(-1)
        bias = self.classify.bias.float()[:, None, None]  # type: ignore[union-attr]
        shares = attention.unflatten(-1, cells.shape[2:]) * math.prod(cells.shape[2:])
        return ModelOutput(logits=logits, maps=shares * (cells - bias))
