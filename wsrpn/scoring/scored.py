"""`score`: from a trained run and slides to the table of scores that calibration takes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsrpn.config import TilesConfig
from wsrpn.errors import InputError, counted
from wsrpn.predict import TrainedRun
from wsrpn.scoring import earlier
from wsrpn.scoring import jobs as job_kinds
from wsrpn.scoring import parts as part_files
from wsrpn.scoring.engine import Engine
from wsrpn.scoring.jobs import Job
from wsrpn.scoring.join import join
from wsrpn.scoring.parts import Parts
from wsrpn.scoring.shards import Shard
from wsrpn.scoring.work import Listener, Outcome, Stop, work
from wsrpn.slides import assemble, cells
from wsrpn.tiles import Slide, TileSet

Pool = Callable[[Sequence[Job], Parts, "Options", Listener | None, Stop | None], Outcome]


class Stopped(RuntimeError):
    """Somebody asked for the end; whole slides are kept, nothing of the others.

    Attributes:
        kept: number of slides with scores.
        slides: of all that were to be scored.
    """

    def __init__(self, kept: int, slides: int) -> None:
        has = "is" if kept == 1 else "are"
        super().__init__(
            f"{kept} of {counted(slides, 'slide')} {has} kept, the same command goes on with the "
            "others"
        )
        self.kept, self.slides = kept, slides


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        tiles: how slides are cut and coloured; as in training where None.
        mpp: of slides of which neither the table of slides nor the file says it.
        batch: tiles at a time.
        precision: auto, fp32 or bf16.
        shard: which of the slides are this process's.
    """

    tiles: TilesConfig | None = None
    mpp: float | None = None
    batch: int = 256
    precision: str = "auto"
    shard: Shard = field(default_factory=Shard)


@dataclass(frozen=True)
class Scored:
    """What became of a cohort.

    Attributes:
        done: names of the slides scored now.
        skipped: of those that were scored before.
        failed: name → reason.
        missing: of those that other shards have still to score; then there is no table yet.
        path: the table, or None where it is not made yet, or no slide could be scored.
        tiles: scored now.
        seconds: it took.
        notes: what the user should know.
    """

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: Mapping[str, str]
    missing: tuple[str, ...]
    path: Path | None
    tiles: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def per_second(self) -> float:
        """Tiles a second."""
        return self.tiles / self.seconds if self.seconds > 0 else 0.0


def score(
    run: TrainedRun,
    slides: Sequence[Slide] | TileSet,
    out: Path,
    *,
    options: Options | None = None,
    listen: Listener | None = None,
    pool: Pool | None = None,
    stop: Stop | None = None,
) -> Scored:
    """Score the tiles of slides, and write one table with a row a tile.

    A slide that was scored before with the same weights, options and pixels is not read again, and
    a slide that fails is left out. Several processes may share a cohort: with shards, whoever ends
    last makes the table; without, they take the slides that nobody has.

    Args:
        run: of a model of tiles.
        slides: to be cut, or tiles that a table lists, which are scored as they are.
        out: the table, `.parquet`; `OUT.parts` beside it keeps the slides one by one.
        options: how.
        listen: told of every batch.
        pool: who does the work, where it is not this process.
        stop: asked after every batch whether to end.

    Raises:
        InputError: not a model of tiles, no slide, slides that cannot be told apart, or a place
            that cannot be written to.
        Stopped: as `stop` asked, before all slides were done.
    """
    options = options or Options()
    begun = time.monotonic()
    parts = Parts(out)
    earlier.refuse_unwritable(out)
    engine = Engine(run, tiles=options.tiles, batch=options.batch, precision=options.precision)
    jobs, before = _jobs(slides, engine, options, out)
    mine = [job for job in jobs if options.shard.has(job.slide.id)]
    outcome = Outcome(failed=before)
    if pool is not None:
        outcome.add(pool(mine, parts, options, listen, stop))
    else:
        outcome.add(work(engine, mine, parts, listen, stop))
    _refuse_to_end(mine, outcome, stop)
    path, missing = _table(jobs, parts, engine.about(), outcome)
    return Scored(
        tuple(outcome.done), tuple(outcome.skipped), outcome.failed, missing, path, outcome.tiles,
        time.monotonic() - begun, tuple(outcome.notes),
    )  # fmt: skip


def _refuse_to_end(mine: Sequence[Job], outcome: Outcome, stop: Stop | None) -> None:
    kept = {*outcome.done, *outcome.skipped}
    left = [job for job in mine if job.slide.id not in kept | outcome.failed.keys()]
    if left and stop is not None and stop():
        raise Stopped(len(kept), len(mine))


def _jobs(
    slides: Sequence[Slide] | TileSet, engine: Engine, options: Options, out: Path
) -> tuple[list[Job], dict[str, str]]:
    """A job a slide, and the slides that had failed before."""
    if not cells.is_parquet(out):
        raise InputError(f"{out}: scores are written as .parquet.")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; a file .parquet is expected.")
    if isinstance(slides, TileSet):
        jobs, failed = job_kinds.of_tiles(slides), dict(slides.failed)
    else:
        jobs, failed = job_kinds.of_slides(slides, options.mpp), {}
        if engine.tiles.mpp is None and engine.tiles.level is None:
            raise InputError(
                f"{engine.run.folder}: trained on tiles of unknown resolution, so nobody knows at "
                "which slides are to be read; say it: --set tiles.mpp=0.5 or --set tiles.level=1."
            )
    if not jobs:
        raise InputError(next(iter(failed.values()), "no slide to score."))
    names = [job.slide.id for job in jobs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"two slides are called '{twice}'; list them in a slides.csv with names of their own."
        )
    part_files.refuse_alike(names)
    return jobs, failed


def _table(
    jobs: Sequence[Job], parts: Parts, about: Mapping[str, Any], outcome: Outcome
) -> tuple[Path | None, tuple[str, ...]]:
    """The table, if all slides are done; and those that are not, with what became of the others."""
    with parts.joining():
        there: dict[str, Slide] = {}
        missing: list[str] = []
        own = {*outcome.done, *outcome.skipped}
        for job in jobs:
            name = job.slide.id
            if name in own:
                there[name] = job.slide
            elif name not in outcome.failed:
                _elsewhere(job, parts, about, there, missing, outcome.failed)
        if missing or not there:
            return None, tuple(missing)
        gone = sorted(earlier.slides(parts.out) - there.keys())
        join(parts, there)
    if gone:
        some = ", ".join(gone[:5]) + (", …" if len(gone) > 5 else "")
        outcome.notes.append(
            f"{counted(len(gone), 'slide')} of the earlier {parts.out.name} had no part in this "
            f"command and left it: {some}. Their scores are kept beside it; name all slides "
            "together to have them in one table."
        )
    return parts.out, ()


def _elsewhere(
    job: Job, parts: Parts, about: Mapping[str, Any], there: dict[str, Slide], missing: list[str],
    failed: dict[str, str],
) -> None:  # fmt: skip
    """What another shard has left of a slide."""
    name = job.slide.id
    try:
        key = job.key(about)
    except OSError as error:
        failed[name] = assemble.reason(error, f"slide {name}")
        return
    reason = parts.failed(name, key)
    if parts.key(name) == key:
        there[name] = job.slide
    elif reason is not None:
        failed[name] = reason
    else:
        missing.append(name)
