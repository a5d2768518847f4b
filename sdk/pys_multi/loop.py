"""One event loop in a background thread, for async code on hosts that call synchronously.

It starts with the first coroutine, so that a service without one never imports asyncio, and stays for the
life of the process: clients and tasks that belong to it live across invocations. Every coroutine sees the
context variables of its caller.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")
    V = TypeVar("V")

_lock = threading.Lock()
_host: _Host | None = None
_inherited: list[_Host] = []
#: More than there can be requests at once, times the steps of each that wait in a thread.
_MOST_THREADS = 100_000


class _Host:
    """The loop and its thread."""

    __slots__ = ("loop", "runner", "stopped", "thread", "threads")

    def __init__(self) -> None:
        # With a factory, the runner leaves the starting thread's own current loop alone.
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = self.runner.get_loop()
        self.stopped = asyncio.Event()
        self.threads = ThreadPoolExecutor(_MOST_THREADS, "pys-multi-step")  # it makes one when none is idle
        self.thread = threading.Thread(target=self._serve, name="pys-multi-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with self.runner:  # leaving it cancels what still runs, and closes generators, executor and loop
            waiting = self.loop.create_task(self.stopped.wait())
            while not waiting.done() and not self.loop.is_closed():
                try:
                    self.loop.run_until_complete(waiting)
                except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                    # A task that somebody left behind called sys.exit(), or loop.stop(): everything else goes on.
                    _log("a task stopped the background event loop, which was started again", error)
        self.threads.shutdown(wait=False)


def _running() -> _Host:
    global _host
    with _lock:
        if _host is None:
            _host = _Host()
        elif _host.thread is threading.current_thread():
            raise RuntimeError("this runs in the background event loop already and would wait for itself: await it")
        return _host


def run(coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Runs the coroutine in the background loop and returns its result or raises its exception.

    timeout: seconds, after which the coroutine is cancelled and TimeoutError raised. An exception that
    reaches the waiting thread (KeyboardInterrupt, a signal handler's) cancels the coroutine as well.
    Raises RuntimeError when called inside of the loop.
    """
    try:
        host = _running()
    except RuntimeError:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(contained(coroutine), host.loop)
    try:
        return future.result(timeout)
    finally:
        future.cancel()  # does nothing to one that is done


async def in_thread(step: Callable[[V], T], value: V) -> T:
    """A blocking step of a request, in a thread; it sees the context variables of its caller.

    In the background loop never in a thread of the loop's own executor: a step may wait for async code that needs a
    thread too, so that a few requests at once would hold every thread of a pool with an end, and wait for ever.
    """
    host = _host
    if host is None or host.loop is not asyncio.get_running_loop():
        return await asyncio.to_thread(step, value)
    return await host.loop.run_in_executor(host.threads, copy_context().run, step, value)


async def contained(coroutine: Coroutine[Any, Any, T]) -> T:
    """Keeps ``sys.exit()`` and KeyboardInterrupt from ending the loop, and with it whatever else runs there."""
    try:
        return await coroutine
    except SystemExit as error:
        raise RuntimeError(f"async code called sys.exit({error.code!r})") from error
    except KeyboardInterrupt as error:
        raise RuntimeError("async code raised KeyboardInterrupt") from error


def iterate(source: AsyncIterable[T]) -> Iterator[T]:
    """The items of an async iterable, one by one, for a synchronous reader.

    One task walks the whole source, as ``async for`` would: a timeout or a task group may stay open across
    items. Nothing is produced before it is asked for. Closing the iterator cancels the task and returns once
    the source has cleaned up.
    """
    context = copy_context()  # the reader may come for the items after the handler's context has ended

    def read() -> Iterator[T]:
        loop = _running().loop
        asked = asyncio.Semaphore(0)
        results: SimpleQueue[tuple[T] | asyncio.Task[None]] = SimpleQueue()
        tasks: list[asyncio.Task[None]] = []

        def start() -> None:
            tasks.append(loop.create_task(contained(_walk(source, asked, results))))
            tasks[0].add_done_callback(results.put)

        loop.call_soon_threadsafe(start, context=context)
        ended = False
        try:
            while True:
                loop.call_soon_threadsafe(asked.release)
                result = results.get()
                if isinstance(result, asyncio.Task):
                    ended = True
                    return result.result()
                yield result[0]
        finally:
            if not ended and not loop.is_closed():
                loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                while not isinstance(results.get(), asyncio.Task):
                    pass

    return read()


async def _walk(
    source: AsyncIterable[T], asked: asyncio.Semaphore, results: SimpleQueue[tuple[T] | asyncio.Task[None]]
) -> None:
    iterator = aiter(source)
    try:
        await asked.acquire()
        async for item in iterator:
            results.put((item,))
            await asked.acquire()
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


def close(timeout: float = 5.0) -> None:
    """Cancels what runs in the loop, waits at most ``timeout`` seconds for it to end, and stops the thread.

    Without a loop it does nothing; a later coroutine starts a new one.
    """
    global _host
    with _lock:
        host, _host = _host, None
    if host is not None:
        host.loop.call_soon_threadsafe(host.stopped.set)
        host.thread.join(timeout)


def _log(text: str, error: BaseException) -> None:
    import logging

    logging.getLogger("pys_multi").error(text, exc_info=error)


def _after_fork() -> None:
    """The child has no copy of the thread, and shares the loop's selector with the parent: leave it untouched."""
    global _host, _lock
    _lock = threading.Lock()
    if _host is not None:
        _inherited.append(_host)
        _host = None


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
