"""A plain classifier of tiles: the ceiling that an anomaly model is measured against."""

from torch import nn

from wsrpn.config import Share
from wsrpn.models import backbones
from wsrpn.models.base import models
from wsrpn.models.library_backbone import PREFIX, LibraryBackbone
from wsrpn.models.tile import TileModel
from wsrpn.types import Batch, ModelOutput


@models.register("tile_classifier", gives=("logits",), input="tiles")
class TileClassifier(TileModel):
    """A backbone on RGB, the mean over its cells and one linear layer.

    Args:
        classes: 1.
        backbone: name of a backbone, or `torchvision:NAME` for any convolutional one that it has.
        grid: 7 for one cell per 32 pixels, 14 for one per 16; `torchvision:` ones have their own.
        weights: of the backbone: none, imagenet or a file.
        dropout: before the linear layer.
    """

    def __init__(
        self,
        *,
        classes: int,
        backbone: str = "resnet18",
        grid: backbones.Grid = 7,
        weights: str = "none",
        dropout: Share = 0.2,
    ) -> None:
        super().__init__(classes=classes)
        self.backbone = (
            LibraryBackbone(name=backbone.removeprefix(PREFIX), weights=weights)
            if backbone.startswith(PREFIX)
            else backbones.make(backbone, grid=grid, weights=weights, rgb=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(self.backbone.channels, 1)

    def forward(self, batch: Batch) -> ModelOutput:
        """The logit."""
        cells = self.backbone(batch.images)
        logits = self.classify(self.dropout(cells.mean((2, 3))))
        return ModelOutput(logits=logits.float())
