"""A log record as `logs` and `dev` print it."""

from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from pys_multi_tools.cli.records import text_of
from pys_multi_tools.deployment import LogRecord

TRACE = "Traceback (most recent call last):\n  File x\nValueError: no"


def test_one_line_with_what_is_its_own_and_the_traceback_below() -> None:
    fields = {"trigger": "api:GET /", "logger": "shop", "order": 7, "exception": TRACE}
    record = LogRecord(time=0.5, level="error", function="api", message="failed", request_id="r1", fields=fields)
    first, *below = text_of(record, io.StringIO()).split("\n")
    assert first.endswith(".500  ERROR   api  failed  trigger=api:GET /  order=7  r1")
    assert below == [f"    {line}" for line in TRACE.split("\n")]


@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=2))
def test_what_a_caller_sent_starts_no_line_and_moves_no_terminal(message: str, fields: dict[str, str]) -> None:
    record = LogRecord(time=0, level="info", function="api", message=message, fields=fields)
    first, *below = text_of(record, io.StringIO()).split("\n")
    assert re.match(r"\d\d:\d\d:\d\d\.000  INFO    api  ", first)
    assert all(line.startswith("    ") for line in below)
    assert all(line.isprintable() for line in (first, *below))
