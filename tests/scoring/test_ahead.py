"""Reading ahead in a thread."""

import threading
import time

import pytest

from wsrpn.scoring.ahead import ahead


def test_items_come_in_their_order_made_by_another_thread():
    makers = set()

    def items():
        for number in range(50):
            makers.add(threading.get_ident())
            yield number

    assert list(ahead(items(), 3)) == list(range(50))
    assert makers
    assert threading.get_ident() not in makers


def test_never_more_wait_than_are_allowed():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    for number in ahead(items(), 2):
        time.sleep(0.005)
        assert len(made) <= number + 1 + 2 + 1  # taken, waiting, and the one in hand


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise KeyError("x")

    found = ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(KeyError, match="x"):
        next(found)


def test_whoever_stops_early_closes_the_generator_and_ends_the_thread():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.get_ident())

    before = threading.active_count()
    found = ahead(items(), 1)
    next(found)
    found.close()
    assert len(closed) == 1
    assert closed[0] != threading.get_ident()
    assert threading.active_count() == before
