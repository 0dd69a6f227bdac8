"""Contrastive losses and branch consistency against their definitions, limits and each other."""

import itertools
import math

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing, nn
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn.functional import normalize
from torch.testing import assert_close

from wsrpn.errors import InputError
from wsrpn.losses import losses
from wsrpn.losses.branches import branch_consistency_loss
from wsrpn.losses.contrastive import KINDS, contrastive_loss
from wsrpn.types import Alignment, Texts

NAN = float("nan")
B, L, E, K = 6, 2, 4, 3
IDS = torch.tensor([[0, 3], [0, 4], [1, -1], [2, 3], [-1, -1], [1, 6]])
LABELS = torch.tensor(
    [[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [NAN, 1, 0], [0, 0, 0], [NAN, 1, 0]]
)  # images 0 and 2 have the same labels, and 3 and 5


def inputs(seed=0, dtype=torch.float64, ids=IDS, scale=1 / 0.07, bias=-1.5):
    random = torch.Generator().manual_seed(seed)
    image = normalize(torch.randn(len(ids), E, generator=random, dtype=dtype), dim=-1)
    text = normalize(torch.randn(*ids.shape, E, generator=random, dtype=dtype), dim=-1)
    where = Alignment(
        image, text, torch.tensor(scale, dtype=dtype), torch.tensor(bias, dtype=dtype)
    )
    return where, Texts(torch.zeros(*ids.shape, 1), ids), LABELS.to(dtype)[: len(ids)]


def one_level(seed, ids, **options):
    return inputs(seed, ids=torch.tensor(ids)[:, None], **options)


# The definitions, written slowly


def says_the_same(i, j, level, same):
    if i == j:
        return True
    if same == "none":
        return False
    if IDS[i, level] == IDS[j, level]:
        return True
    if same == "text":
        return False
    a, b = LABELS[i].tolist(), LABELS[j].tolist()
    return any(x == x for x in a) and all(
        x == y or (x != x and y != y) for x, y in zip(a, b, strict=True)
    )


def slow(kind, where, same, hardness):
    """Image by image, level by level, both directions."""
    values = []
    for i in range(B):
        found = []
        for level in range(L):
            present = [j for j in range(B) if IDS[j, level] >= 0]
            if i not in present:
                continue
            for row in (True, False):

                def logit(j, i=i, row=row, level=level):
                    image, text = (i, j) if row else (j, i)
                    cosine = float(where.image[image] @ where.text[text, level])
                    return float(where.scale) * cosine + float(where.bias)

                near = [j for j in present if says_the_same(i, j, level, same)]
                far = [j for j in present if j not in near]
                found.append(one_way(kind, logit, i, near, far, hardness) / 2)
        values.append(sum(found) / sum(IDS[i] >= 0).item() if found else 0.0)
    return torch.tensor(values, dtype=torch.float64)


def one_way(kind, logit, i, near, far, hardness):
    hard = [math.exp(hardness * logit(j)) for j in far]
    weight = dict(zip(far, (len(far) * h / sum(hard) for h in hard), strict=True))
    if kind == "siglip":
        return sum(math.log1p(math.exp(-logit(p))) for p in near) + sum(
            weight[j] * math.log1p(math.exp(logit(j))) for j in far
        )
    negatives = sum(weight[j] * math.exp(logit(j)) for j in far)
    if kind == "ntxent":
        return -math.log(math.exp(logit(i)) / (math.exp(logit(i)) + negatives))
    total = sum(math.exp(logit(p)) for p in near) + negatives
    mean = sum(math.log(math.exp(logit(p)) / total) for p in near) / len(near)
    return -mean - math.log(len(near))


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 99),
    same=st.sampled_from(["text", "labels", "none"]),
    hardness=st.sampled_from([0.0, 0.3, 1.0]),
    scale=st.floats(0.1, 20),
)
def test_a_contrastive_loss_equals_its_definition(kind, seed, same, hardness, scale):
    given_ = inputs(seed, scale=scale)
    options = {"same": same, "hardness": hardness}
    expected = slow(kind, given_[0], **options)
    assert_close(KINDS[kind](*given_, **options), expected)
    assert torch.equal(
        contrastive_loss(*given_, kind=kind, **options), KINDS[kind](*given_, **options)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_definition(kind):
    where, texts, labels = inputs(3, scale=3.0)
    leaves = [
        v.clone().requires_grad_() for v in (where.image, where.text, where.scale, where.bias)
    ]

    def value(*parts):
        return KINDS[kind](Alignment(*parts), texts, labels)

    assert torch.autograd.gradcheck(value, leaves)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hardness", [0.0, 0.5, 2.0])
def test_no_negative_is_pulled_closer_however_hard_they_are_weighted(kind, hardness):
    where, texts, labels = inputs(3, scale=3.0)
    distinct = Texts(texts.vectors[:, :1], torch.arange(B)[:, None])
    images = torch.eye(B, dtype=torch.float64)
    cosines = torch.rand(B, B, dtype=torch.float64).requires_grad_()
    one_way = Alignment(images, cosines.T[:, None], where.scale, where.bias)  # images @ texts
    KINDS[kind](one_way, distinct, labels, hardness=hardness).sum().backward()
    negatives = ~torch.eye(B, dtype=torch.bool)
    assert (cosines.grad[negatives] >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("same", ["text", "labels"])
def test_the_order_of_the_batch_does_not_matter(kind, same):
    where, texts, labels = inputs(1)
    order = torch.randperm(B)
    moved = Alignment(where.image[order], where.text[order], where.scale, where.bias)
    found = KINDS[kind](moved, Texts(texts.vectors, texts.ids[order]), labels[order], same=same)
    assert_close(found, KINDS[kind](where, texts, labels, same=same)[order])


# Identities and limits


def test_ntxent_is_the_mean_of_two_cross_entropies():
    where, texts, labels = one_level(2, range(B))
    logits = where.scale * where.image @ where.text[:, 0].T
    both = [nn.functional.cross_entropy(x, torch.arange(B)) for x in (logits, logits.T)]
    assert_close(KINDS["ntxent"](where, texts, labels).mean(), (both[0] + both[1]) / 2)


def test_siglip_is_the_algorithm_of_the_paper():
    where, texts, labels = one_level(2, range(B), scale=10.0, bias=-10.0)
    logits = where.scale * where.image @ where.text[:, 0].T + where.bias
    sign = 2 * torch.eye(B, dtype=torch.float64) - 1
    expected = -nn.functional.logsigmoid(sign * logits).sum() / B
    assert_close(KINDS["siglip"](where, texts, labels).mean(), expected)


def test_where_no_two_say_the_same_multi_positive_is_ntxent():
    given_ = one_level(4, range(B))
    assert_close(KINDS["multi_positive"](*given_), KINDS["ntxent"](*given_))
    given_ = inputs(4)
    options = {"same": "none", "hardness": 0.7}
    assert_close(KINDS["multi_positive"](*given_, **options), KINDS["ntxent"](*given_, **options))


@pytest.mark.parametrize("kind", ["ntxent", "multi_positive"])
def test_identical_captions_reach_zero(kind):
    """Two pairs of identical captions: the plain loss stops at log 2."""
    points = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype=torch.float64)
    where = Alignment(points, points[:, None], torch.tensor(1 / 0.07), torch.tensor(0.0))
    texts, labels = (
        Texts(torch.zeros(4, 1, 1), torch.tensor([[0], [0], [1], [1]])),
        torch.zeros(4, K),
    )
    assert KINDS[kind](where, texts, labels).max() < 1e-10
    plain = KINDS[kind](where, texts, labels, same="none")
    assert_close(plain, torch.full((4,), math.log(2), dtype=torch.float64))


def test_training_reaches_zero_with_identical_captions():
    """Embeddings of three texts for eight images, from a random start."""
    ids = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])[:, None]
    images, words = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(3, 8))
    optimizer = torch.optim.Adam([images, words], lr=0.1)
    for _ in range(150):
        where = Alignment(
            normalize(images, dim=-1), normalize(words, dim=-1)[ids],
            torch.tensor(1 / 0.07), torch.tensor(0.0),
        )  # fmt: skip
        loss = KINDS["multi_positive"](where, Texts(torch.zeros(8, 1, 1), ids), torch.zeros(8, K))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert loss.max() < 2e-3  # log 2 with the plain loss


def test_the_same_labels_are_no_negatives_where_that_is_asked_for():
    where, texts, labels = one_level(5, range(B))
    image = where.image.clone().requires_grad_()
    moved = Alignment(image, where.text, where.scale, where.bias)
    (slope,) = torch.autograd.grad(KINDS["ntxent"](moved, texts, labels, same="labels")[0], image)
    assert slope[2].abs().max() == 0  # same labels as image 0
    assert slope[[0, 1, 3, 4, 5]].abs().amax(1).min() > 0


def test_a_lower_temperature_is_a_sharper_contrast():
    """Correct pairs cost less, a wrong nearest text costs more; at τ → ∞ all texts are alike."""
    points = torch.eye(3, dtype=torch.float64)
    texts, labels = Texts(torch.zeros(3, 1, 1), torch.arange(3)[:, None]), torch.zeros(3, K)

    def value(text, temperature):
        where = Alignment(points, text[:, None], torch.tensor(1 / temperature), torch.tensor(0.0))
        return KINDS["ntxent"](where, texts, labels).mean().item()

    right, wrong = points, points.roll(1, 0)
    for low, high in itertools.pairwise([0.05, 0.07, 0.5, 1.0, 10.0]):
        assert value(right, low) < value(right, high)
        assert value(wrong, low) > value(wrong, high)
    assert value(right, 0.07) == pytest.approx(math.log1p(2 * math.exp(-1 / 0.07)))
    assert value(right, 1e6) == pytest.approx(math.log(3), abs=1e-5)


def test_hardness_moves_the_weight_to_the_hardest_negative():
    """Towards infinity every negative is as the hardest one; at 0 all count alike."""
    where, texts, labels = one_level(6, range(B), scale=2.0)
    logits = where.scale * where.image @ where.text[:, 0].T + where.bias

    def hardest(row, i):
        rival = max(row[j] for j in range(B) if j != i)
        return math.log1p((B - 1) * math.exp(rival - row[i]))

    expected = [
        (hardest(logits[i].tolist(), i) + hardest(logits[:, i].tolist(), i)) / 2 for i in range(B)
    ]
    found = KINDS["ntxent"](where, texts, labels, hardness=200.0)
    assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=1e-3)
    rising = [KINDS["ntxent"](where, texts, labels, hardness=h).sum() for h in (0.0, 0.5, 1.0, 5.0)]
    assert all(a < b for a, b in itertools.pairwise(rising))


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_text_are_left_out_and_none_is_a_zero_with_a_gradient(kind):
    where, texts, labels = inputs(7)
    with_them = KINDS[kind](where, texts, labels)
    assert with_them[4] == 0
    keep = torch.tensor([0, 1, 2, 3, 5])
    without = KINDS[kind](
        Alignment(where.image[keep], where.text[keep], where.scale, where.bias),
        Texts(texts.vectors[keep], texts.ids[keep]), labels[keep],
    )  # fmt: skip
    assert_close(with_them[keep], without)
    for nobody in (Texts(texts.vectors, torch.full_like(texts.ids, -1)), None):
        image = where.image.clone().requires_grad_()
        text = where.text if nobody else None
        found = KINDS[kind](Alignment(image, text, where.scale, where.bias), nobody, labels)
        assert found.tolist() == [0] * B
        found.sum().backward()
        assert image.grad.abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("hardness", [0.0, 1.0])
def test_huge_logits_are_finite_also_in_bfloat16(kind, dtype, scale, hardness):
    where, texts, labels = inputs(8, dtype=dtype, scale=scale)
    image = where.image.clone().requires_grad_()
    moved = Alignment(image, where.text, where.scale, where.bias)
    found = KINDS[kind](moved, texts, labels.float(), hardness=hardness)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert (found >= 0).all()
    found.sum().backward()
    assert image.grad.isfinite().all()


# Two processes


def batch_of_eight():
    ids = torch.tensor([[0, 0], [1, 1], [0, 2], [-1, -1], [2, -1], [3, 1], [3, 4], [4, 5]])
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (8, K), generator=random).float()
    return ids, torch.randn(8, 5, generator=random), torch.randn(8, 2, 3, generator=random), labels


def gradient(share):
    """Losses of all kinds on a share of the batch, and the gradient of their mean."""
    ids, pixels, words, labels = (value[share] for value in batch_of_eight())
    torch.manual_seed(0)
    net = nn.ModuleDict({"image": nn.Linear(5, E), "text": nn.Linear(3, E)})
    image = normalize(net["image"](pixels), dim=-1)
    text = normalize(net["text"](words), dim=-1)
    where = Alignment(image, text, torch.tensor(4.0), torch.tensor(-2.0))
    total = sum(
        KINDS[kind](where, Texts(words, ids), labels, same=same, hardness=0.5).mean()
        for kind in KINDS
        for same in ("text", "labels")
    )
    total.backward()
    return [total.detach(), *(p.grad for p in net.parameters())]


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = gradient(slice(rank, None, 2))
    for value in found:
        dist.all_reduce(value)
        value /= 2
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_loss_and_the_gradient_of_one(tmp_path):
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    expected = gradient(slice(None))
    for rank in range(2):
        for ours, theirs in zip(expected, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            assert_close(theirs, ours)
    alone = gradient(slice(0, None, 2))  # without the others' images it is another loss
    assert not torch.allclose(alone[0], expected[0], rtol=0.05)


# Agreement of the branches

LOGITS = torch.randn(5, 3, generator=torch.Generator().manual_seed(2)) * 2
TEACHER = torch.randn(5, 3, generator=torch.Generator().manual_seed(3)) * 2


def test_branch_consistency_equals_torchs_divergences():
    bernoulli = kl_divergence(Bernoulli(logits=LOGITS), Bernoulli(logits=TEACHER)).mean(-1)
    assert_close(branch_consistency_loss(LOGITS, TEACHER), bernoulli)
    softmax = kl_divergence(Categorical(logits=LOGITS), Categorical(logits=TEACHER))
    assert_close(branch_consistency_loss(LOGITS, TEACHER, form="softmax"), softmax)


def test_the_golden_values_of_the_consistency():
    def value(roi, patch, **options):
        pair = torch.tensor([[roi] * 2]), torch.tensor([[patch] * 2])
        return branch_consistency_loss(*pair, **options).item()

    assert value(2.0, -1.0) == pytest.approx(0.828725, abs=1e-6)
    assert value(30.0, -30.0) == pytest.approx(30.0)
    assert value(1e4, -1e4) == pytest.approx(1e4)
    assert value(1.3, 1.3) == 0
    assert value(3.0, -3.0, form="softmax") == 0  # a shift of all logits: what is wrong with it
    assert value(3.0, -3.0) > 2.7


@pytest.mark.parametrize("form", ["bernoulli", "softmax"])
@pytest.mark.parametrize("detach", [None, True, False])
def test_the_teacher_learns_only_where_that_is_asked_for(form, detach):
    roi, patch = LOGITS.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    branch_consistency_loss(roi, patch, form=form, detach_teacher=detach).sum().backward()
    assert roi.grad.abs().min() > 0
    fixed = detach if detach is not None else form == "bernoulli"
    assert (patch.grad is None) == fixed


def test_a_softmax_over_one_class_is_refused():
    with pytest.raises(InputError, match="there is one; use bernoulli"):
        branch_consistency_loss(LOGITS[:, :1], TEACHER[:, :1], form="softmax")


def test_the_names_of_both_passages_of_the_sources_are_there():
    assert {"ntxent", "multi_positive", "siglip", "contrastive", "consistency"} <= set(losses)
