"""How calls are made again, waited for, and made side by side."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from pys_multi_providers.gcp.errors import GcpError

T = TypeVar("T")
R = TypeVar("R")

#: Seconds that a call is tried again for.
_PATIENCE = 90.0


def ridden_out(attempt: Callable[[], T], again: bool) -> T:
    """Attempts again while Google is busy; where what was asked may be done already, only if it may be done twice."""
    deadline = time.monotonic() + _PATIENCE
    pause = Pause(first=0.2, most=10.0)
    while True:
        try:
            return attempt()
        except GcpError as error:
            may = error.is_passing and (again or error.code == "RESOURCE_EXHAUSTED")
            if not may or time.monotonic() > deadline:
                raise
        pause()


class Pause:
    """Waits between two looks, longer each time."""

    def __init__(self, *, first: float = 0.1, most: float = 2.0) -> None:
        self._next, self._most = first, most

    def __call__(self) -> None:
        # Many deploys that began together must not ask together for ever.
        time.sleep(self._next * random.uniform(0.8, 1.2))  # noqa: S311  (no secret hangs on it)
        self._next = min(self._next * 1.6, self._most)


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What ``work`` returns for each item, side by side, in order. The first error is raised once all have ended.

    By threads that an interrupted process does not wait for.
    """
    todo = list(items)
    results: dict[int, R] = {}
    errors: dict[int, BaseException] = {}
    numbers = iter(range(len(todo)))
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = work(todo[number])
            except BaseException as error:
                errors[number] = error

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(16, len(todo)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(todo))]
