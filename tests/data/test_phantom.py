import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wsrpn.data import datasets, manifest
from wsrpn.data import phantom as phantoms
from wsrpn.data.phantom import cxr, series
from wsrpn.data.phantom.cxr import CLASSES, generate
from wsrpn.data.phantom.findings import DIAMETERS_MM, RATIOS, SIZES
from wsrpn.data.phantom.patient import Pose
from wsrpn.data.phantom.thorax import MM_PER_UNIT
from wsrpn.errors import InputError

# Labels, reports and boxes of 60 films; grey levels may differ in the last bit between machines.
GOLDEN = "d10eb46d0e1785ca865aab880e7eb18ee0a48074682e8596d6dcf61b1db70045"
TERMS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Effusion": "effusion",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pneumothorax": "pneumothorax",
}


@pytest.fixture(scope="module")
def films():
    return [generate(5, index, size=96) for index in range(60)]


def sentences(text):
    return [s.strip() for s in re.split(r"[.:]", text) if s.strip()]


def test_the_same_seed_and_index_give_the_same_bytes_in_any_order(films):
    again = generate(5, 17, size=96)
    assert again.image.tobytes() == films[17].image.tobytes()
    assert again.text == films[17].text
    assert again.boxes == films[17].boxes


def test_what_is_on_the_films_of_a_seed_stays_what_it_was(films):
    told = repr([(f.labels, f.text, [box.xyxy_px for box in f.boxes]) for f in films])
    assert hashlib.sha256(told.encode()).hexdigest() == GOLDEN


def test_another_seed_or_index_gives_another_film(films):
    assert not np.array_equal(generate(6, 17, size=96).image, films[17].image)
    assert not np.array_equal(films[16].image, films[17].image)


def test_images_are_grey_levels_with_bright_mediastinum_and_dark_lungs(films):
    for film in films:
        assert film.image.dtype == np.float32
        assert film.image.min() >= 0
        assert film.image.max() <= 1
    normal = np.mean([generate(5, i, size=96, findings=()).image for i in range(20)], 0)
    lungs = (normal[30:50, 22:34].mean() + normal[30:50, 62:74].mean()) / 2
    assert normal[60:70, 45:55].mean() > lungs + 0.3
    assert normal[80:90, 30:70].mean() > lungs + 0.3
    assert normal[20:90, :3].mean() < normal[60:70, 45:55].mean()


def test_a_box_is_the_tight_bound_of_its_mask(films):
    for film in films:
        for finding in film.findings:
            rows, columns = np.nonzero(finding.mask)
            bound = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert finding.xyxy_px == tuple(float(v) for v in bound)


def test_a_class_has_its_label_if_and_only_if_it_has_a_box(films):
    for film in films:
        boxed = {box.label for box in film.boxes}
        assert film.labels == tuple(float(index in boxed) for index in range(len(CLASSES)))


def test_every_class_and_both_sides_and_all_sizes_occur():
    rest = [c for c in CLASSES if c != "Cardiomegaly"]
    for name in rest:
        found = [generate(1, i, size=48, findings=(name,)).findings[0] for i in range(30)]
        assert {f.side for f in found} == {"left", "right"}
        assert {f.size for f in found} == set(SIZES)


def test_about_three_in_ten_films_are_normal_and_say_so():
    films = [generate(2, index, size=32) for index in range(150)]
    normal = [film for film in films if not film.findings]
    assert 0.2 < len(normal) / len(films) < 0.4
    for film in normal:
        assert "No pleural effusion" in film.text
        assert re.search(r"IMPRESSION: (No acute|Normal)", film.text)


def test_the_report_names_each_finding_with_its_side_and_none_that_is_absent(films):
    for film in films:
        findings, impression = film.text.split(" IMPRESSION: ")
        positive = [s for s in sentences(findings) if not s.startswith(("No ", "FINDINGS"))]
        for finding in film.findings:
            said = [s.lower() for s in positive if TERMS[finding.name] in s.lower()]
            if finding.name == "Cardiomegaly":
                said += [s.lower() for s in positive if "enlarged" in s]
            assert any(finding.side in s and finding.zone[:3] in s for s in said)
            assert TERMS[finding.name] in impression
            assert finding.side in impression
        present = {finding.name for finding in film.findings}
        for name in set(CLASSES) - present:
            assert not any(TERMS[name] in s.lower() for s in positive)
            assert TERMS[name] not in impression
            assert not (name == "Cardiomegaly" and "enlarged" in findings)


def test_the_right_side_of_the_patient_is_the_left_of_the_image(films):
    for film in films:
        for finding in film.findings:
            if finding.side:
                x1, _, x2, _ = finding.xyxy_px
                assert ((x1 + x2) / 2 < 48) == (finding.side == "right")


@pytest.mark.parametrize("name", ["Nodule", "Mass"])
def test_diameters_follow_the_law_of_the_class(name):
    size = 256
    for index in range(12):
        finding = generate(3, index, size=size, findings=(name,)).findings[0]
        low, high = DIAMETERS_MM[name][finding.size]
        assert low <= finding.diameter_mm <= high
        assert (finding.diameter_mm < 30) == (name == "Nodule")
        measured = 2 * np.sqrt(finding.mask.sum() / np.pi) * 2 * MM_PER_UNIT / size
        assert measured == pytest.approx(finding.diameter_mm, rel=0.2)


def test_an_enlarged_heart_is_wider_than_half_the_thorax_and_grows_with_its_size():
    assert min(low for low, _ in RATIOS.values()) > 0.5
    widths = {size: [] for size in SIZES}
    for index in range(24):
        (finding,) = generate(4, index, size=64, findings=("Cardiomegaly",)).findings
        widths[finding.size].append(finding.xyxy_px[2] - finding.xyxy_px[0])
    means = [np.mean(widths[size]) for size in SIZES]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize("name", [c for c in CLASSES if c != "Cardiomegaly"])
def test_taking_a_finding_away_changes_only_pixels_at_its_mask(name):
    for index in range(6):
        film = generate(7, index, size=128, findings=(name,))
        clean = generate(7, index, size=128, findings=())
        change = np.abs(film.image - clean.image)
        mask = film.findings[0].mask
        near = ndimage.binary_dilation(mask, iterations=4)
        assert change[~near].max() < 1e-3
        assert change[mask].mean() > 5 * change[near & ~mask].mean() * 0.4
        assert change[mask].mean() > 0.03


@pytest.mark.parametrize(
    ("name", "brighter"),
    [("Nodule", 1), ("Mass", 1), ("Effusion", 1), ("Consolidation", 1), ("Pneumothorax", -1)],
)
def test_dense_findings_are_brighter_and_air_is_darker(name, brighter):
    for index in range(6):
        film = generate(8, index, size=96, findings=(name,))
        clean = generate(8, index, size=96, findings=())
        assert brighter * (film.image - clean.image)[film.findings[0].mask].mean() > 0


def test_an_effusion_reaches_the_costophrenic_angle():
    for index in range(8):
        (finding,) = generate(9, index, size=96, findings=("Effusion",)).findings
        x1, _, x2, y2 = finding.xyxy_px
        assert (x1 < 28) if finding.side == "right" else (x2 > 68)
        assert y2 > 68


def test_two_effusions_lie_on_two_sides():
    for index in range(8):
        film = generate(9, index, size=64, findings=("Effusion", "Effusion"))
        assert {f.side for f in film.findings} == {"left", "right"}


def test_a_lower_contrast_makes_a_fainter_finding():
    faint, clear = (
        generate(1, 1, size=96, findings=("Mass",), contrast=c, noise=0.0) for c in (0.3, 1.0)
    )
    clean = generate(1, 1, size=96, findings=(), noise=0.0)
    mask = clear.findings[0].mask
    assert (clear.image - clean.image)[mask].mean() > 2 * (faint.image - clean.image)[mask].mean()


def test_films_of_a_patient_share_the_body_and_not_the_exposure(monkeypatch):
    pose = Pose((0.0, 0.0), 0.0, 1.0, 0.0)
    monkeypatch.setattr(cxr.patients, "draw_pose", lambda rng: pose)
    one, two = (generate(1, i, size=64, patient=3, findings=()).image for i in (10, 11))
    other = generate(1, 11, size=64, patient=4, findings=()).image
    assert not np.array_equal(one, two)
    same, different = (np.corrcoef(two.ravel(), x.ravel())[0, 1] for x in (one, other))
    assert same > 0.97
    assert same > different + 0.01


def test_written_films_are_read_back_as_they_are(tmp_path):
    made = cxr.write(tmp_path / "set", images=12, size=48, seed=3, masks=True)
    assert [r.id for r in made.records] == [f"images/{i:06d}.png" for i in range(12)]
    assert made.classes == CLASSES
    by_manifest = manifest.manifest(root=tmp_path / "set")
    for index, (record, plain) in enumerate(zip(made.records, by_manifest.records, strict=True)):
        patient = int(record.patient[1:])
        film = generate(3, index, size=48, patient=patient)
        pixels = np.asarray(Image.open(record.path))
        assert np.array_equal(pixels, np.round(film.image * 255).astype(np.uint8))
        assert record.labels == film.labels
        assert record.boxes == film.boxes
        assert record.text == film.text == plain.text
        assert record.boxes_known
        union = np.any([np.zeros((48, 48), bool), *(f.mask for f in film.findings)], 0)
        assert np.array_equal(np.asarray(Image.open(record.mask)) > 0, union)
        sizes = "|".join(f"{f.name} {f.size}" for f in film.findings)
        assert record.extra["sizes"] == sizes


def test_no_patient_is_in_two_splits_and_the_shares_are_three_one_one(tmp_path):
    rows = list(zip(range(400), series.patients(1), strict=False))
    splits = {}
    for _, (_, patient, split) in rows:
        assert splits.setdefault(patient, split) == split
    counts = [list(splits.values()).count(s) / len(splits) for s in ("train", "val", "test")]
    assert counts == pytest.approx([0.6, 0.2, 0.2], abs=0.02)
    films = [[p for _, (_, p, _) in rows].count(patient) for patient in list(splits)[:-1]]
    assert set(films) == {1, 2, 3}
    few = cxr.write(tmp_path / "few", images=9, size=32, seed=0)
    assert {r.split for r in few.records} == {"train", "val", "test"}


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        cxr.write(tmp_path, images=2, size=32)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_killed_write_leaves_no_folder(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cxr, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        cxr.write(tmp_path / "set", images=2, size=32)
    assert list(tmp_path.iterdir()) == []


def test_the_reader_makes_films_once_and_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build = {"root": Path("cxr?images=4&size=32&seed=2")}
    first = datasets["phantom"](**build)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")}
    assert len(stamps) == len(first) == 4
    again = datasets["phantom"](**build)
    assert again == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")} == stamps
    other = datasets["phantom"](root=Path("cxr?images=4&size=32&seed=3"))
    assert other.records[0].path != first.records[0].path


def _without(name):
    return lambda folder: (folder / name).unlink()


def _cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-30])


@pytest.mark.parametrize(
    "spoil",
    [
        _without("images.csv"), _cut("images.csv"), _cut("boxes.csv"), _without("boxes.csv"),
        _without("classes.csv"), _without("images/000001.png"),
    ],
)  # fmt: skip
def test_damaged_films_in_the_cache_are_made_again_with_a_warning(tmp_path, monkeypatch, spoil):
    monkeypatch.setenv("WSRPN_CACHE", str(tmp_path))
    build = {"root": Path("cxr?images=4&size=32&seed=2")}
    first = datasets["phantom"](**build)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    left = tmp_path / f".{folder.name}.tmp.1"  # of a process that was killed
    left.mkdir()
    spoil(folder)
    with pytest.warns(UserWarning, match=r"cxr-.*: these films are damaged; they are made again"):
        assert datasets["phantom"](**build) == first
    assert not left.exists()
    assert all(record.path.is_file() for record in first.records)
    assert datasets["phantom"](**build) == first  # without a warning


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("bead", "no such phantom. Did you mean 'beads'"),
        ("cxr?image=3", "Did you mean 'images'"),
        ("cxr?images=many", "phantom:cxr: images: .*many"),
        ("cxr?images=0", "phantom:cxr: images: "),
        ("cxr?size=8", "phantom:cxr: size: "),
        ("cxr?images", "images=300&size=128"),
        ("cxr?size=64&size=32", "stands twice"),
    ],
)
def test_wrong_options_are_one_sentence(argument, words):
    with pytest.raises(InputError, match=words):
        phantoms.parse(argument)


def test_an_unknown_finding_is_named():
    with pytest.raises(InputError, match=r"'Nodul'\. Did you mean 'Nodule'"):
        generate(0, 0, size=32, findings=("Nodul",))
