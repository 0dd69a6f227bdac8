"""Conformal risk control: a threshold with a promise on the share of tumour that is missed.

With n patients of known tumour, and steps that were fixed before these were looked at, the mean
miss rate of the next patient is at most X: the threshold is the highest at which
(sum of their miss rates + 1) / (n + 1) <= X. The promise is on the mean over fits and patients
alike, not on each; it needs patients that are drawn as those of the fit were.

Reference:
    Angelopoulos et al., Conformal risk control, 2022, theorem 1.
"""

import math

from wsrpn.cohort.cases import Cases
from wsrpn.cohort.fit import patient_share
from wsrpn.errors import InputError, counted


def patients_needed(limit: float) -> int:
    """The fewest patients with tumour whose miss rates can promise a limit: n >= 1 / X - 1.

    Example:
        >>> patients_needed(0.1), patients_needed(0.05)
        (9, 19)
    """
    return max(1, math.ceil(1 / limit - 1 - 1e-9))


def check(cases: Cases, *, limit: float, candidates: int) -> None:
    """Refuse what would void the promise.

    Args:
        cases: slides of the fit.
        limit: X of `fnr@X`.
        candidates: number of steps to choose among.

    Raises:
        InputError: too few patients with tumour, or steps still to be chosen.
    """
    have = patients(cases)
    need = patients_needed(limit)
    if have < need:
        raise InputError(
            f"fnr@{limit:g} needs at least {need} patients with tumour (1 / {limit:g} - 1), here "
            f"{'is' if have == 1 else 'are'} {have}; the lowest limit that these can promise is "
            f"fnr@{math.ceil(1000 / (have + 1)) / 1000:g}."
            if have
            else f"fnr@{limit:g} needs at least {need} patients with tumour, here are none."
        )
    if candidates > 1:
        raise InputError(
            f"fnr@{limit:g} keeps its promise only for steps that were not chosen on these slides, "
            f"and here {counted(candidates, 'combination')} would be: give one normaliser, smooth, "
            "min_area and max_hole, or the steps of a calibration of other slides."
        )


def patients(cases: Cases) -> int:
    """Number of patients with tumour."""
    return round(float(patient_share(cases).sum()))


def can_spare_a_fold(cases: Cases, limit: float) -> bool:
    """Whether enough patients are left when any one fold is held out."""
    share = patient_share(cases)
    left = share.sum() - cases.membership @ share
    return bool(left.min() > patients_needed(limit) - 0.5)
