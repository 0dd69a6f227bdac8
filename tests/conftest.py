"""Settings of every test: no network, no screen, one thread per process, torchvision made
importable."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hypothesis
import pytest
import torch

from wsrpn import compat

torch.set_num_threads(1)
compat.torchvision()
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("quick")


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


def pytest_collection_finish():
    """What was imported stays, so looking through it for garbage again and again is time lost."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
