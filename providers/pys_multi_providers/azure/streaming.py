"""The server inside the worker that the host sends HTTP requests on to, so that they keep what they are.

Any package may bring it: its module has a ``WebApp`` and a ``WebServer``, classes of
``azurefunctions.extensions.base``, which is part of the worker, and by their definition the worker knows that there is
one (``http_v2.py`` of azure-functions-runtime 1.3, the same in the worker of Python 3.11 and 3.12). Microsoft's own is
for FastAPI; this one is for handlers that take a request and give a response, and has no dependency.

A request waits here until the worker was told of its invocation (``x-ms-invocation-id``), whose function then gets it
as its argument. What the function returns comes back here and is sent, chunk by chunk where it is a stream; it goes
on after the invocation has ended, and the host waits for it.

The only peer is the host on the same machine, which speaks HTTP/1.1 and has checked what it forwards.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from azurefunctions.extensions import base  # type: ignore[import-untyped,import-not-found,unused-ignore]

from pys_multi.errors import HTTPError
from pys_multi.http import MAX_BODY_BYTES, Request, Response
from pys_multi.runtime import BODILESS, stream_of
from pys_multi_providers.azure.deadlines import TimeIsUp
from pys_multi_providers.azure.fronts import KEY, RAW_URL, client_of, fields_of, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Any

#: Bytes of a request's head; the host itself takes 32 KiB of fields and 8 KiB of a first line.
_MAX_HEAD = 64 * 1024
#: Fields that are not the caller's, or not for the handler.
_NOT_THE_CALLERS = frozenset(("host", "transfer-encoding", "x-ms-invocation-id", KEY))
#: Streams that are produced at the same time.
_STREAMS = 64

_threads = ThreadPoolExecutor(_STREAMS, "pys-multi-stream")


class Incoming:
    """What the function of an HTTP trigger gets. error: why it was not read to its end, None where it was."""

    __slots__ = ("error", "headers", "request", "route")

    def __init__(self, request: Request, headers: dict[str, str], error: HTTPError | None) -> None:
        self.request = request
        self.error = error
        #: As the worker looks for its own: by their names in lower case.
        self.headers = headers
        self.route: dict[str, str] = {}


class Outgoing:
    """What the function returns.

    next: the next chunk of a stream within the function's time, None at its end; called in a thread. refuse: the
    response where a stream failed before its first chunk. broke_off: told of what ended it after that.
    """

    __slots__ = ("broke_off", "next", "refuse", "response")

    def __init__(
        self,
        response: Response,
        next: Callable[[Iterator[bytes]], bytes | None],
        refuse: Callable[[BaseException], Response],
        broke_off: Callable[[BaseException], None],
    ) -> None:
        self.response = response
        self.next = next
        self.refuse = refuse
        self.broke_off = broke_off


class _Synchronizer(base.RequestSynchronizer):  # type: ignore[misc]
    def sync_route_params(self, request: Incoming, path_params: dict[str, str]) -> None:
        """The worker's, with what the host found in the route's template."""
        request.route = dict(path_params)


class HttpRequest(metaclass=base.RequestTrackerMeta):  # type: ignore[metaclass]
    """Tells the worker which type its requests have."""

    request_type = Incoming
    synchronizer = _Synchronizer()


class HttpResponse(metaclass=base.ResponseTrackerMeta):  # type: ignore[metaclass]
    """Tells the worker which type its responses have."""

    label = base.ResponseLabels.STANDARD
    response_type = Outgoing


class WebApp(base.WebApp):  # type: ignore[misc]
    """Holds the worker's own handler, which waits for the invocation and its result."""

    def __init__(self) -> None:
        self.handle: Callable[[Incoming], Awaitable[Any]] | None = None

    def route(self, func: Callable[[Incoming], Awaitable[Any]]) -> None:
        """The worker's handler of every request."""
        self.handle = func

    def get_app(self) -> WebApp:
        """Itself: what the server serves."""
        return self


class WebServer(base.WebServer):  # type: ignore[misc]
    """HTTP/1.1 on the address that the worker has told the host."""

    async def serve(self) -> None:
        """Serves until the worker ends."""
        server = await asyncio.start_server(self._connected, self.hostname, self.port, limit=_MAX_HEAD)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the host is gone, or is no host
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False where the connection ends after it."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, pairs = _parsed(head)
        headers = {name.lower(): value for name, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, refusal = b"", None
        try:
            body = await _body(reader, headers)
        except HTTPError as error:
            refusal = error
        incoming = Incoming(_request(method, target, pairs, headers, body), headers, refusal)
        try:
            assert self.web_app.handle is not None  # the worker has set it before it serves
            outgoing = await self.web_app.handle(incoming)
        except Exception:
            # The worker has told the host of it, which logs it; the caller learns nothing of it.
            writer.write(b"HTTP/1.1 500 -\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return refusal is None
        # What was not read is still on its way.
        return await _send(writer, method, outgoing) and refusal is None


def _parsed(head: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = []
    for line in lines:
        name, _, value = line.partition(":")
        pairs.append((name, value.strip(" \t")))
    return method, target, pairs


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The whole body. Raises HTTPError where it is larger than a function takes."""
    too_large = HTTPError(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        chunks, room = [], MAX_BODY_BYTES
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            room -= size
            if room < 0:
                raise too_large
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass  # fields behind the body, which nobody asks for
        return b"".join(chunks)
    length = int(headers.get("content-length") or 0)
    if length > MAX_BODY_BYTES:
        raise too_large
    return await reader.readexactly(length) if length else b""


def _request(method: str, target: str, pairs: list[tuple[str, str]], headers: dict[str, str], body: bytes) -> Request:
    path, _, query = target.partition("?")
    # The host names itself as the one that the request is for, and says in fields of its own whom the caller named.
    host = headers.get("x-forwarded-host") or headers.get("host", "")
    named = [pair for pair in pairs if pair[0].lower() not in _NOT_THE_CALLERS]
    return Request(
        method,
        path_of(path, headers.get(RAW_URL, "")),
        query_string=query,
        headers=[("host", host), *named],
        body=body,
        client=client_of(headers),
        scheme=headers.get("x-forwarded-proto", "https"),
    )


# ---- answers


async def _send(writer: asyncio.StreamWriter, method: str, outgoing: Outgoing) -> bool:
    response = outgoing.response
    if type(response.body) is bytes:
        writer.write(_head(response, is_head=method == "HEAD") + response.body)
        await writer.drain()
        return True
    loop, chunks = asyncio.get_running_loop(), stream_of(response)
    try:
        # What fails before its first chunk can still be answered with a status.
        first = await loop.run_in_executor(_threads, outgoing.next, chunks)
    except (Exception, TimeIsUp) as error:
        response = outgoing.refuse(error)
        body = response.body if isinstance(response.body, bytes) else b""
        writer.write(_head(response, is_head=method == "HEAD") + body)
        await writer.drain()
        return True
    return await _stream(writer, outgoing, chunks, first)


async def _stream(
    writer: asyncio.StreamWriter, outgoing: Outgoing, chunks: Iterator[bytes], chunk: bytes | None
) -> bool:
    loop = asyncio.get_running_loop()
    writer.write(_head(outgoing.response, chunked=True))
    try:
        while chunk is not None:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await _drained(writer)
            chunk = await loop.run_in_executor(_threads, outgoing.next, chunks)
    except _Gone:
        await loop.run_in_executor(_threads, _close, chunks)
        return False
    except (Exception, TimeIsUp) as error:
        outgoing.broke_off(error)
        # Without its end the caller sees that it is not whole.
        writer.transport.abort()
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


class _Gone(Exception):
    """The host has closed the connection: its caller wants no more."""


async def _drained(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.drain()
    except ConnectionError as error:
        raise _Gone from error


def _close(chunks: Iterator[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _head(response: Response, *, is_head: bool = False, chunked: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {response.status} -"]
    for name, value in fields_of(response):
        # How long a body is, is counted here; after HEAD there is none to count.
        if is_head or name.lower() != "content-length":
            lines.append(f"{name}: {value}")
    if chunked:
        lines.append("transfer-encoding: chunked")
    elif not is_head and response.status not in BODILESS:
        lines.append(f"content-length: {len(response.body)}")  # type: ignore[arg-type]  # bytes, where it is not chunked
    return "\r\n".join((*lines, "", "")).encode("latin-1")
