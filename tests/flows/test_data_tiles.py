"""`wsrpn data tiles` on files."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import pyramid, slide_files
from tests.cli import wsrpn

pytest.importorskip("tiffslide")


def plain_slide(folder, name="plain.png"):
    """A picture as a slide: stained on the left, and nobody knows its resolution."""
    values = np.full((300, 400, 3), (243, 241, 244), np.uint8)
    values[:, :200] = (190, 110, 170)
    Image.fromarray(values).save(folder / name)
    return folder / name


def said(result):
    return " ".join(result.stderr.split())


def test_a_slide_gives_a_picture_and_its_counts(tmp_path):
    path = slide_files.slide(tmp_path)
    out = tmp_path / "out"
    found = wsrpn("data", "tiles", path, "--out", out, "--set", "tiles.mpp=1", "--json")
    assert found.exit_code == 0, found.stderr
    document = json.loads(found.stdout)
    tiny = document["slides"]["tiny"]
    assert tiny["size_px0"] == pytest.approx([96.0, 96.0])
    assert 60 <= tiny["tiles"] <= 81  # nine by nine, and most of it is tissue
    assert document["metrics"]["tiles"]["value"] == tiny["tiles"]
    assert f"tiny: {tiny['tiles']} tiles of 96 µm; tissue (Otsu)" in found.stderr
    with Image.open(out / "tiny.png") as picture:
        assert picture.width > 1.5 * picture.height > 900


def test_a_slide_without_resolution_is_refused_with_the_ways_out_and_others_go_on(tmp_path):
    good = slide_files.slide(tmp_path)
    bare = slide_files.slide(tmp_path, "bare.tif", mpp=None)
    cut_off = slide_files.truncated(tmp_path)
    found = wsrpn("data", "tiles", bare, cut_off, good, "--out", tmp_path / "out", "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert list(document["slides"]) == ["tiny"]
    assert sorted(document["failed"]) == ["bare", "cut_off"]
    for way in ("column mpp of slides.csv", "--mpp", "--set tiles.level=0"):
        assert way in document["failed"]["bare"]
    assert "failed cut_off: " in found.stderr
    assert "Traceback" not in found.stderr
    assert (tmp_path / "out" / "bare.png").exists()  # its tissue can be seen all the same
    assert not (tmp_path / "out" / "cut_off.png").exists()


@pytest.mark.parametrize("way", [("--mpp", "1.0"), ("--set", "tiles.level=0")])
def test_each_way_out_works(tmp_path, way):
    path = plain_slide(tmp_path)
    found = wsrpn("data", "tiles", path, "--out", tmp_path / "out", "--set", "tiles.mpp=1",
                  "--set", "data.size=50", *way, "--json")  # fmt: skip
    assert found.exit_code == 0, found.stderr
    slide = json.loads(found.stdout)["slides"]["plain"]
    assert (slide["rows"], slide["columns"], slide["tiles"]) == (6, 8, 24)
    assert slide["size_px0"] == [50.0, 50.0]


def test_a_table_of_slides_says_more_than_the_files(tmp_path):
    slide_files.slide(tmp_path, "a.tif")
    plain_slide(tmp_path)
    rows = ["slide,file,mpp", "first/one,a.tif,0.5", "second,plain.png,1.0", "third,,1.0"]
    (tmp_path / "slides.csv").write_text("\n".join(rows))
    found = wsrpn("data", "tiles", tmp_path, "--out", tmp_path / "out", "--json",
                  "--set", "tiles.mpp=1")  # fmt: skip
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert document["slides"]["first/one"]["size_px0"] == [192.0, 192.0]
    assert "slides.csv says 0.5 µm a pixel and the file 1; the first is used" in said(found)
    assert document["failed"] == {
        "third": "it has no file; name it in the column 'file' of slides.csv."
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "first_one.png", "second.png",
    ]  # fmt: skip


def test_a_slide_without_tissue_is_drawn_and_fails(tmp_path):
    glass = np.full((300, 300, 3), 240, np.uint8)
    pyramid.write(tmp_path / "glass.tif", glass, mpp=1.0, levels=1)
    found = wsrpn("data", "tiles", tmp_path / "glass.tif", "--out", tmp_path / "out")
    assert found.exit_code == 1
    assert "no tissue was found" in found.stderr
    assert (tmp_path / "out" / "glass.png").exists()


def test_many_overlapping_tiles_and_tissue_everywhere_are_drawn(tmp_path):
    path = plain_slide(tmp_path)
    found = wsrpn("data", "tiles", path, "--out", tmp_path / "out", "--set", "tiles.level=0",
                  "--set", "tiles.overlap=0.9", "--set", "tiles.tissue=none",
                  "--set", "data.size=32")  # fmt: skip
    assert found.exit_code == 0, found.stderr
    assert "tissue not looked for" in found.stderr


def test_mistakes_are_one_sentence(tmp_path):
    path = plain_slide(tmp_path)
    (tmp_path / "empty").mkdir()
    for words, sentence in (
        ((tmp_path / "gone.svs",), "no such file"),
        ((path, "--set", "train.epochs=3"), "only keys of tiles"),
        ((path, "--mpp", "-1"), "--mpp -1"),
        ((path, path), "named twice"),
        ((tmp_path / "empty",), "neither slides.csv nor slide files"),
    ):
        found = wsrpn("data", "tiles", *words, "--out", tmp_path / "out")
        assert found.exit_code in (1, 2)
        assert sentence in said(found)
        assert "Traceback" not in found.stderr
