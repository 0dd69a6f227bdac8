"""CheXlocalize: boxes and masks from packed segmentations, on images of any size."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests import make_chexpert as made
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import coco_rle, images
from wsrpn.data.chexlocalize import CLASSES, chexlocalize
from wsrpn.errors import InputError


def boxes(record):
    """Class → boxes of an image."""
    found = {}
    for box in record.boxes:
        found.setdefault(CLASSES[box.label], []).append(box.xyxy_px)
    return found


@pytest.fixture
def folder(tmp_path):
    return made.chexlocalize(tmp_path)


def test_segmentations_become_boxes_and_empty_ones_do_not(folder):
    first, second, *_ = chexlocalize(root=folder).records
    assert boxes(first) == {
        "Enlarged Cardiomediastinum": [(20, 5, 44, 30)],
        "Cardiomegaly": [(20, 10, 44, 30)],
        "Lung Opacity": [(58, 0, 60, 40)],  # called Airspace Opacity there
    }
    assert boxes(second) == {"Support Devices": [(0, 0, 50, 4)]}


def test_images_lie_in_val_although_their_paths_say_valid(folder):
    found = chexlocalize(root=folder)
    assert found.records[0].id == "valid/patient64541/study1/view1_frontal.jpg"
    assert "/CheXpert/val/" in str(found.records[0].path)
    assert {r.split for r in found.records} == {"val", "test"}
    assert "1 images of another view left out (data.views)." in found.notes


def test_the_test_table_knows_paths_and_labels_only(folder):
    (record,) = chexlocalize(root=folder).split("test").records
    assert record.patient == "patient64741"
    assert record.labels == (0.0,) * 9 + (1.0,)
    assert record.extra["view"] == "frontal"


def test_boxes_fit_a_small_copy_of_the_images(tmp_path):
    found = chexlocalize(root=made.chexlocalize(tmp_path, size=(20, 15)))
    (opacity,) = boxes(found.records[0])["Lung Opacity"]
    assert opacity == (14.5, 0, 15, 20)
    assert "5 segmentations scaled to the size of the stored file." in found.notes


def test_boxes_are_unknown_where_a_finding_has_no_segmentation(folder):
    known = {r.patient: r.boxes_known for r in chexlocalize(root=folder).split("val").records}
    # 64543 has no finding, 64544 has one and is not in the file.
    assert known == {
        "patient64541": True, "patient64542": True, "patient64543": True, "patient64544": False,
    }  # fmt: skip
    note = "1 images with a finding but no segmentation: no box figures of them."
    assert note in chexlocalize(root=folder).notes


def test_a_finding_can_be_had_as_a_mask(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WSRPN_CACHE", str(tmp_path / "cache"))
    source = f"chexlocalize:{folder}?mask=Cardiomegaly"
    first, second, third, _, _ = data.load(DataConfig(source=source)).records
    inside = images.read(first.mask) > 0
    assert inside.shape == (40, 60)
    assert inside[10:30, 20:44].all()
    assert inside.sum() == 20 * 24
    assert not (images.read(second.mask) > 0).any()
    assert third.mask is None  # not in the segmentation file
    both = chexlocalize(root=folder, mask="any").records[0].mask
    assert (images.read(both) > 0).sum() == 25 * 24 + 40 * 2
    with pytest.raises(InputError, match=r"mask=Cardio: no such finding\. Did you mean 'Cardiom"):
        chexlocalize(root=folder, mask="Cardio")


def test_the_folder_of_segmentations_alone_will_do(folder, tmp_path):
    assert len(chexlocalize(root=folder / "CheXlocalize")) == 5
    (folder / "CheXpert").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no val_labels\.csv or test_labels\.csv in"):
        chexlocalize(root=folder)
    assert len(chexlocalize(root=folder, images=tmp_path / "elsewhere")) == 5
    (folder / "CheXlocalize/gt_segmentations_val.json").unlink()
    found = data.load(DataConfig(source=f"chexlocalize:{folder}?images={tmp_path / 'elsewhere'}"))
    assert len(found) == 1
    assert "1 tables without gt_segmentations_val.json, left out." in found.notes


def test_the_folder_is_recognised(folder):
    assert len(data.load(DataConfig(source=str(folder)))) == 5


def spoil(folder, change):
    path = folder / "CheXlocalize/gt_segmentations_val.json"
    tree = json.loads(path.read_text())
    change(tree["patient64541_study1_view1_frontal"])
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda one: one.update(Heart=one["Edema"]), "finding 'Heart' is unknown"),
        (lambda one: one["Edema"].update(size=[40, 61]), "Edema: the runs do not fill a mask"),
        (lambda one: one["Edema"].update(counts=7), "Edema: no mask with size"),
        (lambda one: one.update(Edema=[]), "Edema: no mask with size"),
        (lambda one: one["Edema"].update(counts="é~"), "the runs do not fill"),
    ],
)
def test_faults_of_segmentations_are_named_with_image_and_finding(folder, change, sentence):
    spoil(folder, change)
    with pytest.raises(InputError) as caught:
        chexlocalize(root=folder)
    assert sentence in str(caught.value)
    assert "gt_segmentations_val.json: patient64541_study1_view1_frontal" in str(caught.value)


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.lists(
        st.lists(st.booleans(), min_size=size[1], max_size=size[1]),
        min_size=size[0], max_size=size[0],
    )
)  # fmt: skip


@given(rows=masks)
def test_masks_packed_by_their_authors_code_are_unpacked(rows):
    pixels = np.array(rows, dtype=bool)
    tree = made.packed(pixels)
    runs, size = coco_rle.parse(tree, where="")
    np.testing.assert_array_equal(coco_rle.mask(runs, size), pixels)
    assert coco_rle.parse({"size": list(size), "counts": runs}, where="") == (runs, size)


@given(rows=masks)
def test_boxes_of_runs_are_those_of_the_connected_parts_of_the_pixels(rows):
    pixels = np.array(rows, dtype=bool)
    runs, size = coco_rle.parse(made.packed(pixels), where="")
    parts = ndimage.find_objects(ndimage.label(pixels, np.ones((3, 3)))[0])
    slow = sorted((x.start, y.start, x.stop, y.stop) for y, x in parts)
    assert coco_rle.boxes(runs, size) == slow
