"""JSRT: headerless big-endian images of which dense is dark, tables with lone carriage returns."""

import numpy as np
import pytest

from tests import make as tiny
from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.data.jsrt import jsrt
from wsrpn.errors import InputError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """One image of 8 MB for all tests that need a real .IMG."""
    return make.img(tmp_path_factory.mktemp("raw") / "JPCLN001.IMG", 1)


def test_an_img_file_is_read_big_endian_with_dense_turned_to_bright(raw):
    read = images.read(raw)
    assert images.size(raw) == read.shape == (2048, 2048)
    np.testing.assert_allclose(read, tiny.blob((2048, 2048), (0.4, 0.4)), atol=2e-4)
    # The spot is where it was drawn, not at its transpose, and brighter than the ground.
    assert read[819, 819] > 0.7 > 0.3 > read[100, 1900]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data[:-2], "8388606 bytes; an .IMG file of JSRT has no header"),
        (lambda data: data[:2048], "2048 bytes"),
        (lambda data: b"", "the file is empty"),
        # Read with the bytes the other way round, 12 bits become 16.
        (lambda data: np.frombuffer(data, ">u2").astype("<u2").tobytes(), "values above 4095"),
    ],
)
def test_an_img_file_that_is_none_of_jsrt_is_refused(raw, tmp_path, change, sentence):
    path = tmp_path / "x.img"
    path.write_bytes(change(raw.read_bytes()))
    with pytest.raises(ImageReadError, match=sentence):
        images.read(path)


def test_an_img_file_counts_against_the_pixels_allowed(raw):
    with pytest.raises(ImageReadError, match="more than the 1 million allowed"):
        images.size(raw, max_pixels=1_000_000)


def test_the_box_of_an_img_file_is_in_its_own_pixels(raw):
    clinical = raw.parent / "CLNDAT_EN.txt"
    clinical.write_bytes("\t".join(make.JSRT_NODULES[0]).encode())
    (record,) = jsrt(root=raw.parent).records
    half = 15 / 0.175 / 2
    corners = (1634 - half, 692 - half, 1634 + half, 692 + half)
    assert record.boxes[0].xyxy_px == pytest.approx(corners)


def test_the_table_of_nodules_ends_its_lines_with_carriage_returns_alone(tmp_path):
    found = data.load(DataConfig(source=str(make.jsrt(tmp_path))))
    assert [r.id for r in found.records] == ["JPCLN001", "JPCLN002", "JPCNN001", "JPCNN002"]
    assert [r.labels for r in found.records] == [(1.0,), (1.0,), (0.0,), (0.0,)]
    assert found.classes == ("Nodule",)
    assert found.notes == ()
    first = found.records[0].extra
    assert (first["age"], first["subtlety"], first["diagnosis"]) == ("53", "5", "lung cancer")
    assert found.records[1].extra["age"] == ""  # it says ?
    assert found.records[2].extra["sex"] == "Female"


def test_boxes_are_squares_of_the_size_in_millimetres_on_copies_too(tmp_path):
    found = jsrt(root=make.jsrt(tmp_path, size=256))
    # 35 mm are 200 px of the original, 25 of a copy an eighth as large.
    assert found.records[1].boxes[0].xyxy_px == pytest.approx((115.5, 115.5, 140.5, 140.5))
    assert found.records[2].boxes == ()
    assert all(r.boxes_known for r in found.records)


def test_kaggles_table_says_the_same(tmp_path):
    one = jsrt(root=make.jsrt(tmp_path / "a", size=128))
    other = data.load(DataConfig(source=str(make.jsrt_kaggle(tmp_path / "b"))))
    for ours, theirs in zip(one.records, other.records, strict=True):
        assert ours.boxes == theirs.boxes
        assert ours.labels == theirs.labels
        assert ours.extra["age"] == theirs.extra["age"]


def test_without_clinical_tables_the_label_is_known_and_the_box_is_not(tmp_path):
    make.jsrt(tmp_path)
    (tmp_path / "Clinical_Information" / "CLNDAT_EN.txt").unlink()
    found = jsrt(root=tmp_path)
    assert [r.labels[0] for r in found.records] == [1, 1, 0, 0]
    assert [r.boxes_known for r in found.records] == [False, False, True, True]
    note = "2 images with a nodule that is not in the clinical tables: box unknown."
    assert found.notes == (note,)


def test_rows_without_an_image_are_counted(tmp_path):
    next(make.jsrt(tmp_path).rglob("JPCNN001.png")).unlink()
    found = jsrt(root=tmp_path)
    assert "1 images of the clinical tables without a file, left out." in found.notes


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("1634", "?", "x '?' is not a finite number"),
        ("\t15\t", "\t0\t", "size 0 mm must be positive"),
        ("JPCLN002", "JPCLN001", "'JPCLN001' stands already in"),
        ("JPCLN002", "JP2", "'JP2.IMG' is no name of JSRT"),
        ("\t", " ", "cells, ten were expected, by tabs"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, old, new, sentence):
    path = make.jsrt(tmp_path) / "Clinical_Information" / "CLNDAT_EN.txt"
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new).encode())
    with pytest.raises(InputError) as caught:
        jsrt(root=tmp_path)
    assert sentence in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_a_folder_without_images_of_jsrt_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no JPCLN001\.IMG"):
        jsrt(root=tmp_path)
