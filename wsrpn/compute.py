"""Where and in which precision to compute: the same answer for training and prediction."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from wsrpn.errors import InputError

# mallopt's numbers in malloc.h of glibc, the variables that ask for the same, and what we set.
_KEEP = (
    (-3, "MALLOC_MMAP_THRESHOLD_", 1 << 30),  # bytes: larger blocks go back to the system at once
    (-1, "MALLOC_TRIM_THRESHOLD_", (1 << 31) - 1),  # bytes free at the end of the heap: likewise
)


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device a user asked for; `auto` takes a GPU if there is one.

    On a CPU the process keeps the memory that tensors free: see `keep_freed_memory`.

    Args:
        name: auto, cpu, cuda, cuda:1 …; `cuda` without a number is this process's own.
        local_rank: number of this process on its machine.

    Raises:
        InputError: an unknown device, or one this machine does not have.
    """
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        name = f"cuda:{local_rank}"
    elif name == "auto":
        name = "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"--device {name}: no such device; use cpu, cuda, cuda:N or auto."
        ) from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name}: not usable here ({reason}). Try auto or cpu.") from None
    if device.type == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory() -> bool:
    """Let this process reuse the memory that tensors free; glibc on Linux, nothing elsewhere.

    PyTorch takes the tensors of a CPU from malloc. By default that maps every large one afresh and
    the system clears its pages, which takes as long as the layer that fills them: a training step
    of a small U-Net at 512 px took 0.49 s so and 0.24 s with its memory kept. What the user says
    in malloc's own environment variables goes before.

    Returns:
        Whether it was set.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    asked = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    asked = asked or any(name in os.environ for _, name, _ in _KEEP)
    if asked or not hasattr(library, "gnu_get_libc_version"):
        return False
    return all(library.mallopt(number, value) == 1 for number, _, value in _KEEP)  # type: ignore[union-attr]


def spread(name: str) -> tuple[str, ...]:
    """The devices that several processes take in turn: every GPU for `auto` and `cuda`.

    Args:
        name: auto, cpu, cuda, cuda:1 ….

    Raises:
        InputError: an unknown device, or one this machine does not have.
    """
    count = torch.cuda.device_count()
    if count and name in ("auto", "cuda"):
        return tuple(f"cuda:{n}" for n in range(count))
    return (str(choose_device(name)),)


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is in hardware; in emulation it would only be slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, test, bool)() for test in tests)


def precision(config_value: str, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and matrix products; weights stay in float32."""
    if config_value == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return torch.bfloat16 if config_value == "bf16" else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision, or nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def wants_channels_last(config_value: str | bool, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether convolutions run with channels last: always faster on a CPU, with bf16 on a GPU."""
    if config_value != "auto":
        return config_value is True
    return device.type == "cpu" or dtype != torch.float32
