"""The source's own loops beside our losses: equal where it is sound, and what it does where not.

The loops are those of the benchmark. Put right for a fair comparison: the cells are where they are,
at (i + ½) / 7, while the source spreads them from edge to edge; x runs along columns; widths are
given as the source's first epsilon makes them, σ² + 1e-6. Numbers of the source as it stands come
from the same loops on its own nodes.
"""

import math

import pytest
import torch
from torch.testing import assert_close

from benchmarks import gaussian_losses as source
from tests.math import slowly
from wsrpn import gaussian
from wsrpn.losses.gaussian import (
    box_alignment_loss,
    concentration_loss,
    negative_suppression_loss,
    sparsity_loss,
)

EDGE_TO_EDGE = torch.linspace(0, 1, 7)
LABELS = torch.tensor([[0.0], [1.0], [0.0]])


def both(dtype=torch.float32, seed=0):
    """Leaves of the source, and our regions of the same Gaussians on 7 × 7 cells."""
    at = slowly.leaves(seed, b=3, r=4, k=1, dtype=dtype)
    widened = (at["sigmas"].square() + 1e-6).sqrt()
    return at, slowly.regions({**at, "sigmas": widened}, (7, 7))


def losses_of_both(name, at, found):
    nodes = source.cell_centres().to(at["means"].dtype)
    given = (at["means"], at["sigmas"])
    match name:
        case "concentration":
            return concentration_loss(found).mean(), source.source_concentration(*given, nodes)
        case "sparsity":
            return sparsity_loss(found).mean(), source.source_sparsity(*given, nodes)
    confidence = at["logits"].sigmoid()[..., 0]
    negative = (LABELS == 0).all(-1)
    theirs = source.source_suppression(*given, confidence, negative, nodes)
    # The source averages over the negative images, ours over all of a batch.
    return negative_suppression_loss(found, LABELS).sum() / negative.sum(), theirs


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["concentration", "sparsity", "negative_suppression"])
def test_at_moderate_widths_ours_equal_the_loops_of_the_source(name, seed):
    rooms = {torch.float32: (1e-6, 1e-6), torch.float64: (1e-8, 1e-8)}
    for dtype, (room, slack) in rooms.items():
        at, found = both(dtype, seed)
        ours, theirs = losses_of_both(name, at, found)
        assert_close(ours, theirs, rtol=1e-6, atol=room)
        moved = [at[key] for key in ("means", "sigmas", "logits")]
        slopes = [torch.autograd.grad(v, moved, allow_unused=True) for v in (ours, theirs)]
        for own, peer in zip(*slopes, strict=True):
            if peer is not None:
                assert peer.abs().max() > 1e-4
                assert_close(own, peer, rtol=1e-5, atol=slack)


def test_box_alignment_is_twice_the_sources_whose_mean_runs_over_x_and_y_too():
    at, found = both()
    apart = torch.mean((found.means - at["boxes"][..., :2]) ** 2)
    wider = torch.mean((found.sigmas - at["boxes"][..., 2:] / 2) ** 2)
    assert_close(box_alignment_loss(found).mean(), 2 * (1.0 * apart + 0.5 * wider))


def test_the_benchmark_checks_what_it_times():
    gaps = source.check()
    assert gaps["value"] < 2e-6
    assert gaps["gradient"] < 1e-7


# The collapse at small widths


def collapse(sigma):
    """Sum of the map, entropy and its largest slope: the source between four of its nodes."""
    mean = torch.full((2,), 5 / 12, requires_grad=True)
    width = torch.full((2,), sigma, requires_grad=True)
    xx, yy = torch.meshgrid(EDGE_TO_EDGE, EDGE_TO_EDGE, indexing="xy")
    total = source.source_map(xx, yy, mean, width).sum().item()
    nats = source.source_concentration(mean[None, None], width[None, None], EDGE_TO_EDGE)
    slopes = torch.autograd.grad(nats, (mean, width))
    return total, nats.item(), max(float(g.abs().max()) for g in slopes)


@pytest.mark.parametrize(
    ("sigma", "total", "nats"),
    [(0.02, 1.0, 1.386), (0.015, 1.8e-3, 0.0139), (0.01, 5.5e-20, 1.3e-18), (0.005, 0.0, 0.0)],
)
def test_the_epsilon_of_the_source_makes_narrow_maps_vanish_and_ours_stay_whole(sigma, total, nats):
    found = collapse(sigma)
    assert found[0] == pytest.approx(total, rel=0.01)
    assert found[1] == pytest.approx(nats, rel=0.03)
    between = torch.full((1, 2), 3 / 7, dtype=torch.float64)  # four of our cells meet here
    log_x, log_y = gaussian.log_maps(between, torch.full_like(between, sigma), (7, 7))
    assert float(gaussian.maps(log_x, log_y).sum()) == pytest.approx(1)
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(math.log(4), abs=1e-9)


def test_in_its_false_minimum_the_source_has_no_slope_and_ours_does_as_soon_as_it_can_move():
    assert collapse(0.015)[2] > 10, "a cliff"
    assert collapse(0.01)[2] < 1e-13
    assert collapse(0.005)[2] == 0, "nothing left to learn from"
    for sigma in (0.015, 0.01, 0.005):
        mean = torch.full((1, 2), 3 / 7 + 1e-3, requires_grad=True)
        width = torch.full((1, 2), sigma, requires_grad=True)
        nats = gaussian.entropy(*gaussian.log_maps(mean, width, (7, 7)))
        slopes = torch.autograd.grad(nats.sum(), (mean, width))
        assert min(float(g.abs().min()) for g in slopes) > 1


# Place, axes and nodes


@pytest.mark.parametrize(
    ("sigma", "middle", "edge", "corner", "outside"),
    [(0.2, 3.169, 2.655, 2.141, 1.075), (0.1, 1.796, 1.417, 1.038, 0.025)],
)
def test_the_entropy_of_the_source_falls_towards_corners_and_outside(
    sigma, middle, edge, corner, outside
):
    places = {(0.5, 0.5): middle, (0.5, 0.0): edge, (0.0, 0.0): corner, (-0.3, -0.3): outside}
    for place, nats in places.items():
        mean, width = torch.tensor([[place]]), torch.full((1, 1, 2), sigma)
        found = source.source_concentration(mean, width, EDGE_TO_EDGE)
        assert found.item() == pytest.approx(nats, abs=2e-3)


def test_rows_that_the_source_calls_x_are_columns_here():
    mean, width = torch.tensor([0.9, 0.2]), torch.tensor([0.1, 0.1])
    swapped = torch.meshgrid(EDGE_TO_EDGE, EDGE_TO_EDGE, indexing="ij")  # as the source has it
    theirs = source.source_map(*swapped, mean, width)
    ours = gaussian.maps(*gaussian.log_maps(mean[None], width[None], (7, 7)))[0]
    assert divmod(int(theirs.argmax()), 7) == (5, 1)
    assert divmod(int(ours.argmax()), 7) == (1, 6)


def test_nodes_from_edge_to_edge_are_half_a_cell_off():
    off = (EDGE_TO_EDGE - source.cell_centres()).abs()
    assert off.max().item() == pytest.approx(0.5 / 7)
    assert off[3].item() == pytest.approx(0, abs=1e-7)
