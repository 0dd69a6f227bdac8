"""Errors of a reconstruction and nats of a latent, against outside references and identities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from wsrpn.elbo import errors, kl_nats, ssim
from wsrpn.errors import InputError
from wsrpn.losses import latent as latents
from wsrpn.losses.latent import capacity_at, latent_loss
from wsrpn.losses.reconstruction import reconstruction_loss
from wsrpn.types import Latent


def latent(count=4, z=3, scale=1.0):
    return Latent(torch.randn(count, z) * scale, torch.randn(count, z) * scale)


def pair(count=3, size=(24, 19), noise=0.2):
    a = torch.rand(count, 3, *size)
    return a, (a + noise * torch.randn_like(a)).clamp(0, 1)


# Reconstruction


@pytest.mark.parametrize("noise", [0.02, 0.3])
@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_ssim_is_that_of_scikit_image(scale, noise):
    a, b = pair(noise=noise)
    a, b = 0.7 + scale * (a - 0.5) / 2, 0.7 + scale * (b - 0.5) / 2
    expected = [
        structural_similarity(
            x.double().numpy(), y.double().numpy(), data_range=1.0, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for x, y in zip(a, b, strict=True)
    ]  # fmt: skip
    assert_close(ssim(a, b), torch.tensor(expected, dtype=torch.float32), atol=2e-5, rtol=0)


def test_ssim_is_one_for_equal_images_symmetric_and_low_for_inverted_ones():
    a, b = pair()
    assert_close(ssim(a, a), torch.ones(3))
    assert_close(ssim(a, b), ssim(b, a))
    assert (ssim(a, 1 - a) < 0).all()
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert_close(ssim(flat, flat), torch.ones(1))


def test_errors_are_means_of_squares_and_of_differences():
    a, b = pair()
    difference = (a - b).double().numpy()
    assert_close(errors(a, b).double().numpy(), (difference**2).mean((1, 2, 3)), rtol=1e-5, atol=0)
    expected = np.abs(difference).mean((1, 2, 3))
    assert_close(errors(a, b, kind="l1").double().numpy(), expected, rtol=1e-5, atol=0)
    assert_close(errors(a, b, kind="ssim"), 1 - ssim(a, b))


@pytest.mark.parametrize("kind", ["mse", "l1", "ssim"])
def test_the_sum_over_an_image_is_the_mean_times_its_values(kind):
    a, b = pair()
    mean = reconstruction_loss(a, b, kind=kind)
    assert_close(reconstruction_loss(a, b, kind=kind, per="image"), mean * 3 * 24 * 19)
    assert_close(reconstruction_loss(a, a, kind=kind), torch.zeros(3), atol=1e-6, rtol=0)


def test_half_the_squares_of_an_image_are_the_nats_of_a_gaussian_but_for_a_constant():
    a, b = pair()
    nats = -Normal(a.double(), 0.5**0.5).log_prob(b.double()).sum((1, 2, 3))
    ours = reconstruction_loss(a, b, per="image").double()
    constant = nats - ours
    assert_close(constant, constant[:1].expand(3), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["mse", "ssim"])
def test_a_step_down_the_gradient_brings_the_reconstruction_nearer(kind):
    a, b = pair()
    b.requires_grad_()
    loss = reconstruction_loss(b, a, kind=kind)
    (slope,) = torch.autograd.grad(loss.sum(), b)
    step = 0.05 * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    assert (reconstruction_loss(b - step, a, kind=kind) < loss).all()


def test_images_smaller_than_the_window_are_refused():
    small = torch.rand(1, 3, 16, 8)
    with pytest.raises(InputError, match=r"at least 11 pixels, these have 8.*data\.size"):
        reconstruction_loss(small, small, kind="ssim")
    assert reconstruction_loss(small, small).item() == 0


# Latent


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0])
def test_kl_is_that_of_torch_distributions(scale):
    found = latent(scale=scale)
    q = Normal(found.mean.double(), (found.log_variance.double() / 2).exp())
    expected = kl_divergence(q, Normal(0.0, 1.0)).sum(-1)
    assert_close(kl_nats(found).double(), expected, rtol=1e-5, atol=1e-9)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_kl_is_finite_and_not_below_zero_and_zero_at_the_prior_only(mean, log_variance):
    found = kl_nats(Latent(torch.tensor([[mean]]), torch.tensor([[log_variance]])))
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert (found > 1e-9).item() == (found != 0).item() or abs(mean) + abs(log_variance) < 1e-3


def test_kl_is_zero_at_the_prior_and_adds_up_over_dimensions():
    assert kl_nats(Latent(torch.zeros(2, 5), torch.zeros(2, 5))).tolist() == [0, 0]
    found = latent(z=6)
    halves = [Latent(found.mean[:, part], found.log_variance[:, part])
              for part in (slice(0, 2), slice(2, 6))]  # fmt: skip
    assert_close(kl_nats(found), kl_nats(halves[0]) + kl_nats(halves[1]))


def test_the_loss_is_the_distance_of_the_mean_from_the_capacity_of_the_moment():
    found = latent()
    mean = kl_nats(found).mean()
    for epoch, capacity in ((0.0, 0.0), (5.0, 10.0), (10.0, 20.0), (40.0, 20.0)):
        assert capacity_at(epoch, capacity=20.0, reached=10.0) == capacity
        loss = latent_loss(found, epoch, capacity=20.0, reached=10.0)
        assert_close(loss, (mean - capacity).abs().expand(4))
    assert_close(latent_loss(found, 0.0, capacity=20.0), (mean - 20).abs().expand(4))
    assert_close(latent_loss(found, 3.0), mean.expand(4))


@pytest.mark.parametrize(("capacity", "sign"), [(0.0, 1), (1000.0, -1)])
def test_below_the_capacity_the_latent_is_to_say_more_and_above_it_less(capacity, sign):
    found = latent()
    found.mean.requires_grad_()
    loss = latent_loss(found, 0.0, capacity=capacity).mean()
    (slope,) = torch.autograd.grad(loss, found.mean)
    assert_close(slope, sign * found.mean.detach() / 4)


def test_one_sided_nothing_pulls_below_the_capacity():
    found = latent()
    found.mean.requires_grad_()
    below = latent_loss(found, 0.0, capacity=1000.0, one_sided=True)
    assert below.tolist() == [0] * 4
    assert torch.autograd.grad(below.sum(), found.mean)[0].abs().max() == 0
    assert_close(latent_loss(found, 0.0, one_sided=True), latent_loss(found, 0.0))


@pytest.mark.parametrize("capacity", [0.0, 2.5, 50.0])
def test_the_mean_over_processes_is_the_value_and_gradient_of_one(capacity, monkeypatch):
    found = latent()
    found.mean.requires_grad_()
    whole = latent_loss(found, 0.0, capacity=capacity).mean()
    (expected,) = torch.autograd.grad(whole, found.mean)
    everywhere = (kl_nats(found).mean() - capacity).detach()
    monkeypatch.setattr(latents, "_mean_of_processes", lambda value: everywhere)
    halves = [
        latent_loss(Latent(found.mean[i : i + 2], found.log_variance[i : i + 2]), 0.0,
                    capacity=capacity).mean()
        for i in (0, 2)
    ]  # fmt: skip
    together = (halves[0] + halves[1]) / 2
    assert_close(together, whole)
    assert_close(torch.autograd.grad(together, found.mean)[0], expected)


def test_processes_speak_to_each_other_in_a_training_step_only(monkeypatch):
    asked = []

    def all_reduce(value):
        asked.append(value.item())
        value *= 2

    monkeypatch.setattr(latents.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(latents.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(latents.dist, "all_reduce", all_reduce)
    found = latent()
    value = latent_loss(found, 0.0, capacity=1000.0)
    assert len(asked) == 1
    with torch.no_grad():
        assert torch.equal(latent_loss(found, 0.0, capacity=1000.0), value)
    assert len(asked) == 1
