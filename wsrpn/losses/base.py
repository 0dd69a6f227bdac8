"""Losses by name, and the weighted sum that training minimises."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from wsrpn.errors import InputError
from wsrpn.losses.weighting import Weighting
from wsrpn.registry import Registry
from wsrpn.types import Batch, ModelOutput

losses: Registry[Callable[..., Tensor]] = Registry("loss")


class Objective:
    """Losses with their options; the weights come with each step.

    Args:
        options: loss name → options of its signature.
        weighting: makes one number of them; the plain weighted sum where it is None.

    Raises:
        InputError: unknown loss, option or value.
    """

    def __init__(
        self, options: Mapping[str, Mapping[str, Any]], weighting: Weighting | None = None
    ) -> None:
        self.weighting = weighting or Weighting()
        self.options = {name: losses.options(name, given) for name, given in options.items()}

    def __call__(
        self, output: ModelOutput, batch: Batch, weights: Mapping[str, float]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Weighted sum, and each raw term averaged over the images.

        Terms of weight 0 are not computed.
        """
        terms = {
            name: losses[name](*read(name, output, batch), **self.options.get(name, {})).mean()
            for name, weight in weights.items()
            if weight > 0
        }
        if not terms:
            raise InputError("phases: no loss has a weight above 0; there is nothing to train.")
        return self.weighting(terms, weights), terms


def read(name: str, output: ModelOutput, batch: Batch) -> list[Any]:
    """The values that a loss said it reads, in its order."""
    sources = {"output": output, "batch": batch}
    values = []
    for path in losses.facts(name)["reads"]:
        source, attribute = path.split(".")
        values.append(getattr(sources[source], attribute))
    return values
