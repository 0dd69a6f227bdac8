"""Pixels of mask files: plain pictures, and pyramidal TIFF at a level of bounded size."""

import math
import warnings
import zlib
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Integer
from PIL import Image

from wsrpn.errors import InputError, counted

MOST = 32_000_000  # pixels of the level that is read; 8 µm a pixel on a CAMELYON slide
MOST_AT_ONCE = 4 * MOST  # values of a picture, or of a tile or strip, that are decoded in one go
_DAMAGED = (  # what tifffile raises on damaged files
    OSError, ValueError, IndexError, KeyError, RuntimeError, MemoryError, zlib.error,
)  # fmt: skip
_VALUES = 6  # different ones in a mask that is read in blocks
_ASKEW = 0.02  # difference of the scales in x and y, and a pixel for rounding

Size = tuple[int, int]  # width and height
Scale = tuple[float, float]  # in x and y


def picture(path: Path) -> Integer[np.ndarray, "h w"]:
    """A mask in a plain picture; the indices of one with a palette.

    Raises:
        InputError: it cannot be read, is too large, or not of whole numbers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            bands = len(image.getbands())
            if image.width * image.height * bands > MOST_AT_ONCE:
                raise InputError(
                    f"{path}: {image.width} × {image.height} pixels in {counted(bands, 'channel')} "
                    "are too many for a mask in one piece; save it smaller, in one channel, or as "
                    "a pyramidal TIFF."
                )
            return _flat(np.asarray(image), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a mask was expected.") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a mask ({error}).") from None


def tiff(path: Path) -> tuple[Integer[np.ndarray, "h w"], Scale, Size | None]:
    """The finest level of at most `MOST` pixels; where there is none, the coarsest in blocks.

    Returns:
        Its values, its scale against the first page, and the size of that page if it is a pyramid.

    Raises:
        InputError: it cannot be read, or a library for its compression is missing.
    """
    try:
        with tifffile.TiffFile(path) as file:
            pages = _levels(file)
            small = [page for page in pages if page.imagewidth * page.imagelength <= MOST]
            size = (pages[0].imagewidth, pages[0].imagelength)
            _refuse_large(small[0] if small else pages[-1], path, whole=bool(small))
            if not small:
                values, factor = _reduced(pages[-1], path)
                scale = fit(size, (pages[-1].imagewidth, pages[-1].imagelength))
                return values, (scale[0] * factor, scale[1] * factor), size
            values = _flat(small[0].asarray(), path)
            scale = fit(size, (values.shape[1], values.shape[0]))
            return values, scale, size if len(pages) > 1 else None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a mask was expected.") from None
    except InputError:
        raise
    except _DAMAGED as error:
        hint = " Install: pip install 'wsrpn[slides]'." if "imagecodecs" in str(error) else ""
        raise InputError(f"{path}: cannot be read as a mask ({error}).{hint}") from None


def _levels(file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The levels of a pyramid, finest first, marked as such or only of falling size."""
    levels = [level.keyframe for level in file.series[0].levels]
    if len(levels) == 1:
        first, *others = (page.aspage() for page in file.pages)
        for page in others:
            smaller = page.imagewidth < levels[-1].imagewidth
            if smaller and askew(_size(first), _size(page)) is None:
                levels.append(page)
    return levels


def _refuse_large(page: tifffile.TiffPage, path: Path, *, whole: bool) -> None:
    """Stop before a tile or strip is decoded that few packed bytes make larger than memory."""
    values = max(math.prod(page.chunks), page.size if whole else 0)
    if values > MOST_AT_ONCE:
        raise InputError(
            f"{path}: {values:,} values of a mask of {page.imagewidth} × {page.imagelength} pixels "
            "in one piece are too many; save it with tiles of 512 × 512 in one channel."
        )


def _size(page: tifffile.TiffPage) -> Size:
    return (page.imagewidth, page.imagelength)


def _reduced(page: tifffile.TiffPage, path: Path) -> tuple[Integer[np.ndarray, "h w"], int]:
    """A page too large to hold, in blocks of which each gets its most frequent value."""
    high, wide = page.imagelength, page.imagewidth
    factor = 2 ** math.ceil(math.log2(math.sqrt(high * wide / MOST)))
    shape = (-(-high // factor), -(-wide // factor))
    counts: dict[int, np.ndarray] = {}
    for data, place, _ in page.segments():
        if data is None:  # a sparse file; nothing is 0
            continue
        top, left = place[2], place[3]
        values = _flat(data[0][: high - top, : wide - left], path)
        rows, columns = (
            _blocks(n, at, factor) for n, at in zip(values.shape, (top, left), strict=True)
        )
        for value in np.unique(values):
            here = np.add.reduceat((values == value).astype(np.uint16), rows[0], axis=0)
            here = np.add.reduceat(here, columns[0], axis=1, dtype=np.uint32)
            found = counts.setdefault(int(value), np.zeros(shape, dtype=np.uint32))
            found[np.ix_(rows[1], columns[1])] += here
            if len(counts) > _VALUES:
                raise InputError(f"{path}: more than {_VALUES} different values are no mask.")
    names = sorted(counts)
    most = np.stack([counts[name] for name in names]).argmax(axis=0)
    return np.array(names)[most], factor


def _blocks(many: int, begin: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Where blocks begin among `many` places from `begin` on, and which blocks these are."""
    block = np.arange(begin, begin + many) // factor
    first = np.flatnonzero(np.diff(block, prepend=-1))
    return first, block[first]


def _flat(values: np.ndarray, path: Path) -> Integer[np.ndarray, "h w"]:
    """One channel of whole numbers: of a colour picture the red one, as CAMELYON16 reads masks."""
    if values.ndim == 3:
        values = values[..., 0]
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{path}: a mask of whole numbers was expected, not {values.dtype}.")
    return values


def fit(large: Size, small: Size) -> Scale:
    """Scales in x and y: one power of two where sizes were halved, else what stretches exactly.

    Example:
        >>> fit((103, 51), (26, 13)), fit((260, 130), (26, 13))
        ((4.0, 4.0), (10.0, 10.0))
    """
    x, y = large[0] / small[0], large[1] / small[1]
    factor = 2.0 ** round(math.log2(x))
    halved = all(abs(few - many / factor) < 1 for many, few in zip(large, small, strict=True))
    return (factor, factor) if halved and x != y else (x, y)


def askew(large: Size, small: Size) -> str | None:
    """How the shapes differ, or None where rounding explains it."""
    x, y = large[0] / small[0], large[1] / small[1]
    if abs(small[1] - large[1] / x) <= 1 + _ASKEW * small[1]:
        return None
    return f"{x:.4g} times as wide, {y:.4g} times as high"
