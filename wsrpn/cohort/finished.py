"""Which pictures of a cohort are finished: one small JSON per slide, beside the pictures.

A record holds the digest of all that decides a picture, and that of every file. It is written
after them and removed before the first of them is replaced, so a run that was killed goes on where
it stopped, and a slide whose scores, truth, calibration or options changed is drawn again. Whoever
reads and writes what belongs to a slide holds its lock.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from wsrpn import __version__, files
from wsrpn.cohort.pictures import Look
from wsrpn.errors import InputError
from wsrpn.tiles import Slide, Tiles

FOLDER = ".drawn"
_DRAWING = 1  # one more whenever a picture of the same input looks different


@dataclass(frozen=True)
class Record:
    """What was written for a slide.

    Attributes:
        key: digest of all that decides its pictures.
        files: kind → name of the file in the folder of pictures, and sha256 of its bytes.
        lines: what the contact sheet says of it.
    """

    key: str
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    lines: tuple[str, str, str] = ("", "", "")

    def holds(self, out: Path, kind: str) -> bool:
        """Whether the file of a kind is there as it was written."""
        name, digest = self.files.get(kind, ("", ""))
        return bool(name) and content(out / name) == digest != ""


def lock(out: Path, stem: str) -> FileLock:
    """For whoever checks and writes the files of a slide; a second run waits for the first."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    return FileLock(out / FOLDER / f"{stem}.lock")


def key_of(tiles: Tiles, slide: Slide | None, look: Look, downsample: int) -> str:
    """Digest of the rows of a slide, its truth, its picture, the calibration and all options."""
    digest = hashlib.sha256()
    for array in (tiles.lattice.column, tiles.lattice.row, tiles.score, tiles.label, tiles.truth,
                  tiles.tissue):  # fmt: skip
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    if tiles.reference is not None:
        digest.update(np.ascontiguousarray(tiles.reference).tobytes())
    lattice = tiles.lattice
    plain: list[Any] = [
        _DRAWING, __version__, tiles.slide, lattice.origin_px0, lattice.pitch_px0, lattice.shape,
        tiles.size_px0, tiles.mpp, tiles.extent_px0, tiles.exhaustive, downsample,
        _of_slide(slide), _of_look(look, tiles.slide),
    ]  # fmt: skip
    digest.update(json.dumps(plain, default=str).encode())
    return digest.hexdigest()


def read(out: Path, stem: str) -> Record:
    """The record of a slide; one that fits nothing where there is none, or it is damaged."""
    try:
        found = files.read_json(out / FOLDER / f"{stem}.json", what="a record of pictures")
        named = {str(kind): (str(name), str(sha)) for kind, (name, sha) in found["files"].items()}
        first, second, third = (str(line) for line in found["lines"])
        return Record(str(found["key"]), named, (first, second, third))
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return Record("")


def write(out: Path, stem: str, record: Record) -> None:
    """Keep a record."""
    files.write_json(out / FOLDER / f"{stem}.json", dataclasses.asdict(record))


def forget(out: Path, stem: str) -> None:
    """Remove the record of a slide, to be called before any of its files is replaced by another."""
    path = out / FOLDER / f"{stem}.json"
    if path.exists():
        path.unlink()
        files.sync_folder(path.parent)


def clear(out: Path, stem: str, names: Iterable[str]) -> None:
    """Remove what a killed run left half written; only under the lock, so that nobody writes it.

    Args:
        out: folder of the pictures.
        stem: of the slide.
        names: of all files that the slide may have, in that folder.
    """
    paths = [out / FOLDER / f"{stem}.json", *(out / name for name in names)]
    for folder in {path.parent for path in paths}:
        forms = [
            form
            for path in paths
            if path.parent == folder
            for form in (  # those of `wsrpn.files.write` and `write_with`
                rf"{re.escape(path.name)}\.tmp\.\d+",
                rf"\.{re.escape(path.stem)}\.tmp\.\d+{re.escape(path.suffix)}",
            )
        ]
        half = re.compile("|".join(forms))
        for left in [path for path in folder.iterdir() if half.fullmatch(path.name)]:
            left.unlink(missing_ok=True)


def stems(names: Sequence[str]) -> dict[str, str]:
    """Beginning of the file names of every slide, safe on every system and never shared.

    Example:
        >>> stems(["a/b", "a_b", "A_b", "CON"])
        {'a/b': 'a_b', 'a_b': 'a_b-2', 'A_b': 'A_b-3', 'CON': 'CON-2'}
    """
    taken = {"contact_sheet", "slides", "con", "prn", "aux", "nul", "com1", "lpt1"}
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "slide"
        stem, number = plain, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{plain}-{number}"
        taken.add(stem.lower())
        found[name] = stem
    return found


def _of_slide(slide: Slide | None) -> Any:
    """What decides a picture: small files by content, the slide itself by size and time."""
    if slide is None:
        return None
    kept = [content(path) for path in (slide.annotation, slide.thumbnail)]
    file = slide.file.stat() if slide.file is not None and slide.file.exists() else None
    stamp = None if file is None else [file.st_size, file.st_mtime_ns]
    return [kept, stamp, slide.normal, slide.offset_px0, slide.extent_px0, dict(slide.extra)]


def content(path: Path | None) -> str:
    """sha256 of a file; "" where there is none."""
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_look(look: Look, name: str) -> Any:
    """Of a calibration only what shows: its steps, its threshold, whether it saw this slide."""
    fitted = look.calibration
    shown = None if fitted is None else (
        dataclasses.asdict(fitted.steps), fitted.threshold, name in fitted.slides
    )  # fmt: skip
    return [shown, look.meaning, look.clip, look.scale, look.blur_tiles, look.colour]
