"""From features to an answer per pixel: what all models with input `masks` are made of.

They take grey images in [0, 1] and masks of one class, and give `mask_logits` (b, 1, h, w) at the
size of the image. An image's own logit is the largest one of its pixels.

Norms go over the batch and not over groups of channels: in evaluation a batch norm is a fixed
affine map, so a pixel's answer depends on no pixel that is further away than the network sees, and
a large image may be cut into tiles. A group norm would see the whole tile, and take from the
features of an image without a finding what tells it from others: that they are small. The attention
of `nodule` is the exception: its norms go over groups of channels of the whole image, so that model
has no `seen` and is not trained on windows (`masks.scale=native`).
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wsrpn.errors import InputError
from wsrpn.types import ModelOutput

Upsample = Literal["bilinear", "transposed"]


def refuse_classes(name: str, classes: int) -> None:
    """Stop where a model of masks is asked for more than one class.

    Raises:
        InputError: names the model and the way out.
    """
    if classes != 1:
        raise InputError(
            f"model {name} answers inside or outside, one class and not {classes}; name the one "
            "that the masks show with data.classes."
        )


def padded(images: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c H W"]:
    """Images whose sides are multiples; their last row and column are repeated.

    At the lower right only, so that cells of a tile lie where those of the whole image do.
    """
    down, right = (-side % multiple for side in images.shape[-2:])
    if not (down or right):
        return images
    return functional.pad(images, (0, right, 0, down), mode="replicate")


def refuse_one_value(images: Float[Tensor, "b c h w"], multiple: int, way_out: str) -> None:
    """Stop a step of training whose deepest norm would see one value in each channel.

    Args:
        images: of the step, on this process.
        multiple: pixels that the deepest level has one cell for.
        way_out: what can be changed beside `data.size` and `train.batch`, or nothing.

    Raises:
        InputError: names the keys to change.
    """
    height, width = images.shape[-2:]
    if len(images) == 1 and max(height, width) <= multiple:
        raise InputError(
            f"an image of {height} × {width} px is a single cell at the deepest level, and one "
            "image a step and process leaves its norm nothing to compare; set train.batch higher "
            f"or data.size above {multiple}{way_out}."
        )


def block(before: int, after: int) -> nn.Sequential:
    """Two 3 × 3 convolutions with norm and ReLU; sizes stay."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Blur(nn.Module):
    """Each pixel with half its neighbours, (1, 2, 1) / 4 along both axes, borders repeated.

    What changes from pixel to pixel and back is gone after it: its answer at half the sampling
    frequency is 0.
    """

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features of the same size."""
        wider = functional.pad(features, (1, 1, 1, 1), mode="replicate")
        return functional.avg_pool2d(functional.avg_pool2d(wider, 2, 1), 2, 1)


class Up(nn.Module):
    """Twice the size, other channels; both ways begin as the same function.

    `bilinear` is a 1 × 1 convolution (at the smaller size: it commutes with the interpolation, and
    costs a quarter there). `transposed` is a transposed convolution of kernel 2 and stride 2, then
    a fixed blur. A kernel that is a multiple of its stride reaches every output pixel equally often
    (Odena et al. 2016), but that does not make its four phases equal: a constant comes out as a
    pattern of 2 × 2 pixels, and a decoder that began with equal phases had learned stripes through
    every nodule after nine epochs. The blur leaves the mean of the phases alone, so a constant
    stays one whatever the weights (Sugawara et al. 2018). With four equal phases, as they begin,
    the two together are bilinear interpolation.

    Args:
        before: channels that come.
        after: channels that go.
        kind: see above.

    Reference:
        Sugawara, Shiota and Kiya, Super-resolution using convolutional neural networks without any
        checkerboard artifacts, 2018.
    """

    def __init__(self, before: int, after: int, kind: Upsample) -> None:
        super().__init__()
        mix = nn.Conv2d(before, after, 1, bias=False)
        if kind == "bilinear":
            scale = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            self.up = nn.Sequential(mix, scale)
            return
        apart = nn.ConvTranspose2d(before, after, 2, stride=2, bias=False)
        with torch.no_grad():
            apart.weight.copy_(mix.weight.transpose(0, 1).expand_as(apart.weight))
        self.up = nn.Sequential(apart, Blur())

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Features of twice the size."""
        found: Tensor = self.up(features)
        return found


class UpStage(nn.Module):
    """Up by two, what the encoder had at that size beside it, and a block of convolutions.

    Args:
        before: channels that come.
        after: channels that go.
        skip: channels of what comes beside it; 0 for nothing.
        upsample: see `Up`.
    """

    def __init__(self, before: int, after: int, *, skip: int = 0, upsample: Upsample) -> None:
        super().__init__()
        self.up = Up(before, after, upsample)
        self.block = block(after + skip, after)

    def forward(
        self, features: Float[Tensor, "b c h w"], skip: Float[Tensor, "b s H W"] | None = None
    ) -> Float[Tensor, "b d H W"]:
        """Features of twice the size."""
        found = self.up(features)
        mixed: Tensor = self.block(found if skip is None else torch.cat((skip, found), 1))
        return mixed


def head(channels: int, prior: float) -> nn.Conv2d:
    """The last layer, a logit per pixel, around the logit of `prior` before training.

    Where foreground is rare, a start at one half everywhere makes the first steps unlearn a false
    answer at nearly every pixel.

    Args:
        channels: that come.
        prior: share of foreground that the untrained network answers, between 0 and 1.

    Raises:
        InputError: a prior of 0 or 1, whose logit is infinite.

    Reference:
        Lin et al., Focal loss for dense object detection, 2017, section 4.1.
    """
    if not 0 < prior < 1:
        raise InputError(f"model.prior must lie between 0 and 1, without either (got {prior:g}).")
    last = nn.Conv2d(channels, 1, 1)
    nn.init.constant_(last.bias, math.log(prior / (1 - prior)))  # type: ignore[arg-type]
    return last


def answer(
    logits: Float[Tensor, "b 1 H W"],
    size: tuple[int, int] | torch.Size,
    attention: Float[Tensor, "b 1 gh gw"] | None = None,
) -> ModelOutput:
    """What a model of masks gives, from the logits of its padded image.

    Args:
        logits: before the padding is cut off.
        size: height and width of the image.
        attention: where the model looks, or None.
    """
    cut = logits[..., : size[0], : size[1]].float()
    return ModelOutput(
        logits=cut.flatten(1).amax(1, keepdim=True), mask_logits=cut, attention=attention
    )
