"""What every step adds, under one threshold that all slides share.

The lines are none → + normaliser → + threshold → + clean-up → + smoothing. The first has raw
scores and the threshold of Youden's J, the practice that the others are compared with. Each line
adds a freedom to the one before (to normalise, to choose the threshold for the objective, to clean,
to smooth) and is a calibration of its own: steps and threshold are found on some slides, and what
they reach is counted on others. The last line is the calibration itself. A line that chooses what
the line before had says that its step does not help on these slides.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsrpn.cohort.cases import Cases
from wsrpn.cohort.held_out import Assessed, HeldOut, held_out, ranked
from wsrpn.cohort.objective import Objective
from wsrpn.cohort.tally import Called, Tally
from wsrpn.metrics.evidence import share
from wsrpn.slides.calibration import Over, Row, Steps
from wsrpn.types import Figure

Key = tuple[Steps, Objective]  # steps and the objective of their threshold


@dataclass(frozen=True)
class Line:
    """Candidates of one line.

    Attributes:
        adds: what it adds to the line before.
        objective: of its threshold.
        candidates: the simplest first.
    """

    adds: str
    objective: Objective
    candidates: tuple[Steps, ...]


def lines(
    candidates: Sequence[Steps], objective: Objective, baseline: Objective
) -> tuple[Line, ...]:
    """The lines of the table; one that would add nothing is left out.

    Args:
        candidates: of the calibration.
        objective: of the calibration.
        baseline: of the first lines' threshold.
    """
    sharp = _distinct(dataclasses.replace(steps, smooth=0.0) for steps in candidates)
    raw = _distinct(dataclasses.replace(steps, min_area=0.0, max_hole=0.0) for steps in sharp)
    as_given = _distinct(dataclasses.replace(steps, normalise="none") for steps in raw)
    every = [
        Line("none", baseline, as_given),
        Line("normalise", baseline, raw),
        Line(f"threshold for {objective.text}", objective, raw),
        Line("clean-up", objective, sharp),
        Line("smoothing", objective, tuple(candidates)),
    ]
    kept = [every[0]]
    for line in every[1:]:
        if (line.objective, line.candidates) != (kept[-1].objective, kept[-1].candidates):
            kept.append(line)
    return tuple(kept)


def _distinct(steps: Iterable[Steps]) -> tuple[Steps, ...]:
    return tuple(dict.fromkeys(steps))


def contribution(
    cases: Cases,
    table: Sequence[Line],
    assessed: Mapping[Key, Assessed],
    aim: Objective,
    over: Over,
    tally: Tally,
    *,
    apart: bool,
) -> tuple[Row, ...]:
    """The rows of the table.

    Args:
        cases: slides of the fit.
        table: of `lines`.
        assessed: what every candidate reaches.
        aim: what candidates of every line are compared by.
        over: mean over slides, or pooled.
        tally: makes figures of counts.
        apart: whether lines are also counted on slides held out.
    """
    rows: list[Row] = []
    before: Called | None = None
    for line in table:
        family = [assessed[steps, line.objective] for steps in line.candidates]
        best = ranked(cases, family, aim, over)[0]
        judged = held_out(cases, family, aim, over) if apart else None
        now = judged.called if judged else None
        rows.append(
            Row(
                name=f"+ {line.adds}" if rows else line.adds,
                steps=best.steps,
                objective=line.objective.text,
                threshold=best.threshold,
                fitted=tally.figures(best.fitted),
                held_out={} if now is None else tally.figures(now),
                gain={} if now is None or before is None else tally.gains(now, before),
                per_slide={} if judged is None else _per_slide(cases, judged),
            )
        )
        before = now
    return tuple(rows)


def _per_slide(cases: Cases, judged: HeldOut) -> dict[str, dict[str, float | None]]:
    """IoU of every slide, and at its own best threshold; None without tumour."""
    hits, false = judged.called
    reached = share(hits, np.where(cases.positives > 0, cases.positives + false, 0.0))
    return {
        tiles.slide: {"iou": Figure.of(iou).value, "iou_oracle": Figure.of(best).value}
        for tiles, iou, best in zip(cases.slides, reached, judged.oracle, strict=True)
    }
