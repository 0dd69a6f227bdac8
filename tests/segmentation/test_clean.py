import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.segmentation.worlds import discs
from wsrpn.masks import clean


def random_mask(seed: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape)
    return ndimage.gaussian_filter(noise, 1.5) > 0.5


@given(seed=st.integers(0, 99), least=st.integers(0, 30))
def test_small_areas_go_and_all_others_stay_whole(seed, least):
    mask = random_mask(seed)
    kept = clean.without_small(mask, least)
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    for number in range(1, count + 1):
        area = numbers == number
        assert (kept[area] == (area.sum() >= least)).all()
    assert not kept[~mask].any()


@given(seed=st.integers(0, 99))
def test_depths_are_scipys_distances_to_what_is_outside(seed):
    mask = random_mask(seed)
    slow = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    np.testing.assert_allclose(clean.depths(mask), slow, rtol=1e-6)


@given(seed=st.integers(0, 99), distance=st.integers(1, 12))
def test_split_objects_fill_the_mask_and_each_lies_in_one_area(seed, distance):
    mask = random_mask(seed)
    areas, _ = clean.areas(mask)
    parts = clean.objects(mask, touching="watershed", min_distance_px=distance)
    np.testing.assert_array_equal(parts > 0, mask)
    np.testing.assert_array_equal(np.unique(parts[mask]), np.arange(1, parts.max() + 1))
    pairs = np.unique(np.stack((parts[mask], areas[mask])), axis=1)
    assert len(pairs[0]) == parts.max()


@pytest.mark.parametrize(("apart", "objects"), [(8, 1), (12, 1), (17, 2), (24, 2), (29, 2)])
def test_two_discs_are_two_objects_where_they_have_a_waist(apart, objects):
    mask = discs((60, 90), (30, 30, 15), (30 + apart, 30, 15)) > 0
    assert clean.areas(mask)[1] == 1
    assert clean.objects(mask, touching="watershed").max() == objects


def test_the_cut_between_two_discs_runs_where_they_meet():
    mask = discs((60, 90), (30, 30, 15), (54, 30, 15)) > 0
    parts = clean.objects(mask, touching="watershed")
    assert len(set(parts[30, 20:41])) == 1
    assert len(set(parts[30, 44:65])) == 1
    assert parts[30, 30] != parts[30, 54]


def test_a_rod_is_one_object_however_long_it_is():
    mask = np.zeros((40, 200), dtype=bool)
    mask[15:25, 5:195] = True
    assert clean.objects(mask, touching="watershed").max() == 1


@pytest.mark.parametrize("degrees", [26, 30, 34, 60, 64, 68])
def test_a_rod_that_lies_askew_is_one_object_in_spite_of_the_steps_of_its_edge(degrees):
    y, x = np.mgrid[-40:40, -40:40]
    lean = np.radians(degrees)
    along, across = x * np.cos(lean) + y * np.sin(lean), y * np.cos(lean) - x * np.sin(lean)
    assert clean.objects((abs(along) < 30) & (abs(across) < 4), touching="watershed").max() == 1


def test_saddles_are_looked_at_from_the_highest_down():
    """The small disc between two others belongs to the one that it is hardly parted from.

    Both of its saddles are more than 0.9 of its own radius; had the lower one come first, it would
    be part of the other disc.
    """
    chain = [(45, 45, 30), (76, 45, 18), (101, 45, 24)]
    for mirrored in (False, True):
        mask = discs((90, 160), *chain) > 0
        parts = clean.objects(mask[:, ::-1] if mirrored else mask, touching="watershed")
        parts = parts[:, ::-1] if mirrored else parts
        left, middle, right = (int(parts[y, x]) for x, y, _ in chain)
        assert parts.max() == 2
        assert middle == left != right


def test_joined_objects_are_areas_through_corners_too():
    mask = np.eye(5, dtype=bool)
    assert clean.objects(mask).max() == 1


def test_an_empty_mask_has_no_object():
    for how in ("joined", "watershed"):
        assert clean.objects(np.zeros((8, 9), dtype=bool), touching=how).max() == 0


def test_a_hundred_objects_are_told_apart_in_a_tenth_of_a_second():
    # The goal is 0.1 s; tests share their cores, so the best of five counts, and twice as much.
    draw = np.random.default_rng(0)
    beads = [(x + draw.uniform(-4, 4), y + draw.uniform(-4, 4), draw.uniform(18, 26))
             for x in range(30, 512, 50) for y in range(30, 512, 50)]  # fmt: skip
    mask = discs((512, 512), *beads) > 0
    times = []
    for _ in range(5):
        start = time.perf_counter()
        found = clean.objects(mask, touching="watershed")
        times.append(time.perf_counter() - start)
    assert abs(found.max() - len(beads)) <= 3
    assert clean.areas(mask)[1] < 80
    assert min(times) < 0.2
