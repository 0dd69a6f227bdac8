"""Scores of slides, their truth and a calibration → figures with intervals.

Figures of ranking (`tile_auroc`, `tile_ap`, `pixel_auroc`) are of the scores as they came, those
that end in `_calibrated` of the values after all steps; within a slide, normalising changes
neither. IoU, Dice, precision and recall are at the calibration's threshold. `iou_oracle` is the
mean of what each slide reaches at a threshold of its own, chosen on its own truth: an upper bound.
Pixel figures are inside tissue. Intervals are over patients; a figure that rests on a single one
has none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import wsrpn
from wsrpn.cohort import fits
from wsrpn.cohort.findings import Findings, findings, notes
from wsrpn.cohort.undefined import single, undefined
from wsrpn.cohort.views import Truth, View, views
from wsrpn.errors import InputError
from wsrpn.metrics.froc import Froc, Points
from wsrpn.metrics.intervals import figure
from wsrpn.metrics.pooled import Pooled
from wsrpn.metrics.tiles import BURDENS, Means, Overlap, Part, SlidePanel, burden_groups
from wsrpn.slides.calibration import Row, SlideCalibration, Steps
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import Cohort
from wsrpn.types import Figure, Report, digest_of

UNCALIBRATED = "z"  # what pooled normalised figures are normalised by without a calibration
GAINS = ("iou_macro", "iou", "tile_auroc_pooled", "pixel_auroc", "froc")


@dataclass(frozen=True)
class _Plan:
    """What every slide is put through: raw, normalised, all steps, lines of the contribution."""

    raw: Steps
    normalised: Steps
    steps: Steps
    threshold: float | None
    rows: tuple[Row, ...]

    @property
    def wanted(self) -> list[tuple[Steps, float | None]]:
        own = [(self.raw, None), (self.normalised, None), (self.steps, self.threshold)]
        return [*own, *((row.steps, row.threshold) for row in self.rows)]


def evaluate(
    cohort: Cohort,
    *,
    calibration: SlideCalibration | None = None,
    outlines: Mapping[str, Outlines] | None = None,
    detections: Mapping[str, Points] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """All figures of a cohort.

    Args:
        cohort: scored tiles with labels.
        calibration: steps and threshold; without one, figures that need a threshold are undefined.
        outlines: of tumour, by slide, for FROC; the labels of tiles where a slide has none.
        detections: points for FROC, by slide; peaks of the values where None.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        seed: of the replicates.

    Raises:
        InputError: nothing is labelled, a calibration of other scores or labels, tiles or steps
            that no slide can be put through, or detections of other slides.
    """
    misfits: dict[str, str] = {}
    if calibration is not None:
        fits.check(cohort, calibration)
        misfits = fits.misfits(cohort, calibration)
    plan = _plan(calibration)
    seen, failed = _views(cohort, plan, misfits)
    slides = [each[0].truth for each in seen]
    found = findings([truth.tiles for truth in slides], outlines or {}, detections)
    patients = [truth.tiles.patient for truth in slides]
    asked = {"bootstrap": bootstrap, "seed": seed}
    alone = SlidePanel(_own(seen, found, plan), patients, **asked)
    panel = SlidePanel([*alone.parts, *_pooled(seen)], patients, **asked)
    burden = np.array([truth.tiles.burden for truth in slides])
    metrics = panel.figures()
    return Report(
        command="eval",
        version=wsrpn.__version__,
        metrics=metrics,
        per_group=_groups(alone, burden),
        per_slide=_per_slide(alone, slides),
        warnings=(
            *cohort.notes,
            *(f"slide {name} is left out: {reason}" for name, reason in failed.items()),
            *fits.doubts(cohort.only({truth.tiles.slide for truth in slides}), calibration),
            *undefined(slides, calibration),
            *(single(metrics) if bootstrap else ()),
            *notes(found, detections),
        ),
        provenance={
            **_provenance(cohort, slides, calibration, plan),
            **asked,
            "failed": {**cohort.failed, **failed},
            "froc": _lesions(found, detections),
            "contribution": _contribution(seen, found, plan, patients, asked),
        },
    )


def _plan(calibration: SlideCalibration | None) -> _Plan:
    if calibration is None:
        return _Plan(Steps(), Steps(UNCALIBRATED), Steps(), None, ())
    normalised = Steps(calibration.steps.normalise)
    rows, threshold = calibration.contribution, calibration.threshold
    return _Plan(Steps(), normalised, calibration.steps, threshold, rows)


def _views(
    cohort: Cohort, plan: _Plan, misfits: Mapping[str, str]
) -> tuple[list[list[View]], dict[str, str]]:
    """Every labelled slide under everything in the plan; those that cannot be, with the reason."""
    seen, failed = [], dict(misfits)
    for tiles in cohort.slides:
        if tiles.slide in misfits:
            continue
        truth = Truth.of(tiles)
        try:
            if not truth.judged:
                raise InputError("none of its tiles has a label")
            seen.append(views(truth, plan.wanted))
        except InputError as error:
            failed[tiles.slide] = str(error)
    if not seen:
        reasons = fits.some([f"{name}: {reason}" for name, reason in failed.items()])
        help_ = " Bring labels in the table, or annotations by --data."
        raise InputError(
            f"{cohort.name}: no slide can be evaluated ({reasons or 'there is none'})."
            f"{'' if failed and len(misfits) == len(failed) else help_}"
        )
    return seen, failed


def _own(seen: list[list[View]], found: Sequence[Findings], plan: _Plan) -> list[Part]:
    """Figures that every slide has for itself."""
    raw, full = [each[0] for each in seen], [each[2] for each in seen]
    hits = [one.hits(view, plan.steps) for one, view in zip(found, full, strict=True)]
    ceiling = np.stack([view.truth.ceiling for view in full])
    return [
        Overlap(np.stack([view.overlap() for view in full])),
        Means({"iou_oracle": np.array([view.oracle() for view in full])}),
        Means(_columns([view.ranks() for view in raw])),
        Means(_columns([view.ranks() for view in full], "{}_calibrated")),
        Overlap(np.stack([view.overlap(pixel=True) for view in full]), names="pixel_{}"),
        Overlap(ceiling, names="pixel_{}_ceiling", only=("iou",)),
        Means(_columns([view.false_alarms() for view in full])),
        Froc(hits),
    ]


def _pooled(seen: list[list[View]]) -> list[Part]:
    """Figures of the tiles of all slides together."""
    parts: list[Part] = []
    for at, ending in enumerate(("pooled", "pooled_normalised", "pooled_calibrated")):
        tiles = [each[at].weighed() for each in seen]
        pixels = [each[at].weighed(pixel=True) for each in seen]
        parts += [
            Pooled(tiles, auroc=f"tile_auroc_{ending}", ap=f"tile_ap_{ending}"),
            Pooled(pixels, auroc=f"pixel_auroc_{ending}"),
        ]
    return parts


def _columns(rows: list[dict[str, float]], names: str = "{}") -> dict[str, np.ndarray]:
    return {names.format(name): np.array([row[name] for row in rows]) for name in rows[0]}


def _groups(panel: SlidePanel, burden: np.ndarray) -> dict[str, dict[str, Figure]]:
    """Figures by share of tissue that is tumour."""
    group = burden_groups(burden)
    return {
        name: {**panel.figures(mask), "slides": Figure(float(mask.sum()))}
        for i, name in enumerate(BURDENS)
        if (mask := (group == i).astype(np.float64)).any()
    }


def _per_slide(panel: SlidePanel, slides: list[Truth]) -> dict[str, dict[str, Figure]]:
    """Figures of every slide alone; a mean over one slide is not said twice."""
    return {
        truth.tiles.slide: {
            **{name: f for name, f in figures.items() if not name.endswith("_macro")},
            "burden": Figure.of(truth.tiles.burden),
            "tiles": Figure(float(len(truth.tiles))),
        }
        for truth, figures in zip(slides, panel.each(), strict=True)
    }


def _contribution(
    seen: list[list[View]],
    found: Sequence[Findings],
    plan: _Plan,
    patients: list[str],
    asked: Mapping[str, int],
) -> list[dict[str, Any]]:
    """The lines of the calibration's own table on these slides, each with its gain, paired."""
    lines: list[dict[str, Any]] = []
    before: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None = None
    for i, row in enumerate(plan.rows):
        here = [each[3 + i] for each in seen]
        now = SlidePanel(_of_line(here, found, row.steps), patients, **asked).values()
        line: dict[str, Any] = {"name": row.name, "threshold": _number(row.threshold), "gain": {}}
        line |= {name: _plain(now[0][name], now[1][name]) for name in now[0]}
        if before is not None:
            (old, old_drawn), (value, drawn) = before, now
            line["gain"] = {
                name: _plain(value[name] - old[name], drawn[name] - old_drawn[name])
                for name in GAINS
            }
        lines.append(line)
        before = now
    return lines


def _of_line(here: list[View], found: Sequence[Findings], steps: Steps) -> list[Part]:
    hits = [one.hits(view, steps) for one, view in zip(found, here, strict=True)]
    return [
        Overlap(np.stack([view.overlap() for view in here]), only=("iou", "dice")),
        Means({"iou_oracle": np.array([view.oracle() for view in here])}),
        Means(_columns([view.ranks() for view in here])),
        Pooled([view.weighed() for view in here], auroc="tile_auroc_pooled", ap="tile_ap_pooled"),
        Means(_columns([view.false_alarms() for view in here])),
        Froc(hits),
    ]


def _number(threshold: float) -> float | str:
    """JSON has no infinite numbers."""
    return threshold if np.isfinite(threshold) else str(threshold)


def _plain(value: np.ndarray, drawn: np.ndarray) -> dict[str, float | None]:
    found = figure(float(value[0]), drawn)
    return {"value": found.value, "low": found.low, "high": found.high}


def _lesions(found: Sequence[Findings], detections: Mapping[str, Points] | None) -> dict[str, Any]:
    """What FROC was computed on."""
    judged = [one for one in found if not one.missing]
    targets = [int(one.lesions.target.sum()) for one in judged]
    return {
        "slides": len(judged),
        "lesions": sum(targets),
        "isolated_tumour_cells": sum(len(one.lesions) for one in judged) - sum(targets),
        "detections": "peaks of the values" if detections is None else "given",
    }


def _provenance(
    cohort: Cohort, slides: list[Truth], calibration: SlideCalibration | None, plan: _Plan
) -> dict[str, Any]:
    """What was evaluated on what."""
    fitted = None
    if calibration is not None:
        fitted = {
            "objective": calibration.objective,
            "over": calibration.over,
            "threshold": _number(calibration.threshold),
            "digest": calibration.digest,
        }
    return {
        "data": cohort.name,
        "score": cohort.score,
        "rule": cohort.rule,
        "table": dict(cohort.provenance),
        "slides": len(slides),
        "patients": len({truth.tiles.patient for truth in slides}),
        "tiles": sum(len(truth.tiles) for truth in slides),
        "tumour_tiles": sum(int(truth.by_tile[0].sum()) for truth in slides),
        "slides_digest": digest_of(truth.tiles.slide for truth in slides),
        "normaliser": plan.normalised.normalise,
        "calibration": fitted,
    }
