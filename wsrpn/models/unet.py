"""The U-Net: an encoder that halves the image, a decoder that brings it back, and skips between.

Written here in a hundred lines and not taken from a library: the one of MONAI is another network
(residual units, strided convolutions), that of segmentation-models needs an ImageNet encoder; and
neither can say how far it sees, which tiles need to leave no seam.
"""

from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.config import Share
from wsrpn.errors import InputError
from wsrpn.models.base import models
from wsrpn.models.decoder import (
    Upsample,
    UpStage,
    answer,
    block,
    head,
    padded,
    refuse_classes,
    refuse_one_value,
)
from wsrpn.types import Batch, ModelOutput

MEAN, STD = 0.5, 0.25  # of grey levels: what goes in is about -2 to 2, and padding is mid-grey


@models.register("unet", gives=("mask_logits", "logits"), input="masks")
class UNet(nn.Module):
    """U-Net for images of any size.

    Against the paper: padded convolutions, so that every pixel gets an answer; batch norm; one
    logit instead of two channels; half its width.

    Args:
        classes: 1.
        width: channels of the first level; each further one has twice as many. The paper has 64.
        depth: times the image is halved.
        dropout: share of the values that training drops at the deepest level.
        upsample: how the decoder doubles its size, see `wsrpn.models.decoder.Up`.
        prior: share of foreground that the untrained network answers.

    Attributes:
        multiple: tiles whose corners are multiples of it have the cells of the whole image.

    Raises:
        InputError: more classes than one, or a width, depth or prior that no network has.

    Reference:
        Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, 2015.
    """

    def __init__(
        self,
        *,
        classes: int,
        width: int = 32,
        depth: int = 4,
        dropout: Share = 0.0,
        upsample: Upsample = "bilinear",
        prior: Share = 0.5,
    ) -> None:
        super().__init__()
        refuse_classes("unet", classes)
        if width < 1:
            raise InputError(f"model.width must be at least 1 (got {width}).")
        if not 1 <= depth <= 6:
            raise InputError(f"model.depth must be between 1 and 6 (got {depth}).")
        widths = [width * 2**level for level in range(depth + 1)]
        self.depth, self.multiple = depth, 2**depth
        self.encoder = nn.ModuleList(
            block(before, after) for before, after in zip([1, *widths], widths, strict=False)
        )
        self.halve = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.ModuleList(
            UpStage(2 * after, after, skip=after, upsample=upsample) for after in widths[-2::-1]
        )
        self.head = head(width, prior)

    @property
    def seen(self) -> int:
        """How far a pixel's answer may depend on others, in pixels along an axis."""
        return seen(self.depth)

    def forward(self, batch: Batch) -> ModelOutput:
        """A logit per pixel, and the largest one of every image."""
        if self.training:
            refuse_one_value(batch.images, self.multiple, ", or model.depth lower")
        features = self.features(padded(batch.images, self.multiple))
        return answer(self.head(features), batch.images.shape[-2:])

    def features(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """What the last layer reads of images whose sides are multiples of `multiple`."""
        found: Tensor = (images - MEAN) / STD
        levels: list[Tensor] = []
        for index, encode in enumerate(self.encoder):
            found = encode(self.halve(found) if index else found)
            levels.append(found)
        found = self.dropout(levels.pop())
        for decode in self.decoder:
            found = decode(found, levels.pop())
        return found


def seen(depth: int) -> int:
    """How far a pixel of a U-Net sees, in pixels along an axis: its receptive field, exactly.

    The way down and up again through the deepest level reaches furthest. It is followed backwards,
    cell by cell: two 3 × 3 convolutions reach 2 cells further on each side, doubling (of either
    kind) reads the two cells nearest to a pixel, pooling the two pixels of a cell. How far that is
    depends on where in a deepest cell the pixel lies; the largest distance counts.

    Args:
        depth: times the image is halved.

    Example:
        >>> [seen(depth) for depth in (1, 2, 3, 4)]
        [10, 26, 58, 122]
    """

    def reach(pixel: int) -> int:
        low = high = pixel
        for _ in range(depth):
            low, high = (low - 2 - 1) // 2, (high + 2 + 1) // 2
        low, high = low - 2, high + 2
        for _ in range(depth):
            low, high = 2 * low - 2, 2 * high + 1 + 2
        return max(pixel - low, high - pixel)

    return max(reach(pixel) for pixel in range(2**depth))
