"""Reports as tables for people, on stderr."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from wsrpn.calibration import Calibration
    from wsrpn.comparison import Comparison
    from wsrpn.masks.calibration import MaskCalibration
    from wsrpn.types import Figure, Report

SHOWN = {
    "image labels": (
        "auroc", "image_ap", "f1", "specificity", "specificity_no_finding", "ece", "brier",
    ),
    "boxes": (
        "ap@0.1", "ap@0.3", "ap@0.5", "map", "map_coco", "rodeo", "rodeo_localization",
        "rodeo_shape", "rodeo_classification", "localization_accuracy@0.3", "pointing_game", "froc",
    ),
    "Gaussian maps": ("entropy", "entropy_normalized", "alignment_error", "top_patch"),
    "text": ("retrieval@1", "retrieval@5", "retrieval_chance@1", "retrieval_chance@5"),
    "pixels": (
        "jaccard", "dice", "precision", "recall", "jaccard_pooled", "dice_pooled",
        "precision_pooled", "recall_pooled", "boundary_f1",
    ),
    "objects": ("object_ap@0.5", "object_ap", "object_f1", "object_count_error"),
}  # fmt: skip
BY_SIZE = ("ap@0.1", "ap@0.3", "ap@0.5", "entropy", "alignment_error", "top_patch")
FEW_OF_MASKS = ("jaccard", "dice", "precision", "recall", "boundary_f1", "object_f1")
FEW = ("auroc", "image_ap", "f1", "ap@0.1", "ap@0.3", "rodeo", "pointing_game")
UNDEFINED = "–"
NARROW = 8  # least letters of a name
WIDE = 4  # with up to so many classes, they are columns of the one table


def show(report: "Report", *, said: "Sequence[str]" = ()) -> None:
    """What a report is of, and its most asked-for figures; the JSON has all of them.

    Args:
        report: figures of a run.
        said: notes that were printed already.
    """
    from wsrpn.errors import counted

    console = Console(stderr=True)
    known = report.provenance
    if "images" in known:
        counts = (
            f"{counted(known['images'], 'image')} of {counted(known['patients'], 'patient')}, "
            f"{counted(known['boxes'], 'box')} on "
            f"{counted(known['images_with_known_boxes'], 'image')} with known boxes"
        )
        console.print(f"{known['data']}: {counts}", highlight=False, markup=False, soft_wrap=True)
    console.print(_figures(report))
    if sum(many > 0 for many in known.get("boxes_by_size", {}).values()) > 1:
        console.print(_by_size(report))
    if len(report.per_class) > WIDE:
        console.print(_rows("class", report.per_class, console.width), crop=False)
    if report.per_group:
        console.print(_rows("group", report.per_group, console.width), crop=False)
    for warning in report.warnings:
        if warning not in said:
            console.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)


def show_masks(report: "Report", *, said: "Sequence[str]" = ()) -> None:
    """What a report of masks is of, and its figures.

    Args:
        report: figures of maps.
        said: notes that were printed already.
    """
    from wsrpn.errors import counted

    console = Console(stderr=True)
    known = report.provenance
    counts = (
        f"{known['data']}: {counted(known['images'], 'image')} of "
        f"{counted(known['patients'], 'patient')}; foreground {known['foreground']:.2%}, found "
        f"{known['foreground_found']:.2%}; {counted(known['objects'], 'object')}, found "
        f"{known['objects_found']}"
    )
    console.print(counts, highlight=False, markup=False, soft_wrap=True)
    console.print(_figures(report))
    if report.per_group:
        table = _rows("group", report.per_group, console.width, FEW_OF_MASKS)
        console.print(table, crop=False)
    for warning in report.warnings:
        if warning not in said:
            console.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)


def show_mask_calibration(fitted: "MaskCalibration", names: "Sequence[str]") -> None:
    """The numbers that were fitted, and a few figures before and after."""
    console = Console(stderr=True)
    split = f", objects split {fitted.min_distance_px} px apart"
    chosen = (
        f"threshold {fitted.threshold:.4f}, areas of at least {fitted.min_size_px} px"
        f"{split if fitted.touching == 'watershed' else ''}; best for {fitted.objective}"
    )
    console.print(chosen, highlight=False, markup=False, soft_wrap=True)
    stages = {"at 0.5": fitted.before, "calibrated": fitted.after}
    if fitted.held_out:
        stages["held out"] = fitted.held_out
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    for stage in stages:
        table.add_column(stage, justify="right", no_wrap=True)
    for name in names:
        table.add_row(name, *(number(figures.get(name)) for figures in stages.values()))
    console.print(table)
    for warning in fitted.warnings:
        console.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)


def _figures(report: "Report") -> Table:
    """Figures in groups; a group in which nothing is defined is left out (a note says why)."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right", no_wrap=True)
    few = report.per_class if len(report.per_class) <= WIDE else {}
    for name in few:
        table.add_column(name, justify="right")
    for title, names in SHOWN.items():
        there = {name: report.metrics[name] for name in names if name in report.metrics}
        if all(figure.value is None for figure in there.values()):
            continue
        table.add_row(f"[bold]{title}[/bold]")
        for name, figure in there.items():
            classes = [number(own.get(name)) for own in few.values()]
            table.add_row(f"  {name}", number(figure), interval(figure), *classes)
    return table


def _by_size(report: "Report") -> Table:
    """A column per size of finding; `ap@0.3` under `_small` is the figure `ap@0.3_small`."""
    from wsrpn.metrics.sizes import LARGE_FROM, SMALL_BELOW

    small, large = f"{100 * SMALL_BELOW:g} %", f"{100 * LARGE_FROM:g} %"
    limits = {"small": f"< {small}", "medium": f"{small} … {large}", "large": f"≥ {large}"}
    there = {size: many for size, many in report.provenance["boxes_by_size"].items() if many}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("by size of finding", no_wrap=True)
    for size in there:
        table.add_column(f"_{size}", justify="right", no_wrap=True)
    table.add_row("  share of the image", *(limits[size] for size in there))
    table.add_row("  boxes", *map(str, there.values()))
    for name in BY_SIZE:
        row = [number(report.metrics.get(f"{name}_{size}")) for size in there]
        if set(row) != {UNDEFINED}:
            table.add_row(f"  {name}", *row)
    return table


def _rows(
    what: str,
    figures: "Mapping[str, Mapping[str, Figure]]",
    width: int,
    few: "Sequence[str]" = FEW,
) -> Table:
    """A row per class or group, with a few figures; names are cut where `width` is too small."""
    numbers = [max(len(name), len("0.000")) for name in few]
    taken = sum(numbers) + 2 * len(numbers)  # a column is two apart from the one before
    room = min(max(width - taken, NARROW), max(map(len, (what, *figures))))
    # A width of its own keeps the numbers whole on a terminal that is too small for them.
    table = Table(box=None, pad_edge=False, header_style="bold", width=taken + room)
    table.add_column(what, no_wrap=True, width=room)
    for name, own_width in zip(few, numbers, strict=True):
        table.add_column(name, justify="right", no_wrap=True, width=own_width)
    for label, own in figures.items():
        table.add_row(escape(cut(label, room)), *(number(own.get(name)) for name in few))
    return table


def cut(name: str, room: int) -> str:
    """A name in so many letters: its middle goes, as its ends tell it from others.

    Example:
        >>> cut("Fluorospot Compact FD", 12), cut("CR", 12)
        ('Fluor…act FD', 'CR')
    """
    if len(name) <= room:
        return name
    begin = (room - 1) // 2
    return f"{name[:begin]}…{name[len(name) - (room - 1 - begin) :]}"


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
    return UNDEFINED if figure is None or figure.value is None else f"{figure.value:.3f}"


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
    for name in ("temp.", "threshold"):
        table.add_column(name, justify="right", no_wrap=True)
    for word, _ in figures:
        for stage in stages:
            table.add_column(f"{word} {stage}", justify="right", min_width=6)
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


def show_comparison(comparison: "Comparison") -> None:
    """Methods figure by figure, with their differences to the baseline."""
    from wsrpn.report import compare as paper

    console = Console(stderr=True)
    known = comparison.provenance
    about = f"{known['data']}: {paper.extent(comparison)}"
    console.print(about, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("value (95 %)", "runs", f"− {known['baseline']} (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for figure, method, value, runs, gap, clear in paper.lines(comparison):
        if figure != last:
            table.add_row(f"[bold]{figure}[/bold]")
        shown = f"[bold]{gap}[/bold]" if clear else gap
        table.add_row(f"  {escape(method)}", value, runs, shown)
        last = figure
    console.print(table)
    for warning in comparison.warnings:
        console.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)
