import dataclasses
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import nn

from tests.segmentation import worlds
from wsrpn import config as configs
from wsrpn import models
from wsrpn.config import MasksConfig
from wsrpn.data import images
from wsrpn.errors import InputError
from wsrpn.masks.store import Store
from wsrpn.predict import TrainedRun
from wsrpn.segmentation import engine
from wsrpn.segmentation.engine import answer, spans, windows
from wsrpn.types import Batch, Record


@given(
    side=st.integers(1, 700), margin=st.integers(0, 40), multiple=st.sampled_from([1, 8, 16]),
    more=st.integers(0, 100),
)  # fmt: skip
def test_tiles_keep_every_pixel_once_and_see_around_it(side, margin, multiple, more):
    tile = 2 * margin + multiple + more
    found = spans(side, tile, margin, multiple)
    kept = [x for one in found for x in range(*one.keep)]
    assert kept == list(range(side))
    for one in found:
        low, high = one.read
        assert low % multiple == 0
        assert high - low <= tile or len(found) == 1
        assert low == 0 or one.keep[0] - low >= margin
        assert high == side or high - one.keep[1] >= margin


def test_a_tile_that_is_all_margin_is_refused():
    with pytest.raises(InputError, match=r"masks\.tile=64 .*margins of 32"):
        windows((100, 100), MasksConfig(tile=64, margin=32), 8)


def unet(scale: str = "native", **masks: int) -> TrainedRun:
    """A small U-Net with random weights that answers from 0 to 1."""
    config = configs.parse({
        "model": {"name": "unet", "width": 4, "depth": 3}, "data": {"size": 64},
        "train": {"precision": "fp32"}, "phases": [{"weights": {"dice": 1.0}}],
        "masks": {"scale": scale, **masks},
    })  # fmt: skip
    torch.manual_seed(1)
    model = models.build(config.model, classes=1)
    model.train()
    noise = torch.rand(4, 1, 64, 64)  # statistics of the norms, so that signals stay large
    for _ in range(20):
        model(Batch(("",) * 4, noise, torch.zeros(4, 1), torch.full((4, 2), 64)))
    model.eval()
    with torch.no_grad():
        head: nn.Conv2d = model.head
        logits = model(Batch(("",) * 4, noise, torch.zeros(4, 1), torch.full((4, 2), 64)))
        head.weight *= 3 / logits.mask_logits.std()
        head.bias.zero_()
    return TrainedRun(Path("run"), config, ("foreground",), model, "0")


def picture(shape: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(0).random(shape)
    smooth = ndimage.gaussian_filter(noise, 1)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def test_tiles_answer_what_the_whole_image_does():
    image = picture((230, 301))
    whole = answer(unet(tile=512), image)
    tiled = answer(unet(tile=160, margin=64), image)
    assert whole.std() > 2000  # of 65535: there is something to get wrong
    np.testing.assert_allclose(tiled / 65535, whole / 65535, atol=1e-4)


def test_tiles_without_a_margin_do_not_and_the_user_is_told_once():
    image = picture((230, 301))
    whole, run = answer(unet(tile=512), image), unet(tile=96, margin=0)
    asked = engine.Answering(run)
    with pytest.warns(UserWarning, match=r"masks\.margin=0 is less than"):
        tiled = asked(image)
    assert np.abs(tiled / 65535 - whole / 65535).max() > 1e-2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked(image)


def test_an_image_fitted_to_the_network_comes_back_at_its_own_size():
    with worlds.bright():
        config = configs.parse({
            "model": {"name": worlds.NAME}, "data": {"size": 32}, "train": {"precision": "fp32"},
            "phases": [{"weights": {"dice": 1.0}}], "masks": {"scale": "fit"},
        })  # fmt: skip
        run = TrainedRun(Path("run"), config, ("x",), worlds.Bright(classes=1), "0")
        ramp = np.tile(np.linspace(0, 1, 90, dtype=np.float32), (70, 1))
        found = answer(run, ramp) / 65535
    slow = 1 / (1 + np.exp(-20 * (ramp - 0.5)))
    assert found.shape == (70, 90)
    np.testing.assert_allclose(found[:, 8:-8], slow[:, 8:-8], atol=0.03)


def test_grey_levels_are_those_of_training_which_keeps_eight_bits():
    with worlds.bright():
        config = configs.parse({
            "model": {"name": worlds.NAME}, "data": {"size": 32}, "train": {"precision": "fp32"},
            "phases": [{"weights": {"dice": 1.0}}], "masks": {"scale": "native"},
        })  # fmt: skip
        run = TrainedRun(Path("run"), config, ("x",), worlds.Bright(classes=1), "0")
        found = answer(run, np.full((20, 30), 0.5001, dtype=np.float32))
    assert found[0, 0] == round(65535 / (1 + np.exp(-20 * (128 / 255 - 0.5))))


@pytest.mark.parametrize("scale", ["fit", "native"])
def test_deep_images_are_answered_from_the_bits_that_training_saw(tmp_path, scale):
    """16-bit image and DRR of another size: resampled first and rounded once, as the store does."""
    random = np.random.default_rng(0)
    paths = []
    for name, shape in (("image.png", (90, 70)), ("drr.png", (41, 37))):
        paths.append(tmp_path / name)
        Image.fromarray(random.integers(0, 65_536, shape, dtype=np.uint16)).save(paths[-1])
    size = 32 if scale == "fit" else None
    record = Record("a", paths[0], "p", (0.0,), drr=paths[1])
    kept = Store((record,), size, kind="none")[0]
    asked = []
    run = unet(scale, tile=512)
    run = dataclasses.replace(run, config=dataclasses.replace(
        run.config, data=dataclasses.replace(run.config.data, size=32)))  # fmt: skip
    run.model.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    answer(run, images.read(paths[0]), images.read(paths[1]))
    (batch,) = asked
    assert torch.equal((batch.images[0, 0] * 255).round(), torch.from_numpy(kept.image).float())
    assert torch.equal((batch.drrs[0, 0] * 255).round(), torch.from_numpy(kept.drr).float())


def test_answers_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        engine.levels(torch.tensor([[torch.nan]]))


def test_a_large_image_costs_a_few_bytes_a_pixel_beside_its_tiles():
    with worlds.bright():
        config = configs.parse({
            "model": {"name": worlds.NAME}, "data": {"size": 32}, "train": {"precision": "fp32"},
            "phases": [{"weights": {"dice": 1.0}}],
            "masks": {"scale": "native", "tile": 256, "margin": 16},
        })  # fmt: skip
        run = TrainedRun(Path("run"), config, ("x",), worlds.Bright(classes=1), "0")
        image = np.zeros((1500, 1500), dtype=np.float32)
        answer(run, image[:300, :300])
        tracemalloc.start()
        try:
            answer(run, image)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # A scaled copy of 4 bytes and the 8-bit picture; then that and scores of 2 bytes, and a tile.
    assert peak < 6 * image.size
