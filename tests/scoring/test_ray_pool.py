"""What the pool of Ray makes of what its workers raise, without any cluster."""

from types import SimpleNamespace

import pytest

from wsrpn.scoring import ray_pool
from wsrpn.scoring.jobs import CutSlide
from wsrpn.scoring.parts import Parts
from wsrpn.scoring.work import Outcome
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
        wait=lambda tasks, num_returns, timeout: (tasks[:1], tasks[1:]),
        get=get,
        exceptions=SimpleNamespace(RayActorError=ConnectionError, RayTaskError=_Wrapped),
    )
    worker = SimpleNamespace(score=SimpleNamespace(remote=lambda job, parts: "task"))
    crew = ray_pool._Crew(ray, make=None, idle=[worker])
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        ray_pool._run(crew, [CutSlide(Slide("s", "s"))], Parts(tmp_path / "s.parquet"), None)


class _Died(ConnectionError):
    """As Ray says that a worker is gone."""


def _crew(deaths, *, workers):
    """A crew whose tasks name their slide; `deaths` of s1 end the worker that has it."""
    left = {"s1": deaths}
    made = []

    def worker():
        made.append(SimpleNamespace(score=SimpleNamespace(remote=lambda job, parts: job.slide.id)))
        return made[-1]

    def get(task):
        if left.get(task, 0):
            left[task] -= 1
            raise _Died
        return Outcome(done=[task])

    ray = SimpleNamespace(
        wait=lambda tasks, num_returns, timeout: (tasks[:1], tasks[1:]),
        get=get,
        exceptions=SimpleNamespace(RayActorError=_Died, RayTaskError=_Wrapped),
    )
    return ray_pool._Crew(ray, make=worker, idle=[worker() for _ in range(workers)]), made


@pytest.mark.parametrize(("deaths", "workers", "made"), [(1, 1, 2), (2, 1, 3), (1, 2, 2)])
def test_a_worker_that_dies_is_replaced_where_no_other_is_idle(tmp_path, deaths, workers, made):
    crew, all_made = _crew(deaths, workers=workers)
    jobs = [CutSlide(Slide(name, name)) for name in ("s0", "s1")]
    found = ray_pool._run(crew, jobs, Parts(tmp_path / "s.parquet"), None)
    assert sorted(found.done) == ["s0", "s1"]
    assert len(found.notes) == deaths
    assert len(all_made) == made


def test_a_slide_that_three_workers_died_over_fails(tmp_path):
    crew, _ = _crew(9, workers=1)
    jobs = [CutSlide(Slide(name, name)) for name in ("s0", "s1", "s2")]
    found = ray_pool._run(crew, jobs, Parts(tmp_path / "s.parquet"), None)
    assert sorted(found.done) == ["s0", "s2"]
    assert "3 workers died over it" in found.failed["s1"]


def test_who_wants_an_end_is_heard_between_slides(tmp_path):
    crew, _ = _crew(0, workers=1)
    jobs = [CutSlide(Slide(name, name)) for name in ("s0", "s1", "s2")]
    asked = iter((False, True))
    found = ray_pool._run(crew, jobs, Parts(tmp_path / "s.parquet"), None, lambda: next(asked))
    assert found.done == ["s0"]
