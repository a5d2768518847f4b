"""The bundle under AWS's runtime client on every Python that it may get there and this machine has.

The whole conformance suite runs on the Python of the tests; this is what could differ from one to another. And once
more under AWS's own runtime interface emulator instead of the Runtime API of the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conformance.driver import Settings
from tests.conformance.drivers.aws import AwsDriver
from tests.conformance.events_log import Seen
from tests.support.lambda_image import image
from tests.support.lambda_rie import RieFunction, binary

PROJECT = Path(__file__).parents[1] / "conformance" / "service"
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHERS = [version for version in ("3.11", "3.12", "3.13") if version != OWN]
JSON = [("content-type", "application/json")]
#: One worker of pytest-xdist deploys for all of them.
pytestmark = pytest.mark.xdist_group("aws-pythons")


@pytest.fixture(scope="module", params=[*OTHERS, "emulator"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsDriver]:
    if request.param == "emulator":
        if binary() is None:
            pytest.skip("the runtime interface emulator cannot be had: no aws-sam-cli for this machine")
        how: dict[str, Any] = {"runs": RieFunction}
    elif image(request.param) is None:
        pytest.skip(f"this machine has no Python {request.param}")
    else:
        how = {"python": request.param}
    driver = type("", (AwsDriver,), how)()
    try:
        driver.start(PROJECT, Settings(), tmp_path_factory.mktemp("aws"))
        yield driver
    finally:
        driver.stop()


def test_it_runs_on_that_python(driver: AwsDriver) -> None:
    assert ".".join(map(str, driver.request("GET", "/process").json()["python"])) == driver.python
    assert driver.health("api")["build_id"] == driver.build_id("api")


def test_requests_and_responses_of_every_kind(driver: AwsDriver) -> None:
    assert driver.request("GET", "/returns/dict").json()["text"] == "grüße 🎉"
    body = bytes(range(256)) * 10
    assert driver.request("POST", "/bodies/bytes", [("content-type", "application/octet-stream")], body).body == body
    assert driver.request("GET", "/live/large").body == b"x" * 65536 * 64
    assert driver.request("GET", "/returns/async").json() == {"async": True}
    assert driver.request("GET", "/asgi/hello/a").json()["hello"] == "a"
    driver.request("GET", "/failures/crash/x").problem(500)


def test_a_handler_that_runs_too_long_is_504(driver: AwsDriver) -> None:
    if driver.runs is RieFunction:
        pytest.skip("the emulator counts the start of a function: too little of its time is left on a busy machine")
    driver.request("GET", "/slow/forever").problem(504)
    assert driver.request("GET", "/slow/quick").status == 200


def test_resources(driver: AwsDriver) -> None:
    key = uuid4().hex
    driver.request("PUT", f"/files/{key}", [], b"content")
    assert driver.request("GET", f"/files/{key}").body == b"content"
    item = {"id": key, "n": 1, "x": 1.5, "none": None}
    driver.request("PUT", "/users", JSON, dumps({"item": item}).encode())
    assert driver.request("GET", f"/users/{key}").json()["item"] == item
    assert driver.request("GET", "/secret").json()["value"] == Settings().secrets["PAYMENT_KEY"]


def test_messages_and_schedules(driver: AwsDriver) -> None:
    seen = Seen(driver, uuid4().hex)
    driver.request("POST", "/queues/jobs", JSON, dumps({"messages": [{"key": seen.key}]}).encode())
    driver.request("POST", "/topics/news", JSON, dumps({"message": {"key": seen.key}}).encode())
    driver.request("PUT", f"/inbox/in/{seen.key}/a.txt")
    for handler in ("job", "reader", "listener", "created"):
        assert seen.one(handler)
    assert driver.trigger("worker:new_year").error == ""
    assert "the schedule failed" in driver.trigger("worker:failing_schedule").error
