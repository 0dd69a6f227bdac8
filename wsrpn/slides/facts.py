"""What a score table says of whole slides, in columns or in its metadata."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from wsrpn.errors import InputError
from wsrpn.slides.columns import Columns
from wsrpn.tiles import AS_GIVEN, Cohort, Tiles
from wsrpn.types import SPLITS

SCHEMA = 1
NUMBERS, TEXTS = ("mpp", "slide_width", "slide_height"), ("patient", "split")
MPP_UM = (0.01, 100.0)  # from a tenth of what light resolves to a whole slide in 500 pixels
Grid = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Facts:
    """What a file says of a whole slide; None where it says nothing.

    Attributes:
        mpp: micrometres per full-size pixel.
        extent_px0: width and height of the slide.
        patient: whose it is.
        split: train, val or test.
        exhaustive: False where tumour is known to be missing from the truth.
        grid: origin and pitch of the lattice.
    """

    mpp: float | None = None
    extent_px0: tuple[int, int] | None = None
    patient: str | None = None
    split: str | None = None
    exhaustive: bool = True
    grid: Grid | None = None


def of_slides(table: Columns, codes: Int[np.ndarray, " n"], names: Sequence[str]) -> list[Facts]:
    """What a table says of each slide; columns hold before metadata.

    Args:
        table: with `mpp`, `slide_width`, `slide_height`, `patient`, `split`, or metadata.
        codes: of every row, the number of its slide.
        names: of the slides.

    Raises:
        InputError: two rows of a slide that say different things, a size that is not above 0, an
            unknown split, damaged metadata.
    """
    own = _own(table)
    said: dict[str, list[Any]] = {name: [None] * len(names) for name in (*NUMBERS, *TEXTS)}
    for column in NUMBERS:
        said[column] = [_global(table, column, name) for name in names]
    for column in (*NUMBERS, *TEXTS):
        if column in table:
            said[column] = [
                other if value is None else value
                for value, other in zip(
                    _constant(table, column, codes, names), said[column], strict=True
                )
            ]
    return [
        _facts(table, name, {key: values[code] for key, values in said.items()}, own.get(name, {}))
        for code, name in enumerate(names)
    ]


def rule(table: Columns) -> str:
    """The label rule that the metadata name."""
    return str(table.facts.get("label_rule", AS_GIVEN))


def packed(cohort: Cohort) -> dict[str, Any]:
    """Metadata from which `of_slides` makes the same facts."""
    return joined(
        {
            "label_rule": cohort.rule,
            "mpp": one.mpp,
            "slide_width": _side(one, 0),
            "slide_height": _side(one, 1),
            "wsrpn": {"slides": {one.slide: _own_facts(one)}},
        }
        for one in cohort.slides
    )


def joined(slides: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Metadata of a table from those of the tables of its slides, one slide each.

    What all slides have in common stands there once, as a number.

    Args:
        slides: `label_rule`, `mpp`, `slide_width`, `slide_height` where they are known, and under
            `wsrpn` the one slide with what has no metadata of its own.
    """
    rule: dict[str, Any] = {}
    each: dict[str, dict[str, Any]] = {name: {} for name in NUMBERS}
    own: dict[str, Any] = {}
    for facts in slides:
        rule = rule or {"label_rule": facts["label_rule"]}
        ((name, told),) = facts["wsrpn"]["slides"].items()
        own[name] = told
        for column, values in each.items():
            values[name] = facts.get(column)
    found = {}
    for column, values in each.items():
        different = set(values.values())
        if different != {None}:
            found[column] = different.pop() if len(different) == 1 else values
    return {**rule, **found, "wsrpn": {"schema": SCHEMA, "slides": own}}


def _side(tiles: Tiles, one: int) -> int | None:
    return None if tiles.extent_px0 is None else tiles.extent_px0[one]


def _own_facts(tiles: Tiles) -> dict[str, Any]:
    """What has no metadata of its own."""
    return {
        "patient": tiles.patient,
        "split": tiles.split,
        "exhaustive": tiles.exhaustive,
        "origin_px0": list(tiles.lattice.origin_px0),
        "pitch_px0": list(tiles.lattice.pitch_px0),
    }


def _own(table: Columns) -> dict[str, dict[str, Any]]:
    """Slide → what `packed` wrote."""
    whole = table.facts.get("wsrpn", {})
    slides = whole.get("slides", {}) if isinstance(whole, dict) else None
    if not isinstance(slides, dict) or not all(isinstance(one, dict) for one in slides.values()):
        raise InputError(f"{table.path}: metadata 'wsrpn' is damaged; leave it out.")
    return slides


def _global(table: Columns, column: str, name: str) -> float | None:
    """Metadata: a number for all slides, or slide → number."""
    value = table.facts.get(column)
    value = value.get(name) if isinstance(value, dict) else value
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{table.path}: metadata '{column}' is {value!r}; give a number, or slide → number."
        ) from None


def _constant(
    table: Columns, column: str, codes: Int[np.ndarray, " n"], names: Sequence[str]
) -> list[Any]:
    """The one value of each slide; blank cells say nothing."""
    texts: tuple[str, ...] = ()
    if column in TEXTS:
        numbers, texts = table.texts(column)
        values = np.where(np.array([text == "" for text in texts])[numbers], np.nan, numbers)
    else:
        values = table.numbers(column, blank=True)
    known = np.flatnonzero(~np.isnan(values))
    first = np.full(len(names), np.nan)
    first[codes[known][::-1]] = values[known][::-1]  # the last written stands, so the first row
    other = known[values[known] != first[codes[known]]]
    if len(other):
        row = int(other[0])
        raise InputError(
            f"{table.where(row)}: {table.names[column]} differs from other rows of slide "
            f"'{names[codes[row]]}'; a slide has one."
        )
    as_text = [None if math.isnan(v) else (texts[int(v)] if texts else float(v)) for v in first]
    return list(as_text)


def _facts(table: Columns, name: str, said: Mapping[str, Any], own: Mapping[str, Any]) -> Facts:
    sides = said["slide_width"], said["slide_height"]
    for column, value in zip(NUMBERS, (said["mpp"], *sides), strict=True):
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{table.path}: {column} {value:g} of slide '{name}' is not above 0.")
    mpp = said["mpp"]
    if mpp is not None and not MPP_UM[0] <= mpp <= MPP_UM[1]:
        raise InputError(
            f"{table.path}: mpp {mpp:g} of slide '{name}' is no resolution of a slide; give "
            f"micrometres per pixel, {MPP_UM[0]:g} to {MPP_UM[1]:g}."
        )
    split = said["split"] or own.get("split")
    if split not in (None, *SPLITS):
        raise InputError(
            f"{table.path}: split '{split}' of slide '{name}' is unknown; use train, val or test."
        )
    return Facts(
        mpp=mpp,
        extent_px0=None if None in sides else (round(sides[0]), round(sides[1])),
        patient=said["patient"] or own.get("patient"),
        split=split,
        exhaustive=own.get("exhaustive", True) is not False,
        grid=_grid(table, name, own),
    )


def _grid(table: Columns, name: str, own: Mapping[str, Any]) -> Grid | None:
    if "origin_px0" not in own and "pitch_px0" not in own:
        return None
    try:
        (left, top), (across, down) = own["origin_px0"], own["pitch_px0"]
        origin, pitch = (float(left), float(top)), (float(across), float(down))
    except (KeyError, TypeError, ValueError, OverflowError):
        origin, pitch = (math.nan, math.nan), (0.0, 0.0)
    if not (min(pitch) > 0 and all(math.isfinite(value) for value in (*origin, *pitch))):
        raise InputError(
            f"{table.path}: metadata name no lattice for slide '{name}'; leave out 'wsrpn'."
        )
    return origin, pitch
