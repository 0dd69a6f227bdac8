"""`wsrpn compare`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import mask_source, options

if TYPE_CHECKING:
    from wsrpn.comparison import Comparison
    from wsrpn.metrics.gather import Images

    from . import methods


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]RUN[,RUN]…",
            help="Run folders or predictions; NAME=RUN,RUN makes several runs one method.",
            show_default=False,
        ),
    ],
    data: options.Data = "",
    split: options.Split = "test",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,…", help="Figures to compare, or all; the most asked for by default."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Method that the others are measured against; the first.")
    ] = None,
    named: options.Map = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Leave runs that differ in the seed apart.")
    ] = False,
    over: Annotated[
        str,
        typer.Option(
            metavar="both|patients",
            help="What intervals of differences are over, seeds too or not.",
        ),
    ] = "both",
    out: Annotated[Path, typer.Option(help="Folder for table, figure and report.")] = Path(
        "comparison"
    ),
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'METHOD/NAME>=VALUE'", help="Exit with 3 unless it holds; may be repeated."
        ),
    ] = None,
    images: Annotated[
        str, typer.Option(help="all, or listed: only images that all predictions name.")
    ] = "all",
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates behind the intervals; 0 for none.")
    ] = 1000,
    code: options.Code = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Set runs side by side on the same images: one table, one figure, paired differences.

    Runs whose configs differ in the seed alone are one method, the mean of its runs; NAME=RUN,RUN
    says so of any others (RUN may have * and ?). Every run keeps its own calibration. Without
    --data every run answers for its own test images, which must be the same for all.

    Runs that segment, and folders of maps or masks, are compared by pixels, outlines and objects.

    wsrpn compare runs/wsrpn-0 runs/wsrpn-1 runs/cam-0 runs/cam-1

    wsrpn compare old=runs/a-* new=runs/b-* --metric ap@0.3,rodeo --out new-vs-old

    wsrpn compare mine=runs/a theirs=boxes.csv --data images.csv --images listed

    wsrpn compare old=runs/a new=runs/b --require 'low(new - old/ap@0.3)>-0.02'
    """
    from wsrpn import evaluate, files
    from wsrpn.errors import InputError, RequirementError
    from wsrpn.report import compare as paper
    from wsrpn.report import draw

    from . import mask_compare, methods, tables

    options.load_code(code)
    evaluate.check_form(require or [])  # before a model runs
    which = options.choice("--images", images, ("all", "listed"))
    options.choice("--over", over, ("both", "patients"))
    asked = [name.strip() for text in metric or [] for name in text.split(",") if name.strip()]
    if metric is not None and not asked:
        raise InputError(f"--metric '{','.join(metric)}': no figure is named; NAME,… or all.")
    places = methods.places(runs)
    how: dict[str, Any] = {
        "figures": asked, "baseline": baseline, "bootstrap": bootstrap,
        "over_seeds": over == "both",
    }  # fmt: skip
    if mask_compare.takes(places):
        mask_source.refuse({"--map": named})
        comparison, failed = mask_compare.compare(
            places, data=data, split=split, device=device, on_error=on_error, separate=separate,
            listed=which == "listed", how=how,
        )  # fmt: skip
    else:
        comparison, failed = _of_boxes(
            places, data=data, split=split, named=named, device=device, on_error=on_error,
            separate=separate, images=which, how=how,
        )  # fmt: skip
    told = (*comparison.warnings, *paper.left_out(comparison))
    comparison = dataclasses.replace(comparison, warnings=told)
    paths = {
        "report": out / "compare.json", "table": out / "compare.md", "csv": out / "compare.csv",
        "figure": out / "compare.png",
    }  # fmt: skip
    document = comparison.document({name: str(path) for name, path in paths.items()})
    files.write(paths["table"], paper.markdown(comparison).encode())
    files.write(paths["csv"], paper.table(comparison).encode())
    draw.save(paper.forest(comparison), paths["figure"])
    files.write_json(paths["report"], document)
    tables.show_comparison(comparison)
    options.say(f"table, figure and report: {out}")
    if json:
        options.emit(document)
    unmet = evaluate.check_requirements(comparison.report(), require or [])  # after the report
    if unmet:
        raise RequirementError(f"not met: {'; '.join(unmet)}")
    if failed:
        raise typer.Exit(1)


def _of_boxes(
    places: Sequence["methods.Place"], *, data: str, split: str, named: list[str] | None,
    device: str, on_error: str, separate: bool, images: "Images", how: Mapping[str, Any],
) -> tuple["Comparison", bool]:  # fmt: skip
    """Runs that answer with labels and boxes, and whether an image could not be read."""
    from wsrpn import compare as comparing
    from wsrpn import truth

    from . import methods

    found = methods.load(
        places, data=data, split=split, named=named, device=device, on_error=on_error, images=images
    )
    runs, notes = methods.grouped([run for run, _ in found], separate=separate)
    judged = [one for _, one in found]
    scorer = truth.truth(judged)
    comparison = comparing.compare(runs, scorer, images=images, **how)
    notes += truth.notes(judged, scorer)
    failed = any(run.entry.predictions.failed for run, _ in found)
    return dataclasses.replace(comparison, warnings=(*notes, *comparison.warnings)), failed
