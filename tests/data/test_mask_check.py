"""What `data check` says of masks."""

import numpy as np
import pytest

from tests import make
from wsrpn.data import check
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
    assert "19 × 30 px, its image has 20 × 30" in found["odd_masks"]["b.png"]
    assert "c.png: not an image" in found["odd_masks"]["c.png"]
    assert "in colour" in found["odd_masks"]["e.png"]
    assert list(found["missing"]) == ["d.png"]
    assert told(found, "3 masks do not fit their image")
    assert told(found, "1 files are missing")
    assert found["mask_pixels"]["share"] == pytest.approx(50 / 600)  # of the one that is whole


def test_what_masks_and_labels_say_against_each_other_deserves_a_look(tmp_path):
    masks = {"a.png": INSIDE, "b.png": INSIDE * 0, "c.png": None, "d.png": None}
    found = check.check(dataset(tmp_path, masks, {"a.png": 0.0, "d.png": 0.0}))
    assert told(found, "masks show something that their image's labels deny: a.png")
    assert told(found, "masks are empty although their image has a label: b.png")
    assert told(found, "1 images have no mask and are not known to have nothing")
    assert found["mask_pixels"]["without"] == ["c.png"]


def test_a_smoothed_drawing_is_told_from_numbered_objects(tmp_path):
    smooth = INSIDE.copy()
    smooth[5, 10:20] = np.arange(20, 220, 20)
    numbered = np.zeros((20, 30), dtype=np.uint8)
    numbered[2] = np.arange(30) + 226
    found = check.check(dataset(tmp_path, {"a.png": smooth, "b.png": numbered}))
    assert found["mask_pixels"]["grey"] == ["a.png"]
    assert told(found, "masks look like smoothed drawings")


def test_data_without_any_mask_are_not_told_about_masks(tmp_path):
    found = check.check(dataset(tmp_path, {"a.png": None, "b.png": None}))
    assert found["mask_pixels"]["without"] == []
    assert not [text for text in check.lines(found) if text.startswith("masks")]
    assert not told(found, "mask")
