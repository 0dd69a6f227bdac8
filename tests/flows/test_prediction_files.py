"""Predictions on disk: there and back, other people's files, damaged files."""

import gzip
import json

import numpy as np
import pytest

from tests.metrics.worlds import CLASSES, detections, world
from wsrpn import predictions as files
from wsrpn.data.coco import coco
from wsrpn.errors import InputError
from wsrpn.evaluate import evaluate
from wsrpn.types import Predictions

HEADER = "image,label,score,x,y,width,height\n"


def same(a, b, *, boxes_only=False):
    for x, y in zip(a.images, b.images, strict=True):
        assert x.id == y.id
        np.testing.assert_allclose(x.xyxy_px, y.xyxy_px, atol=1e-9)
        np.testing.assert_array_equal(x.scores, y.scores)
        np.testing.assert_array_equal(x.classes, y.classes)
        if not boxes_only:
            assert x.size_px == y.size_px
            np.testing.assert_array_equal(x.image_logits, y.image_logits)


def clipped(predictions):
    """The same as it is after reading: cut to the image."""
    return files.dataclasses.replace(
        predictions,
        images=tuple(
            files.dataclasses.replace(d, xyxy_px=d.xyxy_px.clip(0, 64)) for d in predictions.images
        ),
    )


def test_json_gives_back_everything_and_the_same_report(tmp_path):
    predictions, dataset = world()
    predictions = clipped(predictions)
    files.write(predictions, tmp_path / "p.json")
    back = files.read(tmp_path / "p.json")
    same(predictions, back)
    assert back.classes == CLASSES
    assert back.provenance == predictions.provenance
    a, b = (evaluate(p, dataset, bootstrap=3).metrics for p in (predictions, back))
    assert {n: f.value for n, f in a.items()} == pytest.approx({n: f.value for n, f in b.items()})


def test_json_keeps_unknown_and_huge_logits_empty_images_and_failures(tmp_path):
    odd = detections("a", (), (np.nan, np.inf, -np.inf))
    written = Predictions(CLASSES, (odd,), {}, {"b": "truncated"})
    files.write(written, tmp_path / "p.json")
    back = files.read(tmp_path / "p.json")
    assert np.isnan(back.images[0].image_logits[0])
    assert back.images[0].image_logits[1] > 1e5 > -1e5 > back.images[0].image_logits[2]
    assert back.failed == {"b": "truncated"}


def test_csv_gives_back_the_boxes_and_the_images_without_any(tmp_path):
    predictions, _ = world(images=5)
    more = files.dataclasses.replace(
        predictions, images=(*predictions.images, detections("none.png"))
    )
    files.write(more, tmp_path / "p.csv")
    back = files.read(tmp_path / "p.csv")
    assert back.images[-1].id == "none.png"
    assert sorted(back.classes) == sorted(CLASSES)
    names = [[p.classes[k] for d in p.images for k in d.classes] for p in (more, back)]
    assert names[0] == names[1]
    assert np.isnan(back.images[0].image_logits).all()


def test_the_classes_of_the_data_come_first_and_foreign_ones_after(tmp_path):
    _, dataset = world(images=3)
    path = tmp_path / "p.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "i0.png,Zebra,0.5,1,2,3,4\ni1.png,Nodule,0.25,1,2,3,4\n")
    back = files.read(path, dataset)
    assert back.classes == (*CLASSES, "Zebra")
    assert back.images[1].classes.tolist() == [1]
    np.testing.assert_array_equal(back.images[0].xyxy_px, [[1, 2, 4, 6]])


def test_a_coco_results_list_is_read_with_its_data(tmp_path):
    _, dataset = world(images=3)
    path = tmp_path / "results.json"
    entry = {"image_id": "i1.png", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}
    path.write_text(json.dumps([entry]))
    back = files.read(path, dataset)
    assert [d.id for d in back.images] == ["i1.png"]
    assert back.images[0].classes.tolist() == [1]
    with pytest.raises(InputError, match="needs the data set"):
        files.read(path)


def test_a_coco_results_list_goes_by_the_numbers_of_its_coco_file(tmp_path):
    images = [{"id": 7, "file_name": "x.png"}, {"id": 4, "file_name": "0007.png"}]
    categories = [{"id": 2, "name": "A"}, {"id": 1, "name": "B"}, {"id": 30, "name": "C"}]
    truth = {"images": images, "categories": categories, "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    box = {"bbox": [1, 2, 3, 4], "score": 0.5}
    entries = [{"image_id": 7, "category_id": n, **box} for n in (2, 1, 30)]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    back = files.read(path, coco(root=tmp_path / "truth.json"))
    assert [d.id for d in back.images] == ["x.png"]
    assert back.images[0].classes.tolist() == [0, 1, 2]
    path.write_text(json.dumps([{"image_id": 7, "category_id": 3, **box}]))
    with pytest.raises(InputError, match="category 3"):
        files.read(path, coco(root=tmp_path / "truth.json"))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("p.csv", "image;label\n", "column 'image' is missing"),
        ("p.csv", HEADER.replace("score", "scores"), "Did you mean 'scores'"),
        ("p.csv", HEADER + "a,Mass,high,1,2,3,4\n", "row 2: score is 'high'"),
        ("p.csv", HEADER + "a,Mass,0.5,1,2,3,4\nb,Mass,0.5,1,2,-3,4\n", "row 3: width is '-3'"),
        ("p.csv", HEADER + "a,Mass,0.5,1,inf,3,4\n", "row 2: y is 'inf'"),
        ("p.csv", "", "not readable as CSV"),
        ("p.csv.gz", "not zipped", "not readable as CSV"),
        ("p.json", "{", "not readable as predictions"),
        ("p.json", "{}", "neither predictions of"),
        ("p.json", "7", "neither predictions of"),
        ("p.txt", "", "read from .json, .csv or .csv.gz"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path, name, text, sentence):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        files.read(path)


def test_a_file_that_is_missing_is_one_sentence(tmp_path):
    for name in ("p.csv", "p.json"):
        with pytest.raises(InputError, match="no such file"):
            files.read(tmp_path / name)
    with pytest.raises(InputError, match=r"written as \.json or \.csv"):
        files.write(world(images=1)[0], tmp_path / "p.xml")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda d: d["annotations"][0].pop("score"),
            r"p\.json: annotation 1 has no score; is this the truth\?$",
        ),
        (lambda d: d["annotations"][0].update(image_id=99), "annotation 1 is of no listed image"),
        (lambda d: d["annotations"][0].update(category_id=99), "damaged predictions"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, -3, 4]), "a side is below 0"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2]), "bbox has 2 numbers"),
        (lambda d: d["images"][0].update(logits=[1.0]), "1 logits for 3 classes"),
        (lambda d: d["images"][0].pop("file_name"), "damaged predictions"),
    ],
)
def test_damaged_predictions_are_one_sentence(tmp_path, damage, sentence):
    document = files.document(world(images=2)[0])
    damage(document)
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=sentence):
        files.read(path)
