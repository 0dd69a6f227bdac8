"""Losses against their definitions written slowly, and against torch's own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, kl_divergence
from torch.nn import functional
from torch.testing import assert_close

from wsrpn import gaussian
from wsrpn.losses.consistency import bernoulli_kl, cell_consistency_loss, painted_log_odds
from wsrpn.losses.image import detection_loss, image_bce_loss
from wsrpn.losses.paper import paper_bce_loss, paper_consistency_loss, paper_supcon_loss
from wsrpn.types import PaperTerms, Regions

NAN = float("nan")


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def regions(seed=0, b=2, r=3, k=2, grid=(3, 4), low=0.1):
    random = torch.Generator().manual_seed(seed)
    boxes = torch.rand(b, r, 4, generator=random)
    sigmas = boxes[..., 2:] / 2 + low
    log_x, log_y = gaussian.log_maps(boxes[..., :2], sigmas, grid)
    logits = torch.randn(b, r, k, generator=random) * 2
    return Regions(boxes, boxes[..., :2], sigmas, logits, log_x, log_y)


# Cross-entropy


@given(
    seed=st.integers(0, 99),
    pos_weight=st.floats(0.1, 10),
    smoothing=st.floats(0, 0.5),
)
def test_image_bce_equals_its_definition(seed, pos_weight, smoothing):
    torch.manual_seed(seed)
    logits = torch.randn(4, 3) * 3
    labels = torch.tensor([1.0, 0.0, NAN])[torch.randint(3, (4, 3))]
    slow = []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        terms = []
        for zc, yc in zip(z, y, strict=True):
            if not math.isnan(yc):
                target = yc * (1 - smoothing) + smoothing / 2
                present = pos_weight * target * math.log(sigmoid(zc))
                terms.append(-(present + (1 - target) * math.log(1 - sigmoid(zc))))
        slow.append(sum(terms) / max(len(terms), 1))
    found = image_bce_loss(logits, labels, pos_weight=pos_weight, label_smoothing=smoothing)
    assert_close(found, torch.tensor(slow), rtol=1e-4, atol=1e-5)


def test_image_bce_of_known_labels_is_torchs_own():
    logits, labels = torch.randn(6, 4), torch.randint(2, (6, 4)).float()
    theirs = functional.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=torch.tensor(3.0), reduction="none"
    )
    assert_close(image_bce_loss(logits, labels, pos_weight=3.0), theirs.mean(1))


def test_detection_is_the_weighted_sum_of_both_branches():
    patch, roi = torch.randn(5, 2), torch.randn(5, 2)
    labels = torch.tensor([[1.0, 0], [0, NAN], [NAN, NAN], [1, 1], [0, 0]])
    expected = 0.5 * image_bce_loss(patch, labels) + 2 * image_bce_loss(roi, labels)
    assert_close(detection_loss(patch, roi, labels, patch=0.5, roi=2.0), expected)


# Consistency


def test_bernoulli_kl_has_its_golden_values():
    assert bernoulli_kl(torch.tensor(2.0), torch.tensor(-1.0)).item() == pytest.approx(
        0.828725, abs=1e-6
    )
    assert bernoulli_kl(torch.tensor(30.0), torch.tensor(-30.0)).item() == pytest.approx(30.0)


@given(teacher=st.floats(-12, 12), student=st.floats(-12, 12))
def test_bernoulli_kl_equals_torchs_own(teacher, student):
    t = torch.tensor([teacher, student], dtype=torch.float64)
    ours = bernoulli_kl(t[0], t[1])
    theirs = kl_divergence(Bernoulli(logits=t[0]), Bernoulli(logits=t[1]))
    assert_close(ours, theirs, rtol=1e-5, atol=1e-9)
    assert ours.item() >= -1e-12
    assert bernoulli_kl(t[0], t[0]).item() == 0


def test_bernoulli_kl_has_the_right_gradients():
    t, s = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(bernoulli_kl, (t, s))
    assert_close(
        torch.autograd.grad(bernoulli_kl(t, s).sum(), s)[0], (s.sigmoid() - t.sigmoid()).detach()
    )


@given(seed=st.integers(0, 99))
def test_painted_log_odds_equal_the_slow_product(seed):
    there = regions(seed)
    alpha = gaussian.maps(there.log_x, there.log_y).double()
    kernel = alpha / alpha.amax((-2, -1), keepdim=True)
    found = painted_log_odds(there)
    assert found.shape == (2, 2, 3, 4)
    for b in range(2):
        for k in range(2):
            for i in range(3):
                for j in range(4):
                    absent = 1.0
                    for r in range(3):
                        p = sigmoid(there.logits[b, r, k].item())
                        absent *= 1 - kernel[b, r, i, j].item() * p
                    if absent < 1 - 1e-4:
                        expected = math.log((1 - absent) / absent)
                        assert found[b, k, i, j].item() == pytest.approx(expected, abs=2e-3)


def test_a_region_paints_its_own_logit_at_its_best_cell():
    one = regions(b=1, r=1, k=2)
    assert_close(painted_log_odds(one).amax((-2, -1)), one.logits[:, 0], atol=1e-4, rtol=1e-4)


def test_painted_log_odds_are_finite_far_from_every_region():
    far = regions(low=0.01)
    logits = torch.tensor([40.0, -40.0]).expand(2, 3, 2).clone().requires_grad_()
    found = painted_log_odds(
        Regions(far.boxes, far.means, far.sigmas, logits, far.log_x, far.log_y)
    )
    found.sum().backward()
    assert found.isfinite().all()
    assert logits.grad.isfinite().all()


def test_cell_consistency_is_the_mean_kl_over_cells_and_present_classes():
    there, maps = regions(k=3), torch.randn(2, 3, 3, 4)
    labels = torch.tensor([[1.0, 0, 1], [0.0, NAN, 0]])
    found = cell_consistency_loss(maps, there, labels)
    each = bernoulli_kl(maps, painted_log_odds(there)).mean((2, 3))
    assert_close(found, torch.stack([(each[0, 0] + each[0, 2]) / 2, torch.tensor(0.0)]))
    everywhere = cell_consistency_loss(maps, there, labels, positives_only=False)
    assert_close(everywhere, each.mean(1))


@pytest.mark.parametrize("detach", [True, False])
def test_the_teacher_gets_a_gradient_only_when_asked_for(detach):
    maps = torch.randn(2, 2, 3, 4, requires_grad=True)
    there = regions()
    there.logits.requires_grad_()
    cell_consistency_loss(maps, there, torch.ones(2, 2), detach=detach).sum().backward()
    assert (maps.grad is None) == detach
    assert there.logits.grad.abs().max() > 0


# The original's losses


def terms(seed=0, n=4, k=2, r=3, grid=(2, 3), d=5):
    torch.manual_seed(seed)
    return PaperTerms(
        cells=torch.rand(n, k + 1, *grid),
        patch_bag=torch.rand(n, k + 2),
        roi_bag=torch.rand(n, k + 2),
        regions=torch.rand(n, r, k + 1),
        kernels=torch.rand(n, r, *grid),
        patch_features=torch.randn(n, k, d),
        roi_features=torch.randn(n, k, d),
    )


LABELS = [[1, 0], [0, 0], [1, 1], [0, 0]]


def test_paper_bce_weighs_every_column_by_its_rarity():
    given = terms()
    slow = torch.zeros(4)
    for bag, weight in ((given.patch_bag, 0.5), (given.roi_bag, 2.0)):
        for i in range(4):
            columns = []
            for c in range(4):
                column = [
                    row[c] if c < 2 else 1 if c == 2 else int(sum(row) == 0) for row in LABELS
                ]
                positive = sum(column)
                w = 5 / (positive + 1) if column[i] else 5 / (4 - positive + 1)
                p = bag[i, c].item()
                columns.append(-w * math.log(p if column[i] else 1 - p))
            slow[i] += weight * sum(columns) / len(columns)
    found = paper_bce_loss(given, torch.tensor(LABELS).float(), patch=0.5, roi=2.0)
    assert_close(found, slow, rtol=1e-4, atol=1e-5)


def test_paper_bce_leaves_unknown_labels_out_of_the_counts():
    given = terms(n=3)
    labels = torch.tensor([[1.0, 0.0], [0.0, NAN], [0.0, 0.0]])
    # Known of column 1: two images, none positive. Column "none" of image 1: unknown.
    p = given.patch_bag
    w0 = [4 / 2, 4 / 3, 4 / 3]
    w1 = [3 / 3, 0, 3 / 3]
    w_any = [4 / 4] * 3
    w_none = [3 / 2, 0, 3 / 2]
    expected = []
    for i in range(3):
        y0, none = labels[i, 0].item(), float(i == 2)
        value = -w0[i] * math.log(p[i, 0] if y0 else 1 - p[i, 0])
        value += -w1[i] * math.log(1 - p[i, 1])
        value += -w_any[i] * math.log(p[i, 2])
        value += -w_none[i] * math.log(p[i, 3] if none else 1 - p[i, 3])
        expected.append(value / 4)
    assert_close(
        paper_bce_loss(given, labels, roi=0.0), torch.tensor(expected), rtol=1e-4, atol=1e-5
    )


def slow_supcon(features, labels, temperature):
    n, k = len(labels), len(labels[0])
    values = []
    for i in range(n):
        per_class = []
        for c in range(k):
            unit = [features[j, c] / features[j, c].norm() for j in range(n)]
            others = [j for j in range(n) if j != i]
            same = [j for j in others if labels[j][c] == labels[i][c]]
            if same:
                s = {j: float(unit[i] @ unit[j]) / temperature for j in others}
                spread = math.log(sum(math.exp(v) for v in s.values()))
                per_class.append(spread - sum(s[j] for j in same) / len(same))
        values.append(sum(per_class) / max(len(per_class), 1))
    return torch.tensor(values)


def test_paper_supcon_pulls_equal_labels_together():
    given = terms()
    expected = slow_supcon(given.patch_features, LABELS, 0.15)
    expected += slow_supcon(given.roi_features, LABELS, 0.15)
    assert_close(
        paper_supcon_loss(given, torch.tensor(LABELS).float()), expected, rtol=1e-4, atol=1e-4
    )


def test_paper_supcon_of_an_image_without_a_partner_is_zero():
    given = terms(n=2)
    alone = paper_supcon_loss(given, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert alone.tolist() == [0, 0]
    unknown = paper_supcon_loss(given, torch.tensor([[1.0, NAN], [1.0, NAN]]))
    # The only other image is the partner: nothing is left to push away.
    assert_close(unknown, torch.zeros(2), atol=1e-6, rtol=0)


@given(seed=st.integers(0, 30))
def test_paper_consistency_equals_its_definition(seed):
    given = terms(seed)
    slow = torch.zeros(4)
    for n in range(4):
        for i in range(2):
            for j in range(3):
                cell = given.cells[n, :, i, j].tolist()
                q = [value / (sum(cell) + 1e-3) for value in cell]
                r = []
                for c in range(3):
                    product = 1.0
                    for region in range(3):
                        m = given.kernels[n, region, i, j].item()
                        p = given.regions[n, region, c].item()
                        product *= (m * p + 1 - m) if c == 2 else 1 - m * p
                    r.append(product if c == 2 else 1 - product)
                r = [value / (sum(r) + 1e-3) for value in r]
                slow[n] += sum(
                    a * (math.log(a) - math.log(max(b, 1e-3))) for a, b in zip(q, r, strict=True)
                )
    assert_close(paper_consistency_loss(given), slow / 6, rtol=1e-3, atol=1e-4)
