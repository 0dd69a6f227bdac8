"""A search: trainings with values drawn from ranges, and which of them did best on validation.

A trial is one training per seed in `OUT/trial-N` (`OUT/trial-N/seed-S` for several seeds), an
ordinary run folder each. What was drawn and what came of it stands in a database, so that a search
can be killed, go on, be prolonged and be shared.
"""

import gc
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsrpn import files
from wsrpn.data import base
from wsrpn.errors import Diverged, InputError
from wsrpn.report.trials import Trial
from wsrpn.study import plan, ranges, search
from wsrpn.study.judged import Judged, Pruned, Undefined
from wsrpn.study.plan import Changes, Search
from wsrpn.study.pool import Stopped
from wsrpn.train import run, signals
from wsrpn.train.loop import Progress

if TYPE_CHECKING:
    from wsrpn.study.trials import Claim, Trials

PATIENCE = 3  # trials in a row that fail before the search stops
NEEDS = "wsrpn tune needs Optuna 4.9 or newer; pip install 'wsrpn[tune]'"

Tell = Callable[[str, Mapping[str, Any]], None]


def tune(
    study: Search,
    out: Path,
    *,
    name: str = "search",
    storage: str = "",
    device: str = "auto",
    tell: Tell = lambda event, facts: None,
) -> tuple[Trial, ...]:
    """Search until the study has as many trials as it asks for, over all its processes.

    Args:
        study: what is searched.
        out: folder of trials and tables.
        name: of the study in a database that it shares with others.
        storage: URL of the database; the file `study.db` in `out` where empty.
        device: where to compute.
        tell: called with `begin` (`number`, `chosen`), `step` (`number`, `now`) and `end`
            (`number`, `trials`) of a trial.

    Returns:
        All trials; those that other processes are at are `running`.

    Raises:
        InputError: study, data or folder are not usable, Optuna is missing, or the study was begun
            with something else.
        RuntimeError: trials fail one after the other, or the database does.
        Stopped: a signal asked for the end; the trial at hand can go on.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "wsrpn tune runs in one process: start it several times, with the same --out, or with "
            "the same --storage on several machines."
        )
    shared = _shared(out, storage)
    search.check(study)
    dataset = base.load(search.plain(study).data)
    search.refuse_boxless(study, dataset)
    out.mkdir(parents=True, exist_ok=True)
    facts = search.facts(study, dataset)
    with (
        shared.joined(study, out, storage, name=name, facts=facts, new=True) as found,
        signals.caught() as caught,
    ):
        files.write(out / "study.yaml", plan.dump(study).encode())
        _Running(study, found, out, device, caught, tell).run()
        return found.rows()


def trials(
    study: Search, out: Path, *, name: str = "search", storage: str = ""
) -> tuple[Trial, ...]:
    """The trials that there are; nothing is trained.

    Args:
        study: what is searched.
        out: folder of trials and tables.
        name: as in `tune`.
        storage: as in `tune`.

    Raises:
        InputError: there are none, or the study was begun with something else.
    """
    shared = _shared(out, storage)
    if not storage and not (out / "study.db").is_file():
        raise InputError(f"{out}: no study.db, so there are no trials to make tables of.")
    search.check(study)
    out.mkdir(parents=True, exist_ok=True)
    facts = search.facts(study, None)
    with shared.joined(study, out, storage, name=name, facts=facts, new=False) as found:
        return found.rows()


def _shared(out: Path, storage: str) -> Any:
    """The module that knows Optuna, once it is sure that it can do its work there."""
    try:
        from wsrpn.study import database
        from wsrpn.study import trials as shared
    except ImportError:
        raise InputError(NEEDS) from None
    files.refuse_file(out)
    if storage:
        database.shown(storage)
    return shared


@dataclass
class _Running:
    """A search under way in this process."""

    study: Search
    trials: "Trials"
    out: Path
    device: str
    caught: signals.Caught
    tell: Tell

    def run(self) -> None:
        """Trial after trial, until all are begun or a signal comes."""
        from wsrpn.study.trials import FinishedElsewhere

        failed = 0
        while not self.caught.signal:
            claim = self.trials.next(self.study.trials)
            if claim is None:
                return
            with claim:
                try:
                    fault = self._trial(claim)
                except signals.Interrupted as interrupted:
                    claim.note(attempts=0)  # this was no accident
                    raise Stopped(interrupted.code - 128) from None
                except FinishedElsewhere:
                    fault = ""  # given up after a long silence; another machine has it now
            gc.collect()  # what a training leaves on the accelerator
            failed = failed + 1 if fault else 0
            if failed == PATIENCE:
                raise RuntimeError(f"{PATIENCE} trials in a row failed, the last one: {fault}")
        raise Stopped(self.caught.signal)

    def _trial(self, claim: "Claim") -> str:
        """Draw, train, and say what became of it.

        Returns:
            The fault that ended it; nothing where it ended well, was pruned, or diverged.
        """
        from wsrpn.study.database import is_of_database

        place = self.out / f"trial-{claim.number}"
        fresh = not any(place.glob("**/config.yaml"))
        changes = ranges.draw(claim.trial, self.study)
        self.tell("begin", {"number": claim.number, "chosen": changes})
        reason, fault = "", ""
        try:
            if not self._repeated(claim):
                claim.finish("complete", self._mean(claim, changes, place))
        except Pruned:
            claim.finish("pruned")
        except (Diverged, Undefined) as error:
            reason = _sentence(error)
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            if isinstance(error, signals.Interrupted) or is_of_database(error):
                raise
            if isinstance(error, InputError) and not self.trials.finished():
                self._forget(claim, place if fresh else None)
                raise  # the first training says what is wrong with all
            reason = fault = _sentence(error)
        if reason:
            claim.note(reason=reason)
            claim.finish("failed")
        self.tell("end", {"number": claim.number, "trials": self.trials.rows()})
        return fault

    def _forget(self, claim: "Claim", place: Path | None) -> None:
        """Let a trial that could not begin be none; one that had begun before goes on later."""
        if place is None:
            claim.note(attempts=0)
            return
        claim.void()
        shutil.rmtree(place, ignore_errors=True)

    def _repeated(self, claim: "Claim") -> bool:
        """Give the value of an earlier trial with the same values, if there is one."""
        other = self.trials.same(claim)
        if other is None:
            return False
        claim.note(reason=f"same values as trial {other.number}")
        if other.state.name == "PRUNED":
            for step, value in other.intermediate_values.items():
                claim.trial.report(value, step)
            raise Pruned
        claim.finish("complete", other.value)
        return True

    def _mean(self, claim: "Claim", changes: Changes, place: Path) -> float:
        """Train with each seed: the mean of the figures at the kept epochs."""
        values: dict[str, float] = dict(claim.notes.get("values", {}))
        seeds, over = plan.seeds(self.study.seeds), search.over(self.study, changes)
        for index, seed in enumerate(seeds):
            if str(seed) in values:
                continue
            config = run.complete(plan.config(self.study, over, seed=seed, where=Path()))

            def listen(now: Progress) -> None:
                self.tell("step", {"number": claim.number, "now": now})

            judged = Judged(
                claim=claim,
                config=config,
                out=place / f"seed-{seed}" if len(seeds) > 1 else place,
                figure=self.study.figure,
                first=index * config.train.epochs,
                is_last=index == len(seeds) - 1,
                device=self.device,
                caught=self.caught,
                listen=listen,
            )
            values[str(seed)] = judged.value()
            claim.note(values=values)
        return math.fsum(values.values()) / len(values)


def _sentence(error: Exception) -> str:
    kind = "" if isinstance(error, (InputError, Diverged, Undefined)) else type(error).__name__
    text = ": ".join(filter(None, (kind, " ".join(str(error).split()))))
    return text if len(text) <= 500 else f"{text[:499]}…"
