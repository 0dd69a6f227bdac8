"""How much a latent says, held to a capacity that grows with training."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from wsrpn.config import NotNegative
from wsrpn.elbo import kl_nats
from wsrpn.losses.base import losses
from wsrpn.types import Latent

__all__ = ["capacity_at", "kl_nats", "latent_loss"]


def capacity_at(epoch: float, *, capacity: float, reached: float) -> float:
    r"""Nats that a latent is to have at a moment of training, $C(t) = C \min(1, t / t_C)$.

    Args:
        epoch: t, epochs done.
        capacity: C.
        reached: $t_C$; 0 has the whole capacity from the start.

    Example:
        >>> [capacity_at(epoch, capacity=120.0, reached=10.0) for epoch in (0.0, 5.0, 10.0, 30.0)]
        [0.0, 60.0, 120.0, 120.0]
    """
    return capacity * min(1.0, epoch / reached) if reached > 0 else capacity


@losses.register("latent", reads=("output.latent", "batch.epoch"), batchwise=True)
def latent_loss(
    latent: Latent,
    epoch: float,
    *,
    capacity: NotNegative = 0.0,
    reached: NotNegative = 0.0,
    one_sided: bool = False,
) -> Float[Tensor, " b"]:
    r"""$\bigl| \overline{KL} - C(t) \bigr|$, the mean over the batch, in nats.

    Below the capacity more is said, above it less. Without one it is the plain KL divergence, and
    the weight of the loss is the β of the β-VAE.

    Args:
        latent: of the images.
        epoch: t, epochs done.
        capacity: C, nats of an image.
        reached: epochs after which C(t) is C; it rises from 0 in a straight line.
        one_sided: only what is above the capacity costs, max(KL − C(t), 0), as in the code of
            the project that presets vae-b1 and vae-b2 are named after; nothing then keeps a latent
            from saying nothing.

    Returns:
        The same value for every image: the capacity is one of the mean. In several processes it is
        their share of the value that one process would have, which may be below zero.

    Example:
        >>> latent = Latent(torch.tensor([[2.0], [0.0]]), torch.zeros(2, 1))
        >>> latent_loss(latent, 5.0, capacity=4.0, reached=10.0)
        tensor([1., 1.])

    Reference:
        Burgess et al., Understanding disentangling in β-VAE, 2018, eq. 8.
    """
    mean = kl_nats(latent).mean()
    above = mean - capacity_at(epoch, capacity=capacity, reached=reached)
    everywhere = _mean_of_processes(above)
    # The absolute value of the mean over the processes is the mean of what they have with its sign.
    below = 0 * above if one_sided else -above
    return torch.where(everywhere < 0, below, above).expand(len(latent.mean))


def _mean_of_processes(value: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """A number averaged over the processes of a training step, without a gradient.

    In a validation the processes need not have equally many batches, and each takes its own.
    """
    value = value.detach().clone()
    if torch.is_grad_enabled() and dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
