"""What every open slide file does: a picture of any part, and of the whole.

Coordinates are full-size pixels of the file, whatever part of it was scanned.
"""

import abc
import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.slides import regions
from wsrpn.slides.regions import Box, Region, Size

_MOST_IN_ONE = 16_000_000  # pixels of a level that are read in one piece


class Reader(abc.ABC):
    """An open slide file, to be used with `with` or closed.

    Attributes:
        path: of the file.
        mpp: micrometres per full-size pixel; None where the file does not say, or what it says is
            no resolution of a microscope.
        extent_px0: width and height.
        offset_px0: x and y where the scanned part begins (`openslide.bounds-*`); QuPath counts from
            there, ASAP from the corner of the file.
        downsamples: full-size pixels to a pixel of each level, rising from 1.
    """

    path: Path
    mpp: float | None
    extent_px0: tuple[int, int]
    offset_px0: tuple[float, float]
    downsamples: tuple[float, ...]
    _levels: tuple[Size, ...]  # width and height of each

    def read(self, box_px0: Box, size_px: Size) -> UInt8[np.ndarray, "h w 3"]:
        """A part of the slide as a picture.

        It is made from the coarsest level that is fine enough. Pixels of that level are taken as
        they are where one is one of the picture (see `regions`); else they are shrunk or enlarged
        by Pillow's bicubic filter, which averages while it shrinks.

        Args:
            box_px0: x1, y1, x2, y2; may have fractions and may reach beyond the slide.
            size_px: width and height of the picture.

        Returns:
            RGB, white where there is no slide and where nothing was scanned.

        Raises:
            InputError: the file is damaged there, or has more than 8 bits a channel.
        """
        part = regions.plan(self.downsamples, box_px0, size_px)
        if math.prod(part.size_level) > _MOST_IN_ONE and max(size_px) > 1:
            whole = np.empty((size_px[1], size_px[0], 3), dtype=np.uint8)
            for box, size, place in regions.halves(box_px0, size_px):
                whole[place] = self.read(box, size)
            return whole
        try:
            image = self._padded(part)
        except TooDeep as error:
            raise InputError(f"{self.path}: {error}") from None
        except Exception as error:  # each format has faults of its own kind
            self._recover()
            x, y = (round(max(edge, 0.0)) for edge in box_px0[:2])
            raise InputError(
                f"{self.path}: cannot be read at x {x}, y {y} ({error}); the file ends early "
                "or is damaged; copy it again."
            ) from None
        if part.seen_level is None:
            return image
        drawn = Image.fromarray(image)
        drawn = drawn.resize(size_px, Image.Resampling.BICUBIC, part.seen_level)
        return self._white_beyond(np.array(drawn), part)

    def _padded(self, part: Region) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels of a part of a level, and of what it has beyond the slide.

        That is white; but where a filter follows, pixels of the edge are repeated, as white would
        shine through.
        """
        (wide, high), whole = part.size_level, self._levels[part.level]
        x, y = part.corner_level
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + wide, whole[0]), min(y + high, whole[1])
        if right <= left or bottom <= top:
            return np.full((high, wide, 3), 255, dtype=np.uint8)
        inside = self._pixels(part.level, (left, top), (right - left, bottom - top))
        beyond = ((top - y, y + high - bottom), (left - x, x + wide - right), (0, 0))
        if not any(map(any, beyond)):
            return inside
        if part.seen_level is None:
            return np.pad(inside, beyond, constant_values=255)
        return np.pad(inside, beyond, mode="edge")

    def _white_beyond(
        self, found: UInt8[np.ndarray, "h w 3"], part: Region
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A picture whose pixels with a centre beyond the slide are white."""
        seen = part.seen_level or (0.0, 0.0, 0.0, 0.0)
        for axis, pixels in enumerate((found.shape[1], found.shape[0])):
            begin, end = (part.corner_level[axis] + seen[axis + side] for side in (0, 2))
            centre = begin + (end - begin) * (np.arange(pixels) + 0.5) / pixels
            beyond = (centre < 0) | (centre > self._levels[part.level][axis])
            found[(slice(None), beyond) if axis == 0 else beyond] = 255
        return found

    @abc.abstractmethod
    def _pixels(
        self, level: int, corner_level: tuple[int, int], size_level: Size
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Pixels of a part that lies within its level, on white; an array of its own."""

    @abc.abstractmethod
    def _recover(self) -> None:
        """Make what is whole readable after a fault elsewhere."""

    def thumbnail(self, longest_px: int) -> Image.Image:
        """The whole slide, its longer side at most so long, on white; RGB.

        Raises:
            InputError: the picture is damaged, or its smallest level is very large.
        """
        try:
            return small(self._whole(longest_px), longest_px)
        except InputError:
            raise
        except Exception as error:  # each format has faults of its own kind
            raise InputError(f"{self.path}: no picture can be read ({error}).") from None

    @abc.abstractmethod
    def _whole(self, longest_px: int) -> Image.Image:
        """The whole slide, its longer side at least so long if it is."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give the file and its cache free."""

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


class TooDeep(ValueError):
    """Levels that 8 bits cannot hold."""


def on_white(image: Image.Image) -> Image.Image:
    """RGB on white, because what was not scanned is transparent and black where that is dropped.

    Raises:
        TooDeep: more than 8 bits a channel, which Pillow would cut off at 255.
    """
    if image.mode.startswith(("I", "F")):
        raise TooDeep("more than 8 bits a channel; a slide is 8-bit RGB, convert it.")
    if image.mode in ("RGBA", "LA", "P"):
        whole = image.convert("RGBA")
        alpha = whole.getchannel("A")
        if alpha.getextrema() == (255, 255):  # nearly always; a tenth of the time of pasting
            return whole.convert("RGB")
        image = Image.new("RGB", image.size, (255, 255, 255))
        image.paste(whole, mask=alpha)
    return image.convert("RGB")


def small(image: Image.Image, longest_px: int) -> Image.Image:
    """A picture on white, its longer side at most so long."""
    image = on_white(image)
    image.thumbnail((longest_px, longest_px), reducing_gap=3.0)
    return image
