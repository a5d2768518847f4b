"""HTTP through the front to instances that were deployed."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.local_stage import Stage, request, stage_in, wait_for

APP = """
import os, time
from pathlib import Path
from pys_multi import App, Request, Response

app = App("shop", public=True)
files = app.bucket("files")
api = app.function("api", uses=[files], concurrency=8)
other = app.function("other")
single = app.function("single")
private = app.function("private", public=False)
MARK = Path(os.environ["MARK"])

@api.get("/echo")
def echo(request: Request) -> dict:
    return {
        "headers": request.headers.items(), "query": request.query.items(), "client": request.client,
        "request_id": request.request_id, "trace": request.context.trace_parent, "host": request.host,
        "build_id": request.context.build_id, "stage": request.context.stage,
    }

@api.post("/body")
def body(request: Request) -> Response:
    return Response(request.body, content_type="application/x-same")

@api.get("/cookies")
def cookies() -> Response:
    response = Response(b"", headers=[("connection", "x-secret-hop"), ("x-ok", "1")])
    return response.set_cookie("a", "1").set_cookie("b", "2")

@api.get("/large/{size:int}")
def large(size: int) -> bytes:
    return b"x" * size

@api.get("/things/{id:int}")
def read(id: int) -> dict:
    return {"id": id}

@other.put("/things/{id:int}")
def write(id: int) -> dict:
    return {"id": id}

@api.get("/slash/")
def slash() -> str:
    return "slash"

@api.get("/ticks")
def ticks() -> Response:
    def events():
        yield "first"
        while not (MARK / "go").exists():
            time.sleep(0.005)
        yield {"data": {"second": True}, "id": "2"}
    return Response.events(events())

@single.get("/forever")
def forever() -> Response:
    def chunks():
        try:
            while True:
                yield b"x" * 65536
        finally:
            (MARK / "closed").touch()
    return Response.stream(chunks())

@api.get("/broken")
def broken() -> Response:
    def chunks():
        yield b"begin"
        raise RuntimeError("half-way")
    return Response.stream(chunks())

@api.get("/async")
async def slow() -> str:
    import asyncio
    await asyncio.sleep(0)
    return "async"

@api.get("/presign")
def presign() -> dict:
    return {"get": files.presign("a/b.txt"), "put": files.presign("a/b.txt", method="PUT")}

@api.get("/pid")
def pid() -> dict:
    return {"pid": os.getpid(), "cwd": os.getcwd(), "home": os.environ["HOME"], "env": sorted(os.environ)}

@private.get("/private")
def secret() -> str:
    return "for you only"

@private.post("/private")
def change() -> str:
    return "changed"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("http")
    with stage_in(root) as stage:
        stage.environment = {"MARK": str(root)}
        stage.deploy(APP)
        yield stage


def test_headers_and_query_arrive_whole_and_in_order(stage: Stage) -> None:
    sent = [("X-Two", "1"), ("X-Two", "2"), ("accept", "a/b"), ("Connection", "close, X-Hop"), ("X-Hop", "no")]
    sent += [("X-Forwarded-For", "9.9.9.9"), ("Forwarded", "for=9.9.9.9"), ("TE", "trailers")]
    answer = stage.get("/echo?a=1&a=%C3%A4", headers=sent)
    seen = answer.json()
    assert [pair for pair in seen["headers"] if pair[0].startswith(("x-", "forwarded", "te", "conn"))] == [
        ["x-two", "1"],
        ["x-two", "2"],
    ]
    assert seen["query"] == [["a", "1"], ["a", "ä"]]
    assert seen["client"] == "127.0.0.1"
    assert seen["host"] == urlsplit(stage.url).netloc
    assert answer.headers["x-request-id"] == seen["request_id"]
    assert len(seen["request_id"]) == 32


def test_a_trace_is_continued_and_a_bad_one_replaced(stage: Stage) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert stage.get("/echo", headers={"traceparent": parent}).json()["trace"] == parent
    for bad in ("", "x", parent.replace("00-", "ff-"), parent.replace("b7ad6b7169203331", "0" * 16)):
        assert stage.get("/echo", headers={"traceparent": bad}).json()["trace"].startswith("00-")


def test_response_headers_repeat_and_hop_by_hop_ones_are_dropped(stage: Stage) -> None:
    answer = stage.get("/cookies")
    assert [value.split(";")[0] for value in answer.headers.get_all("set-cookie")] == ["a=1", "b=2"]
    assert answer.headers["x-ok"] == "1"
    assert "connection" not in answer.headers


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
def test_bodies_of_any_size_come_back_the_same(stage: Stage, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    answer = stage.post("/body", body=body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-same")
    assert answer.body == body
    assert stage.get(f"/large/{size}").body == b"x" * size


def test_a_chunked_body_arrives(stage: Stage) -> None:
    parts = urlsplit(stage.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("POST", "/body", body=iter([b"one", b"two"]), encode_chunked=True)
    assert connection.getresponse().read() == b"onetwo"
    connection.close()


def test_a_body_past_the_limit_is_refused_before_it_is_read(stage: Stage) -> None:
    answer = stage.post("/body", headers={"content-length": str(33 * 1024 * 1024)})
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_header_fields_without_end_are_refused(stage: Stage) -> None:
    parts = urlsplit(stage.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-long: ")
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
        with suppress(ConnectionError):
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    assert stage.get("/echo", headers={"x-long": "x" * 60_000}).status == 200


def test_no_route_is_answered_alike_by_front_and_function(stage: Stage) -> None:
    missing = stage.get("/nowhere")
    assert missing.status == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["request_id"] == missing.headers["x-request-id"]
    wrong = stage.post("/body/", body=b"")
    assert (wrong.status, wrong.headers["location"]) == (307, "/body")
    assert stage.get("/slash?a=1").headers["location"] == "/slash/?a=1"
    assert stage.get("//evil.test").status == 404
    one = request(stage.url, "DELETE", "/echo")
    assert (one.status, one.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    # Two functions share this path, and neither knows both methods.
    two = request(stage.url, "DELETE", "/things/1")
    assert (two.status, two.headers["allow"]) == (405, "GET, HEAD, OPTIONS, PUT")
    options = request(stage.url, "OPTIONS", "/things/1")
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
    assert request(stage.url, "PUT", "/things/7", body=b"").json() == {"id": 7}
    assert stage.get("/things/x").status == 404


def test_head_is_get_without_a_body(stage: Stage) -> None:
    answer = request(stage.url, "HEAD", "/large/70000")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "70000", b"")
    assert request(stage.url, "HEAD", "/forever").body == b""


def test_health_of_all_and_of_each(stage: Stage) -> None:
    health = stage.get("/.pys-multi/health")
    assert health.status == 200
    assert set(health.json()["functions"]) == {"api", "other", "private", "single"}
    one = stage.get("/.pys-multi/health/other").json()
    assert one["function"] == "other"
    assert one["stage"] == "test"
    assert one["build_id"] == health.json()["functions"]["other"]["build_id"]
    assert stage.get("/.pys-multi/health/nobody").status == 404
    assert stage.get("/.pys-multi/other").status == 404


def test_events_arrive_while_the_handler_still_runs(stage: Stage, tmp_path: Path) -> None:
    parts = urlsplit(stage.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("GET", "/ticks")
    response = connection.getresponse()
    assert response.headers["content-type"] == "text/event-stream"
    assert response.readline() == b"data: first\n"
    (stage.root / "go").touch()
    assert b'"second"' in response.read()
    connection.close()


def test_a_caller_that_leaves_ends_the_stream(stage: Stage) -> None:
    parts = urlsplit(stage.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(b"GET /forever HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    wait_for((stage.root / "closed").exists)
    # The function works on one request at a time: the place is free again.
    assert request(stage.url, "HEAD", "/forever").status == 200


def test_a_stream_that_breaks_is_seen_to_be_broken(stage: Stage) -> None:
    with pytest.raises(http.client.IncompleteRead):
        stage.get("/broken")
    record = stage.wait_log("GET /broken broke off")
    assert record.fields["exception"]
    assert record.request_id


def test_many_requests_at_once_get_their_own_answers(stage: Stage) -> None:
    def ask(number: int) -> bool:
        return bool(stage.get(f"/things/{number}").json() == {"id": number})

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_presigned_urls(stage: Stage) -> None:
    urls = stage.get("/presign").json()
    path = {verb: url.removeprefix(stage.url) for verb, url in urls.items()}
    assert stage.get(path["get"]).status == 404
    assert request(stage.url, "PUT", path["put"], body=b"hello", headers={"content-type": "text/x"}).status == 200
    answer = stage.get(path["get"])
    assert (answer.body, answer.headers["content-type"]) == (b"hello", "text/x")
    assert request(stage.url, "HEAD", path["get"]).headers["content-length"] == "5"
    assert stage.get(path["put"]).status == 403
    assert stage.get(path["get"].replace("b.txt", "c.txt")).status == 403
    assert request(stage.url, "DELETE", path["get"]).status == 405


def test_a_private_route_answers_to_this_machine_only(stage: Stage) -> None:
    assert stage.get("/private").body == b"for you only"
    assert stage.get("/private", headers={"host": "localhost:1234"}).status == 200
    assert stage.get("/private", headers={"host": "shop.example"}).status == 403
    assert stage.post("/private", body=b"", headers={"origin": "https://evil.example"}).status == 403
    assert stage.post("/private", body=b"", headers={"origin": "http://localhost:5173"}).body == b"changed"


def test_an_instance_sees_nothing_of_this_machine(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = stage.get("/pid").json()
    assert seen["cwd"].startswith(str(stage.state.builds))
    assert seen["home"].startswith(str(stage.state.scratch))
    assert "PYTHONPATH" not in seen["env"]
    assert "PYS_MULTI_STATE_DIR" not in seen["env"]
    assert {"MARK", "PYS_MULTI_FUNCTION", "PYS_MULTI_STAGE"} <= set(seen["env"])


FASTAPI = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pys_multi import App

state = {}

@asynccontextmanager
async def lifespan(_):
    state["started"] = True
    yield
    print("lifespan ended")

web = FastAPI(lifespan=lifespan)

@web.get("/notes/{id}")
async def note(id: int):
    return {"id": id, **state}

@web.get("/stream")
async def stream():
    async def chunks():
        for number in range(3):
            yield f"{number}\\n"
    return StreamingResponse(chunks())

app = App("shop")
app.function("web", public=True).asgi(web)
"""


def test_a_fastapi_application_runs_as_it_is(tmp_path: Path) -> None:
    with stage_in(tmp_path) as stage:
        stage.distributions = ("fastapi",)
        stage.deploy(FASTAPI)
        assert stage.get("/notes/7").json() == {"id": 7, "started": True}
        assert stage.get("/notes/x").status == 422
        assert stage.get("/stream").body == b"0\n1\n2\n"
        assert json.loads(stage.get("/openapi.json").body)["info"]["title"] == "FastAPI"
        stage.close()
        assert stage.wait_log("lifespan ended")
