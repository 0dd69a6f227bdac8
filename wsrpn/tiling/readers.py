"""Open slide files, kept by every process for itself.

A handle of OpenSlide that two processes share after a fork reads garbage or dies, so files are
kept by process, and what a parent had open is left alone. Within a process, one thread at a time.
"""

import os
from collections import OrderedDict
from pathlib import Path

from wsrpn.slides.reader import Reader, open_slide

MOST = 4  # files open at once; each keeps some 30 MB of decoded pixels
_open: OrderedDict[tuple[int, Path], Reader] = OrderedDict()


def opened(path: Path) -> Reader:
    """The slide file, opened if it is not open yet; the one used longest ago makes room.

    It stays open until `MOST` others were asked for, or `close`; whoever asked must not close it.

    Raises:
        InputError: it cannot be opened.
    """
    here = os.getpid()
    key = (here, path)
    if key not in _open:
        own = [one for one in _open if one[0] == here]
        for oldest in own[: max(len(own) - MOST + 1, 0)]:
            _open.pop(oldest).close()
        _open[key] = open_slide(path)
    _open.move_to_end(key)
    return _open[key]


def close() -> None:
    """Close whatever this process has open."""
    for key in [one for one in _open if one[0] == os.getpid()]:
        _open.pop(key).close()
