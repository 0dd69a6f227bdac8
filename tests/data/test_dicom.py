"""DICOM: the order of the standard, and its oddities, each against a value worked out by hand."""

import numpy as np
import pydicom
import pytest

from tests import make
from wsrpn.data import dicom, images
from wsrpn.data.images import ImageReadError

RAMP = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 5
RANGE = (RAMP - RAMP.min()) / (RAMP.max() - RAMP.min())


def read(tmp_path, pixels=RAMP, **tags):
    return images.read(make.dicom(tmp_path / "x.dcm", pixels, **tags))


def test_eight_bits_keep_their_scale(tmp_path):
    pixels = (RAMP // 32).astype(np.uint8)
    np.testing.assert_allclose(read(tmp_path, pixels), pixels / 255, atol=1e-6)


def test_deeper_values_without_a_window_are_stretched(tmp_path):
    np.testing.assert_allclose(read(tmp_path, RAMP + 300), RANGE, atol=1e-6)


def test_signed_values_are_signed(tmp_path):
    pixels = RAMP.astype(np.int16) - 1000
    np.testing.assert_allclose(read(tmp_path, pixels), RANGE, atol=1e-6)


def test_monochrome1_and_the_inverse_lut_are_turned_over_once(tmp_path):
    for tags in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ):
        np.testing.assert_allclose(read(tmp_path, **tags), 1 - RANGE, atol=1e-6)
    np.testing.assert_allclose(read(tmp_path, PresentationLUTShape="IDENTITY"), RANGE, atol=1e-6)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1900, "WindowWidth": 2500}])
def test_inverted_pixels_with_the_other_monochrome_are_the_same_image(tmp_path, window):
    top = 4095
    other = {"WindowCenter": top + 1 - 1900, "WindowWidth": 2500} if window else {}
    straight = read(tmp_path, **window)
    turned = read(tmp_path, top - RAMP, PhotometricInterpretation="MONOCHROME1", **other)
    np.testing.assert_allclose(straight, turned, atol=1e-6)


def test_the_rescale_slope_comes_before_the_window(tmp_path):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 500, "WindowWidth": 1001}
    expected = np.clip((RAMP * 2.0 - 1000 - 499.5) / 1000 + 0.5, 0, 1)
    np.testing.assert_allclose(read(tmp_path, **tags), expected, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_equal_those_of_pydicom(tmp_path, function):
    tags = {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": function}
    header = pydicom.dcmread(
        make.dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, HighBit=11, **tags)
    )
    reference = pydicom.pixels.apply_windowing(RAMP, header) / 4095
    np.testing.assert_allclose(images.read(tmp_path / "x.dcm"), reference, atol=1e-5)


def test_the_first_of_several_windows_counts(tmp_path):
    one = read(tmp_path, WindowCenter=900, WindowWidth=300)
    several = read(tmp_path, WindowCenter=[900, 3000], WindowWidth=[300, 9])
    np.testing.assert_array_equal(one, several)


def test_a_window_of_one_is_a_threshold():
    np.testing.assert_array_equal(
        dicom.window(np.array([99.0, 99.5, 100.0]), 100.0, 1.0), [0, 0, 1]
    )


def test_a_voi_lut_is_looked_up_and_wins_over_a_window(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = [round(4095 * (i / 4095) ** 2) for i in range(4096)]
    table["LUTData"].VR = table["LUTDescriptor"].VR = "US"
    tags = {"VOILUTSequence": [table], "WindowCenter": 3, "WindowWidth": 2}
    found = read(tmp_path, BitsStored=12, HighBit=11, **tags)
    np.testing.assert_allclose(found, (RAMP / 4095) ** 2, atol=2e-4)


def test_padding_is_black_and_does_not_stretch_the_image(tmp_path):
    pixels = RAMP + 300
    pixels[:, :4] = 60000
    found = read(tmp_path, pixels, PixelPaddingValue=60000, PhotometricInterpretation="MONOCHROME1")
    assert (found[:, :4] == 0).all()
    inner = RAMP[:, 4:].astype(float)
    expected = 1 - (inner - inner.min()) / (inner.max() - inner.min())
    np.testing.assert_allclose(found[:, 4:], expected, atol=1e-6)


def test_a_constant_image_is_black_and_finite(tmp_path):
    assert (read(tmp_path, np.full((8, 8), 700, np.uint16)) == 0).all()


def test_colour_becomes_luminance(tmp_path):
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 1] = 255
    # 3 samples, interleaved; make.dicom takes rows and columns from the last two axes
    found = read(tmp_path, rgb, Rows=8, Columns=8, SamplesPerPixel=3,
                 PhotometricInterpretation="RGB", PlanarConfiguration=0)  # fmt: skip
    np.testing.assert_allclose(found, 0.587, atol=1e-6)


def test_several_frames_are_refused_with_the_way_out(tmp_path):
    path = make.dicom(tmp_path / "x.dcm", np.stack([RAMP, RAMP[::-1], RAMP]), frames=3)
    with pytest.raises(ImageReadError, match=r"x\.dcm: 3 frames, one expected\. Save the one"):
        images.read(path)
    np.testing.assert_allclose(images.read(path, frame=1), RANGE[::-1], atol=1e-6)


def test_dicom_is_recognised_by_its_content(tmp_path):
    path = make.dicom(tmp_path / "no_suffix", RAMP)
    assert images.size(path) == (24, 32)
    np.testing.assert_allclose(images.read(path), RANGE, atol=1e-6)


def test_a_file_without_its_meta_header_is_read(tmp_path):
    header = pydicom.dcmread(make.dicom(tmp_path / "x.dcm", RAMP))
    bare = pydicom.Dataset({element.tag: element for element in header})
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_allclose(images.read(tmp_path / "bare.dcm"), RANGE, atol=1e-6)


def test_run_length_coded_pixels_are_decoded(tmp_path):
    header = pydicom.dcmread(make.dicom(tmp_path / "x.dcm", RAMP))
    header.compress(pydicom.uid.RLELossless)
    header.save_as(tmp_path / "rle.dcm")
    np.testing.assert_allclose(images.read(tmp_path / "rle.dcm"), RANGE, atol=1e-6)


def test_a_size_too_large_is_refused_before_decoding(tmp_path):
    path = make.dicom(tmp_path / "x.dcm", RAMP, Rows=60000, Columns=60000)
    for call in (images.read, images.size):
        with pytest.raises(
            ImageReadError, match="60000 × 60000 pixels are more than the 64 million"
        ):
            call(path)


def test_a_dicom_without_pixels_says_so(tmp_path):
    header = pydicom.dcmread(make.dicom(tmp_path / "x.dcm", RAMP))
    del header.PixelData
    header.save_as(tmp_path / "report.dcm")
    with pytest.raises(ImageReadError, match="without pixels"):
        images.read(tmp_path / "report.dcm")


def test_random_damage_gives_an_image_or_the_one_error(tmp_path):
    data, rng = make.dicom(tmp_path / "x.dcm", RAMP).read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(0, 900, size=rng.integers(1, 9)):  # the header
            damaged[place] = rng.integers(256)
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged)
        try:
            found = images.read(path, max_pixels=10**6)
        except ImageReadError as error:
            refused.append(str(error))
        else:
            assert 0 <= found.min() <= found.max() <= 1
    assert 10 < len(refused) < 150
    assert all(said.startswith(f"{path}: ") for said in refused)
