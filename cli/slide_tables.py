"""Figures of slides as tables for people, on stderr."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .tables import UNDEFINED, cut, interval, number

if TYPE_CHECKING:
    from wsrpn.slides.calibration import Row, SlideCalibration
    from wsrpn.types import Figure, Report

SHOWN = {
    "at the threshold": (
        "iou_macro", "iou_oracle", "iou", "dice_macro", "dice", "precision", "recall", "pixel_iou",
        "pixel_iou_ceiling",
    ),
    "without one": (
        "tile_auroc", "tile_auroc_pooled", "tile_auroc_pooled_normalised", "tile_ap",
        "tile_ap_pooled", "tile_ap_pooled_normalised", "pixel_auroc",
    ),
    "lesions and false alarms": ("froc", "fp_mm2", "fp_regions"),
}  # fmt: skip
FEW = ("burden", "iou", "iou_oracle", "precision", "recall", "tile_auroc", "fp_mm2")
GROUP = ("iou_macro", "iou_oracle", "precision", "recall", "tile_auroc", "fp_mm2")
IN_SAMPLE = (
    "Figures are of the very slides that were fitted on; `--cross-validate` adds those held out."
)
NAME = 24  # letters of a slide's name
CHOICES = 6  # rows of the table of choices, beside the best of every normaliser


def show_report(report: "Report", *, said: Sequence[str] = ()) -> None:
    """Figures of a cohort, by burden, by slide, and what each step contributes.

    Args:
        report: of `wsrpn.cohort.evaluate`.
        said: notes that were printed already.
    """
    console = Console(stderr=True)
    console.print(_figures(report.metrics, str(report.provenance.get("score", "score"))))
    lines = report.provenance.get("contribution", ())
    if lines:
        console.print(_applied(lines))
    if report.per_group:
        groups = {f"{n} ({_count(own)})": own for n, own in report.per_group.items()}
        console.print(_each("slides by burden", groups, GROUP))
    if report.per_slide:
        console.print(_each("slide", report.per_slide, FEW))
    _notes(console, report.warnings, said)


def show_calibration(fitted: "SlideCalibration", *, said: Sequence[str] = ()) -> None:
    """What was chosen, among what, and what each step contributes.

    Args:
        fitted: of `wsrpn.cohort.calibrate`.
        said: notes that were printed already.
    """
    from wsrpn.cohort.candidates import described

    console = Console(stderr=True)
    if fitted.choices:
        name = _figure_of(fitted)
        console.print(_choices(_telling(fitted.choices), name))
        told = f"{name}; `left out`: threshold without the slide; steps are chosen by it"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    if fitted.contribution:
        console.print(_contribution(fitted.contribution, _figure_of(fitted)))
        for row in fitted.contribution:
            told = f"  {row.name}: {described(row.steps)}"
            console.print(told, highlight=False, markup=False, soft_wrap=True)
    console.print(_fit(fitted))
    where = f"tumour where value >= {fitted.threshold:.4g}"
    told = f"chosen: {described(fitted.steps)}; "
    told += where if math.isfinite(fitted.threshold) else "nothing is called tumour"
    told += f" ({fitted.objective}, {fitted.over}, {len(fitted.slides)} slides)"
    console.print(told, highlight=False, markup=False, soft_wrap=True)
    _notes(console, fitted.warnings, said)
    if not fitted.held_out:
        _notes(console, (IN_SAMPLE,), said)


def calibration_report(fitted: "SlideCalibration", files: dict[str, str]) -> "Report":
    """Figures on the slides of the fit, and of slides left out (`…_held_out`)."""
    import dataclasses

    from wsrpn import __version__
    from wsrpn.slides.calibration import plain
    from wsrpn.types import Figure, Report

    held_out = {
        f"{name}_held_out": figure
        for name, figure in fitted.held_out.items()
        if name != "iou_oracle"  # an upper bound is no figure of what is held out
    }
    whole = plain(dataclasses.asdict(fitted))
    threshold = fitted.threshold if math.isfinite(fitted.threshold) else math.nan
    inside = () if held_out else (IN_SAMPLE,)
    kept = (
        "steps", "threshold", "objective", "over", "score", "rule", "tile_um", "tile_px0", "slides",
        "contribution", "choices",
    )  # fmt: skip
    return Report(
        command="calibrate",
        version=__version__,
        metrics={"threshold": Figure.of(threshold), **fitted.figures, **held_out},
        files=files,
        warnings=(*fitted.warnings, *inside),
        provenance={name: whole[name] for name in kept},
    )


def _short(value: float) -> str:
    """A number with up to four figures that matter, never in powers of ten; infinity is `all`."""
    if math.isinf(value):
        return "all"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _table(first: str, *numbers: str) -> Table:
    """A plain table whose first column gives way where there is no room."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    return table


def _figures(metrics: "Mapping[str, Figure]", score: str) -> Table:
    """The most asked-for figures in groups, undefined ones left out; the JSON has all of them."""
    what = "figure" if score == "score" else escape(f"figure of {score}")
    table = _table(what, "value", "95 % interval")
    for title, names in SHOWN.items():
        there = [n for n in names if n in metrics and metrics[n].value is not None]
        if there:
            table.add_row(f"[bold]{title}[/bold]")
        for name in there:
            table.add_row(f"  {name}", number(metrics[name]), interval(metrics[name]))
    return table


def _each(what: str, figures: "Mapping[str, Mapping[str, Figure]]", names: Sequence[str]) -> Table:
    """A row per slide or group, with the columns that are defined anywhere."""
    used = [n for n in names if any(own.get(n) is not None for own in figures.values())]
    table = _table(what, *used)
    for label, own in figures.items():
        table.add_row(escape(cut(label, NAME)), *(_cell(name, own.get(name)) for name in used))
    return table


def _count(own: "Mapping[str, Figure]") -> str:
    """How many slides are in a group."""
    return f"{own['slides'].value:.0f}"


def _cell(name: str, figure: "Figure | None") -> str:
    if figure is None or figure.value is None:
        return UNDEFINED
    return f"{100 * figure.value:.2f} %" if name == "burden" else number(figure)


def _telling(rows: "Sequence[Row]") -> "list[Row]":
    """The best candidates, and the best of every normaliser."""
    best = {row.steps.normalise: row for row in reversed(rows)}
    return [row for i, row in enumerate(rows) if i < CHOICES or row in best.values()]


def _choices(rows: "Sequence[Row]", name: str) -> Table:
    """Candidates with what they reach, a column for each step."""
    length, area = ("µm", "µm²") if rows[0].steps.unit == "um" else ("tiles", "tiles")
    table = _table(
        "choices", f"σ {length}", f"objects ≥ {area}", f"holes ≤ {area}", "threshold",
        "fitted", "left out",
    )  # fmt: skip
    for row in rows:
        one = row.steps
        sizes = (_short(size) for size in (one.smooth, one.min_area, one.max_hole))
        table.add_row(one.normalise, *sizes, *_reached(row, name))
    return table


def _contribution(rows: "Sequence[Row]", name: str) -> Table:
    """What every freedom adds, on slides of the fit and on those held out, and what it chose."""
    table = _table(f"{name} by steps", "threshold", "fitted", "held out", "gain (95 %)")
    for row in rows:
        gain = _signed(row.gain[name]) if name in row.gain else ""
        table.add_row(escape(row.name), *_reached(row, name), gain)
    return table


def _figure_of(fitted: "SlideCalibration") -> str:
    """The figure that rows are compared and shown by."""
    from wsrpn.cohort import objective

    return objective.parse(fitted.objective).figure(fitted.over)


def _reached(row: "Row", name: str) -> tuple[str, str, str]:
    figures = (number(row.fitted.get(name)), number(row.held_out.get(name)))
    return f"{row.threshold:.4g}", *figures


def _signed(figure: "Figure") -> str:
    if figure.value is None:
        return UNDEFINED
    ends = "" if figure.low is None else f" ({figure.low:+.3f} … {figure.high:+.3f})"
    return f"{figure.value:+.3f}{ends}"


def _applied(lines: "Sequence[Mapping[str, Any]]") -> Table:
    """The calibration's lines on the slides that are evaluated."""
    table = _table("by steps", "iou_macro", "95 % interval", "iou", "gain of iou_macro")
    for line in lines:
        macro, pooled = (_as_figure(line.get(name)) for name in ("iou_macro", "iou"))
        gain = _as_figure(line["gain"].get("iou_macro"))
        told = "" if gain is None else _signed(gain)
        ends = "" if macro is None else interval(macro)
        table.add_row(escape(str(line["name"])), number(macro), ends, number(pooled), told)
    return table


def _as_figure(value: Any) -> "Figure | None":
    from wsrpn.types import Figure

    return Figure(**value) if isinstance(value, Mapping) else None


def _fit(fitted: "SlideCalibration") -> Table:
    """Figures on the slides of the fit beside those of slides left out."""
    sides = [fitted.figures, fitted.held_out] if fitted.held_out else [fitted.figures]
    heads = ("fitted", "95 % interval", "held out", "95 % interval")[: 2 * len(sides)]
    table = _table("figure", *heads)
    for name in (name for names in SHOWN.values() for name in names):
        if any(name in side for side in sides):
            shown = sides[:1] if name == "iou_oracle" else sides
            pairs = [(number(s.get(name)), interval(s[name]) if name in s else "") for s in shown]
            table.add_row(
                f"{name} (upper bound)" if len(shown) < len(sides) else name,
                *(cell for pair in pairs for cell in pair),
            )
    return table


def _notes(console: Console, warnings: Iterable[str], said: Sequence[str]) -> None:
    for warning in warnings:
        if warning not in said:
            console.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)
