"""Study files: rows and their names, what is refused, and the studies that the package brings."""

from pathlib import Path

import pytest
import yaml

from wsrpn import compare
from wsrpn import config as configs
from wsrpn.errors import InputError
from wsrpn.study import ablate, outline, plan
from wsrpn.study.plan import Ablation, Search, arms, slugs
from wsrpn.train.run import complete

HERE = Path()
TWO = {"baseline": {}, "other": {"train.lr": 0.1}}


def file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_grid_has_every_combination_and_names_those_levels_that_change_something():
    axes = {
        "head": {"tied": {}, "free": {"model.gaussian_head": "free"}},
        "cells": {"14": {}, "7": {"model.grid": 7}},
    }
    rows = arms(Ablation(base="wsrpn", grid=axes))
    assert list(rows) == ["tied + 14", "7", "free", "free + 7"]
    assert rows["free + 7"] == ({"model.gaussian_head": "free"}, {"model.grid": 7})


def test_arms_are_crossed_with_the_grid_and_keep_their_names():
    rows = arms(Ablation(base="wsrpn", arms=TWO, grid={"cells": {"14": {}, "7": {"a": 7}}}))
    assert list(rows) == ["baseline", "baseline + 7", "other", "other + 7"]


def test_an_arm_without_changes_may_be_left_empty(tmp_path):
    path = file(tmp_path, "base: wsrpn-demo\narms:\n  baseline:\n  other: {train.lr: 0.1}\n")
    assert plan.load(path, Ablation).arms == TWO


def test_every_arm_has_a_folder_of_its_own_that_stays_when_others_come():
    names = ["full", "Full", "full!", "β 0.5", "γ 0.5", "++", "--", "a" * 99, "a" * 98, "0.5"]
    found = slugs(names)
    assert list(found) == names
    assert len({slug.lower() for slug in found.values()}) == len(names)
    assert found["full"] == "full"
    assert found["0.5"] == "0.5", "after β 0.5 was given another"
    for slug in found.values():
        assert slug == Path(slug).name
        assert slug.isascii()
        assert not slug.startswith(".")
    assert slugs([*names, "more", "β0.5"]) | found == slugs([*names, "more", "β0.5"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: wsrpn-demo\narmz: {}", "unknown key 'armz'. Did you mean 'arms'?"),
        ("arms: {a: {}, b: {}}", "base: is missing"),
        ("base: wsrpn\narms: {a: {}, b: {}, a: {x: 1}}", "line 2: 'a' stands twice"),
        ("base: wsrpn-demo", "two arms or more"),
        ("base: wsrpn-demo\narms: {a: {}}", "two arms or more"),
        ("base: wsrpn-demo\narms: {a: 3, b: {}}", "arms.a: Input should be a valid dictionary"),
        ("base: wsrpn-demo\narms: {a/b: {}, b: {x: 1}}", "'a/b' is no name of an arm"),
        ("base: wsrpn-demo\narms: {' ': {}, b: {x: 1}}", "' ' is no name of an arm"),
        ("base: wsrpn-demo\narms: {a: {}, b: {}}\nbaseline: c", "baseline: no arm is called 'c'"),
        ("base: wsrpn-demo\narms: {a: {}, b: {}}\nseeds: 0", "seeds"),
        ("base: wsrpn-demo\narms: {a: {}, b: {}}\nseeds: []", "a list of different seeds"),
        ("base: wsrpn-demo\narms: {a: {}, b: {}}\nseeds: [1, 1]", "a list of different seeds"),
        ("base: wsrpn-demo\narms: {a: {}, b: {}}\nsplit: train", "'val' or 'test'"),
        (
            "base: wsrpn-demo\ngrid: {x: {a: {}, c: {k: 1}}, y: {b: {}, c: {l: 1}}}",
            "two arms are called 'c'",
        ),
        ("- a", "a study is a mapping; begin it with a line base: wsrpn-demo"),
        ("", "the study is empty"),
        ("base: [", "not YAML"),
    ],
)
def test_what_is_no_study_is_refused_with_its_key_and_a_way_out(tmp_path, text, words):
    path = file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        plan.load(path, Ablation)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_study_says_which_there_are(tmp_path):
    with pytest.raises(
        InputError, match=r"No shipped study is called 'gausian'. Did you mean 'gau"
    ):
        plan.load("gausian", Ablation)
    with pytest.raises(
        InputError, match=r"no such study file; a shipped study is named .*fusion-w"
    ):
        plan.load(tmp_path / "none.yaml", Ablation)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"train.epoch": 3}, "arm 'other': .*Did you mean 'epochs'"),
        ({"phases.4.until": 3}, "arm 'other': .*'4' is no place in a list of 1"),
        ({"model.widht": 3}, "arm 'other': .*Did you mean 'width'"),
        ({"phases.0.weights.tverski": 1.0}, "arm 'other': No loss is called 'tverski'"),
        ({"train.seed": 3}, "arm 'other': train.seed: seeds of a study stand under `seeds`"),
        ({"train": {"seed": 3}}, "arm 'other': train.seed"),
        ({"data.source": "x.csv"}, "arm 'other': data.source: data of a study stand under `data`"),
        ({"train.lr": 2e-3}, "arms 'baseline' and 'other' have the same config"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_with_the_name_of_its_arm(tmp_path, over, words):
    study = Ablation(base="wsrpn-demo", arms={"baseline": {}, "other": over})
    with pytest.raises(InputError, match=words):
        ablate.trainings(study, tmp_path, where=HERE)


def test_trainings_come_seed_by_seed_each_with_its_changes(tmp_path):
    study = Ablation(
        base="wsrpn-demo",
        data="images.csv",
        set={"train": {"epochs": 2}},
        arms={"one": {}, "two": {"phases.0.weights.concentration": 0.5, "train.epochs": 3}},
        seeds=(7, 1),
    )
    made = ablate.trainings(study, tmp_path, where=HERE)
    assert [t.name for t in made] == ["one seed 7", "two seed 7", "one seed 1", "two seed 1"]
    assert [t.config.train.seed for t in made] == [7, 7, 1, 1]
    assert [t.config.train.epochs for t in made] == [2, 3, 2, 3]
    assert made[1].config.phases[0].weights == {"detection": 1.0, "concentration": 0.5}
    assert {t.config.data.source for t in made} == {"images.csv"}
    assert made[1].folder == tmp_path / "two" / "seed-7"


def test_boxes_are_watched_where_there_are_regions_unless_the_study_says_otherwise(tmp_path):
    study = Ablation(
        base="wsrpn-demo", arms={**TWO, "not here": {"train.watch_boxes": False}}, seeds=1
    )
    watched = [t.config.train.watch_boxes for t in ablate.trainings(study, tmp_path, where=HERE)]
    assert watched == [True, True, False]
    study = Ablation(base="cam", arms=TWO, seeds=1)
    made = ablate.trainings(study, tmp_path, where=HERE)
    assert not any(t.config.train.watch_boxes for t in made)


def test_the_command_line_changes_what_all_arms_share_but_not_the_arms():
    study = Ablation(base="wsrpn", set={"train.epochs": 9, "a": 1}, arms=TWO, seeds=(4, 5, 6))
    found = plan.revised(study, data="x", changes=["train.epochs=2", "train.lr=3"], count=2)
    assert found.set == {"a": 1, "train.epochs": 2, "train.lr": 3}
    assert found.arms == TWO
    assert (found.data, found.seeds) == ("x", (4, 5))
    assert plan.revised(study) == study
    with pytest.raises(InputError, match="--seeds 4: the study names 3 of them"):
        plan.revised(study, count=4)


def test_a_study_that_was_written_is_read_back_to_an_equal_one(tmp_path):
    study = Ablation(
        base="wsrpn-demo", title="Größe", set={"model": {"beta": 4.0}}, arms=TWO, seeds=(1, 2),
        grid={"x": {"a": {}, "b": {"train.epochs": 2}}}, figures=("auroc",), split="val",
    )  # fmt: skip
    assert plan.load(file(tmp_path, plan.dump(study)), Ablation) == study


def test_what_decides_the_data_is_in_the_key_that_says_which_arms_share_them():
    """A new key of the data section must be put on one of the two sides."""
    fields = set(configs.DataConfig.__dataclass_fields__)
    assert fields - set(ablate.READING) == {"size", "augment", "cache", "on_error"}


# --- the studies that come with the package

ABLATIONS = [name for name, text in plan.shipped().items() if "ranges" not in yaml.safe_load(text)]
SOURCE = {"gaussian", "gaussian-weights", "fusion-weights", "components"}


def test_the_studies_of_the_sources_are_there():
    assert set(ABLATIONS) >= SOURCE
    assert all(text.startswith("# ") for text in plan.shipped().values()), "where it comes from"


def test_the_study_of_the_gaussian_losses_has_the_experiments_of_its_source():
    made = ablate.trainings(plan.load("gaussian", Ablation), HERE, where=HERE)
    found = {frozenset(t.config.losses) - {"detection"} for t in made}
    both = frozenset({"concentration", "sparsity"})
    alone = [{name} for name in (*both, "box_alignment", "negative_suppression")]
    four = both | {"box_alignment", "negative_suppression"}
    assert {frozenset(), *map(frozenset, alone), both, four} <= found


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_arm_of_a_shipped_study_is_a_valid_config_that_differs_from_the_others(name):
    study = plan.load(name, Ablation)
    made = ablate.trainings(study, HERE, where=HERE)
    assert len(made) == len(arms(study)) * len(plan.seeds(study.seeds))
    for training in made:
        assert complete(training.config) == training.config
        reached = [phase.until or 0 for phase in training.config.phases[:-1]]
        assert all(end < training.config.train.epochs for end in reached)
    assert set(study.figures) <= set(compare.known())


@pytest.mark.parametrize("name", sorted(set(plan.shipped()) - set(ABLATIONS)))
def test_a_search_is_no_ablation(name):
    assert plan.load(name, Search).ranges
    with pytest.raises(InputError, match="so it is a search: wsrpn tune"):
        plan.load(name, Ablation)


def test_the_weights_of_fusion_are_the_six_rows_of_their_source():
    made = ablate.trainings(plan.load("fusion-weights", Ablation), HERE, where=HERE)
    names = ("detection", "contrastive", "consistency")
    rows = [tuple(t.config.phases[-1].weights[n] for n in names) for t in made if t.seed == 0]
    assert rows == [
        (1.0, 0.0, 0.0), (1.0, 0.5, 0.0), (1.0, 0.0, 0.5), (1.0, 0.5, 0.5), (1.0, 1.0, 1.0),
        (0.5, 0.5, 0.5),
    ]  # fmt: skip


def test_the_gaussian_weights_are_those_of_their_source_one_at_a_time():
    made = ablate.trainings(plan.load("gaussian-weights", Ablation), HERE, where=HERE)
    centre = {"concentration": 0.3, "sparsity": 0.3, "box_alignment": 0.2,
              "negative_suppression": 0.2}  # fmt: skip
    tried: dict[str, set[float]] = {name: set() for name in centre}
    for training in made:
        weights = training.config.phases[-1].weights
        changed = {n: weights[n] for n, usual in centre.items() if weights[n] != usual}
        assert len(changed) == (training.arm != "phase 3")
        for name, value in changed.items():
            tried[name].add(value)
    four, three = {0.05, 0.1, 0.2, 0.5}, {0.1, 0.2, 0.5}
    assert tried == {
        "concentration": four, "sparsity": four, "box_alignment": three - {0.2},
        "negative_suppression": three - {0.2},
    }  # fmt: skip


def test_a_bare_list_of_values_is_a_range_of_choices(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("base: wsrpn-demo\nranges: {train.lr: [0.001, 0.003]}\n")
    found = plan.load(path, Search)
    assert found.ranges == {"train.lr": plan.Range(choices=(0.001, 0.003))}


def test_changes_of_arm_and_level_below_one_key_are_shown_together():
    over = ({"losses": {"a": {"size": 1}}}, {"losses": {"a": {"spread": 2}, "b": {}}})
    assert outline.merged(over) == {"losses": {"a": {"size": 1, "spread": 2}, "b": {}}}


def test_yaml_that_merges_anchors_and_has_lists_for_keys_is_read(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "base: wsrpn-demo\nset: &a {train.epochs: 1}\n"
        "arms: {one: &b {<<: *a, train.lr: 0.1}, two: {<<: *b, train.lr: 0.2}}\n"
    )
    assert plan.load(path, Ablation).arms["two"] == {"train.epochs": 1, "train.lr": 0.2}
