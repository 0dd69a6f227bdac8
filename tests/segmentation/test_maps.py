import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import make
from wsrpn.data import base
from wsrpn.errors import InputError
from wsrpn.segmentation import maps


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
    np.testing.assert_array_equal(maps.read(tmp_path / "a.png"), some)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("stored", "level"),
    [
        (np.uint8([[0, 255]]), 65535), (np.uint8([[0, 1]]), 65535), (np.uint8([[0, 100]]), 25700),
        (np.uint16([[0, 1]]), 65535), (np.uint16([[0, 5000]]), 5000),
        (np.array([[False, True]]), 65535),
    ],
)  # fmt: skip
def test_masks_and_maps_of_others_become_shares_of_their_type(tmp_path, stored, level, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(stored).save(path)
    assert maps.read(path).tolist() == [[0, level]]


def test_a_map_of_fractions_is_taken_as_it_is(tmp_path):
    Image.fromarray(np.float32([[0, 0.5, 1]])).save(tmp_path / "a.tif")
    assert maps.read(tmp_path / "a.tif").tolist() == [[0, 32768, 65535]]


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (np.zeros((3, 3, 3), np.uint8), "one channel"),
        (np.uint16([[0, 31]]), "numbers of objects"),
        (np.float32([[0, 2]]), r"\[0, 1\]"),
    ],
)
def test_what_is_no_map_is_refused_by_name(tmp_path, pixels, word):
    path = tmp_path / "a.tif"
    Image.fromarray(pixels).save(path)
    with pytest.raises(InputError, match=rf"a\.tif.*{word}"):
        maps.read(path)


def test_a_torn_map_is_refused_by_name(tmp_path):
    maps.write(tmp_path / "a.png", scores(shape=(200, 200)))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.png"):
        maps.read(tmp_path / "a.png")


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
        make.image(tmp_path / "maps" / f"{name}.tif", np.full((4, 4), 0.5))
    found = maps.of_folder(tmp_path / "maps", data)
    assert [path.name for path in found.files.values()] == ["a.tif", "b.tif"]
    assert [one.score.max() for one in found] == [128 * 257] * 2


def test_missing_maps_stop_and_are_left_out_on_request_only(tmp_path):
    data = base.files([make.image(tmp_path / "in" / f"{n}.png") for n in "abc"])
    make.image(tmp_path / "maps" / "b.png", np.full((4, 4), 0.5))
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


def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path):
    data = base.files([make.image(tmp_path / "in" / "a.png")])
    listed = {data.records[0].id: {"file": "../in/a.png"}}
    maps.write_index(tmp_path, {"provenance": {}, "files": listed})
    with pytest.raises(InputError, match="outside its folder"):
        maps.of_folder(tmp_path, data)
