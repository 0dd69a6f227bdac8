"""Where tissue is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import color, filters

from tests import pyramid
from wsrpn.errors import InputError
from wsrpn.slides import reader
from wsrpn.tiles import Slide
from wsrpn.tiling import tissue
from wsrpn.tiling.tissue import Tissue

GLASS, STAIN, PALE = (243, 241, 244), (190, 110, 170), (225, 190, 215)
SLIDE = Slide("s", "s")


def noisy(values, seed=0):
    grain = np.random.default_rng(seed).normal(0, 3, values.shape)
    return (values + grain).clip(0, 255).round().astype(np.uint8)


def disc(side=1200, radius=400, inside=STAIN):
    """A round piece of tissue on glass, and where it is."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    where = np.hypot(x, y) < radius
    return np.where(where[..., None], inside, GLASS), where


def found_in(folder, values, *, mpp=0.5, slide=SLIDE):
    path = folder / "s.tif"
    pyramid.write(path, np.asarray(values, np.uint8), mpp=mpp, levels=2)
    with reader.open_slide(path) as opened:
        return tissue.find(opened, slide, "otsu")


@pytest.mark.parametrize("inside", [STAIN, PALE])
def test_stained_tissue_is_found_on_glass(tmp_path, inside):
    values, where = disc(inside=inside)
    found = found_in(tmp_path, noisy(values))
    size = found.mask.shape[::-1]
    share = np.asarray(Image.fromarray(where.astype(np.float32)).resize(size, Image.Resampling.BOX))
    assert (found.mask == (share > 0.5)).mean() > 0.995
    assert found.by == "otsu"
    assert found.pixel_px0 == pytest.approx((1200 / size[0], 1200 / size[1]))


@pytest.mark.parametrize(("colour", "share"), [(GLASS, 0.0), (PALE, 1.0), (STAIN, 1.0)])
def test_a_slide_of_one_kind_is_not_split(tmp_path, colour, share):
    values = np.broadcast_to(np.array(colour), (800, 800, 3))
    assert found_in(tmp_path, noisy(values)).mask.mean() == share


@pytest.mark.parametrize(("colour", "share"), [(GLASS, 0.0), (STAIN, 1.0)])
def test_a_slide_that_is_smaller_than_a_speck_is_no_speck(tmp_path, colour, share):
    values = np.broadcast_to(np.array(colour), (192, 192, 3))
    assert found_in(tmp_path, noisy(values)).mask.mean() == share


def test_pale_and_dark_tissue_without_glass_are_both_tissue(tmp_path):
    values = np.array([STAIN, (90, 40, 110)])[np.arange(800) // 400][:, None].repeat(800, axis=1)
    assert found_in(tmp_path, noisy(values)).mask.all()


@pytest.mark.parametrize("fill", [0, 255])
def test_what_a_scanner_fills_up_with_is_no_tissue_and_moves_nothing(tmp_path, fill):
    values, _ = disc(800, 250)
    wide = np.full((800, 4000, 3), fill)
    wide[:, :800] = noisy(values)
    found = found_in(tmp_path, wide).mask
    alone = found_in(tmp_path, noisy(values)).mask
    columns = found.shape[1] // 5
    assert found[:, columns + 1 :].sum() == 0
    assert found[:, :columns].mean() == pytest.approx(alone.mean(), abs=0.01)


def test_yellow_glass_beside_much_white_padding_is_not_taken_for_tissue():
    values = np.full((100, 1000, 3), 255)
    values[:, :60] = (240, 236, 218)  # as saturated as the palest tissue
    values[:, :2] = STAIN
    found = tissue.stained(np.where(values == 255, 255, noisy(values)).astype(np.uint8))
    assert found[:, :2].all()
    assert found[:, 2:].mean() < 0.001


def test_almost_black_is_no_tissue_however_saturated():
    assert not tissue.stained(np.full((9, 9, 3), (9, 0, 3), np.uint8)).any()


@pytest.mark.parametrize(("mpp", "there"), [(0.5, False), (2.0, True)])
def test_specks_and_holes_are_cleaned_by_their_size_in_micrometres(tmp_path, mpp, there):
    values = np.full((1600, 1600, 3), GLASS)
    values[100:900, 100:900] = STAIN
    values[450:550, 450:550] = GLASS  # 50 or 200 µm
    values[1200:1300, 1200:1300] = STAIN
    found = found_in(tmp_path, values, mpp=mpp)
    at = [int(edge / found.pixel_px0[0]) for edge in (500, 1250)]
    assert found.mask[at[0], at[0]] != there
    assert found.mask[at[1], at[1]] == there


def test_the_tables_resolution_comes_before_the_files(tmp_path):
    values, _ = disc()
    coarse = found_in(tmp_path, values, mpp=0.25, slide=Slide("s", "s", mpp=4.0))
    assert coarse.pixel_px0 == pytest.approx((2.0, 2.0))  # 8 µm


def test_without_a_resolution_tissue_is_found_all_the_same(tmp_path):
    values, where = disc()
    found = found_in(tmp_path, values, mpp=None)
    assert found.mask.mean() == pytest.approx(where.mean(), abs=0.02)


def test_a_mask_of_the_table_comes_first(tmp_path):
    marked = np.zeros((60, 60), np.uint8)
    marked[:30] = 7
    Image.fromarray(marked).save(tmp_path / "mask.png")
    slide = Slide("s", "s", tissue=tmp_path / "mask.png", extent_px0=(1200, 1200))
    found = found_in(tmp_path, disc()[0], slide=slide)
    assert (found.by, found.pixel_px0) == ("mask", (20.0, 20.0))
    assert np.array_equal(found.mask, marked > 0)


def test_none_takes_the_slide_and_nothing_beyond(tmp_path):
    pyramid.write(tmp_path / "s.tif", pyramid.picture(300, 500))
    with reader.open_slide(tmp_path / "s.tif") as opened:
        found = tissue.find(opened, SLIDE, "none")
        with pytest.raises(InputError, match="otsu, none"):
            tissue.find(opened, SLIDE, "deep")
    boxes = np.array([[0.0, 0, 500, 300], [450, 250, 550, 350], [600, 0, 700, 100]])
    assert found.shares(boxes) == pytest.approx(np.array([1.0, 0.25, 0.0]))


@given(st.integers(0, 30), st.floats(0.5, 3.0), st.floats(0.5, 3.0))
def test_shares_are_exact_areas(seed, wide, high):
    rng = np.random.default_rng(seed)
    found = Tissue(rng.random((6, 9)) < 0.5, (wide, high))
    corner = rng.uniform(-3, 12, (20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, 9, (20, 2))], axis=1)
    for (x1, y1, x2, y2), share in zip(boxes, found.shares(boxes), strict=True):
        area = sum(
            max(min(x2, (x + 1) * wide) - max(x1, x * wide), 0)
            * max(min(y2, (y + 1) * high) - max(y1, y * high), 0)
            for y, x in np.argwhere(found.mask)
        )
        assert share == pytest.approx(area / ((x2 - x1) * (y2 - y1)), abs=1e-9)


@given(st.integers(0, 99), st.floats(0.05, 0.95), st.floats(0.01, 0.2))
def test_otsu_is_scikit_images(seed, share, spread):
    rng = np.random.default_rng(seed)
    two = np.where(rng.random(5000) < share, rng.normal(0.1, 0.03, 5000), rng.normal(0.5, spread))
    values = np.concatenate([two.clip(0, 1), [0.0, 1.0]])  # so that the bins are the same
    theirs = filters.threshold_otsu(values, nbins=256)
    counts = np.histogram(values, bins=256, range=(0, 1))[0]
    ours = tissue.otsu(values)
    # Theirs is the middle of the last bin below; between it and ours no value lies.
    low, high = sorted((int(theirs * 256), int(ours * 256 + 1e-6)))
    assert counts[low + 1 : high].sum() == 0


def test_otsu_of_nothing_and_of_one_value_is_defined():
    assert tissue.otsu(np.empty(0)) == tissue.otsu(np.full(9, 0.3)) == 0.0


def test_saturation_is_that_of_hsv():
    values = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    assert tissue.saturation(values) == pytest.approx(color.rgb2hsv(values)[..., 1], abs=1e-6)


@given(st.integers(0, 50), st.floats(0.3, 0.7), st.floats(0.0, 12.0))
def test_no_speck_and_no_hole_is_smaller_than_asked_for(seed, share, least):
    mask = np.random.default_rng(seed).random((30, 30)) < share
    found = tissue.clean(mask, least)
    labels, count = ndimage.label(found)
    assert all((labels == one).sum() >= least for one in range(1, count + 1))
    filled = mask.copy()
    holes, count = ndimage.label(~mask)
    for one in range(1, count + 1):
        if (holes == one).sum() < least:
            filled[holes == one] = True
    assert not (found & ~filled).any()
    pieces, count = ndimage.label(filled)
    kept = [one for one in range(1, count + 1) if (pieces == one).sum() >= least]
    assert np.array_equal(found, np.isin(pieces, kept))
