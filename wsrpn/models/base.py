"""Models by name, and what each one gives."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from wsrpn.errors import InputError
from wsrpn.models.backbones import Backbone
from wsrpn.registry import Registry
from wsrpn.types import Batch, TextSpace

models: Registry[type[nn.Module]] = Registry("model")


@runtime_checkable
class FitsOnValidation(Protocol):
    """A model with numbers that are not learned but fitted, by its labels, on held-out images."""

    def answers(self, batch: Batch) -> Tensor:
        """What the fit needs to know of a batch, images first and classes last."""

    def fit(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, Tensor]:
        """The buffers that change, by name, from all answers and the labels (1, 0 or nan)."""


def reads_text(model: Mapping[str, Any]) -> bool:
    """Whether a model is built with a `TextSpace`."""
    return bool(models.facts(model["name"]).get("reads_text", False))


def build(model: Mapping[str, Any], *, classes: int, text: TextSpace | None = None) -> nn.Module:
    """A model from the `model` section of a config.

    Args:
        model: `name` and options.
        classes: number of classes.
        text: the space of the text encoder, for models registered with `reads_text=True`.

    Raises:
        InputError: unknown name, option or value, or options that do not go together.
    """
    name = model["name"]
    options = {key: value for key, value in model.items() if key != "name"}
    given = models.options(name, options)
    runtime: dict[str, Any] = {"classes": classes}
    if reads_text(model):
        if text is None:
            raise InputError(
                f"model {name} reads text, and no encoder is chosen; set text.encoder, for example "
                "--set text.encoder=minilm."
            )
        runtime["text"] = text
    try:
        return models[name](**runtime, **given)
    except InputError:
        raise
    # torch's modules refuse sizes that do not fit with any of these
    except (ValueError, AssertionError, RuntimeError, ArithmeticError) as error:
        usual = models.options(name)
        told = ", ".join(f"{key}={value}" for key, value in given.items() if value != usual[key])
        raise InputError(
            f"model {name} cannot be built with {told or 'these options'} ({error}); "
            "change one of them."
        ) from error


def backbones_of(model: nn.Module) -> list[Backbone]:
    """The backbones of a model: what has a learning rate of its own and may be frozen."""
    return [part for part in model.modules() if isinstance(part, Backbone)]


def describe(model: nn.Module) -> dict[str, dict[str, int]]:
    """Parameters of a model as it was built, by part and together (`all`).

    Returns:
        Part → `parameters` and, of these, `trainable`.
    """

    def count(part: nn.Module) -> dict[str, int]:
        sizes = [(p.numel(), p.requires_grad) for p in part.parameters()]
        return {
            "parameters": sum(size for size, _ in sizes),
            "trainable": sum(size for size, learns in sizes if learns),
        }

    parts = {name: count(part) for name, part in model.named_children()}
    return {"all": count(model), **{k: v for k, v in parts.items() if v["parameters"]}}


def filled(model: Mapping[str, Any]) -> dict[str, Any]:
    """The `model` section with every default of the model's signature written out.

    A model registered with `settle` also writes out what follows from its options, such as the
    sizes of weights that it begins with, so that it can be built again without them.
    """
    name = model["name"]
    given = models.options(name, {key: value for key, value in model.items() if key != "name"})
    settle = models.facts(name).get("settle")
    return {"name": name, **(settle(given) if settle else given)}


def check_gives(name: str, loss: str, reads: Sequence[str]) -> None:
    """Refuse a loss that reads what the model does not give.

    Raises:
        InputError: names the loss, the value and the models that give it.
    """
    for path in reads:
        value = path.removeprefix("output.")
        if path.startswith("output.") and value not in models.facts(name)["gives"]:
            able = [other for other in models if value in models.facts(other)["gives"]]
            raise InputError(
                f"Loss '{loss}' reads {path}, which model '{name}' does not give. "
                f"Models that give it: {', '.join(able) or 'none'}."
            )
