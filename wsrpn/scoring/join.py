"""From the parts of all slides to the one table: streamed, so it takes the memory of one slide.

Slides stand in the order of their names, a row group each, so the bytes do not depend on who
scored which slide when.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.scoring import parts as part_files
from wsrpn.scoring.parts import Parts
from wsrpn.slides import cells, columns, facts, table
from wsrpn.tiles import Slide


def join(parts: Parts, slides: Mapping[str, Slide]) -> None:
    """Write the table, atomically; only under `Parts.joining`.

    Args:
        parts: of the table.
        slides: each with a part. Patients and splits are as they are known now: they do not
            decide a score.

    Raises:
        InputError: a part cannot be read; it is removed, so that the next run makes it again. Or
            the parts were not scored alike.
    """
    names = sorted(slides)
    schema = _schema(parts, names, slides)
    out = parts.out
    half = re.compile(rf"\.{re.escape(out.stem)}\.tmp\.\d+{re.escape(out.suffix)}")
    for left in [one for one in out.parent.iterdir() if half.fullmatch(one.name)]:
        left.unlink(missing_ok=True)
    files.write_with(out, lambda path: _write(path, parts, names, schema))
    files.sync_folder(out.parent)


def _write(path: Path, parts: Parts, names: Sequence[str], schema: pa.Schema) -> None:
    with pyarrow.parquet.ParquetWriter(path, schema, **table.PARQUET) as writer:
        for rows in _tables(parts, names):
            writer.write_table(_fitted(rows, schema), row_group_size=max(rows.num_rows, 1))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _tables(parts: Parts, names: Sequence[str]) -> Iterator[pa.Table]:
    for name in names:
        path = parts.path(name)
        found = cells.header(path)
        try:
            yield cells.read(path, found, found)
        except InputError:
            path.unlink()
            raise InputError(
                f"{path}: damaged, and removed; the same command scores this slide again."
            ) from None


def _schema(parts: Parts, names: Sequence[str], slides: Mapping[str, Slide]) -> pa.Schema:
    """All columns of all parts, fractional where one of them is, and the metadata of all."""
    kinds: dict[str, pa.DataType] = {}
    said: list[dict[str, Any]] = []
    about: bytes = b""
    for name in names:
        own = cells.parquet(parts.path(name)).schema_arrow
        for field in own:
            whole = kinds.setdefault(field.name, field.type)
            if whole != field.type:
                kinds[field.name] = pa.float64()
        texts = own.metadata
        about = about or texts[part_files.ABOUT]
        if texts[part_files.ABOUT] != about:
            raise InputError(
                f"{parts.path(name)}: scored with other weights or options than {names[0]}, as if "
                "two commands wrote the same table; give each an --out of its own, or, with --ray, "
                "say --precision."
            )
        said.append({
            fact: json.loads(texts[fact.encode()])
            for fact in columns.FACTS if fact.encode() in texts
        })  # fmt: skip
        said[-1]["wsrpn"]["slides"][name] |= {
            "patient": slides[name].patient, "split": slides[name].split,
            "exhaustive": slides[name].exhaustive,
        }  # fmt: skip
    order = [name for name in kinds if name not in table.TRUTH]
    order += [name for name in table.TRUTH if name in kinds]
    packed = facts.joined(said)
    packed["wsrpn"] = {**packed["wsrpn"], "scored": json.loads(about)}
    texts = {name: json.dumps(value, allow_nan=False) for name, value in packed.items()}
    return pa.schema([(name, kinds[name]) for name in order], metadata=texts)


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows in the columns of all, empty where a slide says nothing."""
    found = [
        rows.column(field.name).cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(found, schema=schema)
