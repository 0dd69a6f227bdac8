"""The U-Net, and what all models of masks are made of (`wsrpn.models.decoder`)."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from wsrpn.errors import InputError
from wsrpn.models import build
from wsrpn.models.decoder import Blur, Up, head, padded
from wsrpn.models.unet import seen
from wsrpn.types import Batch


def unet(**options):
    return build({"name": "unet", "width": 4, **options}, classes=1)


def batch(images):
    count = len(images)
    return Batch(
        ids=tuple(map(str, range(count))),
        images=images,
        labels=torch.zeros(count, 1),
        sizes_px=torch.tensor([images.shape[-2:]] * count),
    )


def answers(net, images):
    with torch.no_grad():
        return net(batch(images)).mask_logits


def settled(net):
    """In evaluation, with norms that fit noise: features are as large as after a training."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    answers(net.train(), torch.rand(4, 1, 64, 64))
    return net.eval()


# How far a pixel sees


def transparent(net):
    """The network with sums in place of everything: what can reach a pixel does."""
    for part in net.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.constant_(part.weight, 0.1)
    net.halve = nn.AvgPool2d(2)
    for name, part in list(net.named_modules()):
        if isinstance(part, nn.ReLU):
            parent, _, child = name.rpartition(".")
            setattr(net.get_submodule(parent), child, nn.Identity())
    return net.eval().double()


@pytest.mark.parametrize("upsample", ["bilinear", "transposed"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_impulse_reaches_as_far_as_the_network_says_and_no_further(depth, upsample):
    net = transparent(unet(depth=depth, width=1, upsample=upsample))
    reach, cell = net.seen, net.multiple
    assert reach == seen(depth)
    middle = cell * (reach // cell + 1)
    furthest = 0
    for offset in range(cell):
        image = torch.rand(1, 1, cell, 2 * middle + cell, dtype=torch.float64, requires_grad=True)
        logits = net.head(net.features(image))
        (slope,) = torch.autograd.grad(logits[0, 0, 0, middle + offset], image)
        touched = (slope[0, 0].abs().sum(0) > 0).nonzero()[:, 0]
        furthest = max(furthest, int((touched - middle - offset).abs().max()))
    assert furthest == reach


def test_the_preset_leaves_as_wide_a_margin_as_its_network_sees():
    from wsrpn import config

    preset = config.load("beads")
    net = build({**preset.model, "width": 1}, classes=1)
    assert preset.masks.margin >= net.seen
    assert preset.masks.margin % net.multiple == 0
    assert preset.masks.tile % net.multiple == 0


@pytest.mark.parametrize("size", [(96, 112), (101, 117)])
def test_a_tile_answers_like_the_whole_image_where_its_margin_is_what_the_network_sees(size):
    net = settled(unet(depth=2))
    image = torch.rand(1, 1, *size)
    whole = answers(net, image)
    assert whole.std() > 0.1
    top, left, margin = 32, 28, 28
    tile = image[..., top : top + 64, left : left + 64]
    inner = answers(net, tile)[..., margin:-margin, margin:-margin]
    there = whole[..., top + margin : top + 64 - margin, left + margin : left + 64 - margin]
    assert_close(inner, there, atol=1e-5, rtol=1e-5)
    corner = answers(net, image[..., top:, left:])[..., margin:, margin:]
    assert_close(corner, whole[..., top + margin :, left + margin :], atol=1e-5, rtol=1e-5)


def test_a_tile_that_does_not_begin_on_a_cell_answers_otherwise():
    net = settled(unet(depth=2))
    image = torch.rand(1, 1, 96, 96)
    moved = answers(net, image[..., 1:, 1:])[..., 30:60, 30:60]
    assert (moved - answers(net, image)[..., 31:61, 31:61]).abs().max() > 1e-3


# Sizes


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 5), (8, 8), (17, 24)])
def test_every_size_gets_an_answer_per_pixel(height, width):
    output = unet(depth=3, width=2).eval()(batch(torch.rand(2, 1, height, width)))
    assert output.mask_logits.shape == (2, 1, height, width)
    assert output.mask_logits.isfinite().all()
    assert torch.equal(output.logits[:, 0], output.mask_logits.amax((1, 2, 3)))


def test_padding_repeats_the_last_row_and_column_and_nothing_that_fits():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    expected = torch.tensor([[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]])
    assert torch.equal(padded(image, 4)[0, 0], expected.float())
    assert padded(image, 1) is image


# Doubling


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["bilinear", "transposed"])
def test_a_constant_comes_out_of_a_doubling_as_a_constant_whatever_it_has_learned(kind, seed):
    torch.manual_seed(seed)
    up = Up(6, 3, kind)
    for weight in up.parameters():
        nn.init.normal_(weight)
    found = up(torch.randn(1, 6, 1, 1).expand(-1, -1, 5, 7))[..., 1:-1, 1:-1]
    assert_close(found, found[..., :1, :1].expand_as(found), atol=1e-5, rtol=1e-4)
    assert found.abs().max() > 0


@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (4, 1)])
def test_a_transposed_convolution_as_torch_makes_it_draws_a_checkerboard(kernel, padding):
    plain = nn.ConvTranspose2d(6, 3, kernel, stride=2, padding=padding, bias=False)
    found = plain(torch.ones(1, 6, 5, 5))[..., 1:-1, 1:-1]
    assert (found - found[..., :1, :1]).abs().max() > 0.01
    assert_close(found[..., 2:, 2:], found[..., :-2, :-2])  # it repeats every two pixels


def test_both_ways_of_doubling_are_one_function_before_training():
    bilinear, transposed = Up(6, 3, "bilinear"), Up(6, 3, "transposed")
    first = transposed.up[0].weight
    assert_close(first, first[..., :1, :1].expand_as(first))  # four equal phases
    mix = bilinear.up[0].weight.transpose(0, 1)
    first.data.copy_(mix.expand_as(first))
    features = torch.randn(2, 6, 5, 7)
    assert_close(transposed(features), bilinear(features), atol=1e-5, rtol=1e-4)


def test_a_blur_is_half_of_each_pixel_and_a_quarter_of_either_neighbour():
    line = torch.tensor([1.0, 0.0, 0.0, 8.0, 0.0])
    expected = torch.tensor([0.75, 0.25, 2.0, 4.0, 2.0])
    assert_close(Blur()(line.expand(1, 1, 5, 5))[0, 0, 2], expected)
    assert_close(Blur()(line.expand(1, 1, 5, 5).mT)[0, 0, :, 2], expected)
    chequered = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    assert Blur()(chequered)[..., 1:-1, 1:-1].abs().max() == 0


# Options


@pytest.mark.parametrize("prior", [0.01, 0.1, 0.5, 0.9])
def test_the_untrained_network_answers_the_prior(prior):
    found = unet(width=8, prior=prior).train()(batch(torch.rand(4, 1, 64, 64)))
    assert found.mask_logits.sigmoid().mean().item() == pytest.approx(prior, rel=0.35)


def test_a_prior_starts_every_pixel_at_its_logit_when_the_features_are_silent():
    last = head(5, 0.2)
    assert_close(last(torch.zeros(1, 5, 2, 2)).sigmoid(), torch.full((1, 1, 2, 2), 0.2))


def test_dropout_falls_on_the_deepest_level_in_training_alone():
    net = unet(depth=2, dropout=0.5)
    images = torch.rand(1, 1, 32, 32)
    seen_by = []
    net.dropout.register_forward_hook(lambda _, taken, given: seen_by.append((taken[0], given)))
    net.train()(batch(images))
    before, after = seen_by[0]
    assert before.shape == (1, 16, 8, 8)
    kept = after != 0
    assert_close(after[kept], 2 * before[kept])
    assert (after[before != 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    net.eval()
    assert torch.equal(answers(net, images), answers(net, images))


def test_the_default_network_has_half_the_width_of_the_paper():
    with torch.device("meta"):
        net = build({"name": "unet", "upsample": "transposed"}, classes=1)
    shapes = [tuple(p.shape) for p in net.parameters() if p.ndim == 4]
    assert shapes[0] == (32, 1, 3, 3)
    assert (512, 512, 3, 3) in shapes
    assert shapes[-1] == (1, 32, 1, 1)
    assert len(shapes) == 23  # the paper's number of convolutional layers


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "model.width must be at least 1"),
        ({"depth": 0}, "model.depth must be between 1 and 6"),
        ({"depth": 7}, "model.depth must be between 1 and 6"),
        ({"prior": 0.0}, "model.prior must lie between 0 and 1"),
        ({"prior": 1.0}, "model.prior must lie between 0 and 1"),
        ({"upsample": "nearest"}, "model unet: upsample"),
        ({"dropout": 1.5}, "model unet: dropout"),
    ],
)
def test_options_that_no_network_has_are_refused_by_name(options, words):
    with pytest.raises(InputError, match=words):
        unet(**options)


def test_more_classes_than_one_are_refused():
    with pytest.raises(InputError, match=r"one class and not 3.*data\.classes"):
        build({"name": "unet"}, classes=3)


def test_it_learns_to_find_bright_discs():
    random = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    centres = torch.randint(6, 26, (12, 2), generator=random)
    truth = torch.stack([(rows - r) ** 2 + (columns - c) ** 2 < 20 for r, c in centres.tolist()])
    truth = truth[:, None].float()
    images = (0.3 + 0.3 * truth + 0.1 * torch.randn(truth.shape, generator=random)).clamp(0, 1)
    net = unet(width=4, depth=2).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(25):
        loss = nn.functional.binary_cross_entropy_with_logits(
            net(batch(images[:8])).mask_logits, truth[:8]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found, there = answers(net.eval(), images[8:]) > 0, truth[8:] > 0
    dice = 2 * (found & there).sum() / (found.sum() + there.sum())
    assert dice > 0.8
