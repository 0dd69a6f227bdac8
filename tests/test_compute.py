"""The memory that a process keeps while it computes."""

import os
import subprocess
import sys

import pytest

from wsrpn import compute

FAULTS = """
import resource, torch
from wsrpn import compute

def faults():
    for turn in range(20):
        if turn == 12:  # by then the heap has found its size
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)  # 64 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

many = faults()
compute.choose_device("cpu")
print(many, faults(), compute.keep_freed_memory())
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="malloc of another system")


def test_memory_that_tensors_free_is_used_again() -> None:
    ours = ("MALLOC_", "GLIBC_TUNABLES")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=plain
    )
    many, few, kept = done.stdout.split()
    if kept != "True":
        pytest.skip("another C library than glibc")
    assert int(few) < int(many) / 20


@pytest.fixture
def asked(monkeypatch):
    """What would be set, in an environment that says nothing."""
    found: list[tuple[int, int]] = []

    class Library:
        gnu_get_libc_version = "2.36"

        def mallopt(self, number: int, value: int) -> int:
            found.append((number, value))
            return 1

    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(compute.ctypes, "CDLL", lambda _: Library())
    return found


def test_blocks_up_to_a_gigabyte_and_the_end_of_the_heap_are_kept(asked) -> None:
    assert compute.keep_freed_memory()
    assert asked == [(-3, 1 << 30), (-1, (1 << 31) - 1)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536"),
    ],
)
def test_what_the_user_asks_of_malloc_stays(asked, monkeypatch, name, value) -> None:
    monkeypatch.setenv(name, value)
    assert not compute.keep_freed_memory()
    assert not asked


def test_what_the_user_asks_of_other_parts_of_glibc_is_no_matter(asked, monkeypatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=1")
    assert compute.keep_freed_memory()
