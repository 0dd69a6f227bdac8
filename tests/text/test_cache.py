"""The cache of embedded texts: each text once, nothing damaged, nothing of the texts themselves."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.text.worlds import Counting
from wsrpn import files
from wsrpn.config import TextConfig
from wsrpn.text import cache as caches
from wsrpn.text.cache import open_cache

TEXTS = ["no effusion", "small mass", "no effusion", "heart", "small mass", "x" * 30]


def opened(tmp_path, encoder=None, **settings):
    encoder = encoder or Counting()
    return open_cache(encoder, TextConfig(cache=str(tmp_path), **settings)), encoder


def shards(tmp_path):
    return sorted(tmp_path.glob("*/*.safetensors"))


def test_every_distinct_text_is_embedded_once_and_a_second_look_asks_no_one(tmp_path):
    cache, encoder = opened(tmp_path)
    first = cache.embed(TEXTS)
    assert sorted(encoder.seen) == sorted(set(TEXTS))
    assert_array_equal(first.vectors, Counting().encode(TEXTS).vectors)
    assert first.truncated.tolist() == [False] * 5 + [True]
    again, other = opened(tmp_path)
    found = again.embed(TEXTS[::-1])
    assert other.calls == []
    assert_array_equal(found.vectors, first.vectors[::-1])
    assert_array_equal(found.truncated, first.truncated[::-1])


def test_only_new_texts_are_asked_for(tmp_path):
    opened(tmp_path)[0].embed(TEXTS)
    cache, encoder = opened(tmp_path)
    cache.embed([*TEXTS, "new", "newer", "new"])
    assert encoder.seen == ["new", "newer"]
    assert cache.embed([]).vectors.shape == (0, 3)


@given(st.lists(st.lists(st.text(min_size=1, max_size=4)), max_size=4))
def test_any_texts_in_any_portions_come_back_as_the_encoder_gave_them(tmp_path_factory, portions):
    place = tmp_path_factory.mktemp("cache")
    for texts in portions:
        found = opened(place)[0].embed(texts)
        assert_array_equal(found.vectors, Counting().encode(texts).vectors)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"pooling": "cls"}),
        ({}, {"max_length": 9}),
        ({}, {"dtype": "float16"}),
        ({}, {"encoder": Counting("counting 2")}),
    ],
)
def test_what_changes_a_vector_has_a_store_of_its_own(tmp_path, one, other):
    opened(tmp_path, **one)[0].embed(TEXTS)
    cache, encoder = opened(tmp_path, **other)
    cache.embed(TEXTS)
    assert len(encoder.seen) == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_half_precision_gives_the_same_from_disk_as_at_first(tmp_path):
    first = opened(tmp_path, dtype="float16")[0].embed(TEXTS).vectors
    again = opened(tmp_path, dtype="float16")[0].embed(TEXTS).vectors
    assert first.dtype == again.dtype == np.float32
    assert_array_equal(first, again)
    assert_array_equal(first, first.astype(np.float16))


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def nonsense(path):
    path.write_bytes(b"\xff" * 100)


@pytest.mark.parametrize("damage", [flip, cut, empty, nonsense])
def test_a_damaged_file_is_noticed_said_and_made_again(tmp_path, damage):
    opened(tmp_path)[0].embed(TEXTS)
    (path,) = shards(tmp_path)
    damage(path)
    cache, encoder = opened(tmp_path)
    with pytest.warns(UserWarning, match=f"{path.name}: this file .* is damaged"):
        found = cache.embed(TEXTS)
    assert_array_equal(found.vectors, Counting().encode(TEXTS).vectors)
    assert sorted(encoder.seen) == sorted(set(TEXTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(tmp_path)[0].embed(TEXTS)
    assert len(shards(tmp_path)) == 1


def test_only_what_was_in_the_damaged_file_is_made_again(tmp_path):
    opened(tmp_path)[0].embed(["heart"])
    before = shards(tmp_path)
    opened(tmp_path)[0].embed(["heart", "mass"])
    (new,) = set(shards(tmp_path)) - set(before)
    flip(new)
    cache, encoder = opened(tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        cache.embed(["heart", "mass"])
    assert encoder.seen == ["mass"]


def test_a_file_of_another_store_is_not_believed(tmp_path):
    opened(tmp_path, Counting("counting 2"))[0].embed(TEXTS)
    (theirs,) = shards(tmp_path)
    cache, encoder = opened(tmp_path)
    cache.embed(["heart"])
    theirs.rename(cache.folder / theirs.name)
    fresh, encoder = opened(tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        fresh.embed(TEXTS)
    assert set(encoder.seen) == set(TEXTS) - {"heart"}


def test_a_kill_while_writing_leaves_what_was_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "CHUNK", 2)
    cache, encoder = opened(tmp_path)
    kept = files.write

    def die(path, data):
        if path.suffix == ".safetensors" and shards(tmp_path):
            (path.parent / f"{path.name}.tmp.1").write_bytes(data[:9])
            raise KeyboardInterrupt
        return kept(path, data)

    monkeypatch.setattr(files, "write", die)
    with pytest.raises(KeyboardInterrupt):
        cache.embed(TEXTS)
    monkeypatch.setattr(files, "write", kept)
    again, encoder = opened(tmp_path)
    again.embed(TEXTS)
    assert len(encoder.seen) == 2, "the first two were there"
    assert not list(tmp_path.glob("*/*.tmp.*"))


def test_no_text_is_written(tmp_path):
    opened(tmp_path)[0].embed(["Mrs Miller has a small mass", *TEXTS])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Miller" not in content
            assert b"effusion" not in content


def test_a_folder_that_cannot_be_written_costs_a_warning_not_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    cache, _ = opened(tmp_path / "file" / "below")
    with pytest.warns(UserWarning, match=r"cannot be kept there .* set text.cache"):
        found = cache.embed(TEXTS)
    assert_array_equal(found.vectors, Counting().encode(TEXTS).vectors)


def test_it_lies_where_it_was_told_to(tmp_path, monkeypatch):
    def place(**settings):
        return open_cache(Counting(), TextConfig(**settings)).folder.parent

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("WSRPN_CACHE", raising=False)
    assert place() == tmp_path / "xdg" / "wsrpn" / "text"
    monkeypatch.setenv("WSRPN_CACHE", str(tmp_path / "own"))
    assert place() == tmp_path / "own" / "text"
    assert place(cache=str(tmp_path / "told")) == tmp_path / "told"


WORKER = """
import sys, time
import numpy as np
from wsrpn.config import TextConfig
from wsrpn.text.cache import open_cache
from wsrpn.text.encoders import Embedded

class Slow:
    name, stand_in, width, fingerprint = "slow", "", 2, "slow"
    def encode(self, texts):
        print(*texts, flush=True)
        time.sleep(1.0)
        return Embedded(np.ones((len(texts), 2), np.float32), np.zeros(len(texts), bool))

print(end="", flush=True)
cache = open_cache(Slow(), TextConfig(cache=sys.argv[1]))
cache.embed(["a", "b", "c"])
"""


def test_two_processes_embed_each_text_once_between_them(tmp_path):
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(2)
    ]
    told = [process.communicate(timeout=100)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(told) == [[], ["a", "b", "c"]]
