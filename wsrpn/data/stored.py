"""Boxes drawn on the original image, in pixels of the file that is there.

Large sets go around in small copies (CheXpert-v1.0-small, MIMIC at 512 pixels), while their boxes
and masks keep the pixels of the originals.
"""

from collections.abc import Sequence
from pathlib import Path

from wsrpn.data import lookup
from wsrpn.data.images import ImageReadError
from wsrpn.types import Box


def to_file(
    boxes: Sequence[Box], drawn_px: tuple[int, int], path: Path
) -> tuple[tuple[Box, ...], bool]:
    """Scale boxes to the stored file; its header is read, no pixels.

    Args:
        boxes: in pixels of the image they were drawn on.
        drawn_px: height and width of that image.
        path: the file.

    Returns:
        The boxes, and whether they had to be scaled. A file that cannot be read leaves them as they
        are; whoever opens it says so.
    """
    try:
        factors = lookup.scale(path, drawn_px)
    except ImageReadError:
        return tuple(boxes), False
    if factors == (1.0, 1.0) or not boxes:
        return tuple(boxes), False
    return tuple(Box(b.label, lookup.scaled(b.xyxy_px, factors)) for b in boxes), True
