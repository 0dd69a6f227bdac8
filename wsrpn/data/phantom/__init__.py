"""Data made on the spot: `phantom:cxr?images=300&size=128&seed=1`, with exact ground truth."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from wsrpn import files
from wsrpn.data.base import datasets
from wsrpn.data.phantom import cxr
from wsrpn.errors import InputError, nearest
from wsrpn.registry import checked, signature_schema
from wsrpn.types import Dataset

KINDS = ("cxr",)


@datasets.register("phantom")
def phantom(*, root: Path) -> Dataset:
    """Phantom images; made once per set of options and kept in the user's cache folder.

    Args:
        root: what stands after `phantom:`, a kind and the options of its `write` as in a web
            address, for example `cxr?images=300&size=128`.

    Raises:
        InputError: an unknown kind, or an option that is unknown or out of range.
    """
    options = parse(str(root))
    folder = files.user_cache() / f"cxr-{fingerprint(options)}"
    if (folder / "images.csv").is_file():
        return cxr.read(folder)
    return cxr.write(folder, **options)


def parse(argument: str) -> dict[str, Any]:
    """All options of `cxr?images=300&size=128`, checked and converted.

    Example:
        >>> parse("cxr?images=7")["images"]
        7
    """
    kind, _, query = argument.partition("?")
    if kind not in KINDS:
        raise InputError(f"phantom:{kind}: no such phantom. {nearest(kind, KINDS)}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InputError(
            f"phantom:{argument}: write options as phantom:{kind}?images=300&size=128."
        ) from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InputError(f"phantom:{argument}: an option stands twice.")
    return checked(signature_schema(cxr.write), given, where=f"phantom:{kind}")


def fingerprint(options: dict[str, Any]) -> str:
    """Of the options and of the code that makes the images, so that no old image is reused."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
