"""Any convolutional network of torchvision as a backbone for RGB tiles, as the library built it."""

import torch
from torch import nn

from wsrpn import compat
from wsrpn.errors import InputError, nearest
from wsrpn.models import weights as weight_files
from wsrpn.models.backbones import RGB, Backbone, imagenet_model

PREFIX = "torchvision:"
_ENDS = ("avgpool", "global_avgpool", "classifier", "fc", "head", "heads")


class LibraryBackbone(Backbone):
    """A torchvision classifier up to its pooling.

    Args:
        name: as torchvision calls it, for example efficientnet_b0.
        weights: none, imagenet (from torch's own cache) or a local file.

    Raises:
        InputError: unknown name, a network without a grid of features, or a file that does not fit.
    """

    def __init__(self, *, name: str, weights: str) -> None:
        known = compat.torchvision().models.list_models(module=compat.torchvision().models)
        if name not in known:
            raise InputError(f"torchvision has no classifier '{name}'. {nearest(name, known)}")
        model = imagenet_model(name) if weights == "imagenet" else _plain(name)
        norm = {} if weights in ("none", "imagenet") else weight_files.load(model, weights)
        super().__init__(**RGB | norm)
        parts = []
        for child, part in model.named_children():
            if child in _ENDS:
                break
            parts.append(part)
        self.body = nn.Sequential(*parts)
        # DenseNet's activation after its last norm stands in its `forward` and not in a module.
        self.tail = nn.ReLU() if name.startswith("densenet") else nn.Identity()
        self.channels = self._probed(name)

    def _probed(self, name: str) -> int:
        """How many features a cell has."""
        try:
            with torch.no_grad():
                found = self.eval().body(torch.zeros(1, 3, 64, 64))
        except Exception:  # whatever a network raises that is more than a chain of its children
            found = None
        self.train()
        if not isinstance(found, torch.Tensor) or found.ndim != 4:
            raise InputError(
                f"{PREFIX}{name} is not a chain of layers that ends in a grid of features; choose "
                "a convolutional one, for example torchvision:efficientnet_b0."
            )
        return int(found.shape[1])


def _plain(name: str) -> nn.Module:
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = compat.torchvision().models.get_model(name, weights=None, **extra)
    return model
