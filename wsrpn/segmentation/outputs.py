"""Files that a command is going to write, looked at before it works for an hour."""

from collections.abc import Iterable
from pathlib import Path

from wsrpn.errors import InputError
from wsrpn.types import Dataset


def refuse_inputs(paths: Iterable[Path], dataset: Dataset) -> None:
    """Stop where an output would take the place of an image, a mask or a DRR.

    Args:
        paths: to be written.
        dataset: that is read.

    Raises:
        InputError: names the file.
    """
    inputs = {
        path.resolve()
        for record in dataset.records
        for path in (record.path, record.mask, record.drr)
        if path is not None
    }
    for path in paths:
        if path.resolve() in inputs:
            raise InputError(
                f"{path}: is one of the files that are read, and would be overwritten; "
                "name another folder with --out."
            )
