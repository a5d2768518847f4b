"""What the worker hands to the functions of an app reaches the service, and what it says goes back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest
from tests.support.azure_host.image import image
from tests.support.service_bus import Stored
from tests.unit.azure.test_events import blob, delivered, timer

import pys_multi
import pys_multi_providers
from pys_multi import App, Context, Event, Message, Response
from pys_multi.runtime import BUILD_FILE, Runtime
from pys_multi_providers.azure import entry, runtime
from pys_multi_providers.azure.logs import take_over
from pys_multi_providers.azure.runtime import Entry, NotHandled, known_to_azure
from pys_multi_providers.azure.streaming import Incoming, Outgoing

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
app = App("shop", public=True)
api = app.function("api", timeout=0.3)
worker = app.function("worker", timeout=0.3)
jobs, quick = app.queue("jobs"), app.queue("quick", visibility=1)
files, news = app.bucket("files"), app.topic("news")
got: list[Any] = []
CANARY = "-".join(("canary", "5f1d"))


@api.get("/hello/{name}")
def hello(name: str, context: Context) -> dict[str, object]:
    return {"name": name, "id": context.request_id, "trace": context.trace_parent, "left": context.remaining()}


@api.get("/private", public=False)
def private() -> str:
    return "private"


@api.get("/forever")
def forever() -> None:
    while True:
        time.sleep(0.001)


@api.get("/stream")
def stream() -> Response:
    return Response.stream(iter(["a", "b"]))


@api.get("/broken")
def broken() -> Response:
    def chunks() -> Iterator[str]:
        yield "a"
        raise ValueError("half way")

    return Response.stream(chunks())


@worker.consume(quick)
def job(message: Message, context: Context) -> None:
    got.append((message, context))
    if message.body == b"fail":
        raise ValueError("as asked")
    while message.body == b"forever":
        time.sleep(0.001)


@worker.consume(jobs, batch=3)
def batch(messages: list[Message]) -> None:
    got.append([message.body for message in messages])


@worker.created(files, prefix="in/")
def arrived(event: Event) -> None:
    got.append(event)
    if event.key.endswith("bad"):
        raise ValueError("as asked")


@worker.every("1 minute")
def tick(event: Event, context: Context) -> None:
    got.append((event, context))
    if mood[-1:] == ["bad"]:
        raise ValueError(f"the key is {CANARY}")


mood: list[str] = []


@pytest.fixture(autouse=True)
def nothing_got() -> None:
    got.clear()
    mood.clear()


def made(function: str, *, streamed: bool = False, events: dict[str, Any] | None = None) -> Entry:
    service = Runtime(app, function, stage="dev", build_id="b" * 16, logs=False, private=known_to_azure)
    service.start()
    return Entry(service, events or {}, Incoming if streamed else None)


def about(trace: str = "") -> Any:
    """The worker's Context of an invocation."""
    return SimpleNamespace(invocation_id="inv-1", trace_context=SimpleNamespace(trace_parent=trace, Traceparent=trace))


def request(target: str, *, method: str = "GET", body: bytes = b"", **fields: str) -> func.HttpRequest:
    return func.HttpRequest(method, f"https://shop.azurewebsites.net{target}", headers=fields, body=body)


# ---- HTTP


def test_an_object_is_answered_with_an_object() -> None:
    answer = made("api").from_anyone(request("/hello/a%20b"), about(TRACE))
    assert isinstance(answer, func.HttpResponse)
    found = json.loads(answer.get_body())
    assert (found["name"], found["id"], found["trace"]) == ("a b", "inv-1", TRACE)
    assert 0 < found["left"] <= 0.3


def test_the_trace_of_the_caller_counts_before_that_of_the_host() -> None:
    other = TRACE.replace("0af7", "0af8")
    answer = made("api").from_anyone(request("/hello/a", traceparent=other), about(TRACE))
    assert json.loads(answer.get_body())["trace"] == other
    answer = made("api").from_anyone(request("/hello/a", traceparent="nonsense"), about(""))
    assert json.loads(answer.get_body())["trace"] == ""


def test_a_private_route_answers_who_came_with_a_key() -> None:
    entry_ = made("api")
    assert entry_.from_known(request("/private"), about()).get_body() == b"private"
    refused = entry_.from_anyone(request("/private"), about())
    assert refused.status_code == 403
    assert "x-functions-key" in json.loads(refused.get_body())["detail"]
    # What Azure matches it does not decode to the end: the function looks again.
    assert entry_.from_anyone(request("/%70rivate"), about()).status_code == 403


def test_a_request_that_takes_too_long_is_504() -> None:
    answer = made("api").from_anyone(request("/forever"), about())
    assert answer.status_code == 504
    assert json.loads(answer.get_body())["request_id"] == "inv-1"


def test_a_stream_is_joined_in_an_object_and_500_where_it_breaks_off() -> None:
    assert made("api").from_anyone(request("/stream"), about()).get_body() == b"ab"
    assert made("api").from_anyone(request("/broken"), about()).status_code == 500


def incoming(target: str) -> Incoming:
    from pys_multi.http import Request

    return Incoming(Request("GET", target), {}, None)


def test_a_streamed_request_is_answered_with_its_chunks() -> None:
    answer = made("api", streamed=True).from_anyone(incoming("/stream"), about())
    assert isinstance(answer, Outgoing)
    chunks = iter(answer.response.body)  # type: ignore[arg-type]
    assert [answer.next(chunks), answer.next(chunks), answer.next(chunks)] == [b"a", b"b", None]


def test_a_worker_that_streams_takes_objects_as_well() -> None:
    answer = made("api", streamed=True).from_anyone(request("/stream"), about())
    assert isinstance(answer, func.HttpResponse)


def test_a_streamed_request_that_takes_too_long_is_504() -> None:
    answer = made("api", streamed=True).from_anyone(incoming("/forever"), about())
    assert answer.response.status == 504


def test_a_function_says_that_it_is_well() -> None:
    found = json.loads(made("worker").from_known(request("/.pys-multi/health"), about()).get_body())
    assert found == {"status": "ok", "service": "shop", "function": "worker", "stage": "dev", "build_id": "b" * 16}


# ---- messages


def deliver(entry_: Entry, trigger: str, *bodies: bytes, deliveries: int = 1) -> list[Any]:
    """What became of messages whose invocations are there at the same time."""

    async def all_of_them() -> list[Any]:
        messages = [
            delivered(Stored(str(n), body, n, enqueued=1_700_000_000.0, deliveries=deliveries))
            for n, body in enumerate(bodies)
        ]
        calls = [entry_.message(trigger, message, about(TRACE)) for message in messages]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_a_message_reaches_its_handler() -> None:
    assert deliver(made("worker"), "worker:job", b"a", deliveries=2) == [None]
    [(message, context)] = got
    assert (message.body, message.attempt, message.sent_at) == (b"a", 2, 1_700_000_000.0)
    assert (context.request_id, context.trace_parent, context.trigger) == ("inv-1", TRACE, "worker:job")
    assert context.deadline is not None


def test_a_message_that_failed_fails_its_invocation_alone() -> None:
    events = {"worker:job": {"queue": "quick", "attempts": 4}}
    failed, handled = deliver(made("worker", events=events), "worker:job", b"fail", b"a")
    assert isinstance(failed, NotHandled)
    assert "as asked" in str(failed)
    assert handled is None


def test_a_message_that_takes_too_long_fails() -> None:
    [failed] = deliver(made("worker"), "worker:job", b"forever")
    assert "time was up" in str(failed)


def test_messages_come_together() -> None:
    assert deliver(made("worker"), "worker:batch", b"a", b"b", b"c") == [None, None, None]
    assert got == [[b"a", b"b", b"c"]]


def test_an_event_of_a_bucket_reaches_its_handler() -> None:
    body = json.dumps(blob("BlobCreated", "in/a")).encode()
    assert deliver(made("worker"), "worker:arrived", body, deliveries=3) == [None]
    assert [(event.bucket, event.key, event.attempt) for event in got] == [("files", "in/a", 3)]
    bad, nonsense = deliver(
        made("worker"), "worker:arrived", json.dumps(blob("BlobCreated", "in/bad")).encode(), b"nonsense"
    )
    assert "as asked" in str(bad)
    assert isinstance(nonsense, NotHandled)


# ---- timers


def test_a_timer_reaches_its_handler() -> None:
    made("worker").timer("worker:tick", timer("2026-11-24T10:01:00Z", past_due=True), about(TRACE))
    [(event, context)] = got
    assert (event.kind, event.time) == ("schedule", 1795514460.0)
    assert (context.request_id, context.trace_parent) == ("inv-1", TRACE)


def test_an_error_of_a_timer_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.resources.revealed_secrets", {CANARY})
    mood.append("bad")
    with pytest.raises(Exception, match=r"the key is \*\*\*") as raised:
        made("worker").timer("worker:tick", timer(None), about())
    assert type(raised.value).__name__ == "ValueError"
    assert CANARY not in "".join(traceback.format_exception(raised.value))


# ---- by hand


def by_hand(trigger: str, envelope: object, *, function: str = "worker") -> tuple[int, Any]:
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    answer = made(function).by_hand(request(f"/.pys-multi/events/{trigger}", method="POST", body=body), about())
    return answer.status_code, json.loads(answer.get_body())


def test_a_message_by_hand_reaches_its_handler() -> None:
    assert by_hand("worker:job", {"messages": [{"body": "a", "attributes": {"k": "v"}}]}) == (200, {"failures": {}})
    assert got[0][0].attributes == {"k": "v"}
    status, answer = by_hand("worker:job", {"messages": [{"body": "fail", "id": "m"}]})
    assert (status, list(answer["failures"])) == (200, ["m"])


def test_an_event_by_hand_reaches_its_handler() -> None:
    assert by_hand("worker:tick", {"event": {"kind": "schedule", "time": 5.0}})[1] == {"failures": {}}
    assert got[0][0].time == 5.0
    mood.append("bad")
    assert "ValueError" in by_hand("worker:tick", {})[1]["failures"]["worker:tick"]


@pytest.mark.parametrize(
    ("trigger", "envelope", "status"),
    [("worker:nobody", {}, 404), ("worker:tick", b"{", 400), ("worker:tick", [], 400)],
)
def test_what_cannot_be_handed_over_is_refused(trigger: str, envelope: object, status: int) -> None:
    assert by_hand(trigger, envelope)[0] == status


def test_health_is_asked_for_by_hand_as_well() -> None:
    assert by_hand("x", {"health": True}, function="api")[1]["function"] == "api"


# ---- start


def test_what_the_settings_lack_is_said() -> None:
    entry_ = made("worker", events={"worker:job": {"queue": "q"}})
    assert entry_.setting("worker:job", "queue") == "q"
    assert entry_.knows("worker:job")
    assert not entry_.knows("worker:gone")
    with pytest.raises(LookupError, match=r"PYS_MULTI_EVENTS.*'worker:tick'.*deploy"):
        entry_.setting("worker:tick", "schedule")


def test_an_app_that_is_nothing_of_ours_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYS_MULTI_FUNCTION", raising=False)
    with pytest.raises(LookupError, match="PYS_MULTI_FUNCTION"):
        runtime.start(str(tmp_path))


class AsyncLoggingHandler(logging.Handler):
    """As the worker's own."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


AsyncLoggingHandler.__module__ = "proxy_worker.dispatcher"


def test_records_go_through_the_worker_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    root, handler = logging.getLogger(), AsyncLoggingHandler()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.WARNING)
    monkeypatch.setenv("LOG_LEVEL", "info")
    take_over()
    monkeypatch.delenv("LOG_LEVEL")
    take_over()
    logging.getLogger("shop").info("hello %s", "you", extra={"word": 1})
    logging.getLogger("azure.functions").info("the worker's own")
    ours, own = handler.texts
    found = json.loads(ours)
    assert (found["message"], found["word"], found["level"]) == ("hello you", 1, "INFO")
    assert own == "the worker's own"


# ---- azure-functions 1.x and the Pythons that have it

_SHOP = """
from pys_multi import App, Message
app = App("shop", public=True)
api = app.function("api", timeout=5)
worker = app.function("worker", timeout=5)
jobs = app.queue("jobs")

@api.get("/hello/{name}")
def hello(name: str) -> dict[str, str]:
    return {"hello": name}

@worker.consume(jobs)
def job(message: Message) -> None:
    print(message.text, message.attempt, message.attributes)

@worker.every("1 minute")
def tick() -> None:
    print("tick")
"""

_CALLS = """
import asyncio, json, sys
import azure.functions as func
from azure.functions.meta import Datum
from types import SimpleNamespace
import function_app

found = {f.get_function_name(): f for f in function_app.app.get_functions()}
context = SimpleNamespace(invocation_id="1", trace_context=SimpleNamespace(trace_parent="", Traceparent=""))
out = {"names": sorted(found), "bindings": [json.loads(b) for f in found.values() for b in f.get_raw_bindings()]}
registry = func.get_binding_registry()
if "z_http" in found:
    request = func.HttpRequest("GET", "https://h/hello/a%20b", headers={}, body=b"")
    answer = found["z_http"].get_user_function()(request=request, context=context)
    out["http"] = [answer.status_code, json.loads(answer.get_body())]
if "on_job" in found:
    metadata = {n: Datum(json.dumps(v), "json") for n, v in {"UserProperties": {"k": "v"}, "DeliveryCount": 2}.items()}
    metadata["MessageId"] = Datum("m", "string")
    converter = registry.get("serviceBusTrigger")
    message = converter.decode(Datum(b"body", "bytes"), trigger_metadata=metadata)
    asyncio.run(found["on_job"].get_user_function()(message=message, context=context))
    timer = registry.get("timerTrigger").decode(Datum("{}", "json"), trigger_metadata={})
    found["on_tick"].get_user_function()(timer=timer, context=context)
print("OUT " + json.dumps(out))
"""


@pytest.mark.parametrize("streaming", [False, True], ids=["objects", "streaming"])
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_azure_functions_1_indexes_and_calls_the_same_file(version: str, streaming: bool, tmp_path: Path) -> None:
    runtime_image = image(version)
    if runtime_image is None:
        pytest.skip(f"there is no Python {version} on this machine")
    (tmp_path / "shop.py").write_text(_SHOP)
    service = _service_of(_SHOP)
    for name, content in entry.files(SimpleNamespace(service=service)).items():  # type: ignore[arg-type]
        (tmp_path / name).write_bytes(content)
    (tmp_path / BUILD_FILE).write_text(json.dumps({"app": "shop:app", "build_id": "b" * 16}))
    (tmp_path / "calls.py").write_text(_CALLS)
    if not streaming:  # a worker without the package that streaming goes by
        (tmp_path / "azurefunctions.py").write_text("raise ModuleNotFoundError(name='azurefunctions')")
    sources = [str(Path(module.__file__ or "").parents[1]) for module in (pys_multi, pys_multi_providers)]
    for function in service.functions:
        done = subprocess.run(
            [runtime_image.python, "-S", "-W", "error", "calls.py"],
            cwd=tmp_path,
            env={
                **runtime_image.environment(),
                "PYTHONPATH": os.pathsep.join([*sources, str(runtime_image.packages)]),
                "PYS_MULTI_FUNCTION": function.name,
                "PYS_MULTI_EVENTS": json.dumps(
                    {"worker:job": {"queue": "jobs", "attempts": 1}, "worker:tick": {"schedule": "0 * * * * *"}}
                ),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        *printed, last = done.stdout.splitlines()
        out = json.loads(last.removeprefix("OUT "))
        assert out["names"] == entry.function_names(service, function)
        if function.name == "api":
            assert out["http"] == [200, {"hello": "a b"}]
        else:
            assert printed == ["body 2 {'k': 'v'}", "tick"]
            [queue] = [binding for binding in out["bindings"] if "queueName" in binding]
            assert (queue["queueName"], queue["connection"], queue["cardinality"]) == ("jobs", "SERVICE_BUS", "ONE")


def _service_of(text: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "shop"}
    exec(text, namespace)
    return namespace["app"].service()
