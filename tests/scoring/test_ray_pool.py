"""What the pool of Ray makes of what its workers raise, without any cluster."""

from types import SimpleNamespace

import pytest

from wsrpn.scoring import ray_pool
from wsrpn.scoring.jobs import CutSlide
from wsrpn.scoring.parts import Parts
from wsrpn.tiles import Slide


class _Wrapped(Exception):
    """As Ray hands on what a task raised: the cause inside, a trace of the worker as its words."""

    def __init__(self, cause):
        super().__init__("ray::Worker.score() (pid=1) File ...")
        self.cause = cause


def test_what_a_worker_raises_is_raised_as_without_ray(tmp_path):
    def get(task):
        raise _Wrapped(RuntimeError("out of memory"))

    ray = SimpleNamespace(
        wait=lambda tasks, num_returns: (tasks[:1], tasks[1:]),
        get=get,
        exceptions=SimpleNamespace(RayActorError=ConnectionError, RayTaskError=_Wrapped),
    )
    worker = SimpleNamespace(score=SimpleNamespace(remote=lambda job, parts: "task"))
    crew = ray_pool._Crew(ray, make=None, idle=[worker])
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        ray_pool._run(crew, [CutSlide(Slide("s", "s"))], Parts(tmp_path / "s.parquet"), None)
