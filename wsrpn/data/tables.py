"""Tables of text as their authors wrote them: every cell a string, every fault with file and line.

pandas guesses types, turns "NA" into a number, renames repeated columns and shifts a table whose
first row has one field too many. A data set is not the place for guesses, so the plain `csv` module
reads here.
"""

import csv
import functools
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsrpn import files
from wsrpn.errors import InputError, nearest

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Absolute on Unix or Windows, a drive letter, or a step upwards.
_LEAVES = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")
_FORMULA = re.compile(r"^'*\s*[=+\-@\t\r]")
_ESCAPED = re.compile(r"^'+\s*[=+\-@\t\r]")
csv.field_size_limit(1 << 24)  # a long report is no fault; 16 MB in one cell is


@dataclass(frozen=True)
class Row:
    """One row: the line of the file it begins on, and its cells by column."""

    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def get(self, column: str, default: str = "") -> str:
        """The cell, or `default` where the table lacks the column."""
        return self.cells.get(column, default)


@dataclass(frozen=True)
class Table:
    """A table with a header."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def where(self, row: Row) -> str:
        """`file:line`, the beginning of every sentence about a row."""
        return f"{self.path}:{row.line}"


def read(path: Path, *, required: Sequence[str] = (), delimiter: str = ",") -> Table:
    """Read a table with a header, UTF-8 (a byte-order mark is allowed), packed with gzip or not.

    Args:
        path: the file; one that ends in `.gz` is unpacked.
        required: columns that must be there.
        delimiter: what stands between cells.

    Raises:
        InputError: missing, empty or non-UTF-8 file, wrong delimiter, unclosed quote, repeated or
            missing column, a row with more or fewer cells than the header.
    """
    lines = rows(path, delimiter=delimiter)
    columns = _header(path, lines, required)
    return Table(path, columns, tuple(_rows(path, columns, lines)))


def each(path: Path, *, required: Sequence[str] = (), delimiter: str = ",") -> Iterator[Row]:
    """The rows of `read` one after the other, for tables of which little is kept.

    Raises:
        InputError: as `read`.
    """
    lines = rows(path, delimiter=delimiter)
    yield from _rows(path, _header(path, lines, required), lines)


def _header(
    path: Path, lines: Iterator[tuple[int, list[str]]], required: Sequence[str]
) -> tuple[str, ...]:
    line, header = next(lines)
    columns = tuple(name.strip() for name in header)
    _check_header(path, line, columns, required)
    return columns


def _rows(
    path: Path, columns: tuple[str, ...], lines: Iterator[tuple[int, list[str]]]
) -> Iterator[Row]:
    for line, cells in lines:
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{line}: {len(cells)} cells, but the header has {len(columns)}. "
                "Quote a cell that contains a comma or a line break."
            )
        yield Row(line, dict(zip(columns, map(_plain, cells), strict=True)))


def rows(path: Path, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank, header first.

    The bytes are read at once and become text row by row: a table of a gigabyte takes one, not six.

    Raises:
        InputError: the file cannot be read as UTF-8 CSV, or holds nothing.
    """
    data = _bytes(path)
    if not data.strip():
        raise InputError(f"{path}: the file is empty; a CSV with a header was expected.")
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True, delimiter=delimiter)
    begin = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}:{begin}: not a CSV row ({error}).") from None
        except UnicodeDecodeError:
            line = _undecodable_line(data)
            raise InputError(f"{path}:{line}: not UTF-8 text; save the table as UTF-8.") from None
        if any(cells):
            yield begin, cells
        begin = reader.line_num + 1


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a CSV was expected.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read ({reason}).") from None
    if data[:2] in _UTF16:
        raise InputError(f"{path}: the text is UTF-16; save the table as UTF-8.")
    return data


def _undecodable_line(data: bytes) -> int:
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return data[: error.start].count(b"\n") + 1
    return 1


def _check_header(path: Path, line: int, columns: tuple[str, ...], required: Sequence[str]) -> None:
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(columns) == 1 and sign in columns[0] and required:
            raise InputError(f"{path}:{line}: separated by {name}; save the table with commas.")
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise InputError(f"{path}:{line}: column '{repeated[0]}' stands twice in the header.")
    for name in required:
        if name not in columns:
            raise InputError(f"{path}:{line}: no column '{name}'. {nearest(name, columns)}")


def write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a CSV atomically; `read` gives the same cells back.

    A cell that a spreadsheet would run as a formula (=, +, -, @ at its start) gets an apostrophe in
    front, which `read` takes away; numbers stay as they are.

    Returns:
        sha256 of the file.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # so that a lone \r is quoted, too
    writer.writerow(columns)
    writer.writerows([_escaped(cell) for cell in cells] for cells in lines)
    return files.write(path, text.getvalue().encode("utf-8"))


def _escaped(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) and not _is_number(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and _ESCAPED.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()


def inside(root: Path, relative: str, *, where: str) -> Path:
    """The path of a file that a table names, made sure to lie below the table's folder.

    Args:
        root: folder that nothing may leave.
        relative: path as the table writes it, with `/`.
        where: `file:line`, for the error.

    Raises:
        InputError: an empty or absolute path, `..`, a NUL byte, or a link that leads outside.
    """
    if not relative or "\0" in relative:
        raise InputError(f"{where}: the path {relative!r} is not a file name.")
    if _LEAVES.search(relative):
        raise InputError(
            f"{where}: '{relative}' leaves the folder {root}; paths are relative to it."
        )
    path = root / relative
    if not _stays(path, root):
        raise InputError(f"{where}: '{relative}' is a link out of {root}; copy the file into it.")
    return path


def _stays(path: Path, root: Path) -> bool:
    folder, name = os.path.split(path)
    real, below = _resolved(folder, str(root))
    file = f"{real}/{name}"
    if os.path.islink(file):  # noqa: PTH114 - a Path per image would take most of the time
        return Path(file).resolve().is_relative_to(root.resolve())
    return below


@functools.lru_cache(maxsize=4096)  # images are many and their folders few
def _resolved(folder: str, root: str) -> tuple[str, bool]:
    """Where a folder really is, and whether that is inside the root."""
    real = Path(folder).resolve()
    return str(real), real.is_relative_to(Path(root).resolve())
