"""Losses on the Gaussian maps against loops over every cell."""

import math

import pytest
import torch
from torch.testing import assert_close

from wsrpn import gaussian
from wsrpn.losses.gaussian import (
    box_alignment_loss,
    concentration_loss,
    negative_suppression_loss,
    sparsity_loss,
)
from wsrpn.types import Regions


def regions(seed=0, b=3, r=4, k=2, grid=(5, 7)):
    random = torch.Generator().manual_seed(seed)
    boxes = torch.rand(b, r, 4, generator=random)
    means = torch.rand(b, r, 2, generator=random)
    sigmas = 0.05 + torch.rand(b, r, 2, generator=random) / 2
    logits = torch.randn(b, r, k, generator=random)
    return Regions(boxes, means, sigmas, logits, *gaussian.log_maps(means, sigmas, grid))


def maps_slowly(found, grid=(5, 7)):
    """Every cell of every map, normalised by its sum, in double precision."""
    rows, columns = grid
    maps = []
    for mean, sigma in zip(found.means.tolist(), found.sigmas.tolist(), strict=True):
        of_image = []
        for (mx, my), (sx, sy) in zip(mean, sigma, strict=True):
            heights = [
                math.exp(-0.5 * ((((j + 0.5) / columns - mx) / sx) ** 2
                                 + (((i + 0.5) / rows - my) / sy) ** 2))
                for i in range(rows) for j in range(columns)
            ]  # fmt: skip
            of_image.append([h / sum(heights) for h in heights])
        maps.append(of_image)
    return maps


@pytest.mark.parametrize("seed", range(3))
def test_concentration_and_sparsity_equal_loops_over_cells(seed):
    found = regions(seed)
    entropy, sparse = [], []
    for maps in maps_slowly(found):
        entropy.append(sum(-sum(a * math.log(a) for a in m if a > 0) for m in maps) / len(maps))
        sparse.append(sum(sum(m) / len(m) - max(m) for m in maps) / len(maps))
    assert_close(concentration_loss(found), torch.tensor(entropy), atol=1e-5, rtol=1e-5)
    assert_close(sparsity_loss(found), torch.tensor(sparse), atol=1e-5, rtol=1e-5)


def test_a_box_of_the_practice_notes_has_its_entropy_and_peak():
    means, sigmas = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.2, 0.1]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.2]]])
    found = Regions(
        boxes, means, sigmas, torch.zeros(1, 1, 1), *gaussian.log_maps(means, sigmas, (7, 7))
    )
    assert concentration_loss(found).item() == pytest.approx(2.764753, abs=1e-5)
    assert sparsity_loss(found).item() == pytest.approx(1 / 49 - 0.164130, abs=1e-5)
    assert box_alignment_loss(found).item() == 0


def test_x_and_y_are_told_apart_on_a_grid_that_is_not_square():
    sharp_x = gaussian.log_maps(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.02, 9.0]]]), (2, 9))
    none = torch.zeros(1, 1, 4), torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1, 1)
    assert concentration_loss(Regions(*none, *sharp_x)).item() == pytest.approx(
        math.log(2), abs=1e-3
    )


def test_box_alignment_equals_its_formula():
    found = regions(1)
    expected = [
        sum(
            (m[0] - c[0]) ** 2 + (m[1] - c[1]) ** 2
            + 0.5 * ((s[0] - c[2] / 2) ** 2 + (s[1] - c[3] / 2) ** 2)
            for m, s, c in zip(*image, strict=True)
        ) / 4
        for image in zip(found.means.tolist(), found.sigmas.tolist(), found.boxes.tolist(),
                         strict=True)
    ]  # fmt: skip
    assert_close(box_alignment_loss(found), torch.tensor(expected))
    assert (box_alignment_loss(found, centre=0.0, size=0.0) == 0).all()


def test_negative_suppression_looks_at_images_without_any_finding_only():
    found = regions(2)
    labels = torch.tensor([[0.0, 0.0], [0.0, float("nan")], [1.0, 0.0]])
    peaks = [max(m) - 1 / len(m) for m in maps_slowly(found)[0]]
    sure = found.logits[0].sigmoid().square().mean(-1).tolist()
    expected = sum(p**2 + s for p, s in zip(peaks, sure, strict=True)) / 4
    assert_close(negative_suppression_loss(found, labels), torch.tensor([expected, 0.0, 0.0]))


def test_where_nothing_applies_the_gradient_is_zero_and_there():
    found = regions(3)
    logits = found.logits.requires_grad_()
    negative_suppression_loss(found, torch.ones(3, 2)).sum().backward()
    assert (logits.grad == 0).all()


def test_a_very_narrow_map_still_pulls():
    """Normalising by a sum plus an epsilon would give it entropy 0 and no gradient."""
    sigma = torch.full((1, 1, 2), 1e-3).requires_grad_()
    means = torch.tensor([[[0.4, 0.4]]])
    found = Regions(
        torch.zeros(1, 1, 4), means, sigma, torch.zeros(1, 1, 1),
        *gaussian.log_maps(means, sigma, (4, 4)),
    )  # fmt: skip
    concentration_loss(found).sum().backward()
    assert sigma.grad.isfinite().all()
    assert sparsity_loss(found).item() == pytest.approx(1 / 16 - 1, abs=1e-4)
