"""What masks hold, for whoever looks at data before training: shares, objects, odd ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import Int

from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import counted
from wsrpn.types import Dataset

NOTHING_THERE = (
    "To say that nothing is there, name a mask that is 0 everywhere, or name a class in the column "
    "'labels' where there is something and leave that cell empty where there is nothing."
)
AS_STORED = "Draw or export it on the image as it is stored."
CLASSES, FILES = 8, 3  # most numbers that may be classes; fewest files that tell
GREYS, MOST = 8, 0.5  # of a mask with grey rims: more numbers than this, one of them on most pixels


@dataclass(frozen=True)
class MaskLook:
    """What one mask file says.

    Attributes:
        fault: why it cannot be used; then the rest means nothing.
        misfit: whether that is its size; else it cannot be read as a mask.
        inside: pixels that are.
        pixels: of the mask.
        objects: how many its numbers tell apart; 0 where they do not.
        classes: its numbers, where they are few and one of them has several areas, as a class has
            and an object has not.
        grey: whether its numbers look like grey levels of a smoothed drawing.
    """

    fault: str = ""
    misfit: bool = False
    inside: int = 0
    pixels: int = 0
    objects: int = 0
    grey: bool = False
    classes: tuple[int, ...] = ()


def look(path: Path, size_px: tuple[int, int]) -> MaskLook:
    """Decode a mask; `size_px` is height and width of its image."""
    try:
        own = images.size(path)
        if own != tuple(size_px):
            return MaskLook(str(ImageReadError.of(path, misfit(own, size_px))), True)
        found = images.numbers(path)
    except ImageReadError as error:
        return MaskLook(str(error))
    names, counts = np.unique(found[found != 0], return_counts=True)
    if len(names) and names[0] < 0:
        return MaskLook(f"{path}: negative numbers; 0 is outside and anything above inside.")
    grey = len(names) > GREYS and names[-1] == 255 and counts[-1] > MOST * counts.sum()
    several = len(names) if len(names) > 1 else 0
    return MaskLook(
        inside=int(counts.sum()),
        pixels=found.size,
        objects=several,
        grey=bool(grey),
        classes=_areas(found, names.tolist()),
    )


def misfit(own: tuple[int, int], size_px: tuple[int, int]) -> str:
    """What is said of a mask of another size than its image; both are height and width."""
    return f"the mask has {own[1]} × {own[0]} pixels and its image {size_px[1]} × {size_px[0]}."


def facts(dataset: Dataset, looks: Mapping[str, MaskLook]) -> dict[str, Any]:
    """Counts and ids over a data set.

    Args:
        dataset: whose masks.
        looks: id → what its mask says; of images and masks that can be read.
    """
    whole = {name: one for name, one in looks.items() if not one.fault}
    pixels = sum(one.pixels for one in whole.values())
    numbered = [one.objects for one in whole.values() if one.objects]
    clear = {r.id for r in dataset.records if r.is_clear}
    present = {r.id for r in dataset.records if any(label == 1 for label in r.labels)}
    empty = [name for name, one in whole.items() if not one.inside]
    bare = [r.id for r in dataset.records if r.mask is None and r.id not in clear]
    some = any(record.mask is not None for record in dataset.records)
    return {
        "whole": len(whole),
        "drrs": sum(record.drr is not None for record in dataset.records),
        "empty": len(empty),
        "share": sum(one.inside for one in whole.values()) / pixels if pixels else None,
        "numbered": len(numbered),
        "objects": sum(numbered),
        "objects_median": median(numbered) if numbered else None,
        "without": bare if some else [],
        "empty_with_label": [name for name in empty if name in present],
        "filled_without_label": [n for n, one in whole.items() if one.inside and n in clear],
        "class_numbers": _coded(whole)[1],
        "classes": _coded(whole)[0],
        "grey": [name for name, one in whole.items() if one.grey],
    }


def _areas(found: Int[np.ndarray, "h w"], names: Sequence[int]) -> tuple[int, ...]:
    """The numbers, if they are few and one of them stands in several areas; else nothing."""
    from scipy.ndimage import label

    if not 1 < len(names) <= CLASSES:
        return ()
    around = np.ones((3, 3))
    apart = any(label(found == number, around)[1] > 1 for number in names)
    return tuple(int(number) for number in names) if apart else ()


def _coded(whole: Mapping[str, MaskLook]) -> tuple[list[str], list[int]]:
    """Ids of masks whose numbers seem to be classes, and these numbers: the same few everywhere."""
    several = [one for one in whole.values() if one.objects]
    ids = [name for name, one in whole.items() if one.classes]
    numbers = sorted({number for name in ids for number in whole[name].classes})
    if len(ids) < FILES or 2 * len(ids) < len(several) or len(numbers) > CLASSES:
        return [], []
    same = all(whole[name].classes == tuple(numbers) for name in ids)
    return (ids, numbers) if same else ([], [])


def line(found: Mapping[str, Any]) -> str:
    """The facts of data with masks, for people."""
    told = [f"masks: {found['empty']} empty"]
    if found["share"] is not None:
        told.append(f"{found['share']:.2%} of all pixels inside")
    if found["numbered"]:
        told.append(
            f"{counted(found['objects'], 'object')} in {counted(found['numbered'], 'mask')}, "
            f"median {found['objects_median']:g}"
        )
    if found["drrs"]:
        told.append(f"DRRs: {found['drrs']}")
    return " · ".join(told)


def warnings(found: Mapping[str, Any]) -> list[tuple[list[str], str, tuple[str, str], str]]:
    """Ids; what they are; what is odd with one and with several of them; and the way out."""
    few = ", ".join(map(str, found["class_numbers"]))
    last = max(found["class_numbers"], default=0)
    return [
        (
            found["without"],
            "image",
            (
                "has no mask and is not known to have nothing; models that learn from every pixel "
                "leave it out",
                "have no mask and are not known to have nothing; models that learn from every "
                "pixel leave them out",
            ),
            NOTHING_THERE,
        ),
        (
            found["empty_with_label"],
            "mask",
            (
                "is empty although its image has a label",
                "are empty although their image has a label",
            ),
            "",
        ),
        (
            found["filled_without_label"],
            "mask",
            (
                "shows something that its image's labels deny",
                "show something that their image's labels deny",
            ),
            "",
        ),
        (
            found["grey"],
            "mask",
            (
                "looks like a smoothed drawing, and each grey level counts as an object",
                "look like smoothed drawings, and each grey level counts as an object",
            ),
            "Save them as 0 and 255.",
        ),
        (
            found["classes"],
            "mask",
            (
                f"has the numbers {few} and looks coded by class",
                f"have the numbers {few} each and look coded by class",
            ),
            f"One class is segmented, and several numbers mean objects of it; for {last} alone: "
            f"Image.fromarray((np.asarray(Image.open(IN)) == {last}).astype('uint8') * 255)"
            ".save(OUT).",
        ),
    ]
