"""MS-CXR: phrases and their boxes on images of MIMIC-CXR-JPG."""

import json
import math

import pytest

from tests import make_chexpert, make_mimic
from tests.make_mimic import IMAGES
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data.ms_cxr import CLASSES, ms_cxr
from wsrpn.errors import InputError


@pytest.fixture
def folder(tmp_path):
    make_mimic.mimic(tmp_path, size=(40, 60))
    return make_mimic.ms_cxr(tmp_path)


def test_rows_of_an_image_are_its_boxes_and_phrases(folder):
    found = ms_cxr(root=folder)
    assert [r.id for r in found.records] == [IMAGES[1], IMAGES[12], IMAGES[17]]
    first = found.records[0]
    assert [(CLASSES[b.label], b.xyxy_px) for b in first.boxes] == [
        ("Pleural Effusion", (2, 20, 12, 36)),
        ("Pleural Effusion", (45, 22, 57, 36)),
        ("Cardiomegaly", (20, 18, 44, 34)),
    ]
    assert first.text == "small effusions, both sides\nheart is enlarged"
    phrases = json.loads(first.extra["phrases"])
    assert [(p["finding"], len(p["xyxy"])) for p in phrases] == [
        ("Pleural Effusion", 2), ("Cardiomegaly", 1),
    ]  # fmt: skip
    assert first.patient == "10000032"
    assert first.boxes_known


def test_findings_without_a_phrase_are_unknown(folder):
    values = dict(zip(CLASSES, ms_cxr(root=folder).records[1].labels, strict=True))
    assert values.pop("Pneumonia") == 1
    assert all(map(math.isnan, values.values()))


def test_splits_are_those_of_the_table_or_of_mimic_where_it_has_none(tmp_path):
    home = make_mimic.mimic(tmp_path)
    newer = ms_cxr(root=make_mimic.ms_cxr(tmp_path))
    older = ms_cxr(root=make_mimic.ms_cxr(tmp_path, version="0.1"))
    for found in (newer, older):
        assert [r.split for r in found.records] == ["train", "val", "test"]
    (home / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    found = ms_cxr(root=tmp_path / "ms-cxr/0.1")
    assert [r.split for r in found.records] == [None] * 3


def test_boxes_fit_a_small_copy_of_the_images(tmp_path):
    make_mimic.mimic(tmp_path, size=(20, 30))
    found = ms_cxr(root=make_mimic.ms_cxr(tmp_path))
    assert found.records[2].boxes[0].xyxy_px == (2.75, 3, 27.75, 18)
    assert "3 images whose boxes were scaled to the size of the stored file." in found.notes


def test_the_csv_or_its_folder_is_recognised_and_images_may_be_named(folder, tmp_path):
    (table,) = folder.glob("*.csv")
    assert len(data.load(DataConfig(source=str(folder)))) == 3
    assert len(data.load(DataConfig(source=f"ms_cxr:{table}"))) == 3
    (tmp_path / "mimic-cxr-jpg/2.0.0").rename(tmp_path / "images")
    with pytest.raises(InputError, match=r"not beside it; name their folder as ms_cxr:DIR\?images"):
        ms_cxr(root=folder)
    named = data.load(DataConfig(source=f"ms_cxr:{folder}?images={tmp_path / 'images'}"))
    assert len(named) == 3
    with pytest.raises(InputError, match="no folder 'files' is in it"):
        ms_cxr(root=folder, images=tmp_path)


def test_missing_images_are_counted(tmp_path):
    make_mimic.mimic(tmp_path, without=IMAGES[12:13])
    found = ms_cxr(root=make_mimic.ms_cxr(tmp_path))
    assert len(found) == 2
    assert "1 images without a file, left out." in found.notes


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Pneumonia", "Pneumona", ":5: finding 'Pneumona' is unknown. Did you mean 'Pneumonia'"),
        ("4,20,16,12", "4,20,0,12", ":5: w, h, image_width and image_height must be positive"),
        ("4,20,16,12", "4,20,wide,12", ":5: w 'wide' is not a finite number"),
        (f"{IMAGES[12]},Pn", f"{IMAGES[13]},Pn", ":5: dicom_id '0000000d-bde0afdd"),
        ("/p10000038/", "/p20000038/", ":5: the path 'files/p10/p20000038/"),
        (",val", ",vla", ":5: split 'vla' is unknown"),
        ("category_name", "category", "no column 'category_name'"),
    ],
)
def test_faults_are_named_with_file_and_line(folder, old, new, sentence):
    (table,) = folder.glob("*.csv")
    make_chexpert.change(table, old, new)
    with pytest.raises(InputError) as caught:
        ms_cxr(root=folder)
    assert sentence in str(caught.value)
    assert str(table) in str(caught.value)


def test_a_folder_without_the_table_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"no MS_CXR_Local_Alignment_v\*\.csv"):
        ms_cxr(root=tmp_path)
