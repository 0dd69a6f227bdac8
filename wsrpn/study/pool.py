"""Trainings in processes of their own, several at a time: none can hurt another.

Each process is a fresh one. Where the system can (everywhere but on Windows) it is forked from a
server that has imported what a training needs and done nothing else, so it starts at once.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from wsrpn.study import worker
from wsrpn.study.training import Training, done, is_held
from wsrpn.train import signals
from wsrpn.train.signals import Interrupted

# What every training imports on its way besides `worker`: a second each time.
PRELOAD = ("torch._dynamo", "torch.utils.tensorboard", "PIL.PngImagePlugin")
_WAIT = 0.5  # seconds until signals are looked for
_LOOK = 2.0  # seconds between looks at trainings that another process holds


@dataclass(frozen=True)
class Word:
    """Something that happened to a training.

    Attributes:
        what: `begin`, `step`, `note`, `skip` (done before), `wait` (another process holds it),
            `done` or `fail`.
        training: which.
        text: of notes and failures.
        figures: epoch, step, total and loss, of steps.
        seconds: it took, of what is done.
    """

    what: str
    training: Training
    text: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


Listener = Callable[[Word], None]


@dataclass(frozen=True)
class Means:
    """What belongs to the machine.

    Attributes:
        jobs: trainings at a time.
        threads: of each.
        devices: where they compute, in turn.
        code: Python files with parts of the user's own.
    """

    jobs: int = 1
    threads: int = 1
    devices: tuple[str, ...] = ("auto",)
    code: tuple[Path, ...] = ()


class Stopped(Interrupted):
    """A signal asked a study to end; all its trainings have checkpoints."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        RuntimeError.__init__(self, f"stopped by {name}; the same command goes on from there")
        self.code = 128 + number


@dataclass
class _Job:
    """A training under way: its process, what it said last, and where it computes."""

    training: Training
    process: Any
    channel: Connection
    slot: int
    begun: float
    ending: tuple[str, str] | None = None


def run_all(
    trainings: Sequence[Training], means: Means, listen: Listener = lambda word: None
) -> dict[Training, str]:
    """Every training that is not done, `means.jobs` at a time.

    One that another process holds is left to it, and taken up if that process lets go of it.

    Args:
        trainings: in the order in which they begin.
        means: processes, threads and devices.
        listen: told what happens.

    Returns:
        Reasons of those that failed.

    Raises:
        Stopped: a signal came.
    """
    waiting, away = list(trainings), dict[Training, float]()
    jobs: list[_Job] = []
    failed: dict[Training, str] = {}
    with signals.caught() as caught:
        try:
            while (waiting or away or jobs) and not caught.signal:
                now = time.monotonic()
                waiting += [t for t, again in away.items() if now >= again and t not in waiting]
                while waiting and len(jobs) < means.jobs and not caught.signal:
                    _take_up(waiting.pop(0), jobs, away, means, listen)
                _hear(jobs, away, failed, listen)
        finally:
            _stop(jobs, caught)
    if caught.signal:
        raise Stopped(caught.signal)
    return failed


def _take_up(
    training: Training,
    jobs: list[_Job],
    away: dict[Training, float],
    means: Means,
    listen: Listener,
) -> None:
    """Start a training, unless it is done or another process has it."""
    if done(training):
        away.pop(training, None)
        listen(Word("skip", training))
    elif is_held(training):
        _leave(training, away, listen)
    else:
        away.pop(training, None)
        taken = {job.slot for job in jobs}
        slot = next(n for n in range(means.jobs) if n not in taken)
        jobs.append(_start(training, means, slot))
        listen(Word("begin", training))


def _leave(training: Training, away: dict[Training, float], listen: Listener) -> None:
    if training not in away:
        listen(Word("wait", training))
    away[training] = time.monotonic() + _LOOK


def _hear(
    jobs: list[_Job],
    away: dict[Training, float],
    failed: dict[Training, str],
    listen: Listener,
) -> None:
    """Wait a moment for what the processes say; see to those that have ended."""
    if not jobs:
        time.sleep(_WAIT)
        return
    for channel in wait([job.channel for job in jobs], timeout=_WAIT):
        job = next(j for j in jobs if j.channel is channel)
        try:
            what, text, figures = job.channel.recv()
        except (EOFError, OSError):  # it has ended, perhaps in the middle of a word
            jobs.remove(job)
            _end(job, away, failed, listen)
            continue
        if what in ("step", "note"):
            listen(Word(what, job.training, text, figures))
        else:
            job.ending = (what, text)


def _end(
    job: _Job, away: dict[Training, float], failed: dict[Training, str], listen: Listener
) -> None:
    job.process.join()
    job.channel.close()
    what, text = job.ending or ("fail", _verdict(job))
    took = time.monotonic() - job.begun
    if what == "busy":
        _leave(job.training, away, listen)
    elif what in ("done", "skip"):
        listen(Word(what, job.training, seconds=took))
    else:
        failed[job.training] = text
        listen(Word("fail", job.training, text, seconds=took))


def _verdict(job: _Job) -> str:
    """What is known of a process that ended without a word."""
    code = job.process.exitcode
    log = job.training.folder / worker.LOG
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {name}{why}; its last words may be in {log}"
    return f"ended with exit code {code}; its last words may be in {log}"


def _stop(jobs: list[_Job], caught: signals.Caught) -> None:
    """Ask all processes to save and end, and wait for that; on a second signal end them at once."""
    try:
        for job in jobs:
            job.process.terminate()
        for job in jobs:
            while job.process.is_alive():
                with contextlib.suppress(EOFError, OSError):  # it may wait to be heard
                    while job.channel.poll(_WAIT):
                        job.channel.recv()
                job.process.join(_WAIT)
    except KeyboardInterrupt:
        caught.signal = caught.signal or signal.SIGINT
        for job in jobs:
            job.process.kill()
            job.process.join()


def _start(training: Training, means: Means, slot: int) -> _Job:
    """A process for a training."""
    hear, say = _context().Pipe(duplex=False)
    device = means.devices[slot % len(means.devices)]
    process = _context().Process(
        target=worker.work,
        args=(training, device, means.threads, means.code, say),
        name=training.name,
    )
    with _threads(means.threads):
        process.start()
    say.close()
    return _Job(training, process, hear, slot, time.monotonic())


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker.__name__, *PRELOAD])
    return context


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Libraries that start threads when they are imported start so many, in new processes."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
