"""Messages of requests at the same time are handled together, and each request learns of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pys_multi.messages import Message
from pys_multi.reactions import Failure
from pys_multi_providers.gcp.batches import Gatherer

#: Longer than any test: only a batch that is full goes before.
FOREVER = 60.0


def message(id: Any) -> Message:
    return Message(b"", id=str(id))


def together(gatherer: Gatherer, count: int, run: Any) -> list[str | None]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: gatherer.handle(message(number), run), range(count)))


def test_a_full_batch_is_handled_at_once_and_together() -> None:
    seen: list[list[str]] = []

    def run(messages: list[Message]) -> list[Failure]:
        seen.append(sorted(found.id for found in messages))
        return []

    assert together(Gatherer(4, FOREVER), 4, run) == [None] * 4
    assert seen == [["0", "1", "2", "3"]]


def test_what_is_there_when_the_window_is_over_is_handled() -> None:
    sizes: list[int] = []

    def run(messages: list[Message]) -> list[Failure]:
        sizes.append(len(messages))
        return []

    assert Gatherer(10, 0.0).handle(message(1), run) is None
    assert sizes == [1]


def test_each_is_told_of_its_own_failure_alone() -> None:
    def run(messages: list[Message]) -> list[Failure]:
        return [Failure(found.id, f"why {found.id}") for found in messages if found.id in ("1", "3")]

    assert together(Gatherer(5, FOREVER), 5, run) == [None, "why 1", None, "why 3", None]


def test_more_than_a_batch_are_several() -> None:
    sizes: list[int] = []
    lock = threading.Lock()

    def run(messages: list[Message]) -> list[Failure]:
        with lock:
            sizes.append(len(messages))
        return []

    together(Gatherer(3, FOREVER), 9, run)
    assert sizes == [3, 3, 3]


def test_what_ends_a_batch_ends_it_for_all() -> None:
    def run(messages: list[Message]) -> list[Failure]:
        raise SystemExit(3)

    gatherer = Gatherer(3, FOREVER)
    ended: list[type[BaseException]] = []

    def handle(number: int) -> None:
        try:
            gatherer.handle(message(number), run)
        except BaseException as error:
            ended.append(type(error))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(handle, range(3)))
    assert sorted(kind.__name__ for kind in ended) == ["RuntimeError", "RuntimeError", "SystemExit"]
    # And the next one is not in it any more.
    assert Gatherer(1, 0).handle(message(9), lambda _: []) is None


def test_a_second_delivery_of_a_message_is_no_part_of_the_batch_of_the_first() -> None:
    batches: list[list[str]] = []

    def run(messages: list[Message]) -> list[Failure]:
        batches.append([found.id for found in messages])
        return [Failure("a", "failed")] if len(batches) == 1 else []

    gatherer = Gatherer(2, FOREVER)
    answers: dict[str, str | None] = {}

    def first() -> None:
        answers["first"] = gatherer.handle(message("a"), run)

    thread = threading.Thread(target=first)
    thread.start()
    while gatherer._open is None:
        time.sleep(0.001)
    answers["second"] = gatherer.handle(message("a"), run)
    answers["other"] = gatherer.handle(message("b"), run)
    thread.join(10)
    assert batches == [["a"], ["a", "b"]]
    assert answers == {"first": None, "second": "failed", "other": None}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_no_message_is_lost_or_handled_twice(size: int) -> None:
    seen: list[str] = []
    lock = threading.Lock()

    def run(messages: list[Message]) -> list[Failure]:
        assert len(messages) <= size
        with lock:
            seen.extend(found.id for found in messages)
        return []

    together(Gatherer(size, 0.001), 40, run)
    assert sorted(seen, key=int) == [str(number) for number in range(40)]
