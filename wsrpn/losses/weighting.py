"""How the losses of a step become one: weights of the phase, or weights that adapt to the losses.

A weighting is a module: what it learns or remembers is trained, saved and shared by all processes
with the model. `train.weighting` names it. All numbers that a weighting goes by stand here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.registry import Registry

LARGEST = 3.0  # of a learned log variance, either way
DECAY = 0.98  # of the running size of a loss: a mean over about the last 50 steps
FLOOR = 1e-3  # of that size: what is smaller is next to nothing, and is not blown up further

Mean = Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]]


def _alone(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return values


class Weighting(nn.Module):
    """The weighted sum of the losses. Kinds of it are made with the names of all losses of a run.

    Args:
        names: losses that get a weight in some phase.
        mean: averages numbers over the processes of a training; one process needs none.
    """

    def __init__(self, names: Sequence[str] = (), *, mean: Mean = _alone) -> None:
        super().__init__()
        self.mean = mean

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]
    ) -> Float[Tensor, ""]:
        """One number from the raw losses of a step and their weights, all above 0."""
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def figures(self) -> dict[str, float]:
        """What it has learned, for the table of epochs."""
        return {}


weightings: Registry[type[Weighting]] = Registry("weighting")
weightings.register("fixed")(Weighting)


@weightings.register("uncertainty")
class UncertaintyWeighting(Weighting):
    r"""Every loss has a variance of its own, which is learned.

    $$ L = \sum_i w_i \Big( e^{-s_i} L_i + \frac{s_i}{2} \Big), \quad s_i = \log σ_i^2 $$

    with $w_i$ the weight of the phase, so that a loss comes and goes as the phases say. At the best
    $s_i$ a loss weighs $w_i / 2 L_i$: large losses are scaled down and none can drown the others.
    $s = 0$ at the start is the fixed weighting. The sum may be negative. $s$ stays within ±3
    (factors from 0.05 to 20): a loss that has nothing to say for a while would send it to −∞, and
    drown the others when it speaks again.

    The paper's losses are never below zero. For one that is, such as `sparsity`, the sum would have
    no minimum: the heavier it weighs the better. So it counts as $|L_i|$, lifted by a constant: the
    model gets the same gradient, and $s_i$ its best value at the size of the loss, as for others.

    Reference:
        Kendall et al., Multi-task learning using uncertainty to weigh losses, 2018, eq. 10 in the
        form for classification ($L / σ^2 + \log σ$).
    """

    def __init__(self, names: Sequence[str] = (), *, mean: Mean = _alone) -> None:
        super().__init__(names, mean=mean)
        self.log_variance = nn.ParameterDict({n: nn.Parameter(torch.zeros(())) for n in names})

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]
    ) -> Float[Tensor, ""]:
        """See the class."""
        with torch.no_grad():
            for s in self.log_variance.values():
                s.clamp_(-LARGEST, LARGEST)
        scaled = {}
        for name, term in terms.items():
            s, size = self.log_variance[name], term + (term.abs() - term).detach()
            scaled[name] = torch.exp(-s) * size + s / 2
        return super().forward(scaled, weights)

    def figures(self) -> dict[str, float]:
        """`log_variance/NAME` for every loss."""
        return {f"log_variance/{name}": s.item() for name, s in self.log_variance.items()}


@weightings.register("scale")
class ScaleWeighting(Weighting):
    r"""Every loss is divided by its recent size, so that weights compare like with like.

    $$ L = \sum_i w_i \frac{L_i}{\max(n_i, f)}, \quad
       n_i ← d\,n_i + (1 - d)\,|L_i|, \quad d = 0.98, \; f = 0.001 $$

    with $w_i$ the weight of the phase. $n_i$ has no gradient, and is freed of the zero it starts
    from, so it is $|L_i|$ at the first step. Each loss then amounts to about $w_i$, or $-w_i$ if it
    is below zero: one that falls towards 0 keeps its say, up to a thousandfold (f), and one that
    falls away from 0, such as `sparsity`, loses some of it. Gradients grow with small losses:
    AdamW does not mind, but `train.clip` acts more often.

    A loss that is exactly 0 found nothing to speak of in its batch (no negative image, no map above
    the hinge), which tells nothing of its size: such steps do not count. Otherwise it would come
    back fifty times too loud.

    In several processes $L_i$ is averaged over them before its size is taken. So all divide by the
    same number, the one that a single process with all the images would have.
    """

    def __init__(self, names: Sequence[str] = (), *, mean: Mean = _alone) -> None:
        super().__init__(names, mean=mean)
        self.sizes = nn.ModuleDict({name: RunningSize() for name in names})

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]
    ) -> Float[Tensor, ""]:
        """See the class. Every call counts as a step."""
        together = self.mean(torch.stack([term.detach() for term in terms.values()]))
        scaled = {
            name: term / self.sizes[name](value)
            for (name, term), value in zip(terms.items(), together, strict=True)
        }
        return super().forward(scaled, weights)

    def figures(self) -> dict[str, float]:
        """`scale/NAME`, what it is divided by, for every loss that was not always 0."""
        sizes = {name: cast(RunningSize, size) for name, size in self.sizes.items()}
        return {f"scale/{name}": s.value.item() for name, s in sizes.items() if s.weight}


class RunningSize(nn.Module):
    """Moving average of the size of one loss; a checkpoint carries it."""

    size: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))  # of all values so far; 1 after many

    def forward(self, value: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The average with one more value, which a 0 leaves as it is."""
        pull = (1 - DECAY) * (value != 0)
        self.size.lerp_(value.abs().to(self.size), pull)
        self.weight.lerp_(torch.ones_like(self.weight), pull)
        return self.value

    @property
    def value(self) -> Float[Tensor, ""]:
        """The average so far, at least `FLOOR`."""
        return (self.size / self.weight.clamp_min(1 - DECAY)).clamp_min(FLOOR)
