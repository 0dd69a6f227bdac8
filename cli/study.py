"""What a study under way says: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from . import options

if TYPE_CHECKING:
    from wsrpn.study.pool import Word
    from wsrpn.study.training import Training

EVERY = 30.0  # seconds between plain lines of one training


class Voice:
    """Says what happens to the trainings of a study.

    Args:
        trainings: all that this process is to do.
        jobs: at a time.
    """

    def __init__(self, trainings: "Sequence[Training]", jobs: int) -> None:
        self.left, self.jobs = len(trainings), jobs
        self.total = len(trainings)
        self.took: list[float] = []
        self.last: dict[str, float] = {}
        self.tasks: dict[str, TaskID] = {}
        console = Console(stderr=True)
        self.fancy = console.is_terminal
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            disable=not self.fancy,
        )
        self.all = self.bars.add_task("trainings", total=self.total, note="")

    def __enter__(self) -> "Voice":
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def __call__(self, word: "Word") -> None:
        """Say one thing."""
        name = word.training.name
        getattr(self, f"_{word.what}")(name, word)
        self.bars.update(self.all, completed=self.total - self.left, note=self.rest())

    def rest(self) -> str:
        """How long the rest will take, by those that are done."""
        if not self.took or not self.left:
            return ""
        seconds = sum(self.took) / len(self.took) * self.left / min(self.jobs, self.left)
        return f"about {span(seconds)} left"

    def _begin(self, name: str, word: "Word") -> None:
        self.last[name] = time.monotonic()
        self.tasks[name] = self.bars.add_task(name, total=None, note="")
        if not self.fancy:
            options.say(f"{name}: begins")

    def _step(self, name: str, word: "Word") -> None:
        now = word.figures
        if not now:
            self.bars.update(self.tasks[name], note=word.text)
            return
        epochs = word.training.config.train.epochs
        text = f"epoch {now['epoch']:.0f}/{epochs}, loss {now['loss']:.3f}"
        self.bars.update(self.tasks[name], completed=now["step"], total=now["total"], note=text)
        if not self.fancy and time.monotonic() - self.last[name] > EVERY:
            self.last[name] = time.monotonic()
            options.say(f"{name}: {text}")

    def _note(self, name: str, word: "Word") -> None:
        self._line(f"{name}: {word.text}")

    def _wait(self, name: str, word: "Word") -> None:
        self._forget(name)
        self._line(f"{name}: another process works on it; waiting for that at the end")

    def _skip(self, name: str, word: "Word") -> None:
        self._forget(name)
        self.left -= 1
        self._line(f"{name}: done already")

    def _done(self, name: str, word: "Word") -> None:
        self._forget(name)
        self.left -= 1
        self.took.append(word.seconds)
        rest = f", {self.rest()}" if self.rest() else ""
        count = f"{self.total - self.left} of {self.total}"
        self._line(f"{name}: done in {span(word.seconds)}; {count} trainings{rest}")

    def _fail(self, name: str, word: "Word") -> None:
        self._forget(name)
        self.left -= 1
        self._line(f"{name}: failed: {word.text}")

    def _forget(self, name: str) -> None:
        task = self.tasks.pop(name, None)
        if task is not None:
            self.bars.remove_task(task)

    def _line(self, text: str) -> None:
        if self.fancy:
            self.bars.console.print(text, markup=False, highlight=False)
        else:
            options.say(text)


def span(seconds: float) -> str:
    """A time that people read at a glance.

    Example:
        >>> span(42.3), span(150.0), span(7500.0)
        ('42 s', '2 min', '2.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
