"""Figures of masks on the validation split, from one pass of the model.

They are of the network's own size: whole images brought to `data.size`, or, with
`masks.scale=native`, windows of it that together cover an image. Windows of an image count as one:
their pixels are added before any ratio is taken, each pixel once, and their losses are averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wsrpn.config import RunConfig
from wsrpn.losses import losses
from wsrpn.losses.base import read
from wsrpn.masks import loader
from wsrpn.metrics.pixels import macro, specificity, values
from wsrpn.train import validate
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.phases import weights_at
from wsrpn.train.task import Feed
from wsrpn.types import Batch, ModelOutput


@dataclass(frozen=True)
class Told:
    """What is known of one image, or of one window.

    Attributes:
        counts: pixels that are hits, false alarms, misses, and neither.
        terms: loss → raw value.
    """

    counts: tuple[int, ...]
    terms: Mapping[str, float]


def judge(
    state: State, feed: Feed, config: RunConfig, here: World, *, steps: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Figures of the weights that would be used.

    Args:
        state: see `Task.judge`.
        feed: validation batches.
        config: of the run.
        here: this process.
        steps: of an epoch of training.

    Returns:
        Figures, and the number of foreground pixels by the id of the image, or of the window.

        - `val/loss/NAME`: each loss that has a weight in some phase, raw, mean over the images;
        - `val/loss`: their sum with the weights that the epoch ended with;
        - `val/dice`, `val/jaccard`, `val/precision`, `val/recall`: at a score of 0.5, mean over the
          images. An empty answer to an empty mask has Dice and Jaccard 1. An image where nothing is
          found has no precision and one with an empty mask no recall: they are left out there;
        - `val/foreground`, `val/truth`: share of all pixels that is answered, and that there is.

        Both empty without validation images.
    """
    if not len(feed):
        return {}, {}
    native = config.masks.scale == "native"

    def ask(batch: Batch) -> list[Told]:
        batch = replace(batch, epoch=state.step / steps)
        output = state.model(batch)
        counts = pixels(output, batch, native=native).tolist()
        raw = {name: value.tolist() for name, value in terms(output, batch, config).items()}
        return [
            Told(tuple(one), {name: row[i] for name, row in raw.items()})
            for i, one in enumerate(counts)
        ]

    told = validate.told(state, feed, config, here, ask)
    # Those of the last step, which stand in the same row of the table.
    weights = weights_at(config.phases, max(state.step - 1, 0) / steps)
    areas = {name: one.counts[0] + one.counts[2] for name, one in told.items()}
    return figures(told, weights, native=native), areas


def pixels(output: ModelOutput, batch: Batch, *, native: bool) -> Int[np.ndarray, "b 4"]:
    """Hits, false alarms, misses and the rest of each image or window, at a score of 0.5.

    Args:
        output: with masks.
        batch: with masks; a soft pixel is inside from one half on.
        native: whether it holds windows, of which each counts the pixels that no earlier one has.
    """
    found = (cast(Tensor, output.mask_logits) >= 0)[:, 0]
    there = (cast(Tensor, batch.masks) >= 0.5)[:, 0]
    rows = []
    for name, size_px, f, t in zip(batch.ids, batch.sizes_px.tolist(), found, there, strict=True):
        if native:
            down, right = own(name, (size_px[0], size_px[1]), f.shape[-1])
            f, t = f[down, right], t[down, right]
        rows.append(torch.stack([(f & t).sum(), (f & ~t).sum(), (~f & t).sum(), (~f & ~t).sum()]))
    return torch.stack(rows).cpu().numpy()


def own(name: str, size_px: tuple[int, int], side: int) -> tuple[slice, slice]:
    """The rows and columns of a validation window that it shares with no earlier one.

    Mirror images beyond the edge of a small image are not among them.

    Args:
        name: of the window; the number after its last @ counts them (`wsrpn.masks.loader.corners`).
        size_px: height and width of the image.
        side: of a window.

    Example:
        >>> own("image.png@2", (60, 250), 100)  # it begins at column 150, 50 after the one before
        (slice(0, 60, None), slice(50, 100, None))
    """
    number = int(name[len(loader.image_of(name)) + 1 :])
    places = divmod(number, -(-size_px[1] // side))
    parts = []
    for place, length in zip(places, size_px, strict=True):
        start = min(place * side, max(length - side, 0))
        parts.append(slice(place * side - start, min(side, length - start)))
    return parts[0], parts[1]


def terms(output: ModelOutput, batch: Batch, config: RunConfig) -> dict[str, Float[Tensor, " b"]]:
    """The raw losses of each image or window, of those that have a weight in some phase."""
    used = {n for phase in config.phases for n, weight in phase.weights.items() if weight > 0}
    with torch.autocast(batch.images.device.type, enabled=False):
        return {
            name: losses[name](*read(name, output, batch), **options).float()
            for name, options in config.losses.items()
            if name in used
        }


def figures(
    told: Mapping[str, Told], weights: Mapping[str, float], *, native: bool
) -> dict[str, float]:
    """The figures of `judge`.

    Args:
        told: by id of the image or window; its order does not matter.
        weights: of the losses.
        native: whether the ids are those of windows.
    """
    images: dict[str, list[Told]] = {}
    for name in sorted(told):
        images.setdefault(loader.image_of(name) if native else name, []).append(told[name])
    found = {
        f"val/loss/{name}": _mean([_mean([one.terms[name] for one in some])
                                   for some in images.values()])
        for name in next(iter(told.values())).terms
    }  # fmt: skip
    total = {
        "val/loss": sum(
            weight * found[f"val/loss/{name}"] for name, weight in weights.items() if weight > 0
        )
    }
    counts = [np.sum([one.counts for one in some], axis=0) for some in images.values()]
    return total | found | overlap(np.stack(counts))


def overlap(counts: Int[np.ndarray, "n 4"]) -> dict[str, float]:
    """The figures of pixels, from hits, false alarms, misses and the rest of each image.

    Example:
        >>> overlap(np.array([[1, 1, 0, 2]]))["val/jaccard"]
        0.5
    """
    hit, alarm, miss, _ = counts.T
    once, rows = np.ones((1, len(counts))), counts.astype(np.float64)
    found = {
        f"val/{name}": float(macro(values(name, rows), once)[0])
        for name in ("dice", "jaccard", "precision", "recall")
    }
    found["val/specificity"] = float(macro(specificity(rows), once)[0])
    shares = {"foreground": hit + alarm, "truth": hit + miss}
    return found | {f"val/{n}": float(part.sum() / counts.sum()) for n, part in shares.items()}


def _mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers))
