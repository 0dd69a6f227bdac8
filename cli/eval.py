"""`wsrpn eval`, also `wsrpn evaluate`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from . import mask_source, options, slide_options


def evaluate(
    source: options.Source,
    data: options.Data = "",
    split: Annotated[str, typer.Option(help=options.SPLIT_HELP, show_default="test")] = "",
    named: options.Map = None,
    calibration: options.CalibrationFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report; in the run folder or beside the scores."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME>=VALUE'", help="Exit with 3 unless it holds; may be repeated."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Column of the data, for example source: figures per value.")
    ] = None,
    images: Annotated[
        str, typer.Option(help="all, or listed: only images that the predictions name.")
    ] = "all",
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates behind the intervals; 0 for none.")
    ] = 1000,
    slide: slide_options.Names = None,
    score: slide_options.Score = "",
    rule: slide_options.Rule = "",
    mpp: slide_options.Mpp = None,
    exclude: slide_options.Exclude = False,
    detections: Annotated[
        Path | None,
        slide_options.option(
            "--detections",
            "FOLDER",
            "CAMELYON16's files, one per slide, for FROC; else peaks of the scores are taken.",
        ),
    ] = None,
    held: mask_source.As = "",
    threshold: mask_source.Threshold = None,
    min_size: mask_source.MinSize = None,
    code: options.Code = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Score predictions against the truth: figures with 95 % intervals over patients.

    On other data than the run's own, classes go by name; equal names in another spelling and true
    synonyms (Effusion, Pleural Effusion) are found, others are given with --map:

    wsrpn eval runs/nih --data vindr:DIR --map 'Nodule=Nodule/Mass' --map 'Mass=Nodule/Mass'

    wsrpn eval scores.parquet --data slides.csv --calibration calibration.json

    Of a run that segments, or of a folder of maps or masks named like the images: pixels, outlines
    and objects.
    """
    from . import slide_source, slides

    options.load_code(code)
    if slide_source.takes(source):
        slide_options.of_images({
            "--map": named, "--by": by, "--images": images != "all",
            "--on-error": on_error != "stop", "--as": held,
            "--threshold": threshold is not None, "--min-size": min_size is not None,
        })  # fmt: skip
        asked = slide_source.Selection(split, tuple(slide or ()), score, rule, mpp, exclude)
        slides.evaluate(
            source, data=data, asked=asked, calibration=calibration, detections=detections,
            out=out, require=require or [], bootstrap=bootstrap, json=json,
        )  # fmt: skip
        return
    slide_options.of_slides({
        "--slide": slide, "--score": score, "--rule": rule, "--mpp": mpp,
        "--exclude-non-exhaustive": exclude,
        "--detections": detections,
    })  # fmt: skip
    if mask_source.takes(source):
        from . import mask_runs

        mask_source.refuse({"--map": named})
        mask_runs.evaluate(
            source, data=data, split=split or "test", calibration=calibration, out=out,
            require=require or [], by=by, images=images, bootstrap=bootstrap, device=device,
            on_error=on_error, held=held, threshold=threshold, min_size=min_size, json=json,
        )  # fmt: skip
        return
    mask_source.of_masks(
        {"--as": held, "--threshold": threshold is not None, "--min-size": min_size is not None}
    )
    from wsrpn import evaluate as evaluation
    from wsrpn import files
    from wsrpn.errors import RequirementError

    from . import sources, tables

    evaluation.check_form(require or [])  # before the model runs
    which = options.choice("--images", images, ("all", "listed"))
    fitted = sources.calibration(source, calibration)
    found = sources.answers(
        source,
        data=data,
        split=split or "test",
        device=device,
        on_error=on_error,
        out=out,
        named=named,
        calibration=fitted,
    )
    report = evaluation.evaluate(
        found.predictions,
        found.dataset,
        calibration=fitted,
        bootstrap=bootstrap,
        images=which,
        by=by,
    )
    path = found.out / "report.json"
    names = {"report": str(path), "predictions": str(found.file)}
    report = dataclasses.replace(report, files=names)
    files.write_json(path, report.document())
    if found.predictions.provenance.get("calibrated"):
        options.say("the scores are calibrated already; thresholds are 0.5")
    elif fitted is None:
        options.say(sources.UNCALIBRATED)
    tables.show(report, said=found.dataset.notes)
    options.say(f"report: {path}")
    if json:
        options.emit(report.document())
    unmet = evaluation.check_requirements(report, require or [])  # after the report is written
    if unmet:
        raise RequirementError(f"not met: {'; '.join(unmet)}")
    if found.predictions.failed:
        raise typer.Exit(1)
