"""The background event loop: results, cancellation, iteration, shutdown, fork."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest

from pys_multi import loop


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    loop.close()


async def _double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def test_run_returns_the_result() -> None:
    assert loop.run(_double(21)) == 42


def test_run_raises_the_exception() -> None:
    async def broken() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        loop.run(broken())


def test_one_loop_serves_every_thread() -> None:
    async def which() -> int:
        return id(asyncio.get_running_loop())

    seen: list[int] = [loop.run(which())]
    threads = [threading.Thread(target=lambda: seen.append(loop.run(which()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 9
    assert len(set(seen)) == 1


def test_tasks_outlive_the_call_that_started_them() -> None:
    async def start() -> asyncio.Task[int]:
        return asyncio.create_task(_double(4))

    async def finish(task: asyncio.Task[int]) -> int:
        return await task

    assert loop.run(finish(loop.run(start()))) == 8


def test_the_callers_context_variables_are_seen() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def read() -> str:
        return variable.get()

    async def produce() -> AsyncIterator[str]:
        yield variable.get()
        await asyncio.sleep(0)
        yield variable.get()

    token = variable.set("caller")
    items = loop.iterate(produce())
    assert loop.run(read()) == "caller"
    variable.reset(token)
    # Those at the call of iterate(), although the reader has left that context.
    assert list(items) == ["caller", "caller"]


def test_a_timeout_cancels_the_coroutine() -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        loop.run(forever(), timeout=0.01)
    assert cancelled.wait(5)


@pytest.mark.skipif(sys.platform == "win32", reason="no setitimer")
def test_an_exception_in_the_waiting_thread_cancels_the_coroutine() -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def interrupt(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(InterruptedError):
            loop.run(forever())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert cancelled.wait(5)


def test_run_inside_of_the_loop_is_refused_and_does_not_hang() -> None:
    async def inner() -> None: ...

    async def outer() -> None:
        loop.run(inner())

    with pytest.raises(RuntimeError, match="await it"):
        loop.run(outer(), timeout=5)


def test_iterate_gives_items_then_ends() -> None:
    async def produce() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    assert list(loop.iterate(produce())) == [0, 1, 2]
    assert list(loop.iterate(produce())) == [0, 1, 2]


def test_iterate_raises_what_the_source_raises_after_its_items() -> None:
    async def produce() -> AsyncIterator[int]:
        yield 1
        raise LookupError("half way")

    items = loop.iterate(produce())
    assert next(items) == 1
    with pytest.raises(LookupError, match="half way"):
        next(items)


def test_iterate_walks_the_source_in_one_task() -> None:
    async def produce() -> AsyncIterator[int]:
        async with asyncio.timeout(60):  # refuses to be left by another task
            yield 1
            yield 2

    assert list(loop.iterate(produce())) == [1, 2]


def test_iterate_produces_only_what_is_asked_for() -> None:
    produced: list[int] = []

    async def produce() -> AsyncIterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    items = loop.iterate(produce())
    assert produced == []
    assert next(items) == 0
    assert next(items) == 1
    loop.run(_double(1))  # the loop had its turn
    assert produced == [0, 1]


def test_closing_the_iterator_cleans_the_source_up_before_it_returns() -> None:
    events: list[str] = []

    async def produce() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            events.append("cleaned")

    items = loop.iterate(produce())
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert events == ["cleaned"]


def test_exit_in_async_code_does_not_end_the_loop() -> None:
    async def leave() -> None:
        sys.exit(3)

    async def produce() -> AsyncIterator[int]:
        yield 1
        sys.exit(3)

    async def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        loop.run(interrupt(), timeout=20)
    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\)"):
        loop.run(leave(), timeout=20)
    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\)"):
        list(loop.iterate(produce()))
    assert loop.run(_double(2), timeout=20) == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["exit", "stop"])
def test_a_task_left_behind_that_stops_the_loop_ends_nothing_else(how: str) -> None:
    loop.run(_double(1))
    go_on = asyncio.Event()
    outcome: list[str] = []

    async def other() -> None:
        await go_on.wait()
        outcome.append("went on")

    async def breaker() -> None:
        if how == "exit":
            sys.exit(3)
        asyncio.get_running_loop().stop()

    async def start() -> tuple[asyncio.Task[None], asyncio.Task[None]]:
        return asyncio.create_task(other()), asyncio.create_task(breaker())

    async def finish(task: asyncio.Task[None]) -> None:
        go_on.set()
        await task

    waiting, broken = loop.run(start())
    loop.run(finish(waiting), timeout=30)
    assert outcome == ["went on"]
    assert broken.done()


def test_a_source_that_is_no_generator_is_iterated_too() -> None:
    class Source:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    assert list(loop.iterate(Source())) == [2, 1, 0]


def test_close_cancels_what_runs_and_a_later_run_starts_anew() -> None:
    ended = threading.Event()

    async def start() -> None:
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        global _task
        _task = asyncio.create_task(forever())
        await asyncio.sleep(0)

    loop.run(start())
    loop.close()
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "pys-multi-loop"]
    loop.close()
    assert loop.run(_double(1)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_starts_its_own_loop() -> None:
    assert loop.run(_double(1)) == 2
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python warns that forking a process with threads is dangerous, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.write(write, str(loop.run(_double(5), timeout=20)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "10"
    os.waitpid(child, 0)
    assert loop.run(_double(3)) == 6  # and the parent's still works


def test_the_interpreter_exits_with_a_loop_running() -> None:
    code = (
        "import asyncio\nfrom pys_multi import loop\n"
        "async def start():\n"
        "    async def forever():\n"
        "        try: await asyncio.Event().wait()\n"
        "        finally: print('cleaned', flush=True)\n"
        "    global task; task = asyncio.create_task(forever()); await asyncio.sleep(0)\n"
        "loop.run(start()); print('main ends', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split("\n")[:2], done.stderr) == (0, ["main ends", "cleaned"], "")
