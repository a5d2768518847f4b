"""Existing ASGI and WSGI applications hosted as they are: FastAPI, Starlette, Django, Flask, and bare callables."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from wsgiref.validate import validator

import django
import pytest
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path as django_path
from fastapi import FastAPI
from fastapi import Request as FastApiRequest
from flask import Flask, stream_with_context
from flask import Response as FlaskResponse
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from pys_multi import loop
from pys_multi.http import Request, Response
from pys_multi.web import StartupError, host, server_of

Scope = Any
Call = Callable[[Any, Request], Response]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    loop.close()


def call_sync(hosted: Any, request: Request) -> Response:
    """As a host that blocks does it."""
    response: Response = hosted.handle(request)
    if not isinstance(response.body, bytes):
        response.body = b"".join(response.body)  # type: ignore[arg-type]
    return response


def call_async(hosted: Any, request: Request) -> Response:
    """As a host with an event loop does it."""

    async def go() -> Response:
        response: Response = await hosted.handle_async(request)
        if not isinstance(response.body, bytes):
            response.body = b"".join([chunk async for chunk in response.body])  # type: ignore[union-attr, misc]
        await hosted.stop_async()
        return response

    return asyncio.run(go())


def call_from_another_loop(hosted: Any, request: Request) -> Response:
    """As an event loop does it that is not the one the application started in."""
    hosted.start()

    async def go() -> Response:
        response: Response = await hosted.handle_async(request)
        if not isinstance(response.body, bytes):
            response.body = b"".join([chunk async for chunk in response.body])  # type: ignore[union-attr, misc]
        return response

    return asyncio.run(go())


CALLS = [call_sync, call_async, call_from_another_loop]
every_call = pytest.mark.parametrize("call", CALLS)


def values(response: Response, name: str) -> list[str]:
    return [value for key, value in response.headers if key.lower() == name]


# --- FastAPI


def _fastapi() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    def read(item_id: int, request: FastApiRequest, tag: str = "") -> dict[str, Any]:
        client = request.client
        return {
            "id": item_id,
            "tag": tag,
            "url": str(request.url),
            "client": client.host if client else None,
            "many": request.headers.getlist("x-many"),
            "cookies": request.cookies,
        }

    @app.post("/upload")
    async def upload(request: FastApiRequest) -> dict[str, Any]:
        content = await request.body()
        return {"type": request.headers["content-type"], "size": len(content)}

    @app.get("/broken")
    def broken() -> None:
        raise LookupError("inside")

    return app


@every_call
def test_fastapi_sees_the_whole_request(call: Call) -> None:
    request = Request(
        "GET",
        "/items/7",
        query_string="tag=%C3%A4+b",
        headers=[
            ("Host", "api.example:8443"),
            ("X-Many", "1"),
            ("x-many", "2"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
        ],
        client="192.0.2.7",
        scheme="https",
        root_path="/stage",
    )
    response = call(host("asgi", _fastapi()), request)
    assert response.status == 200
    assert values(response, "content-type") == ["application/json"]
    seen = json.loads(response.body)  # type: ignore[arg-type]
    assert seen["id"] == 7
    assert seen["tag"] == "ä b"
    assert seen["url"] == "https://api.example:8443/stage/items/7?tag=%C3%A4+b"
    assert seen["client"] == "192.0.2.7"
    assert seen["many"] == ["1", "2"]


@every_call
def test_fastapi_answers_its_own_errors(call: Call) -> None:
    assert call(host("asgi", _fastapi()), Request("GET", "/items/x")).status == 422
    assert call(host("asgi", _fastapi()), Request("GET", "/nowhere")).status == 404


@every_call
def test_fastapi_reads_a_binary_body(call: Call) -> None:
    request = Request("POST", "/upload", headers={"Content-Type": "image/png"}, body=bytes(range(256)) * 1000)
    response = call(host("asgi", _fastapi()), request)
    assert response.body == b'{"type":"image/png","size":256000}'


@every_call
def test_an_error_that_the_framework_answered_is_answered_and_logged(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = call(host("asgi", _fastapi()), Request("GET", "/broken"))
    assert (response.status, response.body) == (500, b"Internal Server Error")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


# --- Starlette


def _starlette(events: list[str] | None = None) -> Starlette:
    noted = events if events is not None else []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        noted.append("startup")
        yield {"pool": "opened", "loop": asyncio.get_running_loop()}
        noted.append("shutdown")

    async def home(request: StarletteRequest) -> JSONResponse:
        response = JSONResponse(
            {
                "pool": request.state.pool,
                "same_loop": request.state.loop is asyncio.get_running_loop(),
                "root": request.scope["root_path"],
            }
        )
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    async def stream(request: StarletteRequest) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            for number in range(5):
                await asyncio.sleep(0)
                yield f"{number};"

        return StreamingResponse(chunks(), media_type="text/plain")

    async def endless(request: StarletteRequest) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            try:
                while True:
                    yield "again "
            finally:
                noted.append("stream ended")

        return StreamingResponse(chunks())

    async def task(request: StarletteRequest) -> PlainTextResponse:
        async def later() -> None:
            await asyncio.sleep(0.01)
            noted.append("task ran")

        return PlainTextResponse("ok", background=BackgroundTask(later))

    async def half(request: StarletteRequest) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            yield "half"
            raise LookupError("no other half")

        return StreamingResponse(chunks())

    async def context(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(VARIABLE.get())

    async def body(request: StarletteRequest) -> PlainTextResponse:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return PlainTextResponse(f"{size} {await request.is_disconnected()}")

    return Starlette(
        routes=[
            Route("/", home),
            Route("/stream", stream),
            Route("/endless", endless),
            Route("/task", task),
            Route("/half", half),
            Route("/context", context),
            Route("/body", body, methods=["POST"]),
            Mount(
                "/sub",
                routes=[
                    Route(
                        "/{name:path}", lambda r: PlainTextResponse(r.scope["root_path"] + " " + r.path_params["name"])
                    )
                ],
            ),
        ],
        lifespan=lifespan,
    )


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@every_call
def test_starlette_finds_its_lifespan_state_in_its_own_loop(call: Call) -> None:
    response = call(host("asgi", _starlette()), Request("GET", "/", root_path="/prod"))
    assert response.body == b'{"pool":"opened","same_loop":true,"root":"/prod"}'
    assert [value.split(";")[0] for value in values(response, "set-cookie")] == ["a=1", "b=2"]


@every_call
def test_a_stream_arrives_whole(call: Call) -> None:
    response = call(host("asgi", _starlette()), Request("GET", "/stream"))
    assert response.body == b"0;1;2;3;4;"


@every_call
def test_context_variables_reach_the_application(call: Call) -> None:
    token = VARIABLE.set("mine")
    try:
        assert call(host("asgi", _starlette()), Request("GET", "/context")).body == b"mine"
    finally:
        VARIABLE.reset(token)


@every_call
def test_the_body_reaches_the_application(call: Call) -> None:
    response = call(host("asgi", _starlette()), Request("POST", "/body", body=b"x" * 100_000))
    assert response.body == b"100000 False"


@every_call
def test_mounts_inside_of_the_application_see_their_path(call: Call) -> None:
    response = call(host("asgi", _starlette()), Request("GET", "/sub/ä b/c", root_path="/p"))
    assert response.body == "/p/sub ä b/c".encode()


def test_a_body_that_is_whole_is_no_stream() -> None:
    assert host("asgi", _starlette()).handle(Request("GET", "/")).is_streaming is False
    assert host("asgi", _starlette()).handle(Request("GET", "/stream")).is_streaming is True


def test_lifespan_runs_once() -> None:
    events: list[str] = []
    hosted = host("asgi", _starlette(events))
    hosted.start()
    hosted.start()
    threads = [threading.Thread(target=hosted.handle, args=(Request("GET", "/"),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hosted.stop()
    hosted.stop()
    assert events == ["startup", "shutdown"]


def test_the_first_requests_wait_for_one_startup() -> None:
    events: list[str] = []
    hosted = host("asgi", _starlette(events))

    async def go() -> list[Response]:
        responses = await asyncio.gather(*(hosted.handle_async(Request("GET", "/")) for _ in range(5)))
        await hosted.stop_async()
        return list(responses)

    assert [response.status for response in asyncio.run(go())] == [200] * 5
    assert events == ["startup", "shutdown"]


def test_stop_without_start_does_nothing() -> None:
    events: list[str] = []
    host("asgi", _starlette(events)).stop()
    assert events == []


def test_a_reader_that_goes_ends_the_stream() -> None:
    events: list[str] = []
    hosted = host("asgi", _starlette(events))
    response = hosted.handle(Request("GET", "/endless"))
    chunks = iter(response.body)  # type: ignore[arg-type]
    assert next(chunks) == b"again "
    chunks.close()  # type: ignore[attr-defined]
    _eventually(lambda: "stream ended" in events)


def test_a_stream_that_nobody_reads_ends() -> None:
    events: list[str] = []
    hosted = host("asgi", _starlette(events))
    hosted.handle(Request("GET", "/endless"))
    _eventually(lambda: "stream ended" in events)


def test_head_of_an_endless_stream_ends() -> None:
    events: list[str] = []
    hosted = host("asgi", _starlette(events))
    response = hosted.handle(Request("HEAD", "/endless"))
    assert (response.status, response.body) == (200, b"")
    _eventually(lambda: "stream ended" in events)


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline
        gc.collect()
        loop.run(asyncio.sleep(0))


@every_call
def test_background_tasks_run_before_the_response_counts_as_complete(call: Call) -> None:
    events: list[str] = []
    call(host("asgi", _starlette(events)), Request("GET", "/task"))
    assert "task ran" in events


def test_a_host_that_keeps_running_answers_before_background_tasks_end() -> None:
    may_end = threading.Event()
    ended = threading.Event()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        await asyncio.to_thread(may_end.wait, 10)
        ended.set()

    assert host("asgi", app, finish=False).handle(Request("GET", "/")).body == b"done"
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(10)


def test_an_error_in_the_middle_of_a_stream_reaches_the_reader() -> None:
    response = host("asgi", _starlette()).handle(Request("GET", "/half"))
    chunks = iter(response.body)  # type: ignore[arg-type]
    assert next(chunks) == b"half"
    with pytest.raises(LookupError, match="other half"):
        next(chunks)


@every_call
def test_a_response_through_base_http_middleware_arrives(call: Call) -> None:
    async def add(request: StarletteRequest, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-added"] = "yes"
        return response

    app = Starlette(
        routes=[Route("/", lambda request: PlainTextResponse("inner"))],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=add)],
    )
    response = call(host("asgi", app), Request("GET", "/"))
    assert (response.body, values(response, "x-added")) == (b"inner", ["yes"])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_cancelled_request_cancels_the_application(streaming: bool) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    async def go() -> None:
        hosted = host("asgi", app)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hosted.handle_async(Request("GET", "/")), 0.05)
        await asyncio.sleep(0)

    asyncio.run(go())
    assert seen == ["cancelled"]


# --- startup that fails, and applications that keep no rule


def test_a_failed_startup_is_a_failed_start_with_its_reason() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise ConnectionError("no database at all")
        yield

    hosted = host("asgi", Starlette(lifespan=lifespan))
    with pytest.raises(StartupError, match="no database at all"):
        hosted.start()
    with pytest.raises(StartupError, match="no database at all"):
        hosted.handle(Request("GET", "/"))


@every_call
def test_an_application_without_lifespan_is_served(call: Call) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("only http")
        assert "state" not in scope
        await send({"type": "http.response.start", "status": 201})
        await send({"type": "http.response.body", "body": b"bare"})

    response = call(host("asgi", app), Request("GET", "/"))
    assert (response.status, response.body, response.headers) == (201, b"bare", [])


async def _no_response(send: Any) -> None: ...


async def _raises(send: Any) -> None:
    raise LookupError("before anything")


async def _raises_after_start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    raise LookupError("after the start")


async def _no_end(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


async def _twice(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.start", "status": 200})


async def _body_first(send: Any) -> None:
    await send({"type": "http.response.body", "body": b""})


async def _unknown(send: Any) -> None:
    await send({"type": "http.response.pathsend", "path": "/etc/passwd"})


async def _bad_header(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
    await send({"type": "http.response.body"})


async def _no_bytes(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": "text"})


async def _exits(send: Any) -> None:
    sys.exit(3)


@pytest.mark.parametrize(
    ("behaviour", "error", "text"),
    [
        (_no_response, RuntimeError, "returned before"),
        (_raises, LookupError, "before anything"),
        (_raises_after_start, LookupError, "after the start"),
        (_no_end, RuntimeError, "returned before"),
        (_twice, RuntimeError, "twice"),
        (_body_first, RuntimeError, "before it started"),
        (_unknown, RuntimeError, "pathsend"),
        (_bad_header, ValueError, "header 'x'"),
        (_no_bytes, TypeError, "string"),
        (_exits, RuntimeError, "sys.exit"),
    ],
)
@every_call
def test_an_application_that_does_not_answer_properly_is_an_error(
    call: Call, behaviour: Any, error: type[Exception], text: str
) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await behaviour(send)

    with pytest.raises(error, match=text):
        call(host("asgi", app), Request("GET", "/"))


def test_an_application_that_gives_up_sending_its_last_chunk_leaves_no_reader_waiting() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        await send({"type": "http.response.body", "body": b"2", "more_body": True})
        last = asyncio.create_task(send({"type": "http.response.body", "body": b"3"}))
        await asyncio.sleep(0)
        last.cancel()
        await asyncio.wait([last])

    async def read() -> list[bytes]:
        hosted = host("asgi", app)
        response = await hosted.handle_async(Request("GET", "/"))
        for _ in range(10):  # the application gives up meanwhile, for nobody has taken its second chunk
            await asyncio.sleep(0)
        chunks = aiter(response.body)  # type: ignore[arg-type]
        read = [await anext(chunks), await anext(chunks)]
        with pytest.raises(RuntimeError, match="before its response was complete"):
            await anext(chunks)
        return read  # type: ignore[return-value]

    assert asyncio.run(asyncio.wait_for(read(), 30)) == [b"1", b"2"]


def test_a_body_after_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"all"})
            await send({"type": "http.response.body", "body": b"more"})

    assert call_sync(host("asgi", app), Request("GET", "/")).body == b"all"
    assert "after it had completed" in caplog.text


def test_the_application_gets_to_know_that_its_response_is_complete() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            received.append((await receive())["type"])
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b""})
            received.append((await receive())["type"])

    call_sync(host("asgi", app), Request("GET", "/"))
    assert received == ["http.request", "http.disconnect"]


def test_the_application_waits_for_its_reader() -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            for number in range(100):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                sent.append(number)
            await send({"type": "http.response.body"})

    response = host("asgi", app).handle(Request("GET", "/"))
    chunks = iter(response.body)  # type: ignore[arg-type]
    next(chunks)
    loop.run(asyncio.sleep(0))
    assert len(sent) <= 3
    assert len(b"".join(chunks)) == 99


@every_call
def test_fields_about_the_connection_are_left_out(call: Call) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"x-kept", b" yes ")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body"})

    assert call(host("asgi", app), Request("GET", "/")).headers == [("x-kept", "yes")]


# --- Django, both interfaces


def _django_echo(request: Any, name: str = "") -> JsonResponse:
    return JsonResponse(
        {
            "path": request.path,
            "path_info": request.path_info,
            "script": request.META.get("SCRIPT_NAME"),
            "name": name,
            "query": request.GET.getlist("q"),
            "body": len(request.body),
            "host": request.get_host(),
            "secure": request.is_secure(),
            "client": request.META["REMOTE_ADDR"],
        }
    )


def _django_stream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(f"{number};" for number in range(3))


def _django_cookies(request: Any) -> HttpResponse:
    response = HttpResponse("ok")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


urlpatterns = [
    django_path("echo/<name>", _django_echo),
    django_path("stream", _django_stream),
    django_path("cookies", _django_cookies),
]


@pytest.fixture(scope="module")
def django_ready() -> None:
    if not django_settings.configured:
        django_settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for this test",
            USE_TZ=True,
        )
        sys.modules.setdefault(__name__, sys.modules[_django_echo.__module__])
        django.setup()


def _django(interface: str) -> Any:
    return get_asgi_application() if interface == "asgi" else get_wsgi_application()


@pytest.mark.usefixtures("django_ready")
@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.parametrize("call", [call_sync, call_async])
def test_django_sees_the_whole_request(interface: str, call: Call) -> None:
    response = call(
        host(interface, _django(interface)),
        Request(
            "POST",
            "/echo/ä b",
            query_string="q=1&q=%C3%A4",
            headers={"host": "shop.example:8443", "content-type": "text/plain"},
            body=b"12345",
            client="192.0.2.9",
            scheme="https",
            root_path="/stage",
        ),
    )
    assert response.status == 200
    seen = json.loads(response.body)  # type: ignore[arg-type]
    assert seen["path"] == "/stage/echo/ä b"
    assert seen["path_info"] == "/echo/ä b"
    assert seen["name"] == "ä b"
    assert seen["query"] == ["1", "ä"]
    assert seen["body"] == 5
    assert seen["host"] == "shop.example:8443"
    assert seen["secure"] is True
    assert seen["client"] == "192.0.2.9"


@pytest.mark.usefixtures("django_ready")
@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.parametrize("call", [call_sync, call_async])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators:Warning")
def test_django_streams_and_repeats_cookies(interface: str, call: Call) -> None:
    hosted = host(interface, _django(interface))
    assert call(hosted, Request("GET", "/stream")).body == b"0;1;2;"
    hosted = host(interface, _django(interface))
    assert len(values(call(hosted, Request("GET", "/cookies")), "set-cookie")) == 2


# --- Flask and bare WSGI


def _flask(events: list[str] | None = None) -> Flask:
    noted = events if events is not None else []
    app = Flask("notes")

    @app.route("/echo/<path:name>", methods=["GET", "POST"])
    def echo(name: str) -> Any:
        return {
            "name": name,
            "url": flask_request.url,
            "script": flask_request.root_path,
            "form": flask_request.form.to_dict(),
            "many": flask_request.headers["X-Many"],
            "spoofed": flask_request.headers.get("X-Spoofed"),
            "cookies": flask_request.cookies.to_dict(),
            "client": flask_request.remote_addr,
            "variable": VARIABLE.get(),
        }

    @app.route("/stream")
    def stream() -> FlaskResponse:
        def chunks() -> Iterator[str]:
            try:
                yield f"{threading.get_ident()} "
                yield f"{threading.get_ident()} "
                yield flask_request.path
            finally:
                noted.append("closed")

        return FlaskResponse(stream_with_context(chunks()))

    @app.route("/broken")
    def broken() -> str:
        raise LookupError("inside")

    @app.route("/half")
    def half() -> FlaskResponse:
        def chunks() -> Iterator[str]:
            yield "half"
            raise LookupError("no other half")

        return FlaskResponse(chunks())

    @app.route("/cookies")
    def cookies() -> FlaskResponse:
        response = FlaskResponse("ok")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    return app


WSGI_CALLS = pytest.mark.parametrize("call", [call_sync, call_async])


@WSGI_CALLS
def test_flask_sees_the_whole_request(call: Call) -> None:
    token = VARIABLE.set("mine")
    try:
        response = call(
            host("wsgi", _flask()),
            Request(
                "POST",
                "/echo/ä/b c",
                query_string="q=1",
                headers=[
                    ("Host", "notes.example"),
                    ("Content-Type", "application/x-www-form-urlencoded"),
                    ("X-Many", "1"),
                    ("X-Many", "2"),
                    ("X_Spoofed", "by underscore"),
                    ("Cookie", "a=1"),
                    ("Cookie", "b=2"),
                ],
                body=b"field=%C3%A4",
                client="192.0.2.1",
                scheme="https",
                root_path="/mounted",
            ),
        )
    finally:
        VARIABLE.reset(token)
    assert json.loads(response.body) == {  # type: ignore[arg-type]
        "name": "ä/b c",
        "url": "https://notes.example/mounted/echo/ä/b%20c?q=1",
        "script": "/mounted",
        "form": {"field": "ä"},
        "many": "1,2",
        "spoofed": None,
        "cookies": {"a": "1", "b": "2"},
        "client": "192.0.2.1",
        "variable": "mine",
    }


@WSGI_CALLS
def test_flask_streams_from_one_thread_and_closes(call: Call) -> None:
    events: list[str] = []
    response = call(host("wsgi", _flask(events)), Request("GET", "/stream"))
    first, second, path = response.body.decode().split()  # type: ignore[union-attr]
    assert first == second
    assert path == "/stream"
    assert events == ["closed"]


@WSGI_CALLS
def test_flask_answers_its_own_errors(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    assert call(host("wsgi", _flask()), Request("GET", "/nowhere")).status == 404
    with caplog.at_level(logging.ERROR):
        assert call(host("wsgi", _flask()), Request("GET", "/broken")).status == 500
    assert "inside" in caplog.text


@WSGI_CALLS
def test_an_error_in_the_middle_of_a_wsgi_stream_reaches_the_reader(call: Call) -> None:
    with pytest.raises(LookupError, match="other half"):
        call(host("wsgi", _flask()), Request("GET", "/half"))


@WSGI_CALLS
def test_flask_repeats_cookies_and_answers_head(call: Call) -> None:
    assert len(values(call(host("wsgi", _flask()), Request("GET", "/cookies")), "set-cookie")) == 2
    assert call(host("wsgi", _flask()), Request("HEAD", "/cookies")).body == b""


def test_a_wsgi_stream_that_nobody_reads_is_closed() -> None:
    events: list[str] = []
    response = host("wsgi", _flask(events)).handle(Request("GET", "/stream"))
    assert events == []
    response.body.close()  # type: ignore[union-attr]
    assert events == ["closed"]


def test_a_wsgi_stream_whose_async_reader_goes_is_closed_and_frees_its_thread() -> None:
    events: list[str] = []
    hosted = host("wsgi", _flask(events))

    async def go() -> None:
        response = await hosted.handle_async(Request("GET", "/stream"))
        await anext(response.body)  # type: ignore[arg-type]
        await response.body.aclose()  # type: ignore[union-attr]
        del response
        await hosted.handle_async(Request("GET", "/stream"))  # never read
        gc.collect()
        await hosted.stop_async()  # returns only when no thread is left waiting

    asyncio.run(go())
    assert events == ["closed", "closed"]


@pytest.mark.parametrize(
    ("length", "streaming"), [(None, True), ("4", False), (str(10 * 1024 * 1024), True), ("four", True)]
)
def test_a_wsgi_body_of_small_declared_length_is_joined(length: str | None, streaming: bool) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", length)] if length else [])
        yield b"ab"
        yield b"cd"

    response = host("wsgi", app).handle(Request("GET", "/"))
    assert response.is_streaming is streaming
    assert (response.body if not streaming else b"".join(response.body)) == b"abcd"  # type: ignore[arg-type]


@WSGI_CALLS
def test_wsgi_write_replacement_of_the_head_and_missing_head(call: Call) -> None:
    def writes(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("X-A", "1")])
        write(b"written ")
        return [b"returned"]

    def replaces(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-A", "1")])
        try:
            raise LookupError
        except LookupError:
            start_response("500 Sorry", [("X-B", "2")], sys.exc_info())
        return [b"replaced"]

    def twice(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    def silent(environ: Any, start_response: Any) -> list[bytes]:
        return [b"no head"]

    assert call(host("wsgi", writes), Request("GET", "/")).body == b"written returned"
    response = call(host("wsgi", replaces), Request("GET", "/"))
    assert (response.status, response.headers, response.body) == (500, [("X-B", "2")], b"replaced")
    with pytest.raises(RuntimeError, match="twice"):
        call(host("wsgi", twice), Request("GET", "/"))
    with pytest.raises(RuntimeError, match="start_response"):
        call(host("wsgi", silent), Request("GET", "/"))


def test_wsgi_close_runs_even_when_the_application_fails_to_answer() -> None:
    closed: list[bool] = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(RuntimeError, match="start_response"):
        host("wsgi", lambda environ, start_response: Chunks()).handle(Request("GET", "/"))
    assert closed == [True]


def test_the_wsgi_environ_keeps_to_pep_3333() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert "HTTP_PROXY" not in environ
        assert environ["wsgi.input"].read(10) == b"body"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode("latin-1")]

    response = call_sync(
        host("wsgi", validator(app)),
        Request(
            "POST",
            "/ä",
            headers={"host": "[::1]:8080", "proxy": "http://evil", "content-type": "text/plain"},
            body=b"body",
        ),
    )
    assert response.body == "/ä".encode()


@pytest.mark.parametrize(
    ("authority", "scheme", "server"),
    [
        ("", "http", ("localhost", 80)),
        ("a.example", "https", ("a.example", 443)),
        ("a.example:8080", "https", ("a.example", 8080)),
        ("[::1]:81", "http", ("[::1]", 81)),
        ("[::1]", "http", ("[::1]", 80)),
        ("a.example:", "http", ("a.example", 80)),
        ("a.example:port", "http", ("a.example:port", 80)),
    ],
)
def test_the_server_is_what_the_caller_named(authority: str, scheme: str, server: tuple[str, int]) -> None:
    assert server_of(Request("GET", "/", headers={"host": authority}, scheme=scheme)) == server


def test_hosting_wsgi_does_not_import_asyncio() -> None:
    code = (
        "import sys; from pys_multi.web import host; from pys_multi.http import Request\n"
        "def app(e, s): s('200 OK', []); return [b'x']\n"
        "assert host('wsgi', app).handle(Request('GET', '/')).body == b'x'\n"
        "print('asyncio' in sys.modules, 'typing' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_reader_in_another_loop_that_goes_away_waits_for_the_body_to_end() -> None:
    ended = threading.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)  # still on its way out when the reader wants it closed
            ended.set()

    hosted: Any = host("asgi", _starlette())
    hosted.start()  # at home in the background loop

    async def read() -> None:
        taken = asyncio.Event()

        async def take() -> None:
            async for _ in hosted._carry(body()):
                taken.set()

        task = asyncio.create_task(take())
        await taken.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(asyncio.wait_for(read(), 30))
    hosted.stop()
