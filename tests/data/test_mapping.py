"""Classes of other data: renamed, joined, recognised as synonyms, and said."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.metrics.worlds import record
from wsrpn import data
from wsrpn.config import DataConfig
from wsrpn.data import mapping, nih
from wsrpn.errors import InputError
from wsrpn.types import Dataset

CHEXPERT = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
VINDR = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture",
    "Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity",
    "Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion",
    "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion",
    "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases",
)  # fmt: skip
PADCHEST = (
    "pleural effusion", "pulmonary edema", "pulmonary fibrosis", "pulmonary mass", "nodule",
    "infiltrates", "pleural thickening", "hiatal hernia", "multiple nodules", "callus rib fracture",
)  # fmt: skip
NAN = math.nan


def world():
    """Three classes; the boxes of the first two overlap in one image."""
    records = (
        record("a", (1.0, 1.0, 0.0), [(0, 1, 1, 9, 9), (1, 1, 1, 9, 9), (1, 2, 2, 5, 5)]),
        record("b", (0.0, NAN, 1.0), [(2, 1, 1, 9, 9)]),
        record("c", (0.0, 0.0, NAN)),
    )
    return Dataset("x", ("Nodule", "Mass", "Pleural Effusion"), records, numbers=(7, 8, 9))


def same(one, other):
    assert [math.isnan(a) or a for a in one] == [math.isnan(b) or b for b in other]


def test_classes_of_the_large_sets_meet_where_they_mean_the_same_and_nowhere_else():
    assert mapping.pairs(nih.CLASSES, CHEXPERT) == {"Effusion": ("Pleural Effusion",)}
    assert mapping.pairs(nih.CLASSES, VINDR) == {
        "Effusion": ("Pleural effusion",),
        "Fibrosis": ("Pulmonary fibrosis",),
        "Pleural_Thickening": ("Pleural thickening",),
    }
    assert mapping.pairs(CHEXPERT, VINDR) == {"Pleural Effusion": ("Pleural effusion",)}
    assert mapping.pairs(nih.CLASSES, PADCHEST) == {
        "Effusion": ("pleural effusion",), "Edema": ("pulmonary edema",),
        "Fibrosis": ("pulmonary fibrosis",), "Mass": ("pulmonary mass",), "Nodule": ("nodule",),
        "Infiltration": ("infiltrates",), "Pleural_Thickening": ("pleural thickening",),
    }  # fmt: skip
    assert mapping.pairs(("Lung Opacity",), ("Airspace Opacity",)) == {
        "Lung Opacity": ("Airspace Opacity",)
    }


def test_no_name_has_synonyms_in_two_lines():
    names = [name for line in mapping.SYNONYMS for name in line]
    assert len(names) == len(set(names))
    assert all(name == mapping._plain(name) for name in names)


@given(st.sampled_from(sorted({*nih.CLASSES, *CHEXPERT, *VINDR, *PADCHEST})), st.data())
def test_being_alike_is_mutual_and_carries_over(one, rest):
    names = st.sampled_from(sorted({*nih.CLASSES, *CHEXPERT, *VINDR, *PADCHEST}))
    two, three = rest.draw(names), rest.draw(names)
    assert mapping.alike(one, one.upper())
    assert mapping.alike(one, two) == mapping.alike(two, one)
    if mapping.alike(one, two) and mapping.alike(two, three):
        assert mapping.alike(one, three)


def test_the_same_name_and_what_the_user_says_come_before_a_synonym():
    there = ("Effusion", "Pleural Effusion")
    assert mapping.pairs(("Effusion",), there) == {}
    given_one = {"Effusion": ("Pleural Effusion",)}
    assert mapping.pairs(("Effusion",), there, given_one) == given_one
    assert mapping.pairs(("Fluid", "Effusion"), there[1:], {"Fluid": there[1:]}) == {
        "Fluid": ("Pleural Effusion",)
    }
    assert mapping.pairs(("Edema",), ("pulmonary edema", "Oedema")) == {
        "Edema": ("pulmonary edema", "Oedema")
    }


def test_other_data_get_the_classes_of_the_model_and_say_what_became_of_theirs():
    found = mapping.align(world(), ("Effusion", "Hernia", "Mass"))
    assert found.classes == ("Effusion", "Hernia", "Mass")
    for got, want in zip(
        found.labels(), [(0.0, NAN, 1.0), (1.0, NAN, NAN), (NAN, NAN, 0.0)], strict=True
    ):
        same(got, want)
    assert [[b.label for b in r.boxes] for r in found.records] == [[2, 2], [0], []]
    assert found.notes == (
        "classes of the data read, because the names mean the same: Pleural Effusion as Effusion.",
        "classes not in these data, so unknown: Hernia.",
        "classes not the model's, dropped: Nodule.",
    )
    assert found.numbers == ()


def test_several_classes_are_joined_by_any_and_equal_boxes_are_one():
    given_one = mapping.parse(["Lesion=Nodule", "Lesion=Mass"])
    found = mapping.align(world(), ("Lesion",), given_one)
    same(found.labels()[:, 0], (1.0, NAN, 0.0))
    assert [b.xyxy_px for b in found.records[0].boxes] == [(1, 1, 9, 9), (2, 2, 5, 5)]
    assert found.notes[0] == "classes of the data read, as asked: Nodule | Mass as Lesion."
    assert found.notes[1] == "classes not the model's, dropped: Pleural Effusion."


labels = st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=3, max_size=3)


@given(st.lists(labels, min_size=1, max_size=5))
def test_joining_is_any_of_the_truths_that_unknown_labels_may_stand_for(rows):
    records = tuple(record(str(i), tuple(row)) for i, row in enumerate(rows))
    joined = mapping.rename(Dataset("x", ("A", "B", "C"), records), {"AB": ("A", "B")})
    assert joined.classes == ("AB", "C")
    for row, (found, _) in zip(rows, joined.labels(), strict=True):
        worlds = {
            max(a, b)
            for a in ((0.0, 1.0) if math.isnan(row[0]) else (row[0],))
            for b in ((0.0, 1.0) if math.isnan(row[1]) else (row[1],))
        }
        assert math.isnan(found) if len(worlds) == 2 else worlds == {found}


def test_data_without_labels_are_unknown_in_every_class():
    bare = Dataset("folder", (), (record("a", ()),))
    found = mapping.align(bare, ("Effusion", "Mass"))
    assert all(math.isnan(value) for value in found.records[0].labels)
    assert found.notes == ()


def test_a_class_may_keep_its_name_when_others_join_it():
    found = mapping.rename(world(), {"Mass": ("Mass", "Nodule")})
    assert found.classes == ("Mass", "Pleural Effusion")
    assert mapping.rename(world(), {}) == world()


def test_a_training_may_rename_its_labels(tmp_path):
    folder = make.manifest(tmp_path, 12)
    config = DataConfig(source=str(folder), rename={"any": ("left", "right")})
    found = data.load(config)
    assert found.classes == ("any",)
    assert found.labels()[:, 0].tolist() == [1.0, 1.0, 0.0] * 4
    assert sum(len(r.boxes) for r in found.records) == 8
    named = data.load(DataConfig(source=str(folder), rename={"L": ("left",)}, classes=("L",)))
    assert named.classes == ("L",)
    with pytest.raises(InputError, match=r"data\.rename: no class 'lefd'\. Did you mean 'left'"):
        data.load(DataConfig(source=str(folder), rename={"L": ("lefd",)}))


@pytest.mark.parametrize("text", ["Effusion", "=Mass", "Effusion=", "Effusion=Mass|", ""])
def test_a_mapping_that_cannot_be_read_is_shown_its_form(text):
    with pytest.raises(InputError, match="write it as MODEL CLASS=DATA CLASS"):
        mapping.parse([text])


def test_names_that_nobody_has_are_told():
    for given_one, sentence in (
        ({"Efusion": ("Mass",)}, r"no class of the model is 'Efusion'\. Did you mean 'Effusion'"),
        ({"Effusion": ("Mas",)}, r"the data have no class 'Mas'\. Did you mean 'Mass'"),
        ({"Effusion": ("Mass", "Mass")}, "'Mass' is named twice"),
    ):
        with pytest.raises(InputError, match=sentence):
            mapping.align(world(), ("Effusion", "Nodule"), given_one)
    with pytest.raises(InputError, match=r"has none of the model's classes \(Hernia\).*--map"):
        mapping.align(world(), ("Hernia",))
    with pytest.raises(InputError, match="'Mass' is a class of its own here"):
        mapping.rename(world(), {"Mass": ("Nodule",)})
