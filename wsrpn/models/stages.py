"""A backbone by its stages: the features at every size on the way down, and which parts make them.

Stage 1 ends at stride 2 and stage 5 at stride 32. A stage begins with the layer that makes the
features smaller, so it is found the same way in every backbone, whatever its layers are called.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.models.backbones import Backbone, Layer

COUNT = 5


@dataclass(frozen=True)
class Stage:
    """The layers of a backbone that work at one size.

    Attributes:
        channels: of its last features.
        modules: what it is made of.
    """

    channels: int
    modules: tuple[nn.Module, ...]


def pyramid(
    backbone: Backbone, images: Float[Tensor, "b i h w"]
) -> tuple[Float[Tensor, "b _ _ _"], ...]:
    """Features at strides 2, 4, 8, 16 and 32; the last are finished, as heads read them.

    A backbone's memory is not asked: it knows the last features alone.

    Args:
        backbone: with `grid=7`.
        images: in [0, 1], whose sides are multiples of 32.
    """
    *above, last = (found for _, found in _by_stage(backbone, images))
    return (*above, backbone.finish(last))


def stages_of(backbone: Backbone) -> tuple[Stage, ...]:
    """The stages of a backbone, the first one first; what finishes belongs to the last."""
    was = backbone.training
    like = next(backbone.parameters())
    image = torch.zeros(1, 3 if backbone.mean.ndim else 1, 64, 64, device=like.device)
    with torch.no_grad():
        found = list(_by_stage(backbone.eval(), image))
    backbone.train(was)
    parts = [tuple(module for layer in layers for module in layer.modules) for layers, _ in found]
    channels = [int(features.shape[1]) for _, features in found[:-1]] + [backbone.channels]
    parts[-1] += (backbone.tail,)
    return tuple(map(Stage, channels, parts))


def _by_stage(backbone: Backbone, images: Tensor) -> Iterator[tuple[list[Layer], Tensor]]:
    """The layers of each stage, and its last features."""
    layers: list[Layer] = []
    found = (images - backbone.mean) / backbone.std
    full = found.shape[-1]
    for layer in backbone.layers():
        before, found = found, layer(found)
        if found.shape[-1] < before.shape[-1] < full:
            yield layers, before
            layers = []
        layers.append(layer)
    yield layers, found
