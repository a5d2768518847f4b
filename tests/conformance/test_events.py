"""Queues, topics, buckets and schedules: what is sent is handled, at least once, and what fails is not lost."""

from __future__ import annotations

from json import dumps, loads
from typing import Any

import pytest
from tests.conformance.driver import Driver, Reply, eventually
from tests.conformance.events_log import Seen


def send(driver: Driver, queue: str, *messages: object, **options: Any) -> list[str]:
    body = dumps({"messages": messages, **options}).encode()
    reply = driver.request("POST", f"/queues/{queue}", [("content-type", "application/json")], body)
    assert reply.status == 202, reply
    ids: list[str] = reply.json()["ids"]
    return ids


def publish(driver: Driver, topic: str, message: object, **options: Any) -> str:
    body = dumps({"message": message, **options}).encode()
    reply = driver.request("POST", f"/topics/{topic}", [("content-type", "application/json")], body)
    assert reply.status == 202, reply
    return str(reply.json()["id"])


# ---- queues


def test_a_message_that_was_sent_is_consumed(driver: Driver, seen: Seen) -> None:
    body = {"key": seen.key, "text": "grüße 🎉", "n": [1, 2.5, None]}
    send(driver, "jobs", body)
    assert seen.one("job")["body"] == body


def test_a_message_keeps_its_id_from_send_to_handler(driver: Driver, seen: Seen) -> None:
    [id] = send(driver, "jobs", {"key": seen.key})
    assert seen.one("job")["id"] == id


def test_a_message_carries_its_attributes(driver: Driver, seen: Seen) -> None:
    attributes = {"source": "web", "trace": "grüße"}
    send(driver, "jobs", {"key": seen.key}, attributes=attributes)
    assert seen.one("job")["attributes"] == attributes


def test_a_message_says_which_attempt_it_is_and_when_it_was_sent(driver: Driver, seen: Seen) -> None:
    send(driver, "jobs", {"key": seen.key})
    note = seen.one("job")
    assert note["attempt"] == 1
    assert note["sent_at"] > 1_600_000_000


def test_many_messages_at_once_are_all_consumed(driver: Driver, seen: Seen) -> None:
    ids = send(driver, "jobs", *({"key": seen.key, "n": n} for n in range(25)))
    assert len(set(ids)) == 25
    notes = seen.wait("job", 25)
    assert sorted(note["body"]["n"] for note in notes) == list(range(25))


def test_a_body_is_validated_for_a_typed_handler(driver: Driver, seen: Seen) -> None:
    send(driver, "orders", {"key": seen.key, "count": 3})
    note = seen.one("typed_order")
    assert (note["kind"], note["count"]) == ("Order", 3)


def test_a_handler_can_send_on_to_another_queue(driver: Driver, seen: Seen) -> None:
    send(driver, "chained", {"key": seen.key})
    assert seen.one("job")["body"] == {"key": seen.key, "relayed": True}


def test_a_batch_comes_together(driver: Driver, seen: Seen) -> None:
    send(driver, "batches", *({"key": seen.key, "number": n} for n in range(10)))
    notes = seen.wait("batch", 10)
    assert sorted(note["number"] for note in notes) == list(range(10))
    assert max(note["together"] for note in notes) > 1


def test_an_error_within_a_message_fails_that_message_alone(driver: Driver, seen: Seen) -> None:
    send(driver, "batches", *({"key": seen.key, "number": n, **({"fail": 1} if n == 2 else {})} for n in range(4)))
    attempts = {note["number"]: note["attempt"] for note in seen.wait("batch", 4)}
    assert attempts == {0: 1, 1: 1, 2: 2, 3: 1}


def test_a_message_that_is_marked_as_failed_comes_again_alone(driver: Driver, seen: Seen) -> None:
    send(driver, "batches", *({"key": seen.key, "number": n, **({"mark": 1} if n == 0 else {})} for n in range(3)))
    attempts = {note["number"]: note["attempt"] for note in seen.wait("batch", 3)}
    assert attempts == {0: 2, 1: 1, 2: 1}


@pytest.mark.needs("dead-letters")
def test_an_error_of_a_whole_batch_fails_only_the_guilty_message(driver: Driver, seen: Seen) -> None:
    messages = [{"key": seen.key, "number": n, **({"fail": True} if n == 1 else {})} for n in range(3)]
    send(driver, "careless", *messages)
    dead = eventually(driver, lambda: mine(driver, "worker:careless_batch", seen.key))
    assert dead == [messages[1]]
    assert {note["number"] for note in seen.wait("careless", 2)} == {0, 2}


def mine(driver: Driver, trigger: str, key: str) -> list[Any]:
    """Dead letters of this test."""
    found = [loads(body) for body in driver.dead_letters(trigger) if body.startswith(b"{")]
    return [body for body in found if body.get("key") == key]


def test_a_message_that_failed_is_delivered_again(driver: Driver, seen: Seen) -> None:
    [id] = send(driver, "flaky", {"key": seen.key, "failures": 2})
    notes = seen.wait("flaky", 3)
    assert [note["attempt"] for note in notes] == [1, 2, 3]
    assert {note["id"] for note in notes} == {id}


@pytest.mark.needs("dead-letters")
def test_a_message_is_dead_after_its_last_retry(driver: Driver, seen: Seen) -> None:
    body = {"key": seen.key, "why": "doomed"}
    send(driver, "doomed", body)
    assert eventually(driver, lambda: mine(driver, "worker:always_fails", seen.key)) == [body]
    assert [note["attempt"] for note in seen.notes("doomed")] == [1, 2]


@pytest.mark.needs("dead-letters")
def test_a_message_that_does_not_fit_its_handler_is_not_lost(driver: Driver, seen: Seen) -> None:
    send(driver, "orders", {"key": seen.key, "count": "many"})
    assert eventually(driver, lambda: mine(driver, "worker:typed_order", seen.key), seconds=30)
    assert seen.notes("typed_order") == []


@pytest.mark.needs("time")
def test_a_delayed_message_is_not_delivered_before_its_time(driver: Driver, seen: Seen) -> None:
    send(driver, "jobs", {"key": seen.key, "n": "late"}, delay=1.5)
    send(driver, "jobs", {"key": seen.key, "n": "soon"})
    notes = {note["body"]["n"]: note for note in seen.wait("job", 2)}
    assert notes["late"]["handled_at"] - notes["late"]["sent_at"] >= 1.4
    assert notes["late"]["handled_at"] > notes["soon"]["handled_at"]


@pytest.mark.needs("ordered-queue")
def test_messages_of_one_group_are_consumed_in_order(driver: Driver, seen: Seen) -> None:
    send(driver, "ordered", *({"key": seen.key, "number": n} for n in range(12)), group=seen.key)
    notes = seen.wait("ordered", 12)
    assert [note["number"] for note in notes] == list(range(12))
    assert {note["group"] for note in notes} == {seen.key}


@pytest.mark.parametrize("options", [{"delay": 901}, {"delay": -1}, {"group": "g"}], ids=["long", "negative", "group"])
def test_a_message_that_no_provider_takes_is_refused_when_sent(driver: Driver, key: str, options: Any) -> None:
    body = dumps({"messages": [{"key": key}], **options}).encode()
    driver.request("POST", "/queues/jobs", [("content-type", "application/json")], body).problem(500)


# ---- once per key


def test_a_message_that_is_delivered_twice_has_its_effect_once(driver: Driver, seen: Seen) -> None:
    payload = dumps({"key": seen.key, "id": seen.key}).encode()
    assert [driver.trigger("cashier:pay", payload).error for _ in range(2)] == ["", ""]
    assert len(seen.notes("pay")) == 1


@pytest.mark.needs("isolation")
def test_a_crash_between_effect_and_record_leads_to_the_same_key_again(driver: Driver, seen: Seen) -> None:
    send(driver, "payments", {"key": seen.key, "id": seen.key, "crash": True})
    first, last = seen.wait("pay", 2)
    assert first["attempt"] < last["attempt"]
    # With it, whoever has the effect makes it happen once.
    assert first["key_of_effect"] == last["key_of_effect"]


def pay(driver: Driver, key: str, amount: int, idempotency_key: str | None = None) -> Reply:
    fields = [("content-type", "application/json")]
    if idempotency_key:
        fields.append(("idempotency-key", idempotency_key))
    return driver.request("POST", "/payments", fields, dumps({"key": key, "amount": amount}).encode())


def test_the_same_idempotency_key_gets_the_same_answer_again(driver: Driver, seen: Seen) -> None:
    first, second = pay(driver, seen.key, 1, f"a-{seen.key}"), pay(driver, seen.key, 1, f"a-{seen.key}")
    assert (first.status, second.status) == (201, 201)
    assert first.json() == second.json()
    assert len(seen.notes("pay_over_http")) == 1
    assert pay(driver, seen.key, 1, f"b-{seen.key}").json() != first.json()


def test_an_idempotency_key_cannot_be_used_for_something_else(driver: Driver, seen: Seen) -> None:
    pay(driver, seen.key, 1, seen.key)
    pay(driver, seen.key, 2, seen.key).problem(422)
    pay(driver, seen.key, 2).problem(400)


def test_what_was_refused_can_be_tried_again_under_its_key(driver: Driver, seen: Seen) -> None:
    pay(driver, seen.key, -1, seen.key).problem(409)
    assert pay(driver, seen.key, 1, seen.key).status == 201


# ---- topics


def test_every_subscriber_gets_a_published_message(driver: Driver, seen: Seen) -> None:
    publish(driver, "news", {"key": seen.key}, attributes={"kind": "flash"})
    reader, listener = seen.one("reader"), seen.one("listener")
    assert reader["attributes"] == listener["attributes"] == {"kind": "flash"}
    assert reader["attempt"] == listener["attempt"] == 1


def test_a_subscriber_that_fails_gets_the_message_again_alone(driver: Driver, seen: Seen) -> None:
    publish(driver, "rumours", {"key": seen.key})
    assert [note["attempt"] for note in seen.wait("gossip", 2)] == [1, 2]


@pytest.mark.needs("dead-letters")
def test_a_subscriber_has_dead_letters_of_its_own(driver: Driver, seen: Seen) -> None:
    publish(driver, "rumours", {"key": seen.key})
    assert eventually(driver, lambda: mine(driver, "worker:sceptic", seen.key)) == [{"key": seen.key}]
    seen.wait("gossip", 2)
    assert mine(driver, "relay:gossip", seen.key) == []


# ---- buckets


def test_a_created_object_is_an_event(driver: Driver, seen: Seen) -> None:
    etag = driver.request("PUT", f"/inbox/in/{seen.key}/a%20b.txt").json()["etag"]
    note = seen.one("created")
    assert note["kind"] == "created"
    assert (note["bucket"], note["object"]) == ("inbox", f"in/{seen.key}/a b.txt")
    assert (note["size"], note["etag"]) == (len("content"), etag)
    assert note["time"] > 1_600_000_000


def test_only_objects_of_the_prefix_and_suffix_are_events(driver: Driver, seen: Seen) -> None:
    for name in (f"in/{seen.key}/a.pdf", f"out/{seen.key}/a.txt", f"in/{seen.key}/b.txt"):
        assert driver.request("PUT", f"/inbox/{name}").status == 201
    # What is created last arrives, and nothing else did before.
    assert seen.one("created")["object"] == f"in/{seen.key}/b.txt"


def test_a_deleted_object_is_an_event(driver: Driver, seen: Seen) -> None:
    driver.request("PUT", f"/inbox/in/{seen.key}/a.bin")
    driver.request("DELETE", f"/inbox/in/{seen.key}/a.bin")
    note = seen.one("deleted")
    assert (note["kind"], note["object"]) == ("deleted", f"in/{seen.key}/a.bin")


def test_a_bucket_event_that_failed_comes_again(driver: Driver, seen: Seen) -> None:
    driver.request("PUT", f"/inbox/flaky/{seen.key}/a")
    assert [note["attempt"] for note in seen.wait("retried", 2)] == [1, 2]


# ---- schedules and invocations by hand


def schedule_notes(driver: Driver, handler: str) -> list[dict[str, Any]]:
    return Seen(driver, "schedules").notes(handler)


def test_a_schedule_can_be_invoked(driver: Driver) -> None:
    before = len(schedule_notes(driver, "new_year"))
    assert driver.trigger("worker:new_year").error == ""
    notes = schedule_notes(driver, "new_year")
    assert len(notes) == before + 1
    assert notes[-1]["kind"] == "schedule"
    assert notes[-1]["time"] > 1_600_000_000


def test_an_async_schedule_runs_with_its_context(driver: Driver) -> None:
    assert driver.trigger("worker:rarely").error == ""
    assert schedule_notes(driver, "rarely")[-1]["function"] == "worker"


def test_an_invocation_reports_what_the_handler_raised(driver: Driver) -> None:
    assert "the schedule failed" in driver.trigger("worker:failing_schedule").error


def test_a_queue_handler_can_be_invoked_by_hand(driver: Driver, seen: Seen) -> None:
    assert driver.trigger("worker:job", dumps({"key": seen.key, "by": "hand"}).encode()).error == ""
    assert seen.one("job")["body"]["by"] == "hand"


def test_a_topic_handler_can_be_invoked_by_hand(driver: Driver, seen: Seen) -> None:
    assert driver.trigger("relay:listener", dumps({"key": seen.key}).encode()).error == ""
    assert seen.one("listener")["attempt"] == 1
    assert seen.notes("reader") == []
