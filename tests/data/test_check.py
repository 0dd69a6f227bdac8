"""`data check` finds every planted fault, and nothing in a clean set."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import make
from tests.metrics.worlds import record
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import check, images, sheet
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record


def checked(folder):
    dataset = data.load(DataConfig(source=str(folder)))
    return check.check(dataset)


def test_a_clean_set_has_no_problems_and_right_counts(tmp_path):
    found = checked(make.manifest(tmp_path, 12))
    assert found["problems"] == []
    assert found["warnings"] == []
    assert found["images"] == 12
    assert found["patients"] == 4
    assert found["classes"]["left"] == {"present": 4, "absent": 8, "unknown": 0, "boxes": 4}
    assert sum(counts["images"] for counts in found["splits"].values()) == 12
    assert found["boxes"]["count"] == 8
    assert found["sizes_px"] == {"smallest": [64, 64], "largest": [64, 64]}
    json.dumps(found, allow_nan=False)


@pytest.fixture
def faulty(tmp_path):
    rows = [
        {"image": f"{n}.png", "patient": p, "split": s, "labels": labels, "unknown": u, "text": t}
        for n, (p, s, labels, u, t) in enumerate([
            ("a", "train", "A", "", "report"),
            ("a", "test", "A", "", ""),
            ("b", "train", "", "A", ""),
            ("c", "val", "", "", ""),
            ("d", "train", "A", "", ""),
        ])
    ]  # fmt: skip
    boxes = [
        ("0.png", "A", -5, 1, 20, 20), ("0.png", "A", 70, 1, 5, 5), ("1.png", "A", 1, 1, 0.5, 0.5),
        ("3.png", "A", 1, 1, 20, 20), ("1.png", "A", 63.7, 10, 0.7, 10),
    ]  # fmt: skip
    folder = make.manifest(tmp_path, rows, boxes=boxes)
    table = (folder / "images.csv").read_text().splitlines()
    said = [table[0] + ",boxes_known", *(line + ",yes" for line in table[1:])]
    (folder / "images.csv").write_text("\n".join(said))
    for n in range(5):
        make.image(folder / f"{n}.png", make.blob(centre=(0.1 * n + 0.2, 0.5)))
    (folder / "3.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:400])
    return folder


def test_every_planted_fault_is_found_and_no_other(faulty):
    found = checked(faulty)
    problems, warnings = "\n".join(found["problems"]), "\n".join(found["warnings"])
    assert list(found["unreadable"]) == ["4.png"]
    assert found["patient_leaks"] == ["a"]
    assert found["duplicates_across_splits"] == [["2.png", "3.png"]]
    boxes = {k: v for k, v in found["boxes"].items() if k not in {"count", "images_known"}}
    assert boxes == {
        "partly_outside": 1, "wholly_outside": 1, "tiny": 1, "whole_image": 0, "repeated": 0,
        "box_without_label": 1, "label_without_box": 1,
    }  # fmt: skip
    assert found["text"]["images"] == 1
    assert found["classes"]["A"]["unknown"] == 1
    assert "1 file cannot be read: " in problems
    assert "4.png: cannot be decoded" in problems
    assert "1 patient is in more than one split: a." in problems
    assert "2.png = 3.png" in problems
    assert "1 box lies outside its image: 0.png." in problems
    assert "1 box reaches out of its image and will be clipped: 0.png." in warnings
    assert "deny: 3.png" in warnings
    assert "no box although boxes are known: 4.png" in warnings


def test_lines_for_people_name_everything(faulty):
    told = "\n".join(check.lines(checked(faulty)))
    assert "5 images of 4 patients (train: 3, val: 1, test: 1)" in told
    assert "A: 3 present, 1 absent, 1 unknown, 5 boxes" in told
    assert told.count("problem: ") == 4


def test_twins_in_one_split_are_only_a_warning(tmp_path):
    rows = [
        {"image": f"{n}.png", "split": split, "labels": label}
        for n, (split, label) in enumerate([("train", "A"), ("train", ""), ("val", "")])
    ]
    folder = make.manifest(tmp_path, rows)
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    found = checked(folder)
    assert found["problems"] == []
    assert found["warnings"] == [
        "1 image is there more than once: 0.png = 1.png.",
        "split val: no image has the label present of A.",
    ]


def test_long_lists_are_cut_and_counts_are_not(tmp_path):
    rows = [{"image": f"{n:02d}.png", "labels": ""} for n in range(30)]
    found = checked(make.manifest(tmp_path, rows, pictures=False))
    assert found["problems"][0].startswith("30 files are missing: ")
    assert "… 10 more" in found["problems"][0]


def test_masks_and_other_files_beside_an_image_are_looked_at(tmp_path):
    rows = [{"image": f"{n}.png", "labels": "A" * (n == 0), "mask": f"m{n}.png"} for n in range(3)]
    folder = make.manifest(tmp_path, rows)
    make.image(folder / "m0.png", np.zeros((64, 64)))
    make.image(folder / "m1.png", np.zeros((32, 64)))
    found = checked(folder)
    assert found["masks"] == 3
    assert list(found["missing"]) == ["2.png"]
    missing, odd = found["problems"]
    assert missing.startswith("1 file is missing: ")
    assert "m2.png" in missing
    assert "m1.png: the mask has 64 × 32 pixels and its image 64 × 64. Draw or export it" in odd


def test_texts_are_counted_compared_and_measured(tmp_path):
    words = ["normal", "normal", "one two three", "one two three four five", ""]
    rows = [
        {"image": f"{n}.png", "split": split, "labels": "A" * (n % 2), "text": text}
        for n, (split, text) in enumerate(
            zip(("train", "val", "train", "train", "test"), words, strict=True)
        )
    ]
    found = checked(make.manifest(tmp_path, rows))
    assert found["text"] == {
        "images": 4, "share": 0.8, "distinct": 3, "in_several_splits": 1, "median_words": 3,
    }  # fmt: skip
    told = "\n".join(check.lines(found))
    assert "text: 4 images (80%), 3 different, median 3 words" in told


def test_prevalence_is_told_split_by_split(tmp_path):
    rows = [
        {"image": f"{n}.png", "split": split, "labels": labels, "unknown": unknown}
        for n, (split, labels, unknown) in enumerate([
            ("train", "A", ""), ("train", "", ""), ("train", "", "A"), ("val", "", ""),
            ("test", "A", ""),
        ])
    ]  # fmt: skip
    found = checked(make.manifest(tmp_path, rows))
    assert found["prevalence"]["train"]["A"] == {
        "present": 1, "absent": 1, "unknown": 1, "boxes": 0,
    }  # fmt: skip
    assert found["warnings"] == [
        "split val: no image has the label present of A.",
        "split test: no image has the label absent of A.",
    ]
    told = "\n".join(check.lines(found))
    assert "present in train 50%, val 0%, test 100%" in told


def test_boxes_that_say_nothing_are_told(tmp_path):
    rows = [{"image": f"{n}.png", "labels": "A" * (n < 2)} for n in range(3)]
    boxes = [("0.png", "A", 1, 1, 5, 5), ("0.png", "A", 1, 1, 5, 5), ("1.png", "A", 0, 0, 64, 63)]
    told = "\n".join(checked(make.manifest(tmp_path, rows, boxes=boxes))["warnings"])
    assert "1 box is there twice: 0.png." in told
    assert "1 box covers nearly the whole image: 1.png." in told


def test_the_contact_sheet_shows_boxes_where_they_are(tmp_path):
    dataset = data.load(DataConfig(source=str(make.manifest(tmp_path, 3))))
    sheet.contact_sheet(dataset, tmp_path / "sheet.png", count=3, columns=3, side=256)
    drawn = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert drawn.shape == (256 + sheet.STRIP + sheet.LINE, 3 * 256 + 2 * sheet.GAP, 3)
    edge = np.abs(drawn - (0xF0, 0xE4, 0x42)).max(axis=-1) < 8
    rows, columns = np.nonzero(edge[:256, :256])
    left, top, right, bottom = np.array(dataset.records[0].boxes[0].xyxy_px) * 4
    assert abs(columns.min() - left) <= 2
    assert abs(rows.min() - top) <= 2
    assert abs(columns.max() - right) <= 2
    assert abs(rows.max() - bottom) <= 2


def test_a_contact_sheet_keeps_the_shape_of_an_image(tmp_path):
    folder = make.manifest(tmp_path, [{"image": "a.png", "labels": ""}], size=(32, 64))
    dataset = data.load(DataConfig(source=str(folder)))
    sheet.contact_sheet(dataset, tmp_path / "s.png", side=128)
    drawn = np.asarray(Image.open(tmp_path / "s.png").convert("L"))
    assert drawn.shape == (128 + sheet.STRIP, 128)
    assert drawn[:62].max() > 100
    assert drawn[66:128].max() == 0


def rims(drawn):
    return np.abs(drawn - np.array(sheet.MASK)).max(axis=-1) < 3


def masked_sheet(folder, mask, **options):
    """The sheet of one flat grey image with a mask, at twice its size."""
    rows = [{"image": "a.png", "labels": "", "mask": "m.png"}]
    make.manifest(folder, rows, pictures=False)
    make.image(folder / "a.png", np.full((64, 64), 100, np.uint8))
    make.image(folder / "m.png", mask)
    dataset = data.load(DataConfig(source=str(folder)))
    sheet.contact_sheet(dataset, folder / "s.png", side=128, **options)
    return np.asarray(Image.open(folder / "s.png").convert("RGB")).astype(int)[:128]


def test_the_contact_sheet_draws_a_rim_around_each_object_of_a_mask_and_tints_it(tmp_path):
    mask = np.zeros((64, 64), dtype=np.uint16)
    mask[10:20, 10:20], mask[10:20, 20:30], mask[60:, 60:] = 1, 2, 700
    drawn = masked_sheet(tmp_path, mask)
    edge = rims(drawn)
    for row, column in ((20, 30), (39, 30), (30, 20), (30, 59), (30, 40), (127, 127)):
        assert edge[row, column]
    assert not edge[30, 39], "one line between two that touch"
    assert edge.sum() < 3 * 4 * 20
    for row, column in ((30, 30), (30, 50), (124, 124)):
        assert drawn[row, column, 2] > 130
    assert drawn[5, 5].tolist() == [100] * 3


def test_an_inverted_mask_is_seen_on_the_contact_sheet(tmp_path):
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[10:20, 10:20] = 255
    right, wrong = masked_sheet(tmp_path / "a", mask), masked_sheet(tmp_path / "b", 255 - mask)
    assert ((right[..., 2] > 130) & ~rims(right)).mean() < 0.05
    assert ((wrong[..., 2] > 130) & ~rims(wrong)).mean() > 0.9
    inverted = Record("a", tmp_path / "b/a.png", "a", (), mask=tmp_path / "b/m.png")
    assert sheet._mask(inverted, (64, 64))[1] == "mask 98%"


def test_a_mask_that_cannot_be_used_is_told_on_the_contact_sheet(tmp_path):
    small = masked_sheet(tmp_path, np.full((32, 64), 255, np.uint8))
    assert not rims(small).any()
    one = Record("a", tmp_path / "a.png", "a", (), mask=tmp_path / "m.png")
    assert sheet._mask(one, (64, 64)) == (None, "mask of another size")
    (tmp_path / "m.png").write_bytes(b"broken")
    assert sheet._mask(one, (64, 64)) == (None, "mask unreadable")


def test_every_class_has_its_turn_on_a_contact_sheet():
    # One class fills the set; the others have an image each, far back.
    rows = [(1.0, 0.0, 0.0)] * 50 + [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)]
    records = tuple(record(f"{n}", labels) for n, labels in enumerate(rows))
    chosen = sheet.spread(Dataset("x", ("A", "B", "C"), records), 8)
    assert len({r.id for r in chosen}) == 8
    assert {"50", "51", "52"} < {r.id for r in chosen}
    assert [int(r.id) for r in chosen] == sorted(int(r.id) for r in chosen)
    assert len(sheet.spread(Dataset("x", (), (record("a", ()),)), 8)) == 1


def test_the_contact_sheet_draws_a_set_it_cannot_read(tmp_path):
    folder = make.manifest(tmp_path, 4, pictures=False)
    sheet.contact_sheet(data.load(DataConfig(source=str(folder))), tmp_path / "s.png")
    assert images.size(tmp_path / "s.png")[1] == 4 * 192 + 3 * sheet.GAP
    with pytest.raises(InputError, match=r"a contact sheet is a \.png"):
        sheet.contact_sheet(Dataset("x", (), ()), tmp_path / "s.jpg")


def test_data_without_any_class_are_a_warning(tmp_path):
    make.image(tmp_path / "a.png")
    assert any("no class" in told for told in checked(tmp_path)["warnings"])


def test_odd_names_of_classes_are_warnings_once(tmp_path):
    labels = ("No Finding", "mass", "Mass", "Edema,Mass")
    rows = [{"image": f"{n}.png", "labels": f'"{name}"'} for n, name in enumerate(labels)]
    found = checked(make.manifest(tmp_path, rows))
    told = "\n".join(found["warnings"])
    assert "class 'No Finding' looks like 'no finding': leave the cell empty" in told
    assert "'Mass' and 'mass' differ in nothing but case" in told
    assert "'Edema,Mass' has a comma: if it means several classes, join them with |" in told
    assert not any("comma" in note or "case" in note for note in found["notes"])


def test_a_check_says_what_a_training_would_get_for_validation(tmp_path):
    rows = [
        {"image": f"{n}.png", "patient": f"p{n}", "split": "train", "labels": "A" * (n % 2)}
        for n in range(10)
    ]
    made = make.manifest(tmp_path / "ten", rows)
    assert data.load(DataConfig(source=str(made))).notes == ()
    assert any("No validation images" in note for note in checked(made)["notes"])
