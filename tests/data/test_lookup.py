"""Image files by name: suffixes, links, names that are there twice, resized copies."""

import pytest

from tests import make
from wsrpn.data import lookup


def test_files_are_found_by_name_whatever_their_suffix_or_folder(tmp_path):
    for name in (
        "a/1.2.3.dcm",
        "b/c/x.PNG",
        "b/y.dcm.png",
        "notes.txt",
        ".hidden/z.png",
        "b/.w.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = lookup.below(tmp_path)
    assert set(found.paths) == {"1.2.3", "x", "y"}
    assert found.paths["y"] == tmp_path / "b/y.dcm.png"
    assert found.repeated == 0


def test_a_name_that_is_there_twice_is_counted_and_the_first_in_order_taken(tmp_path):
    for folder in ("b", "a"):
        make.image(tmp_path / folder / "x.png")
    found = lookup.below(tmp_path / "b", tmp_path / "a")
    assert (found.paths["x"].parent.name, found.repeated) == ("b", 1)
    assert lookup.below(tmp_path).paths["x"].parent.name == "a"


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    make.image(tmp_path / "far" / "x.png")
    home = tmp_path / "home"
    make.image(home / "y.png")
    (home / "images").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(home)
    found = lookup.below(home)
    assert found.paths == {"x": home / "images" / "x.png", "y": home / "y.png"}
    assert found.repeated == 0


def test_a_missing_folder_holds_nothing(tmp_path):
    assert lookup.below(tmp_path / "none").paths == {}


@pytest.mark.parametrize(("size", "factors"), [((64, 64), (1.0, 1.0)), ((32, 16), (0.25, 0.5))])
def test_boxes_are_moved_to_the_pixels_of_a_copy(tmp_path, size, factors):
    path = make.image(tmp_path / "x.png", make.blob(size))
    assert lookup.scale(path, (64, 64)) == factors
    x, y = factors
    assert lookup.scaled((8.0, 4.0, 16.0, 20.0), factors) == (8 * x, 4 * y, 16 * x, 20 * y)


def test_a_dicom_file_is_the_original_and_not_opened(tmp_path):
    assert lookup.scale(tmp_path / "nothing.dicom", (64, 64)) == (1.0, 1.0)
