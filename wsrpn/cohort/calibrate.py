"""Fit steps and one threshold for the scored tiles of several slides."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

import wsrpn
from wsrpn.cohort import risk
from wsrpn.cohort.candidates import candidates, described
from wsrpn.cohort.cases import Cases, Listener, cases_of
from wsrpn.cohort.checks import check, labelled, needed, no_better, remarks, seen_before
from wsrpn.cohort.contribution import contribution, lines
from wsrpn.cohort.held_out import (
    Assessed,
    HeldOut,
    Plan,
    assess_all,
    held_out,
    own,
    plan,
    ranked,
)
from wsrpn.cohort.objective import Objective, parse
from wsrpn.cohort.tally import PerSlide, Tally, regions
from wsrpn.errors import InputError
from wsrpn.slides import apply
from wsrpn.slides.calibration import Chosen, Over, Row, SlideCalibration, Steps, Unit
from wsrpn.slides.labels import ceiling
from wsrpn.slides.normalise import inside
from wsrpn.tiles import Cohort, Tiles
from wsrpn.types import Figure, digest_of

BASELINE = "youden"  # objective of the first lines of the contribution table
SHOWN = 20  # choices that are kept, beside the best of every normaliser
COLOUR = (5.0, 95.0)  # percentiles at the ends of the colour scale


def calibrate(
    cohort: Cohort,
    *,
    objective: str = "iou",
    over: Over = "macro",
    normalise: Sequence[str] | None = None,
    smooth: Sequence[float] | None = None,
    min_area: Sequence[float] | None = None,
    max_hole: Sequence[float] | None = None,
    unit: Unit | None = None,
    connectivity: int = 4,
    steps: Steps | Chosen | None = None,
    cross_validate: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    listen: Listener | None = None,
) -> SlideCalibration:
    """Choose steps on slides held out in turn, then fit one threshold on all.

    Every combination of the candidates is judged by what it reaches on slides whose patient had no
    part in its threshold (more than 20 patients: 20 folds of them). With `cross_validate` the whole
    choice is made again without each fold, and what that reaches stands beside the rest.

    Args:
        cohort: scored tiles with labels; slides without any label are left out.
        objective: what the threshold is best for: `iou`, `f1`, `youden`; the lowest that keeps
            `specificity@X`, or `fp_mm2@X`, `fp_regions@X` per slide without tumour; or `fnr@X`, the
            highest that promises to miss no more (see `wsrpn.cohort.risk`). Where a limit is kept,
            steps are compared by how much of the tumour is found.
        over: `macro` for the mean over slides, `pooled` for counts of all slides together.
        normalise: names to choose among; None for all that these slides allow.
        smooth: σ to choose among, in `unit`; None for 0 to 3 tile pitches.
        min_area: limits of objects, in µm² or tiles; None for 0 to 10 tiles.
        max_hole: limits of holes, in µm² or tiles; None for none, 5 tiles, all.
        unit: `um` or `tile`; None for µm where all slides have mpp.
        connectivity: 4 or 8 neighbours make an object.
        steps: fixed instead of all these; `Chosen` where an earlier calibration chose them. Who had
            a part in that is not held out here: a promise is refused, other figures are not given
            as held out.
        cross_validate: also report figures with steps and threshold found without the slide.
        bootstrap: replicates behind the intervals of figures.
        seed: of replicates and folds.
        listen: called with what is done and of how much.

    Raises:
        InputError: an unknown objective or normaliser, no slide with what the objective needs,
            sizes in µm without mpp, or a promise that these slides cannot give.
    """
    aim = parse(objective)
    known, left_out = labelled(cohort)
    cases = cases_of(known.slides, seed=seed)
    family = (
        (steps.steps if isinstance(steps, Chosen) else steps,)
        if steps
        else candidates(
            known,
            normalise=normalise,
            smooth=smooth,
            min_area=min_area,
            max_hole=max_hole,
            unit=unit,
            connectivity=connectivity,
        )
    )
    check(cases, aim, len(family))
    seen = seen_before(cases, steps, aim)
    # Without a tumour nothing can be compared, and a promise holds for steps fixed beforehand only.
    comparable = bool(cases.positives.any()) and aim.name != "fnr"
    table = lines(family, aim, parse(BASELINE)) if comparable else ()
    wanted = {(one, aim): None for one in family}
    wanted |= {(one, line.objective): None for line in table for one in line.candidates}
    fits = _plan(cases, aim)
    alone = fits.alone and not seen
    found = assess_all(cases, list(wanted), over, fits, listen)
    ranking = ranked(cases, [found[one, aim] for one in family], aim, over)
    _refuse_broken_promise(ranking[0])
    apart = held_out(cases, [found[one, aim] for one in family], aim, over) if alone else None
    tally = Tally(cases, bootstrap=bootstrap, seed=seed)
    rows = contribution(cases, table, found, aim, over, tally, apart=alone)
    return dataclasses.replace(
        _of(cases, ranking[0], tally),
        over=over,
        score=cohort.score,
        rule=cohort.rule,
        contribution=rows,
        choices=_choices(cases, ranking, tally, apart=alone),
        provenance={
            "version": wsrpn.__version__,
            "table": dict(cohort.provenance),
            "bootstrap": bootstrap,
            "seed": seed,
            "candidates": len(family),
            **_counted(cases),
            **({"without": _without(cases, apart)} if apart else {}),
        },
        held_out=_held_out_figures(cases, apart, tally) if apart and cross_validate else {},
        steps_from=steps if isinstance(steps, Chosen) else None,
        warnings=(
            *left_out,
            *seen,
            *remarks(cases, ranking[0], fits, apart),
            *no_better(rows, aim.figure(over)),
        ),
    )


def _plan(cases: Cases, aim: Objective) -> Plan:
    """The fits to be made; of a promise only those that enough patients are left for."""
    if aim.name != "fnr":
        return plan(cases, needed(cases, aim), nested=True)
    enough = risk.can_spare_a_fold(cases, aim.limit)
    return plan(cases, needed(cases, aim) & enough, nested=False)


def _refuse_broken_promise(best: Assessed) -> None:
    if best.threshold == -np.inf:
        raise InputError(
            f"Objective {best.objective.text}: clean-up removes so much tumour that no threshold "
            "keeps the limit; give a lower min_area."
        )


def _of(cases: Cases, best: Assessed, tally: Tally) -> SlideCalibration:
    """What is chosen, with its figures and the slides it was fitted on."""
    decided = [(best.steps, best.threshold)] * len(cases)
    return SlideCalibration(
        steps=best.steps,
        threshold=best.threshold,
        objective=best.objective.text,
        tile_um=_side(cases.slides, um=True),
        tile_px0=_side(cases.slides, um=False) or 0.0,
        colour=_colour(cases.slides, best.steps),
        slides=tuple(tiles.slide for tiles in cases.slides),
        patients=tuple(dict.fromkeys(cases.patients)),
        digest=digest(cases.slides),
        figures=tally.figures(best.fitted, _beside(cases, best.oracle, decided)),
    )


def _held_out_figures(cases: Cases, apart: HeldOut, tally: Tally) -> dict[str, Figure]:
    decided = [(apart.chosen[f].steps, apart.threshold(f)) for f in cases.fold.tolist()]
    return tally.figures(apart.called, _beside(cases, apart.oracle, decided))


def _without(cases: Cases, apart: HeldOut) -> list[dict[str, object]]:
    """Which slides were held out together, and what was chosen without them."""
    return [
        {
            "slides": [cases.slides[s].slide for s in np.flatnonzero(cases.fold == f).tolist()],
            "steps": described(one.steps),
            "threshold": apart.threshold(f) if np.isfinite(one.apart[f]) else None,
        }
        for f, one in enumerate(apart.chosen)
    ]


def _beside(
    cases: Cases, oracle: PerSlide, decided: Sequence[tuple[Steps, float]]
) -> dict[str, PerSlide]:
    """Figures of slides that do not follow from the number of tiles called."""
    found = {"iou_oracle": oracle}
    return {**found, "fp_regions": regions(cases, decided)} if cases.normal.any() else found


def _side(slides: Sequence[Tiles], *, um: bool) -> float | None:
    """Median side of a tile over slides, in µm (None without mpp) or full-size pixels."""
    if um and any(tiles.mpp is None for tiles in slides):
        return None
    sides = [np.sqrt(np.prod(s.size_px0)) * ((s.mpp or 1.0) if um else 1.0) for s in slides]
    return float(np.median(sides))


def _colour(slides: Sequence[Tiles], steps: Steps) -> tuple[float, float]:
    """The ends of a colour scale that the slides of a cohort share."""
    values = np.concatenate([apply.smoothed(tiles, steps)[inside(tiles)] for tiles in slides])
    low, high = np.percentile(values, COLOUR) if len(values) else (0.0, 1.0)
    return float(low), float(high)


def digest(slides: Sequence[Tiles]) -> str:
    """A fingerprint of the names of slides and their scores."""
    return digest_of(
        f"{tiles.slide}\0{hashlib.sha256(tiles.score.astype(np.float64).tobytes()).hexdigest()}"
        for tiles in slides
    )


def _choices(
    cases: Cases, ranking: Sequence[Assessed], tally: Tally, *, apart: bool
) -> tuple[Row, ...]:
    """The best candidates, and the best of every normaliser; of those that call alike the first."""
    seen: set[str] = set()
    alike: set[bytes] = set()
    rows: list[Row] = []
    for one in ranking:
        calls = np.stack([one.fitted, own(cases, one)]).tobytes()
        if one.steps.normalise not in seen or (len(rows) < SHOWN and calls not in alike):
            rows.append(
                Row(
                    name=described(one.steps),
                    steps=one.steps,
                    objective=one.objective.text,
                    threshold=one.threshold,
                    fitted=tally.figures(one.fitted),
                    held_out=tally.figures(own(cases, one)) if apart else {},
                )
            )
        seen.add(one.steps.normalise)
        alike.add(calls)
    return tuple(rows)


def _counted(cases: Cases) -> dict[str, float | None]:
    ceilings = [ceiling(tiles) for tiles in cases.slides]
    known = [value for value in ceilings if not np.isnan(value)]
    return {
        "label_ceiling": float(np.mean(known)) if known else None,
        "slides": len(cases),
        "patients": len(set(cases.patients)),
        "folds": cases.folds,
        "slides_with_tumour": int((cases.positives > 0).sum()),
        "slides_without_tumour": int(cases.normal.sum()),
        "tiles": sum(len(tiles) for tiles in cases.slides),
    }
