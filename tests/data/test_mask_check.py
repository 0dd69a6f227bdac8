"""What `data check` says of masks."""

import re

import numpy as np
import pytest
from PIL import Image

from tests import make
from wsrpn.config import DataConfig
from wsrpn.data import base, check, images
from wsrpn.data.images import ImageReadError
from wsrpn.types import Dataset, Record

INSIDE = np.zeros((20, 30), dtype=np.uint8)
INSIDE[5:10, 10:20] = 255


def dataset(folder, masks, labels=None, drr=None):
    """Images of noise (no two alike) with masks: name → numbers, or None for no mask."""
    rng = np.random.default_rng(0)
    records = []
    for name, numbers in masks.items():
        path = make.image(folder / name, rng.integers(0, 256, (20, 30)).astype(np.uint8))
        mask = None if numbers is None else make.image(folder / "masks" / name, numbers)
        label = (labels or {}).get(name, 1.0)
        records.append(Record(name, path, name, (label,), split="train", mask=mask, drr=drr))
    return Dataset("some", ("bead",), tuple(records))


def told(found, words):
    return [text for text in (*found["warnings"], *found["problems"]) if words in text]


def test_shares_objects_and_empty_masks_are_counted(tmp_path):
    objects = np.zeros((20, 30), dtype=np.uint16)
    objects[0, :6] = [1, 1, 700, 700, 9, 65_000]
    masks = {"a.png": INSIDE, "b.png": objects, "c.png": INSIDE * 0, "d.png": INSIDE // 255}
    found = check.check(dataset(tmp_path, masks, {"c.png": 0.0}))
    assert found["masks"] == 4
    pixels = found["mask_pixels"]
    assert (pixels["empty"], pixels["numbered"], pixels["objects"]) == (1, 1, 4)
    assert pixels["share"] == pytest.approx((50 + 6 + 0 + 50) / 600 / 4)
    assert found["problems"] == []
    (line,) = [text for text in check.lines(found) if text.startswith("masks: ")]
    assert line == "masks: 1 empty · 4.42% of all pixels inside · 4 objects in 1 mask, median 4"


def test_masks_of_another_size_damaged_or_missing_are_problems(tmp_path):
    masks = {"a.png": INSIDE, "b.png": INSIDE[:-1], "c.png": INSIDE, "d.png": INSIDE, "e.png":
             np.dstack([INSIDE, INSIDE * 0, INSIDE])}  # fmt: skip
    made = dataset(tmp_path, masks)
    made.records[2].mask.write_bytes(b"broken")
    made.records[3].mask.unlink()
    found = check.check(made)
    assert "the mask has 30 × 19 pixels and its image 30 × 20" in found["odd_masks"]["b.png"]
    assert "c.png: not an image" in found["odd_masks"]["c.png"]
    assert "in colour" in found["odd_masks"]["e.png"]
    assert list(found["missing"]) == ["d.png"]
    (misfit,) = told(found, "1 mask does not fit its image: ")
    assert "b.png" in misfit
    assert "c.png" not in misfit
    (bad,) = told(found, "2 masks cannot be read as a mask: ")
    assert "c.png" in bad
    assert "e.png" in bad
    assert told(found, "1 file is missing")
    for sentence in found["problems"]:
        assert ".." not in sentence.replace("...", "")
        ends = ("image as it is stored.", "out of the table.", "in each pixel, 0 outside.")
        assert sentence.endswith(ends), "the way out"
    (head,) = [text for text in check.lines(found) if text.startswith("boxes: ")]
    assert "masks: 5 (4 of them cannot be used)" in head
    assert found["mask_pixels"]["share"] == pytest.approx(50 / 600)  # of the one that is whole


def test_what_masks_and_labels_say_against_each_other_deserves_a_look(tmp_path):
    masks = {"a.png": INSIDE, "b.png": INSIDE * 0, "c.png": None, "d.png": None}
    found = check.check(dataset(tmp_path, masks, {"a.png": 0.0, "d.png": 0.0}))
    assert told(found, "1 mask shows something that its image's labels deny: a.png")
    assert told(found, "1 mask is empty although its image has a label: b.png")
    assert told(found, "1 image has no mask and is not known to have nothing")
    assert told(found, "name a mask that is 0 everywhere")
    assert found["mask_pixels"]["without"] == ["c.png"]


def test_a_smoothed_drawing_is_told_from_numbered_objects(tmp_path):
    smooth = INSIDE.copy()
    smooth[5, 10:20] = np.arange(20, 220, 20)
    numbered = np.zeros((20, 30), dtype=np.uint8)
    numbered[2] = np.arange(30) + 226
    found = check.check(dataset(tmp_path, {"a.png": smooth, "b.png": numbered}))
    assert found["mask_pixels"]["grey"] == ["a.png"]
    assert told(found, "1 mask looks like a smoothed drawing")


def test_masks_coded_by_class_are_told_from_numbered_objects(tmp_path):
    lungs = np.zeros((20, 30), dtype=np.uint8)
    lungs[5:15, 2:10] = lungs[5:15, 20:28] = 1
    lungs[7:9, 4:6] = 2
    coded = {f"{n}.png": lungs for n in range(3)}
    (said,) = told(check.check(dataset(tmp_path / "a", coded)), "look coded by class")
    assert "3 masks have the numbers 1, 2 each" in said
    (recipe,) = re.findall(r"Image\.from.*\.save\(OUT\)", said)
    given = {"Image": Image, "np": np, "IN": tmp_path / "a/masks/0.png", "OUT": tmp_path / "o.png"}
    eval(recipe, given)  # ours, not a user's
    np.testing.assert_array_equal(images.numbers(tmp_path / "o.png"), 255 * (lungs == 2))
    objects = np.zeros((20, 30), dtype=np.uint8)
    objects[2:5, 2:5], objects[8:12, 8:12] = 1, 2
    for kind, some in (("b", objects), ("c", INSIDE)):
        found = check.check(dataset(tmp_path / kind, {f"{n}.png": some for n in range(3)}))
        assert not told(found, "by class")
    assert not told(check.check(dataset(tmp_path / "d", {"0.png": lungs})), "by class")


def test_a_mask_in_colour_is_converted_as_the_sentence_says(tmp_path):
    path = make.image(tmp_path / "in.png", np.dstack([INSIDE * 0, INSIDE, INSIDE // 5]))
    with pytest.raises(ImageReadError, match="in colour") as error:
        images.numbers(path)
    (recipe,) = re.findall(r"Image\.open.*\.save\(OUT\)", str(error.value))
    eval(recipe, {"Image": Image, "IN": path, "OUT": tmp_path / "out.png"})  # ours, not a user's
    np.testing.assert_array_equal(images.numbers(tmp_path / "out.png"), INSIDE)


@pytest.mark.parametrize("labels", ["", "bead"])
def test_data_that_are_all_masks_are_not_said_to_lack_labels(tmp_path, labels):
    row = {"split": "train"} | ({"labels": labels} if labels else {})
    rows = [{"image": f"{n}.png", "mask": f"m{n}.png", **row} for n in range(4)]
    folder = make.manifest(tmp_path, rows)
    rng = np.random.default_rng(0)
    for n in range(4):
        make.image(folder / f"{n}.png", rng.integers(0, 256, (20, 30)).astype(np.uint8))
        make.image(folder / f"m{n}.png", INSIDE)
    made = base.load(DataConfig(source=str(folder)))
    assert not any("labels" in note for note in made.notes)
    found = check.check(made)
    assert found["warnings"] == found["problems"] == []
    said = any("4 masks and no class: models that segment learn from them." in n
               for n in found["notes"])  # fmt: skip
    assert said is not bool(labels)


def test_few_masks_do_not_stand_for_labels(tmp_path):
    rows = [{"image": f"{n}.png", "mask": "m.png" * (n == 0)} for n in range(3)]
    folder = make.manifest(tmp_path, rows, size=(20, 30))
    make.image(folder / "m.png", INSIDE)
    made = base.load(DataConfig(source=str(folder)))
    assert any("all labels are unknown" in note for note in made.notes)
    assert told(check.check(made), "there is no class")


def test_data_without_any_mask_are_not_told_about_masks(tmp_path):
    found = check.check(dataset(tmp_path, {"a.png": None, "b.png": None}))
    assert found["mask_pixels"]["without"] == []
    assert not [text for text in check.lines(found) if text.startswith("masks")]
    assert not told(found, "mask")


def test_the_share_inside_is_of_all_pixels_and_no_mean_over_images(tmp_path):
    small = make.image(tmp_path / "small.png", np.arange(100, dtype=np.uint8).reshape(10, 10))
    large = make.image(tmp_path / "large.png", np.zeros((100, 100), dtype=np.uint8))
    full = make.image(tmp_path / "masks" / "small.png", np.full((10, 10), 255, np.uint8))
    none = make.image(tmp_path / "masks" / "large.png", np.zeros((100, 100), np.uint8))
    records = tuple(
        Record(path.name, path, path.name, (1.0,), split="train", mask=mask)
        for path, mask in ((small, full), (large, none))
    )
    found = check.check(Dataset("some", ("bead",), records))
    assert found["mask_pixels"]["share"] == 100 / 10_100
    assert "0.99% of all pixels inside" in " ".join(check.lines(found))


def test_a_damaged_drr_is_read_and_listed(tmp_path):
    drr = make.image(tmp_path / "drr.png", INSIDE)
    assert not told(check.check(dataset(tmp_path, {"a.png": INSIDE}, drr=drr)), "DRR")
    drr.write_bytes(drr.read_bytes()[:40])
    found = check.check(dataset(tmp_path, {"a.png": INSIDE}, drr=drr))
    assert list(found["unreadable_drrs"]) == ["a.png"]
    assert told(found, "1 DRR cannot be read")
    drr.unlink()
    found = check.check(dataset(tmp_path, {"a.png": INSIDE}, drr=drr))
    assert found["unreadable_drrs"] == {}
    assert list(found["missing"]) == ["a.png"]
