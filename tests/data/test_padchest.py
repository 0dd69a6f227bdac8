"""PadChest: Python lists in cells, projections, silent labels, 16-bit PNG, Spanish reports."""

import gzip
import math

import numpy as np
import pytest

from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import images
from wsrpn.data.padchest import COMMON, padchest
from wsrpn.data.splits import leaks
from wsrpn.errors import InputError


def present(dataset, name):
    record = next(r for r in dataset.records if r.id == name)
    return {c for c, value in zip(dataset.classes, record.labels, strict=True) if value == 1}


@pytest.fixture
def folder(tmp_path):
    return make.padchest(tmp_path)


def test_frontal_images_are_read_unless_others_are_asked_for(folder):
    frontal = data.load(DataConfig(source=str(folder)))
    assert [r.id for r in frontal.records] == ["a1.png", "a3.png", "a4.png", "a5.png", "a6.png",
                                               "a9.png"]  # fmt: skip
    assert "2 images that are not frontal (data.views), left out." in frontal.notes
    assert "1 images with the projection EXCLUDE, left out." in frontal.notes
    lateral = data.load(DataConfig(source=str(folder), views="lateral"))
    assert [r.id for r in lateral.records] == ["a2.png"]
    everything = data.load(DataConfig(source=str(folder), views="all"))
    assert {r.id for r in everything.records} == {f"a{n}.png" for n in (1, 2, 3, 4, 5, 6, 8, 9)}


def test_blanks_and_empty_texts_in_a_list_of_labels_do_not_count(folder):
    found = padchest(root=folder)
    assert found.classes == tuple(COMMON)
    assert present(found, "a3.png") == {"Cardiomegaly", "Effusion"}
    assert present(found, "a1.png") == set()


def test_terms_are_compared_whole(folder):
    # Subcutaneous emphysema is none of the lung, and a pseudonodule no nodule.
    assert present(padchest(root=folder), "a4.png") == set()


def test_terms_of_the_tree_below_a_finding_count_as_it(folder):
    assert present(padchest(root=folder), "a9.png") == {"Atelectasis"}


def test_labels_that_say_nothing_of_findings_are_unknown(folder):
    found = padchest(root=folder)
    for name in ("a5.png", "a6.png"):  # unchanged; nan
        record = next(r for r in found.records if r.id == name)
        assert all(math.isnan(value) for value in record.labels)
    note = "2 images whose labels say nothing of findings: all unknown."
    assert note in found.notes


def test_every_term_can_be_a_class(folder):
    found = data.load(DataConfig(source=f"padchest:{folder}?labels=all", views="all"))
    assert found.classes == (
        "cardiomegaly", "laminar atelectasis", "pleural effusion", "pseudonodule", "rib fracture",
        "subcutaneous emphysema",
    )  # fmt: skip
    assert present(found, "a4.png") == {"pseudonodule", "subcutaneous emphysema"}


def test_labels_by_the_network_can_be_left_out(folder):
    found = padchest(root=folder, labelled_by="physician")
    assert [r.id for r in found.records] == ["a1.png", "a5.png", "a9.png"]
    assert "3 images with labels by the network, left out." in found.notes
    assert {r.extra["labelled_by"] for r in found.records} == {"Physician"}


def test_images_of_a_patient_stay_together_and_have_no_known_boxes(folder):
    found = data.load(DataConfig(source=str(folder), val_share=0.3, test_share=0.3, views="all"))
    by_id = {r.id: r for r in found.records}
    assert by_id["a4.png"].patient == by_id["a9.png"].patient == "p3"
    assert leaks(found) == []
    assert not any(r.boxes_known for r in found.records)


def test_the_spanish_report_is_the_text(folder):
    by_id = {r.id: r for r in padchest(root=folder).records}
    assert by_id["a3.png"].text == "cardiomegali , derram pleural ."
    assert by_id["a6.png"].text == ""  # nan
    assert by_id["a3.png"].extra["view"] == "AP_horizontal"


def test_sixteen_bits_are_read_in_full(folder):
    record = padchest(root=folder).records[0]
    np.testing.assert_allclose(images.read(record.path), make.grey(0) / 255, atol=1e-6)


def test_one_flat_folder_and_a_packed_table_will_do(tmp_path):
    make.padchest(tmp_path, flat=True, without=("a4.png",))
    path = tmp_path / make.PADCHEST_TABLE
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    found = padchest(root=tmp_path)
    assert len(found) == 5
    assert f"1 images of {path.name}.gz without a file, left out." in found.notes


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("['normal']", "[normal]", "Labels '[normal]' is no list of texts"),
        ("['normal']", "{'normal'}", "is no list of texts"),
        ("['normal']", "[1]", "is no list of texts"),
        ("['normal']", "[__import__('os').abort()]", "is no list of texts"),
        ("AP_horizontal", "AP_vertical", "Projection 'AP_vertical' is unknown"),
        ("a2.png", "a1.png", "image 'a1.png' stands twice"),
        ("PatientID", "Patient", "no column 'PatientID'"),
        ("1,a2.png,", "1,a2.png,0,0,", "38 cells, but the header has 36"),
    ],
)
def test_faults_are_named_with_file_and_line(folder, old, new, sentence):
    path = folder / make.PADCHEST_TABLE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        padchest(root=folder)
    assert sentence in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_a_folder_without_a_table_or_with_two_is_refused(folder, tmp_path):
    (folder / make.PADCHEST_TABLE.replace("01.02.19", "02")).touch()
    with pytest.raises(InputError, match="several tables"):
        padchest(root=folder)
    with pytest.raises(InputError, match="no table PADCHEST_chest"):
        padchest(root=tmp_path / "none")
