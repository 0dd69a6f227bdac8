import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tests import make
from tests.segmentation.worlds import discs
from wsrpn.data import base
from wsrpn.errors import InputError
from wsrpn.masks import clean
from wsrpn.segmentation import foreign, maps


def scores(seed: int = 0, shape: tuple[int, int] = (7, 9)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)


@given(level=st.integers(0, 65536))
def test_the_threshold_of_a_level_finds_exactly_what_reaches_it(level):
    some = np.array([[0, max(level - 1, 0), min(level, 65535), 65535]], dtype=np.uint16)
    assert maps.level_of(maps.threshold_of(level)) == level
    found = maps.found(some, maps.threshold_of(level))
    np.testing.assert_array_equal(found, some.astype(int) >= level)


@given(threshold=st.floats(0, 1))
def test_a_threshold_means_at_least_as_much(threshold):
    some = scores()
    wanted = some / 65535 >= threshold - 1e-11  # one level is 1.5e-5
    np.testing.assert_array_equal(maps.found(some, threshold), wanted)


def test_a_map_comes_back_to_the_bit(tmp_path):
    some = scores()
    maps.write(tmp_path / "a.png", some)
    np.testing.assert_array_equal(foreign.exact(tmp_path / "a.png"), some)


@pytest.mark.parametrize("level", [0, 1, 2, 900, 4095])
def test_a_dark_map_of_ours_is_taken_as_it_is(tmp_path, level):
    data = base.files([make.image(tmp_path / "in" / "a.png")])
    some = np.full((4, 4), level, dtype=np.uint16)
    maps.write(tmp_path / "maps" / "a.png", some)
    listed = {data.records[0].id: {"file": "a.png"}}
    maps.write_index(tmp_path / "maps", {"provenance": {}, "files": listed})
    (mapped,) = maps.of_folder(tmp_path / "maps", data)
    np.testing.assert_array_equal(mapped.score, some)


def stored(folder, *every, suffix="png"):
    """Files of others and their images."""
    paths = []
    for name, pixels in zip("abcdef", every, strict=False):
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.{suffix}")
        paths.append(make.image(folder.parent / "in" / f"{name}.png", np.zeros(pixels.shape[:2])))
    return base.files(paths)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("pixels", "level"),
    [
        (np.uint8([[0, 255]]), 65535), (np.uint8([[0, 1]]), 65535), (np.uint16([[0, 1]]), 65535),
        (np.uint16([[0, 65535]]), 65535), (np.array([[False, True]]), 65535),
        (np.uint8([[0, 100, 60, 100]]), 25700), (np.uint16([[0, 5000, 4000, 5000]]), 5000),
    ],
)  # fmt: skip
def test_masks_and_maps_of_others_become_shares_of_their_type(tmp_path, pixels, level, suffix):
    data = stored(tmp_path / "maps", pixels, suffix=suffix)
    (mapped,) = maps.of_folder(tmp_path / "maps", data)
    assert mapped.score[0, :2].tolist() == [0, level]
    assert mapped.objects is None


def test_a_folder_is_read_in_one_way(tmp_path):
    """A file of one level beside maps of 8 bits is a dark map, and no mask."""
    rough = np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8)
    data = stored(tmp_path / "maps", rough, np.uint8([[0, 1]]), np.zeros((4, 4), np.uint8))
    assert [one.score.max() for one in maps.of_folder(tmp_path / "maps", data)] == [
        int(rough.max()) * 257, 257, 0,
    ]  # fmt: skip


def test_a_map_of_fractions_is_taken_as_it_is(tmp_path):
    Image.fromarray(np.float32([[0, 0.5, 1]])).save(tmp_path / "a.tif")
    assert foreign.scores(tmp_path / "a.tif").tolist() == [[0, 32768, 65535]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_numbers_of_objects_are_objects(tmp_path, dtype):
    """As StarDist, Cellpose, Fiji and our own `predict --objects` write them."""
    mask = discs((60, 80), (20, 20, 9), (55, 40, 8), (64, 52, 7)) > 0
    numbers = clean.objects(mask, touching="watershed")
    assert numbers.max() == 3
    one = (discs((60, 80), (20, 20, 9)) > 0).astype(dtype)
    data = stored(tmp_path / "maps", numbers.astype(dtype), one, np.zeros((9, 9), dtype))
    found = maps.of_folder(tmp_path / "maps", data)
    first, second, third = found
    np.testing.assert_array_equal(first.objects, numbers)
    np.testing.assert_array_equal(first.score, mask * np.uint16(65535))
    assert (second.objects.max(), third.objects.max()) == (1, 0)
    assert "taken for numbers of objects (--as scores" in found.notes[0]
    same = maps.of_folder(tmp_path / "maps", data, content="scores")
    assert next(iter(same)).objects is None


@given(seed=st.integers(0, 30), top=st.integers(20, 254), blur=st.floats(0.5, 4))
def test_scores_are_never_taken_for_numbers_of_objects(seed, top, blur):
    noise = np.random.default_rng(seed).random((60, 60))
    smooth = ndimage.gaussian_filter(noise, blur)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    for one in ((smooth * top).astype(np.uint8), (smooth * top * 200).astype(np.uint16)):
        look = foreign.look(one)
        told = (
            look.agreeing < foreign.FLAT * look.pairs or look.areas > foreign.AREAS * look.numbers
        )
        assert told


@pytest.mark.parametrize(
    "pixels",
    [
        np.uint8([[0, 100, 100]]), np.repeat(np.uint8([[0, 7, 7, 7, 255, 255, 255]]), 3, axis=0)
    ],
)  # fmt: skip
def test_what_may_be_both_is_refused_until_it_is_said(tmp_path, pixels):
    data = stored(tmp_path / "maps", pixels)
    with pytest.raises(InputError, match="say --as scores, or --as labels"):
        maps.of_folder(tmp_path / "maps", data)
    assert maps.of_folder(tmp_path / "maps", data, content="labels").content == "labels"
    with pytest.raises(InputError, match="Did you mean 'labels'"):
        foreign.check_content("label")


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (np.zeros((3, 3, 3), np.uint8), "one channel"),
        (np.float32([[0, 2]]), r"\[0, 1\]"),
    ],
)
def test_what_is_no_map_is_refused_by_name(tmp_path, pixels, word):
    path = tmp_path / "a.tif"
    Image.fromarray(pixels).save(path)
    with pytest.raises(InputError, match=rf"a\.tif.*{word}"):
        foreign.scores(path)


def test_a_torn_map_is_refused_by_name(tmp_path):
    maps.write(tmp_path / "a.png", scores(shape=(200, 200)))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.png"):
        foreign.exact(tmp_path / "a.png")


def test_files_are_called_like_images_where_that_is_clear():
    names = maps.names(["/data/a.png", "/data/b.png", "/more/b.png"])
    assert names["/data/a.png"] == "a"
    assert names["/data/b.png"] != names["/more/b.png"]


@given(ids=st.lists(st.sampled_from(["a.png", "a.jpg", "A.png", "b.png", "x/a.png", "a", "c"])))
def test_every_image_has_a_file_of_its_own_on_every_system(ids):
    names = maps.names(ids)
    assert len({name.lower() for name in names.values()}) == len(set(ids))
    assert not any("/" in name for name in names.values())


def test_a_folder_of_others_is_joined_by_stem(tmp_path):
    data = base.files([make.image(tmp_path / "in" / f"{n}.png") for n in "ab"])
    for name in "ab":
        make.image(tmp_path / "maps" / f"{name}.tif", np.full((4, 4), 1.0))
    found = maps.of_folder(tmp_path / "maps", data)
    assert [path.name for path in found.files.values()] == ["a.tif", "b.tif"]
    assert [one.score.max() for one in found] == [65535] * 2


def test_missing_maps_stop_and_are_left_out_on_request_only(tmp_path):
    data = base.files([make.image(tmp_path / "in" / f"{n}.png") for n in "abc"])
    make.image(tmp_path / "maps" / "b.png", np.full((4, 4), 1.0))
    with pytest.raises(InputError, match=r"2 images of .*--images listed"):
        maps.of_folder(tmp_path / "maps", data)
    found = maps.of_folder(tmp_path / "maps", data, only_listed=True)
    assert len(found) == 1
    assert "2 images without a map left out" in found.notes[0]


def test_two_files_of_one_name_are_refused(tmp_path):
    data = base.files([make.image(tmp_path / "in" / "a.png")])
    for suffix in ("png", "tif"):
        make.image(tmp_path / "maps" / f"a.{suffix}", np.full((4, 4), 0.5))
    with pytest.raises(InputError, match="only one of its name"):
        maps.of_folder(tmp_path / "maps", data)


def test_one_file_for_images_of_two_splits_is_refused(tmp_path):
    """Maps of the test images, judged on validation: whose file it is, nobody knows."""
    paths = [make.image(tmp_path / split / "a.png") for split in ("val", "test")]
    whole = base.files(paths)
    part = dataclasses.replace(whole, records=whole.records[:1])
    make.image(tmp_path / "maps" / "a.png", np.full((4, 4), 1.0))
    assert len(maps.of_folder(tmp_path / "maps", part)) == 1
    with pytest.raises(InputError, match="only one of its name"):
        maps.of_folder(tmp_path / "maps", part, whole=whole)


def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path):
    data = base.files([make.image(tmp_path / "in" / "a.png")])
    listed = {data.records[0].id: {"file": "../in/a.png"}}
    maps.write_index(tmp_path, {"provenance": {}, "files": listed})
    with pytest.raises(InputError, match="outside its folder"):
        maps.of_folder(tmp_path, data)
