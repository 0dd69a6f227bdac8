"""Checkpoints that are whole or absent, and that know when they are damaged.

A checkpoint is `NAME.safetensors` (all tensors) and `NAME.json` (everything else, with the sha256
of the tensors and of itself). The JSON is written last: its rename is the moment at which the
checkpoint exists. Neither torch nor safetensors notices a flipped bit, so the hash is checked
before a load, and a checkpoint that fails is passed over for the one before it, with a warning. No
pickle is read.
"""

import contextlib
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from wsrpn import files
from wsrpn.errors import InputError

SCHEMA = 1
KEEP = 2  # generations: the newest may be damaged by the disk, the one before it then serves
_NAME = re.compile(r"(last|best)-\d+\.json")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory.

    Attributes:
        step: optimiser steps done.
        tensors: flat name → tensor.
        state: JSON values.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save(folder: Path, kind: str, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, then drop the ones of its kind that it makes superfluous.

    Args:
        folder: the run's `checkpoints/`.
        kind: `last` (to go on from) or `best` (weights to use).
        checkpoint: what to write.

    Returns:
        The path of the tensors.
    """
    name = f"{kind}-{checkpoint.step:08d}"
    tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
    path = folder / f"{name}.safetensors"
    digest = files.write(path, safetensors.torch.save(tensors))
    state = {
        "schema": SCHEMA, "kind": kind, "step": checkpoint.step, "sha256": digest,
        **checkpoint.state,
    }  # fmt: skip
    files.write_json(folder / f"{name}.json", {**state, "state_sha256": state_digest(state)})
    _prune(folder, kind, step=checkpoint.step, keep=KEEP if kind == "last" else 1)
    return path


def state_digest(state: Mapping[str, Any]) -> str:
    """sha256 of the JSON state in a canonical form."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def candidates(folder: Path, kind: str) -> list[Path]:
    """The JSON files of a kind, newest first."""
    found = [path for path in folder.glob(f"{kind}-*.json") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def load(folder: Path, kind: str) -> Checkpoint:
    """The newest undamaged checkpoint of a kind.

    Raises:
        InputError: there is none; damaged ones are named.
    """
    damaged = []
    for path in candidates(folder, kind):
        try:
            checkpoint = read(path)
        except InputError as error:
            damaged.append(str(error))
            continue
        if damaged:
            warnings.warn(f"{'; '.join(damaged)}; going on from {path.name} instead", stacklevel=2)
        return checkpoint
    if damaged:
        raise InputError(
            f"{folder}: no usable '{kind}' checkpoint ({'; '.join(damaged)}). "
            "Put a whole copy back, or train again."
        )
    raise InputError(f"{folder}: no usable '{kind}' checkpoint. Was a training started here?")


def read(path: Path) -> Checkpoint:
    """One checkpoint, checked against its hashes.

    Args:
        path: its JSON file.

    Raises:
        InputError: missing, damaged, or of a newer schema.
    """
    state = _state(path)
    weights = path.with_suffix(".safetensors")
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise InputError(f"{weights}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != state["sha256"]:
        raise InputError(f"{weights}: damaged, its sha256 does not match")
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise InputError(f"{weights}: not a safetensors file ({error})") from None
    return Checkpoint(state["step"], tensors, state)


def _state(path: Path) -> dict[str, Any]:
    state = files.read_json(path, what="the state of a checkpoint")
    if not isinstance(state, dict) or state.pop("state_sha256", None) != state_digest(state):
        raise InputError(f"{path}: damaged, its hash does not match")
    if state["schema"] > SCHEMA:
        raise InputError(f"{path}: written by a newer wsrpn (schema {state['schema']})")
    return state


def newest(folder: Path, kind: str) -> dict[str, Any] | None:
    """What the newest checkpoint of a kind says of itself, its tensors unread; None without one."""
    for path in candidates(folder, kind):
        with contextlib.suppress(InputError):
            return _state(path)
    return None


def _prune(folder: Path, kind: str, *, step: int, keep: int) -> None:
    """Remove old generations, and later ones, which a resume has left behind it.

    The JSON goes first, so that no checkpoint is ever half there.
    """
    found = candidates(folder, kind)
    later = [path for path in found if _step(path) > step]
    for path in later + found[len(later) + keep :]:
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what a kill left behind: temporary files, and tensors whose JSON never came."""
    for path in folder.glob("*.tmp.*"):
        path.unlink(missing_ok=True)
    for path in folder.glob("*.safetensors"):
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)


def flatten(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with a prefix to their names."""
    return {f"{prefix}/{key}": value for key, value in tensors.items()}


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `flatten`."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as flat tensors; its settings are not in it."""
    return {
        f"{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                # Fused AdamW walks through memory: a moment laid out otherwise than its weight
                # would be added to other elements, without an error.
                values[key] = torch.empty_like(parameter).copy_(value)
