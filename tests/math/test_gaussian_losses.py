"""The eight losses on Gaussian maps against slow definitions, identities, limits and edge cases."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.math import slowly
from wsrpn import gaussian
from wsrpn.losses import losses
from wsrpn.losses.gaussian import (
    attention_alignment_loss,
    box_alignment_loss,
    class_suppression_loss,
    concentration_loss,
    hinge_concentration_loss,
    hoyer_sparsity_loss,
    negative_suppression_loss,
    sparsity_loss,
)
from wsrpn.models.blocks import grid_points, moments_of
from wsrpn.models.wsrpn import BoxHead
from wsrpn.types import Regions

NAN = float("nan")
LABELS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [NAN, NAN], [1.0, NAN]])
NAMES = (
    "attention_alignment", "box_alignment", "class_suppression", "concentration",
    "hinge_concentration", "hoyer_sparsity", "negative_suppression", "sparsity",
)  # fmt: skip
LABELLED = ("class_suppression", "hinge_concentration", "negative_suppression")
OFF = -20.0  # what a guided region says of classes that are not its own


def value(name, found, labels=LABELS, **options):
    """A loss by name."""
    given = (found, labels) if name in LABELLED else (found,)
    if name == "hinge_concentration":
        options.setdefault("area", slowly.AREA)
    return losses[name](*given, **options)


def slopes(loss, at):
    """Gradients of a sum at all leaves, zeros where a leaf is not read."""
    found = torch.autograd.grad(loss.sum(), list(at.values()), allow_unused=True)
    pairs = zip(at.items(), found, strict=True)
    return {k: torch.zeros_like(v) if g is None else g for (k, v), g in pairs}


def isotropic(sigma, *, mean=(0.5, 0.5), grid=(7, 7), logits=0.0):
    """One image with one region of one class."""
    means, sigmas = torch.tensor([[mean]]), torch.full((1, 1, 2), sigma)
    boxes = torch.cat((means, 2 * sigmas), -1)
    maps = gaussian.log_maps(means, sigmas, grid)
    return Regions(boxes, means, sigmas, torch.full((1, 1, 1), logits), *maps)


# Against the definitions


@pytest.mark.parametrize(("grid", "beta"), [((3, 5), 2.0), ((4, 4), 2.0), ((2, 3), 3.0)])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_equal_the_loops_in_double_precision(name, grid, beta):
    at = slowly.leaves(len(name), b=4)
    fast = value(name, slowly.regions(at, grid, beta=beta))
    slow = slowly.loss(name, at, LABELS, grid, beta=beta)
    assert slow.abs().max() > 0
    assert fast.dtype == torch.float64
    assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    theirs = slopes(slow, at)
    assert any(bool(g.abs().max() > 0) for g in theirs.values())
    for key, slope in slopes(fast, at).items():
        assert_close(slope, theirs[key], rtol=1e-8, atol=1e-11, msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_near_the_loops(name):
    at = slowly.leaves(7, b=4)
    single = {k: v.detach().float().requires_grad_() for k, v in at.items()}
    fast = value(name, slowly.regions(single, (7, 7)))
    slow = slowly.loss(name, at, LABELS, (7, 7))
    assert_close(fast.double(), slow, rtol=1e-5, atol=1e-6)
    theirs = slopes(slow, at)
    for key, slope in slopes(fast, single).items():
        assert_close(slope.double(), theirs[key], rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("beta", [2.0, 1.5])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_pass_gradcheck(name, beta):
    at = slowly.leaves(5, b=2, r=2)
    if name == "hinge_concentration":
        at["logits"].requires_grad_(False)  # weights, which have no gradient by definition
    labels = LABELS[:2]

    def of(*numbers):
        given = dict(zip(at, numbers, strict=True))
        return value(name, slowly.regions(given, (3, 4), beta=beta), labels)

    assert torch.autograd.gradcheck(of, tuple(at.values()))


# Precision and devices


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    at = slowly.leaves(3, b=4, dtype=torch.float32)
    plain = value(name, slowly.regions(at, (7, 7)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = value(name, slowly.regions(at, (7, 7)))
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)
    theirs = slopes(plain, at)
    assert all(torch.equal(g, theirs[k]) for k, g in slopes(mixed, at).items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_low_precision_is_raised_to_float32_before_anything_is_computed(name, dtype):
    low = {k: v.detach().to(dtype) for k, v in slowly.leaves(3, b=4).items()}
    found = value(name, slowly.regions(low, (7, 7)))
    raised = slowly.regions({k: v.float() for k, v in low.items()}, (7, 7))
    assert found.dtype == torch.float32
    assert_close(found, value(name, raised), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_everything_stays_on_the_device_of_the_regions(name):
    at = {k: v.detach().to("meta").requires_grad_() for k, v in slowly.leaves(b=4).items()}
    for beta in (2.0, 3.0):
        found = value(name, slowly.regions(at, (3, 7), beta=beta), LABELS.to("meta"))
        assert found.device.type == "meta"
        assert found.requires_grad
        found.sum().backward()


# Where nothing applies


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("hinge_concentration", 0.0), ("hinge_concentration", NAN), ("class_suppression", 1.0),
        ("class_suppression", NAN), ("negative_suppression", 1.0), ("negative_suppression", NAN),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_nothing_applies_there_is_a_zero_with_a_gradient_of_zero(name, labels, dtype):
    at = slowly.leaves(b=4, dtype=dtype)
    found = value(name, slowly.regions(at, (3, 4)), torch.full((4, 2), labels))
    assert found.tolist() == [0.0] * 4
    assert found.dtype == dtype
    assert found.requires_grad
    found.sum().backward()
    assert at["sigmas"].grad is not None
    assert all(v.grad is None or bool((v.grad == 0).all()) for v in at.values())


def test_a_model_without_attention_has_nothing_to_align_with():
    at = slowly.leaves(b=4)
    found = attention_alignment_loss(dataclasses.replace(slowly.regions(at, (3, 4)), attended=None))
    assert found.tolist() == [0.0] * 4
    found.sum().backward()
    assert bool((at["means"].grad == 0).all())


NUMBERS = st.floats(-0.5, 1.5, width=32)


@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 3),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    sigma=st.sampled_from([1e-3, 0.5 / 14, 0.2, 10.0]),
    beta=st.sampled_from([0.5, 1.0, 2.0, 8.0, 40.0]),
    logit=st.sampled_from([OFF, 0.0, 2.0, -1e4, 1e4]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_finite_for_every_size_width_exponent_and_label(
    sizes, grid, sigma, beta, logit, seed
):
    b, r, k = sizes
    at = slowly.leaves(seed, b=b, r=r, k=k, dtype=torch.float32)
    with torch.no_grad():
        at["means"].mul_(2).sub_(0.5)[0] = 0.5  # some outside, some on the middle
        at["sigmas"].copy_(torch.full_like(at["sigmas"], sigma))
        at["logits"][:, 0] = logit
    random = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (b, k), generator=random)]
    for name in NAMES:
        found = value(name, slowly.regions(at, grid, beta=beta), labels)
        assert found.shape == (b,)
        assert found.isfinite().all(), name
        assert (found >= -1e-6).all() or name == "sparsity"
        assert found.requires_grad, name
        assert all(bool(g.isfinite().all()) for g in slopes(found, at).values()), name


def test_a_grid_of_one_cell_has_nothing_left_to_sharpen():
    at = slowly.leaves(b=4)
    for name in ("concentration", "sparsity", "hoyer_sparsity", "hinge_concentration"):
        loss = value(name, slowly.regions(at, (1, 1)))
        assert_close(loss, torch.zeros(4, dtype=torch.float64))
        assert all(bool((g == 0).all()) for g in slopes(loss, at).values())


# x and y


def swapped(at):
    """x and y exchanged in everything a region has."""
    order = {"means": [1, 0], "sigmas": [1, 0], "boxes": [1, 0, 3, 2], "attended": [1, 0, 3, 2]}
    return {k: v[..., order[k]] if k in order else v for k, v in at.items()}


@pytest.mark.parametrize("name", NAMES)
def test_turning_image_and_grid_changes_nothing_and_turning_one_of_them_does(name):
    at = slowly.leaves(9, b=4)
    plain = value(name, slowly.regions(at, (3, 8)))
    assert_close(value(name, slowly.regions(swapped(at), (8, 3))), plain)
    partly = {**at, "sigmas": at["sigmas"].flip(-1)}
    changed = (value(name, slowly.regions(partly, (3, 8))) - plain).abs()
    touched = plain.abs() > 0
    assert touched.any()
    assert (changed[touched] > 1e-5).all()


# Concentration and its hinge


def test_a_box_of_the_practice_notes_has_its_entropy_and_peak():
    means, sigmas = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.2, 0.1]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.2]]])
    found = Regions(
        boxes, means, sigmas, torch.zeros(1, 1, 1), *gaussian.log_maps(means, sigmas, (7, 7))
    )
    assert concentration_loss(found).item() == pytest.approx(2.764753, abs=1e-5)
    assert sparsity_loss(found).item() == pytest.approx(1 / 49 - 0.164130, abs=1e-5)
    assert box_alignment_loss(found).item() == 0


@pytest.mark.parametrize(
    ("name", "sharp", "even"),
    [
        ("concentration", 0.0, math.log(49)),
        ("sparsity", 1 / 49 - 1, 0.0),
        ("hoyer_sparsity", 0.0, 1.0),
        ("hinge_concentration", 0.0, math.log(49) - math.log(0.15 * 49)),
    ],
)
def test_the_ends_of_the_scale_are_one_cell_and_an_even_map(name, sharp, even):
    for sigma, expected in ((1e-3, sharp), (1e4, even)):
        found = value(name, isotropic(sigma), torch.ones(1, 1))
        assert found.item() == pytest.approx(expected, abs=1e-6)


def descended(name, steps=200):
    """A centre and width after gradient descent, from left and above of the middle."""
    means = torch.tensor([[[0.35, 0.4]]], requires_grad=True)
    sigmas = torch.full((1, 1, 2), 0.2)
    optimizer = torch.optim.SGD([means], lr=0.02)
    start = isotropic(0.2, logits=3.0)
    for _ in range(steps):
        optimizer.zero_grad()
        value(name, slowly.with_maps_of(start, means, sigmas, (7, 7))).sum().backward()
        optimizer.step()
    return means


@pytest.mark.parametrize("name", ["concentration", "hoyer_sparsity"])
def test_plain_sharpness_drags_centres_out_of_the_image(name):
    assert bool((descended(name) < 0).all())


@pytest.mark.parametrize("name", ["concentration", "sparsity", "hoyer_sparsity"])
def test_plain_sharpness_is_cheaper_at_an_edge_in_a_corner_and_outside(name):
    places = ((0.5, 0.5), (0.5, 0.0), (0.0, 0.0), (-0.3, -0.3))
    costs = [value(name, isotropic(0.2, mean=mean)).item() for mean in places]
    assert costs == sorted(costs, reverse=True)
    held = [
        value("hinge_concentration", isotropic(0.2, mean=mean), torch.ones(1, 1)).item()
        for mean in places
    ]
    assert held[0] > 1
    assert len(set(held)) == 1


@given(
    mean=st.tuples(NUMBERS, NUMBERS),
    sigma=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    beta=st.sampled_from([2.0, 4.0]),
)
def test_the_hinge_leaves_centres_alone_wherever_they_are(mean, sigma, beta):
    at = slowly.leaves(b=1, r=1, k=1)
    with torch.no_grad():
        at["means"][0, 0] = torch.tensor(mean)
        at["sigmas"][0, 0] = torch.tensor(sigma)
    found = hinge_concentration_loss(
        slowly.regions(at, (7, 7), beta=beta), torch.ones(1, 1), area=0.02
    )
    got = slopes(found, at)
    assert found.item() > 0
    assert (got["sigmas"] > 0).all(), "narrower is better"
    assert all(bool((got[k] == 0).all()) for k in ("means", "boxes", "logits", "attended"))
    with torch.no_grad():
        at["means"].fill_(0.5)
    middle = slowly.regions(at, (7, 7), beta=beta)
    expected = gaussian.entropy(middle.log_x, middle.log_y)[:, 0] - max(0, math.log(0.02 * 49))
    assert_close(found, expected)


@pytest.mark.parametrize("grid", [(7, 7), (14, 14), (6, 9)])
def test_the_hinge_is_silent_from_its_target_on(grid):
    target = math.log(0.15 * math.prod(grid))
    for sigma in (0.01, 0.05, 0.09, 0.12, 0.2, 0.4):
        found = isotropic(sigma, grid=grid)
        sigmas = found.sigmas.requires_grad_()
        loss = hinge_concentration_loss(found, torch.ones(1, 1), area=0.15)
        nats = gaussian.entropy(*gaussian.centred_log_maps(sigmas, grid)).item()
        assert loss.item() == pytest.approx(max(0.0, nats - target), abs=1e-6)
        (slope,) = torch.autograd.grad(loss.sum(), sigmas)
        assert bool((slope == 0).all()) == (nats < target)
    assert nats > target


def test_area_of_the_hinge_is_the_share_of_the_image_that_a_map_covers():
    assert math.log(0.15 * 49) == pytest.approx(2.0, abs=0.01), "the source's target"
    sigmas = torch.tensor([[[0.05, 0.08]]])
    for grid in ((28, 28), (30, 40)):
        nats = gaussian.entropy(*gaussian.centred_log_maps(sigmas, grid))
        covered = nats.exp().item() / math.prod(grid)
        assert covered == pytest.approx(2 * math.pi * math.e * 0.05 * 0.08, rel=1e-4)
        assert covered / (4 * 0.05 * 0.08) == pytest.approx(4.27, abs=0.01), "of its box"


def test_only_regions_that_carry_a_present_class_are_held_to_the_hinge():
    at = slowly.leaves(b=1, r=2, k=2)
    with torch.no_grad():
        at["logits"].copy_(torch.tensor([[[1.0, OFF], [OFF, 3.0]]]))
        at["sigmas"].fill_(0.4)
    labels = torch.tensor([[1.0, 0.0]])
    found = hinge_concentration_loss(slowly.regions(at, (7, 7)), labels, area=0.15)
    got = slopes(found, at)["sigmas"]
    assert got[0, 0].min() > 0.1
    assert got[0, 1].abs().max() < 1e-7


# Sparsity


def test_only_the_largest_cell_is_seen_by_sparsity_and_every_cell_by_hoyer():
    log_x = torch.randn(1, 1, 5).log_softmax(-1).requires_grad_()
    found = Regions(
        torch.zeros(1, 1, 4), torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1, 1),
        log_x, torch.zeros(1, 1, 1),
    )  # fmt: skip
    (of_peak,) = torch.autograd.grad(sparsity_loss(found).sum(), log_x)
    (of_all,) = torch.autograd.grad(hoyer_sparsity_loss(found).sum(), log_x)
    assert int((of_peak != 0).sum()) == 1
    assert int((of_all != 0).sum()) == 5


# Alignment


def test_weights_of_the_alignments_are_lambda_one_and_two():
    found = slowly.regions(slowly.leaves(1), (3, 4))
    for loss in (box_alignment_loss, attention_alignment_loss):
        centre, size = loss(found, centre=1.0, size=0.0), loss(found, centre=0.0, size=1.0)
        assert_close(loss(found), centre + 0.5 * size)
        assert_close(loss(found, centre=2.0, size=3.0), 2 * centre + 3 * size)


def test_alignments_are_zero_where_gaussian_box_and_attention_are_one():
    at = slowly.leaves(2)
    boxes = torch.cat((at["means"], 2 * at["sigmas"]), -1)
    moments = torch.cat((at["means"], at["sigmas"] / 2), -1)
    found = slowly.regions({**at, "boxes": boxes, "attended": moments}, (40, 50))
    assert_close(box_alignment_loss(found), torch.zeros(3, dtype=torch.float64))
    assert_close(attention_alignment_loss(found, spread=4.0), torch.zeros(3, dtype=torch.float64))
    assert (attention_alignment_loss(found) > 0).all()


def test_a_narrower_attention_with_its_box_is_no_better_aligned():
    at = slowly.leaves(3)
    mean, deviation = at["attended"].split(2, -1)
    narrow = {
        "means": mean + (at["means"] - mean) / 4,
        "sigmas": at["sigmas"] / 4,
        "attended": torch.cat((mean, deviation / 4), -1),
    }
    wide, small = (slowly.regions({**at, **moved}, (40, 50)) for moved in ({}, narrow))
    assert_close(attention_alignment_loss(small), attention_alignment_loss(wide))


def test_attention_on_one_cell_is_as_wide_as_a_cell():
    at = slowly.leaves(3)
    narrow = {"attended": torch.cat((at["means"], torch.full_like(at["means"], 1e-3)), -1)}
    cell = torch.tensor([1 / 20, 1 / 40], dtype=torch.float64) / 12**0.5
    found = slowly.regions(
        {**at, **narrow, "sigmas": (1.5 * cell).expand_as(at["sigmas"])}, (40, 20)
    )
    assert_close(attention_alignment_loss(found), torch.zeros(3, dtype=torch.float64))


def test_alignment_moves_what_the_head_adds_to_the_attention_and_not_the_attention():
    torch.manual_seed(0)
    head = BoxHead(8, anchor="moments", size=0.3, spread=3.0).double()
    torch.nn.init.normal_(head.layers.last.bias, std=0.3)
    points = grid_points((5, 5), like=torch.zeros(1, dtype=torch.float64))
    near = -30 * (points - 0.5).square().sum(-1)  # no box reaches the border, where it is cut
    attention = (near + 0.3 * torch.randn(2, 3, 25)).softmax(-1).requires_grad_()
    boxes = head(torch.randn(2, 3, 8, dtype=torch.float64), attention, points)
    means, sigmas = boxes.split(2, -1)[0], boxes.split(2, -1)[1] / 2
    maps = gaussian.log_maps(means, sigmas, (5, 5))
    attended = torch.cat(moments_of(attention, points), -1)
    found = Regions(boxes, means, sigmas, torch.zeros(2, 3, 1), *maps, attended)
    attention_alignment_loss(found).sum().backward()
    assert attention.grad.abs().max() < 1e-5
    assert head.layers.last.bias.grad.abs().min() > 1e-3


def test_a_gaussian_tied_by_another_factor_only_asks_for_small_boxes():
    at = slowly.leaves(2)
    for factor, expected in ((0.5, 0.0), (0.7, 0.5 * 0.2**2)):
        tied = torch.cat((at["means"], at["sigmas"] / factor), -1)
        loss = box_alignment_loss(slowly.regions({**at, "boxes": tied}, (3, 4)))
        sides = tied[..., 2:].square().sum(-1).mean(-1)
        assert_close(loss, expected * sides, atol=1e-12, rtol=1e-6)


# Suppression


def test_negative_suppression_looks_at_images_without_any_finding_only():
    found = slowly.regions(slowly.leaves(4, b=4), (3, 4))
    loss = negative_suppression_loss(found, LABELS)
    assert loss[0] > 0
    assert loss[1:].tolist() == [0.0] * 3
    partly = torch.tensor([[0.0, NAN]] * 4)
    assert negative_suppression_loss(found, partly).tolist() == [0.0] * 4


@given(seed=st.integers(0, 99), k=st.integers(1, 4))
def test_on_images_without_finding_class_suppression_is_the_other_but_for_who_speaks(seed, k):
    found = slowly.regions(slowly.leaves(seed, b=3, k=k), (5, 4))
    none = torch.zeros(3, k)
    peak = gaussian.top_patch(found.log_x, found.log_y) - 1 / 20
    says = found.logits.sigmoid().sum(-1)
    assert_close(
        negative_suppression_loss(found, none) - class_suppression_loss(found, none),
        ((1 - says) * peak.square()).mean(-1),
    )


def test_class_suppression_counts_known_absent_classes_one_by_one():
    found = slowly.regions(slowly.leaves(6, b=1, k=3), (5, 4))
    alone = [
        class_suppression_loss(found, torch.where(torch.arange(3) == c, 0.0, NAN)[None])
        for c in range(3)
    ]
    assert_close(
        class_suppression_loss(found, torch.tensor([[0.0, 1.0, 0.0]])), alone[0] + alone[2]
    )
    assert_close(class_suppression_loss(found, torch.zeros(1, 3)), sum(alone))


def test_where_a_region_says_nothing_class_suppression_leaves_its_map_alone():
    at = slowly.leaves(b=1, r=2, k=1)
    with torch.no_grad():
        at["logits"].copy_(torch.tensor([[[OFF], [2.0]]]))
    got = slopes(class_suppression_loss(slowly.regions(at, (7, 7)), torch.zeros(1, 1)), at)
    assert got["sigmas"][0, 0].abs().max() < 1e-8
    assert got["sigmas"][0, 1].abs().max() > 1e-4


@pytest.mark.parametrize("loss", [negative_suppression_loss, class_suppression_loss])
def test_classes_that_a_region_does_not_speak_of_weigh_nothing(loss):
    at = slowly.leaves(8, b=2, k=1)
    own = at["logits"].detach()
    guided = {**at, "logits": torch.cat((own, torch.full((2, 3, 5), OFF)), -1)}
    alone = loss(slowly.regions(at, (4, 4)), torch.zeros(2, 1))
    assert_close(loss(slowly.regions(guided, (4, 4)), torch.zeros(2, 6)), alone, rtol=0, atol=1e-7)
