"""A trial that a process works on: its lock, its signs of life, what is kept with it."""

import threading
from collections.abc import Sequence
from typing import Any

import filelock
import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from wsrpn.report import trials as paper
from wsrpn.study.database import HEARTBEAT, is_of_database

STATES: dict[TrialState, paper.Outcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
_ENDS = {outcome: state for state, outcome in STATES.items()}


class Claim:
    """A trial that this process works on, until the context ends.

    Args:
        trial: of Optuna.
        lock: held as long as this process lives and works on it.
        storage: of the study.
    """

    def __init__(
        self, trial: optuna.Trial, lock: filelock.BaseFileLock, storage: RDBStorage
    ) -> None:
        self.trial, self._lock, self._storage = trial, lock, storage
        self.number = origin(_frozen(trial))
        self.notes: dict[str, Any] = trial.user_attrs.get("notes", {})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Claim":
        self._storage.record_heartbeat(self.trial._trial_id)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._lock.release()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            try:
                self._storage.record_heartbeat(self.trial._trial_id)
            except Exception as error:
                if not is_of_database(error):
                    raise
                continue  # out of reach for now; the grace period bears it
        self._storage.remove_session()

    def note(self, **facts: Any) -> None:
        """Keep something with the trial; `notes` has all of it."""
        self.notes |= facts
        self.trial.set_user_attr("notes", self.notes)

    def reported(self) -> dict[int, float]:
        """Validations that the database knows of: step → value."""
        return dict(_frozen(self.trial).intermediate_values)

    def finish(self, outcome: paper.Outcome, value: float | None = None) -> None:
        """Say what became of the trial; a word that comes too late is not heard."""
        if not _frozen(self.trial).state.is_finished():
            self.trial.study.tell(self.trial, value, state=_ENDS[outcome])

    def void(self) -> None:
        """Let it be none."""
        self.trial.set_user_attr("void", True)
        self.finish("failed")


def _frozen(trial: optuna.Trial) -> FrozenTrial:
    return trial.study._storage.get_trial(trial._trial_id)


def origin(trial: FrozenTrial) -> int:
    """The number that a trial had before its process was lost."""
    history: Sequence[int] = trial.system_attrs.get("retry_history", ())
    return history[0] if history else trial.number
