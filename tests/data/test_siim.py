"""SIIM-ACR pneumothorax: relative run-length codes down the columns, several rows of an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import rle
from wsrpn.data.siim import siim
from wsrpn.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return make.siim(tmp_path)


def test_minus_one_is_no_pneumothorax_and_a_mask_gives_the_box_around_it(folder):
    found = data.load(DataConfig(source=str(folder)))
    none, two, one = found.records
    assert (none.labels, none.boxes) == ((0.0,), ())
    assert none.boxes_known
    assert one.labels == (1.0,)
    # Down the columns: x is the column, y the row.
    assert [box.xyxy_px for box in one.boxes] == [(700.0, 20.0, 730.0, 220.0)]
    assert two.id == make.SIIM[1]


def test_rows_of_one_image_are_joined_to_one_mask(folder):
    found = siim(root=folder)
    assert [b.xyxy_px for b in found.records[1].boxes] == [(100.0, 300.0, 200.0, 360.0)]
    assert "1 parts of masks under 0.01 % of the image got no box." in found.notes


def test_the_later_release_is_called_otherwise(tmp_path):
    found = siim(root=make.siim(tmp_path, name="stage_2_train.csv"))
    assert [record.labels for record in found.records] == [(0.0,), (1.0,), (1.0,)]


def test_boxes_follow_copies_of_another_size(tmp_path):
    found = siim(root=make.siim(tmp_path, suffix=".png"))
    assert found.records[2].boxes[0].xyxy_px == (350.0, 10.0, 365.0, 110.0)


def test_missing_files_are_counted(folder):
    next(folder.rglob(f"{make.SIIM[2]}.dcm")).unlink()
    found = siim(root=folder)
    assert len(found) == 2
    assert "1 images of train-rle.csv without a file, left out." in found.notes


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (" -1", "1 2 3", "no list of pairs of gap and length, nor -1"),
        (" -1", "", "no list of pairs of gap and length, nor -1"),
        (" -1", "5 x", "no list of pairs of gap and length, nor -1"),
        (" -1", "5 -7", "no list of pairs of gap and length, nor -1"),
        (" -1", "5 0", "a run of length 0"),
        (" -1", "1048570 7", "ends at pixel 1048577 of 1048576"),
        (" -1", "9999999999 1", "no list of pairs"),
        (make.SIIM[2], make.SIIM[0], "several rows, and -1 in one of them"),
        ("ImageId, EncodedPixels", "ImageId,Pixels", "no column 'EncodedPixels'"),
    ],
)
def test_faults_are_named_with_file_and_line(folder, old, new, sentence):
    path = folder / "train-rle.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        siim(root=folder)
    assert sentence in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_a_folder_without_a_table_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"neither train-rle\.csv nor stage_2_train\.csv"):
        siim(root=tmp_path)


masks = st.builds(
    lambda seed, share, h, w: np.random.default_rng(seed).random((h, w)) < share,
    st.integers(0, 99),
    st.floats(0.05, 0.9),
    st.integers(2, 12),
    st.integers(2, 12),
)


def encoded(mask):
    """The definition, pixel by pixel: column by column, gaps from the end of the last run."""
    words, gap, run = [], 0, 0
    for value in [*mask.T.ravel(), False]:
        if value:
            run += 1
        elif run:
            words += [gap, run]
            gap, run = 1, 0
        else:
            gap += 1
    return " ".join(map(str, words))


@given(masks)
def test_a_mask_comes_back_from_its_code(mask):
    mask[0, 0] = True
    runs = rle.runs(encoded(mask), mask.size, where="here")
    np.testing.assert_array_equal(rle.fill(runs, mask.shape), mask)


@given(masks)
def test_boxes_are_those_of_labelling_the_whole_mask(mask):
    boxes, specks = rle.parts(mask, speck=0.0)
    labelled, _ = ndimage.label(mask, np.ones((3, 3)))
    wanted = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labelled)]
    assert boxes == sorted(wanted)
    assert specks == 0


def test_specks_get_no_box_unless_there_is_nothing_else():
    mask = np.zeros((200, 200), dtype=bool)
    mask[10, 10] = mask[50, 60:62] = True
    assert rle.parts(mask) == ([(60.0, 50.0, 62.0, 51.0)], 1)
    mask[100:150, 20:90] = True
    assert rle.parts(mask) == ([(20.0, 100.0, 90.0, 150.0)], 2)
    assert rle.parts(np.zeros((5, 5), dtype=bool)) == ([], 0)
