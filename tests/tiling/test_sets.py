"""Sets of tiles: tables, folders of pictures, slides; splits by patient; every kind of fault."""

import csv
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import slide_files
from wsrpn.config import DataConfig, RunConfig, TilesConfig
from wsrpn.errors import InputError
from wsrpn.slides import outlines, overlap
from wsrpn.tiling import listed, pictures, sets


def config_of(source, *, size=16, tiles=None, **data):
    return RunConfig(
        data=DataConfig(source=str(source), size=size, **data), tiles=tiles or TilesConfig()
    )


def picture(path, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 120, 180)).save(path)
    return path


def table(folder, rows, name="tiles.csv"):
    columns = list(rows[0])
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def sheet_rows(folder, slides="abcd", **more):
    """Four tiles on each slide's contact sheet, two of them tumour."""
    rows = []
    for name in slides:
        picture(folder / f"sheets/{name}.png")
        for i in range(4):
            rows.append(
                {
                    "slide": name, "x": 100 * i, "y": 200, "label": i % 2,
                    "split": {"a": "train", "b": "val"}.get(name, "test"),
                    "sheet": f"sheets/{name}.png", "sheet_x": 16 * i, "sheet_y": 8, "size": 16,
                    **more,
                }
            )  # fmt: skip
    return rows


def test_a_table_of_sheets_says_where_every_tile_is(tmp_path):
    table(tmp_path, sheet_rows(tmp_path))
    tiles = sets.load(config_of(tmp_path))
    assert len(tiles) == 16
    assert tiles.name == str(tmp_path)
    assert tiles.box_px[5].tolist() == [16, 8, 32, 24]
    assert tiles.corner_px0[5].tolist() == [100, 200]
    assert tiles.size_px0[5].tolist() == [16, 16]
    assert tiles.files[tiles.file[5]] == tmp_path / "sheets/b.png"
    assert tiles.label.tolist() == [0, 1, 0, 1] * 4
    assert [len(tiles.split(name)) for name in ("train", "val", "test")] == [4, 4, 8]
    assert tiles.tissue.tolist() == [1] * 16
    assert np.isnan(tiles.truth).all()
    assert [slide.patient for slide in tiles.slides] == ["a", "b", "c", "d"]


def test_a_table_of_pictures_has_sizes_from_the_table_or_from_a_picture(tmp_path):
    rows = [
        {"image": f"t/{i}.png", "slide": "s", "x": 1234567 + i, "y": 0, "label": "tumor"}
        for i in range(3)
    ]
    for row in rows:
        picture(tmp_path / row["image"], (30, 30))
    tiles = listed.read(table(tmp_path, rows))
    assert np.isnan(tiles.box_px).all()
    assert tiles.size_px0.tolist() == [[30, 30]] * 3
    assert any("30 × 30" in note for note in tiles.notes)
    for row in rows:
        row |= {"width": 60, "height": 50, "mpp": 0.25, "patient": "p", "tissue": 0.5}
    tiles = listed.read(table(tmp_path, rows))
    assert tiles.size_px0.tolist() == [[60, 50]] * 3
    assert (tiles.slides[0].mpp, tiles.slides[0].patient) == (0.25, "p")
    assert tiles.tissue.tolist() == [0.5] * 3
    assert tiles.notes == ()


def test_tiles_far_out_on_a_large_slide_have_names_of_their_own(tmp_path):
    rows = sheet_rows(tmp_path, "a")
    for i, row in enumerate(rows):
        row |= {"x": 1234567 + i, "y": 98765.25}
    tiles = listed.read(table(tmp_path, rows))
    assert [tiles.id(i) for i in range(4)] == [f"a@{1234567 + i},98765.25" for i in range(4)]


def test_sizes_and_resolutions_that_do_not_fit_are_told(tmp_path):
    table(tmp_path, sheet_rows(tmp_path))
    assert sets.load(config_of(tmp_path)).notes == ()
    told = sets.load(config_of(tmp_path, size=32, tiles=TilesConfig(mpp=0.5))).notes
    assert "16 tiles of 16 × 16 pixels brought to data.size 32." in told
    assert any("Nothing says which resolution" in note for note in told)


@pytest.mark.parametrize(
    ("word", "label"),
    [("normal", 0.0), ("Tumor", 1.0), ("1", 1.0), ("0.0", 0.0), ("", np.nan), ("nan", np.nan)],
)
def test_labels_are_words_numbers_or_blank(tmp_path, word, label):
    rows = sheet_rows(tmp_path, "a")
    rows[0]["label"] = word
    found = listed.read(table(tmp_path, rows)).label[0]
    assert found == label or (np.isnan(found) and np.isnan(label))


def test_shares_make_labels_by_the_rule_where_there_are_none(tmp_path):
    rows = sheet_rows(tmp_path, "a")
    for row, (truth, label) in zip(rows, [(0.3, ""), (0.0, ""), (0.1, ""), (0.9, 0)], strict=True):
        row |= {"truth": truth, "label": label}
    path = table(tmp_path, rows)
    assert listed.read(path, rule="share@0.25").label.tolist() == [1, 0, 0, 0]
    assert listed.read(path, rule="any").label.tolist() == [1, 0, 1, 0]
    unknown = listed.read(path, rule="centre")
    assert np.isnan(unknown.label[:3]).all()
    assert any("3 tiles" in note for note in unknown.notes)


FAULTS = {
    "leaves the folder": ({"sheet": "../a.png"}, r"tiles\.csv:3: '\.\./a\.png' leaves"),
    "absolute path": ({"sheet": "/etc/a.png"}, "leaves the folder"),
    "no file": ({"sheet": ""}, r"tiles\.csv:3: no sheet"),
    "label": ({"label": "tumr"}, r"tiles\.csv:3: label 'tumr' is unknown. Did you mean 'tumor'"),
    "split": ({"split": "trian"}, "split"),
    "two splits": ({"split": "val"}, r"split of slide a is 'val', but 'train'|'train', but 'val'"),
    "no number": ({"x": "left"}, r"tiles\.csv:3: x 'left' is no number"),
    "half a place": ({"y": ""}, r"tiles\.csv:3: x without y"),
    "twice": ({"x": 0}, r"tiles\.csv:3: the tile at 0, 200 stands already in .*tiles\.csv:2"),
    "outside": ({"sheet_x": 60}, r"tiles\.csv:3: the tile at 60, 8 of 16 × 16 .* 64 × 48"),
    "below": ({"sheet_y": -1}, r"tiles\.csv:3: sheet_y -1 is no whole number"),
    "fraction": ({"sheet_x": 1.5}, r"sheet_x 1\.5 is no whole number"),
    "no size": ({"size": ""}, r"tiles\.csv:3: size nan is no whole number"),
    "nameless": ({"slide": ""}, r"tiles\.csv:3: no name of a slide"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_row_is_named_with_its_row(tmp_path, fault):
    change, sentence = FAULTS[fault]
    rows = sheet_rows(tmp_path, "a")
    rows[1] |= change
    with pytest.raises(InputError, match=sentence):
        listed.read(table(tmp_path, rows))


COLUMN_FAULTS = {
    "both": ({"image": "a.png"}, "both an image and a sheet"),
    "truth": ({"truth": 1.5}, r"truth 1\.5 is no share"),
    "mpp": ({"mpp": 720}, "mpp '720' is no resolution"),
    "level": ({"level": 2}, "level 2, whose size on the slide"),
    "width": ({"width": 0, "height": 5}, "without width or height"),
}


@pytest.mark.parametrize("fault", COLUMN_FAULTS)
def test_every_fault_of_a_column_is_named(tmp_path, fault):
    change, sentence = COLUMN_FAULTS[fault]
    with pytest.raises(InputError, match=sentence):
        listed.read(table(tmp_path, sheet_rows(tmp_path, "a", **change)))


@pytest.mark.parametrize("missing", ["slide", "sheet", "sheet_x", "y"])
def test_a_column_that_is_missing_is_named(tmp_path, missing):
    rows = [{k: v for k, v in row.items() if k != missing} for row in sheet_rows(tmp_path, "a")]
    with pytest.raises(InputError, match=missing):
        listed.read(table(tmp_path, rows))


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside = picture(tmp_path / "secret.png")
    inside = tmp_path / "set"
    rows = sheet_rows(inside, "a")
    (inside / "sheets/a.png").unlink()
    (inside / "sheets/a.png").symlink_to(outside)
    with pytest.raises(InputError, match="link out of"):
        listed.read(table(inside, rows))


def test_slides_without_a_split_get_one_by_patient(tmp_path):
    rows = sheet_rows(tmp_path, "abcdefgh")
    for row in rows:
        row |= {"split": "", "patient": f"p{ord(row['slide']) // 2}"}
    table(tmp_path, rows)
    config = config_of(tmp_path, val_share=0.25, test_share=0.25)
    tiles = sets.load(config)
    assert [len(tiles.split(name)) for name in ("train", "val", "test")] == [16, 8, 8]
    by_patient = {}
    for slide in tiles.slides:
        assert by_patient.setdefault(slide.patient, slide.split) == slide.split
    table(tmp_path, rows[::-1])
    again = {slide.id: slide.split for slide in sets.load(config).slides}
    assert again == {slide.id: slide.split for slide in tiles.slides}


def test_a_slide_without_a_split_joins_its_patient(tmp_path):
    rows = sheet_rows(tmp_path, "abc")
    for row in rows:
        row["patient"] = "q" if row["slide"] == "c" else "p"
        row["split"] = {"a": "test", "b": "", "c": "train"}[row["slide"]]
    table(tmp_path, rows)
    tiles = sets.load(config_of(tmp_path))
    assert [slide.split for slide in tiles.slides] == ["test", "test", "train"]
    assert any("1 slide without a split" in note for note in tiles.notes)
    assert any("Nothing is left for validation" in note for note in tiles.training_notes)


def test_training_patients_validate_where_nobody_else_does(tmp_path):
    rows = sheet_rows(tmp_path, "abcdef")
    for row in rows:
        row["split"] = "train"
    table(tmp_path, rows)
    tiles = sets.load(config_of(tmp_path))
    assert len(tiles.split("val")) == 4
    assert any("4 training tiles were taken" in note for note in tiles.training_notes)


def test_a_patient_in_two_splits_is_refused(tmp_path):
    table(tmp_path, sheet_rows(tmp_path, "ab", patient="p7"))
    with pytest.raises(InputError, match=r"more than one split: p7 \(train, val\)"):
        sets.load(config_of(tmp_path))


@given(most=st.integers(1, 9), seed=st.integers(0, 50))
def test_most_keeps_so_many_of_each_training_slide_and_label(tmp_path_factory, most, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("most")
    rows = []
    for name in "ab":
        picture(folder / f"sheets/{name}.png")
        for i in range(20):
            label = rng.choice(["0", "1", ""])
            rows.append(
                {
                    "slide": name, "x": i, "y": 0, "label": label, "sheet": f"sheets/{name}.png",
                    "split": "train" if name == "a" else "val", "sheet_x": i, "sheet_y": 0,
                    "size": 16,
                }
            )  # fmt: skip
    table(folder, rows)
    whole = sets.load(config_of(folder))
    fewer = sets.load(config_of(folder, tiles=TilesConfig(most=most)))
    assert len(fewer.split("val")) == len(whole.split("val"))
    for label in (0.0, 1.0, np.nan):
        before, after = (
            np.count_nonzero(np.isnan(t.label) if np.isnan(label) else t.label == label)
            for t in (whole.split("train"), fewer.split("train"))
        )
        assert after == min(before, most)
    left = len(whole) - len(fewer)
    assert any(f"{left} training tile" in note for note in fewer.training_notes) == (left > 0)


def test_folders_and_names_of_pictures_say_class_slide_and_place(tmp_path):
    names = [
        "normal/tumor_004_37276_186047.png",
        "tumor/tumor_004_37300_186047.png",
        "10253/0/10253_idx5_x1001_y1101_class0.png",
        "10253/1/10253_idx5_x1051_y1101_class1.png",
        "case9/tumor/anything.png",
        "lonely.png",
        ".hidden/normal/s_1_2.png",
    ]
    for name in names:
        picture(tmp_path / name, (20, 20))
    tiles = pictures.read(tmp_path)
    found = {
        tiles.files[i].relative_to(tmp_path).as_posix(): (
            tiles.slides[tiles.slide[i]].id, *tiles.corner_px0[i], tiles.label[i],
        )
        for i in range(len(tiles))
    }  # fmt: skip
    assert found[names[0]] == ("tumor_004", 37276, 186047, 0)
    assert found[names[1]] == ("tumor_004", 37300, 186047, 1)
    assert found[names[2]] == ("10253", 1001, 1101, 0)
    assert found[names[3]] == ("10253", 1051, 1101, 1)
    assert (found[names[4]][0], found[names[4]][3]) == ("case9", 1)
    assert np.isnan(found[names[4]][1:3]).all()
    assert found[names[5]][0] == "lonely"
    assert len(found) == 6
    said = " ".join(tiles.notes)
    for part in ("4 slides", "2 tiles without a place", "1 tile whose name says no slide",
                 "1 tile without a class"):  # fmt: skip
        assert part in said


def test_folders_of_pictures_may_be_called_after_splits(tmp_path):
    for split in ("train", "valid", "test"):
        for label in ("normal", "tumor"):
            picture(tmp_path / split / label / f"{split}x_{len(label)}_7.png")
    tiles = sets.load(config_of(tmp_path))
    assert [len(tiles.split(name)) for name in ("train", "val", "test")] == [2, 2, 2]


def test_a_picture_of_two_classes_and_a_place_twice_are_refused(tmp_path):
    picture(tmp_path / "a/0/s_idx5_x1_y2_class1.png")
    with pytest.raises(InputError, match="the folder says normal and the name tumor"):
        pictures.read(tmp_path / "a")
    picture(tmp_path / "b/0/s_1_2.png")
    picture(tmp_path / "b/1/s_1_2.png")
    with pytest.raises(InputError, match=r"slide and place are those of .*s_1_2\.png"):
        pictures.read(tmp_path / "b")
    picture(tmp_path / "c/train/s_1_2.png")
    picture(tmp_path / "c/test/s_2_2.png")
    with pytest.raises(InputError, match="slide s is in split"):
        pictures.read(tmp_path / "c")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return slide_files.cohort(tmp_path_factory.mktemp("cohort"))


def test_tiles_of_slides_are_labelled_by_their_outlines(cohort):
    config = config_of(cohort, size=96, tiles=TilesConfig(mpp=1.0, rule="share@0.5"))
    tiles = sets.load(config)
    assert (
        sets.load(config_of(cohort.parent, size=96, tiles=config.tiles)).digest() == tiles.digest()
    )
    assert {slide.split for slide in tiles.slides} == {"train", "val", "test"}
    assert not np.isnan(tiles.label).any()
    assert 0 < tiles.label.sum() < len(tiles)
    np.testing.assert_array_equal(tiles.box_px[:, :2], tiles.corner_px0)
    np.testing.assert_allclose(tiles.size_px0, 96)
    for number, slide in enumerate(tiles.slides):
        own = tiles.slide == number
        assert all(tiles.files[f] == slide.file for f in tiles.file[own])
        if slide.normal:
            assert tiles.label[own].sum() == 0
        else:
            share = overlap.shares(outlines.read(slide).tumour, tiles.box_px[own])
            np.testing.assert_array_equal(tiles.label[own], (share >= 0.5 - 1e-9).astype(float))


def test_a_slide_that_fails_stops_or_is_listed(cohort, tmp_path):
    rows = list(csv.DictReader(cohort.read_text().splitlines()))
    for name in {row["file"] for row in rows} | {r["annotation"] for r in rows} - {""}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((cohort.parent / name).read_bytes())
    broken = rows[0]["slide"]
    (tmp_path / rows[0]["file"]).write_bytes(b"no slide")
    rows = [{k: v for k, v in row.items() if k not in ("thumbnail", "tissue")} for row in rows]
    path = table(tmp_path, rows, "slides.csv")
    config = config_of(path, size=96, tiles=TilesConfig(mpp=1.0))
    with pytest.raises(InputError, match=rf"{broken}.*data\.on_error=skip"):
        sets.load(config)
    skipped = dataclasses.replace(config, data=dataclasses.replace(config.data, on_error="skip"))
    tiles = sets.load(skipped)
    assert list(tiles.failed) == [broken]
    assert broken not in {slide.id for slide in tiles.slides}


def test_slides_without_annotation_are_unknown_and_said_so(cohort):
    rows = [
        {"slide": row["slide"], "file": row["file"], "split": row["split"]}
        for row in csv.DictReader(cohort.read_text().splitlines())
    ]
    path = table(cohort.parent, rows, "bare.csv")
    tiles = sets.load(config_of(path, size=96, tiles=TilesConfig(mpp=1.0)))
    assert np.isnan(tiles.label).all()
    assert any("neither an annotation" in note for note in tiles.notes)


def test_tiles_outside_outlines_that_are_not_exhaustive_are_unknown(cohort):
    tiles = sets.load(config_of(cohort, size=96, tiles=TilesConfig(mpp=1.0)))
    rows = list(csv.DictReader(cohort.read_text().splitlines()))
    which = next(row for row in rows if row["annotation"])
    said = [{**row, "exhaustive": "no" if row is which else "yes"} for row in rows]
    path = table(cohort.parent, said, "missing.csv")
    found = sets.load(config_of(path, size=96, tiles=TilesConfig(mpp=1.0)))
    own = np.array([slide.id == which["slide"] for slide in tiles.slides])[tiles.slide]
    assert np.isnan(found.label[own]).sum() == (tiles.label[own] == 0).sum() > 0
    assert (found.label[own] == 1).sum() == tiles.label[own].sum() > 0
    np.testing.assert_array_equal(found.label[~own], tiles.label[~own])
    assert any("not exhaustively annotated" in note for note in found.notes)


def test_the_same_pixels_in_two_splits_are_refused_under_any_name(cohort, tmp_path):
    file = next(csv.DictReader(cohort.read_text().splitlines()))["file"]
    twice = [{"slide": name, "file": file, "split": name} for name in ("train", "test")]
    path = table(cohort.parent, twice, "twice.csv")
    with pytest.raises(InputError, match=r"more than one split.*train \(train\).*test \(test\)"):
        sets.load(config_of(path, size=96, tiles=TilesConfig(mpp=1.0)))
    one = picture(tmp_path / "one.png").name
    rows = [{"slide": s, "x": 0, "y": 0, "split": s, "image": one} for s in ("train", "val")]
    with pytest.raises(InputError, match="1 tile in more than one split"):
        sets.load(config_of(table(tmp_path, rows)))
    rows = [{**row, "split": "train"} for row in rows]
    assert len(sets.load(config_of(table(tmp_path, rows), val_share=0.0))) == 2


def test_slides_without_files_and_other_sources_are_refused(tmp_path):
    (tmp_path / "slides.csv").write_text("slide\na\n")
    refused = {
        str(tmp_path / "slides.csv"): "no slide has a file",
        "": "No data given",
        str(tmp_path / "nothing"): "no such file or folder",
        "phantom:cxr": "no slides",
    }
    for source, sentence in refused.items():
        with pytest.raises(InputError, match=sentence):
            sets.load(config_of(source))
    (tmp_path / "tiles.csv").write_text("slide,x,y,image\na,0,0,a.png\n")
    with pytest.raises(InputError, match="lie here; name the one"):
        sets.load(config_of(tmp_path))
    (tmp_path / "plain.txt").write_text("")
    with pytest.raises(InputError, match="not a set of tiles"):
        sets.load(config_of(tmp_path / "plain.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither tiles\.csv nor slides\.csv"):
        sets.load(config_of(tmp_path / "empty"))


def test_phantom_slides_come_with_files(monkeypatch, tmp_path):
    monkeypatch.setenv("WSRPN_CACHE", str(tmp_path))
    source = "phantom:slides?slides=3&tiles=20&tile=96&mpp=1.0"
    tiles = sets.load(config_of(source, size=96, tiles=TilesConfig(mpp=1.0)))
    assert len(tiles.slides) == 3
    assert tiles.name == source
    assert all(path.is_file() for path in tiles.files)


def test_pictures_of_tiles_elsewhere_are_read_once_their_folder_is_open(tmp_path, monkeypatch):
    monkeypatch.delenv("WSRPN_SLIDES", raising=False)
    far = picture(tmp_path / "disk" / "a.png")
    home = tmp_path / "study"
    home.mkdir()
    rows = [{"slide": "a", "x": 0, "y": 0, "label": 0, "split": "train", "image": str(far)}]
    with pytest.raises(InputError, match=r"leaves the folder.*WSRPN_SLIDES"):
        listed.read(table(home, rows))
    monkeypatch.setenv("WSRPN_SLIDES", str(tmp_path / "disk"))
    assert listed.read(table(home, rows)).files == (far,)


def test_a_set_of_tiles_without_any_place_is_said_to_be_for_training(tmp_path):
    for number in range(4):
        picture(tmp_path / ("normal", "tumor")[number % 2] / f"tile{number}.png", size=(16, 16))
    tiles = sets.load(config_of(tmp_path))
    assert sum("place" in note for note in tiles.notes) == 1
    assert any(note.startswith("No tile has a place on its slide") for note in tiles.notes)


def test_sizes_are_said_as_they_are(tmp_path):
    table(tmp_path, sheet_rows(tmp_path))
    told = sets.load(config_of(tmp_path, size=32)).notes
    assert "16 tiles of 16 × 16 pixels brought to data.size 32." in told
    rows = sheet_rows(tmp_path)
    rows[0]["size"] = 8
    table(tmp_path, rows)
    told = sets.load(config_of(tmp_path, size=32)).notes
    assert "16 tiles of 8 × 8 to 16 × 16 pixels brought to data.size 32." in told


@pytest.mark.parametrize(
    ("tiles", "mpp", "said"),
    [
        (TilesConfig(mpp=0.5), "", "read slides at tiles.mpp 0.5"),
        (TilesConfig(mpp=0.5, level=1), "", "read slides at tiles.level 1"),
        (TilesConfig(mpp=0.5), "0.5", ""),
        (TilesConfig(), "", ""),
    ],
)
def test_a_resolution_that_nobody_knows_is_said_with_what_it_means(tmp_path, tiles, mpp, said):
    table(tmp_path, sheet_rows(tmp_path, mpp=mpp))
    told = [note for note in sets.load(config_of(tmp_path, tiles=tiles)).notes if "score" in note]
    assert len(told) == bool(said)
    assert all(said in note and "column mpp" in note for note in told)


def test_slide_files_beside_pictures_are_counted(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"x")
    with pytest.raises(InputError, match=r"1 slide file in it not read; list slides in"):
        sets.load(config_of(tmp_path))
    for number in range(4):
        picture(tmp_path / "normal" / f"s{number}_0_0.png", size=(16, 16))
    notes = sets.load(config_of(tmp_path)).notes
    assert "1 slide file in it not read; list slides in slides.csv." in notes


def test_a_training_on_a_slide_without_resolution_names_no_option_it_lacks(tmp_path):
    slide_files.slide(tmp_path, "bare.tif", mpp=None)
    (tmp_path / "slides.csv").write_text("slide,file,label\nbare,bare.tif,normal\n")
    with pytest.raises(InputError, match=r"column mpp of slides\.csv.*tiles\.level=0") as caught:
        sets.load(config_of(tmp_path, tiles=TilesConfig(mpp=1.0)))
    assert "--mpp" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_slide_file_that_ends_early_is_said_so_in_plain_words(tmp_path, keep):
    slide_files.truncated(tmp_path, "t.svs", keep=keep)
    (tmp_path / "slides.csv").write_text("slide,file,label\nt,t.svs,normal\n")
    with pytest.raises(InputError, match=r"t\.svs: .*ends early or is damaged; copy") as one:
        sets.load(config_of(tmp_path, tiles=TilesConfig(mpp=1.0)))
    assert "Error" not in str(one.value)
    assert "index" not in str(one.value)
