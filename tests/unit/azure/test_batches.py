"""Messages that come one by one are handled together, and each is settled by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pys_multi import Context, Message
from pys_multi_providers.azure import batches
from pys_multi_providers.azure.batches import Inbox


class Handler:
    """Notes its batches; fails the messages whose body begins with an F."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.contexts: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, messages: list[Message], about: Context) -> dict[str, str]:
        self.batches.append([message.body for message in messages])
        self.contexts.append(about.request_id)
        self.threads.add(threading.current_thread().name)
        return {message.id: "failed" for message in messages if message.body.startswith(b"F")}


@pytest.fixture
def threads() -> Any:
    with ThreadPoolExecutor(2, "handlers") as pool:
        yield pool


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Instead of the pauses before what failed is delivered again."""
    found: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        found.append(seconds)
        await sleep(0)

    monkeypatch.setattr(batches.asyncio, "sleep", noted)
    return found


def handle(inbox: Inbox, *bodies: bytes, attempt: int = 1) -> list[str]:
    """What became of messages whose invocations are there at the same time."""

    async def all_of_them() -> list[str]:
        calls: list[Coroutine[Any, Any, str]] = [
            inbox.handle(Message(body, id=str(number), attempt=attempt), Context(f"r{number}"))
            for number, body in enumerate(bodies)
        ]
        return await asyncio.gather(*calls)

    return asyncio.run(all_of_them())


def test_one_message_is_handled_in_a_thread(threads: ThreadPoolExecutor) -> None:
    handler = Handler()
    assert handle(Inbox(handler, threads), b"a", b"F", b"c") == ["", "failed", ""]
    assert sorted(handler.batches) == [[b"F"], [b"a"], [b"c"]]
    assert all(name.startswith("handlers") for name in handler.threads)


def test_a_full_batch_does_not_wait(threads: ThreadPoolExecutor) -> None:
    handler = Handler()
    inbox = Inbox(handler, threads, batch=3, window=3600)
    assert handle(inbox, b"a", b"F", b"c", b"d", b"e", b"f") == ["", "failed", "", "", "", ""]
    assert sorted(handler.batches) == [[b"a", b"F", b"c"], [b"d", b"e", b"f"]]
    assert sorted(handler.contexts) == ["r0", "r3"]


def test_what_does_not_fill_a_batch_goes_after_its_window(threads: ThreadPoolExecutor) -> None:
    handler = Handler()
    inbox = Inbox(handler, threads, batch=10, window=0.05)
    assert handle(inbox, b"a", b"b") == ["", ""]
    assert handle(inbox, b"c") == [""]
    assert handler.batches == [[b"a", b"b"], [b"c"]]


def test_an_error_of_the_run_fails_its_batch_alone(threads: ThreadPoolExecutor) -> None:
    def run(messages: list[Message], about: Context) -> dict[str, str]:
        if messages[0].body == b"a":
            raise RuntimeError("the whole batch")
        return {}

    inbox = Inbox(run, threads, batch=2, window=3600)
    assert handle(inbox, b"a", b"b", b"c", b"d") == ["RuntimeError: the whole batch"] * 2 + ["", ""]


def test_an_invocation_that_was_cancelled_keeps_no_other_waiting(threads: ThreadPoolExecutor) -> None:
    handler = Handler()
    inbox = Inbox(handler, threads, batch=2, window=3600)

    async def story() -> str:
        first = asyncio.ensure_future(inbox.handle(Message(b"a", id="1"), Context("1")))
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        first.cancel()
        return await inbox.handle(Message(b"b", id="2"), Context("2"))

    assert asyncio.run(story()) == ""
    assert handler.batches == [[b"a", b"b"]]


@pytest.mark.parametrize(
    ("attempt", "visibility", "expected"),
    [(1, None, [1.0]), (2, None, [2.0]), (3, None, [4.0]), (9, None, [60.0]), (3, 2.5, [2.5]), (10, None, [])],
)
def test_what_failed_is_held_before_it_is_abandoned(
    threads: ThreadPoolExecutor, pauses: list[float], attempt: int, visibility: float | None, expected: list[float]
) -> None:
    inbox = Inbox(Handler(), threads, visibility=visibility, attempts=10)
    assert handle(inbox, b"F", attempt=attempt) == ["failed"]
    assert pauses == expected


def test_what_was_handled_is_not_held(threads: ThreadPoolExecutor, pauses: list[float]) -> None:
    assert handle(Inbox(Handler(), threads, attempts=10), b"a") == [""]
    assert pauses == []
