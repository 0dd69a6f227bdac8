"""The Gaussian map against its definition, stored numbers, identities and limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.math import slowly
from wsrpn import gaussian

CENTRE = (0.5, 0.5)


def slow_map(mean, sigma, grid, beta=2.0):
    """α by two loops in double precision: rows of columns."""
    given = (torch.tensor(v, dtype=torch.float64) for v in (mean, sigma))
    return torch.stack([torch.stack(row) for row in slowly.alpha(*given, grid, beta=beta)])


def factors(mean, sigma, grid, beta=2.0):
    return gaussian.log_maps(torch.tensor([mean]), torch.tensor([sigma]), grid, beta=beta)


def isotropic(sigma, grid=(7, 7), mean=CENTRE):
    return factors(mean, (sigma, sigma), grid)


@given(
    mean=st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)),
    sigma=st.tuples(st.floats(0.05, 2), st.floats(0.05, 2)),
    grid=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    beta=st.sampled_from([1.0, 2.0, 3.0]),
)
def test_a_map_and_its_figures_equal_the_double_loop(mean, sigma, grid, beta):
    slow = slow_map(mean, sigma, grid, beta)
    log_x, log_y = factors(mean, sigma, grid, beta)
    assert_close(gaussian.maps(log_x, log_y)[0].double(), slow, atol=2e-6, rtol=2e-4)
    nats = float(slowly.entropy(slow))
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(nats, abs=2e-4)
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


def test_exactly_between_four_cells_a_tiny_gaussian_shares_itself_among_them():
    log_x, log_y = isotropic(0.005, mean=(3 / 7, 3 / 7))
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(math.log(4), abs=1e-2)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 4.0, 8.0, 60.0])
def test_gradients_are_finite_with_a_mean_on_a_cell_centre(beta):
    means = torch.tensor([[0.5, 0.5]], requires_grad=True)
    sigmas = torch.tensor([[0.005, 0.3]], requires_grad=True)
    log_x, log_y = gaussian.log_maps(means, sigmas, (7, 7), beta=beta)
    (gaussian.maps(log_x, log_y) * torch.rand(7, 7)).sum().backward()
    assert means.grad.isfinite().all()
    assert sigmas.grad.isfinite().all()
    assert sigmas.grad.abs().max() > 0


FIGURES = {
    "maps": gaussian.maps,
    "peak_scaled": gaussian.peak_scaled,
    "entropy": gaussian.entropy,
    "normalized_entropy": gaussian.normalized_entropy,
    "top_patch": gaussian.top_patch,
    "hoyer": gaussian.hoyer,
}


def two(dtype=torch.float64):
    """Two Gaussians that differ in everything."""
    means = torch.tensor([[0.43, 0.7], [0.1, 1.1]], dtype=dtype, requires_grad=True)
    sigmas = torch.tensor([[0.2, 0.3], [0.5, 0.15]], dtype=dtype, requires_grad=True)
    return means, sigmas


@pytest.mark.parametrize("grid", [(4, 3), (3, 3)])
@pytest.mark.parametrize("beta", [1.5, 2.0, 5.0])
@pytest.mark.parametrize("name", FIGURES)
def test_gradients_pass_gradcheck_in_double_precision(name, beta, grid):
    def of(means, sigmas):
        return FIGURES[name](*gaussian.log_maps(means, sigmas, grid, beta=beta))

    assert torch.autograd.gradcheck(of, two())


def test_gradients_of_pooling_and_of_the_centred_maps_pass_gradcheck():
    means, sigmas = (v[None] for v in two())
    cells = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def pooled(means, sigmas, cells):
        return gaussian.pool(*gaussian.log_maps(means, sigmas, (3, 4)), cells)

    def centred(sigmas):
        return gaussian.entropy(*gaussian.centred_log_maps(sigmas, (3, 4)))

    assert torch.autograd.gradcheck(pooled, (means, sigmas, cells))
    assert torch.autograd.gradcheck(centred, (sigmas,))


@pytest.mark.parametrize("name", ["entropy", "top_patch", "hoyer"])
@pytest.mark.parametrize("beta", [1.5, 2.0, 5.0])
def test_figures_and_their_gradients_equal_the_loops(name, beta):
    slow = {"entropy": slowly.entropy, "top_patch": slowly.top, "hoyer": slowly.hoyer}[name]
    at = two()
    fast = FIGURES[name](*gaussian.log_maps(*at, (3, 5), beta=beta))
    pairs = zip(*at, strict=True)
    expected = torch.stack([slow(slowly.alpha(*pair, (3, 5), beta=beta)) for pair in pairs])
    assert_close(fast, expected, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(v.sum(), at) for v in (fast, expected))
    for own, peer in zip(ours, theirs, strict=True):
        assert_close(own, peer, rtol=1e-9, atol=1e-12)


# Entropy in closed form


def one_axis(sigma, cells, beta=2.0, mean=0.5):
    """Entropy along one axis in double precision; the other has a single cell."""
    means = torch.tensor([[mean, 0.5]], dtype=torch.float64)
    sigmas = torch.tensor([[sigma, 1.0]], dtype=torch.float64)
    return float(gaussian.entropy(*gaussian.log_maps(means, sigmas, (1, cells), beta=beta)))


@pytest.mark.parametrize("width", [1.0, 2.0, 5.0, 40.0])
def test_a_gaussian_of_some_cells_has_the_entropy_of_a_normal_distribution(width):
    assert one_axis(width / 500, 500) == pytest.approx(
        0.5 * math.log(2 * math.pi * math.e * width**2), abs=1e-6
    )


@pytest.mark.parametrize(("beta", "room"), [(1.0, 1e-3), (2.0, 1e-9), (4.0, 1e-9), (8.0, 1e-9)])
def test_other_exponents_have_the_entropy_of_their_generalised_normal(beta, room):
    scale = 20 * 2 ** (1 / beta)  # exp(-|d / scale|^β), in cells
    known = 1 / beta + math.log(2 * scale * math.gamma(1 + 1 / beta))
    assert one_axis(20 / 1001, 1001, beta) == pytest.approx(known, abs=room)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 1.0])
def test_three_by_three_cells_are_worked_out_by_hand(sigma):
    q = math.exp(-1 / (18 * sigma**2))  # a neighbour's kernel; the middle has 1
    p, side = 1 / (1 + 2 * q), q / (1 + 2 * q)
    log_x, log_y = (v.double() for v in isotropic(sigma, (3, 3)))
    by_hand = -2 * (p * math.log(p) + (2 * side * math.log(side) if side else 0))
    assert float(gaussian.entropy(log_x, log_y)) == pytest.approx(by_hand, abs=1e-6)
    assert float(gaussian.top_patch(log_x, log_y)) == pytest.approx(p**2, rel=1e-6)
    norm = p**2 + 2 * side**2
    assert float(gaussian.hoyer(log_x, log_y)) == pytest.approx((3 - 1 / norm) / 2, abs=1e-6)


@given(
    mean=st.floats(-0.3, 1.3),
    sigma=st.floats(0.05, 1),
    beta=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_entropy_falls_with_the_width_as_in_every_exponential_family(mean, sigma, beta):
    """α ∝ exp(-t f) with t = σ^-β and f = |d|^β / 2 has dH/dt = -t Var f."""
    centres = (torch.arange(9, dtype=torch.float64) + 0.5) / 9
    f = (centres - mean).abs().pow(beta) / 2
    width = torch.tensor(sigma, dtype=torch.float64, requires_grad=True)
    means = torch.tensor([mean, 0.5], dtype=torch.float64)
    sigmas = torch.stack((width, torch.ones((), dtype=torch.float64)))
    log_x, log_y = gaussian.log_maps(means, sigmas, (1, 9), beta=beta)
    (slope,) = torch.autograd.grad(gaussian.entropy(log_x, log_y), width)
    alpha, t = log_x.detach().exp(), sigma**-beta
    variance = alpha @ f.square() - (alpha @ f) ** 2
    assert_close(slope, t * variance * beta * t / width.detach(), rtol=1e-6, atol=1e-9)
    assert slope >= 0


@given(
    mean=st.tuples(st.floats(-0.3, 1.3), st.floats(-0.3, 1.3)),
    sigma=st.tuples(st.floats(0.02, 2), st.floats(0.02, 2)),
    grid=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    beta=st.sampled_from([1.0, 2.0, 8.0]),
)
def test_the_figures_keep_the_order_of_the_renyi_entropies(mean, sigma, grid, beta):
    log_x, log_y = factors(mean, sigma, grid, beta)
    m = math.prod(grid)
    nats, top = float(gaussian.entropy(log_x, log_y)), float(gaussian.top_patch(log_x, log_y))
    inverse_norm = math.sqrt(m) - float(gaussian.hoyer(log_x, log_y)) * (math.sqrt(m) - 1)
    room = 1e-4
    assert -room <= -math.log(top) <= 2 * math.log(inverse_norm) + room
    assert 2 * math.log(inverse_norm) <= nats + room
    assert nats <= math.log(m) + room


# Centred maps


def test_centred_maps_do_not_know_where_the_map_was_and_lie_on_the_middle_cell():
    sigmas = torch.tensor([[0.1, 0.3]])
    for grid, middle in (((7, 7), (0.5, 0.5)), ((4, 9), (0.5, 0.625)), ((1, 2), (0.75, 0.5))):
        moved = gaussian.centred_log_maps(sigmas, grid, beta=3.0)
        assert_close(moved, factors(middle, (0.1, 0.3), grid, beta=3.0))
        peak = gaussian.maps(*moved)[0].argmax()
        assert divmod(int(peak), grid[1]) == (grid[0] // 2, grid[1] // 2)


@pytest.mark.parametrize(
    ("mean", "nats"),
    [((0.5, 0.5), 3.41), ((0.5, 0.0), 2.77), ((0.0, 0.0), 2.12), ((-0.3, -0.3), 1.12)],
)
def test_the_border_cuts_maps_short_and_the_centred_map_does_not_know_it(mean, nats):
    assert float(gaussian.entropy(*isotropic(0.2, mean=mean))) == pytest.approx(nats, abs=5e-3)
    centred = gaussian.entropy(*gaussian.centred_log_maps(torch.tensor([[0.2, 0.2]]), (7, 7)))
    assert float(centred) == pytest.approx(3.41, abs=5e-3)


@pytest.mark.parametrize("grid", [(7, 7), (14, 14), (6, 9)])
def test_centred_entropy_grows_with_the_width_from_one_cell_to_all(grid):
    widths = torch.linspace(0.01, 1.5, 150, dtype=torch.float64)[:, None].expand(-1, 2)
    nats = gaussian.entropy(*gaussian.centred_log_maps(widths, grid))
    assert (nats.diff() > 0)[5:].all()
    assert (nats.diff() >= 0).all()
    assert nats[0] < 1e-3
    assert math.log(math.prod(grid)) - nats[-1] < 0.01


# Hoyer


def test_hoyer_is_one_for_a_cell_and_zero_for_an_even_map_on_every_grid():
    for grid in ((2, 2), (7, 7), (3, 8), (1, 5)):
        assert float(gaussian.hoyer(*isotropic(1e4, grid))) == pytest.approx(0, abs=1e-5)
        one_cell = gaussian.centred_log_maps(torch.full((1, 2), 1e-3), grid)
        assert float(gaussian.hoyer(*one_cell)) == 1
    assert float(gaussian.hoyer(*isotropic(0.3, (1, 1)))) == 1


@given(
    mean=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    sigma=st.tuples(st.floats(0.03, 1), st.floats(0.03, 1)),
    scale=st.floats(0.1, 10),
)
def test_hoyer_is_that_of_the_whole_map_at_any_scale(mean, sigma, scale):
    log_x, log_y = factors(mean, sigma, (5, 8))
    scaled = scale * gaussian.maps(log_x, log_y)
    ratio = scaled.sum() / scaled.square().sum().sqrt()
    whole = (math.sqrt(40) - ratio) / (math.sqrt(40) - 1)
    assert float(gaussian.hoyer(log_x, log_y)) == pytest.approx(float(whole), abs=1e-5)


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
    low = gaussian.centred_log_maps(torch.full((1, 2), 0.125).bfloat16(), (14, 14))
    assert_close(low, gaussian.centred_log_maps(torch.full((1, 2), 0.125), (14, 14)))


@pytest.mark.parametrize(("mean", "sigma"), [("float64", "float32"), ("float32", "float64")])
def test_double_precision_is_kept(mean, sigma):
    means, sigmas = two()
    log_x, log_y = gaussian.log_maps(
        means.to(getattr(torch, mean)), sigmas.to(getattr(torch, sigma)), (4, 3)
    )
    assert log_x.dtype == log_y.dtype == torch.float64


@pytest.mark.parametrize("name", FIGURES)
def test_x_and_y_are_told_apart(name):
    means, sigmas = two()
    plain = FIGURES[name](*gaussian.log_maps(means, sigmas, (3, 8)))
    turned = FIGURES[name](*gaussian.log_maps(means.flip(-1), sigmas.flip(-1), (8, 3)))
    assert_close(turned.mT if turned.ndim == 3 else turned, plain)
    partly = FIGURES[name](*gaussian.log_maps(means.flip(-1), sigmas.flip(-1), (3, 8)))
    assert ((partly - plain).abs() > 1e-3).any()


def test_pooling_and_centred_maps_tell_x_from_y():
    means, sigmas = (v[None] for v in two())
    cells = torch.randn(1, 2, 3, 8, dtype=torch.float64)
    plain = gaussian.pool(*gaussian.log_maps(means, sigmas, (3, 8)), cells)
    turned = gaussian.log_maps(means.flip(-1), sigmas.flip(-1), (8, 3))
    assert_close(gaussian.pool(*turned, cells.mT), plain)
    log_x, log_y = gaussian.centred_log_maps(sigmas, (3, 8))
    assert (log_x.shape[-1], log_y.shape[-1]) == (8, 3)
    turned = gaussian.centred_log_maps(sigmas.flip(-1), (8, 3))
    assert_close((turned[1], turned[0]), (log_x, log_y))
