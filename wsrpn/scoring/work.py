"""Slides through the model, one after the other: read ahead, score, keep.

One thread takes a slide's lock, looks whether it is done, cuts and reads it; this one runs the
model, writes the part and gives the lock free. So the next slide is being read while the last
tiles of this one are scored; on a CPU of few cores reading and scoring take turns. What goes wrong
with a slide stays with it.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float, Int
from torch import Tensor

from wsrpn.errors import InputError, counted
from wsrpn.scoring.ahead import ahead
from wsrpn.scoring.engine import SCORE, Engine, Pixels
from wsrpn.scoring.jobs import Job, Opened
from wsrpn.scoring.parts import Parts
from wsrpn.slides import assemble
from wsrpn.tiles import Cohort, Tiles

Listener = Callable[[str, int], None]  # told of tiles that are scored: their slide, and how many
Stop = Callable[[], bool]  # whether to end
_AHEAD = 4  # batches that wait for the model
_POLL = 0.5  # seconds between looks at slides that another process has


@dataclass
class Outcome:
    """What became of slides.

    Attributes:
        done: names of those scored now.
        skipped: of those that were done before.
        failed: name → reason.
        tiles: scored now.
        notes: what the user should know.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    tiles: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Take in what became of other slides."""
        self.done += other.done
        self.skipped += other.skipped
        self.failed |= other.failed
        self.tiles += other.tiles
        self.notes += other.notes


@dataclass
class _Slide:
    """A slide under way, whose lock is held."""

    name: str
    lock: FileLock
    key: str = ""
    opened: Opened | None = None
    index: list[Int[np.ndarray, " b"]] = field(default_factory=list)
    columns: dict[str, list[Float[Tensor, " b"]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _End:
    """Nothing more comes of a slide: it is read, or was done before, or it failed."""

    before: bool = False
    reason: str = ""


_Event = tuple[_Slide, Pixels | _End] | None  # None: waiting for another process


def work(
    engine: Engine, jobs: Sequence[Job], parts: Parts, listen: Listener | None,
    stop: Stop | None = None,
) -> Outcome:  # fmt: skip
    """Score slides and keep a part of each.

    Slides that another process has under way are left to the end, and waited for.

    Args:
        engine: the model.
        jobs: the slides.
        parts: where the scores go.
        listen: told after every batch.
        stop: asked after every batch whether to end; the slides under way are then dropped.
    """
    outcome = Outcome()
    about = engine.about()
    held: dict[str, FileLock] = {}
    try:
        reading = _read(engine, jobs, parts, outcome.notes)
        if engine.ahead:
            reading = ahead(reading, _AHEAD)
        with contextlib.closing(reading) as events:
            for event in events:
                if event is not None:
                    slide, said = event
                    held[slide.name] = slide.lock
                    if isinstance(said, Pixels):
                        _add(slide, said, engine)
                        if listen is not None:
                            listen(slide.name, len(said.index))
                    else:
                        _end(slide, said, about, parts, outcome)
                        held.pop(slide.name).release()
                if stop is not None and stop():
                    break
    finally:
        for lock in held.values():
            lock.release()
    return outcome


def _read(
    engine: Engine, jobs: Sequence[Job], parts: Parts, notes: list[str]
) -> Generator[_Event, None, None]:
    """All that is read, in the reading thread."""
    about = engine.about()
    waiting = list(jobs)
    while waiting:
        busy: list[Job] = []
        for job in waiting:
            slide = _Slide(job.slide.id, parts.lock(job.slide.id))
            try:
                slide.lock.acquire(timeout=0)
            except Timeout:
                busy.append(job)
                continue
            yield from _read_one(slide, job, engine, parts, about, notes)
        waiting = busy
        if waiting:
            time.sleep(_POLL)
            yield None


def _read_one(
    slide: _Slide, job: Job, engine: Engine, parts: Parts, about: Mapping[str, Any],
    notes: list[str],
) -> Generator[_Event, None, None]:  # fmt: skip
    end = _End()
    try:
        parts.clear(slide.name)
        slide.key = job.key(about)
        if parts.key(slide.name) == slide.key:
            end = _End(before=True)
        else:
            with job.open(engine.size, engine.tiles) as slide.opened:
                for pixels in engine.batches(slide.opened, notes):
                    yield slide, pixels
    except OSError as error:
        named = isinstance(error.filename, (str, bytes))
        why = f"{error.filename}: {error.strerror}." if named else str(error)
        end = _End(reason=assemble.reason(InputError(why), slide.name))
    except Exception as error:  # one slide's file must not end the cohort
        end = _End(reason=assemble.reason(error, f"slide {slide.name}"))
    yield slide, end


def _add(slide: _Slide, pixels: Pixels, engine: Engine) -> None:
    """Scores of a batch, kept where the model is so that nobody waits for it."""
    if slide.opened is None:
        raise RuntimeError("tiles come after their slide is opened")
    slide.index.append(pixels.index)
    for name, values in engine.scores(pixels, slide.opened.tiles).items():
        slide.columns.setdefault(name, []).append(values)


def _end(
    slide: _Slide, end: _End, about: Mapping[str, Any], parts: Parts, outcome: Outcome
) -> None:
    """Keep the part of a slide, or why there is none."""
    if end.before:
        outcome.skipped.append(slide.name)
        return
    reason = end.reason
    if not reason and slide.opened is not None:
        try:
            tiles = _scored(slide, slide.opened.tiles)
            cohort = Cohort(slide.name, (tiles,), score=SCORE)
            parts.write(cohort, slide.key, about, slide.opened.corner_px0)
            outcome.done.append(slide.name)
            outcome.tiles += len(tiles)
            return
        except InputError as error:
            reason = str(error)
    parts.fail(slide.name, slide.key, reason)
    outcome.failed[slide.name] = reason


def _scored(slide: _Slide, tiles: Tiles) -> Tiles:
    """The tiles with their scores, in the order that they had before they were read.

    Raises:
        InputError: a score is not finite.
    """
    index = np.concatenate(slide.index)
    found: dict[str, Float[np.ndarray, " n"]] = {}
    for name, values in slide.columns.items():
        whole = np.full(len(tiles), np.nan, dtype=np.float32)  # what nobody read is not finite
        whole[index] = torch.cat(values).cpu().numpy()
        odd = int((~np.isfinite(whole)).sum())
        if odd:
            raise InputError(
                f"slide {slide.name}: {name} of {counted(odd, 'tile')} of {len(tiles)} is not "
                "finite; the model may have diverged, or try --precision fp32."
            )
        found[name] = whole
    score = found.pop(SCORE)
    return dataclasses.replace(tiles, score=score, others=found)
