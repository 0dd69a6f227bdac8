"""What text can and cannot reach in each way of fusion, and the vote of the late one."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from wsrpn.losses import Objective
from wsrpn.models import build
from wsrpn.models.base import backbones_of, describe, models, reads_text
from wsrpn.models.fusion import best_vote, mixed_logit
from wsrpn.types import Batch, Texts, TextSpace

NAMES = ["none", "independent", "late", "mid", "optimisation"]
K, D = 2, 6


def space(seed=0):
    return TextSpace(D, torch.randn(K, 2, D, generator=torch.Generator().manual_seed(seed)))


def model(name, text=None, **options):
    torch.manual_seed(1)
    section = {"name": f"fusion_{name}", "backbone": "tiny", "width": 32, "heads": 4, **options}
    return build(section, classes=K, text=(text or space()) if reads_text(section) else None)


def batch(count=4):
    random = torch.Generator().manual_seed(2)
    return Batch(
        ids=tuple(map(str, range(count))),
        images=torch.rand(count, 1, 64, 64, generator=random),
        labels=torch.tensor([[1.0, 0], [0, 1], [0, 0], [1, 1]])[:count],
        sizes_px=torch.full((count, 2), 64),
        texts=Texts(torch.randn(count, 1, D, generator=random), torch.arange(count)[:, None]),
    )


def moved(net, loss):
    """Parts with a parameter that a loss moves."""
    net.train().zero_grad()
    value, _ = Objective({loss: {}})(net(batch()), batch(), {loss: 1.0})
    value.backward()
    return {
        n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None and p.grad.any()
    }


# Who learns from what


def test_the_detector_learns_from_text_only_where_it_should():
    detector = set(describe(model("none"))) - {"all"}
    for name in ("independent", "late"):
        assert moved(model(name), "contrastive") == {"tower", "space"}
        assert moved(model(name), "detection") == detector
    assert moved(model("optimisation"), "contrastive") == {"backbone", "project", "space"}
    assert moved(model("optimisation", look="features"), "contrastive") == {"backbone", "space"}
    assert moved(model("optimisation"), "detection") == detector
    assert moved(model("mid"), "detection") == detector | {"words", "norm_cells", "read"}


def test_the_optimisation_level_adds_two_projections_and_runs_its_backbone_once():
    plain, net = model("none"), model("optimisation", embedding=128)
    sizes = {name: count["parameters"] for name, count in describe(net).items()}
    assert sizes.pop("space") == (32 + 1) * 128 + (D + 1) * 128
    sizes.pop("all")
    assert sizes == {k: v["parameters"] for k, v in describe(plain).items() if k != "all"}
    calls = []
    net.backbone.register_forward_hook(lambda *_: calls.append(1))
    net(batch())
    assert len(calls) == 1
    assert not net.project._forward_hooks  # nothing is left behind


def test_detection_is_that_of_the_plain_detector_with_the_same_weights():
    plain = model("none").eval()(batch())
    for name in ("independent", "late", "optimisation"):  # late: nothing is fitted yet
        output = model(name).eval()(batch())
        assert_close(output.logits, plain.logits)
        assert_close(output.regions.logits, plain.regions.logits)
        assert torch.equal(output.regions.boxes, plain.regions.boxes), name


def test_the_parameters_that_are_told_are_those_that_are_there():
    net = model("independent")
    for part in backbones_of(net):
        part.requires_grad_(False)
    told = describe(net)
    assert told["all"]["parameters"] == sum(p.numel() for p in net.parameters())
    assert told["backbone"]["trainable"] == 0
    assert told["tower"]["trainable"] == sum(p.numel() for p in net.project.parameters())
    assert len(backbones_of(net)) == 2
    assert sum(v["parameters"] for k, v in told.items() if k != "all") == told["all"]["parameters"]


def test_the_vote_comes_after_learning():
    net, plain = model("late"), model("none")
    net.vote.fill_(0.7)
    found = []
    for each in (net, plain):
        torch.manual_seed(3)  # of the dropout
        found.append(each.train()(batch()))
    assert torch.equal(found[0].logits, found[1].logits)
    assert torch.equal(found[0].regions.logits, found[1].regions.logits)


# The shared space


@pytest.mark.parametrize("look", ["cells", "features"])
def test_images_and_texts_are_unit_vectors_at_the_temperature_of_the_config(look):
    net = build(
        {"name": "wsrpn_vl", "backbone": "tiny", "width": 32, "heads": 4, "look": look},
        classes=K, text=space(),
    )  # fmt: skip
    found = net.eval()(batch()).alignment
    assert_close(found.image.norm(dim=-1), torch.ones(4))
    assert_close(found.text.norm(dim=-1), torch.ones(4, 1))
    assert found.image.shape == (4, 128)
    assert found.scale.item() == pytest.approx(1 / 0.07)
    assert found.bias.item() == 0
    pooled = net.backbone(batch().images)
    pooled = net.project(pooled) if look == "cells" else pooled
    by_hand = net.space.image(pooled.mean((2, 3)))
    assert_close(found.image, by_hand / by_hand.norm(dim=-1, keepdim=True))


def test_a_learned_temperature_starts_at_its_value_and_stops_at_a_hundred():
    net = model("optimisation", learn_temperature=True, bias=-10)
    found = net(batch()).alignment
    assert (found.scale.item(), found.bias.item()) == (pytest.approx(1 / 0.07), -10)
    assert moved(net, "siglip") >= {"space"}
    assert net.space.log_scale.grad.abs() > 0
    assert net.space.bias.grad.abs() > 0
    with torch.no_grad():
        net.space.log_scale.fill_(9.0)
    assert net(batch()).alignment.scale.item() == pytest.approx(100)
    assert "space.log_scale" in dict(model("optimisation").named_buffers())


# Words at inference


@pytest.mark.parametrize("name", ["late", "mid"])
def test_prompts_travel_with_the_weights(name):
    net = model(name)
    if name == "late":
        net.vote.fill_(0.5)
    other = model(name, TextSpace(D, torch.zeros(K, 2, D)))
    if name == "late":
        other.vote.fill_(0.5)
    before = other.eval()(batch()).logits
    assert not torch.allclose(before, net.eval()(batch()).logits)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(batch()).logits, net(batch()).logits)


def test_every_way_is_registered_and_says_whether_it_reads_text():
    assert {f"fusion_{name}" for name in NAMES} <= set(models)
    assert [reads_text({"name": f"fusion_{name}"}) for name in NAMES] == [
        False,
        True,
        True,
        True,
        True,
    ]


# The vote


@given(st.floats(-80, 80), st.floats(-80, 80), st.floats(0.01, 0.99))
def test_the_vote_is_the_weighted_mean_of_probabilities(first, second, weight):
    p, q = (1 / (1 + math.exp(-z)) for z in (first, second))
    values = (torch.tensor(z, dtype=torch.float64) for z in (first, second, weight))
    assert_close(
        mixed_logit(*values).sigmoid().item(), (1 - weight) * p + weight * q, atol=1e-12, rtol=1e-9
    )


def test_the_ends_of_the_vote_are_the_voters_and_large_logits_stay_finite():
    first, second = torch.tensor([1e4, 3.0, -50.0]), torch.tensor([-1e4, -2.0, 20.0])
    assert_close(mixed_logit(first, second, torch.tensor(0.0)), first)
    assert_close(mixed_logit(first, second, torch.tensor(1.0)), second)
    assert mixed_logit(first, second, torch.tensor(0.3)).isfinite().all()


def test_a_vote_moves_image_and_regions_alike_and_leaves_boxes_alone():
    net = model("late").eval()
    plain = net(batch())
    net.vote.fill_(0.7)
    voted = net(batch())
    tower = net.zero_shot(plain.alignment)
    expected = 0.3 * plain.logits.sigmoid() + 0.7 * tower.sigmoid()
    assert_close(voted.logits.sigmoid(), expected)
    shift = voted.logits - plain.logits
    assert_close(
        voted.regions.logits - plain.regions.logits,
        shift[:, None].expand(-1, voted.regions.logits.shape[1], -1),
        atol=1e-4,
        rtol=1e-4,
    )
    assert torch.equal(voted.regions.boxes, plain.regions.boxes)
    answers = net.eval().answers(batch())
    assert_close(answers, torch.stack((plain.logits, tower), 1))


def test_the_zero_shot_answer_is_the_softmax_over_the_two_prompts():
    net = model("late").eval()
    found = net(batch()).alignment
    prompts = net.space.of_text(net.prompts)
    for c in range(K):
        pair = found.scale * found.image @ prompts[c].T
        assert_close(net.zero_shot(found)[:, c].sigmoid(), pair.softmax(-1)[:, 0])


@given(seed=st.integers(0, 50), count=st.integers(1, 30))
def test_the_fitted_vote_has_the_smallest_log_loss(seed, count):
    random = np.random.default_rng(seed)
    p = random.uniform(0.02, 0.98, (2, count))
    labels = random.integers(0, 2, count).astype(float)

    def log_loss(w):
        mixed = (1 - w) * p[0] + w * p[1]
        return -np.where(labels == 1, np.log(mixed), np.log(1 - mixed)).mean()

    best = best_vote(p, labels)
    assert 0 <= best <= 1
    assert log_loss(best) <= min(log_loss(w) for w in np.linspace(0, 1, 1001)) + 1e-9


def test_a_voter_that_knows_gets_the_vote_and_unknown_labels_have_none():
    net = model("late")
    labels = np.array([[1, 0], [0, 1], [1, np.nan]])
    knows, noise = np.where(labels == 1, 4.0, -4.0), np.array([[-2.0, 1], [2, -1], [0, 9]])
    assert net.fit(np.stack((noise, knows), 1), labels)["vote"].item() == 1
    assert net.fit(np.stack((knows, noise), 1), labels)["vote"].item() == 0
    nothing = net.fit(np.stack((knows, noise), 1), np.full_like(labels, np.nan))
    assert nothing["vote"] is net.vote
    assert set(nothing) <= set(net.state_dict())


def test_an_image_without_a_batch_of_texts_is_read_all_the_same():
    for name in NAMES:
        output = model(name).eval()(dataclasses.replace(batch(), texts=None))
        assert output.alignment is None or output.alignment.text is None
