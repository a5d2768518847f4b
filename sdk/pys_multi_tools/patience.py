"""How a cloud's calls are made side by side, waited for, and made again: the same for every provider."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from pys_multi_tools.errors import ProviderError

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=ProviderError)

#: Threads that work side by side at most.
_THREADS = 16


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

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(_THREADS, len(todo)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(todo))]


def which(holds: Callable[[T], bool], items: Iterable[T]) -> list[T]:
    """The items that it holds for, looked at side by side, in order."""
    todo = list(items)
    return [item for item, is_one in zip(todo, each(holds, todo), strict=True) if is_one]


class Pause:
    """Waits between two looks, longer each time. first, most: seconds."""

    def __init__(self, *, first: float = 0.1, most: float = 3.0) -> None:
        self._next, self._most = first, most

    def __call__(self) -> None:
        # Many deploys that began together must not ask together for ever.
        time.sleep(self._next * random.uniform(0.8, 1.2))  # noqa: S311  (no secret hangs on it)
        self._next = min(self._next * 1.6, self._most)


def patiently(
    attempt: Callable[[], T], kind: type[E], may_pass: Callable[[E], bool], *, seconds: float, most: float = 5.0
) -> T:
    """Attempts again after errors of a kind that may pass, for so many seconds at most. most: of one pause."""
    deadline, pause = time.monotonic() + seconds, Pause(most=most)
    while True:
        try:
            return attempt()
        except kind as error:
            if not may_pass(error) or time.monotonic() > deadline:
                raise
        pause()
