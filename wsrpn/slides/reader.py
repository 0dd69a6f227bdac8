"""Slide files: size, micrometres per pixel, bounds, pictures of any part, and a thumbnail.

OpenSlide first, tiffslide where it cannot be loaded or does not know the file, Pillow for plain
pictures. Coordinates are full-size pixels of the file, whatever part of it was scanned.
"""

import dataclasses
import math
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.slides import direct, regions, torn
from wsrpn.slides.reading import Reader, on_white
from wsrpn.slides.regions import Size
from wsrpn.tiles import Slide

__all__ = ["MOST_AT_ONCE", "Reader", "complete", "from_bounds", "open_slide"]

INSTALL = "Install: pip install 'wsrpn[slides]'."
_PLAIN = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
_POSSIBLE_UM = (0.02, 50.0)  # outside: the resolution of a screen or printer, not of a microscope
MOST_AT_ONCE = 64_000_000  # pixels of a level that a picture of the whole slide is made from


def open_slide(path: Path) -> Reader:
    """Open a slide file.

    Raises:
        InputError: no such file, one that nothing can read, or a library is missing.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; a slide was expected.")
    faults = []
    for library in ("openslide", "tiffslide"):
        # tiffslide takes what is left of a file that OpenSlide refuses.
        if library == "tiffslide" and torn.ends_early(path):
            raise InputError(f"{path}: the file ends early or is damaged; copy it again.")
        try:
            return _Pyramid(path, library)
        except _Unfit as fault:
            faults.append(str(fault))
    if path.suffix.lower() in _PLAIN:
        return _Picture(path)
    raise InputError(f"{path}: cannot be opened as a slide ({'; '.join(faults)}).")


class _Unfit(Exception):
    """A library that is not there, or does not know the file."""


class _Pyramid(Reader):
    """A slide that OpenSlide or tiffslide opens; they have the same interface."""

    def __init__(self, path: Path, library: str) -> None:
        self.path, self._library = path, library
        self._file = _opened(path, library)
        try:
            facts = self._file.properties
            levels = tuple((int(wide), int(high)) for wide, high in self._file.level_dimensions)
            self.extent_px0 = levels[0]
        except Exception as error:  # tiffslide opens whatever begins like a TIFF, then looks at it
            self._file.close()
            raise _Unfit(f"{library} says: {error}") from None
        self.mpp, self._levels = _mpp(facts, library), levels
        self.downsamples = tuple(regions.snapped(self.extent_px0, size) for size in self._levels)
        x, y = (_number(facts.get(f"{library}.bounds-{axis}")) or 0.0 for axis in "xy")
        self.offset_px0 = (x, y)
        plain = library == "openslide" and facts.get("openslide.vendor") in direct.VENDORS
        self._tiled = direct.Tiled(path, self._levels) if plain else None

    def _whole(self, longest_px: int) -> Image.Image:
        factor = max(max(self.extent_px0) / longest_px, 1.0)
        level = self._file.get_best_level_for_downsample(factor)
        size = self._file.level_dimensions[level]
        if size[0] * size[1] > MOST_AT_ONCE:
            raise InputError(
                f"{self.path}: no picture, because its level of {size[0]} × {size[1]} pixels is "
                "too large to shrink; save it with smaller levels, as a pyramidal TIFF."
            )
        return self._file.read_region((0, 0), level, size)

    def _pixels(
        self, level: int, corner_level: tuple[int, int], size_level: Size
    ) -> UInt8[np.ndarray, "h w 3"]:
        if self._tiled is not None and self._tiled.has(level):
            return self._tiled.read(level, corner_level, size_level)
        factor = self._file.level_downsamples[level]
        x, y = (_place_px0(edge, factor, self._library) for edge in corner_level)
        return np.array(on_white(self._file.read_region((x, y), level, size_level)))

    def _recover(self) -> None:
        """OpenSlide answers whatever is asked after a fault with that fault, so it opens anew."""
        try:
            anew = _opened(self.path, self._library)
        except _Unfit:
            return  # gone meanwhile; what is open goes on saying that something is wrong
        self._file.close()
        self._file = anew

    def close(self) -> None:
        self._file.close()
        if self._tiled is not None:
            self._tiled.close()


class _Picture(Reader):
    """A plain picture taken as a slide of one level; nobody says how large its pixels are."""

    def __init__(self, path: Path) -> None:
        self.path, self.mpp, self.offset_px0 = path, None, (0.0, 0.0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                self._image = Image.open(path)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise InputError(
                f"{path}: too large for a plain picture; save it as a pyramidal TIFF."
            ) from None
        except (OSError, SyntaxError) as error:
            raise InputError(f"{path}: cannot be opened as a slide ({error}).") from None
        self.extent_px0 = self._image.size
        self.downsamples, self._levels = (1.0,), (self.extent_px0,)
        self._decoded: UInt8[np.ndarray, "h w 3"] | None = None

    def _pixels(
        self, level: int, corner_level: tuple[int, int], size_level: Size
    ) -> UInt8[np.ndarray, "h w 3"]:
        if self._decoded is None:
            self._decoded = np.array(on_white(self._image))
        (x, y), (wide, high) = corner_level, size_level
        return self._decoded[y : y + high, x : x + wide].copy()

    def _recover(self) -> None:
        """It is decoded as a whole; nothing of it is to be saved."""

    def _whole(self, longest_px: int) -> Image.Image:
        return self._image

    def close(self) -> None:
        self._image.close()


def _opened(path: Path, library: str) -> Any:
    """The file in a library.

    Raises:
        _Unfit: the library cannot be loaded, or does not know the file.
    """
    try:
        if library == "openslide":
            import openslide

            return openslide.OpenSlide(str(path))
        import tiffslide

        return tiffslide.TiffSlide(str(path))
    except (ImportError, OSError) as error:
        missing = isinstance(error, ImportError) or "libopenslide" in str(error).lower()
        why = f"is not installed. {INSTALL[:-1]}" if missing else f"says: {error}"
        raise _Unfit(f"{library} {why}") from None
    except (LookupError, struct.error):  # of a list of pictures that is empty or torn
        raise _Unfit(f"{library} finds no picture in it") from None
    except Exception as error:  # both raise kinds of their own for files they do not know
        raise _Unfit(f"{library} says: {error}") from None


def _place_px0(edge_level: int, factor: float, library: str) -> int:
    """The place by which a library finds a pixel of a level.

    Both take full-size pixels and divide them by a downsample of their own; tiffslide then drops
    the fraction, and OpenSlide draws as much beside.
    """
    place = round(edge_level * factor)
    if library == "tiffslide" and int(place / factor) < edge_level:
        return place + 1
    return place


def _mpp(facts: Mapping[str, Any], library: str) -> float | None:
    """The mean of x and y where both are possible."""
    found = [_number(facts.get(f"{library}.mpp-{axis}")) for axis in "xy"]
    known = [um for um in found if um is not None and _POSSIBLE_UM[0] <= um <= _POSSIBLE_UM[1]]
    return sum(known) / 2 if len(known) == 2 else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def complete(slide: Slide) -> Slide:
    """What slides.csv does not say of a slide, from its file: mpp, size, and the offset.

    GeoJSON comes from QuPath, which counts from the bounds of the scanned part; everything else
    counts from the corner of the file. `origin` in the table (`slide` or `bounds`) or an offset
    there decides otherwise. The file is opened only if something is missing.

    Raises:
        InputError: the file cannot be opened.
    """
    if slide.file is None:
        return slide
    shift = from_bounds(slide)
    if slide.mpp is not None and slide.extent_px0 is not None and not shift:
        return slide
    with open_slide(slide.file) as file:
        return dataclasses.replace(
            slide,
            mpp=file.mpp if slide.mpp is None else slide.mpp,
            extent_px0=slide.extent_px0 or file.extent_px0,
            offset_px0=file.offset_px0 if shift else slide.offset_px0,
        )


def from_bounds(slide: Slide) -> bool:
    """Whether the annotation counts from the bounds of the scanned part, and these are unknown."""
    if slide.offset_px0 != (0.0, 0.0):
        return False
    origin = slide.extra.get("origin", "")
    if origin:
        return origin == "bounds"
    return slide.annotation is not None and ".geojson" in slide.annotation.name.lower()
