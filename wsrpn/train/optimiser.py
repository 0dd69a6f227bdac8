"""AdamW with two learning rates, its schedule, and the average of the weights."""

import math

import torch
from torch import nn

from wsrpn.config import TrainConfig
from wsrpn.models.base import backbones_of

# A weighting has few numbers that start at 0 and have far to go; AdamW moves each by about its rate
# per step, however large the gradient. At ten times the rate a short training gets there.
WEIGHTING_RATE = 10.0


def adamw(
    model: nn.Module, config: TrainConfig, weighting: nn.Module | None = None
) -> torch.optim.AdamW:
    """AdamW; backbones may learn at their own rate, and vectors are not decayed.

    Norm weights, biases and single vectors have no scale to shrink towards.

    Args:
        model: whose trainable parameters are taken.
        config: rates and decay.
        weighting: what the objective learns, in a last group.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    inside = {id(p) for part in backbones_of(model) for p in part.parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad:
            part = "backbone" if id(parameter) in inside else "heads"
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    learned = list(weighting.parameters()) if weighting else []
    if learned:
        groups["weighting", False] = learned
    rate = {
        "backbone": config.backbone_lr or config.lr,
        "heads": config.lr,
        "weighting": WEIGHTING_RATE * config.lr,
    }
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": rate[part],
                "peak": rate[part],
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (part, decayed), parameters in groups.items()
        ],
        fused=True,
    )


def rate_at(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate as a share of its peak, at a step in [0, total).

    Example:
        >>> [round(rate_at(TrainConfig(warmup=0.5), step, 4), 2) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant" or total <= warmup:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group to a share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def clip(model: nn.Module, largest: float) -> float:
    """The norm of the gradient, which is scaled down to `largest` where it is longer.

    Args:
        model: whose gradients are changed.
        largest: 0 leaves them as they are.
    """
    parameters = [p for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if 0 < largest < norm:  # scaling hundreds of small tensors by 1 would cost as much as the norm
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return float(norm)


class Average:
    """Exponential moving average of the weights, bias-free from the first step.

    The decay grows as (1 + t) / (10 + t) up to its value, so that the first weights are forgotten.

    Args:
        model: whose weights and buffers are followed.
        decay: 0 keeps no average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = (
            {k: v.detach().clone() for k, v in model.state_dict().items()} if decay else {}
        )

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow the weights after optimiser step number `step` (from 1)."""
        if not self.decay:
            return
        pull = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            mean = self.values[name]
            if value.is_floating_point():
                mean.lerp_(value, pull)
            else:
                mean.copy_(value)

    def weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """What evaluation should use."""
        return self.values if self.decay else model.state_dict()
