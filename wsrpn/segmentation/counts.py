"""Counts of images as a file, so that runs are compared without opening a map again."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.segmentation.evidence import Evidence

SCHEMA = 1
_ARRAYS = ("pixels", "contour", "objects", "numbered")


def save(
    path: Path, counts: Evidence, *, notes: Sequence[str], provenance: Mapping[str, Any]
) -> None:
    """Write counts, what must be said of them and where they come from; atomically.

    Args:
        path: of the JSON file.
        counts: of `wsrpn.segmentation.evidence.gather`.
        notes: of the same.
        provenance: whose they are.
    """
    told = {name: getattr(counts, name).tolist() for name in _ARRAYS}
    places = {"ids": list(counts.ids), "patients": list(counts.patients)}
    files.write_json(
        path,
        {"schema": SCHEMA, "provenance": provenance, "notes": list(notes), **places, **told},
    )


def load(path: Path) -> tuple[Evidence, tuple[str, ...], dict[str, Any]]:
    """Counts, notes and provenance, as `save` wrote them.

    Raises:
        InputError: no such file, or a damaged one.
    """
    said = files.read_json(path, what="counts of images")
    try:
        if said["schema"] != SCHEMA:
            raise ValueError(f"schema {said['schema']}")
        arrays = {name: np.array(said[name], dtype=np.float64) for name in _ARRAYS}
        arrays["numbered"] = arrays["numbered"].astype(bool)
        found = Evidence(tuple(said["ids"]), tuple(said["patients"]), **arrays)
        shapes = {f.name: len(getattr(found, f.name)) for f in dataclasses.fields(found)}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"lengths {shapes}")
        return found, tuple(said["notes"]), dict(said["provenance"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: damaged counts ({error!r}); evaluate again.") from None
