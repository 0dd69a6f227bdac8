"""`wsrpn calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from . import mask_source, options, slide_options


def calibrate(
    source: options.Source,
    data: options.Data = "",
    split: Annotated[str, typer.Option(help=options.SPLIT_HELP, show_default="val")] = "",
    named: options.Map = None,
    out: Annotated[
        Path | None,
        typer.Option(help="calibration.json; in the run folder or beside the scores by default."),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="Of the thresholds: f1, youden, specificity@0.95; for slides also iou, and "
            "budgets: fp_mm2@0.5, fp_regions@2 (slides without tumour), fnr@0.1 (conformal); for "
            "masks jaccard, dice, object_f1.",
            show_default="f1, for slides iou, for masks jaccard",
        ),
    ] = "",
    method: Annotated[str, typer.Option(help="temperature or platt.")] = "temperature",
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Also fit box thresholds to gold boxes of the split.")
    ] = False,
    map_threshold: Annotated[
        str,
        typer.Option(
            metavar="auto|SHARE",
            help="Where class maps are cut into boxes; auto: by AP on gold boxes of the split.",
        ),
    ] = "",
    cross_validate: Annotated[
        bool,
        typer.Option("--cross-validate", help="Also give figures on patients held out in turn."),
    ] = False,
    touching: Annotated[
        str,
        typer.Option(
            metavar="joined|watershed",
            help="An object is an area, or its parts where it has a waist; else as the run says.",
            rich_help_panel=mask_source.PANEL,
            show_default=False,
        ),
    ] = "",
    slide: slide_options.Names = None,
    score: slide_options.Score = "",
    rule: slide_options.Rule = "",
    mpp: slide_options.Mpp = None,
    over: Annotated[
        str,
        slide_options.option(
            "--over", "macro|pooled", "Mean over slides (by default), or all tiles together."
        ),
    ] = "",
    normalise: Annotated[
        str,
        slide_options.option(
            "--normalise",
            "NAME,…",
            "Choose among these: none, z, mad, sigma-clip, left-half, reference; all by default.",
        ),
    ] = "",
    smooth: Annotated[
        str,
        slide_options.option(
            "--smooth",
            "SIZE,…",
            "Choose σ among these: µm (120) or tiles (1.5tiles); 0 for none.",
        ),
    ] = "",
    min_area: Annotated[
        str,
        slide_options.option(
            "--min-area",
            "SIZE,…",
            "Smallest object that stays: µm² (50000) or 2tiles; 0 for any.",
        ),
    ] = "",
    max_hole: Annotated[
        str,
        slide_options.option(
            "--max-hole",
            "SIZE,…",
            "Largest hole that is filled: µm², 2tiles, or all; 0 for none.",
        ),
    ] = "",
    connectivity: Annotated[
        str, slide_options.option("--connectivity", "4|8", "Neighbours in an object; 4 by default.")
    ] = "",
    steps: Annotated[
        Path | None,
        slide_options.option(
            "--steps",
            "FILE",
            "Take the steps of this calibration, and fit the threshold alone.",
        ),
    ] = None,
    exclude: slide_options.Exclude = False,
    held: mask_source.As = "",
    code: options.Code = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Fit temperatures and operating points per class; eval and heatmap use them.

    Of tile scores: choose normalisation, smoothing and clean-up by slides left out in turn, and fit
    one exact threshold for all slides.

    wsrpn calibrate scores.parquet --data slides.csv --cross-validate

    Of a run that segments, or a folder of maps: the exact threshold, and how small is too small.
    """
    from . import slide_source, slides

    options.load_code(code)
    wanted = {
        "--over": over, "--normalise": normalise, "--smooth": smooth, "--min-area": min_area,
        "--max-hole": max_hole, "--connectivity": connectivity, "--steps": steps,
    }  # fmt: skip
    if slide_source.takes(source):
        slide_options.of_images({
            "--map": named, "--method": method != "temperature", "--boxes": boxes,
            "--map-threshold": map_threshold, "--on-error": on_error != "stop",
            "--touching": touching, "--as": held,
        })  # fmt: skip
        fit = slide_options.steps(
            normalise=normalise, smooth=smooth, min_area=min_area, max_hole=max_hole,
            connectivity=connectivity, file=steps,
        )  # fmt: skip
        fit |= {"cross_validate": cross_validate, "objective": objective or "iou"}
        if over:
            fit["over"] = options.choice("--over", over, ("macro", "pooled"))
        asked = slide_source.Selection(split, tuple(slide or ()), score, rule, mpp, exclude)
        slides.calibrate(source, data=data, asked=asked, fit=fit, out=out, json=json)
        return
    slide_options.of_slides({
        "--slide": slide, "--score": score, "--rule": rule, "--mpp": mpp,
        "--exclude-non-exhaustive": exclude,
        **wanted,
    })  # fmt: skip
    if mask_source.takes(source):
        from . import mask_runs

        mask_source.refuse({
            "--map": named, "--method": method != "temperature", "--boxes": boxes,
            "--map-threshold": map_threshold,
        })  # fmt: skip
        mask_runs.calibrate(
            source, data=data, split=split or "val", out=out, objective=objective,
            touching=touching, cross_validate=cross_validate, device=device, on_error=on_error,
            held=held, json=json,
        )  # fmt: skip
        return
    mask_source.of_masks({"--touching": touching, "--as": held})
    from wsrpn import calibrate as fitting
    from wsrpn.report.reliability import draw_reliability
    from wsrpn.thresholds import check_objective

    from . import sources, tables

    chosen = options.choice("--method", method, ("temperature", "platt"))
    objective = objective or "f1"
    check_objective(objective)  # before the model runs
    found = sources.answers(
        source,
        data=data,
        split=split or "val",
        device=device,
        on_error=on_error,
        named=named,
        map_threshold=map_threshold,
    )
    fitted = fitting.calibrate(
        found.predictions,
        found.dataset,
        objective=objective,
        method=chosen,
        boxes=boxes,
        maps=found.maps,
        cross_validate=cross_validate,
    )
    path = out or (source if source.is_dir() else source.parent) / "calibration.json"
    fitted.save(path)
    plot = path.with_name("reliability.png")
    draw_reliability(fitted, found.predictions, found.dataset, plot)
    tables.show_calibration(fitted)
    options.say(f"calibration: {path}")
    if json:
        files = {"calibration": str(path), "reliability": str(plot)}
        options.emit(tables.calibration_report(fitted, files).document())
    if found.predictions.failed:
        raise typer.Exit(1)
