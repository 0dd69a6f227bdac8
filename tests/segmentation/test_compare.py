"""Methods on the same masks: means over runs, paired differences, and what is refused."""

import dataclasses

import numpy as np
import pytest

from wsrpn.errors import InputError
from wsrpn.metrics import pixels
from wsrpn.segmentation import figures
from wsrpn.segmentation.compare import FIGURES, Entry, compare
from wsrpn.segmentation.evidence import Evidence

IMAGES = 12


def evidence(quality, seed, images=IMAGES):
    """Counts of a run that finds about the share `quality` of two objects of 300 pixels each.

    One image in four has no foreground.
    """
    rng = np.random.default_rng(seed)
    there = np.where(np.arange(images) % 4 == 3, 0, 300)
    tp = np.round(there * np.clip(quality + rng.normal(0, 0.05, images), 0, 1))
    fp = rng.integers(0, 50, images)
    rows = np.stack([tp, fp, there - tp, 1000 - there - fp], axis=1).astype(float)
    hits = np.where(there > 0, rng.integers(0, 3, (9, images)), 0)
    levels = np.sort(hits, axis=0)[::-1].T
    counts = np.column_stack([levels, np.full(images, 2), np.where(there > 0, 2, 0)]).astype(float)
    return Evidence(
        tuple(f"{n:02d}" for n in range(images)), tuple(f"p{n // 2}" for n in range(images)),
        rows, rng.random(images), counts, np.ones(images, dtype=bool),
    )  # fmt: skip


def runs(name, quality, seeds):
    return [Entry(f"{name}-{s}", evidence(quality, 10 * len(name) + s), s) for s in seeds]


@pytest.fixture
def methods():
    return {"good": runs("good", 0.9, (0, 1, 2)), "poor": runs("poorly", 0.5, (2, 0, 1))}


def test_a_method_is_the_mean_of_what_eval_says_of_its_runs(methods):
    found = compare(methods, "data", figures=("all",), bootstrap=40)
    alone = [figures.figures(e.evidence, bootstrap=0) for e in methods["good"]]
    good, poor = found.methods
    assert set(found.figures) == set(alone[0])
    for name in found.figures:
        values = [one[name].value for one in alone]
        assert good.per_run[name] == pytest.approx(values), name
        assert good.figures[name].value == pytest.approx(np.mean(values)), name
    gap = found.differences[0]
    assert gap.name == "poor - good"
    assert gap.covers == "patients and seeds"
    assert gap.figures["jaccard"].value == pytest.approx(
        poor.figures["jaccard"].value - good.figures["jaccard"].value
    )
    assert gap.clear("jaccard")
    assert gap.figures["jaccard"].high < 0
    assert [method.seeds for method in found.methods] == [(0, 1, 2), (2, 0, 1)]


def test_intervals_of_one_run_are_those_of_eval_and_a_run_does_not_differ_from_itself(methods):
    one = methods["good"][0]
    found = compare({"a": [one], "b": [one]}, "data", figures=("all",), bootstrap=60)
    assert dict(found.methods[0].figures) == figures.figures(one.evidence, bootstrap=60)
    (gap,) = found.differences
    assert {(f.low, f.value, f.high) for f in gap.figures.values()} == {(0, 0, 0)}
    assert gap.covers == "patients"


def test_differences_are_paired_over_patients(methods):
    good, poor = (methods[name][:1] for name in ("good", "poor"))
    found = compare({"a": good, "b": poor}, "data", figures=("jaccard",), bootstrap=400)
    rows = [pixels.values("jaccard", e.evidence.pixels) for e in (good[0], poor[0])]
    apart = np.nanmean(rows[1] - rows[0])
    figure = found.differences[0].figures["jaccard"]
    assert figure.value == pytest.approx(apart)
    same = [np.nanmean((rows[1] - rows[0])[draw]) for draw in drawn(good[0].evidence, 400)]
    assert figure.low == pytest.approx(np.quantile(same, 0.025), abs=0.02)
    assert figure.high == pytest.approx(np.quantile(same, 0.975), abs=0.02)


def drawn(counts, replicates):
    """Images of patients that were drawn with replacement, by the book."""
    rng = np.random.default_rng(5)
    patients = np.array(counts.patients)
    names = np.unique(patients)
    for _ in range(replicates):
        chosen = rng.choice(names, len(names))
        yield np.concatenate([np.flatnonzero(patients == name) for name in chosen])


def test_what_nobody_defines_is_left_out_unless_asked_for(methods):
    full = {
        name: [
            dataclasses.replace(e, evidence=e.evidence.of(["00", "01", "02", "04"])) for e in own
        ]
        for name, own in methods.items()
    }
    found = compare(full, "data", bootstrap=0)
    assert found.figures == tuple(name for name in FIGURES if name != "specificity")
    assert found.provenance["images"] == 4
    asked = compare(full, "data", figures=("specificity",), bootstrap=0)
    assert asked.methods[0].figures["specificity"].value is None


def test_runs_of_other_images_are_refused_or_meet_on_those_they_share(methods):
    fewer = [
        dataclasses.replace(e, evidence=e.evidence.of(["05", "00", "02"])) for e in methods["poor"]
    ]
    given = {"good": methods["good"], "poor": fewer}
    with pytest.raises(InputError, match=r"good-0 and poorly-2 do not.* \(12 and 3, 3 in common\)"):
        compare(given, "data")
    found = compare(given, "data", listed=True, figures=("jaccard",), bootstrap=0)
    assert found.provenance["images"] == 3
    assert (
        "9 images left out that not all runs answer for: 01, 03, 04, 06, 07, …." in found.warnings
    )
    alone = figures.figures(methods["good"][0].evidence.of(["00", "02", "05"]), bootstrap=0)
    assert found.methods[0].per_run["jaccard"][0] == pytest.approx(alone["jaccard"].value)
    nothing = [dataclasses.replace(fewer[0], evidence=renamed(fewer[0].evidence))]
    with pytest.raises(InputError, match="no image that all answer for"):
        compare({"good": methods["good"], "poor": nothing}, "data", listed=True)


def renamed(counts):
    return dataclasses.replace(counts, ids=tuple(f"x{name}" for name in counts.ids))


@pytest.mark.parametrize("column", ["pixels", "size", "objects"])
def test_runs_that_are_judged_by_other_masks_are_refused(methods, column):
    first = methods["poor"][1]
    rows, objects = first.evidence.pixels.copy(), first.evidence.objects.copy()
    if column == "pixels":
        rows[4, 2:] += (5, -5)
    elif column == "size":
        rows[4, 3] += 100
    else:
        objects[4, -1] += 1
    other = dataclasses.replace(first.evidence, pixels=rows, objects=objects)
    methods["poor"][1] = dataclasses.replace(first, evidence=other)
    with pytest.raises(InputError, match="good-0 and poorly-0 are judged by other masks of '04'"):
        compare(methods, "data")


def test_figures_and_baselines_that_are_not_there_are_named(methods):
    with pytest.raises(InputError, match=r"no figure is called 'jacard'.*jaccard"):
        compare(methods, "data", figures=("jacard",))
    with pytest.raises(InputError, match="no method is called 'god'"):
        compare(methods, "data", baseline="god")
    with pytest.raises(InputError, match="At least two methods"):
        compare({"good": methods["good"]}, "data")


def test_notes_of_all_runs_are_said_once_and_of_some_with_their_names(methods):
    noted = {
        name: [dataclasses.replace(e, notes=("of all", *(["of one"] if e.seed == 1 else [])))
               for e in own]
        for name, own in methods.items()
    }  # fmt: skip
    found = compare(noted, "data", bootstrap=0)
    assert found.warnings[:2] == ("of all", "good-1, poorly-1: of one")
    assert any("3 images with an empty mask" in note for note in found.warnings)


def test_runs_that_find_far_too_much_or_nothing_are_named_in_one_sentence_each(methods):
    def with_pixels(entry, **columns):
        rows = entry.evidence.pixels.copy()
        for name, value in columns.items():
            rows[:, ("tp", "fp").index(name)] = value
        return dataclasses.replace(entry, evidence=dataclasses.replace(entry.evidence, pixels=rows))

    first, second, third = methods["poor"]
    methods["poor"] = [with_pixels(first, fp=5000.0), with_pixels(second, fp=9000.0), third]
    for entry, before in ((methods["poor"][0], first), (methods["poor"][1], second)):
        entry.evidence.pixels[:, 3] = before.evidence.pixels.sum(1) - entry.evidence.pixels[
            :, :3
        ].sum(1)
    said = compare(methods, "data", bootstrap=0).warnings
    (flooded,) = [note for note in said if "times as many" in note]
    assert "by poorly-2 (" in flooded
    assert "poorly-0 (" in flooded
    assert "poorly-1" not in flooded
    assert "would be 0.300" in flooded
