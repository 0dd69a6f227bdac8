"""WSRPN-VL: the detector learns from words through a space that images and texts share.

Fusion at the level of optimisation: nothing but two projections is added, and what text teaches
reaches the detector as gradients of its shared features. No text is needed at inference.
"""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from wsrpn.models.base import models
from wsrpn.models.wsrpn import Wsrpn
from wsrpn.types import Alignment, Batch, ModelOutput, Texts, TextSpace

LARGEST_SCALE = 100.0  # of CLIP; with more the softmax saturates and learning stops


class SharedSpace(nn.Module):
    """Projections of image features and of text vectors onto one unit sphere.

    Args:
        channels: of the image features.
        words: d, features of a text vector.
        embedding: e, dimensions of the space.
        temperature: τ; cosines are multiplied by 1 / τ, at most by 100.
        learn_temperature: let it be learned, as its logarithm.
        bias: start of a learned number added to scaled cosines; None has none.

    Reference:
        Radford et al., CLIP, 2021, figure 3 and section 2.5; Zhai et al., SigLIP, 2023, section 3.2
        (bias).
    """

    log_scale: Tensor
    bias: Tensor

    def __init__(
        self,
        channels: int,
        words: int,
        *,
        embedding: int,
        temperature: float,
        learn_temperature: bool,
        bias: float | None,
    ) -> None:
        super().__init__()
        self.image = nn.Linear(channels, embedding)
        self.text = nn.Linear(words, embedding)
        log_scale = torch.tensor(-math.log(temperature))
        if learn_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        if bias is None:
            self.register_buffer("bias", torch.zeros(()))
        else:
            self.bias = nn.Parameter(torch.tensor(float(bias)))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """1 / τ."""
        with torch.no_grad():  # not within the graph: a gradient of 0 up there would keep it there
            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        return self.log_scale.exp()

    def forward(self, features: Float[Tensor, "b c gh gw"], texts: Texts | None) -> Alignment:
        """Images by the mean of their cells, and their texts where the batch has some."""
        image = unit(self.image(features.mean((2, 3))))
        text = None if texts is None else self.of_text(texts.vectors)
        return Alignment(image, text, self.scale.clone(), self.bias.clone())

    def of_text(self, vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """Text vectors in the space."""
        return unit(self.text(vectors.to(self.text.weight.dtype)))


def unit(vectors: Float[Tensor, "*n e"]) -> Float[Tensor, "*n e"]:
    """Vectors of length 1, in float32."""
    return normalize(vectors.float(), dim=-1)


@contextmanager
def watched(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module gives while the context lasts, so that nobody has to run it twice."""
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _given, made: seen.append(made))
    try:
        yield seen
    finally:
        handle.remove()


def cell_width(detector: Wsrpn) -> int:
    """Features per cell of a detector."""
    return cast("nn.Conv2d", detector.project[-1]).out_channels


@models.register("wsrpn_vl", gives=(*models.facts("wsrpn")["gives"], "alignment"), reads_text=True)
class WsrpnVl(Wsrpn):
    """WSRPN with projections of image and text beside its branches.

    Args:
        classes: k.
        text: the space of the text encoder.
        embedding: e, dimensions of the space that image and text share.
        look: what stands for the image there: the mean of the `cells` that both branches read, or
            of the backbone's `features`, as in the source. With a frozen backbone features do not
            learn, so that text would teach the detector nothing.
        temperature: see `SharedSpace`.
        learn_temperature: see `SharedSpace`.
        bias: see `SharedSpace`.
        options: those of `wsrpn`.
    """

    def __init__(
        self,
        *,
        classes: int,
        text: TextSpace,
        embedding: int = 128,
        look: Literal["cells", "features"] = "cells",
        temperature: float = 0.07,
        learn_temperature: bool = False,
        bias: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(classes=classes, **options)
        self.look = look
        self.space = SharedSpace(
            cell_width(self) if look == "cells" else self.backbone.channels,
            text.width,
            embedding=embedding,
            temperature=temperature,
            learn_temperature=learn_temperature,
            bias=bias,
        )

    def forward(self, batch: Batch) -> ModelOutput:
        """The detector's output, and image and text in their space."""
        with watched(self.project if self.look == "cells" else self.backbone) as seen:
            output = super().forward(batch)
        return dataclasses.replace(output, alignment=self.space(seen[0], batch.texts))
