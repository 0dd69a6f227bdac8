"""Changes of training tiles: eight symmetries, stains, tone, nothing where nothing is on."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import hed2rgb, hed_from_rgb, rgb_from_hed
from torch.testing import assert_close

from wsrpn.config import AugmentConfig
from wsrpn.data.transforms import tone
from wsrpn.tiling import changes, looks

NONE = AugmentConfig(rotate=0.0, translate=0.0, scale=0.0, brightness=0.0, contrast=0.0)


def levels_of(count=6, side=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def keys_of(count=6, epoch=0):
    return [(0, epoch, index) for index in range(count)]


def changed(**options):
    config = dataclasses.replace(NONE, **options)
    return changes.augment(levels_of(), looks.identity(), config, keys_of())


def test_without_changes_tiles_stay_exactly_as_they_are():
    assert torch.equal(changed(), looks.apply(levels_of(), looks.identity()))


def test_eight_numbers_are_the_eight_symmetries_of_a_square():
    tile = levels_of(1, side=5)
    made = changes.turned(tile.repeat(8, axis=0), np.arange(8))
    expected = []
    for mirrored in (tile[0], tile[0][:, ::-1]):
        expected += [np.rot90(mirrored, k) for k in range(4)]
    np.testing.assert_array_equal(made, np.stack(expected))
    assert len({one.tobytes() for one in made}) == 8


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_all_symmetries_are_alike_flipped_or_not(flip):
    tiles = levels_of(1).repeat(800, axis=0)
    config = dataclasses.replace(NONE, turns=True, flip=flip)
    made = changes.augment(tiles, looks.identity(), config, keys_of(800))
    counts = np.unique(made.flatten(1).numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert np.abs(counts - 100).max() < 45  # 4.8 standard deviations of a count


def test_a_flip_mirrors_left_and_right():
    assert torch.equal(changed(flip=1.0), changed().flip(3))


def test_a_tile_is_changed_by_its_key_and_not_by_its_neighbours():
    config = AugmentConfig(turns=True, stain=0.2, blur=0.5, noise=0.02, gamma=0.1)
    whole = changes.augment(levels_of(), looks.identity(), config, keys_of())
    chosen = [4, 1]
    part = changes.augment(
        levels_of()[chosen], looks.identity(), config, [keys_of()[i] for i in chosen]
    )
    assert torch.equal(part, whole[chosen])
    other = changes.augment(levels_of(), looks.identity(), config, keys_of(epoch=1))
    assert not torch.equal(other, whole)


@pytest.mark.parametrize("option", ["stain", "brightness", "noise", "blur", "rotate"])
def test_switching_one_change_on_does_not_move_the_others(option):
    flips = changed(flip=0.5)
    both = changed(flip=0.5, **{option: 1e-6})
    assert_close(both, torch.maximum(flips, torch.tensor(1 / 255)) if option == "stain" else flips,
                 atol=1e-4, rtol=0)  # fmt: skip


@given(seed=st.integers(0, 50))
def test_stain_maps_change_the_strengths_that_scikit_image_finds(seed):
    rng = np.random.default_rng(seed)
    hed = rng.uniform(0.02, 0.12, (8, 8, 3))
    tile = np.clip(np.round(hed2rgb(hed) * 255), 1, 255).astype(np.uint8)
    factor = rng.uniform(0.8, 1.2, 3)
    made = looks.apply(tile[None], changes.stain_map(torch.from_numpy(factor)[None]))[0]
    # The third row of scikit-image's matrix is one of its own choice, too.
    np.testing.assert_allclose(changes.HED, rgb_from_hed, atol=1e-12)
    before, after = (_strength(x) for x in (tile / 255, made.permute(1, 2, 0).numpy()))
    inside = (made.permute(1, 2, 0).numpy() < 1).all(axis=2)
    np.testing.assert_allclose(after[inside], (before * factor)[inside], atol=2e-3)


def _strength(rgb):
    """Strengths by scikit-image's matrix, without its cut at zero."""
    return -np.log(np.maximum(rgb, 1e-6)) @ hed_from_rgb


def test_tone_is_that_of_radiographs_tile_by_tile():
    config = dataclasses.replace(NONE, brightness=0.3, contrast=0.4, gamma=0.5)
    plain = changed()
    draws = [torch.rand(6, dtype=torch.float64) for _ in range(3)]
    made = changes._toned(plain.clone(), draws, config)
    for index in range(6):
        bright, contrast, gamma = (2 * float(one[index]) - 1 for one in draws)
        slow = tone(
            plain[index].contiguous(),
            brightness=1 + 0.3 * bright,
            contrast=1 + 0.4 * contrast,
            gamma=float(np.exp(0.5 * gamma)),
        )
        assert_close(made[index], slow, atol=1e-5, rtol=1e-5)


def test_what_moves_in_from_outside_is_the_tile_mirrored():
    tiles = np.full((6, 16, 16, 3), 200, dtype=np.uint8)
    config = dataclasses.replace(NONE, rotate=45.0, translate=0.3, scale=0.5)
    made = changes.augment(tiles, looks.identity(), config, keys_of())
    assert_close(made, torch.full_like(made, 200 / 255), atol=1e-5, rtol=0)


def test_blur_keeps_flat_tiles_and_lowers_the_spread_of_others():
    plain, made = changed(), changed(blur=1.0)
    assert (made.flatten(1).std(1) < plain.flatten(1).std(1)).all()
    flat = np.full((6, 16, 16, 3), 99, dtype=np.uint8)
    config = dataclasses.replace(NONE, blur=1.0)
    made = changes.augment(flat, looks.identity(), config, keys_of())
    assert_close(made, torch.full_like(made, 99 / 255), atol=1e-5, rtol=0)


def test_noise_has_the_deviation_that_was_asked_for():
    tiles = np.full((6, 64, 64, 3), 128, dtype=np.uint8)
    config = dataclasses.replace(NONE, noise=0.05)
    made = changes.augment(tiles, looks.identity(), config, keys_of())
    assert abs(float((made - 128 / 255).std()) - 0.05) < 0.002


def test_results_are_always_levels():
    config = AugmentConfig(
        turns=True, stain=1.0, brightness=1.0, contrast=1.0, gamma=1.0, blur=0.5, noise=0.3
    )
    made = changes.augment(levels_of(), looks.identity(), config, keys_of())
    assert torch.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1
