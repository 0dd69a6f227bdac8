"""MIMIC-CXR-JPG with its reports and Chest ImaGenome, with every trap of their tables."""

import json
import math

import pytest

from tests import make_chexpert, make_mimic
from tests.make_mimic import IMAGES, MIMIC
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import imagenome, manifest
from wsrpn.data.chexpert_labels import CLASSES
from wsrpn.data.mimic import mimic
from wsrpn.data.splits import leaks, refuse_leaks
from wsrpn.errors import InputError


def labels(dataset, image):
    """Class → label of an image."""
    record = next(r for r in dataset.records if r.id == image)
    return dict(zip(dataset.classes, record.labels, strict=True))


@pytest.mark.parametrize("version", ["2.0.0", "2.1.0"])
@pytest.mark.parametrize("packed", [True, False])
def test_every_release_gives_the_same_data_set(tmp_path, version, packed):
    home = make_mimic.mimic(tmp_path, version=version, packed=packed)
    found = mimic(root=home)
    assert [r.id for r in found.records] == list(IMAGES[:20])
    assert found.records[0].path == home / make_mimic.image_path(*MIMIC[0][:3])
    assert found.records[0].patient == "10000032"
    assert found.records[0].extra == {"study": "50414267", "view": "PA"}
    assert mimic(root=home.parent).records == found.records  # the folder of versions will do
    assert data.load(DataConfig(source=str(home))).records[0].path == found.records[0].path


def test_labels_of_a_study_are_those_of_each_of_its_images(tmp_path):
    found = mimic(root=make_mimic.mimic(tmp_path), views="all", blank="unknown")
    same = [r for r in found.records if r.extra["study"] == "50414267"]
    assert len(same) == 3
    assert all(str(r.labels) == str(same[0].labels) for r in same)
    values = labels(found, IMAGES[0])  # no finding, but devices
    assert values.pop("Support Devices") == 1
    assert set(values.values()) == {0.0}
    assert labels(found, IMAGES[1])["Cardiomegaly"] == 1
    assert math.isnan(labels(found, IMAGES[1])["Edema"])


def test_official_splits_are_kept_and_validate_is_val(tmp_path):
    found = mimic(root=make_mimic.mimic(tmp_path))
    assert [len(found.split(s)) for s in ("train", "val", "test")] == [12, 4, 4]
    assert leaks(found) == []


def test_uncertain_and_blank_labels_follow_their_policies(tmp_path):
    home = make_mimic.mimic(tmp_path)
    assert math.isnan(labels(mimic(root=home), IMAGES[2])["Pneumonia"])
    assert labels(mimic(root=home, uncertain="negative"), IMAGES[2])["Pneumonia"] == 0
    assert labels(mimic(root=home), IMAGES[2])["Fracture"] == 0
    assert math.isnan(labels(mimic(root=home, blank="unknown"), IMAGES[2])["Fracture"])
    assert "5 labels are uncertain: taken as unknown (data.uncertain)." in mimic(root=home).notes


def test_the_other_labeler_can_be_asked_for(tmp_path):
    home = make_mimic.mimic(tmp_path)
    found = data.load(DataConfig(source=f"mimic:{home}?labels_from=negbio", blank="unknown"))
    assert math.isnan(labels(found, IMAGES[2])["Pneumonia"])
    assert not any("uncertain" in note for note in found.notes)


def test_radiologists_labels_have_no_patients_and_another_word_for_opacity(tmp_path):
    found = mimic(root=make_mimic.mimic(tmp_path, version="2.1.0"), labels_from="radiologist")
    values = labels(found, IMAGES[19])
    assert values.pop("Lung Opacity") == 1
    assert set(values.values()) == {0.0}
    assert all(map(math.isnan, labels(found, IMAGES[0]).values()))
    assert "19 images of studies without labels: theirs are unknown." in found.notes
    with pytest.raises(InputError, match="no mimic-cxr-2"):
        mimic(root=make_mimic.mimic(tmp_path / "old"), labels_from="radiologist")


def test_views_other_than_pa_and_ap_are_left_out_and_counted(tmp_path):
    home = make_mimic.mimic(tmp_path)
    found = mimic(root=home)
    assert "1 lateral images left out (data.views)." in found.notes
    assert "1 images of another or no view left out (data.views)." in found.notes
    assert [r.extra["view"] for r in mimic(root=home, views="lateral").records] == ["LATERAL"]
    assert len(mimic(root=home, views="all")) == 22


@pytest.mark.parametrize("where", ["beside", "inside", "zip"])
def test_reports_are_joined_by_study_wherever_they_lie(tmp_path, where):
    home = make_mimic.mimic(tmp_path, reports=where)
    found = mimic(root=home, views="all")
    texts = {r.id: r.text for r in found.records}
    assert texts[IMAGES[0]] == make_mimic.report(50414267) == texts[IMAGES[20]]
    assert "study 50414268" in texts[IMAGES[1]]
    assert texts[IMAGES[2]] == ""
    assert "1 studies without a report." in found.notes


def test_reports_elsewhere_are_named_in_the_source(tmp_path):
    home = make_mimic.mimic(tmp_path / "a", reports="none")
    note = f"{home}: no reports in or beside it; texts are empty."
    assert note in mimic(root=home).notes
    make_mimic.mimic(tmp_path / "b")
    source = f"mimic:{home}?reports={tmp_path / 'b/mimic-cxr-reports'}"
    assert data.load(DataConfig(source=source)).records[0].text
    with pytest.raises(InputError, match="no such folder or zip"):
        mimic(root=home, reports=tmp_path / "none")


def test_missing_files_are_left_out_and_counted(tmp_path):
    found = mimic(root=make_mimic.mimic(tmp_path, without=IMAGES[3:5]))
    assert len(found) == 18
    assert "2 images without a file, left out." in found.notes


def test_a_split_that_leaks_is_refused(tmp_path):
    home = make_mimic.mimic(tmp_path)
    make_chexpert.change(home / "mimic-cxr-2.0.0-split.csv.gz", "10000032,train", "10000032,test")
    with pytest.raises(InputError, match=r"more than one split: 10000032 \(test, train\)"):
        refuse_leaks(mimic(root=home))


# --- Chest ImaGenome


@pytest.mark.parametrize("packed", [True, False])
def test_scene_graphs_become_statements_of_each_image(tmp_path, packed):
    home = make_mimic.mimic(tmp_path)
    make_mimic.imagenome(tmp_path, packed=packed)
    found = mimic(root=home)
    said = json.loads(found.records[0].extra["scene_graph"])
    keys = ("finding", "location", "modifiers", "present")
    assert [tuple(one[key] for key in keys) for one in said] == [
        ("enlarged cardiac silhouette", "cardiac silhouette", ["mild"], True),
        ("lung opacity", "right lung", [], False),
        ("pneumonia", "right lung", [], True),
        ("pleural effusion", "left hemidiaphragm", [], True),
    ]
    assert "scene_graph" not in found.records[19].extra
    assert "1 images without a scene graph." in found.notes
    assert "scene_graph" not in mimic(root=home, scene_graphs=False).records[0].extra


def test_anatomy_is_never_truth_about_pathology_unless_asked_for(tmp_path):
    home = make_mimic.mimic(tmp_path)
    make_mimic.imagenome(tmp_path)
    found = mimic(root=home)
    assert not any(r.boxes or r.boxes_known for r in found.records)
    asked = data.load(DataConfig(source=f"mimic:{home}?boxes=region-proxy"))
    assert imagenome.PROXY_NOTE in asked.notes
    assert asked.records[0].extra["boxes"] == "region-proxy"


def test_region_boxes_are_those_of_the_original_frame_without_empty_regions(tmp_path):
    home = make_mimic.mimic(tmp_path, size=(40, 60))
    make_mimic.imagenome(tmp_path)
    found = mimic(root=home, boxes="region-proxy")
    boxes = [(CLASSES[box.label], box.xyxy_px) for box in found.records[0].boxes]
    # The effusion lies in a region without extent; opacity is denied.
    assert boxes == [("Cardiomegaly", (20, 18, 44, 34)), ("Pneumonia", (2, 4, 28, 36))]
    assert found.records[0].boxes_known
    assert not found.records[19].boxes_known
    small = mimic(root=make_mimic.mimic(tmp_path, size=(20, 30)), boxes="region-proxy")
    assert small.records[0].boxes[0].xyxy_px == (10, 9, 22, 17)
    assert "19 images whose boxes were scaled to the size of the stored file." in small.notes


def test_gold_regions_have_their_corners_in_another_order_and_images_in_dcm(tmp_path):
    home = make_mimic.mimic(tmp_path, size=(40, 60))
    make_mimic.imagenome(tmp_path)
    found = mimic(root=home, boxes="region-proxy-gold", scene_graphs=False)
    (record,) = (r for r in found.records if r.boxes_known)
    assert record.id == IMAGES[4]
    # Of three rows one is about something else and one denies its finding.
    assert [(CLASSES[b.label], b.xyxy_px) for b in record.boxes] == [
        ("Lung Opacity", (31, 5, 57, 37))
    ]


@pytest.mark.parametrize(("split", "train"), [("imagenome", 6), ("mimic", 10)])
def test_patients_with_gold_regions_are_for_testing(tmp_path, split, train):
    """Chest ImaGenome avoids them, and the official split has some in training."""
    home = make_mimic.mimic(tmp_path)
    make_mimic.imagenome(tmp_path)
    found = mimic(root=home, split=split, boxes="region-proxy-gold")
    assert {r.split for r in found.records if r.boxes_known} == {"test"}
    assert len(found.split("train")) == train
    assert leaks(found) == []
    moved = 1 if split == "imagenome" else 2
    assert f"{moved} images of patients with gold regions, put into split test." in found.notes


def test_gold_regions_of_other_images_are_refused(tmp_path):
    home = make_mimic.mimic(tmp_path, without=[IMAGES[4]])
    make_mimic.imagenome(tmp_path)
    for split in ("imagenome", "mimic"):
        with pytest.raises(InputError, match="none of its images has regions in the gold_dataset"):
            mimic(root=home, split=split, boxes="region-proxy-gold")


def test_a_region_that_stands_twice_is_the_union_of_its_boxes():
    graph = make_mimic.scene_graph("i", 1, 2)
    graph["objects"].append({**graph["objects"][0], "original_x1": 0, "original_y2": 38})
    assert ("Pneumonia", (0, 4, 28, 38)) in imagenome.proxies(graph)


def test_the_splits_of_chest_imagenome_leave_its_gold_patients_out(tmp_path):
    """Three of its lists have a column of row numbers, the fourth has none."""
    home = make_mimic.mimic(tmp_path)
    make_mimic.imagenome(tmp_path)
    found = mimic(root=home, split="imagenome")
    assert [len(found.split(s)) for s in ("train", "val", "test")] == [6, 2, 4]
    note = "8 images that Chest ImaGenome avoids or does not have, left out."
    assert note in found.notes


def test_chest_imagenome_that_is_not_there_is_missed_only_when_asked_for(tmp_path):
    home = make_mimic.mimic(tmp_path)
    assert len(mimic(root=home)) == 20
    for options in ({"boxes": "region-proxy"}, {"split": "imagenome"}):
        with pytest.raises(InputError, match="no chest-imagenome… with a silver_dataset"):
            mimic(root=home, **options)
    (tmp_path / "chest-imagenome/1.0.0/silver_dataset").mkdir(parents=True)
    assert len(mimic(root=home)) == 20
    with pytest.raises(InputError, match=r"neither scene_graph/ nor scene_graph\.zip"):
        mimic(root=home, boxes="region-proxy")


def test_statements_survive_a_manifest(tmp_path):
    home = make_mimic.mimic(tmp_path)
    make_mimic.imagenome(tmp_path)
    found = mimic(root=home)
    manifest.write(found, home / "images.csv")
    again = manifest.manifest(root=home)
    assert again.records[0].extra["scene_graph"] == found.records[0].extra["scene_graph"]
    assert again.records[0].text == found.records[0].text


# --- faults


@pytest.mark.parametrize(
    ("table", "old", "new", "sentence"),
    [
        ("split.csv.gz", ",train", ",trian", "split.csv.gz:2: split 'trian' is unknown. Did you"),
        ("split.csv.gz", "dicom_id,", "image,", "no column 'dicom_id'"),
        ("split.csv.gz", IMAGES[1], IMAGES[0], "split.csv.gz:3: image '00000000-bde0afdd"),
        ("metadata.csv.gz", IMAGES[1], IMAGES[0], "metadata.csv.gz:3: image '00000000-bde0afdd"),
        ("metadata.csv.gz", IMAGES[0], "../../x", "metadata.csv.gz:2: '../../x' is no id"),
        ("metadata.csv.gz", "ViewPosition", "View", "no column 'ViewPosition'"),
        ("chexpert.csv.gz", "-1.0", "-2.0", "chexpert.csv.gz:4: Pneumonia: '-2.0' is none of"),
        ("chexpert.csv.gz", "50414268", "50414267", "chexpert.csv.gz:3: study 50414267 stands"),
        ("chexpert.csv.gz", "10000032,", "10000033,", "is of patient 10000033 here and of"),
        ("chexpert.csv.gz", "Edema", "Oedema", "no column 'Edema'. Did you mean 'Oedema'"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, table, old, new, sentence):
    home = make_mimic.mimic(tmp_path)
    make_chexpert.change(home / f"mimic-cxr-2.0.0-{table}", old, new)
    with pytest.raises(InputError) as caught:
        mimic(root=home)
    assert sentence in str(caught.value)
    assert f"{home / 'mimic-cxr-2.0.0-'}" in str(caught.value)


def test_damaged_archives_are_named(tmp_path):
    home = make_mimic.mimic(tmp_path, reports="zip")
    (tmp_path / "mimic-cxr-reports.zip").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"mimic-cxr-reports\.zip: not readable as a zip"):
        mimic(root=home)
    table = home / "mimic-cxr-2.0.0-split.csv.gz"
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"split\.csv\.gz: cannot be read"):
        mimic(root=home)
    table.unlink()
    with pytest.raises(InputError, match=r"no mimic-cxr-2\.\*-split\.csv\.gz is in this folder"):
        mimic(root=home)


def test_a_scene_graph_that_is_none_is_named(tmp_path):
    home = make_mimic.mimic(tmp_path)
    below = make_mimic.imagenome(tmp_path) / "silver_dataset/scene_graph"
    for text, sentence in (("{", "not JSON"), ("[]", "no scene graph with a list 'attributes'")):
        (below / f"{IMAGES[0]}_SceneGraph.json").write_text(text)
        with pytest.raises(InputError, match=sentence):
            mimic(root=home)


def test_a_folder_without_tables_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"no mimic-cxr-2\.\*-metadata\.csv\.gz"):
        mimic(root=tmp_path)


def test_a_folder_above_the_release_is_told_where_it_is(tmp_path):
    deep = tmp_path / "physionet.org/files"  # what wget leaves
    home = make_mimic.mimic(deep, version="2.0.0")
    table = make_mimic.ms_cxr(deep)
    for above in (deep, deep.parent, tmp_path):
        for name, there in (("mimic", home.parent), ("ms_cxr", table)):
            with pytest.raises(InputError) as caught:
                data.load(DataConfig(source=f"{name}:{above}"))
            assert f"Did you mean {name}:{there}?" in str(caught.value)
