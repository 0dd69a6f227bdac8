"""`wsrpn data tiles` on files."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import pyramid, slide_files, tile_files
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


def test_the_tiles_of_a_training_are_shown(tmp_path):
    path = slide_files.slide(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    shown = wsrpn("train", "vae-b1", "--set", "tiles.mpp=2", "--set", "data.size=24",
                  "--set", "tiles.overlap=0.5", "--show-config")  # fmt: skip
    (run / "config.yaml").write_text(shown.stdout)
    said_by = []
    for how in (("--run", run), ("--config", run / "config.yaml")):
        found = wsrpn("data", "tiles", path, "--out", tmp_path / "out", *how, "--json")
        assert found.exit_code == 0, found.stderr
        assert "data.size 24, tiles.mpp 2, tiles.overlap 0.5" in said(found)
        document = json.loads(found.stdout)
        assert document["slides"]["tiny"]["size_px0"] == pytest.approx([48.0, 48.0])
        assert (document["cut"]["data.size"], document["cut"]["tiles.overlap"]) == (24, 0.5)
        said_by.append(document["slides"])
    assert said_by[0] == said_by[1]


def test_without_a_training_the_values_are_said_and_both_tissues_have_names(tmp_path):
    path = plain_slide(tmp_path)  # stained on the left half
    found = wsrpn("data", "tiles", path, "--out", tmp_path / "out", "--mpp", "1", "--json",
                  "--set", "tiles.mpp=1", "--set", "data.size=50")  # fmt: skip
    assert "data.size 50, tiles.mpp 1, tiles.overlap 0" in said(found)
    slide = json.loads(found.stdout)["slides"]["plain"]
    assert slide["tissue_of_slide"] == pytest.approx(0.5, abs=0.02)
    assert slide["tissue_of_tiles"] == pytest.approx(1.0, abs=0.05)
    assert "tissue" not in slide


def test_pictures_beside_slides_are_counted(tmp_path):
    slide_files.slide(tmp_path)
    for name in ("a.png", "b.jpg"):
        plain_slide(tmp_path, name)
    found = wsrpn("data", "tiles", tmp_path, "--out", tmp_path / "out", "--set", "tiles.mpp=1")
    assert "2 plain pictures beside the slides not read" in said(found)
    assert found.exit_code == 0


def test_run_and_config_exclude_each_other_and_a_run_has_a_config(tmp_path):
    path = plain_slide(tmp_path)
    for words, sentence in (
        (("--run", tmp_path, "--config", "vae-b1"), "--run or --config, not both"),
        (("--run", tmp_path), "no config.yaml in it"),
        (("--config", "vae-b9"), "Did you mean"),
    ):
        found = wsrpn("data", "tiles", path, "--out", tmp_path / "out", *words)
        assert (found.exit_code, sentence in said(found)) == (2, True), found.stderr


def test_a_check_of_slides_leads_to_the_command_that_shows_them(tmp_path):
    table = slide_files.cohort(tmp_path / "set", slides=3, tiles=20)
    for data in ("phantom:slides?slides=3", table, table.parent):
        found = wsrpn("data", "check", data)
        assert found.exit_code == 2
        assert f"`wsrpn data tiles '{data}' --out look`" in said(found)


def test_a_check_of_tiles_counts_them_by_split_and_label(tmp_path):
    folder = tile_files.folder(tmp_path / "tiles", slides=4, each=6, val=1)
    for data in (folder, folder / "tiles.csv"):
        found = wsrpn("data", "check", data, "--json")
        assert found.exit_code == 0, found.stderr
        assert "train: 18 tiles of 3 slides, 3 patients: 9 normal, 9 tumor" in said(found)
        assert "data.size" not in said(found)
        counts = json.loads(found.stdout)["check"]["tiles"]
        assert counts["val"] == {
            "tiles": 6, "slides": 1, "patients": 1, "normal": 3, "tumor": 3, "unknown": 0,
        }  # fmt: skip
    refused = wsrpn("data", "check", folder, "--sheet", tmp_path / "s.png")
    assert refused.exit_code == 2
