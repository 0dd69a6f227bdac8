"""What SOURCE and DATA stand for where every pixel is answered: the same for every command."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options, slide_options, sources

if TYPE_CHECKING:
    from wsrpn.masks.calibration import MaskCalibration
    from wsrpn.predict import TrainedRun
    from wsrpn.segmentation.maps import Maps
    from wsrpn.types import Dataset

PANEL = "Masks"
As = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="scores|labels",
        help="What the files of a folder hold, where their looks do not tell: scores (or masks), "
        "or numbers of objects.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold", min=0, max=1, help="In the place of the calibration's.",
        rich_help_panel=PANEL, show_default=False,
    ),
]  # fmt: skip
MinSize = Annotated[
    int | None,
    typer.Option(
        "--min-size", metavar="PX", min=0, rich_help_panel=PANEL, show_default=False,
        help="Smallest area that stays, in the place of the calibration's.",
    ),
]  # fmt: skip
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


def refuse_folder(source: Path) -> None:
    """Stop where a run is needed and maps were given, which are answers already.

    Raises:
        InputError: names the commands that take them.
    """
    from wsrpn.errors import InputError
    from wsrpn.segmentation import maps

    if maps.is_folder(source):
        raise InputError(
            f"{source}: a folder of pictures and no run folder; `wsrpn eval`, `calibrate` and "
            "`heatmap` take maps and masks, `wsrpn predict` makes them."
        )


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


def data_of(
    run: "TrainedRun", data: str, split: str, *, judged: bool = False, quiet: bool = False
) -> "Dataset":
    """One split of other data, or of the run's own, split as it was then; labels as they are.

    Args:
        run: the trained model.
        data: DATA, or "" for what it was trained on.
        split: of it.
        judged: whether it needs masks.
        quiet: leave unsaid what loading it noticed.

    Raises:
        InputError: nothing there, nothing in that split, or no masks where they are needed.
    """
    from wsrpn import answers
    from wsrpn.data import base

    if not answers.is_own(run, data):
        other = dataclasses.replace(run.config.data, source=data, classes=(), rename={})
        whole = base.load(other)
        if judged:
            refuse_unmasked(whole)
        return sources.told(answers.part(whole, split), quiet=quiet)
    return sources.told(answers.own_data(run, split), quiet=quiet)


def of_folder(
    folder: Path, data: str, part: "Dataset", *, only_listed: bool = False, content: str = "",
    judged: bool = False,
) -> "Maps":  # fmt: skip
    """The files of a folder for some images.

    Args:
        folder: of maps, masks or numbered objects.
        data: DATA.
        part: of it.
        only_listed: leave out images without a file.
        content: `scores` or `labels`; "" tells by their looks.
        judged: whether the data need masks.

    Raises:
        InputError: files do not fit, or there are no masks where they are needed.
    """
    from wsrpn.config import DataConfig
    from wsrpn.data import base
    from wsrpn.segmentation import foreign, maps

    said = foreign.check_content(content)
    whole = base.load(DataConfig(source=data))
    if judged:
        refuse_unmasked(whole)
    return maps.of_folder(folder, part, whole=whole, only_listed=only_listed, content=said)


def answers(
    source: Path,
    *,
    data: str,
    split: str,
    device: str,
    on_error: str,
    out: Path | None = None,
    only_listed: bool = False,
    content: str = "",
    fitted: "MaskCalibration | None" = None,
    given: Path | None = None,
    quiet: bool = False,
) -> Answers:
    """The maps of a run folder (written once, then read) or of any folder, with their data.

    Results of a folder go beside it, as it is somebody's own. What loading the data noticed is said
    unless `quiet`.

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
        dataset = sources.load(data, split, quiet=quiet)
        found = of_folder(
            source, data, dataset, judged=True, only_listed=only_listed, content=content
        )
        place = source.resolve().with_name(f"{source.resolve().name}-eval-{split}")
        return Answers(_judgeable(found, dataset, on_error), dataset, None, out or place)
    if content:
        raise InputError(f"--as {content}: is for a folder of files; {source} is a run.")
    from wsrpn.predict import open_run

    run = open_run(source, device=device)
    refuse_other_weights(run, fitted, given)
    dataset = data_of(run, data, split, judged=True, quiet=quiet)
    own = answering.is_own(run, data)
    place = answering.folder(source, split, "" if own else data)
    with options.progress("segment", len(dataset)) as bar:
        made = mapping.answers(run, dataset, place / "maps", on_error=on_error, listen=bar.advance)
    seen = answering.trained_on(dataset) if own else splits.seen(dataset, source / "splits.csv")
    made = _judgeable(made, dataset, on_error)
    made = dataclasses.replace(made, notes=(*made.notes, *seen))
    return Answers(made, dataset, run, out or place)


def refuse_other_weights(
    run: "TrainedRun", fitted: "MaskCalibration | None", given: Path | None
) -> None:
    """Stop before hours of work where a calibration is of other weights.

    Args:
        run: whose scores it is for.
        fitted: the calibration, or None.
        given: its file, where it is not the run's own.

    Raises:
        InputError: names the run and the file.
    """
    from wsrpn.errors import InputError

    if fitted is None:
        return
    try:
        fitted.refuse_other_model(run.provenance())
    except InputError as error:
        file = given if given is not None else run.folder / "calibration.json"
        raise InputError(f"{file}, for {run.folder}: {error}") from None


def refuse_unmasked(whole: "Dataset") -> None:
    """Stop where no image of any split has a mask: there is nothing to judge by.

    Raises:
        InputError: says where masks are named.
    """
    from wsrpn.errors import InputError

    if not any(record.mask for record in whole.records):
        raise InputError(
            f"{whole.name}: no image has a mask, so there is nothing to judge by; name them in "
            "column mask of images.csv, or try phantom:beads."
        )


def _judgeable(found: "Maps", dataset: "Dataset", on_error: str) -> "Maps":
    """Maps whose truth can be read, where others are to be skipped; those are said."""
    from wsrpn.segmentation.evidence import readable

    if on_error == "skip":
        found = readable(found, dataset)
    for name, reason in found.failed.items():
        options.say(f"skipped {options.failure(name, reason)}")
    return found


def chosen(
    run: "TrainedRun | None",
    fitted: "MaskCalibration | None",
    threshold: float | None,
    min_size: int | None,
) -> "MaskCalibration":
    """What maps are cut with: what was fitted, or holds without a fit, or the user's own."""
    from wsrpn.segmentation import predict

    return predict.adjusted(predict.settings(run, fitted), threshold, min_size)


def cut(
    maps: "Maps",
    run: "TrainedRun | None",
    fitted: "MaskCalibration | None",
    threshold: float | None = None,
    min_size: int | None = None,
) -> "MaskCalibration":
    """The same for maps that may be masks or objects already, of which small ones can still go.

    Raises:
        InputError: a threshold for what has no scores.
    """
    from wsrpn.errors import InputError

    if maps.graded:
        return chosen(run, fitted, threshold, min_size)
    if threshold is not None:
        held = "numbered objects" if maps.content == "labels" else "masks"
        raise InputError(
            f"--threshold {threshold}: the folder holds {held}, which are cut already; leave it "
            "out, or say --as scores if they are scores."
        )
    return chosen(None, None, None, min_size)


def tell(found: "MaskCalibration", fitted: "MaskCalibration | None") -> None:
    """Say what maps are cut with, where that is not a calibration alone."""
    if found == fitted:
        return
    if (found.threshold, found.min_size_px) == (0.5, 0) and fitted is None:
        options.say(UNCALIBRATED)
    else:
        options.say(f"threshold {found.threshold:.4f}, areas of at least {found.min_size_px} px")


def calibration(source: Path, given: Path | None) -> "MaskCalibration | None":
    """The calibration given, or the one that lies in the folder, or none.

    Raises:
        InputError: it is of another kind, or damaged.
    """
    from wsrpn.masks.calibration import MaskCalibration

    own = source / "calibration.json"
    path = given if given is not None else own if own.is_file() else None
    return None if path is None else MaskCalibration.load(path)
