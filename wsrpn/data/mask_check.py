"""What masks hold, for whoever looks at data before training: shares, objects, odd ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import counted
from wsrpn.types import Dataset, Record

GREYS, MOST = 8, 0.5  # of a mask with grey rims: more numbers than this, one of them on most pixels


@dataclass(frozen=True)
class MaskLook:
    """What one mask file says.

    Attributes:
        fault: why it cannot be used; then the rest means nothing.
        share: of the pixels that are inside.
        objects: how many its numbers tell apart; 0 where they do not.
        grey: whether its numbers look like grey levels of a smoothed drawing.
    """

    fault: str = ""
    share: float = 0.0
    objects: int = 0
    grey: bool = False


def look(path: Path, size_px: tuple[int, int]) -> MaskLook:
    """Decode a mask; `size_px` is height and width of its image."""
    try:
        own = images.size(path)
        if own != tuple(size_px):
            there = f"{size_px[0]} × {size_px[1]}"
            return MaskLook(f"{path}: {own[0]} × {own[1]} px, its image has {there}")
        found = images.numbers(path)
    except ImageReadError as error:
        return MaskLook(str(error))
    names, counts = np.unique(found[found != 0], return_counts=True)
    if len(names) and names[0] < 0:
        return MaskLook(f"{path}: negative numbers; 0 is outside and anything above inside.")
    grey = len(names) > GREYS and names[-1] == 255 and counts[-1] > MOST * counts.sum()
    several = len(names) if len(names) > 1 else 0
    return MaskLook(share=float(counts.sum() / found.size), objects=several, grey=bool(grey))


def facts(dataset: Dataset, looks: Mapping[str, MaskLook]) -> dict[str, Any]:
    """Counts and ids over a data set.

    Args:
        dataset: whose masks.
        looks: id → what its mask says; of images and masks that can be read.
    """
    whole = {name: one for name, one in looks.items() if not one.fault}
    numbered = [one.objects for one in whole.values() if one.objects]
    clear = {r.id for r in dataset.records if _is_clear(r)}
    present = {r.id for r in dataset.records if any(label == 1 for label in r.labels)}
    empty = [name for name, one in whole.items() if not one.share]
    bare = [r.id for r in dataset.records if r.mask is None and r.id not in clear]
    some = any(record.mask is not None for record in dataset.records)
    return {
        "drrs": sum(record.drr is not None for record in dataset.records),
        "empty": len(empty),
        "share": fmean(one.share for one in whole.values()) if whole else None,
        "numbered": len(numbered),
        "objects": sum(numbered),
        "objects_median": median(numbered) if numbered else None,
        "without": bare if some else [],
        "empty_with_label": [name for name in empty if name in present],
        "filled_without_label": [n for n, one in whole.items() if one.share and n in clear],
        "grey": [name for name, one in whole.items() if one.grey],
    }


def _is_clear(record: Record) -> bool:
    return bool(record.labels) and all(label == 0 for label in record.labels)


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


def warnings(found: Mapping[str, Any]) -> list[tuple[list[str], str]]:
    """Ids and what is odd with them."""
    return [
        (
            found["without"],
            "images have no mask and are not known to have nothing; models that learn from every "
            "pixel leave them out",
        ),
        (found["empty_with_label"], "masks are empty although their image has a label"),
        (found["filled_without_label"], "masks show something that their image's labels deny"),
        (
            found["grey"],
            "masks look like smoothed drawings, and each grey level counts as an object; save them "
            "as 0 and 255",
        ),
    ]
