"""The training loop: it learns and tells; whoever listens logs, validates, saves and stops.

A step depends on its number and on the state alone: the data order and the augmentation are keyed
by (seed, epoch, index), the random numbers of dropout by (seed, step, rank), the learning rate and
the loss weights by the step. So a run that goes on from a checkpoint is the unbroken run.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn import compute
from wsrpn.config import RunConfig
from wsrpn.errors import Diverged
from wsrpn.losses import Objective, Weighting
from wsrpn.models.base import backbones_of
from wsrpn.train.distributed import World
from wsrpn.train.optimiser import Average, clip, rate_at, set_rate
from wsrpn.train.phases import weights_at
from wsrpn.types import Batch

Batches = Callable[[int, int], Iterable[Batch]]


@dataclass
class State:
    """What training changes.

    Attributes:
        model: the network, not wrapped.
        optimizer: AdamW.
        average: moving average of the weights.
        step: optimiser steps done.
        weighting: of the losses; it may learn, too.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average
    step: int = 0
    weighting: Weighting = field(default_factory=Weighting)


@dataclass(frozen=True)
class Progress:
    """What one step has to say.

    Attributes:
        step: steps done, this one included.
        steps_per_epoch: as it says.
        total: steps of the whole training.
        images: images of this step, over all processes.
        loss: weighted sum, over all processes.
        terms: raw losses, unweighted, over all processes.
        weights: of the losses at this step.
        rate: learning rate as a share of its peak.
        gradient: norm before clipping.
    """

    step: int
    steps_per_epoch: int
    total: int
    images: int
    loss: float
    terms: dict[str, float]
    weights: dict[str, float]
    rate: float
    gradient: float

    @property
    def epoch_ends(self) -> bool:
        """Whether this was the last step of an epoch."""
        return self.step % self.steps_per_epoch == 0

    @property
    def epoch(self) -> int:
        """Epochs begun, from 1."""
        return math.ceil(self.step / self.steps_per_epoch)


class Step(nn.Module):
    """Model and objective together: a batch in, the loss out.

    So `DistributedDataParallel` averages what either of them learns, and sees which parameters the
    losses of this phase reach.

    Args:
        model: the network.
        objective: the losses.
        dtype: of mixed precision; losses are worked out in float32.
        device: where the model is.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.weighting = objective.weighting
        self.dtype, self.device = dtype, device

    def forward(
        self, batch: Batch, weights: Mapping[str, float]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss, and the raw terms without their graph."""
        with compute.autocast(self.dtype, self.device):
            output = self.model(batch)
        loss, terms = self.objective(output, batch, weights)
        return loss, {name: term.detach() for name, term in terms.items()}


def learn(
    config: RunConfig, state: State, batches: Batches, *, steps_per_epoch: int, world: World
) -> Iterator[Progress]:
    """Train from `state.step` to the end, one `Progress` per step.

    Args:
        config: of the run.
        state: changed in place.
        batches: (epoch, first step in it) → this process's batches.
        steps_per_epoch: batches of an epoch.
        world: the processes.

    Raises:
        Diverged: the loss or the gradient is not finite; the weights are those before the step.
    """
    objective = Objective(config.losses, state.weighting)
    dtype = compute.precision(config.train.precision, world.device)
    take = world.wrap(Step(state.model, objective, dtype, world.device))
    last = compute.wants_channels_last(config.train.channels_last, world.device, dtype)
    total = config.train.epochs * steps_per_epoch
    while state.step < total:
        epoch, start = divmod(state.step, steps_per_epoch)
        for batch in batches(epoch, start):
            set_training(state.model, frozen=config.train.freeze_backbone)
            torch.manual_seed(step_seed(config.train.seed, state.step, world.rank))
            weights = weights_at(config.phases, state.step / steps_per_epoch)
            rate = rate_at(config.train, state.step, total)
            set_rate(state.optimizer, rate)
            batch = batch.to(world.device, channels_last=last)
            batch = dataclasses.replace(batch, epoch=state.step / steps_per_epoch)
            loss, terms = take(batch, weights)
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            gradient = clip(state.model, config.train.clip)
            if world.agree(not math.isfinite(loss.item()) or not math.isfinite(gradient)):
                raise Diverged(_story(state.step, batch, loss.item(), gradient, terms))
            state.optimizer.step()
            state.step += 1
            state.average.update(state.model, state.step)
            mean = world.mean({"": loss.item(), **{k: term.item() for k, term in terms.items()}})
            yield Progress(
                step=state.step,
                steps_per_epoch=steps_per_epoch,
                total=total,
                images=len(batch.ids) * world.size,
                loss=mean.pop(""),
                terms=mean,
                weights=weights,
                rate=rate,
                gradient=gradient,
            )


def set_training(model: nn.Module, *, frozen: bool) -> None:
    """Training mode; a frozen backbone keeps its norms' statistics and drops nothing."""
    model.train()
    if frozen:
        for part in backbones_of(model):
            part.eval()


def step_seed(seed: int, step: int, rank: int) -> int:
    """One seed per (run, step, process); neighbouring ones have nothing in common.

    Example:
        >>> step_seed(0, 1, 0) == step_seed(0, 0, 1)
        False
    """
    mixed = seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB + 1
    mixed &= 2**64 - 1
    mixed ^= mixed >> 31
    return (mixed * 0xD6E8FEB86659FD93) & (2**63 - 1)


def _story(
    step: int, batch: Batch, loss: float, gradient: float, terms: dict[str, torch.Tensor]
) -> str:
    values = ", ".join(f"{name} {term.item():g}" for name, term in terms.items())
    return (
        f"step {step}: loss {loss:g} (gradient norm {gradient:g}; {values}) on images "
        f"{', '.join(batch.ids)}; the weights before this step are kept."
    )
