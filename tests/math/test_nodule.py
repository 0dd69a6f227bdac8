"""The nodule network: stages of its backbone, attention on the grid, decoder."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from wsrpn.config import TrainConfig
from wsrpn.errors import InputError
from wsrpn.losses.pixelwise import attention_loss
from wsrpn.models import build, spatial_attention
from wsrpn.models.backbones import backbones, make
from wsrpn.models.memory import Memory
from wsrpn.models.nodule import Nodule
from wsrpn.models.stages import COUNT, pyramid, stages_of
from wsrpn.train.optimiser import adamw
from wsrpn.types import Batch

SMALL = {"backbone": "tiny", "decoder_width": 32, "attention_width": 32}


def nodule(**options):
    torch.manual_seed(1)
    return build({"name": "nodule", **SMALL, **options}, classes=1)


def batch(count=3, size=(64, 64), *, drr=True):
    random = torch.Generator().manual_seed(5)
    images, drrs = (torch.rand(count, 1, *size, generator=random) for _ in range(2))
    return Batch(
        ids=tuple(map(str, range(count))),
        images=images,
        labels=torch.zeros(count, 1),
        sizes_px=torch.tensor([size] * count),
        drrs=drrs if drr else None,
        has_drr=torch.arange(count) % 2 == 0 if drr else None,
    )


# Stages of a backbone


@pytest.mark.parametrize("name", list(backbones))
def test_a_backbone_has_five_stages_each_half_as_large_as_the_one_before(name):
    # On the meta device shapes are worked out and nothing is computed.
    with torch.device("meta"):
        net = make(name, grid=7, weights="none")
        stages, levels = stages_of(net), pyramid(net, torch.zeros(2, 1, 96, 64))
    assert len(stages) == len(levels) == COUNT
    for index, (stage, level) in enumerate(zip(stages, levels, strict=True)):
        assert level.shape == (2, stage.channels, 48 >> index, 32 >> index)
    owned = [id(p) for stage in stages for part in stage.modules for p in part.parameters()]
    assert len(owned) == len(set(owned)), "a parameter belongs to one stage"
    assert set(owned) == {id(p) for p in net.parameters()}


def test_the_last_two_stages_of_resnet_50_are_its_last_two_blocks_and_no_more():
    with torch.device("meta"):
        net = make("resnet50", grid=7, weights="none")
        stages = stages_of(net)
    assert stages[-2].modules == (net.body.layer3,)
    assert stages[-1].modules == (net.body.layer4, net.tail)
    assert stages[0].modules == (net.body.conv1, net.body.bn1, net.body.relu)


@pytest.mark.parametrize("name", ["tiny", "efficientnet_lite0"])
def test_the_last_stage_is_the_answer_of_the_backbone(name):
    net, images = make(name, grid=7, weights="none").eval(), torch.rand(1, 1, 64, 32)
    assert torch.equal(pyramid(net, images)[-1], net(images))


def test_looking_for_stages_leaves_a_backbone_as_it_was():
    net = make("tiny", grid=7, weights="none").train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    stages_of(net)
    assert all(part.training for part in net.modules())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


# What learns


def learning(net):
    """Per stage of the backbone, whether it learns."""
    return [
        {p.requires_grad for part in stage.modules for p in part.parameters()}
        for stage in stages_of(net.backbone)
    ]


@pytest.mark.parametrize("trainable", range(COUNT + 1))
def test_the_last_stages_learn_and_the_others_are_frozen(trainable):
    asked = [{index >= COUNT - trainable} for index in range(COUNT)]
    assert learning(nodule(trainable=trainable)) == asked


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("trainable", [0, 2, 5])
def test_a_step_of_training_moves_what_learns_and_neither_weights_nor_norms_of_the_rest(
    trainable, skips
):
    net = nodule(trainable=trainable, skips=skips)
    frozen = {id(part) for module in net.frozen for part in module.modules()}
    fixed = {
        name: value.clone()
        for part_name, part in net.named_modules()
        if id(part) in frozen
        for name, value in ((f"{part_name}.{k}", v) for k, v in part.state_dict().items())
    }
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = adamw(net, TrainConfig(lr=1e-2, backbone_lr=1e-3))
    for _ in range(2):
        net.eval()
        net.train()
        output = net(batch())
        optimizer.zero_grad()
        (output.mask_logits.square().mean() + output.attention.square().mean()).backward()
        optimizer.step()
    now = net.state_dict()
    assert all(torch.equal(now[name], value) for name, value in fixed.items())
    moved = {name for name, value in before.items() if not torch.equal(now[name], value)}
    assert moved == set(before) - set(fixed) - {"backbone.mean", "backbone.std"}
    assert bool(fixed) == (trainable < COUNT)


def test_norms_of_frozen_stages_stay_in_evaluation_and_the_others_do_as_they_are_told():
    net = nodule(trainable=2)
    norms = [part for part in net.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert [norm.training for norm in norms] == [False] * 3 + [True] * 2, "as it was built"
    net.eval()
    net.train()
    assert [norm.training for norm in norms] == [False] * 3 + [True] * 2
    assert all(part.training for part in net.decoder.modules())
    net.eval()
    assert not any(part.training for part in net.modules())


def test_the_backbone_has_a_rate_of_its_own():
    net = nodule(trainable=2)
    groups = adamw(net, TrainConfig(lr=2e-5, backbone_lr=5e-6)).param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    inside = {id(p) for p in net.backbone.parameters() if p.requires_grad}
    assert {rate[key] for key in inside} == {5e-6}
    assert {value for key, value in rate.items() if key not in inside} == {2e-5}
    assert len(rate) == sum(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("skips", [False, True])
def test_a_frozen_backbone_with_a_memory_gives_what_it_gives_without(skips):
    net, asked = nodule(trainable=0, skips=skips).eval(), batch(4)
    expected = net(asked).mask_logits
    net.backbone.requires_grad_(False)
    net.backbone.memory = Memory(4)
    for _ in range(2):
        assert_close(net(asked).mask_logits, expected, atol=1e-5, rtol=1e-4)
    assert net.backbone.memory.computed == (0 if skips else 4)
    net.train()
    net(asked).mask_logits.sum().backward()
    assert net.head.weight.grad.abs().max() > 0


def test_a_single_cell_of_a_single_image_is_refused_in_training_alone():
    with pytest.raises(InputError, match=r"32 × 20 px is a single cell.*train\.batch.*data\.size"):
        nodule()(batch(1, (32, 20)))
    assert nodule(trainable=0)(batch(1, (32, 32))).mask_logits.isfinite().all()
    assert nodule()(batch(1, (33, 32))).mask_logits.isfinite().all()
    assert nodule().eval()(batch(1, (32, 32))).mask_logits.isfinite().all()


# Attention


@pytest.mark.parametrize("attention", ["drr", "multiscale"])
def test_attention_is_a_map_on_the_grid_of_the_features(attention):
    net = nodule(attention=attention).eval()
    for size, grid in (((64, 96), (2, 3)), ((70, 40), (3, 2)), ((32, 32), (1, 1))):
        output = net(batch(size=size))
        assert output.attention.shape == (3, 1, *grid)
        assert output.mask_logits.shape == (3, 1, *size)


@pytest.mark.parametrize("attention", ["drr", "multiscale"])
def test_an_image_with_a_drr_is_looked_at_by_it_and_one_without_by_its_own_features(attention):
    net, both = nodule(attention=attention).eval(), batch(4)
    found = net(both).attention
    every = net(dataclasses.replace(both, has_drr=torch.ones(4, dtype=torch.bool))).attention
    none = net(dataclasses.replace(both, drrs=None, has_drr=None)).attention
    assert_close(found[::2], every[::2])
    assert_close(found[1::2], none[1::2])
    assert (every - none).abs().amin() > 1e-4
    unmarked = dataclasses.replace(both, has_drr=None)
    assert_close(net(unmarked).attention, every)


def test_the_drr_of_an_image_that_has_none_is_not_looked_at_in_training_either():
    asked = batch(4)
    noise = torch.where(asked.has_drr[:, None, None, None], asked.drrs, torch.rand(4, 1, 64, 64))
    given = []
    for drrs in (asked.drrs, noise):
        net = nodule().train()
        given.append(net(dataclasses.replace(asked, drrs=drrs)))
    assert torch.equal(given[0].attention, given[1].attention)
    assert torch.equal(given[0].mask_logits, given[1].mask_logits)


def test_where_a_drr_shows_something_the_attention_moves_there():
    net = nodule(attention="drr").eval()
    plain = batch(1, size=(256, 256))
    bright = plain.drrs.clone()
    bright[..., 10:22, 10:22] += 3
    moved = net(dataclasses.replace(plain, drrs=bright)).attention - net(plain).attention
    away = moved[0, 0].abs()
    assert away[0, 0] > away[4:, 4:].max()


def test_the_multiscale_attention_sees_further_on_the_grid():
    """Convolutions alone, without the norms that see the whole image, tell how far it is."""
    reach = {}
    for kind in (spatial_attention.Residual, spatial_attention.Context):
        part = kind(32)
        for name, module in list(part.named_modules()):
            if isinstance(module, (nn.GroupNorm, nn.ReLU)):
                parent, _, child = name.rpartition(".")
                setattr(part.get_submodule(parent), child, nn.Identity())
        cells = torch.rand(1, 32, 32, 32, requires_grad=True)
        (slope,) = torch.autograd.grad(part(cells)[0, :, 16, 16].sum(), cells)
        touched = (slope[0].abs().sum(0) > 0).nonzero()
        reach[kind.__name__] = int((touched - 16).abs().max())
    assert reach == {"Residual": 2, "Context": 8}


def test_features_are_raised_by_one_plus_the_share_of_attention():
    net, asked = nodule().eval(), batch(2)
    features = net.features(asked.images)[-1]
    taken = []
    net.decoder[0].register_forward_hook(lambda _, given, __: taken.append(given[0]))
    attention = net(asked).attention
    assert_close(taken[0], features * (1 + attention.sigmoid()))


def test_the_loss_of_attention_reads_the_cells_that_the_network_looks_at():
    """Of 70 × 40 pixels, padded to 96 × 64: cells of 32 pixels, and not of 24 × 20."""
    net = nodule().eval()
    for place in ((0, 0), (31, 31), (32, 32), (47, 21), (69, 39)):
        mask = torch.zeros(1, 1, 70, 40)
        mask[0, 0, place[0], place[1]] = 1
        logits = net(batch(1, size=(70, 40))).attention.detach().requires_grad_()
        attention_loss(logits, mask).sum().backward()
        assert (logits.grad < 0).nonzero().tolist() == [[0, 0, place[0] // 32, place[1] // 32]]


def test_without_attention_there_is_none_and_no_parameter_of_it():
    net = nodule(attention="none").eval()
    output = net(batch())
    assert output.attention is None
    assert not any(name.startswith("attention") for name, _ in net.named_parameters())
    assert torch.equal(output.mask_logits, net(batch(drr=False)).mask_logits)


# Decoder and options


def test_skips_bring_detail_that_the_deepest_features_do_not_have():
    asked = batch(1, drr=False)
    fine = asked.images.clone()
    fine[..., 20:22, 20:22] = 1 - fine[..., 20:22, 20:22]
    for skips in (False, True):
        net = nodule(skips=skips).eval()
        sizes = []
        for stage in net.decoder:
            stage.register_forward_hook(
                lambda _, given, __, sizes=sizes: sizes.append(
                    [tuple(g.shape[1:]) for g in given if g is not None]
                )
            )
        net(asked)
        beside = [given[1:] for given in sizes]
        expected = [[(96, 4, 4)], [(64, 8, 8)], [(32, 16, 16)], [(16, 32, 32)], []]
        assert beside == (expected if skips else [[]] * COUNT)


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
def test_the_decoder_goes_to_full_size_in_five_stages(upsample):
    net = nodule(upsample=upsample).eval()
    shapes = []
    for stage in net.decoder:
        stage.register_forward_hook(lambda _, __, given: shapes.append(tuple(given.shape[1:])))
    net(batch(1))
    assert shapes == [(32 >> index, 4 << index, 4 << index) for index in range(COUNT)]
    transposed = [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(transposed) == (COUNT if upsample == "transposed" else 0)
    assert all(m.kernel_size == m.stride == (2, 2) for m in transposed)


def test_the_default_is_the_network_of_the_source():
    with torch.device("meta"):
        net = build({"name": "nodule"}, classes=1)
    assert net.backbone.channels == 2048
    assert learning(net) == [{False}, {False}, {False}, {True}, {True}]
    assert isinstance(net.attention, nn.Module)
    assert [stage.block[0].out_channels for stage in net.decoder] == [256, 128, 64, 32, 16]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder_width": 24}, "model.decoder_width .* multiple of 16"),
        ({"attention_width": 48}, "model.attention_width must be a multiple of 32"),
        ({"trainable": 6}, "model nodule: trainable"),
        ({"attention": "both"}, "model nodule: attention"),
        ({"prior": 0.0}, "model.prior must lie between 0 and 1"),
        ({"backbone": "resnet19"}, "No backbone is called 'resnet19'"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(options, words):
    with pytest.raises(InputError, match=words):
        nodule(**options)


def test_more_classes_than_one_are_refused():
    with pytest.raises(InputError, match="model nodule answers inside or outside"):
        Nodule(classes=2, backbone="tiny")
