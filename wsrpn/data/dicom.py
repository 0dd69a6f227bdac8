"""DICOM → grey levels as a viewer would show them, bright is dense.

The order is that of the standard (PS3.4 §N.2): stored values → modality LUT or rescale → VOI LUT or
window → inversion for MONOCHROME1 or Presentation LUT Shape INVERSE. Without a window 8-bit images
keep their scale, and deeper ones are stretched from their lowest to their highest value. Padding is
black, and left out of that stretch.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

from wsrpn.data import images

_HEADER = ("Rows", "Columns", "NumberOfFrames")


def size(path: Path, *, max_pixels: int) -> tuple[int, int]:
    """Height and width from the header.

    Raises:
        ImageReadError: no pixels, or too many of them.
    """
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_HEADER))
    return _size(path, header, max_pixels)


def read(path: Path, *, max_pixels: int, frame: int | None) -> Float[np.ndarray, "h w"]:
    """Decode and window one frame; `images.read` calls it and gathers its exceptions.

    Args:
        path: the file.
        max_pixels: most pixels of a frame.
        frame: which one, where there are several.

    Returns:
        float32 in [0, 1].
    """
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian

    header = pydicom.dcmread(path, force=True)
    _size(path, header, max_pixels)
    wanted = images.check_frames(path, int(header.get("NumberOfFrames") or 1), frame)
    if "PixelData" not in header:
        raise images.ImageReadError.of(path, "a DICOM file without pixels.")
    if "TransferSyntaxUID" not in header.file_meta:
        # A file without its meta header is nearly always written in the standard's default.
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    try:
        stored = pydicom.pixels.pixel_array(header, index=wanted)
    except RuntimeError as error:
        name = header.file_meta.TransferSyntaxUID.name
        reason = f"pixels stored as {name} cannot be decoded. pip install 'wsrpn[dicom]' may help"
        raise images.ImageReadError.of(path, f"{reason} ({str(error)[:120]}).") from None
    return shown(stored, header)


def _size(path: Path, header: Any, max_pixels: int) -> tuple[int, int]:
    if "Rows" not in header or "Columns" not in header:
        raise images.ImageReadError.of(path, "not a DICOM image, or damaged (no Rows or Columns).")
    height, width = int(header.Rows), int(header.Columns)
    images.check_size(path, height, width, max_pixels)
    return height, width


def shown(stored: Num[np.ndarray, "h w *c"], header: Any) -> Float[np.ndarray, "h w"]:
    """Stored values as a viewer shows them, in [0, 1].

    Args:
        stored: values of one frame.
        header: anything with the attributes of a DICOM data set.
    """
    if header.get("PhotometricInterpretation") == "PALETTE COLOR" and stored.ndim == 2:
        from pydicom.pixels import apply_color_lut

        stored = apply_color_lut(stored, header)
    if stored.ndim == 3:
        return _luminance(stored)
    from pydicom.pixels import apply_modality_lut

    padding = _padding(stored, header)
    values = np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    result = _voi(values, header, padding)
    if _inverted(header):
        result = 1 - result
    return np.where(padding, 0, result).astype(np.float32)


def _luminance(colour: Num[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w"]:
    grey = colour[..., :3].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return (grey / images.full_scale(float(colour.max()))).astype(np.float32)


def _inverted(header: Any) -> bool:
    # Both say the same of the same image (PS3.3 C.8.11.3.1.2 asks for them together).
    monochrome1 = header.get("PhotometricInterpretation") == "MONOCHROME1"
    return monochrome1 or header.get("PresentationLUTShape") == "INVERSE"


def _padding(stored: Num[np.ndarray, "h w"], header: Any) -> Bool[np.ndarray, "h w"]:
    first = header.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(stored.shape, dtype=bool)
    last = header.get("PixelPaddingRangeLimit")
    limit = last if isinstance(last, int) else first
    found: Bool[np.ndarray, "h w"] = (stored >= min(first, limit)) & (stored <= max(first, limit))
    # An image that is nothing but padding was padded by mistake.
    return found if not found.all() else np.zeros(stored.shape, dtype=bool)


def _voi(
    values: Float[np.ndarray, "h w"], header: Any, padding: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    if header.get("VOILUTSequence"):
        from pydicom.pixels import apply_voi

        looked_up = np.asarray(apply_voi(values.astype(np.int64), header), dtype=np.float64)
        return looked_up / images.full_scale(float(looked_up.max()))
    centre, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if centre is not None and width is not None and width > 0:
        return window(values, centre, width, function=header.get("VOILUTFunction") or "LINEAR")
    plain = "RescaleSlope" not in header and "ModalityLUTSequence" not in header
    if plain and int(header.BitsStored) <= 8 and values.min() >= 0:
        return values / 255
    real = values[~padding]
    low, high = real.min(), real.max()
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return float(value)
    return float(value[0]) if len(value) else None


def window(
    values: Float[np.ndarray, "*shape"], centre: float, width: float, *, function: str = "LINEAR"
) -> Float[np.ndarray, "*shape"]:
    r"""Window in [0, 1] (DICOM PS3.3 §C.11.2.1.2 and §C.11.2.1.3).

    Args:
        values: after rescaling.
        centre: window centre c.
        width: window width w.
        function: `LINEAR`, $(x - (c - ½)) / (w - 1) + ½$; `LINEAR_EXACT`, $(x - c) / w + ½$; both
            clipped; or `SIGMOID`, $1 / (1 + \exp(-4 (x - c) / w))$.

    Example:
        >>> window(np.array([0.0, 127.5, 255.0]), 128.0, 256.0)
        array([0. , 0.5, 1. ])
    """
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
