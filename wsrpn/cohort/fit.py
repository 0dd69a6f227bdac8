"""One threshold for several slides, fitted at once for every choice of slides left out.

`keep` has a row per fit and a column per fold of slides. Counts at a threshold add up over slides,
so one table of them serves all fits. Fits are exact: no other threshold is better on the slides
that are kept; of equally good ones the highest is taken. It is then moved half-way to the next
value of these slides that is decided otherwise, which changes no decision on them.

Slides that are left out have no influence, not even their values as candidates: between two tumour
values of the slides kept, a lower threshold can only add false alarms, so the first best candidate
is always a value of theirs.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.cohort.cases import Cases, Levels
from wsrpn.cohort.objective import BEST, Objective, value
from wsrpn.slides.calibration import Over

SAME = 1e-12  # figures that differ by less are equally good
STRIDE = 32  # of so many candidates one is looked at first
DEPTH = 64  # values per slide that are looked at first where regions are counted
MOST = 30_000_000  # numbers in one table

Keep = Bool[np.ndarray, "e f"]
KeptSlides = Bool[np.ndarray, "e s"]
Thresholds = Float[np.ndarray, " e"]


def thresholds(
    cases: Cases, levels: Levels, keep: Keep, objective: Objective, over: Over
) -> Thresholds:
    """The threshold of every fit; inf where only calling nothing will do.

    Args:
        cases: slides and their folds.
        levels: their values.
        keep: the folds of every fit.
        objective: what the threshold is best for. `specificity@X`, `fp_mm2@X` and `fp_regions@X`
            give the lowest threshold that keeps the limit, and so does every higher one; `fnr@X`
            the highest that keeps its promise (-inf where none does).
        over: mean over slides, or their counts together. False alarms of slides without tumour and
            misses are means over slides anyway.
    """
    slides = keep[:, cases.fold]
    if objective.name in BEST:
        return _halfway(levels, slides, _best(cases, levels, keep, objective.name, over))
    if objective.name == "fnr":
        return _halfway(levels, slides, _promised(cases, levels, slides, objective.limit))
    if objective.name == "specificity":
        weight = np.ones(len(cases)) if over == "pooled" else 1 / np.maximum(cases.negatives, 1)
        budget = (1 - objective.limit) * (slides @ (weight * cases.negatives))
        wrong = _over_budget(levels, slides, weight, budget)
    else:
        slides = slides & cases.normal
        many = slides.sum(axis=1)
        if objective.name == "fp_mm2":
            wrong = _over_budget(levels, slides, cases.cell_mm2, objective.limit * many)
        else:
            wrong = _crowded(levels, slides, objective.limit * many)
    return np.where(slides.any(axis=1), _just_above(levels, slides, wrong), np.inf)


def counts(
    levels: Levels, at: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, "s t"], Float[np.ndarray, "s t"]]:
    """Tumour tiles and other tiles of every slide that are called at every threshold."""
    return _called(levels.positives, at), _called(levels.negatives, at)


def _called(lists: tuple[np.ndarray, ...], at: Float[np.ndarray, " t"]) -> np.ndarray:
    found = [len(values) - np.searchsorted(values, at, side="left") for values in lists]
    return np.array(found, dtype=np.float64).reshape(len(lists), len(at))


def _best(cases: Cases, levels: Levels, keep: Keep, name: str, over: Over) -> Thresholds:
    falling = np.unique(_finite(np.sort(np.concatenate(levels.positives))))[::-1]
    if not len(falling):
        return np.full(len(keep), np.inf)
    reached = _Reached(cases, keep, name, over)
    falling = _promising(reached, levels, falling)
    hits, false = counts(levels, falling)
    rows = max(1, MOST // len(falling))
    parts = [slice(low, low + rows) for low in range(0, len(keep), rows)]
    return np.concatenate([_first_best(reached(hits, false, part), falling) for part in parts])


def _first_best(reached: Float[np.ndarray, "e c"], falling: Float[np.ndarray, " c"]) -> Thresholds:
    top = reached.max(axis=1, keepdims=True)
    first = (reached >= top - SAME).argmax(axis=1)
    return np.where(top[:, 0] > -np.inf, falling[first], np.inf)


class _Reached:
    """What fits reach at thresholds, from counts per slide; -inf where no more than 0."""

    def __init__(self, cases: Cases, keep: Keep, name: str, over: Over) -> None:
        self.cases, self.name, self.over = cases, name, over
        self.keep = keep.astype(np.float64)

    def __call__(
        self,
        hits: Float[np.ndarray, "s c"],
        false: Float[np.ndarray, "s c"],
        fits: slice = slice(None),
    ) -> Float[np.ndarray, "e c"]:
        cases, keep = self.cases, self.keep[fits]
        positives, negatives = cases.positives[:, None], cases.negatives[:, None]

        def summed(per_slide: np.ndarray) -> np.ndarray:
            return keep @ (cases.membership @ per_slide)

        if self.over == "pooled":
            together = (summed(one) for one in (hits, false, positives, negatives))
            found = value(self.name, *together)
        else:
            tumour = positives > 0
            each = np.where(tumour, value(self.name, hits, false, positives, negatives), 0.0)
            found = summed(each) / np.maximum(summed(tumour.astype(np.float64)), 1)
        # 0 is what calling nothing reaches, too, and that is the highest threshold of all.
        return np.where(found > SAME, found, -np.inf)


def _promising(
    reached: _Reached, levels: Levels, falling: Float[np.ndarray, " c"]
) -> Float[np.ndarray, " k"]:
    """The candidates among which the best of every fit must be.

    Between two candidates nothing is better than the hits of the lower with the false alarms of
    the higher; a stretch in which no fit can beat what it has already is left out.
    """
    if len(falling) < 4 * STRIDE:
        return falling
    places = np.unique(np.append(np.arange(0, len(falling), STRIDE), len(falling) - 1))
    hits, false = counts(levels, falling[places])
    best = reached(hits, false).max(axis=1, keepdims=True)
    most = reached(hits[:, 1:], false[:, :-1])
    chosen = np.zeros(len(falling), dtype=bool)
    chosen[:-1] = np.repeat((most >= best - 1e3 * SAME).any(axis=0), np.diff(places))
    chosen[places] = True
    return falling[chosen]


def _over_budget(
    levels: Levels,
    slides: KeptSlides,
    weight: Float[np.ndarray, " s"],
    budget: Float[np.ndarray, " e"],
) -> Thresholds:
    """The highest threshold at which false alarms cost more than allowed; -inf if none does."""
    prices = np.where(slides, weight, 0.0)

    def too_many(at: Thresholds) -> Bool[np.ndarray, " e"]:
        cost = (prices * _called(levels.negatives, at).T).sum(axis=1)
        return cost > budget * (1 + SAME) + SAME

    return _highest(too_many, len(slides))


def _crowded(levels: Levels, slides: KeptSlides, budget: Float[np.ndarray, " e"]) -> Thresholds:
    """The highest threshold at which there are more regions than allowed; -inf if there is none.

    Regions come and go, so thresholds are looked at one by one, from the top until every fit has
    too many: of each slide the highest values first, and only as deep as all are complete.
    """
    some = np.flatnonzero(slides.any(axis=0))
    kept = slides[:, some].astype(np.float64)
    values = tuple(_finite(levels.negatives[s]) for s in some)
    less = tuple(levels.merges[s] for s in some)
    depth, longest = DEPTH, max((len(v) for v in values), default=0)
    while True:
        floor = max((v[-depth] for v in values if len(v) > depth), default=-np.inf)
        at = np.unique(np.concatenate([v[-depth:] for v in values] or [np.zeros(0)]))[::-1]
        at = at[at >= floor]
        crowd = kept @ (_called(values, at) - _called(less, at)) > budget[:, None] + SAME
        if crowd.any(axis=1).all() or depth >= longest:
            # The place behind the last stands for fits that never have too many.
            ever = np.pad(crowd, ((0, 0), (0, 1)), constant_values=True)
            return np.append(at, -np.inf)[ever.argmax(axis=1)]
        depth *= 8


def _finite(rising: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
    return rising[np.searchsorted(rising, -np.inf, side="right") :]


def _promised(cases: Cases, levels: Levels, slides: KeptSlides, limit: float) -> Thresholds:
    """The highest threshold with (sum of miss rates + 1) / (n + 1) <= limit over n patients.

    Reference:
        Angelopoulos et al., Conformal risk control, 2022, eq. 4 with B = 1.
    """
    share = patient_share(cases)
    weight = np.where(slides, share / np.maximum(cases.positives, 1), 0.0)
    many = slides @ share
    needed = (many + 1) * (1 - limit)

    def kept(at: Thresholds) -> Bool[np.ndarray, " e"]:
        found = (weight * _called(levels.positives, at).T).sum(axis=1)
        return found >= needed - 1e-9

    return _highest(kept, len(slides))


def patient_share(cases: Cases) -> Float[np.ndarray, " s"]:
    """Weight of each slide such that every patient with tumour has 1 in all; 0 without tumour."""
    _, owner = np.unique(np.asarray(cases.patients, dtype=str), return_inverse=True)
    tumour = (cases.positives > 0).astype(np.float64)
    return tumour / np.maximum(np.bincount(owner, tumour)[owner], 1)


def _highest(holds: Callable[[Thresholds], Bool[np.ndarray, " e"]], fits: int) -> Thresholds:
    """The highest number at which something holds that holds below it, too; -inf if nowhere.

    Halving over all doubles: in the order of their bit patterns, 64 steps are exact.
    """
    most = np.finfo(np.float64).max
    low, high = _key(np.full(fits, -most)), _key(np.full(fits, most))
    anywhere = holds(_number(low))
    for _ in range(64):
        middle = (low & high) + ((low ^ high) >> 1)
        true = holds(_number(middle))
        low, high = np.where(true, middle, low), np.where(true, high, middle)
    return np.where(anywhere, _number(low), -np.inf)


def _key(numbers: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Integers in the order of the numbers."""
    bits = numbers.view(np.int64)
    return bits ^ ((bits >> 63) & np.iinfo(np.int64).max)


def _number(keys: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The numbers of `_key`."""
    return (keys ^ ((keys >> 63) & np.iinfo(np.int64).max)).view(np.float64)


def _halfway(levels: Levels, slides: KeptSlides, at: Thresholds) -> Thresholds:
    """Thresholds half-way down to the next lower value of the slides of each fit."""
    below = np.full(len(at), -np.inf)
    for lists in (levels.positives, levels.negatives):
        for values, kept in zip(lists, slides.T, strict=True):
            place = np.searchsorted(values, at, side="left")
            found = np.append(-np.inf, values)[place]
            below = np.where(kept & (found > below), found, below)
    return _between(below, at)


def _just_above(levels: Levels, slides: KeptSlides, wrong: Thresholds) -> Thresholds:
    """Thresholds half-way up to the next higher value of the slides of each fit."""
    above = np.full(len(wrong), np.inf)
    for lists in (levels.positives, levels.negatives):
        for values, kept in zip(lists, slides.T, strict=True):
            place = np.searchsorted(values, wrong, side="right")
            found = np.append(values, np.inf)[place]
            above = np.where(kept & (found < above), found, above)
    return np.where(np.isinf(above), np.nextafter(wrong, np.inf), _between(wrong, above))


def _between(low: Thresholds, high: Thresholds) -> Thresholds:
    finite = np.isfinite(low) & np.isfinite(high)
    middle = np.where(finite, low, 0) / 2 + np.where(finite, high, 0) / 2
    return np.where(finite & (low < middle) & (middle <= high), middle, high)
