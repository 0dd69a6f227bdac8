"""Queries that follow the patch branch."""

import pytest
import torch

from wsrpn import models
from wsrpn.losses import Objective
from wsrpn.models.blocks import GroupNorm
from wsrpn.models.wsrpn import OFF, standardised
from wsrpn.types import Batch


def batch(images: int = 2, classes: int = 3) -> Batch:
    return Batch(
        tuple(map(str, range(images))),
        torch.rand(images, 1, 64, 64),
        torch.zeros(images, classes),
        torch.full((images, 2), 64),
    )


def model(**options):
    return models.build(
        {"name": "wsrpn", "backbone": "tiny", "width": 32, "heads": 4, **options}, classes=3
    )


def test_evidence_draws_every_region_of_a_class_to_the_hot_cell():
    net = model(content=0.0, guide=50.0, grid=7).eval()
    cells = torch.zeros(1, 4, 6, 32)
    maps = torch.zeros(1, 3, 4, 6)
    maps[0, 1, 2, 4] = 100.0
    regions = net.propose(cells, maps)
    own = torch.arange(10) % 3 == 1
    expected = torch.tensor([4.5 / 6, 2.5 / 4])
    torch.testing.assert_close(
        regions.means[0, own], expected.expand(int(own.sum()), 2), atol=0.02, rtol=0
    )


def test_a_guided_region_speaks_of_its_own_class_only():
    logits = model()(batch()).regions.logits
    own = torch.nn.functional.one_hot(torch.arange(10) % 3, 3).bool()
    assert (logits[:, ~own] == OFF).all()
    assert (logits[:, own] > OFF).all()


def test_there_is_a_region_for_every_class():
    assert model(regions=2)(batch()).regions.logits.shape[1] == 3
    assert model(regions=2, guide=0.0)(batch()).regions.logits.shape[1] == 2


def test_free_queries_speak_of_all_classes():
    assert (model(guide=0.0)(batch()).regions.logits > OFF).all()


def test_standardised_evidence_ignores_the_scale_of_large_logits():
    maps = torch.randn(2, 3, 5, 5) * 100
    torch.testing.assert_close(standardised(maps), standardised(10 * maps), atol=0.05, rtol=0.05)
    assert (standardised(torch.full((1, 1, 5, 5), 7.0)) == 0).all()


def test_evidence_sends_no_gradient_from_the_regions_into_the_patch_classifier():
    net = model(dropout=0.0)
    output = net(batch())
    output.roi_logits.sum().backward()
    assert all(p.grad is None for p in net.patch_classifier.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_takes_channels_last_features_of_a_frozen_backbone(dtype):
    norm = GroupNorm(8, 64).to(dtype)
    features = torch.randn(2, 64, 7, 7, dtype=dtype).to(memory_format=torch.channels_last)
    out = norm(features)
    out.float().square().sum().backward()
    torch.testing.assert_close(
        out.float(), torch.nn.functional.group_norm(features.float(), 8), atol=0.05, rtol=0.02
    )
    assert norm.weight.grad.isfinite().all()


def test_a_frozen_backbone_trains_with_channels_last():
    net = model(grid=7)
    net.backbone.requires_grad_(False)
    data = batch().to("cpu", channels_last=True)
    loss, _ = Objective({})(net(data), data, {"detection": 1.0})
    loss.backward()
    assert all(p.grad is None for p in net.backbone.parameters())
