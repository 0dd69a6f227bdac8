"""The slides of a fit with their truth, and their values under all candidate steps.

Normalisers keep the order of a slide's tiles, so they share one smoothed and cleaned grid, sorted
once. Removing objects and filling holes are done one after the other, so limits of holes share the
grid without small objects.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.cohort.regions import merges
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps
from wsrpn.slides.clean import clean_grey
from wsrpn.slides.normalise import numbers
from wsrpn.tiles import Tiles

Rising = Float[np.ndarray, " _n"]
Listener = Callable[[int, int], None]
MOST_FOLDS = 20


@dataclass(frozen=True)
class Cases:
    """Slides with labels, in folds of patients.

    Attributes:
        slides: the tiles.
        fold: of each slide.
        folds: how many.
    """

    slides: tuple[Tiles, ...]
    fold: Int[np.ndarray, " s"]
    folds: int

    def __len__(self) -> int:
        return len(self.slides)

    @cached_property
    def positives(self) -> Float[np.ndarray, " s"]:
        """Tumour tiles of each slide."""
        return np.array([float((tiles.label == 1).sum()) for tiles in self.slides])

    @cached_property
    def negatives(self) -> Float[np.ndarray, " s"]:
        """Tiles of tissue without tumour of each slide."""
        found = [(tiles.label == 0) & tiles.inside for tiles in self.slides]
        return np.array([float(other.sum()) for other in found])

    @cached_property
    def normal(self) -> Bool[np.ndarray, " s"]:
        """Slides known to have no tumour."""
        return np.array([tiles.normal for tiles in self.slides], dtype=bool)

    @cached_property
    def cell_mm2(self) -> Float[np.ndarray, " s"]:
        """Area of a cell of each slide; nan without mpp."""
        areas = [tiles.cell_um2 for tiles in self.slides]
        return np.array([np.nan if area is None else area / 1e6 for area in areas])

    @property
    def patients(self) -> tuple[str, ...]:
        """Of the slides."""
        return tuple(tiles.patient for tiles in self.slides)

    @cached_property
    def membership(self) -> Float[np.ndarray, "f s"]:
        """1 where a slide belongs to a fold."""
        return (self.fold == np.arange(self.folds)[:, None]).astype(np.float64)


def cases_of(slides: Sequence[Tiles], *, seed: int) -> Cases:
    """Slides in folds; `seed` decides who shares one where patients are many."""
    fold = fold_of(slides, seed=seed)
    return Cases(tuple(slides), fold, int(fold.max()) + 1)


def fold_of(slides: Sequence[Tiles], *, seed: int) -> Int[np.ndarray, " s"]:
    """The fold of every slide: one per patient, but 20 where there are more patients.

    Patients are then dealt by chance, those with tumour evenly.
    """
    names, owner = np.unique([tiles.patient for tiles in slides], return_inverse=True)
    if len(names) <= MOST_FOLDS:
        return owner.astype(np.int64)
    tumour = np.zeros(len(names), dtype=bool)
    np.logical_or.at(tumour, owner, [bool((tiles.label == 1).any()) for tiles in slides])
    mixed = np.random.default_rng(seed).permutation(len(names))
    mixed = mixed[np.argsort(~tumour[mixed], kind="stable")]
    fold = np.empty(len(names), dtype=np.int64)
    fold[mixed] = np.arange(len(names)) % MOST_FOLDS
    return fold[owner]


@dataclass(frozen=True)
class Levels:
    """Values of all slides under one candidate, rising; labels decide where a value stands.

    Attributes:
        positives: of tumour tiles, per slide.
        negatives: of other tiles, per slide.
        merges: values at which two regions of called tiles become one, per slide; empty unless
            regions are counted.
    """

    positives: tuple[Rising, ...]
    negatives: tuple[Rising, ...]
    merges: tuple[Rising, ...] = ()

    def normalised(self, scales: Iterable[tuple[float, float]]) -> "Levels":
        """On the scale of a normaliser, given centre and scale of each slide."""
        scales = tuple(scales)

        def moved(lists: tuple[Rising, ...]) -> tuple[Rising, ...]:
            return tuple((v - c) / s for v, (c, s) in zip(lists, scales, strict=bool(lists)))

        return Levels(moved(self.positives), moved(self.negatives), moved(self.merges))


def levels_of(
    cases: Cases, candidates: Iterable[Steps], *, regions: bool = False, listen: Listener | None
) -> Iterator[tuple[Steps, Levels]]:
    """Every candidate with its levels; candidates of one σ follow each other.

    Args:
        cases: the slides.
        candidates: without duplicates.
        regions: also find where regions merge, on slides without tumour.
        listen: called with what is done and of how much.
    """
    by_sigma: dict[float, list[Steps]] = {}
    for steps in candidates:
        by_sigma.setdefault(steps.smooth, []).append(steps)
    names = {steps.normalise for group in by_sigma.values() for steps in group}
    scales = {name: tuple(numbers(tiles, name) for tiles in cases.slides) for name in names}
    done = 0
    for group in by_sigma.values():
        grids = list(dict.fromkeys(dataclasses.replace(s, normalise="none") for s in group))
        sorted_: dict[Steps, list[Levels]] = {grid: [] for grid in grids}
        for tiles, normal in zip(cases.slides, cases.normal, strict=True):
            for grid, scores in cleaned_scores(tiles, grids):
                sorted_[grid].append(_levels(tiles, scores, grid, regions and bool(normal)))
            done += 1
            if listen:
                listen(done, len(by_sigma) * len(cases))
        shared = {grid: _joined(each, regions) for grid, each in sorted_.items()}
        for steps in group:
            raw = shared[dataclasses.replace(steps, normalise="none")]
            yield steps, raw.normalised(scales[steps.normalise])


def cleaned_scores(
    tiles: Tiles, grids: Iterable[Steps]
) -> Iterator[tuple[Steps, Float[np.ndarray, " n"]]]:
    """`apply.cleaned_scores` for steps of one σ, each object limit opened only once.

    Args:
        tiles: of a slide.
        grids: steps that differ in their limits only.
    """
    grids = sorted(grids, key=lambda steps: (steps.min_area, steps.max_hole))
    smooth = apply.smoothed_scores(tiles, grids[0])
    start = tiles.lattice.spread(np.where(np.isneginf(smooth), np.nan, smooth))
    opened: dict[float, Float[np.ndarray, "gh gw"]] = {}
    for steps in grids:
        size, neighbours = apply.cells(tiles, steps), steps.connectivity
        if steps.min_area not in opened:
            opened[steps.min_area] = clean_grey(
                start, min_cells=size.min_area, connectivity=neighbours
            )
        filled = clean_grey(
            opened[steps.min_area], max_hole_cells=size.max_hole, connectivity=neighbours
        )
        found = tiles.lattice.gather(filled)
        yield steps, np.where(np.isnan(found), -np.inf, found)


def _levels(tiles: Tiles, scores: Float[np.ndarray, " n"], grid: Steps, regions: bool) -> Levels:
    found = merges(tiles.lattice, scores, grid.connectivity) if regions else np.zeros(0)
    other = (tiles.label == 0) & tiles.inside
    return Levels((np.sort(scores[tiles.label == 1]),), (np.sort(scores[other]),), (found,))


def _joined(each: list[Levels], regions: bool) -> Levels:
    return Levels(
        tuple(one.positives[0] for one in each),
        tuple(one.negatives[0] for one in each),
        tuple(one.merges[0] for one in each) if regions else (),
    )
