"""Message, Event and Context as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import Context, Event, Message, current_context

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON) | st.lists(JSON))
def test_a_value_comes_back_as_it_was_sent(value: Any) -> None:
    assert Message.of(value).json() == value


@given(st.binary())
def test_bytes_are_sent_as_they_are(value: bytes) -> None:
    assert Message.of(value).body == Message.of(bytearray(value)).body == Message.of(memoryview(value)).body == value


@given(TEXT)
def test_text_is_sent_as_it_is(value: str) -> None:
    message = Message.of(value)
    assert (message.text, message.body) == (value, value.encode())


@dataclass
class Order:
    sku: str
    at: datetime


def test_what_has_a_structure_is_sent_as_json() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert Message.of(Order("a", at)).json() == {"sku": "a", "at": "2026-01-02T00:00:00Z"}
    assert Message.of([Order("é", at)]).body == '[{"sku":"é","at":"2026-01-02T00:00:00Z"}]'.encode()


@pytest.mark.parametrize("value", [object(), {"a": object()}, float("nan"), [float("inf")]])
def test_what_json_cannot_hold_is_refused_when_it_is_sent(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Message.of(value)


@pytest.mark.parametrize(
    ("body", "why"), [(b"", "Expecting value"), (b"{", "Expecting"), (b"\xff", "decode"), (b"[" * 200_000, "deep")]
)
def test_a_body_that_is_not_json_is_a_value_error(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Message(body).json()


def test_fields_of_a_message() -> None:
    attributes = {"a": "b"}
    message = Message(b"x", id="1", attributes=attributes, attempt=2, sent_at=3.0, group="g")
    attributes["a"] = "c"
    assert (message.id, message.attributes, message.attempt, message.sent_at, message.group) == (
        "1",
        {"a": "b"},
        2,
        3.0,
        "g",
    )
    assert message.error is None
    message.fail("later")
    assert message.error == "later"
    assert repr(message) == "<Message 1 attempt 2>"


def test_fields_of_an_event_and_a_context() -> None:
    event = Event("created", bucket="files", key="a", size=5, etag="e", time=1.0)
    assert (event.kind, event.bucket, event.key, event.size, event.etag, event.time) == (
        "created",
        "files",
        "a",
        5,
        "e",
        1.0,
    )
    assert repr(event) == "<Event created files/a>"
    assert repr(Event("schedule")) == "<Event schedule>"
    assert current_context() is None
    assert Context("1", trace_parent="garbage").trace_id == ""
