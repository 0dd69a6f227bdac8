"""Losses of masks against their definitions written slowly, identities, torch and MONAI."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.testing import assert_close

from wsrpn.errors import InputError
from wsrpn.losses import losses
from wsrpn.losses.boundary import boundary_loss, signed_distance
from wsrpn.losses.overlap import dice_loss, focal_tversky_loss, jaccard_loss, tversky_loss
from wsrpn.losses.pixelwise import attention_loss, focal_loss, weighted_bce_loss

PRICES = st.floats(0, 3)
SMOOTH = st.floats(0.01, 10)
SEEDS = st.integers(0, 99)
OF_MASKS = [n for n in losses if losses.facts(n)["reads"] == ("output.mask_logits", "batch.masks")]
EMPTY = torch.zeros(1, 1, 6, 7)


@pytest.fixture(scope="module")
def monai():
    """MONAI's losses; slow to import, and its warnings are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai import losses as module
    return module


def pair(seed=0, *, soft=False, size=(6, 7), b=3):
    """Logits and masks; the last mask is empty."""
    random = torch.Generator().manual_seed(seed)
    target = torch.rand(b, 1, *size, generator=random)
    target = target if soft else (target > 0.6).float()
    target[-1] = 0
    return 3 * torch.randn(b, 1, *size, generator=random), target


def pixels(logits, target):
    """Per image a list of (p, t)."""
    return [
        [(1 / (1 + math.exp(-a)), b) for a, b in zip(z, t, strict=True)]
        for z, t in zip(logits.flatten(1).tolist(), target.flatten(1).tolist(), strict=True)
    ]


def slow(formula, logits, target):
    return torch.tensor([formula(image) for image in pixels(logits, target)])


def box(size=(16, 16), top=4, left=4, height=8, width=8):
    target = torch.zeros(1, 1, *size)
    target[..., top : top + height, left : left + width] = 1
    return target


# Overlap


@given(seed=SEEDS, fp=PRICES, fn=PRICES, smooth=SMOOTH, soft=st.booleans())
def test_tversky_equals_its_definition(seed, fp, fn, smooth, soft):
    logits, target = pair(seed, soft=soft)

    def counted(image):
        hit = sum(p * t for p, t in image)
        false = sum(p * (1 - t) for p, t in image)
        miss = sum((1 - p) * t for p, t in image)
        return 1 - (hit + smooth) / (hit + fp * false + fn * miss + smooth)

    found = tversky_loss(logits, target, fp_weight=fp, fn_weight=fn, smooth=smooth)
    assert_close(found, slow(counted, logits, target), atol=1e-5, rtol=1e-4)


@given(seed=SEEDS, smooth=SMOOTH, soft=st.booleans())
def test_dice_is_twice_the_overlap_over_both_sums_with_twice_the_smoothing(seed, smooth, soft):
    logits, target = pair(seed, soft=soft)

    def counted(image):
        both = sum(p * t for p, t in image)
        return 1 - (2 * both + 2 * smooth) / (sum(p + t for p, t in image) + 2 * smooth)

    found = dice_loss(logits, target, smooth=smooth)
    assert_close(found, slow(counted, logits, target), atol=1e-5, rtol=1e-4)


@given(seed=SEEDS, smooth=SMOOTH, soft=st.booleans())
def test_tversky_with_half_and_half_is_dice_and_with_one_and_one_jaccard(seed, smooth, soft):
    logits, target = pair(seed, soft=soft)
    half = tversky_loss(logits, target, fp_weight=0.5, fn_weight=0.5, smooth=smooth)
    one = tversky_loss(logits, target, fp_weight=1.0, fn_weight=1.0, smooth=smooth)
    assert torch.equal(half, dice_loss(logits, target, smooth=smooth))
    assert torch.equal(one, jaccard_loss(logits, target, smooth=smooth))
    d, j = 1 - half, 1 - one
    assert_close(d, 2 * j / (1 + j), atol=1e-5, rtol=1e-4)


@given(seed=SEEDS, fp=PRICES, fn=PRICES, smooth=SMOOTH, gamma=st.floats(0.3, 3))
def test_focal_tversky_is_a_power_of_tversky_and_with_gamma_one_tversky(
    seed, fp, fn, smooth, gamma
):
    logits, target = pair(seed)
    prices = {"fp_weight": fp, "fn_weight": fn, "smooth": smooth}
    plain = tversky_loss(logits, target, **prices)
    assert_close(focal_tversky_loss(logits, target, gamma=1.0, **prices), plain)
    found = focal_tversky_loss(logits, target, gamma=gamma, **prices)
    assert_close(found, plain.pow(gamma), atol=1e-4, rtol=1e-4)


def test_focal_tverskys_default_is_the_papers_four_thirds():
    logits, target = pair()
    found, plain = focal_tversky_loss(logits, target), tversky_loss(logits, target)
    assert_close(found, plain ** (1 / (4 / 3)))


@pytest.mark.parametrize("gamma", [0.3, 0.75, 1.0, 2.0])
def test_focal_tversky_of_a_perfect_mask_is_zero_with_a_finite_gradient(gamma):
    target = box()
    for sure in (400.0, 40.0, 30.0):
        logits = ((target - 0.5) * sure).requires_grad_()
        found = focal_tversky_loss(logits, target, gamma=gamma)
        found.sum().backward()
        assert logits.grad.isfinite().all()
        assert found < (1e-3 if gamma >= 0.75 else 0.1)
    assert focal_tversky_loss((target - 0.5) * 400, target, gamma=gamma) == 0


def test_focal_tversky_is_continuous_and_rises_where_the_line_becomes_a_power():
    target = torch.ones(1, 1, 100, 100)
    logits = torch.linspace(12, 16, 200)
    values = [focal_tversky_loss(torch.full_like(target, z), target) for z in logits.tolist()]
    steps = torch.cat(values).diff()
    missed = torch.cat([tversky_loss(torch.full_like(target, z), target) for z in logits.tolist()])
    assert missed.max() > 1e-6 > missed.min(), "both sides are looked at"
    assert (steps < 0).all()
    assert steps.abs().max() < 2e-6


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal_tversky"])
def test_an_overlap_loss_on_an_empty_mask_grows_with_what_is_found_and_teaches_to_find_less(name):
    levels = [torch.full_like(EMPTY, z) for z in (-200.0, -5.0, -2.0, 0.0, 3.0)]
    values = torch.cat([losses[name](z, EMPTY) for z in levels])
    assert values[0] == 0
    assert (values.diff() > 0).all()
    assert (values < 1).all()
    logits = levels[1].clone().requires_grad_()
    losses[name](logits, EMPTY).sum().backward()
    assert (logits.grad > 1e-4).all()


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal_tversky"])
@pytest.mark.parametrize("sure", [-10_000.0, -200.0, 0.0, 10_000.0])
def test_without_smoothing_an_empty_mask_is_still_finite(name, sure):
    logits = torch.full_like(EMPTY, sure).requires_grad_()
    found = losses[name](logits, EMPTY, smooth=0.0)
    found.sum().backward()
    assert found == (0 if sure < 0 else 1)
    assert logits.grad.isfinite().all()


def test_a_miss_costs_more_than_a_false_alarm_of_equal_size_where_it_is_said_so():
    target = box()
    less, more = target.clone(), target.clone()
    less[..., 4, 4:12] = 0
    more[..., 3, 4:12] = 1
    prices = {"fp_weight": 0.3, "fn_weight": 0.7}
    missed = tversky_loss((less - 0.5) * 400, target, **prices)
    false = tversky_loss((more - 0.5) * 400, target, **prices)
    assert missed > 2 * false
    assert_close(false, torch.tensor([0.3 * 8 / (64 + 0.3 * 8 + 1)]))


# Per pixel


@given(
    seed=SEEDS,
    alpha=st.one_of(st.none(), st.floats(0, 1)),
    gamma=st.floats(0, 5),
    soft=st.booleans(),
)
def test_focal_equals_its_definition(seed, alpha, gamma, soft):
    logits, target = pair(seed, soft=soft)
    yes, no = (1, 1) if alpha is None else (alpha, 1 - alpha)

    def counted(image):
        terms = [
            yes * t * (1 - p) ** gamma * math.log(p) + no * (1 - t) * p**gamma * math.log(1 - p)
            for p, t in image
        ]
        return -sum(terms) / len(terms)

    found = focal_loss(logits, target, alpha=alpha, gamma=gamma)
    assert_close(found, slow(counted, logits, target), atol=1e-5, rtol=1e-4)


@given(seed=SEEDS, soft=st.booleans())
def test_focal_without_focus_and_weighted_bce_without_weight_are_torchs_cross_entropy(seed, soft):
    logits, target = pair(seed, soft=soft)
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    plain = plain.flatten(1).mean(1)
    assert_close(focal_loss(logits, target, alpha=None, gamma=0.0), plain)
    assert_close(focal_loss(logits, target, alpha=0.5, gamma=0.0), plain / 2)
    assert_close(weighted_bce_loss(logits, target, pos_weight=1.0), plain)


@given(seed=SEEDS, weight=st.floats(0.01, 500))
def test_weighted_bce_is_torchs_with_a_positive_weight(seed, weight):
    logits, target = pair(seed, soft=True)
    theirs = functional.binary_cross_entropy_with_logits(
        logits, target, pos_weight=torch.tensor(weight), reduction="none"
    )
    found = weighted_bce_loss(logits, target, pos_weight=weight)
    assert_close(found, theirs.flatten(1).mean(1), atol=1e-5, rtol=1e-4)


@given(seed=SEEDS, factor=st.floats(0.1, 200), cap=st.floats(0.5, 1000))
def test_the_dynamic_weight_is_each_images_own_share_times_the_factor_up_to_the_cap(
    seed, factor, cap
):
    logits, target = pair(seed)

    def counted(image):
        inside = sum(t for _, t in image)
        weight = min(factor * max(len(image) - inside, 1) / max(inside, 1), cap)
        terms = [weight * t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in image]
        return -sum(terms) / len(terms)

    found = weighted_bce_loss(logits, target, factor=factor, cap=cap)
    assert_close(found, slow(counted, logits, target), atol=1e-4, rtol=1e-4)


def test_a_dynamic_weight_of_factor_one_gives_both_sides_the_same_say():
    target = box()  # a quarter is foreground
    logits = torch.zeros_like(target).requires_grad_()
    weighted_bce_loss(logits, target, factor=1.0).sum().backward()
    assert_close(logits.grad[target == 1].sum(), -logits.grad[target == 0].sum())


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_the_best_constant_answer_to_a_weighted_pixel_is_the_one_of_the_docs(factor):
    target = box()
    z = torch.linspace(-8, 8, 1601)
    values = torch.cat(
        [
            weighted_bce_loss(torch.full_like(target, a), target, factor=factor, cap=1e6)
            for a in z.tolist()
        ]
    )
    assert z[values.argmin()].sigmoid() == pytest.approx(factor / (factor + 1), abs=2e-3)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_mask_of_one_side_only_has_a_finite_dynamic_weight(fill):
    target = torch.full((1, 1, 8, 8), fill)
    logits = torch.zeros_like(target).requires_grad_()
    found = weighted_bce_loss(logits, target)
    found.sum().backward()
    assert_close(found, torch.tensor([math.log(2) * (100 / 64 if fill else 1.0)]))
    assert (logits.grad != 0).all()


def test_a_foreground_of_less_than_a_pixel_counts_as_one_in_the_dynamic_weight():
    target = torch.zeros(1, 1, 4, 4)
    target[..., 0, 0] = 0.25
    found = weighted_bce_loss(torch.zeros_like(target), target, factor=2.0)
    weight = 2 * 15.75 / 1
    assert_close(found, torch.tensor([math.log(2) * (weight * 0.25 + 15.75) / 16]))


def test_attention_is_the_cross_entropy_of_cells_that_hold_any_of_the_mask():
    target = torch.zeros(2, 1, 32, 48)
    target[0, 0, 9, 17] = 1  # one pixel in cell (1, 2) of 4 × 6
    grid = torch.randn(2, 1, 4, 6)
    cells = torch.zeros(2, 1, 4, 6)
    cells[0, 0, 1, 2] = 1
    theirs = functional.binary_cross_entropy_with_logits(
        grid, cells, pos_weight=torch.tensor(7.0), reduction="none"
    )
    assert_close(attention_loss(grid, target, pos_weight=7.0), theirs.flatten(1).mean(1))


@pytest.mark.parametrize(
    "size", [(8, 8), (16, 16), (17, 31), (32, 5), (64, 64), (70, 40), (97, 33)]
)
def test_cells_of_attention_begin_at_the_upper_left_and_are_a_power_of_two_wide(size):
    torch.manual_seed(0)
    rows, columns = (-(-side // 32) for side in size)
    target = (torch.rand(2, 1, *size) > 0.999).float() * torch.rand(2, 1, *size)
    target[0, 0, -1, -1] = 1
    grid = torch.randn(2, 1, rows, columns)
    cells = torch.zeros_like(grid)
    for row in range(rows):
        for column in range(columns):
            part = target[..., 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            cells[:, 0, row, column] = part.amax((1, 2, 3))
    expected = functional.binary_cross_entropy_with_logits(grid, cells, reduction="none")
    assert_close(attention_loss(grid, target), expected.flatten(1).mean(1))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("weighted_bce", {"pos_weight": "often"}, "weighted_bce: pos_weight"),
        ("weighted_bce", {"pos_weight": 0}, "weighted_bce: pos_weight"),
        ("tversky", {"alpha": 0.3}, "unknown key 'alpha'.*fp_weight"),
        ("dice", {"smooth": -1}, "dice: smooth"),
        ("focal", {"alpha": 2}, "focal: alpha"),
        ("boundary", {"unit": "mm"}, "boundary: unit"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(name, given, words):
    with pytest.raises(InputError, match=words):
        losses.options(name, given)


def test_options_are_read_as_a_config_writes_them():
    assert losses.options("weighted_bce", {"pos_weight": 20})["pos_weight"] == 20.0
    assert losses.options("weighted_bce", {})["pos_weight"] == "dynamic"
    assert losses.options("focal", {"alpha": None})["alpha"] is None


# Boundary


def slow_distance(inside):
    """Half a pixel less than the way to the nearest pixel of the other side, by looking at all."""
    found = np.zeros(inside.shape)
    for y, x in np.ndindex(inside.shape):
        others = np.argwhere(inside != inside[y, x])
        away = np.hypot(*(others - (y, x)).T).min() - 0.5
        found[y, x] = -away if inside[y, x] else away
    return found


@given(seed=SEEDS)
def test_the_signed_distance_equals_its_definition(seed):
    inside = np.random.default_rng(seed).random((7, 9)) > 0.7
    inside[0, 0], inside[-1, -1] = True, False
    np.testing.assert_allclose(signed_distance(inside), slow_distance(inside), atol=1e-5)


def test_boundary_is_the_mean_of_scores_times_distances_in_either_unit():
    logits, _ = pair(size=(10, 14), b=1)
    target = box((10, 14), 2, 3, 4, 5)
    distance = torch.tensor(slow_distance(target[0, 0].numpy() == 1), dtype=torch.float32)
    expected = (logits[0, 0].sigmoid() * distance).mean()[None]
    assert_close(boundary_loss(logits, target, unit="pixel"), expected)
    assert_close(boundary_loss(logits, target), expected / 14)


def test_in_shares_of_the_side_an_image_of_twice_the_size_has_nearly_the_same_boundary_loss():
    small, large = box((32, 32), 8, 8, 12, 14), box((64, 64), 16, 16, 24, 28)
    values = [boundary_loss(torch.zeros_like(t), t) for t in (small, large)]
    assert_close(values[0], values[1], atol=0, rtol=0.03)


@given(seed=SEEDS)
def test_nothing_has_a_lower_boundary_loss_than_the_truth(seed):
    target = box()
    best = boundary_loss((target - 0.5) * 400, target)
    other = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) - 0.5) * 400
    assert best < 0
    assert best < boundary_loss(other, target)
    for y, x in ((4, 4), (3, 4), (11, 11), (0, 0)):  # on either side of the outline
        flipped = target.clone()
        flipped[..., y, x] = 1 - flipped[..., y, x]
        assert best < boundary_loss((flipped - 0.5) * 400, target)


def test_boundary_has_a_rule_for_a_mask_of_one_side_only():
    half = torch.zeros(1, 1, 6, 8)
    assert boundary_loss(half, torch.zeros_like(half)) == 0.5
    assert boundary_loss(half, torch.ones_like(half)) == -0.5
    assert boundary_loss(half, torch.zeros_like(half), unit="pixel") == 4


def test_boundary_takes_a_soft_label_for_inside_above_a_half():
    logits, _ = pair(size=(16, 16), b=1)
    soft = box() * 0.6 + 0.2
    soft[..., 0, 0] = 0.5
    assert_close(boundary_loss(logits, soft), boundary_loss(logits, box()))


# All of them


@pytest.mark.parametrize("name", OF_MASKS)
def test_large_masks_in_bfloat16_under_autocast_keep_the_sums_of_float32(name):
    logits = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1)).bfloat16()
    target = box((256, 256), 50, 60, 120, 90)
    exact = losses[name](logits.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses[name](logits, target.bfloat16())
    assert found.dtype == torch.float32
    assert_close(found, exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", OF_MASKS)
@pytest.mark.parametrize("fill", [0.0, 1.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mask_of_one_side_only_is_finite_at_huge_logits(name, fill, sign):
    logits = torch.full((1, 1, 6, 7), sign * 10_000.0).requires_grad_()
    found = losses[name](logits, torch.full((1, 1, 6, 7), fill))
    found.sum().backward()
    assert found.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", OF_MASKS)
def test_a_step_along_the_gradient_brings_every_pixel_nearer_to_its_truth(name):
    target = box()
    logits = torch.zeros_like(target).requires_grad_()
    losses[name](logits, target).sum().backward()
    assert (logits.grad[target == 1] < 0).all()
    assert (logits.grad[target == 0] > 0).all()


# MONAI. It agrees wherever the definitions do; where they do not, a test says how. Not held beside
# it: the boundary loss, which it does not have (HausdorffDTLoss is another formula); focal Tversky,
# whose asymmetric form there needs a background channel that stays without the power.


@pytest.mark.parametrize("smooth", [1e-5, 0.5, 3.0])
def test_monais_dice_is_ours_with_half_its_smoothing_on_both_sides(monai, smooth):
    logits, target = pair(size=(12, 10))
    same = {"sigmoid": True, "smooth_nr": smooth, "smooth_dr": smooth, "reduction": "none"}
    theirs = monai.DiceLoss(**same)(logits, target).flatten()
    assert_close(dice_loss(logits, target, smooth=smooth / 2), theirs, atol=1e-5, rtol=1e-4)
    theirs = monai.DiceLoss(jaccard=True, **same)(logits, target).flatten()
    ours = jaccard_loss(logits, target, smooth=smooth / 2)
    assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_monais_alpha_is_our_price_of_a_false_alarm(monai):
    logits, target = pair(size=(12, 10))
    theirs = monai.TverskyLoss(
        sigmoid=True, alpha=0.3, beta=0.7, smooth_nr=2.0, smooth_dr=2.0, reduction="none"
    )(logits, target)
    ours = tversky_loss(logits, target, fp_weight=0.3, fn_weight=0.7, smooth=2.0)
    assert_close(ours, theirs.flatten(), atol=1e-5, rtol=1e-4)
    swapped = tversky_loss(logits, target, fp_weight=0.7, fn_weight=0.3, smooth=2.0)
    assert (swapped - theirs.flatten()).abs()[0] > 0.01


@pytest.mark.parametrize("alpha", [None, 0.25, 0.8])
def test_monais_focal_loss_is_ours_on_masks_of_zeros_and_ones(monai, alpha):
    logits, target = pair(size=(12, 10))
    theirs = monai.FocalLoss(gamma=2.0, alpha=alpha, reduction="none")(logits, target)
    ours = focal_loss(logits, target, alpha=alpha)
    assert_close(ours, theirs.flatten(1).mean(1), atol=1e-6, rtol=1e-4)
    assert monai.FocalLoss()(logits, target) == pytest.approx(
        float(focal_loss(logits, target, alpha=None).mean()), rel=1e-4
    ), "its default has no alpha; the paper's, and ours, is a quarter"


def test_monais_focal_loss_of_a_label_of_a_half_has_no_focus_and_ours_is_the_mean_of_both(monai):
    logits = torch.full((1, 1, 1, 1), 4.0)
    half = torch.full_like(logits, 0.5)
    both = [focal_loss(logits, torch.full_like(logits, t), alpha=None) for t in (0.0, 1.0)]
    assert_close(focal_loss(logits, half, alpha=None), (both[0] + both[1]) / 2)
    # Theirs multiplies the cross-entropy by σ(−z (2t − 1))^γ, which is ¼ for t = ½ whatever z says.
    plain = functional.binary_cross_entropy_with_logits(logits, half)
    theirs = monai.FocalLoss(gamma=2.0, reduction="none")(logits, half)
    assert_close(theirs.flatten(), plain[None] / 4)


def test_monais_dice_at_its_default_smoothing_teaches_nothing_on_an_empty_mask_and_ours_does(monai):
    empty = torch.zeros(1, 1, 64, 64)
    slopes = []
    for loss in (monai.DiceLoss(sigmoid=True), lambda z, t: dice_loss(z, t).mean()):
        logits = torch.full_like(empty, -4.0).requires_grad_()
        loss(logits, empty).backward()
        slopes.append(float(logits.grad.sum()))
    assert slopes[1] > 1e-2 > 1e-6 > slopes[0] >= 0


def test_monais_background_channel_is_not_counted_here(monai):
    # With a background channel the mean over channels halves the say of the foreground; we have
    # one foreground class and a sigmoid, which is theirs on the foreground channel alone.
    logits, target = pair(size=(12, 10), b=1)
    target[0, 0, 2:5, 2:5] = 1
    two = torch.cat((torch.zeros_like(logits), logits), 1)
    same = {"softmax": True, "to_onehot_y": True, "smooth_nr": 2.0, "smooth_dr": 2.0}
    alone = monai.DiceLoss(include_background=False, **same)(two, target)
    both = monai.DiceLoss(include_background=True, **same)(two, target)
    assert_close(dice_loss(logits, target)[0], alone)
    assert (both - alone).abs() > 0.05
