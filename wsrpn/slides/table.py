"""Score tables: the primary input of the slide half (SPEC §3).

One row a tile: `slide` (also `wsi_id`, `slide_id`), `x, y, width, height` in full-size pixels,
`score` (higher is more abnormal); optionally `score_*`, `label` (1, 0, blank), `truth` and `tissue`
(shares), `reference` (1, 0), and of the slide `mpp`, `patient`, `split`, `slide_width`,
`slide_height`. Parquet keeps metadata itself, a CSV in `NAME.json`: `mpp`, `slide_width`,
`slide_height` (a number, or slide → number), `label_rule`, and all of it under `wsrpn`.
"""

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float

from wsrpn import files
from wsrpn.errors import InputError, counted
from wsrpn.slides import arrays, assemble, cells, columns, foreign, native
from wsrpn.slides import facts as facts_of
from wsrpn.slides.arrays import NoScores
from wsrpn.slides.assemble import Found, Rows
from wsrpn.slides.native import PLACES, TRUTH
from wsrpn.tiles import Cohort, Slide, Tiles

PARQUET: Mapping[str, Any] = {"compression": "zstd", "write_page_checksum": True}
PARTS = ".parts"  # ending of a folder with the slides of a table that is being made


def read(path: Path, *, score: str = "score", slides: Mapping[str, Slide] | None = None) -> Cohort:
    """Read a score table, a score file of another tool, or a folder of either.

    Args:
        path: Parquet, CSV, CSV.gz; WSInfer CSV, CLAM or TRIDENT h5, hs2p npz (see `foreign`); or a
            folder with such files, up to three levels deep, one a slide.
        score: the column or array with the scores; `score` also stands for the one that a file of
            another tool has.
        slides: what a table of slides says; it holds where the score table says otherwise, and a
            note names the difference.

    Returns:
        The slides in order of their first rows; `failed` lists those whose tiles sit on no lattice
        or whose file cannot be read.

    Raises:
        InputError: with file, row and column, for everything that makes a table as a whole
            unreadable, or if no slide is left.
    """
    found, failed, files_read = _found(path, score)
    return assemble.cohort(
        found.rows,
        name=str(path),
        score=found.score,
        slides=slides,
        rule=found.rule,
        notes=found.notes,
        failed=failed,
        provenance=_provenance(path, files_read, found.tiles),
    )


def is_table(path: Path) -> bool:
    """Whether a file holds scores of tiles, or a folder such files, by names and headers."""
    if path.is_dir():
        return any(native.is_own(one) or foreign.is_foreign(one) for one in _candidates(path))
    return path.is_file() and (native.is_own(path) or foreign.is_foreign(path))


def write(cohort: Cohort, path: Path) -> str:
    """Write a score table that `read` gives back equal, atomically.

    The scores stand in a column of the cohort's name for them, further scores beside it; `read`
    gives back the one column that it is asked for. Corners are those of the lattice, so a
    fractional pitch gives fractional corners; the lattice itself is in the metadata.

    Args:
        cohort: with at least one slide.
        path: `.parquet`, `.csv` or `.csv.gz`; the metadata of a CSV go into `NAME.json`.

    Returns:
        sha256 of the table.

    Raises:
        InputError: another suffix.
    """
    facts = facts_of.packed(cohort)
    if cells.is_parquet(path):
        sink = io.BytesIO()
        pyarrow.parquet.write_table(with_facts(columns_of(cohort), facts), sink, **PARQUET)
        return files.write(path, sink.getvalue())
    if not cells.is_csv(path):
        raise InputError(f"{path}: a score table is .parquet, .csv or .csv.gz.")
    sink = io.BytesIO()
    pyarrow.csv.write_csv(columns_of(cohort), sink)
    packed = path.name.lower().endswith(".gz")
    data = gzip.compress(sink.getvalue(), mtime=0) if packed else sink.getvalue()
    files.write_json(columns.sidecar(path), facts)
    return files.write(path, data)


def with_facts(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """A table with metadata, each value as JSON."""
    texts = {name: json.dumps(value, allow_nan=False) for name, value in facts.items()}
    return table.replace_schema_metadata(texts)


def columns_of(
    cohort: Cohort, *, corner_px0: Mapping[str, Float[np.ndarray, "n 2"]] | None = None
) -> pa.Table:
    """The columns of a score table; those that say nothing are left out.

    Args:
        cohort: with at least one slide.
        corner_px0: slide → places of its tiles as their source has them, where the lattice is only
            near to them.
    """
    lengths = [len(one) for one in cohort.slides]
    names = np.repeat(np.arange(len(lengths)), lengths)
    slides = pa.DictionaryArray.from_arrays(names, [one.slide for one in cohort.slides])
    found = {"slide": slides.cast(pa.string())}
    own = corner_px0 or {}
    corners = np.concatenate([own.get(one.slide, one.corner_px0) for one in cohort.slides])
    sizes = np.repeat([one.size_px0 for one in cohort.slides], lengths, axis=0)
    for name, values in zip(PLACES[1:], (*corners.T, *sizes.T), strict=True):
        whole = np.all(values == np.round(values))
        found[name] = pa.array(values.astype(np.int64) if whole else values)
    found[cohort.score] = pa.array(np.concatenate([one.score for one in cohort.slides]))
    for name in dict.fromkeys(name for one in cohort.slides for name in one.others):
        none = [one.others.get(name, np.full(len(one), np.nan)) for one in cohort.slides]
        values = np.concatenate(none)
        found[name] = pa.array(values, mask=np.isnan(values))
    for name in TRUTH:
        values = np.concatenate([_said(one, name) for one in cohort.slides])
        if not np.all(np.isnan(values)):
            found[name] = pa.array(values, mask=np.isnan(values))
    return pa.table(found)


def _said(tiles: Tiles, name: str) -> Float[np.ndarray, " n"]:
    values = getattr(tiles, name)
    return np.full(len(tiles), np.nan) if values is None else values.astype(np.float64)


def _found(path: Path, score: str) -> tuple[Found, dict[str, str], list[Path]]:
    """What a file or all files of a folder hold, slides that failed, and the files."""
    if not path.is_dir():
        return _one(path, score), {}, [path]
    good: dict[Path, Found] = {}
    failed: dict[str, str] = {}
    candidates = _candidates(path)
    for one in candidates:
        try:
            if native.is_own(one):
                good[one] = native.read(one, score)
            elif foreign.is_foreign(one):
                good[one] = foreign.read(one, score)
        except NoScores:
            continue
        except Exception as error:  # one file must not end the cohort
            failed[foreign.slide_of(one)] = assemble.reason(error, str(one))
    if not good:
        raise InputError(next(iter(failed.values()), _empty(path)))
    rows, twice = _once(good)
    unread = [one for one in candidates if one not in good and foreign.slide_of(one) not in failed]
    notes = [note for found in good.values() for note in found.notes]
    if unread:
        notes.append(f"{counted(len(unread), 'file')} without scores not read: {_some(unread)}.")
    names = {found.score for found in good.values()}
    rules = {found.rule for found in good.values()}
    for what, different in (("scores", names), ("label rules", rules)):
        if len(different) > 1:
            raise InputError(
                f"{path}: files with different {what} ({', '.join(sorted(different))}); name one "
                f"column, or read them apart."
            )
    tiles = sum(found.tiles for found in good.values())
    whole = Found(tuple(rows), names.pop(), tiles, rules.pop(), tuple(dict.fromkeys(notes)))
    return whole, {**failed, **twice}, list(good)


def _one(path: Path, score: str) -> Found:
    if not path.exists():
        raise InputError(f"{path}: no such file; a score table was expected.")
    if foreign.is_foreign(path):
        return foreign.read(path, score)
    if cells.is_csv(path) or cells.is_parquet(path):
        return native.read(path, score)
    raise InputError(f"{path}: a score table is .parquet, .csv, .csv.gz, .h5 or .npz.")


def _candidates(folder: Path) -> list[Path]:
    """Files of a folder, and of those that other tools put into it, that may hold scores."""
    found = [one for depth in ("*", "*/*", "*/*/*") for one in folder.glob(depth)]
    kept = [one for one in found if one.is_file() and _may(one) and not _is_part(one, folder)]
    return sorted(kept)


def _is_part(path: Path, folder: Path) -> bool:
    """Whether a file belongs to a table that `wsrpn score` makes in this folder."""
    return any(name.endswith(PARTS) for name in path.relative_to(folder).parts[:-1])


def _may(path: Path) -> bool:
    if path.name.startswith("."):  # half written by a killed process, or a shadow of macOS
        return False
    named = cells.is_csv(path) or cells.is_parquet(path)
    return named or path.suffix.lower() in (*arrays.H5, *arrays.NPZ)


def _once(good: Mapping[Path, Found]) -> tuple[list[Rows], dict[str, str]]:
    """Rows of slides that stand in one file only, and those that stand in several."""
    places: dict[str, list[Path]] = {}
    for path, found in good.items():
        for one in found.rows:
            places.setdefault(one.slide, []).append(path)
    twice = {
        slide: f"slide '{slide}' stands in {_some(paths)}; keep one of them."
        for slide, paths in places.items()
        if len(paths) > 1
    }
    rows = [one for found in good.values() for one in found.rows if one.slide not in twice]
    return rows, twice


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(path.name for path in paths[:3])}{more}"


def _empty(folder: Path) -> str:
    return (
        f"{folder}: no scores in it; .parquet, .csv, .h5 or .npz files with one row a tile were "
        f"expected."
    )


def _provenance(path: Path, paths: Sequence[Path], tiles: int) -> dict[str, Any]:
    """File, sha256, bytes, tiles, sha256 of weights; of several files that of names and sha256s."""
    digests = [_digest(one) for one in paths]
    whole = digests[0]
    if path.is_dir():
        lines = [f"{one.relative_to(path)} {d}" for one, d in zip(paths, digests, strict=True)]
        whole = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    size = sum(one.stat().st_size for one in paths)
    found = {"file": str(path), "digest": whole, "size": size, "tiles": tiles}
    weights = "" if path.is_dir() else _weights(path)
    return {**found, "weights_sha256": weights} if weights else found


def _weights(path: Path) -> str:
    """sha256 of the weights, in a table of `wsrpn score`."""
    if not cells.is_parquet(path):
        return ""
    try:
        return str(json.loads(cells.metadata(path)["wsrpn"])["scored"]["weights_sha256"])
    except (KeyError, TypeError, ValueError):
        return ""  # of another tool, or of several runs


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
