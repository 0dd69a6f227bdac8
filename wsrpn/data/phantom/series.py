"""What all phantoms of images share: streams of chance, patients and splits, whole folders."""

import dataclasses
import errno
import itertools
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from wsrpn import files
from wsrpn.data import manifest
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record, Split

Place = tuple[int, int, Split]
_SPLITS = 20_260  # a stream that no part of an image has


def stream(key: tuple[int, int], part: int) -> np.random.Generator:
    """A stream of chance of its own for a part of an image.

    Args:
        key: seed, and index of the image or number of the patient.
        part: which.
    """
    return np.random.default_rng([key[0] & 0xFFFFFFFFFFFFFFFF, key[1], part])


def patients(seed: int) -> Iterator[Place]:
    """Index, patient and split of each film: 1 to 3 films a patient, of 5 patients 3 train."""
    rng = np.random.default_rng([seed, 20_259])
    index = 0
    for block in itertools.count():
        # The first patients stand in the order that fills every split even in a tiny set.
        order: list[Split] = ["train", "val", "test", "train", "train"]
        for place, which in enumerate(rng.permutation(5) if block else range(5)):
            for _ in range(int(rng.integers(1, 4))):
                yield index, 5 * block + place, order[int(which)]
                index += 1


def split(seed: int, index: int) -> Split:
    """The split of an image that is a patient of its own: of five, three train."""
    order: list[Split] = ["train", "val", "test", "train", "train"]
    block, place = divmod(index, len(order))
    if not block:  # so that every split has an image even in a tiny set
        return order[place]
    return order[int(stream((seed, block), _SPLITS).permutation(len(order))[place])]


def write(
    folder: Path, name: str, classes: tuple[str, ...], make: Callable[[Path], Iterable[Record]]
) -> Dataset:
    """Write images with a manifest; the folder appears whole or not at all.

    Args:
        folder: must not exist yet, or be empty.
        name: of the data set.
        classes: of the labels.
        make: writes the images into the folder it is given, and says what they are.

    Raises:
        InputError: there is something in the folder.
    """
    files.refuse_file(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a new or an empty folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.tmp.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        records = tuple(make(building))
        manifest.write(Dataset(name, classes, records), building / "images.csv")
        _publish(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return read(folder, name, classes)


def _publish(building: Path, folder: Path) -> None:
    """Rename the finished folder; whoever was first with the same films has won."""
    try:
        building.replace(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
            raise
        if not (folder / "images.csv").is_file():
            raise InputError(f"{folder}: exists already; name a new or an empty folder.") from None


def read(folder: Path, name: str, classes: tuple[str, ...]) -> Dataset:
    """The images of a folder that `write` made, with all classes even where one has no image."""
    found = manifest.manifest(root=folder)
    at = [found.classes.index(known) if known in found.classes else None for known in classes]
    new = [classes.index(known) for known in found.classes]
    records = tuple(
        dataclasses.replace(
            record,
            labels=tuple(0.0 if i is None else record.labels[i] for i in at),
            boxes=tuple(Box(new[box.label], box.xyxy_px) for box in record.boxes),
        )
        for record in found.records
    )
    return Dataset(name, classes, records, found.notes)


def numbers(text: str, *, option: str, least: float, whole: bool = False) -> tuple[float, float]:
    """An option that is a range, `20-120`, or one number.

    Args:
        text: as it was given.
        option: what it is called in the sentence.
        least: smallest number allowed.
        whole: whether fractions are refused.

    Raises:
        InputError: of another form, below `least`, or the larger number first.
    """
    low, dash, high = text.partition("-")
    try:
        found = float(low), float(high if dash else low)
    except ValueError:
        found = (-math.inf, -math.inf)
    fine = least <= found[0] <= found[1] < math.inf
    if not fine or (whole and any(number % 1 for number in found)):
        kind = "whole numbers from" if whole else "from"
        raise InputError(
            f"{option}={text}: write it as LOW-HIGH, for example 20-120, {kind} {least:g} on."
        )
    return found
