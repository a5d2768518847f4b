"""Log records as Cloud Logging takes them."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any

import pytest

from pys_multi import Context
from pys_multi.messages import _current
from pys_multi_providers.gcp.logs import CloudFormatter, project_of

TRACE = "0af7651916cd43dd8448eb211c80319c"


def line(level: int = logging.INFO, text: str = "hello", **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("shop").makeRecord("shop", level, "f.py", 1, text, (), None, extra=extra)
    found: dict[str, Any] = json.loads(CloudFormatter("p").format(record))
    return found


def test_a_record_within_a_request() -> None:
    about = {"service": "shop", "function": "api", "stage": "dev", "build_id": "b1", "trigger": "api:GET /"}
    token = _current.set(Context("r1", trace_parent=f"00-{TRACE}-b7ad6b7169203331-01", **about))
    try:
        found = line(order=7)
    finally:
        _current.reset(token)
    assert found["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert found["logging.googleapis.com/labels"] == {"service": "shop", "stage": "dev", "build_id": "b1"}
    assert {name: found[name] for name in ("severity", "message", "logger", "request_id", "function", "trigger")} == {
        "severity": "INFO",
        "message": "hello",
        "logger": "shop",
        "request_id": "r1",
        "function": "api",
        "trigger": "api:GET /",
    }
    assert found["order"] == 7
    assert datetime.fromisoformat(found["time"]).timestamp() > 1_600_000_000


@pytest.mark.parametrize(
    ("level", "severity", "kept"),
    [(10, "DEBUG", None), (20, "INFO", None), (25, "INFO", "Level 25"), (30, "WARNING", None), (40, "ERROR", None)],
)
def test_levels_are_severities(level: int, severity: str, kept: str | None) -> None:
    found = line(level)
    assert (found["severity"], found.get("level")) == (severity, kept)


def test_what_a_caller_names_like_a_field_of_the_platform_stays_its_own() -> None:
    found = line(**{"time": "mine", "trace_id": "mine", "severity": "mine", "logging.googleapis.com/trace": "mine"})
    assert {name for name, value in found.items() if value == "mine"} == {
        "extra.time",
        "extra.trace_id",
        "extra.severity",
        "extra.logging.googleapis.com/trace",
    }


def test_an_exception_has_its_traceback() -> None:
    try:
        raise RuntimeError("internal")
    except RuntimeError:
        record = logging.LogRecord("shop", 40, "f.py", 1, "failed", (), sys.exc_info())
    assert "RuntimeError: internal" in json.loads(CloudFormatter("p").format(record))["exception"]


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.resources.revealed_secrets", {"canary-5f1d"})
    assert "canary" not in json.dumps(line(text="the key canary-5f1d", key="canary-5f1d"))


def test_the_project_is_that_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    assert project_of("events@shop-1.iam.gserviceaccount.com") == "shop-1"
    assert project_of("events@shop.example.com.iam.gserviceaccount.com") == "example.com:shop"
    assert project_of("") == ""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "named")
    assert project_of("events@shop-1.iam.gserviceaccount.com") == "named"
