"""What SOURCE and DATA stand for where every pixel is answered: the same for every command."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options, slide_options, sources

if TYPE_CHECKING:
    from wsrpn.masks.calibration import MaskCalibration
    from wsrpn.predict import TrainedRun
    from wsrpn.segmentation.maps import Maps
    from wsrpn.types import Dataset

PANEL = "Masks"
UNCALIBRATED = "not calibrated: the threshold is 0.5 (`wsrpn calibrate` fits it)"


@dataclass(frozen=True)
class Answers:
    """Score maps beside the truth they are for.

    Attributes:
        maps: of a model, or of others.
        dataset: the images of the split.
        run: the trained model, where the source is a run folder.
        out: where results of this source and split go unless told otherwise.
    """

    maps: "Maps"
    dataset: "Dataset"
    run: "TrainedRun | None"
    out: Path


def takes(source: Path) -> bool:
    """Whether a source answers pixels: a run of a model that segments, or a folder of maps."""
    from wsrpn.segmentation import maps

    if maps.is_folder(source):
        return True
    return is_run(source)


def is_run(source: Path) -> bool:
    """Whether a source is a run of a model that segments."""
    if not (source / "config.yaml").is_file():
        return False
    from wsrpn import config as configs
    from wsrpn.models import models
    from wsrpn.segmentation.answers import INPUT

    name = configs.load(source / "config.yaml").model["name"]
    return models.facts(name).get("input") == INPUT


def refuse(given: dict[str, Any]) -> None:
    """Stop where an option was given that has no meaning for masks.

    Raises:
        InputError: names it.
    """
    slide_options.refuse(given, "is not for masks, and this source answers every pixel.")


def of_masks(given: dict[str, Any]) -> None:
    """Stop where an option of masks was given for another source.

    Raises:
        InputError: names it.
    """
    slide_options.refuse(given, "is for masks; this source does not answer every pixel.")


def data_of(run: "TrainedRun", data: str, split: str) -> "Dataset":
    """One split of other data, or of the run's own, split as it was then; labels as they are.

    Raises:
        InputError: nothing there, or nothing in that split.
    """
    from wsrpn import answers
    from wsrpn.data import base, splits

    own = run.config.data
    if not answers.is_own(run, data):
        other = dataclasses.replace(own, source=data, classes=(), rename={})
        return sources.told(answers.part(base.load(other), split), quiet=False)
    kept = splits.restore(base.load(own), splits.read(run.folder / "splits.csv"))
    return sources.told(answers.part(kept, split), quiet=False)


def answers(
    source: Path,
    *,
    data: str,
    split: str,
    device: str,
    on_error: str,
    out: Path | None = None,
    only_listed: bool = False,
) -> Answers:
    """The maps of a run folder (written once, then read) or of any folder, with their data.

    Raises:
        InputError: the source, the data or the split is not there.
    """
    from wsrpn import answers as answering
    from wsrpn.data import splits
    from wsrpn.errors import InputError
    from wsrpn.segmentation import answers as mapping
    from wsrpn.segmentation import maps as files

    sources.check(split, on_error)
    if files.is_folder(source):
        if not data:
            raise InputError(f"{source}: maps need their truth: pass --data.")
        dataset = sources.load(data, split)
        found = files.of_folder(source, dataset, only_listed=only_listed)
        return Answers(found, dataset, None, out or source)
    from wsrpn.predict import open_run

    run = open_run(source, device=device)
    dataset = data_of(run, data, split)
    own = answering.is_own(run, data)
    place = answering.folder(source, split, "" if own else data)
    with options.progress("segment", len(dataset)) as bar:
        made = mapping.answers(run, dataset, place / "maps", on_error=on_error, listen=bar.advance)
    seen = answering.trained_on(dataset) if own else splits.seen(dataset, source / "splits.csv")
    for name, reason in made.failed.items():
        options.say(f"skipped {name}: {reason}")
    made = dataclasses.replace(made, notes=(*made.notes, *seen))
    return Answers(made, dataset, run, out or place)


def calibration(source: Path, given: Path | None) -> "MaskCalibration | None":
    """The calibration given, or the one that lies in the folder, or none.

    Raises:
        InputError: it is of another kind, or damaged.
    """
    from wsrpn.masks.calibration import MaskCalibration

    own = source / "calibration.json"
    path = given if given is not None else own if own.is_file() else None
    return None if path is None else MaskCalibration.load(path)
