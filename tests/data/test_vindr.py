"""VinDr-CXR in both layouts: three readers, two spellings, DICOM of both polarities."""

import numpy as np
import pytest

from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import images
from wsrpn.data.vindr import GLOBAL, KAGGLE, LOCAL, vindr
from wsrpn.errors import InputError

NORMAL, HEART, NODULES = make.VINDR_TRAIN
TEST_NORMAL, TEST_SICK = make.VINDR_TEST


def by_id(dataset):
    return {record.id: record for record in dataset.records}


def present(dataset, name):
    labels = by_id(dataset)[name].labels
    return {c for c, value in zip(dataset.classes, labels, strict=True) if value}


def boxes(dataset, name):
    return [(dataset.classes[b.label], b.xyxy_px) for b in by_id(dataset)[name].boxes]


@pytest.fixture
def folder(tmp_path):
    return make.vindr(tmp_path)


def test_the_columns_are_22_findings_with_boxes_and_5_diagnoses_without(folder):
    found = vindr(root=folder)
    assert found.classes == (*LOCAL, *GLOBAL) == make.VINDR_COLUMNS[:-1]
    assert any("never have boxes" in note for note in found.notes)


def test_tables_give_the_splits_and_the_folder_is_recognised(folder):
    found = data.load(DataConfig(source=str(folder), val_share=0.0))
    assert {r.id for r in found.split("train").records} == set(make.VINDR_TRAIN)
    assert {r.id for r in found.split("test").records} == set(make.VINDR_TEST)


@pytest.mark.parametrize(
    ("votes", "heart", "nodules"),
    [
        ("majority", {"Cardiomegaly"}, {"Nodule/Mass", "Pneumonia"}),
        ("any", {"Cardiomegaly", "Pleural effusion"}, {"Nodule/Mass", "Pneumonia"}),
        ("unanimous", {"Cardiomegaly"}, set()),
    ],
)
def test_findings_of_three_radiologists_are_put_to_the_vote(folder, votes, heart, nodules):
    found = vindr(root=folder, votes=votes)
    assert present(found, NORMAL) == set()
    assert present(found, HEART) == heart
    assert present(found, NODULES) == nodules


def test_boxes_of_one_place_are_averaged_over_readers_and_two_of_one_reader_stay_two(folder):
    found = vindr(root=folder)
    assert boxes(found, HEART) == [("Cardiomegaly", (10.0, 20.0, 30.0, 40.0))]
    assert boxes(found, NODULES) == [
        ("Nodule/Mass", (5.0, 5.5, 15.0, 15.5)),
        ("Nodule/Mass", (30.0, 30.0, 40.0, 40.0)),
    ]
    note = "1 boxes of findings that did not get the votes (majority), left out."
    assert note in found.notes


def test_the_union_keeps_every_box_of_a_finding_that_counts(folder):
    found = vindr(root=folder, boxes="union")
    assert len(boxes(found, HEART)) == len(boxes(found, NODULES)) == 3
    with_any = vindr(root=folder, boxes="union", votes="any")
    assert len(boxes(with_any, HEART)) == 4


def test_an_image_without_a_finding_is_known_to_have_no_box(folder):
    record = by_id(vindr(root=folder))[NORMAL]
    assert record.boxes == ()
    assert record.boxes_known
    assert record.extra["readers"] == "R11|R15|R2"


def test_the_consensus_of_the_test_set_is_kept_and_its_other_spelling_read(folder):
    found = vindr(root=folder)
    assert present(found, TEST_NORMAL) == set()
    assert present(found, TEST_SICK) == {"Other lesion", "Other diseases"}
    assert len(boxes(found, TEST_SICK)) == 2  # they overlap, but nobody fuses a consensus


@pytest.mark.parametrize("kept", ["fused", "union"])
def test_the_order_of_the_rows_changes_nothing(folder, kept):
    before = vindr(root=folder, boxes=kept)
    path = folder / "annotations" / "annotations_train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]))
    assert vindr(root=folder, boxes=kept) == before


def test_dense_is_bright_in_monochrome1_with_slope_and_window_too(folder):
    read = images.read(by_id(vindr(root=folder))[HEART].path)
    np.testing.assert_allclose(read, make.grey(1) / 255, atol=0.01)


def test_kaggle_labels_follow_from_the_boxes_of_its_readers(tmp_path):
    found = data.load(DataConfig(source=f"vindr:{make.vindr_kaggle(tmp_path)}"))
    assert found.classes == KAGGLE
    assert set(by_id(found)) == set(make.VINDR_TRAIN)
    assert present(found, HEART) == {"Cardiomegaly"}
    assert present(found, NODULES) == {"Nodule/Mass"}  # two of three
    assert "1 image files without a row, left out." in found.notes
    union = data.load(DataConfig(source=f"vindr:{tmp_path}?boxes=union&votes=any"))
    assert sum(len(r.boxes) for r in union.records) == 7


def test_boxes_follow_copies_whose_originals_are_in_train_meta(tmp_path):
    found = vindr(root=make.vindr_kaggle(tmp_path, suffix=".png", meta=True))
    assert boxes(found, HEART) == [("Cardiomegaly", (5.0, 10.0, 15.0, 20.0))]
    (tmp_path / "train_meta.csv").unlink()
    found = vindr(root=tmp_path)
    assert boxes(found, HEART) == [("Cardiomegaly", (10.0, 20.0, 30.0, 40.0))]
    assert any(note.startswith("2 boxed images are no DICOM") for note in found.notes)


def test_missing_files_are_left_out_and_counted(tmp_path):
    found = vindr(root=make.vindr(tmp_path, without=(NORMAL, TEST_SICK)))
    assert len(found) == 3
    assert "2 images of the tables without a file, left out." in found.notes


TRAIN, LABELS = "annotations/annotations_train.csv", "annotations/image_labels_train.csv"


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        (TRAIN, "Nodule/Mass", "Nodule/Mas", "'Nodule/Mas' is unknown. Did you mean 'Nodule/Mass'"),
        (TRAIN, "No finding,,,,", "No finding,1,1,2,2", "'No finding' has a box"),
        (TRAIN, "10.0,20.0,30.0,40.0", "10.0,20.0,10.0,40.0", "has no area"),
        (TRAIN, "10.0,20.0,30.0,40.0", ",,,", "x_min '' is not a finite number"),
        (TRAIN, HEART, "someone", "no image 'someone' in image_labels_train.csv"),
        (LABELS, "R15", "R11", "stands twice for R11"),
        (LABELS, "R11,0", "R11,2", "Aortic enlargement '2' is neither 0 nor 1"),
        (LABELS, "Lung cyst", "Lung cist", "no column 'Lung cyst'. Did you mean 'Lung cist'"),
    ],
)
def test_faults_are_named_with_file_and_line(folder, name, old, new, sentence):
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        vindr(root=folder)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_folder_without_tables_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"neither annotations/image_labels_train\.csv .* nor"):
        vindr(root=tmp_path)


def test_an_unknown_policy_is_refused_with_those_that_exist(folder):
    with pytest.raises(InputError, match="'majority', 'any' or 'unanimous'"):
        data.load(DataConfig(source=f"vindr:{folder}?votes=some"))
