"""HTTP calls of ``pys-multi invoke``, as they arrive; events that it makes up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.support.noting_front import NotingFront

from pys_multi.events import event_of, messages_of
from pys_multi.model import Consume, ObjectEvent, Schedule
from pys_multi_tools.calling import call, envelope_of, event_fields
from pys_multi_tools.deployment import Invocation
from pys_multi_tools.errors import ProviderError

TICK = Schedule(id="w:tick", handler="m:tick", expression="every 1 minute")


@pytest.fixture
def front() -> Iterator[NotingFront]:
    found = NotingFront()
    try:
        yield found
    finally:
        found.stop()


def test_a_call_comes_as_it_was_written(front: NotingFront) -> None:
    wanted = Invocation(method="POST", path="/a b/ü%2Fx?q=ö&q=2", headers=(("X-A", "1"), ("X-A", "2")), body=b"hello")
    result = call(front.url + "/stage/", wanted, 10)
    [(method, path, headers, body)] = front.seen
    assert (method, path, body) == ("POST", "/stage/a%20b/%C3%BC%2Fx?q=%C3%B6&q=2", b"hello")
    assert headers["content-length"] == "5"
    assert headers["x-a"] == "1, 2"
    assert (result.status, result.body, result.request_id) == (418, b"ok", "r1")


@pytest.mark.parametrize(("method", "length"), [("POST", "0"), ("GET", None)])
def test_a_call_without_a_body_says_so_where_one_could_be(front: NotingFront, method: str, length: str | None) -> None:
    call(front.url, Invocation(method=method, path="/"), 10)
    assert front.seen[0][2].get("content-length") == length


def test_names_below_localhost_are_this_machine(front: NotingFront) -> None:
    call(front.url.replace("127.0.0.1", "abc.api.localhost"), Invocation(path="/"), 10)
    assert front.seen[0][2]["host"].startswith("abc.api.localhost:")


def test_what_says_who_is_calling_is_added_unless_the_caller_does(front: NotingFront) -> None:
    asked = []

    def sign(url: str, invocation: Invocation) -> dict[str, str]:
        asked.append((url, invocation.path))
        return {"authorization": "Bearer ours"}

    call(front.url, Invocation(path="/a b"), 10, sign=sign)
    call(front.url, Invocation(path="/", headers=(("Authorization", "Bearer theirs"),)), 10, sign=sign)
    assert [headers["authorization"] for _, _, headers, _ in front.seen] == ["Bearer ours", "Bearer theirs"]
    assert asked == [(f"{front.url}/a%20b", "/a b")]


@pytest.mark.parametrize("invocation", [Invocation(path="/"), Invocation(path="/", headers=(("x", "a\nb"),))])
def test_a_call_without_an_answer_is_told(invocation: Invocation) -> None:
    with pytest.raises(ProviderError, match="the call failed") as caught:
        call("http://127.0.0.1:9", invocation, 5)
    assert caught.value.hint


def test_events_take_what_the_payload_says_of_them() -> None:
    created = ObjectEvent(id="w:made", handler="m:made", bucket="files", event="created")
    found = event_fields(created, b'{"key": "a.pdf", "size": 3, "kind": "other", "bucket": "other"}')
    kept = {"key": "a.pdf", "size": 3, "kind": "created", "bucket": "files"}
    assert {name: found[name] for name in kept} == kept
    tick = event_fields(TICK, b" ")
    assert tick["kind"] == "schedule"
    assert tick["time"] == pytest.approx(time.time(), abs=60)
    assert tick["id"] != found["id"]


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_a_payload_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(ProviderError, match="is not an event") as caught:
        event_fields(TICK, body)
    assert caught.value.where == "w:tick"


@pytest.mark.parametrize("body", [b"text", b"\xff\x00", b""])
def test_an_envelope_is_read_as_it_was_meant(body: bytes) -> None:
    [message] = messages_of(envelope_of(Consume(id="w:ship", handler="m:ship", queue="jobs"), body)["messages"], "r")
    assert message.body == body
    assert abs(message.sent_at - time.time()) < 60
    assert event_of(envelope_of(TICK, b'{"time": 7}')["event"]).time == 7
