"""What every registered model of tiles keeps; a new one joins by being registered."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from wsrpn import compat
from wsrpn.errors import InputError
from wsrpn.losses import Objective, losses
from wsrpn.models import build, filled, models
from wsrpn.models.backbones import backbones, make
from wsrpn.models.base import backbones_of
from wsrpn.models.library_backbone import LibraryBackbone
from wsrpn.models.memory import Memory
from wsrpn.models.tile import TileModel
from wsrpn.types import Batch

NAMES = [name for name in models if models.facts(name).get("input") == "tiles"]
PARTS = ("logits", "maps", "regions", "reconstruction", "latent")
SMALL = {"width": 8, "latent": 6, "depth": 3, "backbone": "tiny", "hidden": 8}


def tiles(count=3, size=(48, 48)):
    random = torch.Generator().manual_seed(5)
    return Batch(
        ids=tuple(f"s/{i}" for i in range(count)),
        images=torch.rand(count, 3, *size, generator=random),
        labels=(torch.arange(count) % 2).float()[:, None],
        sizes_px=torch.tensor([size] * count),
        epoch=1.0,
    )


def model(name, **options):
    torch.manual_seed(1)
    known = {key: value for key, value in SMALL.items() if key in filled({"name": name})}
    return build({"name": name, **known, **options}, classes=1)


def tensors(value):
    found = {}
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if isinstance(part, torch.Tensor):
            found[field.name] = part
        elif dataclasses.is_dataclass(part):
            found |= {f"{field.name}.{key}": t for key, t in tensors(part).items()}
    return found


def answer(net, batch):
    """Everything a model says of a batch."""
    return tensors(net(batch)) | {f"scores.{k}": v for k, v in net.scores(batch).items()}


def test_the_models_of_the_slide_half_are_there():
    assert NAMES == ["tile_classifier", "tile_head", "vae"]
    assert [n for n in NAMES if models.facts(n).get("normal_only")] == ["vae"]


@pytest.mark.parametrize("size", [(48, 48), (50, 50), (33, 40), (96, 96)])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_gives_what_it_says_at_any_size(name, size):
    for training in (True, False):
        output = model(name).train(training)(tiles(size=size))
        given = {part for part in PARTS if getattr(output, part) is not None}
        assert given == set(models.facts(name)["gives"])
        assert output.logits.shape == (3, 1)
        if output.reconstruction is not None:
            assert output.reconstruction.shape == (3, 3, *size)
            assert output.reconstruction.min() >= 0
            assert output.reconstruction.max() <= 1
        for key, value in tensors(output).items():
            assert value.isfinite().all(), key
            assert value.dtype == torch.float32, key


@pytest.mark.parametrize("name", NAMES)
def test_scores_begin_with_the_one_that_leads_and_rank_like_the_logits(name):
    net, batch = model(name).eval(), tiles(8)
    scores = net.scores(batch)
    assert next(iter(scores)) == "score"
    for value in scores.values():
        assert value.shape == (8,)
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    assert torch.equal(scores["score"].argsort(), net(batch).logits[:, 0].argsort())


@pytest.mark.parametrize("name", NAMES)
def test_in_evaluation_a_tile_does_not_see_its_neighbours_and_nothing_is_random(name):
    net, batch = model(name).eval(), tiles(4)
    together, again = answer(net, batch), answer(net, batch)
    assert all(torch.equal(again[key], value) for key, value in together.items())
    for i in range(4):
        one = slice(i, i + 1)
        rest = {k: getattr(batch, k)[one] for k in ("ids", "images", "labels", "sizes_px")}
        for key, value in answer(net, Batch(**rest)).items():
            assert_close(value[0], together[key][i], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_not_looked_at_and_the_input_and_the_weights_are_left_alone(name):
    net, batch = model(name).eval(), tiles()
    before, weights = batch.images.clone(), {k: v.clone() for k, v in net.state_dict().items()}
    other = dataclasses.replace(batch, labels=1 - batch.labels, ids=("x", "y", "z"), epoch=9.0)
    with torch.no_grad():
        assert torch.equal(net(batch).logits, net(other).logits)
        net.scores(batch)
    assert torch.equal(batch.images, before)
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient_from_the_losses_that_fit(name):
    gives = {f"output.{part}" for part in models.facts(name)["gives"]}
    fitting = [
        loss
        for loss in losses
        if all(p in gives or p.startswith("batch.") for p in losses.facts(loss)["reads"])
    ]
    # A latent that leads to no reconstruction is there to be looked at; its encoder is frozen.
    net, batch = model(name).train(), tiles(4)
    loss, _ = Objective({loss: {} for loss in fitting})(
        net(batch), batch, dict.fromkeys(fitting, 1.0)
    )
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_is_finite_and_near_float32(name):
    net, batch = model(name).eval(), tiles()
    exact = answer(net, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = answer(net, batch)
    for key, value in rough.items():
        assert value.dtype == torch.float32, key
        assert_close(value, exact[key], atol=0.1, rtol=0.1)
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(batch)
    sum(value.sum() for value in tensors(output).values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_changes_nothing_but_the_layout(name):
    net, batch = model(name).eval(), tiles()
    last = model(name).eval().to(memory_format=torch.channels_last)
    for key, value in answer(last, batch.to("cpu", channels_last=True)).items():
        assert_close(value, answer(net, batch)[key], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_look_of_the_training_tiles_is_in_the_weights(name):
    net = model(name)
    assert isinstance(net, TileModel)
    assert torch.equal(net.state_dict()["look"], torch.eye(3, 4))
    assert not net.look_given
    other = model(name)
    other.look.copy_(torch.rand(3, 4))
    net.load_state_dict(other.state_dict())
    assert torch.equal(net.look, other.look)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_tiles_refuses_other_classes_than_one(name):
    with pytest.raises(InputError, match=r"one class, tumour, and not 3.*model\.name"):
        build({"name": name}, classes=3)


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_backbone_remembers_tiles(name):
    (backbone,) = backbones_of(model(name).eval())
    images = tiles(3).images
    plain = backbone(images)
    backbone.memory = Memory(3)
    assert_close(backbone(images), plain, atol=1e-5, rtol=1e-4)
    assert_close(backbone(images), plain, atol=1e-5, rtol=1e-4)
    assert backbone.memory.computed == 3
    assert backbone.memory.asked == 6


# Backbones on three channels


@pytest.mark.parametrize("name", list(backbones))
def test_a_backbone_takes_three_channels(name):
    with torch.device("meta"):
        for grid in (7, 14):
            net = make(name, grid=grid, weights="none", rgb=True).eval()
            features = net(torch.zeros(1, 3, 224, 224))
            assert features.shape == (1, net.channels, grid, grid)


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_the_stem_on_rgb_is_the_librarys_on_what_imagenet_is_normalised_to(name, tmp_path):
    library = compat.torchvision().models.get_model(name, weights=None).eval()
    torch.save(library.state_dict(), tmp_path / "weights.pth")
    net = make(name, grid=7, weights=str(tmp_path / "weights.pth"), rgb=True).eval()
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (images - mean[:, None, None]) / std[:, None, None]
    stem = library.features.conv0 if name == "densenet121" else library.conv1
    with torch.no_grad():
        assert_close(net.body[0]((images - net.mean) / net.std), stem(normal))
        if name == "densenet121":
            expected = library.features(normal).relu()
            assert_close(net(images), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5"])
def test_a_network_of_the_library_gives_its_own_answer_from_a_local_file(name, tmp_path):
    torch.manual_seed(3)
    library = compat.torchvision().models.get_model(name, weights=None).eval()
    torch.save(library.state_dict(), tmp_path / "weights.pth")
    net = model(
        "tile_classifier", backbone=f"torchvision:{name}", weights=str(tmp_path / "weights.pth")
    ).eval()
    images = torch.rand(2, 3, 64, 64)
    normal = (images - net.backbone.mean) / net.backbone.std
    with torch.no_grad():
        pooled = net.backbone(images).mean((2, 3))
        head = library.fc if hasattr(library, "fc") else library.classifier
        assert_close(head(pooled), library(normal), atol=1e-4, rtol=1e-3)
    assert net.training == net.backbone.training


def test_the_activation_that_densenet_has_outside_its_modules_is_there():
    torch.manual_seed(3)
    net = LibraryBackbone(name="densenet121", weights="none").eval()
    assert net(torch.rand(1, 3, 64, 64)).min() == 0


def test_a_network_of_the_library_that_does_not_fit_is_refused_by_name():
    with pytest.raises(InputError, match=r"no classifier 'resnet19'\. Did you mean 'resnet18'"):
        model("tile_classifier", backbone="torchvision:resnet19")
    with pytest.raises(InputError, match="torchvision:vit_b_32 is not a chain of layers"):
        model("tile_classifier", backbone="torchvision:vit_b_32")
    with pytest.raises(InputError, match="'tiny'"):
        model("tile_classifier", backbone="tinny")
