"""Figures on the validation split, from labels only: boxes never choose an epoch."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn import compute
from wsrpn.config import RunConfig
from wsrpn.errors import InputError
from wsrpn.losses.image import image_bce_loss
from wsrpn.metrics.image import ranking
from wsrpn.models.base import FitsOnValidation
from wsrpn.train.distributed import World
from wsrpn.train.feed import Feed
from wsrpn.train.loop import State
from wsrpn.types import Batch


def validate(state: State, feed: Feed, config: RunConfig, here: World) -> dict[str, float]:
    """AUROC, average precision and cross-entropy of the weights that would be used.

    Returns:
        `val/auroc`, `val/image_ap` (means over the classes that have both labels; absent when none
        has) and `val/loss`; empty without validation images.
    """
    if not len(feed):
        return {}
    logits, labels = answers(state, feed, config, here)
    loss = image_bce_loss(torch.from_numpy(logits), torch.from_numpy(labels)).mean()
    found = {"val/loss": float(loss)}
    per_class = []
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        weights = np.ones((1, int(known.sum())))
        auroc, ap = ranking(labels[known, k], logits[known, k], weights)
        per_class.append((auroc[0], ap[0]))
    for name, values in zip(("auroc", "image_ap"), np.array(per_class).T, strict=True):
        if np.isfinite(values).any():
            found[f"val/{name}"] = float(np.nanmean(values))
    return found


def refuse_unfitted(model: nn.Module, feed: Feed, config: RunConfig) -> None:
    """Stop where a model is to be fitted on validation images and there are none.

    Raises:
        InputError: names the model and the key to change.
    """
    if isinstance(model, FitsOnValidation) and not len(feed):
        raise InputError(
            f"{feed.dataset.name}: model {config.model['name']} is fitted on validation images "
            "when it is trained, and there are none; set data.val_share above 0."
        )


def fit(state: State, feed: Feed, config: RunConfig, here: World) -> dict[str, float]:
    """Let a model fit the numbers that it takes from the validation split; most have none.

    Returns:
        `fitted/NAME` for each of them; the model and the average of its weights have them from now
        on, so they are in every checkpoint.
    """
    model = state.model
    if not isinstance(model, FitsOnValidation):
        return {}
    fitted = model.fit(*answers(state, feed, config, here, ask=model.answers))
    model.load_state_dict(fitted, strict=False)
    if config.train.ema:
        state.average.values |= {name: value.clone() for name, value in fitted.items()}
    return {f"fitted/{name}": value.item() for name, value in fitted.items()}


@torch.no_grad()
def answers(
    state: State,
    feed: Feed,
    config: RunConfig,
    here: World,
    *,
    ask: Callable[[Batch], Tensor] | None = None,
) -> tuple[Float[np.ndarray, "b *n k"], Float[np.ndarray, "b k"]]:
    """Answers and labels of the validation split, in its order, on every process.

    Args:
        state: whose averaged weights are asked, where there are such.
        feed: of the validation split.
        config: of the run.
        here: this process.
        ask: what to ask the model for; None asks for its image-level logits.
    """
    model, weights = state.model, None
    if config.train.ema:
        weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(state.average.values)
    dtype = compute.precision(config.train.precision, here.device)
    last = compute.wants_channels_last(config.train.channels_last, here.device, dtype)
    model.eval()
    here.share_buffers(model)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    try:
        for batch in feed():
            batch = batch.to(here.device, channels_last=last)
            with compute.autocast(dtype, here.device):
                logits = (ask(batch) if ask else model(batch).logits).float().cpu().numpy()
            found |= dict(
                zip(batch.ids, zip(logits, batch.labels.cpu().numpy(), strict=True), strict=True)
            )
    finally:
        if weights is not None:
            model.load_state_dict(weights)
    for part in here.gather(found):
        found |= part
    rows = [found[record.id] for record in feed.dataset.records]
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def better(value: float, best: float | None, monitor: str) -> bool:
    """Whether a new value of the monitored figure beats the best; a tie does not."""
    if value != value:
        return False
    if best is None:
        return True
    return value < best if monitor == "loss" else value > best
