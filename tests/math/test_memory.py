"""A frozen backbone that remembers gives what it would compute."""

import torch

from wsrpn.config import AugmentConfig
from wsrpn.models import backbones
from wsrpn.models.memory import Memory


def frozen() -> backbones.Backbone:
    return backbones.make("tiny", grid=7, weights="none").requires_grad_(False).eval()


def test_each_image_is_computed_once_whatever_batch_it_comes_in():
    plain, remembering = frozen(), frozen()
    remembering.load_state_dict(plain.state_dict())
    remembering.memory = Memory(images=5)
    images = torch.rand(5, 1, 64, 64)
    torch.testing.assert_close(remembering(images), plain(images))
    first = remembering(images)
    assert torch.equal(remembering(images[[4, 0, 4]]), first[[4, 0, 4]])
    assert (remembering.memory.computed, remembering.memory.asked) == (5, 13)


def test_a_flipped_image_is_another_image():
    backbone = frozen()
    backbone.memory = Memory(images=5)
    images = torch.rand(1, 1, 64, 64)
    assert not torch.equal(backbone(images), backbone(images.flip(-1)))


def test_features_of_another_precision_are_others():
    backbone = frozen()
    backbone.memory = Memory(images=5)
    images = torch.rand(1, 1, 64, 64)
    assert backbone(images).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert backbone(images).dtype == torch.bfloat16
    assert backbone.memory.computed == 2


def test_where_not_all_images_fit_none_is_kept():
    backbone = frozen()
    images = torch.rand(3, 1, 64, 64)
    expected = backbone(images)
    backbone.memory = Memory(images=3, limit=expected.numel() * 4 - 1)
    for _ in range(2):
        torch.testing.assert_close(backbone(images), expected)
    assert not backbone.memory.fits
    assert backbone.memory.computed <= 3


def test_only_flips_repeat_images():
    still = dict.fromkeys(("rotate", "translate", "scale", "brightness", "contrast"), 0.0)
    assert AugmentConfig(flip=0.5, **still).repeats
    assert not AugmentConfig().repeats
    assert not AugmentConfig(noise=0.1, **still).repeats
