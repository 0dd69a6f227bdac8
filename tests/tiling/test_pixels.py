"""Pixels of many tiles, read in blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import pyramid
from wsrpn.errors import InputError
from wsrpn.slides import reader
from wsrpn.tiling import pixels, readers

SIZE = 24


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "s.tif"
    pyramid.write(path, pyramid.picture(700, 903))
    return path


def lattice(scale, pitch, columns, rows):
    """Boxes of tiles of `SIZE` pixels, from the corner of the slide, with a pitch in pixels."""
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    corner = at * pitch * scale
    return np.concatenate([corner, corner + SIZE * scale], axis=1).astype(np.float64)


def whole(slide, boxes):
    """All tiles in the order of their boxes, each of them seen once."""
    found = np.zeros((len(boxes), SIZE, SIZE, 3), np.uint8)
    seen = np.zeros(len(boxes), int)
    for index, tiles in pixels.read(slide, boxes, SIZE):
        assert tiles.flags.writeable
        assert len(index) == len(tiles)
        found[index] = tiles
        seen[index] += 1
    assert (seen == 1).all()
    return found


def one_by_one(slide, boxes):
    return np.stack([slide.read(tuple(box), (SIZE, SIZE)) for box in boxes.tolist()])


def counting(monkeypatch):
    """Sizes of the pictures that are read."""
    sizes = []
    real = reader.Reader.read

    def read(self, box_px0, size_px):
        sizes.append(size_px)
        return real(self, box_px0, size_px)

    monkeypatch.setattr(reader.Reader, "read", read)
    return sizes


@given(
    scale=st.one_of(st.sampled_from([1.0, 2.0, 4.0, 2.003]), st.floats(0.8, 6.0)),
    pitch=st.sampled_from([SIZE, SIZE // 2, SIZE + 7]),
    block=st.sampled_from([40, 100, 2048]),
    seed=st.integers(0, 9),
)
def test_a_tile_of_a_block_is_what_the_reader_gives_for_it_alone(path, scale, pitch, block, seed):
    rng = np.random.default_rng(seed)
    boxes = rng.permutation(lattice(scale, pitch, 7, 9))[:40]
    with reader.open_slide(path) as slide, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "_BLOCK", block)
        found, alone = whole(slide, boxes), one_by_one(slide, boxes)
    # Two passes of Pillow's filter round their weights and values; pixels as they are do not.
    apart = np.abs(found.astype(int) - alone)
    exact = scale in (1.0, 2.0, 4.0, 2.003)
    assert apart.max() <= (0 if exact else 2)
    assert (apart > 1).mean() < 1e-4


@given(
    corner=st.lists(st.tuples(st.floats(-40, 930), st.floats(-40, 720)), min_size=1, max_size=15),
    side=st.lists(st.sampled_from([20.0, 24.0, 48.0, 61.5]), min_size=1, max_size=3),
)
def test_tiles_anywhere_and_of_any_size_are_read_rightly(path, corner, side):
    at = np.array(corner)
    sides = np.resize(side, len(at))[:, None]
    boxes = np.concatenate([at, at + sides], axis=1)
    with reader.open_slide(path) as slide:
        apart = np.abs(whole(slide, boxes).astype(int) - one_by_one(slide, boxes))
    assert apart.max() <= 3  # places that differ by less than 1/256 pixel share a block
    assert (apart > 1).mean() < 1e-3


def test_corners_rounded_to_whole_pixels_are_still_read_in_blocks(path, monkeypatch):
    boxes = lattice(4.0, 23.75, 8, 6)  # level 2, and steps of 95 px
    boxes[:, :2] = np.round(boxes[:, :2])
    boxes[:, 2:] = boxes[:, :2] + 4 * SIZE
    with reader.open_slide(path) as slide:
        alone = one_by_one(slide, boxes)
        sizes = counting(monkeypatch)
        assert np.array_equal(whole(slide, boxes), alone)
    assert len(sizes) == 1


def test_neighbours_share_a_region_and_distant_tiles_do_not(path, monkeypatch):
    boxes = lattice(1.0, SIZE, 30, 25)
    with reader.open_slide(path) as slide:
        sizes = counting(monkeypatch)
        whole(slide, boxes)
        assert sizes == [(30 * SIZE, 25 * SIZE)]
        sizes.clear()
        whole(slide, boxes[[0, 29, -30, -1]])
        assert sizes == [(SIZE, SIZE)] * 4


def test_no_region_is_larger_than_a_block_with_its_edge(path, monkeypatch):
    monkeypatch.setattr(pixels, "_BLOCK", 100)
    with reader.open_slide(path) as slide:
        sizes = counting(monkeypatch)
        whole(slide, lattice(1.0, SIZE, 30, 25))
    assert max(max(size) for size in sizes) <= 100 + SIZE
    assert len(sizes) == 7 * 6  # the last tiles begin at 696 and 576


def test_tiles_that_overlap_a_lot_come_in_portions(path, monkeypatch):
    monkeypatch.setattr(pixels, "_MOST", 50)
    boxes = lattice(1.0, 4, 20, 13)
    with reader.open_slide(path) as slide:
        portions = [len(index) for index, _ in pixels.read(slide, boxes, SIZE)]
    assert portions == [50, 50, 50, 50, 50, 10]


def test_blocks_go_from_the_top_left_to_the_bottom_right(path, monkeypatch):
    monkeypatch.setattr(pixels, "_BLOCK", 2 * SIZE)
    boxes = lattice(1.0, SIZE, 4, 4)
    with reader.open_slide(path) as slide:
        order = [index.tolist() for index, _ in pixels.read(slide, boxes, SIZE)]
    assert order == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_no_tile_is_nothing_and_a_box_that_is_none_is_refused(path):
    with reader.open_slide(path) as slide:
        assert list(pixels.read(slide, np.empty((0, 4)), SIZE)) == []
        for bad in ([0.0, 0.0, 0.0, 5.0], [0.0, 0.0, np.nan, 5.0]):
            with pytest.raises(InputError, match="tile 1 is at"):
                list(pixels.read(slide, np.array([[0.0, 0.0, 9.0, 9.0], bad]), SIZE))


def test_a_process_opens_a_slide_once_and_few_at_a_time(path, tmp_path, monkeypatch):
    others = []
    for number in range(readers.MOST):
        others.append(tmp_path / f"{number}.tif")
        pyramid.write(others[-1], pyramid.picture(64, 64), levels=1, tile=64)
    readers.close()
    closed = []
    first = readers.opened(path)
    monkeypatch.setattr(type(first), "close", lambda self: closed.append(self))
    assert readers.opened(path) is first
    assert len({id(readers.opened(one)) for one in others}) == len(others)
    assert closed == [first]
    assert readers.opened(path) is not first
    monkeypatch.undo()
    readers.close()
    first.close()
    assert not readers._open


def test_a_forked_process_opens_its_own_and_leaves_its_parents_alone(path, monkeypatch):
    readers.close()
    parents = readers.opened(path)
    monkeypatch.setattr(readers.os, "getpid", lambda: -1)
    own = readers.opened(path)
    assert own is not parents
    readers.close()
    assert parents.read((0.0, 0.0, 24.0, 24.0), (24, 24)).shape == (24, 24, 3)
    monkeypatch.undo()
    assert readers.opened(path) is parents
    readers.close()
