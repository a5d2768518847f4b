"""Status, logs and metrics of a stage, as they are read from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.local_stage import Stage, stage_in, wait_for

from pys_multi_tools import pipeline
from pys_multi_tools.deployment import LogRecord, Metrics
from pys_multi_tools.errors import ProviderError

APP = """
import logging
from pys_multi import App, Request

app = App("shop", public=True)
orders = app.queue("orders", retries=0)
api = app.function("api", uses=[orders.send])
worker = app.function("worker")
log = logging.getLogger("shop")

@api.get("/say/{word}")
def say(word: str, request: Request) -> dict:
    log.warning("said %s", word, extra={"word": word})
    return {"request_id": request.request_id}

@api.get("/fail")
def fail() -> None:
    raise RuntimeError("inner secret reason")

@api.post("/orders/{outcome}")
def order(outcome: str) -> None:
    orders.send(outcome)

@worker.consume(orders)
def ship(message) -> None:
    print("got", message.text)
    if message.text == "bad":
        raise ValueError("bad order")
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as stage:
        stage.deploy(APP)
        yield stage


def metrics(stage: Stage, since: float | None = None) -> Metrics:
    placement = stage.placement()
    return placement.provider.metrics(placement.deployment, since=since)


def test_a_record_carries_what_the_handler_said_and_which_request_it_was(stage: Stage) -> None:
    before = time.time()
    request_id = stage.get("/say/hello").json()["request_id"]
    record = stage.wait_log("said hello")
    assert (record.level, record.function, record.request_id) == ("warning", "api", request_id)
    assert record.fields["word"] == "hello"
    assert record.instance == stage.status().functions[0].instances[0].id
    assert before <= record.time <= time.time()


def test_an_unhandled_error_is_in_the_log_and_not_in_the_answer(stage: Stage) -> None:
    answer = stage.get("/fail")
    assert answer.status == 500
    assert b"secret" not in answer.body
    record = wait_for(lambda: next((r for r in stage.logs() if r.request_id == answer.headers["x-request-id"]), None))
    assert "inner secret reason" in str(record.fields["exception"])


def test_logs_by_function_since_and_in_order(stage: Stage) -> None:
    stage.get("/say/one")
    first = stage.wait_log("said one")
    stage.get("/say/two")
    stage.wait_log("said two")
    stage.post("/orders/good", body=b"")
    stage.wait_log("got good")
    assert [r.message for r in stage.logs(function="api")] == ["said one", "said two"]
    assert [r.message for r in stage.logs(since=first.time + 0.000001)] == ["said two", "got good"]
    times = [record.time for record in stage.logs()]
    assert times == sorted(times)


def test_following_goes_on_over_a_restart(stage: Stage) -> None:
    seen: list[LogRecord] = []

    def follow() -> None:
        for record in stage.placement().provider.logs(
            stage.placement().deployment, function="api", since=None, follow=True
        ):
            seen.append(record)
            if record.message == "said end":
                return

    reader = threading.Thread(target=follow)
    reader.start()
    stage.get("/say/before")
    wait_for(lambda: [record.message for record in seen] == ["said before"])
    stage.close()
    stage.deploy()
    stage.get("/say/end")
    reader.join(30)
    assert [record.message for record in seen] == ["said before", "said end"]


def test_status_counts_requests_errors_and_messages(stage: Stage) -> None:
    for _ in range(3):
        stage.get("/say/x")
    stage.get("/fail")
    stage.post("/orders/bad", body=b"")
    wait_for(lambda: next(q for q in stage.status().queues if q.name == "orders").dead == 1)
    functions = {function.name: function for function in stage.status().functions}
    api, worker = functions["api"], functions["worker"]
    assert api.requests == 5
    assert api.errors == 1
    assert api.p50_ms is not None
    assert api.p95_ms is not None
    assert 0 < api.p50_ms <= api.p95_ms
    assert (worker.requests, worker.errors) == (1, 1)
    instance = api.instances[0]
    assert instance.state == "ready"
    assert instance.memory_mb is not None
    assert instance.memory_mb > 1
    assert instance.uptime > 0


def test_metrics_outlive_the_supervisor(stage: Stage) -> None:
    for _ in range(4):
        stage.get("/say/x")
    counted = {function.name: function for function in metrics(stage).functions}
    assert (counted["api"].invocations, counted["api"].errors) == (4, 0)
    assert metrics(stage, since=time.time() + 3600).functions[0].invocations == 0
    stage.close()
    assert {f.name: f.invocations for f in metrics(stage).functions} == {"api": 4, "worker": 0}
    stage.deploy()
    stage.get("/say/x")
    assert {f.name: f.invocations for f in metrics(stage).functions} == {"api": 5, "worker": 0}


def test_a_stopped_stage_says_so(stage: Stage) -> None:
    stage.close()
    status = stage.status()
    assert status.state == "stopped"
    assert {function.state for function in status.functions} == {"absent"}
    assert "deploy" in status.functions[0].reason
    assert [queue.name for queue in status.queues] == ["orders"]


def test_dead_letters_are_shown_and_can_be_delivered_again(stage: Stage) -> None:
    placement = stage.placement()
    stage.post("/orders/bad")
    stage.post("/orders/good")
    (letter,) = wait_for(lambda: pipeline.dead_letters(placement, "orders"))
    assert letter.body == b"bad"
    assert "bad order" in letter.reason
    assert pipeline.redrive(placement, "orders", ["another-id"]) == 0
    assert pipeline.redrive(placement, "orders") == 1
    again = wait_for(lambda: [d for d in pipeline.dead_letters(placement, "orders") if d.died_at > letter.died_at])
    assert [d.id for d in again] == [letter.id]
    with pytest.raises(ProviderError, match="did you mean 'orders'"):
        pipeline.dead_letters(placement, "order")
