"""`train`: from a config to a run folder.

A run folder holds `config.yaml` (all defaults filled in), `run.json` (classes, data, environment),
`splits.csv`, `metrics.csv` and TensorBoard events, and `checkpoints/` with `last` (to go on from)
and `best` (weights to use). A model with reconstructions leaves `reconstructions.png` of them, too,
and one that answers every pixel `segmentation.png`. What differs between radiographs, tiles of
slides and images with masks is a `Task`.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from wsrpn import checkpoint, compute, files
from wsrpn import models as model_parts
from wsrpn.config import RunConfig
from wsrpn.errors import Diverged, InputError
from wsrpn.losses import losses, weightings
from wsrpn.models.base import backbones_of, check_gives, describe
from wsrpn.models.memory import Memory
from wsrpn.train import folder, signals
from wsrpn.train.distributed import World, world
from wsrpn.train.loop import Progress, State, learn
from wsrpn.train.optimiser import Average, adamw
from wsrpn.train.radiographs import Radiographs
from wsrpn.train.task import MASKS, TILES, Task, input_of, refuse_other_monitor
from wsrpn.train.validate import better, refuse_unfitted

Listener = Callable[[Progress, Mapping[str, float] | None], None]


def train(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    listen: Listener | None = None,
) -> Path:
    """Train a model from labels of images or of tiles of slides, or from masks.

    Args:
        config: everything that decides the result.
        out: run folder.
        resume: go on from the newest undamaged checkpoint in `out`.
        device: cpu, cuda, cuda:1 … or auto.
        listen: called after each step, with the figures of the epoch where one ended.

    Returns:
        The run folder.

    Raises:
        InputError: config, data or folder are not usable.
        Diverged: a loss was not finite; `nonfinite-rankN.json` names the images of process N.
        signals.Interrupted: a signal asked for the end; a checkpoint is written.
    """
    config = complete(config)
    task = task_of(config)
    with world(device) as here, folder.claimed(out, here), signals.caught() as caught:
        run = Run(config, task, out, here)
        run.resume() if resume else run.begin()
        run.learn(listen, caught)
    return out


def complete(config: RunConfig) -> RunConfig:
    """The config with the defaults of model and losses written out, checked against each other.

    Raises:
        InputError: an unknown part or option, or a loss that reads what the model does not give.
    """
    refuse_other_monitor(config)
    model = model_parts.filled(config.model)
    used = dict.fromkeys(name for phase in config.phases for name in phase.weights)
    for name in used:
        check_gives(model["name"], name, losses.facts(name)["reads"])
    refuse_switched_off(config, model)
    refuse_seams(config)
    refuse_narrow_tiles(config, model)
    for name in config.losses:
        if name not in used:
            raise InputError(f"losses.{name}: has options, but no phase gives this loss a weight.")
    options = {name: losses.options(name, config.losses.get(name)) for name in used}
    return dataclasses.replace(config, model=model, losses=options)


def refuse_switched_off(config: RunConfig, model: Mapping[str, Any]) -> None:
    """Stop where a loss reads an attention that an option of the model leaves out.

    Args:
        config: of the run.
        model: its `model` section, filled.

    Raises:
        InputError: names the loss and both ways out.
    """
    if model.get("attention") != "none":
        return
    for place, phase in enumerate(config.phases):
        for name, weight in phase.weights.items():
            if weight > 0 and "output.attention" in losses.facts(name)["reads"]:
                raise InputError(
                    f"Loss '{name}' reads output.attention, which model '{model['name']}' does not "
                    f"give with model.attention=none; choose another model.attention, or "
                    f"--set phases.{place}.weights.{name}=0."
                )


def refuse_seams(config: RunConfig) -> None:
    """Stop where windows of an image are asked for whose answers are not those of the whole image.

    Raises:
        InputError: names the way out.
    """
    name = config.model["name"]
    if (
        input_of(config) == MASKS
        and config.masks.scale == "native"
        and not hasattr(model_parts.models[name], "seen")
    ):
        raise InputError(
            f"model {name} looks at the whole image to answer a pixel, so windows of it "
            "(masks.scale=native) get other answers; set masks.scale=fit."
        )


def refuse_narrow_tiles(config: RunConfig, model: Mapping[str, Any]) -> None:
    """Stop where nothing is left of the tiles that images will be answered in.

    Args:
        config: of the run.
        model: its `model` section, filled.

    Raises:
        InputError: names both keys.
    """
    masks = config.masks
    if input_of(config) != MASKS or masks.scale != "native":
        return
    # Corners of tiles are multiples of the network's cells.
    least = 2 * masks.margin + 2 ** int(model.get("depth", 5))
    if masks.tile < least:
        raise InputError(
            f"masks.tile={masks.tile} leaves nothing inside its margins of masks.margin="
            f"{masks.margin}, so no large image could be answered; set masks.tile to {least} at "
            "least, or a smaller masks.margin."
        )


def task_of(config: RunConfig) -> Task:
    """The data of a training, by what its model learns from.

    Args:
        config: complete.

    Raises:
        InputError: the data cannot be read, or are not for this model.
    """
    if input_of(config) == TILES:
        from wsrpn.train.tile_task import TileTask

        return TileTask(config)
    if input_of(config) == MASKS:
        from wsrpn.train.mask_task import MaskTask

        return MaskTask(config)
    return Radiographs(config)


def patience_is_over(
    patience: int, rows: Sequence[Mapping[str, float]], best: float | None, best_epoch: int
) -> bool:
    """Whether the monitored figure has not improved for as many epochs as `train.patience` allows.

    Args:
        patience: epochs; 0 never ends.
        rows: of `metrics.csv`.
        best: value of the figure at its best, None where it was never defined.
        best_epoch: when that was.
    """
    seen = (row["epoch"] for row in rows if any(key.startswith("val/") for key in row))
    return patience > 0 and best is not None and max(seen, default=0.0) - best_epoch >= patience


class Run:
    """One training under way: its parts, its folder, and what validation has seen."""

    def __init__(self, config: RunConfig, task: Task, out: Path, here: World) -> None:
        self.config, self.task, self.out, self.world = config, task, out, here
        self.checkpoints = out / "checkpoints"
        task.open(here, out / "cache")
        torch.manual_seed(config.train.seed)
        model = task.build().to(here.device)
        refuse_unfitted(
            model, task.name, len(task.val_feed), config, unit=task.unit, notes=task.split_notes
        )
        if config.train.freeze_backbone:
            parts = backbones_of(model)
            if not parts:
                raise InputError(
                    f"train.freeze_backbone: model {config.model['name']} has no backbone."
                )
            for part in parts:
                part.requires_grad_(False)
                # Flips make two of an image.
                images = 2 * len(task.feed) + len(task.val_feed)
                part.memory = Memory(images) if task.repeats else None
        dtype = compute.precision(config.train.precision, here.device)
        if compute.wants_channels_last(config.train.channels_last, here.device, dtype):
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kind = weightings[config.train.weighting]
        weighting = kind(list(config.losses), mean=here.average).to(here.device)
        self.state = State(
            model,
            adamw(model, config.train, weighting),
            Average(model, config.train.ema),
            weighting=weighting,
        )
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.best: float | None = None
        self.best_epoch = 0

    def begin(self) -> None:
        """A new run folder.

        Raises:
            InputError: there is a training in it already.
        """
        if checkpoint.candidates(self.checkpoints, "last") or (self.out / "config.yaml").exists():
            raise InputError(
                f"{self.out}: has a training already; --resume goes on with it, another --out "
                "starts a new one."
            )
        self.world.barrier()
        if self.world.main:
            self.task.write_splits(self.out / "splits.csv")
            folder.begin(self.out, self.config, self.facts())

    def facts(self) -> dict[str, Any]:
        """What `run.json` says."""
        return {
            **self.task.facts(),
            "parameters": describe(self.state.model),
            "environment": folder.environment(self.world),
        }

    def resume(self) -> None:
        """Go on where the newest undamaged checkpoint stands.

        Raises:
            InputError: no checkpoint, or another config, data set or list of classes.
        """
        folder.refuse_other_config(self.out, self.config)
        if self.world.main:
            checkpoint.tidy(self.checkpoints)
        self.world.barrier()
        self._refuse_other_data()
        if self.world.main:
            folder.write_config(self.out, self.config)  # longer, or its data under another path
            folder.write_notes(self.out, self.facts()["data"]["notes"])
        if not checkpoint.candidates(self.checkpoints, "last"):
            return  # killed before the first checkpoint: the start is the state to go on from
        saved = checkpoint.load(self.checkpoints, "last")
        now = folder.environment(self.world)
        for key in ("torch", "processor", "threads", "processes", "device"):
            if saved.state["environment"][key] != now[key]:
                warnings.warn(
                    f"{key} was {saved.state['environment'][key]} and is {now[key]} now: the "
                    "resumed run will be equal to rounding, not to the bit",
                    stacklevel=2,
                )
        self._restore(saved)

    def _refuse_other_data(self) -> None:
        facts, now = files.read_json(self.out / "run.json", what="the facts of a run"), self.facts()
        labels = now["data"]["labels"]
        for what, old, new in (
            ("data set", facts["data"]["digest"], now["data"]["digest"]),
            ("split of the data", facts["data"]["splits"], now["data"]["splits"]),
            ("list of classes", facts["classes"], now["classes"]),
            # Earlier runs do not say it.
            ("table of labels", facts["data"].get("labels", labels), labels),
        ):
            if old != new:
                raise InputError(
                    f"{self.out}: the {what} is not the one this run began with "
                    f"({facts['data']['name']}); resume with the same --data."
                )
        self.task.refuse_other(self.out, facts, now)

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        self.state.model.load_state_dict(checkpoint.below("model", saved.tensors))
        self.state.weighting.load_state_dict(checkpoint.below("weighting", saved.tensors))
        if self.config.train.ema:
            for name, value in checkpoint.below("average", saved.tensors).items():
                self.state.average.values[name].copy_(value)  # where they lie, and as they lie
        optimizer = checkpoint.below("optimizer", saved.tensors)
        checkpoint.restore_optimizer(self.state.optimizer, optimizer)
        self.state.step = saved.step
        history = saved.state["history"]
        self.rows, self.sums = history["rows"], history["sums"]
        self.best, self.best_epoch = history["best"], history["best_epoch"]
        if self.world.main and self.rows:
            folder.write_metrics(self.out, self.rows)  # a kill may have come before the last row

    def learn(self, listen: Listener | None, caught: signals.Caught) -> None:
        """Train to the end, or until patience runs out or a signal comes."""
        if not self._patience_is_over():
            self._learn(listen, caught)
        if self.world.main:
            kept = [row for row in self.rows if row["epoch"] == self._kept()]
            folder.add_notes(self.out, self.task.remarks(kept[0]) if kept else [])

    def _kept(self) -> float:
        """The epoch whose weights are to be used."""
        return float(self.best_epoch) if self.best is not None else self.rows[-1]["epoch"]

    def _learn(self, listen: Listener | None, caught: signals.Caught) -> None:
        begun = time.monotonic()
        try:
            for now in learn(
                self.config,
                self.state,
                self.task.feed,
                steps_per_epoch=self.task.feed.steps,
                world=self.world,
            ):
                self._count(now)
                row = self._end_epoch(now, time.monotonic() - begun) if now.epoch_ends else None
                if listen and self.world.main:
                    listen(now, row)
                if self.world.agree(caught.signal != 0):
                    self.save()
                    raise signals.Interrupted(caught.signal, now.step)
                if row is not None:
                    begun = time.monotonic()
                    if self._patience_is_over():
                        self.save()  # the end, whatever `save_every` says
                        break
        except Diverged as error:
            story = {"step": self.state.step, "what": str(error)}
            files.write_json(self.out / f"nonfinite-rank{self.world.rank}.json", story)
            raise

    def _count(self, now: Progress) -> None:
        """Add one step to the sums of its epoch."""
        values = {"loss": now.loss, "gradient": now.gradient, **now.terms}
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.sums[f"{key}/steps"] = self.sums.get(f"{key}/steps", 0.0) + 1

    def _end_epoch(self, now: Progress, seconds: float) -> dict[str, float]:
        """Validate, keep the best, save, and give the epoch's row of `metrics.csv`."""
        row = {"epoch": float(now.epoch), "step": float(now.step), "rate": now.rate}
        for key, value in self.sums.items():
            if not key.endswith("/steps"):
                row[f"train/{key}"] = value / self.sums[f"{key}/steps"]
        row |= {f"weight/{name}": weight for name, weight in now.weights.items()}
        row |= self.state.weighting.figures()
        row |= self.task.scheduled(now.epoch)
        train = self.config.train
        last = now.step == now.total
        if now.epoch % train.validate_every == 0 or last:
            fitted, found = self.task.judge(self.state, self.world)
            row |= fitted
            row |= {key: value for key, value in found.items() if math.isfinite(value)}
            self._keep_if_best(now, found)
        self.rows.append(row)
        self.sums = {}
        if now.epoch % train.save_every == 0 or last:
            self.save()
        if self.world.main:
            folder.write_metrics(self.out, self.rows)
            folder.write_events(self.out, row, seconds=seconds)
        return row

    def _patience_is_over(self) -> bool:
        patience = self.config.train.patience
        return patience_is_over(patience, self.rows, self.best, self.best_epoch)

    def _keep_if_best(self, now: Progress, found: Mapping[str, float]) -> None:
        """Keep these weights if validation says so; the last ones where it never says anything."""
        monitor = self.config.train.monitor
        value = found.get(f"val/{monitor}", math.nan)
        if better(value, self.best, monitor):
            self.best, self.best_epoch = value, now.epoch
            self._save_best(now)
        elif self.best is None:  # `last`, or a split that never says anything
            self._save_best(now)

    def _save_best(self, now: Progress) -> None:
        """The weights to use: the moving average where there is one."""
        if self.world.main:
            weights = self.state.average.weights(self.state.model)
            state = {"epoch": now.epoch, "monitor": self.config.train.monitor, "value": self.best}
            tensors = checkpoint.flatten("model", weights)
            checkpoint.save(
                self.checkpoints, "best", checkpoint.Checkpoint(now.step, tensors, state)
            )
            self.task.show(self.state, self.out, now.epoch)

    def save(self) -> None:
        """Everything that a resumed run needs to be the unbroken one."""
        if not self.world.main:
            return
        tensors = (
            checkpoint.flatten("model", self.state.model.state_dict())
            | checkpoint.flatten("weighting", self.state.weighting.state_dict())
            | checkpoint.flatten("average", self.state.average.values)
            | checkpoint.flatten("optimizer", checkpoint.optimizer_tensors(self.state.optimizer))
        )
        history = {
            "rows": self.rows, "sums": self.sums, "best": self.best, "best_epoch": self.best_epoch,
        }  # fmt: skip
        state = {"history": history, "environment": folder.environment(self.world)}
        checkpoint.save(
            self.checkpoints, "last", checkpoint.Checkpoint(self.state.step, tensors, state)
        )
