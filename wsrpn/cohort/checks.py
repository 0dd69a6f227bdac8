"""What a calibration needs of its slides: refused with the way out, or told as a warning."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from wsrpn.cohort import risk
from wsrpn.cohort.cases import Cases
from wsrpn.cohort.held_out import Assessed, HeldOut, Plan
from wsrpn.cohort.objective import BEST, Objective
from wsrpn.errors import InputError, counted
from wsrpn.metrics.image import ranking
from wsrpn.slides import apply
from wsrpn.slides.calibration import Chosen, Row, Steps
from wsrpn.slides.labels import ceiling
from wsrpn.slides.normalise import contaminated
from wsrpn.tiles import Cohort, Tiles

NAMED = 5  # slides in one sentence
INVERTED = 0.5  # AUROC below which scores rank the wrong way round
MUCH = 0.1  # share of tumour that moves mean, median and mode alike
LOW_CEILING = 0.5  # pixel IoU of perfect tiles below which the label rule is a limit
NEARLY_ALL = 0.99  # share of the tiles that a threshold calls, from which it is told
SAME_SIZE = 0.02  # relative difference of tile sizes that is let pass


def labelled(cohort: Cohort) -> tuple[Cohort, list[str]]:
    """The slides with labels, and a sentence on the others.

    Raises:
        InputError: none has labels.
    """
    known = {tiles.slide for tiles in cohort.slides if not np.isnan(tiles.label).all()}
    if not known:
        raise InputError(
            f"{cohort.name}: no slide has labels. Give them in the table (column `label` or "
            "`truth`) or as annotations of the slides."
        )
    without = [tiles.slide for tiles in cohort.slides if tiles.slide not in known]
    said = [f"{counted(len(without), 'slide')} without labels left out: {_names(without)}."]
    return cohort.only(known), said if without else []


def needed(cases: Cases, aim: Objective) -> Bool[np.ndarray, " s"]:
    """The slides that a threshold is fitted on."""
    if aim.from_normals:
        return cases.normal
    return cases.negatives > 0 if aim.name == "specificity" else cases.positives > 0


def check(cases: Cases, aim: Objective, candidates: int) -> None:
    """Refuse an objective for which these slides have too little.

    Args:
        cases: slides of the fit.
        aim: the objective.
        candidates: number of steps to choose among.

    Raises:
        InputError: with what is missing.
    """
    tumour = bool((cases.positives > 0).any())
    if aim.from_normals and not cases.normal.any():
        raise InputError(
            f"Objective {aim.text} is fitted on slides known to have no tumour, and none of "
            f"{counted(len(cases), 'slide')} is one; all of its tissue must be labelled 0."
        )
    if aim.name == "fp_mm2" and np.isnan(cases.cell_mm2[cases.normal]).any():
        place = np.flatnonzero(cases.normal & np.isnan(cases.cell_mm2))[0]
        raise InputError(
            f"{cases.slides[place].slide}: objective {aim.text} needs mpp; give it in the table or "
            "in slides.csv, or take fp_regions@X."
        )
    if aim.name in (*BEST, "fnr") and not tumour:
        raise InputError(
            f"No slide has tumour, which objective {aim.text} needs; fp_mm2@X and fp_regions@X are "
            "fitted on slides without tumour."
        )
    if aim.name == "specificity" and not cases.negatives.any():
        raise InputError(f"No tile is free of tumour, which objective {aim.text} needs.")
    if not tumour and candidates > 1:
        raise InputError(
            f"No slide has tumour, so nothing tells {candidates} combinations of steps apart: give "
            "one normaliser, smooth, min_area and max_hole, or the steps of a calibration."
        )
    if aim.name == "fnr":
        risk.check(cases, limit=aim.limit, candidates=candidates)


def seen_before(cases: Cases, steps: Steps | Chosen | None, aim: Objective) -> list[str]:
    """A sentence where the truth of these slides had a part in choosing the steps, else nothing.

    Args:
        cases: slides of the fit.
        steps: fixed steps, and on whom they were chosen.
        aim: the objective.

    Raises:
        InputError: the objective is a promise, which holds for steps chosen on others only.
    """
    if not isinstance(steps, Chosen):
        return []
    slides, patients = set(steps.slides), set(steps.patients)
    seen = [s.slide for s in cases.slides if s.slide in slides or s.patient in patients]
    if not seen:
        return []
    names = f"{counted(len(seen), 'slide')} of these patients: {_names(seen)}"
    if aim.name == "fnr":
        raise InputError(
            f"{aim.text} keeps its promise only for steps that were chosen on other patients; "
            f"these were chosen on {names}."
        )
    return [f"The steps were chosen on {names}; so nothing here is held out from that choice."]


def no_better(rows: Sequence[Row], figure: str) -> Iterator[str]:
    """A sentence where raw scores do as well on slides held out.

    Args:
        rows: of the contribution, the first without any step.
        figure: that the lines are compared by.
    """
    held_out = [row.held_out[figure].value for row in rows if figure in row.held_out]
    if len(held_out) < 2 or held_out[0] is None or held_out[-1] is None:
        return
    if held_out[-1] <= held_out[0]:
        yield (
            f"On slides held out these steps reach {figure} {held_out[-1]:.3f}, raw scores at "
            f"Youden's threshold {held_out[0]:.3f}: they are not shown to be better."
        )


def remarks(cases: Cases, best: Assessed, fits: Plan, apart: HeldOut | None) -> Iterator[str]:
    """What the user should know of a calibration, in sentences.

    Args:
        cases: slides of the fit.
        best: the steps that were chosen, with their threshold.
        fits: what could be held out.
        apart: what was chosen without each fold, or None.
    """
    slides = cases.slides
    if not fits.alone:
        yield (
            "Too few patients to hold one out: steps were chosen, and figures counted, on the very "
            "slides that the threshold was fitted on."
        )
    elif not fits.nested and best.objective.name != "fnr":
        yield (
            "Two patients only: while one is held out, steps are chosen by figures of the fit on "
            "the other."
        )
    yield from _unsettled(best.steps, apart)
    if not np.isfinite(best.threshold):
        yield "No threshold is good for anything here: nothing is called tumour."
    yield from _inverted(slides)
    yield from _calls_all(cases, best)
    partial = [tiles.slide for tiles in slides if not tiles.exhaustive]
    if partial:
        yield (
            f"{counted(len(partial), 'slide')} with tumour known to be missing from the truth took "
            f"part: {_names(partial)}. Their false alarms may be none."
        )
    if best.steps.normalise not in ("none", "reference"):
        full = [s.slide for s in slides if s.burden > MUCH or contaminated(s)]
        if full:
            yield (
                f"On {counted(len(full), 'slide')} there is so much tumour, or a tail of scores as "
                f"of so much, that it moves what {best.steps.normalise} takes as normal: "
                f"{_names(full)}."
            )
    yield from _too_small(cases, best.steps)
    yield from _ceiling(slides)
    yield from _sizes(slides)


def _inverted(slides: Sequence[Tiles]) -> Iterator[str]:
    """Where scores rank tumour below normal tiles."""
    found = within(slides)
    if found < INVERTED:
        yield (
            f"Scores are lower in tumour than in normal tiles (AUROC {found:.3f}): no threshold "
            "can use them as they are. Train longer, or take another column (--score)."
        )


def within(slides: Sequence[Tiles]) -> float:
    """AUROC over all pairs of a tumour and a normal tile of one slide.

    So offsets between slides do not count. Where no slide has both it is over all pairs.

    Returns:
        nan where there is no pair.
    """
    known = [tiles.inside & ~np.isnan(tiles.label) for tiles in slides]
    labels = [tiles.label[here] for tiles, here in zip(slides, known, strict=True)]
    scores = [tiles.score[here] for tiles, here in zip(slides, known, strict=True)]
    if not any((y == 1).any() and (y == 0).any() for y in labels):
        labels, scores = [np.concatenate(labels)], [np.concatenate(scores)]
    pairs = np.array([float((y == 1).sum() * (y == 0).sum()) for y in labels])
    each = [ranking(y, x, np.ones((1, len(y))))[0][0] for y, x in zip(labels, scores, strict=True)]
    return float(np.nansum(pairs * np.array(each)) / pairs.sum()) if pairs.any() else np.nan


def _calls_all(cases: Cases, best: Assessed) -> Iterator[str]:
    """Where the threshold leaves (nearly) nothing out."""
    tumour, normal = cases.positives.sum(), cases.negatives.sum()
    called = best.fitted.sum() / max(tumour + normal, 1)
    if tumour and normal and called >= NEARLY_ALL:
        yield (
            f"The threshold calls {'all' if called == 1 else f'{100 * called:.1f} % of the'} tiles "
            "of these slides, tumour or not: that is no better than calling everything, with a "
            f"precision of {tumour / (tumour + normal):.3f}, the share of tumour."
        )


def _unsettled(steps: Steps, apart: HeldOut | None) -> Iterator[str]:
    """Where the normaliser hangs on single patients."""
    others = [one.steps.normalise for one in apart.chosen] if apart else []
    changed = [name for name in others if name != steps.normalise]
    if changed:
        names = ", ".join(sorted(set(changed)))
        yield (
            f"The choice of {steps.normalise} is not settled by these slides: with each of "
            f"{len(others)} folds left out, another normaliser is chosen {len(changed)} of "
            f"{len(others)} times ({names})."
        )


def _too_small(cases: Cases, steps: Steps) -> Iterator[str]:
    lost = [
        tiles.slide
        for tiles, tumour in zip(cases.slides, cases.positives, strict=True)
        if 0 < tumour < apply.cells(tiles, steps).min_area
    ]
    if lost:
        yield (
            f"On {counted(len(lost), 'slide')} all tumour together is smaller than the objects "
            f"that clean-up removes: {_names(lost)}. It is found only with what lies beside it."
        )


def _ceiling(slides: Sequence[Tiles]) -> Iterator[str]:
    """Where the label rule caps what tiles of this size can say of pixels."""
    most = {tiles.slide: ceiling(tiles) for tiles in slides}
    low = {slide: value for slide, value in most.items() if value < LOW_CEILING}
    if low:
        worst = min(low, key=low.__getitem__)
        yield (
            f"By their labels even perfect tiles would reach a pixel IoU below {LOW_CEILING:g} on "
            f"{counted(len(low), 'slide')}, {low[worst]:.2f} on {worst}: tumour there is smaller "
            "than tiles."
        )


def _sizes(slides: Sequence[Tiles]) -> Iterator[str]:
    sides = np.array([np.sqrt(np.prod(tiles.size_px0)) * (tiles.mpp or 1) for tiles in slides])
    other = np.abs(sides / np.median(sides) - 1) > SAME_SIZE
    if len({tiles.mpp is None for tiles in slides}) > 1:
        without = [tiles.slide for tiles in slides if tiles.mpp is None]
        yield f"{counted(len(without), 'slide')} without mpp: {_names(without)}."
    elif other.any():
        named = [tiles.slide for tiles, odd in zip(slides, other, strict=True) if odd]
        yield (
            f"Tiles of {counted(len(named), 'slide')} differ by more than 2 % from the others in "
            f"size: {_names(named)}."
        )


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
