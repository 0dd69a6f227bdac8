"""Five ways to let text help a detector, for one table: none, independent, late, mid, optimisation.

The detector is `Wsrpn` in all of them, so a difference between two rows is what the text does (and
in `mid` a cross-attention that is trained with it). `none` is the detector alone, `optimisation` is
WSRPN-VL. Text at inference is the prompts of the classes only ("Pneumothorax." and "No
pneumothorax."), which are buffers and travel with the weights; an image's own report would give its
labels away.
"""

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from wsrpn.models.base import models
from wsrpn.models.vl import WsrpnVl, cell_width
from wsrpn.models.wsrpn import Wsrpn
from wsrpn.types import Alignment, Batch, ModelOutput, TextSpace

DETECTOR = models.facts("wsrpn")["gives"]
models.register("fusion_none", gives=DETECTOR)(Wsrpn)
models.register("fusion_optimisation", gives=(*DETECTOR, "alignment"), reads_text=True)(WsrpnVl)


@models.register("fusion_independent", gives=(*DETECTOR, "alignment"), reads_text=True)
class IndependentFusion(WsrpnVl):
    """Detector and text each have a backbone of their own; neither knows of the other.

    The second image tower is a copy of the first as it starts.

    Args:
        classes: k.
        text: the space of the text encoder.
        options: those of `wsrpn_vl`.
    """

    def __init__(self, *, classes: int, text: TextSpace, **options: Any) -> None:
        super().__init__(classes=classes, text=text, **options)
        parts = [self.backbone, self.project] if self.look == "cells" else [self.backbone]
        self.tower = copy.deepcopy(nn.Sequential(*parts))

    def forward(self, batch: Batch) -> ModelOutput:
        """The detector's output; image and text as the second tower sees them."""
        output = Wsrpn.forward(self, batch)  # without the projection of its features
        alignment = self.space(self.tower(batch.images), batch.texts)
        return dataclasses.replace(output, alignment=alignment)


@models.register("fusion_late", gives=(*DETECTOR, "alignment"), reads_text=True)
class LateFusion(IndependentFusion):
    r"""The detector and the second tower vote.

    The tower's own answer is zero-shot: for each class the softmax over the cosines with its two
    prompts, whose logit is $a (v^⊤ t^+ - v^⊤ t^-)$. The vote is $P = (1 - w) P_{det} + w P_{text}$;
    the logits of the regions move by as much as their class's. Training sees the detector alone, so
    the vote comes after learning; $w$ is fitted on the validation split whenever it is looked at.

    Args:
        classes: k.
        text: the space of the text encoder.
        options: those of `wsrpn_vl`.

    Attributes:
        vote: w; 0, the detector alone, before it is fitted.
    """

    prompts: Tensor
    vote: Tensor

    def __init__(self, *, classes: int, text: TextSpace, **options: Any) -> None:
        super().__init__(classes=classes, text=text, **options)
        self.register_buffer("prompts", text.prompts.float().clone())
        self.register_buffer("vote", torch.tensor(0.0))

    def forward(self, batch: Batch) -> ModelOutput:
        """In training the detector's output, in evaluation that of the vote."""
        output = super().forward(batch)
        if self.training or output.alignment is None or output.regions is None:
            return output
        voted = mixed_logit(output.logits, self.zero_shot(output.alignment), self.vote)
        moved = output.regions.logits + (voted - output.logits)[:, None]
        regions = dataclasses.replace(output.regions, logits=moved)
        return dataclasses.replace(output, logits=voted, regions=regions)

    def zero_shot(self, alignment: Alignment) -> Float[Tensor, "b k"]:
        """Logits of the classes by their prompts."""
        # Cosines differ by little: in bf16 the logits would be coarse.
        with torch.autocast(alignment.image.device.type, enabled=False):
            present, absent = self.space.of_text(self.prompts).unbind(1)
            return alignment.scale * (alignment.image @ (present - absent).T)

    def answers(self, batch: Batch) -> Float[Tensor, "b 2 k"]:
        """What the two voters say, as logits: what `fit` wants."""
        output = Wsrpn.forward(self, batch)
        alignment = self.space(self.tower(batch.images), None)
        return torch.stack((output.logits, self.zero_shot(alignment)), 1)

    def fit(
        self, answers: Float[np.ndarray, "b 2 k"], labels: Float[np.ndarray, "b k"]
    ) -> dict[str, Tensor]:
        """The weight with the smallest log loss on held-out images.

        Returns:
            The buffers that change, by name; `vote` stays where no label is known.
        """
        known = ~np.isnan(labels)
        if not known.any():
            return {"vote": self.vote}
        odds = answers.astype(np.float64).transpose(1, 0, 2)[:, known]
        weight = best_vote(1 / (1 + np.exp(-np.clip(odds, -30, 30))), labels[known])
        return {"vote": torch.tensor(weight, dtype=self.vote.dtype, device=self.vote.device)}


def mixed_logit(
    first: Float[Tensor, "*n"], second: Float[Tensor, "*n"], weight: Float[Tensor, ""]
) -> Float[Tensor, "*n"]:
    """The logit of `(1 - weight) σ(first) + weight σ(second)`, exact for large logits.

    Example:
        >>> mixed_logit(torch.tensor(50.0), torch.tensor(-50.0), torch.tensor(0.5))
        tensor(0.)
    """
    less, more = torch.log1p(-weight), weight.log()
    present = torch.logaddexp(less + logsigmoid(first), more + logsigmoid(second))
    absent = torch.logaddexp(less + logsigmoid(-first), more + logsigmoid(-second))
    return present - absent


def best_vote(p: Float[np.ndarray, "2 n"], labels: Float[np.ndarray, " n"]) -> float:
    """The w in [0, 1] for which `(1 - w) p[0] + w p[1]` has the smallest log loss.

    The log loss of an affine function is convex, so a root of its slope is the minimum.
    """
    right = np.where(labels == 1, p, 1 - p)

    def slope(w: float) -> float:
        return float(-((right[1] - right[0]) / ((1 - w) * right[0] + w * right[1])).mean())

    if slope(0.0) >= 0:
        return 0.0
    if slope(1.0) <= 0:
        return 1.0
    return float(brentq(slope, 0.0, 1.0, xtol=1e-9))


@models.register("fusion_mid", gives=DETECTOR, reads_text=True)
class MidFusion(Wsrpn):
    """Cells look up the prompts of the classes, and carry what they found into both branches.

    Multi-head cross-attention from the cells to the 2 k prompts, added to the cells.

    Args:
        classes: k.
        text: the space of the text encoder.
        options: those of `wsrpn`.
    """

    prompts: Tensor

    def __init__(self, *, classes: int, text: TextSpace, **options: Any) -> None:
        super().__init__(classes=classes, **options)
        width, heads = cell_width(self), self.attention.attend.num_heads
        self.register_buffer("prompts", text.prompts.float().flatten(0, 1).clone())
        self.words = nn.Linear(text.width, width)
        self.norm_cells = nn.LayerNorm(width)
        self.read = nn.MultiheadAttention(width, heads, batch_first=True)

    def cells(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b gh gw d"]:
        """Features of the grid cells, with what the words say to them."""
        cells = super().cells(images)
        asked = self.norm_cells(cells.flatten(1, 2))
        words = self.words(self.prompts).expand(len(cells), -1, -1)
        found = self.read(asked, words, words, need_weights=False)[0]
        return cells + found.reshape(cells.shape)
