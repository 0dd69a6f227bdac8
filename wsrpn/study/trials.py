"""The trials of a search: whose they are, who goes on with them, what became of them.

Several processes, on one machine or on many, may share a database. A trial whose process died is
taken up again: at once in its own folder, where a file lock tells that nobody holds it any more,
and from another machine when it has given no sign of life for a while.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState

from wsrpn.errors import InputError
from wsrpn.report import trials as paper
from wsrpn.study import search
from wsrpn.study.claim import STATES, Claim, origin
from wsrpn.study.database import (
    ATTEMPTS,
    GRACE,
    Database,
    is_of_database,
    sqlite,
)
from wsrpn.study.plan import Search
from wsrpn.study.ranges import chosen
from wsrpn.study.sampler import Sampler, quiet

FinishedElsewhere = optuna.exceptions.UpdateFinishedTrialError


class Trials:
    """The trials of one study; `joined` gives them.

    Args:
        plan: what is searched, with its sampler and pruner.
        out: folder of this process's trainings.
        database: where the trials stand.
        name: of the study in the database.
        own: whether the database is that of the folder, so that its locks tell all.
    """

    def __init__(
        self, plan: Search, out: Path, database: Database, *, name: str, own: bool
    ) -> None:
        self.plan, self.out, self.database, self.name = plan, out, database, name
        self.storage, self.own = database.storage, own
        self.place = "here" if own else _place(out)

    def join(self, facts: Mapping[str, Any], *, new: bool) -> None:
        """Join the study, or begin it.

        Args:
            facts: what all its trials share.
            new: whether it may be begun.

        Raises:
            InputError: there is no study to join, it was begun with other facts, or the folder
                holds another one.
        """
        if self.name not in optuna.get_all_study_names(self.storage):
            if not new:
                raise InputError(f"{self.database.shown}: holds no study '{self.name}'.")
            self._create()
        self.study = self._load()
        begun = self.study.user_attrs.get("facts")
        if new and begun not in (None, facts) and not _counted(_all(self.study)):
            # Nothing came of it. Of the other study the direction and the ranges may differ.
            optuna.delete_study(study_name=self.name, storage=self.storage)
            self._create()
            self.study, begun = self._load(), None
        if begun is None:  # or killed before it was said
            self.study.set_user_attr("facts", dict(facts))
        else:
            search.refuse_changed(self.out, begun, facts)

    def _create(self) -> None:
        if any(self.out.glob("trial-*/**/config.yaml")):
            raise InputError(
                f"{self.out}: has trials of a study that {self.database.shown} does not know; give "
                "the --storage that it was begun with, or choose another --out."
            )
        optuna.create_study(
            study_name=self.name,
            storage=self.storage,
            direction="minimize" if self.plan.figure in search.LOWER else "maximize",
            load_if_exists=True,
        )

    def _load(self) -> optuna.Study:
        plan = self.plan
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if plan.pruner == "median":
            pruner = optuna.pruners.MedianPruner(plan.warmup, plan.warmup + 1)
        return optuna.load_study(
            study_name=self.name, storage=self.storage, sampler=Sampler(plan), pruner=pruner
        )

    def next(self, total: int) -> Claim | None:
        """A trial to work on: one that was left behind, else a new one; None when all are begun."""
        with _alone(self.out), quiet():
            return self._left_behind() or self._new(total)

    def _left_behind(self) -> Claim | None:
        """A trial of this folder whose process is no more."""
        for frozen in _all(self.study, running=True):
            place = frozen.user_attrs.get("place", "here")
            lock = self._lock(origin(frozen)) if place == self.place else None
            if lock is None:
                continue
            # It may have ended between the list and the lock.
            if self.storage.get_trial(frozen._trial_id).state.is_finished():
                lock.release()
                continue
            claim = Claim(optuna.Trial(self.study, frozen._trial_id), lock, self.storage)
            attempts = claim.notes.get("attempts", 0) + 1
            claim.note(attempts=attempts)
            if attempts <= ATTEMPTS:
                return claim
            claim.note(reason=f"its process was killed {attempts} times before a validation")
            claim.finish("failed")
            lock.release()
        return None

    def _new(self, total: int) -> Claim | None:
        if not self.own:
            self._give_up_silent()
        if len(_counted(_all(self.study))) >= total:
            return None
        trial = self.study.ask()
        lock = self._lock(origin(self.storage.get_trial(trial._trial_id)))
        trial.set_user_attr("place", self.place)
        # Another machine may have asked at the same moment.
        before = [t for t in _counted(_all(self.study)) if t.number < trial.number]
        if len(before) >= total or lock is None:
            trial.set_user_attr("void", True)
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return Claim(trial, lock, self.storage)

    def _give_up_silent(self) -> None:
        """Put trials back in the queue that gave no sign of life for a while."""
        optuna.storages.fail_stale_trials(self.study)
        now = datetime.now()
        for frozen in _all(self.study, running=True):
            age = now - (frozen.datetime_start or now)
            if "place" not in frozen.user_attrs and age > timedelta(seconds=GRACE):
                # Killed between its beginning and its first sign of life.
                self.storage.set_trial_user_attr(frozen._trial_id, "void", True)
                self.storage.set_trial_state_values(frozen._trial_id, TrialState.FAIL)

    def _lock(self, number: int) -> filelock.BaseFileLock | None:
        """The lock of a trial; None while a living process holds it."""
        folder = self.out / ".locks"
        folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(folder / f"trial-{number}")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return lock

    def same(self, claim: Claim) -> FrozenTrial | None:
        """An earlier trial with the same values, which has ended well or was pruned."""
        mine = claim.trial.params
        for other in _all(self.study):
            ended = other.state in (TrialState.COMPLETE, TrialState.PRUNED)
            if ended and other.params == mine and other.number != claim.trial.number:
                return other
        return None

    def finished(self) -> int:
        """How many trials have ended."""
        return sum(trial.state.is_finished() for trial in _counted(_all(self.study)))

    def rows(self) -> tuple[paper.Trial, ...]:
        """All trials, each under the number that its folder has."""
        return tuple(
            sorted(map(self._row, _counted(_all(self.study))), key=lambda trial: trial.number)
        )

    def _row(self, frozen: FrozenTrial) -> paper.Trial:
        notes, state = frozen.user_attrs.get("notes", {}), STATES[frozen.state]
        return paper.Trial(
            number=origin(frozen),
            state=state,
            value=frozen.value if state in ("complete", "pruned") else None,
            epochs=sum(notes.get("epochs", {}).values()),
            seconds=float(notes.get("seconds", 0.0)),
            chosen=chosen(self.plan, frozen.params),
            reason=notes.get("reason", "its process was lost" if state == "failed" else ""),
        )


@contextmanager
def joined(
    plan: Search, out: Path, url: str, *, name: str, facts: Mapping[str, Any], new: bool
) -> Iterator[Trials]:
    """The trials of a study, old or new.

    Args:
        plan: what is searched.
        out: folder of this process's trainings, which exists.
        url: of the database; the file `study.db` in `out` where empty.
        name: of the study in a database that it shares with others.
        facts: what all trials share.
        new: whether the study may be begun.

    Raises:
        InputError: see `Database` and `Trials.join`.
        RuntimeError: the database fails.
    """
    with _alone(out):
        database = Database(url or sqlite(str((out / "study.db").absolute())))
        trials = Trials(plan, out, database, name=name if url else "search", own=not url)
    try:
        with _alone(out):
            trials.join(facts, new=new)
        yield trials
    except Exception as error:
        if not is_of_database(error):
            raise
        text = database.told(error)
        raise RuntimeError(f"{database.shown}: {text} (the same command goes on)") from None
    finally:
        database.close()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process of a folder at a time."""
    with filelock.FileLock(out / ".lock"):
        yield


def _place(out: Path) -> str:
    """This folder on this machine; a copy of it is another place."""
    found = out.stat()
    return f"{socket.gethostname()}:{found.st_dev}:{found.st_ino}"


def _all(study: optuna.Study, *, running: bool = False) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,) if running else None)


def _counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that are begun or over; not those that another one replaces, or that never began."""
    replaced = {n for t in trials for n in t.system_attrs.get("retry_history", ())}
    return [
        t
        for t in trials
        if t.state != TrialState.WAITING
        and t.number not in replaced
        and not t.user_attrs.get("void")
    ]
