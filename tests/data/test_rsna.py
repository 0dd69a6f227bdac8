"""RSNA pneumonia: several rows of a patient, Target, detailed class, whose image it is."""

import pytest

from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data.rsna import rsna
from wsrpn.errors import InputError

NAMES = list(dict.fromkeys(row[0] for row in make.RSNA_ROWS))


def test_rows_of_an_image_are_its_boxes_and_target_is_its_label(tmp_path):
    found = data.load(DataConfig(source=str(make.rsna(tmp_path))))
    assert [record.id for record in found.records] == NAMES
    assert [record.labels for record in found.records] == [(0.0,), (0.0,), (1.0,), (1.0,)]
    assert [box.xyxy_px for box in found.records[2].boxes] == [
        (264.0, 152.0, 477.0, 531.0), (562.0, 152.0, 818.0, 605.0),
    ]  # fmt: skip
    assert all(record.boxes_known for record in found.records)
    assert found.records[0].boxes == ()


def test_the_detailed_class_tells_normal_from_otherwise_ill(tmp_path):
    found = rsna(root=make.rsna(tmp_path))
    assert [record.extra["class"] for record in found.records] == [
        "No Lung Opacity / Not Normal", "Normal", "Lung Opacity", "Lung Opacity",
    ]  # fmt: skip
    (tmp_path / "stage_2_detailed_class_info.csv").unlink()
    assert [record.extra for record in rsna(root=tmp_path).records] == [{}] * 4


def test_images_of_one_patient_of_chest_xray14_go_into_one_split(tmp_path):
    found = rsna(root=make.rsna(tmp_path, mapping=True))
    patients = [record.patient for record in found.records]
    assert patients == ["00000001", "00000001", "00000007", "00000009"]
    assert found.notes == ()


def test_without_the_list_of_originals_the_leak_is_said(tmp_path):
    found = rsna(root=make.rsna(tmp_path))
    assert [record.patient for record in found.records] == NAMES
    assert any("every image counts as a patient, splits may leak" in n for n in found.notes)


def test_boxes_follow_copies_of_another_size(tmp_path):
    found = rsna(root=make.rsna(tmp_path, suffix=".png", size=256))
    assert found.records[3].boxes[0].xyxy_px == (80.75, 144.25, 120.75, 170.25)


def test_the_same_row_twice_is_one_box_and_missing_files_are_counted(tmp_path):
    make.rsna(tmp_path, size=64)
    path = tmp_path / "stage_2_train_labels.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[3], "nobody,,,,,0"]))
    found = rsna(root=tmp_path)
    assert len(found.records[2].boxes) == 2
    assert "1 images of stage_2_train_labels.csv without a file, left out." in found.notes


LABELS, DETAILS = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        (LABELS, ",,,,,0", ",,,,,2", "Target '2' is neither 0 nor 1"),
        (LABELS, ",,,,,0", ",1,1,5,5,0", "Target 0 has a box"),
        (LABELS, "264.0,152.0,213.0,379.0,1", ",,,,0", "Target 1, but not in another row"),
        (LABELS, "213.0", "-213", "must be positive"),
        (LABELS, "213.0", "", "width '' is not a finite number"),
        (LABELS, "Target", "target", "no column 'Target'. Did you mean 'target'"),
        (DETAILS, "Normal\n00436515", "Norml\n00436515", "class 'Norml' is unknown"),
        (DETAILS, "Lung Opacity\n", "Normal\n", "contradicts the Target"),
        (DETAILS, "No Lung Opacity / Not Normal", "Lung Opacity", "contradicts the Target"),
        (MAPPING, "img_id", "image", "[0] has no texts 'subset_img_id' and 'img_id'"),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_file(tmp_path, name, old, new, sentence):
    folder = make.rsna(tmp_path, mapping=True, size=64)
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        rsna(root=folder)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
