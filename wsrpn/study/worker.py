"""The process of one training: what it says to the study, and how it ends.

What it prints, and the last words of one that crashes, are in `log.txt` of its run folder. It ends,
with a checkpoint, when the study asks for that or is gone.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wsrpn import registry
from wsrpn.errors import InputError
from wsrpn.study.training import Busy, Training, perform
from wsrpn.train.signals import Interrupted

LOG = "log.txt"
_TELL = 0.5  # seconds between words on how it goes


def work(
    training: Training, device: str, threads: int, code: Sequence[Path], say: Connection
) -> None:
    """Do a training and say how it goes; the last word is how it ended.

    Args:
        training: what to do.
        device: where to compute.
        threads: of torch.
        code: Python files with parts of the user's own.
        say: where to say it: `(what, text, figures)` with `step` or `note`, and one of `done`,
            `skip` (there was nothing to do), `busy`, `stop` and `fail` at the end.
    """
    # The study hears a Ctrl-C and asks with SIGTERM; two signals would be one too many.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_now)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _log_to(training.folder)
    ending = ("fail", "")
    try:
        import torch

        torch.set_num_threads(threads)
        registry.load_code(code)
        warnings.showwarning = lambda message, *_, **__: _send(say, "note", f"warning: {message}")
        did = perform(training, device=device, tell=_Teller(say))
        ending = ("done" if did else "skip", "")
    except Busy:
        ending = ("busy", "")
    except Interrupted:
        ending = ("stop", "stopped by a signal; the same command goes on from there")
    except InputError as error:
        ending = ("fail", " ".join(str(error).split()))
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        ending = ("fail", f"{type(error).__name__}: {text} ({training.folder / LOG} says where)")
    sys.stderr.flush()
    _send(say, *ending)


def _leave_now(number: int, frame: Any) -> None:
    """Outside the training itself nothing is lost: files are whole or absent."""
    raise Interrupted(number, 0)


def _follow_parent() -> None:
    """End, with a checkpoint, when the study is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _log_to(folder: Path) -> None:
    """Everything that is printed from here on, by whatever library, goes to the log of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


class _Teller:
    """Passes on how a training goes, now and then."""

    def __init__(self, say: Connection) -> None:
        self.say, self.last = say, 0.0

    def __call__(self, stage: str, figures: Mapping[str, float]) -> None:
        ends = bool(figures) and figures["step"] == figures["total"]
        if not figures or ends or time.monotonic() - self.last > _TELL:
            self.last = time.monotonic()
            _send(self.say, "step", stage, figures)


def _send(
    say: Connection, what: str, text: str, figures: Mapping[str, float] | None = None
) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        say.send((what, text, dict(figures or {})))
