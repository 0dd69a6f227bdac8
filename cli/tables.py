"""Reports as tables for people, on stderr."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from wsrpn.calibration import Calibration
    from wsrpn.types import Figure, Report

FIRST = (
    "auroc", "image_ap", "f1", "specificity", "ap@0.1", "ap@0.3", "ap@0.5", "map", "map_coco",
    "rodeo", "rodeo_localization", "rodeo_shape", "rodeo_classification",
    "localization_accuracy@0.3", "pointing_game", "froc", "entropy", "entropy_normalized",
    "alignment_error", "top_patch", "ece", "brier",
)  # fmt: skip


def show(report: "Report", names: tuple[str, ...] = FIRST) -> None:
    """The named figures, in total and per class; the JSON has all of them."""
    console = Console(stderr=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    few = report.per_class if len(report.per_class) <= 4 else {}
    for name in few:
        table.add_column(name, justify="right")
    for name in names:
        figure = report.metrics.get(name)
        if figure is None or figure.value is None:
            continue
        classes = [number(own.get(name)) for own in few.values()]
        table.add_row(name, number(figure), interval(figure), *classes)
    console.print(table)
    for group, figures in report.per_group.items():
        shown = [
            f"{n} {number(figures[n])}"
            for n in names
            if n in figures and figures[n].value is not None
        ]
        console.print(f"[bold]{group}[/bold]: {', '.join(shown[:8])}", highlight=False)
    for warning in report.warnings:
        console.print(f"note: {warning}", highlight=False, markup=False)


def calibration_report(fitted: "Calibration", files: dict[str, str]) -> "Report":
    """Figures of calibrated scores, of raw ones (`…_before`), of held-out images (`…_held_out`)."""
    from wsrpn import __version__
    from wsrpn.types import Report

    def named(name: str) -> "dict[str, Figure]":
        found = dict(fitted.after.get(name, {}))
        for when, group in (("before", fitted.before), ("held_out", fitted.cross_validated)):
            found |= {f"{key}_{when}": figure for key, figure in group.get(name, {}).items()}
        return found

    return Report(
        command="calibrate",
        version=__version__,
        metrics=named("all"),
        per_class={name: named(name) for name in fitted.classes},
        files=files,
        warnings=fitted.warnings,
    )


def number(figure: "Figure | None") -> str:
    """Three decimals, or a dash for an undefined figure."""
    return "–" if figure is None or figure.value is None else f"{figure.value:.3f}"


def interval(figure: "Figure") -> str:
    """Both ends, or nothing."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:.3f} … {figure.high:.3f}"


def show_calibration(fitted: "Calibration") -> None:
    """Temperature, threshold and errors before and after, per class."""
    stages = {"before": fitted.before, "after": fitted.after}
    if fitted.cross_validated:
        stages["held out"] = fitted.cross_validated
    figures = (("ECE", "ece"), ("F1", "f1"))
    console = Console(stderr=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", no_wrap=True)
    for name in ("temperature", "threshold"):
        table.add_column(name, justify="right", no_wrap=True)
    for word, _ in figures:
        for stage in stages:
            table.add_column(f"{word} {stage}", justify="right")
    for index, name in enumerate(fitted.classes):
        table.add_row(
            name,
            f"{fitted.temperature[index]:.3f}",
            f"{fitted.threshold[index]:.3f}",
            *(number(s.get(name, {}).get(key)) for _, key in figures for s in stages.values()),
        )
    console.print(table)
    for warning in fitted.warnings:
        console.print(f"note: {warning}", highlight=False, markup=False)
