"""How the losses of a step become one: weights of the phase, or weights that are learned too.

A weighting is a module: what it learns is trained, saved and averaged over processes with the
model. `train.weighting` names it.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.registry import Registry


class Weighting(nn.Module):
    """The weighted sum of the losses. Kinds of it are made with the names of all losses of a run.

    Args:
        names: losses that get a weight in some phase.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__()

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]
    ) -> Float[Tensor, ""]:
        """One number from the raw losses of a step and their weights, all above 0."""
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def figures(self) -> dict[str, float]:
        """What it has learned, for the table of epochs."""
        return {}


LARGEST = 3.0  # of a learned log variance, either way
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

    Reference:
        Kendall et al., Multi-task learning using uncertainty to weigh losses, 2018, eq. 10 in the
        form for classification ($L / σ^2 + \log σ$).
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict({n: nn.Parameter(torch.zeros(())) for n in names})

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]
    ) -> Float[Tensor, ""]:
        """See the class."""
        with torch.no_grad():
            for s in self.log_variance.values():
                s.clamp_(-LARGEST, LARGEST)
        log_variance = {name: self.log_variance[name] for name in terms}
        scaled = {n: torch.exp(-s) * terms[n] + s / 2 for n, s in log_variance.items()}
        return super().forward(scaled, weights)

    def figures(self) -> dict[str, float]:
        """`log_variance/NAME` for every loss."""
        return {f"log_variance/{name}": s.item() for name, s in self.log_variance.items()}
