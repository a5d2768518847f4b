"""Work for an instance: a call, the answer it waits for, and how that can fail."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from pys_multi_providers.local.frames import WINDOW

if TYPE_CHECKING:
    from pys_multi_providers.local.frames import Frame


class CallFailed(Exception):
    """The call got no answer from its instance."""


class TimedOut(CallFailed):
    """The handler ran past its function's timeout."""


class Crashed(CallFailed):
    """The instance ended while it worked on the call."""


class StreamBroken(CallFailed):
    """A streamed answer stopped before its end."""


class Call:
    """One piece of work for an instance, and the future of its answer."""

    __slots__ = ("body", "error", "future", "header", "held", "stream", "submitted", "timer")

    def __init__(
        self, header: dict[str, Any], body: bytes, loop: asyncio.AbstractEventLoop, *, held: bool = False
    ) -> None:
        self.header = header
        self.body = body
        #: It runs in a place that is held for it, and takes none of its own.
        self.held = held
        self.future: asyncio.Future[Frame] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.stream: Stream | None = None
        self.submitted = time.perf_counter()
        self.error = False

    def fail(self, error: CallFailed) -> None:
        self.error = True
        if self.stream is not None:
            self.stream.finish(error)
        if not self.future.done():
            self.future.set_exception(error)

    def stop_clock(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Stream:
    """A streamed body as an async iterator; closing it tells the instance that nobody reads on."""

    def __init__(self, control: Callable[[dict[str, Any]], None]) -> None:
        self._control = control
        self._chunks: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._done = False
        self._error: CallFailed | None = None
        self._consumed = 0

    def push(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._arrived.set()

    def finish(self, error: CallFailed | None = None) -> None:
        if not self._done:
            self._done = True
            self._error = error
            self._arrived.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._done:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        chunk = self._chunks.popleft()
        self._consumed += len(chunk)
        if self._consumed >= WINDOW // 4 and not self._done:
            self._control({"kind": "consumed", "bytes": self._consumed})
            self._consumed = 0
        return chunk

    async def aclose(self) -> None:
        """Stops the instance from producing more."""
        if not self._done:
            self._control({"kind": "cancel"})
        self._chunks.clear()
