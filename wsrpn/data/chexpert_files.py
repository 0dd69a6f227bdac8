"""Where the images of CheXpert lie, whatever their folder was called when it was downloaded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsrpn.errors import InputError

SPLIT_FOLDERS = ("train", "valid", "val", "test")
_SUFFIXES = (".jpg", ".png", ".dcm")  # the releases; CheXpert Plus has the last two
_NAME = re.compile(
    r"(?:^|/)(train|valid|val|test)/((patient\d+)/(study\d+)/view\d+_(frontal|lateral))(\.\w+)$"
)


@dataclass(frozen=True)
class Name:
    """An image by its path without what stands before the split.

    Attributes:
        folder: train, valid, val or test.
        key: patient/study/view, which is the same in every release.
        patient: `patient00001`.
        study: `study1`.
        view: of the file's name.
        suffix: of the file in the table.
    """

    folder: str
    key: str
    patient: str
    study: str
    view: Literal["frontal", "lateral"]
    suffix: str

    @property
    def id(self) -> str:
        """The path below the data set's folder."""
        return f"{self.folder}/{self.key}{self.suffix}"


def parse(path: str, *, where: str) -> Name:
    """The name in a `Path` cell, whatever it begins with.

    Raises:
        InputError: no such path.

    Example:
        >>> parse("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", where="").id
        'train/patient00001/study1/view1_frontal.jpg'
    """
    found = _NAME.search(path)
    if not found:
        raise InputError(
            f"{where}: the path '{path}' does not end like "
            "train/patient00001/study1/view1_frontal.jpg."
        )
    folder, key, patient, study, view, suffix = found.groups()
    return Name(folder, key, patient, study, "frontal" if view == "frontal" else "lateral", suffix)


class Finder:
    """Finds image files of CheXpert.

    Folders with `train`, `valid`, `val` or `test` in them are looked for in the given one and two
    levels below it (`CheXpert-v1.0-small`, `PNG/PNG`), training images also in `CheXpert-v1.0
    batch 2 (train 1)` and its like beside it. CheXlocalize calls `valid` `val`.

    Args:
        folder: where to look.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        below = [folder, *_folders(folder)]
        below += [inner for outer in below[1:] for inner in _folders(outer)]
        self.homes = [one for one in below if any((one / n).is_dir() for n in SPLIT_FOLDERS)]
        self.batches = sorted(
            one for home in (folder, folder.parent) for one in home.glob("CheXpert*batch*(train*/")
        )
        if not self.homes and not self.batches:
            raise InputError(
                f"{folder}: no images; none of the folders {', '.join(SPLIT_FOLDERS)} is in it."
            )

    def find(self, name: Name) -> Path | None:
        """The file, with the suffix of the table or of another release; None where it is not."""
        same = ("valid", "val") if name.folder in {"valid", "val"} else (name.folder,)
        places = [home / folder for home in self.homes for folder in same]
        places += self.batches if name.folder == "train" else []
        for place in places:
            for suffix in dict.fromkeys((name.suffix, *_SUFFIXES)):
                path = place / f"{name.key}{suffix}"
                if path.is_file():
                    return path
        return None


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, but not those of patients, which are many."""
    return sorted(
        one
        for one in folder.glob("*/")
        if one.name not in SPLIT_FOLDERS and "patient" not in one.name
    )
