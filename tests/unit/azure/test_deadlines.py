"""A handler's time ends with an exception in its thread, and in no other."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pys_multi_providers.azure.deadlines import Deadlines, TimeIsUp


def for_ever(_: object) -> None:
    while True:
        time.sleep(0.001)


def test_what_is_in_time_is_returned() -> None:
    deadlines = Deadlines()
    assert deadlines.run(len, "abc", time.time() + 60) == 3
    with pytest.raises(ZeroDivisionError):
        deadlines.run(lambda n: 1 // n, 0, time.time() + 60)


def test_what_runs_too_long_is_ended() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeIsUp):
        deadlines.run(for_ever, None, time.time() + 0.05)
    # The thread goes on, and so does the watch.
    assert deadlines.run(len, "abc", time.time() + 60) == 3
    with pytest.raises(TimeIsUp):
        deadlines.run(for_ever, None, time.time() + 0.05)


def test_an_earlier_end_is_seen_while_a_later_one_is_watched() -> None:
    deadlines = Deadlines()
    entered, leave = threading.Event(), threading.Event()

    def long(_: object) -> str:
        entered.set()
        while not leave.wait(0.01):
            pass
        return "whole"

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(deadlines.run, long, None, time.time() + 60)
        assert entered.wait(10)
        with pytest.raises(TimeIsUp):
            deadlines.run(for_ever, None, time.time() + 0.05)
        leave.set()
        assert late.result(10) == "whole"


def test_no_exception_is_left_behind() -> None:
    """Whatever ends at its very end has its result or the exception, and the thread nothing more."""
    deadlines = Deadlines()

    def at_the_end(until: float) -> str:
        while time.time() < until:
            pass
        return "done"

    ended = []
    for number in range(200):
        until = time.time() + 0.002
        try:
            ended.append(deadlines.run(at_the_end, until + (number % 5) * 0.0001, until))
        except TimeIsUp:
            ended.append("up")
        sum(range(2000))
    assert set(ended) <= {"done", "up"}


def test_a_handler_does_not_take_it_for_an_error_of_its_own() -> None:
    def stubborn(_: object) -> None:
        while True:
            try:
                time.sleep(0.001)
            except Exception:
                pytest.fail("it is no Exception")

    with pytest.raises(TimeIsUp):
        Deadlines().run(stubborn, None, time.time() + 0.05)
