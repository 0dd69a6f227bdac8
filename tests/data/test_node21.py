"""NODE21 and the MetaImage files that it is stored in."""

import zlib

import numpy as np
import pytest

from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.data.node21 import node21
from wsrpn.errors import InputError

VALUES = make.grey(3, (24, 32))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("msb", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
def test_an_mha_file_gives_its_values_whatever_type_order_and_packing(tmp_path, packed, msb, kind):
    values = VALUES.astype(kind) / (255 if kind.startswith("f") else 1)
    path = make.mha(tmp_path / "x.mha", values.astype(kind), packed=packed, msb=msb)
    assert images.size(path) == (24, 32)
    read = images.read(path)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, VALUES / 255, atol=1e-6)


def test_deep_values_are_scaled_by_the_bits_they_use_and_signed_ones_stretched(tmp_path):
    deep = make.mha(tmp_path / "deep.mha", VALUES.astype("u2") * 16)
    np.testing.assert_allclose(images.read(deep), VALUES * (16 / 4095), atol=1e-6)
    signed = VALUES.astype("i2") * 4 - 300
    read = images.read(make.mha(tmp_path / "signed.mha", signed))
    np.testing.assert_allclose(read, (signed - signed.min()) / np.ptp(signed), atol=1e-6)


def test_a_stack_of_one_is_an_image_and_one_of_several_needs_a_number(tmp_path):
    one = make.mha(tmp_path / "one.mha", VALUES[None])
    np.testing.assert_array_equal(images.read(one), VALUES / np.float32(255))
    stack = make.mha(tmp_path / "stack.mha", np.stack([VALUES, VALUES[::-1]]))
    with pytest.raises(ImageReadError, match="2 frames, one expected"):
        images.read(stack)
    np.testing.assert_allclose(images.read(stack, frame=1), VALUES[::-1] / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ({"ElementDataFile": "x.raw"}, "the pixels are in another file"),
        ({"DimSize": "32 24 1 1"}, "DimSize '32 24 1 1'"),
        ({"DimSize": "32 -24"}, "DimSize '32 -24'"),
        ({"DimSize": "32 0"}, "32 × 0 pixels is no image"),
        ({"DimSize": "99999 99999"}, "more than the 64 million allowed"),
        ({"DimSize": "32 25"}, "truncated: 768 of 800 bytes"),
        ({"ElementNumberOfChannels": "3"}, "several channels"),
        ({"ElementType": "MET_LONG"}, "ElementType 'MET_LONG'"),
        ({"BinaryData": "False"}, "binary MET_CHAR"),
        ({"CompressedData": "True"}, "cannot be decoded"),
    ],
)
def test_what_is_not_read_of_an_mha_file_is_refused_by_name(tmp_path, header, sentence):
    path = make.mha(tmp_path / "x.mha", VALUES, **header)
    with pytest.raises(ImageReadError, match=sentence) as caught:
        images.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_mha_file_without_a_header_is_refused(tmp_path):
    path = tmp_path / "x.mha"
    for content in (b"\x89PNG\r\n\x1a\n", b"NDims = 2\nDimSize = 3 3\n", b"x" * 100_000):
        path.write_bytes(content)
        with pytest.raises(ImageReadError, match=r"no header of an \.mha file"):
            images.read(path)


def test_a_packed_file_unpacks_to_no_more_than_its_header_says(tmp_path):
    path = make.mha(tmp_path / "x.mha", VALUES, packed=True)
    header = path.read_bytes().split(b"LOCAL\n")[0] + b"LOCAL\n"
    path.write_bytes(header + zlib.compress(VALUES.tobytes() + bytes(50_000_000)))
    np.testing.assert_array_equal(images.read(path), VALUES / np.float32(255))


def boxes(dataset):
    return {r.id: [box.xyxy_px for box in r.boxes] for r in dataset.records}


@pytest.mark.parametrize("below", ["", "cxr_images", "cxr_images/proccessed_data"])
def test_rows_are_nodules_and_zeros_are_none_from_any_folder_of_the_download(tmp_path, below):
    found = data.load(DataConfig(source=f"node21:{make.node21(tmp_path) / below}"))
    assert boxes(found) == {
        "n0001": [(20.0, 8.0, 32.0, 18.0), (4.0, 30.0, 12.0, 39.0)],
        "n0002": [(30.0, 30.0, 36.0, 36.0)],
        "c0001": [],
        "c0002": [],
    }
    assert [r.labels for r in found.records] == [(1.0,), (1.0,), (0.0,), (0.0,)]
    assert all(r.boxes_known for r in found.records)


def test_the_download_is_recognised(tmp_path):
    assert len(data.load(DataConfig(source=str(make.node21(tmp_path))))) == 4


def test_images_of_one_patient_of_another_set_stay_together(tmp_path):
    found = node21(root=make.node21(tmp_path))
    by_id = {r.id: r for r in found.records}
    assert by_id["n0001"].patient == by_id["c0001"].patient == "chestxray14:00000013"
    assert by_id["c0002"].patient == "openi:1"
    assert by_id["n0002"].patient == "jsrt:JPCLN001"
    assert by_id["n0002"].extra == {"source": "jsrt"}


def test_without_the_lists_of_origins_every_image_is_a_patient_and_that_is_said(tmp_path):
    found = node21(root=make.node21(tmp_path, origins=False))
    assert {r.patient for r in found.records} == {"n0001", "n0002", "c0001", "c0002"}
    assert "4 images of unknown origin: each counts as a patient." in found.notes


def test_the_images_before_processing_have_boxes_of_their_own(tmp_path):
    folder = make.node21(tmp_path, original=True)
    found = data.load(DataConfig(source=f"node21:{folder}?version=original"))
    assert boxes(found)["n0002"] == [(60.0, 60.0, 72.0, 72.0)]
    assert images.size(found.records[0].path) == (96, 96)
    assert boxes(node21(root=folder))["n0002"] == [(30.0, 30.0, 36.0, 36.0)]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("n0002.mha,1,6", "n0002.mha,3,6", "label '3' is neither 0 nor 1"),
        ("n0002.mha,1,6", "n0002.mha,0,6", "label 0 has a box"),
        ("n0002.mha,1,6", "n0002.mha,1,0", "must be positive"),
        ("n0002.mha,1,6", "c0001.mha,1,6", "but not in another row"),
        ("img_name", "image", "no column 'img_name'"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, old, new, sentence):
    path = make.node21(tmp_path) / "cxr_images" / "proccessed_data" / "metadata.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        node21(root=tmp_path)
    assert sentence in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_a_folder_without_a_table_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"no metadata\.csv here, nor in proccessed_data"):
        node21(root=tmp_path)
