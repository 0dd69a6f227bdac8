"""Looks: affine maps of densities, found on tiles and inverted exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.tiling.stained import OTHERS, STAINS, levels, strengths
from wsrpn.config import TilesConfig
from wsrpn.tiling import looks


def random_look(seed):
    rng = np.random.default_rng(seed)
    linear = np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3))
    return torch.tensor(np.concatenate([linear, rng.normal(0, 0.2, (3, 1))], axis=1)).float()


def density(images):
    return -np.log(np.maximum(np.asarray(images, dtype=np.float64), 1) / 255)


@given(seed=st.integers(0, 99))
def test_applying_a_look_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    tiles, look = rng.integers(0, 256, (3, 5, 4, 3), dtype=np.uint8), random_look(seed)
    m = look.double().numpy()
    slow = np.zeros((3, 3, 5, 4))
    for b, y, x in np.ndindex(3, 5, 4):
        slow[b, :, y, x] = np.exp(-(m[:, :3] @ density(tiles[b, y, x]) + m[:, 3]))
    slow = np.minimum(slow, 1)
    assert_close(looks.apply(tiles, look).double().numpy(), slow, rtol=1e-5, atol=1e-6)
    each = torch.stack([look, looks.identity(), look])
    mixed = looks.apply(tiles, each)
    assert torch.equal(mixed[0], looks.apply(tiles, look)[0])
    assert torch.equal(mixed[2], looks.apply(torch.from_numpy(tiles), look)[2])
    assert_close(mixed[1], torch.from_numpy(np.maximum(tiles[1], 1) / 255).float().permute(2, 0, 1))


def test_the_identity_gives_levels_over_255_exactly():
    tiles = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    expected = torch.arange(256).float().reshape(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    assert torch.equal(looks.apply(tiles, looks.identity()), expected)
    per_tile = looks.apply(tiles, looks.identity()[None])
    assert torch.equal(per_tile, expected)
    assert per_tile.is_contiguous(memory_format=torch.channels_last)


@given(seed=st.integers(0, 99))
def test_the_way_to_a_look_and_back_is_the_identity(seed):
    a, b, c = (random_look(seed * 3 + i) for i in range(3))
    assert_close(looks.compose(looks.inverse(a), a), looks.identity(), atol=1e-5, rtol=0)
    assert torch.equal(looks.between(a, a), looks.identity())
    there = looks.compose(looks.between(b, a), looks.between(a, b))
    assert_close(there, looks.identity(), atol=1e-5, rtol=0)
    over = looks.compose(looks.between(b, c), looks.between(a, b))
    assert_close(over, looks.between(a, c), atol=1e-5, rtol=1e-5)


def test_looks_after_each_other_are_their_composition():
    point = torch.tensor([[0.3], [0.7], [0.2], [1.0]]).double()
    a, b = random_look(1).double(), random_look(2).double()
    expected = a @ torch.cat((b @ point, torch.ones(1, 1)))
    assert_close(looks.compose(a, b).double() @ point, expected, atol=1e-6, rtol=0)


def test_reinhard_gives_tissue_mean_zero_and_spread_one():
    tiles = levels(strengths())
    look = looks.fit(tiles, stain="reinhard", intensity="none").double().numpy()
    found = density(tiles.reshape(-1, 3))
    found = found[found.mean(axis=1) > looks.TISSUE]
    canonical = found @ look[:, :3].T + look[:, 3]
    np.testing.assert_allclose(canonical.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(canonical.std(axis=0), 1, atol=1e-4)


def test_macenko_finds_the_stains_that_tiles_were_made_of():
    for stains in (STAINS, OTHERS):
        look = looks.fit(levels(strengths(), stains), stain="macenko", intensity="none")
        found = looks.inverse(look)[:, :2].T.numpy()
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        angles = np.degrees(np.arccos(np.clip((found * stains).sum(axis=1), -1, 1)))
        assert angles.max() < 3, angles
        assert_close(look[:, 3], torch.zeros(3), atol=1e-6, rtol=0)


def test_macenko_takes_the_99th_percentile_of_each_stain_to_one():
    strength = strengths(tiles=16)
    tiles = levels(strength, factor=(1.0, 0.6))
    look = looks.fit(tiles, stain="macenko", intensity="none").double().numpy()
    found = density(tiles.reshape(-1, 3))
    canonical = found[found.mean(axis=1) > looks.TISSUE] @ look[:, :3].T
    np.testing.assert_allclose(np.percentile(canonical[:, :2], 99, axis=0), 1, rtol=1e-3)


@pytest.mark.parametrize("stain", ["reinhard", "macenko"])
def test_the_same_tissue_of_two_laboratories_comes_to_look_alike(stain):
    strength, other = strengths(seed=0), strengths(seed=1)
    target_tiles = levels(other)
    source_tiles = levels(strength, OTHERS, light=(240, 232, 245), factor=(1.3, 0.7))
    wanted = levels(strength) / 255
    config = TilesConfig(stain=stain, intensity="white")
    target = looks.fit(target_tiles, stain=stain, intensity="none")
    look = looks.of_slide(source_tiles, config, target)
    made = looks.apply(source_tiles, look).permute(0, 2, 3, 1).numpy()
    before = np.abs(source_tiles / 255 - wanted).mean()
    after = np.abs(made - wanted).mean()
    assert after < before / (4 if stain == "macenko" else 2), (before, after)


def test_white_light_becomes_white_and_nothing_else_changes():
    light = (240, 228, 236)
    strength = strengths()
    tiles = levels(strength, light=light)
    look = looks.of_slide(tiles, TilesConfig(intensity="white"), looks.identity())
    made = looks.apply(tiles, look).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(made, levels(strength) / 255, atol=0.006)
    np.testing.assert_allclose(np.exp(look[:, 3].numpy()), np.array(light) / 255, rtol=0.01) if (
        look[:, 3] < 0
    ).all() else pytest.fail("dividing by the light lowers densities")


def test_where_there_is_no_glass_the_light_is_left_alone():
    dark = np.full((2, 16, 16, 3), 120, dtype=np.uint8)
    assert torch.equal(looks.fit(dark, stain="none", intensity="white"), looks.identity())


@pytest.mark.parametrize("stain", ["reinhard", "macenko"])
def test_glass_has_no_stains_and_keeps_its_colours(stain):
    glass = np.full((4, 32, 32, 3), 250, dtype=np.uint8)
    with pytest.raises(looks.TooLittleTissue, match=r"tiles\.stain=none"):
        looks.fit(glass, stain=stain, intensity="none")
    told = []
    config = TilesConfig(stain=stain)
    look = looks.of_slide(glass, config, random_look(5), listen=told.append)
    assert torch.equal(look, looks.identity())
    assert len(told) == 1


def test_one_stain_alone_is_not_taken_for_two():
    strength = strengths()
    strength[..., 1] = 0
    with pytest.raises(looks.TooLittleTissue, match="one stain"):
        looks.fit(levels(strength), stain="macenko", intensity="none")


def test_without_stain_and_intensity_nothing_is_done():
    tiles = levels(strengths())
    assert torch.equal(looks.of_slide(tiles, TilesConfig(), random_look(0)), looks.identity())
    assert torch.equal(looks.fit(tiles, stain="none", intensity="none"), looks.identity())


@given(seed=st.integers(0, 20))
def test_the_mean_of_looks_is_the_mean_of_what_they_lead_back_to(seed):
    a, b = random_look(seed), random_look(seed + 50)
    point = torch.tensor([[0.4], [0.1], [0.9], [1.0]])
    expected = (looks.inverse(a) @ point + looks.inverse(b) @ point) / 2
    assert_close(looks.inverse(looks.mean([a, b])) @ point, expected, atol=1e-4, rtol=1e-4)
    assert_close(looks.mean([a, a, a]), a, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stain", ["none", "reinhard", "macenko"])
@pytest.mark.parametrize("intensity", ["none", "white"])
def test_a_look_shows_what_it_was_made_by(stain, intensity):
    tiles = levels(strengths())
    light = looks.fit(tiles, stain="none", intensity=intensity)
    whole = looks.compose(looks.fit(tiles, stain=stain, intensity=intensity), looks.inverse(light))
    assert looks.kind(looks.mean([whole, whole])) == stain
