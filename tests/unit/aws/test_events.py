"""Bodies and attributes survive what SQS and SNS can carry; formats of AWS read as its documentation writes them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi.resources import Outgoing
from pys_multi_providers.aws.events import messages_of_sns, messages_of_sqs, trace_of
from pys_multi_providers.aws.resources import _entry

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


def through_sqs(entry: Any) -> Any:
    """What is received of a SendMessageBatch entry."""
    attributes = entry.get("MessageAttributes", {})
    return {
        "messageId": "id",
        "body": entry["MessageBody"],
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1000",
            "MessageGroupId": entry.get("MessageGroupId", ""),
        },
        "messageAttributes": {name: {"stringValue": value["StringValue"]} for name, value in attributes.items()},
    }


@given(
    body=st.binary(max_size=40) | TEXT.map(str.encode),
    attributes=st.dictionaries(TEXT, TEXT, max_size=12),
    group=TEXT.filter(bool) | st.just("x" * 200),
)
def test_every_message_survives(body: bytes, attributes: dict[str, str], group: str) -> None:
    entry = _entry(0, Outgoing(body, attributes, 0, group), "https://sqs/queue.fifo")
    assert re.fullmatch(r"[!-~]{1,128}", entry["MessageGroupId"])
    # What SQS takes: text that is not empty, without controls, and ten attributes with simple names and values.
    carried = entry.get("MessageAttributes", {})
    assert len(carried) <= 10
    for text in (entry["MessageBody"], *(value["StringValue"] for value in carried.values())):
        assert text
        assert not [c for c in text if (c < " " and c not in "\t\n\r") or c in "\ufffe\uffff"]
    [message] = messages_of_sqs([through_sqs(entry)])
    assert (message.body, message.attributes, message.group) == (body, attributes, group)


def test_simple_messages_are_carried_as_they_are_for_others_to_read() -> None:
    entry = _entry(0, Outgoing(b'{"a":1}', {"kind": "new"}), "https://sqs/queue")
    assert entry == {
        "Id": "0",
        "MessageBody": '{"a":1}',
        "MessageAttributes": {"kind": {"DataType": "String", "StringValue": "new"}},
    }


@pytest.mark.parametrize(("delay", "seconds"), [(1.0, 1), (1.5, 2), (0.001, 1), (900.0, 900)])
def test_a_delay_is_rounded_up_to_seconds(delay: float, seconds: int) -> None:
    assert _entry(0, Outgoing(b"x", {}, delay), "https://sqs/queue")["DelaySeconds"] == seconds


def test_every_message_of_an_ordered_queue_is_one_of_its_own() -> None:
    entries = [_entry(0, Outgoing(b"same", {}, 0, "g"), "https://sqs/queue.fifo") for _ in range(2)]
    assert [entry["MessageGroupId"] for entry in entries] == ["g", "g"]
    assert entries[0]["MessageDeduplicationId"] != entries[1]["MessageDeduplicationId"]


def test_an_ordered_queue_delays_no_single_message() -> None:
    with pytest.raises(ValueError, match="ordered"):
        _entry(0, Outgoing(b"x", {}, 5, "g"), "https://sqs/queue.fifo")


def test_a_notification_without_attributes_is_read() -> None:
    [message] = messages_of_sns([{"Sns": {"MessageId": "1", "Message": "m", "MessageAttributes": None}}])
    assert (message.id, message.text, message.attributes, message.sent_at) == ("1", "m", {}, 0.0)


@pytest.mark.parametrize(
    "context",
    [
        SimpleNamespace(),
        SimpleNamespace(client_context=None),
        SimpleNamespace(client_context=SimpleNamespace(custom=None)),
        SimpleNamespace(client_context=SimpleNamespace(custom={"traceparent": 5})),
        SimpleNamespace(w3c=dict, client_context=None),
    ],
)
def test_a_context_without_a_trace_has_none(context: Any) -> None:
    assert trace_of(context) == ""


def test_the_trace_that_lambda_itself_passes_on_comes_first() -> None:
    context = SimpleNamespace(
        w3c=lambda: {"traceparent": "of lambda"},
        client_context=SimpleNamespace(custom={"traceparent": "of the caller"}),
    )
    assert trace_of(context) == "of lambda"
