"""Weights of the losses that adapt to them: learned variances, and recent sizes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from wsrpn.config import TrainConfig
from wsrpn.losses import weighting, weightings
from wsrpn.train.optimiser import adamw


def steps(module, terms, weights, count, *, rate=0.05):
    """Let a weighting learn from losses that stay as they are."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    for _ in range(count):
        optimizer.zero_grad()
        module({name: torch.tensor(size) for name, size in terms.items()}, weights).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["fixed", "uncertainty"])
def test_before_it_has_learned_anything_it_is_the_weighted_sum(name):
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(0.5)}
    weights = {"a": 1.0, "b": 0.4, "off": 0.0}
    assert_close(weightings[name](["a", "b", "off"])(terms, weights), torch.tensor(2.2))


# Learned variances


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
    steps(module, sizes, {"big": 1.0, "small": 0.3}, 1500)
    for name, s in module.log_variance.items():
        assert math.exp(-s.item()) == pytest.approx(1 / (2 * sizes[name]), rel=1e-2)


def test_a_loss_below_zero_finds_its_variance_as_its_size_and_not_at_the_bound():
    module, sizes = weightings["uncertainty"](["below", "above"]), {"below": -0.4, "above": 0.4}
    steps(module, sizes, {"below": 1.0, "above": 1.0}, 1500)
    found = [s.item() for s in module.log_variance.values()]
    assert found == pytest.approx([math.log(0.8)] * 2, abs=1e-2)


def test_a_loss_below_zero_pulls_at_the_model_as_hard_as_one_above():
    for value in (-0.4, 0.4):
        module = weightings["uncertainty"](["a"])
        with torch.no_grad():
            module.log_variance["a"].fill_(0.7)
        term = torch.tensor(value, requires_grad=True)
        module({"a": term}, {"a": 0.3}).backward()
        assert term.grad.item() == pytest.approx(0.3 * math.exp(-0.7)), value


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
    steps(module, {"silent": 0.0}, {"silent": 1.0}, 200, rate=0.1)
    assert module({"silent": torch.tensor(0.1)}, {"silent": 1.0}).item() < 0.1 * math.exp(3) + 0.01


# Recent sizes


def scaled(module, **terms):
    """What a scale weighting makes of losses of weight 1."""
    found = {name: torch.tensor(value) for name, value in terms.items()}
    return module(found, dict.fromkeys(found, 1.0)).item()


sizes_of_losses = st.floats(1e-4, 1e3) | st.floats(-1e3, -1e-4) | st.just(0.0)


@given(st.lists(sizes_of_losses, min_size=1, max_size=40))
def test_a_loss_is_divided_by_the_weighted_mean_of_its_sizes_so_far(values):
    module = weightings["scale"](["a"])
    spoken = []  # steps of 0 tell nothing
    for value in values:
        found = scaled(module, a=value)
        spoken += [abs(value)] if value else []
        weights = [weighting.DECAY**age for age in reversed(range(len(spoken)))]
        mean = sum(w * v for w, v in zip(weights, spoken, strict=True)) / (sum(weights) or 1.0)
        size = max(mean, weighting.FLOOR)
        assert found == pytest.approx(value / size, rel=2e-4)
        if spoken:
            assert module.figures() == {"scale/a": pytest.approx(size, rel=2e-4)}


@pytest.mark.parametrize("size", [500.0, 0.3, -0.3, -500.0])
def test_whatever_its_size_a_steady_loss_amounts_to_its_weight(size):
    module = weightings["scale"](["a", "b"])
    for _ in range(3):
        term = torch.tensor(size, requires_grad=True)
        found = module({"a": term, "b": torch.tensor(1.0)}, {"a": 0.3, "b": 2.0})
        assert found.item() == pytest.approx(math.copysign(0.3, size) + 2.0, rel=1e-5)
    found.backward()
    assert term.grad.item() == pytest.approx(0.3 / abs(size), rel=1e-5), "the size has no gradient"


def test_no_loss_is_blown_up_more_than_a_thousandfold():
    module = weightings["scale"](["tiny"])
    for _ in range(5):
        assert scaled(module, tiny=1e-7) == pytest.approx(1e-4)


def test_a_loss_that_was_silent_for_long_comes_back_at_its_weight():
    module = weightings["scale"](["rare"])
    for _ in range(300):
        assert scaled(module, rare=0.0) == 0.0
    assert module.figures() == {}, "nothing is known of its size"
    assert scaled(module, rare=0.4) == pytest.approx(1.0)
    for _ in range(300):
        scaled(module, rare=0.0)
    assert scaled(module, rare=0.4) == pytest.approx(1.0)


def test_a_loss_that_changes_its_size_is_caught_up_with():
    module = weightings["scale"](["a"])
    scaled(module, a=100.0)
    for _ in range(500):
        found = scaled(module, a=-1.0)
    assert found == pytest.approx(-1.0, rel=1e-2)


def test_sizes_belong_to_losses_by_name_and_come_back_from_a_checkpoint_to_the_bit():
    first = weightings["scale"](["a", "b"])
    for value in (0.7, 0.2, 0.9):
        scaled(first, a=value, b=-10 * value)
    second = weightings["scale"](["b", "a"])
    second.load_state_dict(first.state_dict())
    for value in (0.5, 0.1):
        assert scaled(first, a=value, b=3.0) == scaled(second, a=value, b=3.0)
    assert first.figures() == {key: second.figures()[key] for key in first.figures()}
    assert not list(first.parameters()), "a size is no parameter: the optimiser leaves it alone"


def test_a_loss_of_another_phase_keeps_its_size():
    module = weightings["scale"](["now", "later"])
    scaled(module, now=4.0)
    assert module.figures() == {"scale/now": pytest.approx(4.0)}


def test_several_processes_divide_by_the_size_of_the_loss_over_all_of_them():
    shares = {0: 0.2, 1: -1.0}  # of two processes; together the loss is -0.4
    for share in shares.values():
        mean = torch.tensor([sum(shares.values()) / len(shares)])
        module = weightings["scale"](["a"], mean=lambda values, mean=mean: mean)
        assert scaled(module, a=share) == pytest.approx(share / 0.4)
