"""A proxy between a client and an emulator of a cloud that makes one call go wrong; it knows no cloud.

A call is known by its name and how often that name came before: ("CreateChangeSet", 2) is the second one. Where calls
are made side by side that is the same in every run, as a running number would not be.

    with FaultProxy(upstream, name_of) as proxy:
        proxy.arm(Fault("CreateChangeSet", 1, "drop"))
        … the client, with proxy.url as its endpoint …
        assert proxy.fired

kinds: "kill"   the call is done, and the client is killed before it hears of it
       "drop"   the call is done, and the connection is closed without an answer
       "delay"  the call is done, and the answer comes late
       "refuse" the call is not done; an answer of the cloud's own comes instead, such as one of throttling
       "break"  the call is done, and an answer such as a 500 comes instead of the true one
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Call:
    """A request as it came. headers: names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An answer that comes instead of the upstream's."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """Which call goes wrong, and how. times: how many calls of the name in a row, from the number on.

    answer: for "refuse" and "break". seconds: for "delay".
    """

    name: str
    number: int
    kind: str
    times: int = 1
    answer: Callable[[Call], Answer] | None = None
    seconds: float = 1.5


class FaultProxy:
    """Listens on loopback until it is left."""

    def __init__(self, upstream: str, name_of: Callable[[Call], str]) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._name_of = name_of
        self._lock = threading.Lock()
        #: What a "kill" does to the client.
        self.kill: Callable[[], None] = lambda: None
        self.calls: list[tuple[str, int]] = []
        self.fired = False
        self._fault: Fault | None = None
        self._counts: dict[str, int] = {}
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client is gone, which is what the tests are about
                    self.close_connection = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy._serve(self)
                raise AttributeError(name)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def arm(self, fault: Fault | None = None) -> None:
        """Forgets the calls so far and waits for the one of the fault; None only listens."""
        with self._lock:
            self._fault, self.fired = fault, False
            self.calls, self._counts = [], {}

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        call = _read(handler)
        name = self._name_of(call)
        with self._lock:
            number = self._counts[name] = self._counts.get(name, 0) + 1
            self.calls.append((name, number))
            fault = self._fault
            hit = fault is not None and name == fault.name and fault.number <= number < fault.number + fault.times
            self.fired = self.fired or hit
        if fault is None or not hit:
            _write(handler, self._forward(call))
            return
        if fault.kind == "refuse":
            assert fault.answer is not None
            _write(handler, fault.answer(call))
            return
        answer = self._forward(call)
        if fault.kind == "delay":
            time.sleep(fault.seconds)
            _write(handler, answer)
        elif fault.kind == "break":
            assert fault.answer is not None
            _write(handler, fault.answer(call))
        else:
            if fault.kind == "kill":
                self.kill()
            handler.close_connection = True

    def _forward(self, call: Call) -> Answer:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=120)
        try:
            connection.putrequest(call.method, call.path, skip_host=True, skip_accept_encoding=True)
            for name, value in call.headers.items():
                if name not in ("connection", "transfer-encoding", "expect", "content-length"):
                    connection.putheader(name, value)
            connection.putheader("content-length", str(len(call.body)))
            connection.endheaders(call.body)
            response = connection.getresponse()
            body = response.read()
            return Answer(response.status, dict(response.getheaders()), body)
        finally:
            connection.close()


def _read(handler: BaseHTTPRequestHandler) -> Call:
    headers = {name.lower(): value for name, value in handler.headers.items()}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        while handler.rfile.readline().strip():
            pass  # trailers
    else:
        length = int(headers.get("content-length", 0))
        body = handler.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client went away amid its request, which so never was one")
    return Call(handler.command, handler.path, headers, body)


def _write(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response_only(answer.status)
    is_head = handler.command == "HEAD"
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower in ("connection", "transfer-encoding") or (lower == "content-length" and not is_head):
            continue
        handler.send_header(name, value)
    if not is_head:
        handler.send_header("content-length", str(len(answer.body)))
    handler.end_headers()
    if not is_head:
        handler.wfile.write(answer.body)
    handler.wfile.flush()
