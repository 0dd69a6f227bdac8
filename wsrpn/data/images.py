"""One image file → grey levels in [0, 1]. Every fault of every decoder becomes one kind of error.

What is decided here:

* The size is read from the header first; a file that unpacks to more than `max_pixels` is refused.
* Colour, palette and CMYK images become luminance; transparency is ignored.
* EXIF orientation of JPEG and PNG is ignored: boxes are in pixels of the image as it is stored. The
  orientation tag of a TIFF belongs to the format; size and pixels are both those after turning.
* 8 bits are divided by 255. Deeper files seldom say how many bits they use, so their scale is the
  smallest of 10, 12, 14 and 16 bits that holds the largest value.
* DICOM is recognised by its content or suffix and read by `wsrpn.data.dicom`; `.mha` and `.img`
  (JSRT) by their suffix, read by `metaimage` and `rawimage`.
"""

import io
import threading
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from PIL import (
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
)

from wsrpn.errors import InputError

MAX_PIXELS = 64_000_000
# Imported by name: Pillow knows a format only once its plug-in is loaded.
_PLUGINS = (BmpImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin)
# Not everything Pillow knows: EPS would start an interpreter, and nobody stores radiographs in FLI.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM")  # MPO comes through JPEG
_DICOM_SUFFIXES = {".dcm", ".dicom"}
_DEEP = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
GREY = (
    "What is not black becomes 255 with Pillow by "
    "Image.open(IN).convert('L').point(lambda v: 255 * (v > 0)).save(OUT)."
)


class ImageReadError(InputError):
    """An image that cannot be read; the sentence names the file and the reason."""

    @classmethod
    def of(cls, path: Path, reason: str) -> "ImageReadError":
        """The error of a file."""
        return cls(f"{path}: {reason}")


class _Quiet:
    """No warnings while any thread is inside.

    `warnings.catch_warnings` alone is not for threads: the last one out would put back the silence
    that another had found, and the program would never warn again.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_quiet = _Quiet()


def read(
    path: Path, *, max_pixels: int = MAX_PIXELS, frame: int | None = None
) -> Float[np.ndarray, "h w"]:
    """Decode an image.

    Args:
        path: PNG, JPEG, TIFF, BMP, PNM, DICOM, MetaImage (.mha) or an .img of JSRT.
        max_pixels: larger images are refused before they are unpacked.
        frame: which frame of a file that has several.

    Returns:
        float32 in [0, 1], bright is dense.

    Raises:
        ImageReadError: missing, empty, truncated, too large, several frames, or no image at all.
    """
    # The one place where every exception is caught: damaged files raise more than ten kinds.
    try:
        with _quiet:
            _check_file(path)
            pixels = _decode(path, max_pixels, frame)
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError.of(path, _reason(error, max_pixels)) from None
    if not np.isfinite(pixels).all():
        raise ImageReadError.of(path, "pixels that are not finite numbers.")
    return pixels


def read_rgb(path: Path, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a picture in colour, for tiles of slides; what is transparent becomes white.

    Raises:
        ImageReadError: as `read`; also for more than 8 bits, and for DICOM.
    """
    try:
        with _quiet:
            _check_file(path)
            with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
                check_size(path, image.height, image.width, max_pixels)
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                check_frames(path, frames, None)
                if image.mode == "F" or image.mode in _DEEP:
                    raise ImageReadError.of(path, "deeper than 8 bits; a tile is 8-bit RGB.")
                if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                    whole = image.convert("RGBA")
                    white = Image.new("RGBA", image.size, "white")
                    return np.asarray(Image.alpha_composite(white, whole).convert("RGB"))
                return np.asarray(image.convert("RGB"))
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError.of(path, _reason(error, max_pixels)) from None


def numbers(path: Path, *, max_pixels: int = MAX_PIXELS) -> Int[np.ndarray, "h w"]:
    """Decode a picture of labels: numbers as they are stored, and no grey levels.

    A palette gives its indices, or its shades where they are grey and all different. JPEG does not
    keep numbers: there, what is brighter than half of white is 255 and the rest 0. Of DICOM and
    MetaImage it is only told what is above 0.

    Raises:
        ImageReadError: as `read`; also for colours and for fractions, which number nothing.
    """
    try:
        with _quiet:
            _check_file(path)
            if _reader(path):
                return (read(path, max_pixels=max_pixels) > 0).astype(np.int32)
            with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
                check_size(path, image.height, image.width, max_pixels)
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                check_frames(path, frames, None)
                return _numbers(path, image)
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError.of(path, _reason(error, max_pixels)) from None


def _numbers(path: Path, image: Image.Image) -> Int[np.ndarray, "h w"]:
    if image.format in ("JPEG", "MPO"):
        return (np.asarray(image.convert("L")) > 127).astype(np.int32) * 255
    if image.mode == "P":
        shades = np.asarray(image.convert("RGB"))
        indices = np.asarray(image)
        grey = (shades == shades[..., :1]).all()
        # Indices that share a shade are objects of their own.
        apart = grey and len(np.unique(shades[..., 0])) == len(np.unique(indices))
        return (shades[..., 0] if apart else indices).astype(np.int32)
    values = np.asarray(image)
    if values.ndim == 3:
        colours = values[..., :1] if image.mode == "LA" else values[..., :3]
        if image.mode not in ("LA", "RGB", "RGBA") or (colours != colours[..., :1]).any():
            raise ImageReadError.of(path, f"in colour; a mask has one number in each pixel. {GREY}")
        values = colours[..., 0]
    if np.issubdtype(values.dtype, np.floating) and (values != np.round(values)).any():
        raise ImageReadError.of(path, "fractions; a mask has a whole number in each pixel.")
    if _is_unsigned(image):
        values = values.view(np.uint32)
    largest = np.iinfo(np.int32).max
    if not (values.min() >= -largest and values.max() <= largest):
        raise ImageReadError.of(
            path, f"numbers beyond {largest:,}; number the objects of a mask from 1 on."
        )
    return values.astype(np.int32)


def _is_unsigned(image: Image.Image) -> bool:
    """Whether these are the unsigned 32-bit numbers of a TIFF, which Pillow takes for signed."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,)


def size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width in pixels, from the header alone.

    Raises:
        ImageReadError: as `read`.
    """
    try:
        with _quiet:
            _check_file(path)
            if reader := _reader(path):
                found: tuple[int, int] = reader.size(path, max_pixels=max_pixels)
                return found
            with Image.open(path, formats=FORMATS) as image:
                check_size(path, image.height, image.width, max_pixels)
                return image.height, image.width
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError.of(path, _reason(error, max_pixels)) from None


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by the mark at byte 128 or by its suffix."""
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or path.suffix.lower() in _DICOM_SUFFIXES


def _reader(path: Path) -> ModuleType | None:
    """The module with `size` and `read` for what Pillow does not know."""
    # Inside, because they build on this module, and most runs need none of them.
    if is_dicom(path):
        from wsrpn.data import dicom

        return dicom
    if path.suffix.lower() == ".mha":
        from wsrpn.data import metaimage

        return metaimage
    if path.suffix.lower() == ".img":
        from wsrpn.data import rawimage

        return rawimage
    return None


def check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Refuse an image by the size in its header.

    Raises:
        ImageReadError: no area, or more than `max_pixels`.
    """
    if height < 1 or width < 1:
        raise ImageReadError.of(path, f"{width} × {height} pixels is no image.")
    if height * width > max_pixels:
        raise ImageReadError.of(
            path,
            f"{width} × {height} pixels are more than the {max_pixels / 1e6:g} million allowed.",
        )


def check_frames(path: Path, frames: int, frame: int | None) -> int:
    """The frame to read.

    Raises:
        ImageReadError: several frames and none named, or no such frame.
    """
    if frame is None and frames > 1:
        raise ImageReadError.of(
            path, f"{frames} frames, one expected. Save the one that is meant as a file."
        )
    if frame is not None and not 0 <= frame < frames:
        raise ImageReadError.of(path, f"no frame {frame}; the file has {frames}.")
    return frame or 0


def full_scale(largest: float) -> float:
    """White of an integer image: 2^bits − 1 of the smallest usual depth that holds `largest`.

    Example:
        >>> full_scale(200.0), full_scale(4000.0), full_scale(4096.0)
        (255.0, 4095.0, 16383.0)
    """
    for bits in (8, 10, 12, 14, 16):
        if largest < 2**bits:
            return float(2**bits - 1)
    return float(2**32 - 1) if largest < 2**32 else largest


def stretched(values: Num[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Values moved linearly to lowest 0 and highest 1; all 0 where they are equal."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return scaled.astype(np.float32)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ImageReadError.of(path, "no such file.")
    if path.is_dir():
        raise ImageReadError.of(path, "a folder, an image was expected.")
    if path.stat().st_size == 0:
        raise ImageReadError.of(path, "the file is empty (0 bytes).")


def _reason(error: Exception, max_pixels: int) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or damaged (PNG, JPEG, TIFF and DICOM are read)."
    if isinstance(error, Image.DecompressionBombError):
        return f"far more pixels than the {max_pixels / 1e6:g} million allowed."
    if isinstance(error, PermissionError):
        return "no permission to read it."
    text = " ".join(str(error).split())
    return f"cannot be decoded ({text[:200] or type(error).__name__})."


def _decode(path: Path, max_pixels: int, frame: int | None) -> Float[np.ndarray, "h w"]:
    if reader := _reader(path):
        pixels: Float[np.ndarray, "h w"] = reader.read(path, max_pixels=max_pixels, frame=frame)
        return pixels
    # From memory: Pillow reads in small pieces, which is slow on network folders.
    with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
        check_size(path, image.height, image.width, max_pixels)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        wanted = check_frames(path, frames, frame)
        if wanted:
            image.seek(wanted)
            check_size(path, image.height, image.width, max_pixels)
        return grey(image)


def grey(image: Image.Image) -> Float[np.ndarray, "h w"]:
    """Grey levels in [0, 1] of a Pillow image of any mode."""
    if image.mode == "F" or image.mode in _DEEP:
        return grey_values(np.asarray(image))
    if image.mode not in {"L", "LA", "1"}:
        image = image.convert("RGB")  # palettes and CMYK have no direct way to grey
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def grey_values(values: Num[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Grey levels in [0, 1] of values of any type that do not say how deep they are."""
    if np.issubdtype(values.dtype, np.floating):
        fits = values.size and values.min() >= 0 and values.max() <= 1
        return values.astype(np.float32) if fits else stretched(values)
    if values.min() < 0:
        return stretched(values)
    return (values.astype(np.float64) / full_scale(float(values.max()))).astype(np.float32)
