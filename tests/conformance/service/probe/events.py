"""Handlers of queues, topics, buckets and schedules; each notes what it got under the key that came with it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from probe.resources import (
    app,
    batches,
    careless,
    chained,
    doomed,
    flaky,
    inbox,
    jobs,
    news,
    note,
    ordered,
    orders,
    paid,
    payments,
    rumours,
    seen,
)
from pys_multi import (
    Context,
    Event,
    HTTPError,
    Message,
    Request,
    current_context,
    idempotency_key,
    idempotent,
)

worker = app.function("worker", timeout=2, uses=[seen.write])
relay = app.function("relay", timeout=2, uses=[seen.write, jobs.send])
QUEUES = {q.name: q for q in (jobs, orders, batches, careless, flaky, doomed, ordered, chained, payments)}
TOPICS = {t.name: t for t in (news, rumours)}
sender = app.function(
    "sender",
    concurrency=8,
    timeout=10,
    uses=[*(queue.send for queue in QUEUES.values()), *(topic.publish for topic in TOPICS.values()), inbox],
)


# ---- sending


@sender.post("/queues/{name}", status=202)
def send(name: str, body: dict[str, Any]) -> dict[str, object]:
    ids = QUEUES[name].send_many(
        body["messages"],
        attributes=body.get("attributes"),
        delay=body.get("delay", 0),
        group=body.get("group", ""),
    )
    return {"ids": ids}


@sender.post("/topics/{name}", status=202)
def publish(name: str, body: dict[str, Any]) -> dict[str, object]:
    return {"id": TOPICS[name].publish(body["message"], attributes=body.get("attributes"))}


@sender.put("/inbox/{key:path}", status=201)
def put_in_inbox(key: str) -> dict[str, str]:
    return {"etag": inbox.put(key, "content")}


@sender.delete("/inbox/{key:path}")
def delete_from_inbox(key: str) -> None:
    inbox.delete(key)


# ---- queues


def details(message: Message) -> dict[str, object]:
    return {
        "id": message.id,
        "attempt": message.attempt,
        "attributes": message.attributes,
        "group": message.group,
        "sent_at": message.sent_at,
        "handled_at": time.time(),
    }


@worker.consume(jobs)
def job(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "job", body=body, **details(message))


@dataclass
class Order:
    key: str
    count: int


@worker.consume(orders)
def typed_order(order: Order, context: Context) -> None:
    note(order.key, "typed_order", kind=type(order).__name__, count=order.count, trigger=context.trigger)


@worker.consume(batches, batch=10, window=0.2)
def batch(messages: list[Message]) -> None:
    for message in messages:
        with message:
            body: Any = message.json()
            if body.get("fail") == message.attempt:
                raise ValueError("as asked")
            if body.get("mark") == message.attempt:
                message.fail("marked, as asked")
                continue
            note(body["key"], "batch", number=body["number"], together=len(messages), **details(message))


@worker.consume(careless, batch=10, window=0.2)
def careless_batch(messages: list[Message]) -> None:
    for message in messages:
        body: Any = message.json()
        if body.get("fail"):
            raise ValueError("nobody said which message")
        note(body["key"], "careless", number=body["number"], together=len(messages))


@worker.consume(flaky)
def fails_once(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "flaky", **details(message))
    if message.attempt <= body.get("failures", 1):
        raise RuntimeError("not at this attempt")


@worker.consume(doomed)
def always_fails(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "doomed", **details(message))
    raise RuntimeError("never at any attempt")


@worker.consume(ordered)
async def in_order(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "ordered", number=body["number"], **details(message))


@relay.consume(chained)
def pass_on(message: Message) -> None:
    body: Any = message.json()
    jobs.send({"key": body["key"], "relayed": True})


# ---- once per key

cashier = app.function("cashier", timeout=5, uses=[seen.write, paid.get, paid.update])


@cashier.consume(payments)
@idempotent(key=lambda message: message.json()["id"], store=paid, lease=1)
def pay(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "pay", key_of_effect=idempotency_key(), attempt=message.attempt)
    if body.get("crash") and message.attempt == 1:
        # The effect has happened, and the record of it has not: what a loss of power leaves.
        os._exit(1)


@cashier.post("/payments", status=201)
@idempotent(key="Idempotency-Key", store=paid)
def pay_over_http(payment: dict[str, Any], request: Request) -> dict[str, object]:
    note(payment["key"], "pay_over_http")
    if payment["amount"] < 0:
        raise HTTPError(409, "not that way round")
    return {"receipt": os.urandom(8).hex()}


# ---- topics


@worker.subscribe(news)
def reader(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "reader", **details(message))


@relay.subscribe(news)
def listener(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "listener", **details(message))


@worker.subscribe(rumours, retries=0)
def sceptic(message: Message) -> None:
    raise ValueError("does not believe it")


@relay.subscribe(rumours, retries=1)
def gossip(message: Message) -> None:
    body: Any = message.json()
    note(body["key"], "gossip", **details(message))
    if message.attempt == 1:
        raise ValueError("tell me once more")


# ---- buckets


@worker.created(inbox, prefix="in/", suffix=".txt")
def text_arrived(event: Event) -> None:
    note(event.key.split("/")[1], "created", **facts(event))


@worker.created(inbox, prefix="flaky/")
def arrived_twice(event: Event) -> None:
    note(event.key.split("/")[1], "retried", **facts(event))
    if event.attempt == 1:
        raise RuntimeError("once more")


@worker.deleted(inbox, prefix="in/")
def gone(event: Event) -> None:
    note(event.key.split("/")[1], "deleted", **facts(event))


def facts(event: Event) -> dict[str, object]:
    return {
        "kind": event.kind,
        "bucket": event.bucket,
        "object": event.key,
        "size": event.size,
        "etag": event.etag,
        "time": event.time,
        "attempt": event.attempt,
    }


# ---- schedules: they are never due while a suite runs, and are invoked by it


@worker.schedule("30 4 1 1 *", timezone="Europe/Berlin")
def new_year(event: Event, context: Context) -> None:
    note("schedules", "new_year", kind=event.kind, time=event.time, request_id=context.request_id)


@worker.every("20 days")
async def rarely() -> None:
    context = current_context()
    note("schedules", "rarely", function=context.function if context else "")


@worker.every("21 days")
def failing_schedule() -> None:
    raise RuntimeError("the schedule failed")
