"""Any data set into a manifest or COCO annotations, with its files beside them or where they are.

Both formats name files by paths relative to their own folder and never out of it. So files either
lie below that folder already and stay, or they are copied, or linked (hard links: a symbolic link
out of the folder would leave it after all). Copied and linked images are named by their id, so that
predictions of the one data set are predictions of the other.
"""

import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from wsrpn import files
from wsrpn.data import coco, images, manifest
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record

Target = Literal["manifest", "coco"]
Placing = Literal["stay", "copy", "link"]
NAMES: dict[Target, str] = {"manifest": "images.csv", "coco": "annotations.json"}


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion made.

    Attributes:
        path: the table or JSON.
        dataset: what is in it, with its files where they lie now.
        failed: id → reason of images that were left out.
    """

    path: Path
    dataset: Dataset
    failed: dict[str, str]


def convert(
    dataset: Dataset,
    out: Path,
    *,
    to: Target,
    placing: Placing = "stay",
    skip: bool = False,
    listen: Callable[[int], None] | None = None,
) -> Converted:
    """Write a data set as a manifest or as COCO annotations.

    Reading the result gives the same records, with other paths. Where files are copied or linked,
    the folder appears whole or not at all.

    Args:
        dataset: any, with its splits.
        out: folder of the result; new or empty where files are copied or linked.
        to: `manifest` writes `images.csv`, `coco` writes `annotations.json`.
        placing: whether files stay, or are copied or hard-linked into `out`.
        skip: leave out images whose files are missing (COCO: or cannot be read) in place of
            stopping.
        listen: called with 1 for each image that is done.

    Raises:
        InputError: something is in the way, a file is missing or cannot be placed, or the format
            cannot say what the data say.
    """
    files.refuse_file(out)
    target = out / NAMES[to]
    if target.exists():
        raise InputError(f"{target}: exists already; choose another --out.")
    if placing == "stay":
        _refuse_outside(dataset, out)
        return _written(dataset, out, to, placing, skip, listen)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: there is something in it; choose a new or empty folder as --out.")
    building = out.with_name(f".{out.name}.tmp.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        made = _written(dataset, building, to, placing, skip, listen)
        building.replace(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    moved = (_moved(record, building, out) for record in made.dataset.records)
    return Converted(target, dataclasses.replace(made.dataset, records=tuple(moved)), made.failed)


def _refuse_outside(dataset: Dataset, out: Path) -> None:
    home = out.absolute()
    stray = [p for r in dataset.records for p in _files(r) if not p.absolute().is_relative_to(home)]
    if stray:
        raise InputError(
            f"{len(stray)} files do not lie below {out} ({stray[0]}); pass --copy or --link, or an "
            "--out that holds them."
        )


def _files(record: Record) -> list[Path]:
    return [path for path in (record.path, record.mask, record.drr) if path is not None]


def _written(
    dataset: Dataset,
    out: Path,
    to: Target,
    placing: Placing,
    skip: bool,
    listen: Callable[[int], None] | None,
) -> Converted:
    kept: list[Record] = []
    sizes: dict[str, tuple[int, int]] = {}
    failed: dict[str, str] = {}
    for record in dataset.records:
        try:
            if to == "coco":
                sizes[record.id] = images.size(record.path)
            kept.append(_placed(record, out, placing))
        except (ImageReadError, InputError) as error:
            if not skip:
                raise InputError(f"{error} (--on-error skip leaves such images out)") from None
            failed[record.id] = str(error)
        if listen:
            listen(1)
    if not kept:
        raise InputError(f"{dataset.name}: not one image could be converted.")
    made, path = dataclasses.replace(dataset, records=tuple(kept)), out / NAMES[to]
    if to == "coco":
        coco.write(made, path, sizes_px=sizes)
    else:
        manifest.write(made, path)
    return Converted(path, made, failed)


def _placed(record: Record, out: Path, placing: Placing) -> Record:
    """The record with its files in `out`."""
    for path in _files(record):
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
    if placing == "stay":
        return record
    name = name_in(record)
    moved = {"path": out / name}
    for kind, other in (("mask", record.mask), ("drr", record.drr)):
        if other is not None:
            ending = "" if other.suffix == Path(name).suffix else other.suffix
            moved[kind] = out / f"{kind}s" / f"{name}{ending}"
    for kind, to in moved.items():
        _place(getattr(record, kind), to, placing)
    return dataclasses.replace(record, **moved)  # type: ignore[arg-type]


def name_in(record: Record) -> str:
    """Where an image goes in the new folder: its id where that is a file name, else a hash of it.

    Example:
        >>> name_in(Record("a/b.png", Path("/x/b.png"), "p", ()))
        'a/b.png'
        >>> name_in(Record("study 7", Path("/x/1.dcm"), "p", ()))
        'study 7.dcm'
        >>> name_in(Record("../b.png", Path("/x/b.png"), "p", ()))[:12]
        'images/0d498'
    """
    name, suffix = record.id, record.path.suffix
    plain = PurePosixPath(name)
    whole = str(plain) == name and not plain.is_absolute() and ".." not in plain.parts
    if whole and not set(name) & set('\\:*?"<>|\0\n\r\t') and name == name.strip(" ."):
        return name if plain.suffix == suffix else f"{name}{suffix}"
    return f"images/{hashlib.sha256(name.encode()).hexdigest()[:20]}{suffix}"


def _place(source: Path, target: Path, placing: Placing) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise InputError(f"{source}: its name {target.name} is taken by another image's file.")
    if placing == "copy":
        shutil.copyfile(source, target)
        return
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        raise InputError(f"{source}: cannot be linked ({error.strerror}); use --copy.") from None


def _moved(record: Record, old: Path, new: Path) -> Record:
    there = {
        kind: new / path.relative_to(old)
        for kind in ("path", "mask", "drr")
        if (path := getattr(record, kind)) is not None
    }
    return dataclasses.replace(record, **there)
