"""Micrographs of beads: the truth is exact, and the picture shows what the truth says."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from wsrpn.data import datasets, manifest
from wsrpn.data.phantom import beads, parse, series
from wsrpn.data.phantom.beads import generate
from wsrpn.errors import InputError

SIZE = 192
# sha256 of the truth of one image. Grey levels may differ in the last bit from machine to machine,
# a pixel of truth only where a rim goes through its very middle.
GOLDEN = "5ca4dbce92b29036c398db0e2d0f737b783b4215afccee1737824ad0feccdc62"


@pytest.fixture(scope="module")
def pictures():
    return [generate(3, index, size=SIZE) for index in range(16)]


def test_the_same_seed_and_index_give_the_same_image_in_any_order(pictures):
    again = generate(3, 11, size=SIZE)
    assert again.image.tobytes() == pictures[11].image.tobytes()
    assert (again.objects == pictures[11].objects).all()
    assert not np.array_equal(generate(4, 11, size=SIZE).image, pictures[11].image)
    assert not np.array_equal(pictures[10].image, pictures[11].image)


def test_the_truth_of_a_seed_stays_what_it_was(pictures):
    digest = hashlib.sha256(pictures[0].objects.astype("<u2").tobytes()).hexdigest()
    assert digest == GOLDEN


def test_numbers_have_no_gaps_and_boxes_bound_them_tightly(pictures):
    for picture in pictures:
        found = np.unique(picture.objects)
        assert (found == np.arange(len(found))).all()
        assert len(picture.boxes) == len(found) - 1
        for number, box in enumerate(picture.boxes, start=1):
            rows, columns = np.nonzero(picture.objects == number)
            x1, y1, x2, y2 = box.xyxy_px
            assert (x1, y1) == (columns.min(), rows.min())
            assert (x2, y2) == (columns.max() + 1, rows.max() + 1)


def test_counts_and_sizes_are_those_asked_for():
    for index in range(8):
        made = generate(
            1,
            index,
            size=SIZE,
            beads=(10, 12),
            diameters_px=(40.0, 60.0),
            touching=0.0,
            stacked=0.0,
        )
        areas = np.bincount(made.objects.ravel())[1:]
        scale = SIZE / 512
        assert 8 <= len(areas) <= 12
        assert areas.max() <= np.pi / 4 * (60 * scale + 1.5) ** 2
        whole = [
            number
            for number, box in enumerate(made.boxes, start=1)
            if min(box.xyxy_px) > 0 and max(box.xyxy_px) < SIZE
        ]
        for number in whole:
            diameter = 2 * np.sqrt(areas[number - 1] / np.pi)
            assert 40 * scale * 0.9 - 1 < diameter < 60 * scale + 1


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_no_bead_of_a_layer_overlaps_another_and_none_is_covered_by_more_than_half(
    seed, touching, stacked
):
    rng = np.random.default_rng(seed)
    layout = beads.arrange(rng, 128, (10, 30), (8.0, 24.0), touching, stacked)
    away = np.hypot(*(layout.centres[:, None] - layout.centres[None]).transpose(2, 0, 1))
    gap = away - layout.radii[:, None] - layout.radii[None]
    overlapping = np.argwhere(np.triu(gap < -0.5, 1))
    for lower, upper in overlapping:  # later ones lie above
        a, b = layout.radii[lower], layout.radii[upper]
        assert beads._overlap(away[lower, upper], a, b) <= 0.5
    if stacked == 0:
        assert len(overlapping) == 0


def test_the_share_that_one_disc_covers_of_another_agrees_with_counting_pixels():
    y, x = np.mgrid[-60:60:0.25, -60:60:0.25]
    for away, radius, other in ((10.0, 20.0, 15.0), (30.0, 20.0, 15.0), (3.0, 10.0, 30.0),
                                (2.0, 30.0, 10.0), (40.0, 20.0, 15.0)):  # fmt: skip
        own = np.hypot(x, y) < radius
        counted = (own & (np.hypot(x - away, y) < other)).sum() / own.sum()
        found = 0.0 if away >= radius + other else beads._overlap(away, radius, other)
        assert found == pytest.approx(counted, abs=0.003)


def test_more_touching_makes_fewer_connected_areas_than_beads():
    shares = []
    for touching in (0.0, 1.0):
        joined = total = 0
        for index in range(6):
            made = generate(2, index, size=SIZE, beads=(40, 40), diameters_px=(16.0, 24.0),
                            touching=touching, stacked=0.0)  # fmt: skip
            total += made.objects.max()
            joined += ndimage.label(made.objects > 0)[1]
        shares.append(joined / total)
    assert shares[1] < 0.5 < 0.7 < shares[0]


def test_beads_are_brighter_than_the_support_or_darker_in_transmission():
    for dark in (0.0, 1.0):
        for index in range(6):
            made = generate(5, index, size=SIZE, dark_share=dark, noise=0.0)
            inside = made.objects > 0
            far = ~ndimage.binary_dilation(inside, iterations=4)
            contrast = made.image[inside].mean() - made.image[far].mean()
            assert contrast < -0.2 if dark else contrast > 0.08


def test_the_rim_in_the_picture_is_the_rim_of_the_truth():
    """The steepest grey levels around a bead alone lie within a pixel of its outline."""
    made = generate(0, 0, size=256, beads=(1, 1), diameters_px=(120.0, 160.0), noise=0.0, dirt=0.0,
                    dark_share=1.0)  # fmt: skip
    inside = made.objects > 0
    outline = ndimage.binary_dilation(inside) ^ ndimage.binary_erosion(inside)
    away = ndimage.distance_transform_edt(~outline)
    steep = ndimage.gaussian_gradient_magnitude(made.image, 0.7)
    assert away[steep > 0.6 * steep.max()].max() <= 1.5


def test_images_without_beads_have_an_empty_truth():
    made = generate(0, 0, size=96, empty_share=1.0)
    assert not made.objects.any()
    assert made.boxes == ()
    assert made.image.std() > 0


def test_written_micrographs_are_read_back_as_they_are(tmp_path):
    made = beads.write(tmp_path / "set", images=7, size=96, seed=3, beads="3-9", empty_share=0.3)
    by_manifest = manifest.manifest(root=tmp_path / "set")
    assert {record.split for record in made.records} == {"train", "val", "test"}
    for index, (record, plain) in enumerate(zip(made.records, by_manifest.records, strict=True)):
        expected = generate(3, index, size=96, beads=(3, 9), empty_share=0.3)
        pixels, numbers = (np.asarray(Image.open(p)) for p in (record.path, record.mask))
        assert (pixels == np.round(expected.image * 255)).all()
        assert numbers.dtype == np.uint16
        assert (numbers == expected.objects).all()
        assert record.boxes == plain.boxes == expected.boxes
        assert record.labels == (float(expected.objects.any()),)
        assert record.extra["objects"] == str(expected.objects.max())
    assert {record.labels for record in made.records} == {(0.0,), (1.0,)}


def test_the_reader_makes_micrographs_once_and_again_when_a_mask_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("WSRPN_CACHE", str(tmp_path))
    root = Path("beads?images=3&size=64&beads=2-4")
    first = datasets["phantom"](root=root)
    assert (first.classes, len(first), first.name) == (("bead",), 3, "phantom:beads")
    assert datasets["phantom"](root=root) == first
    first.records[1].mask.unlink()
    with pytest.warns(UserWarning, match=r"beads-.*they are made again"):
        assert datasets["phantom"](root=root) == first
    assert first.records[1].mask.is_file()


def test_splits_are_three_one_one_and_depend_on_seed_and_index_alone():
    found = [series.split(4, index) for index in range(500)]
    assert [found.count(name) for name in ("train", "val", "test")] == [300, 100, 100]
    assert found[:5] == ["train", "val", "test", "train", "train"]
    assert found != [series.split(5, index) for index in range(500)]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("beads?bead=3", "Did you mean 'beads'"),
        ("beads?size=8", "phantom:beads: size: "),
        ("beads?dark_share=2", "phantom:beads: dark_share: "),
    ],
)
def test_wrong_options_are_one_sentence(argument, words):
    with pytest.raises(InputError, match=words):
        parse(argument)


@pytest.mark.parametrize("text", ["9-3", "20-", "few", "-4", "", "1-2-3", "nan", "3-inf", "2.5-4"])
def test_a_range_that_is_none_is_refused_before_anything_is_written(tmp_path, text):
    with pytest.raises(InputError, match=r"phantom:beads: beads=.*20-120"):
        beads.write(tmp_path / "set", images=1, size=64, beads=text)
    assert list(tmp_path.iterdir()) == []
