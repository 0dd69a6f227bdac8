"""Runs side by side: grouping, pairing, the three documents, and what is refused."""

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import yaml

import wsrpn
from tests import cli, make
from tests.metrics.worlds import CLASSES, world
from wsrpn import evaluate
from wsrpn.compare import Entry, compare
from wsrpn.data import images
from wsrpn.errors import InputError
from wsrpn.report import compare as paper
from wsrpn_cli import methods as grouping

FEW = ("--bootstrap", 30, "--metric", "auroc,ap@0.3")


def noisy(predictions, seed, size=1.0):
    """Another run: the same boxes, other image scores."""
    rng = np.random.default_rng(seed)
    answers = (
        dataclasses.replace(d, image_logits=d.image_logits + rng.normal(0, size, 3))
        for d in predictions.images
    )
    return dataclasses.replace(predictions, images=tuple(answers))


def runs(predictions, name, seeds, size=1.0):
    return [Entry(f"{name}-{s}", noisy(predictions, 10 * len(name) + s, size), None, s)
            for s in seeds]  # fmt: skip


@pytest.fixture
def made():
    """A data set and three methods: good with three seeds, poor with three, one with one run."""
    predictions, dataset = world()
    methods = {
        "good": runs(predictions, "good", (0, 1, 2), 0.1),
        "poor": runs(predictions, "poorly", (0, 1, 2), 30.0),
        "one": [Entry("one", predictions)],
    }
    return methods, dataset


# --- the library


def test_two_single_runs_are_compared_as_the_two_sided_comparison_does(made):
    methods, dataset = made
    pair = {"a": methods["good"][:1], "b": methods["poor"][:1]}
    found = compare(pair, dataset, figures=("all",), bootstrap=40, baseline="b")
    sides = (methods["good"][0].predictions, methods["poor"][0].predictions)
    other = evaluate.compare(*sides, dataset, bootstrap=40)
    (difference,) = found.differences
    assert difference.name == "a - b"
    assert difference.covers == "patients"
    for name, figure in other.metrics.items():
        assert difference.figures[name] == figure
    assert difference.per_class["Mass"]["auroc"] == other.per_class["Mass"]["auroc"]
    alone = evaluate.evaluate(sides[0], dataset, bootstrap=40)
    assert found.methods[0].figures == alone.metrics
    assert found.methods[0].per_class == alone.per_class


def test_a_method_is_the_mean_of_its_runs_and_shows_the_lowest_and_the_highest(made):
    methods, dataset = made
    found = compare(methods, dataset, figures=("auroc",), bootstrap=20)
    alone = [
        evaluate.evaluate(e.predictions, dataset, bootstrap=0).metrics["auroc"].value
        for e in methods["good"]
    ]
    good, _, one = found.methods
    assert good.per_run["auroc"] == pytest.approx(alone)
    assert good.figures["auroc"].value == pytest.approx(np.mean(alone))
    assert good.spread("auroc") == (min(alone), max(alone))
    assert one.spread("auroc") is None
    gap = found.difference("poor").figures["auroc"]
    assert gap.value == pytest.approx(found.methods[1].figures["auroc"].value - np.mean(alone))
    assert gap.high < 0
    assert found.difference("poor").clear("auroc")
    assert found.difference("good") is None


def test_differences_cover_seeds_unless_told_otherwise(made):
    methods, dataset = made
    both = compare(methods, dataset, figures=("auroc",), bootstrap=200)
    plain = compare(methods, dataset, figures=("auroc",), bootstrap=200, over_seeds=False)
    wide, narrow = (c.difference("poor").figures["auroc"] for c in (both, plain))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.1 * (narrow.high - narrow.low)
    assert [d.covers for d in both.differences] == ["patients and seeds"] * 2
    assert [d.covers for d in plain.differences] == ["patients"] * 2
    assert any("over patients; they do not cover other seeds" in w for w in both.warnings)
    assert any("(the same draws for all) and seeds" in w for w in both.warnings)
    assert any(w.startswith("one has one run") for w in both.warnings)


def test_a_method_does_not_differ_from_itself(made):
    methods, dataset = made
    twin = {"a": methods["good"], "b": methods["good"]}
    found = compare(twin, dataset, figures=("all",), bootstrap=10).differences[0].figures
    assert {(f.low, f.value, f.high) for f in found.values() if f.value is not None} == {(0, 0, 0)}


def test_the_order_of_methods_turns_the_sign_and_nothing_else(made):
    methods, dataset = made
    straight = compare(methods, dataset, figures=("ap@0.3", "auroc", "ece"), bootstrap=50)
    turned = compare(
        methods, dataset, figures=("ap@0.3", "auroc", "ece"), bootstrap=50, baseline="poor"
    )
    for name in straight.figures:
        a, b = straight.difference("poor").figures[name], turned.difference("good").figures[name]
        assert a.value == pytest.approx(-b.value)
        assert [m.figures[name] for m in straight.methods] == [
            m.figures[name] for m in turned.methods
        ]
    assert turned.provenance["baseline"] == "poor"


def test_runs_with_other_classes_meet_on_the_shared_ones(made):
    methods, dataset = made
    fewer = dataclasses.replace(
        methods["one"][0],
        predictions=dataclasses.replace(
            methods["one"][0].predictions, classes=("Mass", "Nodule", "Hernia")
        ),
    )
    found = compare({"a": methods["good"], "b": [fewer]}, dataset, bootstrap=0)
    assert found.classes == ("Mass", "Nodule")
    assert found.warnings[0] == (
        "Compared on the classes that all have, Mass, Nodule; left out: Effusion, Hernia."
    )
    assert "no intervals" in found.warnings[-1]
    renamed = dataclasses.replace(fewer.predictions, classes=("x", "y", "z"))
    with pytest.raises(InputError, match="No class that all runs and made up have in common"):
        compare({"a": methods["good"], "b": [Entry("b", renamed)]}, dataset)


def test_other_images_are_refused_or_left_out(made):
    methods, dataset = made
    fewer = dataclasses.replace(
        methods["one"][0].predictions, images=methods["one"][0].predictions.images[5:]
    )
    failed = dataclasses.replace(fewer, failed={f"i{n}.png": "broken" for n in range(5)})
    with pytest.raises(InputError, match=r"good-0 and one do not answer .*40 and 35, 35 in common"):
        compare({"good": methods["good"], "b": [Entry("one", failed)]}, dataset)
    found = compare(
        {"good": methods["good"], "b": [Entry("one", fewer)]}, dataset, images="listed", bootstrap=0
    )
    assert found.provenance["images"] == 35


def test_what_is_not_there_is_told(made):
    methods, dataset = made
    for options, sentence in (
        ({"figures": ("aurok",)}, r"no figure is called 'aurok'\. Did you mean 'auroc'"),
        ({"baseline": "god"}, r"no method is called 'god'\. Did you mean 'good'"),
    ):
        with pytest.raises(InputError, match=sentence):
            compare(methods, dataset, bootstrap=0, **options)
    with pytest.raises(InputError, match="At least two methods"):
        compare({"one": methods["one"]}, dataset)


def test_figures_that_nobody_has_are_shown_only_when_asked_for(made):
    methods, dataset = made
    bare = dataclasses.replace(
        dataset, records=tuple(dataclasses.replace(r, boxes=()) for r in dataset.records)
    )
    assert compare(methods, bare, bootstrap=0).figures == ("auroc", "image_ap")
    asked = compare(methods, bare, bootstrap=5, figures=("ap@0.3", "auroc"))
    assert asked.figures == ("ap@0.3", "auroc")
    assert asked.methods[0].figures["ap@0.3"].value is None
    assert "| ap@0.3 | good ×3 | – |  |  |" in paper.markdown(asked)
    paper.forest(asked)
    json.dumps(asked.document(), allow_nan=False)


def test_table_and_figure_say_what_the_comparison_found(made):
    methods, dataset = made
    found = compare(methods, dataset, figures=("auroc", "ap@0.3"), bootstrap=100)
    text = paper.markdown(found)
    gap = paper.number(found.difference("poor").figures["auroc"], sign=True)
    assert f"| **{gap}** |" in text
    assert "- good: good-0 (seed 0), good-1 (seed 1), good-2 (seed 2)" in text
    rows = list(csv.DictReader(paper.table(found).splitlines()))
    assert len(rows) == 2 * (1 + len(CLASSES)) * 3
    first = next(r for r in rows if r["method"] == "poor" and r["class"] == "all")
    assert float(first["difference"]) == found.difference("poor").figures["auroc"].value
    assert first["difference_covers"] == "patients and seeds"
    drawing = paper.forest(found)
    values, differences = drawing.axes[0], drawing.axes[1]
    assert [t.get_text() for t in values.get_yticklabels()] == ["good", "poor", "one"]
    good = found.methods[0].figures["auroc"]
    ends = [list(line.get_xdata()) for line in values.get_lines()]
    assert [good.low, good.high] in ends
    assert list(found.methods[0].per_run["auroc"]) in ends
    poor = found.difference("poor").figures["auroc"]
    assert [poor.low, poor.high] in [list(line.get_xdata()) for line in differences.get_lines()]


# --- the command


def document(*words):
    result = cli.wsrpn("compare", *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def many(tmp_path_factory, trained):
    """Three seeds of one config and one run of another, all with the same weights."""
    folder = tmp_path_factory.mktemp("many")
    for name, section, key, value in (
        ("a-0", "train", "seed", 0), ("a-1", "train", "seed", 1), ("a-2", "train", "seed", 2),
        ("b", "inference", "nms_iou", 0.9),
    ):  # fmt: skip
        run = shutil.copytree(trained, folder / name)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config[section][key] = value
        (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "a-2" / "calibration.json").unlink()
    return folder


def test_runs_that_differ_in_the_seed_alone_are_one_method(many, tmp_path):
    found = document(*sorted(many.iterdir()), *FEW, "--out", tmp_path / "c")
    assert found["command"] == "compare"
    assert found["version"] == wsrpn.__version__
    a, b = found["methods"]
    assert (a["name"], a["runs"], a["seeds"]) == ("a", ["a-0", "a-1", "a-2"], [0, 1, 2])
    assert b["name"] == "b"
    assert set(found["metrics"]) == {
        f"{name}/{figure}" for name in ("a", "b", "b - a") for figure in ("auroc", "ap@0.3")
    }
    assert found["metrics"]["b - a/auroc"]["value"] == 0
    for path in found["files"].values():
        assert (tmp_path / "c") in (tmp_path / path).parents
    assert images.size(tmp_path / "c" / "compare.png")[0] > 200
    written = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert written == found
    # Each run has its own calibration, and the one without says so.
    assert "a-2: Not calibrated, so thresholds are 0.5." in found["warnings"]
    notes = cli.wsrpn("compare", many / "a-0", many / "b", *FEW, "--out", tmp_path / "d").stderr
    assert "Not calibrated" not in notes
    assert "− a-0 (95 %)" in notes


def test_methods_can_be_named_separated_and_picked(many, tmp_path):
    out = ("--out", tmp_path / "c", *FEW)
    named = document(f"old={many}/a-*", f"new={many / 'b'}", "--baseline", "new", *out)
    assert [m["name"] for m in named["methods"]] == ["old", "new"]
    assert [d["name"] for d in named["differences"]] == ["old - new"]
    mixed = document(f"x={many / 'a-0'},{many / 'b'}", many / "a-1", *out)
    assert [m["name"] for m in mixed["methods"]] == ["x", "a-1"]
    assert "x: its runs differ in more than the seed." in mixed["warnings"]
    apart = document(many / "a-0", many / "a-1", "--separate", *out)
    assert [m["name"] for m in apart["methods"]] == ["a-0", "a-1"]


def test_a_requirement_on_a_value_a_difference_or_the_end_of_an_interval_decides(many, tmp_path):
    words = ("compare", many / "a-0", many / "b", "--out", tmp_path / "c", *FEW)
    assert (
        cli.wsrpn(*words, "--require", "b/auroc>=0", "--require", "b - a-0/auroc==0").exit_code == 0
    )
    assert cli.wsrpn(*words, "--require", "low(b - a-0/auroc)>=0").exit_code == 0
    failed = cli.wsrpn(*words, "--require", "high(b - a-0/auroc)>0")
    assert failed.exit_code == 3
    assert "not met: high(b - a-0/auroc)>0 (it is 0.0000)" in failed.stderr
    wrong = cli.wsrpn(*words, "--require", "b/aurok>=0")
    assert (wrong.exit_code, "Did you mean 'b/auroc'" in wrong.stderr) == (2, True)
    for text in ("low(b/auroc>=0", "low b/auroc)>=0", "mid(b/auroc)>=0"):
        assert cli.wsrpn(*words, "--require", text).exit_code == 2


def test_a_run_can_be_compared_with_boxes_of_anyone(many, data, tmp_path):
    boxes = tmp_path / "theirs.csv"
    found = cli.wsrpn("predict", many / "b", "--data", data, "--split", "test", "--out", boxes)
    assert found.exit_code == 0, found.stderr
    words = (many / "a-0", f"theirs={boxes}", "--images", "listed", "--out", tmp_path / "c")
    got = document(*words, "--data", data, *FEW)
    assert got["metrics"]["theirs/ap@0.3"]["value"] is not None
    assert got["metrics"]["theirs/auroc"]["value"] is None
    refused = cli.wsrpn("compare", *words, *FEW)
    assert (refused.exit_code, "pass --data" in refused.stderr) == (2, True)


def test_runs_that_were_split_in_another_way_are_refused(many, tmp_path):
    other = shutil.copytree(many / "b", tmp_path / "other")
    lines = (other / "splits.csv").read_text().splitlines()
    swap = {"test": "train", "train": "test"}
    turned = [line.rpartition(",")[::2] for line in lines[1:]]
    (other / "splits.csv").write_text(
        "\n".join([lines[0], *(f"{a},{swap.get(b, b)}" for a, b in turned)]) + "\n"
    )
    found = cli.wsrpn("compare", many / "a-0", other, *FEW, "--out", tmp_path / "c")
    assert found.exit_code == 2
    assert "a-0 and other have different test images" in found.stderr
    assert "0 in common" in found.stderr
    assert not (tmp_path / "c").exists()


@pytest.fixture
def copied(many, data, tmp_path):
    """A copy of the data, and a run that says it was trained on it."""
    folder = shutil.copytree(data, tmp_path / "data")
    other = shutil.copytree(many / "b", tmp_path / "other")
    changed(other, source=str(folder))
    return folder, other


def changed(run, **values):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= values
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def test_images_of_one_name_in_two_data_sets_are_not_taken_for_the_same(many, copied, tmp_path):
    folder, other = copied
    text = (folder / "boxes.csv").read_text().splitlines()
    moved = [f"{line.rpartition(',')[0]},3.5" for line in text[1:]]
    (folder / "boxes.csv").write_text("\n".join([text[0], *moved]) + "\n")
    words = ("compare", many / "a-0", other, *FEW, "--out", tmp_path / "c")
    for more in ((), ("--images", "listed")):
        found = cli.wsrpn(*words, *more)
        assert found.exit_code == 2
        assert "which have other boxes of 'images/" in found.stderr


def relabelled(folder, label):
    """Every image has this label; boxes stay."""
    lines = (folder / "images.csv").read_text().splitlines()
    rows = [f"{line.rpartition(',')[0]},{label}" for line in lines[1:]]
    (folder / "images.csv").write_text("\n".join([lines[0], *rows]) + "\n")


def test_the_same_images_with_other_labels_are_not_the_same_truth(many, copied, data, tmp_path):
    folder, other = copied
    relabelled(folder, "left|right")
    words = ("compare", many / "a-0", other, *FEW, "--out", tmp_path / "c")
    found = cli.wsrpn(*words)
    assert found.exit_code == 2
    sentence = rf"a-0 and other were trained on {data} and {folder}, which have other labels of 'im"
    assert re.search(sentence, found.stderr)
    assert not (tmp_path / "c").exists()
    told = document(*words[1:], "--data", data)["warnings"]  # the way out
    assert f"other was trained on {folder}; scored on {data}." in told


def test_one_source_read_in_two_ways_is_a_note(many, tmp_path):
    other = shutil.copytree(many / "b", tmp_path / "other")
    changed(other, rename={"left": ["right"], "right": ["left"]})
    found = document(many / "a-0", other, *FEW, "--out", tmp_path / "c")
    (note,) = (text for text in found["warnings"] if "in other ways" in text)
    assert re.match(
        r"a-0 and other read the labels of .* in other ways \('images/\d+\.png'\)", note
    )
    assert note.endswith("scored by what a-0 reads.")


def test_a_run_on_other_pictures_with_the_same_truth_is_said(many, copied, data, tmp_path):
    folder, other = copied
    said = cli.wsrpn("compare", many / "a-0", other, *FEW, "--out", tmp_path / "c", "--json")
    note = f"other was trained on {folder} and answers for its pictures; scored on {data}."
    assert note in json.loads(said.stdout)["warnings"]
    assert f"note: {note}" in said.stderr
    plain = document(many / "a-0", many / "b", *FEW, "--out", tmp_path / "c")["warnings"]
    assert not any("was trained on" in text for text in plain)


def test_other_images_of_other_data_are_refused_by_the_names_of_the_data(
    many, copied, data, tmp_path
):
    folder, other = copied
    lines = (
        (other / "splits.csv").read_text().replace(",train", ",spare").replace(",test", ",train")
    )
    (other / "splits.csv").write_text(lines.replace(",spare", ",test"))
    found = cli.wsrpn("compare", many / "a-0", other, *FEW, "--out", tmp_path / "c")
    assert found.exit_code == 2
    assert f"a-0 and other were trained on {data} and {folder}, which have" in found.stderr
    assert "different test images" in found.stderr
    assert "in common" not in found.stderr


def test_images_of_the_training_are_said_in_a_comparison(many, tmp_path):
    words = (many / "a-0", many / "b", *FEW, "--out", tmp_path / "c")
    told = document(*words, "--split", "train")["warnings"]
    assert sum("were trained on" in text for text in told) == 1
    assert not any("were trained on" in text for text in document(*words)["warnings"])


def test_figures_that_the_picture_has_no_room_for_are_named(many, made, tmp_path):
    methods, dataset = made
    found = compare(methods, dataset, figures=("all",), bootstrap=0)
    (sentence,) = paper.left_out(found)
    known = [f for f in found.figures if any(m.figures[f].value is not None for m in found.methods)]
    gone = known[paper.MOST :]
    assert gone
    assert sentence.endswith(f": {', '.join(gone)}.")
    assert "--metric" in sentence
    drawing = paper.forest(found)
    assert len(drawing.axes) == 2 * paper.MOST
    written = " ".join(" ".join(t.get_text().split()) for t in drawing.texts)
    assert sentence in written
    lowest = min(axes.get_position().y0 for axes in drawing.axes) * drawing.get_size_inches()[1]
    footer = [t for t in drawing.texts if "--metric" in t.get_text()][0]
    lines = footer.get_text().count("\n") + 1
    assert lowest > 0.3 + 0.13 * lines  # inches; tick labels lie between
    assert paper.left_out(compare(methods, dataset, figures=("auroc",), bootstrap=0)) == []
    words = (many / "a-0", many / "b", "--bootstrap", 0, "--metric", "all", "--out", tmp_path / "c")
    assert any(
        "--metric" in text and "compare.csv" in text for text in document(*words)["warnings"]
    )
    assert "--metric" in (tmp_path / "c" / "compare.md").read_text()


def test_axes_of_one_value_have_one_tick(made):
    methods, dataset = made
    twin = {"a": methods["good"], "b": methods["good"]}
    drawing = paper.forest(compare(twin, dataset, figures=("auroc",), bootstrap=0))
    assert [t.get_text() for t in drawing.axes[1].get_xticklabels()] == ["0"]
    one = {"a": methods["one"], "b": [dataclasses.replace(methods["one"][0], name="again")]}
    drawing = paper.forest(compare(one, dataset, figures=("auroc",), bootstrap=0))
    (label,) = drawing.axes[0].get_xticklabels()
    value = evaluate.evaluate(methods["one"][0].predictions, dataset, bootstrap=0).metrics["auroc"]
    assert float(label.get_text()) == pytest.approx(value.value, abs=1e-3)


def test_figures_of_many_methods_stand_in_two_columns_that_do_not_meet(made):
    methods, dataset = made
    entry = methods["one"][0]
    many = {
        f"a method with a name {n}": [dataclasses.replace(entry, name=str(n))] for n in range(9)
    }
    figures = ("auroc", "ap@0.1", "ap@0.3", "ap@0.5", "rodeo")
    found = compare(many, dataset, figures=figures, bootstrap=0)
    drawing = paper.forest(found)
    boxes = [axes.get_position() for axes in drawing.axes]
    assert len(boxes) == 2 * len(figures)
    assert len({round(box.x0, 3) for box in boxes}) == 4
    for i, one in enumerate(boxes):
        assert 0 < one.x0 < one.x1 < 1
        assert 0 < one.y0 < one.y1 < 1
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])
    few = paper.forest(dataclasses.replace(found, methods=found.methods[:8]))
    assert len({round(axes.get_position().x0, 3) for axes in few.axes}) == 2


def test_an_overview_has_a_row_per_method_and_marks_what_is_told_from_the_baseline(made):
    methods, dataset = made
    found = compare(methods, dataset, figures=("auroc", "ap@0.3", "retrieval@1"), bootstrap=40)
    head, _, *rows = paper.overview(found)
    assert head == "| | auroc | ap@0.3 |", "what nobody has is left out"
    assert [row.split(" | ")[0] for row in rows] == ["| good", "| poor", "| one"]
    value = found.methods[1].figures["auroc"].value
    assert f"**{value:.3f}**" in rows[1]
    for row, method in zip(rows, found.methods, strict=True):
        gap = found.difference(method.name)
        marked = sum(gap.clear(name) for name in ("auroc", "ap@0.3")) if gap else 0
        assert row.count("**") == 2 * marked


def test_a_requirement_that_names_no_figure_does_not_cost_the_report(many, tmp_path):
    words = ("compare", many / "a-0", many / "b", *FEW, "--out", tmp_path / "c", "--json")
    wrong = cli.wsrpn(*words, "--require", "foo>=1")
    assert (wrong.exit_code, "no figure is called 'foo'" in wrong.stderr) == (2, True)
    assert json.loads((tmp_path / "c" / "compare.json").read_text()) == json.loads(wrong.stdout)


NAMES = {
    ("wsrpn-0", "wsrpn-1"): "wsrpn", ("wsrpn-10", "wsrpn-11"): "wsrpn",
    ("cams-0", "cams-1"): "cams", ("vl/seed0", "vl/seed1"): "vl", ("a_seed=1", "a_seed=2"): "a",
    ("v1.2-s1", "v1.2-s2"): "v1.2",
    ("cam-0",): "cam-0", ("b/0", "b/1"): "b", ("x", "y"): "",
}  # fmt: skip


@pytest.mark.parametrize("names", NAMES)
def test_a_method_is_called_what_its_runs_have_in_common(names):
    assert grouping.stem(names) == NAMES[names]


def test_runs_are_called_by_as_much_of_their_path_as_tells_them_apart(tmp_path):
    assert grouping.short([tmp_path / "a", tmp_path / "b.json"]) == ["a", "b.json"]
    assert grouping.short([tmp_path / "x/0", tmp_path / "y/0"]) == ["x/0", "y/0"]


MISTAKES = {
    "one run": (("{m}/a-0",), "compare: one method only (a-0, 1 run); name more runs."),
    "seeds only": (("{m}/a-0", "{m}/a-1"), "one method only (a, 2 runs); name more runs, or --sep"),
    "twice": (("{m}/a-0", "{m}/a-0"), "a-0: stands twice among the runs."),
    "twice, named": (("x={m}/a-0", "y={m}/a-0"), "a-0: stands twice among the runs."),
    "missing": (("{m}/a-0", "{m}/none"), "none: no such run folder or predictions file."),
    "no match": (("x={m}/z-*", "{m}/b"), "z-*: no such run or predictions file."),
    "nothing": (("x=", "{m}/b"), "nothing: no such run or predictions file."),
    "bad name": (("a/b={m}/b", "{m}/a-0"), "'a/b' is no name of a method"),
    "no run": (("{m}", "{m}/b"), "not a run folder"),
    "metric": (("{m}/a-0", "{m}/b", "--metric", "ap"), "no figure is called 'ap'."),
    "no metric": (("{m}/a-0", "{m}/b", "--metric", ""), "--metric '': no figure is named"),
    "baseline": (("{m}/a-0", "{m}/b", "--baseline", "c"), "no method is called 'c'."),
    "over": (("{m}/a-0", "{m}/b", "--over", "seeds"), "--over seeds: no such choice."),
    "images": (("{m}/a-0", "{m}/b", "--images", "some"), "--images some: no such choice."),
    "require": (("{m}/a-0", "{m}/b", "--require", "auroc"), "write it as NAME>=NUMBER"),
    "map": (("{m}/a-0", "{m}/b", "--map", "a=b"), "--map is for other data"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(many, tmp_path, mistake):
    words, sentence = MISTAKES[mistake]
    out = ("--out", tmp_path / "c", "--bootstrap", 0)
    found = cli.wsrpn("compare", *(word.format(m=many) for word in words), *out)
    assert found.exit_code == 2, found.stderr
    assert sentence in found.stderr
    assert found.stderr.count("\n") == 1 or mistake in {"metric", "baseline"}
    assert not (tmp_path / "c").exists()


def test_the_same_config_and_seed_twice_is_no_second_seed(many, tmp_path):
    shutil.copytree(many / "a-0", tmp_path / "copy")
    words = ("compare", many / "a-0", tmp_path / "copy", many / "b", "--out", tmp_path / "c")
    found = cli.wsrpn(*words, *FEW)
    assert (found.exit_code, "same config and seed twice" in found.stderr) == (2, True)


# --- other data with other names


@pytest.fixture
def elsewhere(tmp_path):
    """Data of the same kind whose classes have other names: Left, and two kinds of right."""
    folder = make.manifest(tmp_path / "elsewhere", 24, size=(48, 48))
    for name in ("images.csv", "boxes.csv"):
        lines = (folder / name).read_text().splitlines()
        swapped = [
            line.replace("left", "Left").replace("right", ("R upper", "R lower")[i % 2])
            for i, line in enumerate(lines)
        ]
        (folder / name).write_text("\n".join(swapped) + "\n")
    return folder


def test_a_run_is_evaluated_on_data_that_name_their_classes_otherwise(trained, elsewhere, tmp_path):
    words = ("eval", trained, "--data", elsewhere, "--split", "all", "--bootstrap", 0, "--json")
    plain = json.loads(cli.wsrpn(*words, "--out", tmp_path / "a").stdout)
    assert plain["warnings"][:3] == [
        "classes of the data read, because the names mean the same: Left as left.",
        "classes not in these data, so unknown: right.",
        "classes not the model's, dropped: R lower, R upper.",
    ]
    assert plain["per_class"]["right"]["auroc"]["value"] is None
    told = ("--map", "right=R upper", "--map", "right=R lower")
    result = cli.wsrpn(*words, *told, "--out", tmp_path / "b")
    joined = json.loads(result.stdout)
    assert (
        joined["warnings"][0] == "classes of the data read, as asked: R upper | R lower as right."
    )
    assert joined["per_class"]["right"]["auroc"]["value"] is not None
    assert result.stderr.count("as asked") == 1
    assert joined["provenance"]["boxes"] == 16


def test_predictions_of_anyone_meet_data_with_other_names(trained, elsewhere, tmp_path):
    boxes = tmp_path / "boxes.csv"
    words = ("--data", elsewhere, "--split", "all")
    assert cli.wsrpn("predict", trained, *words, "--out", boxes).exit_code == 0
    told = ("eval", boxes, *words, "--bootstrap", 0, "--json", "--map", "right=R upper|R lower")
    found = json.loads(cli.wsrpn(*told, "--out", tmp_path / "e").stdout)
    assert set(found["per_class"]) == {"left", "right"}
    assert found["provenance"]["boxes"] == 16
    assert any("R upper | R lower as right" in text for text in found["warnings"])


def test_a_mapping_that_does_not_fit_is_one_sentence(trained, elsewhere, tmp_path):
    for text, sentence in {
        "right": "write it as MODEL CLASS=DATA CLASS",
        "rigt=R upper": "Did you mean 'right'",
        "right=R uper": "Did you mean 'R upper'",
    }.items():
        words = ("eval", trained, "--data", elsewhere, "--map", text, "--out", tmp_path / "e")
        found = cli.wsrpn(*words)
        assert (found.exit_code, sentence in found.stderr) == (2, True), found.stderr
    own = cli.wsrpn("eval", trained, "--map", "right=left")
    assert (own.exit_code, "--map is for other data" in own.stderr) == (2, True)
