"""ChestX-ray14 as it is downloaded, with every trap of its tables."""

import pytest

from tests import make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import images
from wsrpn.data.nih import CLASSES, nih
from wsrpn.data.splits import leaks
from wsrpn.errors import InputError

SIZE = (16, 16)


@pytest.mark.parametrize("version", ["2017", "2020", "sex"])
@pytest.mark.parametrize("flat", [False, True])
def test_every_release_gives_the_same_data_set(tmp_path, version, flat):
    found = nih(root=make.nih(tmp_path, version=version, flat=flat, size=SIZE))
    assert [record.id for record in found.records] == [name for name, *_ in make.NIH_ROWS]
    by_id = {record.id: record for record in found.records}
    both = by_id["00000001_001.png"]
    assert {c for c, v in zip(CLASSES, both.labels, strict=True) if v} == {
        "Cardiomegaly",
        "Effusion",
    }
    assert by_id["00000002_000.png"].labels == (0.0,) * 14
    assert both.patient == by_id["00000001_000.png"].patient == "00000001"
    assert both.extra["view"] == "PA"
    assert found.notes == ()


def test_boxes_are_read_by_position_and_infiltrate_is_infiltration(tmp_path):
    found = {r.id: r for r in nih(root=make.nih(tmp_path, size=SIZE)).records}
    (heart,) = found["00000001_000.png"].boxes
    assert CLASSES[heart.label] == "Cardiomegaly"
    assert heart.xyxy_px == pytest.approx((20.084745762712, 30.5, 60.334745762712, 56.25))
    assert CLASSES[found["00000003_000.png"].boxes[0].label] == "Infiltration"


def test_boxes_are_known_of_boxed_images_and_of_those_without_a_finding(tmp_path):
    found = nih(root=make.nih(tmp_path, size=SIZE))
    known = {record.id for record in found.records if record.boxes_known}
    boxed = {name for name, *_ in make.NIH_BOXES}
    assert known == boxed | {n for n, labels, *_ in make.NIH_ROWS if labels == "No Finding"}


def test_the_official_lists_are_kept_and_validation_is_carved_from_training(tmp_path):
    folder = make.nih(tmp_path, size=SIZE)
    found = data.load(DataConfig(source=f"nih:{folder}", val_share=0.3))
    assert {r.id for r in found.split("test").records} == set(make.NIH_TEST)
    assert len(found.split("val")) in {2, 3}  # a patient with two images moves as one
    assert len(found.split("train")) + len(found.split("val")) == 9
    assert leaks(found) == []
    assert any("No validation images in the source" in note for note in found.training_notes)


def test_without_lists_all_splits_are_drawn(tmp_path):
    folder = make.nih(tmp_path, lists=False, size=SIZE)
    found = data.load(DataConfig(source=str(folder), val_share=0.25, test_share=0.25))
    counts = [len(found.split(s)) for s in ("train", "val", "test")]
    assert sum(counts) == 12
    assert all(abs(count - share) <= 1 for count, share in zip(counts, (6, 3, 3), strict=True))


def test_one_list_alone_is_refused(tmp_path):
    folder = make.nih(tmp_path, size=SIZE)
    (folder / "test_list.txt").unlink()
    with pytest.raises(InputError, match=r"test_list\.txt is missing or empty"):
        nih(root=folder)


def test_missing_files_are_left_out_and_counted(tmp_path):
    gone = ("00000003_000.png", "00000007_000.png")
    found = nih(root=make.nih(tmp_path, without=gone, size=SIZE))
    assert len(found) == len(make.NIH_ROWS) - 2
    assert "2 images of Data_Entry_2017.csv without a file, left out." in found.notes
    assert "1 boxes of images that are not here." in found.notes


def test_colour_files_are_read_as_grey(tmp_path):
    found = nih(root=make.nih(tmp_path))
    assert images.read(found.records[1].path).shape == (64, 64)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("table", "old", "new", "sentence"),
    [
        (
            "Data_Entry_2017.csv",
            "Hernia",
            "Hernai",
            "finding 'Hernai' is unknown. Did you mean 'Hernia'",
        ),
        ("Data_Entry_2017.csv", "Nodule|Mass", "No Finding|Mass", "stands beside a finding"),
        ("Data_Entry_2017.csv", "00000004_000.png", "00000003_000.png", "stands twice"),
        ("Data_Entry_2017.csv", "Image Index", "Index", "must begin with 'Image Index'"),
        ("Data_Entry_2017.csv", ",0.143,0.143,", "", "9 cells, eleven were expected"),
        ("BBox_List_2017.csv", "Infiltrate", "Infiltrat", "finding 'Infiltrat' is unknown"),
        ("BBox_List_2017.csv", "40.25", "wide", "'wide' is not a finite number"),
        ("BBox_List_2017.csv", "40.25", "-1", "must be positive"),
        ("BBox_List_2017.csv", ",40.25", "", "5 cells, six were expected"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, table, old, new, sentence):
    folder = make.nih(tmp_path, size=SIZE)
    change(folder / table, old, new)
    with pytest.raises(InputError) as caught:
        nih(root=folder)
    assert sentence in str(caught.value)
    assert f"{folder / table}:" in str(caught.value)


def test_a_folder_without_table_or_images_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"neither Data_Entry_2017_v2020\.csv nor"):
        nih(root=tmp_path)
    folder = make.nih(tmp_path / "x", without=[name for name, *_ in make.NIH_ROWS], size=SIZE)
    with pytest.raises(InputError, match="no images in images_001/images"):
        nih(root=folder)
