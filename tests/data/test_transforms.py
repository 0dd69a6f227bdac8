"""Image, boxes and mask move as one, and nothing moves where nothing is asked for."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from wsrpn.config import AugmentConfig
from wsrpn.data import transforms
from wsrpn.types import Sample

NOTHING = AugmentConfig(rotate=0.0, translate=0.0, scale=0.0, brightness=0.0, contrast=0.0)
GEOMETRY = AugmentConfig(
    rotate=20.0, translate=0.15, scale=0.3, flip=0.5, brightness=0.0, contrast=0.0
)


def sample(size=(64, 64), box=(0.4, 0.3, 0.6, 0.45)):
    """A bright rectangle on black; the mask and the box say where."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    x, y = (x + 0.5) / width, (y + 0.5) / height
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    plane = torch.from_numpy(inside.astype(np.float32))[None]
    return Sample(
        "s",
        plane,
        torch.ones(1),
        torch.tensor([box]),
        torch.zeros(1, dtype=torch.int64),
        size,
        plane.clone(),
    )


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def extent(plane):
    """xyxy shares of what is brighter than half."""
    rows, columns = np.nonzero(plane[0].numpy() > 0.5)
    height, width = plane.shape[-2:]
    return np.array(
        [
            columns.min() / width,
            rows.min() / height,
            (columns.max() + 1) / width,
            (rows.max() + 1) / height,
        ]
    )


@given(seed=st.integers(0, 10_000), tall=st.booleans())
def test_the_box_follows_the_bright_rectangle(seed, tall):
    one = sample((96, 64) if tall else (64, 64))
    moved = transforms.augment(one, GEOMETRY, seeded(seed))
    found = extent(moved.image)
    box = moved.boxes[0].numpy()
    # The box holds the turned rectangle: corners are cut by at most the blur of two pixels.
    assert (found[:2] >= box[:2] - 2 / 64).all()
    assert (found[2:] <= box[2:] + 2 / 64).all()
    np.testing.assert_allclose(found, box, atol=4 / 64)


@given(seed=st.integers(0, 10_000))
def test_the_mask_goes_where_the_image_goes(seed):
    moved = transforms.augment(sample(), GEOMETRY, seeded(seed))
    assert torch.equal(moved.image, moved.mask)


@pytest.mark.parametrize("edge", ["black", "mirror"])
def test_a_drr_goes_where_the_image_goes_and_keeps_its_tones(edge):
    one = dataclasses.replace(sample(), drr=sample().image)
    for seed in range(5):
        moved = transforms.augment(one, GEOMETRY, seeded(seed), edge=edge)
        assert torch.equal(moved.drr, moved.image)
    toned = dataclasses.replace(NOTHING, brightness=0.5, noise=0.1)
    assert torch.equal(transforms.augment(one, toned, seeded(0)).drr, one.drr)
    assert transforms.resize(one, 16).drr.shape == (1, 16, 16)


def test_what_moves_in_from_outside_is_black_or_the_mirror_of_the_sample():
    plain = dataclasses.replace(sample(), image=torch.full((1, 32, 32), 0.5), mask=None)
    shift = transforms.affine((32, 32), degrees=0.0, shift=(0.25, 0.0), scale=1.0)
    assert (transforms.move(plain, shift).image[..., :7] == 0).all()
    assert torch.allclose(transforms.move(plain, shift, edge="mirror").image, plain.image)
    ramp = dataclasses.replace(plain, image=torch.arange(32.0).expand(1, 32, 32) / 32)
    mirrored = transforms.move(ramp, shift, edge="mirror").image[0, 5]
    assert torch.allclose(mirrored[:8], torch.arange(7.0, -1.0, -1.0) / 32, atol=1e-5)


@given(seed=st.integers(0, 10_000))
def test_nothing_asked_for_changes_no_bit(seed):
    one = dataclasses.replace(sample(), image=torch.rand(1, 64, 64, generator=seeded(seed)))
    same = transforms.augment(one, NOTHING, seeded(seed))
    for name in ("image", "boxes", "mask", "labels", "box_labels"):
        assert torch.equal(getattr(same, name), getattr(one, name))


def test_there_is_no_flip_by_default():
    assert AugmentConfig().flip == 0
    left = sample(box=(0.1, 0.4, 0.3, 0.6))
    assert all(
        transforms.augment(left, AugmentConfig(), seeded(seed)).boxes[0, 2] < 0.5
        for seed in range(200)
    )


def test_a_flip_mirrors_image_and_boxes_exactly():
    one = sample()
    flipped = transforms.move(
        one, transforms.affine((64, 64), degrees=0.0, shift=(0.0, 0.0), scale=1.0, flip=True)
    )
    torch.testing.assert_close(flipped.image, one.image.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(flipped.boxes, torch.tensor([[0.4, 0.3, 0.6, 0.45]]))


def test_a_shift_is_in_shares_of_the_sides():
    moved = transforms.move(
        sample(), transforms.affine((64, 64), degrees=0.0, shift=(0.25, -0.125), scale=1.0)
    )
    torch.testing.assert_close(moved.boxes, torch.tensor([[0.65, 0.175, 0.85, 0.325]]))
    expected = torch.roll(sample().image, (-8, 16), (1, 2))
    torch.testing.assert_close(moved.image, expected, atol=1e-4, rtol=0)


def test_rotation_is_counter_clockwise_and_keeps_pixels_square():
    forward = transforms.affine((50, 100), degrees=90.0, shift=(0.0, 0.0), scale=1.0)
    # A point 20 pixels right of the centre goes 20 pixels up: 0.2 of the width, 0.4 of the height.
    np.testing.assert_allclose(forward @ [0.7, 0.5, 1], [0.5, 0.1, 1], atol=1e-12)


def test_sampling_equals_scipy():
    image = torch.rand(1, 40, 56, generator=seeded(0))
    one = dataclasses.replace(sample(), image=image, mask=None)
    forward = transforms.affine((40, 56), degrees=17.0, shift=(0.05, -0.1), scale=1.2)
    y, x = np.mgrid[:40, :56]
    points = np.stack([(x.ravel() + 0.5) / 56, (y.ravel() + 0.5) / 40, np.ones(x.size)])
    back = np.linalg.inv(forward) @ points
    where = [back[1] * 40 - 0.5, back[0] * 56 - 0.5]
    reference = scipy.ndimage.map_coordinates(
        image[0].numpy(), where, order=1, mode="grid-constant"
    )
    moved = transforms.move(one, forward).image[0].numpy()
    np.testing.assert_allclose(moved.ravel(), reference, atol=1e-4)


def test_boxes_are_clipped_and_dropped_outside():
    one = dataclasses.replace(
        sample(),
        boxes=torch.tensor([[0.7, 0.4, 0.9, 0.6], [0.9, 0.4, 1.0, 0.6], [0.1, 0.1, 0.2, 0.2]]),
        box_labels=torch.tensor([5, 6, 7]),
    )
    moved = transforms.move(
        one, transforms.affine((64, 64), degrees=0.0, shift=(0.2, 0.0), scale=1.0)
    )
    torch.testing.assert_close(
        moved.boxes, torch.tensor([[0.9, 0.4, 1.0, 0.6], [0.3, 0.1, 0.4, 0.2]])
    )
    assert moved.box_labels.tolist() == [5, 7]


def test_a_sample_without_boxes_can_be_moved():
    bare = dataclasses.replace(
        sample(), boxes=torch.zeros(0, 4), box_labels=torch.zeros(0, dtype=torch.int64)
    )
    assert transforms.augment(bare, GEOMETRY, seeded(3)).boxes.shape == (0, 4)


def test_the_same_key_gives_the_same_variant_and_another_one_another():
    config = AugmentConfig(gamma=0.3, blur=0.5, noise=0.05)
    first, again, other = (transforms.augment(sample(), config, seeded(s)).image for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_switching_on_noise_does_not_move_the_geometry():
    still = transforms.augment(sample(), GEOMETRY, seeded(5))
    noisy = transforms.augment(
        sample(), dataclasses.replace(GEOMETRY, noise=0.1, blur=1.0), seeded(5)
    )
    assert torch.equal(still.boxes, noisy.boxes)
    assert not torch.equal(still.image, noisy.image)


@given(seed=st.integers(0, 10_000))
def test_grey_levels_stay_in_range(seed):
    config = AugmentConfig(
        brightness=1.0,
        contrast=1.0,
        gamma=1.0,
        blur=0.5,
        noise=0.5,
        rotate=0.0,
        translate=0.0,
        scale=0.0,
    )
    one = dataclasses.replace(
        sample(), image=torch.rand(1, 16, 16, generator=seeded(seed)), mask=None
    )
    image = transforms.augment(one, config, seeded(seed)).image
    assert 0 <= image.min() <= image.max() <= 1


def test_tone_equals_its_definition():
    image = torch.rand(1, 8, 8, generator=seeded(0)) * 0.5 + 0.2
    found = transforms.tone(image, brightness=1.1, contrast=0.8, gamma=1.3)
    bent = image**1.3
    torch.testing.assert_close(found, ((bent - bent.mean()) * 0.8 + bent.mean()) * 1.1)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
def test_blur_equals_scipy(sigma):
    image = torch.rand(1, 20, 20, generator=seeded(0))
    reference = scipy.ndimage.gaussian_filter(
        image[0].numpy(), sigma, mode="nearest", radius=max(1, math.ceil(3 * sigma))
    )
    np.testing.assert_allclose(transforms.blurred(image, sigma)[0].numpy(), reference, atol=1e-5)


def test_resizing_is_antialiased_and_leaves_shares_alone():
    checks = torch.from_numpy(np.indices((64, 48)).sum(0) % 2).float()[None]
    one = dataclasses.replace(sample((64, 48)), image=checks)
    small = transforms.resize(one, 16)
    assert small.image.shape == small.mask.shape == (1, 16, 16)
    torch.testing.assert_close(small.image, torch.full((1, 16, 16), 0.5), atol=0.05, rtol=0)
    assert torch.equal(small.boxes, one.boxes)
    spot = torch.from_numpy(make.blob((64, 64), (0.25, 0.75)).astype(np.float32))[None]
    place = transforms.resized(spot, 32)[0].argmax().item()
    assert (place % 32, place // 32) in {(7, 23), (8, 23), (7, 24), (8, 24)}


def test_an_image_of_the_right_size_is_not_touched():
    image = torch.rand(1, 16, 16)
    assert transforms.resized(image, 16) is image


def test_a_flip_swaps_the_classes_that_name_a_side():
    sample = Sample(
        id="a",
        image=torch.rand(1, 8, 8),
        labels=torch.tensor([1.0, 0.0, math.nan]),
        boxes=torch.tensor([[0.0, 0.0, 0.25, 0.5]]),
        box_labels=torch.tensor([0]),
        size_px=(8, 8),
    )
    config = dataclasses.replace(NOTHING, flip=1.0)
    draws = torch.Generator().manual_seed(0)
    flipped = transforms.augment(sample, config, draws, swaps=[(0, 1)])
    assert flipped.labels.tolist()[:2] == [0.0, 1.0]
    assert flipped.labels[2].isnan()
    assert flipped.box_labels.tolist() == [1]
    torch.testing.assert_close(flipped.boxes, torch.tensor([[0.75, 0.0, 1.0, 0.5]]))
    torch.testing.assert_close(flipped.image, sample.image.flip(-1), atol=1e-5, rtol=0)
