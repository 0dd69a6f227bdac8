"""`wsrpn heatmap` of a run that answers every pixel, or of a folder of anybody's score maps."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import mask_source, options, sources

if TYPE_CHECKING:
    from wsrpn.predict import TrainedRun
    from wsrpn.segmentation.maps import Maps
    from wsrpn.segmentation.pictures import Drawn
    from wsrpn.types import Dataset


def heatmap(
    source: Path,
    *,
    images: list[Path] | None,
    data: str,
    split: str,
    out: Path,
    calibration: Path | None,
    limit: int,
    format: str,
    on_error: str,
    device: str,
    held: str,
    threshold: float | None,
    min_size: int | None,
    json: bool,
) -> None:
    """Draw images with their masks, scores and errors.

    Args:
        source: run folder, or folder of maps.
        images: files to draw, in place of `data`.
        data: DATA; "" is what the run was trained on.
        split: of the data.
        out: folder for the pictures.
        calibration: file, or None for the one that lies beside the source.
        limit: at most so many images; 0 for all.
        format: of the pictures.
        on_error: `stop` or `skip`.
        device: that answers.
        held: what the files of a folder hold; "" tells by their looks.
        threshold: in the place of the calibration's.
        min_size: likewise, smallest area in pixels.
        json: whether to print one document on stdout.

    Raises:
        InputError: images and data, no data for a folder of maps, or what the drawing refuses.
        typer.Exit: images failed.
    """
    from wsrpn.errors import InputError
    from wsrpn.segmentation import maps, pictures

    options.choice("--format", format, pictures.FORMATS)
    if images and maps.is_folder(source):
        raise InputError("heatmap: maps belong to images of data; pass --data instead of files.")
    fitted = mask_source.calibration(source, calibration)
    run: TrainedRun | None
    with ExitStack() as stack:
        if images:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            run, dataset = _of_files(source, images, device)
        else:
            run, dataset, folder = _of_data(source, data, split, device)
        if run is not None:
            mask_source.refuse_other_weights(run, fitted, calibration)
        if limit:
            dataset = pictures.telling(dataset, limit)
        scores = _scores(run, dataset, folder, on_error, data, held)
        chosen = mask_source.cut(scores, run, fitted, threshold, min_size)
        bar = stack.enter_context(options.progress("heatmap", len(scores)))
        drawn = pictures.heatmap(
            dataset, scores, out, run=run, calibration=chosen, format=format, on_error=on_error,
            listen=bar.advance,
        )  # fmt: skip
    if scores.graded:
        mask_source.tell(chosen, fitted)
    _tell(drawn, out, (*(run.notes if run else ()), *scores.notes), json=json)


def _of_files(source: Path, images: list[Path], device: str) -> "tuple[TrainedRun, Dataset]":
    """A run and images that nobody has drawn on."""
    from wsrpn.data import base
    from wsrpn.predict import open_run

    return open_run(source, device=device), base.files(images)


def _of_data(
    source: Path, data: str, split: str, device: str
) -> "tuple[TrainedRun | None, Dataset, Path]":
    """A run, or None for a folder of maps; the images; and where their maps are, or are to be.

    Raises:
        InputError: a folder of maps without data, or nothing there.
    """
    from wsrpn import answers
    from wsrpn.errors import InputError
    from wsrpn.predict import open_run
    from wsrpn.segmentation import maps

    if maps.is_folder(source):
        if not data:
            raise InputError(f"{source}: maps need their images: pass --data.")
        return None, sources.load(data, split), source
    run = open_run(source, device=device)
    place = answers.folder(source, split, "" if answers.is_own(run, data) else data)
    return run, mask_source.data_of(run, data, split), place / "maps"


def _scores(
    run: "TrainedRun | None", dataset: "Dataset", folder: Path, on_error: str, data: str, held: str
) -> "Maps":
    """The maps of a run, made where they are not there yet, or those of a folder."""
    from wsrpn.errors import InputError
    from wsrpn.segmentation import answers

    if run is None:
        return mask_source.of_folder(folder, data, dataset, content=held)
    if held:
        raise InputError(f"--as {held}: is for a folder of files; {run.folder} is a run.")
    with options.progress("segment", len(dataset)) as bar:
        return answers.answers(run, dataset, folder, on_error=on_error, listen=bar.advance)


def _tell(drawn: "Drawn", out: Path, notes: tuple[str, ...], *, json: bool) -> None:
    """What was drawn and what failed."""
    from wsrpn.errors import counted

    for note in notes:
        options.say(f"note: {note}")
    for name, reason in drawn.failed.items():
        options.say(f"skipped {options.failure(name, reason)}")
    files = {name: str(path) for name, path in drawn.panels.items()}
    if files:
        options.say(f"{counted(len(files), 'picture')} and a contact sheet: {out}")
        files = {"contact_sheet": str(drawn.sheet), **files}
        if drawn.overlays:
            options.say(
                f"{counted(len(drawn.overlays), 'large image')} also in full resolution: "
                "NAME.overlay.png"
            )
            files |= {f"{name} overlay": str(path) for name, path in drawn.overlays.items()}
    else:
        options.say("nothing was drawn.")
    if json:
        warnings = [*notes, *(options.failure(*each) for each in drawn.failed.items())]
        options.emit(options.document("heatmap", files=files, warnings=warnings))
    if drawn.failed:
        raise typer.Exit(1)
