"""Figures on the validation split, and which epoch they choose.

Choosing reads labels only. Figures of the Gaussian maps go with them where a model has regions, and
figures of boxes where `train.watch_boxes` asks for them: to be looked at, never to choose by. All
come from one pass of the model, through the same detections and metrics as `wsrpn eval`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from wsrpn import compute
from wsrpn.config import RunConfig
from wsrpn.detections import detections
from wsrpn.errors import InputError
from wsrpn.losses.image import image_bce_loss
from wsrpn.metrics import metrics
from wsrpn.metrics.gather import gather
from wsrpn.metrics.image import ranking
from wsrpn.models.base import FitsOnValidation
from wsrpn.train.distributed import World
from wsrpn.train.feed import Feed
from wsrpn.train.loop import State
from wsrpn.types import Batch, Dataset, Detections, Predictions

# Metric → its figures that are watched.
MAPS: dict[str, tuple[str, ...]] = {
    "gaussian": ("entropy", "entropy_normalized", "alignment_error", "top_patch")
}
BOXES: dict[str, tuple[str, ...]] = {
    "detection": ("ap@0.1", "ap@0.3", "ap@0.5"),
    "rodeo": ("rodeo",),
}

Answer = TypeVar("Answer")


def validate(state: State, feed: Feed, config: RunConfig, here: World) -> dict[str, float]:
    """Figures of the weights that would be used.

    Returns:
        `val/loss` (cross-entropy), `val/auroc` and `val/image_ap` (means over the classes that have
        both labels; absent when none has); of a model with regions also `val/NAME` of `MAPS`, and
        with `train.watch_boxes`, where there are boxes, of `BOXES`. Empty without validation
        images.
    """
    if not len(feed):
        return {}
    boxes = config.inference if watches_boxes(config, feed.dataset) else None
    ids = [record.id for record in feed.dataset.records]

    def ask(batch: Batch) -> list[Detections]:
        return detections(batch, state.model(batch), boxes)

    found = answers(state, feed, config, here, ask, ids=ids)
    logits = np.stack([one.image_logits for one in found])
    return ranked(logits, feed.dataset.labels()) | watched(
        found, feed.dataset, boxes=boxes is not None
    )


def ranked(logits: Float[np.ndarray, "n k"], labels: Float[np.ndarray, "n k"]) -> dict[str, float]:
    """The figures that may choose an epoch, from image-level answers and labels."""
    labels = labels.astype(np.float32)
    loss = image_bce_loss(torch.from_numpy(logits), torch.from_numpy(labels)).mean()
    figures = {"val/loss": float(loss)}
    per_class = []
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        weights = np.ones((1, int(known.sum())))
        auroc, ap = ranking(labels[known, k], logits[known, k], weights)
        per_class.append((auroc[0], ap[0]))
    for name, values in zip(("auroc", "image_ap"), np.array(per_class).T, strict=True):
        if np.isfinite(values).any():
            figures[f"val/{name}"] = float(np.nanmean(values))
    return figures


def watched(found: Sequence[Detections], dataset: Dataset, *, boxes: bool) -> dict[str, float]:
    """The figures to look at, without those that are undefined.

    Args:
        found: detections of every image of `dataset`.
        dataset: labels and boxes.
        boxes: whether the boxes are judged, too.
    """
    regions = any(one.regions is not None for one in found)
    asked = (MAPS if regions else {}) | (BOXES if boxes else {})
    if not asked:
        return {}
    evidence = gather(Predictions(dataset.classes, tuple(found)), dataset)
    every = np.ones((1, len(evidence)))
    figures: dict[str, float] = {}
    for metric, names in asked.items():
        values = metrics.build(metric, evidence=evidence).figures(every)
        figures |= {f"val/{name}": float(values[name].total[0]) for name in names}
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def watches_boxes(config: RunConfig, val: Dataset) -> bool:
    """Whether there are boxes to watch, and someone wants to."""
    return config.train.watch_boxes and any(r.boxes and r.boxes_known for r in val.records)


def notes(config: RunConfig, val: Dataset) -> list[str]:
    """A sentence if there are no boxes to watch."""
    if not config.train.watch_boxes or watches_boxes(config, val):
        return []
    return ["train.watch_boxes has no effect: no validation image has a box."]


def refuse_unfitted(
    model: nn.Module,
    name: str,
    images: int,
    config: RunConfig,
    *,
    unit: str = "images",
    notes: Sequence[str] = (),
) -> None:
    """Stop where a model is to be fitted on validation images and there are none.

    Args:
        model: the network.
        name: of the data.
        images: that there are.
        config: of the run.
        unit: what they are called.
        notes: of the data, on how they were split.

    Raises:
        InputError: names the model and the key to change.
    """
    if isinstance(model, FitsOnValidation) and not images:
        told = f"{name}: model {config.model['name']} is fitted on validation {unit}"
        if config.data.val_share == 0:
            raise InputError(
                f"{told} when it is trained, and there are none; set data.val_share above 0."
            )
        raise InputError(
            f"{told} when it is trained, and the split of the data leaves none."
            f"{''.join(f' {note}' for note in notes)} Add patients, with split=val or, for "
            f"data.val_share to choose among them, without a split."
        )


def fit(state: State, feed: Feed, config: RunConfig, here: World) -> dict[str, float]:
    """Let a model fit the numbers that it takes from the validation split; most have none.

    Returns:
        `fitted/NAME` for each of them.
    """
    model = state.model
    if not isinstance(model, FitsOnValidation):
        return {}
    asked, ids = model.answers, [record.id for record in feed.dataset.records]

    def ask(batch: Batch) -> list[np.ndarray]:
        return list(asked(batch).float().cpu().numpy())

    told = answers(state, feed, config, here, ask, ids=ids)
    return fitted(state, config, np.stack(told), feed.dataset.labels())


def fitted(
    state: State, config: RunConfig, told: np.ndarray, labels: Float[np.ndarray, "n k"]
) -> dict[str, float]:
    """Let a model fit its numbers; it and the average of its weights have them from now on.

    So they are in every checkpoint.

    Args:
        state: with a model that `FitsOnValidation`.
        config: of the run.
        told: answers of the model, images first.
        labels: 1, 0 or nan.

    Returns:
        `fitted/NAME` for each of them, `fitted/NAME/INDEX` for those of several numbers.
    """
    model = cast(FitsOnValidation, state.model)
    new = model.fit(told, labels.astype(np.float32))
    state.model.load_state_dict(new, strict=False)
    if config.train.ema:
        state.average.values |= {name: value.clone() for name, value in new.items()}
    single = {f"fitted/{name}": v.item() for name, v in new.items() if v.numel() == 1}
    several = {
        f"fitted/{name}/{index}": number
        for name, v in new.items()
        if v.numel() > 1
        for index, number in enumerate(v.flatten().tolist())
    }
    return single | several


def answers(
    state: State,
    feed: Callable[[], Iterable[Batch]],
    config: RunConfig,
    here: World,
    ask: Callable[[Batch], Sequence[Answer]],
    *,
    ids: Sequence[str],
) -> list[Answer]:
    """What the weights that would be used say of each validation image, on every process.

    Args:
        state: see `told`.
        feed: see `told`.
        config: see `told`.
        here: see `told`.
        ask: see `told`.
        ids: of the images, in the order of the answers.
    """
    found = told(state, feed, config, here, ask)
    return [found[name] for name in ids]


@torch.no_grad()
def told(
    state: State,
    feed: Callable[[], Iterable[Batch]],
    config: RunConfig,
    here: World,
    ask: Callable[[Batch], Sequence[Answer]],
) -> dict[str, Answer]:
    """The same by the names that the batches give the images.

    Args:
        state: whose averaged weights are asked, where there are such.
        feed: of the validation split.
        config: of the run.
        here: this process.
        ask: a batch on the device → one answer per image, which can be sent to other processes.
    """
    dtype = compute.precision(config.train.precision, here.device)
    last = compute.wants_channels_last(config.train.channels_last, here.device, dtype)
    found: dict[str, Answer] = {}
    with averaged(state, config):
        here.share_buffers(state.model)
        for batch in feed():
            with compute.autocast(dtype, here.device):
                said = ask(batch.to(here.device, channels_last=last))
            found |= dict(zip(batch.ids, said, strict=True))
    for part in here.gather(found):
        found |= part
    return found


@contextmanager
def averaged(state: State, config: RunConfig) -> Iterator[None]:
    """The weights that would be used, in the model and in evaluation mode, while this lasts."""
    model, weights = state.model, None
    if config.train.ema:
        weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(state.average.values)
    model.eval()
    try:
        yield
    finally:
        if weights is not None:
            model.load_state_dict(weights)


def better(value: float, best: float | None, monitor: str) -> bool:
    """Whether a new value of the monitored figure beats the best; a tie does not."""
    if value != value:
        return False
    if best is None:
        return True
    return value < best if monitor == "loss" else value > best
