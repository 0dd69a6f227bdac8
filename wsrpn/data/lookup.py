"""Image files below a folder by the name that a table calls them, and boxes on resized copies."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsrpn.data import images

Corners = tuple[float, float, float, float]
SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".img", ".mha")


@dataclass(frozen=True)
class Found:
    """Image files by name without suffix.

    Attributes:
        paths: file of each name.
        repeated: how many further files had a name that was taken.
    """

    paths: Mapping[str, Path]
    repeated: int = 0


def stem(name: str) -> str:
    """A file's name without the suffixes of images; names with dots in them stay whole.

    Example:
        >>> stem("CXR1_IM-0001-4001.dcm.png"), stem("1.2.276.4.dcm"), stem("1.2.276.4")
        ('CXR1_IM-0001-4001', '1.2.276.4', '1.2.276.4')
    """
    base, suffix = os.path.splitext(name)  # noqa: PTH122 - a Path per name would take most time
    while suffix.lower() in SUFFIXES:
        name = base
        base, suffix = os.path.splitext(name)  # noqa: PTH122
    return name


def below(*folders: Path) -> Found:
    """Every image file below folders, by `stem`; hidden ones left out, links to folders followed.

    Where a name is there twice, the first in order of folders and names counts.
    """
    paths: dict[str, Path] = {}
    repeated = 0
    seen: set[str] = set()
    for folder in folders:
        for root, names, files in os.walk(folder, followlinks=True):
            real = os.path.realpath(root)
            names[:] = [] if real in seen else sorted(n for n in names if not n.startswith("."))
            if real in seen:  # a link that leads back, or a folder given twice
                continue
            seen.add(real)
            for name in sorted(files):
                key = stem(name)
                if key == name or name.startswith("."):
                    continue
                repeated += key in paths
                paths.setdefault(key, Path(root, name))
    return Found(paths, repeated)


def scale(path: Path, frame_px: tuple[int, int]) -> tuple[float, float]:
    """Factors (x, y) from coordinates on the original to pixels of the stored file.

    A DICOM file is the original and is not opened; of other files the header is read, because
    copies are often made smaller.

    Args:
        path: the file.
        frame_px: height and width of the original.

    Raises:
        ImageReadError: a header that cannot be read.
    """
    if path.suffix.lower() in {".dcm", ".dicom"}:
        return 1.0, 1.0
    height, width = images.size(path)
    return width / frame_px[1], height / frame_px[0]


def scaled(xyxy: Corners, factors: tuple[float, float]) -> Corners:
    """Corners times factors (x, y).

    Example:
        >>> scaled((0.0, 10.0, 20.0, 30.0), (0.5, 2.0))
        (0.0, 20.0, 10.0, 60.0)
    """
    (x1, y1, x2, y2), (x, y) = xyxy, factors
    return (x1 * x, y1 * y, x2 * x, y2 * y)


def counted(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Notes from counts: `7 images without a file.`, none for 0."""
    return tuple(f"{count} {what}." for what, count in counts.items() if count)
