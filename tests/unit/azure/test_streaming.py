"""The server inside the worker: what the host sends on arrives whole, and answers go as they come."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pys_multi import Response
from pys_multi.http import MAX_BODY_BYTES, Request
from pys_multi_providers.azure.streaming import Incoming, Outgoing, WebApp, WebServer

broken: list[BaseException] = []


def outgoing(response: Response) -> Outgoing:
    refused = Response("refused", status=500)
    return Outgoing(response, lambda chunks: next(chunks, None), lambda _: refused, broken.append)


@contextmanager
def serving(answer: Callable[[Incoming], Any]) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server whose worker answers so."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    app = WebApp()

    async def handle(incoming: Incoming) -> Any:
        return answer(incoming)

    app.route(handle)
    loop = asyncio.new_event_loop()
    task = loop.create_task(WebServer("127.0.0.1", port, app).serve())
    thread = threading.Thread(target=_run, args=(loop, task))
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        while True:
            try:
                connection.connect()
                break
            except ConnectionRefusedError:
                assert thread.is_alive()
        yield connection
    finally:
        connection.close()
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_until_cancelled(task))


async def _until_cancelled(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for other in rest:
        other.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def ask(connection: http.client.HTTPConnection, method: str = "GET", target: str = "/", **options: Any) -> Any:
    connection.request(method, target, **options)
    response = connection.getresponse()
    return response.status, response.getheaders(), response.read()


def test_a_request_is_what_the_caller_sent() -> None:
    seen: list[Incoming] = []

    def answer(incoming: Incoming) -> Outgoing:
        seen.append(incoming)
        return outgoing(Response("ok"))

    with serving(answer) as connection:
        connection.putrequest("POST", "/a%20b?x=1&x=%2F", skip_accept_encoding=True)
        for name, value in (
            ("X-Tag", "one"),
            ("x-tag", "two"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Forwarded-Proto", "https"),
            ("Client-Ip", "203.0.113.9:1"),
            ("x-ms-invocation-id", "7"),
            ("x-functions-key", "secret"),
            ("Content-Length", "3"),
        ):
            connection.putheader(name, value)
        connection.endheaders(b"\x00\xffz")
        assert connection.getresponse().read() == b"ok"
    request: Request = seen[0].request
    assert (request.method, request.path, request.query_string) == ("POST", "/a b", "x=1&x=%2F")
    assert (request.host, request.scheme, request.client) == ("shop.example", "https", "203.0.113.9")
    assert request.headers.get_all("x-tag") == ["one", "two"]
    assert "x-ms-invocation-id" not in request.headers
    assert "secret" not in str(request.headers)
    assert seen[0].headers["x-ms-invocation-id"] == "7"
    assert request.body == b"\x00\xffz"


def test_a_body_of_unknown_length_arrives_whole() -> None:
    with serving(lambda incoming: outgoing(Response(incoming.request.body))) as connection:
        pieces = [b"a" * 70_000, b"b", b"c" * 10]
        assert ask(connection, "POST", body=iter(pieces), encode_chunked=True)[2] == b"".join(pieces)
        # The connection goes on.
        assert ask(connection, "PUT", body=b"again")[2] == b"again"


def test_a_caller_that_asks_first_may_send() -> None:
    with serving(lambda incoming: outgoing(Response(incoming.request.body))) as connection:
        assert ask(connection, "POST", body=b"abc", headers={"Expect": "100-continue"})[2] == b"abc"


def test_a_body_that_is_too_large_is_refused_by_the_function() -> None:
    errors = []

    def answer(incoming: Incoming) -> Outgoing:
        errors.append(incoming.error)
        return outgoing(Response("too large", status=413))

    with serving(answer) as connection:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
        connection.endheaders()
        response = connection.getresponse()
        assert (response.status, response.read()) == (413, b"too large")
    assert errors[0].status == 413


def test_repeated_fields_and_cookies_stay_apart() -> None:
    fields = [("set-cookie", "a=1; Partitioned"), ("set-cookie", "b=2"), ("link", "<a>"), ("Link", "<b>")]
    with serving(lambda _: outgoing(Response("x", headers=fields))) as connection:
        found = ask(connection)[1]
    assert [pair for pair in found if pair[0].lower() in ("set-cookie", "link")] == fields


def test_fields_about_a_connection_are_left_out() -> None:
    response = Response("x", headers={"keep-alive": "9", "te": "trailers"})
    with serving(lambda _: outgoing(response)) as connection:
        assert [name for name, _ in ask(connection)[1]] == ["content-type", "content-length"]


@pytest.mark.parametrize("declared", ["3", "50"])
def test_the_length_is_that_of_the_body(declared: str) -> None:
    with serving(lambda _: outgoing(Response(b"12345", headers={"content-length": declared}))) as connection:
        assert ask(connection)[2] == b"12345"
        assert ask(connection)[2] == b"12345"


def test_head_and_no_content_have_no_body() -> None:
    response = Response(b"", headers={"content-length": "62"})
    with serving(lambda _: outgoing(response)) as connection:
        assert dict(ask(connection, "HEAD")[1]) == {"content-length": "62"}
    with serving(lambda _: outgoing(Response(b"", status=204))) as connection:
        assert ask(connection) == (204, [], b"")
        assert ask(connection)[0] == 204


def test_a_stream_arrives_while_it_is_produced() -> None:
    go = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"first"
        assert go.wait(20)
        yield b"last"

    with serving(lambda _: outgoing(Response.stream(chunks()))) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.read1(100) == b"first"
        go.set()
        assert response.read() == b"last"


def test_a_stream_that_fails_before_its_first_chunk_is_answered() -> None:
    def chunks() -> Iterator[bytes]:
        raise ValueError("at once")
        yield b""

    with serving(lambda _: outgoing(Response.stream(chunks()))) as connection:
        assert ask(connection)[::2] == (500, b"refused")


def test_a_stream_that_breaks_off_has_no_end() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        raise ValueError("half way")

    broken.clear()
    with serving(lambda _: outgoing(Response.stream(chunks()))) as connection:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            ask(connection)
        assert str(broken[0]) == "half way"


def test_what_the_worker_fails_with_is_500_and_says_nothing() -> None:
    def answer(_: Incoming) -> Outgoing:
        raise RuntimeError("a secret")

    with serving(answer) as connection:
        assert ask(connection) == (500, [("content-length", "0")], b"")
        assert ask(connection)[0] == 500
