"""Reading image files: right grey levels, and one kind of error for every fault."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests import make
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError

GREY = (make.blob((24, 32)) * 255).round().astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".pgm"])
def test_eight_bits_are_divided_by_255(tmp_path, suffix):
    read = images.read(make.image(tmp_path / f"a{suffix}", GREY))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, GREY / np.float32(255))


def test_a_jpeg_is_read_to_within_its_own_loss(tmp_path):
    read = images.read(make.image(tmp_path / "a.jpg", GREY, quality=95))
    np.testing.assert_allclose(read, GREY / 255, atol=0.03)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_images_are_scaled_by_the_bits_they_use(tmp_path, suffix, bits):
    values = np.linspace(0, 2**bits - 1, 24 * 32).reshape(24, 32).astype(np.uint16)
    read = images.read(make.image(tmp_path / f"a{suffix}", values))
    np.testing.assert_allclose(read, values / (2**bits - 1), atol=1e-6)


def test_a_big_endian_tiff_is_read_like_a_little_endian_one(tmp_path):
    values = np.arange(24 * 32).reshape(24, 32) * 80
    big = Image.frombytes("I;16B", (32, 24), values.astype(">u2").tobytes())
    big.save(tmp_path / "big.tif")
    np.testing.assert_allclose(images.read(tmp_path / "big.tif"), values / 65535, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK", "YCbCr"])
def test_colour_modes_of_a_grey_image_give_its_grey_levels(tmp_path, mode):
    suffix = {"CMYK": "tif", "YCbCr": "tif"}.get(mode, "png")
    rgb = Image.fromarray(GREY).convert("RGB")
    picture = rgb.convert(mode) if mode not in {"LA", "P"} else Image.fromarray(GREY).convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(images.read(tmp_path / f"a.{suffix}"), GREY / 255, atol=0.012)


def test_a_palette_is_looked_up(tmp_path):
    indices = (np.arange(24 * 32) % 4).astype(np.uint8).reshape(24, 32)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([v for level in (200, 10, 90, 255) for v in (level,) * 3] + [0] * 756)
    picture.putdata(indices.ravel().tolist())
    picture.save(tmp_path / "p.png")
    expected = np.array([200, 10, 90, 255])[indices] / 255
    np.testing.assert_allclose(images.read(tmp_path / "p.png"), expected, atol=0.003)


def test_one_bit_and_floating_point_images_are_read(tmp_path):
    bits = GREY > 60
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(images.read(tmp_path / "bits.png"), bits.astype(np.float32))
    Image.fromarray((GREY / 510).astype(np.float32)).save(tmp_path / "f.tif")
    np.testing.assert_allclose(images.read(tmp_path / "f.tif"), GREY / 510, atol=1e-6)
    Image.fromarray(GREY.astype(np.float32) * 7 - 900).save(tmp_path / "wide.tif")
    wide = images.read(tmp_path / "wide.tif")
    expected = (GREY - GREY.min()) / (float(GREY.max()) - GREY.min())
    np.testing.assert_allclose(wide, expected, atol=1e-6)


def test_transparency_and_exif_orientation_are_ignored_but_not_that_of_tiff(tmp_path):
    clear = np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)])
    np.testing.assert_allclose(
        images.read(make.image(tmp_path / "a.png", clear)), GREY / 255, atol=1e-6
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, shape in (("a.jpg", (24, 32)), ("a.png", (24, 32)), ("a.tif", (32, 24))):
        Image.fromarray(GREY).save(tmp_path / name, exif=turned)
        assert images.read(tmp_path / name).shape == images.size(tmp_path / name) == shape


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_size_in_the_header_is_the_size_of_the_pixels(tmp_path, suffix):
    path = make.image(tmp_path / f"a{suffix}", GREY)
    assert images.size(path) == images.read(path).shape == (24, 32)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side):
    """A PNG of a few kB that claims side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


LARGE = Image.fromarray((make.blob((256, 256)) * 255).astype(np.uint8))
FAULTS = {
    "zero bytes": ("a.png", b"", "empty"),
    "not an image": ("a.png", b"hello, this is text", "not an image"),
    "html in place of a file": ("a.jpg", b"<html>404</html>", "not an image"),
    "half a png": ("a.png", _saved(LARGE, "PNG")[:5000], "cannot be decoded"),
    "half a jpeg": ("a.jpg", _saved(LARGE, "JPEG")[:2000], "cannot be decoded"),
    "half a tiff": ("a.tif", _saved(LARGE, "TIFF")[:20000], "a.tif: "),
    "81 million pixels": ("a.png", bomb(9000), "9000 × 9000 pixels are more than the 64 million"),
    "100 million pixels": ("a.png", bomb(10_000), "more than the 64 million"),
    "900 million pixels": ("a.png", bomb(30_000), "more pixels than the 64 million"),
    "no pixels": ("a.png", bomb(0), "a.png: "),
    "a dicom that is text": ("a.dcm", b"hello", "not a DICOM image"),
    "postscript": ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "two pages": (
        "a.tif",
        _saved(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]),
        "2 frames, one expected. Save the one that is meant as a file.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_named_with_its_reason(tmp_path, fault):
    name, data, reason = FAULTS[fault]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageReadError) as caught:
        images.read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert reason in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert caught.value.__cause__ is None


def test_missing_files_and_folders_are_named(tmp_path):
    for read in (images.read, images.size):
        with pytest.raises(ImageReadError, match=r"none\.png: no such file"):
            read(tmp_path / "none.png")
        with pytest.raises(ImageReadError, match="a folder, an image was expected"):
            read(tmp_path)


def test_a_bomb_is_refused_from_its_header_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(bomb(9000))
    with pytest.raises(ImageReadError, match="64 million"):
        images.size(tmp_path / "a.png")
    assert images.size(tmp_path / "a.png", max_pixels=10**8) == (9000, 9000)


def test_a_page_can_be_chosen(tmp_path):
    pages = [Image.fromarray(np.full((8, 8), v, np.uint8)) for v in (51, 102, 153)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert images.read(tmp_path / "a.tif", frame=2)[0, 0] == pytest.approx(0.6)
    with pytest.raises(ImageReadError, match="no frame 3; the file has 3"):
        images.read(tmp_path / "a.tif", frame=3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_random_damage_gives_an_image_or_the_one_error(tmp_path, kind):
    data, rng = _saved(Image.fromarray(GREY), kind), np.random.default_rng(0)
    path, refused = tmp_path / "damaged", []
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), size=rng.integers(1, 9)):
            damaged[place] = rng.integers(256)
        cut = rng.integers(1, len(data)) if rng.random() < 0.3 else len(data)
        path.write_bytes(damaged[:cut])
        try:
            read = images.read(path, max_pixels=10**6)
        except ImageReadError as error:
            refused.append(str(error))
        else:
            assert read.dtype == np.float32
            assert 0 <= read.min() <= read.max() <= 1
    assert len(refused) > 5
    assert all(said.startswith(f"{path}: ") for said in refused)
