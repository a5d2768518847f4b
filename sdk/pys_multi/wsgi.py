"""A WSGI application (PEP 3333) hosted as it is.

A body of known length makes a plain response; any other is streamed, chunk by chunk, as PEP 3333 asks.
"""

from __future__ import annotations

import sys
from io import BytesIO

from pys_multi.http import Response
from pys_multi.web import ascii_query, response_headers, server_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor
    from types import TracebackType
    from typing import Any

    from pys_multi.http import Request

    ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


#: Bytes up to which a body of declared length is joined; a longer one, of a file say, is streamed.
_MAX_JOINED = 1024 * 1024


class WsgiHost:
    """Neutral requests to a WSGI application, neutral responses back.

    threads: how many requests an async host has in the application at once; streamed ones count until their end.
    """

    __slots__ = ("_application", "_pool", "_threads")

    def __init__(self, application: Application, *, threads: int = 40) -> None:
        self._application = application
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    # ---- for hosts that block

    def start(self) -> None:
        """WSGI has no startup."""

    def handle(self, request: Request) -> Response:
        """The application's response; a streamed body is an iterator. Raises what the application raised."""
        return _Call(request).response(self._application)

    def stop(self) -> None:
        """Waits for the requests of an async host that are in the application."""
        if self._pool is not None:
            self._pool.shutdown()

    # ---- for hosts with an event loop

    async def start_async(self) -> None:
        """WSGI has no startup."""

    async def handle_async(self, request: Request) -> Response:
        """The application's response, made in a thread; a streamed body is an async iterator.

        The thread stays with its request to the end of the body, for connections and context variables of
        the application belong to it. Raises what the application raised.
        """
        from asyncio import get_running_loop
        from contextvars import copy_context

        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._threads, "pys-multi-wsgi")
        relay = _Relay(get_running_loop())
        self._pool.submit(copy_context().run, relay.work, self.handle, request)
        made: Response = await relay.head
        if isinstance(made.body, bytes):
            return made
        chunks = relay.chunks()
        await anext(chunks)
        # A response of its own: the thread holds on to `made` and must not keep alive whom it waits for.
        return Response(chunks, status=made.status, headers=made.headers)

    async def stop_async(self) -> None:
        """Waits for the requests that are in the application."""
        if self._pool is not None:
            from asyncio import to_thread

            await to_thread(self._pool.shutdown)


class _Call:
    """One call of the application."""

    __slots__ = ("_environ", "_headers", "_sent", "_status", "_written")

    def __init__(self, request: Request) -> None:
        self._environ = _environ(request)
        self._status: int | None = None
        self._headers: list[tuple[str, str]] = []
        self._written: list[bytes] = []
        self._sent = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExceptionInfo | None = None
    ) -> Callable[[bytes], Any]:
        """PEP 3333's callable: with exc_info it may replace a head that was not sent yet."""
        if exc_info is not None and exc_info[1] is not None:
            if self._sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._status is not None:
            raise RuntimeError("the application called start_response twice")
        self._status = int(status.split(" ", 1)[0])
        self._headers = response_headers(headers)
        return self._written.append

    def response(self, application: Application) -> Response:
        chunks = application(self._environ, self.start_response)
        try:
            iterator = iter(chunks)
            # An application may call start_response as late as with its first chunk.
            first = next((chunk for chunk in iterator if chunk), b"")
            if self._status is None:
                raise RuntimeError("the application returned without having called start_response")
            self._sent = True
            first = b"".join((*self._written, first))
            if not first or self._is_whole(chunks):
                body: bytes | Iterator[bytes] = b"".join((first, *iterator))
                _close(chunks)
            else:
                body = _streamed(first, iterator, chunks)
                next(body)
            return Response(body, status=self._status, headers=self._headers)
        except BaseException:
            _close(chunks)
            raise

    def _is_whole(self, chunks: Iterable[bytes]) -> bool:
        if isinstance(chunks, list | tuple):
            return True
        length = next((value for name, value in self._headers if name.lower() == "content-length"), "")
        return length.isdigit() and int(length) <= _MAX_JOINED


def _streamed(first: bytes, iterator: Iterator[bytes], chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        # The one who makes the body takes this: from then on close() runs, even if nobody reads.
        yield b""
        yield first
        yield from (chunk for chunk in iterator if chunk)
    finally:
        _close(chunks)


def _close(chunks: object) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


class _Relay:
    """Carries a response from the thread that makes it to the event loop that sends it."""

    __slots__ = ("_asked", "_chunks", "_gone", "_loop", "head")

    def __init__(self, loop: AbstractEventLoop) -> None:
        from asyncio import Queue
        from threading import Semaphore

        self._loop = loop
        self._chunks: Queue[bytes | BaseException | None] = Queue()
        self._asked = Semaphore(0)
        self._gone = False
        self.head = loop.create_future()

    def work(self, handle: Callable[[Request], Response], request: Request) -> None:
        """The thread: makes the response, then each chunk when it is asked for."""
        try:
            response = handle(request)
        except BaseException as error:
            self._call(self._deliver, None, error)
            return
        body: Any = response.body
        self._call(self._deliver, response, None)
        if isinstance(body, bytes):
            return
        try:
            self._asked.acquire()
            for chunk in body:
                if self._gone:
                    break
                self._call(self._chunks.put_nowait, chunk)
                self._asked.acquire()
            body.close()
            self._call(self._chunks.put_nowait, None)
        except BaseException as error:
            self._call(self._chunks.put_nowait, error)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: nobody reads any more
            self._leave()

    def _deliver(self, response: Response | None, error: BaseException | None) -> None:
        if self.head.done():  # the request was cancelled meanwhile
            self._leave()
        elif error is not None:
            self.head.set_exception(error)
        else:
            self.head.set_result(response)

    def _leave(self) -> None:
        self._gone = True
        self._asked.release()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks; the first one is empty and for the one who makes the response, see :func:`_streamed`."""
        try:
            yield b""
            while True:
                self._asked.release()
                chunk = await self._chunks.get()
                if isinstance(chunk, BaseException):
                    raise chunk
                if chunk is None:
                    return
                yield chunk
        finally:
            self._leave()


def _environ(request: Request) -> dict[str, Any]:
    name, port = server_of(request)
    body = request.body
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": _native(request.root_path),
        "PATH_INFO": _native(request.path),
        "QUERY_STRING": ascii_query(request.query_string),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        # A name with an underscore would pass for the one with a dash that a proxy sets and the application
        # trusts; `Proxy` would become HTTP_PROXY, which clients read as their own configuration.
        key = name.upper().replace("-", "_")
        if "_" in name or key == "PROXY":
            continue
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            key = "HTTP_" + key
            joint = "; " if key == "HTTP_COOKIE" else ","
            environ[key] = environ[key] + joint + value if key in environ else value
    return environ


def _native(text: str) -> str:
    """A text as PEP 3333's "bytes in a str": UTF-8, each byte one character."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
