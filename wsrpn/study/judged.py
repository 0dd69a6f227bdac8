"""A training that is judged while it runs: its validations go to a database, which may stop it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsrpn import checkpoint, files
from wsrpn.config import RunConfig
from wsrpn.errors import InputError
from wsrpn.train import folder, run, signals
from wsrpn.train.loop import Progress

if TYPE_CHECKING:
    from wsrpn.study.trials import Claim

PRUNED = "pruned.json"  # marks a run folder that was left half-way on purpose


class Pruned(Exception):
    """Other trials did better at this epoch."""


class Undefined(Exception):
    """The figure has no value at the kept epoch."""


@dataclass
class Judged:
    """One training of a trial.

    Attributes:
        claim: the trial.
        config: of the training, complete.
        out: run folder.
        figure: column of `metrics.csv` without its `val/`.
        first: number of the report before its first epoch; seeds report one after the other.
        is_last: whether the trial ends with it.
        device: where to compute.
        caught: a signal that came before the training could see it.
        listen: called after each step.
    """

    claim: "Claim"
    config: RunConfig
    out: Path
    figure: str
    first: int
    is_last: bool
    device: str
    caught: signals.Caught
    listen: Callable[[Progress], None]

    def value(self) -> float:
        """Train, or go on: the figure at the kept epoch.

        Raises:
            Pruned: others did better at the same epoch.
            Undefined: it has no value there.
            InputError: it is not logged at all, or the training cannot be.
        """
        self.begun, self.before = time.monotonic(), float(self.claim.notes.get("seconds", 0.0))
        self.looked, self.unsure = False, True
        if (self.out / PRUNED).is_file():  # killed before the database heard of it
            self._report(judge=False)
            raise Pruned
        resume = (self.out / "config.yaml").is_file()
        run.train(self.config, self.out, resume=resume, device=self.device, listen=self._step)
        self._report(judge=False)
        self.claim.note(seconds=self._seconds())
        epoch = checkpoint.load(self.out / "checkpoints", "best").state["epoch"]
        for row in folder.read_metrics(self.out):
            if row["epoch"] == epoch and f"val/{self.figure}" in row:
                return row[f"val/{self.figure}"]
        raise Undefined(f"val/{self.figure} is undefined at the kept epoch {epoch}")

    def _step(self, now: Progress, row: Mapping[str, float] | None) -> None:
        self.listen(now)
        if row is not None or not self.looked:
            self.looked = True
            self._report_if_possible()
        if self.caught.signal:
            raise signals.Interrupted(self.caught.signal, now.step)

    def _report_if_possible(self) -> None:
        """Report and judge; where the database is out of reach, the next validation does it."""
        from wsrpn.study.database import is_out_of_reach

        try:
            self._report(judge=True)
            self.unsure = False
        except Exception as error:
            if not is_out_of_reach(error):
                raise
            self.unsure = True

    def _report(self, *, judge: bool) -> None:
        """Report the validations that the database has not; maybe stop at one of them.

        A run that goes on may have been killed before its last validation was reported, or before
        it was judged.
        """
        if not (self.out / "metrics.csv").is_file():
            return
        known = self.claim.reported()
        unsure = max(known, default=None) if self.unsure else None
        for row in folder.read_metrics(self.out):
            epoch, value = int(row["epoch"]), row.get(f"val/{self.figure}")
            step = self.first + epoch
            if not _validated(row) or (step in known and step != unsure):
                continue
            if value is None:
                self._refuse_unlogged(row)
                continue
            if step not in known:
                self._note_progress(epoch)
                self.claim.trial.report(value, step)
            ends = self.is_last and epoch == self.config.train.epochs
            if judge and not ends and self.claim.trial.should_prune():
                files.write_json(self.out / PRUNED, {"epoch": epoch, self.figure: value})
                raise Pruned

    def _refuse_unlogged(self, row: Mapping[str, float]) -> None:
        if not self.claim.reported():
            raise InputError(
                f"figure: this training logs no {self.figure}; figures that it logs: "
                f"{', '.join(_validated(row))}."
            )

    def _note_progress(self, epoch: int) -> None:
        epochs = {**self.claim.notes.get("epochs", {}), str(self.config.train.seed): epoch}
        self.claim.note(epochs=epochs, attempts=0, seconds=self._seconds())

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.begun


def _validated(row: Mapping[str, float]) -> list[str]:
    """Names of the figures that a row of `metrics.csv` has of the validation split."""
    return [key.removeprefix("val/") for key in row if key.startswith("val/")]
