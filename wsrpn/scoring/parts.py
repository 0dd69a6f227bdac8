"""What is scored already: one small table a slide in `OUT.parts/`, each with a digest.

A part is written once its slide is done, atomically; its digest is of all that decides it, so a
part of other weights, options or pixels counts for nothing. Whoever scores a slide holds its lock,
so that several processes can share a cohort, on one machine or over a shared folder. A slide that
failed leaves its reason in place of a part.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
from filelock import FileLock
from jaxtyping import Float
from numpy import ndarray

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.slides import cells, facts, table
from wsrpn.tiles import Cohort

KEY, ABOUT = b"wsrpn_part", b"wsrpn_scored"
ENDING = table.PARTS
_EDGE = 1 << 20  # bytes that are read at either end of a large file


@dataclass(frozen=True)
class Parts:
    """The folder with the parts of one table.

    Attributes:
        out: the table.
    """

    out: Path

    @property
    def folder(self) -> Path:
        """Where the parts lie."""
        return self.out.with_name(self.out.name + ENDING)

    def path(self, slide: str) -> Path:
        """The part of a slide."""
        return self.folder / f"{stem(slide)}.parquet"

    def lock(self, slide: str) -> FileLock:
        """For whoever scores a slide; it may be given free in another thread."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{stem(slide)}.lock", thread_local=False)

    def joining(self) -> FileLock:
        """For whoever makes the table of all slides."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".join.lock")

    def key(self, slide: str) -> str:
        """Digest of the part that is there; "" without one, or where it cannot be read."""
        try:
            return cells.metadata(self.path(slide)).get(KEY.decode(), b"").decode()
        except (InputError, UnicodeDecodeError):
            return ""

    def write(
        self,
        cohort: Cohort,
        key: str,
        about: Mapping[str, Any],
        corner_px0: Float[ndarray, "n 2"] | None = None,
    ) -> None:
        """Keep the scores of the one slide of a cohort.

        Args:
            cohort: with that slide.
            key: digest of all that decides the scores.
            about: what the table of all slides says of its scores.
            corner_px0: places of the tiles as their source has them.
        """
        (tiles,) = cohort.slides
        own = None if corner_px0 is None else {tiles.slide: corner_px0}
        made = table.with_facts(table.columns_of(cohort, corner_px0=own), facts.packed(cohort))
        said = {
            **made.schema.metadata,
            KEY: key.encode(),
            ABOUT: json.dumps(about, sort_keys=True, allow_nan=False).encode(),
        }
        sink = io.BytesIO()
        pyarrow.parquet.write_table(made.replace_schema_metadata(said), sink, **table.PARQUET)
        files.write(self.path(tiles.slide), sink.getvalue())
        self._reason(tiles.slide).unlink(missing_ok=True)

    def fail(self, slide: str, key: str, reason: str) -> None:
        """Keep why a slide has no part."""
        files.write_json(self._reason(slide), {"slide": slide, "key": key, "reason": reason})

    def failed(self, slide: str, key: str) -> str | None:
        """Why a slide has no part, if whoever tried meant the same scores."""
        if not self._reason(slide).is_file():
            return None
        try:
            found = files.read_json(self._reason(slide), what="why a slide failed")
            return str(found["reason"]) if found["key"] == key else None
        except (InputError, KeyError, TypeError):
            return None

    def clear(self, slide: str) -> None:
        """Remove what a killed process left half written; only under the slide's lock."""
        names = "|".join(re.escape(one.name) for one in (self.path(slide), self._reason(slide)))
        half = re.compile(rf"({names})\.tmp\.\d+")
        for left in [one for one in self.folder.iterdir() if half.fullmatch(one.name)]:
            left.unlink(missing_ok=True)

    def _reason(self, slide: str) -> Path:
        return self.folder / f"{stem(slide)}.failed.json"


def stem(slide: str) -> str:
    """A file name for a slide: its own where every system takes it, else with a digest behind.

    Example:
        >>> stem("tumor_001"), stem("a/b")
        ('tumor_001', 'a_b-c14cddc0')
    """
    return files.safe_name(slide)


def refuse_alike(slides: Iterable[str]) -> None:
    """Stop where two slides cannot have files of their own on every system.

    Raises:
        InputError: names them.
    """
    taken: dict[str, str] = {}
    for slide in slides:
        other = taken.setdefault(stem(slide).lower(), slide)
        if other != slide:
            raise InputError(f"slides '{other}' and '{slide}' differ in case only; rename one.")


def digest(values: Any) -> str:
    """sha256 of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def of_file(path: Path) -> list[Any]:
    """What tells a file from another one in its place: size, time, and both its ends.

    Raises:
        OSError: it cannot be read.
    """
    about = path.stat()
    if path.is_dir():  # a slide of several files, by its folder
        return [about.st_mtime_ns, sorted(one.name for one in path.iterdir())]
    with path.open("rb") as file:
        whole = hashlib.sha256(file.read(_EDGE))
        if about.st_size > 2 * _EDGE:
            file.seek(-_EDGE, 2)
        whole.update(file.read())
    return [about.st_size, about.st_mtime_ns, whole.hexdigest(), *_beside(path)]


def _beside(path: Path) -> list[Any]:
    """Names, sizes and times of the files that hold the pixels of a MIRAX slide."""
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return []
    found = [(one.name, one.stat()) for one in sorted(folder.iterdir())]
    return [[name, about.st_size, about.st_mtime_ns] for name, about in found]
