"""Splits: by patient, from hashes, near their shares, and leaks are refused."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpn.data import splits
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record


def dataset(images, split=None):
    """Records from (patient, split) pairs, or from patients."""
    pairs = [one if isinstance(one, tuple) else (one, split) for one in images]
    records = (Record(f"{n}.png", Path(f"{n}.png"), p, (1.0,), s) for n, (p, s) in enumerate(pairs))
    return Dataset("set", ("A",), tuple(records))


def assigned(images, *, val=0.2, test=0.2, seed=0):
    return splits.assign(dataset(images), val_share=val, test_share=test, seed=seed)


def of_patients(found):
    return {record.patient: record.split for record in found.records}


@given(
    sizes=st.lists(st.integers(1, 6), min_size=8, max_size=60),
    seed=st.integers(0, 99),
    val=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
def test_patients_stay_whole_and_shares_are_near(sizes, seed, val, test):
    images = [f"p{n}" for n, size in enumerate(sizes) for _ in range(size)]
    found = assigned(images, val=val, test=test, seed=seed)
    assert splits.leaks(found) == []
    counts = Counter(record.split for record in found.records)
    for split, share in (("val", val), ("test", test)):
        # Never further off than half the patient at the cut, or the one that is always given.
        assert abs(counts[split] - share * len(images)) <= max(sizes)


def test_the_order_of_the_rows_does_not_matter():
    images = [f"p{n % 20}" for n in range(50)]
    mixed = random.Random(1).sample(images, len(images))
    assert of_patients(assigned(images)) == of_patients(assigned(mixed))


def test_another_seed_gives_another_split():
    images = [f"p{n}" for n in range(40)]
    assert of_patients(assigned(images, seed=0)) != of_patients(assigned(images, seed=1))


def test_this_split_never_changes():
    # Every run of the tests has another PYTHONHASHSEED, which must not matter.
    drawn = splits.draw({f"p{n}": 1 for n in range(10)}, {"test": 0.2, "val": 0.2}, 0)
    groups = {s: sorted(p for p, found in drawn.items() if found == s) for s in ("test", "val")}
    assert groups == {"test": ["p4", "p6"], "val": ["p0", "p7"]}


def test_splits_of_the_source_are_kept():
    images = [("a", "train"), ("b", "val"), ("c", "test"), ("c", "test")]
    given_set = dataset(images)
    assert splits.assign(given_set, val_share=0.3, test_share=0.3, seed=0) == given_set


def test_images_without_a_split_join_their_patient():
    images = [("a", "train"), ("a", None), ("b", "test"), ("b", None), ("c", "val"), ("d", None)]
    found = splits.assign(dataset(images), val_share=0.1, test_share=0.1, seed=0)
    assert [r.split for r in found.records[:5]] == ["train", "train", "test", "test", "val"]
    assert splits.leaks(found) == []
    assert found.notes == ("3 images without a split got one by patient.",)


def test_validation_is_carved_from_training_and_testing_stays():
    images = [(f"p{n // 2}", "test" if n < 10 else "train") for n in range(50)]
    found = splits.assign(dataset(images), val_share=0.25, test_share=0.5, seed=0)
    assert [len(found.split(s)) for s in ("train", "val", "test")] == [30, 10, 10]
    assert splits.leaks(found) == []
    assert found.notes == ()  # nobody but a training wants to know
    assert found.training_notes == (
        "No validation images in the source: 10 training images were taken, by patient.",
    )


@pytest.mark.parametrize("split", ["train", None])
@pytest.mark.parametrize("images", [1, 2, 3])
def test_where_nothing_is_left_for_validation_that_is_said(images, split):
    found = splits.assign(dataset(["one"] * images, split), val_share=0.2, test_share=0.2, seed=0)
    assert len(found.split("val")) == 0
    (told,) = found.training_notes
    assert "Nothing is left for validation" in told
    assert "1 patient" in told


def test_a_set_for_testing_alone_stays_so():
    only = dataset(["a", "b"], "test")
    assert splits.assign(only, val_share=0.2, test_share=0.2, seed=0) == only


def test_no_share_means_no_images():
    found = assigned([f"p{n}" for n in range(9)], val=0.0, test=0.0)
    assert {record.split for record in found.records} == {"train"}


def test_shares_that_leave_no_training_are_refused():
    with pytest.raises(InputError, match="leave no training"):
        assigned(["a", "b"], val=0.5, test=0.5)


def test_leaks_name_patients_and_their_splits():
    images = [
        ("a", "train"),
        ("a", "test"),
        ("b", "val"),
        *((f"x{n}", s) for n in range(4) for s in ("train", "val")),
    ]
    leaking = dataset(images)
    assert splits.leaks(leaking) == ["a", "x0", "x1", "x2", "x3"]
    with pytest.raises(
        InputError, match=r"set: patients in more than one split: a \(test, train\), .* and 2 more"
    ):
        splits.refuse_leaks(leaking)
    splits.refuse_leaks(dataset([("a", "train"), ("b", "test")]))


def test_written_splits_come_back_whatever_the_order(tmp_path):
    found = assigned([f"p{n % 7}" for n in range(20)])
    first = splits.write(found, tmp_path / "split.csv")
    turned = Dataset("set", ("A",), found.records[::-1])
    assert splits.write(turned, tmp_path / "again.csv") == first
    assert splits.read(tmp_path / "split.csv") == {r.id: r.split for r in found.records}


def test_a_faulty_split_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "split.csv"
    for text, sentence in {
        "image,patient,split\na,p,trial\n": "split.csv:2: split 'trial' is unknown",
        "image,patient,split\na,p,val\na,p,val\n": "split.csv:3: image 'a' stands twice",
        "image,split\na,val\n": "no column 'patient'",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            splits.read(path)


def test_a_set_that_has_grown_keeps_the_splits_of_before():
    before = assigned([f"p{n}" for n in range(12)])
    kept = {record.id: record.split for record in before.records}
    grown = assigned([*(f"p{n}" for n in range(12)), *("p3", "p5"), *(f"q{n}" for n in range(40))])
    assert {r.id: r.split for r in grown.records[:12]} != kept  # the shares moved some patients
    found = splits.restore(grown, kept)
    assert {r.id: r.split for r in found.records[:12]} == kept
    assert splits.leaks(found) == []
    assert found.records[14:] == grown.records[14:]
