"""Rows of Application Insights become log records."""

from __future__ import annotations

import json
from typing import Any

from pys_multi.events import seconds
from pys_multi_providers.azure import telemetry
from pys_multi_providers.azure.journal import record_of

APPS = {"shop-dev-api-1": "api"}


def _row(message: str, **more: Any) -> dict[str, Any]:
    row = {"TimeGenerated": "2026-11-24T10:00:00.1234567Z", "AppRoleName": "Shop-Dev-Api-1", "SeverityLevel": 1}
    return {**row, "AppRoleInstance": "i", "OperationId": "op", "Message": message, "OuterMessage": None, **more}


def test_a_record_of_the_service_keeps_its_fields() -> None:
    at = seconds("2026-11-24T10:00:00.1234567Z")
    line = {"time": at - 1, "level": "WARNING", "message": "low", "request_id": "r", "function": "x", "sku": "a"}
    record = record_of(_row(json.dumps(line)), APPS)
    assert record is not None
    assert (record.time, record.level, record.function, record.message) == (at - 1, "warning", "api", "low")
    assert (record.request_id, record.instance, dict(record.fields)) == ("r", "i", {"sku": "a"})


def test_what_is_printed_and_what_the_host_says_are_records_too() -> None:
    for text in ("plain", "{not json", '{"no": "message"}', "[1]"):
        record = record_of(_row(text, SeverityLevel=3), APPS)
        assert record is not None
        assert (record.message, record.level, record.request_id) == (text, "error", "op")
    exception = record_of(_row("", OuterMessage="it broke", SeverityLevel=None), APPS)
    assert exception is not None
    assert (exception.message, exception.level) == ("it broke", "info")
    assert record_of(_row("Executing 'Functions.z_http' (Reason=…)"), APPS) is None
    assert record_of(_row(""), APPS) is None


def test_texts_in_kusto_stay_texts() -> None:
    assert telemetry.among(["a'b", "c\\"]) == "('a\\'b', 'c\\\\')"
    assert seconds(telemetry.moment(1_700_000_000.5)) == 1_700_000_000.5
