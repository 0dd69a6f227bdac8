"""Neighbours on disk: PhysioNet sets that belong together lie beside each other.

mimic-cxr-jpg/2.1.0/…   mimic-cxr-reports/files/…   chest-imagenome/1.0.0/…   ms-cxr/1.1.0/…
"""

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wsrpn.errors import InputError

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?$")
_IMAGE = re.compile(r"(?:^|/)files/p(\d{2})/p(\1\d*)/s(\d+)/([0-9A-Za-z-]+)\.(?:jpg|dcm|png)$")
_ID = re.compile(r"[0-9A-Za-z-]+")
_SUFFIXES = (".jpg", ".png", ".dcm")


def beside(root: Path, globs: Sequence[str], fits: Callable[[Path], bool]) -> Path | None:
    """The first path in, beside or above a folder that fits; of several versions the newest.

    Args:
        root: the folder; where its name is a version, its parent's neighbours are looked at, too.
        globs: patterns of names, the likeliest first; `.` is the folder itself.
        fits: whether a path is what is looked for.
    """
    root = root.absolute()
    homes = [root, root.parent, *([root.parent.parent] if _VERSION.search(root.name) else [])]
    for home in homes:
        for glob in globs:
            for path in [home] if glob == "." else sorted(home.glob(glob), reverse=True):
                if fits(path):
                    return path
    return None


def image_name(path: str, *, where: str) -> tuple[str, str, str]:
    """Patient, study and image of `files/p10/p10000032/s50414267/IMAGE.jpg`.

    Raises:
        InputError: no such path.
    """
    found = _IMAGE.search(path)
    if not found:
        raise InputError(
            f"{where}: the path '{path}' does not end like files/p10/p10000032/s50414267/IMAGE.jpg."
        )
    return found[2], found[3], found[4]


def check_ids(ids: Iterable[str], *, where: str) -> None:
    """Make sure that the numbers a path is made of are letters, digits and dashes.

    Raises:
        InputError: one is empty or has another character.
    """
    for one in ids:
        if not _ID.fullmatch(one):
            raise InputError(f"{where}: '{one}' is no id of MIMIC-CXR (letters, digits, dashes).")


def image(home: Path, patient: str, study: str, name: str) -> Path | None:
    """The file of an image of MIMIC-CXR-JPG, or of MIMIC-CXR itself; None where it is not."""
    start = f"{home}/files/p{patient[:2]}/p{patient}/s{study}/{name}"
    # A Path per try would take most of the time that the whole set needs.
    found = (start + suffix for suffix in _SUFFIXES if os.path.isfile(start + suffix))  # noqa: PTH113
    path = next(found, None)
    return Path(path) if path else None


class Members:
    """Text files of a folder or of a zip of that folder, by path below it.

    Args:
        path: the folder or the zip.

    Raises:
        InputError: a zip that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise InputError(f"{path}: not readable as a zip ({error}).") from None
            self._names = set(self._zip.namelist())

    def close(self) -> None:
        """Let go of the zip."""
        if self._zip:
            self._zip.close()

    def read(self, name: str) -> str | None:
        """The text, or None where there is no such file.

        Raises:
            InputError: a file that cannot be read or is no text.
        """
        try:
            if self._zip is None:
                file = self.path / name
                data = file.read_bytes() if file.is_file() else None
            else:
                data = self._zip.read(name) if name in self._names else None
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: {name}: cannot be read ({error}).") from None
        try:
            return None if data is None else data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.path}: {name}: not UTF-8 text.") from None


def report_name(patient: str, study: str) -> str:
    """Path of a report in MIMIC-CXR, `files/p10/p10000032/s50414267.txt`."""
    return f"files/p{patient[:2]}/p{patient}/s{study}.txt"


def reports(root: Path, studies: Iterator[tuple[str, str]]) -> Members | None:
    """The reports that belong to MIMIC-CXR-JPG: in its folder, beside it, or in their zip.

    Args:
        root: of the images.
        studies: some patients and studies; a folder fits if it has the report of one of them.
    """
    names = [report_name(*one) for one in studies]

    def fits(path: Path) -> bool:
        if path.is_file():
            return path.suffix == ".zip"
        return any((path / name).is_file() for name in names)

    globs = (".", "mimic-cxr-reports*", "mimic-cxr-reports*/*", "mimic-cxr", "mimic-cxr/*")
    path = beside(root, globs, fits)
    return Members(path) if path else None
