"""Images with their truth and their DRR as bytes, kept nowhere, in memory or memory-mapped on disk.

All three ways of keeping give the same bits. At a fixed size (`fit`) image, mask and DRR are 8-bit
planes, the mask soft at its rims where it was resampled. At the size of the file (`native`) a mask
is one bit a pixel.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, UInt8

from wsrpn import files
from wsrpn.data import images
from wsrpn.data.cache import Kind, fingerprint
from wsrpn.data.images import ImageReadError
from wsrpn.data.mask_check import AS_STORED, misfit
from wsrpn.data.transforms import resized
from wsrpn.errors import InputError
from wsrpn.masks import truth
from wsrpn.types import Record

_VERSION = 1
Plane = UInt8[np.ndarray, "h w"]
Bytes = UInt8[np.ndarray, " n"]


@dataclass(frozen=True)
class Planes:
    """One image as it is kept.

    Attributes:
        image: 8-bit grey levels.
        mask: 0 to 255, 255 inside.
        drr: 8-bit grey levels, or None.
        size_px: height and width of the stored file.
    """

    image: Plane
    mask: Plane
    drr: Plane | None
    size_px: tuple[int, int]


class Store:
    """Planes of some records by index.

    Args:
        records: images whose pixels are known (`truth.has_truth`).
        size: side that everything is brought to, or None to keep pixels as they are.
        kind: where to keep them.
        folder: of the files of kind `disk`.

    Attributes:
        failed: index → reason, of the images that could not be read so far.
    """

    def __init__(
        self,
        records: tuple[Record, ...],
        size: int | None,
        *,
        kind: Kind = "memory",
        folder: Path | None = None,
    ) -> None:
        if kind == "disk" and folder is None:
            raise InputError("data.cache=disk needs a folder to keep its files in.")
        self.records, self.size, self.kind, self.folder = records, size, kind, folder
        self.failed: dict[int, str] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._kept: dict[int, Bytes] = {}
        self._last: tuple[int, Planes] | None = None
        self._ready = False

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Planes:
        """The planes of an image.

        Raises:
            ImageReadError: its image, mask or DRR cannot be read.
        """
        if index in self.failed:
            raise ImageReadError(self.failed[index])
        if index in self._kept:
            return self._unpacked(index, self._kept[index])
        # Where nothing is kept, the windows of an image would each decode it; they come in a row.
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        try:
            planes = self._decoded(index)
        except ImageReadError as error:
            self.failed[index] = str(error)
            raise
        if self.size is None:
            self._last = (index, planes)
        return planes

    def size_px(self, index: int) -> tuple[int, int]:
        """Height and width of the stored file; known after `prepare`."""
        return self._sizes[index]

    def prepare(self, *, decode: bool = False) -> None:
        """Look at every file once: fill the cache, or read the headers where nothing is kept.

        Afterwards `failed` is complete (for kind `none`: as far as headers tell). Done once.

        Args:
            decode: read whole files where nothing is kept, too, for whoever cannot stop later.
        """
        if self._ready:
            return
        if self.kind == "disk" and self.folder is not None:
            self._map(self.folder)
        else:
            self._visit(
                self._keep if self.kind == "memory" else self._try if decode else self._look
            )
        self._ready = True

    def _visit(self, what: Callable[[int], None]) -> None:
        def guarded(index: int) -> None:
            try:
                what(index)
            except ImageReadError as error:
                self.failed[index] = str(error)

        # Threads, because decoders let go of Python's lock.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(guarded, range(len(self))))

    def _look(self, index: int) -> None:
        record = self.records[index]
        self._sizes[index] = own = images.size(record.path)
        if record.mask is not None and (other := images.size(record.mask)) != own:
            raise ImageReadError.of(record.mask, f"{misfit(other, own)} {AS_STORED}")
        if record.drr is not None:
            images.size(record.drr)

    def _try(self, index: int) -> None:
        self._sizes[index] = self._decoded(index).size_px

    def _keep(self, index: int) -> None:
        planes = self._decoded(index)
        self._sizes[index] = planes.size_px
        self._kept[index] = self._packed(planes)

    def _decoded(self, index: int) -> Planes:
        record = self.records[index]
        grey = images.read(record.path)
        own = (grey.shape[0], grey.shape[1])
        known = truth.of(record, own)
        if known is None:
            raise InputError(f"{record.id}: has no mask, and is not known to have nothing.")
        shape = own if self.size is None else (self.size, self.size)
        inside = known.inside.astype(np.float32)
        drr = None if record.drr is None else plane_at(images.read(record.drr), shape)
        return Planes(plane_at(grey, shape), plane_at(inside, shape), drr, own)

    def _shape(self, index: int) -> tuple[int, int]:
        return self._sizes[index] if self.size is None else (self.size, self.size)

    def _packed(self, planes: Planes) -> Bytes:
        mask = planes.mask.ravel() if self.size else np.packbits(planes.mask > 127)
        parts = [planes.image.ravel(), mask]
        return np.concatenate(parts if planes.drr is None else [*parts, planes.drr.ravel()])

    def _unpacked(self, index: int, data: Bytes) -> Planes:
        shape = self._shape(index)
        area = shape[0] * shape[1]
        end = area + (area if self.size else -(-area // 8))
        mask = data[area:end] if self.size else np.unpackbits(data[area:end], count=area) * 255
        drr = data[end:].reshape(shape) if self.records[index].drr is not None else None
        return Planes(data[:area].reshape(shape), mask.reshape(shape), drr, self._sizes[index])

    def _map(self, folder: Path) -> None:
        """Open the files of this cache, or make them first; one process makes, others wait."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [p for r in self.records for p in (r.path, r.mask, r.drr) if p is not None]
        kinds = "".join(f"{r.mask is None:d}{r.drr is None:d}" for r in self.records)
        key = fingerprint(paths, f"masks {_VERSION} {self.size} {kinds}")
        array, about = folder / f"{key[:16]}.bin", folder / f"{key[:16]}.json"
        with FileLock(folder / f"{key[:16]}.lock"):
            if not self._open(array, about, key):
                self._build(array, about, key)
                self._open(array, about, key)

    def _open(self, array: Path, about: Path, key: str) -> bool:
        # The description is written last and counts the bytes: without it nothing was finished.
        if not (array.is_file() and about.is_file()):
            return False
        try:
            found = files.read_json(about, what="the description of a cache of masks")
            if found["key"] != key or found["bytes"] != array.stat().st_size:
                return False
            spans = {int(index): span for index, span in found["spans"].items()}
            sizes = {int(index): (size[0], size[1]) for index, size in found["sizes"].items()}
            failed = {int(index): str(reason) for index, reason in found["failed"].items()}
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            return False
        self._sizes, self.failed = sizes, failed
        if spans:
            mapped = np.memmap(array, dtype=np.uint8, mode="r")
            self._kept = {index: mapped[start:end] for index, (start, end) in spans.items()}
        return True

    def _build(self, array: Path, about: Path, key: str) -> None:
        for stale in array.parent.glob(f"{array.stem}.tmp.*"):
            stale.unlink()  # under the lock: whoever wrote it is gone
        temporary = array.with_name(f"{array.stem}.tmp.{os.getpid()}")
        spans: dict[str, tuple[int, int]] = {}
        with temporary.open("wb") as file:
            for index in range(len(self)):
                try:
                    planes = self._decoded(index)
                except ImageReadError as error:
                    self.failed[index] = str(error)
                    continue
                self._sizes[index] = planes.size_px
                start = file.tell()
                file.write(self._packed(planes).tobytes())
                spans[str(index)] = (start, file.tell())
        about.unlink(missing_ok=True)
        temporary.replace(array)
        description = {
            "key": key,
            "bytes": array.stat().st_size,
            "spans": spans,
            "sizes": {str(index): size for index, size in self._sizes.items()},
            "failed": {str(index): reason for index, reason in self.failed.items()},
        }
        files.write_json(about, description)


def plane_at(levels: Float[np.ndarray, "h w"], shape: tuple[int, int]) -> UInt8[np.ndarray, "a b"]:
    """Values in [0, 1] at a size, as 8 bits: all that a model of masks ever sees of an image.

    Resampled first and rounded once, so that deeper files keep what they can.

    Args:
        levels: of any size.
        shape: height and width.
    """
    plane = torch.from_numpy(np.ascontiguousarray(levels, dtype=np.float32))[None]
    scaled = resized(plane, shape)[0] * 255
    return scaled.round_().to(torch.uint8).numpy()
