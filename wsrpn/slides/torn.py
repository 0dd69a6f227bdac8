"""Whether a TIFF, as most slides are, ends before all that its directories promise."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

_MOST = 1000  # directories that are followed
_HEAD = 16  # bytes: of the larger form


def ends_early(path: Path) -> bool:
    """Whether a TIFF or BigTIFF names a directory beyond its end, or none at all.

    Pixels are not looked for: where they are missing, it shows as they are read. False for every
    other kind of file, and where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Hamamatsu's directories are linked by 64 bits in a TIFF of 32.
            return _torn(file, follow=path.suffix.lower() != ".ndpi")
    except OSError:
        return False


def _torn(file: BinaryIO, *, follow: bool) -> bool:
    head = file.read(_HEAD)
    end = file.seek(0, os.SEEK_END)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = head[2:4]
    if not order or version not in (struct.pack(f"{order}H", kind) for kind in (42, 43)):
        return False
    big = version == struct.pack(f"{order}H", 43)
    count, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    if len(head) < _HEAD:
        return True
    (place,) = struct.unpack_from(f"{order}{link}", head, 8 if big else 4)
    if place == 0:  # its writer was stopped
        return True
    seen: set[int] = set()
    while place and place not in seen and len(seen) < _MOST:
        seen.add(place)
        tail = place + struct.calcsize(count)
        if tail > end:
            return True
        if not follow:
            return False
        file.seek(place)
        (entries,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))
        tail += entries * entry
        if tail + struct.calcsize(link) > end:
            return True
        file.seek(tail)
        (place,) = struct.unpack(f"{order}{link}", file.read(struct.calcsize(link)))
    return False
