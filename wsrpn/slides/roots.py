"""Which files a table may name: those below it, and those below folders that the user opens.

Paths never leave the folder of their table by themselves. Slides are gigabytes on a shared disk,
so the environment variable WSRPN_SLIDES may open further folders (several as in PATH): a cell may
then be an absolute path into one of them, a link that leads there, or relative to one of them.
"""

import functools
import os
import re
from pathlib import Path

from wsrpn.errors import InputError

VARIABLE = "WSRPN_SLIDES"
# Absolute on Unix or Windows, a drive letter, or a step upwards.
_LEAVES = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")


def opened() -> tuple[Path, ...]:
    """The folders that the user opens besides that of a table, as they really lie.

    Raises:
        InputError: one of them is no folder.
    """
    return _opened(os.environ.get(VARIABLE, ""), str(Path.cwd()))


@functools.lru_cache(maxsize=16)  # asked for with every path of a table
def _opened(said: str, here: str) -> tuple[Path, ...]:
    named = [Path(here, os.path.expanduser(one)) for one in said.split(os.pathsep) if one.strip()]  # noqa: PTH111
    for folder in named:
        if not folder.is_dir():
            raise InputError(
                f"{VARIABLE}: {folder} is no folder; name folders that hold slides, with "
                f"'{os.pathsep}' between them."
            )
    return tuple(folder.resolve() for folder in named)


def inside(root: Path, cell: str, where: str) -> Path:
    """The path of a file that a table names, made sure to lie in a folder that is open.

    Args:
        root: folder of the table, where a relative path is looked for first.
        cell: path as the table writes it.
        where: `file:line`, for the error.

    Raises:
        InputError: no file name, or one that leads out of the folder of the table and of those
            that `WSRPN_SLIDES` opens.
    """
    if not cell or "\0" in cell:
        raise InputError(f"{where}: the path {cell!r} is not a file name.")
    if _LEAVES.search(cell):
        return _absolute(root, cell, where)
    path = root / cell
    if not os.path.lexists(path):
        further = [folder / cell for folder in opened() if os.path.lexists(folder / cell)]
        path = further[0] if further else path
    real = _real(path)
    if not _below(real, (Path(os.path.realpath(root)), *opened())):
        raise InputError(
            f"{where}: '{cell}' is a link out of {root}; copy the file into it, or open the "
            f"folder that it leads to: {VARIABLE}={real.parent}"
        )
    return path


def _absolute(root: Path, cell: str, where: str) -> Path:
    """A path that does not begin at the table; allowed only into the folders that are open."""
    path = Path(cell)
    further = opened()
    if path.is_absolute() and _below(Path(os.path.realpath(path)), further):
        return path
    are = f"; now it opens {os.pathsep.join(map(str, further))}" if further else ""
    raise InputError(
        f"{where}: '{cell}' leaves the folder {root}; paths are relative to it, or absolute into a "
        f"folder that the environment variable {VARIABLE} opens ({VARIABLE}=/disk/slides{are})."
    )


def _below(real: Path, folders: tuple[Path, ...]) -> bool:
    return any(real.is_relative_to(folder) for folder in folders)


def _real(path: Path) -> Path:
    """The path without links; those of its folder are looked up once."""
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
    known = _folder(folder) / name
    return Path(os.path.realpath(known)) if os.path.islink(known) else known  # noqa: PTH114


@functools.lru_cache(maxsize=4096)  # files are many and their folders few
def _folder(folder: str) -> Path:
    return Path(os.path.realpath(folder))
