"""Open-I: XML or CSV reports, MeSH headings with qualifiers, several images of a report."""

import math

import pytest

from tests import make_xray_b as make
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data.openi import openi
from wsrpn.data.splits import leaks
from wsrpn.errors import InputError


def present(dataset, name):
    record = next(r for r in dataset.records if r.id == name)
    return {c for c, value in zip(dataset.classes, record.labels, strict=True) if value == 1}


HEART, AIR, BLIND = "CXR2_IM-0652-1001", "CXR3_IM-1384-1001-0001", "CXR4_IM-2050-1001"


def test_images_of_a_report_share_its_patient_text_and_labels(tmp_path):
    found = data.load(DataConfig(source=str(make.openi(tmp_path)), val_share=0.3, test_share=0.3))
    assert len(found) == 6
    both = [r for r in found.records if r.patient == "CXR2"]
    assert len(both) == 2
    assert both[0].labels == both[1].labels
    assert both[0].text == both[1].text == "INDICATION: Chest pain\nIMPRESSION: Big heart."
    assert leaks(found) == []
    assert "1 reports without images." in found.notes
    assert not any(r.boxes_known for r in found.records)


def test_sections_come_in_the_order_of_a_report_and_masked_words_stay(tmp_path):
    found = openi(root=make.openi(tmp_path))
    assert found.records[0].text == (
        "INDICATION: Positive TB test\nCOMPARISON: None.\n"
        "FINDINGS: The cardiac silhouette is normal.\nIMPRESSION: Normal chest x-XXXX."
    )


def test_headings_are_compared_whole_and_with_their_qualifier(tmp_path):
    found = openi(root=make.openi(tmp_path))
    assert present(found, HEART) == {"Cardiomegaly", "Effusion", "Pleural_Thickening"}
    # Neither subcutaneous emphysema nor thick bronchi are findings of that name.
    assert present(found, AIR) == {"Hiatal hernia"}
    assert present(found, "CXR1_1_IM-0001-3001") == set()


def test_a_report_that_was_not_indexed_is_unknown(tmp_path):
    found = openi(root=make.openi(tmp_path))
    record = next(r for r in found.records if r.id == BLIND)
    assert all(math.isnan(value) for value in record.labels)
    assert "1 images of reports that were not indexed: all labels unknown." in found.notes


def test_every_heading_can_be_a_class(tmp_path):
    found = openi(root=make.openi(tmp_path), labels="all")
    assert found.classes == (
        "Cardiomegaly", "Hernia, Hiatal", "Opacity", "Pleural Effusion", "Subcutaneous Emphysema",
        "Thickening",
    )  # fmt: skip


def test_the_xml_does_not_say_the_view_and_that_is_told(tmp_path):
    found = openi(root=make.openi(tmp_path))
    assert any(note.startswith("6 images whose view is not said") for note in found.notes)


@pytest.mark.parametrize("kaggle", [False, True])
def test_with_projections_the_views_are_told_apart(tmp_path, kaggle):
    folder = make.openi_kaggle(tmp_path) if kaggle else make.openi(tmp_path, projections=True)
    counts = {
        views: len(data.load(DataConfig(source=str(folder), views=views)))
        for views in ("frontal", "lateral", "all")
    }
    assert counts == {"frontal": 4, "lateral": 2, "all": 6}
    found = data.load(DataConfig(source=str(folder)))
    assert {r.extra["view"] for r in found.records} == {"frontal"}
    assert not any("view is not said" in note for note in found.notes)


def test_both_layouts_say_the_same(tmp_path):
    xml = openi(root=make.openi(tmp_path / "xml", projections=True))
    table = openi(root=make.openi_kaggle(tmp_path / "csv"))
    assert xml.classes == table.classes
    for one, other in zip(xml.records, table.records, strict=True):
        assert one.patient == f"CXR{other.patient}"
        assert one.text == other.text
        assert str(one.labels) == str(other.labels)


def test_missing_and_unnamed_files_are_counted(tmp_path):
    folder = make.openi(tmp_path)
    (folder / "NLMCXR_png" / f"{HEART}.png").rename(folder / "NLMCXR_png" / "CXR9_IM-1.png")
    found = openi(root=folder)
    assert len(found) == 5
    assert "1 images of reports without a file, left out." in found.notes
    assert "1 image files that no report names, left out." in found.notes


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("</eCitation>", "", "not XML"),
        ('<uId id="CXR2"/>', "", "no uId with an id"),
        ('<parentImage id="CXR2_IM-0652-1001">', "<parentImage>", "a parentImage has no id"),
        ("<eCitation>", '<!DOCTYPE x [<!ENTITY a "b">]><eCitation>', "declares a document type"),
    ],
)
def test_a_report_that_cannot_be_read_is_named(tmp_path, old, new, sentence):
    path = make.openi(tmp_path) / "ecgen-radiology" / "2.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        openi(root=tmp_path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("indiana_reports.csv", "\n2,", "\n1,", "report '1' stands twice"),
        ("indiana_reports.csv", "MeSH", "Mesh", "no column 'MeSH'"),
        ("indiana_projections.csv", "Lateral", "Sideways", "neither Frontal nor Lateral"),
        ("indiana_projections.csv", "\n2,", "\n99,", "uid '99' has no report"),
    ],
)
def test_faults_of_the_tables_are_named(tmp_path, name, old, new, sentence):
    path = make.openi_kaggle(tmp_path) / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        openi(root=tmp_path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_reports_without_their_projections_and_a_folder_without_reports_are_refused(tmp_path):
    (make.openi_kaggle(tmp_path) / "indiana_projections.csv").unlink()
    with pytest.raises(InputError, match=r"indiana_projections\.csv: no such file"):
        openi(root=tmp_path)
    with pytest.raises(InputError, match=r"neither indiana_reports\.csv nor ecgen-radiology"):
        openi(root=tmp_path / "none")
