"""Progress on stderr: a bar on a terminal, now and then a plain line elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_EVERY = 15.0  # seconds between plain lines


class Bar:
    """One bar.

    Args:
        description: what is going on.
        total: how many there are; None where nobody knows.
    """

    def __init__(self, description: str, total: int | None) -> None:
        self.description, self.total, self.done = description, total, 0
        self.console = Console(stderr=True)
        self.fancy = self.console.is_terminal
        self.last = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not self.fancy,
        )
        self.task = self.bar.add_task(description, total=total, note="")

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def set_total(self, total: int) -> None:
        """Say how many there are, once it is known."""
        self.total = total
        self.bar.update(self.task, total=total)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count some as done, with a word on how it goes."""
        self.done += count
        self.bar.update(self.task, advance=count, note=note)
        if not self.fancy and time.monotonic() - self.last > _EVERY:
            self.last = time.monotonic()
            of = f"/{self.total}" if self.total else ""
            print(
                f"{self.description} {self.done}{of} {note}".rstrip(), file=sys.stderr, flush=True
            )
