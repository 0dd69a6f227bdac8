"""A folder of images and nothing else: every image, no labels."""

from pathlib import Path

from wsrpn.data.base import datasets, images_in
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record


@datasets.register("folder")
def folder(*, root: Path) -> Dataset:
    """Every image file below a folder, all of them in the test split.

    Raises:
        InputError: no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder.")
    names = [(path, path.relative_to(root).as_posix()) for path in images_in(root)]
    records = (Record(n, p, n, (), split="test", boxes_known=False) for p, n in names)
    return Dataset(str(root), (), tuple(records))
