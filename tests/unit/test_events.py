"""pys-multi's own envelope becomes messages and events, and times are read as clouds write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi.events import answer_of, event_of, is_due, messages_of, seconds, without_secrets


def test_messages_of_an_envelope_get_ids() -> None:
    plain = [{"body": "text"}, {"body": "AP8=", "base64": True, "id": "i", "attributes": {"a": "b"}, "attempt": 3}]
    first, second = messages_of(plain, "r")
    assert (first.body, first.id, first.attempt, first.attributes) == (b"text", "r-0", 1, {})
    assert (second.body, second.id, second.attributes, second.attempt) == (b"\0\xff", "i", {"a": "b"}, 3)


def test_what_a_scheduler_fills_in_as_text_is_read() -> None:
    event = event_of({"time": "2022-03-22T18:59:43Z", "attempt": "2", "id": "d32c5kddcf5bb8c3"})
    assert (event.kind, event.time, event.attempt, event.id) == ("schedule", 1647975583.0, 2, "d32c5kddcf5bb8c3")
    assert event_of({"time": 1647975583.0}).time == event.time


def test_an_event_without_a_time_is_now() -> None:
    before = time.time()
    assert before <= event_of({"kind": "created", "bucket": "b", "key": "k"}).time <= time.time()


@given(st.integers(0, 100_000))
def test_only_and_unless_are_each_others_opposite(minute: int) -> None:
    schedule = {"expression": "every 7 minutes", "timezone": "UTC"}
    due = is_due({"only": schedule}, minute * 60.0 + 12)
    assert due is (minute % 7 == 0)
    assert is_due({"unless": schedule}, minute * 60.0) is not due
    assert is_due({}, minute * 60.0)


def test_a_run_counts_where_its_own_schedule_has_a_tick() -> None:
    monday, tuesday = seconds("2026-11-23T04:30:10Z"), seconds("2026-11-24T04:30:10Z")
    on_mondays = {"expression": "30 4 * * 1", "timezone": "UTC"}
    assert [is_due({"only": on_mondays}, day) for day in (monday, tuesday)] == [True, False]


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)), st.integers(0, 9))
def test_times_are_read_to_the_microsecond(when: datetime, digits: int) -> None:
    fraction = f"{when.microsecond:06d}999"[:digits]
    text = when.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "")
    exact = when.replace(microsecond=int(fraction.ljust(6, "0")[:6] or 0)).timestamp()
    assert seconds(text) == seconds(f"{text}Z") == seconds(f"{text}+00:00") == exact


def test_times_with_an_offset() -> None:
    assert seconds("2026-11-24T11:00:00.123456789+01:00") == seconds("2026-11-24T10:00:00.123456Z")
    assert seconds("2026-11-24T09:00:00.5-01:00") == seconds("2026-11-24T10:00:00.5Z")
    assert seconds("") == 0


def test_nothing_leaves_with_a_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.resources.revealed_secrets", {"canary-5f1d"})
    shown = without_secrets(ValueError("the key is canary-5f1d"))
    assert (type(shown).__name__, str(shown)) == ("ValueError", "the key is ***")
    plain = KeyError("nothing in it")
    assert without_secrets(plain) is plain
    assert answer_of({"a": "the key is canary-5f1d"}) == {"failures": {"a": "the key is ***"}}
    assert answer_of({}) == {"failures": {}}
