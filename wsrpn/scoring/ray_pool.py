"""Scoring by workers of Ray, each with the model, a slide at a time; imported for `--ray` alone.

The parts, their locks and the table are those of one process: all machines see the same folders
under the same paths. A worker that dies is replaced, and its slide is tried again.
"""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from wsrpn import registry
from wsrpn.errors import InputError, counted
from wsrpn.predict import open_run
from wsrpn.scoring.engine import Engine
from wsrpn.scoring.jobs import Job
from wsrpn.scoring.parts import Parts
from wsrpn.scoring.scored import Options
from wsrpn.scoring.work import Listener, Outcome, Stop, work

LOCAL = "local"
_TRIES = 3  # workers that may die over a slide
_ROOM = 600.0  # seconds until a cluster must have found room for a worker
_LOOK = 1.0  # seconds until somebody who wants an end is heard


class Worker:
    """The model of a run in a process of Ray.

    Args:
        run: its folder.
        options: how to score.
        device: see `wsrpn.compute.choose_device`.
        threads: of this worker; 0 leaves what torch takes.
        code: Python files with parts of the user's own.
    """

    def __init__(
        self, run: Path, options: Options, device: str, threads: int, code: tuple[Path, ...]
    ) -> None:
        registry.load_code(code)
        if threads:
            torch.set_num_threads(threads)
        self.engine = Engine(
            open_run(run, device=device),
            tiles=options.tiles,
            batch=options.batch,
            precision=options.precision,
        )

    def ready(self) -> bool:
        """Answer once the model is there."""
        return True

    def score(self, job: Job, parts: Parts) -> Outcome:
        """Score one slide and keep its part."""
        return work(self.engine, [job], parts, None)


@dataclass
class _Crew:
    """The workers, what they do, and what is left to do."""

    ray: Any
    make: Any
    idle: list[Any] = field(default_factory=list)
    under_way: dict[Any, tuple[Any, Job, int]] = field(default_factory=dict)
    left: list[tuple[Job, int]] = field(default_factory=list)
    lost: int = 0

    def fill(self, parts: Parts) -> None:
        """Give every worker a slide; those that died are replaced where the others do not do."""
        while self.left and (self.idle or self.lost):
            if not self.idle:
                self.idle, self.lost = [self.make()], self.lost - 1
            worker = self.idle.pop()
            job, tries = self.left.pop(0)
            self.under_way[worker.score.remote(job, parts)] = (worker, job, tries)


@dataclass(frozen=True)
class Pool:
    """Workers of Ray; called like `wsrpn.scoring.work.work`.

    Attributes:
        run: folder of the run.
        address: of a cluster (`auto`, host:port), or `local` to begin one on this machine.
        workers: how many; 0 takes one for each GPU, or else one for each machine.
        device: of each worker.
        code: Python files with parts of the user's own.
    """

    run: Path
    address: str = LOCAL
    workers: int = 0
    device: str = "auto"
    code: tuple[Path, ...] = ()

    def __call__(
        self, jobs: Sequence[Job], parts: Parts, options: Options, listen: Listener | None,
        stop: Stop | None = None,
    ) -> Outcome:  # fmt: skip
        """Score slides and keep a part of each.

        Raises:
            InputError: Ray is not installed, there is no such cluster, or no room in it.
        """
        ray = _imported()
        own = not ray.is_initialized()
        if own:
            self._connect(ray)
        try:
            crew = self._crew(ray, parts, options, len(jobs))
            everywhere = [job.anywhere() for job in jobs]
            return _run(crew, everywhere, Parts(parts.out.absolute()), listen, stop)
        finally:
            if own:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Join the cluster, or begin one."""
        local: dict[str, Any] = {"address": LOCAL, "include_dashboard": False}
        if self.workers > (os.cpu_count() or 1):
            local["num_cpus"] = self.workers
        where = local if self.address == LOCAL else {"address": self.address}
        main = threading.current_thread() is threading.main_thread()
        heard = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR")
            if main:  # Ray would end this process at once
                signal.signal(signal.SIGTERM, heard)
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise InputError(
                f"--ray {self.address}: no such cluster ({said}); `ray start --head` begins one, "
                "--ray local needs none."
            ) from None

    def _crew(self, ray: Any, parts: Parts, options: Options, jobs: int) -> _Crew:
        """Workers that have the model."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = 0 if self.device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
        count = max(min(self.workers or gpus or len(nodes), jobs), 1)
        least = int(min(node.get("CPU", 1) for node in nodes))
        cpus = max(least // -(-count // len(nodes)), 1)
        remote = ray.remote(Worker).options(
            num_cpus=cpus, num_gpus=1 if gpus else 0, scheduling_strategy="SPREAD"
        )
        make = lambda: remote.remote(  # noqa: E731
            self.run.absolute(), options, self.device, 0 if gpus else cpus,
            tuple(path.absolute() for path in self.code),
        )  # fmt: skip
        workers = [make() for _ in range(count)]
        try:
            ray.get([worker.ready.remote() for worker in workers], timeout=_ROOM)
        except ray.exceptions.GetTimeoutError:
            raise InputError(
                f"--ray {self.address}: no room for {counted(count, 'worker')} after "
                f"{_ROOM:.0f} s; ask for fewer with --workers."
            ) from None
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            raise InputError(f"--ray: a worker cannot begin ({lines[-1]}).") from None
        return _Crew(ray, make, idle=workers)


def _run(
    crew: _Crew, jobs: Sequence[Job], parts: Parts, listen: Listener | None,
    stop: Stop | None = None,
) -> Outcome:  # fmt: skip
    outcome = Outcome()
    crew.left = [(job, 1) for job in jobs]
    crew.fill(parts)
    while crew.under_way and not (stop is not None and stop()):
        ready, _ = crew.ray.wait(list(crew.under_way), num_returns=1, timeout=_LOOK)
        if not ready:
            continue
        done = ready[0]
        worker, job, tries = crew.under_way.pop(done)
        name = job.slide.id
        try:
            found: Outcome = crew.ray.get(done)
            outcome.add(found)
            if listen is not None and found.tiles:
                listen(name, found.tiles)
            crew.idle.append(worker)
        except crew.ray.exceptions.RayActorError:
            crew.lost += 1
            if tries < _TRIES:
                crew.left.append((job, tries + 1))
                outcome.notes.append(f"{name}: its worker died, and another one takes it.")
            else:
                reason = f"slide {name}: {tries} workers died over it; it may need more memory."
                outcome.failed[name] = reason
        except crew.ray.exceptions.RayTaskError as error:
            raise error.cause from None  # as without Ray: the cause, and no trace of the worker
        crew.fill(parts)
    return outcome


def _imported() -> Any:
    """Ray, which reports to nobody and leaves GPUs as they are."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "--ray: Ray is not installed. Install: pip install 'wsrpn[ray]'."
        ) from None
    return ray
