"""COCO annotations: any ids in any order, and a round trip."""

import json

import pytest
from pycocotools.coco import COCO

from tests import make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import base, coco
from wsrpn.errors import InputError

TREE = {
    "categories": [{"id": 90, "name": "Nodule"}, {"id": 7, "name": "Mass"}],
    "images": [
        {"id": 500, "file_name": "b.png", "height": 64, "width": 64},
        {"id": 3, "file_name": "a.png", "height": 64, "width": 64, "patient": "p", "split": "val"},
        {"id": 0, "file_name": "c.png", "height": 64, "width": 64},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 7, "bbox": [1, 2, 3, 4.5], "iscrowd": 0},
        {"id": 2, "image_id": 500, "category_id": 90, "bbox": [5, 6, 7, 8]},
        {"id": 3, "image_id": 500, "category_id": 7, "bbox": [0, 0, 64, 64], "iscrowd": 1},
        {"id": 4, "image_id": 500, "category_id": 90, "bbox": [9, 9, 9, 9]},
    ],
}


def written(folder, tree, name="x.json"):
    path = folder / name
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return path


def test_ids_are_mapped_and_crowds_left_out(tmp_path):
    found = coco.coco(root=written(tmp_path, TREE))
    assert found.classes == ("Nodule", "Mass")
    b, a, c = found.records
    assert (b.labels, a.labels, c.labels) == ((1, 0), (0, 1), (0, 0))
    assert a.boxes[0].label == 1
    assert a.boxes[0].xyxy_px == (1, 2, 4, 6.5)
    assert len(b.boxes) == 2
    assert c.boxes_known
    assert (a.patient, a.split, b.patient, b.split) == ("p", "val", "b.png", None)
    assert found.notes == ("1 crowd boxes left out.",)


def test_images_lie_beside_the_json_or_in_its_images_folder(tmp_path):
    path = written(tmp_path, TREE)
    assert coco.coco(root=path).records[0].path == tmp_path / "b.png"
    make.image(tmp_path / "images/b.png")
    assert coco.coco(root=path).records[0].path == tmp_path / "images/b.png"


def test_a_written_file_reads_back_and_pycocotools_understands_it(tmp_path, capsys):
    folder = make.manifest(tmp_path)
    dataset = data.load(DataConfig(source=str(folder)))
    sizes = {record.id: (64, 64) for record in dataset.records}
    coco.write(dataset, tmp_path / "c.json", sizes_px=sizes)
    found = data.load(DataConfig(source=str(tmp_path / "c.json")))
    assert found.classes == dataset.classes
    for one, other in zip(found.records, dataset.records, strict=True):
        assert (one.id, one.patient, one.labels, one.split) == (
            other.id, other.patient, other.labels, other.split,
        )  # fmt: skip
        for a, b in zip(one.boxes, other.boxes, strict=True):
            assert a.xyxy_px == pytest.approx(b.xyxy_px)
    reference = COCO(str(tmp_path / "c.json"))
    assert len(reference.getAnnIds()) == sum(len(r.boxes) for r in dataset.records)
    capsys.readouterr()  # pycocotools prints


def changed(**keys):
    return {**TREE, **keys}


FAULTS = {
    "not json": ("{", "not readable as COCO annotations"),
    "a list": ("[]", "no object with images, annotations and categories"),
    "no images": (changed(images=None), "no list 'images'"),
    "no annotations": (changed(annotations={}), "no list 'annotations'"),
    "image twice": (changed(images=[TREE["images"][0]] * 2), "images[1]: id 500 stands twice"),
    "name twice": (
        changed(images=[*TREE["images"], {"id": 9, "file_name": "a.png"}]),
        "'a.png' stands twice",
    ),
    "no id": (changed(categories=[{"name": "A"}]), "categories[0] has no id"),
    "no file name": (
        changed(images=[*TREE["images"], {"id": 9}]),
        "images id 9: 'file_name' is missing",
    ),
    "path outside": (
        changed(images=[*TREE["images"], {"id": 9, "file_name": "../x.png"}]),
        "leaves the folder",
    ),
    "category twice": (
        changed(categories=[*TREE["categories"], {"id": 1, "name": "Mass"}]),
        "'Mass' stands twice",
    ),
    "unknown image": (
        changed(annotations=[{"image_id": 1, "category_id": 7, "bbox": [1, 1, 1, 1]}]),
        "annotations[0]: image_id 1",
    ),
    "unknown category": (
        changed(annotations=[{"image_id": 3, "category_id": 8, "bbox": [1, 1, 1, 1]}]),
        "category_id 8",
    ),
    "three numbers": (
        changed(annotations=[{"image_id": 3, "category_id": 7, "bbox": [1, 1, 1]}]),
        "bbox [1, 1, 1] is not",
    ),
    "no width": (
        changed(annotations=[{"image_id": 3, "category_id": 7, "bbox": [1, 1, 0, 1]}]),
        "positive size",
    ),
    "text in a box": (
        changed(annotations=[{"image_id": 3, "category_id": 7, "bbox": ["1", 1, 1, 1]}]),
        "annotations[0]: bbox",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_with_their_place(tmp_path, fault):
    tree, sentence = FAULTS[fault]
    with pytest.raises(InputError) as caught:
        coco.coco(root=written(tmp_path, tree))
    assert sentence in str(caught.value)
    assert str(tmp_path / "x.json") in str(caught.value)


@pytest.mark.parametrize("name", ["annotations.json", "instances.json"])
def test_a_folder_with_annotations_is_read_as_coco_and_not_as_bare_pictures(tmp_path, name):
    written(tmp_path, TREE, name)
    make.image(tmp_path / "a.png")
    (tmp_path / "notes.json").write_text('{"images": 3}')
    (tmp_path / "broken.json").write_text('{"annotations": "categories"')
    predicted = {**TREE, "info": {"format": "wsrpn predictions 1"}}
    written(tmp_path, predicted, "predictions.json")
    found = data.load(DataConfig(source=str(tmp_path)))
    assert found.classes == ("Nodule", "Mass")
    assert [record.labels for record in found.records] == [(1, 0), (0, 1), (0, 0)]
    assert coco.coco(root=tmp_path).records[0].path == tmp_path / "b.png"


def test_a_folder_with_pictures_and_predictions_stays_one_of_pictures(tmp_path):
    make.image(tmp_path / "a.png")
    predicted = {**TREE, "info": {"format": "wsrpn predictions 1"}}
    written(tmp_path, predicted, "predictions.json")
    assert base.recognise(str(tmp_path))[0] == "folder"
    with pytest.raises(InputError, match=r"no COCO annotations .* in this folder"):
        coco.coco(root=tmp_path)


def test_of_several_annotations_in_a_folder_one_must_be_named(tmp_path):
    for name in ("test.json", "train.json"):
        written(tmp_path, TREE, name)
    with pytest.raises(InputError, match=r"several COCO annotations .*coco:.*test\.json"):
        data.load(DataConfig(source=str(tmp_path)))
