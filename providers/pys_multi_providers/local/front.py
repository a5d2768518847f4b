"""The front door: an ASGI application that gives each request to the function that owns its route.

It knows routes and functions and nothing of processes: a :class:`Target` is the supervisor's pools of
instances, or one runtime in this process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol, cast

from pys_multi.errors import HTTPError
from pys_multi.http import MAX_BODY_BYTES, Request, Response
from pys_multi.messages import Context
from pys_multi.model import Mount, Route, Service
from pys_multi.routing import RouteTable, Template
from pys_multi.runtime import HEALTH_PATH, problem

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]

_logger = logging.getLogger("pys_multi.front")

BUCKETS_PATH = "/.pys-multi/buckets/"

# RFC 9110, section 7.6.1, and what proxies of old also treat as such.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# Anybody can send these; there is no proxy in front of this door that would make them true.
_UNTRUSTED = frozenset(
    (
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    )
)
_SAFE = ("GET", "HEAD", "OPTIONS")
_DROPPED = _HOP_BY_HOP | _UNTRUSTED
# W3C Trace Context, section 3.2; version ff and all-zero ids are not valid.
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Target(Protocol):
    """Where functions run."""

    async def http(self, function: str, request: Request) -> Response:
        """The function's response; failures of the host are responses too."""

    def health(self) -> dict[str, Any]:
        """`status` ("ok" or "failing") and what each function says."""


class Buckets(Protocol):
    """Objects behind presigned URLs."""

    async def presigned(self, request: Request) -> Response: ...


class _Owner:
    """The function that a route or mount belongs to, and who may call it."""

    __slots__ = ("function", "origins", "private")

    def __init__(self, function: str, origins: tuple[str, ...], *, private: bool) -> None:
        self.function = function
        self.origins = origins
        self.private = private

    def refusal(self, request: Request) -> str:
        """Why a private route does not answer; empty where it does.

        That the peer is this machine is not enough: a page from anywhere, open in a browser here, reaches
        loopback as well, and so does a proxy. The Host gives a proxy and a name that resolves to loopback
        away, the Origin a page that posts.
        """
        if not _is_loopback(request.client):
            return "it answers on this machine only"
        host = request.host
        if host and not _is_loopback(_name_of(host)):
            return "it answers to localhost and 127.0.0.1 only"
        origin = request.headers.get("origin")
        if origin is not None and request.method not in _SAFE and not {origin, "*"} & set(self.origins):
            name = _name_of(origin.partition("://")[2])
            if not _is_loopback(name):
                return "pages of other sites may not call it"
        return ""


class Front:
    """The ASGI application. ``serve`` changes what is behind it between two requests."""

    def __init__(self, *, max_body: int = MAX_BODY_BYTES) -> None:
        self._max_body = max_body
        self._table = RouteTable()
        self._functions: tuple[str, ...] = ()
        self._target: Target | None = None
        self._buckets: Buckets | None = None

    def serve(self, service: Service, target: Target, buckets: Buckets | None = None) -> None:
        """From the next request on, this service is served from this target."""
        table = RouteTable()
        functions = []
        for function in service.functions:
            for trigger in function.triggers:
                if not isinstance(trigger, Route | Mount):
                    continue
                origins = function.cors.origins if function.cors is not None else ()
                owner = _Owner(function.name, origins, private=not trigger.public and not trigger.auth)
                functions.append(function.name)
                if isinstance(trigger, Route):
                    table.add(trigger.method, Template(trigger.path), owner)
                    continue
                prefix = trigger.path.rstrip("/")
                table.add("*", Template(prefix + "/{path:path}"), owner)
                if prefix:
                    table.add("*", Template(prefix), owner)
        self._functions = tuple(dict.fromkeys(functions))
        self._table, self._target, self._buckets = table, target, buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the front serves HTTP, not {scope['type']}")
        request, context = _request(scope)
        refused = await self._read_body(scope, request, receive)
        response = refused or await self._answer(request)
        await _send(response, request, context.request_id, receive, send)

    async def _read_body(self, scope: Scope, request: Request, receive: Receive) -> Response | None:
        """Puts the body into the request, or says why not; reads no more than is allowed."""
        size = 0
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body:
                return self._too_large(request)
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Response(status=400)
            chunk = message.get("body", b"")
            if chunk:
                size += len(chunk)
                if size > self._max_body:
                    return self._too_large(request)
                chunks.append(chunk)
            if not message.get("more_body", False):
                break
        if chunks:
            request._body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return None

    def _too_large(self, request: Request) -> Response:
        close = {"connection": "close"}
        return problem(HTTPError(413, f"the body is larger than {self._max_body:,} bytes", headers=close), request)

    async def _answer(self, request: Request) -> Response:
        target = self._target
        if target is None:
            return problem(HTTPError(503, "nothing is deployed here yet"), request)
        if request.path.startswith("/.pys-multi/"):
            return await self._own(request, target)  # also where an application is mounted at "/"
        found = self._table.find(request.method, request.path)
        if found is not None:
            owner: _Owner = found[0]
            if owner.private and (reason := owner.refusal(request)):
                return problem(HTTPError(403, f"this route is private: {reason}"), request)
            return await target.http(owner.function, request)
        return await self._unmatched(request, target)

    async def _own(self, request: Request, target: Target) -> Response:
        path = request.path
        if path == HEALTH_PATH:
            health = target.health()
            status = 200 if health["status"] == "ok" else 503
            return Response.json(health, status=status, headers={"cache-control": "no-store"})
        if path.startswith(HEALTH_PATH + "/"):
            function = path.removeprefix(HEALTH_PATH + "/")
            if function in target.health()["functions"]:
                request.path = HEALTH_PATH
                return await target.http(function, request)
        elif path.startswith(BUCKETS_PATH) and self._buckets is not None:
            return await self._buckets.presigned(request)
        return problem(HTTPError(404, "there is nothing at this path"), request)

    async def _unmatched(self, request: Request, target: Target) -> Response:
        """No route of that method and path: the function concerned answers, as it does on every provider."""
        path = request.path
        allowed = self._table.allowed(path)
        concerned = self._owners(path, allowed)
        wanted = request.headers.get("access-control-request-method")
        if request.method == "OPTIONS" and wanted and (found := self._table.find(wanted, path)):
            concerned = {found[0].function}
        if not allowed:
            # Maybe the other form of the trailing slash: then its function redirects.
            other = path[:-1] if path.endswith("/") else path + "/"
            concerned = self._owners(other, self._table.allowed(other))
        if len(concerned) == 1:
            return await target.http(next(iter(concerned)), request)
        if not allowed:
            if len(self._functions) == 1:
                return await target.http(self._functions[0], request)
            return problem(HTTPError(404, "there is nothing at this path"), request)
        # The methods of this path belong to several functions, and none of them knows all of them.
        allow = {"allow": ", ".join(sorted(allowed - {"*"} | {"OPTIONS"}))}
        if request.method == "OPTIONS":
            return Response(status=204, headers=allow)
        return problem(HTTPError(405, f"{request.method} is not allowed here", headers=allow), request)

    def _owners(self, path: str, methods: Iterable[str]) -> set[str]:
        found = (self._table.find(method, path) for method in methods)
        return {entry[0].function for entry in found if entry is not None}


def _request(scope: Scope) -> tuple[Request, Context]:
    random = os.urandom(40).hex()  # asked for once: each call goes to the kernel
    headers: Headers = []
    dropped: frozenset[str] | set[str] = _DROPPED
    trace_parent = ""
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in dropped:
            if name == "connection":
                # It names more fields that concern this connection only.
                named = {token.strip().lower() for token in value.split(",")} - {"close", "keep-alive"}
                if named:
                    dropped = dropped | named
                    headers = [pair for pair in headers if pair[0] not in named]
            continue
        if name == "traceparent":
            trace_parent = value
        headers.append((name, value))
    if not _TRACE_PARENT.fullmatch(trace_parent):
        # Sampling is left to whoever records traces: the flag says "not recorded" (section 3.2.2.5).
        if trace_parent:
            headers = [pair for pair in headers if pair[0] != "traceparent"]
        trace_parent = f"00-{random[32:64]}-{random[64:]}-00"
    client = scope.get("client")
    context = Context(random[:32], trace_parent=trace_parent)
    request = Request(
        scope["method"],
        scope["path"] or "/",
        query_string=scope["query_string"].decode("latin-1"),
        headers=headers,
        client=client[0] if client else "",
        scheme=scope.get("scheme", "http"),
        context=context,
    )
    return request, context


def _name_of(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_loopback(name: str) -> bool:
    if name in ("127.0.0.1", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        name = name.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


async def _send(response: Response, request: Request, request_id: str, receive: Receive, send: Send) -> None:
    headers: list[tuple[bytes, bytes]] = []
    body = response.body
    status = response.status
    # A length that the handler named for a body that is here could only be wrong; after HEAD there is none to count.
    counted = isinstance(body, bytes) and request.method != "HEAD"
    for name, value in response.headers:
        lower = name.lower()
        if lower in _HOP_BY_HOP:
            if lower == "connection" and response.status == 413:
                headers.append((b"connection", b"close"))
            continue
        if lower in ("x-request-id", "date"):
            continue  # the front says both
        if counted and lower == "content-length":
            continue
        headers.append((lower.encode("latin-1"), value.encode("latin-1")))
    headers.append((b"x-request-id", request_id.encode()))
    if isinstance(body, bytes):
        if counted and status >= 200 and status not in (204, 304):
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    chunks = aiter(body) if isinstance(body, AsyncIterable) else _in_threads(body)
    await _send_chunks(chunks, receive, send)


async def _send_chunks(chunks: AsyncIterator[bytes | str], receive: Receive, send: Send) -> None:
    """Streams until the body ends, breaks off, or nobody listens any more."""
    task = asyncio.current_task()
    listener = asyncio.ensure_future(_wait_for_disconnect(receive))
    if task is not None:
        listener.add_done_callback(lambda done: None if done.cancelled() else task.cancel())
    try:
        async for chunk in chunks:
            data = chunk.encode() if isinstance(chunk, str) else chunk
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except asyncio.CancelledError:
        if task is None or not listener.done():
            raise
        task.uncancel()
        return
    except Exception:
        # The status is out: closing the connection without its end is what tells the caller.
        _logger.warning("a streamed response broke off", exc_info=True)
        return
    finally:
        listener.cancel()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _in_threads(chunks: Iterable[bytes | str]) -> AsyncIterator[bytes | str]:
    iterator = iter(chunks)
    end = object()
    try:
        while (chunk := await asyncio.to_thread(next, iterator, end)) is not end:
            yield cast("bytes | str", chunk)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await asyncio.to_thread(close)
