"""The front as an ASGI application, before a target that needs no process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pys_multi import App
from pys_multi.http import Request, Response
from pys_multi_providers.local.front import Front


class Target:
    """Says which function was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.response: Response | None = None

    async def http(self, function: str, request: Request) -> Response:
        self.requests.append(request)
        return self.response or Response(function, headers={"x-function": function})

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "functions": {"api": {}, "web": {}}}


def front_of(app: App) -> tuple[Front, Target]:
    front, target = Front(max_body=1000), Target()
    front.serve(app.service(), target)
    return front, target


def shop() -> App:
    app = App("shop")
    api, web = app.function("api"), app.function("web", public=True)

    async def handler() -> None: ...

    api.get("/private")(handler)
    api.get("/open", public=True)(handler)
    api.get("/both/{id:int}", public=True)(handler)
    web.post("/both/{id:int}")(handler)
    return app


class Exchange:
    """One request to an ASGI application and what it sent."""

    def __init__(self, front: Front, method: str = "GET", path: str = "/", **scope: Any) -> None:
        self.front = front
        headers = scope.pop("headers", {"host": "127.0.0.1:8000"})
        self.body: list[dict[str, Any]] = scope.pop("body", [{"type": "http.request", "body": b"", "more_body": False}])
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
            **scope,
        }
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self.body:
            return self.body.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def run(self) -> Exchange:
        await self.front(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


def ask(front: Front, method: str = "GET", path: str = "/", **scope: Any) -> Exchange:
    async def run() -> Exchange:
        return await Exchange(front, method, path, **scope).run()

    return asyncio.run(run())


def test_a_request_goes_to_the_function_that_owns_its_route() -> None:
    front, _ = front_of(shop())
    assert ask(front, "GET", "/both/1").headers["x-function"] == "api"
    assert ask(front, "POST", "/both/1").headers["x-function"] == "web"
    assert ask(front, "HEAD", "/both/1").headers["x-function"] == "api"


@pytest.mark.parametrize(
    ("client", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8000", 200),
        ("127.9.9.9", "localhost", 200),
        ("::1", "[::1]:8000", 200),
        ("::ffff:127.0.0.1", "shop.localhost", 200),
        ("127.0.0.1", "", 200),
        ("192.168.1.7", "127.0.0.1", 403),
        ("::ffff:192.168.1.7", "127.0.0.1", 403),
        ("", "127.0.0.1", 403),
        ("127.0.0.1", "127.0.0.1.evil.test", 403),
        ("127.0.0.1", "localhost.evil.test", 403),
        ("127.0.0.1", "[::ffff:8.8.8.8]", 403),
        ("127.0.0.1", "8.8.8.8", 403),
    ],
)
def test_who_may_call_a_private_route(client: str, host: str, status: int) -> None:
    front, target = front_of(shop())
    headers = {"host": host} if host else {}
    assert ask(front, path="/private", client=(client, 1), headers=headers).status == status
    assert bool(target.requests) == (status == 200)
    assert ask(front, path="/open", client=(client, 1), headers=headers).status == 200


def test_a_trusted_address_is_not_taken_from_a_header() -> None:
    front, target = front_of(shop())
    headers = {"host": "127.0.0.1", "x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    assert ask(front, path="/private", client=("10.0.0.1", 1), headers=headers).status == 403
    ask(front, path="/open", client=("10.0.0.1", 1), headers=headers)
    assert target.requests[0].client == "10.0.0.1"
    assert target.requests[0].headers.items() == [("host", "127.0.0.1")]


def test_bodies_are_joined_and_bounded() -> None:
    front, target = front_of(shop())
    parts = [{"type": "http.request", "body": b"a" * 500, "more_body": True}] * 2
    end = {"type": "http.request", "body": b"", "more_body": False}
    assert ask(front, "POST", "/both/1", body=[*parts, end]).status == 200
    assert target.requests[0].body == b"a" * 1000
    more = {"type": "http.request", "body": b"a", "more_body": True}
    assert ask(front, "POST", "/both/1", body=[*parts, more, end]).status == 413
    assert ask(front, "POST", "/both/1", headers={"content-length": "1001"}, body=[]).status == 413
    assert len(target.requests) == 1


def test_nothing_is_served_before_there_is_something() -> None:
    assert ask(Front(), path="/").status == 503


def test_a_new_service_takes_over_between_two_requests() -> None:
    front, _ = front_of(shop())
    other = App("shop")
    other.function("new", public=True).get("/open")(lambda: None)
    target = Target()
    front.serve(other.service(), target)
    assert ask(front, path="/open").headers["x-function"] == "new"
    assert ask(front, path="/.pys-multi/health").status == 200
    assert len(target.requests) == 1


def test_the_own_paths_are_not_given_to_a_mounted_application() -> None:
    app = App("shop")

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    app.function("web", public=True).asgi(application)
    app.function("api")
    front, target = front_of(app)
    assert ask(front, path="/.pys-multi/health").headers["content-type"] == "application/json"
    assert not target.requests
    assert ask(front, path="/.pys-multi/health/web").headers["x-function"] == "web"
    assert target.requests[0].path == "/.pys-multi/health"
    assert ask(front, "PURGE", "/anything").headers["x-function"] == "web"


def test_a_caller_who_leaves_ends_an_endless_stream() -> None:
    front, target = front_of(shop())
    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    target.response = Response(endless())

    async def run() -> Exchange:
        exchange = Exchange(front, path="/open")
        task = asyncio.ensure_future(exchange.run())
        while len(exchange.sent) < 2:
            await asyncio.sleep(0)
        exchange.gone.set()
        return await task

    assert [message.get("body") for message in asyncio.run(run()).sent] == [None, b"one"]
    assert closed == [True]


def test_a_stream_that_fails_is_left_without_its_end(caplog: pytest.LogCaptureFixture) -> None:
    front, target = front_of(shop())

    def broken() -> Any:
        yield "text"
        raise RuntimeError("half-way")

    target.response = Response(broken())
    sent = ask(front, path="/open").sent
    assert [message.get("body") for message in sent] == [None, b"text"]
    assert "half-way" in caplog.text
