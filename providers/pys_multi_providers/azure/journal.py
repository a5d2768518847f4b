"""The logs of all functions as one stream, in order of time, as Application Insights has them a minute or two later."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pys_multi.events import seconds
from pys_multi_providers.azure.engine import Engine
from pys_multi_providers.azure.index import id_of
from pys_multi_providers.azure.kinds import KINDS
from pys_multi_providers.azure.telemetry import Telemetry, among
from pys_multi_tools import journal
from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.journal import followed, in_order

Json = dict[str, Any]

#: Seconds that a record may take to be found ("Log data ingestion time": up to three minutes and more); so far back
#: every look goes again. And seconds between two looks.
_DELAY = 300.0
_POLL = 3.0
#: Seconds that a record may wait for one that was made before it.
_HELD = 20.0
#: Seconds that records go back without `--since`: as long as they are kept at most.
_ALL = 730 * 86_400.0
#: Rows of one answer.
_ROWS = 5000
#: SeverityLevel of Application Insights.
_LEVELS = ("debug", "info", "warning", "error", "critical")
#: The host's own lines about every invocation, which say nothing that a record or a request does not.
_NOISE = ("Executing 'Functions.", "Executed 'Functions.", "Trigger Details: ")


def telemetry(engine: Engine) -> Telemetry:
    """The workspace of a stage."""
    return Telemetry(engine.cloud, id_of(engine.cloud.group, KINDS["workspace"], engine.names.workspace))


def read(
    engine: Engine,
    *,
    function: str | None,
    since: float | None,
    follow: bool,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[LogRecord]:
    """With ``follow`` it goes on for ever."""
    apps = {engine.names.site(f.name).lower(): f.name for f in engine.service.functions if function in (None, f.name)}
    source = telemetry(engine)
    start = since if since is not None else time.time() - _ALL
    if not follow:
        found = (record_of(row, apps) for row in _rows(source, apps, start, time.time() + 60))
        yield from in_order((record for record in found if record is not None), _HELD)
        return

    def look(since: float) -> Iterator[tuple[str, LogRecord]]:
        for row in _rows(source, apps, since, time.time() + 60):
            record = record_of(row, apps)
            if record is not None:
                yield _key(row), record

    yield from followed(look, start, delay=_DELAY, poll=_POLL, wait=wait)


def _rows(source: Telemetry, apps: Mapping[str, str], start: float, end: float) -> Iterator[Json]:
    """In order of time, page by page."""
    query = (
        "union AppTraces, AppExceptions\n"
        f"| where AppRoleName in~ {among(apps)}\n"
        "| project TimeGenerated, AppRoleName, AppRoleInstance, OperationId, SeverityLevel, "
        "Message, OuterMessage\n"
        "| order by TimeGenerated asc\n"
        f"| take {_ROWS}"
    )
    last: set[str] = set()
    while True:
        rows = source.ask(query, start, end)
        fresh = [row for row in rows if _key(row) not in last]
        yield from fresh
        if len(rows) < _ROWS or not fresh:
            return
        # A page ends in the midst of an instant, whose records are asked for again.
        start = seconds(rows[-1]["TimeGenerated"])
        last = {_key(row) for row in rows if row["TimeGenerated"] == rows[-1]["TimeGenerated"]}


def _key(row: Json) -> str:
    """What tells rows apart that two looks both found: there is no id of a record."""
    return json.dumps(row, sort_keys=True, default=str)


def record_of(row: Mapping[str, Any], apps: Mapping[str, str]) -> LogRecord | None:
    """A row as a record; None for lines of the host that say nothing. apps: names in lower case → functions."""
    text = str(row.get("Message") or row.get("OuterMessage") or "").rstrip("\n")
    function = apps.get(str(row.get("AppRoleName", "")).lower(), "")
    at = seconds(str(row["TimeGenerated"]))
    level = row.get("SeverityLevel")
    named = _LEVELS[level] if isinstance(level, int) and 0 <= level < len(_LEVELS) else "info"
    instance, request = str(row.get("AppRoleInstance") or ""), str(row.get("OperationId") or "")
    if not text or text.startswith(_NOISE):
        return None
    record = journal.record_of(text, at=at, level=named, function=function, instance=instance)
    return record if record.request_id else replace(record, request_id=request)
