"""A table of tiles as columns: CSV or Parquet, every fault with its file, row and column.

pyarrow reads both; a CSV is read as text and turned into numbers here, so that a cell that is no
number is named and not guessed at.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from wsrpn import files
from wsrpn.errors import InputError, nearest
from wsrpn.slides import cells as stored

FACTS = ("mpp", "slide_width", "slide_height", "label_rule", "wsrpn")  # known metadata
OTHER_NAMES = {
    "wsi_id": "slide",
    "slide_id": "slide",
    "tumor_frac": "truth",
    "tumour_frac": "truth",
    "tissue_frac": "tissue",
}
_BLANK = ("", "nan", "na", "n/a", "null", "none")


@dataclass(frozen=True)
class Columns:
    """Columns of a table, by the names of this project, and what its metadata say.

    Attributes:
        path: the file.
        names: name here → name in the file.
        cells: the columns as read, under their names in the file.
        facts: metadata: `mpp`, `slide_width`, `slide_height`, `label_rule`, `wsrpn`.
        notes: what was found beside the table and not used.
    """

    path: Path
    names: Mapping[str, str]
    cells: pa.Table
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.cells.num_rows)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def where(self, row: int) -> str:
        """`file:line` of a CSV, `file: row N` (from 1) of a Parquet file."""
        if stored.is_csv(self.path):
            return f"{self.path}:{stored.line(self.path, row + 1)}"
        return f"{self.path}: row {row + 1}"

    def numbers(
        self, name: str, *, blank: bool = False, yes_no: bool = False
    ) -> Float[np.ndarray, " n"]:
        """A column as finite numbers.

        Args:
            name: of the column.
            blank: cells may be blank, which gives nan.
            yes_no: the texts true and false are 1 and 0.

        Raises:
            InputError: a cell that is no finite number, or blank.
        """
        column = self._column(name)
        values = _floats(_as_digits(column) if yes_no else column)
        if values is None:
            row, cell = self._first_odd(name)
            raise InputError(
                f"{self.where(row)}: {self.names[name]} {cell!r} is no number; write numbers "
                f"with a point and without units."
            )
        wrong = np.isinf(values) if blank else ~np.isfinite(values)
        if wrong.any():
            row = int(np.argmax(wrong))
            said = "is blank or not finite" if np.isnan(values[row]) else "is infinite"
            raise InputError(
                f"{self.where(row)}: {self.names[name]} {said}; give every tile a finite number "
                f"or leave the row out."
            )
        return values

    def texts(self, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """A column as codes and the different texts they stand for; blank cells are ''."""
        column = self._column(name)
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        coded = pc.utf8_trim_whitespace(column.fill_null("")).combine_chunks().dictionary_encode()
        return coded.indices.to_numpy(zero_copy_only=False), tuple(coded.dictionary.to_pylist())

    def _column(self, name: str) -> pa.ChunkedArray:
        column = self.cells.column(self.names[name])
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            raise InputError(
                f"{self.path}: column '{self.names[name]}' holds {column.type}; one number or "
                f"text a row is expected."
            )
        return column

    def _first_odd(self, name: str) -> tuple[int, str]:
        for row, cell in enumerate(self._column(name).to_pylist()):
            if not _is_number(str(cell)):
                return row, str(cell)
        return 0, ""


def _floats(column: pa.ChunkedArray) -> Float[np.ndarray, " n"] | None:
    """Numbers with nan for blank cells, or None where a cell is no number."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        low = pc.utf8_lower(column)
        column = pc.if_else(pc.is_in(low, pa.array(_BLANK, column.type)), None, column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        cells = column.to_pylist()
        if not all(cell is None or _is_number(str(cell)) for cell in cells):
            return None
        numbers = pa.chunked_array([[None if cell is None else float(cell) for cell in cells]])
    return np.array(numbers.fill_null(np.nan).to_numpy(), dtype=np.float64)


def _as_digits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts with true and false as 1 and 0; other columns as they are."""
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return column
    low = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    return pc.if_else(pc.equal(low, "true"), "1", pc.if_else(pc.equal(low, "false"), "0", column))


def _is_number(cell: str) -> bool:
    if cell.strip().lower() in _BLANK:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000 as a number; nobody else does


def read(path: Path, *, wanted: Sequence[str], required: Sequence[str]) -> Columns:
    """Read columns of a table.

    Args:
        path: CSV (UTF-8, commas, packed with gzip or not) or Parquet.
        wanted: columns to read where they are there, by the names of this project.
        required: columns that must be there.

    Raises:
        InputError: with file, line and column, for everything that cannot be read.
    """
    found = stored.header(path)
    names = _named(path, found, wanted, required)
    facts, notes = _facts(path)
    cells = stored.read(path, found, sorted(set(names.values())))
    return Columns(path, names, cells, facts, notes)


def _named(
    path: Path, found: Sequence[str], wanted: Sequence[str], required: Sequence[str]
) -> dict[str, str]:
    """Name here → name in the file."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(found) == 1 and sign in found[0]:
            raise InputError(f"{path}:1: separated by {name}; save the table with commas.")
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column '{twice[0]}' stands twice in the header; rename one.")
    names = {name: name for name in found if name in wanted}
    for other, name in OTHER_NAMES.items():
        if other in found and name in wanted:
            names.setdefault(name, other)
    for name in required:
        if name not in names:
            raise InputError(f"{path}: no column '{name}'. {nearest(name, found)}")
    return names


def sidecar(path: Path) -> Path:
    """Where the metadata of a CSV lie: `NAME.json` beside `NAME.csv` or `NAME.csv.gz`."""
    return path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.csv')}.json")


def _facts(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Known metadata, and a note on what lies in their place without being any."""
    if stored.is_parquet(path):
        texts = stored.metadata(path)
        return {name: _json(path, name, texts[name]) for name in FACTS if name in texts}, ()
    beside = sidecar(path)
    if not beside.is_file():
        return {}, ()
    found = files.read_json(beside, what="metadata of a score table")
    if not isinstance(found, dict) or not set(found) & set(FACTS):
        return {}, (f"{beside.name} beside {path.name} holds none of {', '.join(FACTS)}.",)
    return {name: found[name] for name in FACTS if name in found}, ()


def _json(path: Path, name: str, value: bytes) -> Any:
    """A value of Parquet's metadata: JSON, or the text as it stands."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: metadata '{name}' is not UTF-8 text.") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
