"""Pooling over cells and regions against stored numbers, 60-digit arithmetic and limits."""

import math
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.testing import assert_close

from wsrpn.models.blocks import (
    Dropout,
    QueryAttention,
    grid_points,
    log_sum_exp_pool,
    noisy_or,
    region_bias,
    sincos_positions,
)


@pytest.mark.parametrize(
    ("sharpness", "value"), [(0.01, 1.506245), (1.0, 2.053895), (5.0, 2.724093), (50.0, 2.972274)]
)
def test_log_sum_exp_has_its_golden_values(sharpness, value):
    pooled = log_sum_exp_pool(torch.tensor([0.0, 1, 2, 3]), sharpness=sharpness)
    assert float(pooled) == pytest.approx(value, abs=2e-7 / sharpness + 1e-6)


def test_a_column_of_ones_pools_to_its_golden_value_and_zeros_to_zero():
    cells = torch.zeros(7, 7)
    assert float(log_sum_exp_pool(cells.flatten())) == pytest.approx(0, abs=1e-7)
    cells[:, 2] = 1
    assert float(log_sum_exp_pool(cells.flatten())) == pytest.approx(0.618744, abs=1e-6)


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=20), sharpness=st.floats(0.1, 20))
def test_log_sum_exp_lies_between_mean_and_maximum_and_does_not_count_cells(values, sharpness):
    z = torch.tensor(values)
    pooled = float(log_sum_exp_pool(z, sharpness=sharpness))
    assert float(z.mean()) - 1e-4 <= pooled <= float(z.max()) + 1e-4
    finer = log_sum_exp_pool(z.repeat_interleave(4), sharpness=sharpness)
    assert float(finer) == pytest.approx(pooled, abs=2e-4)


def test_log_sum_exp_goes_to_the_mean_and_to_the_maximum():
    z = torch.tensor([[-1.0, 0.5, 2.0]])
    assert_close(log_sum_exp_pool(z, sharpness=1e-2), z.mean(-1), atol=2e-2, rtol=0)
    assert_close(log_sum_exp_pool(z, sharpness=1e3), z.amax(-1), atol=2e-3, rtol=0)
    assert log_sum_exp_pool(torch.tensor([1e4, -1e4]), sharpness=50.0).isfinite()


def slow_logit(logits):
    """Logit of 1 − Π(1 − σ(z)) with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        absent = Decimal(1)
        for z in logits:
            absent /= 1 + Decimal(z).exp()
        return float((1 - absent).ln() - absent.ln())


def through_bce(z, y, regions=10):
    logits = torch.full((1, regions, 1), float(z), requires_grad=True)
    loss = bce(noisy_or(logits), torch.tensor([[float(y)]]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_close(gradient, gradient[:, :1].expand_as(gradient))
    return loss.item(), gradient[0, 0, 0].item()


@pytest.mark.parametrize(
    ("z", "y", "loss", "gradient"),
    [
        (0, 0, 6.9314718, 0.5),
        (0, 1, 0.00097704, None),
        (5, 0, 50.06715, 0.993307),
        (-5, 1, 2.7341633, -0.0963560),
        (-20, 1, 17.697414, -0.1),
        (-100, 1, 97.69742, -0.1),
    ],
)
def test_noisy_or_has_its_golden_losses_and_gradients(z, y, loss, gradient):
    found = through_bce(z, y)
    assert found[0] == pytest.approx(loss, rel=1e-5 if y else 1e-6)
    if gradient is not None:
        assert found[1] == pytest.approx(gradient, rel=1e-5)


@given(st.lists(st.floats(-40, 40), min_size=1, max_size=12))
def test_noisy_or_equals_60_digit_arithmetic(values):
    ours = noisy_or(torch.tensor(values, dtype=torch.float32)[None, :, None])
    exact = slow_logit([float(v) for v in torch.tensor(values, dtype=torch.float32)])
    assert float(ours) == pytest.approx(exact, rel=1e-5, abs=2e-5)


@given(st.lists(st.floats(-12, 12), min_size=2, max_size=6))
def test_the_gradient_of_noisy_or_equals_its_closed_form(values):
    z = torch.tensor(values, dtype=torch.float64)
    logits = z.float()[None, :, None].requires_grad_()
    (ours,) = torch.autograd.grad(noisy_or(logits).sum(), logits)
    # d logit(P) / dz_j = σ(z_j) / P, because dS/dz_j = σ(z_j) and d log(e^S − 1)/dS = 1 / P.
    present = -torch.expm1(-torch.nn.functional.softplus(z).sum())
    assert_close(ours[0, :, 0].double(), z.sigmoid() / present, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "values", [[100.0] * 10, [-100.0] * 10, [100.0] + [-100.0] * 9, [-1e4, 1e4], [-1e4] * 10]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_noisy_or_is_finite_with_finite_gradients_at_the_ends(values, dtype, label):
    logits = torch.tensor(values, dtype=dtype)[None, :, None].requires_grad_()
    loss = bce(noisy_or(logits), torch.tensor([[label]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    wrong = (max(values) > 0) != (label == 1)
    assert bool(logits.grad.abs().max() > 0.05) == wrong, (
        "no dead gradient where the answer is wrong"
    )


def test_noisy_or_is_smooth_where_its_branches_meet():
    z = torch.linspace(-18, -14, 400)[:, None, None].expand(-1, 10, 1)
    steps = noisy_or(z)[:, 0].diff()
    assert_close(steps, torch.full_like(steps, float(z[1, 0, 0] - z[0, 0, 0])), atol=1e-4, rtol=0)


def test_noisy_or_in_bfloat16_is_the_float32_answer_of_the_rounded_logits():
    z = (torch.randn(3, 10, 2) * 4).bfloat16()
    assert_close(noisy_or(z), noisy_or(z.float()))


@pytest.mark.parametrize("prior", [0.001, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("regions", [1, 10, 40])
def test_the_bias_of_a_region_starts_the_image_at_its_prior(prior, regions):
    bias = region_bias(prior, regions)
    start = noisy_or(torch.full((1, regions, 1), bias)).sigmoid()
    assert float(start) == pytest.approx(prior, rel=1e-4)
    assert regions > 1 or bias == pytest.approx(math.log(prior / (1 - prior)))


@pytest.mark.parametrize("channels", [8, 30, 256])
def test_every_cell_has_a_position_of_its_own(channels):
    table = sincos_positions(channels, (5, 7), like=torch.zeros(1))
    assert table.shape == (5, 7, channels)
    apart = torch.cdist(table.flatten(0, 1), table.flatten(0, 1)) + torch.eye(35) * 9
    assert apart.min() > 0.1


def test_positions_equal_their_definition():
    table = sincos_positions(16, (3, 4), like=torch.zeros(1))
    for i in range(3):
        for j in range(4):
            angles = [[place / 10_000 ** (n / 4) for n in range(4)] for place in (i, j)]
            expected = [f(a) for axis in angles for f in (math.sin, math.cos) for a in axis]
            assert_close(table[i, j], torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_points_of_the_grid_are_cell_centres_row_by_row():
    points = grid_points((2, 4), like=torch.zeros(1))
    assert points[1].tolist() == [0.375, 0.25]
    assert points[4].tolist() == [0.125, 0.75]


def test_queries_attend_to_cells_wherever_these_stand_in_the_row():
    torch.manual_seed(0)
    block = QueryAttention(16, queries=3, heads=4, dropout=0.5).eval()
    cells = torch.randn(2, 35, 16)
    found, attention = block(cells)
    assert found.shape == (2, 3, 16)
    assert attention.shape == (2, 3, 35)
    assert_close(attention.sum(-1), torch.ones(2, 3))
    order = torch.randperm(35)
    moved, moved_attention = block(cells[:, order])
    assert_close(moved, found, atol=1e-5, rtol=1e-5)
    assert_close(moved_attention, attention[..., order], atol=1e-6, rtol=1e-5)
    alone, _ = block(cells[1:])
    assert_close(alone, found[1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_expectation(share: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(share)(torch.ones(64, 14, 14, 32))
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=3e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=1e-2)
    assert len(dropped.unique()) == 2


def test_dropout_drops_values_independently_of_their_place() -> None:
    """The bytes of one random word must not be related, nor one of them be biased."""
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(200_000)) == 0).float().view(-1, 8)
    assert (dropped.mean(0) - 0.5).abs().max() < 0.015
    off_diagonal = torch.corrcoef(dropped.T) - torch.eye(8)
    assert off_diagonal.abs().max() < 0.03


def test_dropout_is_gone_in_evaluation_and_repeats_with_its_seed() -> None:
    layer = Dropout(0.5)
    ones = torch.ones(3, 5)
    torch.manual_seed(1)
    first = layer(ones)
    torch.manual_seed(1)
    assert torch.equal(first, layer(ones))
    assert torch.equal(layer.eval()(ones), ones)
