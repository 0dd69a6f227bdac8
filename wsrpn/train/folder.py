"""The run folder: who may write in it, and what it says besides the checkpoints."""

import contextlib
import csv
import io
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

import wsrpn
from wsrpn import config as configs
from wsrpn import files
from wsrpn.config import RunConfig
from wsrpn.errors import InputError
from wsrpn.train.distributed import World

# A run may be prolonged, and its folder, data or text encoder may be found under another path on
# resume; that they are the same is looked at by what is in them.
_FREE = (
    "train.epochs", "train.workers", "data.source", "data.cache",
    "text.encoder", "text.cache", "text.online",
)  # fmt: skip


class Claimed(InputError):
    """Another process trains in this folder."""


@contextmanager
def claimed(out: Path, here: World) -> Iterator[None]:
    """One writer per run folder, for as long as the context lasts; it finds no half-written files.

    Raises:
        Claimed: another process holds it.
        InputError: it cannot be a folder.
    """
    if not here.main:
        yield
        return
    files.refuse_file(out)
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise Claimed(
            f"{out}: another training is writing here; wait for it or choose another --out."
        ) from None
    except OSError as error:
        raise InputError(f"{out}: cannot be a run folder ({error.strerror}).") from None
    try:
        for left in out.glob("*.tmp.*"):
            left.unlink(missing_ok=True)
        yield
    except BaseException:
        if is_new and [path.name for path in out.iterdir()] == [".lock"]:  # nothing was begun
            with contextlib.suppress(OSError):
                (out / ".lock").unlink()
                out.rmdir()
        raise
    finally:
        lock.release()


def begin(out: Path, config: RunConfig, facts: Mapping[str, Any]) -> None:
    """Write `run.json` and, last, `config.yaml`, whose being there says that a training has begun.

    Args:
        out: run folder.
        config: with all defaults filled in.
        facts: classes, data and whatever else a later reader needs.
    """
    files.write_json(out / "run.json", dict(facts))
    write_config(out, config)


def write_config(out: Path, config: RunConfig) -> None:
    """Write `config.yaml`."""
    files.write(out / "config.yaml", configs.dump(config).encode())


def write_notes(out: Path, notes: Sequence[str]) -> None:
    """Write the notes of a resumed run into `run.json`: a longer one may reach its later phases."""
    facts = files.read_json(out / "run.json", what="the facts of a run")
    files.write_json(out / "run.json", {**facts, "data": {**facts["data"], "notes": list(notes)}})


def add_notes(out: Path, notes: Sequence[str]) -> None:
    """Write further notes into `run.json`, each once."""
    if notes:
        facts = files.read_json(out / "run.json", what="the facts of a run")
        write_notes(out, list(dict.fromkeys((*facts["data"]["notes"], *notes))))


def environment(here: World) -> dict[str, Any]:
    """What equal bits on resume depend on, and what a reader wants to know."""
    return {
        "wsrpn": wsrpn.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "device": here.device.type,
        "threads": torch.get_num_threads(),
        "processes": here.size,
        "cores": os.cpu_count(),
    }


def refuse_other_config(out: Path, config: RunConfig) -> None:
    """A resumed run must be the same run.

    Raises:
        InputError: names the first key that differs.
    """
    path = out / "config.yaml"
    if not path.is_file():
        raise InputError(f"{out}: there is no training to resume; leave --resume out to start one.")
    for key, old, new in differences(configs.load(path), config, free=_FREE):
        raise InputError(
            f"{path}: {key} was {old!r} when this run began, {new!r} now; resume with the same "
            "config, or choose another --out."
        )


def differences(
    old: RunConfig, new: RunConfig, *, free: Sequence[str] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, old and new value of what two configs do not have in common, sorted by key.

    Args:
        old: a config with all defaults filled in.
        new: another.
        free: keys that may differ.
    """
    before, after = (_flat(configs.document(config)) for config in (old, new))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key) and key not in free:
            yield key, before.get(key), after.get(key)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, list) and tree and all(isinstance(item, dict) for item in tree):
        tree = {str(place): item for place, item in enumerate(tree)}
    if isinstance(tree, dict) and tree:
        return {
            path: value
            for key, below in tree.items()
            for path, value in _flat(below, f"{prefix}{key}.").items()
        }
    return {prefix.removesuffix("."): tree}


def write_metrics(out: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write `metrics.csv` whole, a row per epoch, so that a resume leaves no double rows."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    files.write(out / "metrics.csv", text.getvalue().encode())


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of a run folder's `metrics.csv`, an epoch each, with the figures that it has.

    Raises:
        InputError: there is none yet, or something other than numbers in it.
    """
    path = run / "metrics.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; a training writes it when its first epoch ends.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error}).") from None
    return [_numbers(row, f"{path}: row {n}") for n, row in enumerate(rows, start=1)]


def _numbers(row: Mapping[Any, Any], where: str) -> dict[str, float]:
    if None in row or None in row.values():  # csv's way to say it
        raise InputError(f"{where}: has another number of cells than the header.")
    figures: dict[str, float] = {}
    for key, text in row.items():
        try:
            figures |= {key: float(text)} if text else {}
        except ValueError:
            raise InputError(f"{where}: {key} is '{text}'; a number was expected.") from None
    return figures


def write_events(out: Path, row: Mapping[str, float], *, seconds: float) -> None:
    """Add an epoch to the TensorBoard events, in a file of its own: no kill can spoil it."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out / "tensorboard"), purge_step=int(row["step"])) as board:
        for key, value in {**row, "seconds": seconds}.items():
            board.add_scalar(key, value, int(row["step"]))
