"""A cell sees where its centre is, in every backbone and grid."""

import pytest
import torch
from torch import nn

from wsrpn.models import backbones

SIZE = 224
# DenseNet pools by means of 2 × 2, which are centred; only its stem errs, by 1.5 pixels.
CASES = [(name, grid) for name in ("tiny", "resnet18", "efficientnet_lite0") for grid in (7, 14)]


def offset_px(backbone: backbones.Backbone) -> tuple[float, float, float]:
    """How far the middle cell looks right and down of its centre, and the side of a cell.

    All weights are equal and positive, so the gradient of a cell is the shape of its view.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.5 / module.weight[0].numel())
        if isinstance(module, nn.MaxPool2d):  # among equal values its gradient takes the first
            module.forward = lambda x: nn.functional.avg_pool2d(x, 3, 2, 1)
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda x: x
    image = torch.full((1, 1, SIZE, SIZE), 0.6, requires_grad=True)
    features = backbone.eval().raw(image)
    cells = features.shape[-1]
    features[0, :, cells // 2, cells // 2].sum().backward()
    view = image.grad[0, 0].abs()
    centre = (cells // 2 + 0.5) * SIZE / cells
    where = torch.arange(SIZE) + 0.5
    right = float((view.sum(0) * where).sum() / view.sum()) - centre
    down = float((view.sum(1) * where).sum() / view.sum()) - centre
    return right, down, SIZE / cells


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_a_cell_looks_at_its_own_centre(name, grid):
    right, down, cell = offset_px(backbones.make(name, grid=grid, weights="none"))
    assert abs(right) <= 0.06 * cell
    assert abs(down) <= 0.06 * cell


def test_symmetric_padding_would_look_half_a_cell_away():
    layers = [nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(5)]
    plain = backbones.make("tiny", grid=7, weights="none")
    plain.body = nn.Sequential(*layers)
    right, down, cell = offset_px(plain)
    assert right == pytest.approx(-15.5, abs=0.1)
    assert down == pytest.approx(-15.5, abs=0.1)
    assert cell == 32


@pytest.mark.parametrize("size", [96, 97, 110, 224])
def test_the_grid_has_as_many_cells_as_with_symmetric_padding(size):
    for name in ("tiny", "resnet18"):
        features = (
            backbones.make(name, grid=7, weights="none").eval().raw(torch.zeros(1, 1, size, size))
        )
        assert features.shape[-2:] == (-(-size // 32), -(-size // 32))
