"""The run folder: who may write in it, and what it says besides the checkpoints."""

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


@contextmanager
def claimed(out: Path, here: World) -> Iterator[None]:
    """One writer per run folder, for as long as the context lasts; it finds no half-written files.

    Raises:
        InputError: another process holds it, or it cannot be a folder.
    """
    if not here.main:
        yield
        return
    files.refuse_file(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"{out}: another training is writing here; wait for it or choose another --out."
        ) from None
    except OSError as error:
        raise InputError(f"{out}: cannot be a run folder ({error.strerror}).") from None
    try:
        for left in out.glob("*.tmp.*"):
            left.unlink(missing_ok=True)
        yield
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
    old, new = (_flat(configs.document(c)) for c in (configs.load(path), config))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and key not in _FREE:
            raise InputError(
                f"{path}: {key} was {old.get(key)!r} when this run began, "
                f"{new.get(key)!r} now; resume with the same config, or choose another --out."
            )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
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


def write_events(out: Path, row: Mapping[str, float], *, seconds: float) -> None:
    """Add an epoch to the TensorBoard events, in a file of its own: no kill can spoil it."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out / "tensorboard"), purge_step=int(row["step"])) as board:
        for key, value in {**row, "seconds": seconds}.items():
            board.add_scalar(key, value, int(row["step"]))
