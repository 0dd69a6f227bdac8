"""Which process scores which slide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpn.errors import InputError
from wsrpn.scoring.shards import Shard, shard_of, shards_of


@given(st.text(max_size=20), st.integers(1, 9))
def test_every_slide_belongs_to_exactly_one_shard(slide, count):
    having = [n for n in range(1, count + 1) if Shard(n, count).has(slide)]
    assert having == [shard_of(slide, count)]


def test_the_shard_of_a_slide_is_the_same_on_every_machine_and_in_every_version():
    assert [shard_of(f"tumor_{n:03d}", 4) for n in range(1, 7)] == [4, 1, 1, 3, 3, 2]


def test_many_slides_are_shared_out_evenly():
    names = [f"slide{n}" for n in range(4000)]
    counts = [sum(Shard(n, 4).has(name) for name in names) for n in (1, 2, 3, 4)]
    assert min(counts) > 900
    assert sum(counts) == 4000


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="for example 1/4"):
        Shard.parse(text)


def test_the_shards_of_slides_are_named_once():
    names = [f"s{n}" for n in range(30)]
    assert shards_of(names, 3) == (1, 2, 3)
    assert shards_of([], 3) == ()
