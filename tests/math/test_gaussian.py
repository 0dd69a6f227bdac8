"""The Gaussian map against its definition, stored numbers, identities and limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from wsrpn import gaussian

CENTRE = (0.5, 0.5)


def slow_map(mean, sigma, grid, beta=2.0):
    """α by two loops in double precision, straight from the formula: rows of columns."""
    rows, columns = grid
    g = [
        [
            math.exp(
                -0.5
                * (
                    abs((j + 0.5) / columns - mean[0]) ** beta / sigma[0] ** beta
                    + abs((i + 0.5) / rows - mean[1]) ** beta / sigma[1] ** beta
                )
            )
            for j in range(columns)
        ]
        for i in range(rows)
    ]
    total = sum(map(sum, g))
    return torch.tensor([[value / total for value in row] for row in g], dtype=torch.float64)


def factors(mean, sigma, grid, beta=2.0):
    return gaussian.log_maps(torch.tensor([mean]), torch.tensor([sigma]), grid, beta=beta)


def slow_entropy(alpha):
    return -sum(a * math.log(a) for a in alpha.flatten().tolist() if a > 0)


def isotropic(sigma, grid=(7, 7), mean=CENTRE):
    return factors(mean, (sigma, sigma), grid)


@given(
    mean=st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)),
    sigma=st.tuples(st.floats(0.05, 2), st.floats(0.05, 2)),
    grid=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    beta=st.sampled_from([1.0, 2.0, 3.0]),
)
def test_a_map_and_its_figures_equal_the_double_loop(mean, sigma, grid, beta):
    slow = slow_map(mean, sigma, grid, beta)
    log_x, log_y = factors(mean, sigma, grid, beta)
    assert_close(gaussian.maps(log_x, log_y)[0].double(), slow, atol=2e-6, rtol=2e-4)
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(slow_entropy(slow), abs=2e-4)
    assert float(gaussian.top_patch(log_x, log_y)) == pytest.approx(float(slow.max()), rel=2e-4)
    scaled = gaussian.peak_scaled(log_x, log_y)[0].double()
    assert_close(scaled, slow / slow.max(), atol=2e-6, rtol=5e-4)


def test_the_golden_box_has_its_golden_figures():
    log_x, log_y = factors(CENTRE, (0.2, 0.1), (7, 7))
    alpha = gaussian.maps(log_x, log_y)[0].double()
    centres = gaussian.cell_centres(7, like=alpha)
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(2.764753, abs=2e-6)
    assert float(gaussian.top_patch(log_x, log_y)) == pytest.approx(0.164130, abs=1e-6)
    across, down = alpha.sum(0), alpha.sum(1)
    assert float(across @ centres) == pytest.approx(0.5)
    assert float(down @ centres) == pytest.approx(0.5)
    assert float((across @ (centres - 0.5) ** 2).sqrt()) == pytest.approx(0.1916, abs=5e-5)
    assert float((down @ (centres - 0.5) ** 2).sqrt()) == pytest.approx(0.0999, abs=5e-5)


@pytest.mark.parametrize(
    ("sigma", "nats"),
    [(0.05, 0.33), (0.5 / 7, 1.34), (0.1, 2.12), (0.15, 2.93), (0.2, 3.41), (0.25, 3.65)],
)
def test_the_entropy_of_a_width_is_the_one_in_the_table(sigma, nats):
    assert float(gaussian.entropy(*isotropic(sigma))) == pytest.approx(nats, abs=6e-3)


def test_x_runs_along_columns_and_y_along_rows():
    log_x, log_y = factors((0.9, 0.1), (0.05, 0.05), (4, 9))
    alpha = gaussian.maps(log_x, log_y)[0]
    assert alpha.shape == (4, 9)
    assert divmod(int(alpha.argmax()), 9) == (0, 8)
    tall = gaussian.maps(*factors(CENTRE, (0.05, 0.5), (5, 5)))[0]
    assert tall[0, 2] > tall[2, 0], "a box that is narrow in x is narrow along the columns"


def test_the_map_is_the_outer_product_of_its_factors_and_the_figures_follow():
    torch.manual_seed(3)
    log_x, log_y = gaussian.log_maps(torch.rand(2, 5, 2), torch.rand(2, 5, 2) / 2 + 0.05, (6, 8))
    alpha = gaussian.maps(log_x, log_y)
    assert_close(alpha, torch.einsum("brh,brw->brhw", log_y.exp(), log_x.exp()))
    assert_close(alpha.sum((-2, -1)), torch.ones(2, 5))
    assert_close(gaussian.entropy(log_x, log_y), torch.special.entr(alpha).sum((-2, -1)))
    assert_close(gaussian.top_patch(log_x, log_y), alpha.amax((-2, -1)))
    whole = gaussian.normalized_entropy(log_x, log_y) * math.log(48)
    assert_close(whole, gaussian.entropy(log_x, log_y))


def collapsing_entropy(mean, sigma):
    """How the source normalised: divide by the sum plus an epsilon."""
    centres = gaussian.cell_centres(7, like=mean)
    x = torch.exp(-0.5 * ((centres - mean[0]) / sigma) ** 2)
    y = torch.exp(-0.5 * ((centres - mean[1]) / sigma) ** 2)
    kernel = y[:, None] * x
    alpha = kernel / (kernel.sum() + 1e-10)
    return -(alpha * (alpha + 1e-10).log()).sum(), alpha.sum()


def test_a_tiny_gaussian_between_cells_does_not_collapse_where_an_epsilon_would():
    mean = torch.tensor([3 / 7 + 1e-3, 3 / 7 + 1e-3], requires_grad=True)
    sigma = torch.tensor(0.005, requires_grad=True)
    log_x, log_y = gaussian.log_maps(mean, sigma.expand(2), (7, 7))
    assert gaussian.maps(log_x, log_y).sum().item() == pytest.approx(1.0, abs=1e-5)
    ours = torch.autograd.grad(gaussian.entropy(log_x, log_y), (mean, sigma))
    assert all(bool(g.isfinite().all()) and float(g.abs().max()) > 1 for g in ours)

    entropy, total = collapsing_entropy(mean, sigma)
    theirs = torch.autograd.grad(entropy, (mean, sigma))
    assert total.item() < 1e-6, "the epsilon makes the map vanish"
    assert abs(entropy.item()) < 1e-6, "a false minimum"
    assert all(float(g.abs().max()) < 1e-6 for g in theirs), "with dead gradients"


def test_exactly_between_four_cells_a_tiny_gaussian_shares_itself_among_them():
    log_x, log_y = isotropic(0.005, mean=(3 / 7, 3 / 7))
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(math.log(4), abs=1e-2)


@pytest.mark.parametrize("beta", [1.0, 2.0, 4.0, 8.0])
def test_gradients_are_finite_with_a_mean_on_a_cell_centre(beta):
    means = torch.tensor([[0.5, 0.5]], requires_grad=True)
    sigmas = torch.tensor([[0.005, 0.3]], requires_grad=True)
    log_x, log_y = gaussian.log_maps(means, sigmas, (7, 7), beta=beta)
    (gaussian.maps(log_x, log_y) * torch.rand(7, 7)).sum().backward()
    assert means.grad.isfinite().all()
    assert sigmas.grad.isfinite().all()
    assert sigmas.grad.abs().max() > 0


def test_gradients_equal_finite_differences():
    torch.manual_seed(1)
    weight = torch.rand(5, 4)

    def value(numbers):
        log_x, log_y = gaussian.log_maps(numbers[:2], numbers[2:], (5, 4))
        return (gaussian.maps(log_x, log_y) * weight).sum() + gaussian.entropy(log_x, log_y)

    numbers = torch.tensor([0.4, 0.7, 0.2, 0.3], requires_grad=True)
    (gradient,) = torch.autograd.grad(value(numbers), numbers)
    steps = 1e-2 * torch.eye(4)
    slope = torch.stack([(value(numbers + s) - value(numbers - s)) / 2e-2 for s in steps])
    assert_close(gradient, slope.detach(), atol=2e-2, rtol=2e-2)


def test_a_wide_gaussian_is_uniform_and_a_narrow_one_is_one_cell():
    wide, narrow = isotropic(1e4, (3, 5)), isotropic(1e-3, (3, 5))
    assert_close(gaussian.maps(*wide)[0], torch.full((3, 5), 1 / 15))
    assert float(gaussian.normalized_entropy(*wide)) == pytest.approx(1.0, abs=1e-6)
    assert float(gaussian.top_patch(*wide)) == pytest.approx(1 / 15)
    assert float(gaussian.top_patch(*narrow)) == 1.0
    assert float(gaussian.normalized_entropy(*narrow)) == 0.0
    assert float(gaussian.normalized_entropy(*isotropic(0.2, (1, 1)))) == 0.0


def test_a_large_exponent_makes_a_box():
    log_x, _ = factors(CENTRE, (0.25, 0.25), (16, 16), beta=64.0)
    inside = log_x[0].exp()
    assert_close(inside[4:12], torch.full((8,), 1 / 8), atol=1e-4, rtol=0)
    assert float(inside[:4].sum()) < 1e-4


@given(seed=st.integers(0, 99))
def test_pooling_is_the_weighted_mean_of_the_cells(seed):
    torch.manual_seed(seed)
    cells = torch.randn(2, 3, 4, 6)
    log_x, log_y = gaussian.log_maps(torch.rand(2, 5, 2), torch.rand(2, 5, 2) + 0.05, (4, 6))
    alpha = gaussian.maps(log_x, log_y)
    slow = torch.zeros(2, 5, 3)
    for i in range(4):
        for j in range(6):
            slow += alpha[:, :, i, j, None] * cells[:, None, :, i, j]
    assert_close(gaussian.pool(log_x, log_y, cells), slow)
    assert_close(gaussian.pool(log_x, log_y, torch.ones_like(cells)), torch.ones(2, 5, 3))


def test_low_precision_means_are_mapped_in_float32():
    log_x, log_y = gaussian.log_maps(
        torch.full((1, 2), 0.5).bfloat16(), torch.full((1, 2), 0.125).bfloat16(), (7, 7)
    )
    assert log_x.dtype == torch.float32
    assert_close(gaussian.maps(log_x, log_y), gaussian.maps(*isotropic(0.125)))
