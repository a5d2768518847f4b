"""Every function says what it is, and its log says what happened to which request."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conformance.driver import Driver, Settings, eventually

from pys_multi_tools.deployment import LogRecord

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(driver: Driver, wanted: Callable[[LogRecord], bool]) -> LogRecord:
    return eventually(driver, lambda: next((found for found in driver.logs() if wanted(found)), None))


# ---- context


def test_every_request_has_an_id_of_its_own(driver: Driver) -> None:
    ids = {driver.request("GET", "/context").json()["request_id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(ids)


def test_the_context_knows_service_function_stage_and_trigger(driver: Driver, settings: Settings) -> None:
    context = driver.request("GET", "/context").json()
    assert (context["service"], context["function"], context["stage"]) == ("probe", "api", settings.stage)
    assert context["trigger"] == "api:GET /context"


def test_the_context_knows_the_build(driver: Driver) -> None:
    assert driver.request("GET", "/context").json()["build_id"] == driver.build_id("api")


def test_the_trace_of_the_caller_goes_on(driver: Driver) -> None:
    context = driver.request("GET", "/context", [("traceparent", TRACE)]).json()
    assert context["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.needs("timeouts")
def test_the_context_has_a_deadline(driver: Driver) -> None:
    assert 0 < driver.request("GET", "/context").json()["remaining"] <= 10


@pytest.mark.needs("health")
@pytest.mark.parametrize("function", ["api", "data", "live", "web", "sender"])
def test_a_function_says_that_it_is_well_and_which_build_it_is(driver: Driver, function: str) -> None:
    health = driver.health(function)
    assert health["status"] == "ok"
    assert health["function"] == function
    assert health["build_id"] == driver.build_id(function)
    assert len(health["build_id"]) == 16


def test_the_environment_of_the_settings_is_there(driver: Driver, settings: Settings) -> None:
    assert driver.request("GET", "/environment/MOOD").json() == {"value": settings.environment["MOOD"]}


def test_the_environment_of_a_function_is_there(driver: Driver) -> None:
    assert driver.request("GET", "/environment/GREETING").json() == {"value": "hello from the function"}


@pytest.mark.needs("isolation")
def test_the_tools_do_not_ship_with_a_function(driver: Driver) -> None:
    assert driver.request("GET", "/process").json()["tools"] is False


# ---- logs


@pytest.mark.needs("logs")
def test_a_log_record_carries_level_function_request_and_extra_fields(driver: Driver, key: str) -> None:
    driver.request("GET", f"/failures/log/{key}")
    found = record(driver, lambda r: r.message == f"informing about {key}")
    assert (found.level.lower(), found.function) == ("info", "api")
    assert found.request_id
    assert found.time > 1_600_000_000
    assert found.fields["word"] == key
    assert found.fields["count"] == 3


@pytest.mark.needs("logs")
def test_the_records_of_one_request_share_its_id(driver: Driver, key: str) -> None:
    driver.request("GET", f"/failures/log/{key}")
    warning = record(driver, lambda r: r.message == f"warning about {key}")
    assert warning.level.lower() == "warning"
    info = record(driver, lambda r: r.message == f"informing about {key}")
    assert info.request_id == warning.request_id


@pytest.mark.needs("logs")
def test_the_traceback_of_a_500_is_in_the_log_under_the_id_of_the_answer(driver: Driver, key: str) -> None:
    id = driver.request("GET", f"/failures/crash/{key}").problem(500)["request_id"]
    found = record(driver, lambda r: r.request_id == id and r.level.lower() == "error")
    text = found.message + str(dict(found.fields))
    assert f"internal-{key}" in text
    assert "RuntimeError" in text
    assert "failures.py" in text


@pytest.mark.needs("logs")
def test_a_failed_event_is_in_the_log_with_its_traceback(driver: Driver) -> None:
    driver.trigger("worker:failing_schedule")
    found = record(
        driver, lambda r: r.level.lower() == "error" and "the schedule failed" in str(dict(r.fields)) + r.message
    )
    assert found.function == "worker"


@pytest.mark.needs("stdout")
def test_what_is_printed_is_in_the_log(driver: Driver, key: str) -> None:
    driver.request("GET", f"/failures/print/{key}")
    assert record(driver, lambda r: r.message == f"printed {key}").function == "api"


@pytest.mark.needs("logs")
def test_the_value_of_a_secret_is_in_no_record(driver: Driver, settings: Settings) -> None:
    driver.request("GET", "/secret")
    driver.request("GET", "/secret/log").json()
    record(driver, lambda r: r.message.startswith("the key is"))
    for found in driver.logs():
        assert settings.secrets["PAYMENT_KEY"] not in found.message + str(dict(found.fields))
