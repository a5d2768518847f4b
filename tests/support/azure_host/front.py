"""HTTP in front of an app: what Azure's front end adds, the host's routes and keys, and how a worker gets a request.

After the sources of the host (4.1037), its HTTP extension and YARP: Kestrel decodes the path but for %2F and takes dot
segments out; functions are tried by name; texts in routes match without regard to case; a key opens what asks for one.
A worker with a server of its own gets the request sent on, encoded anew and with the host's own name, and the fields
X-Forwarded-* say what they were. Another one gets it in a message, with what that loses.
"""

from __future__ import annotations

import base64
import http.client
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes, urlsplit

from tests.support.azure_host.app import FunctionApp, Indexed, invocation

Fields = Sequence[tuple[str, str]]

#: Characters of a path that YARP leaves as they are (RequestUtilities, pchar of RFC 3986 and the slash).
_PCHARS = "/-._~!$&'()*+,;=:@"
#: Characters that PathString leaves as they are when it is written as a URI.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_LEVELS = {"ANONYMOUS": 0, "FUNCTION": 1, "ADMIN": 2}
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
#: Seconds until a call counts as lost.
_TIMEOUT = 60


class BrokenOff(Exception):
    """A response ended before its body did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets."""

    status: int
    fields: Fields = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What the caller gets, while it comes; its chunks raise BrokenOff where it does not come to its end."""

    status: int
    fields: Fields
    chunks: Iterator[bytes]


class Front:
    """The address of an app."""

    def __init__(self, app: FunctionApp) -> None:
        self._app = app
        self.host = f"{app.name}.azurewebsites.net"

    def call(self, method: str, target: str, fields: Fields = (), body: bytes = b"", *, key: str = "") -> Answer:
        """The answer to a request. target: path and query string, as on the wire."""
        with self.exchange(method, target, fields, body, key=key) as response:
            try:
                return Answer(response.status, response.fields, b"".join(response.chunks))
            except BrokenOff:
                return Answer(response.status, response.fields)

    @contextmanager
    def exchange(
        self, method: str, target: str, fields: Fields = (), body: bytes = b"", *, key: str = ""
    ) -> Iterator[Streamed]:
        """The answer to a request, while it comes. key: what the caller sends in ``x-functions-key``."""
        given = [*fields, *([("x-functions-key", key)] if key else [])]
        path, _, query = target.partition("?")
        seen = _kestrel(path)
        found = self._find(method, seen)
        if found is None:
            yield Streamed(404, [("content-length", "0")], iter(()))
            return
        function, params = found
        if not self._is_allowed(function, given, query):
            yield Streamed(401, [("content-length", "0")], iter(()))
            return
        request = _Request(method, seen, query, self._with_front_end(given, target, body, method), body, params)
        process = self._app.process()
        if process.http:
            with self._forwarded(function, request) as streamed:
                yield streamed
        else:
            answer = self._in_a_message(function, request)
            yield Streamed(answer.status, answer.fields, iter([answer.body] if answer.body else []))

    # ---- routes and keys

    def _find(self, method: str, path: str) -> tuple[Indexed, Mapping[str, str]] | None:
        for function in self._app.functions():
            if function.kind != "httpTrigger":
                continue
            params = _matched(function.trigger["route"], path)
            methods = function.trigger.get("methods")
            if params is not None and (methods is None or method in [str(name).upper() for name in methods]):
                return function, params
        return None

    def _is_allowed(self, function: Indexed, fields: Fields, query: str) -> bool:
        if _LEVELS[str(function.trigger["authLevel"]).upper()] == 0:
            return True
        sent = [value for name, value in fields if name.lower() == "x-functions-key"]
        sent += [value for name, value in parse_qsl(query) if name == "code"][: 0 if sent else 1]
        return sent == [self._app.key]

    def _with_front_end(self, fields: Fields, target: str, body: bytes, method: str) -> list[tuple[str, str]]:
        """The fields as they come to the host: of those that the front end writes, nobody else's."""
        host = next((value for name, value in fields if name.lower() == "host"), self.host)
        own = [
            ("Client-Ip", "127.0.0.1:50123"),
            ("Disguised-Host", host),
            ("X-Arr-Log-Id", str(uuid.uuid4())),
            ("X-Forwarded-For", "127.0.0.1:50123"),
            ("X-Forwarded-Proto", "https"),
            ("X-Original-Url", target),
            ("X-Waws-Unencoded-Url", target),
        ]
        written = {"host", "content-length", *(name.lower() for name, _ in own)}
        kept = [(name, value) for name, value in fields if name.lower() not in written]
        length = [("Content-Length", str(len(body)))] if body or method in ("POST", "PUT", "PATCH") else []
        return [("Host", host), *kept, *length, *own]

    # ---- sent on

    @contextmanager
    def _forwarded(self, function: Indexed, request: _Request) -> Iterator[Streamed]:
        process = self._app.process()
        id = str(uuid.uuid4())
        # The route's values alone come in the message.
        message = invocation(id, function, {"http": {"params": dict(request.params)}}, trace=request.trace)
        pending = process.begin(message)
        connection = http.client.HTTPConnection(urlsplit(process.http).netloc, timeout=min(_TIMEOUT, self._app.timeout))
        try:
            response = _sent(connection, request, id)
            if response is None:  # the worker has ended: the host knows why, the caller gets this
                yield Streamed(500, [("content-length", "0")], iter(()))
            else:
                fields = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
                yield Streamed(response.status, fields, _chunks(response))
            self._app.wait(process, pending)
        finally:
            connection.close()

    # ---- in a message

    def _in_a_message(self, function: Indexed, request: _Request) -> Answer:
        joined: dict[str, str] = {}
        for name, value in request.fields:
            name = name.lower()
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        rpc: dict[str, Any] = {
            "method": request.method,
            "url": f"https://{joined['host']}{_uri(request.path)}{f'?{request.query}' if request.query else ''}",
            "headers": joined,
            "params": dict(request.params),
            "query": dict(parse_qsl(request.query)),
        }
        if request.body:
            rpc["body"] = {"bytes": base64.b64encode(request.body).decode()}
        result = self._app.invoke(function, {"http": rpc}, trace=request.trace)
        if result.error or result.http is None:
            return Answer(500, [("content-length", "0")])
        return _written(result.http, request.method)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as the host has it. path: decoded, but for %2F."""

    method: str
    path: str
    query: str
    fields: Fields
    body: bytes
    params: Mapping[str, str]

    @property
    def trace(self) -> str:
        """The host goes on with a trace that the caller began."""
        return next((value for name, value in self.fields if name.lower() == "traceparent"), "")


def _sent(connection: http.client.HTTPConnection, request: _Request, id: str) -> http.client.HTTPResponse | None:
    """The response to a request that is sent on; None where there comes none."""
    try:
        _connect(connection)
        query = f"?{request.query}" if request.query else ""
        connection.putrequest(
            request.method, quote(request.path, safe=_PCHARS) + query, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", f"{connection.host}:{connection.port}")
        for name, value in _sent_on(request.fields, id):
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        if request.body:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read: the answer says why
                connection.send(request.body)
        return connection.getresponse()
    except (http.client.HTTPException, OSError):
        return None


def _connect(connection: http.client.HTTPConnection) -> None:
    """As the host does (RetryProxyHandler): the worker says where its server will be before it is there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            connection.connect()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _sent_on(fields: Fields, id: str) -> Iterator[tuple[str, str]]:
    """What YARP sends: all but what is about the connection, the host's name in fields of its own."""
    host = next(value for name, value in fields if name.lower() == "host")
    replaced = {"host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", *_HOP_BY_HOP}
    yield from ((name, value) for name, value in fields if name.lower() not in replaced)
    # The host's own peer is the front end.
    yield from (("X-Forwarded-For", "169.254.130.1"), ("X-Forwarded-Host", host), ("X-Forwarded-Proto", "https"))
    yield "x-ms-invocation-id", id


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(65536):
            yield chunk
    except (http.client.HTTPException, OSError) as error:
        raise BrokenOff from error


def _kestrel(path: str) -> str:
    """The path as Kestrel has it: decoded as UTF-8 where it is, but for %2F, without dot segments."""
    parts = re.split("(%2[Ff])", path)
    decoded = "".join(part if number % 2 else _unquoted(part) for number, part in enumerate(parts))
    segments: list[str] = []
    for segment in decoded.split("/")[1:]:
        if segment == "..":
            segments = segments[:-1]
        elif segment != ".":
            segments.append(segment)
    return "/" + "/".join(segments)


def _unquoted(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return unquote(text, errors="replace")


def _uri(path: str) -> str:
    """The path as PathString writes it: what looks encoded stays."""
    found, last = "", 0
    for match in _ENCODED.finditer(path):
        found += quote(path[last : match.start()], safe=_PCHARS) + match[0]
        last = match.end()
    return found + quote(path[last:], safe=_PCHARS)


def _matched(route: str, path: str) -> dict[str, str] | None:
    """The values of a route's parameters, None where it does not match. Asserts that it is one of those known here."""
    wanted = [part for part in route.strip("/").split("/") if part]
    given = path.strip("/").split("/") if path.strip("/") else []
    params: dict[str, str] = {}
    for number, part in enumerate(wanted):
        if part.startswith("{*"):
            assert number == len(wanted) - 1, route
            rest = "/".join(given[number:])
            return {**params, part[2:-1]: rest} if rest else params
        if number >= len(given) or not given[number]:
            return None
        if part.startswith("{"):
            match = re.fullmatch(r"\{([A-Za-z]\w*)(?::regex\((\^[^{}:=?]+\$)\))?\}", part)
            assert match is not None, route
            if match[2] and not re.search(match[2], given[number]):
                return None
            params[match[1]] = given[number]
        else:
            assert re.fullmatch(r"[^{}*?~]+", part), route
            if part.lower() != given[number].lower():
                return None
    return params if len(wanted) == len(given) else None


def _written(http_: Mapping[str, Any], method: str) -> Answer:
    """The answer that the host makes of what a worker returned in a message (RawScriptResult)."""
    body = base64.b64decode(http_["body"])
    fields = [(name, value) for name, value in http_["headers"].items() if name.lower() not in _HOP_BY_HOP]
    fields += [("set-cookie", _cookie(cookie)) for cookie in http_["cookies"]]
    status = http_["status"]
    if status in (204, 304):
        return Answer(status, fields)
    declared = http_["headers"].get("content-length")
    if method == "HEAD":
        return Answer(status, fields if declared else [*fields, ("content-length", "0")])
    # Kestrel sends no more than what is declared, and ends the connection where it is less.
    assert declared in (None, str(len(body))), http_["headers"]
    return Answer(status, fields if declared else [*fields, ("content-length", str(len(body)))], body)


def _cookie(cookie: Mapping[str, Any]) -> str:
    """A cookie as ASP.NET writes it, its value percent-encoded."""
    parts = [f"{cookie['name']}={quote(cookie['value'], safe='')}"]
    if cookie["max_age"] is not None:
        parts.append(f"max-age={cookie['max_age']:.0f}")
    parts += [f"{name}={cookie[name]}" for name in ("domain", "path") if cookie[name]]
    parts += ["secure"] * bool(cookie["secure"])
    same_site = {1: "lax", 2: "strict", 3: "none"}.get(cookie["same_site"])
    parts += [f"samesite={same_site}"] if same_site else []
    return "; ".join(parts + ["httponly"] * bool(cookie["http_only"]))
