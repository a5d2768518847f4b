"""WSGI requests in, WSGI answers out, and nothing of the platform's in between."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pys_multi
from pys_multi import App, Context, Request, Response
from pys_multi.runtime import Runtime
from pys_multi_providers.gcp import runtime as gcp
from pys_multi_providers.gcp.callers import Callers, is_open
from pys_multi_providers.gcp.runtime import MAX_BODY, Adapter, request_of


def environ(method: str = "GET", target: str = "/", body: bytes = b"", **fields: str) -> dict[str, Any]:
    """What gunicorn makes of a request."""
    path, _, query = target.partition("?")
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote(path, "latin-1"),
        "RAW_URI": target,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "REMOTE_ADDR": "169.254.1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        **({"CONTENT_LENGTH": str(len(body))} if body else {}),
        **fields,
    }


class Answer:
    """What a WSGI server gets."""

    def __init__(self, adapter: Any, given: dict[str, Any]) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.chunks = adapter(given, self._start)

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, headers

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1
        return found[0] if found else None


def adapter_of(app: App, about: Any = None, google: Any = None) -> Adapter:
    [function] = app.functions.values()
    callers = Callers("events@p.iam.gserviceaccount.com", "", opened=is_open(function))
    runtime = Runtime(app, function.name, logs=False, private=callers.invoker)
    return Adapter(runtime, about or {}, google or pytest.fail, callers)


def app_of(handler: Any, method: str = "GET", path: str = "/", **options: Any) -> App:
    app = App("shop", public=True)
    function = app.function("api", **options)
    getattr(function, method.lower())(path)(handler)
    return app


def context() -> Context:
    return Context("r1")


# ---- in


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.text("abc=&%+é/?", max_size=20))
def test_path_and_query_come_as_they_were_sent(path: str, query: str) -> None:
    found = request_of(environ("GET", f"/{quote(path)}?{quote(query, safe='=&+')}"), context())
    assert found.path == f"/{path}"
    assert found.query_string == quote(query, safe="=&+")


def test_a_path_that_is_not_utf8_is_still_a_path() -> None:
    assert request_of(environ(target="/%ff"), context()).path == "/\ufffd"


@given(st.binary(max_size=500))
def test_a_body_comes_as_it_was_sent(body: bytes) -> None:
    assert request_of(environ("POST", body=body), context()).body == body


def test_a_body_in_chunks_has_no_length() -> None:
    given_ = environ("POST", HTTP_TRANSFER_ENCODING="chunked")
    given_["wsgi.input"] = io.BytesIO(b"in chunks")
    assert request_of(given_, context()).body == b"in chunks"


def test_of_a_body_that_is_too_large_only_enough_is_read_to_refuse_it() -> None:
    read: list[int] = []

    class Endless:
        def read(self, size: int) -> bytes:
            read.append(size)
            return b"x" * size

    given_ = environ("POST", CONTENT_LENGTH=str(MAX_BODY * 10))
    given_["wsgi.input"] = Endless()

    def handler() -> None:
        raise AssertionError("it is refused before")

    app = App("shop", public=True)
    app.function("api").post("/")(handler)
    runtime = Runtime(app, "api", logs=False, max_body=MAX_BODY)
    answer = Answer(Adapter(runtime, {}, pytest.fail, Callers("", "")), given_)
    assert answer.status.startswith("413 ")
    assert read == [MAX_BODY + 1]


def test_header_fields_have_their_names() -> None:
    found = request_of(
        environ("POST", body=b"{}", HTTP_X_TOKEN="a", HTTP_COOKIE="a=1; b=2", CONTENT_TYPE="text/plain"), context()
    )
    assert found.headers.get("X-Token") == "a"
    assert found.headers.get("content-type") == "text/plain"
    assert found.headers.get("content-length") == "2"
    assert found.cookies == {"a": "1", "b": "2"}


def test_the_caller_is_who_cloud_run_says() -> None:
    found = request_of(environ(HTTP_X_FORWARDED_FOR="6.6.6.6, 203.0.113.7", HTTP_X_FORWARDED_PROTO="https"), context())
    assert (found.client, found.scheme) == ("203.0.113.7", "https")
    found = request_of(environ(), context())
    assert (found.client, found.scheme) == ("169.254.1.1", "http")


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("fields", "trace"),
    [
        ({"HTTP_TRACEPARENT": f"00-{TRACE}-b7ad6b7169203331-01"}, f"00-{TRACE}-b7ad6b7169203331-01"),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}/12345;o=1"}, f"00-{TRACE}-0000000000003039-01"),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}/12345"}, f"00-{TRACE}-0000000000003039-00"),
        (
            {"HTTP_TRACEPARENT": "junk", "HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}/1;o=0"},
            f"00-{TRACE}-0000000000000001-00",
        ),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": "junk"}, ""),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}/²;o=1"}, ""),
        ({}, ""),
    ],
)
def test_the_trace_goes_on(fields: dict[str, str], trace: str) -> None:
    def handler(context: Context) -> str:
        return context.trace_parent

    assert Answer(adapter_of(app_of(handler)), environ(**fields)).body.decode() == trace


@given(st.dictionaries(st.sampled_from(["HTTP_TRACEPARENT", "HTTP_X_CLOUD_TRACE_CONTEXT"]), st.text(max_size=70)))
def test_no_trace_header_breaks_a_request(fields: dict[str, str]) -> None:
    found = gcp._trace_of(environ(**fields))
    assert found == "" or len(found.split("-")) >= 4


# ---- out


def test_an_answer_says_how_long_it_is() -> None:
    def handler() -> Response:
        response = Response.json({"a": 1}, status=201, headers={"content-length": "99", "connection": "close"})
        return response.set_cookie("a", "1").set_cookie("b", "2")

    answer = Answer(adapter_of(app_of(handler)), environ())
    assert answer.status == "201 Created"
    assert answer.body == b'{"a":1}'
    assert answer.header("content-length") == "7"
    assert answer.header("connection") is None
    assert len([value for name, value in answer.headers if name == "set-cookie"]) == 2


def test_more_than_cloud_run_takes_in_one_piece_goes_in_chunks() -> None:
    answer = Answer(adapter_of(app_of(lambda: b"x" * (MAX_BODY + 1))), environ())
    assert answer.header("content-length") is None
    assert len(answer.body) == MAX_BODY + 1


def test_a_status_that_is_not_known_has_words_too() -> None:
    answer = Answer(adapter_of(app_of(lambda: Response("x", status=299))), environ())
    assert answer.status == "299 Status"


def test_head_says_the_length_of_get() -> None:
    answer = Answer(adapter_of(app_of(lambda: {"a": 1})), environ("HEAD"))
    assert (answer.body, answer.header("content-length")) == (b"", "7")


def test_a_stream_is_not_held_back_and_its_end_is_told() -> None:
    steps: list[str] = []

    def handler() -> Iterator[str]:
        steps.append("first")
        yield "one"
        steps.append("second")
        yield "two"

    answer = Answer(adapter_of(app_of(handler)), environ())
    chunks = iter(answer.chunks)
    assert next(chunks) == b"one"
    assert steps == ["first"]
    assert b"".join(chunks) == b"two"
    assert answer.header("content-length") is None


def test_a_stream_that_fails_breaks_off() -> None:
    def handler() -> Iterator[str]:
        yield "one"
        raise RuntimeError("internal")

    answer = Answer(adapter_of(app_of(handler)), environ())
    with pytest.raises(RuntimeError, match="internal"):
        list(answer.chunks)


def test_a_stream_whose_reader_goes_away_is_closed() -> None:
    closed: list[bool] = []

    def handler() -> Iterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.append(True)

    answer = Answer(adapter_of(app_of(handler)), environ())
    chunks: Any = iter(answer.chunks)
    next(chunks)
    chunks.close()
    assert closed == [True]


# ---- time


def test_a_handler_in_a_thread_that_runs_too_long_is_504() -> None:
    def handler() -> None:
        while True:
            time.sleep(0.01)

    adapter = adapter_of(app_of(handler, timeout=0.2, concurrency=2))
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(Answer(adapter, environ()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [answer.status for answer in answers] == ["504 Gateway Timeout"] * 2
    assert answers[0].json()["request_id"]


def test_what_comes_in_time_is_let_alone() -> None:
    adapter = adapter_of(app_of(lambda: "in time", timeout=5))
    statuses: list[str] = []

    def call() -> None:
        for _ in range(50):
            statuses.append(Answer(adapter, environ()).status)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(20)
    assert statuses == ["200 OK"] * 50


def test_the_deadline_is_the_timeout_of_the_function() -> None:
    def handler(context: Context) -> float:
        return context.remaining()

    assert 0 < Answer(adapter_of(app_of(handler, timeout=7)), environ()).json() <= 7


def test_what_waits_for_its_turn_has_all_of_its_time_then() -> None:
    left: list[float] = []

    def handler(context: Context) -> str:
        time.sleep(0.6)
        left.append(context.remaining())
        return "done"

    adapter = adapter_of(app_of(handler, timeout=2, concurrency=1), {"batches": {"api:x": [4, 0.1]}})
    statuses: list[str] = []
    threads = [threading.Thread(target=lambda: statuses.append(Answer(adapter, environ()).status)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert statuses == ["200 OK"] * 4
    assert len(left) == 4


# ---- import


def test_nothing_is_imported_that_functions_framework_has_not_imported_already() -> None:
    code = """
import sys
sys.path[:0] = sys.argv[1:]
import functions_framework
before = set(sys.modules)
import pys_multi_providers.gcp.runtime
print([name for name in set(sys.modules) - before if not name.startswith("pys_multi")])
"""
    roots = [str(Path(module.__file__ or "").parents[up]) for module, up in ((pys_multi, 1), (gcp, 2))]
    done = subprocess.run([sys.executable, "-c", code, *roots], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- the way through Flask


def test_a_host_that_routes_by_itself_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(request: Request) -> dict[str, Any]:
        return {"path": request.path, "body": request.json(), "query": request.query_string}

    monkeypatch.setattr(gcp, "_adapter", adapter_of(app_of(handler, "POST", "/a/b")), raising=False)
    host = flask.Flask("host")

    @host.post("/<path:path>")
    def view(path: str) -> Any:
        return gcp.handler(flask.request)

    host.after_request(lambda response: (flask.request.get_data(), response)[1])
    answer = host.test_client().post("/a/b?c=d", data=b"[1]")
    assert answer.json == {"path": "/a/b", "body": [1], "query": "c=d"}


# ---- batches and concurrency


def test_a_function_handles_as_many_at_once_as_it_says_also_where_more_come_for_a_batch() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def handler() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return "done"

    adapter = adapter_of(app_of(handler, concurrency=2), {"batches": {"api:x": [10, 0.1]}})
    threads = [threading.Thread(target=lambda: Answer(adapter, environ()).body) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 2
