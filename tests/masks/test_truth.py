"""Mask files: which numbers are inside, which are objects, and what is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests import make
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError
from wsrpn.masks import truth
from wsrpn.types import Dataset, Record

RNG = np.random.default_rng(0)


def saved(folder, values, name="mask.png", **options):
    return make.image(folder / name, values, **options)


def record(folder, name, *, labels=(1.0,), mask=None, split="train"):
    return Record(name, folder / name, name, labels, split=split, mask=mask)


@pytest.mark.parametrize("name", ["mask.png", "mask.tiff"])
def test_numbers_of_a_16_bit_file_come_back_exactly_as_objects(tmp_path, name):
    values = RNG.integers(0, 65_536, (13, 17)).astype(np.uint16)
    found = truth.read(saved(tmp_path, values, name), (13, 17))
    assert found.instances
    assert (found.objects == values).all()
    assert (found.inside == (values > 0)).all()


@pytest.mark.parametrize("white", [1, 255, 7, 40_000])
def test_one_number_alone_is_a_foreground_without_objects(tmp_path, white):
    inside = RNG.random((9, 11)) < 0.4
    dtype = np.uint16 if white > 255 else np.uint8
    found = truth.read(saved(tmp_path, inside.astype(dtype) * dtype(white)), (9, 11))
    assert not found.instances
    assert (found.objects == inside).all()


def test_an_empty_mask_has_nothing_inside(tmp_path):
    found = truth.read(saved(tmp_path, np.zeros((5, 6), np.uint8)), (5, 6))
    assert not found.instances
    assert not found.inside.any()


def test_every_way_to_store_a_foreground_gives_the_same_mask(tmp_path):
    inside = np.zeros((32, 48), dtype=bool)
    inside[8:24, 8:32] = True
    grey = Image.fromarray(inside.astype(np.uint8) * np.uint8(255))
    ways = {
        "bits.png": grey.convert("1"), "rgb.png": grey.convert("RGB"),
        "rgba.png": grey.convert("RGBA"), "la.png": grey.convert("LA"),
        "palette.png": grey.convert("P"), "deep.tif": Image.fromarray(inside.astype(np.int32)),
        "share.tif": Image.fromarray(inside.astype(np.float32)), "mask.bmp": grey,
    }  # fmt: skip
    for name, picture in ways.items():
        picture.save(tmp_path / name)
        found = truth.read(tmp_path / name, (32, 48))
        assert (found.objects == inside).all(), name
        assert not found.instances, name
    grey.save(tmp_path / "mask.jpg", quality=30)  # its grey rims are no objects
    assert (truth.read(tmp_path / "mask.jpg", (32, 48)).objects == inside).all()


def test_indices_of_a_coloured_palette_are_objects(tmp_path):
    numbers = RNG.integers(0, 4, (10, 10)).astype(np.uint8)
    picture = Image.new("P", (10, 10))
    picture.putdata(numbers.ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    picture.save(tmp_path / "voc.png")
    found = truth.read(tmp_path / "voc.png", (10, 10))
    assert (found.objects == numbers).all()
    assert found.instances


def test_indices_that_share_a_shade_of_grey_stay_objects_of_their_own(tmp_path):
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    picture = Image.new("P", (4, 3))
    picture.putdata(numbers.ravel().tolist())
    for palette, expected in (
        ([0, 255, 255, 128], numbers),  # 1 and 2 are both white
        ([0, 255, 60, 128], np.choose(numbers, [0, 255, 60, 128])),
    ):
        picture.putpalette([shade for grey in palette for shade in (grey,) * 3])
        picture.save(tmp_path / "grey.png")
        found = truth.read(tmp_path / "grey.png", (3, 4))
        assert (found.objects == expected).all()
        assert found.instances


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, np.inf]], np.float32), np.array([[0, -np.inf]], np.float32),
        np.array([[0, 3e9]], np.float32), np.array([[0, 2**31]], np.uint32),
        np.array([[0, 2**32 - 1]], np.uint32),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_do_not_fit_are_called_too_large_and_not_negative(tmp_path, values):
    tifffile.imwrite(tmp_path / "large.tif", values)
    with pytest.raises(ImageReadError, match=r"large\.tif: numbers beyond 2,147,483,647"):
        truth.read(tmp_path / "large.tif", (1, 2))


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_numbers_of_32_bits_come_back_exactly(tmp_path, dtype):
    values = np.array([[0, 7, 2**31 - 1]], dtype)
    tifffile.imwrite(tmp_path / "deep.tif", values)
    assert truth.read(tmp_path / "deep.tif", (1, 3)).objects.tolist() == values.tolist()


def test_a_mask_of_another_size_says_both_sizes(tmp_path):
    path = saved(tmp_path, np.ones((8, 9), np.uint8))
    with pytest.raises(ImageReadError, match=r"mask\.png: the mask has 9 × 8 .* image 10 × 8"):
        truth.read(path, (8, 10))


def test_what_numbers_nothing_is_refused_by_name(tmp_path):
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[2:5, 2:5, 0] = 255
    faults = {
        "colour.png": (colour, "in colour"),
        "fractions.tif": (np.full((8, 8), 0.5, np.float32), "fractions"),
        "negative.tif": (np.full((8, 8), -1, np.int32), "negative"),
    }
    for name, (values, reason) in faults.items():
        Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(ImageReadError, match=f"{name}: {reason}"):
            truth.read(tmp_path / name, (8, 8))
    (tmp_path / "broken.png").write_bytes((tmp_path / "colour.png").read_bytes()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("broken.png", "empty.png", "missing.png"):
        with pytest.raises(ImageReadError, match=name):
            truth.read(tmp_path / name, (8, 8))


def test_a_mask_that_would_unpack_to_too_much_is_refused(tmp_path):
    path = saved(tmp_path, np.zeros((40, 40), np.uint8))
    with pytest.raises(ImageReadError, match="more than the"):
        images.numbers(path, max_pixels=1000)


def test_only_an_image_known_to_have_nothing_gets_an_empty_mask(tmp_path):
    path = saved(tmp_path, np.ones((4, 4), np.uint8))
    clear = truth.of(record(tmp_path, "clear", labels=(0.0, 0.0)), (4, 6))
    assert clear is not None
    assert clear.objects.shape == (4, 6)
    assert not clear.inside.any()
    for labels in ((1.0,), (0.0, float("nan")), ()):
        assert truth.of(record(tmp_path, "open", labels=labels), (4, 4)) is None
    drawn = truth.of(record(tmp_path, "drawn", labels=(0.0,), mask=path), (4, 4))
    assert drawn is not None
    assert drawn.inside.all()


def test_images_without_truth_are_left_out_and_counted(tmp_path):
    path = saved(tmp_path, np.ones((4, 4), np.uint8))
    records = (
        record(tmp_path, "masked", mask=path), record(tmp_path, "clear", labels=(0.0,)),
        record(tmp_path, "open"), record(tmp_path, "other", mask=path, split="val"),
    )  # fmt: skip
    data = Dataset("some", ("bead",), records)
    kept, notes = truth.usable(data, "train")
    assert [one.id for one in kept.records] == ["masked", "clear"]
    assert [note.split(":")[0] for note in notes] == [
        "1 image of split train without a mask, and not known to have nothing, left out",
        "1 image of split train without a mask whose labels are all absent",
    ]
    assert truth.usable(data, "val")[1] == ()
    with pytest.raises(InputError, match="some: no image has a mask"):
        truth.usable(data.where(lambda one: one.mask is None), "train")


def test_the_foreground_has_the_name_of_the_one_class():
    assert truth.classes_of(Dataset("some", ("bead",), ())) == ("bead",)
    assert truth.classes_of(Dataset("some", ("a", "b"), ())) == ("foreground",)
    assert truth.classes_of(Dataset("some", (), ())) == ("foreground",)
