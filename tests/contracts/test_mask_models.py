"""What every registered model that answers each pixel keeps; a new one is in by registering."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from wsrpn.errors import InputError
from wsrpn.losses import Objective, losses
from wsrpn.models import build, filled, models
from wsrpn.models.base import describe
from wsrpn.types import Batch

NAMES = [name for name in models if models.facts(name).get("input") == "masks"]
PARTS = ("logits", "maps", "regions", "reconstruction", "latent", "mask_logits", "attention")
SMALL = {"backbone": "tiny", "decoder_width": 32, "attention_width": 32, "depth": 3, "width": 4}
# Options that change what is computed, besides the defaults.
KINDS = [(name, {}) for name in NAMES] + [
    ("unet", {"upsample": "transposed"}),
    ("unet", {"dropout": 0.5}),
    ("nodule", {"attention": "multiscale", "skips": True, "upsample": "bilinear", "trainable": 5}),
    ("nodule", {"attention": "none", "trainable": 0}),
]


def images(count=3, size=(64, 64)):
    random = torch.Generator().manual_seed(5)
    shown, drrs, truth = (torch.rand(count, 1, *size, generator=random) for _ in range(3))
    return Batch(
        ids=tuple(f"{i}.png" for i in range(count)),
        images=shown,
        labels=(torch.arange(count) % 2).float()[:, None],
        sizes_px=torch.tensor([size] * count),
        masks=(truth > 0.8).float(),
        drrs=drrs,
        has_drr=torch.arange(count) % 2 == 0,
    )


def only(batch, i):
    """One image of a batch."""
    one = slice(i, i + 1)
    names = ("ids", "images", "labels", "sizes_px", "masks", "drrs", "has_drr")
    return Batch(**{name: getattr(batch, name)[one] for name in names})


def model(name, **options):
    torch.manual_seed(1)
    return build(section(name, options), classes=1)


def section(name, options):
    """The `model` section of a small one."""
    known = {key: value for key, value in SMALL.items() if key in filled({"name": name})}
    return {"name": name, **known, **options}


def tensors(output):
    fields = {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
    return {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}


def each(test):
    """The test for every model, and for the options of it that change what is computed."""
    ids = [" ".join((name, *map(str, options.values()))) for name, options in KINDS]
    return pytest.mark.parametrize(("name", "options"), KINDS, ids=ids)(test)


def test_the_models_that_segment_are_there():
    assert NAMES == ["nodule", "unet"]


@pytest.mark.parametrize("size", [(64, 64), (33, 40), (70, 96)])
@each
def test_a_model_gives_what_it_says_at_any_size(name, options, size):
    for training in (True, False):
        output = model(name, **options).train(training)(images(size=size))
        given = {part for part in PARTS if getattr(output, part) is not None}
        left_out = {"attention"} if options.get("attention") == "none" else set()
        assert given == set(models.facts(name)["gives"]) - left_out
        assert output.logits.shape == (3, 1)
        assert output.mask_logits.shape == (3, 1, *size)
        assert torch.equal(output.logits[:, 0], output.mask_logits.flatten(1).amax(1))
        for key, value in tensors(output).items():
            assert value.isfinite().all(), key
            assert value.dtype == torch.float32, key


@each
def test_in_evaluation_an_image_does_not_see_its_neighbours_and_nothing_is_random(name, options):
    net, batch = model(name, **options).eval(), images(4)
    together, again = tensors(net(batch)), tensors(net(batch))
    assert all(torch.equal(again[key], value) for key, value in together.items())
    for i in range(4):
        for key, value in tensors(net(only(batch, i))).items():
            assert_close(value[0], together[key][i], atol=1e-5, rtol=1e-4)


@each
def test_labels_and_masks_are_not_looked_at_and_input_and_weights_are_left_alone(name, options):
    net, batch = model(name, **options).eval(), images()
    before, weights = copy.deepcopy(batch), copy.deepcopy(net.state_dict())
    other = dataclasses.replace(
        batch, labels=1 - batch.labels, masks=1 - batch.masks, ids=("x", "y", "z"), epoch=9.0
    )
    with torch.no_grad():
        assert torch.equal(net(batch).mask_logits, net(other).mask_logits)
        assert torch.equal(
            net(dataclasses.replace(batch, masks=None)).mask_logits, net(batch).mask_logits
        )
    for part in ("images", "masks", "drrs", "has_drr"):
        assert torch.equal(getattr(batch, part), getattr(before, part)), part
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())


@each
def test_every_parameter_that_may_learn_gets_a_gradient_from_the_losses_that_fit(name, options):
    net, batch = model(name, **options).train(), images(4)
    output = net(batch)
    gives = {f"output.{part}" for part in tensors(output)} - {"output.logits"}
    fitting = [
        loss
        for loss in losses
        if any(path in gives for path in losses.facts(loss)["reads"])
        and all(path in gives or path == "batch.masks" for path in losses.facts(loss)["reads"])
    ]
    assert "dice" in fitting
    loss, _ = Objective({loss: {} for loss in fitting})(output, batch, dict.fromkeys(fitting, 1.0))
    loss.backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().max() > 0, key
        else:
            assert parameter.grad is None, key
    assert describe(net)["all"]["trainable"] > 0


@each
def test_mixed_precision_is_finite_and_near_float32(name, options):
    net, batch = model(name, **options).eval(), images()
    exact = net(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(batch)
    for key, value in tensors(rough).items():
        assert value.isfinite().all(), key
        assert value.dtype == torch.float32, key
    assert_close(rough.mask_logits, exact.mask_logits, atol=0.1, rtol=0.1)
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(batch).mask_logits.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@each
def test_channels_last_changes_nothing_but_the_layout(name, options):
    net, batch = model(name, **options).eval(), images()
    last = model(name, **options).eval().to(memory_format=torch.channels_last)
    moved = batch.to("cpu", channels_last=True)
    assert_close(last(moved).mask_logits, net(batch).mask_logits, atol=1e-4, rtol=1e-4)


@each
def test_a_copy_and_a_model_built_again_with_its_weights_answer_the_same(name, options):
    net, batch = model(name, **options).train(), images()
    net(batch)  # norms have statistics
    net.eval()
    again = build(filled(section(name, options)), classes=1).eval()
    again.load_state_dict(net.state_dict())
    expected = net(batch).mask_logits
    assert torch.equal(again(batch).mask_logits, expected)
    copied = copy.deepcopy(net)
    assert torch.equal(copied(batch).mask_logits, expected)
    for part in copied.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data.zero_()
    assert torch.equal(net(batch).mask_logits, expected)


@pytest.mark.parametrize("prior", [0.02, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_training_starts_near_the_prior(name, prior):
    found = model(name, prior=prior).train()(images(4)).mask_logits.sigmoid().mean()
    assert found.item() == pytest.approx(prior, rel=0.6)


@pytest.mark.parametrize("name", NAMES)
def test_more_classes_than_one_are_refused_with_the_way_out(name):
    with pytest.raises(InputError, match=r"one class and not 2.*data\.classes"):
        build(section(name, {}), classes=2)
