"""Per-pixel truth: which pixels are inside, and where a file tells them apart, of which object.

A mask file has 0 outside and anything else inside. More than one number above 0 means that the
numbers are objects; 1 or 255 alone is one foreground. An image without a mask file whose labels are
all known and 0 is known to have nothing: its mask is empty. Any other image without one has no
truth, and is left out and counted.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.data.mask_check import AS_STORED, NOTHING_THERE, misfit
from wsrpn.errors import InputError, counted
from wsrpn.types import Dataset, Record, Split

FOREGROUND = "foreground"


@dataclass(frozen=True)
class Truth:
    """What is known of the pixels of one image.

    Attributes:
        objects: 0 outside; inside the number of the object, or 1 where objects are not told apart.
        instances: whether the numbers tell objects apart.
    """

    objects: Int[np.ndarray, "h w"]
    instances: bool

    @property
    def inside(self) -> Bool[np.ndarray, "h w"]:
        """Pixels of the foreground."""
        return self.objects > 0


def read(path: Path, size_px: tuple[int, int]) -> Truth:
    """The truth in a mask file.

    Args:
        path: PNG or TIFF of 1, 8, 16 or 32 bits; a JPEG, too, but it cannot number objects.
        size_px: height and width of the image that it belongs to.

    Raises:
        ImageReadError: it cannot be read, is in colour, has negative numbers or another size.
    """
    own = images.size(path)
    if own != tuple(size_px):
        raise ImageReadError.of(path, f"{misfit(own, size_px)} {AS_STORED}")
    found = images.numbers(path)
    if found.min() < 0:
        raise ImageReadError.of(path, "negative numbers; 0 is outside and anything above inside.")
    largest = int(found.max())
    # One number alone is a foreground; minimum and maximum of what is inside tell that.
    instances = largest > 0 and int(found[found > 0].min()) < largest
    return Truth(found if instances else (found > 0).astype(np.int32), instances)


def has_truth(record: Record) -> bool:
    """Whether the pixels of an image are known: by a mask, or because there is nothing on it."""
    return record.mask is not None or record.is_clear


def of(record: Record, size_px: tuple[int, int]) -> Truth | None:
    """The truth of an image, None where there is none.

    Args:
        record: the image.
        size_px: its height and width.

    Raises:
        ImageReadError: see `read`.
    """
    if record.mask is not None:
        return read(record.mask, size_px)
    return Truth(np.zeros(size_px, dtype=np.int32), False) if record.is_clear else None


def usable(dataset: Dataset, split: Split) -> tuple[Dataset, tuple[str, ...]]:
    """The images of a split whose pixels are known.

    Args:
        dataset: with splits.
        split: which of them.

    Returns:
        These images, and sentences that count the ones left out and those without a mask that are
        known to have nothing.

    Raises:
        InputError: no image of the whole data set has a mask.
    """
    if not any(record.mask for record in dataset.records):
        raise InputError(
            f"{dataset.name}: no image has a mask, and this model learns from every pixel; name "
            "masks in the column 'mask' of images.csv (0 outside, anything else inside)."
        )
    part = dataset.split(split)
    kept = part.where(has_truth)
    lost = [record.id for record in part.records if not has_truth(record)]
    clear = sum(record.mask is None for record in kept.records)
    notes = []
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        notes.append(
            f"{counted(len(lost), 'image')} of split {split} without a mask, and not known to have "
            f"nothing, left out: {', '.join(lost[:3])}{more}. {NOTHING_THERE}"
        )
    if clear:
        notes.append(
            f"{counted(clear, 'image')} of split {split} without a mask whose labels are all "
            "absent: an empty mask is taken."
        )
    return kept, tuple(notes)


def classes_of(dataset: Dataset) -> tuple[str, ...]:
    """What the foreground is called: the one class of the data, or `foreground`."""
    return dataset.classes if len(dataset.classes) == 1 else (FOREGROUND,)
