"""The project's own score table: its rows, slide by slide (the format is in `table`)."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from wsrpn.errors import InputError, nearest
from wsrpn.slides import cells, columns
from wsrpn.slides import facts as facts_of
from wsrpn.slides.assemble import Found, Rows
from wsrpn.slides.columns import Columns

PLACES = ("slide", "x", "y", "width", "height")
TRUTH = ("label", "truth", "tissue", "reference")


def is_own(path: Path) -> bool:
    """Whether a file is such a table, by its name and header.

    A broken Parquet file is taken for one; so is a table that lacks a column or has the wrong
    delimiter, because `read` says what is wrong with it. Detections have a column `image`, and
    tile sets `image` or `sheet`.
    """
    if not (cells.is_csv(path) or cells.is_parquet(path)):
        return False
    try:
        found = cells.header(path)
    except InputError:
        return cells.is_parquet(path)
    found = tuple(re.split(r"[;\t|]", found[0])) if len(found) == 1 else found
    names = {columns.OTHER_NAMES.get(name, name) for name in found}
    return names >= {"slide", "x", "y"} and not names & {"image", "sheet"}


def read(path: Path, score: str) -> Found:
    """The rows of a table.

    Args:
        path: CSV, CSV.gz or Parquet.
        score: the column with the scores.

    Raises:
        InputError: with file, row and column.
    """
    found = cells.header(path)
    if score not in found and set(PLACES) <= {columns.OTHER_NAMES.get(n, n) for n in found}:
        like = [name for name in found if "score" in name] or list(found)
        raise InputError(f"{path}: no column '{score}' with scores. {nearest(score, like)}")
    wanted = (*PLACES, score, *TRUTH, *facts_of.NUMBERS, *facts_of.TEXTS)
    table = columns.read(path, wanted=wanted, required=(*PLACES, score))
    rows = tuple(_rows(table, score))
    return Found(rows, score, len(table), facts_of.rule(table), table.notes)


def _rows(table: Columns, score: str) -> Iterator[Rows]:
    """The rows of each slide, in order of first rows."""
    codes, names = table.texts("slide")
    if "" in names:
        row = int(np.argmax(codes == names.index("")))
        raise InputError(f"{table.where(row)}: no name of a slide; every tile needs one.")
    values: dict[str, Any] = {name: table.numbers(name) for name in PLACES[1:]}
    values["score"] = table.numbers(score)
    shares = {name: _shares(table, name) for name in TRUTH if name in table}
    facts = facts_of.of_slides(table, codes, names)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for code, name in enumerate(names):
        rows = order[ends[code] : ends[code + 1]]
        truth: dict[str, Any] = {part: whole[rows] for part, whole in shares.items()}
        if "reference" in truth:
            said = truth["reference"]
            truth["reference"] = None if np.all(np.isnan(said)) else said == 1
        yield Rows(
            slide=name,
            where=partial(_where, table, rows),
            facts=facts[code],
            **{part: whole[rows] for part, whole in values.items()},
            **truth,
        )


def _where(table: Columns, rows: Int[np.ndarray, " n"], row: int) -> str:
    return table.where(int(rows[row]))


def _shares(table: Columns, name: str) -> Float[np.ndarray, " n"]:
    """Labels and references are 0, 1 or blank; shares lie between 0 and 1 or are blank."""
    whole = name in ("label", "reference")
    values = table.numbers(name, blank=True, yes_no=whole)
    right = (values == 0) | (values == 1) | np.isnan(values)
    if not whole:
        right |= (values > 0) & (values < 1)
    if not right.all():
        row = int(np.argmin(right))
        way = "0, 1 or nothing" if whole else "a share between 0 and 1, or nothing"
        raise InputError(
            f"{table.where(row)}: {table.names[name]} {values[row]:g} is unknown; write {way}."
        )
    return values
