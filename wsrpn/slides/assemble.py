"""From the rows of a slide to its tiles, whatever file the rows come from."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.errors import InputError, counted
from wsrpn.slides import lattice
from wsrpn.slides.facts import Facts
from wsrpn.slides.lattice import OffLattice
from wsrpn.tiles import AS_GIVEN, Cohort, Slide, Tiles

_LONGEST = 200  # characters of another library's words


@dataclass(frozen=True)
class Rows:
    """The rows of one slide.

    Attributes:
        slide: its name.
        x: left edges of the tiles in full-size pixels.
        y: top edges.
        width: of every tile.
        height: of every tile.
        score: finite.
        where: names a row for a sentence.
        label: 1, 0 or nan.
        truth: share that is tumour, or nan.
        tissue: share that is tissue, or nan.
        reference: tiles of reference tissue, or None.
        facts: of the whole slide.
        notes: what the reader did.
    """

    slide: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    width: Float[np.ndarray, " n"]
    height: Float[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    where: Callable[[int], str]
    label: Float[np.ndarray, " n"] | None = None
    truth: Float[np.ndarray, " n"] | None = None
    tissue: Float[np.ndarray, " n"] | None = None
    reference: Bool[np.ndarray, " n"] | None = None
    facts: Facts = field(default_factory=Facts)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What one file holds.

    Attributes:
        rows: slide by slide.
        score: the column or array that the scores come from.
        tiles: number of rows.
        rule: how tiles got their labels.
        notes: what the user should know.
    """

    rows: tuple[Rows, ...]
    score: str
    tiles: int
    rule: str = AS_GIVEN
    notes: tuple[str, ...] = ()


def cohort(
    rows: Iterable[Rows],
    *,
    name: str,
    score: str,
    slides: Mapping[str, Slide] | None,
    rule: str = AS_GIVEN,
    notes: Iterable[str] = (),
    failed: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Cohort:
    """Put slides together; one that has a fault is listed, and the rest goes on.

    Args:
        rows: of the slides.
        name: of the file or folder.
        score: the column that the scores come from.
        slides: what a table of slides says; it holds where it and the file differ.
        rule: how tiles got their labels.
        notes: what the user should know so far.
        failed: slide → reason, of those that could not be read at all.
        provenance: where the rows come from.

    Raises:
        InputError: no slide is left.
    """
    good: list[Tiles] = []
    bad = dict(failed or {})
    conflicts: dict[str, list[str]] = {}
    said = list(notes)
    for one in rows:
        try:
            facts = _agreed(one, (slides or {}).get(one.slide), conflicts)
            good.append(tiles(dataclasses.replace(one, facts=facts)))
        except Exception as error:  # one slide's rows must not end the cohort
            bad[one.slide] = reason(error, f"{name}: slide '{one.slide}'")
        said += one.notes
    if not good:
        why = next(iter(bad.values()), f"{name}: no slide at all.")
        more = f" All {counted(len(bad), 'slide')} failed." if len(bad) > 1 else ""
        raise InputError(f"{why}{more}")
    said += [_conflict(fact, found) for fact, found in conflicts.items()]
    return Cohort(name, tuple(good), score, rule, tuple(said), bad, dict(provenance or {}))


def reason(error: Exception, what: str) -> str:
    """Why a slide failed, in one sentence.

    Args:
        error: that its file gave rise to; libraries have kinds of their own for damaged files.
        what: could not be read, where the error is no `InputError` that says so.

    Example:
        >>> reason(MemoryError(), "a.geojson")
        'a.geojson cannot be read (more memory needed than there is).'
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{what} cannot be read (more memory needed than there is)."
    said = " ".join(str(error).split())[:_LONGEST].rstrip(".")
    return f"{what} cannot be read ({type(error).__name__}{': ' * bool(said)}{said})."


def tiles(rows: Rows) -> Tiles:
    """Put the rows of one slide on their lattice.

    Raises:
        InputError: tiles of several sizes, off the lattice, twice in one place, or outside the
            slide.
    """
    size = _size(rows)
    try:
        if rows.facts.grid is None:
            grid = lattice.fit(rows.x, rows.y, size)
        else:
            grid = lattice.given(rows.x, rows.y, *rows.facts.grid)
    except OffLattice as error:
        begin = "" if error.tile is None else f"{rows.where(error.tile)}: "
        raise InputError(f"{begin}{error}.") from None
    _refuse_outside(rows, size)
    unknown = np.full(len(rows.x), np.nan)
    tissue = np.ones(len(rows.x)) if rows.tissue is None else rows.tissue
    return Tiles(
        slide=rows.slide,
        patient=rows.facts.patient or rows.slide,
        lattice=grid,
        size_px0=size,
        score=rows.score,
        label=unknown if rows.label is None else rows.label,
        truth=unknown if rows.truth is None else rows.truth,
        tissue=np.where(np.isnan(tissue), 1.0, tissue),
        reference=rows.reference,
        mpp=rows.facts.mpp,
        extent_px0=rows.facts.extent_px0,
        split=rows.facts.split,
        exhaustive=rows.facts.exhaustive,
    )


def _size(rows: Rows) -> tuple[float, float]:
    """The one size of a slide's tiles; it may vary by rounding."""
    sizes = []
    for name, side in (("width", rows.width), ("height", rows.height)):
        usual = float(np.median(side))
        off = (np.abs(side - usual) > max(1.0, 0.01 * usual)) | (side <= 0)
        if off.any():
            row = int(np.argmax(off))
            raise InputError(
                f"{rows.where(row)}: a tile of {name} {side[row]:g} px among tiles of "
                f"{usual:g} px ({int(off.sum())} of {len(side)}); the tiles of a slide have one "
                f"size, so leave out those cut off at its edge."
            )
        sizes.append(usual)
    return sizes[0], sizes[1]


def _refuse_outside(rows: Rows, size: tuple[float, float]) -> None:
    if rows.facts.extent_px0 is None:
        return
    wide, high = rows.facts.extent_px0
    off = (rows.x >= wide) | (rows.y >= high) | (rows.x <= -size[0]) | (rows.y <= -size[1])
    if off.any():
        row = int(np.argmax(off))
        raise InputError(
            f"{rows.where(row)}: the tile at x {rows.x[row]:g}, y {rows.y[row]:g} lies outside "
            f"the slide of {wide} × {high} px ({int(off.sum())} of {len(off)} tiles do); "
            f"coordinates are full-size pixels (level 0), x before y."
        )


def _agreed(rows: Rows, slide: Slide | None, conflicts: dict[str, list[str]]) -> Facts:
    """The facts of the table of slides before those of the score table."""
    if slide is None:
        return rows.facts
    own = slide.patient if slide.patient != slide.id else None
    better: dict[str, Any] = {
        "mpp": slide.mpp, "extent_px0": slide.extent_px0, "patient": own, "split": slide.split,
    }  # fmt: skip
    for name, value in better.items():
        said = getattr(rows.facts, name)
        if None not in (value, said) and not _same(value, said):
            conflicts.setdefault(name, []).append(f"{rows.slide}: {said} against {value}")
    known = {name: value for name, value in better.items() if value is not None}
    exhaustive = rows.facts.exhaustive and slide.exhaustive
    return dataclasses.replace(rows.facts, **known, exhaustive=exhaustive)


def _same(value: object, said: object) -> bool:
    if isinstance(value, float) and isinstance(said, float):
        return abs(value - said) <= 1e-3 * abs(value)
    return value == said


def _conflict(fact: str, found: list[str]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (
        f"{fact.removesuffix('_px0')} of {counted(len(found), 'slide')} differs between the scores "
        f"and the table of slides, which holds ({'; '.join(found[:3])}{more})."
    )
