"""Answers of a trained run on data: made once, written beside the run, read from then on.

What `wsrpn eval RUN`, `calibrate RUN` and `compare RUN…` read, and what a study leaves behind.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn import config as configs
from wsrpn import predict as predictor
from wsrpn import predictions as prediction_files
from wsrpn.config import DataConfig
from wsrpn.data import base, cache, mapping, splits
from wsrpn.errors import InputError, counted
from wsrpn.predict import TrainedRun
from wsrpn.types import Dataset, Predictions


def data_of(
    run: TrainedRun, data: str, split: str, named: Mapping[str, tuple[str, ...]] | None = None
) -> Dataset:
    """One split of other data with the run's classes, or of the run's own, split as it was then.

    Args:
        run: the trained model.
        data: DATA as the command line takes it; "" is what the run was trained on.
        split: train, val, test or all.
        named: class of the run → classes of other data, see `wsrpn.data.mapping`.

    Raises:
        InputError: names of classes for the run's own data or that nobody has, nothing there,
            nothing in that split, or a run of tiles or masks.
    """
    predictor.refuse_tiles(run)
    predictor.refuse_masks(run)
    own = run.config.data
    if is_own(run, data):
        if named:
            raise InputError("--map is for other data than the run's own; pass --data.")
        dataset = base.load(dataclasses.replace(own, classes=run.classes))
        kept = splits.restore(dataset, splits.read(run.folder / "splits.csv"))
        return part(kept, split)
    dataset = base.load(dataclasses.replace(own, source=data, classes=(), rename={}))
    return part(mapping.align(dataset, run.classes, named or {}), split)


def is_own(run: TrainedRun, data: str) -> bool:
    """Whether DATA is what the run was trained on."""
    return not data or data == run.config.data.source


def own_data(run: TrainedRun, split: str, data: DataConfig | None = None) -> Dataset:
    """One split of what a run was trained on, split as it was then; labels as they are.

    Args:
        run: the trained model.
        split: train, val, test or all.
        data: the same data where they lie now, if they have moved.

    Raises:
        InputError: nothing there, or nothing in that split.
    """
    whole = base.load(data or run.config.data)
    kept = splits.restore(whole, splits.read(run.folder / "splits.csv"))
    return part(kept, split)


def part(dataset: Dataset, split: str) -> Dataset:
    """One split, or `all`.

    Raises:
        InputError: it is empty.
    """
    if split == "all":
        return dataset
    chosen = dataset.split(split)  # type: ignore[arg-type]
    if not len(chosen):
        counts = {name: len(dataset.split(name)) for name in ("train", "val", "test")}
        there = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"{dataset.name}: no image in split {split} ({there}).")
    return chosen


def folder(run: Path, split: str, data: str = "") -> Path:
    """Where the answers of a run lie, on its own data or on others."""
    return run / (f"eval-{split}-{_short(data)}" if data else f"eval-{split}")


def _short(data: str) -> str:
    """A part of a folder's name for other data than the run's own.

    Example:
        >>> _short("nih:/data/x")[:6]
        'nih_da'
    """
    digest = hashlib.sha256(data.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', data)[:30].strip('_')}-{digest}"


def answers(
    run: TrainedRun,
    dataset: Dataset,
    file: Path,
    *,
    own: bool = True,
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Predictions:
    """Predictions from `file` if this model made them on these images, else made and written.

    Args:
        run: the trained model; where a calibration moves the cut of its maps, it is moved already.
        dataset: one split of data.
        file: predictions.json.
        own: whether the data are the run's own, see `is_own`.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: an image cannot be read and `on_error` is `stop`.
    """
    texts, notes = predictor.captions(run, dataset)
    wanted = _wanted(run, dataset)
    if run.text is not None:
        told = ("encoder", "fingerprint", "digest")
        wanted["text"] = {key: texts.facts[key] for key in told} if texts else None
        wanted["notes"] = [*run.notes, *notes]
    found = kept(file, wanted)
    if found is None:
        made = predictor.predict(run, dataset, on_error=on_error, listen=listen, texts=texts)
        made = dataclasses.replace(made, provenance={**made.provenance, **wanted})
        prediction_files.write(made, file)
        # What is on disk is scored, so that a second look gives the same figures to the bit.
        found = prediction_files.read(file, dataset)
    again = trained_on(dataset) if own else splits.seen(dataset, run.folder / "splits.csv")
    return _noted(found, again)


def _wanted(run: TrainedRun, dataset: Dataset) -> dict[str, Any]:
    """What predictions of a run on these images say of themselves."""
    # Images of another folder may have the same names, and a config may have been edited.
    seen = cache.fingerprint([record.path for record in dataset.records], configs.dump(run.config))
    return {**run.provenance(), "images_sha256": dataset.digest(), "inputs_sha256": seen}


def kept(file: Path, wanted: Mapping[str, Any], *, whole: bool = True) -> Predictions | None:
    """The predictions of a file, if they are undamaged and say `wanted` of themselves.

    Args:
        file: as `answers` writes it; it need not be there.
        wanted: what their provenance must say.
        whole: whether no image may have failed.
    """
    try:
        found = prediction_files.read(file) if file.is_file() else None
    except InputError:
        return None
    if found is None or (whole and found.failed) or not isinstance(found.provenance, dict):
        return None
    matches = all(found.provenance.get(key) == value for key, value in wanted.items())
    return found if matches else None


def trained_on(dataset: Dataset) -> list[str]:
    """A sentence if images of a run's own data, split as they were then, were trained on."""
    count = len(dataset.split("train"))
    if not count:
        return []
    verb = "was" if count == 1 else "were"
    return [
        f"{count} of {counted(len(dataset), 'image')} {verb} trained on by this run, so figures "
        "look better than they are."
    ]


def _noted(predictions: Predictions, notes: Sequence[str]) -> Predictions:
    """The predictions with more notes, which every report of them repeats."""
    told = predictions.provenance
    told = {**told, "notes": [*told.get("notes", ()), *notes]} if notes else told
    return dataclasses.replace(predictions, provenance=told)
