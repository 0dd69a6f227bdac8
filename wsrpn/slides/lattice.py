"""The lattice under the corners of tiles, found from the corners alone.

Tables give corners as whole pixels even where the pitch is not whole: 374.68 px of slide for a cell
of a heatmap, or 96 px of a level whose downsample is 4.0001. So a pitch is looked for under which
every corner is at most half a rounding step, and a little slack, away from its place; the largest
such pitch is the lattice. Columns and rows may be missing, and tiles may overlap.
"""

import numpy as np
from jaxtyping import Int, Num

from wsrpn.errors import InputError
from wsrpn.slides import lines
from wsrpn.slides.lines import Axis
from wsrpn.tiles import Lattice

FURTHEST_PX0 = 1e9  # of a corner from the origin; the largest slides have some 1e6 px
MOST_CELLS = 4_000_000  # of a lattice with few tiles; what the largest slides have
MOST_CELLS_A_TILE = 200  # tissue is seldom less than a hundredth of a slide
FEW = 8  # so many places show that a step above the tile is meant, and not left out by chance


class OffLattice(InputError):
    """Tiles that share no lattice.

    Attributes:
        tile: number of the first that is off, or None where it is not one tile's fault.
    """

    def __init__(self, sentence: str, tile: int | None) -> None:
        super().__init__(sentence)
        self.tile = tile


class Scattered(OffLattice):
    """Tiles so far apart that their lattice would be almost empty."""


def fit(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], size_px0: tuple[float, float]
) -> Lattice:
    """Find the lattice of tiles.

    The origin is at the first column and row. An axis with one place takes the pitch of the other
    axis, and a single tile its own size. Places that are further apart than a tile and at most
    seven are taken for a lattice with gaps.

    Args:
        x: left edges of the tiles, in full-size pixels.
        y: top edges.
        size_px0: width and height of a tile.

    Raises:
        OffLattice: no tile, tiles that share no lattice, two tiles in one place.
        Scattered: a lattice of more than `MOST_CELLS` cells and `MOST_CELLS_A_TILE` for each tile.

    Example:
        >>> x, y = np.array([0, 375, 1124]), np.array([10, 10, 10])
        >>> found = fit(x, y, (374.7, 374.7))
        >>> found.column.tolist(), found.shape, round(found.pitch_px0[0])
        ([0, 1, 3], (1, 4), 375)
    """
    _refuse_odd(x, y, size_px0)
    axes = (Axis.of(x, size_px0[0]), Axis.of(y, size_px0[1]))
    _refuse_far(x, y, axes)
    pitches = [axis.pitch() for axis in axes]
    _refuse_off(axes, [pitch is not None for pitch in pitches])
    steps = _shared(axes, pitches)
    across, down = (axis.line(step) for axis, step in zip(axes, steps, strict=True))
    column, row = across.index[axes[0].place], down.index[axes[1].place]
    found = _lattice(x, y, (across.origin, down.origin), (across.pitch, down.pitch), column, row)
    _refuse_scattered(axes, (column, row), steps)
    return found


def step(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], size_px0: tuple[float, float]
) -> tuple[float, float]:
    """The commonest distances of tiles that follow each other in a row and in a column.

    Args:
        x: left edges of the tiles, in full-size pixels.
        y: top edges.
        size_px0: width and height of a tile, which stand where no two tiles are neighbours.
    """
    axes = (Axis.of(x, size_px0[0]), Axis.of(y, size_px0[1]))
    apart = [lines.gaps(one, other.place) for one, other in ((x, axes[1]), (y, axes[0]))]
    wide, high = (lines.usual(gaps, axis)[0] for gaps, axis in zip(apart, axes, strict=True))
    return wide, high


def given(
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    origin_px0: tuple[float, float],
    pitch_px0: tuple[float, float],
) -> Lattice:
    """The lattice that a table names, with its tiles put on it.

    Args:
        x: left edges of the tiles, in full-size pixels.
        y: top edges.
        origin_px0: corner of column 0 and row 0.
        pitch_px0: steps in x and y.

    Raises:
        OffLattice: a tile that is not on it, or two in one place.
    """
    _refuse_odd(x, y, pitch_px0)
    cells = [
        np.round((edges - origin) / pitch).astype(np.int64)
        for edges, origin, pitch in zip((x, y), origin_px0, pitch_px0, strict=True)
    ]
    for edges, index, origin, pitch in zip((x, y), cells, origin_px0, pitch_px0, strict=True):
        away = np.abs(edges - origin - index * pitch)
        off = (away > 0.5 + min(lines.SLACK_PX0, lines.SLACK_SHARE * pitch)) | (index < 0)
        if off.any():
            tile = int(np.argmax(off))
            raise OffLattice(
                f"the tile at x {x[tile]:g}, y {y[tile]:g} is not on the lattice that the table "
                f"names (origin {origin:g}, pitch {pitch:g} px)",
                tile,
            )
    return _lattice(x, y, origin_px0, pitch_px0, *cells)


def _lattice(
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    origin_px0: tuple[float, float],
    pitch_px0: tuple[float, float],
    column: Int[np.ndarray, " n"],
    row: Int[np.ndarray, " n"],
) -> Lattice:
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    _refuse_empty(x, y, shape)
    _refuse_twice(x, y, column, row, shape)
    return Lattice(origin_px0, pitch_px0, column, row, shape)


def _refuse_far(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], axes: tuple[Axis, Axis]
) -> None:
    """Stop before any scan, which may take minutes, where the lattice is almost empty for sure."""
    least = [max(float(np.diff(axis.places).min(initial=axis.size)), axis.grain) for axis in axes]
    most = [axis.span / gap + 1 for axis, gap in zip(axes, least, strict=True)]
    if most[0] * most[1] <= max(MOST_CELLS, MOST_CELLS_A_TILE * len(x)):
        return  # not even at the smallest distance; the sorting below takes time
    corner = [axis.places[axis.place] for axis in axes]
    wide, high = (
        lines.at_least(lines.gaps(corner[one], axes[1 - one].place), axes[one]) for one in (0, 1)
    )
    _refuse_empty(x, y, (high, wide))


def _refuse_empty(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], shape: tuple[int, int]
) -> None:
    """Stop where a tile or a few make a lattice so large that maps of it would fill the memory."""
    if shape[0] * shape[1] <= max(MOST_CELLS, MOST_CELLS_A_TILE * len(x)):
        return
    away = np.maximum(np.abs(x - np.median(x)), np.abs(y - np.median(y)))
    tile = int(np.argmax(away))
    raise Scattered(
        f"the tile at x {x[tile]:.10g}, y {y[tile]:.10g} lies too far away, {away[tile]:.10g} px "
        f"from the middle of the others: a lattice of {shape[1]} × {shape[0]} cells for {len(x)} "
        "tiles; correct its place or leave it out",
        tile,
    )


def _refuse_odd(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], size_px0: tuple[float, float]
) -> None:
    if len(x) == 0:
        raise OffLattice("no tile at all", None)
    if not all(0 < side < FURTHEST_PX0 for side in size_px0):
        raise OffLattice(f"tiles of {size_px0[0]:g} × {size_px0[1]:g} px are none", None)
    far = ~((np.abs(x) < FURTHEST_PX0) & (np.abs(y) < FURTHEST_PX0))
    if far.any():
        tile = int(np.argmax(far))
        raise OffLattice(f"x {x[tile]:g}, y {y[tile]:g} is no place on a slide", tile)


def _shared(axes: tuple[Axis, Axis], pitches: list[float | None]) -> list[float]:
    """Pitches of both axes where each has told what it knows."""
    known = [float(pitch or 0.0) for pitch in pitches]
    firm = [len(axis.places) >= FEW for axis in axes]
    steps = []
    for one, axis in enumerate(axes):
        scaled = known[1 - one] * axis.size / axes[1 - one].size
        if scaled and firm[1 - one] and not firm[one] and axis.fits(scaled):
            steps.append(scaled)  # few places, and the other axis knows better
        elif known[one]:
            parts = 1 if firm[one] else _parts(known[one], axis)
            steps.append(known[one] / parts)
        else:
            steps.append(axis.size)
    for one, axis in enumerate(axes):
        if not known[one] and known[1 - one] and steps[one] == axis.size:
            steps[one] = steps[1 - one] * axis.size / axes[1 - one].size
    return steps


def _parts(pitch: float, axis: Axis) -> int:
    """How many tiles have room in a pitch: few places may have others between them."""
    rounding = min((axis.grain + 2 * axis.slack) / axis.size, 0.1)
    return max(int(pitch / axis.size + rounding), 1)


def _refuse_off(axes: tuple[Axis, Axis], found: list[bool]) -> None:
    for one, fine in enumerate(found):
        if not fine:
            raise _culprit(axes, one)


def _refuse_twice(
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    column: Int[np.ndarray, " n"],
    row: Int[np.ndarray, " n"],
    shape: tuple[int, int],
) -> None:
    key = row * shape[1] + column
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(key[order][1:] == key[order][:-1]) + 1
    if len(again):
        second = int(order[again].min())
        first = int(np.flatnonzero(key == key[second])[0])
        raise OffLattice(
            f"the tile at x {x[second]:g}, y {y[second]:g} has the place of the one at "
            f"x {x[first]:g}, y {y[first]:g}; keep one of them",
            second,
        )


def _refuse_scattered(
    axes: tuple[Axis, Axis],
    cells: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]],
    steps: list[float],
) -> None:
    """Where tiles overlap, the commonest distance of neighbours is one step.

    Any two lattices side by side have a finer one in common; taken for theirs it would leave every
    tile alone. There the commonest distance is several steps.
    """
    for one, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        if step >= 0.95 * axis.size:
            continue
        apart = lines.gaps(cells[one], cells[1 - one])
        near = np.bincount(apart[apart <= 2 * lines.MOST_OVERLAP], minlength=2)
        usual = int(near.argmax())
        several = len(np.unique(cells[one] % max(usual, 1))) > 1
        if several and near[usual] >= max(4, 4 * near[1], 0.4 * len(apart)):
            raise _culprit(axes, one)


def _culprit(axes: tuple[Axis, Axis], one: int) -> OffLattice:
    """The first tile that is off the lattice of most tiles along one axis."""
    doubt = axes[one].grain + 2 * axes[one].slack
    corner = [axis.places[axis.place] for axis in axes]
    edges = corner[one]
    guess, spread = lines.usual(lines.gaps(edges, axes[1 - one].place), axes[one])
    pitch = lines.scanned(edges, guess, spread)
    away, off = lines.apart(edges, pitch, doubt)
    for _ in range(3):  # the line of those that are on it, until nothing changes much
        on, weight = np.unique(edges[~off], return_counts=True)
        pitch = lines.straight(on, weight, pitch, doubt).pitch if len(on) > 1 else pitch
        away, off = lines.apart(edges, pitch, doubt)
    tile = int(np.argmax(off)) if off.any() else int(np.argmax(away))
    return OffLattice(
        f"the tile at x {corner[0][tile]:.10g}, y {corner[1][tile]:.10g} is {away[tile]:.3g} px "
        f"off in {'xy'[one]} from the lattice of most tiles (pitch {pitch:.6g} px; "
        f"{max(int(off.sum()), 1)} of {len(edges)} tiles are off)",
        tile,
    )
