"""The table of slides."""

import numpy as np
import pytest
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.slides import sheet


@pytest.fixture
def read(tmp_path):
    def reading(text, encoding="utf-8"):
        (tmp_path / "slides.csv").write_text(text, encoding=encoding)
        return sheet.read(tmp_path / "slides.csv")

    return reading


def test_every_column_finds_its_place(read, tmp_path):
    (one,) = read(
        "slide,patient,split,annotation,label,tissue,thumbnail,file,mpp,width,height,"
        "offset_x,offset_y,exhaustive,stain\n"
        "a,p,val,x/a.xml,tumor,t.png,h.png,a.svs,0.25,100,80,3,-4.5,no,H&E\n"
    ).values()
    assert (one.id, one.patient, one.split, one.normal) == ("a", "p", "val", False)
    assert (one.annotation, one.tissue) == (tmp_path / "x/a.xml", tmp_path / "t.png")
    assert (one.thumbnail, one.file) == (tmp_path / "h.png", tmp_path / "a.svs")
    assert (one.mpp, one.extent_px0, one.offset_px0) == (0.25, (100, 80), (3.0, -4.5))
    assert not one.exhaustive
    assert one.extra == {"stain": "H&E", "origin": "slide"}


def test_one_column_is_enough(read):
    (one,) = read("wsi_id\na\n").values()
    assert (one.id, one.patient, one.split, one.annotation) == ("a", "a", None, None)
    assert one.exhaustive
    assert not one.normal
    assert (one.mpp, one.extent_px0, one.offset_px0) == (None, None, (0.0, 0.0))


def test_other_names_of_columns_are_known(read, tmp_path):
    found = read(
        "slide_id,truth_mask,mask,tissue_mask,width_px0,height_px0\na,m.png,,t.png,5,6\nb,,n.png,,,\n"
    )
    assert found["a"].annotation == tmp_path / "m.png"
    assert found["b"].annotation == tmp_path / "n.png"
    assert (found["a"].tissue, found["a"].extent_px0) == (tmp_path / "t.png", (5, 6))


@pytest.mark.parametrize(
    ("word", "normal"),
    [
        ("normal", True),
        ("0", True),
        ("Negative", True),
        ("tumor", False),
        ("1", False),
        ("", False),
    ],
)
def test_labels_say_whether_a_slide_is_normal(read, word, normal):
    assert read(f"slide,label\na,{word}\n")["a"].normal is normal


def test_incomplete_slides_of_camelyon16_are_marked_unless_the_table_knows_better(read):
    found = read("slide,exhaustive\ntumor_020,\ntumor_056,yes\ntumor_001,\ntumor_002,no\n")
    assert [one.exhaustive for one in found.values()] == [False, True, True, False]


def test_a_byte_order_mark_blank_lines_and_spaces_do_no_harm(read):
    assert list(read("slide , mpp\n\na , 0.5\n\n", encoding="utf-8-sig")) == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("slide\n", "no slide"),
        ("slides\na\n", "no column 'slide'. Did you mean 'slides'"),
        ("slide;mpp\na;1\n", "semicolons"),
        ("slide,mpp,mpp\na,1,1\n", "stands twice"),
        ("slide,mpp\na\n", ":2: 1 cell, but the header has 2"),
        ("slide\na\nb\na\n", ":4: slide 'a' stands already in line 2"),
        ("slide,mpp\n,1\n", "name of the slide is empty"),
        ("slide,split\na,dev\n", "use train, val or test"),
        ("slide,label\na,tumr\n", "Did you mean 'tumor'"),
        ("slide,exhaustive\na,maybe\n", "exhaustive 'maybe'"),
        ("slide,mpp\na,0\n", "no number above 0"),
        ("slide,mpp\na,nan\n", "no number above 0"),
        ("slide,offset_x\na,left\n", "offset_x 'left' is no number"),
        ("slide,origin\na,left\n", "use slide or bounds"),
        ("slide,width\na,5\n", "width_px0 and height_px0"),
        ("slide,width,height\na,5.5,5\n", "whole pixels"),
        ("slide,annotation\na,../a.xml\n", "leaves the folder"),
        ("slide,annotation\na,/a.xml\n", "leaves the folder"),
        ("slide,file\na,C:\\a.svs\n", "leaves the folder"),
        ('slide,mpp\n"a,1\n', "cannot be read as CSV"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(read, text, said):
    with pytest.raises(InputError, match=said) as caught:
        read(text)
    assert "slides.csv" in str(caught.value)


def test_other_encodings_and_missing_files_are_one_sentence(read, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        sheet.read(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="UTF-8"):
        read("slide\nä\n", encoding="latin-1")


def test_a_link_out_of_the_folder_is_refused(read, tmp_path):
    (tmp_path / "data").mkdir()
    outside = tmp_path / "a.xml"
    outside.write_text("x")
    (tmp_path / "data" / "a.xml").symlink_to(outside)
    (tmp_path / "data" / "slides.csv").write_text("slide,annotation\na,a.xml\n")
    with pytest.raises(InputError, match="link out of"):
        sheet.read(tmp_path / "data")


def test_a_folder_may_hold_the_table_or_annotations_named_like_their_slides(tmp_path):
    for name in ("a.xml", "b.geojson", "c.json", "d.geojson.gz", "tumor_020.xml", "notes.txt"):
        (tmp_path / name).write_text("x")
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "e_Mask.tif")
    (tmp_path / "f.xml").mkdir()
    for source in (tmp_path, str(tmp_path), f"slides:{tmp_path}"):
        found = sheet.read(source)
        assert list(found) == ["a", "b", "c", "d", "e", "tumor_020"]
    assert found["e"].annotation == tmp_path / "e_Mask.tif"
    assert not found["tumor_020"].exhaustive
    (tmp_path / "a.geojson").write_text("x")
    with pytest.raises(InputError, match=r"a\.xml and a\.geojson|a\.geojson and a\.xml"):
        sheet.read(tmp_path)
    (tmp_path / "slides.csv").write_text("slide\nz\n")
    assert list(sheet.read(f"slides:{tmp_path}")) == ["z"]


def test_a_folder_without_either_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"neither slides\.csv nor annotations"):
        sheet.read(tmp_path)
