"""`wsrpn heatmap`."""

from pathlib import Path
from typing import Annotated

import typer

from . import options


def heatmap(
    run: options.Run,
    images: options.Files = None,
    data: options.Data = "",
    split: options.Split = "test",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("heatmaps"),
    calibration: options.CalibrationFile = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class; may be repeated.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=0, help="At most so many images, those with boxes first; 0 for all."),
    ] = 0,
    format: Annotated[str, typer.Option("--format", help="png, pdf or svg.")] = "png",
    code: options.Code = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Draw Gaussian maps, patch maps and boxes over radiographs, beside the ground truth."""
    from wsrpn import heatmap as drawing
    from wsrpn.data import base, mapping
    from wsrpn.errors import InputError, counted
    from wsrpn.predict import open_run

    from . import sources

    options.load_code(code)
    sources.check(split, on_error)
    if images and data:
        raise InputError("heatmap: name image files or pass --data, not both.")
    opened = open_run(run, device=device)
    if images:
        dataset = mapping.align(base.files(images), opened.classes)
    else:
        dataset = sources.load_for(opened, data, split)
    if limit:
        dataset = drawing.telling(dataset, limit)
    fitted = sources.calibration(run, calibration)
    with options.progress("heatmap", len(dataset)) as bar:
        drawn = drawing.heatmap(
            opened,
            dataset,
            out,
            calibration=fitted,
            classes=classes or None,
            format=format,
            on_error=on_error,
            listen=bar.advance,
        )
    if fitted is None:
        options.say(sources.UNCALIBRATED)
    for note in opened.notes:
        options.say(f"note: {note}")
    for name, reason in drawn.failed.items():
        options.say(f"skipped {name}: {reason}")
    files = {name: str(path) for name, path in drawn.panels.items()}
    if files:
        options.say(f"{counted(len(files), 'picture')} and a contact sheet: {out}")
        files = {"contact_sheet": str(drawn.sheet), **files}
    else:
        options.say("nothing was drawn.")
    if json:
        warnings = [*opened.notes, *(f"{n}: {r}" for n, r in drawn.failed.items())]
        options.emit(options.document("heatmap", files=files, warnings=warnings))
    if drawn.failed:
        raise typer.Exit(1)
