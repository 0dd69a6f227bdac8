"""The steps that a calibration chooses among, and their sizes in µm or tiles."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from wsrpn.errors import InputError, counted
from wsrpn.slides.calibration import Steps, Unit
from wsrpn.slides.normalise import normalisers
from wsrpn.tiles import Cohort, Tiles

SIMPLEST_FIRST = ("none", "z", "mad", "sigma-clip", "left-half", "reference")
SMOOTH_TILES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
# Half a cell beside the whole numbers: a pitch that differs in the fourth digit from slide to slide
# must not decide whether an object of exactly two cells stays.
MIN_CELLS = (0.0, 1.5, 4.5, 9.5)
MAX_HOLE_CELLS = (0.0, 5.5, math.inf)


def unit_of(cohort: Cohort) -> Unit:
    """`um` where every slide says how large a pixel is, else `tile`."""
    return "um" if all(tiles.mpp is not None for tiles in cohort.slides) else "tile"


def from_tiles(cohort: Cohort, size: float, *, power: int, unit: Unit) -> float:
    """A size given in tiles, in a unit, by the median pitch of the cohort; three digits.

    Args:
        cohort: whose tiles.
        size: in tile pitches (`power` 1) or cells of the lattice (`power` 2).
        power: 1 for a length, 2 for an area.
        unit: what it is wanted in.
    """
    if unit == "tile" or size == 0 or math.isinf(size):
        return size
    cell_um2 = float(np.median([_cell_um2(tiles) for tiles in cohort.slides]))
    return float(f"{size * cell_um2 ** (power / 2):.3g}")


def _cell_um2(tiles: Tiles) -> float:
    found = tiles.cell_um2
    if found is None:
        raise InputError(
            f"{tiles.slide}: sizes in µm need mpp; give it in the table or in slides.csv, or give "
            "sizes in tiles."
        )
    return found


def candidates(
    cohort: Cohort,
    *,
    normalise: Sequence[str] | None,
    smooth: Sequence[float] | None,
    min_area: Sequence[float] | None,
    max_hole: Sequence[float] | None,
    unit: Unit | None,
    connectivity: int,
) -> tuple[Steps, ...]:
    """All combinations, the simplest first; None stands for the usual candidates.

    Args:
        cohort: whose pitch turns the usual sizes into µm.
        normalise: names; None for all that these slides allow.
        smooth: σ, in `unit`.
        min_area: sizes of objects, in `unit`².
        max_hole: sizes of holes, in `unit`²; inf for all.
        unit: None for µm where all slides have mpp.
        connectivity: 4 or 8.

    Raises:
        InputError: an unknown normaliser, a size that is negative, no candidate, µm without mpp.
    """
    unit = unit or unit_of(cohort)
    if unit == "um":
        for tiles in cohort.slides:
            _cell_um2(tiles)
    if connectivity not in (4, 8):
        raise InputError(f"Connectivity is 4 or 8, not {connectivity}.")

    def usual(sizes: Sequence[float], power: int) -> tuple[float, ...]:
        return tuple(from_tiles(cohort, size, power=power, unit=unit) for size in sizes)

    names = _names(cohort, normalise)
    sigmas = _sizes("smooth", usual(SMOOTH_TILES, 1) if smooth is None else smooth)
    areas = _sizes("min_area", usual(MIN_CELLS, 2) if min_area is None else min_area)
    holes = _sizes("max_hole", usual(MAX_HOLE_CELLS, 2) if max_hole is None else max_hole)
    if math.inf in (*sigmas, *areas):
        raise InputError("Only max_hole can be endless (`all`); smooth and min_area are numbers.")
    return tuple(
        Steps(name, sigma, area, hole, unit, 4 if connectivity == 4 else 8)
        for name, sigma, area, hole in itertools.product(names, sigmas, areas, holes)
    )


def _names(cohort: Cohort, asked: Sequence[str] | None) -> list[str]:
    without = [tiles.slide for tiles in cohort.slides if tiles.reference is None]
    if asked is None:
        return [
            name for name in _simplest_first(normalisers) if not (name == "reference" and without)
        ]
    for name in asked:
        normalisers[name]  # an unknown name is told with those that exist
    if "reference" in asked and without:
        raise InputError(
            f"Normaliser 'reference' needs a column `reference` (0/1); "
            f"{counted(len(without), 'slide')} have none, the first {without[0]}."
        )
    if not asked:
        raise InputError("No normaliser is given; `none` leaves scores as they are.")
    return list(dict.fromkeys(_simplest_first(asked)))


def _simplest_first(names: Iterable[str]) -> list[str]:
    known = {name: i for i, name in enumerate(SIMPLEST_FIRST)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


def _sizes(name: str, sizes: Sequence[float]) -> list[float]:
    if not len(sizes):
        raise InputError(f"No {name} is given; 0 does without.")
    for size in sizes:
        if math.isnan(size) or size < 0:
            raise InputError(f"{name} {size}: a size is 0 or more.")
    return sorted({float(size) for size in sizes})


def described(steps: Steps) -> str:
    """Steps in a few words.

    Example:
        >>> described(Steps("z", 90.0, 2e4, math.inf))
        'z, σ 90 µm, objects ≥ 20000 µm², all holes filled'
        >>> described(Steps())
        'none'
    """
    length, area = (" µm", " µm²") if steps.unit == "um" else (" tiles", " tiles")
    words = [steps.normalise]
    if steps.smooth:
        words.append(f"σ {_short(steps.smooth)}{length}")
    if steps.min_area:
        words.append(f"objects ≥ {_short(steps.min_area)}{area}")
    if math.isinf(steps.max_hole):
        words.append("all holes filled")
    elif steps.max_hole:
        words.append(f"holes ≤ {_short(steps.max_hole)}{area}")
    return ", ".join(words)


def _short(size: float) -> str:
    return f"{size:.0f}" if size >= 1000 else f"{size:.3g}"
