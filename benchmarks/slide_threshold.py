"""Thresholds and clean-up of slides: the source's grid and scikit-image calls beside ours.

    python benchmarks/slide_threshold.py

The source tries 100 thresholds between z = -3 and 5 and cleans a mask with `remove_small_objects`
and `binary_fill_holes`; it cleans after choosing, so the grid with clean-up inside is what its
parts make of a choice after clean-up. Slides are squares of tissue with smooth noise and 3 % tumour
in blobs, z-scored. Before anything is timed ours must reach at least the IoU of the grid, the IoU
that it promises, and the source's cleaned masks. Both sides take turns on one thread, in seconds of
the processor; ratios are theirs ÷ ours.
"""

import functools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gaussian_losses import in_turns
from scipy import ndimage

from wsrpn.slides.clean import clean, clean_grey
from wsrpn.slides.threshold import best

GRID = np.linspace(-3, 5, 100)
LEAST, BURDEN, SHIFT = 5, 0.03, 1.5
# The deprecation shim of scikit-image 0.26 makes min_size=5 delete objects of 5 tiles, too; before
# and after it 4.5 means what 5 meant to the source.
MIN_SIZE = 4.5


@dataclass(frozen=True)
class Case:
    """A slide without glass: z-scores on the lattice, and which tiles are tumour."""

    values: Any
    truth: Any

    @functools.cached_property
    def weights(self) -> tuple[Any, Any]:
        """Labels as positive and negative weights."""
        positive = self.truth.ravel().astype(np.float64)
        return positive, 1 - positive


def case(side: int, *, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)

    def field(sigma: float) -> Any:
        found = ndimage.gaussian_filter(random.normal(size=(side, side)), sigma)
        return (found - found.mean()) / found.std()

    blobs = field(6)
    truth = blobs > np.quantile(blobs, 1 - BURDEN)
    score = field(0.7) + SHIFT * truth
    return Case((score - score.mean()) / score.std(), truth)


# The source


def source_clean(mask: Any) -> Any:
    from skimage.morphology import remove_small_objects

    return ndimage.binary_fill_holes(remove_small_objects(mask, min_size=MIN_SIZE))


def source_grid(given: Case, then: Callable[[Any], Any] = lambda mask: mask) -> float:
    """The best IoU of the grid; `then` is done to every mask."""
    best_iou = -1.0
    for threshold in GRID:
        found = then(given.values > threshold)
        hits = (found & given.truth).sum()
        false = (found & ~given.truth).sum()
        missed = (~found & given.truth).sum()
        best_iou = max(best_iou, hits / (hits + false + missed))
    return best_iou


# Ours


def raw(given: Case) -> tuple[float, float]:
    return best(given.values.ravel(), *given.weights)


def cleaned(given: Case) -> tuple[float, float]:
    values = clean_grey(given.values, min_cells=float(LEAST), max_hole_cells=np.inf)
    return best(values.ravel(), *given.weights)


def ours_clean(mask: Any, tissue: Any) -> Any:
    return clean(mask, tissue, min_cells=float(LEAST), max_hole_cells=np.inf)


def iou(found: Any, truth: Any) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def check(given: Case) -> dict[str, float]:
    """IoU of both sides, raw and after clean-up.

    Raises:
        RuntimeError: the grid is better, a promise is not kept, or masks differ.
    """
    grid = source_grid(given), source_grid(given, source_clean)
    (at, promised), (at_clean, promised_clean) = raw(given), cleaned(given)
    called = given.values >= at, source_clean(given.values >= at_clean)
    kept = [iou(mask, given.truth) for mask in called]
    if not np.allclose(kept, [promised, promised_clean], rtol=1e-12):
        raise RuntimeError(f"promised {promised}, {promised_clean}; reached {kept}")
    if kept[0] < grid[0] or kept[1] < grid[1]:
        raise RuntimeError(f"the grid is better: {grid}, ours {kept}")
    for threshold in GRID[::11]:
        mask = given.values > threshold
        if not np.array_equal(ours_clean(mask, np.ones_like(mask)), source_clean(mask)):
            raise RuntimeError(f"masks differ at {threshold}")
    return {"grid": grid[0], "ours": kept[0], "grid, clean": grid[1], "ours, clean": kept[1]}


# Time


def row(what: str, found: tuple[float, float, float], goal: str) -> dict[str, Any]:
    return {"what": what, "ours": found[0], "theirs": found[1], "ratio": found[2], "goal": goal}


def rows_of(side: int, *, repeats: int) -> list[dict[str, Any]]:
    """The three rows of one size of slide."""
    given, tiles = case(side), f"{side * side:,} tiles"
    mask, tissue = given.values > 1.5, np.ones(given.values.shape, dtype=bool)
    turns = functools.partial(in_turns, clock=time.process_time)
    grid, grid_clean = f"threshold, {tiles}: 100-point grid", f"threshold after clean-up, {tiles}"
    few = max(3, repeats // 5)
    return [
        row(
            grid,
            turns(lambda: raw(given), lambda: source_grid(given), repeats=repeats, times=3),
            "≥ 4",
        ),
        row(
            f"{grid_clean}: the grid, its masks cleaned by scikit-image",
            turns(
                lambda: cleaned(given),
                lambda: source_grid(given, source_clean),
                repeats=few,
                times=3,
            ),
            "≥ 4",
        ),
        row(
            f"clean-up of a mask, {tiles}: scikit-image",
            turns(
                lambda: ours_clean(mask, tissue),
                lambda: source_clean(mask),
                repeats=3 * repeats,
                times=3,
            ),
            "≥ 2.5",
        ),
    ]


def measure(*, repeats: int = 15, sides: tuple[int, ...] = (233, 1000)) -> list[dict[str, Any]]:
    """Rows of the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # scikit-image on `min_size`
        check(case(sides[0]))
        return [line for side in sides for line in rows_of(side, repeats=repeats)]


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for side in (233, 1000):
            found = ", ".join(f"{name} {value:.4f}" for name, value in check(case(side)).items())
            print(f"IoU, {side * side:,} tiles: {found}")
    for line in measure():
        times = f"{line['ours']:.3g} s, {line['theirs']:.3g} s"
        print(f"{line['what']}: {times}, ratio {line['ratio']:.3g} ({line['goal']})")


if __name__ == "__main__":
    main()
