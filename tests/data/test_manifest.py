"""Manifests: what is written comes back, and every fault of a table is named with file and line."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import base, tables
from wsrpn.data.manifest import boxes_path, manifest, write
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record


def written(folder, text, boxes=None, name="images.csv"):
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if boxes is not None:
        boxes_path(path).write_text("image,label,x,y,width,height\n" + boxes)
    return path


def test_labels_unknowns_boxes_and_further_columns_are_read(tmp_path):
    text = (
        "image,patient,split,labels,unknown,text,mask,view\n"
        'a.png,p1,train,A|B,C,"a, ""quoted"" text\nof two lines",m/a.png,PA\n'
        "b.png,p2,val,,,,,AP\n"
        "c.png,,test,B,*,,,\n"
    )
    found = manifest(root=written(tmp_path, text, "a.png,B,1,2,3.5,4\n"))
    a, b, c = found.records
    assert found.classes == ("A", "B", "C")
    assert a.labels[:2] == (1, 1)
    assert math.isnan(a.labels[2])
    assert b.labels == (0, 0, 0)
    assert c.labels[1] == 1
    assert math.isnan(c.labels[0])
    assert math.isnan(c.labels[2])
    assert a.boxes == (Box(1, (1.0, 2.0, 4.5, 6.0)),)
    assert (a.text, a.mask, a.extra) == (
        'a, "quoted" text\nof two lines',
        tmp_path / "m/a.png",
        {"view": "PA"},
    )
    assert [r.split for r in found.records] == ["train", "val", "test"]
    assert [r.patient for r in found.records] == ["p1", "p2", "c.png"]


def test_a_folder_a_csv_and_another_name_give_the_same(tmp_path):
    text, boxes = "image,labels\na.png,A\nb.png,\n", "a.png,A,1,1,2,2\n"
    written(tmp_path, text, boxes)
    written(tmp_path, text, boxes, name="other.csv")
    assert (tmp_path / "other.boxes.csv").is_file()
    records = [manifest(root=tmp_path / name).records for name in ("", "images.csv", "other.csv")]
    assert records[0] == records[1] == records[2]


def test_uncertain_names_follow_the_policy_and_a_star_does_not(tmp_path):
    path = written(tmp_path, "image,labels,unknown\na.png,A,B\nb.png,B,*\n")
    values = {p: manifest(root=path, uncertain=p).records for p in ("positive", "negative")}
    assert values["positive"][0].labels == (1, 1)
    assert values["negative"][0].labels == (1, 0)
    assert all(math.isnan(values[p][1].labels[0]) for p in values)


def test_identifiers_stay_text(tmp_path):
    text = "image,patient,labels\nNA,007,NA|None\nnull,1e5,TRUE\n"
    found = manifest(root=written(tmp_path, text))
    assert [(r.id, r.patient) for r in found.records] == [("NA", "007"), ("null", "1e5")]
    assert found.classes == ("NA", "None", "TRUE")


def test_boxes_are_known_where_the_table_says_or_nothing_contradicts(tmp_path):
    rows = "image,labels,unknown\nboxed.png,A,\nbare.png,A,\nnone.png,,\nperhaps.png,,A\n"
    found = manifest(root=written(tmp_path / "a", rows, "boxed.png,A,1,1,2,2\n"))
    assert [r.boxes_known for r in found.records] == [True, False, True, False]
    assert any("2 images have a finding (or may) but no box" in note for note in found.notes)
    said = "image,labels,boxes_known\nbare.png,A,yes\nnone.png,,no\n"
    found = manifest(root=written(tmp_path / "b", said, ""))
    assert [r.boxes_known for r in found.records] == [True, False]
    found = manifest(root=written(tmp_path / "c", "image,labels\na.png,\n"))
    assert not found.records[0].boxes_known


def test_a_class_that_only_boxes_name_has_unknown_labels_and_a_note(tmp_path):
    found = manifest(root=written(tmp_path, "image,labels\na.png,A\n", "a.png,Lung,1,1,2,2\n"))
    assert found.classes == ("A", "Lung")
    assert math.isnan(found.records[0].labels[1])
    assert any("Only boxes name Lung" in note for note in found.notes)


def test_the_other_spelling_of_a_finding_is_read_and_noted(tmp_path):
    text, boxes = "image,labels\na.png,Infiltration\n", "a.png,Infiltrate,1,1,2,2\n"
    found = manifest(root=written(tmp_path, text, boxes))
    assert found.classes == ("Infiltration",)
    assert found.notes == ("boxes.csv: 1 boxes called 'Infiltrate' are read as 'Infiltration'.",)


FAULTS = {
    "empty file": ("", "images.csv: the file is empty"),
    "header missing": ("a.png,A\n", "images.csv:1: no column 'image'"),
    "misspelt column": ("Image,labels\na.png,A\n", "Did you mean 'Image'"),
    "semicolons": ("image;labels\na.png;A\n", "images.csv:1: separated by semicolons"),
    "tabs": ("image\tlabels\na.png\tA\n", "images.csv:1: separated by tabs"),
    "repeated column": ("image,labels,labels\na.png,A,B\n", "column 'labels' stands twice"),
    "row too long": (
        "image,labels\na.png,A\nb.png,A,B\n",
        "images.csv:3: 3 cells, but the header has 2",
    ),
    "row too short": (
        "image,labels,split\na.png,A\n",
        "images.csv:2: 2 cells, but the header has 3",
    ),
    "first row too long": ("image,labels\na.png,A,\n", "images.csv:2: 3 cells"),
    "open quote": ('image,labels\na.png,A\nb.png,"A\n', "images.csv:3: not a CSV row"),
    "latin-1": ("image,labels\na.png,Größe\n".encode("latin-1"), "images.csv:2: not UTF-8"),
    "utf-16": ("image,labels\n".encode("utf-16"), "the text is UTF-16"),
    "same image twice": (
        "image\na.png\nb.png\na.png\n",
        "images.csv:4: image 'a.png' stands already in line 2",
    ),
    "unknown split": ("image,split\na.png,training\n", "images.csv:2: split 'training' is unknown"),
    "label known and unknown": (
        "image,labels,unknown\na.png,A,A\n",
        "'A' stands in labels and in unknown",
    ),
    "boxes_known maybe": (
        "image,boxes_known\na.png,maybe\n",
        "boxes_known 'maybe' is unknown; use yes or no",
    ),
    "no image name": ("image,labels\n,A\n", "images.csv:2: the path '' is not a file name"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_refused_with_its_line(tmp_path, fault):
    text, sentence = FAULTS[fault]
    with pytest.raises(InputError) as caught:
        manifest(root=written(tmp_path, text))
    assert sentence in str(caught.value)
    assert str(tmp_path) in str(caught.value)


BOX_FAULTS = {
    "unknown image": ("c.png,A,1,1,2,2\n", "boxes.csv:2: no image 'c.png' in images.csv"),
    "misspelt label": ("a.png,Cardiomegalie,1,1,2,2\n", "Did you mean 'Cardiomegaly'"),
    "no label": ("a.png,,1,1,2,2\n", "has the label ''"),
    "not a number": ("a.png,Cardiomegaly,1,x,2,2\n", "boxes.csv:2: y 'x' is not a finite number"),
    "nan": ("a.png,Cardiomegaly,nan,1,2,2\n", "boxes.csv:2: x 'nan' is not a finite number"),
    "infinite": ("a.png,Cardiomegaly,1,1,inf,2\n", "width 'inf' is not a finite number"),
    "no width": ("a.png,Cardiomegaly,1,1,0,2\n", "width 0 and height 2 must be positive"),
    "negative height": ("a.png,Cardiomegaly,1,1,2,-2\n", "must be positive"),
}


@pytest.mark.parametrize("fault", BOX_FAULTS)
def test_a_faulty_box_is_refused_with_its_line(tmp_path, fault):
    boxes, sentence = BOX_FAULTS[fault]
    with pytest.raises(InputError) as caught:
        manifest(root=written(tmp_path, "image,labels\na.png,Cardiomegaly\n", boxes))
    assert sentence in str(caught.value)


OUTSIDE = [
    "../a.png", "x/../../a.png", "..", "/etc/passwd", "//server/a.png", "C:/a.png", "C:a.png",
    r"..\a.png", r"\a.png", r"\\server\share\a.png", "x/..", "images/\0a.png",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("column", ["image", "mask", "drr"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, path, column):
    row = {"image": "ok.png", "mask": "", "drr": "", column: path}
    text = "image,mask,drr\n" + ",".join(row[c] for c in ("image", "mask", "drr")) + "\n"
    with pytest.raises(InputError, match=r"images\.csv:2: "):
        manifest(root=written(tmp_path / "set", text))


def test_links_that_leave_the_folder_are_refused_and_others_are_not(tmp_path):
    secret = make.image(tmp_path / "secret/a.png")
    folder = tmp_path / "set"
    make.image(folder / "real/a.png")
    (folder / "out").symlink_to(secret.parent)
    (folder / "out.png").symlink_to(secret)
    (folder / "in.png").symlink_to(folder / "real/a.png")
    for name in ("out/a.png", "out.png"):
        with pytest.raises(InputError, match="is a link out of"):
            tables.inside(folder, name, where="t:2")
    assert tables.inside(folder, "in.png", where="t:2") == folder / "in.png"
    (tmp_path / "linked").symlink_to(folder)  # the folder itself may be a link
    assert tables.inside(tmp_path / "linked", "real/a.png", where="t:2").is_file()


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1))
def test_any_text_survives_a_table(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    tables.write(path, ["a", "b"], [("x" + a, b) for a, b in rows])
    found = [(row["a"], row["b"]) for row in tables.read(path).rows]
    assert found == [("x" + a, b) for a, b in rows]


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-lung", "@x", "\tx", " =x", "'=x", "''-x"])
def test_a_cell_that_a_spreadsheet_would_run_is_defused_and_comes_back(tmp_path, cell):
    tables.write(tmp_path / "t.csv", ["a"], [[cell]])
    assert "'" + cell in (tmp_path / "t.csv").read_text().replace('"', "")
    assert tables.read(tmp_path / "t.csv").rows[0]["a"] == cell


def test_numbers_are_left_alone(tmp_path):
    tables.write(tmp_path / "t.csv", ["a"], [["-1.5"], ["+3"]])
    assert (tmp_path / "t.csv").read_text() == "a\n-1.5\n+3\n"


def test_a_written_manifest_reads_back_equal(tmp_path):
    records = (
        Record("i/a.png", tmp_path / "i/a.png", "p1", (1.0, 0.0, 1.0), "train",
               (Box(0, (0.1, 0.2, 10.7, 9.3)), Box(2, (1 / 3, 0.0, 2 / 3, 1.0))),
               text="- a finding,\n=odd", mask=tmp_path / "m.png", extra={"view": "PA"}),
        Record("b.png", tmp_path / "b.png", "p2", (0.0, 1.0, 0.0), boxes_known=False,
               extra={"view": ""}),
        Record("c.png", tmp_path / "c.png", "p3", (0.0, 0.0, 0.0), "test", extra={"view": "AP"}),
    )  # fmt: skip
    written_set = Dataset("x", ("A", "B", "C"), records)
    write(written_set, tmp_path / "images.csv")
    found = manifest(root=tmp_path)
    assert found.classes == written_set.classes
    for one, other in zip(found.records, records, strict=True):
        same = {k: v for k, v in vars(one).items() if k != "boxes"}
        assert same == {k: v for k, v in vars(other).items() if k != "boxes"}
        for a, b in zip(one.boxes, other.boxes, strict=True):
            assert a.label == b.label
            np.testing.assert_allclose(a.xyxy_px, b.xyxy_px, rtol=1e-15, atol=1e-15)


def test_unknown_labels_survive_writing(tmp_path):
    record = Record("a.png", tmp_path / "a.png", "p", (math.nan, 1.0))
    write(Dataset("x", ("A", "B"), (record,)), tmp_path / "images.csv")
    first, second = manifest(root=tmp_path).records[0].labels
    assert math.isnan(first)
    assert second == 1


def test_what_a_manifest_cannot_say_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"class 'A\|B' cannot be written"):
        write(Dataset("x", ("A|B",), ()), tmp_path / "images.csv")
    stray = Record("a.png", tmp_path / "a.png", "p", ())
    with pytest.raises(InputError, match="does not lie below"):
        write(Dataset("x", (), (stray,)), tmp_path / "deep/images.csv")


def test_data_is_recognised_by_what_lies_there(tmp_path):
    folder = make.manifest(tmp_path / "set")
    make.nih(tmp_path / "nih", size=(16, 16))
    make.image(tmp_path / "plain/x/a.png")
    (tmp_path / "c.json").write_text("{}")
    assert base.recognise(str(folder)) == ("manifest", str(folder))
    assert base.recognise(str(folder / "images.csv"))[0] == "manifest"
    assert base.recognise(str(tmp_path / "nih"))[0] == "nih"
    assert base.recognise(str(tmp_path / "plain"))[0] == "folder"
    assert base.recognise(str(tmp_path / "c.json"))[0] == "coco"
    assert base.recognise("nih:some/where") == ("nih", "some/where")


def test_unrecognised_data_is_told_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for source, sentence in {
        "": "No data given",
        str(tmp_path): "neither images.csv",
        str(tmp_path / "none"): "no such file or folder",
        str(tmp_path / "notes.txt"): "not a data set",
        "nhi:x": "Did you mean 'nih'",
        "nih:": "something must follow the colon",
    }.items():
        with pytest.raises(InputError, match=sentence):
            base.recognise(source)


def test_classes_are_picked_in_the_order_asked_for(tmp_path):
    folder = make.manifest(tmp_path)
    whole = data.load(DataConfig(source=str(folder)))
    turned = data.load(DataConfig(source=str(folder), classes=("right", "left")))
    assert turned.classes == ("right", "left")
    for one, other in zip(whole.records, turned.records, strict=True):
        assert one.labels == other.labels[::-1]
        assert [b.label for b in one.boxes] == [1 - b.label for b in other.boxes]
    single = data.load(DataConfig(source=str(folder), classes=("left",)))
    assert sum(len(r.boxes) for r in single.records) == 3
    assert any("3 boxes of classes that are not used" in note for note in single.notes)
    with pytest.raises(InputError, match=r"no class 'lefd'\. Did you mean 'left'"):
        data.load(DataConfig(source=str(folder), classes=("lefd",)))
    with pytest.raises(InputError, match="'left' stands twice"):
        data.load(DataConfig(source=str(folder), classes=("left", "left")))


def test_a_policy_without_effect_is_noted(tmp_path):
    folder = make.nih(tmp_path, size=(16, 16))
    found = data.load(DataConfig(source=f"nih:{folder}", uncertain="positive", blank="unknown"))
    assert "nih has no uncertain labels: data.uncertain has no effect." in found.notes
    assert "nih has no blank labels: data.blank has no effect." in found.notes


def test_plain_files_and_folders_become_unlabelled_images(tmp_path):
    one = make.image(tmp_path / "one.png")
    other = make.image(tmp_path / "more/b/x.jpg")
    make.image(tmp_path / "more/.hidden/y.png")
    found = data.files([one, tmp_path / "more"])
    assert [r.path for r in found.records] == [one, other]
    assert found.classes == ()
    for paths, sentence in (([tmp_path / "no.png"], "no such file"), ([one, one], "given twice")):
        with pytest.raises(InputError, match=sentence):
            data.files(paths)
    loaded = data.load(DataConfig(source=str(tmp_path / "more")))
    assert [(r.id, r.split) for r in loaded.records] == [("b/x.jpg", "test")]


@pytest.mark.parametrize(
    ("column", "meant"), [("label", "labels"), ("Labels", "labels"), ("patient_id", "patient")]
)
def test_a_column_near_a_known_name_is_asked_about(tmp_path, column, meant):
    folder = make.manifest(tmp_path, [{"image": "a.png", column: "A", "age": "7"}])
    notes = " ".join(manifest(root=folder).notes)
    assert f"column '{column}' has no meaning here: did you mean '{meant}'?" in notes
    assert "'age'" not in notes


def test_names_that_a_class_seldom_has_are_notes(tmp_path):
    labels = ("normal", "mass", "Mass", "Edema,Mass")
    rows = [{"image": f"{n}.png", "labels": f'"{name}"'} for n, name in enumerate(labels)]
    folder = make.manifest(tmp_path, rows, pictures=False)
    assert manifest(root=folder).notes == (
        "class 'normal' looks like 'no finding': leave the cell empty.",
        "classes 'Mass' and 'mass' differ in nothing but case; join them with data.rename.",
        "class 'Edema,Mass' has a comma: if it means several classes, join them with |.",
    )
    # Who lists the classes means them.
    (folder / "classes.csv").write_text('label\nnormal\nmass\nMass\n"Edema,Mass"\n')
    assert not any("comma" in note for note in manifest(root=folder).notes)


def test_a_folder_above_the_data_is_told_where_they_lie(tmp_path):
    make.nih(tmp_path / "a/b/nih", size=(16, 16))
    for above in ("", "a", "a/b"):
        with pytest.raises(InputError, match=r"Did you mean nih:.*a/b/nih\?"):
            data.load(DataConfig(source=f"nih:{tmp_path / above}"))
    with pytest.raises(InputError, match=r"nih:.*nonexist: no such file or folder\."):
        data.load(DataConfig(source=f"nih:{tmp_path / 'nonexist'}"))
