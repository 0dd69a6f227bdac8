"""`data check` finds every planted fault, and nothing in a clean set."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import check, images


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
        "partly_outside": 1, "wholly_outside": 1, "tiny": 1,
        "box_without_label": 1, "label_without_box": 1,
    }  # fmt: skip
    assert found["text"] == 1
    assert found["classes"]["A"]["unknown"] == 1
    assert "1 files cannot be read" in problems
    assert "4.png: cannot be decoded" in problems
    assert "1 patients are in more than one split: a." in problems
    assert "2.png = 3.png" in problems
    assert "1 boxes lie outside their image: 0.png." in problems
    assert "1 boxes reach out of their image and will be clipped: 0.png." in warnings
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
    assert found["warnings"] == ["1 images are there more than once: 0.png = 1.png."]


def test_long_lists_are_cut_and_counts_are_not(tmp_path):
    rows = [{"image": f"{n:02d}.png", "labels": ""} for n in range(30)]
    found = checked(make.manifest(tmp_path, rows, pictures=False))
    assert found["problems"][0].startswith("30 files cannot be read: ")
    assert "… 10 more" in found["problems"][0]


def test_the_contact_sheet_shows_boxes_where_they_are(tmp_path):
    dataset = data.load(DataConfig(source=str(make.manifest(tmp_path, 3))))
    check.contact_sheet(dataset, tmp_path / "sheet.png", count=3, columns=3, side=128)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert sheet.shape == (142, 384, 3)
    yellow = (sheet[..., 0] > 200) & (sheet[..., 1] > 200) & (sheet[..., 2] < 60)
    rows, columns = np.nonzero(yellow[:128, :128])
    left, top, right, bottom = np.array(dataset.records[0].boxes[0].xyxy_px) * 2
    assert abs(columns.min() - left) <= 2
    assert abs(rows.min() - top) <= 2
    assert abs(columns.max() - right) <= 2
    assert abs(rows.max() - bottom) <= 2


def test_the_contact_sheet_draws_a_set_it_cannot_read(tmp_path):
    folder = make.manifest(tmp_path, 4, pictures=False)
    check.contact_sheet(data.load(DataConfig(source=str(folder))), tmp_path / "s.png")
    assert images.size(tmp_path / "s.png") == (192 + 14, 6 * 192)
