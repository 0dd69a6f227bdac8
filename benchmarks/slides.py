"""What each step of slide calibration adds on slides that had no part in it.

    python benchmarks/slides.py DATA_FOLDER [--seeds 10]

DATA_FOLDER holds `camelyon_scores` (five CAMELYON16 slides with a published model's scores) and
`camelyon_polygons` (official outlines). The phantoms are cohorts of sixteen slides, a quarter of
them without tumour, ten seeds of each kind. The tables go to `docs/results/slides.md`.
"""

import argparse
import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from study import cell, write

from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.candidates import described
from wsrpn.cohort.evaluate import evaluate
from wsrpn.metrics.intervals import draws, figure
from wsrpn.slides import labels, phantom, sheet, table
from wsrpn.slides.calibration import Row, SlideCalibration
from wsrpn.tiles import Cohort
from wsrpn.types import Figure

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "slides.md"
CLAIM = 3.0  # the source: mean IoU 0.0388 → 0.1147
LINES = ("none", "+ normalise", "+ threshold for iou", "+ clean-up", "+ smoothing")
BURDENS = ((0.0, 0.001, "< 0.1 %"), (0.001, 0.02, "0.1 – 2 %"), (0.02, 1.01, "≥ 2 %"))
REPLICATES = 4000
OFFICIAL_MPP = 0.243
SLIDES = 16

PHANTOMS: dict[str, dict[str, object]] = {
    "the source's profile (AUROC 0.78, 0.03–5 % tumour, slides differ by 13 %)": {
        "auc": 0.78, "burden": "0.0003-0.05", "tiles": 8000,
    },
    "a good detector (AUROC 0.94)": {"auc": 0.94, "burden": "0.0003-0.05", "tiles": 8000},
    "slides differ by 30 %": {
        "auc": 0.78, "burden": "0.0003-0.05", "tiles": 8000, "jitter": 0.3,
    },
    "heavy tumour (0.5–60 %)": {"auc": 0.78, "burden": "0.005-0.6", "tiles": 8000},
    "the source's profile, 48 slides a cohort": {
        "auc": 0.78, "burden": "0.0003-0.05", "tiles": 8000, "slides": 48,
    },
    "noise without neighbours": {
        "auc": 0.78, "burden": "0.0003-0.05", "tiles": 8000, "correlation": 0.0,
    },
}  # fmt: skip
OUTLINES = "official outlines of CAMELYON16 (AUROC 0.78, 20,000 tiles of 93 µm)"


@dataclass(frozen=True)
class Held:
    """One slide of one cohort, held out.

    Attributes:
        cluster: whoever is drawn together: a cohort, as its slides share a threshold; where there
            is only one, a patient.
        burden: share of the tissue that is tumour.
        iou: per line of the table.
        oracle: at the slide's own best threshold, per line.
    """

    cluster: str
    burden: float
    iou: Mapping[str, float]
    oracle: Mapping[str, float]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("--seeds", type=int, default=10)
    asked.add_argument("--results", type=Path, default=RESULTS)
    given = asked.parse_args()
    lines = real(given.data)
    kinds = {name: dict(options) for name, options in PHANTOMS.items()}
    kinds[OUTLINES] = {
        "auc": 0.78, "tiles": 20000, "outlines": str(given.data / "camelyon_polygons"),
        "mpp": 0.243, "tile": 384.0,
    }  # fmt: skip
    lines += ["## Phantoms", ""]
    lines += [f"{given.seeds} cohorts of {SLIDES} slides of each kind.", ""]
    for name, options in kinds.items():
        print(name, flush=True)
        many = {"slides": SLIDES, **options}
        cohorts = [phantom.cohort(seed=seed, **many) for seed in range(given.seeds)]
        lines += section(name, cohorts)
    write(given.results, "slides.py", "Slide calibration", lines)


def real(data: Path) -> list[str]:
    """The five slides: two models' scores, two sources of truth."""
    lines = ["## Five slides of CAMELYON16", ""]
    truths = {
        "truth of the table": sheet.read(data / "camelyon_scores" / "slides.csv"),
        "official outlines": sheet.read(data / "camelyon_polygons"),
    }
    for column, (truth, slides) in itertools.product(
        ("score", "score_contrastive"), truths.items()
    ):
        found = table.read(data / "camelyon_scores" / "scores.parquet", score=column)
        cohort = measured(labels.attach(found, slides))
        lines += section(f"column `{column}`, {truth}", [cohort])
        lines += ranking(cohort)
        lines += by_slide(calibrate(cohort, cross_validate=True), cohort)
    return lines


def measured(cohort: Cohort) -> Cohort:
    """With the size of a pixel that CAMELYON16's evaluator has; the table does not say it."""
    slides = tuple(dataclasses.replace(tiles, mpp=OFFICIAL_MPP) for tiles in cohort.slides)
    return dataclasses.replace(cohort, slides=slides)


def section(name: str, cohorts: Sequence[Cohort]) -> list[str]:
    """The table of one kind of cohort."""
    fits = [calibrate(cohort, cross_validate=True) for cohort in cohorts]
    slides = everyone(cohorts, fits)
    lines = [f"### {name}", ""]
    lines += ["| line | mean IoU held out | gain over the line before | oracle |", "|-|-|-|-|"]
    before = None
    for line in LINES:
        now = [held.iou[line] for held in slides]
        own = [held.oracle[line] for held in slides]
        gain = "" if before is None else cell(mean(slides, now, less=before), sign=True)
        lines += [f"| {line} | {cell(mean(slides, now))} | {gain} | {cell(mean(slides, own))} |"]
        before = now
    first = [held.iou[LINES[0]] for held in slides]
    ratios = {"all steps": over(slides, [held.iou[LINES[-1]] for held in slides], first)}
    others = {
        "z, 5 tiles, all holes filled": [source_recipe(cohort) for cohort in cohorts],
        "all steps, pooled": [
            calibrate(cohort, over="pooled", cross_validate=True) for cohort in cohorts
        ],
    }
    for other, found in others.items():
        held = everyone(cohorts, found)
        line = found[0].contribution[-1].name
        reached = [one.iou[line] for one in held]
        own = [one.oracle[line] for one in held]
        lines += [f"| *{other}* | {cell(mean(held, reached))} |  | {cell(mean(held, own))} |"]
        ratios[other] = over(held, reached, first)
    lines += ["", throughout(cohorts)]
    leak = over(slides, [h.oracle[LINES[-1]] for h in slides], [h.iou[LINES[-1]] for h in slides])
    told = "; ".join(f"{one} {cell(ratio)}: **{judged(ratio)}**" for one, ratio in ratios.items())
    lines += [
        "",
        f"The source's × {CLAIM:g} over the first line: {told}. Oracle ÷ held out: {cell(leak)}. "
        f"Chosen: {chosen(fits)}.",
        "",
    ]
    return lines + by_burden(slides)


def throughout(cohorts: Sequence[Cohort]) -> str:
    """The lines where nothing but z may normalise."""
    fits = [calibrate(cohort, normalise=["z"], cross_validate=True) for cohort in cohorts]
    slides = everyone(cohorts, fits)
    reached = [mean(slides, [held.iou[line] for held in slides]) for line in LINES]
    told = " → ".join(f"{figure.value:.3f}" for figure in reached)
    return f"With z throughout, held out, none → z → threshold → clean-up → smoothing: {told}."


def everyone(cohorts: Sequence[Cohort], fits: Sequence[SlideCalibration]) -> list[Held]:
    """The slides with tumour of all cohorts."""
    found = []
    for place, (cohort, fit) in enumerate(zip(cohorts, fits, strict=True)):
        found += taken(f"cohort {place}" if len(cohorts) > 1 else "", cohort, fit)
    return found


def source_recipe(cohort: Cohort) -> SlideCalibration:
    """The source's steps with one shared threshold in place of one per slide."""
    return calibrate(
        cohort, normalise=["z"], smooth=[0.0], min_area=[4.5], max_hole=[math.inf], unit="tile",
        cross_validate=True,
    )  # fmt: skip


def taken(cluster: str, cohort: Cohort, fit: SlideCalibration) -> list[Held]:
    """The slides with tumour of one cohort; by patient where no cluster is named."""
    found = []
    for tiles in cohort.slides:
        rows = {row.name: of(row, tiles.slide) for row in fit.contribution}
        if any(value["iou"] is None for value in rows.values()):
            continue
        found.append(
            Held(
                cluster=cluster or tiles.patient,
                burden=tiles.burden,
                iou={name: float(value["iou"] or 0) for name, value in rows.items()},
                oracle={name: float(value["iou_oracle"] or 0) for name, value in rows.items()},
            )
        )
    return found


def of(row: Row, slide: str) -> Mapping[str, float | None]:
    return row.per_slide[slide]


def mean(slides: Sequence[Held], values: Sequence[float], less: Sequence[float] = ()) -> Figure:
    """A mean over slides, or of a difference, with its interval over clusters."""
    found = np.array(values) - (np.array(less) if len(less) else 0.0)
    weights = rows(slides)
    return figure(float(found.mean()), weights @ found / weights.sum(axis=1))


def over(slides: Sequence[Held], above: Sequence[float], below: Sequence[float]) -> Figure:
    """A ratio of two means."""
    weights = rows(slides)
    drawn = weights @ np.array(above) / np.maximum(weights @ np.array(below), 1e-12)
    return figure(float(np.sum(above) / max(np.sum(below), 1e-12)), drawn)


def rows(slides: Sequence[Held]) -> np.ndarray:
    names = [held.cluster for held in slides]
    return np.concatenate(list(draws(names, replicates=REPLICATES, seed=0)))


def judged(ratio: Figure) -> str:
    if ratio.low is None or ratio.high is None:
        return "undefined"
    if ratio.low >= CLAIM:
        return "holds"
    return "does not hold" if ratio.high < CLAIM else "undecided"


def chosen(fits: Sequence[SlideCalibration]) -> str:
    """The steps of one fit, or how often each step was chosen."""
    if len(fits) == 1:
        return described(fits[0].steps)
    tiles = [
        (
            fit.steps.normalise,
            f"σ {in_tiles(fit.steps.smooth, fit, 1):.2g} tiles",
            f"objects ≥ {math.ceil(in_tiles(fit.steps.min_area, fit, 2))} tiles",
        )
        for fit in fits
    ]
    counts = [Counter(column).most_common() for column in zip(*tiles, strict=True)]
    return "; ".join(", ".join(f"{word} {many} ×" for word, many in column) for column in counts)


def in_tiles(size: float, fit: SlideCalibration, power: int) -> float:
    return size if fit.steps.unit == "tile" or not fit.tile_um else size / fit.tile_um**power


def by_burden(slides: Sequence[Held]) -> list[str]:
    """Mean IoU by how much of the slide is tumour."""
    lines = ["| tumour | slides | " + " | ".join(LINES) + " | oracle |"]
    lines += ["|" + "-|" * (len(LINES) + 3)]
    for low, high, name in BURDENS:
        group = [held for held in slides if low <= held.burden < high]
        if group:
            cells = [f"{np.mean([h.iou[line] for h in group]):.3f}" for line in LINES]
            best = np.mean([h.oracle[LINES[-1]] for h in group])
            lines += [f"| {name} | {len(group)} | {' | '.join(cells)} | {best:.3f} |"]
    return [*lines, ""]


def by_slide(fit: SlideCalibration, cohort: Cohort) -> list[str]:
    """Held-out IoU of every slide, line by line."""
    lines = ["| slide | tumour | " + " | ".join(LINES) + " | oracle |"]
    lines += ["|" + "-|" * (len(LINES) + 3)]
    for tiles in cohort.slides:
        found = [of(row, tiles.slide) for row in fit.contribution]
        cells = [f"{value['iou'] or 0:.3f}" for value in found]
        best = f"{found[-1]['iou_oracle'] or 0:.3f}"
        lines += [f"| {tiles.slide} | {tiles.burden:.2%} | {' | '.join(cells)} | {best} |"]
    return [*lines, ""]


def ranking(cohort: Cohort) -> list[str]:
    """Figures that need no threshold."""
    report = evaluate(cohort, calibration=calibrate(cohort, normalise=["z"]), bootstrap=1000)
    names = (
        "tile_auroc", "tile_auroc_pooled", "tile_auroc_pooled_normalised", "tile_ap",
        "tile_ap_pooled", "tile_ap_pooled_normalised", "pixel_auroc", "pixel_iou_ceiling", "froc",
    )  # fmt: skip
    known = [name for name in names if name in report.metrics]
    return [
        "| " + " | ".join(f"`{name}`" for name in known) + " |",
        "|" + "-|" * len(known),
        "| " + " | ".join(cell(report.metrics[name]) for name in known) + " |",
        "",
    ]


if __name__ == "__main__":
    main()
