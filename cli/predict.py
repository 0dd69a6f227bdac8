"""`wsrpn predict`."""

from pathlib import Path
from typing import Annotated

import typer

from . import mask_source, options

BOXES = Path("predictions.json")
BOXES_ONLY = "CSV holds boxes only; write .json to keep image scores."


def predict(
    run: options.Run,
    images: options.Files = None,
    data: options.Data = "",
    split: options.Split = "all",
    out: Annotated[
        Path | None,
        typer.Option(
            help="predictions.json (COCO), or .csv: boxes only. Of a run that segments, a folder.",
            show_default="predictions.json, for masks the folder masks",
        ),
    ] = None,
    objects: Annotated[
        bool,
        typer.Option(
            "--objects",
            help="Also number the objects: 16-bit pictures, and objects.csv.",
            rich_help_panel=mask_source.PANEL,
        ),
    ] = False,
    scores: Annotated[
        bool,
        typer.Option(
            "--maps",
            help="Also write the scores: 16-bit pictures that eval, calibrate and heatmap take.",
            rich_help_panel=mask_source.PANEL,
        ),
    ] = False,
    calibration: options.CalibrationFile = None,
    threshold: mask_source.Threshold = None,
    min_size: mask_source.MinSize = None,
    code: options.Code = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Write what a run finds in images: boxes and scores, or masks, in pixels of the files.

    Of a run that segments: a folder of masks, 0 and 255, and a summary.
    """
    from wsrpn import predictions as prediction_files
    from wsrpn.data import base, mapping
    from wsrpn.errors import InputError
    from wsrpn.predict import open_run, refuse_tiles
    from wsrpn.predict import predict as make

    from . import sources

    options.load_code(code)
    sources.check(split, on_error)
    if bool(images) == bool(data):
        raise InputError("predict: name image files or pass --data, one of the two.")
    if not (run / "config.yaml").is_file():
        mask_source.refuse_folder(run)
        open_run(run, device=device)  # says what is missing
    if mask_source.is_run(run):
        from . import mask_runs

        mask_runs.predict(
            run, images=images, data=data, split=split, out=out, calibration=calibration,
            objects=objects, scores=scores, threshold=threshold, min_size=min_size,
            device=device, on_error=on_error, json=json,
        )  # fmt: skip
        return
    mask_source.of_masks({
        "--objects": objects, "--maps": scores, "--threshold": threshold is not None,
        "--min-size": min_size is not None,
    })  # fmt: skip
    out = out or BOXES
    prediction_files.check_suffix(out)  # before the model runs
    opened = open_run(run, device=device)
    refuse_tiles(opened)  # whose calibration, if there is one, is of another kind
    found = sources.calibration(run, calibration)
    opened = opened.calibrated(found)
    if images:
        dataset = mapping.align(base.files(images), opened.classes)
    else:
        dataset = sources.load_for(opened, data, split)
    with options.progress("predict", len(dataset)) as bar:
        made = make(opened, dataset, on_error=on_error, listen=bar.advance)
    if found:
        made = found.apply(made)
    prediction_files.write(made, out)
    if found:
        options.say(f"scores are calibrated: {calibration or run / 'calibration.json'}")
    notes = [*opened.notes, *([BOXES_ONLY] if out.suffix == ".csv" else [])]
    for note in notes:
        options.say(f"note: {note}")
    for name, reason in made.failed.items():
        options.say(f"skipped {options.failure(name, reason)}")
    boxes = sum(len(image.scores) for image in made.images)
    options.say(f"{len(made.images)} images, {boxes} boxes: {out}")
    if json:
        options.emit(
            options.document(
                "predict",
                files={"predictions": str(out)},
                warnings=[*notes, *(f"{n}: {r}" for n, r in made.failed.items())],
            )
        )
    if made.failed:
        raise typer.Exit(1)
