"""Decoded images at network size, kept nowhere, in memory or memory-mapped on disk.

All three give the same bits: the image is rounded to 8 bits at network size whatever is kept. After
the window, 256 levels are what a display shows; the rounding (0.2 %) is far below any augmentation,
and memory and disk are half of what 16 bits need.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import UInt8

from wsrpn import files
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.data.transforms import resized
from wsrpn.errors import InputError
from wsrpn.types import Record

Kind = Literal["none", "memory", "disk"]
Progress = Callable[[int, int], None]
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Decoded:
    """One image at network size: 8-bit grey levels, and height and width of the stored file."""

    pixels: UInt8[np.ndarray, "h w"]
    size_px: tuple[int, int]


def decode(path: Path, size: int, *, max_pixels: int = images.MAX_PIXELS) -> Decoded:
    """Read an image, resize it and round it to 8 bits.

    Raises:
        ImageReadError: see `images.read`.
    """
    grey = images.read(path, max_pixels=max_pixels)
    small = resized(torch.from_numpy(np.ascontiguousarray(grey))[None], size)[0]
    return Decoded((small * 255).round().to(torch.uint8).numpy(), (grey.shape[0], grey.shape[1]))


def fingerprint(paths: Sequence[Path], settings: str = "") -> str:
    """sha256 of which files these are, by path, size and time, and of what is done with them."""
    digest = hashlib.sha256(settings.encode())
    for path in paths:
        try:
            facts = path.stat()
            digest.update(f"{path.absolute()}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path.absolute()}\0missing\n".encode())
    return digest.hexdigest()


class Pixels:
    """Decoded images of some records by index.

    Args:
        records: whose images.
        size: side of the square network input.
        kind: where to keep them.
        folder: of the files of kind `disk`.
        max_pixels: larger files are refused.

    Attributes:
        failed: index → reason, of the images that could not be read so far.
    """

    def __init__(
        self,
        records: Sequence[Record],
        size: int,
        *,
        kind: Kind = "memory",
        folder: Path | None = None,
        max_pixels: int = images.MAX_PIXELS,
    ) -> None:
        if kind == "disk" and folder is None:
            raise InputError("data.cache=disk needs a folder to keep its files in.")
        self.paths = [record.path for record in records]
        self.size = size
        self.kind = kind
        self.folder = folder
        self.max_pixels = max_pixels
        self.failed: dict[int, str] = {}
        self._pixels: UInt8[np.ndarray, "n h w"] | None = None
        self._sizes: list[tuple[int, int] | None] = [None] * len(self.paths)
        self._ready = False

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Decoded:
        if index in self.failed:
            raise ImageReadError(self.failed[index])
        kept = self._sizes[index]
        if self._pixels is not None and kept is not None:
            return Decoded(self._pixels[index], kept)
        try:
            decoded = decode(self.paths[index], self.size, max_pixels=self.max_pixels)
        except ImageReadError as error:
            self.failed[index] = str(error)
            raise
        if self.kind == "memory":
            self._allocate()
            self._keep(index, decoded)
        return decoded

    def _keep(self, index: int, decoded: Decoded) -> None:
        if self._pixels is None:
            raise RuntimeError("the array is made before it is filled")
        self._pixels[index] = decoded.pixels
        self._sizes[index] = decoded.size_px

    def prepare(self, progress: Progress | None = None, *, decode: bool = False) -> None:
        """Look at every file once: fill the cache, or read the headers where nothing is kept.

        Afterwards `failed` is complete (for kind `none`: as far as headers tell). Done once.

        Args:
            progress: called with how many images are done, and of how many.
            decode: read whole files where nothing is kept, too, for whoever cannot stop later.
        """
        if self._ready:
            return
        tell = progress or (lambda done, total: None)
        if self.kind == "none":
            self._visit(self._try if decode else self._look, tell)
        elif self.kind == "memory":
            self._allocate()
            self._visit(self._fill, tell)
        elif self.folder is not None:
            self._map(self.folder, tell)
        self._ready = True

    def _allocate(self) -> None:
        if self._pixels is None:
            # Pages of an empty array cost nothing until they are written.
            self._pixels = np.empty((len(self), self.size, self.size), dtype=np.uint8)

    def _visit(self, what: Callable[[int], None], tell: Progress) -> None:
        # Threads, because decoders let go of Python's lock; each index is written by one of them.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for done, _ in enumerate(pool.map(what, range(len(self))), start=1):
                tell(done, len(self))

    def _look(self, index: int) -> None:
        try:
            images.size(self.paths[index], max_pixels=self.max_pixels)
        except ImageReadError as error:
            self.failed[index] = str(error)

    def _try(self, index: int) -> None:
        with contextlib.suppress(ImageReadError):  # it is in `failed` then
            self[index]

    def _fill(self, index: int) -> None:
        if index in self.failed or self._sizes[index] is not None:
            return
        try:
            self._keep(index, decode(self.paths[index], self.size, max_pixels=self.max_pixels))
        except ImageReadError as error:
            self.failed[index] = str(error)

    def _map(self, folder: Path, tell: Progress) -> None:
        """Open the files of this cache, or make them first; one process makes, others wait."""
        folder.mkdir(parents=True, exist_ok=True)
        key = self._key()
        array, about = folder / f"{key[:16]}.npy", folder / f"{key[:16]}.json"
        with FileLock(folder / f"{key[:16]}.lock"):
            if not self._open(array, about, key):
                self._build(array, about, key, tell)

    def _key(self) -> str:
        """What the cached bytes depend on: the files, and our settings."""
        return fingerprint(self.paths, f"{_VERSION} {self.size} {self.max_pixels}")

    def _open(self, array: Path, about: Path, key: str) -> bool:
        # The description is written last and counts the bytes: without it nothing was finished.
        if not (array.is_file() and about.is_file()):
            return False
        try:
            found = files.read_json(about, what="the description of an image cache")
            if found["key"] != key or found["bytes"] != array.stat().st_size:
                return False
            self._pixels = np.load(array, mmap_mode="r")
        except (InputError, KeyError, TypeError, ValueError):
            return False
        self._sizes = [(size[0], size[1]) if size else None for size in found["sizes"]]
        self.failed = {int(index): reason for index, reason in found["failed"].items()}
        return True

    def _build(self, array: Path, about: Path, key: str, tell: Progress) -> None:
        for stale in array.parent.glob(f"{array.stem}.tmp.*"):
            stale.unlink()  # under the lock: whoever wrote it is gone
        temporary = array.with_name(f"{array.stem}.tmp.{os.getpid()}")
        shape = (len(self), self.size, self.size)
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        self._pixels, self._sizes, self.failed = mapped, [None] * len(self), {}
        self._visit(self._fill, tell)
        mapped.flush()
        about.unlink(missing_ok=True)
        temporary.replace(array)
        description = {
            "key": key,
            "bytes": array.stat().st_size,
            "sizes": self._sizes,
            "failed": {str(index): reason for index, reason in self.failed.items()},
        }
        files.write_json(about, description)
        self._pixels = np.load(array, mmap_mode="r")
