"""Figures of tiles on the validation split, from one pass of the model.

Losses and divergences are those of normal tiles where a model learns normal tiles alone; tumour
counts in the rankings of the leading score, which choose an epoch only if `train.monitor` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wsrpn.config import RunConfig
from wsrpn.elbo import kl_nats
from wsrpn.losses import losses
from wsrpn.losses.base import read
from wsrpn.models.base import FitsOnValidation
from wsrpn.tiles import TileSet
from wsrpn.train import validate
from wsrpn.train.distributed import World
from wsrpn.train.loop import State
from wsrpn.train.phases import weights_at
from wsrpn.train.task import Feed
from wsrpn.types import Batch, Latent, ModelOutput

ACTIVE = 0.01  # variance of a latent dimension's mean from which it is in use
# What a loss of a whole batch may read to be worked out on all tiles as one batch.
WHOLE = {"output.logits", "output.latent", "batch.labels", "batch.epoch"}


@dataclass(frozen=True)
class Told:
    """What a model says of validation tiles, a row each.

    Attributes:
        logits: of the leading score.
        labels: 1, 0 or nan.
        terms: loss → raw value; without those that see all tiles as one batch.
        latent: of an autoencoder, else None.
    """

    logits: Float[np.ndarray, "n 1"]
    labels: Float[np.ndarray, "n 1"]
    terms: Mapping[str, Float[np.ndarray, " n"]]
    latent: Latent | None


def judge(
    state: State,
    feed: Feed,
    tiles: TileSet,
    config: RunConfig,
    here: World,
    *,
    normal_only: bool,
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit what is fitted, then the figures of the weights that would be used.

    Args:
        state: see `Task.judge`.
        feed: validation batches.
        tiles: that they are of.
        config: of the run.
        here: this process.
        normal_only: whether the model learns normal tiles alone.

    Returns:
        Fitted numbers (`fitted/NAME`), and:

        - `val/loss`, with `normal_only` the training's own with the weights of its end, else the
          cross-entropy of the tiles with a label;
        - with a reconstruction `val/reconstruction`, the raw loss of that name;
        - with a latent `val/kl` in nats and `val/active_units`, the dimensions whose mean varies
          over the tiles with a variance above 0.01 (Burda et al., Importance weighted
          autoencoders, 2016, section 4.2);
        - `val/auroc` and `val/image_ap` where there are both labels.

        Empty without validation tiles.
    """
    if not len(feed):
        return {}, {}
    ids = names(tiles)
    fitted: dict[str, float] = {}
    if isinstance(state.model, FitsOnValidation):
        asked = state.model.answers
        rows = validate.answers(
            state, feed, config, here, lambda b: list(asked(b).float().cpu().numpy()), ids=ids
        )
        fitted = validate.fitted(state, config, np.stack(rows), tiles.labels())
    told = ask(state, feed, tiles.labels(), config, here, ids=ids)
    known = ~np.isnan(tiles.label)
    found = validate.ranked(told.logits[known], tiles.labels()[known]) if known.any() else {}
    of = tiles.label == 0 if normal_only else np.ones(len(tiles), dtype=bool)
    if normal_only:
        found["val/loss"] = objective(told, config, of)
    if "reconstruction" in told.terms:
        found["val/reconstruction"] = float(told.terms["reconstruction"][of].mean())
    if told.latent is not None:
        latent = rows_of(told.latent, of)
        found["val/kl"] = float(kl_nats(latent).mean())
        found["val/active_units"] = float(active_units(latent))
    return fitted, found


def names(tiles: TileSet) -> list[str]:
    """What batches call the tiles, in order."""
    return [tiles.id(index) for index in range(len(tiles))]


def ask(
    state: State,
    feed: Feed,
    labels: Float[np.ndarray, "n 1"],
    config: RunConfig,
    here: World,
    *,
    ids: Sequence[str],
) -> Told:
    """What the weights that would be used say of each tile, on every process.

    Args:
        state: see `judge`.
        feed: see `judge`.
        labels: of the tiles.
        config: see `judge`.
        here: see `judge`.
        ids: of the tiles, in the order of the answers.
    """

    def told(batch: Batch) -> list[dict[str, np.ndarray]]:
        batch = replace(batch, epoch=float(config.train.epochs))
        output = state.model(batch)
        columns = {"logits": output.logits, **terms(output, batch, config)}
        if output.latent is not None and output.reconstruction is not None:
            columns |= {"mean": output.latent.mean, "log_variance": output.latent.log_variance}
        arrays = {name: value.float().cpu().numpy() for name, value in columns.items()}
        return [{name: v[i] for name, v in arrays.items()} for i in range(len(batch.ids))]

    rows = validate.answers(state, feed, config, here, told, ids=ids)
    found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    logits, mean = found.pop("logits"), found.pop("mean", None)
    latent = None
    if mean is not None:
        latent = Latent(torch.from_numpy(mean), torch.from_numpy(found.pop("log_variance")))
    return Told(logits, labels.astype(np.float32), found, latent)


def sees_all(name: str) -> bool:
    """Whether a loss is to see all tiles as one batch."""
    facts = losses.facts(name)
    return bool(facts.get("batchwise", False)) and WHOLE.issuperset(facts["reads"])


def terms(output: ModelOutput, batch: Batch, config: RunConfig) -> dict[str, Float[Tensor, " b"]]:
    """The raw losses of each tile, without those that are to see all tiles."""
    with torch.autocast(batch.images.device.type, enabled=False):
        return {
            name: losses[name](*read(name, output, batch), **options)
            for name, options in config.losses.items()
            if not sees_all(name)
        }


def objective(told: Told, config: RunConfig, of: Bool[np.ndarray, " n"]) -> float:
    """The weighted sum of the losses with the weights of the end of training.

    Args:
        told: of the tiles.
        config: of the run.
        of: which tiles count.
    """
    return sum(
        weight
        * float(
            (_over_all(told, name, config, of) if sees_all(name) else told.terms[name][of]).mean()
        )
        for name, weight in weights_at(config.phases, float("inf")).items()
        if weight > 0
    )


def _over_all(
    told: Told, name: str, config: RunConfig, of: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " m"]:
    """A loss of a whole batch on all tiles as one."""
    logits = torch.from_numpy(told.logits[of])
    latent = None if told.latent is None else rows_of(told.latent, of)
    batch = Batch(
        ids=(),
        images=logits.new_zeros(len(logits), 3, 0, 0),
        labels=torch.from_numpy(told.labels[of]),
        sizes_px=torch.zeros(len(logits), 2, dtype=torch.int64),
        epoch=float(config.train.epochs),
    )
    output = ModelOutput(logits, latent=latent)
    values: Tensor = losses[name](*read(name, output, batch), **config.losses[name])
    return values.float().numpy()


def rows_of(latent: Latent, of: Bool[np.ndarray, " n"]) -> Latent:
    """The latents of some images."""
    chosen = torch.from_numpy(of)
    return Latent(latent.mean[chosen], latent.log_variance[chosen])


def active_units(latent: Latent) -> int:
    """Dimensions whose mean varies over the images with a variance above `ACTIVE`.

    Example:
        >>> mean = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
        >>> active_units(Latent(mean, torch.zeros(2, 2)))
        1
    """
    return int((latent.mean.double().var(0, unbiased=False) > ACTIVE).sum())
