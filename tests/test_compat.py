"""The shim for torchvision: the right suppression where it is needed, nothing where it is not."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsrpn import compat


def slow_nms(boxes, scores, threshold):
    """Boxes best first; one is kept unless it overlaps a kept one too much."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        a = boxes[i]
        for j in kept:
            b = boxes[j]
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            both = width * height
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
            if both > threshold * union:
                break
        else:
            kept.append(i)
    return kept


# Few values, so that ties of scores and of overlaps are common.
corner = st.integers(0, 4)
box = st.tuples(corner, corner, st.integers(0, 4), st.integers(0, 4)).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)


@given(
    found=st.lists(st.tuples(box, st.sampled_from([0.25, 0.5, 0.75])), max_size=12),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_the_kernel_equals_the_slow_definition_with_ties(found, threshold):
    boxes, scores = [f[0] for f in found], [f[1] for f in found]
    kept = compat.nms_kernel(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), threshold)
    assert kept.tolist() == slow_nms(boxes, scores, threshold)
    assert kept.dtype == torch.int64


def test_torchvision_imports_and_its_nms_works():
    package = compat.torchvision()
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert package.ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert compat.torchvision() is package, "a second call changes nothing"


@pytest.fixture
def no_operators(monkeypatch):
    """Any attempt to declare an operator fails the test."""

    def refuse(*_, **__):
        raise AssertionError("an operator was declared")

    monkeypatch.setattr(torch.library, "Library", refuse)


def test_it_is_inert_where_torchvision_imports_by_itself(monkeypatch, no_operators):
    native = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", native)
    before = list(compat._libraries)
    assert compat.torchvision() is native
    assert compat._libraries == before
    assert not hasattr(native, "extension")


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'torchvision'"), RuntimeError("out of memory")]
)
def test_another_failure_of_the_import_is_not_hidden(monkeypatch, no_operators, error):
    def fail(name):
        raise error

    monkeypatch.setattr(compat, "importlib", SimpleNamespace(import_module=fail))
    with pytest.raises(type(error), match=str(error)):
        compat.torchvision()
    assert importlib.import_module("json")
