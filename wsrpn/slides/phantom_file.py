"""The file of a phantom slide: a pyramidal TIFF of JPEG tiles, as OpenSlide reads it.

Every level is made from the rows of blocks of the one before while they are drawn, so memory holds
some rows of blocks, and the smaller levels as JPEG.
"""

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.slides import phantom_pixels
from wsrpn.slides.phantom_slide import PhantomSlide
from wsrpn.slides.phantom_textures import BLOCK
from wsrpn.slides.reader import INSTALL

_QUALITY = 85


def write(
    path: Path, made: PhantomSlide, key: tuple[int, int], *, jitter: float = 0.13
) -> Image.Image:
    """Write the file of one slide, whole or not at all.

    Levels are top-level pages, each half as large as the one before, down to one block; `mpp`
    stands in their resolution, from which OpenSlide and tiffslide have it.

    Args:
        path: of the TIFF.
        made: the slide.
        key: seed of the cohort and index of the slide.
        jitter: relative spread (log-normal) of the strength of each stain between slides.

    Returns:
        The largest level with at most 1024 pixels a side, as a thumbnail.

    Raises:
        InputError: a library is missing.
    """
    import tifffile

    if importlib.util.find_spec("imagecodecs") is None:
        raise InputError(f"{path}: JPEG inside TIFF needs imagecodecs. {INSTALL}")
    width, height = made.tiles.extent_px0 or (1, 1)
    pyramid = _Pyramid(width, height)
    rows = phantom_pixels.draw(made, key, jitter=jitter)
    mpp = made.tiles.mpp

    def save(to: Path) -> None:
        with tifffile.TiffWriter(to, bigtiff=True) as file:
            for level, size in enumerate(pyramid.sizes):
                unit: dict[str, Any] = {"resolution": (1, 1), "resolutionunit": "NONE"}
                if mpp is not None:
                    step = (1e4 / (mpp * 2**level),) * 2
                    unit = {"resolution": step, "resolutionunit": "CENTIMETER"}
                file.write(
                    pyramid.largest(rows) if level == 0 else iter(pyramid.packed[level]),
                    shape=(size[1], size[0], 3), dtype=np.uint8, tile=(BLOCK, BLOCK),
                    photometric="ycbcr", subsampling=(2, 2), compression="jpeg",
                    subfiletype=0 if level == 0 else 1, metadata=None, software=False,
                    datetime=False, **unit,
                )  # fmt: skip

    files.write_with(path, save)
    return pyramid.thumbnail


class _Pyramid:
    """Packs rows of blocks into JPEG tiles, and their halves into those of the smaller levels.

    Attributes:
        sizes: width and height of every level, largest first.
        packed: tiles of every level but the largest, row by row.
        thumbnail: the largest level of at most 1024 pixels a side.
    """

    def __init__(self, width: int, height: int) -> None:
        self.sizes = [(width, height)]
        while max(self.sizes[-1]) > BLOCK:
            self.sizes.append(((self.sizes[-1][0] + 1) // 2, (self.sizes[-1][1] + 1) // 2))
        self.packed: list[list[bytes]] = [[] for _ in self.sizes]
        self._waiting: list[list[Image.Image]] = [[] for _ in self.sizes]
        self._shown = next(i for i, size in enumerate(self.sizes) if max(size) <= 4 * BLOCK)
        self.thumbnail = Image.new("RGB", self.sizes[self._shown])
        self._top = 0

    def largest(self, rows: Iterator[UInt8[np.ndarray, "h w 3"]]) -> Iterator[bytes]:
        """Tiles of the largest level; with the last row of them all the others are packed."""
        left = self.sizes[0][1]
        for row in rows:
            tiles = self._add(0, Image.fromarray(row))
            left -= len(row)
            if left == 0:  # before the last tile is taken: nobody asks for more than there are
                for level in range(1, len(self.sizes)):
                    if self._waiting[level]:
                        self._flush(level)
            yield from tiles

    def _add(self, level: int, row: Image.Image) -> list[bytes]:
        if level == self._shown:
            self.thumbnail.paste(row, (0, self._top))
            self._top += row.height
        if level + 1 < len(self.sizes):
            waiting = self._waiting[level + 1]
            waiting.append(row.reduce(2))
            if sum(half.height for half in waiting) == BLOCK:
                self._flush(level + 1)
        return [_jpeg(row, left) for left in range(0, row.width, BLOCK)]

    def _flush(self, level: int) -> None:
        halves, self._waiting[level] = self._waiting[level], []
        row = Image.new("RGB", (halves[0].width, sum(half.height for half in halves)))
        top = 0
        for half in halves:
            row.paste(half, (0, top))
            top += half.height
        self.packed[level] += self._add(level, row)


def _jpeg(row: Image.Image, left: int) -> bytes:
    """A tile of a row of blocks; the last ones are filled up with white."""
    part = row.crop((left, 0, min(left + BLOCK, row.width), row.height))
    if part.size != (BLOCK, BLOCK):
        whole = Image.new("RGB", (BLOCK, BLOCK), (255, 255, 255))
        whole.paste(part)
        part = whole
    sink = io.BytesIO()
    part.save(sink, "JPEG", quality=_QUALITY, subsampling=2)
    return sink.getvalue()
