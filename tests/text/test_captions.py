"""What is said of an image: sections of reports, comparisons, labels, scene graphs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make_mimic
from wsrpn.config import DataConfig, TextConfig
from wsrpn.data import base
from wsrpn.data.phantom.reports import report as phantom_report
from wsrpn.errors import InputError
from wsrpn.text import captions as caption
from wsrpn.text import graphs, reports
from wsrpn.types import Dataset, Record

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___.

 FINDINGS:

 There is no focal consolidation.
 LUNGS: clear.

 IMPRESSION:

 No acute cardiopulmonary process.

 NOTIFICATION: Dr. ___ was called.
"""
NO_SECTIONS = """ FINAL REPORT
 PORTABLE CHEST

 COMPARISON: ___.

 Single view. The heart is normal.

 NOTIFICATION: called at 3 p.m.
"""
CHEXPERT_PLUS = """END OF IMPRESSION:

I have personally reviewed the images.

SUMMARY: 2-ABNORMAL, PREVIOUSLY REPORTED
"""
BOTH = ("findings", "impression")


@pytest.mark.parametrize(
    ("report", "wanted", "text", "how"),
    [
        (MIMIC, BOTH, "There is no focal consolidation. LUNGS: clear. No acute cardiopulmonary "
         "process.", "sections"),
        (MIMIC, ("impression",), "No acute cardiopulmonary process.", "sections"),
        (MIMIC, ("impression", "technique"),
         "No acute cardiopulmonary process. Chest PA and lateral", "sections"),
        (MIMIC, ("indication",), "F with new onset ascites // eval for infection", "sections"),
        (NO_SECTIONS, BOTH, "Single view. The heart is normal.", "last paragraph"),
        ("FINDINGS AND IMPRESSION: A b. C", BOTH, "A b. C", "sections"),
        ("FINDINGS/IMPRESSION: A b.", ("impression",), "A b.", "sections"),
        ("Findings: a\nImpression: b", ("impression", "findings"), "b a", "sections"),
        ("findings: a\r\nconclusion: b", BOTH, "a b", "sections"),
        ("FINDINGS: same IMPRESSION: same", BOTH, "same", "sections"),
        ("FINDINGS: IMPRESSION: Normal.", BOTH, "Normal.", "sections"),
        ("IMPRESSION: one\n\nADDENDUM: x\n\nIMPRESSION: two", ("impression",), "one two",
         "sections"),
        (f"IMPRESSION: Clear. {CHEXPERT_PLUS}", BOTH, "Clear.", "sections"),
        (f"Impression:\nClear.\n\n{CHEXPERT_PLUS.replace('END OF IMP', 'End of imp')}", BOTH,
         "Clear.", "sections"),
        ("FINDINGS: Clear. SUMMARY: Normal.", BOTH, "Clear. Normal.", "sections"),
        ("Two lines of\n\nplain words.", BOTH, "Two lines of plain words.", "whole"),
        ("The impression is good: yes. My findings: none", BOTH,
         "The impression is good: yes. My findings: none", "whole"),
        (MIMIC, (), " ".join(MIMIC.replace("___", " ").split()), "whole"),
        ("INDICATION: cough", BOTH, "", "nothing"),
        ("INDICATION: cough\n\nIMPRESSION:", ("findings",), "", "nothing"),
        (" \n ", BOTH, "", "nothing"),
        ("", BOTH, "", "nothing"),
    ],
)  # fmt: skip
def test_the_wanted_parts_of_a_report_are_found(report, wanted, text, how):
    assert reports.part(report, wanted) == reports.Part(text, how)


def test_all_headings_of_a_mimic_report_are_known():
    found = reports.sections(MIMIC)
    assert list(found) == [
        "examination", "indication", "technique", "findings", "impression",
    ]  # fmt: skip
    assert "called" not in " ".join(found.values())


def test_the_reports_of_phantoms_have_both_sections():
    found = reports.sections(phantom_report([], np.random.default_rng(0)))
    assert set(found) == set(BOTH)
    assert "FINDINGS" not in " ".join(found.values())


@given(
    st.text(alphabet="FINDGSMPREO:. \nab", max_size=60), st.sampled_from([BOTH, ("comparison",)])
)
def test_any_text_gives_one_tidy_line_of_its_own_words(text, wanted):
    part = reports.part(text, wanted)
    assert "\n" not in part.text
    assert part.text == part.text.strip()
    assert set(part.text.split()) <= set(text.replace(":", ": ").split()) | set(text.split())
    assert (part.how == "nothing") == (part.text == "")


@pytest.mark.parametrize(
    "sentence",
    [
        "Compared to prior, the effusion is larger.",
        "In comparison with study of ___, the heart is large.",
        "The cardiac silhouette is unchanged.",
        "Interval removal of the tube.",
        "No significant interval change.",
        "There has been no relevant change.",
        "Again seen is a mass.",
        "Stable cardiomegaly.",
        "The opacity has resolved.",
        "Worsening edema.",
        "As seen on the previous chest radiograph, the lungs are clear.",
        "Previously noted nodule is small.",
        "Larger than the prior.",
    ],
)
def test_a_sentence_that_compares_is_dropped(sentence):
    text, count = reports.without_comparisons(f"The lungs are clear. {sentence} No mass.")
    assert (text, count) == ("The lungs are clear. No mass.", 1)


@pytest.mark.parametrize(
    "sentence",
    [
        "Status post prior sternotomy.",
        "Increased interstitial markings.",
        "Dr. Stone was told of a mass.",
        "A 3.5 cm mass.",
        "1. Small effusion.",
        "There is a new mass.",
        "The tube ends 4 cm above the carina.",
    ],
)
def test_a_sentence_about_this_image_stays(sentence):
    assert reports.without_comparisons(f"{sentence} No mass.") == (f"{sentence} No mass.", 0)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ((1.0, 0.0, math.nan), "Mass is present. No pleural thickening."),
        ((0.0, 1.0, 1.0), "Pleural thickening is present. COPD is present. No mass."),
        ((0.0, 0.0, 0.0), "No mass. No pleural thickening. No COPD."),
        ((math.nan,) * 3, ""),
    ],
)
def test_labels_become_sentences_and_unknown_says_nothing(labels, text):
    assert caption.from_labels(labels, ("Mass", "Pleural_Thickening", "COPD")) == text


def test_prompts_are_the_sentences_of_the_labels():
    assert caption.prompts(["Mass", "COPD"]) == [
        "Mass is present.", "No mass.", "COPD is present.", "No COPD.",
    ]  # fmt: skip


# Scene graphs

FACTS = [
    {"finding": "Pleural effusion", "location": "left lung", "modifiers": ["small"]},
    {"finding": "pleural effusion", "location": "right lung", "modifiers": ["small"]},
    {"finding": "pleural effusion", "location": "spine", "present": False},
    {"finding": "mass", "present": False},
    {"finding": "mass", "location": "left lung", "present": False},
]


def test_a_scene_graph_is_said_in_three_levels():
    assert graphs.captions(graphs.parse(json.dumps(FACTS), where="x")) == (
        "Pleural effusion. No mass.",
        "Pleural effusion in left lung and right lung. No pleural effusion in spine. "
        "No mass in left lung.",
        "Small pleural effusion in left lung and right lung. No pleural effusion in spine. "
        "No mass in left lung.",
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[1]", '[{"location": "x"}]', '[{"finding": ""}]',
     '[{"finding": "x", "modifiers": "small"}]', '[{"finding": "x", "present": "yes"}]'],
)  # fmt: skip
def test_a_scene_graph_that_is_none_is_a_sentence_with_the_image(text):
    with pytest.raises(InputError, match=r"i7\.png: scene_graph is not a JSON list of facts"):
        graphs.parse(text, where="i7.png")


# Data sets


def record(name, text="", labels=(1.0, 0.0), **extra):
    return Record(name, Path(name), name, labels, text=text, extra=extra)


def said(*records, **settings):
    dataset = Dataset("made up", ("Mass", "Edema"), records)
    return caption.captions(dataset, TextConfig(**settings))


GRAPH = json.dumps(FACTS)
REPORT = "FINDINGS: Heart is unchanged. A mass. IMPRESSION: Mass."
UNKNOWN = (math.nan, math.nan)
SMALL = (
    "Small pleural effusion in left lung and right lung. No pleural effusion in spine. "
    "No mass in left lung."
)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, ("Heart is unchanged. A mass. Mass.", SMALL,
              "Mass is present. No edema.", "")),
        ({"captions": "text"}, ("Heart is unchanged. A mass. Mass.",
                                SMALL, "", "")),
        ({"captions": "scene_graph"}, ("", SMALL, "", "")),
        ({"captions": "labels"}, ("Mass is present. No edema.",) * 3 + ("",)),
        ({"comparisons": "drop", "captions": "text"},
         ("A mass. Mass.", SMALL, "", "")),
    ],
)  # fmt: skip
def test_flat_captions_come_from_where_the_config_says(settings, wanted):
    found = said(
        record("a", REPORT), record("b", scene_graph=GRAPH), record("c"),
        record("d", labels=UNKNOWN), **settings,
    )  # fmt: skip
    assert tuple(levels[0] for levels in found.levels.values()) == wanted
    assert all(len(levels) == 1 for levels in found.levels.values())
    assert found.with_text == sum(map(bool, wanted)) == 4 - found.sources["nothing"]
    assert found.notes[0].startswith(f"text: {found.with_text} of 4 images have a caption")


def test_hierarchical_captions_have_three_levels_from_coarse_to_fine():
    found = said(
        record("a", REPORT), record("b", "just words", scene_graph=GRAPH), record("c"),
        record("d", "just words", labels=UNKNOWN), record("e", labels=UNKNOWN),
        levels="hierarchical",
    ).levels  # fmt: skip
    labels = "Mass is present. No edema."
    assert found["a"] == (labels, "Mass.", "Heart is unchanged. A mass. Mass.")
    assert found["b"] == graphs.captions(graphs.parse(GRAPH, where=""))
    assert found["c"] == (labels, "", "")
    assert found["d"] == ("", "just words", "just words")
    assert found["e"] == ("", "", "")


def test_what_happened_to_reports_is_counted_and_said():
    found = said(
        record("a", REPORT), record("b", NO_SECTIONS), record("c", "words"),
        record("d", "INDICATION: cough"), record("e", "IMPRESSION: No change."),
        comparisons="drop", captions="text",
    )  # fmt: skip
    assert found.notes == (
        "text: 3 of 5 images have a caption (3 from report).",
        "text: reports without findings and impression, whose last paragraph about the image is "
        "taken: 1.",
        "text: texts without headings, taken whole: 1.",
        "text: reports with nothing to take: 1.",
        "text: dropped sentences that compare with another image: 2.",
        "text: reports of such sentences only: 1.",
    )


def test_chest_imagenome_beside_mimic_gives_three_levels(tmp_path):
    home = make_mimic.mimic(tmp_path)
    make_mimic.imagenome(tmp_path)
    found = base.load(DataConfig(source=f"mimic:{home}"))
    told = caption.captions(found, TextConfig(levels="hierarchical"))
    assert told.sources == {"scene graph": 19, "report": 1}
    coarse, middle, fine = next(iter(told.levels.values()))
    assert coarse == "Enlarged cardiac silhouette. Pneumonia. Pleural effusion. No lung opacity."
    assert "Pneumonia in right lung." in middle
    assert fine.startswith("Mild enlarged cardiac silhouette in cardiac silhouette.")
    flat = caption.captions(found, TextConfig())
    assert flat.sources == {"report": 19, "scene graph": 1}
