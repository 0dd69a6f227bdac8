"""Which images of a data set are drawn for every arm of a study."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from wsrpn import boxes
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError, nearest
from wsrpn.metrics.sizes import SIZES, size_of
from wsrpn.types import Dataset, Record


def chosen(dataset: Dataset, names: Sequence[str], *, count: int = 3) -> Dataset:
    """The images asked for, else one each with a small, a medium and a large finding.

    Of each size it is the first whose boxes are all of that size, so that nobody picks pretty ones,
    then those whose largest box is. Sizes take turns until there are enough. A data set without
    boxes gives its first images with a finding. Only headers of files are read.

    Args:
        dataset: with gold boxes.
        names: ids of images, in the order to draw them.
        count: of images, where none are named.

    Raises:
        InputError: no image has that id.
    """
    known = {record.id: record for record in dataset.records}
    for name in names:
        if name not in known:
            raise InputError(f"{dataset.name}: no image '{name}'. {nearest(name, known)}")
    picked = list(dict.fromkeys(names)) or _by_size(dataset, count)
    return dataclasses.replace(dataset, records=tuple(known[name] for name in picked))


def _by_size(dataset: Dataset, count: int) -> list[str]:
    """Ids: a small finding, a medium one, a large one, a small one, and so on."""
    pure: list[list[str]] = [[] for _ in SIZES]
    mixed: list[list[str]] = [[] for _ in SIZES]
    for record in dataset.records:
        if min(map(len, pure)) * len(SIZES) >= count:
            break
        sizes = _sizes(record)
        if sizes:
            (pure if len(set(sizes)) == 1 else mixed)[max(sizes)].append(record.id)
    queues = [own + rest for own, rest in zip(pure, mixed, strict=True)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    picked = [name for name in turns if name is not None][:count]
    if picked:
        return picked
    found = [record.id for record in dataset.records if 1 in record.labels]
    return (found or [record.id for record in dataset.records])[:count]


def _sizes(record: Record) -> list[int]:
    """Indices in `SIZES` of the boxes; none of an image that cannot be read, which is not shown."""
    if not record.boxes or not record.boxes_known:
        return []
    try:
        height, width = images.size(record.path)
    except ImageReadError:
        return []
    corners = np.array([box.xyxy_px for box in record.boxes], dtype=np.float64)
    return [int(size) for size in size_of(boxes.area(corners) / (height * width))]
