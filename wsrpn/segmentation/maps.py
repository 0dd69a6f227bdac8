"""Score maps on disk: one 16-bit PNG an image, 0 … 65,535 for a score of 0 … 1.

`score >= threshold` is `level >= level_of(threshold)`. A folder that `wsrpn.segmentation.answers`
made has `maps.json`, which says what every file is of and its sha256; its numbers are taken as they
are. Any other folder of PNG or TIFF files, 8 or 16 bits, named like the images' stems, is
somebody's own maps, masks or numbered objects: `wsrpn.segmentation.foreign` tells which.
"""

import hashlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int, Num, UInt16
from PIL import Image

from wsrpn import files
from wsrpn.errors import InputError, counted
from wsrpn.segmentation import foreign
from wsrpn.segmentation.foreign import TOP, Content
from wsrpn.types import Dataset

SCHEMA = 1
INDEX = "maps.json"
SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Mapped:
    """The scores of one image.

    Attributes:
        id: of the record.
        score: 65,535 × the score, at the size of the image's file.
        path: where they lie.
        objects: their numbers, 0 outside, where somebody has told them apart already.
    """

    id: str
    score: UInt16[np.ndarray, "h w"]
    path: Path
    objects: Int[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class Maps:
    """Maps of a data set, read one by one.

    Attributes:
        files: id of the image → its file, in the order of the data.
        provenance: whose scores they are.
        failed: id → why an image has none.
        notes: what the user should know.
        content: of the files: numbers of ours as they are (`exact`), or what others made.
    """

    files: Mapping[str, Path]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    content: Literal["exact", "scores", "mask", "labels"] = "exact"

    @property
    def graded(self) -> bool:
        """Whether they are scores, which a threshold cuts; masks and objects are cut already."""
        return self.content in ("exact", "scores")

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Mapped]:
        return (self.of(name) for name in self.files)

    def of(self, name: str) -> Mapped:
        """The map of one image.

        Raises:
            InputError: it has none, or the file cannot be read.
        """
        if name not in self.files:
            raise InputError(f"{name}: has no map.")
        path = self.files[name]
        if self.content == "labels":
            numbers = foreign.labels(path)
            return Mapped(name, (numbers > 0) * np.uint16(TOP), path, numbers)
        return Mapped(name, _READ[self.content](path), path)


_READ = {"exact": foreign.exact, "scores": foreign.scores, "mask": foreign.mask}


def level_of(threshold: float) -> int:
    """The lowest level that reaches a threshold; 65,536, which none reaches, above 1.

    Example:
        >>> level_of(0.5), level_of(0.0), level_of(1.0), level_of(1.1)
        (32768, 0, 65535, 65536)
    """
    return min(max(math.ceil(threshold * TOP - 1e-6), 0), TOP + 1)


def threshold_of(level: int) -> float:
    """The threshold half-way between a level and the one below it.

    Example:
        >>> level_of(threshold_of(32768)), level_of(threshold_of(0)), level_of(threshold_of(65536))
        (32768, 0, 65536)
    """
    return max(level - 0.5, 0.0) / TOP


def found(score: UInt16[np.ndarray, "h w"], threshold: float) -> Bool[np.ndarray, "h w"]:
    """Which pixels reach a threshold."""
    level = level_of(threshold)
    return score >= np.uint16(level) if level <= TOP else np.zeros(score.shape, dtype=bool)


def write(path: Path, score: UInt16[np.ndarray, "h w"]) -> str:
    """Write one map as a 16-bit PNG, atomically. Returns the sha256 of the file."""
    return files.write(path, png(score))


def png(pixels: Num[np.ndarray, "h w"]) -> bytes:
    """A PNG of 8-bit or 16-bit pixels; packed lightly, as a tighter one takes ten times as long."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="PNG", compress_level=1)
    return sink.getvalue()


def is_folder(source: Path) -> bool:
    """Whether a source is a folder of maps: no run, and pictures of their kind directly in it."""
    if not source.is_dir() or (source / "config.yaml").exists():
        return False
    return (source / INDEX).is_file() or bool(_pictures(source))


def of_folder(
    folder: Path,
    dataset: Dataset,
    *,
    whole: Dataset | None = None,
    only_listed: bool = False,
    content: Content | None = None,
) -> Maps:
    """The maps of a folder for the images of a data set, by `maps.json` or by name.

    Args:
        folder: of maps.
        dataset: the images.
        whole: all images that there are, where `dataset` is a part of them: a name that two of
            them share says nothing.
        only_listed: leave out images without a map instead of stopping there.
        content: what files without a `maps.json` hold; told by their looks without it.

    Raises:
        InputError: no map for any image or, unless `only_listed`, for some; or two for one; or
            nobody can tell what the files hold.
    """
    index = folder / INDEX
    listed = _index(index) if index.is_file() else {}
    where = {name: folder / about["file"] for name, about in listed.get("files", {}).items()}
    where = where or _by_stem(folder, whole or dataset)
    there = {r.id: where[r.id] for r in dataset.records if r.id in where}
    missing = [r.id for r in dataset.records if r.id not in where]
    if not there or (missing and not only_listed):
        raise InputError(
            f"{folder}: no map for {counted(len(missing), 'image')} of {dataset.name} "
            f"({_some(missing)}). Maps are named like the images' files"
            f"{'; --images listed leaves these images out.' if there else '.'}"
        )
    gone = f"{counted(len(missing), 'image')} without a map left out: {_some(missing)}."
    notes = (gone,) if missing else ()
    if listed:
        return Maps(there, dict(listed["provenance"]), notes=notes)
    # All that there are, so that no split is read in another way than the next.
    held, said = (content, "") if content else foreign.content_of(folder, list(where.values()))
    return Maps(there, {"maps": str(folder)}, notes=(*notes, said) if said else notes, content=held)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"


def _pictures(folder: Path) -> list[Path]:
    """Files that may be maps, hidden ones left out."""
    found = (one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES)
    return sorted(one for one in found if one.is_file() and not one.name.startswith("."))


def _by_stem(folder: Path, dataset: Dataset) -> dict[str, Path]:
    """Id → file of the same stem, or of the name that a map of ours has.

    Raises:
        InputError: two images, or two files, share a stem.
    """
    at: dict[str, list[Path]] = defaultdict(list)
    for path in _pictures(folder):
        at[path.stem].append(path)
    own = names(record.id for record in dataset.records)
    result: dict[str, Path] = {}
    taken: dict[str, str] = {}
    for record in dataset.records:
        stems = (own[record.id], PurePath(record.id).stem, record.path.stem)
        name = next((stem for stem in stems if stem in at), None)
        if name is None:
            continue
        if len(at[name]) > 1 or name in taken:
            two = f"images {taken[name]} and {record.id}" if name in taken else at[name][1].name
            raise InputError(
                f"{at[name][0]}: is not the only one of its name ({two}), so nobody knows which "
                "map is of which image."
            )
        taken[name] = record.id
        result[record.id] = at[name][0]
    return result


def names(ids: Iterable[str]) -> dict[str, str]:
    """What the file of each image is called, without suffix: like the image where that is clear.

    Example:
        >>> names(["a.png", "b.png", "b.jpg"])
        {'a.png': 'a', 'b.png': 'b.png', 'b.jpg': 'b.jpg'}
    """
    every = list(dict.fromkeys(ids))
    chosen: dict[str, str] = {}
    for shorten in (lambda name: PurePath(name).stem, lambda name: str(PurePath(name)), str):
        short = {name: shorten(name) for name in every if name not in chosen}
        uses = Counter(one.lower() for one in [*short.values(), *chosen.values()])
        chosen |= {name: one for name, one in short.items() if one and uses[one.lower()] == 1}
    # Whatever else clashes, such as names that differ in case only, gets a digest.
    return {name: files.safe_name(chosen.get(name, f"{name}/")) for name in every}


def write_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Write `maps.json`: `provenance`, and per image its `file`, `sha256` and `inputs`."""
    files.write_json(folder / INDEX, {"schema": SCHEMA, **index})


def read_index(folder: Path) -> dict[str, Any]:
    """`maps.json` of a folder; empty where there is none, or none that can be used."""
    try:
        return _index(folder / INDEX)
    except InputError:
        return {}


def _index(path: Path) -> dict[str, Any]:
    said = files.read_json(path, what="the list of a folder of maps")
    listed = said.get("files") if isinstance(said, dict) and said.get("schema") == SCHEMA else None
    if not isinstance(listed, dict) or not isinstance(said.get("provenance"), dict):
        raise InputError(f"{path}: not the list of a folder of maps; predict again.")
    for about in listed.values():
        if not isinstance(about, dict) or PurePath(str(about.get("file", ".."))).name != about.get(
            "file"
        ):
            raise InputError(f"{path}: names a file outside its folder; predict again.")
    return dict(said)


def is_whole(path: Path, digest: str) -> bool:
    """Whether a file is there and is the one with this sha256."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False
