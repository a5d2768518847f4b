"""The dispatch path over HTTP: from a request to a response, on hosts that block and on hosts with an event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import CORS, App, Context, HTTPError, Request, Response, current_context
from pys_multi.errors import PysMultiError
from pys_multi.runtime import HEALTH_PATH, Runtime, load, stream_of, whole_body

Handle = Callable[[Runtime, Request], Response]


def handle_async(runtime: Runtime, request: Request) -> Response:
    return asyncio.run(runtime.http_async(request))


BOTH = pytest.mark.parametrize("handle", [Runtime.http, handle_async], ids=["http", "http_async"])


def call(app: App, method: str, url: str, **options: Any) -> Response:
    path, _, query = url.partition("?")
    return Runtime(app, logs=False).http(Request(method, path, query_string=query, **options))


def fields(response: Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers}


def document(response: Response) -> dict[str, Any]:
    assert fields(response)["content-type"] == "application/problem+json"
    return json.loads(whole_body(response))  # type: ignore[no-any-return]


# ---- what a handler may return


@dataclass
class Order:
    sku: str


class Pair(NamedTuple):
    a: int
    b: int


class Markup(str):
    pass


TEXT, BYTES, JSON = "text/plain; charset=utf-8", "application/octet-stream", "application/json"


@pytest.mark.parametrize(
    ("value", "status", "content_type", "body"),
    [
        ({"a": "é"}, 200, JSON, '{"a":"é"}'.encode()),
        ([1, Order("x")], 200, JSON, b'[1,{"sku":"x"}]'),
        (Order("x"), 200, JSON, b'{"sku":"x"}'),
        (Pair(1, 2), 200, JSON, b"[1,2]"),
        ("é", 200, TEXT, "é".encode()),
        (Markup("<b>"), 200, TEXT, b"<b>"),
        (b"x", 200, BYTES, b"x"),
        (bytearray(b"x"), 200, BYTES, b"x"),
        (memoryview(b"x"), 200, BYTES, b"x"),
        (None, 204, None, b""),
        (True, 200, JSON, b"true"),
        (1.5, 200, JSON, b"1.5"),
        (({"a": 1}, 201), 201, JSON, b'{"a":1}'),
        (("x", 202, {"Content-Type": "text/x"}), 202, "text/x", b"x"),
        ((None, 404), 404, None, b""),
        ((None, 202, [("content-type", "a/b")]), 202, "a/b", b""),
        (Response(b"x", status=299), 299, None, b"x"),
        ((Response("x"), 201), 201, TEXT, b"x"),
        (iter([b"a", "é"]), 200, BYTES, "aé".encode()),
    ],
)
def test_what_a_handler_returns_becomes_a_response(
    value: Any, status: int, content_type: str | None, body: bytes
) -> None:
    app = App("shop")
    app.get("/a")(lambda: value)
    response = call(app, "GET", "/a")
    assert (response.status, fields(response).get("content-type"), whole_body(response)) == (status, content_type, body)


def test_the_status_of_the_route_is_that_of_a_success() -> None:
    app = App("shop")
    app.post("/a", status=201)(lambda: {})
    app.post("/none", status=202)(lambda: None)
    app.post("/own", status=201)(lambda: Response("x", status=200))
    app.post("/empty", status=204)(lambda: {"a": 1})
    assert [call(app, "POST", path).status for path in ("/a", "/none", "/own", "/empty")] == [201, 202, 200, 204]
    empty = call(app, "POST", "/empty")
    assert (empty.body, empty.headers) == (b"", [])


@pytest.mark.parametrize(
    "value", [object(), {"a": object()}, float("nan"), ("x", 99), ("x", True), ("x", "y"), ("x", 200, {"a": "b\n"}), ()]
)
def test_what_cannot_be_a_response_is_a_500_and_in_the_log(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop")
    app.get("/a")(lambda: value)
    assert document(call(app, "GET", "/a"))["status"] == 500
    assert "GET /a failed" in caplog.text


def set_past_the_checks(name: str, value: Any) -> Response:
    response = Response("x")
    setattr(response, name, value)
    return response


@pytest.mark.parametrize("where", ["handler", "middleware"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("headers", [("x-a", "b\r\nset-cookie: c=1")]),
        ("headers", [("x-a: b\r\nx", "c")]),
        ("headers", [("transfer-encoding", "chunked")]),
        ("status", 101),
        ("status", 999),
        ("body", None),
    ],
)
def test_nothing_that_http_cannot_carry_gets_out(
    where: str, name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = App("shop")
    app.get("/a")(lambda: set_past_the_checks(name, value) if where == "handler" else "x")
    if where == "middleware":
        app.middleware(lambda request, call_next: call_next(request) and set_past_the_checks(name, value))
    response = call(app, "GET", "/a")
    assert response.status == 500
    assert [field.lower() for field, _ in response.headers] == ["content-type"]
    assert "GET /a failed" in caplog.text


def test_a_body_that_was_set_to_text_is_sent_in_one_piece() -> None:
    app = App("shop")
    app.get("/a")(lambda: set_past_the_checks("body", "héllo"))
    assert call(app, "GET", "/a").body == "héllo".encode()


def test_a_response_that_is_returned_again_and_again_stays_as_it_is() -> None:
    app = App("shop")
    shared = Response("hello")
    app.get("/a")(lambda: shared)
    app.get("/b")(lambda: (shared, 201, {"x-a": "1"}))
    runtime = Runtime(app, logs=False)
    for method, path in (("HEAD", "/a"), ("GET", "/b"), ("GET", "/a")):
        response = runtime.http(Request(method, path))
    assert (response.status, response.body, len(response.headers)) == (200, b"hello", 1)


# ---- methods and paths


def test_head_is_get_without_its_body() -> None:
    app = App("shop")
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            yield b"x"
        finally:
            closed.append(True)

    app.get("/a")(lambda: "héllo")
    started = chunks()
    next(started)
    app.get("/stream")(lambda: Response.stream(started))
    response = call(app, "HEAD", "/a")
    assert (response.status, response.body) == (200, b"")
    assert fields(response) == {"content-type": TEXT, "content-length": "6"}
    assert call(app, "HEAD", "/stream").body == b""
    assert closed == [True]
    assert call(app, "HEAD", "/none").body == b""
    assert call(app, "HEAD", "/none").status == 404


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status: int) -> None:
    app = App("shop")
    app.get("/a")(lambda: Response("x", status=status, headers={"etag": '"1"', "content-length": "1"}))
    response = call(app, "GET", "/a")
    assert response.body == b""
    assert "content-length" not in fields(response)
    assert fields(response)["etag"] == '"1"'


def test_methods_that_are_not_there() -> None:
    app = App("shop")
    app.get("/a")(lambda: "x")
    app.delete("/a")(lambda: "x")
    response = call(app, "POST", "/a")
    assert response.status == 405
    assert fields(response)["allow"] == "DELETE, GET, HEAD, OPTIONS"
    options = call(app, "OPTIONS", "/a")
    assert (options.status, options.body, fields(options)["allow"]) == (204, b"", "DELETE, GET, HEAD, OPTIONS")
    assert call(app, "OPTIONS", "/none").status == 404
    assert call(app, "OPTIONS", "*").status == 204
    strange = call(app, "G\r\nET", "/a")
    assert strange.status == 405
    assert "\n" not in document(strange)["detail"]


def test_an_options_route_of_ones_own_answers() -> None:
    app = App("shop")
    app.route("OPTIONS", "/a")(lambda: "mine")
    assert call(app, "OPTIONS", "/a").body == b"mine"


@pytest.mark.parametrize(
    ("template", "path", "location"),
    [
        ("/a", "/a/", "/a"),
        ("/a/", "/a", "/a/"),
        ("/{x}", "/a b%?/", "/a%20b%25%3F"),
        ("/{x}", "/a\r\nset-cookie: b/", "/a%0D%0Aset-cookie:%20b"),
        ("/{x}/", "/é", "/%C3%A9/"),
        ("/{x}", "/:80/", "/:80"),
    ],
)
def test_the_other_form_of_a_trailing_slash_is_a_redirect(template: str, path: str, location: str) -> None:
    app = App("shop")
    app.get(template)(lambda request: "x")
    runtime = Runtime(app, logs=False)
    response = runtime.http(Request("GET", path, query_string="b=1&c=%20", root_path="/stage"))
    assert (response.status, fields(response)["location"]) == (307, f"/stage{location}?b=1&c=%20")
    assert runtime.http(Request("POST", path)).status == 404


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example", "/\\evil.example/", "/\\evil.example", "//"])
def test_no_redirect_leaves_for_another_host(path: str) -> None:
    app = App("shop")
    app.get("/{x}")(lambda request: "x")
    app.get("/{x}/")(lambda request: "x")
    app.get("/{x}/{y}")(lambda request: "x")
    app.get("/{x:path}/end")(lambda request: "x")
    assert "location" not in fields(call(app, "GET", path))


@given(st.text(alphabet="/\\.evil:@?#%\t\r\n é"))
def test_a_redirect_is_a_path_of_this_host(path: str) -> None:
    app = App("shop")
    app.get("/{x:path}/a")(lambda request: "x")
    app.get("/{x}")(lambda request: "x")
    app.get("/{x}/{y}/")(lambda request: "x")
    location = fields(
        call(app, "GET", "/", body=b"") if not path else Runtime(app, logs=False).http(Request("GET", path))
    ).get("location", "/")
    assert location[:1] == "/"
    assert location[1:2] not in ("/", "\\")
    assert location.isascii()
    assert location.isprintable()


@pytest.mark.parametrize("path", ["", "*", "a", "http://shop/a", "a/a"])
def test_a_path_without_its_slash_is_not_found(path: str) -> None:
    app = App("shop")
    app.get("/a")(lambda: "x")
    app.get("/")(lambda: "x")
    assert call(app, "GET", path).status == 404


def test_health_answers_on_every_function_whatever_stands_around() -> None:
    app = App("shop", auth=lambda request: None)

    @app.middleware
    def broken(request: Request, call_next: Any) -> Any:
        raise RuntimeError

    app.get("/{x:path}")(lambda request: "x")
    runtime = Runtime(app, "main", stage="dev", build_id="abc", logs=False)
    response = runtime.http(Request("GET", HEALTH_PATH))
    assert json.loads(whole_body(response)) == runtime.health()
    assert runtime.health() == {
        "status": "ok",
        "service": "shop",
        "function": "main",
        "stage": "dev",
        "build_id": "abc",
    }
    assert runtime.http(Request("HEAD", HEALTH_PATH)).body == b""


# ---- errors


@BOTH
def test_an_http_error_is_a_problem_document(handle: Handle) -> None:
    app = App("shop")

    @app.get("/a")
    def refuse() -> None:
        raise HTTPError(409, "sold out", title="Nope", type="https://shop/sold-out", headers={"x-a": "1"}, sku="a")

    @app.get("/b")
    async def refuse_async() -> None:
        raise HTTPError(418, status_code=5)

    runtime = Runtime(app, logs=False)
    response = handle(runtime, Request("GET", "/a", context=Context("id-1")))
    assert (response.status, fields(response)["x-a"]) == (409, "1")
    assert document(response) == {
        "type": "https://shop/sold-out",
        "title": "Nope",
        "status": 409,
        "detail": "sold out",
        "sku": "a",
        "request_id": "id-1",
    }
    assert document(handle(runtime, Request("GET", "/b")))["title"] == "I'm a Teapot"


@BOTH
def test_an_exception_is_a_500_without_internals(handle: Handle, caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop")

    @app.get("/a")
    def fail() -> None:
        raise RuntimeError("password=hunter2")

    @app.get("/b")
    async def fail_async() -> None:
        raise RuntimeError("password=hunter2")

    for path in ("/a", "/b"):
        caplog.clear()
        response = handle(Runtime(app, logs=False), Request("GET", path, context=Context("id-1")))
        body = document(response)
        assert (body["status"], body["request_id"]) == (500, "id-1")
        assert "hunter2" not in str(body) + str(response.headers)
        assert caplog.records[0].exc_info is not None
        assert "hunter2" in caplog.text


@BOTH
@pytest.mark.parametrize("where", ["handler", "auth", "middleware"])
def test_an_error_that_cannot_be_sent_is_a_500(handle: Handle, where: str, caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop")

    def fail(*_: Any) -> Any:
        raise HTTPError(400, headers={"x-a": "b\r\nset-cookie: c=1"}, value=object())

    app.get("/a", auth=fail if where == "auth" else lambda request: "x")(fail if where == "handler" else lambda: "x")
    if where == "middleware":
        app.middleware(fail)
    response = handle(Runtime(app, logs=False), Request("GET", "/a"))
    assert document(response)["status"] == 500
    assert "set-cookie" not in fields(response)


def test_large_bodies_are_refused_by_their_bytes() -> None:
    app = App("shop")
    app.post("/a")(lambda request: "x")
    runtime = Runtime(app, max_body=10, logs=False)
    assert runtime.http(Request("POST", "/a", body=b"x" * 10)).status == 200
    assert document(runtime.http(Request("POST", "/a", body=b"x" * 11)))["status"] == 413
    assert runtime.http(Request("POST", "/a", body="é" * 5)).status == 200
    assert runtime.http(Request("POST", "/a", body="é" * 6)).status == 413


def test_bad_input_is_a_422_that_names_the_field() -> None:
    app = App("shop")

    @app.post("/orders/{id:int}")
    def create(id: int, order: Order, limit: int = 1) -> Order:
        return order

    json_body = {"content-type": "application/json"}
    bad = document(call(app, "POST", "/orders/1?limit=x", body=b'{"sku":1}', headers=json_body))
    assert bad["status"] == 422
    assert {(error["in"], error["field"]) for error in bad["errors"]} == {("body", "sku"), ("query", "limit")}
    assert document(call(app, "POST", "/orders/1", body=b"{", headers=json_body))["status"] == 400


def test_a_handler_that_cannot_be_called_is_a_500_that_the_log_explains(caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop")
    app.get("/a")(lambda nonsense: nonsense)
    assert call(app, "GET", "/a").status == 500
    assert "nonsense" in caplog.text


# ---- the context


@BOTH
def test_the_context_of_a_request(handle: Handle) -> None:
    app = App("shop")
    seen: list[Context | None] = []

    @app.function("api").get("/{x}")
    def read(x: str, context: Context) -> dict[str, Any]:
        seen.extend([current_context(), context])
        return {"id": context.request_id}

    @app.function("web").get("/async/{x}")
    async def read_async(x: str, context: Context) -> dict[str, Any]:
        return read(x, context)

    for path, function in (("/a", "api"), ("/async/a", "web")):
        seen.clear()
        response = handle(Runtime(app, stage="dev", build_id="b1", logs=False), Request("GET", path))
        assert len(json.loads(whole_body(response))["id"]) == 32
        context = seen[0]
        assert context is not None
        assert context is seen[1]
        assert (context.service, context.function, context.stage, context.build_id) == ("shop", function, "dev", "b1")
        assert context.trigger.startswith(f"{function}:GET /")
        assert current_context() is None


def test_what_the_provider_knows_is_kept() -> None:
    context = Context("id-1", trace_parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", deadline=1.0)
    app = App("shop")
    app.get("/a")(lambda request: [request.request_id, request.deadline, request.context.trace_id])
    response = call(app, "GET", "/a", context=context)
    assert json.loads(whole_body(response)) == ["id-1", 1.0, "4bf92f3577b34da6a3ce929d0e0e4736"]
    assert context.remaining() < 0
    assert Context("x").trace_id == ""
    assert Context("x").remaining() == float("inf")


def test_requests_in_threads_do_not_mix() -> None:
    app = App("shop")
    barrier = threading.Barrier(8, timeout=30)

    @app.get("/{x:int}")
    def read(x: int, request: Request) -> dict[str, Any]:
        barrier.wait()
        context = current_context()
        assert context is not None
        return {"x": x, "id": context.request_id, "same": context is request.context}

    @app.get("/async/{x:int}")
    async def read_async(x: int, request: Request) -> dict[str, Any]:
        await asyncio.sleep(0)
        context = current_context()
        assert context is not None
        return {"x": x, "id": context.request_id, "same": context is request.context}

    runtime = Runtime(app, logs=False)
    with ThreadPoolExecutor(8) as pool:
        for prefix in ("/", "/async/"):
            requests = [Request("GET", f"{prefix}{n}", context=Context(str(n))) for n in range(64)]
            for n, response in enumerate(pool.map(runtime.http, requests)):
                assert json.loads(whole_body(response)) == {"x": n, "id": str(n), "same": True}
    runtime.stop()


@BOTH
def test_a_cancelled_error_in_a_handler_is_a_failure_of_that_handler(handle: Handle) -> None:
    app = App("shop")

    @app.get("/sync")
    def sync() -> None:
        raise asyncio.CancelledError

    @app.get("/async")
    async def asynchronous() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    runtime = Runtime(app, logs=False)
    assert handle(runtime, Request("GET", "/sync")).status == 500
    assert handle(runtime, Request("GET", "/async")).status == 500
    runtime.stop()


def test_a_host_that_cancels_a_request_ends_it() -> None:
    app = App("shop")
    started = asyncio.Event()

    @app.get("/")
    async def wait() -> None:
        started.set()
        await asyncio.sleep(60)

    async def host() -> None:
        task = asyncio.create_task(Runtime(app, logs=False).http_async(Request("GET", "/")))
        await started.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(host())


# ---- sync and async handlers


@BOTH
def test_async_handlers_of_every_kind(handle: Handle) -> None:
    async def coroutine(request: Request) -> str:
        await asyncio.sleep(0)
        return request.path

    class Callable_:
        async def __call__(self, request: Request) -> str:
            return request.path

    @wraps(coroutine)
    def wrapped(request: Request) -> Any:
        return coroutine(request)

    app = App("shop")
    app.get("/a")(coroutine)
    app.get("/b")(Callable_())
    app.get("/c")(wrapped)
    app.get("/d")(Callable_().__call__)
    runtime = Runtime(app, logs=False)
    for path in ("/a", "/b", "/c", "/d"):
        assert handle(runtime, Request("GET", path)).body == path.encode()
    runtime.stop()


def test_is_async_looks_through_partials() -> None:
    from pys_multi.triggers import is_async

    async def coroutine(a: int, b: int) -> None: ...

    class Endless:
        @property
        def func(self) -> Endless:
            return self

        def __call__(self) -> None: ...

    assert is_async(partial(partial(coroutine, 1), 2))
    assert not is_async(partial(print))
    assert not is_async(Endless())
    assert not is_async(print)


def test_on_a_host_with_a_loop_async_handlers_run_there_and_sync_ones_do_not() -> None:
    app = App("shop")
    threads: dict[str, int] = {}

    @app.get("/sync")
    def sync() -> str:
        threads["sync"] = threading.get_ident()
        return "x"

    @app.get("/async")
    async def asynchronous() -> str:
        threads["async"] = threading.get_ident()
        return "x"

    runtime = Runtime(app, logs=False)
    for path in ("/sync", "/async"):
        assert handle_async(runtime, Request("GET", path)).status == 200
    assert threads["async"] == threading.get_ident() != threads["sync"]


# ---- middleware

SYNC_AND_ASYNC = pytest.mark.parametrize("pattern", ["s", "a", "sa", "as", "sas", "asa", "ssaa", "aass"])


@BOTH
@SYNC_AND_ASYNC
@pytest.mark.parametrize("handler_async", [False, True])
def test_sync_and_async_middleware_mix(handle: Handle, pattern: str, handler_async: bool) -> None:
    app = App("shop")
    steps: list[str] = []

    def make(name: str, asynchronous: bool) -> Any:
        def sync(request: Request, call_next: Callable[[Request], Any]) -> Any:
            assert current_context() is request.context
            steps.append(f"{name}>")
            response = call_next(request)
            assert isinstance(response, Response)
            steps.append(f"<{name}")
            return response

        async def asynchronous_one(request: Request, call_next: Callable[[Request], Any]) -> Any:
            assert current_context() is request.context
            steps.append(f"{name}>")
            response = await call_next(request)
            assert isinstance(response, Response)
            steps.append(f"<{name}")
            return response

        return asynchronous_one if asynchronous else sync

    for position, kind in enumerate(pattern):
        app.middleware(make(str(position), kind == "a"))

    def handler() -> dict[str, bool]:
        steps.append("handler")
        return {"ok": current_context() is not None}

    async def async_handler() -> dict[str, bool]:
        return handler()

    app.get("/a")(async_handler if handler_async else handler)
    runtime = Runtime(app, logs=False)
    assert handle(runtime, Request("GET", "/a")).body == b'{"ok":true}'
    count = len(pattern)
    assert steps == [f"{n}>" for n in range(count)] + ["handler"] + [f"<{n}" for n in reversed(range(count))]
    runtime.stop()


@BOTH
def test_middleware_may_answer_itself_in_any_form(handle: Handle) -> None:
    app = App("shop")
    app.get("/a")(lambda: "never")
    outer: list[tuple[int, Any]] = []

    @app.middleware
    def watch(request: Request, call_next: Any) -> Any:
        response = call_next(request)
        outer.append((response.status, response.body))
        return response

    @app.middleware
    async def answer(request: Request, call_next: Any) -> Any:
        if "deny" in request.query:
            raise HTTPError(403, "no")
        return {"teapot": True}, 418

    runtime = Runtime(app, logs=False)
    assert handle(runtime, Request("GET", "/a")).status == 418
    assert handle(runtime, Request("GET", "/a", query_string="deny=1")).status == 403
    assert [status for status, _ in outer] == [418, 403]


def test_middleware_that_forgets_to_return_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop")
    app.get("/a")(lambda: "x")

    @app.middleware
    def forgetful(request: Request, call_next: Any) -> Any:
        call_next(request)

    assert call(app, "GET", "/a").status == 500
    assert "forgetful returned None" in caplog.text


def test_middleware_sees_problems_as_responses_and_exceptions_as_exceptions() -> None:
    app = App("shop")
    seen: list[Any] = []

    @app.middleware
    def watch(request: Request, call_next: Any) -> Any:
        try:
            response = call_next(request)
        except ZeroDivisionError as error:
            seen.append(error)
            return "rescued", 503
        seen.append(response.status)
        return response

    @app.get("/{kind}")
    def fail(kind: str) -> Any:
        if kind == "http":
            raise HTTPError(409)
        return 1 / 0

    assert call(app, "GET", "/http").status == 409
    assert call(app, "GET", "/zero").body == b"rescued"
    assert call(app, "GET", "/no/where").status == 404
    assert seen[0] == 409
    assert isinstance(seen[1], ZeroDivisionError)
    assert seen[2] == 404


# ---- authentication


@BOTH
@pytest.mark.parametrize("handler_async", [False, True])
@pytest.mark.parametrize("auth_async", [False, True])
def test_only_whom_the_authenticator_knows_gets_to_the_handler(
    handle: Handle, handler_async: bool, auth_async: bool
) -> None:
    principals = {"": None, "no": False, "ann": "ann", "zero": 0, "empty": ""}

    class Known:
        challenge = 'Bearer realm="shop"'

        def authenticate(self, request: Request) -> Any:
            name = request.headers.get("x-user") or ""
            if name == "banned":
                raise HTTPError(403, "not you")
            if name == "crash":
                raise RuntimeError
            return self._later(principals[name]) if auth_async else principals[name]

        async def _later(self, value: Any) -> Any:
            return value

    app = App("shop")
    reached: list[Any] = []

    def handler(request: Request) -> str:
        reached.append(request.principal)
        return "x"

    async def async_handler(request: Request) -> str:
        return handler(request)

    app.get("/a", auth=Known())(async_handler if handler_async else handler)
    runtime = Runtime(app, logs=False)

    def get(user: str) -> Response:
        return handle(runtime, Request("GET", "/a", headers={"x-user": user} if user else {}))

    for nobody in ("", "no"):
        response = get(nobody)
        assert response.status == 401
        assert fields(response)["www-authenticate"] == 'Bearer realm="shop"'
    assert get("banned").status == 403
    assert get("crash").status == 500
    assert reached == []
    assert [get(user).status for user in ("ann", "zero", "empty")] == [200, 200, 200]
    assert reached == ["ann", 0, ""]
    runtime.stop()


@pytest.mark.parametrize("outermost", ["authenticator", "middleware"])
def test_requests_that_wait_in_threads_at_once_do_not_wait_for_each_others_threads(outermost: str) -> None:
    # More than the executor of an event loop has threads: each of these holds one while it waits for async code.
    callers = 40
    together = threading.Barrier(callers, timeout=30)
    app = App("shop")

    async def ann() -> str:
        return await asyncio.to_thread(str, "ann")

    def known(request: Request) -> Any:
        if outermost == "authenticator":
            together.wait()
        return ann()

    @app.get("/me", auth=known)
    async def me(request: Request) -> str:
        return str(request.principal)

    if outermost == "middleware":

        @app.middleware
        async def first(request: Request, call_next: Callable[[Request], Any]) -> Any:
            return await call_next(request)

        @app.middleware
        def second(request: Request, call_next: Callable[[Request], Any]) -> Any:
            together.wait()
            return call_next(request)

    runtime = Runtime(app, logs=False)
    with ThreadPoolExecutor(callers) as pool:
        responses = list(pool.map(lambda _: runtime.http(Request("GET", "/me")), range(callers)))
    assert [response.status for response in responses] == [200] * callers


def test_route_middleware_is_for_those_who_may_call_and_app_middleware_for_all() -> None:
    app = App("shop", auth=lambda request: request.headers.get("x-user"))
    seen: list[tuple[str, Any]] = []

    @app.middleware
    def outside(request: Request, call_next: Any) -> Any:
        seen.append(("outside", request.principal))
        return call_next(request)

    def inside(request: Request, call_next: Any) -> Any:
        seen.append(("inside", request.principal))
        return call_next(request)

    app.get("/a", middleware=[inside])(lambda: "x")
    assert call(app, "GET", "/a").status == 401
    assert call(app, "GET", "/a", headers={"x-user": "ann"}).status == 200
    assert seen == [("outside", None), ("outside", None), ("inside", "ann")]


# ---- context variables


@BOTH
def test_no_request_sees_the_context_variables_of_the_one_before(handle: Handle) -> None:
    app = App("shop")
    user: ContextVar[str] = ContextVar("user", default="nobody")

    @app.get("/set")
    def enter() -> Iterator[str]:
        user.set("ann")
        return (user.get() for _ in range(1))

    @app.get("/get")
    def get() -> str:
        return user.get()

    runtime = Runtime(app, logs=False)
    streamed = handle(runtime, Request("GET", "/set"))
    assert whole_body(handle(runtime, Request("GET", "/get"))) == b"nobody"
    if handle is Runtime.http:
        assert whole_body(streamed) == b"ann"  # the stream still does
    assert user.get() == "nobody"


# ---- streams


@BOTH
def test_a_stream_is_made_in_the_context_of_its_request(handle: Handle) -> None:
    app = App("shop")
    closed: list[str] = []

    def seen() -> str:
        context = current_context()
        return context.request_id if context is not None else "none"

    @app.get("/sync")
    def sync() -> Iterator[str]:
        try:
            yield seen() + " "
            yield seen()
        finally:
            closed.append(seen())

    @app.get("/async")
    async def asynchronous() -> AsyncIterator[str]:
        try:
            yield seen() + " "
            await asyncio.sleep(0)
            yield seen()
        finally:
            closed.append("async")

    runtime = Runtime(app, logs=False)
    for path in ("/sync", "/async"):
        response = handle(runtime, Request("GET", path, context=Context("id-1")))
        assert response.is_streaming
        assert whole_body(response) == b"id-1 id-1"
        assert current_context() is None
    assert closed == ["id-1", "async"]
    runtime.stop()


@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_a_stream_that_nobody_reads_to_its_end_is_cleaned_up_in_its_context(path: str) -> None:
    app = App("shop")
    closed = threading.Event()
    contexts: list[Context | None] = []

    @app.get("/sync")
    def sync() -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            contexts.append(current_context())
            closed.set()

    @app.get("/async")
    async def asynchronous() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            contexts.append(current_context())
            closed.set()

    runtime = Runtime(app, logs=False)
    chunks = stream_of(runtime.http(Request("GET", path)))
    assert next(chunks) == b"x"
    chunks.close()  # type: ignore[attr-defined]
    assert closed.wait(30)
    assert [context is not None and context.trigger for context in contexts] == [f"main:GET {path}"]
    runtime.stop()


def test_a_stream_of_a_host_with_a_loop_is_read_there() -> None:
    app = App("shop")

    @app.get("/a")
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            context = current_context()
            yield context.request_id.encode() if context is not None else b"none"

    async def read() -> list[Any]:
        response = await Runtime(app, logs=False).http_async(Request("GET", "/a", context=Context("1")))
        return [chunk async for chunk in response.body]  # type: ignore[union-attr, misc]

    assert asyncio.run(read()) == [b"1", b"1", b"1"]


@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_a_chunk_that_is_no_text_is_refused_by_name(path: str) -> None:
    app = App("shop")

    @app.get("/sync")
    def sync() -> Iterator[Any]:
        yield {"n": 1}

    @app.get("/async")
    async def asynchronous() -> AsyncIterator[Any]:
        yield {"n": 1}

    runtime = Runtime(app, logs=False)
    with pytest.raises(TypeError, match=r"a stream is made of str and bytes, and this chunk is of type dict"):
        list(stream_of(runtime.http(Request("GET", path))))
    runtime.stop()


def test_empty_chunks_are_left_out_for_they_would_end_a_chunked_response() -> None:
    assert list(stream_of(Response([b"", "a", "", b"b"]))) == [b"a", b"b"]


# ---- mounts


def test_a_mounted_application_answers_below_its_path_and_routes_come_first() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/plain")])
        return [f"{environ['REQUEST_METHOD']} {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    app = App("shop")
    app.wsgi(application, "/w")
    app.get("/w/mine")(lambda: "mine")
    runtime = Runtime(app, logs=False)
    assert runtime.http(Request("GET", "/w/a")).status == 500  # not started
    runtime.start()
    answers = {
        ("GET", "/w/mine"): b"mine",
        ("POST", "/w/mine"): b"POST /w|/mine",
        ("GET", "/w/a/b"): b"GET /w|/a/b",
        ("PURGE", "/w/a"): b"PURGE /w|/a",
    }
    for (method, path), body in answers.items():
        assert whole_body(runtime.http(Request(method, path))) == body
    assert runtime.http(Request("GET", "/elsewhere")).status == 404
    runtime.stop()


def test_middleware_may_call_a_mounted_application_again_and_sees_its_own_path() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/plain")])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    app = App("shop")
    app.wsgi(application, "/w")
    seen = []

    @app.middleware
    def twice(request: Request, call_next: Any) -> Any:
        first, second = call_next(request), call_next(request)
        seen.append((request.root_path, request.path))
        return first.body + b" " + second.body

    runtime = Runtime(app, logs=False)
    runtime.start()
    assert whole_body(runtime.http(Request("GET", "/w/way"))) == b"/w|/way /w|/way"
    assert seen == [("", "/w/way")]


def test_a_mounted_application_is_guarded_by_its_authenticator() -> None:
    reached: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        reached.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"x"]

    app = App("shop", auth=lambda request: request.headers.get("x-user"))
    app.wsgi(application)
    runtime = Runtime(app, logs=False)
    runtime.start()
    assert runtime.http(Request("GET", "/a")).status == 401
    assert reached == []
    assert runtime.http(Request("GET", "/a", headers={"x-user": "ann"})).status == 200
    runtime.stop()


# ---- life


def test_a_runtime_runs_one_function_or_all() -> None:
    app = App("shop")
    app.function("one").get("/one")(lambda: "1")
    app.function("two").get("/two")(lambda: "2")
    assert Runtime(app, "one", logs=False).http(Request("GET", "/two")).status == 404
    assert Runtime(app, "two", logs=False).http(Request("GET", "/two")).status == 200
    assert Runtime(app, logs=False).http(Request("GET", "/one")).status == 200
    with pytest.raises(PysMultiError, match="no function 'three'; it has one, two"):
        Runtime(app, "three")


def test_two_apps_in_one_process_do_not_mix() -> None:
    one, two = App("one"), App("two")
    two.get("/a")(lambda context: context.service)
    two.get("/a/b")(lambda: "b")
    inner = Runtime(two, logs=False)

    @one.get("/a")
    def outer() -> Any:
        context = current_context()
        response = inner.http(Request("GET", "/a"))
        assert current_context() is context
        return [context.service if context else None, whole_body(response).decode()]

    assert json.loads(whole_body(call(one, "GET", "/a"))) == ["one", "two"]
    assert call(one, "GET", "/a/b").status == 404


def test_load_makes_the_runtime_of_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundled_shop.py").write_text(
        "from pys_multi import App\n"
        "class holder:\n    app = App('shop')\n"
        "holder.app.function('api').get('/a')(lambda: 'x')\n"
        "holder.app.function('web').get('/b')(lambda: 'x')\n"
    )
    (tmp_path / "pys_multi_build.json").write_text(
        json.dumps({"schema_version": 1, "build_id": "b1", "app": "bundled_shop:holder.app", "provider": "local"})
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYS_MULTI_FUNCTION", "api")
    monkeypatch.setenv("PYS_MULTI_STAGE", "prod")
    runtime = load(str(tmp_path))
    assert runtime.health() == {
        "status": "ok",
        "service": "shop",
        "function": "api",
        "stage": "prod",
        "build_id": "b1",
    }
    sys.modules.pop("bundled_shop")


def test_logging_alone_brings_no_output_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    app = App("shop")

    @app.get("/a")
    def handler() -> str:
        logging.getLogger("user").info("hello")
        return "x"

    assert call(app, "GET", "/a").status == 200
    assert capsys.readouterr().out == ""


# ---- CORS

SHOP, OTHER, EVIL = "https://shop.example", "https://other.example", "https://evil.example"
ALLOWED = "access-control-allow-origin"


def preflight(runtime: Runtime, path: str, method: str, origin: str = SHOP) -> Response:
    headers = {"origin": origin, "access-control-request-method": method}
    return runtime.http(Request("OPTIONS", path, headers=headers))


@BOTH
@pytest.mark.parametrize("handler_async", [False, True])
def test_a_page_may_read_every_answer_also_those_about_errors(handle: Handle, handler_async: bool) -> None:
    app = App("shop", cors=CORS([SHOP]))

    def handler(kind: str) -> Any:
        if kind == "http":
            raise HTTPError(409)
        return 1 / 0 if kind == "crash" else kind

    async def async_handler(kind: str) -> Any:
        return handler(kind)

    app.get("/{kind}")(async_handler if handler_async else handler)
    app.get("/auth/x", auth=lambda request: None)(lambda: "x")
    runtime = Runtime(app, max_body=10, logs=False)
    for path, status in {"/ok": 200, "/http": 409, "/crash": 500, "/a/b": 404, "/auth/x": 401, "/ok/": 307}.items():
        response = handle(runtime, Request("GET", path, headers={"origin": SHOP}))
        assert (response.status, fields(response)[ALLOWED]) == (status, SHOP)
        assert ALLOWED not in fields(handle(runtime, Request("GET", path, headers={"origin": EVIL})))
    too_large = handle(runtime, Request("GET", "/ok", headers={"origin": SHOP}, body=b"x" * 11))
    assert (too_large.status, fields(too_large)[ALLOWED]) == (413, SHOP)
    assert fields(handle(runtime, Request("POST", "/ok", headers={"origin": SHOP})))[ALLOWED] == SHOP
    runtime.stop()


def test_a_preflight_is_answered_by_the_function_it_is_about() -> None:
    reached: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        reached.append(environ["REQUEST_METHOD"])
        start_response("405 Method Not Allowed", [])
        return []

    app = App("shop", cors=CORS([SHOP]), auth=lambda request: None)
    app.middleware(lambda request, call_next: call_next(reached.append("middleware")))  # type: ignore[func-returns-value]
    app.get("/app")(lambda: "x")
    own = app.function("own", cors=CORS([OTHER]))
    own.get("/own")(lambda: "x")
    own.wsgi(application, "/w")
    runtime = Runtime(app, logs=False)
    runtime.start()
    for path, origin in (("/app", SHOP), ("/own", OTHER), ("/w/x", OTHER)):
        response = preflight(runtime, path, "GET", origin)
        assert (response.status, fields(response).get(ALLOWED)) == (204, origin)
        assert ALLOWED not in fields(preflight(runtime, path, "GET", EVIL))
    assert reached == []
    runtime.stop()


def test_a_response_that_is_shared_does_not_carry_one_origin_to_another() -> None:
    shared = Response("x")
    app = App("shop", cors=CORS([SHOP, OTHER]))
    app.get("/a")(lambda: shared)
    runtime = Runtime(app, logs=False)
    for origin in (SHOP, OTHER, SHOP):
        assert fields(runtime.http(Request("GET", "/a", headers={"origin": origin})))[ALLOWED] == origin
    assert ALLOWED not in fields(runtime.http(Request("GET", "/a")))
    assert len(shared.headers) == 1


# ---- whatever comes

ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "cookie", "origin", "access-control-request-method", "host", "x-user"]),
        st.text(max_size=20) | st.sampled_from(["application/json", SHOP, "GET", "multipart/form-data; boundary=x"]),
    ),
    max_size=4,
)


@given(
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PUT", "", "get", "\r\n"]),
    st.sampled_from(["/", "/orders", "/orders/1", "/orders/1/", "/w/x", "/stream", "/form"]) | st.text(max_size=30),
    st.text(max_size=30) | st.just("limit=1"),
    ANY_HEADERS,
    st.binary(max_size=30) | st.sampled_from([b'{"sku":"a"}', b"{", b"[" * 1000, b"a=b&c"]),
)
def test_no_request_makes_the_runtime_raise(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    response = ANYTHING.http(Request(method, path, query_string=query, headers=headers, body=body))
    whole_body(response)
    assert response.status in {200, 204, 307, 400, 401, 404, 405, 413, 415, 422}
    for name, value in response.headers:
        assert not set(name + value) & set("\r\n\0")


def anything() -> Runtime:
    app = App("shop", cors=CORS([SHOP]))

    @app.post("/orders")
    def create(order: Order, limit: int = 1) -> Order:
        return order

    @app.get("/orders/{id:int}", auth=lambda request: request.headers.get("x-user"))
    def read(id: int, request: Request) -> Any:
        return {"id": id, "query": request.query.items(), "cookies": request.cookies, "text": request.text}

    @app.post("/form")
    def form(request: Request) -> Any:
        return [name for name, _ in request.form().items()]

    @app.get("/stream")
    def stream(request: Request) -> Iterator[str]:
        yield request.url

    @app.route("OPTIONS", "/w/{rest:path}")
    def own(rest: str) -> str:
        return rest

    return Runtime(app, max_body=500, logs=False)


ANYTHING = anything()
