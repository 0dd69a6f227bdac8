"""Pixels of tiles at network size, kept nowhere, in memory or memory-mapped on disk.

Where a tile is read: a file that is its slide's own is opened as a slide, any other is a picture,
whole or cut where the box says. All three ways of keeping give the same bits, but for tiles of a
slide that is resampled: kept ones are read together with their neighbours, others each for itself,
which may differ by one grey level. What is given never depends on what else is asked for with it.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Bool, Float, Int, UInt8

from wsrpn import files
from wsrpn.data import images
from wsrpn.data.cache import Kind, fingerprint
from wsrpn.data.images import ImageReadError
from wsrpn.data.transforms import resized
from wsrpn.errors import InputError
from wsrpn.tiles import TileSet
from wsrpn.tiling import pixels, readers

_VERSION = 1
_OF_MEMORY = 0.8  # share of the machine's memory that tiles may take
_SHEETS = 256 << 20  # bytes of decoded contact sheets that a process keeps

Index = Int[np.ndarray, " m"]
Levels = UInt8[np.ndarray, "n h w 3"]


class TilePixels:
    """Pixels of the tiles of a set by index.

    Args:
        tiles: whose pixels.
        size: side of the square network input.
        kind: where to keep them.
        folder: of the files of kind `disk`.

    Attributes:
        failed: index → reason, of the tiles that could not be read so far.
    """

    def __init__(
        self, tiles: TileSet, size: int, *, kind: Kind = "memory", folder: Path | None = None
    ) -> None:
        if kind == "disk" and folder is None:
            raise InputError("data.cache=disk needs a folder to keep its files in.")
        self.tiles, self.size, self.kind, self.folder = tiles, size, kind, folder
        self.failed: dict[int, str] = {}
        self._kept: Levels | None = None
        self._sheets = _Sheets()
        self._ready = False

    def __len__(self) -> int:
        return len(self.tiles)

    def take(self, index: Index) -> Levels:
        """The tiles with these indices, in their order.

        Raises:
            ImageReadError: one of them cannot be read.
        """
        if self.kind != "none":
            self.prepare()
        for one in index.tolist():
            if one in self.failed:
                raise ImageReadError(self.failed[one])
        if self._kept is not None:
            return self._kept[index]
        made = np.empty((len(index), self.size, self.size, 3), dtype=np.uint8)
        try:
            for file, where in _by_file(self.tiles.file[index]):
                for local, part in self._read(file, index[where]):
                    made[where[local]] = part
        except InputError as error:
            raise ImageReadError(str(error)) from None
        return made

    def prepare(self, *, decode: bool = False) -> None:
        """Look at every file once: fill the cache, or look at sizes where nothing is kept.

        Afterwards `failed` is complete (for kind `none`: as far as headers tell). Done once.

        Args:
            decode: read whole files where nothing is kept, too, for whoever cannot stop later.
        """
        if self._ready:
            return
        if self.kind == "none":
            self._visit(self._fill if decode else self._look)
        elif self.kind == "memory":
            _refuse_more_than_fits(len(self), self.size)
            # Pages of an empty array cost nothing until they are written.
            self._kept = np.empty((len(self), self.size, self.size, 3), dtype=np.uint8)
            self._visit(self._fill)
        elif self.folder is not None:
            self._map(self.folder)
        self._ready = True

    def _is_slide(self, file: int, first: int) -> bool:
        return self.tiles.slides[self.tiles.slide[first]].file == self.tiles.files[file]

    def _read(self, file: int, index: Index) -> Iterator[tuple[Index, Levels]]:
        """Tiles of one file: positions in `index`, and their pixels."""
        path, boxes = self.tiles.files[file], self.tiles.box_px[index]
        if self._is_slide(file, int(index[0])):
            together = [slice(None)] if self._kept is not None else [[i] for i in range(len(index))]
            for part in together:
                for local, levels in pixels.read(readers.opened(path), boxes[part], self.size):
                    yield np.arange(len(index))[part][local], levels
            return
        picture = self._sheets.of(path, keep=self.kind == "none" and not np.isnan(boxes).all())
        outside = _outside(boxes, picture.shape[:2])
        if outside.any():
            raise _beyond(path, boxes[outside][0], picture.shape[:2])
        for position, box in enumerate(boxes):
            yield np.array([position]), _cut(picture, box, self.size)[None]

    def _visit(self, what: Callable[[int, Index], None]) -> None:
        """Every file once; pictures in threads, because decoders let go of Python's lock."""
        pictures = []
        for file, index in _by_file(self.tiles.file):
            if self._is_slide(file, int(index[0])):
                what(file, index)
            else:
                pictures.append((file, index))
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(lambda job: what(*job), pictures))

    def _fill(self, file: int, index: Index) -> None:
        """Read the tiles of one file; after a fault one by one, to leave out those alone."""
        try:
            for local, part in self._read(file, index):
                if self._kept is not None:
                    self._kept[index[local]] = part
        except ImageReadError as error:  # the whole picture
            self._fail(index, error)
        except InputError as error:
            if len(index) == 1:
                self._fail(index, error)
                return
            for one in index:
                self._fill(file, np.array([one]))

    def _look(self, file: int, index: Index) -> None:
        """Open a file, and see whether the boxes lie in it."""
        path = self.tiles.files[file]
        try:
            if self._is_slide(file, int(index[0])):
                readers.opened(path)
                return
            size = images.size(path)
        except InputError as error:
            self._fail(index, error)
            return
        boxes = self.tiles.box_px[index]
        for one in np.flatnonzero(_outside(boxes, size)):
            self._fail(index[[one]], _beyond(path, boxes[one], size))

    def _fail(self, index: Index, error: Exception) -> None:
        self.failed |= dict.fromkeys(index.tolist(), str(error))

    def _map(self, folder: Path) -> None:
        """Open the files of this cache, or make them first; one process makes, others wait."""
        folder.mkdir(parents=True, exist_ok=True)
        key = self._key()
        array, about = (folder / f"tiles-{key[:16]}{ending}" for ending in (".npy", ".json"))
        with FileLock(folder / f"tiles-{key[:16]}.lock"):
            if not self._open(array, about, key):
                self._build(array, about, key)

    def _key(self) -> str:
        """What the cached bytes depend on: the files, the boxes, and our settings."""
        where = hashlib.sha256(np.ascontiguousarray(self.tiles.file, dtype="<i8").tobytes())
        where.update(np.ascontiguousarray(self.tiles.box_px, dtype="<f8").tobytes())
        return fingerprint(self.tiles.files, f"{_VERSION} {self.size} {where.hexdigest()}")

    def _open(self, array: Path, about: Path, key: str) -> bool:
        # The description is written last and counts the bytes: without it nothing was finished.
        if not (array.is_file() and about.is_file()):
            return False
        try:
            found = files.read_json(about, what="the description of a cache of tiles")
            if found["key"] != key or found["bytes"] != array.stat().st_size:
                return False
            self._kept = np.load(array, mmap_mode="r")
        except (InputError, KeyError, TypeError, ValueError):
            return False
        self.failed = {int(index): reason for index, reason in found["failed"].items()}
        return True

    def _build(self, array: Path, about: Path, key: str) -> None:
        for stale in array.parent.glob(f"{array.stem}.tmp.*"):
            stale.unlink()  # under the lock: whoever wrote it is gone
        temporary = array.with_name(f"{array.stem}.tmp.{os.getpid()}")
        shape = (len(self), self.size, self.size, 3)
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        self._kept, self.failed = mapped, {}
        self._visit(self._fill)
        mapped.flush()
        about.unlink(missing_ok=True)
        temporary.replace(array)
        failed = {str(index): reason for index, reason in self.failed.items()}
        files.write_json(about, {"key": key, "bytes": array.stat().st_size, "failed": failed})
        self._kept = np.load(array, mmap_mode="r")


def _refuse_more_than_fits(count: int, size: int) -> None:
    """Stop before the machine runs out of memory; where nobody knows how much it has, go on."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return
    needed = count * size * size * 3
    if needed > _OF_MEMORY * whole:
        raise InputError(
            f"{count} tiles of {size} pixels take {needed / 2**30:.1f} GiB, and this machine has "
            f"{whole / 2**30:.1f} GiB of memory; set data.cache=disk, or take fewer with "
            "tiles.most=N."
        )


class _Sheets:
    """Decoded contact sheets, so many as fit; all tiles of one are seldom asked for together."""

    def __init__(self) -> None:
        self._kept: dict[Path, UInt8[np.ndarray, "h w 3"]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, path: Path, *, keep: bool) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels of a picture, kept for later or not."""
        if path in self._kept:
            return self._kept[path]
        picture = images.read_rgb(path)
        with self._lock:
            if keep and self._bytes + picture.nbytes <= _SHEETS and path not in self._kept:
                self._kept[path] = picture
                self._bytes += picture.nbytes
        return picture


def _by_file(file: Int[np.ndarray, " m"]) -> Iterator[tuple[int, Index]]:
    """Each file with the positions that name it, in the order of the files."""
    if not len(file):
        return
    order = np.argsort(file, kind="stable")
    numbers, starts = np.unique(file[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)


def _outside(boxes: Float[np.ndarray, "m 4"], size: tuple[int, int]) -> Bool[np.ndarray, " m"]:
    """Which boxes are not inside a picture of this height and width; nan is the whole of it."""
    return (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2] > size[1]) | (boxes[:, 3] > size[0])


def _beyond(path: Path, box: Float[np.ndarray, " 4"], size: tuple[int, int]) -> InputError:
    x1, y1, x2, y2 = box
    return InputError(
        f"{path}: a tile at {x1:g}, {y1:g} of {x2 - x1:g} × {y2 - y1:g} pixels leaves the sheet of "
        f"{size[1]} × {size[0]}; correct sheet_x, sheet_y or size."
    )


def _cut(
    picture: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, " 4"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    if not np.isnan(box).any():
        x1, y1, x2, y2 = box.astype(int)
        picture = picture[y1:y2, x1:x2]
    if picture.shape[:2] == (size, size):
        return picture
    planes = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    small = (resized(planes, size) * 255).round().to(torch.uint8)
    return small.permute(1, 2, 0).numpy()
