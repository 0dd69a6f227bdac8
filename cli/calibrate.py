"""`wsrpn calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from . import options


def calibrate(
    source: options.Source,
    data: options.Data = "",
    split: options.Split = "val",
    named: options.Map = None,
    out: Annotated[
        Path | None, typer.Option(help="calibration.json; in the run folder by default.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="Of the thresholds: f1, youden, or specificity@0.95.")
    ] = "f1",
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
    code: options.Code = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Fit temperatures and operating points per class; eval and heatmap use them."""
    from wsrpn import calibrate as fitting
    from wsrpn.report.reliability import draw_reliability
    from wsrpn.thresholds import check_objective

    from . import sources, tables

    options.load_code(code)
    chosen = options.choice("--method", method, ("temperature", "platt"))
    check_objective(objective)  # before the model runs
    found = sources.answers(
        source,
        data=data,
        split=split,
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
