"""Weights of the losses that are learned."""

import math

import pytest
import torch
from torch.testing import assert_close

from wsrpn.config import TrainConfig
from wsrpn.losses import weightings
from wsrpn.train.optimiser import adamw


def test_before_it_has_learned_anything_it_is_the_weighted_sum():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(0.5)}
    weights = {"a": 1.0, "b": 0.4, "off": 0.0}
    for name in weightings:
        assert_close(weightings[name](["a", "b", "off"])(terms, weights), torch.tensor(2.2))


def test_uncertainty_equals_its_formula_with_its_gradient():
    module = weightings["uncertainty"](["a", "b"])
    with torch.no_grad():
        module.log_variance["a"].fill_(0.7)
        module.log_variance["b"].fill_(-1.2)
    terms = {"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(0.3, requires_grad=True)}
    found = module(terms, {"a": 1.0, "b": 0.5})
    expected = (2 * math.exp(-0.7) + 0.35) + 0.5 * (0.3 * math.exp(1.2) - 0.6)
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert terms["b"].grad.item() == pytest.approx(0.5 * math.exp(1.2))
    assert module.log_variance["a"].grad.item() == pytest.approx(0.5 - 2 * math.exp(-0.7))
    assert module.figures() == {
        "log_variance/a": pytest.approx(0.7), "log_variance/b": pytest.approx(-1.2),
    }  # fmt: skip


def test_at_its_minimum_every_loss_is_divided_by_twice_its_size():
    module, sizes = weightings["uncertainty"](["big", "small"]), {"big": 10.0, "small": 0.1}
    terms = {name: torch.tensor(size) for name, size in sizes.items()}
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(1500):
        optimizer.zero_grad()
        module(terms, {"big": 1.0, "small": 0.3}).backward()
        optimizer.step()
    for name, s in module.log_variance.items():
        assert math.exp(-s.item()) == pytest.approx(1 / (2 * sizes[name]), rel=1e-2)


def test_a_loss_of_another_phase_learns_nothing():
    module = weightings["uncertainty"](["now", "later"])
    module({"now": torch.tensor(1.0)}, {"now": 1.0}).backward()
    assert module.log_variance["later"].grad is None


def test_log_variances_have_a_rate_of_their_own_and_no_decay():
    module = weightings["uncertainty"](["a", "b"])
    groups = adamw(torch.nn.Linear(2, 2), TrainConfig(lr=1e-3), module).param_groups
    assert groups[-1]["params"] == list(module.parameters())
    assert (groups[-1]["peak"], groups[-1]["weight_decay"]) == (pytest.approx(1e-2), 0.0)


def test_a_loss_that_had_nothing_to_say_for_long_does_not_drown_the_others():
    module = weightings["uncertainty"](["silent"])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        module({"silent": torch.tensor(0.0)}, {"silent": 1.0}).backward()
        optimizer.step()
    assert module({"silent": torch.tensor(0.1)}, {"silent": 1.0}).item() < 0.1 * math.exp(3) + 0.01
