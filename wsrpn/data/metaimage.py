"""MetaImage files in one piece (.mha), as ITK writes them and NODE21 has them.

A header of lines `Key = Value` that ends with `ElementDataFile = LOCAL`, then the values, packed
with zlib or not, first index fastest (x). An image of three dimensions is a stack of frames. Read
here rather than with SimpleITK, whose package is larger than all other readers together; what is
not read (a header beside its data, several channels, text) is refused by name.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from wsrpn.data import images

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST = 1 << 16  # of a header; real ones have a few hundred bytes
_END = "ElementDataFile"


def size(path: Path, *, max_pixels: int) -> tuple[int, int]:
    """Height and width from the header.

    Raises:
        ImageReadError: no header of an .mha file, or too many pixels.
    """
    header, _ = _header(path)
    _, height, width = _shape(path, header, max_pixels)
    return height, width


def read(path: Path, *, max_pixels: int, frame: int | None) -> Float[np.ndarray, "h w"]:
    """Decode one frame; `images.read` calls it and gathers its exceptions.

    Args:
        path: the file.
        max_pixels: most pixels of a frame.
        frame: which one, where there are several.

    Returns:
        float32 in [0, 1]; depth as for any image that does not say it (`images.full_scale`).
    """
    header, begin = _header(path)
    shape = _shape(path, header, max_pixels)
    wanted = images.check_frames(path, shape[0], frame)
    kind = _type(path, header)
    length = kind.itemsize * shape[0] * shape[1] * shape[2]
    data = _data(path, header, begin, length)
    values = np.frombuffer(data, dtype=kind).reshape(shape)[wanted]
    return images.grey_values(values)


def _header(path: Path) -> tuple[Mapping[str, str], int]:
    """Keys and values, and where the values of the image begin."""
    with path.open("rb") as file:
        head = file.read(_LONGEST)
    header: dict[str, str] = {}
    begin = 0
    while _END not in header:
        end = head.find(b"\n", begin)
        key, equals, value = head[begin:end].decode("latin-1").partition("=")
        if end < 0 or not equals:
            raise images.ImageReadError.of(path, f"no header of an .mha file ({_END} is missing).")
        header[key.strip()] = value.strip()
        begin = end + 1
    if header[_END] != "LOCAL":
        raise images.ImageReadError.of(
            path, "the pixels are in another file (.mhd and .raw); save both as one .mha file."
        )
    return header, begin


def _shape(path: Path, header: Mapping[str, str], max_pixels: int) -> tuple[int, int, int]:
    """Frames, height, width."""
    sides = header.get("DimSize", "").split()
    if len(sides) not in {2, 3} or not all(s.isascii() and s.isdecimal() for s in sides):
        raise images.ImageReadError.of(
            path, f"DimSize '{header.get('DimSize', '')}'; two or three whole numbers expected."
        )
    if header.get("ElementNumberOfChannels", "1") != "1":
        raise images.ImageReadError.of(path, "several channels, one expected.")
    width, height, *frames = map(int, sides)
    images.check_size(path, height, width, max_pixels)
    return frames[0] if frames else 1, height, width


def _type(path: Path, header: Mapping[str, str]) -> "np.dtype[np.generic]":
    name = header.get("ElementType", "")
    if name not in TYPES or not _true(header.get("BinaryData", "True")):
        raise images.ImageReadError.of(
            path, f"ElementType '{name}'; binary {', '.join(TYPES)} are read."
        )
    msb = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False"))
    return np.dtype(TYPES[name]).newbyteorder(">" if _true(msb) else "<")


def _true(value: str) -> bool:
    return value.lower() in {"true", "1"}


def _data(path: Path, header: Mapping[str, str], begin: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        if not _true(header.get("CompressedData", "False")):
            data = file.read(length)
        else:
            # No more than expected is unpacked, whatever the file holds.
            data = zlib.decompressobj().decompress(file.read(), length)
    if len(data) != length:
        raise images.ImageReadError.of(path, f"truncated: {len(data)} of {length} bytes.")
    return data
