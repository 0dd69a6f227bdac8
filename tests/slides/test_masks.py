"""Masks: scale, values, exact unions and exact shares."""

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.slides import mask_files, masks
from wsrpn.tiles import Slide

bits = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))


def slide(extent=(100, 80), *, normal=False, **extra):
    return Slide("s", "s", extent_px0=extent, normal=normal, extra=extra)


def saved(path, values, mode=None):
    Image.fromarray(values, mode).save(path) if mode else Image.fromarray(values).save(path)
    return path


def pyramid(path, values, levels=3, **options):
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(levels):
            file.write(
                values[:: 2**level, :: 2**level], tile=(16, 16), compression="zlib",
                photometric="minisblack", subfiletype=int(level > 0), metadata=None, **options,
            )  # fmt: skip
    return path


@given(marked=bits)
def test_the_outline_is_the_union_of_the_pixels(marked):
    found = masks.outline(marked)
    y, x = np.nonzero(marked)
    pixels = shapely.union_all(shapely.box(x, y, x + 1, y + 1))
    assert found.is_valid
    assert found.area == marked.sum()
    assert shapely.symmetric_difference(found, pixels).area == 0


@given(marked=bits, seed=st.integers(0, 99))
def test_shares_equal_the_overlap_with_the_outline(marked, seed):
    rng = np.random.default_rng(seed)
    mask = masks.Mask(marked.astype(np.uint8) * 255, (3.5, 2.25))
    corner = rng.uniform(-10, 45, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.5, 20, (30, 2))], axis=1)
    area = shapely.transform(masks.outline(marked), lambda p: p * np.array(mask.pixel_px0))
    tiles = shapely.box(*boxes.T)
    slow = shapely.area(shapely.intersection(tiles, area)) / shapely.area(tiles)
    np.testing.assert_allclose(masks.shares(mask, boxes), slow, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "area"),
    [([0, 1], 1), ([0, 255], 1), ([0, 1, 2], 1), ([1, 1], 2), ([255, 0, 255], 2)],
)
def test_values_of_tumour_follow_the_known_rules(tmp_path, values, area):
    path = saved(tmp_path / "m.png", np.array([values], np.uint8))
    here = slide((len(values), 1))
    found = masks.tumour(here, masks.read(here, path), path)
    assert found.area == area


@pytest.mark.parametrize("values", [[0, 2], [0, 1, 255], [0, 128], [0, 1, 2, 3], [0, 254, 255]])
def test_other_values_are_refused_until_they_are_named(tmp_path, values):
    path = saved(tmp_path / "m.png", np.array([values], np.uint8))
    here = slide((len(values), 1))
    with pytest.raises(InputError, match="mask_values"):
        masks.tumour(here, masks.read(here, path), path)
    told = slide((len(values), 1), mask_values=f"{values[1]}|{values[-1]}")
    assert masks.tumour(told, masks.read(told, path), path).area == len({values[1], values[-1]})
    bad = slide((len(values), 1), mask_values="red")
    with pytest.raises(InputError, match="numbers joined"):
        masks.tumour(bad, masks.read(bad, path), path)


def test_a_mask_without_tumour_is_refused_unless_the_slide_is_normal(tmp_path):
    path = saved(tmp_path / "m.png", np.zeros((4, 4), np.uint8))
    here = slide((4, 4))
    with pytest.raises(InputError, match="no pixel of tumour"):
        masks.tumour(here, masks.read(here, path), path)
    normal = slide((4, 4), normal=True)
    assert masks.tumour(normal, masks.read(normal, path), path).is_empty


def test_colour_palette_and_bit_pictures_are_masks(tmp_path):
    marked = np.array([[0, 1, 1, 0]], np.uint8)
    red = np.stack([marked * 255, marked * 0, marked * 0], axis=-1)
    palette = Image.fromarray(marked)
    palette.putpalette([255, 255, 255, 200, 0, 0] + [0] * 750)
    pictures = [Image.fromarray(red), palette, Image.fromarray(marked.astype(bool))]
    here = slide((8, 2))
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
        path = tmp_path / f"{number}.png"
        assert masks.tumour(here, masks.read(here, path), path).bounds == (2, 0, 6, 2)


def test_sizes_that_were_halved_have_a_power_of_two_as_scale(tmp_path):
    path = saved(tmp_path / "m.png", np.ones((13, 26), np.uint8))
    assert masks.read(slide((103, 51)), path).pixel_px0 == (4.0, 4.0)  # rounded up
    assert masks.read(slide((107, 55)), path).pixel_px0 == (4.0, 4.0)  # rounded down
    assert masks.read(slide((260, 130)), path).pixel_px0 == (10.0, 10.0)  # stretched


def test_a_mask_of_another_shape_is_refused(tmp_path):
    path = saved(tmp_path / "m.png", np.ones((40, 40), np.uint8))
    with pytest.raises(InputError, match="do not fit slide s"):
        masks.read(slide((400, 800)), path)
    with pytest.raises(InputError, match="width_px0"):
        masks.read(slide(None), path)


def test_a_mask_of_tiles_has_the_size_of_a_tile(tmp_path):
    path = saved(tmp_path / "m.png", np.ones((592, 261), np.uint8))
    said = {"grid_w": "261", "grid_h": "592"}
    real = slide((97792, 221184), tile_px0="374.7", **said)
    assert masks.read(real, path).pixel_px0 == (97792 / 261,) * 2  # 374.68: told by the width
    other = slide((90000, 221184), tile_px0="374.7", **said)
    assert masks.read(other, path).pixel_px0 == (374.7, 374.7)
    assert masks.read(slide(None, tile_px0="374.7", **said), path).pixel_px0 == (374.7, 374.7)
    with pytest.raises(InputError, match="is no size"):
        masks.read(slide((97792, 221184), tile_px0="-1", **said), path)


def test_a_pyramid_is_read_at_a_level_of_bounded_size(tmp_path, monkeypatch):
    values = np.zeros((100, 130), np.uint8)
    values[40:80, 32:64] = 1
    path = pyramid(tmp_path / "m.tif", values)
    for most, pixel in ((100 * 130, 1), (100 * 130 - 1, 2), (1000, 4)):
        monkeypatch.setattr(mask_files, "MOST", most)
        found = masks.read(slide((130, 100)), path)
        assert found.pixel_px0 == (pixel, pixel)
        assert masks.tumour(slide(), found, path).bounds == (32, 40, 64, 80)
        assert masks.read(slide((260, 200)), path).pixel_px0 == (2 * pixel, 2 * pixel)
    assert masks.read(slide(None), path).pixel_px0 == (4, 4)  # a pyramid begins at full size


def test_levels_that_are_not_marked_are_found(tmp_path, monkeypatch):
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as file:
        for level in range(3):
            file.write(np.ones((64 >> level, 64 >> level), np.uint8), metadata=None)
        file.write(np.ones((8, 20), np.uint8), metadata=None)  # a label, not a level
    monkeypatch.setattr(mask_files, "MOST", 300)
    assert masks.read(slide((64, 64)), path).values.shape == (16, 16)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"rowsperstrip": 7}])
def test_a_large_single_level_is_read_in_blocks_of_most_frequent_values(
    tmp_path, monkeypatch, options
):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (101, 150)).astype(np.uint8)
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, values, compression="zlib", **options)
    monkeypatch.setattr(mask_files, "MOST", 1000)
    found = masks.read(slide((150, 101)), path)
    assert found.pixel_px0 == (4, 4)
    assert found.values.shape == (26, 38)
    for y, x in ((0, 0), (3, 7), (25, 37), (25, 0), (10, 37)):
        block = values[4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        assert found.values[y, x] == np.bincount(block.ravel()).argmax()


def test_blocks_refuse_what_is_no_mask(tmp_path, monkeypatch):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.arange(2500, dtype=np.uint16).reshape(50, 50))
    monkeypatch.setattr(mask_files, "MOST", 100)
    with pytest.raises(InputError, match="different values"):
        masks.read(slide((50, 50)), path)


def test_what_cannot_be_read_is_one_sentence(tmp_path, monkeypatch):
    for name in ("m.png", "m.tif"):
        path = tmp_path / name
        with pytest.raises(InputError, match="no such file"):
            masks.read(slide(), path)
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match="cannot be read as a mask"):
            masks.read(slide(), path)
    tifffile.imwrite(tmp_path / "f.tif", np.ones((80, 100), np.float32))
    with pytest.raises(InputError, match="whole numbers"):
        masks.read(slide(), tmp_path / "f.tif")
    saved(tmp_path / "big.png", np.ones((80, 100), np.uint8))
    monkeypatch.setattr(mask_files, "MOST_AT_ONCE", 4 * 100)
    with pytest.raises(InputError, match="too many"):
        masks.read(slide(), tmp_path / "big.png")
