"""Lines of logs become records; clouds that give them late, or twice, make no difference."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.journal import followed, in_order, record_of


def parsed(text: str) -> LogRecord:
    return record_of(text, at=100.0, level="info", function="api", instance="i")


def test_a_line_of_the_runtime_keeps_its_time_id_and_fields() -> None:
    line = {"time": 99.5, "level": "ERROR", "message": "no", "request_id": "r1", "exception": "…", "sku": 3}
    record = parsed(json.dumps(line))
    assert (record.time, record.level, record.message, record.request_id) == (99.5, "error", "no", "r1")
    assert record.fields == {"exception": "…", "sku": 3}
    assert (record.function, record.instance) == ("api", "i")


@pytest.mark.parametrize("text", ["hello", "{no JSON", '{"message": 5}', '[{"message": "x"}]', "{}"])
def test_any_other_line_is_a_message(text: str) -> None:
    record = parsed(text)
    assert (record.time, record.level, record.message, record.fields) == (100.0, "info", text, {})


@pytest.mark.parametrize("time", ["yesterday", None, -9999, 1e12])
def test_somebody_elses_idea_of_a_time_does_not_count(time: object) -> None:
    assert parsed(json.dumps({"message": "x", "time": time})).time == 100.0


def at(time: float) -> LogRecord:
    return LogRecord(time=time, level="info", function="api", message=f"{time:g}")


def test_what_came_a_little_late_is_put_in_order() -> None:
    assert [r.time for r in in_order(map(at, [1, 3, 2, 40, 39, 41]), 10)] == [1, 2, 3, 39, 40, 41]
    assert list(in_order([], 10)) == []


def test_following_tells_each_record_once() -> None:
    looks = [[("b", at(2)), ("a", at(1))], [("b", at(2)), ("c", at(3))], [("c", at(3)), ("d", at(4))]]
    waited: list[float] = []
    found = followed(lambda _: looks.pop(0), 0.0, delay=10, poll=0.5, wait=waited.append)
    assert [record.time for record in islice(found, 4)] == [1, 2, 3, 4]
    assert waited == [0.5, 0.5]
