"""Data made on the spot: `phantom:cxr?images=300&size=128&seed=1`, with exact ground truth.

Each kind is a module with `write` (its options are those of the address) and `read`: `cxr` makes
radiographs with findings and reports, `beads` electron micrographs of micro-beads, `nodules`
radiographs with lung nodules and what a CT would show of the chest without them.
"""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

from filelock import FileLock

from wsrpn import files
from wsrpn.data.base import datasets
from wsrpn.data.phantom import beads, cxr, nodules
from wsrpn.errors import InputError, nearest
from wsrpn.registry import checked, signature_schema
from wsrpn.types import Dataset

KINDS: dict[str, ModuleType] = {"cxr": cxr, "beads": beads, "nodules": nodules}
TABLES = ("images.csv", "boxes.csv", "classes.csv")
SUMS = "sha256.json"  # of the tables, in a folder of the cache


@datasets.register("phantom")
def phantom(*, root: Path) -> Dataset:
    """Phantom images; made once per set of options and kept in the user's cache folder.

    Args:
        root: what stands after `phantom:`, a kind and the options of its `write` as in a web
            address, for example `cxr?images=300&size=128`.

    Raises:
        InputError: an unknown kind, or an option that is unknown or out of range.

    Films in the cache whose tables are damaged cost a warning and are made again.
    """
    kind, options = kind_of(str(root)), parse(str(root))
    folder = files.user_cache() / f"{kind}-{fingerprint(options)}"
    return _whole(folder, kind) or _made(folder, kind, options)


def _whole(folder: Path, kind: str) -> Dataset | None:
    """The films of a folder, or None where its tables are not those written or a file is gone."""
    try:
        known = json.loads((folder / SUMS).read_text())
        if known != _sums(folder):
            return None
        found: Dataset = KINDS[kind].read(folder)
    except (OSError, ValueError):  # an InputError is one
        return None
    parts = (p for r in found.records for p in (r.path, r.mask, r.drr) if p is not None)
    return found if all(path.is_file() for path in parts) else None


def _sums(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in TABLES}


def _made(folder: Path, kind: str, options: dict[str, Any]) -> Dataset:
    """Make the films; of several processes one does, the others wait and read."""
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        found = _whole(folder, kind)
        if found is not None:
            return found
        for left in folder.parent.glob(f"*{folder.name}.tmp.*"):
            shutil.rmtree(left)  # under the lock: whoever wrote it is gone
        if folder.exists():
            warnings.warn(f"{folder}: these films are damaged; they are made again", stacklevel=2)
        building = folder.with_name(f".{folder.name}.tmp.{os.getpid()}")
        KINDS[kind].write(building, **options)
        files.write_json(building / SUMS, _sums(building))
        shutil.rmtree(folder, ignore_errors=True)
        building.replace(folder)
    made: Dataset = KINDS[kind].read(folder)
    return made


def kind_of(argument: str) -> str:
    """The kind that `beads?images=60` asks for.

    Raises:
        InputError: there is no such phantom.
    """
    kind = argument.partition("?")[0]
    if kind not in KINDS:
        raise InputError(f"phantom:{kind}: no such phantom. {nearest(kind, KINDS)}")
    return kind


def parse(argument: str) -> dict[str, Any]:
    """All options of `cxr?images=300&size=128`, checked and converted.

    Example:
        >>> parse("cxr?images=7")["images"]
        7
    """
    kind, query = kind_of(argument), argument.partition("?")[2]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InputError(
            f"phantom:{argument}: write options as phantom:{kind}?images=300&size=128."
        ) from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InputError(f"phantom:{argument}: an option stands twice.")
    return checked(signature_schema(KINDS[kind].write), given, where=f"phantom:{kind}")


def fingerprint(options: dict[str, Any]) -> str:
    """Of the options and of the code that makes the images, so that no old image is reused."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
