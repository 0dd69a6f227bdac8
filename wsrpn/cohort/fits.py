"""Whether a calibration belongs to these slides: the same scores, tiles and labels."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from wsrpn.errors import InputError, counted
from wsrpn.slides.calibration import SlideCalibration
from wsrpn.tiles import Cohort, Tiles

SIDE = 0.02  # tiles may be this much larger or smaller than those of the fit
MOST = 10  # names in one sentence


def check(cohort: Cohort, calibration: SlideCalibration) -> None:
    """Refuse a calibration of other scores or weights or, where tiles have labels, other labels.

    Raises:
        InputError: what differs, and the way out.
    """
    if calibration.score != cohort.score:
        raise InputError(
            f"The calibration is of column '{calibration.score}', the scores are of column "
            f"'{cohort.score}': read the same column, or calibrate this one."
        )
    fitted, own = _weights(calibration.provenance.get("table")), _weights(cohort.provenance)
    if fitted and own and fitted != own:
        raise InputError(
            "The calibration was fitted on scores of other weights; calibrate again "
            "(`wsrpn calibrate`)."
        )
    labelled = any(not np.isnan(tiles.label).all() for tiles in cohort.slides)
    if labelled and calibration.rule and calibration.rule != cohort.rule:
        raise InputError(
            f"The calibration was fitted on labels by the rule '{calibration.rule}', these are by "
            f"'{cohort.rule}': ask for the same rule, or calibrate with this one."
        )


def _weights(table: Any) -> Any:
    """sha256 of the weights that made a score table, where that is known."""
    return table.get("weights_sha256") if isinstance(table, Mapping) else None


def misfits(cohort: Cohort, calibration: SlideCalibration) -> dict[str, str]:
    """Slides whose tiles are not as large as those of the calibration → reason, and the way out."""
    reasons = {tiles.slide: _other_side(tiles, calibration) for tiles in cohort.slides}
    return {slide: reason for slide, reason in reasons.items() if reason}


def _other_side(tiles: Tiles, calibration: SlideCalibration) -> str:
    side = math.sqrt(tiles.size_px0[0] * tiles.size_px0[1])
    fitted, unit = calibration.tile_px0, "px"
    if calibration.tile_um is not None and tiles.mpp is not None:
        side, fitted, unit = side * tiles.mpp, calibration.tile_um, "µm"
    if fitted > 0 and abs(side / fitted - 1) > SIDE:
        return (
            f"its tiles are {side:.4g} {unit} wide, those of the calibration {fitted:.4g} {unit}; "
            "score tiles of the same size, or calibrate on these"
        )
    return ""


def doubts(cohort: Cohort, calibration: SlideCalibration | None) -> list[str]:
    """Sentences about slides that make figures look better or worse than they are."""
    part = calibration.chosen if calibration else None
    seen = sorted(tiles.slide for tiles in cohort.slides if part and tiles.slide in part.slides)
    kin = sorted(
        tiles.slide
        for tiles in cohort.slides
        if part and tiles.patient in part.patients and tiles.slide not in part.slides
    )
    partly = sorted(tiles.slide for tiles in cohort.slides if not tiles.exhaustive)
    notes = []
    if seen:
        notes.append(
            f"{counted(len(seen), 'evaluated slide')} {_was(seen)} used to fit the calibration, so "
            f"figures at its threshold look better than they are: {some(seen)}."
        )
    if kin:
        notes.append(
            f"{counted(len(kin), 'evaluated slide')} {_was(kin)} not used to fit the calibration, "
            f"but others of the same patients were, so figures may look better than they are: "
            f"{some(kin)}."
        )
    if partly:
        notes.append(
            f"{counted(len(partly), 'slide')} {_was(partly)} not annotated exhaustively, so true "
            f"findings may count as false: {some(partly)}."
        )
    return notes


def some(names: list[str]) -> str:
    """The first names of a list.

    Example:
        >>> some(["a", "b"])
        'a, b'
    """
    return f"{', '.join(names[:MOST])}{', …' if len(names) > MOST else ''}"


def _was(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"
