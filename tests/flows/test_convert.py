"""Whatever a reader reads comes back from a manifest and from COCO, files and all."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import cli, make, make_chexpert, make_mimic, make_xray_b
from tests.metrics.worlds import record
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import coco, convert, datasets, images, manifest
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record


def _ms_cxr(folder):
    make_mimic.mimic(folder, size=(40, 60))
    return make_mimic.ms_cxr(folder)


def _mimic(folder):
    home = make_mimic.mimic(folder)
    make_mimic.imagenome(folder)
    return home


def _chexpert(folder):
    make_chexpert.chexpert(folder)
    make_chexpert.plus(folder)
    return folder


def _coco(folder):
    tree = {
        "images": [{"id": 500, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 7, "bbox": [1, 2, 10.25, 20]}],
        "categories": [{"id": 90, "name": "Mass"}, {"id": 7, "name": "A B"}],
    }
    for name in ("a.png", "b.png"):
        make.image(folder / name, make.blob((32, 40)) * (0.5 if name == "a.png" else 1))
    (folder / "c.json").write_text(json.dumps(tree))
    return folder / "c.json"


def _plain(folder):
    make.image(folder / "deep/a.png")
    make.image(folder / "b.jpg")
    return folder


MAKERS = {
    "manifest": lambda f: make.manifest(f, 9), "nih": make.nih, "coco": _coco, "folder": _plain,
    "phantom": lambda f: "cxr?images=6&size=48&masks=true",
    "chexpert": _chexpert, "chexlocalize": make_chexpert.chexlocalize,
    "mimic": _mimic, "ms_cxr": _ms_cxr,
    "vindr": make_xray_b.vindr, "rsna": lambda f: make_xray_b.rsna(f, suffix=".png", size=256),
    "siim": make_xray_b.siim, "padchest": make_xray_b.padchest, "openi": make_xray_b.openi,
    "jsrt": make_xray_b.jsrt, "node21": make_xray_b.node21,
}  # fmt: skip


def plain(found: Record) -> tuple:
    """What must come back: all but where files lie; an empty further column is none."""
    return (
        found.patient, found.split, found.boxes_known, found.text,
        tuple(None if math.isnan(value) else value for value in found.labels),
        tuple((box.label, *(round(x, 6) for x in box.xyxy_px)) for box in found.boxes),
        {key: cell for key, cell in found.extra.items() if cell and key != "coco_id"},
    )  # fmt: skip


def load(source):
    return data.load(DataConfig(source=str(source), views="all"))


def test_every_reader_has_its_round_trip():
    assert set(MAKERS) == set(datasets)


@pytest.mark.parametrize("to", ["manifest", "coco"])
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_what_a_reader_reads_comes_back_equal(tmp_path, name, to):
    before = load(f"{name}:{MAKERS[name](tmp_path / 'set')}")
    made = convert.convert(before, tmp_path / "new", to=to, placing="link")
    after = load(made.path)
    assert made.failed == {}
    assert after.classes == before.classes
    assert [r.id for r in after.records] == [convert.name_in(r) for r in before.records]
    assert list(map(plain, after.records)) == list(map(plain, before.records))
    for one, other in zip(before.records, after.records, strict=True):
        for kind in ("path", "mask", "drr"):
            old, new = getattr(one, kind), getattr(other, kind)
            assert (old is None) == (new is None)
            assert old is None or old.read_bytes() == new.read_bytes()
    # And once more, from there: nothing is lost on a second way.
    again = convert.convert(after, tmp_path / "third", to="manifest", placing="link")
    assert list(map(plain, load(again.path).records)) == list(map(plain, before.records))


names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8).map(str.strip)
classes = st.lists(names.filter(lambda n: n and "|" not in n and n != "*"), max_size=4, unique=True)
corner = st.integers(0, 400).map(lambda n: n / 8)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@st.composite
def data_sets(draw):
    """What makes any data set of some classes: fields of its records."""
    known = draw(classes)
    label = st.sampled_from([0.0, 1.0, math.nan])
    box = st.tuples(st.integers(0, max(len(known) - 1, 0)), corner, corner)
    row = st.fixed_dictionaries({
        "patient": words.filter(str.strip),
        "labels": st.tuples(*[label] * len(known)),
        "split": st.sampled_from(["train", "val", "test", None]),
        "boxes": st.lists(box, max_size=3 if known else 0),
        "boxes_known": st.booleans(),
        "text": words,
        "mask": st.booleans(),
        "extra": st.dictionaries(st.sampled_from(["view", "age at x"]), words),
    })  # fmt: skip
    return known, draw(st.lists(row, min_size=1, max_size=4))


@given(data_sets())
def test_any_data_set_comes_back_from_a_manifest_and_from_coco(tmp_path_factory, made):
    root = tmp_path_factory.mktemp("any")
    rows = []
    for number, fields in enumerate(made[1]):
        boxes = (Box(k, (x, y, x + 1.5, y + 0.125)) for k, x, y in fields["boxes"])
        mask = root / "m.png" if fields["mask"] else None
        more = {**fields, "boxes": tuple(boxes), "mask": mask}
        rows.append(Record(f"{number}.png", root / f"{number}.png", **more))
    here = Dataset("any", tuple(made[0]), tuple(rows))
    manifest.write(here, root / "images.csv")
    coco.write(here, root / "c.json", sizes_px={r.id: (9, 9) for r in rows})
    for found in (manifest.manifest(root=root), coco.coco(root=root / "c.json")):
        assert found.classes == here.classes
        assert list(map(plain, found.records)) == list(map(plain, rows))
        assert [(r.id, r.path, r.mask) for r in found.records] == [
            (r.id, r.path, r.mask) for r in rows
        ]


def test_numbers_of_coco_are_kept(tmp_path):
    before = load(_coco(tmp_path / "set"))
    made = convert.convert(before, tmp_path / "new", to="coco", placing="copy")
    tree = json.loads(made.path.read_text())
    assert [image["id"] for image in tree["images"]] == [500, 3]
    assert [category["id"] for category in tree["categories"]] == [90, 7]
    assert tree["annotations"][0]["image_id"] == 3
    assert [(i["height"], i["width"]) for i in tree["images"]] == [(32, 40)] * 2
    assert not any("wsrpn" in image for image in tree["images"])
    assert coco.coco(root=made.path).numbers == (90, 7)


def test_pycocotools_reads_what_is_written(tmp_path, capsys):
    from pycocotools.coco import COCO

    before = load(make.nih(tmp_path / "set"))
    made = convert.convert(before, tmp_path / "new", to="coco", placing="copy")
    found = COCO(str(made.path))
    capsys.readouterr()
    boxes = [found.loadAnns(found.getAnnIds(imgIds=[i]))[0] for i in found.getImgIds()
             if found.getAnnIds(imgIds=[i])]  # fmt: skip
    assert len(boxes) == 3
    assert boxes[0]["bbox"] == pytest.approx([20.084745762712, 30.5, 40.25, 25.75])
    assert found.loadCats([boxes[0]["category_id"]])[0]["name"] == "Cardiomegaly"


def test_a_class_that_no_image_has_and_the_order_survive(tmp_path):
    root = make.manifest(tmp_path, 2)
    declared = "label\nright\nHernia\nleft\n"
    (root / "classes.csv").write_text(declared)
    found = manifest.manifest(root=root)
    assert found.classes == ("right", "Hernia", "left")
    assert found.labels().tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    manifest.write(found, root / "images.csv")
    assert (root / "classes.csv").read_text().split() == declared.split()
    assert [r.labels for r in manifest.manifest(root=root).records] == [
        r.labels for r in found.records
    ]


CLASS_FAULTS = {
    "twice": ("label\nleft\nright\nleft\n", "classes.csv:2: 'left' stands twice."),
    "star": ("label\nleft\nright\n*\n", "classes.csv:4: '*' is no name of a class."),
    "lacking": ("label\nleft\nrigth\n", "'right' is not in classes.csv. Did you mean 'rigth'"),
    "column": ("name\nleft\n", "no column 'label'"),
}


@pytest.mark.parametrize("fault", CLASS_FAULTS)
def test_faults_of_a_class_table_are_named(tmp_path, fault):
    root = make.manifest(tmp_path, 3, pictures=False)
    (root / "classes.csv").write_text(CLASS_FAULTS[fault][0])
    with pytest.raises(InputError) as caught:
        manifest.manifest(root=root)
    assert CLASS_FAULTS[fault][1] in str(caught.value)


def test_a_box_of_a_class_that_the_table_lacks_is_a_fault(tmp_path):
    rows = [{"image": "a.png", "labels": ""}]
    root = make.manifest(tmp_path, rows, boxes=[("a.png", "Quite Other", 1, 1, 2, 2)])
    assert manifest.manifest(root=root).classes == ("Quite Other",)
    (root / "classes.csv").write_text("label\nMass\n")
    with pytest.raises(InputError, match="has the label 'Quite Other'"):
        manifest.manifest(root=root)


def test_what_nobody_knows_stays_unknown_under_every_policy(tmp_path):
    rows = (record("a.png", (math.nan, math.nan)), record("b.png", (math.nan, 1.0)))
    here = tuple(dataclasses.replace(r, path=tmp_path / r.id) for r in rows)
    manifest.write(Dataset("x", ("A", "B"), here), tmp_path / "images.csv")
    found = manifest.manifest(root=tmp_path, uncertain="positive")
    assert np.isnan(found.records[0].labels).all()
    assert found.records[1].labels == (1.0, 1.0)


def test_what_a_format_cannot_say_is_refused(tmp_path):
    def written(record_, classes=("A",)):
        here = dataclasses.replace(record_, path=tmp_path / record_.path)
        return Dataset("x", classes, (here,))

    soft = written(record("a.png", (0.5,)))
    for write in (
        lambda d: manifest.write(d, tmp_path / "images.csv"),
        lambda d: coco.write(d, tmp_path / "c.json", sizes_px={"a.png": (1, 1)}),
    ):
        with pytest.raises(InputError, match=r"a\.png: the label 0\.5 is not 1, 0 or unknown"):
            write(soft)
        (one,) = written(record("a.png", (1.0,))).records
        with pytest.raises(InputError, match=r"a\.png is the file of two images"):
            write(Dataset("x", ("A",), (one, one)))
    with pytest.raises(InputError, match="column 'mask' cannot be written"):
        manifest.write(written(record("a.png", (1.0,), extra={"mask": "x"})), tmp_path / "i.csv")


COCO_FAULTS = {
    "no object": ("x", "'wsrpn' is no object"),
    "no extra": ({"extra": 1}, "'extra' in it is none"),
    "labels": ({"labels": "A"}, "wsrpn.labels is no list of names"),
    "name": ({"labels": ["B"]}, "wsrpn.labels: 'B' is no category"),
    "star": ({"labels": ["*"]}, "wsrpn.labels: '*' is no category"),
    "mask": ({"mask": "../m.png"}, "leaves the folder"),
}


@pytest.mark.parametrize("fault", COCO_FAULTS)
def test_faults_of_what_coco_has_no_word_for_are_named(tmp_path, fault):
    more, sentence = COCO_FAULTS[fault]
    tree = {
        "images": [{"id": 1, "file_name": "a.png", "wsrpn": more}],
        "annotations": [],
        "categories": [{"id": 1, "name": "A"}],
    }
    (tmp_path / "c.json").write_text(json.dumps(tree))
    with pytest.raises(InputError) as caught:
        coco.coco(root=tmp_path / "c.json")
    assert sentence in str(caught.value)


# --- where files go


def test_links_are_the_same_files_and_copies_are_not(tmp_path, monkeypatch):
    before = load(make.manifest(tmp_path / "set", 3))
    linked = convert.convert(before, tmp_path / "a", to="manifest", placing="link")
    copied = convert.convert(before, tmp_path / "b", to="manifest", placing="copy")
    for one, a, b in zip(
        before.records, linked.dataset.records, copied.dataset.records, strict=True
    ):
        assert a.path == tmp_path / "a" / one.id
        assert a.path.samefile(one.path)
        assert not b.path.samefile(one.path)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(convert.os, "link", refuse)
    with pytest.raises(InputError, match=r"Invalid cross-device link.*use --copy"):
        convert.convert(before, tmp_path / "c", to="manifest", placing="link")
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob(".c.tmp*"))


def test_files_stay_where_they_lie_below_the_new_folder(tmp_path):
    folder = make.nih(tmp_path / "set")
    made = convert.convert(load(folder), folder, to="manifest")
    assert load(folder / "images.csv").records[0].path == folder / (
        "images_001/images/00000001_000.png"
    )
    assert made.dataset.records == load(f"nih:{folder}").records
    with pytest.raises(InputError, match=r"12 files do not lie below .*--copy or --link"):
        convert.convert(load(f"nih:{folder}"), tmp_path / "new", to="manifest")


def test_an_id_that_is_no_file_name_gets_one(tmp_path):
    path = make.image(tmp_path / "x.png")
    odd = ("../up", "/abs", "a\\b", "a:b", "..", "q\n", " x ", "a//b.png")
    rows = tuple(Record(name, path, name, ()) for name in (*odd, "fine/one", "two.png"))
    found = convert.convert(Dataset("x", (), rows), tmp_path / "new", to="manifest", placing="copy")
    names_ = [r.path.relative_to(tmp_path / "new").as_posix() for r in found.dataset.records]
    assert names_[-2:] == ["fine/one.png", "two.png"]
    assert all(name.startswith("images/") for name in names_[:-2])
    assert len(set(names_)) == len(rows)
    assert [r.patient for r in load(found.path).records] == [r.patient for r in rows]


def test_a_mask_of_another_kind_of_file_keeps_its_suffix(tmp_path):
    mask = make.image(tmp_path / "m.png")
    rows = tuple(
        Record(f"a{s}", make.image(tmp_path / f"a{s}"), "p", (), mask=mask, drr=mask)
        for s in (".png", ".jpg")
    )
    found = convert.convert(Dataset("x", (), rows), tmp_path / "new", to="manifest", placing="copy")
    there = {p.relative_to(tmp_path / "new").as_posix() for p in found.path.parent.rglob("*.*")}
    assert {"masks/a.png", "masks/a.jpg.png", "drrs/a.png", "drrs/a.jpg.png"} < there


# --- the command


def done(*words):
    result = cli.wsrpn("data", "convert", *words)
    assert result.exit_code == 0, result.stderr
    return result


def test_the_command_converts_and_the_result_trains_like_the_source(tmp_path, data):
    out = tmp_path / "new"
    found = json.loads(done(data, "--out", out, "--link", "--json").stdout)
    assert found["command"] == "data convert"
    assert found["files"] == {"manifest": str(out / "images.csv")}
    assert load(out).digest() == load(data).digest()
    assert [r.split for r in load(out).records] == [r.split for r in load(data).records]
    again = done(out, "--to", "coco", "--out", out)
    assert f"48 images, 32 boxes: {out / 'annotations.json'}" in again.stderr
    assert load(out / "annotations.json").digest() == load(data).digest()


def test_policies_hold_while_converting(tmp_path):
    folder = make_chexpert.chexpert(tmp_path / "set") or tmp_path / "set"
    words = (f"chexpert:{folder}", "--copy", "--set")
    done(*words, "data.uncertain=positive", "--out", tmp_path / "a")
    done(*words, "data.uncertain=unknown", "--out", tmp_path / "b")
    plain_, unknown = (np.isnan(load(tmp_path / n).labels()).sum() for n in "ab")
    assert plain_ < unknown


def test_a_missing_image_stops_or_is_left_out_and_listed(tmp_path):
    folder = make.manifest(tmp_path / "set", 6)
    (folder / "images/002.png").unlink()
    (folder / "images/003.png").write_bytes(b"no picture")
    out = tmp_path / "new"
    stopped = cli.wsrpn("data", "convert", folder, "--out", out, "--copy")
    assert stopped.exit_code == 2
    assert "002.png: no such file. (--on-error skip leaves such images out)" in stopped.stderr
    assert not out.exists()
    words = ("--out", out, "--copy", "--on-error", "skip", "--to", "coco", "--json")
    skipped = cli.wsrpn("data", "convert", folder, *words)
    assert skipped.exit_code == 1
    assert "left out images/002.png: " in skipped.stderr
    assert sum("images/003.png" in text for text in json.loads(skipped.stdout)["warnings"]) == 1
    assert len(load(out / "annotations.json")) == 4


MISTAKES = {
    "both": (("--copy", "--link"), "--copy or --link, not both."),
    "format": (("--to", "yolo"), "--to yolo: no such choice. Known: coco, manifest."),
    "outside": ((), "do not lie below"),
    "set": (("--copy", "--set", "train.epochs=2"), "only keys of data have a meaning here"),
    "key": (
        ("--copy", "--set", "data.uncertian=positive"),
        "unknown key 'data.uncertian'. Did you mean 'uncertain'",
    ),
    "on error": (("--on-error", "ask"), "--on-error ask: no such choice."),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, data, mistake):
    words, sentence = MISTAKES[mistake]
    found = cli.wsrpn("data", "convert", data, "--out", tmp_path / "new", *words)
    assert found.exit_code == 2
    assert sentence in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(tmp_path, data):
    folder = shutil.copytree(data, tmp_path / "set")
    before = (folder / "images.csv").read_bytes()
    own = cli.wsrpn("data", "convert", folder, "--out", folder)
    assert (own.exit_code, "images.csv: exists already" in own.stderr) == (2, True)
    full = cli.wsrpn("data", "convert", data, "--out", tmp_path, "--copy")
    assert (full.exit_code, "there is something in it" in full.stderr) == (2, True)
    assert (folder / "images.csv").read_bytes() == before


def test_a_converted_set_is_checked_like_its_source(tmp_path, data):
    done(data, "--out", tmp_path / "new", "--copy")
    sheets = [tmp_path / "a.png", tmp_path / "b.png"]
    told = [
        json.loads(cli.wsrpn("data", "check", d, "--sheet", s, "--json").stdout)["check"]
        for d, s in zip((data, tmp_path / "new"), sheets, strict=True)
    ]
    assert {k: v for k, v in told[0].items() if k != "name"} == {
        k: v for k, v in told[1].items() if k != "name"
    }
    assert np.array_equal(images.read(sheets[0]), images.read(sheets[1]))
