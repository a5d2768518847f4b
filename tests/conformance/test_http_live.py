"""Streaming, server-sent events, concurrency, timeouts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conformance.driver import BrokenOff, Driver


@pytest.mark.needs("streaming")
def test_a_stream_arrives_while_it_is_produced(driver: Driver, key: str) -> None:
    with driver.stream("GET", f"/live/stream/{key}") as response:
        assert response.status == 200
        assert next(response.chunks) == b"before the gate\n"
        # Only now may the handler go on: what was read before cannot have waited for its end.
        assert driver.request("PUT", f"/gates/{key}").status == 204
        assert b"".join(response.chunks) == b"after the gate\n"


def test_a_stream_arrives_whole(driver: Driver, key: str) -> None:
    driver.request("PUT", f"/gates/{key}")
    reply = driver.request("GET", f"/live/stream/{key}")
    assert reply.header("content-type") == "text/plain; charset=utf-8"
    assert reply.text == "before the gate\nafter the gate\n"


@pytest.mark.needs("streaming", "wire")
def test_a_stream_that_breaks_off_is_seen_to_break_off(driver: Driver) -> None:
    with driver.stream("GET", "/failures/stream") as response:
        assert response.status == 200
        with pytest.raises(BrokenOff):
            list(response.chunks)


def test_a_large_stream_arrives_whole(driver: Driver) -> None:
    assert driver.request("GET", "/live/large").body == b"x" * 65536 * 64


def test_server_sent_events_are_encoded(driver: Driver) -> None:
    reply = driver.request("GET", "/live/events")
    assert (reply.header("content-type") or "").startswith("text/event-stream")
    assert reply.header("cache-control") == "no-store"
    assert reply.text == ('data: plain\n\nevent: named\nid: 7\ndata: {"grüße":1}\n\ndata: two\ndata: lines\n\n')


def test_server_sent_events_come_from_async_generators_too(driver: Driver) -> None:
    reply = driver.request("GET", "/live/async-events")
    assert reply.text == "".join(f"event: count\ndata: {number}\n\n" for number in range(3))


def test_requests_run_at_the_same_time(driver: Driver, key: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(driver.request, "GET", f"/live/together/{key}") for _ in range(2)]
        replies = [call.result() for call in calls]
    assert [reply.json() for reply in replies] == [{"arrived": 2}] * 2


def test_many_requests_at_once_get_their_own_answers(driver: Driver) -> None:
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda n: driver.request("GET", f"/paths/int/{n}"), range(200)))
    assert [reply.json()["params"]["value"][1] for reply in replies] == [str(n) for n in range(200)]


@pytest.mark.needs("timeouts")
def test_a_handler_that_runs_too_long_is_504(driver: Driver) -> None:
    driver.request("GET", "/slow/forever").problem(504)


@pytest.mark.needs("timeouts")
def test_a_function_answers_again_after_a_timeout(driver: Driver) -> None:
    driver.request("GET", "/slow/forever").problem(504)
    assert driver.request("GET", "/slow/quick").status == 200


@pytest.mark.needs("timeouts")
def test_the_deadline_is_the_timeout_of_the_function(driver: Driver) -> None:
    found = driver.request("GET", "/slow/quick").json()
    assert 0 < found["deadline"] - found["now"] <= 1.0
    assert abs(found["deadline"] - time.time()) < 5
