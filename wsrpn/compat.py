"""Makes torchvision importable beside a CPU build of torch; inert where it already is.

torchvision's wheels on the package index are built against CUDA. Beside a CPU torch their C++
library does not load, and the import stops because the operators `nms` and `qnms` were never
declared. Declaring them, and giving `nms` a kernel in plain torch, is enough for the models, the
transforms and everything of transformers that imports torchvision.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
_libraries: list[Any] = []  # a torch.library.Library withdraws its operators when it is collected


def nms_kernel(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression, the contract of `torchvision.ops.nms`.

    Args:
        dets: boxes (n, 4) as xyxy.
        scores: (n,).
        iou_threshold: a box that overlaps a better one by more than this is dropped.

    Returns:
        Indices of the boxes kept, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool, device=dets.device)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        both = (high - low).clamp_min(0).prod(-1)
        alive[i + 1 :] &= ~(both > iou_threshold * (area[i] + area[i + 1 :] - both))
    return order[alive]


def torchvision() -> ModuleType:
    """The torchvision package, made importable if it has to be.

    Raises:
        ImportError: torchvision is not installed, or fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        declared.define(name + _SIGNATURE)
    kernels = torch.library.Library("torchvision", "IMPL", "CPU")
    for name in _OPERATORS:
        kernels.impl(name, nms_kernel)
    _libraries.extend((declared, kernels))
    package = importlib.import_module("torchvision")
    # torchvision.ops.nms asks this before it calls the operator that now exists.
    importlib.import_module("torchvision.extension")._has_ops = lambda: True  # type: ignore[attr-defined]
    return package
