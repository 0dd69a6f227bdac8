"""Pooling over cells and regions, position embeddings, attention: what the models are made of."""

import math
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.gaussian import cell_centres


def log_sum_exp_pool(
    values: Float[Tensor, "*n m"], *, sharpness: float = 5.0
) -> Float[Tensor, "*n"]:
    r"""Smooth maximum over the last axis.

    $$ LSE_r(z) = \frac1r \log \Big( \frac1m \sum_i e^{r z_i} \Big) $$

    With the $1/m$ it lies between the mean ($r → 0$) and the maximum ($r → ∞$); without it, it
    would diverge as $r → 0$ and depend on the number of cells.

    Args:
        values: logits or probabilities of the cells.
        sharpness: r, above 0.

    Example:
        >>> log_sum_exp_pool(torch.tensor([0.0, 1.0, 2.0, 3.0]), sharpness=5.0)
        tensor(2.7241)

    Reference:
        Pinheiro & Collobert, From image-level to pixel-level labeling, 2015, eq. 5.
    """
    scaled = values.float() * sharpness
    return (scaled.logsumexp(-1) - math.log(values.shape[-1])) / sharpness


def noisy_or(logits: Float[Tensor, "b r k"]) -> Float[Tensor, "b k"]:
    r"""The logit of "at least one region has it": $P = 1 - \prod_j (1 - σ(z_j))$.

    With $S = \sum_j \mathrm{softplus}(z_j) = -\log(1 - P)$ the logit of $P$ is $\log(e^S - 1)$. No
    probability is multiplied up, so the gradient neither vanishes at large $z$ nor breaks in bf16,
    and the usual `binary_cross_entropy_with_logits` on the result is exact. Where $S$ is tiny,
    $\log(e^S - 1) → \log S → \mathrm{logsumexp}(z)$; both branches get safe inputs, because a
    `where` passes the gradient of the branch it does not take as 0 · inf.

    Example:
        >>> noisy_or(torch.zeros(1, 10, 1)).sigmoid()
        tensor([[0.9990]])
    """
    logits = logits.float()
    total = nn.functional.softplus(logits).sum(1)
    tiny = total < 1e-6
    safe = torch.where(tiny, torch.ones_like(total), total)
    return torch.where(tiny, logits.logsumexp(1), safe + torch.log(-torch.expm1(-safe)))


def region_bias(prior: float, regions: int) -> float:
    """The bias of each region's logit at which the image probability after noisy-OR is `prior`.

    Example:
        >>> round(region_bias(0.05, 10), 2)
        -5.27
    """
    each = -math.expm1(math.log1p(-prior) / regions)
    return math.log(each) - math.log1p(-each)


def sincos_positions(
    channels: int, grid: tuple[int, int], *, like: Tensor
) -> Float[Tensor, "gh gw d"]:
    """Fixed 2-D sine–cosine embedding: half of the channels tell the row, half the column.

    Positions are cell indices and the wavelengths are those of Vaswani et al. 2017 (base 10,000),
    as in the original WSRPN.
    """
    quarter = channels // 4
    steps = torch.arange(quarter, device=like.device, dtype=torch.float32)
    frequency = torch.exp(-math.log(10_000.0) * steps / quarter)

    def axis(cells: int) -> Tensor:
        angle = torch.arange(cells, device=like.device, dtype=torch.float32)[:, None] * frequency
        return torch.cat((angle.sin(), angle.cos()), -1)

    rows, columns = axis(grid[0]), axis(grid[1])
    both = torch.cat(
        (
            rows[:, None].expand(-1, grid[1], -1),
            columns[None].expand(grid[0], -1, -1),
        ),
        -1,
    )
    return nn.functional.pad(both, (0, channels - both.shape[-1])).to(like.dtype)


def grid_points(grid: tuple[int, int], *, like: Tensor) -> Float[Tensor, "m 2"]:
    """(x, y) centres of the cells, row by row, as shares of the image."""
    y, x = torch.meshgrid(
        cell_centres(grid[0], like=like), cell_centres(grid[1], like=like), indexing="ij"
    )
    return torch.stack((x, y), -1).flatten(0, 1)


def places_of(
    weights: Float[Tensor, "b k m"], points: Float[Tensor, "m 2"], *, places: int, rounds: int = 4
) -> Float[Tensor, "b k p m"]:
    """Which place each cell belongs to, when every row of weights is a mixture of a few places.

    A fit by expectation and maximisation of a mixture of axis-parallel Gaussians to weighted
    points. It starts with the places side by side, one standard deviation to either side of the
    mean, along the axis on which the weights reach further: two lungs become two places, where
    their common mean would be the spine.

    Args:
        weights: of the cells, each row summing to 1.
        points: centres of the cells.
        places: p.
        rounds: of the fit; it only has to tell places apart.

    Returns:
        Shares that sum to 1 over the places.

    Example:
        >>> points = torch.tensor([[0.1, 0.5], [0.2, 0.5], [0.8, 0.5], [0.9, 0.5]])
        >>> places_of(torch.full((1, 1, 4), 0.25), points, places=2)[0, 0].round()
        tensor([[1., 1., 0., 0.],
                [0., 0., 1., 1.]])
    """
    # Variances are small differences of large sums: bf16 would put cells into the wrong place.
    with torch.no_grad(), torch.autocast(weights.device.type, enabled=False):
        return _mixture(weights, points, places, rounds)


def _mixture(
    weights: Float[Tensor, "b k m"], points: Float[Tensor, "m 2"], places: int, rounds: int
) -> Float[Tensor, "b k p m"]:
    mean = weights @ points
    variance = (weights @ points.square() - mean.square()).clamp_min(1e-6)
    widest = variance == variance.amax(-1, keepdim=True)
    steps = torch.linspace(-1, 1, places, device=points.device, dtype=points.dtype)
    centre = mean[..., None, :] + steps[:, None] * (variance.sqrt() * widest)[..., None, :]
    variance = variance[..., None, :].expand_as(centre) / places
    share = torch.full_like(centre[..., 0], 1 / places)
    for _ in range(rounds):
        variance = variance.clamp_min(0.05**2)  # about half a cell: a place is not a point
        distance = (points - centre[..., None, :]).square() / variance[..., None, :]
        height = share.clamp_min(1e-4).log() - 0.5 * variance.log().sum(-1)
        belongs = (height[..., None] - 0.5 * distance.sum(-1)).softmax(-2)
        part = belongs * weights[..., None, :]
        share = part.sum(-1)
        part = part / share.clamp_min(1e-6)[..., None]
        centre = part @ points
        variance = part @ points.square() - centre.square()
    return belongs


class GroupNorm(nn.GroupNorm):
    """Group norm that survives features of a frozen backbone.

    torch's CPU kernel (seen in 2.13) reads through a null pointer in the backward pass of a
    channels-last input that needs no gradient; asking for that gradient costs little.
    """

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The normalised features."""
        if torch.is_grad_enabled() and not features.requires_grad:
            features = features.detach().requires_grad_()
        return super().forward(features)


class Dropout(nn.Dropout):
    """Dropout whose mask costs one random byte per value.

    On the CPU torch draws one number after another, which for the cells of a batch takes longer
    than the layers around it. The share kept is a multiple of 1/256 (exact for ½ and ¼), and what
    is kept is divided by just that share, so the expectation is right.

    Example:
        >>> dropped = Dropout(0.5)(torch.ones(1000))
        >>> sorted(set(dropped.tolist()))
        [0.0, 2.0]
    """

    def forward(self, features: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The features, some of them 0 while training."""
        kept = round((1 - self.p) * 256)
        if not self.training or kept in (0, 256) or features.device.type != "cpu":
            return super().forward(features)
        words = torch.empty(-(-features.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.uint8)[: features.numel()].view(features.shape)
        return features * (drawn < kept).to(features.dtype).mul_(256 / kept)


class Mlp(nn.Sequential):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(inputs, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, outputs)
        )

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        return cast("nn.Linear", self[-1])


class Classifier(nn.Sequential):
    """Layer norm and a small MLP on the last axis, whose logits start at one value.

    Args:
        width: d.
        classes: k.
        dropout: in the MLP.
        start: logit of every class before training.
    """

    def __init__(self, width: int, classes: int, *, dropout: float, start: float) -> None:
        mlp = Mlp(width, 2 * width, classes, dropout)
        super().__init__(nn.LayerNorm(width), mlp)
        nn.init.constant_(mlp.last.bias, start)


class QueryAttention(nn.Module):
    """Learnable queries look at the cells: multi-head cross-attention, then where each one looks.

    Args:
        width: d, features per cell and query.
        queries: number of queries.
        heads: of the cross-attention.
        dropout: in attention and feed-forward.

    Reference:
        Müller et al., WSRPN, arXiv 2402.11985, section on ROI attention.
    """

    def __init__(self, width: int, *, queries: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.norm_cells = nn.LayerNorm(width)
        self.norm_in = nn.LayerNorm(width)
        self.norm_mid = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed = Mlp(width, 2 * width, width, dropout)
        self.ask = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)

    def forward(
        self,
        cells: Float[Tensor, "b m d"],
        evidence: Float[Tensor, "b r m"] | None = None,
        *,
        content: float = 1.0,
    ) -> tuple[Float[Tensor, "b r d"], Float[Tensor, "b r m"]]:
        """What each query found, and its attention over the cells (sums to 1).

        Args:
            cells: features.
            evidence: added to the attention logits, from outside.
            content: weight of what query and cell say to each other.
        """
        cells = self.norm_cells(cells)
        tokens = self.queries.expand(len(cells), -1, -1)
        tokens = tokens + self.attend(self.norm_in(tokens), cells, cells, need_weights=False)[0]
        tokens = tokens + self.feed(self.norm_mid(tokens))
        asked = self.ask(self.norm_out(tokens))
        score = asked @ self.key(cells).transpose(1, 2) / math.sqrt(asked.shape[-1])
        score = content * score.float()
        attention = (score if evidence is None else score + evidence).softmax(-1)
        return tokens + attention.to(tokens.dtype) @ self.value(cells), attention


def moments_of(
    attention: Float[Tensor, "b r m"], points: Float[Tensor, "m 2"]
) -> tuple[Float[Tensor, "b r 2"], Float[Tensor, "b r 2"]]:
    """Mean and standard deviation (x, y) of attention over cells, in float32.

    Args:
        attention: sums to 1 over the cells.
        points: centres of the cells.
    """
    # A variance is a small difference of large sums: in bf16 nothing would be left of it.
    with torch.autocast(attention.device.type, enabled=False):
        mean = attention @ points
        return mean, (attention @ points.square() - mean.square()).clamp_min(1e-6).sqrt()


Anchor = Literal["image", "cell", "moments"]
