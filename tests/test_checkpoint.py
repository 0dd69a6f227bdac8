"""Checkpoints are whole or absent, and damage is noticed: every flipped bit, every lost byte."""

import errno
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from wsrpn import checkpoint, files
from wsrpn.checkpoint import Checkpoint
from wsrpn.errors import InputError


def example(step, seed=0):
    torch.manual_seed(seed + step)
    return Checkpoint(
        step,
        {
            "model/weight": torch.randn(20, 30),
            "model/half": torch.randn(7).bfloat16(),
            "model/count": torch.tensor(step),
            "optimizer/0.exp_avg": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
            "average/empty": torch.zeros(0, 3),
        },
        {"history": {"rows": [{"epoch": 1.0, "loss": 1 / 3}], "best": None}, "name": "Münster ✓"},
    )


def assert_same(found, expected):
    assert found.step == expected.step
    assert found.tensors.keys() == expected.tensors.keys()
    for key, value in expected.tensors.items():
        assert torch.equal(found.tensors[key], value), key
        assert found.tensors[key].dtype == value.dtype
    assert {k: found.state[k] for k in expected.state} == dict(expected.state)


def two(folder):
    """A folder with two generations; the tensors and the JSON of the newer one."""
    for step in (10, 20):
        checkpoint.save(folder, "last", example(step))
    return folder / "last-00000020.safetensors", folder / "last-00000020.json"


def falls_back(folder, damaged):
    """The damaged generation is named in a warning and the one before it is used."""
    with pytest.warns(UserWarning, match="going on from last-00000010.json instead") as caught:
        found = checkpoint.load(folder, "last")
    assert_same(found, example(10))
    assert len(caught) == 1
    assert damaged.stem in str(caught[0].message)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = checkpoint.save(tmp_path / "new" / "folder", "best", example(3))
    assert path.is_file()
    assert_same(checkpoint.load(path.parent, "best"), example(3))
    assert_same(checkpoint.read(path.with_suffix(".json")), example(3))


def test_the_newest_generation_is_loaded_and_old_ones_are_dropped(tmp_path):
    for step in (1, 9, 10, 200_000_000):
        checkpoint.save(tmp_path, "last", example(step))
        checkpoint.save(tmp_path, "best", example(step))
    assert checkpoint.load(tmp_path, "last").step == 200_000_000
    assert [checkpoint.read(p).step for p in checkpoint.candidates(tmp_path, "last")] == [
        200_000_000,
        10,
    ]
    assert len(checkpoint.candidates(tmp_path, "best")) == 1
    assert len(list(tmp_path.iterdir())) == 2 * 2 + 2


def test_what_a_resume_has_gone_back_before_is_dropped(tmp_path):
    """The newest was damaged, say; what is found on the second way must win over it."""
    for step in (10, 20, 40):
        checkpoint.save(tmp_path, "last", example(step))
        checkpoint.save(tmp_path, "best", example(step))
    checkpoint.save(tmp_path, "last", example(30))
    checkpoint.save(tmp_path, "best", example(30))
    assert checkpoint.load(tmp_path, "best").step == 30
    assert [checkpoint.read(p).step for p in checkpoint.candidates(tmp_path, "last")] == [30, 20]


def test_every_flipped_bit_of_the_tensors_is_noticed(tmp_path):
    tensors, _ = two(tmp_path)
    whole = tensors.read_bytes()
    chance = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        tensors.write_bytes(damaged)
        falls_back(tmp_path, tensors)


def test_every_flipped_bit_of_the_state_is_noticed(tmp_path):
    _, state = two(tmp_path)
    whole = state.read_bytes()
    chance, unnoticed = random.Random(1), 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        state.write_bytes(damaged)
        try:
            if json.loads(damaged) == json.loads(whole):
                unnoticed += 1  # a blank became another blank: the same values
                continue
        except ValueError:
            pass
        falls_back(tmp_path, state)
    assert unnoticed < 20


@pytest.mark.parametrize("which", [0, 1])
def test_every_truncation_is_noticed(tmp_path, which):
    path = two(tmp_path)[which]
    whole = path.read_bytes()
    chance = random.Random(2)
    # The last byte of the JSON is a line end.
    for length in [0, 1, len(whole) - 2, *(chance.randrange(len(whole) - 2) for _ in range(60))]:
        path.write_bytes(whole[:length])
        falls_back(tmp_path, path)


@pytest.mark.parametrize("which", [0, 1])
def test_a_zeroed_page_is_noticed(tmp_path, which):
    path = two(tmp_path)[which]
    whole = path.read_bytes()
    for start in range(0, len(whole), 512):
        damaged = whole[:start] + bytes(len(whole[start : start + 512])) + whole[start + 512 :]
        path.write_bytes(damaged)
        falls_back(tmp_path, path)


def test_a_missing_file_of_the_pair_is_noticed(tmp_path):
    tensors, state = two(tmp_path)
    tensors.unlink()
    falls_back(tmp_path, tensors)
    state.unlink()
    assert_same(checkpoint.load(tmp_path, "last"), example(10))  # as if it never was


@pytest.mark.parametrize("key", ["sha256", "state_sha256", "step", "schema"])
def test_a_missing_or_changed_hash_is_noticed(tmp_path, key):
    _, path = two(tmp_path)
    state = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({k: v for k, v in state.items() if k != key}), "utf-8")
    falls_back(tmp_path, path)
    path.write_text(json.dumps({**state, key: "0" * 64}), "utf-8")
    falls_back(tmp_path, path)


@pytest.mark.parametrize("text", ["[]", "null", "7", '"text"', "{}", '{"step": 1}', "\x00", ""])
def test_a_json_that_is_no_state_is_noticed(tmp_path, text):
    _, path = two(tmp_path)
    path.write_text(text, "utf-8")
    falls_back(tmp_path, path)


def test_tensors_of_another_checkpoint_are_noticed(tmp_path):
    tensors, _ = two(tmp_path)
    tensors.write_bytes((tmp_path / "last-00000010.safetensors").read_bytes())
    falls_back(tmp_path, tensors)


def test_when_all_are_damaged_all_are_named(tmp_path):
    two(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        checkpoint.load(tmp_path, "last")
    assert "last-00000010" in str(caught.value)
    assert "last-00000020" in str(caught.value)
    with pytest.raises(InputError, match=r"no usable 'best' checkpoint. Was a training started"):
        checkpoint.load(tmp_path, "best")


def test_a_newer_schema_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA", 99)
    path = checkpoint.save(tmp_path, "last", example(1))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"newer wsrpn .schema 99"):
        checkpoint.read(path.with_suffix(".json"))


def test_leftovers_of_a_kill_are_tidied_and_nothing_else(tmp_path):
    two(tmp_path)
    kept = sorted(tmp_path.iterdir())
    (tmp_path / "last-00000030.safetensors").write_bytes(b"tensors whose state never came")
    (tmp_path / "last-00000030.json.tmp.77").write_bytes(b"half a st")
    (tmp_path / "last-00000040.safetensors.tmp.78").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.tidy(tmp_path)
    assert sorted(tmp_path.iterdir()) == [*kept, tmp_path / "notes.txt"]
    checkpoint.tidy(tmp_path / "absent")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("which", ["safetensors", "json"])
def test_a_failed_write_leaves_the_previous_checkpoint_and_no_rubbish(
    tmp_path, monkeypatch, call, code, which
):
    checkpoint.save(tmp_path, "last", example(10))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real = {"open": Path.open, "replace": Path.replace, "fsync": os.fsync}
    target = f"last-00000020.{which}.tmp"
    hit = []

    def fails():
        hit.append(call)
        raise OSError(code, os.strerror(code))

    class Full:
        """A file that takes half of what is written."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            fails()

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

    def open_(path, *args, **options):
        ours = path.name.startswith(target)
        if ours and call == "open":
            fails()
        file = real["open"](path, *args, **options)
        return Full(file) if ours and call == "write" else file

    def replace(path, new):
        return fails() if path.name.startswith(target) else real["replace"](path, new)

    def fsync(handle):
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        return fails() if name.startswith(target) else real["fsync"](handle)

    monkeypatch.setattr(Path, "open", open_)
    if call == "replace":
        monkeypatch.setattr(Path, "replace", replace)
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(code)):
        checkpoint.save(tmp_path, "last", example(20))
    monkeypatch.undo()
    assert hit == [call]
    assert not list(tmp_path.glob("*.tmp.*"))
    assert_same(checkpoint.load(tmp_path, "last"), example(10))
    checkpoint.tidy(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    checkpoint.save(tmp_path, "last", example(20))  # with space again it goes on
    assert checkpoint.load(tmp_path, "last").step == 20


def test_a_real_limit_on_file_size_leaves_the_previous_checkpoint(tmp_path):
    checkpoint.save(tmp_path, "last", example(10))
    code = f"""
import resource, signal
from pathlib import Path
from wsrpn import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(0, 4000, 400):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, {resource.RLIM_INFINITY}))
    for name in ("last-00000020.safetensors", "last-00000010.json"):
        try:
            files.write(Path({str(tmp_path)!r}) / name, bytes(4000))
            print("written")
        except OSError as error:
            print(error.errno)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(errno.EFBIG)] * 20
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "last-00000010.json",
        "last-00000010.safetensors",
    ]
    assert_same(checkpoint.load(tmp_path, "last"), example(10))


def test_a_library_that_writes_by_itself_leaves_the_old_file_too(tmp_path):
    path = tmp_path / "plot.png"
    files.write_with(path, lambda where: where.write_bytes(b"old"))

    def fail(where):
        assert where.suffix == ".png"
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        files.write_with(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan_and_says_what_it_wanted(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="no such file; a report was expected"):
        files.read_json(tmp_path / "x.json", what="a report")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not readable as a report"):
        files.read_json(tmp_path / "x.json", what="a report")


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimiser_goes_on_as_if_it_had_not_stopped(tmp_path, fused):
    def start():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Conv2d(1, 2, 3))
        groups = [{"params": [p], "weight_decay": 0.1 * n} for n, p in enumerate(net.parameters())]
        return net, torch.optim.AdamW(groups, lr=1e-2, fused=fused)

    def step(net, optimizer, n):
        torch.manual_seed(n)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    net, optimizer = start()
    for n in range(6):
        if n == 3:
            tensors = checkpoint.flatten("model", net.state_dict())
            tensors |= checkpoint.flatten("optimizer", checkpoint.optimizer_tensors(optimizer))
            checkpoint.save(tmp_path, "last", Checkpoint(3, tensors, {}))
        step(net, optimizer, n)

    again, other = start()
    saved = checkpoint.load(tmp_path, "last").tensors
    again.load_state_dict(checkpoint.below("model", saved))
    checkpoint.restore_optimizer(other, checkpoint.below("optimizer", saved))
    for n in range(3, 6):
        step(again, other, n)
    for key, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    ours, theirs = (checkpoint.optimizer_tensors(o) for o in (optimizer, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(theirs[key], value) for key, value in ours.items())


def test_flatten_and_below_are_inverse():
    tensors = {"a/b": torch.ones(1), "c": torch.zeros(2)}
    assert_close(checkpoint.below("x", checkpoint.flatten("x", tensors)), tensors)
    assert checkpoint.below("y", checkpoint.flatten("x", tensors)) == {}
