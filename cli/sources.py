"""What RUN, SCORES and DATA stand for: the same answer for every command."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from wsrpn.calibrate import MapChoice
    from wsrpn.calibration import Calibration
    from wsrpn.predict import TrainedRun
    from wsrpn.types import Dataset, Predictions

SPLITS = ("train", "val", "test", "all")
UNCALIBRATED = "not calibrated: thresholds are 0.5 (`wsrpn calibrate` fits them)"


@dataclass(frozen=True)
class Answers:
    """Predictions beside the truth they are for.

    Attributes:
        predictions: of a model, not calibrated.
        dataset: the images of the split.
        run: the trained model, where the source is a run folder.
        out: where results of this source and split go unless told otherwise.
        file: the predictions on disk.
        maps: where the maps of the run were cut into boxes, if that was chosen for this call.
    """

    predictions: "Predictions"
    dataset: "Dataset"
    run: "TrainedRun | None"
    out: Path
    file: Path
    maps: "MapChoice | None" = None


def answers(
    source: Path,
    *,
    data: str,
    split: str,
    device: str,
    on_error: str,
    out: Path | None = None,
    named: list[str] | None = None,
    calibration: "Calibration | None" = None,
    map_threshold: str = "",
    quiet: bool = False,
) -> Answers:
    """Predictions of a run folder (written once, then read) or of a file, with their data.

    Classes of other data are mapped to those of the predictions: as `named` says (`--map`), where
    names are equal, and where they are synonyms. Maps of a run are cut into boxes where
    `map_threshold` says (`auto` or a number), else where the calibration does, else its config.
    With `quiet` the notes of the data are not said.

    Raises:
        InputError: the source, the data or the split is not there, or there are no maps to cut.
    """
    from wsrpn import predictions as prediction_files
    from wsrpn.errors import InputError

    check(split, on_error)
    if not source.exists():
        raise InputError(f"{source}: no such run folder or predictions file.")
    if source.is_file():
        if not data:
            raise InputError(f"{source}: predictions need their truth: pass --data.")
        if map_threshold:
            raise InputError(f"--map-threshold: {source} has boxes, no maps; name the run folder.")
        dataset = load(data, split, quiet=quiet)
        found = prediction_files.read(source, dataset)
        mapped = renamed(dataset, found, named, quiet=quiet)
        if mapped is not dataset:
            found, dataset = prediction_files.read(source, mapped), mapped
        return Answers(found, dataset, None, out or source.parent, source)
    from wsrpn.data import splits
    from wsrpn.predict import open_run

    run = open_run(source, device=device)
    dataset = load_for(run, data, split, named, quiet=quiet)
    run, maps = run.calibrated(calibration), None
    if map_threshold:
        maps = map_choice(run, dataset, map_threshold, on_error=on_error)
        run = run.cut_at(maps.threshold)
    own = not data or data == run.config.data.source
    folder = out or source / (f"eval-{split}" if own else f"eval-{split}-{short(data)}")
    file = folder / "predictions.json"
    predictions = predict(run, dataset, on_error=on_error, file=file)
    again = trained_on(dataset) if own else splits.seen(dataset, source / "splits.csv")
    predictions = noted(predictions, again)
    return Answers(predictions, dataset, run, folder, file, maps)


def trained_on(dataset: "Dataset") -> list[str]:
    """A sentence if images of a run's own data, split as they were then, were trained on."""
    from wsrpn.errors import counted

    count = len(dataset.split("train"))
    if not count:
        return []
    verb = "was" if count == 1 else "were"
    return [
        f"{count} of {counted(len(dataset), 'image')} {verb} trained on by this run, so figures "
        "look better than they are."
    ]


def noted(predictions: "Predictions", notes: list[str]) -> "Predictions":
    """The predictions with more notes, which every report of them repeats."""
    told = predictions.provenance
    told = {**told, "notes": [*told.get("notes", ()), *notes]} if notes else told
    return dataclasses.replace(predictions, provenance=told)


def map_choice(run: "TrainedRun", dataset: "Dataset", asked: str, *, on_error: str) -> "MapChoice":
    """Where to cut the maps of a run: at a number, or where AP on gold boxes is best (`auto`).

    Raises:
        InputError: neither, no maps, or no gold boxes.
    """
    from wsrpn import predict as predictor
    from wsrpn.calibrate import MAP_THRESHOLDS, MapChoice, choose_map_threshold
    from wsrpn.errors import InputError

    if asked != "auto":
        try:
            share = float(asked)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise InputError(f"--map-threshold {asked}: auto or a share in [0, 1) was expected.")
        return MapChoice(run.cut_at(share).config.inference.map_thresholds[0])
    with options.progress("maps", len(dataset)) as bar:
        made = predictor.ladder(run, dataset, MAP_THRESHOLDS, on_error=on_error, listen=bar.advance)
    return choose_map_threshold(made, dataset)


def renamed(
    dataset: "Dataset", found: "Predictions", named: list[str] | None, *, quiet: bool = False
) -> "Dataset":
    """The data with the names that a predictions file uses, where it uses others."""
    from wsrpn.data import mapping

    given = mapping.parse(named or [])
    told = {int(k) for image in found.images for k in image.classes}
    told |= {int(k) for i in found.images for k in (i.image_logits == i.image_logits).nonzero()[0]}
    used = [n for k, n in enumerate(found.classes) if k in told or n in given]
    pairs = mapping.pairs(used, dataset.classes, given)
    if not pairs:
        return dataset
    notes = mapping.said(pairs, given)
    for note in () if quiet else notes:
        options.say(f"note: {note}")
    mapped = mapping.rename(dataset, pairs)
    return dataclasses.replace(mapped, notes=(*mapped.notes, *notes))


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


def load(data: str, split: str, *, quiet: bool = False) -> "Dataset":
    """DATA with its own classes, one split of it.

    Raises:
        InputError: nothing there, or nothing in that split.
    """
    from wsrpn.config import DataConfig
    from wsrpn.data import base

    return part(base.load(DataConfig(source=data)), split, quiet=quiet)


def load_for(
    run: "TrainedRun",
    data: str,
    split: str,
    named: list[str] | None = None,
    *,
    quiet: bool = False,
) -> "Dataset":
    """DATA (or what the run was trained on, split as it was then) with the run's classes.

    Raises:
        InputError: names of classes for the run's own data, or that nobody has.
    """
    from wsrpn.data import base, mapping, splits
    from wsrpn.errors import InputError

    own = run.config.data
    if not data or data == own.source:
        if named:
            raise InputError("--map is for other data than the run's own; pass --data.")
        dataset = base.load(dataclasses.replace(own, classes=run.classes))
        kept = splits.restore(dataset, splits.read(run.folder / "splits.csv"))
        return part(kept, split, quiet=quiet)
    dataset = base.load(dataclasses.replace(own, source=data, classes=(), rename={}))
    aligned = mapping.align(dataset, run.classes, mapping.parse(named or []))
    return part(aligned, split, quiet=quiet)


def part(dataset: "Dataset", split: str, *, quiet: bool = False) -> "Dataset":
    """One split, its notes said aloud unless it is `quiet`.

    Raises:
        InputError: it is empty.
    """
    from wsrpn.errors import InputError

    for note in () if quiet else dataset.notes:
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
    texts, notes = predictor.captions(run, dataset)
    if run.text is not None:
        told = ("encoder", "fingerprint", "digest")
        wanted["text"] = {key: texts.facts[key] for key in told} if texts else None
        wanted["notes"] = [*run.notes, *notes]
    if file.is_file():
        try:
            found = prediction_files.read(file, dataset)
        except InputError:
            found = None
        if found is not None and not found.failed and matches(found.provenance, wanted):
            return found
    with options.progress("predict", len(dataset)) as bar:
        made = predictor.predict(run, dataset, on_error=on_error, listen=bar.advance, texts=texts)
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
