"""The bundle under functions-framework on every Python that it may get there and this machine has.

The whole conformance suite runs on the Python of the tests; this is what could differ from one to another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from uuid import uuid4

import pytest
from tests.conformance.driver import BrokenOff, Settings
from tests.conformance.drivers.gcp import GcpDriver
from tests.conformance.events_log import Seen
from tests.support.functions_framework import image
from tests.support.gcp_emulators import lacking

PROJECT = Path(__file__).parents[1] / "conformance" / "service"
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHERS = [version for version in ("3.11", "3.12", "3.13") if version != OWN]
JSON = [("content-type", "application/json")]
#: One worker of pytest-xdist deploys for all of them.
pytestmark = pytest.mark.xdist_group("gcp-pythons")


@pytest.fixture(scope="module", params=OTHERS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcpDriver]:
    if why := lacking():
        pytest.skip(why)
    if image(request.param) is None:
        pytest.skip(f"this machine has no Python {request.param}")
    driver = type("", (GcpDriver,), {"python": request.param})()
    try:
        driver.start(PROJECT, Settings(), tmp_path_factory.mktemp("gcp"))
        yield driver
    finally:
        driver.stop()


def test_it_runs_on_that_python(driver: GcpDriver) -> None:
    assert ".".join(map(str, driver.request("GET", "/process").json()["python"])) == driver.python
    assert driver.health("api")["build_id"] == driver.build_id("api")


def test_requests_and_responses_of_every_kind(driver: GcpDriver) -> None:
    assert driver.request("GET", "/returns/dict").json()["text"] == "grüße 🎉"
    body = bytes(range(256)) * 10
    assert driver.request("POST", "/bodies/bytes", [("content-type", "application/octet-stream")], body).body == body
    assert driver.request("GET", "/live/large").body == b"x" * 65536 * 64
    assert driver.request("GET", "/returns/async").json() == {"async": True}
    assert driver.request("GET", "/asgi/hello/a").json()["hello"] == "a"
    driver.request("GET", "/failures/crash/x").problem(500)
    assert driver.request("GET", "/guard/private").text == "private"
    with driver.stream("GET", "/failures/stream") as response, pytest.raises(BrokenOff):
        list(response.chunks)


def test_a_handler_that_runs_too_long_is_504(driver: GcpDriver) -> None:
    driver.request("GET", "/slow/forever").problem(504)
    assert driver.request("GET", "/slow/quick").status == 200


def test_resources(driver: GcpDriver) -> None:
    key = uuid4().hex
    driver.request("PUT", f"/files/{key}", [], b"content")
    assert driver.request("GET", f"/files/{key}").body == b"content"
    item = {"id": key, "n": 1, "x": 1.5, "none": None}
    driver.request("PUT", "/users", JSON, dumps({"item": item}).encode())
    assert driver.request("GET", f"/users/{key}").json()["item"] == item
    assert driver.request("GET", "/secret").json()["value"] == Settings().secrets["PAYMENT_KEY"]


def test_messages_and_schedules(driver: GcpDriver) -> None:
    seen = Seen(driver, uuid4().hex)
    batch = [{"key": seen.key, "number": number} for number in range(10)]
    driver.request("POST", "/queues/jobs", JSON, dumps({"messages": [{"key": seen.key}]}).encode())
    driver.request("POST", "/queues/batches", JSON, dumps({"messages": batch}).encode())
    driver.request("POST", "/topics/news", JSON, dumps({"message": {"key": seen.key}}).encode())
    driver.request("PUT", f"/inbox/in/{seen.key}/a.txt")
    for handler in ("job", "reader", "listener", "created"):
        assert seen.one(handler)
    assert len(seen.wait("batch", 10)) == 10
    assert driver.trigger("worker:new_year").error == ""
    assert "the schedule failed" in driver.trigger("worker:failing_schedule").error


def test_cloud_events_of_both_kinds(driver: GcpDriver) -> None:
    seen = Seen(driver, uuid4().hex)
    event = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "order.paid", "data": {"key": seen.key}}
    structured = [("content-type", "application/cloudevents+json")]
    assert driver.post("worker:job", structured, dumps(event).encode()).status == 204
    attributes = [(f"ce-{name}", str(event[name])) for name in ("specversion", "source", "type")]
    binary = [*attributes, ("ce-id", "e2"), ("content-type", "application/json")]
    assert driver.post("worker:job", binary, dumps(event["data"]).encode()).status == 204
    assert sorted(note["id"] for note in seen.wait("job", 2)) == ["e1", "e2"]
