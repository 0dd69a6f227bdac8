"""What every registered loss keeps; a new one joins by being registered."""

import inspect

import pytest
import torch
from torch.testing import assert_close

from tests.contracts import leaves
from wsrpn.losses import losses
from wsrpn.losses.base import Objective, read

NAMES = list(losses)
TOGETHER = [name for name in NAMES if losses.facts(name).get("batchwise")]


def values(name, at, labels=leaves.LABELS):
    return losses[name](*read(name, leaves.output(at), leaves.batch(labels)))


def picked(at, which):
    return {name: value[which] for name, value in at.items()}


def gradients(name, at, labels=leaves.LABELS):
    """Values, and the gradient of their sum at every leaf."""
    at = {key: value.clone().requires_grad_() for key, value in at.items()}
    found = values(name, at, labels)
    slopes = torch.autograd.grad(found.sum(), list(at.values()), allow_unused=True)
    return found.detach(), dict(zip(at, slopes, strict=True))


def uses_labels(name):
    return "batch.labels" in losses.facts(name)["reads"]


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_finite_value_per_image(name):
    found = values(name, leaves.leaves())
    assert found.shape == (leaves.B,)
    assert found.isfinite().all()
    assert (found >= 0).all() or losses.facts(name).get("below_zero")
    assert found.abs().max() > 0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TOGETHER])
def test_images_do_not_influence_each_other(name):
    at = leaves.leaves()
    alone = [
        values(name, picked(at, slice(i, i + 1)), leaves.LABELS[i : i + 1]) for i in range(leaves.B)
    ]
    assert_close(values(name, at), torch.cat(alone))


@pytest.mark.parametrize("name", TOGETHER)
def test_a_loss_that_says_it_compares_images_does(name):
    at = leaves.leaves()
    alone = values(name, picked(at, slice(0, 1)), leaves.LABELS[:1])
    assert not torch.allclose(values(name, at)[:1], alone)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_images_moves_the_values_and_no_more(name):
    at, order = leaves.leaves(), torch.tensor([3, 0, 4, 2, 1])
    moved = values(name, picked(at, order), leaves.LABELS[order])
    assert_close(moved, values(name, at)[order])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences(name, seed):
    at = leaves.leaves(seed, scale=0.7)
    _, slopes = gradients(name, at)
    # A leaf that the loss holds fixed (a teacher) has a gradient of zero and stays where it is.
    free = {k: g for k, g in slopes.items() if g is not None and g.abs().max() > 0}
    assert free
    random = torch.Generator().manual_seed(seed)
    for key, slope in free.items():
        along = torch.randn(slope.shape, generator=random)
        far = 2e-2 / along.norm()
        ahead = values(name, {**at, key: at[key] + far * along}).double().sum()
        behind = values(name, {**at, key: at[key] - far * along}).double().sum()
        measured = float((ahead - behind) / (2 * far))
        room = 2e-2 * float(slope.norm() * along.norm()) + 1e-4
        assert float((slope * along).sum()) == pytest.approx(measured, abs=room), key


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_finite_at_huge_logits(name):
    for sign in (1, -1):
        at = {k: sign * 10_000 * torch.sign(v) for k, v in leaves.leaves().items()}
        found, slopes = gradients(name, at)
        assert found.isfinite().all()
        for key, slope in slopes.items():
            assert slope is None or slope.isfinite().all(), key


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_finite_where_all_logits_are_zero(name):
    found, slopes = gradients(name, {k: torch.zeros_like(v) for k, v in leaves.leaves().items()})
    assert found.isfinite().all()
    assert all(slope is None or slope.isfinite().all() for slope in slopes.values())


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_inputs_give_nearly_the_float32_values(name):
    at = leaves.leaves()
    low = {k: v.bfloat16() for k, v in at.items()}
    exact = values(name, {k: v.float() for k, v in low.items()})
    found, slopes = gradients(name, low)
    assert_close(found.float(), exact, rtol=3e-2, atol=3e-2)
    assert all(slope is None or slope.isfinite().all() for slope in slopes.values())


@pytest.mark.parametrize("name", [name for name in NAMES if uses_labels(name)])
def test_what_is_said_of_a_class_with_unknown_label_changes_nothing(name):
    at = leaves.leaves()
    _, slopes = gradients(name, at)
    before = values(name, at)
    changed = {k: v.clone() for k, v in at.items()}
    unknown = leaves.LABELS.isnan().nonzero().tolist()
    for image, label in unknown:
        for key, slope in slopes.items():
            part = leaves.of_class(key, changed[key], image, label)
            if part is not None:
                part.add_(3)
                if slope is not None:
                    assert leaves.of_class(key, slope, image, label).abs().max() == 0, key
    assert_close(values(name, changed), before)


@pytest.mark.parametrize("name", [name for name in NAMES if uses_labels(name)])
def test_an_image_of_which_nothing_is_known_counts_for_nothing(name):
    at = leaves.leaves()
    found, slopes = gradients(name, at)
    assert found[2] == 0
    for key, slope in slopes.items():
        assert slope is None or slope[2].abs().max() == 0, key
    none, slopes = gradients(name, at, torch.full_like(leaves.LABELS, leaves.NAN))
    assert none.tolist() == [0] * leaves.B
    for key, slope in slopes.items():
        assert slope is None or slope.abs().max() == 0, key


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_as_they_were(name):
    at = leaves.leaves()
    labels = leaves.LABELS.clone()
    values(name, at, labels)
    assert_close(labels, leaves.LABELS, equal_nan=True)
    assert all(torch.equal(v, leaves.leaves()[k]) for k, v in at.items())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_loss_reads_is_what_its_parameters_take(name):
    values_read = read(name, leaves.output(leaves.leaves()), leaves.batch())
    given = [
        p for p in inspect.signature(losses[name]).parameters.values() if p.kind != p.KEYWORD_ONLY
    ]
    assert len(values_read) == len(given)
    assert losses[name].__doc__


def test_the_objective_is_the_weighted_sum_of_the_means():
    at, weights = leaves.leaves(), {name: 0.5 + i for i, name in enumerate(NAMES)}
    total, terms = Objective({name: {} for name in NAMES})(
        leaves.output(at), leaves.batch(), {**weights, NAMES[0]: 0.0}
    )
    assert list(terms) == NAMES[1:], "a term of weight 0 is not computed"
    expected = sum(weights[name] * values(name, at).mean() for name in NAMES[1:])
    assert_close(total, expected)
    for name, term in terms.items():
        assert_close(term, values(name, at).mean())
