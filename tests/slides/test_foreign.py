import json

import h5py
import numpy as np
import pytest

from wsrpn.errors import InputError
from wsrpn.slides import regrid, table

COUNT = 30


def places(*, columns=6, rows=5, step=256, origin=(0, 0)):
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([column.ravel() * step + origin[0], row.ravel() * step + origin[1]], axis=1)


def h5(path, coords=None, *, scores="attention_scores", values=None, **attributes):
    """A file with tiles; `attributes` stand on the coordinates, as CLAM and TRIDENT have them."""
    coords = places() if coords is None else coords
    values = np.arange(len(coords)) / 10 if values is None else values
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=coords).attrs.update(attributes)
        if scores:
            file.create_dataset(scores, data=values)
    return path


def wsinfer(path, **probabilities):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"prob_{name.replace('_', '-')}" for name in probabilities]
    rows = [",".join(["minx", "miny", "width", "height", *names])]
    for (x, y), *values in zip(places(step=350), *probabilities.values(), strict=True):
        rows.append(",".join(map(str, [x, y, 350, 350, *values])))
    path.write_text("\n".join(rows) + "\n")
    return path


def hs2p(path, *, meta=None, **arrays):
    x, y = places().T
    np.savez(path, **{"tile_index": np.arange(COUNT), "x": x, "y": y, **arrays})
    if meta is not None:
        path.with_suffix(".meta.json").write_text(json.dumps(meta))
    return path


def only(path, **options):
    found = table.read(path, **options)
    assert found.failed == {}
    assert len(found) == 1
    return found, found.slides[0]


def test_wsinfer_takes_the_probability_of_tumour_and_says_so(tmp_path):
    path = wsinfer(tmp_path / "s1.csv", no_tumor=np.zeros(COUNT), tumor=np.arange(COUNT) / 100)
    found, slide = only(path)
    assert (found.score, slide.slide, slide.size_px0) == ("prob_tumor", "s1", (350, 350))
    assert np.array_equal(slide.score, np.arange(COUNT) / 100)
    assert found.notes == ("Scores are prob_tumor, not prob_no-tumor.",)
    assert slide.lattice.shape == (5, 6)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("notumor", "Tumor"), "prob_Tumor"),
        (("lymphocyte_negative", "lymphocyte_positive"), "prob_lymphocyte-positive"),
        (("benign", "malignant"), "prob_malignant"),
        (("whatever",), "prob_whatever"),
    ],
)
def test_wsinfer_classes_of_the_zoo(tmp_path, names, chosen):
    path = wsinfer(tmp_path / "s.csv", **{name: np.full(COUNT, 0.5) for name in names})
    assert table.read(path).score == chosen


@pytest.mark.parametrize("score", ["prob_solid", "solid"])
def test_wsinfer_with_several_classes_wants_a_name(tmp_path, score):
    path = wsinfer(tmp_path / "s.csv", acinar=np.zeros(COUNT), solid=np.ones(COUNT))
    with pytest.raises(InputError, match=r"2 probabilities \(prob_acinar, prob_solid\)"):
        table.read(path)
    found, slide = only(path, score=score)
    assert found.score == "prob_solid"
    assert np.all(slide.score == 1)
    with pytest.raises(InputError, match=r"no column 'prob_solit'. Did you mean 'prob_solid'"):
        table.read(path, score="prob_solit")


def test_a_folder_of_wsinfer_results_is_a_cohort(tmp_path):
    for name in ("a", "b"):
        wsinfer(tmp_path / "model-outputs-csv" / f"{name}.csv", Tumor=np.ones(COUNT))
        h5(tmp_path / "patches" / f"{name}.h5", scores=None, patch_size=350, patch_level=0)
    (tmp_path / "model-outputs-csv" / "c.csv").write_text("minx,miny,width,height,prob_Tumor\n")
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["a", "b"]
    assert "header and no row" in found.failed["c"]
    assert found.notes == ("2 files without scores not read: a.h5, b.h5.",)
    assert table.is_table(tmp_path)


def test_clam_takes_the_patch_size_at_level_0_from_its_coordinates(tmp_path):
    h5(
        tmp_path / "patches" / "tumor_1.h5",
        places(step=512),
        scores=None,
        patch_size=256,
        patch_level=1,
        downsample=(2.0, 2.0),
    )
    path = h5(
        tmp_path / "raw" / "tumor_1_blockmap.h5", places(step=512), values=np.ones((COUNT, 1))
    )
    found, slide = only(path)
    assert (slide.slide, slide.size_px0, slide.lattice.pitch_px0) == (
        "tumor_1",
        (512, 512),
        (512, 512),
    )
    assert (found.score, found.notes) == ("attention_scores", ())


def test_clam_without_coordinates_takes_the_step_and_says_so(tmp_path):
    found, slide = only(h5(tmp_path / "tumor_1_blockmap.h5"))
    assert slide.size_px0 == (256, 256)
    assert found.notes == (
        "tumor_1: the file names no patch size; the step of its tiles says 256 px.",
    )


def test_clam_names_the_overlap_in_the_file(tmp_path):
    path = h5(tmp_path / "tumor_1_0.75_roi_False.h5", places(step=64))
    _, slide = only(path)
    assert (slide.slide, slide.size_px0, slide.lattice.pitch_px0) == (
        "tumor_1",
        (256, 256),
        (64, 64),
    )


def test_clam_pieces_with_lattices_of_their_own_come_onto_one(tmp_path):
    pieces = [places(), places(origin=(5000, 333)), places(columns=2, rows=2, origin=(9001, 70))]
    values = np.concatenate([np.full(len(piece), i) for i, piece in enumerate(pieces)])
    path = h5(tmp_path / "t_blockmap.h5", np.concatenate(pieces), values=values * 1.0)
    found, slide = only(path)
    assert slide.lattice.pitch_px0 == (256, 256)
    assert found.notes[-1].startswith("t: 64 tiles lie on several lattices, as CLAM makes them")
    grid = slide.lattice.spread(slide.score)
    assert np.all(grid[:5, :6] == 0)  # the lattice that most tiles have stays where it is
    assert slide.lattice.origin_px0 == (0, 0)
    assert {*np.unique(slide.score)} == {0.0, 1.0, 2.0}
    assert slide.score.tolist().count(1.0) == pytest.approx(30, abs=6)


def test_h5_without_any_lattice_fails(tmp_path):
    coords = np.random.default_rng(0).integers(0, 100_000, (COUNT, 2))
    with pytest.raises(InputError, match=r"x.h5: tile \d+: the tile at .* off in"):
        table.read(h5(tmp_path / "x.h5", coords, patch_size_level0=256))


def test_trident_says_patch_and_slide_size(tmp_path):
    path = h5(
        tmp_path / "s_patches.h5",
        places(step=512),
        scores="scores",
        patch_size=256,
        patch_size_level0=512,
        level0_magnification=40,
        target_magnification=20,
        overlap=0,
        level0_width=9000,
        level0_height=8000,
    )
    found, slide = only(path)
    assert (slide.slide, slide.size_px0, slide.extent_px0) == ("s", (512, 512), (9000, 8000))
    assert (found.score, found.notes) == ("scores", ())


def test_hs2p_says_mpp_size_and_tissue(tmp_path):
    meta = {
        "slide": {"dimensions": [2000, 1800], "base_spacing_um": 0.2431},
        "tiling": {"tile_size_lv0": 256, "step_px_lv0": 256},
    }
    share = np.linspace(0, 1, COUNT)
    path = hs2p(
        tmp_path / "s.coordinates.npz", meta=meta, scores=np.ones(COUNT), tissue_fractions=share
    )
    _, slide = only(path)
    assert (slide.slide, slide.mpp, slide.extent_px0) == ("s", 0.2431, (2000, 1800))
    assert slide.size_px0 == (256, 256)
    assert np.array_equal(slide.tissue, share)


def test_hs2p_without_metadata_takes_the_step(tmp_path):
    found, slide = only(hs2p(tmp_path / "s.coordinates.npz", prob_tumor=np.ones(COUNT)))
    assert (slide.size_px0, found.score) == ((256, 256), "prob_tumor")
    assert "no patch size" in found.notes[0]


def test_a_folder_of_arrays_keeps_going_after_faults(tmp_path):
    h5(tmp_path / "good.h5", patch_size_level0=256)
    h5(tmp_path / "features.h5", scores="features", values=np.ones((COUNT, 8)))
    h5(tmp_path / "short.h5", values=np.ones(7))
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n")
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["good"]
    assert set(found.failed) == {"short", "broken"}
    assert "'attention_scores' has shape (7,) for 30 tiles" in found.failed["short"]
    assert "not readable as h5" in found.failed["broken"]
    assert found.notes == ("1 file without scores not read: features.h5.",)


def test_files_of_one_slide_and_of_two_kinds_are_told_apart(tmp_path):
    h5(tmp_path / "s_blockmap.h5")
    h5(tmp_path / "s_0.5_roi_False.h5", places(step=128))
    h5(tmp_path / "t_blockmap.h5")
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["t"]
    assert "stands in s_0.5_roi_False.h5, s_blockmap.h5" in found.failed["s"]
    h5(tmp_path / "u.h5", scores="scores")
    with pytest.raises(InputError, match=r"different scores \(attention_scores, scores\)"):
        table.read(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scores": None}, "no scores, only coords; add an array 'scores'"),
        ({"values": np.ones((COUNT, 3))}, r"shape \(30, 3\) for 30 tiles"),
        ({"values": np.r_[np.ones(COUNT - 1), np.nan]}, "tile 30: its attention_scores is not"),
        ({"coords": np.ones((COUNT, 3))}, r"'coords' has shape \(30, 3\)"),
        ({"coords": np.zeros((0, 2))}, "no tile; at least one"),
        ({"coords": np.zeros((1, 2))}, "no patch size and no two tiles in a row"),
        ({"patch_size_level0": -5}, "a patch of -5 px is none"),
    ],
)
def test_faults_of_h5_are_named(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        table.read(h5(tmp_path / "x.h5", **options))


def test_two_arrays_of_scores_want_a_name(tmp_path):
    path = h5(tmp_path / "x.h5", patch_size_level0=256)
    with h5py.File(path, "a") as file:
        file["scores"] = np.ones(COUNT)
    with pytest.raises(InputError, match="scores in attention_scores, scores; name the array"):
        table.read(path)
    assert np.all(table.read(path, score="scores").slides[0].score == 1)


def test_faults_of_npz_are_named(tmp_path):
    with pytest.raises(InputError, match="no scores, only tile_index, x, y"):
        table.read(hs2p(tmp_path / "a.npz"))
    with pytest.raises(InputError, match="'tissue_fractions' is not one share"):
        table.read(
            hs2p(tmp_path / "a.npz", scores=np.ones(COUNT), tissue_fractions=np.full(COUNT, 2))
        )
    with pytest.raises(InputError, match="not readable as npz"):
        table.read(hs2p(tmp_path / "a.npz", scores=np.array([{}] * COUNT)))  # a pickle
    np.save(tmp_path / "a.npy", np.ones(3))
    for data in (b"PK\x03\x04", b"", (tmp_path / "a.npy").read_bytes()):
        (tmp_path / "a.npz").write_bytes(data)
        with pytest.raises(InputError, match="not readable as npz"):
            table.read(tmp_path / "a.npz")


def test_regridded_values_are_means_over_area():
    """A slow definition: paint every tile on pixels, then average each cell."""
    rng = np.random.default_rng(0)
    corner = np.concatenate([places(step=8), places(columns=3, rows=2, step=8, origin=(51, 3))])
    values = rng.normal(size=len(corner))
    x, y, mean = regrid.onto_one(corner[:, 0], corner[:, 1], (8.0, 8.0), (8.0, 8.0), values)
    total, count = np.zeros((80, 120)), np.zeros((80, 120))
    for (left, top), value in zip(corner, values, strict=True):
        total[top : top + 8, left : left + 8] += value
        count[top : top + 8, left : left + 8] += 1
    found = {(a, b): m for a, b, m in zip(x, y, mean, strict=True)}
    expected = {}
    for left in range(0, 112, 8):
        for top in range(0, 72, 8):
            cell = slice(top, top + 8), slice(left, left + 8)
            if count[cell].sum() >= 32:
                expected[left, top] = total[cell].sum() / count[cell].sum()
    assert found.keys() == expected.keys()
    assert np.allclose([found[key] for key in expected], list(expected.values()))


def test_regridding_tiles_of_one_lattice_changes_nothing():
    corner = places(origin=(17, 5))
    values = np.random.default_rng(0).normal(size=COUNT)
    x, y, mean = regrid.onto_one(corner[:, 0], corner[:, 1], (256.0, 256.0), (256.0, 256.0), values)
    assert np.array_equal(np.stack([x, y], axis=1), corner)
    assert np.allclose(mean, values)
