"""`wsrpn heatmap`."""

from pathlib import Path
from typing import Annotated

import typer

from . import mask_source, options, slide_options


def heatmap(
    run: options.RunOrScores,
    images: options.Files = None,
    data: options.Data = "",
    split: Annotated[str, typer.Option(help=options.SPLIT_HELP, show_default="test")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("heatmaps"),
    calibration: options.CalibrationFile = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class; may be repeated.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=0, help="At most so many images or slides, those with findings first; 0 for all."
        ),
    ] = 0,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="png, pdf or svg; for slides also geojson, geojson-tiles, tiff, ome-tiff, html, "
            "several with commas between.",
        ),
    ] = "png",
    slide: slide_options.Names = None,
    score: slide_options.Score = "",
    rule: slide_options.Rule = "",
    mpp: slide_options.Mpp = None,
    scale: Annotated[
        str,
        slide_options.option(
            "--scale",
            "cohort|slide",
            "One colour scale for all slides (by default), or each its own.",
        ),
    ] = "",
    clip: Annotated[
        str,
        slide_options.option(
            "--clip", "LOW,HIGH", "Percentiles at the ends of the colour scale; 5,95 by default."
        ),
    ] = "",
    blur: Annotated[
        float | None,
        slide_options.option(
            "--blur",
            "TILES",
            "Smooth pictures by this σ, and no figure; 1 where scores are not smoothed, else 0.",
            least=0,
        ),
    ] = None,
    downsample: Annotated[
        int | None,
        slide_options.option(
            "--downsample",
            "N",
            "Full-size pixels per pixel of TIFF and OME-TIFF; 32 by default.",
            least=1,
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
    """Draw maps and boxes over radiographs, or scores over slides, beside the ground truth.

    Of a model that answers every pixel: outlines, errors, scores and where it looks. A folder of
    anybody's score maps with --data is drawn the same.

    Of tile scores: truth, heatmap and overlay of every slide, layers for QuPath and other viewers,
    and one page for a browser. What was drawn before from the same scores is left as it is.

    wsrpn heatmap scores.parquet --data slides.csv --format png,geojson,html --out heatmaps
    """
    from . import mask_heatmap, slide_source, slides

    options.load_code(code)
    if slide_source.takes(run):
        slide_options.of_images({
            "FILE…": images, "--class": classes, "--on-error": on_error != "stop", "--as": held,
            "--threshold": threshold is not None, "--min-size": min_size is not None,
        })  # fmt: skip
        how = slide_options.drawing(
            format=format, scale=scale, clip=clip, blur=blur, downsample=downsample
        )
        asked = slide_source.Selection(split, tuple(slide or ()), score, rule, mpp)
        slides.heatmap(
            run, data=data, asked=asked, calibration=calibration, out=out, limit=limit,
            drawing=how, json=json,
        )  # fmt: skip
        return
    slide_options.of_slides({
        "--slide": slide, "--score": score, "--rule": rule, "--mpp": mpp,
        "--scale": scale, "--clip": clip,
        "--blur": blur is not None, "--downsample": downsample,
    })  # fmt: skip
    split = split or "test"
    from wsrpn import heatmap as drawing
    from wsrpn.data import base, mapping
    from wsrpn.errors import InputError, counted
    from wsrpn.predict import open_run

    from . import sources

    sources.check(split, on_error)
    if images and data:
        raise InputError("heatmap: name image files or pass --data, not both.")
    if mask_source.takes(run):
        mask_source.refuse({"--class": classes})
        mask_heatmap.heatmap(
            run, images=images, data=data, split=split, out=out, calibration=calibration,
            limit=limit, format=format, on_error=on_error, device=device, held=held,
            threshold=threshold, min_size=min_size, json=json,
        )  # fmt: skip
        return
    mask_source.of_masks(
        {"--as": held, "--threshold": threshold is not None, "--min-size": min_size is not None}
    )
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
        options.say(f"skipped {options.failure(name, reason)}")
    files = {name: str(path) for name, path in drawn.panels.items()}
    if files:
        options.say(f"{counted(len(files), 'picture')} and a contact sheet: {out}")
        files = {"contact_sheet": str(drawn.sheet), **files}
    else:
        options.say("nothing was drawn.")
    if json:
        warnings = [*opened.notes, *(options.failure(*each) for each in drawn.failed.items())]
        options.emit(options.document("heatmap", files=files, warnings=warnings))
    if drawn.failed:
        raise typer.Exit(1)
