"""Where and in which precision to compute: the same answer for training and prediction."""

from contextlib import AbstractContextManager, nullcontext

import torch

from wsrpn.errors import InputError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device a user asked for; `auto` takes a GPU if there is one.

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
    return device


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
