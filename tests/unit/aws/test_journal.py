"""Events of CloudWatch as records."""

from __future__ import annotations

import json
import time
from typing import Any

from pys_multi_providers.aws.journal import read, record_of

STREAM = "2026/11/24/[7]0123abcd"


def _event(message: str, at: float = 100.0, stream: str = STREAM) -> dict[str, Any]:
    return {"message": message, "timestamp": int(at * 1000), "logStreamName": stream, "eventId": f"{at}{message}"}


def test_a_record_of_the_runtime_keeps_its_time_id_and_fields() -> None:
    line = {"time": 99.5, "level": "ERROR", "message": "no", "request_id": "r1", "exception": "…", "sku": 3}
    record = record_of(_event(json.dumps(line)), "api")
    assert record is not None
    assert (record.time, record.level, record.message, record.request_id) == (99.5, "error", "no", "r1")
    assert record.fields == {"exception": "…", "sku": 3}
    assert (record.function, record.instance) == ("api", "0123abcd")


def test_what_is_printed_is_a_record_and_lines_of_lambda_are_told_apart() -> None:
    printed = record_of(_event("hello\n"), "api")
    assert printed is not None
    assert (printed.message, printed.level) == ("hello", "info")
    assert record_of(_event("START RequestId: r1 Version: 7\n"), "api") is None
    assert record_of(_event("END RequestId: r1\n"), "api") is None
    report = record_of(_event("REPORT RequestId: r1\tDuration: 2.1 ms\tBilled Duration: 3 ms\t\n"), "api")
    assert report is not None
    assert (report.level, report.request_id) == ("debug", "r1")


def test_a_line_that_only_looks_like_a_record_is_text() -> None:
    for text in ('{"a": ', '{"message": 3}', "{}"):
        record = record_of(_event(text), "api")
        assert record is not None
        assert record.message == text


def test_a_time_of_its_own_that_cannot_be_is_not_believed() -> None:
    record = record_of(_event(json.dumps({"time": 9e9, "message": "no"})), "api")
    assert record is not None
    assert record.time == 100.0


class Logs:
    """CloudWatch Logs with two groups."""

    def __init__(self, **groups: list[dict[str, Any]]) -> None:
        self.groups = groups

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Any:
        assert (service, operation) == ("logs", "filter_log_events")
        return (e for e in self.groups[arguments["logGroupName"]] if e["timestamp"] >= arguments["startTime"])


def test_groups_become_one_stream_in_order_of_time() -> None:
    early = json.dumps({"time": 101.0, "message": "early, and late to come"})
    cloud = Logs(a=[_event("first", 100), _event("third", 102), _event(early, 103)], b=[_event("second", 101.5)])
    found = [r.message for r in read(cloud, {"api": "a", "worker": "b"}, since=None, follow=False)]  # type: ignore[arg-type]
    assert found == ["first", "early, and late to come", "second", "third"]


def test_following_gives_every_record_once_and_waits_for_those_that_come_late() -> None:
    now = time.time()
    cloud = Logs(a=[_event("one", now - 3)])
    added = [_event("two", now - 2), _event("late", now - 2.5)]

    def wait(_: float) -> None:
        cloud.groups["a"].append(added.pop(0))

    stream = read(cloud, {"api": "a"}, since=0, follow=True, wait=wait)  # type: ignore[arg-type]
    assert [next(stream).message for _ in range(3)] == ["one", "two", "late"]
