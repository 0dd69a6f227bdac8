"""Slide files of phantoms: exact tumour, a pyramid that viewers read, and the same each time."""

import csv
import tracemalloc

import numpy as np
import openslide
import pytest
import shapely
import tiffslide
from PIL import Image
from scipy import ndimage

from tests import slide_files
from wsrpn.slides import phantom, phantom_file, phantom_pixels, phantom_slide, sheet
from wsrpn.slides.phantom import Plan
from wsrpn.slides.reader import open_slide

LIKE = {"tiles": 60, "tile": 97.3, "mpp": 0.5, "burden": 0.3}


def whole(path, level=0):
    with openslide.OpenSlide(str(path)) as file:
        return np.asarray(file.read_region((0, 0), level, file.level_dimensions[level]))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return slide_files.slide(tmp_path_factory.mktemp("slide"), **LIKE)


@pytest.fixture(scope="module")
def made():
    return slide_files.made(**LIKE)


@pytest.fixture(scope="module")
def drawn(made):
    """The pixels before they are packed."""
    return np.concatenate(list(phantom_pixels.draw(made, (0, 0))))


# --- what is drawn


def test_pixels_of_tumour_are_those_whose_centre_lies_inside_the_outline():
    outline = shapely.union_all(
        [
            shapely.Point(60, 40).buffer(35).difference(shapely.Point(50, 40).buffer(9)),
            shapely.Polygon([(100, 5), (140, 5), (120.3, 77.7)]),
        ]
    )
    x, y = np.meshgrid(np.arange(20, 130) + 0.5, np.arange(10, 70) + 0.5)
    found = phantom_pixels.covered(outline, 20, 10, 110, 60)
    np.testing.assert_array_equal(found, shapely.contains_xy(outline, x, y))


@pytest.mark.parametrize(("left", "inside"), [(0, True), (500, False)])
def test_a_block_wholly_inside_or_outside_needs_no_pixels(left, inside):
    found = phantom_pixels.covered(shapely.box(-1, -1, 300, 300), left, 0, 256, 256)
    assert found.shape == (1, 1)
    assert found.item() is inside


def test_tumour_is_darker_than_stroma_and_both_than_glass(made, drawn):
    # Each pixel by its own truth, from the outline and the share of tissue.
    high, wide = drawn.shape[:2]
    x, y = np.meshgrid(np.arange(wide) + 0.5, np.arange(high) + 0.5)
    tumour = shapely.contains_xy(made.tumour, x, y)
    cell = made.tissue[(y // 97.3).astype(int), (x // 97.3).astype(int)]
    grey = drawn.mean(axis=2)
    stroma = grey[(cell == 1) & ~tumour]
    far = ndimage.maximum_filter(made.tissue, 3) == 0  # tissue rounds the corners of its cells
    glass = grey[far[(y // 97.3).astype(int), (x // 97.3).astype(int)]]
    assert grey[tumour].mean() < stroma.mean() - 20
    assert stroma.mean() < glass.mean() - 40
    assert glass.min() > 225
    assert 0 < glass.std() < 3


def test_tumour_tiles_differ_from_normal_ones_in_more_than_their_mean(made, drawn):
    tiles = made.tiles
    corner = np.rint(tiles.corner_px0).astype(int)
    red = [drawn[y : y + 97, x : x + 97, 0].astype(float) for x, y in corner]
    dark = np.array([(one < 120).mean() for one in red])  # share of nuclei
    clear = tiles.tissue >= 0.75
    tumour, normal = dark[clear & (tiles.truth == 1)], dark[clear & (tiles.truth == 0)]
    assert len(tumour) >= 3
    assert tumour.min() > normal.max()


def test_blocks_meet_without_a_seam(made, drawn):
    # Drawn anew with other blocks, the same pixels.
    phantom_pixels.BLOCK, before = 128, phantom_pixels.BLOCK
    try:
        again = np.concatenate(list(phantom_pixels.draw(made, (0, 0))))
    finally:
        phantom_pixels.BLOCK = before
    np.testing.assert_array_equal(again, drawn)


def test_the_strength_of_stains_varies_between_slides_as_asked():
    made = [slide_files.made(index=index, burden=0.0) for index in range(6)]

    def density(jitter):
        found = []
        for index, one in enumerate(made):
            rows = np.concatenate(list(phantom_pixels.draw(one, (0, index), jitter=jitter)))
            full = np.kron(one.tissue >= 0.75, np.ones((96, 96), dtype=bool))
            found.append(-np.log(rows[full].mean(axis=0) / 245)[1])
        return np.std(found) / np.mean(found)

    assert density(0.3) > 3 * density(0.0)


# --- the file


def test_the_file_holds_the_pixels_that_were_drawn(path, drawn):
    found = whole(path)
    assert found[..., 3].min() == 255
    assert np.abs(found[..., :3].astype(int) - drawn).mean() < 8  # JPEG with halved colours
    assert np.abs(found[..., :3].mean(axis=(0, 1)) - drawn.mean(axis=(0, 1))).max() < 1


def test_every_level_is_the_one_before_at_half_the_size(path, drawn):
    with openslide.OpenSlide(str(path)) as file:
        sizes = file.level_dimensions
        assert sizes[0] == (1168, 1168)
        assert sizes[1:] == ((584, 584), (292, 292), (146, 146))
        assert float(file.properties["openslide.mpp-x"]) == pytest.approx(0.5)
    for level in (1, 2, 3):
        expected = np.asarray(Image.fromarray(drawn).reduce(2**level)).astype(int)
        assert np.abs(whole(path, level)[..., :3] - expected).mean() < 8


def test_tiffslide_reads_the_same(path):
    with tiffslide.TiffSlide(str(path)) as file:
        assert float(file.properties["tiffslide.mpp-x"]) == pytest.approx(0.5)
        found = np.asarray(file.read_region((300, 200), 0, (300, 300)).convert("RGB"))
    np.testing.assert_array_equal(found, whole(path)[200:500, 300:600, :3])


def test_a_slide_of_unknown_resolution_says_none(tmp_path):
    with open_slide(slide_files.slide(tmp_path, mpp=None)) as file:
        assert file.mpp is None
        assert file.extent_px0 == (864, 864)


def test_the_same_slide_has_the_same_bytes_and_another_has_others(tmp_path, path):
    again = slide_files.slide(tmp_path, **LIKE)
    assert again.read_bytes() == path.read_bytes()
    first = slide_files.slide(tmp_path, "a.tif", burden=0.0)
    other = slide_files.slide(tmp_path, "b.tif", burden=0.0, index=1)
    assert first.read_bytes() != other.read_bytes()


def test_memory_does_not_grow_with_the_height(tmp_path):
    slide_files.slide(tmp_path)  # textures are made once
    peaks = []
    for tiles in (200, 800):
        made = slide_files.made(tiles=tiles, burden=0.02)
        pixels = made.tiles.extent_px0[0] * made.tiles.extent_px0[1]
        tracemalloc.start()
        phantom_file.write(tmp_path / "large.tif", made, (0, 0))
        peaks.append((tracemalloc.get_traced_memory()[1], pixels))
        tracemalloc.stop()
    (small, few), (large, many) = peaks
    assert (large - small) / (many - few) < 0.6  # bytes a pixel, of three that the slide has


def test_a_truncated_and_a_damaged_file_are_what_they_say(tmp_path):
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(str(slide_files.truncated(tmp_path)))
    with (
        openslide.OpenSlide(str(slide_files.damaged(tmp_path))) as file,
        pytest.raises(openslide.OpenSlideError),
    ):
        file.read_region((0, 0), 0, (96, 96))


# --- cohorts


def test_a_cohort_names_its_files_and_has_patients_to_train_on(tmp_path):
    slides = sheet.read(slide_files.cohort(tmp_path, slides=12))
    assert {slide.split for slide in slides.values()} == {"train", "val", "test"}
    by_patient = {slide.patient: set() for slide in slides.values()}
    for slide in slides.values():
        by_patient[slide.patient].add(slide.split)
        with open_slide(slide.file) as file:
            assert file.mpp == pytest.approx(slide.mpp)
            assert file.extent_px0 == slide.extent_px0
        with Image.open(slide.thumbnail) as picture:
            assert max(picture.size) > 200
    assert all(len(splits) == 1 for splits in by_patient.values())


def test_without_files_nothing_is_different(tmp_path):
    few = {"slides": 3, "tiles": 40, "tile": 96.0}
    phantom.write(tmp_path / "off", Plan(**few))
    phantom.write(tmp_path / "on", Plan(**few, files=True))
    header = (tmp_path / "off" / "slides.csv").read_text().splitlines()[0]
    assert header == "slide,patient,split,annotation,label,thumbnail,mpp,width,height"
    assert not (tmp_path / "off" / "slides").exists()
    with (tmp_path / "off" / "slides.csv").open() as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"val", "test"}
    for name in ("annotations/phantom_0_000.xml",):
        assert (tmp_path / "on" / name).read_bytes() == (tmp_path / "off" / name).read_bytes()


def test_an_address_gives_slide_files():
    plan = phantom.parse("slides?slides=6&tiles=60&tile=96&mpp=1.0&files=true")
    assert plan.files
    assert not phantom.parse("slides").files
    assert phantom_slide.generate("s", (0, 0), tiles=60).tiles.mpp == 0.5
