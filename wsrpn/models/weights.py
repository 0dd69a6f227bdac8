"""Backbone weights from a local file, whatever the layout of their keys.

Recognised: safetensors and `torch.save` files (read with `weights_only=True`: no pickle is run) of
torchvision models, old DenseNet keys (`norm.1` for `norm1`), CheXNet checkpoints
(`module.densenet121.features…` below `state_dict`) and torchxrayvision's DenseNets, whose stem has
one channel and expects [-1024, 1024].
"""

import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wsrpn.errors import InputError

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d+\.)")
_PREFIXES = ("module.", "model.", "densenet121.", "backbone.")


def load(model: nn.Module, path: str) -> dict[str, float]:
    """Load what belongs to the backbone and leave its classifier alone.

    Args:
        model: the library's model, still with its own stem.
        path: the file.

    Returns:
        `mean` and `std` of the input where the file's origin fixes them, else nothing.

    Raises:
        InputError: no such file, not a weights file, or keys that do not fit.
    """
    state = clean(read(path))
    wanted = {k: v for k, v in model.state_dict().items() if not _is_classifier(k)}
    missing = [
        key for key in wanted if key not in state and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(wanted)} weights of the backbone are missing, "
            f"the first is '{missing[0]}'; is it for another architecture?"
        )
    one_channel = False
    for key, target in wanted.items():
        value = state.get(key)
        if value is None:
            continue
        if (
            value.shape != target.shape
            and value.ndim == 4
            and value.shape[1] == 1
            and target.shape[1] == 3
        ):
            value, one_channel = value.expand_as(target) / 3, True
        if value.shape != target.shape:
            raise InputError(
                f"{path}: '{key}' has shape {tuple(value.shape)}, {tuple(target.shape)} is needed."
            )
        target.copy_(value)
    return {"mean": 0.5, "std": 0.5 / 1024} if one_channel else {}


def read(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file.

    Raises:
        InputError: no such file, or one that is not safe or not readable.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"model.weights: no such file: {path}. It may also be 'none' or 'imagenet'."
        )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: not a plain weights file; it is damaged, or holds Python objects, which are "
            "never loaded. Save its state_dict as safetensors."
        ) from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a plain weights file ({reason}). Save its state_dict as safetensors."
        ) from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, a state_dict was expected.")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def clean(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys as today's torchvision writes them."""
    cleaned = {}
    for key, value in state.items():
        while any(key.startswith(prefix) for prefix in _PREFIXES):
            key = key.split(".", 1)[1]
        cleaned[_OLD_DENSENET.sub(lambda m: m.group(1) + m.group(2), key)] = value
    return cleaned


def _is_classifier(key: str) -> bool:
    return key.split(".")[0] in {"classifier", "fc", "_fc"}
