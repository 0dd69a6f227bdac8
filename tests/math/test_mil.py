"""Pooling of the MIL baselines and the maps of Grad-CAM++ against slow definitions and limits."""

import math
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from wsrpn.errors import InputError
from wsrpn.models import build
from wsrpn.models.cam import pointwise_first
from wsrpn.models.mil import (
    GatedAttention,
    extremes_pool,
    log_sum_exp_probability,
    mean_probability,
    own_probability_weights,
)
from wsrpn.types import Batch

cells = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12)
shares = st.floats(0.05, 1)


def images(count=2, size=96):
    random = torch.Generator().manual_seed(3)
    return Batch(
        ids=tuple(map(str, range(count))),
        images=torch.rand(count, 1, size, size, generator=random),
        labels=torch.zeros(count, 3),
        sizes_px=torch.full((count, 2), size),
    )


def model(name, **options):
    torch.manual_seed(1)
    return build({"name": name, "backbone": "tiny", **options}, classes=3).eval()


def twin(name, **options):
    """The model with the weights of a CAM, so that only the pooling differs."""
    net, cam = model(name, **options), model("cam")
    net.load_state_dict(cam.state_dict(), strict=False)
    return net, cam


# Pooling


def decimal_sigmoid(z):
    return 1 / (1 + (-Decimal(z)).exp())


def decimal_logit(p):
    return float(p.ln() - (1 - p).ln())


@given(cells)
def test_the_mean_of_probabilities_equals_50_digit_arithmetic(values):
    with localcontext() as context:
        context.prec = 50
        exact = decimal_logit(sum(map(decimal_sigmoid, values)) / len(values))
    assert float(mean_probability(torch.tensor(values))) == pytest.approx(exact, rel=1e-5, abs=2e-5)


@given(cells, st.floats(0.5, 20))
def test_log_sum_exp_of_probabilities_equals_50_digit_arithmetic(values, sharpness):
    with localcontext() as context:
        context.prec = 50
        r = Decimal(sharpness)
        grown = sum((r * decimal_sigmoid(z)).exp() for z in values) / len(values)
        exact = decimal_logit(grown.ln() / r)
    pooled = float(log_sum_exp_probability(torch.tensor(values), sharpness=sharpness))
    assert pooled == pytest.approx(exact, rel=1e-4, abs=1e-4)


@given(cells)
def test_log_sum_exp_of_probabilities_goes_to_the_mean_and_to_the_maximum(values):
    z = torch.tensor(values)
    soft = log_sum_exp_probability(z, sharpness=1e-3)
    assert_close(soft, mean_probability(z), atol=5e-3, rtol=5e-3)
    hard = log_sum_exp_probability(z, sharpness=500.0).sigmoid()
    room = math.log(len(values)) / 500 + 1e-5
    assert float(z.sigmoid().max()) - room <= float(hard) <= float(z.sigmoid().max()) + 1e-5


@given(cells, shares, st.floats(0, 1), st.floats(-1, 1))
def test_extremes_equal_sorting_and_counting(values, top, bottom, weight):
    z = torch.tensor(values, dtype=torch.float64)
    ranked = sorted(values)
    count = len(values)
    high = ranked[::-1][: max(1, round(top * count))]
    expected = sum(high) / len(high)
    if bottom:
        low = ranked[: max(1, round(bottom * count))]
        expected += weight * sum(low) / len(low)
    pooled = float(extremes_pool(z, top=top, bottom=bottom, weight=weight))
    assert pooled == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_extremes_of_all_cells_are_the_mean_and_of_one_the_maximum():
    z = torch.randn(4, 3, 49)
    assert_close(extremes_pool(z, top=1.0, bottom=0.0, weight=1.0), z.mean(-1))
    assert_close(extremes_pool(z, top=1 / 49, bottom=0.0, weight=1.0), z.amax(-1))
    both = z.amax(-1) + z.amin(-1)  # WELDON with one cell at either end
    assert_close(extremes_pool(z, top=1 / 49, bottom=1 / 49, weight=1.0), both)


def test_a_share_means_the_same_on_a_finer_grid():
    z = torch.randn(2, 3, 20)
    options = {"top": 0.2, "bottom": 0.1, "weight": 0.5}
    assert_close(extremes_pool(z.repeat_interleave(4, -1), **options), extremes_pool(z, **options))


@given(cells)
def test_probability_weights_equal_their_definition(values):
    p = [1 / (1 + math.exp(-z)) for z in values]
    expected = torch.tensor([x / sum(p) for x in p])
    assert_close(own_probability_weights(torch.tensor(values)), expected, atol=1e-6, rtol=1e-4)


POOLS = {
    "mean_probability": mean_probability,
    "log_sum_exp_probability": lambda z: log_sum_exp_probability(z, sharpness=5.0),
    "extremes": lambda z: extremes_pool(z, top=0.5, bottom=0.25, weight=1.0),
    "pcam": lambda z: (own_probability_weights(z) * z).sum(-1),
}


@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_a_pool_equal_finite_differences(name):
    pool = POOLS[name]
    z = torch.tensor([1.5, -0.5, 0.2, 3.0, -2.0, 0.7, -1.1, 2.2])
    leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(pool(leaf), leaf)
    for i in range(len(z)):
        step = torch.zeros_like(z)
        step[i] = 1e-2
        measured = (float(pool(z + step)) - float(pool(z - step))) / 2e-2
        assert float(slope[i]) == pytest.approx(measured, abs=2e-3)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("level", [0.0, -90.0, 90.0, 1e4, -1e4])
def test_a_pool_is_finite_with_finite_gradients_at_the_ends(name, level):
    z = torch.full((1, 6), level)
    z[0, 0] = -level
    leaf = z.requires_grad_()
    value = POOLS[name](leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    assert value.isfinite().all()
    assert slope.isfinite().all()


# Models


def test_mean_pooling_of_logits_is_cam():
    net, cam = twin("mil", pooling="mean")
    ours, theirs = net(images()), cam(images())
    assert_close(ours.logits, theirs.logits)
    assert torch.equal(ours.maps, theirs.maps)


def test_sharp_and_soft_log_sum_exp_are_the_other_two():
    batch = images()
    for values in ("logits", "probs"):
        least = twin("mil", pooling="lse", values=values, sharpness=0.02)[0](batch).logits
        mean = twin("mil", pooling="mean", values=values)[0](batch).logits
        assert_close(least, mean, atol=1e-3, rtol=1e-3)
    sharp = twin("mil", pooling="lse", sharpness=2000.0)[0](batch).logits
    assert_close(sharp, twin("mil", pooling="max")[0](batch).logits, atol=3e-3, rtol=0)


def test_the_maximum_does_not_depend_on_what_is_pooled():
    first, second = (
        twin("mil", pooling="max", values=values)[0](images()) for values in ("logits", "probs")
    )
    assert torch.equal(first.logits, second.logits)
    assert_close(first.logits, first.maps.amax((2, 3)))


def test_top_cells_without_lowest_ones_are_cam_when_they_are_all():
    net, cam = twin("topk", top=1.0, bottom=0.0)
    assert_close(net(images()).logits, cam(images()).logits)


def test_the_lowest_cells_lower_the_answer():
    options = {"top": 0.2, "bottom": 0.2}
    plain = twin("topk", top=0.2, bottom=0.0)[0](images()).logits
    both = twin("topk", weight=1.0, **options)[0](images())
    low = both.maps.flatten(2).sort(-1).values[..., : round(0.2 * both.maps[0, 0].numel())]
    assert_close(both.logits, plain + low.mean(-1))


def test_pcam_pools_features_by_probability_and_scores_them_with_the_same_layer():
    net, batch = model("pcam"), images()
    output = net(batch)
    features = net.backbone(batch.images)
    for i in range(2):
        for c in range(3):
            weight = net.classify.weight[c, :, 0, 0]
            p = torch.sigmoid((weight[:, None, None] * features[i]).sum(0) + net.classify.bias[c])
            pooled = (features[i] * p).sum((1, 2)) / p.sum()
            assert_close(output.logits[i, c], weight @ pooled + net.classify.bias[c])
            assert_close(output.maps[i, c], p)


def test_attention_equals_the_paper_written_cell_by_cell():
    block = GatedAttention(5, hidden=4, classes=2)
    features = torch.randn(1, 5, 2, 3)
    found = block(features)
    v, u, w = block.content, block.gate, block.weigh.weight[:, :, 0, 0]
    scores = []
    for h in features[0].flatten(1).T:
        content = torch.tanh(v.weight[:, :, 0, 0] @ h + v.bias)
        gate = torch.sigmoid(u.weight[:, :, 0, 0] @ h + u.bias)
        scores.append((w @ (content * gate)).exp())
    expected = torch.stack(scores, -1)
    assert_close(found[0], expected / expected.sum(-1, keepdim=True))


def test_attention_pools_features_as_the_paper_does():
    net, batch = model("mil_attention", hidden=8), images()
    output = net(batch)
    features = net.backbone(batch.images)
    pooled = torch.einsum("bkm,bdm->bkd", net.attention(features), features.flatten(2))
    weight = net.classify.weight[:, :, 0, 0]
    assert_close(output.logits, (pooled * weight).sum(-1) + net.classify.bias)


def test_the_map_of_attention_averages_to_the_logit_without_bias():
    net = model("mil_attention")
    output = net(images())
    assert_close(output.maps.mean((2, 3)) + net.classify.bias, output.logits)


def test_equal_attention_is_cam():
    net, cam = twin("mil_attention")
    nn.init.zeros_(net.attention.weigh.weight)
    ours, theirs = net(images()), cam(images())
    assert_close(ours.logits, theirs.logits)
    assert_close(ours.maps + net.classify.bias[:, None, None], theirs.maps)


def test_classes_look_at_cells_of_their_own():
    net = model("mil_attention")
    attention = net.attention(net.backbone(images().images))
    assert not torch.allclose(attention[:, 0], attention[:, 1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "mil", "pooling": "median"}, "pooling"),
        ({"name": "mil", "sharpness": 0}, "sharpness: Input should be greater than 0"),
        ({"name": "topk", "top": 1.5}, "top: Input should be less than or equal to 1"),
        ({"name": "mil_attention", "hidden": 0}, "hidden: Input should be greater than or equal"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        build({"backbone": "tiny", **options}, classes=3)


# Grad-CAM++


def derivatives(value, features):
    """First, second and third derivative by every single feature (d³Y/dA³ on the diagonal)."""
    orders = []
    for _ in range(3):
        (slope,) = torch.autograd.grad(value.sum(), features, create_graph=True)
        orders.append(slope)
        value = slope
    return orders


def by_the_paper(net, features, label):
    """Eq. 5 and 10 with Y = exp(z), derivative by derivative and cell by cell."""
    channels, rows, columns = features.shape
    total = torch.zeros(rows, columns, dtype=features.dtype)
    for a in range(channels):
        weight = torch.zeros((), dtype=features.dtype)
        for i in range(rows):
            for j in range(columns):
                one = features[a, i, j].clone().requires_grad_()
                moved = features.clone()
                moved[a, i, j] = one
                z = net.classify(moved[None])[0, label].mean()
                first, second, third = derivatives(z.exp(), one)
                alpha = second / (2 * second + features[a].sum() * third)
                weight = weight + alpha * first.relu()
        total = total + weight * features[a]
    return total.relu().detach(), z.detach()


def test_grad_cam_pp_equals_the_paper_with_explicit_higher_derivatives():
    net, batch = model("grad_cam_pp", grid=7), images(1)
    tail = nn.Conv2d(96, 4, 1)  # a few channels: the definition visits every feature
    net.backbone.tail = nn.Sequential(tail, nn.ReLU())
    net.classify = nn.Conv2d(4, 3, 1)
    net = net.double()
    batch = Batch(batch.ids, batch.images.double(), batch.labels, batch.sizes_px)
    with torch.no_grad():
        features = net.backbone(batch.images)[0]
        maps = net(batch).maps
    assert features.numel() == 4 * 9
    for label in range(3):
        expected, z = by_the_paper(net, features, label)
        assert_close(maps[0, label].double() * z.exp(), expected, atol=1e-6, rtol=1e-4)
    assert maps.max() > 0


def test_grad_cam_pp_answers_as_cam_does_and_leaves_no_graph():
    net, cam = twin("grad_cam_pp")
    output = net(images())
    assert_close(output.logits, cam(images()).logits)
    assert not output.maps.requires_grad
    assert output.maps.min() >= 0
    random = torch.random.get_rng_state()
    trained = net.train()(images())
    torch.random.set_rng_state(random)
    assert torch.equal(trained.logits, cam.train()(images()).logits), "trained as CAM is"
    assert trained.maps.requires_grad


def test_where_features_are_faint_grad_cam_pp_is_half_the_positive_weights():
    net, batch = model("grad_cam_pp"), images()
    net.classify.weight.data *= 1e-4
    features = net.backbone(batch.images)
    plain = torch.einsum("kd,bdhw->bkhw", net.classify.weight[:, :, 0, 0].relu(), features) / 2
    assert_close(net(batch).maps, plain.detach(), rtol=1e-3, atol=1e-7)


# Grad-CAM behind a backbone whose last layer begins with a 1 × 1 convolution


def test_the_shortcut_through_a_first_pointwise_convolution_changes_nothing():
    net, batch = model("grad_cam"), images()
    net.backbone.tail = nn.Sequential(nn.Conv2d(96, 24, 1), nn.BatchNorm2d(24), nn.ReLU6()).eval()
    net.classify = nn.Conv2d(24, 3, 1)
    assert pointwise_first(net.backbone.tail)[0] is net.backbone.tail[0]
    output = net(batch)
    raw = net.backbone.raw(batch.images).detach().requires_grad_()
    logits = net.classify(net.backbone.finish(raw)).mean((2, 3))
    assert_close(output.logits, logits.detach())
    for c in range(3):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), raw, retain_graph=True)
        expected = (gradient.mean((2, 3))[:, :, None, None] * raw).sum(1).relu()
        assert_close(output.maps[:, c], expected.detach(), atol=1e-6, rtol=1e-4)
    assert output.maps.max() > 0


def test_only_a_plain_pointwise_convolution_at_the_start_is_split_off():
    norm = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    wide = nn.Sequential(nn.Conv2d(4, 4, 3))
    strided = nn.Sequential(nn.Conv2d(4, 4, 1, stride=2))
    grouped = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2))
    for tail in (norm, wide, strided, grouped, nn.Identity(), nn.Sequential()):
        assert pointwise_first(tail) == (None, tail)
