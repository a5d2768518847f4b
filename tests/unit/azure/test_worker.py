"""Microsoft's worker library indexes the generated file and invokes every kind of trigger, also where it goes wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.azure_host.app import FunctionApp, Log, NotStarted
from tests.support.azure_host.front import Front
from tests.support.azure_host.image import NO_WORKER, WORKER_PYTHON, image
from tests.support.azure_host.triggers import Listeners, run_timer
from tests.support.service_bus import Namespace
from tests.unit.azure.test_events import blob

import pys_multi
import pys_multi_providers
from pys_multi.runtime import BUILD_FILE
from pys_multi_providers.azure import entry

SHOP = """
import os, time
from pys_multi import App, Event, Message, Request, Response

app = App("shop")
api = app.function("api", timeout=5, concurrency=4)
worker = app.function("worker", timeout=5, concurrency=2)
jobs, rows = app.queue("jobs", retries=2, visibility=1), app.queue("rows", ordered=True)
batches, news, files = app.queue("batches", retries=0), app.topic("news"), app.bucket("files")

@api.get("/open/{name}", public=True)
def hello(name: str) -> dict[str, str]:
    return {"hello": name}

@api.get("/orders/{id}")
def order(id: str) -> dict[str, str]:
    return {"order": id}

@api.get("/cookies", public=True)
def cookies() -> Response:
    return Response("x").set_cookie("a", "b+c=d", same_site="Strict").set_cookie("b", "2")

@api.get("/die", public=True)
def die() -> None:
    os._exit(3)

@api.get("/stuck", public=True)
def stuck() -> None:
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass

@worker.consume(jobs)
def job(message: Message) -> None:
    print("job", message.text, message.attempt, flush=True)
    if message.text == "die" and message.attempt == 1:
        os._exit(3)
    if message.text == "bad":
        raise ValueError("as asked")

@worker.consume(batches, batch=5, window=0.3)
def batch(messages: list[Message]) -> None:
    print("batch", len(messages), flush=True)
    for message in messages:
        with message:
            if message.text == "bad":
                raise ValueError("this one alone")

@worker.consume(rows)
def row(message: Message) -> None:
    print("row", message.group, message.text, flush=True)
    if message.text == "1" and message.attempt == 1:
        raise ValueError("once more")

@worker.subscribe(news)
def read(message: Message) -> None:
    print("news", message.text, flush=True)

@worker.created(files)
def stored(event: Event) -> None:
    print("blob", event.bucket, event.key, event.size, flush=True)

@worker.schedule("30 4 * * *", timezone="Europe/Berlin")
def nightly(event: Event) -> None:
    print("nightly", event.time, flush=True)
    raise RuntimeError("a bad night")
"""
EVENTS = {
    "worker:job": {"queue": "jobs", "attempts": 3},
    "worker:batch": {"queue": "batches", "attempts": 1},
    "worker:row": {"queue": "rows", "attempts": 4},
    "worker:read": {"topic": "news", "subscription": "worker-read", "attempts": 4},
    "worker:stored": {"queue": "for.worker-stored", "attempts": 4},
    "worker:nightly": {"schedule": "0 30 2,3 * * *"},
}

pytestmark = pytest.mark.xdist_group("azure-worker")


@pytest.fixture(scope="module")
def service() -> Any:
    namespace: dict[str, Any] = {"__name__": "shop"}
    exec(SHOP, namespace)
    return namespace["app"].service()


class Made:
    """Makes apps, and keeps what they say."""

    def __init__(self, folder: Path, service: Any) -> None:
        self._folder, self._service = folder, service
        self.logs: list[Log] = []
        self.apps: list[FunctionApp] = []

    def __call__(self, function: str, *, source: str = SHOP, objects: bool = False, timeout: str = "") -> FunctionApp:
        runtime = image(WORKER_PYTHON)
        if runtime is None or not runtime.has_worker:
            pytest.skip(NO_WORKER)
        (self._folder / "shop.py").write_text(source)
        for name, content in entry.files(SimpleNamespace(service=self._service)).items():  # type: ignore[arg-type]
            (self._folder / name).write_bytes(content)
        (self._folder / BUILD_FILE).write_text(json.dumps({"app": "shop:app", "build_id": "b" * 16}))
        sources = [str(Path(module.__file__ or "").parents[1]) for module in (pys_multi, pys_multi_providers)]
        settings = {
            **entry.app_settings(self._service.function(function)),
            "PYS_MULTI_FUNCTION": function,
            "PYS_MULTI_EVENTS": json.dumps(EVENTS),
        }
        if timeout:
            settings["AzureFunctionsJobHost__functionTimeout"] = timeout
        path = os.pathsep.join([*sources, str(runtime.packages)])
        app = FunctionApp(
            function,
            runtime,
            self._folder,
            settings,
            on_log=self.logs.append,
            environment={"PYTHONPATH": path},
            objects=objects,
        )
        self.apps.append(app)
        return app

    def printed(self, word: str) -> list[str]:
        return [log.message for log in self.logs if log.category == "Console" and log.message.startswith(word)]

    def wait(self, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 30
        while not (found := look()):
            assert time.monotonic() < deadline, self.logs[-20:]
            time.sleep(0.01)
        return found


@pytest.fixture
def made(tmp_path: Path, service: Any) -> Iterator[Made]:
    made = Made(tmp_path, service)
    yield made
    for app in made.apps:
        app.stop()


@pytest.mark.parametrize("function", ["api", "worker"])
def test_the_worker_indexes_what_is_expected(made: Made, service: Any, function: str) -> None:
    found = made(function).functions()
    assert [f.name for f in found] == entry.function_names(service, service.function(function))


def test_a_module_that_does_not_import_is_seen_with_its_traceback(made: Made) -> None:
    with pytest.raises(NotStarted) as raised:
        made("api", source="import nothing_like_this").functions()
    assert "nothing_like_this" in str(raised.value)
    assert "shop.py" in str(raised.value)


@pytest.mark.parametrize("objects", [False, True], ids=["streamed", "objects"])
def test_keys_open_private_routes_alone(made: Made, objects: bool) -> None:
    app = made("api", objects=objects)
    front = Front(app)
    assert json.loads(front.call("GET", "/open/a%2520b").body) == {"hello": "a%20b"}
    assert front.call("GET", "/orders/7").status == 401
    assert front.call("GET", "/orders/7", key="guessed").status == 401
    assert json.loads(front.call("GET", "/orders/7", key=app.key).body) == {"order": "7"}
    assert json.loads(front.call("GET", f"/orders/7?code={app.key}").body) == {"order": "7"}
    # It is no route of Azure's, and the function knows better.
    assert front.call("GET", "/%6frders%2f7").status == 403
    assert front.call("GET", "/.pys-multi/health").status == 200
    assert front.call("POST", "/.pys-multi/events/api:x", body=b"{}").status == 401
    assert front.call("GET", "/nowhere").status == 404


def test_cookies_are_written_as_they_were_set_where_they_are_streamed(made: Made) -> None:
    fields = Front(made("api")).call("GET", "/cookies").fields
    cookies = [value for name, value in fields if name == "set-cookie"]
    assert [cookie.partition(";")[0] for cookie in cookies] == ["a=b+c=d", "b=2"]
    objects = Front(made("api", objects=True)).call("GET", "/cookies").fields
    names = [value.partition("=")[0] for name, value in objects if name == "set-cookie"]
    assert names == ["a", "b"]


def test_a_worker_that_dies_is_replaced(made: Made) -> None:
    front = Front(made("api"))
    assert front.call("GET", "/die").status == 500
    assert front.call("GET", "/open/a").status == 200


def test_what_cannot_be_ended_is_ended_with_its_worker(made: Made) -> None:
    front = Front(made("api", timeout="00:00:03"))
    assert front.call("GET", "/stuck").status == 500
    assert front.call("GET", "/open/a").status == 200


# ---- messages and timers


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace()
    namespace.add_queue("jobs", deliveries=3)
    namespace.add_queue("batches", deliveries=1)
    namespace.add_queue("rows", deliveries=4, sessions=True)
    namespace.add_queue("for.worker-stored", deliveries=4)
    namespace.add_topic("news")
    namespace.add_subscription("news", "worker-read", deliveries=4)
    yield namespace
    namespace.stop()


def sent(namespace: Namespace, entity: str, *bodies: str, session: str = "") -> None:
    namespace.send(entity, [namespace.make(body.encode(), session=session) for body in bodies])


def test_every_kind_of_message_is_handled_and_settled_by_itself(made: Made, namespace: Namespace) -> None:
    app = made("worker")
    sources = ["jobs", "batches", "rows", "for.worker-stored", "news/subscriptions/worker-read"]
    listeners = Listeners(namespace, [(app, source) for source in sources])
    try:
        sent(namespace, "jobs", "good", "bad")
        sent(namespace, "batches", "a", "b", "bad", "d")
        sent(namespace, "rows", "1", "2", session="left")
        sent(namespace, "rows", "3", session="right")
        sent(namespace, "news", "extra")
        sent(namespace, "for.worker-stored", json.dumps(blob("BlobCreated", "a/ü.txt")))
        made.wait(lambda: not any(namespace.queues[source].messages for source in sources))
    finally:
        listeners.stop()
    jobs, batches = namespace.queues["jobs"].dead, namespace.queues["batches"].dead
    assert jobs is not None
    assert batches is not None
    assert [(m.body, m.reason) for m in jobs.messages] == [(b"bad", "MaxDeliveryCountExceeded")]
    assert [m.body for m in batches.messages] == [b"bad"]
    assert sorted(made.printed("job")) == ["job bad 1", "job bad 2", "job bad 3", "job good 1"]
    assert made.printed("row left") == ["row left 1", "row left 1", "row left 2"]
    assert made.printed("news")[-1] == "news extra"
    assert made.printed("blob")[-1] == "blob files a/ü.txt 7"


def test_a_message_outlives_the_worker_that_had_it(made: Made, namespace: Namespace) -> None:
    listeners = Listeners(namespace, [(made("worker"), "jobs")])
    try:
        sent(namespace, "jobs", "die")
        made.wait(lambda: not namespace.queues["jobs"].messages)
    finally:
        listeners.stop()
    assert made.printed("job") == ["job die 1", "job die 2"]


def test_a_timer_runs_when_its_schedule_is_due(made: Made) -> None:
    app = made("worker")
    [function] = [found for found in app.functions() if found.kind == "timerTrigger"]
    assert function.trigger["schedule"] == "0 30 2,3 * * *"
    winter = 1768444200.0  # 2026-01-15 02:30, when it is 03:30 in Berlin
    assert run_timer(app, function, winter).error == ""
    assert made.printed("nightly") == []
    failed = run_timer(app, function, winter + 3600, past_due=True)
    assert failed.error == "RuntimeError: a bad night"
    made.wait(lambda: made.printed("nightly") == [f"nightly {winter + 3600}"])
