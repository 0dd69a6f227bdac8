"""Pixels of tiled TIFF, as most slides are, decoded without a detour.

OpenSlide composes a region from its tiles by drawing them, which takes twice as long as decoding
them; and where the size of a level is rounded, it draws them a fraction of a pixel beside their
place. Where a level is a page of plain tiles in RGB, these are decoded here and copied; every other
level stays with OpenSlide. Both decode JPEG by libjpeg-turbo, and pixels are the same.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import UInt8

# What is wrong with a file is said by whoever needs it, in one sentence.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Size = tuple[int, int]

VENDORS = {"generic-tiff", "aperio"}  # whose levels are pages of the file, one each
_KEPT = 32_000_000  # bytes of decoded tiles, as many as OpenSlide keeps
_LARGEST = 1024  # pixels of a tile's side; larger ones are cheaper to draw than to decode twice
_MANY, _THREADS = 16, 4  # tiles that are worth a thread each, of so many; decoders free the lock
_CODECS = {1, 5, 7, 8}  # none, LZW, JPEG, deflate


class Tiled:
    """The levels of a slide that can be decoded tile by tile.

    Args:
        path: of the file.
        sizes: width and height of the levels.
    """

    def __init__(self, path: Path, sizes: Sequence[Size]) -> None:
        self._file: tifffile.TiffFile | None = None
        self._pages: dict[int, Any] = {}
        self._kept: OrderedDict[tuple[int, int], UInt8[np.ndarray, "h w 3"]] = OrderedDict()
        self._bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        try:
            import imagecodecs  # noqa: F401  (tifffile decodes JPEG with it)

            self._file = tifffile.TiffFile(path)
            self._pages = _pages(self._file, sizes)
        except Exception:  # whatever is unusual about the file, there is another way to read it
            self.close()

    def __del__(self) -> None:
        self.close()  # as OpenSlide does with a slide that nobody closes

    def has(self, level: int) -> bool:
        """Whether a level can be read here."""
        return level in self._pages

    def read(self, level: int, corner: tuple[int, int], size: Size) -> UInt8[np.ndarray, "h w 3"]:
        """A part that lies within a level.

        Args:
            level: one that `has` knows.
            corner: x and y of its first pixel.
            size: width and height.

        Raises:
            Exception: of any kind, where the file is damaged.
        """
        page, ((x, y), (wide, high)) = self._pages[level], (corner, size)
        found = np.empty((high, wide, 3), dtype=np.uint8)
        across = -(-page.imagewidth // page.tilewidth)
        rows = range(y // page.tilelength, -(-(y + high) // page.tilelength))
        columns = range(x // page.tilewidth, -(-(x + wide) // page.tilewidth))
        places = [(row, column) for row in rows for column in columns]
        tiles = self._tiles(level, [row * across + column for row, column in places])
        for (row, column), tile in zip(places, tiles, strict=True):
            top, left = row * page.tilelength, column * page.tilewidth
            a, b = max(top, y), min(top + page.tilelength, y + high)
            c, d = max(left, x), min(left + page.tilewidth, x + wide)
            found[a - y : b - y, c - x : d - x] = tile[a - top : b - top, c - left : d - left]
        return found

    def _tiles(self, level: int, numbers: Sequence[int]) -> list[UInt8[np.ndarray, "h w 3"]]:
        """Decoded tiles; those used last are kept. Many are decoded by several threads."""
        fresh = [number for number in numbers if (level, number) not in self._kept]
        packed = [self._packed(level, number) for number in fresh]

        def decoded(one: tuple[int, bytes]) -> UInt8[np.ndarray, "h w 3"]:
            page = self._pages[level]
            return page.decode(one[1], one[0], jpegtables=page.jpegtables)[0][0]

        jobs = list(zip(fresh, packed, strict=True))
        made = dict(zip(fresh, self._each(decoded, jobs), strict=True))
        for number in numbers:
            if number in made:
                self._kept[level, number] = made[number]
                self._bytes += made[number].nbytes
            else:
                made[number] = self._kept[level, number]
                self._kept.move_to_end((level, number))
        while self._bytes > _KEPT:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return [made[number] for number in numbers]

    def _each(self, what: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
        if len(jobs) < _MANY:
            return [what(job) for job in jobs]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
        return list(self._pool.map(what, jobs))

    def _packed(self, level: int, number: int) -> bytes:
        page = self._pages[level]
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[number])
        packed: bytes = handle.read(page.databytecounts[number])
        if len(packed) < page.databytecounts[number]:
            raise EOFError("the file ends too early")
        return packed

    def close(self) -> None:
        """Give the file and what is kept of it free."""
        self._pages, self._bytes = {}, 0
        self._kept.clear()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._file is not None:
            self._file.close()
            self._file = None


def _pages(file: tifffile.TiffFile, sizes: Sequence[Size]) -> dict[int, Any]:
    """Level → its page, of those that hold nothing but plain tiles in RGB."""
    found: dict[int, Any] = {}
    for page in (one.aspage() for one in file.pages):
        size = (page.imagewidth, page.imagelength)
        if size in sizes and _fits(page):
            found.setdefault(list(sizes).index(size), page)
    return found


def _fits(page: Any) -> bool:
    return bool(
        page.is_tiled
        and page.compression in _CODECS
        and page.shape == (page.imagelength, page.imagewidth, 3)
        and page.dtype == np.uint8
        and page.planarconfig == 1
        and page.photometric in ((2, 6) if page.compression == 7 else (2,))  # RGB, or YCbCr in JPEG
        and max(page.tilewidth, page.tilelength) <= _LARGEST
        and min(page.databytecounts, default=0) > 0  # OpenSlide knows what an empty tile means
    )
