"""Files that claim too much or are malformed fail as one slide, at once, and with a sentence."""

import gzip
import json
import zipfile

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.slides.test_foreign import h5, hs2p
from tests.slides.test_labels import tiles
from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.slides import assemble, geojson, labels, lattice, mask_files, reader, sheet, table
from wsrpn.slides.lattice import Scattered
from wsrpn.tiles import AS_GIVEN, Cohort, Slide

DEEP = "[" * 100_000
DIGITS = '{"type": "Point", "coordinates": [' + "1" * 5000 + "]}"
FAR = json.dumps(
    {
        "type": "Polygon",
        "coordinates": [[[0, 0], [1e308, 0], [1e308, 1e308], [-1e308, 1e308], [0, 0]]],
    }
)


@pytest.mark.parametrize("text", [DEEP, DIGITS, FAR])
@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_a_malformed_annotation_is_the_fault_of_its_slide(tmp_path, text, name):
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    cohort = Cohort("c", (tiles("bad"), tiles("good")), "score", AS_GIVEN)
    found = labels.attach(cohort, {"bad": Slide("bad", "bad", annotation=tmp_path / name)})
    assert [one.slide for one in found.slides] == ["good"]
    assert list(found.failed) == ["bad"]
    assert "\n" not in found.failed["bad"]


@pytest.mark.parametrize("fault", [MemoryError(), OverflowError("too\nlarge.")])
def test_any_fault_of_one_slide_is_a_sentence(tmp_path, monkeypatch, fault):
    for name in ("s1", "s2"):
        h5(tmp_path / f"{name}.h5", patch_size_level0=256)
    real = assemble.tiles

    def failing(rows):
        if rows.slide == "s1":
            raise fault
        return real(rows)

    monkeypatch.setattr(assemble, "tiles", failing)
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["s2"]
    assert found.failed["s1"].startswith(f"{tmp_path}: slide 's1' cannot be read (")
    assert "\n" not in found.failed["s1"]


@pytest.mark.parametrize("text", [DEEP, DIGITS])
def test_json_that_python_does_not_take_is_one_sentence(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json: not readable as x"):
        files.read_json(path, what="x")


def test_a_slide_of_no_size_in_arrays_fails_and_the_rest_goes_on(tmp_path):
    h5(tmp_path / "s1.h5", patch_size_level0=256, level0_width=np.inf, level0_height=9.0)
    hs2p(tmp_path / "s2.coordinates.npz", score=np.zeros(30))
    meta = '{"slide": {"dimensions": [1e999, 5]}, "tiling": {"tile_size_lv0": 256}}'
    (tmp_path / "s2.coordinates.meta.json").write_text(meta)
    hs2p(tmp_path / "s3.coordinates.npz", score=np.zeros(30),
         meta={"slide": {"dimensions": [10**400, 5], "base_spacing_um": 1e300}})  # fmt: skip
    h5(tmp_path / "s4.h5", patch_size_level0=256)
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["s4"]
    assert "a slide of inf × 9 px is none" in found.failed["s1"]
    assert "a slide of inf × 5 px is none" in found.failed["s2"]
    assert "1e+300 µm a pixel is no resolution" in found.failed["s3"]


@pytest.mark.parametrize("mpp", ["1e300", "0.001", "250"])
def test_a_resolution_of_no_slide_is_refused(tmp_path, mpp):
    (tmp_path / "slides.csv").write_text(f"slide,mpp\na,{mpp}\n")
    with pytest.raises(InputError, match=r"csv:2: mpp '.*0\.01 to 100"):
        sheet.read(tmp_path / "slides.csv")
    (tmp_path / "t.csv").write_text(f"slide,x,y,width,height,score,mpp\na,0,0,9,9,1,{mpp}\n")
    with pytest.raises(InputError, match=r"t\.csv: mpp .* of slide 'a'.*0\.01 to 100"):
        table.read(tmp_path / "t.csv")


@pytest.mark.parametrize("pitch", [4, 5, 256])
@pytest.mark.parametrize("stray", [600_000, 4_000_000, 900_000_001])
def test_a_stray_tile_is_named_before_it_costs_memory_or_time(pitch, stray, monkeypatch):
    tried = []
    real = lattice.lines.scanned
    monkeypatch.setattr(
        lattice.lines, "scanned", lambda *given: (tried.append(given), real(*given))[1]
    )
    column, row = (axis.ravel() * pitch for axis in np.indices((60, 60)))
    x, y = np.append(column, stray), np.append(row, stray)
    with pytest.raises(Scattered, match=rf"x {x[-1]}, y {y[-1]} ") as caught:
        lattice.fit(x, y, (256.0, 256.0))
    assert tried == []
    assert caught.value.tile == 3600


def test_the_stray_tile_of_a_named_lattice_is_named_too():
    x = np.append(np.arange(50), 100_000) * 10
    with pytest.raises(Scattered, match="x 1000000, y 1000000 lies too far away"):
        lattice.given(x, x, (0.0, 0.0), (10.0, 10.0))


def test_as_many_cells_as_the_tiles_deserve_are_allowed():
    many = 30_000
    x = np.arange(many) % 150 * 256
    y = np.arange(many) // 150 * 256
    x, y = np.append(x, 2400 * 256), np.append(y, 2400 * 256)  # 5.8 million cells
    assert lattice.fit(x, y, (256.0, 256.0)).shape == (2401, 2401)


def test_arrays_that_claim_too_much_are_not_read(tmp_path):
    path = h5(tmp_path / "a.h5", patch_size_level0=256)
    with h5py.File(path, "a") as file:
        del file["coords"]
        file.create_dataset("coords", (800_000_000, 2), "i8", chunks=(1000, 2))
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"a\.h5: 'coords' says it has 12,800 MB"):
        table.read(path)


def test_packed_arrays_that_claim_too_much_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.coordinates.npz"
    np.savez_compressed(path, x=np.zeros(200_000), y=np.zeros(200_000), score=np.zeros(200_000))
    monkeypatch.setattr("wsrpn.slides.arrays.MOST_BYTES", 1_000_000)
    with pytest.raises(InputError, match=r"a\.coordinates\.npz: '\w+' says it has 2 MB"):
        table.read(path)


def test_an_npz_whose_header_claims_all_memory_is_one_sentence(tmp_path):
    path = hs2p(tmp_path / "a.coordinates.npz", score=np.zeros(30))
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    parts["x.npy"] = parts["x.npy"].replace(b"(30,), }          ", b"(9000000000000000,), }"[:22])
    parts["x.npy"] = parts["x.npy"].replace(b"(30,)", b"(9" + b"0" * 15 + b",)", 1)
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    with pytest.raises(InputError, match="not readable as npz"):
        table.read(path)


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_json_is_read_up_to_a_bound(tmp_path, monkeypatch, name):
    monkeypatch.setattr(geojson, "MOST_BYTES", 10_000)
    data = b'{"type": "FeatureCollection", "features": []' + b" " * 1_000_000 + b"}"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(InputError, match=r"a\.geojson\S*: more than 0\.01 MB of JSON"):
        geojson.read(tmp_path / name)


def test_a_mask_in_one_strip_or_of_many_channels_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_files, "MOST", 1000)
    monkeypatch.setattr(mask_files, "MOST_AT_ONCE", 4000)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((100, 90), np.uint8), compression="zlib", rowsperstrip=100)
    with pytest.raises(InputError, match=r"a\.tif: 9,000 values of a mask of 90 × 100.*512"):
        mask_files.tiff(path)
    tifffile.imwrite(path, np.zeros((30, 30, 5), np.uint8), photometric="minisblack",
                     planarconfig="contig", tile=(16, 16))  # fmt: skip
    with pytest.raises(InputError, match="4,500 values"):
        mask_files.tiff(path)
    path = tmp_path / "a.png"
    Image.new("RGBA", (40, 30)).save(path)
    with pytest.raises(InputError, match="40 × 30 pixels in 4 channels are too many"):
        mask_files.picture(path)


def test_a_slide_without_small_levels_has_no_picture(tmp_path, monkeypatch):
    pytest.importorskip("tiffslide")
    monkeypatch.setattr(reader, "MOST_AT_ONCE", 100_000)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((512, 512, 3), np.uint8), photometric="rgb", tile=(256.0, 256.0)
    )
    with (
        reader.open_slide(path) as file,
        pytest.raises(InputError, match=r"a\.tif: no picture, because its level of 512 × 512"),
    ):
        file.thumbnail(100)
