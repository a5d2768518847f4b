"""`POST /.pys-multi/events/<trigger>`: who is called, what is acknowledged, and what becomes of what fails."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gcp.test_runtime import Answer, environ

from pys_multi import App, Context, Event, Message
from pys_multi.errors import ResourceError
from pys_multi.runtime import Runtime
from pys_multi_providers.gcp.callers import Callers
from pys_multi_providers.gcp.runtime import Adapter

DEAD, TOPIC = "projects/p/topics/jobs.dead", "projects/p/topics/jobs"


class Published:
    """Stands for Google: keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.fails = False

    def call(self, api: str, method: str, path: str, *, body: Any, **_: Any) -> Any:
        assert (api, method) == ("pubsub", "POST")
        if self.fails:
            raise ResourceError("Pub/Sub is not there")
        topic = path.removeprefix("/v1/").removesuffix(":publish")
        self.messages += [(topic, message) for message in body["messages"]]
        return self

    def json(self) -> dict[str, list[str]]:
        return {"messageIds": ["1"]}


class Worker:
    """A function with every kind of trigger, and what it was given."""

    def __init__(self, *, attempts: int = 3, batch: int = 1, dead: bool = True) -> None:
        self.seen: list[Any] = []
        self.error: Exception | None = None
        app = App("shop")
        jobs, news, inbox = app.queue("jobs", retries=attempts - 1), app.topic("news"), app.bucket("inbox")
        worker = app.function("worker", timeout=20)

        def note(value: Any) -> None:
            self.seen.append(value)
            if self.error is not None:
                raise self.error

        @worker.consume(jobs, batch=batch)
        def job(message: Message) -> None:
            note(message)

        @worker.subscribe(news)
        def reader(message: Message) -> None:
            note(message)

        @worker.created(inbox, prefix="in/", suffix=".txt")
        def arrived(event: Event) -> None:
            note(event)

        @worker.every("1 hour")
        def hourly(event: Event) -> None:
            note(event)

        triggers = ("worker:job", "worker:reader", "worker:arrived")
        about = {
            "caller": "events@p.iam.gserviceaccount.com",
            "dead": dict.fromkeys(triggers, DEAD) if dead else {},
            "attempts": dict.fromkeys(triggers, attempts),
            "topics": {"worker:job": TOPIC},
        }
        self.google = Published()
        runtime = Runtime(app, "worker", logs=False)
        google: Any = self.google
        self.adapter = Adapter(runtime, about, lambda: google, Callers(about["caller"], "", opened=False))  # type: ignore[arg-type]

    def post(self, trigger: str, body: Any, method: str = "POST", **fields: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/.pys-multi/events/{quote(trigger, safe='')}"
        answer = Answer(self.adapter, environ(method, path, raw, **fields))
        answer.chunks = list(answer.chunks)
        return answer

    def push(self, trigger: str = "worker:job", body: bytes = b"{}", attempt: int = 1, **message: Any) -> str:
        envelope = {
            "deliveryAttempt": attempt,
            "message": {
                "data": b64encode(body).decode(),
                "messageId": "7",
                "publishTime": "2026-11-24T10:00:00Z",
                "attributes": {},
                **message,
            },
            "subscription": "projects/p/subscriptions/shop-dev-jobs",
        }
        return self.post(trigger, envelope).status


# ---- Pub/Sub


def test_a_message_that_was_handled_is_acknowledged() -> None:
    worker = Worker()
    assert worker.push(body=b"text", attempt=2, attributes={"a": "b"}) == "204 No Content"
    [message] = worker.seen
    assert (message.body, message.id, message.attempt, message.attributes) == (b"text", "7", 2, {"a": "b"})


def test_a_message_that_failed_comes_again() -> None:
    worker = Worker()
    worker.error = ValueError("no")
    assert worker.push(attempt=2).startswith("500 ")
    assert worker.google.messages == []


def test_a_message_that_failed_for_the_last_time_is_a_dead_letter_and_acknowledged() -> None:
    worker = Worker()
    worker.error = ValueError("never")
    assert worker.push(body=b"text", attempt=3, attributes={"a": "b"}).startswith("204 ")
    [(topic, letter)] = worker.google.messages
    assert topic == DEAD
    assert b64decode(letter["data"]) == b"text"
    attributes = letter["attributes"]
    assert attributes["a"] == "b"
    assert attributes["pys-multi-id"] == "7"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == "shop-dev-jobs"
    assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "p"
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "3"
    assert "ValueError: never" in attributes["pys-multi-reason"]


def test_a_reason_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.resources.revealed_secrets", {"canary-5f1d"})
    worker = Worker()
    worker.error = ValueError("the key canary-5f1d is refused")
    worker.push(attempt=3)
    answer = worker.post("worker:job", {"messages": [{"body": "x"}]})
    assert "canary" not in str(worker.google.messages) + str(answer.json())
    assert "***" in str(worker.google.messages)


def test_a_message_whose_dead_letter_cannot_be_sent_comes_again() -> None:
    worker = Worker()
    worker.error, worker.google.fails = ValueError("never"), True
    assert worker.push(attempt=3).startswith("500 ")


def test_a_message_is_tried_also_where_it_was_delivered_more_often_than_it_may_be() -> None:
    """It may be that no instance was there to take it."""
    worker = Worker(attempts=1)
    assert worker.push(attempt=6).startswith("204 ")
    assert [message.attempt for message in worker.seen] == [6]
    assert worker.google.messages == []


def test_a_message_that_ends_its_instance_each_time_is_a_dead_letter_in_the_end() -> None:
    worker = Worker(attempts=1)
    assert worker.push(attempt=7).startswith("204 ")
    assert worker.seen == []
    [(topic, letter)] = worker.google.messages
    assert topic == DEAD
    assert "were not answered" in letter["attributes"]["pys-multi-reason"]


def test_a_queue_without_dead_letters_delivers_again() -> None:
    worker = Worker(dead=False)
    worker.error = ValueError("never")
    assert worker.push(attempt=30).startswith("500 ")


def test_a_message_of_a_topic() -> None:
    worker = Worker()
    assert worker.push("worker:reader", b"news").startswith("204 ")
    assert worker.seen[0].body == b"news"


def test_messages_at_the_same_time_are_a_batch_whose_window_is_not_taken_off_its_time() -> None:
    app = App("shop")
    jobs = app.queue("jobs")
    worker = app.function("worker", timeout=10, concurrency=1)
    batches: list[list[bytes]] = []

    @worker.consume(jobs, batch=3, window=0.6)
    def job(batch: list[Message], context: Context) -> None:
        batches.append(sorted(message.body for message in batch))
        assert context.remaining() > 9.5
        batch[0].fail("only this one")

    about = {"batches": {"worker:job": [3, 0.6]}}
    runtime = Runtime(app, "worker", logs=False)
    adapter = Adapter(runtime, about, lambda: Published(), Callers("", "", opened=False))  # type: ignore[arg-type, return-value]

    def push(number: int) -> str:
        message = {"messageId": str(number), "data": b64encode(str(number).encode()).decode(), "publishTime": ""}
        body = json.dumps({"message": message}).encode()
        return Answer(adapter, environ("POST", "/.pys-multi/events/worker%3Ajob", body)).status[:3]

    with ThreadPoolExecutor(2) as pool:  # not full, so that it waits for its window
        statuses = list(pool.map(push, range(2)))
    assert batches == [[b"0", b"1"]]
    assert sorted(statuses) == ["204", "500"]


# ---- delays


def test_a_message_that_is_not_due_is_handed_back_and_not_handled() -> None:
    worker = Worker()
    due = {"pys-multi-due": str(time.time() + 600)}
    assert worker.push(attributes=due).startswith("503 ")
    assert worker.seen == worker.google.messages == []


def test_before_its_attempts_run_out_it_is_sent_anew_with_its_delay() -> None:
    worker = Worker()
    due = {"pys-multi-due": str(time.time() + 600)}
    assert worker.push(attributes=due, attempt=98).startswith("503 ")
    assert worker.push(attributes=due, attempt=99).startswith("204 ")
    [(topic, message)] = worker.google.messages
    assert topic == TOPIC
    assert message["attributes"]["pys-multi-due"] == due["pys-multi-due"]
    assert worker.seen == []


@pytest.mark.parametrize("late", [-10.0, 0.05], ids=["due", "nearly due"])
def test_when_it_is_due_it_is_sent_anew_so_that_its_attempts_begin_at_one(late: float) -> None:
    worker = Worker()
    due = time.time() + late
    assert worker.push(attributes={"pys-multi-due": str(due), "a": "b"}, attempt=3).startswith("204 ")
    assert time.time() >= due
    [(topic, message)] = worker.google.messages
    assert topic == TOPIC
    assert message["attributes"] == {"a": "b", "pys-multi-id": "7", "pys-multi-sent": "1795514400.000"}
    assert worker.push(attempt=1, attributes=message["attributes"], messageId="8").startswith("204 ")
    assert (worker.seen[0].id, worker.seen[0].sent_at) == ("7", 1795514400.0)


# ---- Storage

NOTICE = {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": "in/a.txt", "objectGeneration": "1"}


def test_a_notification_is_an_event() -> None:
    worker = Worker()
    body = json.dumps({"name": "in/a.txt", "size": "3", "etag": "e"}).encode()
    assert worker.push("worker:arrived", body, attempt=2, attributes=NOTICE).startswith("204 ")
    [event] = worker.seen
    assert (event.kind, event.bucket, event.key, event.size, event.attempt) == ("created", "inbox", "in/a.txt", 3, 2)


@pytest.mark.parametrize(
    "change", [{"objectId": "in/a.pdf"}, {"objectId": "out/a.txt"}, {"eventType": "OBJECT_DELETE"}], ids=str
)
def test_a_notification_that_the_trigger_is_not_for_is_acknowledged(change: dict[str, str]) -> None:
    worker = Worker()
    assert worker.push("worker:arrived", b"{}", attributes={**NOTICE, **change}).startswith("204 ")
    assert worker.seen == []


def test_a_notification_that_failed_comes_again() -> None:
    worker = Worker()
    worker.error = ValueError("no")
    assert worker.push("worker:arrived", b"{}", attributes=NOTICE).startswith("500 ")


# ---- Scheduler


def test_a_schedule() -> None:
    worker = Worker()
    answer = worker.post(
        "worker:hourly", {"event": {"kind": "schedule"}}, HTTP_X_CLOUDSCHEDULER_SCHEDULETIME="2026-11-24T10:00:00Z"
    )
    assert answer.status.startswith("200 ")
    assert worker.seen[0].time == 1795514400.0


def test_a_schedule_that_fails_is_run_again() -> None:
    worker = Worker()
    worker.error = ValueError("no")
    answer = worker.post("worker:hourly", {"event": {"kind": "schedule"}})
    assert answer.status.startswith("500 ")
    assert list(answer.json()["failures"].values()) == ["ValueError: no"]


def test_a_schedule_that_is_not_due_is_not_run() -> None:
    worker = Worker()
    envelope = {
        "event": {"kind": "schedule", "time": "2026-11-24T10:00:00Z"},
        "unless": {"expression": "0 10 * * *", "timezone": "UTC"},
    }
    assert worker.post("worker:hourly", envelope).json() == {"failures": {}}
    assert worker.seen == []


# ---- CloudEvents

PAID = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "order.paid", "data": {"order": 7}}


def test_a_structured_cloud_event() -> None:
    worker = Worker()
    assert worker.post("worker:job", PAID, CONTENT_TYPE="application/cloudevents+json").status.startswith("204 ")
    assert worker.seen[0].json() == {"order": 7}


def test_a_binary_cloud_event() -> None:
    worker = Worker()
    fields = {"HTTP_CE_SPECVERSION": "1.0", "HTTP_CE_ID": "e1", "HTTP_CE_SOURCE": "/s", "HTTP_CE_TYPE": "t"}
    answer = worker.post("worker:job", b'{"order":7}', CONTENT_TYPE="application/json", **fields)
    assert answer.status.startswith("204 ")
    assert (worker.seen[0].id, worker.seen[0].json()) == ("e1", {"order": 7})


def test_a_cloud_event_of_an_object_and_of_a_schedule() -> None:
    worker = Worker()
    created = {**PAID, "type": "google.cloud.storage.object.v1.finalized", "data": {"bucket": "b", "name": "in/a.txt"}}
    structured = "application/cloudevents+json"
    assert worker.post("worker:arrived", created, CONTENT_TYPE=structured).status.startswith("204 ")
    tick = {**PAID, "time": "2026-11-24T10:00:00Z"}
    assert worker.post("worker:hourly", tick, CONTENT_TYPE=structured).status.startswith("204 ")
    assert [(event.kind, event.key) for event in worker.seen] == [("created", "in/a.txt"), ("schedule", "")]
    assert worker.seen[1].time == 1795514400.0


def test_a_batch_of_cloud_events_of_which_one_fails_comes_again() -> None:
    worker = Worker()
    batch = [PAID, {**PAID, "id": "e2"}]
    assert worker.post("worker:job", batch, CONTENT_TYPE="application/cloudevents-batch+json").status.startswith("204 ")
    worker.error = ValueError("no")
    assert worker.post("worker:job", batch, CONTENT_TYPE="application/cloudevents-batch+json").status.startswith("500 ")


# ---- invoke, and what is none of these


def test_what_is_invoked_by_hand_is_told_what_failed() -> None:
    worker = Worker()
    assert worker.post("worker:job", {"messages": [{"body": "x"}]}).json() == {"failures": {}}
    worker.error = ValueError("no")
    answer = worker.post("worker:job", {"messages": [{"body": "x", "id": "i"}]})
    assert (answer.status[:3], answer.json()) == ("500", {"failures": {"i": "ValueError: no"}})


def test_an_object_that_is_invoked_by_hand_need_not_fit_its_trigger() -> None:
    worker = Worker()
    worker.post("worker:arrived", {"event": {"kind": "created", "bucket": "inbox", "key": "by hand"}})
    assert worker.seen[0].key == "by hand"


def test_an_unknown_trigger_is_404() -> None:
    assert Worker().post("worker:none", {}).status.startswith("404 ")


def test_events_are_posted() -> None:
    answer = Worker().post("worker:job", b"", "GET")
    assert answer.status.startswith("405 ")
    assert answer.header("allow") == "POST"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=12), children, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["message", "messages", "event", "subscription", "deliveryAttempt", "data", "messageId"])
envelopes = json_values | st.dictionaries(
    keys, json_values | st.dictionaries(keys, json_values, max_size=3), max_size=3
)


@given(envelopes, st.sampled_from(["worker:job", "worker:reader", "worker:arrived", "worker:hourly"]))
def test_nothing_that_is_no_event_gets_through_or_breaks_it(body: Any, trigger: str) -> None:
    worker = Worker()
    status = int(worker.post(trigger, body).status[:3])
    assert status in (200, 204, 400)


@given(st.binary(max_size=60))
def test_no_bytes_break_it(body: bytes) -> None:
    assert Worker().post("worker:job", body).status[:3] == "400"
