"""What RUN, SCORES and DATA stand for: the same answer for every command."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from wsrpn.calibration import Calibration
    from wsrpn.predict import TrainedRun
    from wsrpn.types import Dataset, Predictions

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Answers:
    """Predictions beside the truth they are for.

    Attributes:
        predictions: of a model, not calibrated.
        dataset: the images of the split.
        run: the trained model, where the source is a run folder.
        out: where results of this source and split go unless told otherwise.
        file: the predictions on disk.
    """

    predictions: "Predictions"
    dataset: "Dataset"
    run: "TrainedRun | None"
    out: Path
    file: Path


def answers(
    source: Path, *, data: str, split: str, device: str, on_error: str, out: Path | None = None
) -> Answers:
    """Predictions of a run folder (written once, then read) or of a file, with their data.

    Raises:
        InputError: the source, the data or the split is not there.
    """
    from wsrpn import predictions as prediction_files
    from wsrpn.errors import InputError

    check(split, on_error)
    if not source.exists():
        raise InputError(f"{source}: no such run folder or predictions file.")
    if source.is_file():
        if not data:
            raise InputError(f"{source}: predictions need their truth: pass --data.")
        dataset = load(data, split)
        found = prediction_files.read(source, dataset)
        return Answers(found, dataset, None, out or source.parent, source)
    from wsrpn.predict import open_run

    run = open_run(source, device=device)
    dataset = load_for(run, data, split)
    own = not data or data == run.config.data.source
    folder = out or source / (f"eval-{split}" if own else f"eval-{split}-{short(data)}")
    file = folder / "predictions.json"
    predictions = predict(run, dataset, on_error=on_error, file=file)
    return Answers(predictions, dataset, run, folder, file)


def short(data: str) -> str:
    """A part of a folder's name for other data than the run's own.

    Example:
        >>> short("nih:/data/x")[:6]
        'nih_da'
    """
    import hashlib
    import re

    digest = hashlib.sha256(data.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', data)[:30].strip('_')}-{digest}"


def check(split: str, on_error: str) -> None:
    """Refuse words that are not choices.

    Raises:
        InputError: names the choices.
    """
    options.choice("--split", split, SPLITS)
    options.choice("--on-error", on_error, ("stop", "skip"))


def load(data: str, split: str) -> "Dataset":
    """DATA with its own classes, one split of it.

    Raises:
        InputError: nothing there, or nothing in that split.
    """
    from wsrpn.config import DataConfig
    from wsrpn.data import base

    return part(base.load(DataConfig(source=data)), split)


def load_for(run: "TrainedRun", data: str, split: str) -> "Dataset":
    """DATA (or what the run was trained on, split as it was then) with the run's classes."""
    from wsrpn.data import base, splits

    own = run.config.data
    if not data or data == own.source:
        dataset = base.load(dataclasses.replace(own, classes=run.classes))
        return part(splits.restore(dataset, splits.read(run.folder / "splits.csv")), split)
    dataset = base.load(dataclasses.replace(own, source=data, classes=()))
    return part(base.align(dataset, run.classes), split)


def part(dataset: "Dataset", split: str) -> "Dataset":
    """One split, its notes said aloud.

    Raises:
        InputError: it is empty.
    """
    from wsrpn.errors import InputError

    for note in dataset.notes:
        options.say(f"note: {note}")
    if split == "all":
        return dataset
    chosen = dataset.split(split)  # type: ignore[arg-type]
    if not len(chosen):
        counts = {name: len(dataset.split(name)) for name in ("train", "val", "test")}
        there = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"{dataset.name}: no image in split {split} ({there}).")
    return chosen


def predict(run: "TrainedRun", dataset: "Dataset", *, on_error: str, file: Path) -> "Predictions":
    """Predictions from `file` if this model made them on these images, else made and written."""
    from wsrpn import config as configs
    from wsrpn import predict as predictor
    from wsrpn import predictions as prediction_files
    from wsrpn.data import cache
    from wsrpn.errors import InputError

    # Images of another folder may have the same names, and a config may have been edited.
    seen = cache.fingerprint([record.path for record in dataset.records], configs.dump(run.config))
    wanted = {**run.provenance(), "images_sha256": dataset.digest(), "inputs_sha256": seen}
    if file.is_file():
        try:
            found = prediction_files.read(file, dataset)
        except InputError:
            found = None
        if found is not None and not found.failed and matches(found.provenance, wanted):
            return found
    with options.progress("predict", len(dataset)) as bar:
        made = predictor.predict(run, dataset, on_error=on_error, listen=bar.advance)
    made = dataclasses.replace(made, provenance={**made.provenance, **wanted})
    for name, reason in made.failed.items():
        options.say(f"skipped {name}: {reason}")
    prediction_files.write(made, file)
    # What is on disk is what is scored, so that a second look gives the same figures to the bit.
    return prediction_files.read(file, dataset)


def matches(found: object, wanted: dict[str, object]) -> bool:
    """Whether a provenance says all of `wanted`."""
    return isinstance(found, dict) and all(found.get(k) == v for k, v in wanted.items())


def calibration(source: Path, given: Path | None) -> "Calibration | None":
    """The calibration given, or the one that lies in the run folder, or none."""
    from wsrpn.calibration import Calibration

    if given is not None:
        return Calibration.load(given)
    own = source / "calibration.json"
    return Calibration.load(own) if source.is_dir() and own.is_file() else None
