"""The cells of CSV and Parquet files as they stand there; every fault with file and line."""

import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from wsrpn.errors import InputError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def is_csv(path: Path) -> bool:
    """Whether the name says CSV, packed with gzip or not."""
    return path.name.lower().endswith(CSV)


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet."""
    return path.suffix.lower() in PARQUET


def header(path: Path) -> tuple[str, ...]:
    """The names of the columns; nothing else is read.

    Raises:
        InputError: no such file, or it cannot be read as what its name says.
    """
    if is_parquet(path):
        return tuple(parquet(path).schema_arrow.names)
    for _, cells in _rows(path):
        return tuple(cell.strip() for cell in cells)
    raise InputError(f"{path}: the table is empty; a header and one row a tile were expected.")


def read(path: Path, found: Sequence[str], names: Sequence[str]) -> pa.Table:
    """Columns of a file, those of a CSV as text.

    Args:
        path: CSV (UTF-8, commas, packed with gzip or not) or Parquet.
        found: its header.
        names: columns to read.

    Raises:
        InputError: it cannot be read, or has a header only.
    """
    try:
        cells = parquet(path).read(columns=list(names)) if is_parquet(path) else _csv(path, found)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, zlib.error) as error:
        raise InputError(_reason(path, error, len(found))) from None
    if cells.num_rows == 0:
        raise InputError(f"{path}: the table has a header and no row; one row a tile is expected.")
    return cells


def metadata(path: Path) -> Mapping[str, bytes]:
    """What a Parquet file says beside its columns."""
    found = parquet(path).schema_arrow.metadata or {}
    return {key.decode("utf-8", "replace"): value for key, value in found.items()}


def parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    """An opened Parquet file.

    Raises:
        InputError: there is none, or it is none.
    """
    try:
        return pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a score table was expected.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as Parquet ({_words(error)}).") from None


def _csv(path: Path, found: Sequence[str]) -> pa.Table:
    """All cells as text."""
    with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
        cells = pyarrow.csv.read_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(column_names=list(found)),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(found, pa.string()), strings_can_be_null=False
            ),
        )
    return cells.slice(1)  # the header is the first row that is not blank


def _reason(path: Path, error: Exception, width: int) -> str:
    """Why a table cannot be read, with the line if one is to blame."""
    if is_parquet(path):
        return f"{path}: not readable as Parquet ({_words(error)}); write it again."
    for line, cells in _rows(path):
        if len(cells) != width:
            return (
                f"{path}:{line}: {len(cells)} cells, but the header has {width}. Quote a cell "
                f"that contains a comma."
            )
    return f"{path}: not readable as CSV ({_words(error)})."


def _words(error: Exception) -> str:
    """What a library says, on one line."""
    return " ".join(str(error).split())


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank, header first."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start in _UTF16:
            raise InputError(f"{path}: the text is UTF-16; save the table as UTF-8.")
        opened = gzip.open if start == b"\x1f\x8b" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a score table was expected.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save the table as UTF-8.") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({_words(error)}).") from None


def line(path: Path, number: int) -> int:
    """The line of the row with this number, the header having 0."""
    for line, _ in itertools.islice(_rows(path), number, None):
        return line
    return number + 1
