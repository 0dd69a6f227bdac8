"""TIFF files that end before their directories do."""

import struct

import numpy as np
import pytest
import tifffile

from wsrpn.slides import torn


@pytest.fixture(params=[(False, "<"), (True, "<"), (False, ">"), (True, ">")])
def whole(request, tmp_path):
    """A file of two pages, classic or BigTIFF, in either order of bytes."""
    big, order = request.param
    path = tmp_path / "a.svs"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        for _ in range(2):
            file.write(np.zeros((32, 32, 3), np.uint8), photometric="rgb")
    return path


def test_a_whole_file_does_not_end_early(whole):
    assert not torn.ends_early(whole)


def test_a_file_cut_before_its_last_directory_ends_early(whole):
    with tifffile.TiffFile(whole) as file:
        places = [page.offset for page in file.pages]
    data = whole.read_bytes()
    for keep in (10, *places, places[0] + 4, places[1] + 20):
        whole.write_bytes(data[:keep])
        assert torn.ends_early(whole)


def test_a_file_whose_writer_was_stopped_has_no_directory(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II" + struct.pack("<HI", 42, 0) + bytes(100))
    assert torn.ends_early(path)


def test_directories_that_link_in_a_ring_come_to_an_end(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II" + struct.pack("<HIHI", 42, 8, 0, 8) + bytes(100))
    assert not torn.ends_early(path)


def test_only_the_first_directory_of_hamamatsu_is_looked_for(tmp_path):
    path = tmp_path / "a.ndpi"
    path.write_bytes(b"II" + struct.pack("<HIHI", 42, 8, 0, 999_999) + bytes(100))
    assert not torn.ends_early(path)
    path.write_bytes(b"II" + struct.pack("<HI", 42, 999_999) + bytes(100))
    assert torn.ends_early(path)


def test_other_files_and_none_at_all_do_not_end_early(tmp_path):
    path = tmp_path / "a.svs"
    assert not torn.ends_early(path)
    for data in (b"", b"II", b"nothing of the kind", b"II\x07\x00" + bytes(50)):
        path.write_bytes(data)
        assert not torn.ends_early(path)
