"""One training of a study: a run folder that is trained, calibrated and asked, whoever did it.

What lies in it is what `wsrpn train`, `wsrpn calibrate RUN` and `wsrpn eval RUN` leave. Whether it
is done is told by what is in it, so any process may go on with it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from wsrpn import checkpoint, files, sides
from wsrpn import config as configs
from wsrpn.config import RunConfig
from wsrpn.errors import InputError
from wsrpn.predict import open_run
from wsrpn.study import kinds
from wsrpn.train import folder, run
from wsrpn.train.loop import Progress
from wsrpn.types import SPLITS, Dataset

# What belongs to the machine; `data.source` is one where it is a path, see `refuse_changed`.
FREE = ("train.workers", "data.cache", "text.cache", "text.online", "data.source")

LOCK = ".study.lock"

Tell = Callable[[str, Mapping[str, float]], None]


@dataclass(frozen=True, eq=False)
class Training:
    """What is to be trained, and where.

    Attributes:
        arm: name of the row that it belongs to.
        seed: of the training.
        config: all of it, defaults filled in.
        folder: the run folder.
        split: that is predicted in the end.
    """

    arm: str
    seed: int
    config: RunConfig
    folder: Path
    split: str

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.arm} seed {self.seed}"

    @property
    def kind(self) -> kinds.Kind:
        """What its model is asked for."""
        return kinds.of(self.arm, self.config)

    @property
    def begun(self) -> bool:
        """Whether a training has begun in the folder."""
        return (self.folder / "config.yaml").is_file()


class Busy(Exception):
    """Another process works on this training."""


@contextmanager
def held(training: Training) -> Iterator[None]:
    """Nobody else works on it while the context lasts.

    Raises:
        Busy: somebody does.
    """
    files.refuse_file(training.folder)
    training.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(training.folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise Busy(training.name) from None
    try:
        yield
    finally:
        lock.release()


def is_held(training: Training) -> bool:
    """Whether another process works on it, for a study or by `wsrpn train`."""
    if not training.folder.is_dir():
        return False
    try:
        for name in (LOCK, ".lock"):
            with filelock.FileLock(training.folder / name).acquire(timeout=0):
                pass
    except filelock.Timeout:
        return True
    return False


def perform(
    training: Training, *, device: str = "auto", tell: Tell = lambda stage, figures: None
) -> bool:
    """Train or go on, then calibrate and predict; nothing where it is done.

    Args:
        training: what to do.
        device: where to compute.
        tell: called with `train` and the figures of a step, and with `calibrate` and `predict`.

    Returns:
        Whether there was anything to do.

    Raises:
        Busy: another process works on it.
        InputError: data, config or folder are not usable.
        Diverged: a loss was not finite.
        wsrpn.train.signals.Interrupted: a signal asked for the end; a checkpoint is written.
    """

    def listen(now: Progress, row: Mapping[str, float] | None) -> None:
        figures = {"epoch": now.epoch, "step": now.step, "total": now.total, "loss": now.loss}
        tell("train", {name: float(value) for name, value in figures.items()})

    with held(training):
        for left in training.folder.rglob("*.tmp.*"):
            left.unlink(missing_ok=True)
        if training.begun and trained(training) and not _metrics_are_whole(training):
            folder.write_metrics(training.folder, _rows(training))
        if done(training):
            return False
        if not (training.begun and trained(training)):
            config, out = training.config, training.folder
            try:
                run.train(config, out, resume=training.begun, device=device, listen=listen)
            except folder.Claimed:
                raise Busy(training.name) from None
        ask(training, device=device, tell=tell)
        return True


def _rows(training: Training) -> list[dict[str, float]]:
    """The epochs that the last checkpoint knows of."""
    state = checkpoint.newest(training.folder / "checkpoints", "last")
    return state["history"]["rows"] if state else []


def _metrics_are_whole(training: Training) -> bool:
    """Whether `metrics.csv` has all epochs; a kill may come between the last checkpoint and it."""
    try:
        return len(folder.read_metrics(training.folder)) >= len(_rows(training))
    except InputError:
        return False


def ask(training: Training, *, device: str, tell: Tell) -> None:
    """What `wsrpn calibrate RUN` and `wsrpn eval RUN` do for the figures of a trained run."""
    opened = open_run(training.folder, device=device)
    training.kind.ask(
        opened,
        training.split,
        training.config.data,
        fit=_has_val(training),
        tell=lambda stage: tell(stage, {}),
    )


def _facts(training: Training) -> dict[str, Any]:
    """What `run.json` says.

    Raises:
        InputError: it is not there, or damaged.
    """
    path = training.folder / "run.json"
    facts = files.read_json(path, what="the facts of a run")
    told = facts.get("data") if isinstance(facts, dict) else None
    known = {"val", "notes", "digest", "labels", "splits"}
    if not isinstance(told, dict) or not known <= set(told):
        raise InputError(f"{path}: damaged; remove {training.folder} to train it again.")
    return facts


def _has_val(training: Training) -> bool:
    return bool(_facts(training)["data"]["val"])


def done(training: Training) -> bool:
    """Whether it is trained to the end and its best weights are calibrated and have predicted."""
    finished = training.begun and trained(training) and _metrics_are_whole(training)
    return finished and entry(training) is not None


def trained(training: Training) -> bool:
    """Whether the training has come to its end, by epochs or by patience."""
    state = checkpoint.newest(training.folder / "checkpoints", "last")
    if state is None:
        return False
    history = state["history"]
    epoch = max((row["epoch"] for row in history["rows"]), default=0.0)
    if epoch >= training.config.train.epochs:
        return True
    patience = training.config.train.patience
    return run.patience_is_over(patience, history["rows"], history["best"], history["best_epoch"])


def entry(training: Training) -> sides.Run | None:
    """The answers of the last weights, or None where they or their calibration are not there."""
    best = checkpoint.newest(training.folder / "checkpoints", "best")
    if best is None:
        return None
    return training.kind.entry(
        kinds.Finished(
            folder=training.folder,
            split=training.split,
            name=f"{training.folder.parent.name}/{training.folder.name}",
            seed=training.seed,
            weights=best["sha256"],
            fitted=_has_val(training),
            whole=training.config.data.on_error == "stop",
        )
    )


class Changed(InputError):
    """The folder of a training holds another one."""


def refuse_changed(training: Training, dataset: Dataset) -> None:
    """Stop where the folder holds the run of another config or of other data.

    The number of epochs counts: a rate that falls over ten epochs is not that of twenty. Data may
    have moved, but phantoms are made of what stands in `data.source`.

    Raises:
        Changed: names the key, or what of the data, and the folder.
        InputError: the folder is damaged.
    """
    if not training.begun:
        return
    path = training.folder / "config.yaml"
    # Filled by this version: an option that is new since then has its default.
    old, now = run.complete(configs.load(path)), training.config
    made = any(c.data.source.startswith("phantom:") for c in (old, now))
    free = [key for key in FREE if key != "data.source" or not made]
    way_out = (
        f"take it back, remove {training.folder.parent} to train this arm anew, or choose another "
        "--out."
    )
    for key, before, after in folder.differences(old, now, free=free):
        raise Changed(
            f"{path}: {key} was {_short(before)} in the run that is there, {_short(after)} now; "
            f"{way_out}"
        )
    facts = _facts(training)
    told = facts["data"]
    for what, before, after in (
        ("data set", told["digest"], dataset.digest()),
        ("list of classes", facts.get("classes"), list(dataset.classes)),
        ("table of labels", told["labels"], dataset.label_digest()),
        ("split of the data", told["splits"], {s: dataset.split(s).digest() for s in SPLITS}),
    ):
        if before != after:
            raise Changed(
                f"{training.folder / 'run.json'}: the {what} of {dataset.name} is not the one of "
                f"the run that is there ({told.get('name')}); {way_out}"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def notes(training: Training) -> list[str]:
    """What the run folder says of its training, beyond what its data say."""
    return list(_facts(training)["data"]["notes"])
