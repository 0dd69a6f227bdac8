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
    from wsrpn import answers as answering
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
    from wsrpn.predict import open_run

    run = open_run(source, device=device)
    dataset = load_for(run, data, split, named, quiet=quiet)
    run, maps = run.calibrated(calibration), None
    if map_threshold:
        maps = map_choice(run, dataset, map_threshold, on_error=on_error)
        run = run.cut_at(maps.threshold)
    own = answering.is_own(run, data)
    place = out or answering.folder(source, split, "" if own else data)
    file = place / "predictions.json"
    with options.progress("predict", len(dataset)) as bar:
        predictions = answering.answers(
            run, dataset, file, own=own, on_error=on_error, listen=bar.advance
        )
    for name, reason in predictions.failed.items():
        options.say(f"skipped {options.failure(name, reason)}")
    return Answers(predictions, dataset, run, place, file, maps)


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
    from wsrpn import answers
    from wsrpn.config import DataConfig
    from wsrpn.data import base

    return told(answers.part(base.load(DataConfig(source=data)), split), quiet=quiet)


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
    from wsrpn import answers
    from wsrpn.data import mapping

    found = answers.data_of(run, data, split, mapping.parse(named or []))
    return told(found, quiet=quiet)


def told(dataset: "Dataset", *, quiet: bool) -> "Dataset":
    """The data set, its notes said aloud unless it is `quiet`."""
    for note in () if quiet else dataset.notes:
        options.say(f"note: {note}")
    return dataset


def calibration(source: Path, given: Path | None) -> "Calibration | None":
    """The calibration given, or the one that lies in the run folder, or none."""
    from wsrpn.calibration import Calibration

    if given is not None:
        return Calibration.load(given)
    own = source / "calibration.json"
    return Calibration.load(own) if source.is_dir() and own.is_file() else None
