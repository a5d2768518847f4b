"""An ASGI application (specification 3.0) hosted as it is: its lifespan once per process, then its requests.

The application lives in one event loop, the one its lifespan started in: what it opened there (pools,
locks, clients) works in no other. On a synchronous host that is the background loop of ``loop.py``. A request
that arrives in another loop is carried over.

A body that arrives whole makes a plain response; once the application says that more follows, the response
is streamed and the application waits for each chunk to be taken.
"""

from __future__ import annotations

import asyncio
from contextvars import Context as ContextVariables

from pys_multi.http import Response
from pys_multi.web import StartupError, ascii_query, response_headers, server_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
    from typing import Any

    from pys_multi.http import Request

    Message = MutableMapping[str, Any]
    Application = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
    ]


class AsgiHost:
    """Neutral requests to an ASGI application, neutral responses back.

    finish: whether a response is complete only when the application returned, after its background tasks.
    Clouds freeze an instance between requests, so that a task left behind would not run; a host that keeps
    running may say False and answer earlier.
    """

    __slots__ = ("_application", "_finish", "_home", "_lifespan", "_ready", "_running", "_starting")

    def __init__(self, application: Application, *, finish: bool = True) -> None:
        self._application = application
        self._finish = finish
        self._home: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._ready = False
        self._lifespan = _Lifespan(application)
        self._running: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks only weakly

    # ---- for hosts that block

    def start(self) -> None:
        """Runs the lifespan startup in the background loop. Raises StartupError."""
        from pys_multi.loop import run

        run(self.start_async())

    def handle(self, request: Request) -> Response:
        """The application's response; a streamed body is an iterator. Raises what the application raised."""
        from pys_multi.loop import iterate, run

        response = run(self.handle_async(request))
        if not isinstance(response.body, bytes):
            response.body = iterate(response.body)  # type: ignore[arg-type]  # of handle_async: async
        return response

    def stop(self) -> None:
        """Runs the lifespan shutdown, if the application was started."""
        from pys_multi.loop import run

        if asyncio._get_running_loop() is self._home is not None:
            raise RuntimeError("the application runs in this event loop: await stop_async() instead")
        run(self.stop_async())

    # ---- for hosts with an event loop

    async def start_async(self) -> None:
        """Runs the lifespan startup in this loop, or waits for the one under way. Raises StartupError."""
        if self._home is None:
            self._home = asyncio.get_running_loop()
            # Not in the context of the request that happens to be first.
            self._starting = self._home.create_task(self._lifespan.start(), context=ContextVariables())
        await self._at_home(self._started())
        self._ready = True

    async def handle_async(self, request: Request) -> Response:
        """The application's response; a streamed body is an async iterator. Raises what the application raised."""
        if not self._ready:
            await self.start_async()
        if self._home is asyncio.get_running_loop():
            return await self._serve(request)
        response: Response = await self._at_home(self._serve(request))
        if not isinstance(response.body, bytes):
            response.body = self._carry(response.body)  # type: ignore[arg-type]  # of _serve: an async generator
        return response

    async def stop_async(self) -> None:
        """Runs the lifespan shutdown, if the application was started."""
        if self._home is not None and not self._home.is_closed():
            await self._at_home(self._lifespan.stop())

    async def _started(self) -> None:
        # One request that is cancelled must not cancel the startup that others wait for.
        await asyncio.shield(self._starting)  # type: ignore[arg-type]  # set together with _home

    async def _at_home(self, coroutine: Any) -> Any:
        if self._home is asyncio.get_running_loop():
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._home))  # type: ignore[arg-type]

    async def _carry(self, chunks: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
        """The chunks of a body in another loop."""

        taking: asyncio.Task[Any] | None = None

        async def take() -> bytes | None:
            nonlocal taking
            taking = asyncio.current_task()
            return await anext(chunks, None)

        async def close() -> None:
            # One that was cancelled, because the reader went away, may still be on its way out of the generator.
            if taking is not None:
                await asyncio.wait([taking])
            await chunks.aclose()

        try:
            while (chunk := await self._at_home(take())) is not None:
                yield chunk
        finally:
            await self._at_home(close())

    async def _serve(self, request: Request) -> Response:
        exchange = _Exchange(request.body)
        scope = _scope(request)
        if self._lifespan.state is not None:
            scope["state"] = self._lifespan.state.copy()
        task = asyncio.create_task(_call(self._application, scope, exchange.receive, exchange.send))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(exchange.end)
        try:
            chunk, more = await exchange.chunk()
            if not more:
                await self._finished(exchange)
        except BaseException:  # of the application, or this request was cancelled
            task.cancel()
            raise
        if not more:
            return Response(chunk, status=exchange.status, headers=exchange.headers)
        if request.method == "HEAD":
            exchange.hang_up()
            return Response(status=exchange.status, headers=exchange.headers)
        body = self._stream(exchange, chunk)
        await anext(body)
        return Response(body, status=exchange.status, headers=exchange.headers)

    async def _stream(self, exchange: _Exchange, chunk: bytes) -> AsyncGenerator[bytes]:
        try:
            # The one who makes the body takes this: from then on the application gets to know when the reader
            # goes, even one that never read.
            yield b""
            more = True
            if chunk:
                yield chunk
            while more:
                chunk, more = await exchange.chunk()
                if chunk:
                    yield chunk
            await self._finished(exchange)
        finally:
            exchange.hang_up()

    async def _finished(self, exchange: _Exchange) -> None:
        exchange.hang_up()
        if self._finish:
            await exchange.ended.wait()


class _Exchange:
    """One request and its response, between the application's task and whoever reads the response."""

    __slots__ = ("_body", "_chunks", "_complete", "_gone", "_room", "ended", "headers", "status")

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.ended = asyncio.Event()
        self._body: bytes | None = body
        self._complete = False
        self._gone = asyncio.Event()
        self._room = asyncio.Semaphore(1)
        self._chunks: asyncio.Queue[tuple[bytes, bool] | BaseException] = asyncio.Queue()

    # ---- the application's side

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self.status:
                raise RuntimeError("the application started its response twice")
            self.status = int(message["status"])
            self.headers = response_headers(
                [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
            )
        elif kind == "http.response.body":
            if not self.status:
                raise RuntimeError("the application sent a body before it started its response")
            if self._complete:
                raise RuntimeError("the application sent a body after it had completed its response")
            if self._gone.is_set():
                raise OSError("nobody reads this response any more")
            more = bool(message.get("more_body", False))
            chunk = bytes(message.get("body", b""))
            await self._room.acquire()
            # Only now: an application that gave up before, or sent what is no bytes, has not completed anything.
            self._complete = not more
            self._chunks.put_nowait((chunk, more))
        else:
            raise RuntimeError(f"the application sent {kind!r}, which a response does not consist of")

    def end(self, task: asyncio.Task[None]) -> None:
        """The application returned, raised, or was cancelled."""
        self.ended.set()
        error = None if task.cancelled() else task.exception()
        if not self._complete:
            how = "was cancelled" if task.cancelled() else "returned"
            self._chunks.put_nowait(error or RuntimeError(f"the application {how} before its response was complete"))
        elif error is not None:
            # The response is out; that frameworks answer an error with a 500 and raise it as well is for this log.
            _log("the application raised after its response", error)

    # ---- the reader's side

    async def chunk(self) -> tuple[bytes, bool]:
        """The next chunk, and whether more follows. Raises what the application raised."""
        item = await self._chunks.get()
        if isinstance(item, BaseException):
            raise item
        self._room.release()
        return item

    def hang_up(self) -> None:
        """The response is complete, or its reader has gone: the application gets to know."""
        self._gone.set()
        self._room.release()


class _Lifespan:
    """The application's lifespan: a task from startup to shutdown. An application without one is served as well."""

    __slots__ = ("_answered", "_application", "_inbox", "_outcome", "_task", "state")

    def __init__(self, application: Application) -> None:
        self._application = application
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outcome: asyncio.Queue[str | None] = asyncio.Queue()
        #: What the application kept at startup for its requests; None without a lifespan.
        self.state: dict[str, Any] | None = None

    async def start(self) -> None:
        state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        self._inbox.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.create_task(_call(self._application, scope, self._inbox.get, self._send))
        self._task.add_done_callback(self._end)
        failure = await self._outcome.get()
        if failure is not None:
            raise StartupError(f"the application failed to start: {failure or 'it gave no reason'}")
        if not self._task.done():
            self.state = state

    async def stop(self) -> None:
        if self._task is None or self._task.done():
            return
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        failure = await self._outcome.get()
        if failure is not None:
            _log(f"the application failed to shut down: {failure or 'it gave no reason'}")
        await asyncio.wait([self._task])

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        self._answered = True
        if kind.endswith(".complete"):
            self._outcome.put_nowait(None)
        elif kind.endswith(".failed"):
            self._outcome.put_nowait(str(message.get("message", "")))
        else:
            raise RuntimeError(f"the application sent {kind!r}, which a lifespan does not consist of")

    def _end(self, task: asyncio.Task[None]) -> None:
        self._outcome.put_nowait(None)
        error = None if task.cancelled() else task.exception()
        if error is not None and self.state is not None:
            _log("the lifespan of the application ended with an error", error)
        elif error is not None and not self._answered:
            # To raise is how an application says that it has no lifespan (ASGI, "Lifespan Protocol").
            _log(f"the application has no lifespan: {error}", level=20)


async def _call(application: Application, *arguments: Any) -> None:
    """One call of the application, whatever awaitable it returns; `sys.exit()` in it ends nothing but itself."""
    from pys_multi.loop import contained

    async def call() -> None:
        await application(*arguments)

    await contained(call())


def _scope(request: Request) -> dict[str, Any]:
    path = request.root_path + request.path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": path,
        "raw_path": None,  # decoded once already, by a gateway or its provider
        "query_string": ascii_query(request.query_string).encode(),
        "root_path": request.root_path,
        "headers": [(name.lower().encode("latin-1"), _encode(value)) for name, value in request.headers.items()],
        "client": (request.client, 0) if request.client else None,
        "server": server_of(request),
        "extensions": {},
    }


def _encode(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def _log(text: str, error: BaseException | None = None, level: int = 40) -> None:
    import logging

    logging.getLogger("pys_multi").log(level, text, exc_info=error)
