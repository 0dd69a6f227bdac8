"""Where to compute, and the memory that a process keeps while it does."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from wsrpn import compute
kept = {call}
for turn in range(20):
    if turn == 12:  # by then the heap has found its size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MiB, freed at once
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str, **environment: str) -> tuple[bool, int]:
    """What a new process answers, and the pages that it gets from the system eight tensors long."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(call=call)],
        capture_output=True, text=True, check=True, env={**plain, **environment},
    )  # fmt: skip
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of another system")
def test_memory_that_tensors_free_is_used_again() -> None:
    kept, few = faults("compute.keep_freed_memory()")
    if not kept:
        pytest.skip("another C library than glibc")
    _, chosen = faults("compute.choose_device('cpu') is not None")
    _, many = faults("False")
    assert max(few, chosen) < many / 20


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of another system")
def test_what_the_user_asks_of_malloc_stays() -> None:
    assert not faults("compute.keep_freed_memory()", MALLOC_TRIM_THRESHOLD_="131072")[0]


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of another system")
@pytest.mark.parametrize(
    ("tunables", "stays"),
    [("glibc.malloc.mmap_threshold=65536", True), ("glibc.pthread.rseq=1", False)],
)
def test_what_the_user_asks_of_glibc_stays(tunables: str, stays: bool) -> None:
    if not faults("compute.keep_freed_memory()")[0]:
        pytest.skip("another C library than glibc")
    assert faults("compute.keep_freed_memory()", GLIBC_TUNABLES=tunables)[0] != stays
