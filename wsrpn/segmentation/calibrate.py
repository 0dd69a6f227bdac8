"""Fit threshold, smallest size and distance of objects to the truth of a held-out split.

The threshold is exact: of all 65,536 the best for the mean over images. A smallest size is chosen
together with it, on a grid of thresholds in which the exact one and its neighbours are; a size that
gains nothing is not taken.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

import wsrpn
from wsrpn.calibrate import FEW, FOLDS
from wsrpn.errors import InputError, counted, nearest
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.masks.clean import MIN_DISTANCE_PX, Touching
from wsrpn.segmentation.evidence import Judged, evidence_of, judge, known_of, usable
from wsrpn.segmentation.figures import figures
from wsrpn.segmentation.maps import Maps, threshold_of
from wsrpn.segmentation.remarks import left_out, remarks
from wsrpn.segmentation.search import (
    COARSE,
    DISTANCES,
    Areas,
    Objects,
    Search,
    around,
    plateau,
)
from wsrpn.types import Dataset, Figure, Record, digest_of

ALONE = (
    "No figures on patients held out: one fold of them has all the foreground, so there is nothing "
    "to choose by without it."
)
Objective = Literal["jaccard", "dice", "object_f1"]
OBJECTIVES = ("jaccard", "dice", "object_f1")


def check_objective(objective: str) -> Objective:
    """The objective, if it is one of masks.

    Raises:
        InputError: names those that are.
    """
    if objective not in OBJECTIVES:
        raise InputError(
            f"No objective of masks is called '{objective}'. {nearest(objective, OBJECTIVES)}"
        )
    return objective  # type: ignore[return-value]


def calibrate(
    maps: Maps,
    dataset: Dataset,
    *,
    objective: Objective = "jaccard",
    touching: Touching = "joined",
    cross_validate: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    listen: Callable[[int], None] | None = None,
) -> MaskCalibration:
    """Fit a calibration to maps of a held-out split.

    Args:
        maps: scores.
        dataset: truth of the same images, usually the validation split.
        objective: `jaccard` or `dice`, mean over the images that have foreground; `object_f1` at
            IoU 0.5, of the objects of all images.
        touching: whether objects that touch are to be split; then the distance of their centres is
            chosen by `object_f1`, whatever the objective.
        cross_validate: also give figures on images held out patient by patient.
        bootstrap: replicates behind the intervals.
        seed: of replicates and folds.
        listen: called with 1 for every image of every pass.

    Raises:
        NoForeground: all masks are empty.
        InputError: nothing else to fit to, or another objective.
    """
    check_objective(objective)
    if maps.content == "labels":
        raise InputError(
            "The files number objects: there are no scores to fit a threshold to. `wsrpn eval` "
            "judges them as they are."
        )
    records, notes = usable(maps, dataset)
    folds = _folds([record.patient for record in records], seed)
    search = Search(maps, records, listen)
    fit = _Fit(search, objective, touching, folds, cross_validate=cross_validate)
    if not fit.known(np.ones(len(records), dtype=bool)):
        raise NoForeground(
            f"{dataset.name}: the masks of all {counted(len(records), 'image')} are empty, so "
            "there is no foreground to fit a threshold to; name a split that has some."
        )
    chosen = fit.choose(np.ones(len(records), dtype=bool))
    plain = MaskCalibration(touching=touching)
    before, _, _ = _figures(maps, records, [plain] * len(records), bootstrap, seed)
    after, told, found = _figures(maps, records, [chosen] * len(records), bootstrap, seed)
    held_out: dict[str, Figure] = {}
    if cross_validate:
        held_out = _held_out(fit, maps, records, folds, bootstrap, seed)
        if not held_out:
            told = [*told, ALONE]
    patients = tuple(dict.fromkeys(record.patient for record in records))
    return dataclasses.replace(
        chosen,
        objective=objective,
        ids=tuple(record.id for record in records),
        patients=patients,
        provenance=_provenance(maps, dataset, records, len(patients)),
        before=before,
        after=after,
        held_out=held_out,
        warnings=(*maps.notes, *notes, *_doubts(chosen, len(patients), found), *told),
    )


class NoForeground(InputError):
    """All masks to fit to are empty."""


class _Fit:
    """What is chosen on some of the images; passes over them are made once for all.

    Args:
        search: the images.
        objective: what the choice is best for.
        touching: whether objects are split.
        folds: of the images.
        cross_validate: whether there will be choices without a fold.
    """

    def __init__(
        self,
        search: Search,
        objective: Objective,
        touching: Touching,
        folds: Int[np.ndarray, " b"],
        *,
        cross_validate: bool,
    ) -> None:
        self.search, self.objective, self.touching = search, objective, touching
        self.figure = "jaccard" if objective == "object_f1" else objective
        self.folds, self.sums = folds, search.curves(self.figure, folds)
        self.distances = DISTANCES if touching == "watershed" else (MIN_DISTANCE_PX,)
        wanted = [self.sums.sum(0)]
        if cross_validate:
            wanted += [wanted[0] - own for own in self.sums]
        exact = list(dict.fromkeys(plateau(curve) for curve in wanted))
        self.areas: Areas | None = None
        self.objects: dict[int, Objects] = {}
        if objective == "object_f1":
            levels = sorted({*COARSE, *exact})
            self.objects[-1] = search.objects(levels, self.distances, touching)
        else:
            self.areas = search.areas(around(exact))

    def known(self, use: Bool[np.ndarray, " b"]) -> bool:
        """Whether some images have foreground, of whole folds: at level 0 all of it is found."""
        return bool(self.sums[np.unique(self.folds[use]), 0].any())

    def choose(self, use: Bool[np.ndarray, " b"]) -> MaskCalibration:
        """The numbers that are best on some of the images, by whole folds.

        Args:
            use: which of them.
        """
        if self.areas is None:
            return self._by_objects(use, self.objects[-1])
        exact = plateau(self.sums[np.unique(self.folds[use])].sum(0))
        value = self.areas.figure(self.figure, use)
        own = around([exact])  # those of other folds' thresholds would tell of these
        level, size = _first_best(value, self.areas.levels, self.areas.sizes, exact, own)
        chosen = MaskCalibration(threshold_of(level), size, self.touching)
        if self.touching == "joined":
            return chosen
        if level not in self.objects:
            self.objects[level] = self.search.objects([level], self.distances, self.touching)
        known = self.objects[level]
        f1 = known.f1(use)[0, :, known.sizes.index(size)]
        return dataclasses.replace(chosen, min_distance_px=_nearest_best(f1, self.distances))

    def _by_objects(self, use: Bool[np.ndarray, " b"], known: Objects) -> MaskCalibration:
        """Threshold, size and distance of the best F1 of objects."""
        f1 = known.f1(use)
        exact = plateau(self.sums[np.unique(self.folds[use])].sum(0))
        own = (*COARSE, exact)
        level, size = _first_best(f1.max(1), known.levels, known.sizes, exact, own)
        row = f1[known.levels.index(level), :, known.sizes.index(size)]
        distance = _nearest_best(row, known.distances)
        return MaskCalibration(threshold_of(level), size, self.touching, distance)


def _first_best(
    value: Float[np.ndarray, "t s"],
    levels: Sequence[int],
    sizes: Sequence[int],
    exact: int,
    own: Sequence[int],
) -> tuple[int, int]:
    """Level, one of `own`, and size of the highest value.

    Of equal ones the smallest size, then the level nearest to `exact`.
    """
    value = np.where(np.isin(levels, own)[:, None], value, -1.0)
    best = np.isclose(value, value.max(), rtol=0, atol=1e-12)
    size = int(np.argmax(best.any(0)))
    rows = np.flatnonzero(best[:, size]).tolist()
    row = min(rows, key=lambda at: (abs(levels[at] - exact), -levels[at]))
    return levels[row], sizes[size]


def _nearest_best(value: Float[np.ndarray, " d"], distances: Sequence[int]) -> int:
    """The distance of the highest value; of equal ones the nearest to the default."""
    best = np.flatnonzero(np.isclose(value, value.max(), rtol=0, atol=1e-12)).tolist()
    return min((distances[at] for at in best), key=lambda one: (abs(one - MIN_DISTANCE_PX), one))


def _folds(patients: Sequence[str], seed: int) -> Int[np.ndarray, " b"]:
    """The fold of every image, 0 … 4, all images of a patient in one."""
    names = np.unique(np.asarray(patients, dtype=str))
    shuffled = np.random.default_rng(seed).permutation(names)
    fold = {str(name): at % FOLDS for at, name in enumerate(shuffled)}
    return np.array([fold[patient] for patient in patients])


def _held_out(
    fit: _Fit,
    maps: Maps,
    records: Sequence[Record],
    folds: Int[np.ndarray, " b"],
    bootstrap: int,
    seed: int,
) -> dict[str, Figure]:
    """Figures of images with the numbers that were chosen without their fold.

    None where one fold has all the foreground: there is nothing to choose by without it.
    """
    if not all(fit.known(folds != fold) for fold in np.unique(folds)):
        return {}
    of = {int(fold): fit.choose(folds != fold) for fold in np.unique(folds)}
    found, _, _ = _figures(maps, records, [of[int(fold)] for fold in folds], bootstrap, seed)
    return found


def _figures(
    maps: Maps,
    records: Sequence[Record],
    chosen: Sequence[MaskCalibration],
    bootstrap: int,
    seed: int,
) -> tuple[dict[str, Figure], list[str], float]:
    """Figures of images, each with numbers of its own, what is to be said, and pixels found."""
    rows: dict[str, Judged] = {}
    for record, own in zip(records, chosen, strict=True):
        mapped = maps.of(record.id)
        rows[record.id] = judge(mapped, known_of(record, mapped), own)
    evidence = evidence_of(rows, {record.id: record.patient for record in records})
    found = float(evidence.pixels[:, :2].sum())
    notes = [*left_out(evidence), *remarks(evidence)]
    return figures(evidence, bootstrap=bootstrap, seed=seed), notes, found


def _doubts(chosen: MaskCalibration, patients: int, found: float) -> list[str]:
    """Sentences about a fit that rests on little, or that calls everything one thing.

    Args:
        chosen: what was fitted.
        patients: that it was fitted to.
        found: pixels with it.
    """
    notes = []
    if patients < FEW:
        notes.append(f"Fitted on {counted(patients, 'patient')} only.")
    if not found:
        notes.append("With the best threshold nothing is found at all.")
    if chosen.threshold <= 0:
        notes.append("The best threshold is 0: every pixel is foreground.")
    return notes


def _provenance(
    maps: Maps, dataset: Dataset, records: Sequence[Record], patients: int
) -> dict[str, Any]:
    return {
        "version": wsrpn.__version__,
        "data": dataset.name,
        "split": ", ".join(sorted({str(record.split) for record in records})),
        "images": len(records),
        "patients": patients,
        "images_digest": digest_of(record.id for record in records),
        "maps": dict(maps.provenance),
    }
