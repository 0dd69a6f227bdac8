"""AdamW with two learning rates, its schedule, and the average of the weights."""

import math

import torch
from torch import nn

from wsrpn.config import TrainConfig


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; the backbone may learn at its own rate, and vectors are not decayed.

    Norm weights, biases and single vectors have no scale to shrink towards.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("backbone."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    rate = {True: config.backbone_lr or config.lr, False: config.lr}
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": rate[backbone],
                "peak": rate[backbone],
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (backbone, decayed), parameters in groups.items()
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
