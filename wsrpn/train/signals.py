"""SIGTERM and SIGINT end a training between two steps, with a checkpoint."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(RuntimeError):
    """A signal asked for the end; the checkpoint is written.

    Attributes:
        code: what the process exits with, 128 + signal.
    """

    def __init__(self, number: int, step: int) -> None:
        name = signal.Signals(number).name if number else "another process"
        super().__init__(f"stopped by {name} after step {step}; --resume goes on from there")
        self.code = 128 + (number or signal.SIGTERM)


class Caught:
    """The first signal that came, 0 for none."""

    signal = 0


@contextmanager
def caught() -> Iterator[Caught]:
    """Catch both signals while the context lasts; does nothing outside the main thread."""
    seen = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, frame: FrameType | None) -> None:
        seen.signal = number
        signal.signal(number, before[number])

    before: dict[int, Any] = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
