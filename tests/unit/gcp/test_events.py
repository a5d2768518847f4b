"""What Pub/Sub, Storage and Scheduler send, and what a service sends through Pub/Sub, comes out as it went in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi.cloudevents import CloudEvent
from pys_multi.events import seconds
from pys_multi.resources import Outgoing
from pys_multi_providers.gcp.events import (
    Push,
    event_of_notification,
    message_of_cloud_event,
    object_event_of_cloud_event,
    push_of_cloud_event,
)
from pys_multi_providers.gcp.resources import _entry

#: The example of "Push subscriptions" with the most values, 2026-11.
EXAMPLE: dict[str, Any] = {
    "deliveryAttempt": 5,
    "message": {
        "attributes": {"key": "value"},
        "data": "SGVsbG8gQ2xvdWQgUHViL1N1YiEgSGVyZSBpcyBteSBtZXNzYWdlIQ==",
        "messageId": "2070443601311540",
        "message_id": "2070443601311540",
        "orderingKey": "key",
        "publishTime": "2021-02-26T19:13:55.749Z",
        "publish_time": "2021-02-26T19:13:55.749Z",
    },
    "subscription": "projects/myproject/subscriptions/mysubscription",
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def delivered(outgoing: Outgoing, **about: Any) -> Push:
    """What Pub/Sub makes of it, as far as it checks: "Resource limits" and "PubsubMessage"."""
    entry = json.loads(json.dumps(_entry(outgoing)))
    attributes = entry.get("attributes", {})
    assert entry["data"] or attributes
    assert len(attributes) <= 100
    for name, value in attributes.items():
        assert 0 < len(name.encode()) <= 256
        assert len(value.encode()) <= 1024
        assert not name.startswith("goog")
    assert len(entry.get("orderingKey", "").encode()) <= 1024
    message = {"messageId": "7", "publishTime": "2026-11-24T10:00:00.5Z", "attributes": {}, **entry}
    return Push({"message": message, "subscription": "projects/p/subscriptions/s", **about})


def test_the_documented_push_is_a_message() -> None:
    push = Push(EXAMPLE)
    message = push.message()
    assert message.text == "Hello Cloud Pub/Sub! Here is my message!"
    assert (message.id, message.attempt, message.group) == ("2070443601311540", 5, "key")
    assert message.attributes == {"key": "value"}
    assert message.sent_at == datetime(2021, 2, 26, 19, 13, 55, 749000, UTC).timestamp()
    assert push.due == 0


@given(st.binary(max_size=200), st.dictionaries(texts, texts, max_size=8), texts)
def test_what_is_sent_is_what_is_handled(body: bytes, attributes: dict[str, str], group: str) -> None:
    message = delivered(Outgoing(body, attributes, group=group)).message()
    assert (message.body, message.attributes, message.group) == (body, attributes, group)


@pytest.mark.parametrize(
    "attributes",
    [
        {"long": "x" * 5000},
        {"n" * 300: "a"},
        {str(number): "x" for number in range(200)},
        {"googclient_x": "1"},
        {"pys-multi-packed": "1"},
        {"": ""},
    ],
    ids=["long value", "long name", "many", "google's", "ours", "empty"],
)
def test_attributes_that_pub_sub_does_not_take_arrive_all_the_same(attributes: dict[str, str]) -> None:
    message = delivered(Outgoing(b"line\nline", attributes, group="g" * 2000)).message()
    assert (message.body, message.attributes, message.group) == (b"line\nline", attributes, "g" * 2000)


@given(st.binary(max_size=50), st.dictionaries(texts, texts, max_size=3))
def test_a_message_that_is_published_again_keeps_its_id_time_and_content(
    body: bytes, attributes: dict[str, str]
) -> None:
    first = delivered(Outgoing(body, attributes))
    entry = first.again(**{"CloudPubSubDeadLetterSourceDeliveryCount": "3"})
    second = Push({"message": {"messageId": "8", "publishTime": "2027-01-01T00:00:00Z", **entry}})
    message = second.message()
    assert (message.id, message.sent_at) == ("7", first.message().sent_at)
    assert message.body == body
    assert message.attributes == {**attributes, "CloudPubSubDeadLetterSourceDeliveryCount": "3"}


def test_a_delay_is_told_and_taken_off_when_the_message_is_sent_anew() -> None:
    push = delivered(Outgoing(b"x", {}, delay=60))
    assert push.due > 1_600_000_000
    assert push.message().attributes == {}
    assert "pys-multi-due" not in push.again()["attributes"]


def test_a_message_of_a_group_is_not_delayed() -> None:
    with pytest.raises(ValueError, match="ordered queue"):
        _entry(Outgoing(b"x", {}, delay=1, group="g"))


# ---- Storage

NOTICE = {
    "notificationConfig": "projects/_/buckets/b/notificationConfigs/3",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": "shop-dev-inbox-1a2b3c",
    "objectId": "in/a b.txt",
    "objectGeneration": "1762000000000000",
    "eventTime": "2026-11-24T10:00:00.123456Z",
}
OBJECT = {"name": "in/a b.txt", "size": "7", "etag": "CJ=", "generation": "1762000000000000"}


def test_a_created_object() -> None:
    event = event_of_notification(NOTICE, OBJECT, "inbox", 2)
    assert event is not None
    assert (event.kind, event.bucket, event.key, event.size) == ("created", "inbox", "in/a b.txt", 7)
    assert (event.etag, event.attempt) == ("CJ=", 2)
    assert event.time == seconds("2026-11-24T10:00:00.123456Z")
    assert event.id == "shop-dev-inbox-1a2b3c/in/a b.txt/1762000000000000"


@pytest.mark.parametrize("kind", ["OBJECT_DELETE", "OBJECT_ARCHIVE"])
def test_a_deleted_object(kind: str) -> None:
    event = event_of_notification({**NOTICE, "eventType": kind}, OBJECT, "inbox", 1)
    assert event is not None
    assert event.kind == "deleted"
    # The old content of an object that is replaced is deleted too, which is no news.
    assert event_of_notification({**NOTICE, "eventType": kind, "overwrittenByGeneration": "2"}, OBJECT, "b", 1) is None


def test_new_metadata_is_no_news() -> None:
    assert event_of_notification({**NOTICE, "eventType": "OBJECT_METADATA_UPDATE"}, OBJECT, "inbox", 1) is None


def test_an_object_of_eventarc() -> None:
    about = {"bucket": "b", "name": "k", "size": "3", "generation": "5", "updated": "2026-11-24T10:00:00Z"}
    event = object_event_of_cloud_event(
        CloudEvent("google.cloud.storage.object.v1.finalized", "//storage.googleapis.com/b", about), "inbox"
    )
    assert event is not None
    assert (event.kind, event.key, event.size, event.id) == ("created", "k", 3, "b/k/5")
    other = CloudEvent("google.cloud.storage.object.v1.metadataUpdated", "//storage.googleapis.com/b", about)
    assert object_event_of_cloud_event(other, "inbox") is None


# ---- CloudEvents


def test_a_message_of_eventarc_is_a_push() -> None:
    event = CloudEvent("google.cloud.pubsub.topic.v1.messagePublished", "//pubsub.googleapis.com/t", EXAMPLE)
    push = push_of_cloud_event(event)
    assert push is not None
    assert push.message().text.startswith("Hello")


def test_any_other_cloud_event_is_a_message_with_its_attributes() -> None:
    event = CloudEvent("order.paid", "/shop", {"order": 7}, id="e1", time="2026-11-24T10:00:00Z")
    assert push_of_cloud_event(event) is None
    message = message_of_cloud_event(event)
    assert (message.id, message.json()) == ("e1", {"order": 7})
    assert message.attributes["ce-type"] == "order.paid"
    assert message.sent_at == seconds("2026-11-24T10:00:00Z")
