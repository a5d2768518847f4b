"""What Azure delivers becomes the messages and events that were sent, whatever is in them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter
from azure.functions.timer import TimerRequestConverter
from hypothesis import given
from hypothesis import strategies as st
from tests.support.azure_host.triggers import _metadata
from tests.support.service_bus import Stored, _alone, _of_batch

from pys_multi.events import seconds
from pys_multi.resources import Outgoing
from pys_multi.schedules import parse
from pys_multi_providers.azure.events import (
    due_at,
    events_of_blobs,
    message_of,
)
from pys_multi_providers.azure.resources import _delayed, _message

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=50)


def delivered(stored: Stored) -> Any:
    """The message as the worker hands it to its function."""
    metadata = {name: Datum(*reversed(*value.items())) for name, value in _metadata(stored).items()}
    return ServiceBusMessageInConverter.decode(Datum(stored.body, "bytes"), trigger_metadata=metadata)


class _Namespace:
    def make(self, body: bytes, **fields: Any) -> Stored:
        return Stored("", body, 5, enqueued=1_700_000_000.25, visible=1_700_000_000.25, deliveries=1, **fields)


def sent(message: Outgoing) -> Stored:
    """What Service Bus has of a message that was sent."""
    if message.delay:
        fields = _delayed("some-id", message)
        assert all(value.isascii() and value.isprintable() for value in fields.values())
        return _alone(_Namespace(), fields, message.body)  # type: ignore[arg-type]
    entry = json.loads(json.dumps(_message("some-id", message)))
    return _of_batch(_Namespace(), entry)  # type: ignore[arg-type]


@given(st.one_of(st.binary(max_size=200), _TEXT.map(str.encode)), st.dictionaries(_TEXT, _TEXT, max_size=4))
def test_a_message_arrives_as_it_was_sent(body: bytes, attributes: dict[str, str]) -> None:
    found = message_of(delivered(sent(Outgoing(body, attributes))))
    assert (found.id, found.body, found.attributes) == ("some-id", body, attributes)
    assert (found.attempt, found.sent_at, found.group) == (1, 1_700_000_000.25, "")


@given(st.binary(max_size=200), st.dictionaries(_TEXT, _TEXT, max_size=4))
def test_a_delayed_message_arrives_as_it_was_sent(body: bytes, attributes: dict[str, str]) -> None:
    found = message_of(delivered(sent(Outgoing(body, attributes, delay=3))))
    assert (found.id, found.body, found.attributes) == ("some-id", body, attributes)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=300), st.sampled_from([0, 3]))
def test_a_group_arrives_as_it_was_sent(group: str, delay: int) -> None:
    stored = sent(Outgoing(b"x", {}, group=group, delay=delay))
    assert 0 < len(stored.session) <= 128
    assert message_of(delivered(stored)).group == group


def test_messages_of_one_group_are_of_one_session() -> None:
    long = "g" * 200
    assert sent(Outgoing(b"", {}, group=long)).session == sent(Outgoing(b"", {}, group=long)).session
    assert sent(Outgoing(b"", {}, group=long)).session != sent(Outgoing(b"", {}, group=long + "h")).session


def test_a_delayed_message_says_when_it_was_sent() -> None:
    before = time.time()
    stored = sent(Outgoing(b"x", {}, delay=5))
    assert stored.visible >= before + 5
    assert before - 0.01 <= message_of(delivered(stored)).sent_at <= time.time() + 0.01


def test_the_case_of_a_header_field_does_not_matter() -> None:
    stored = sent(Outgoing(b"x", {"a": "1"}, delay=5))
    stored.properties = {name.title(): value for name, value in stored.properties.items()}
    assert message_of(delivered(stored)).attributes == {"a": "1"}


def test_a_later_delivery_is_a_later_attempt() -> None:
    stored = sent(Outgoing(b"x", {}))
    stored.deliveries = 3
    assert message_of(delivered(stored)).attempt == 3


def test_properties_that_are_no_text_are_left_out() -> None:
    stored = sent(Outgoing(b"x", {"a": "1"}))
    stored.properties |= {"number": 5, "Diagnostic-Id": "00-x"}
    assert message_of(delivered(stored)).attributes == {"a": "1", "Diagnostic-Id": "00-x"}


# ---- buckets


def blob(kind: str, key: str, **data: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": f"Microsoft.Storage.{kind}",
        "subject": f"/blobServices/default/containers/inbox/blobs/{key}",
        "time": "2026-11-24T10:00:00.1234567Z",
        "id": "e1",
        "data": {"eTag": "0x8DE", "contentLength": 7, "url": "https://a.blob.core.windows.net/inbox/x", **data},
    }


@given(_TEXT.filter(bool))
def test_a_blob_event_names_its_object(key: str) -> None:
    [event] = events_of_blobs(json.dumps(blob("BlobCreated", key)).encode(), "files", 2, 0.0)
    assert (event.kind, event.bucket, event.key, event.size, event.etag) == ("created", "files", key, 7, "0x8DE")
    assert (event.attempt, event.id) == (2, "e1")
    assert event.time == pytest.approx(seconds("2026-11-24T10:00:00.123456Z"))


def test_the_schema_of_event_grid_is_known_too() -> None:
    old = blob("BlobDeleted", "a/b c.txt", eTag='"0x1"')
    old |= {"eventType": old.pop("type"), "eventTime": old.pop("time")}
    [event] = events_of_blobs(json.dumps([old]).encode(), "files", 1, 0.0)
    assert (event.kind, event.key, event.etag) == ("deleted", "a/b c.txt", "0x1")


def test_without_a_subject_the_address_says_which_object_it_is() -> None:
    entry = blob("BlobCreated", "", url="https://a.blob.core.windows.net/inbox/a%20b/c.txt")
    entry["subject"] = "/blobServices/default/containers/inbox"
    [event] = events_of_blobs(json.dumps(entry).encode(), "files", 1, 5.0)
    assert event.key == "a b/c.txt"


def test_the_test_of_a_subscription_is_no_event() -> None:
    entry = {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "x"}}
    assert events_of_blobs(json.dumps([entry]).encode(), "files", 1, 0.0) == []


@pytest.mark.parametrize("body", [b"[1]", b'{"type": "other"}', b"not json", b'"x"'])
def test_what_is_no_event_of_a_blob_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"no event of a blob|Expecting value"):
        events_of_blobs(body, "files", 1, 0.0)


# ---- timers


def timer(next_run: str | None, *, past_due: bool = False) -> Any:
    status = {"Last": "0001-01-01T00:00:00", "Next": next_run, "LastUpdated": "0001-01-01T00:00:00"}
    info = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status if next_run else None, "IsPastDue": past_due}
    return TimerRequestConverter.decode(Datum(json.dumps(info), "json"), trigger_metadata={})


def test_a_timer_runs_for_the_tick_that_is_due() -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    schedule = parse("* * * * *")
    assert due_at(timer(now.isoformat()), schedule) == now.timestamp()
    # Missed, and made up for.
    assert due_at(timer("2026-01-01T00:00:00Z", past_due=True), parse("0 0 1 1 *")) == seconds("2026-01-01T00:00:00Z")


def test_a_timer_that_never_ran_is_due_now() -> None:
    for said in (None, "0001-01-01T00:00:00", "9999-12-31T23:59:59"):
        found = due_at(timer(said), parse("* * * * *"))
        assert found is not None
        assert abs(found - time.time()) < 121


def test_a_timer_that_runs_more_often_than_its_schedule_is_not_due() -> None:
    schedule = parse("30 4 * * *", "Europe/Berlin")  # 03:30 in winter, 02:30 in summer
    assert due_at(timer("2026-01-15T03:30:00Z"), schedule) == seconds("2026-01-15T03:30:00Z")
    assert due_at(timer("2026-01-15T02:30:00Z"), schedule) is None
    assert due_at(timer("2026-07-15T02:30:00Z"), schedule) == seconds("2026-07-15T02:30:00Z")
