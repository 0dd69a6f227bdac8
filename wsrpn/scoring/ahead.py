"""Reading ahead in a thread: the next tiles are decoded while the model looks at these."""

import queue
import threading
from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")
_WAIT = 0.2  # seconds until a thread whose reader went away looks up


def ahead(items: Generator[T, None, None], most: int) -> Generator[T, None, None]:
    """The same items, made by another thread that is at most so many in front.

    The generator runs in that thread to its end, and is closed there where nobody wants the rest.

    Args:
        items: what to run through.
        most: items that wait at a time.

    Raises:
        Exception: whatever the generator raised, in its place.
    """
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(most)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, waiting, stop), daemon=True)
    thread.start()
    try:
        while True:
            going, item = waiting.get()
            if going:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stop.set()
        thread.join()


def _fill(
    items: Generator[Any, None, None],
    waiting: "queue.Queue[tuple[bool, Any]]",
    stop: threading.Event,
) -> None:
    end: BaseException | None = None
    try:
        for item in items:
            if not _put(waiting, (True, item), stop):
                break
    except BaseException as error:  # told where the items are read
        end = error
    finally:
        items.close()
    _put(waiting, (False, end), stop)


def _put(
    waiting: "queue.Queue[tuple[bool, Any]]", item: tuple[bool, Any], stop: threading.Event
) -> bool:
    """Wait for room; False where nobody reads any more."""
    while not stop.is_set():
        try:
            waiting.put(item, timeout=_WAIT)
            return True
        except queue.Full:
            continue
    return False
