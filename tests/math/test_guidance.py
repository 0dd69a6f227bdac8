"""Queries that follow the patch branch."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from wsrpn import models
from wsrpn.losses import Objective
from wsrpn.models.blocks import GroupNorm, places_of
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


def test_two_lungs_become_two_places_where_one_box_would_lie_between_them():
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 2:4, 1] = maps[0, 0, 2:4, 6] = 20.0
    cells = torch.zeros(1, 8, 8, 32)
    options = {"name": "wsrpn", "backbone": "tiny", "width": 32, "heads": 4, "content": 0.0}
    one, two = (
        models.build({**options, "guide": 3.0, "places": p}, classes=1).eval() for p in (1, 2)
    )
    assert one.propose(cells, maps).means[0, :, 0].sub(0.5).abs().max() < 0.05
    centres = two.propose(cells, maps).means[0]
    assert centres[::2, 0].sub(1.5 / 8).abs().max() < 0.05
    assert centres[1::2, 0].sub(6.5 / 8).abs().max() < 0.05
    assert centres[:, 1].sub(3 / 8).abs().max() < 0.05


def test_places_find_the_clusters_that_a_mixture_of_sklearn_finds():
    generator = np.random.default_rng(0)
    points = np.concatenate(
        [generator.normal(centre, 0.06, (200, 2)) for centre in ((0.25, 0.3), (0.75, 0.6))]
    )
    weights = torch.full((1, 1, 400), 1 / 400, dtype=torch.float64)
    ours = places_of(weights, torch.from_numpy(points), places=2, rounds=30)[0, 0]
    theirs = GaussianMixture(2, covariance_type="diag", random_state=0).fit(points)
    theirs_first = theirs.predict_proba(points)[:, np.argmin(theirs.means_[:, 0])]
    np.testing.assert_allclose(ours[0].numpy(), theirs_first, atol=0.01)


def test_one_place_is_all_cells_and_shares_sum_to_one():
    weights = torch.rand(2, 3, 20).softmax(-1)
    points = torch.rand(20, 2)
    assert (places_of(weights, points, places=1) == 1).all()
    torch.testing.assert_close(places_of(weights, points, places=3).sum(2), torch.ones(2, 3, 20))


def test_there_is_a_region_for_every_place_of_every_class():
    assert model(regions=2, places=4)(batch()).regions.logits.shape[1] == 12


def test_training_survives_places_that_hold_nothing():
    net = model(places=5, grid=7).train()
    output = net(batch())
    loss, _ = Objective({"detection": {}})(output, batch(), {"detection": 1.0})
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_places_are_the_same_under_mixed_precision():
    torch.manual_seed(0)
    weights = (3 * torch.randn(8, 4, 49)).softmax(-1)
    points = torch.rand(49, 2)
    plain = places_of(weights, points, places=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(places_of(weights, points, places=2), plain)
