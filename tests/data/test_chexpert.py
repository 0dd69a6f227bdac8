"""CheXpert and CheXpert Plus as they are downloaded, with every trap of their tables."""

import math

import pytest

from tests import make_chexpert as made
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import base
from wsrpn.data.chexpert import chexpert
from wsrpn.data.splits import refuse_leaks
from wsrpn.errors import InputError

PREFIX = "CheXpert-v1.0-small"


def labels(dataset, name):
    """Class → label of an image."""
    record = next(r for r in dataset.records if r.id.startswith(name))
    return dict(zip(dataset.classes, record.labels, strict=True))


@pytest.mark.parametrize("prefix", [PREFIX, "CheXpert-v1.0", "some/where/CheXpert-v1.0"])
@pytest.mark.parametrize("name", [PREFIX, "renamed"])
def test_images_are_found_whatever_the_paths_begin_with(tmp_path, prefix, name):
    found = chexpert(root=made.chexpert(tmp_path / name, prefix=prefix))
    assert len(found) == 7 + 4
    assert found.records[0].id == "train/patient00001/study1/view1_frontal.jpg"
    assert found.records[0].path == tmp_path / name / found.records[0].id


def test_tables_may_lie_above_or_below_the_images(tmp_path):
    folder = made.chexpert(tmp_path / PREFIX)
    assert len(chexpert(root=tmp_path)) == 11
    for table in ("train.csv", "valid.csv"):
        (folder / table).rename(tmp_path / table)
    assert len(chexpert(root=tmp_path)) == 11


def test_the_batches_of_the_full_size_download_need_no_moving(tmp_path):
    made.chexpert(tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)", batches=True)
    found = chexpert(root=tmp_path)
    assert len(found.split("train")) == 7
    assert "batch 2 (train 1)" in str(found.records[0].path)


def test_patients_come_from_paths_and_official_splits_are_kept(tmp_path):
    found = chexpert(root=made.chexpert(tmp_path))
    assert {r.patient for r in found.split("val").records} == {f"patient6454{n}" for n in "1234"}
    assert found.records[1].patient == found.records[2].patient == "patient00002"
    turned = data.load(DataConfig(source=f"chexpert:{tmp_path}?valid=test", val_share=0.3))
    assert len(turned.split("test")) == 4
    assert {r.patient for r in turned.split("val").records} <= {f"patient0000{n}" for n in range(9)}


def test_lateral_images_are_left_out_and_counted_unless_asked_for(tmp_path):
    folder = made.chexpert(tmp_path)
    found = chexpert(root=folder)
    assert all("frontal" in r.id for r in found.records)
    assert "2 lateral images left out (data.views)." in found.notes
    assert len(chexpert(root=folder, views="all")) == 13
    (lateral,) = chexpert(root=folder, views="lateral").split("train").records
    assert lateral.extra["view"] == "lateral"  # its AP/PA is empty
    assert found.records[0].extra["view"] == "AP"
    loaded = data.load(DataConfig(source=str(folder), views="all"))
    assert len(loaded) == 13


def test_uncertain_labels_follow_their_policy(tmp_path):
    folder = made.chexpert(tmp_path)
    name = "train/patient00002/study2"
    assert math.isnan(labels(chexpert(root=folder), name)["Cardiomegaly"])
    assert labels(chexpert(root=folder, uncertain="positive"), name)["Cardiomegaly"] == 1
    assert labels(chexpert(root=folder, uncertain="negative"), name)["Cardiomegaly"] == 0
    note = "8 labels are uncertain: taken as positive (data.uncertain)."
    assert note in chexpert(root=folder, uncertain="positive").notes


def test_blank_labels_follow_a_policy_of_their_own(tmp_path):
    folder = made.chexpert(tmp_path)
    name = "train/patient00003"
    assert labels(chexpert(root=folder), name)["Fracture"] == 0
    unknown = labels(chexpert(root=folder, blank="unknown"), name)
    assert math.isnan(unknown["Fracture"])
    assert (unknown["Edema"], unknown["Pneumothorax"]) == (1, 0)


def test_no_finding_makes_blanks_absent_except_for_devices(tmp_path):
    found = chexpert(root=made.chexpert(tmp_path), blank="unknown")
    values = labels(found, "train/patient00004")
    assert math.isnan(values.pop("Support Devices"))
    assert set(values.values()) == {0.0}
    assert "No Finding" not in found.classes


def test_policies_reach_the_reader_through_the_config(tmp_path):
    made.chexpert(tmp_path)
    config = DataConfig(source=str(tmp_path), uncertain="negative", blank="unknown")
    values = labels(data.load(config), "train/patient00002/study2")
    assert values["Cardiomegaly"] == 0
    assert math.isnan(values["Enlarged Cardiomediastinum"])


def test_boxes_are_unknown_and_missing_files_are_counted(tmp_path):
    gone = ("patient00001/study1/view1_frontal", "patient64541/study1/view1_frontal")
    found = chexpert(root=made.chexpert(tmp_path, without=gone))
    assert not any(record.boxes_known for record in found.records)
    assert "2 images without a file, left out." in found.notes


def test_a_patient_in_two_splits_is_refused(tmp_path):
    folder = made.chexpert(tmp_path)
    made.change(folder / "valid.csv", "patient64541", "patient00001")
    (folder / "valid/patient64541").rename(folder / "valid/patient00001")
    with pytest.raises(InputError, match=r"more than one split: patient00001 \(train, val\)"):
        refuse_leaks(chexpert(root=folder))


def test_reports_of_chexpert_plus_are_joined_by_image(tmp_path):
    found = chexpert(root=made.plus(made.chexpert(tmp_path)))
    first, second, third = (record.text for record in found.records[:3])
    assert first == (
        "CLINICAL HISTORY: Cough.\n\nFINDINGS: Clear lungs,\nno effusion.\n\nIMPRESSION: Normal."
    )
    assert second == "NARRATIVE:\nRadiograph of the chest."  # no sections
    assert third == ""
    assert "1 images without a report." in found.notes
    assert labels(found, "train/patient00003")["Edema"] == 1  # of train.csv


def test_chexpert_plus_stands_alone_with_the_labels_of_chexbert(tmp_path):
    """Its images are PNG in a folder of that name, its labels one JSON object a line."""
    folder = made.plus(tmp_path / "plus")
    made.chexpert(folder / "PNG/PNG", suffix=".png")
    for table in (folder / "PNG/PNG").glob("*.csv"):
        table.unlink()
    found = data.load(DataConfig(source=str(folder), blank="unknown"))
    assert len(found.split("train")) == 7
    assert len(found.split("val")) == 4
    values = labels(found, "train/patient00001")
    assert values["Edema"] == 1
    assert math.isnan(values["Fracture"])
    assert math.isnan(values["Pneumonia"])
    assert all(map(math.isnan, found.records[-1].labels))
    assert "1 images without a line of labels: theirs are unknown." in found.notes
    other = data.load(DataConfig(source=f"chexpert:{folder}?labels_from=impression"))
    assert labels(other, "train/patient00001")["Edema"] == 0


def test_chexpert_plus_without_its_labels_says_what_is_missing(tmp_path):
    folder = made.plus(made.chexpert(tmp_path), labels=False)
    for table in ("train.csv", "valid.csv"):
        (folder / table).unlink()
    with pytest.raises(InputError, match=r"report_fixed\.json: no such file"):
        chexpert(root=folder)


@pytest.mark.parametrize(
    ("table", "old", "new", "sentence"),
    [
        ("train.csv", "-1.0", "-2.0", "train.csv:3: Cardiomegaly: '-2.0' is none of 1 (present)"),
        ("train.csv", "AP,1.0", "AP,yes", "train.csv:2: No Finding: 'yes' is none of"),
        ("train.csv", "Edema", "Oedema", "no column 'Edema'. Did you mean 'Oedema'"),
        ("train.csv", "Path,", "File,", "no column 'Path'"),
        ("train.csv", "/train/patient00001", "/patient00001", "does not end like"),
        ("train.csv", "patient00001", "../../patient00001", "does not end like"),
        ("train.csv", "patient00002/study1/view1", "patient00002/study2/view1", "stands twice"),
        ("valid.csv", ",73,", ",73,,", "valid.csv:2: 20 cells, but the header has 19"),
        ("chexbert_labels/report_fixed.json", "{", "[", "report_fixed.json:1: not JSON"),
        ("chexbert_labels/report_fixed.json", "train/", "x/", "report_fixed.json:1: the path"),
        ("df_chexpert_plus_240401.csv", "train/patient00001", "p", "_240401.csv:2: the path"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, table, old, new, sentence):
    folder = made.plus(made.chexpert(tmp_path))
    made.change(folder / table, old, new)
    source = "report" if table.endswith(".json") else "csv"
    with pytest.raises(InputError) as caught:
        chexpert(root=folder, labels_from=source)
    assert sentence in str(caught.value)


def test_a_folder_without_tables_or_images_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"neither train\.csv nor valid\.csv"):
        chexpert(root=tmp_path)
    made.write(tmp_path / "train.csv", [made.CHEXPERT_HEADER])
    with pytest.raises(InputError, match="none of the folders train, valid"):
        chexpert(root=tmp_path)
    for name in ("CheXpert-v1.0", "CheXpert-v1.0-small"):
        made.chexpert(tmp_path / "both" / name)
    with pytest.raises(InputError, match="several releases lie here"):
        chexpert(root=tmp_path / "both")


def test_options_of_a_reader_stand_in_the_source(tmp_path):
    folder = made.chexpert(tmp_path)
    for source, sentence in {
        f"chexpert:{folder}?vald=test": "no option 'vald'. Did you mean 'valid'",
        f"chexpert:{folder}?valid": "write options as chexpert:DIR?key=value",
        f"chexpert:{folder}?valid=test&valid=val": "an option stands twice",
        f"chexpert:{folder}?views=all": "set data.views in the config instead",
        f"chexpert:{folder}?valid=train": "valid: Input should be 'val' or 'test'",
    }.items():
        with pytest.raises(InputError) as caught:
            data.load(DataConfig(source=source))
        assert sentence in str(caught.value)


def test_a_folder_with_two_data_sets_is_not_guessed(tmp_path):
    made.chexpert(tmp_path)
    assert base.recognise(str(tmp_path))[0] == "chexpert"
    (tmp_path / "Data_Entry_2017.csv").touch()
    with pytest.raises(InputError, match=r"several data sets lie here; write chexpert:.* or nih:"):
        base.recognise(str(tmp_path))
    (tmp_path / "images.csv").touch()  # what somebody wrote to say what is to be read
    assert base.recognise(str(tmp_path))[0] == "manifest"
