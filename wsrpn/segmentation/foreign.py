"""Files of others as scores, masks or numbered objects: what a folder holds is decided once for it.

* Fractions in [0, 1] are scores.
* Bits, or 0 and one number that is 1 or the largest of its type, in all files: masks.
* Whole numbers otherwise: scores are shares of the largest number of their type, 8 or 16 bits.
  Numbers of objects, as StarDist, Cellpose, Fiji and `wsrpn predict --objects` write them, have
  another look: neighbours inside share their number, and a number has one area, or hardly more.
  A folder that looks like both, or like neither, is refused until somebody says what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int, Num, UInt16
from PIL import Image
from scipy import ndimage

from wsrpn.data import images
from wsrpn.errors import InputError, nearest

Content = Literal["scores", "labels"]
CONTENTS: tuple[str, ...] = get_args(Content)
TOP = 65535
FLAT, ROUGH = 0.7, 0.5  # share of neighbours inside that agree: objects from here on, scores below
AREAS = 1.5  # areas per number: objects can be cut by a tool, scores are scattered
BRIGHT = 0.5  # of the largest number of the type: so many objects are not in one image
_SQUARE = np.ones((3, 3), dtype=bool)
_SAY = "say --as scores, or --as labels where the numbers are those of objects."


@dataclass(frozen=True)
class Look:
    """How the whole numbers of a file look.

    Attributes:
        is_scores: fractions, which cannot be anything else.
        numbers: how many there are above 0.
        is_mask: 0 and at most one number, 1 or the largest of its type.
        largest: number, as a share of the largest of its type.
        pairs: neighbours of which both are above 0.
        agreeing: those of them with one number.
        areas: connected pixels of one number; only counted where enough neighbours agree.
    """

    is_scores: bool
    numbers: int
    is_mask: bool
    largest: float
    pairs: int
    agreeing: int
    areas: int


def content_of(
    folder: Path, paths: Sequence[Path]
) -> tuple[Literal["scores", "mask", "labels"], str]:
    """What the files of a folder hold, and a sentence where that is numbers of objects.

    Raises:
        InputError: that cannot be told, or a file cannot be read.
    """
    looks = [look(stored(path)) for path in paths]
    if any(one.is_scores for one in looks):
        return "scores", ""
    if all(one.is_mask for one in looks):
        return "mask", ""
    largest = max(one.largest for one in looks)
    if max(one.numbers for one in looks) < 2:
        if largest >= BRIGHT:  # a mask or scores, and the same pixels reach one half
            return "scores", ""
        raise InputError(
            f"{folder}: files with one number that is neither 1 nor the largest of its type are a "
            f"mask or scores of one low level; {_SAY}"
        )
    pairs, agreeing = sum(one.pairs for one in looks), sum(one.agreeing for one in looks)
    flat = agreeing / pairs if pairs else 1.0
    if flat < ROUGH:
        return "scores", ""
    areas = sum(one.areas for one in looks) / sum(one.numbers for one in looks)
    if flat >= FLAT and areas <= AREAS and largest < 1:
        return "labels", (
            f"{folder}: a number is one area, so they are taken for numbers of objects "
            "(--as scores if they are not)."
        )
    if areas > AREAS and largest >= BRIGHT:
        return "scores", ""
    raise InputError(
        f"{folder}: {flat:.0%} of neighbours inside share their number and a number has "
        f"{areas:.1f} areas, so nobody can tell scores from numbers of objects; {_SAY}"
    )


def check_content(asked: str) -> Content | None:
    """What the user says that a folder holds; None where nothing is said.

    Raises:
        InputError: no such content.
    """
    if asked and asked not in CONTENTS:
        raise InputError(f"--as {asked}: no such choice. {nearest(asked, CONTENTS)}")
    return asked or None  # type: ignore[return-value]


def look(pixels: Num[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]) -> Look:
    """How the numbers of a file look."""
    if pixels.dtype.kind == "f":
        return Look(True, 0, False, 1.0, 0, 0, 0)
    if pixels.dtype == bool:
        return Look(False, int(pixels.any()), True, 1.0, 0, 0, 0)
    found = np.flatnonzero(np.bincount(pixels.ravel())[1:]) + 1
    top = np.iinfo(pixels.dtype).max
    pairs = agreeing = 0
    for one, other in ((pixels[1:], pixels[:-1]), (pixels[:, 1:], pixels[:, :-1])):
        inside = (one > 0) & (other > 0)
        pairs += int(inside.sum())
        agreeing += int((inside & (one == other)).sum())
    is_mask = len(found) <= 1 and all(value in (1, top) for value in found.tolist())
    largest = float(found[-1] / top) if len(found) else 0.0
    areas = _areas(pixels) if agreeing >= ROUGH * pairs else 0
    return Look(False, len(found), is_mask, largest, pairs, agreeing, areas)


def _areas(pixels: Num[np.ndarray, "h w"]) -> int:
    """Connected areas of one number each, inside."""
    edges = np.zeros(pixels.shape, dtype=bool)
    for here, there in (
        (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]), (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):  # fmt: skip
        edges[here] |= (pixels[here] != pixels[there]) & (pixels[there] > 0) & (pixels[here] > 0)
    if not edges.any():
        return int(ndimage.label(pixels > 0, _SQUARE)[1])
    from skimage.measure import label

    return int(label(pixels, connectivity=2, background=0, return_num=True)[1])


def scores(path: Path) -> UInt16[np.ndarray, "h w"]:
    """A file as 65,535 × the score.

    Raises:
        InputError: missing, damaged, several frames, colours, or numbers that are no scores.
    """
    pixels = stored(path)
    if pixels.dtype == bool:
        return pixels.astype(np.uint16) * np.uint16(TOP)
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(f"{path}: scores must be in [0, 1].")
        return np.round(pixels.astype(np.float64) * TOP).astype(np.uint16)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    return pixels.astype(np.uint16, copy=False)


def mask(path: Path) -> UInt16[np.ndarray, "h w"]:
    """A mask as scores: all or nothing."""
    return (stored(path) > 0).astype(np.uint16) * np.uint16(TOP)


def labels(path: Path) -> Int[np.ndarray, "h w"]:
    """Numbers of objects, 0 outside.

    Raises:
        InputError: unreadable, or no whole numbers.
    """
    pixels = stored(path)
    if pixels.dtype.kind == "f":
        raise InputError(f"{path}: fractions; numbers of objects are whole.")
    return pixels.astype(np.int32)


def exact(path: Path) -> UInt16[np.ndarray, "h w"]:
    """A map of ours, as it was written.

    Raises:
        InputError: unreadable, or not of 16 bits.
    """
    pixels = stored(path)
    if pixels.dtype != np.uint16:
        raise InputError(f"{path}: not a map of 16 bits, as maps.json says; predict again.")
    return pixels


def stored(path: Path) -> Num[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]:
    """Pixels as they are stored, uint8, uint16, bool or floating."""
    try:
        images.size(path)  # its size is bearable, and it is an image
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            if (frames := getattr(image, "n_frames", 1)) != 1:
                raise InputError(f"{path}: {frames} frames, one expected.")
            if image.mode not in ("1", "L", "F", "I") and not image.mode.startswith("I;16"):
                raise InputError(f"{path}: a map has one channel, this is {image.mode}.")
            pixels = np.asarray(image)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not readable as a map ({error}).") from None
    if pixels.dtype == np.int32:  # how Pillow holds 16 bits now and then
        if pixels.min() < 0 or pixels.max() > TOP:
            raise InputError(f"{path}: values beyond 16 bits; 0 to 65535 were expected.")
        pixels = pixels.astype(np.uint16)
    return pixels
