"""The trials of a search in their database, without training: draws, owners, what counts."""

import math
import socket
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from wsrpn.config import parse
from wsrpn.errors import InputError
from wsrpn.report.trials import Span
from wsrpn.study import database, plan, ranges, search, trials
from wsrpn.study.plan import Range, Search
from wsrpn.study.sampler import Sampler

RANGES = {
    "train.lr": Range(low=1e-5, high=1e-1, log=True),
    "train.batch": Range(low=2.0, high=9.0, integer=True),
    "model.width": Range(choices=(16, 32, 64)),
}
GRID = {"a": Range(choices=(0.05, 0.1, 0.2, 0.5)), "b": Range(choices=("x", "y", "z"))}
FACTS = {
    "config": {}, "ranges": {}, "figure": "auroc", "seeds": [0], "data": {"data set": "d"},
}  # fmt: skip


def joined(out, study, url="", **facts):
    out.mkdir(exist_ok=True)
    return trials.joined(study, out, url, name="one", facts={**FACTS, **facts}, new=True)


def value(drawn):
    """A figure that is best at a rate of 0.001 and a width of 32."""
    return -abs(math.log10(drawn["train.lr"]) + 3) - abs(drawn["model.width"] - 32)


def drawn(out, study, total, *, reopened=False, worth=value):
    """What is drawn in a search; the database may be left and joined again before each trial."""
    found = []
    while len(found) < total:
        with joined(out, study) as given:
            while (claim := given.next(total)) is not None:
                with claim:
                    found.append(ranges.draw(claim.trial, study))
                    claim.finish("complete", worth(found[-1]))
                if reopened:
                    break
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_is_left_after_every_trial_draws_what_the_unbroken_one_does(
    tmp_path, sampler
):
    study = Search(base="cam", ranges=RANGES, sampler=sampler)
    total = {"tpe": 12, "random": 4}[sampler]  # TPE begins with ten at random
    unbroken = drawn(tmp_path / "a", study, total)
    assert drawn(tmp_path / "b", study, total, reopened=True) == unbroken
    other = in_memory(replace(study, seed=1), 4)
    assert not [one for one in other if one in unbroken], "another seed is another search"
    assert len({one["train.lr"] for one in unbroken}) == total
    assert all(1e-5 <= one["train.lr"] <= 0.1 for one in unbroken)
    assert {one["train.batch"] for one in unbroken} <= set(range(2, 10))


def in_memory(study, total, worth=value):
    """The same draws without a file."""
    with trials.quiet():
        made = optuna.create_study(direction="maximize", sampler=Sampler(study))
    found = []
    for _ in range(total):
        trial = made.ask()
        found.append(ranges.draw(trial, study))
        made.tell(trial, worth(found[-1]))
    return found


def test_tpe_comes_nearer_than_chance():
    study = Search(base="cam", ranges=RANGES, sampler="tpe")
    worth = {}
    for name in ("tpe", "random"):
        found = in_memory(replace(study, sampler=name), 60)
        worth[name] = sum(map(value, found[20:])) / 40
    assert worth["tpe"] > worth["random"] / 2, "both below 0, which is best"


def test_random_draws_from_choices_repeat_nothing_before_all_were_there():
    study = Search(base="cam", ranges=GRID, sampler="random")
    found = in_memory(study, 15, worth=lambda one: 0.0)
    counts = Counter(tuple(one.values()) for one in found)
    assert len(counts) == 12
    assert sorted(counts.values()) == [1] * 9 + [2] * 3
    assert [tuple(one.values()) for one in found[:12]] != sorted(counts), "not in order"


def test_choices_may_have_parts_and_come_back_as_they_were(tmp_path):
    choices = ({"image_bce": 1}, {"image_bce": 2, "x": [1]}, None, True, "1", 2.5)
    study = Search(base="cam", ranges={"k": Range(choices=choices)}, sampler="random")
    found = drawn(tmp_path / "out", study, 6, worth=lambda one: 0.0)
    assert sorted(map(repr, (one["k"] for one in found))) == sorted(map(repr, choices))
    with joined(tmp_path / "out", study) as given:
        assert [row.chosen for row in given.rows()] == found


def test_a_path_of_any_letters_is_a_place_for_the_database(tmp_path):
    out = tmp_path / "a b{c}?d#e%20f&g=h;ü"
    study = Search(base="cam", ranges=GRID)
    drawn(out, study, 1, worth=lambda one: 0.0)
    assert (out / "study.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_trial_left_behind_is_taken_up_at_once_with_its_values(tmp_path):
    study = Search(base="cam", ranges=RANGES)
    with joined(tmp_path / "out", study) as given:
        claim = given.next(2)
        values = ranges.draw(claim.trial, study)
        claim.note(epochs={"0": 3})
        with joined(tmp_path / "out", study) as other:  # a second process, while the first is alive
            second = other.next(2)
            assert second.number == 1
            assert other.next(2) is None, "two are begun"
            claim._lock.release()  # what the system does when a process dies
            again = other.next(2)
            assert (again.number, ranges.draw(again.trial, study)) == (0, values)
            assert again.notes["epochs"] == {"0": 3}
            with again:
                again.finish("complete", 1.0)
            assert [row.state for row in other.rows()] == ["complete", "running"]


def test_a_trial_that_always_dies_is_given_up(tmp_path):
    study = Search(base="cam", ranges=RANGES)
    with joined(tmp_path / "out", study) as given:
        for _ in range(1 + database.ATTEMPTS):
            claim = given.next(1)
            assert claim.number == 0
            claim._lock.release()
        assert given.next(1) is None
        (row,) = given.rows()
        assert row.state == "failed"
        assert row.reason == "its process was killed 4 times before a validation"


@pytest.fixture
def hasty(monkeypatch):
    """Silence of a second is long."""
    monkeypatch.setattr(database, "GRACE", 1)
    monkeypatch.setattr(trials, "GRACE", 1)


def test_another_machine_takes_over_a_silent_trial_and_the_sleeper_is_not_heard(tmp_path, hasty):
    url = database.sqlite(str(tmp_path / "both.db"))
    study = Search(base="cam", ranges=RANGES)
    with (
        joined(tmp_path / "here", study, url) as here,
        joined(tmp_path / "there", study, url) as there,
    ):
        asleep = here.next(1)
        with asleep:
            values = ranges.draw(asleep.trial, study)
            asleep.note(values={"0": 0.5})
            assert there.next(1) is None, "it is alive"
            time.sleep(2.1)  # the database counts in seconds
            taken = there.next(1)
            assert (taken.number, ranges.draw(taken.trial, study)) == (0, values)
            assert taken.notes["values"] == {"0": 0.5}
            with pytest.raises(trials.FinishedElsewhere):
                asleep.note(epochs={"0": 1})
            asleep.finish("complete", 0.0)
        with taken:
            taken.finish("complete", 1.0)
        assert [(row.number, row.state, row.value) for row in here.rows()] == [(0, "complete", 1.0)]
        assert here.next(1) is None
        assert here.next(2).number == 2, "the number of the sleeper's second life is used up"


def test_a_trial_killed_before_it_said_whose_it_is_is_none(tmp_path, hasty):
    url = database.sqlite(str(tmp_path / "both.db"))
    study = Search(base="cam", ranges=RANGES)
    with joined(tmp_path / "here", study, url) as given:
        with trials.quiet():
            given.study.ask()
        assert given.next(1) is None
        time.sleep(1.1)
        assert given.next(1).number == 1
        assert [row.number for row in given.rows()] == [1]
    own = tmp_path / "own"
    with joined(own, study) as given:
        with trials.quiet():
            given.study.ask()
        assert given.next(1).number == 0, "nobody else asks in a folder's own database"


def test_two_machines_that_ask_at_once_begin_no_trial_too_many(tmp_path, monkeypatch):
    url = database.sqlite(str(tmp_path / "both.db"))
    study = Search(base="cam", ranges=RANGES)
    with (
        joined(tmp_path / "here", study, url) as here,
        joined(tmp_path / "there", study, url) as there,
    ):
        ask = type(here.study).ask
        first = []

        def late(self):
            if not first:
                first.append(None)
                first[0] = there.next(1)
            return ask(self)

        monkeypatch.setattr(type(here.study), "ask", late)
        assert here.next(1) is None
        assert [row.number for row in here.rows()] == [first[0].number]


def test_a_folder_is_a_place_and_its_copy_another_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    places = [trials._place(tmp_path / name) for name in "ab"]
    assert places[0] != places[1]
    assert places[0].startswith(socket.gethostname())
    before = places[0]
    (tmp_path / "a").rename(tmp_path / "c")
    assert trials._place(tmp_path / "c") == before


def test_the_median_stops_a_trial_after_the_warm_up_only(tmp_path):
    study = Search(base="cam", ranges=GRID, warmup=2)

    def stops(given, worth):
        with given.next(9) as claim:
            for epoch in range(1, 6):
                claim.trial.report(worth, epoch)
                if claim.trial.should_prune():
                    claim.finish("pruned")
                    return epoch
            claim.finish("complete", worth)
            return None

    with joined(tmp_path / "out", study) as given:
        found = [stops(given, worth) for worth in (0.9, 0.5, 0.4, 0.95)]
        assert found == [None, None, 3, None], "two trials, and two epochs of each, go on"
        assert [(row.state, row.value) for row in given.rows()][1:3] == [
            ("complete", 0.5), ("pruned", 0.4),
        ]  # fmt: skip
    with joined(tmp_path / "none", replace(study, pruner="none")) as given:
        assert [stops(given, worth) for worth in (0.9, 0.5, 0.4)] == [None] * 3


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "--storage: not the URL of a database; write it as sqlite:///FILE or"),
        ("postgresql://me:geheim@h:port/db", "--storage: not the URL of a database"),
        ("sqlite://", "--storage: a file is missing"),
        ("sqlite:////no/such/folder/x.db", "/no/such/folder/x.db: cannot be used as a database: "),
        ("redis://me:geheim@host/0", "redis://host/0: cannot be used as a database: "),
        ("mysql+mysqlconnector://me:geheim@localhost:1/db", "mysql"),
        ("postgresql://me:geheim@localhost:1/db?password=geheim", "postgresql://localhost/db: "),
    ],
)
def test_no_sentence_about_a_database_holds_its_password(url, words, monkeypatch):
    monkeypatch.setattr(database, "_PAUSE", 0.0)
    with pytest.raises(InputError) as refused:
        database.Database(url)
    assert str(refused.value).startswith(words)
    assert "geheim" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_what_a_driver_says_loses_its_secrets(tmp_path):
    opened = database.Database(database.sqlite(str(tmp_path / "a.db")))
    opened._url = "postgresql://me:ge%40heim@host/db?sslkey=schloss"
    told = opened.told(OSError("login ge@heim with schloss failed"))
    assert told == "login *** with *** failed"
    opened.close()


def test_a_database_that_fails_on_the_way_is_told_in_one_sentence(tmp_path):
    study = Search(base="cam", ranges=RANGES)

    def fail():
        with joined(tmp_path / "out", study) as given:
            with given.storage.engine.begin() as wire:
                wire.exec_driver_sql("drop table trials")
            given.next(1)

    with pytest.raises(RuntimeError, match=r"study\.db: no such table: .*same command goes on"):
        fail()


def test_a_study_in_which_nothing_was_tried_may_become_another(tmp_path):
    out = tmp_path / "out"
    with joined(out, Search(base="cam", ranges=GRID)) as given:
        claim = given.next(1)
        ranges.draw(claim.trial, Search(base="cam", ranges=GRID))
        with claim:
            claim.void()
        assert given.rows() == ()
    with joined(out, Search(base="cam", ranges=RANGES, figure="loss"), figure="loss") as given:
        with given.next(1) as claim:
            assert claim.number == 0
            claim.finish("complete", 0.5)
        assert given.study.direction.name == "MINIMIZE"
    again = joined(out, Search(base="cam", ranges=GRID))
    with pytest.raises(InputError, match=r"figure was .*loss.* when this search began"), again:
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranges": {"a": {"choices": [1, 3]}}}, r"ranges\.a was .*\[1, 2\].* \[1, 3\].* now"),
        ({"ranges": {}}, r"ranges\.a was .*, absent now"),
        ({"seeds": [0, 1]}, r"seeds was \[0\] .*, \[0, 1\] now"),
        ({"config": {"train": {"lr": 0.5}}}, r"train\.lr was 0\.1 .*, 0\.5 now; take it back, or"),
        ({"data": {"data set": "e"}}, "the data set is not the one that this search began with"),
    ],
)
def test_a_changed_study_is_refused_by_what_changed(change, words):
    begun = {**FACTS, "ranges": {"a": {"choices": [1, 2]}}, "config": {"train": {"lr": 0.1}}}
    with pytest.raises(InputError, match=words):
        search.refuse_changed(Path("out"), begun, {**begun, **change})
    search.refuse_changed(Path("out"), begun, begun)
    moved = {"config": {"train": {"lr": 0.1, "workers": 3}, "data": {"source": "elsewhere"}}}
    search.refuse_changed(Path("out"), begun, {**begun, **moved})
    made = {"config": {"train": {"lr": 0.1}, "data": {"source": "phantom:cxr"}}}
    with pytest.raises(InputError, match=r"data\.source"):
        search.refuse_changed(Path("out"), begun, {**begun, **made})


def test_the_scale_of_a_range_is_what_it_says():
    found = ranges.scales(Search(base="cam", ranges=RANGES))
    assert found == {
        "train.lr": Span(1e-5, 0.1, log=True),
        "train.batch": Span(2.0, 9.0),
        "model.width": (16, 32, 64),
    }


def test_the_shipped_search_has_the_ranges_of_its_source():
    study = plan.load("gaussian-search", Search)
    weights = {key.removeprefix("phases.2.weights."): r.choices for key, r in study.ranges.items()}
    assert weights == {
        "concentration": (0.05, 0.1, 0.2, 0.5), "sparsity": (0.05, 0.1, 0.2, 0.5),
        "box_alignment": (0.1, 0.2, 0.5), "negative_suppression": (0.1, 0.2, 0.5),
    }  # fmt: skip
    search.check(study)  # every choice passes
    told = "\n".join(search.lines(study))
    assert "trials: 50 of 144 combinations, tpe" in told
    assert search.WATCHED in told
    assert (study.figure, study.best) == ("ap@0.3", 3)
    plain = parse(search.facts(study, None)["config"])
    assert plain.phases[2].weights["detection"] == 1.0, "the weight of detection stays"


def test_nothing_of_optuna_warns_or_speaks(tmp_path, capfd):
    study = Search(base="cam", ranges=RANGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(tmp_path / "out", study, 2)
    assert capfd.readouterr() == ("", "")
