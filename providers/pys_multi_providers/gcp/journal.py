"""The logs of all functions as one stream, in order of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pys_multi.events import seconds
from pys_multi_providers.gcp.client import Cloud
from pys_multi_providers.gcp.engine import Engine
from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.journal import fields_of, followed

Json = dict[str, Any]

#: Seconds that Cloud Logging may take until an entry can be read; so far back every look goes again.
_DELAY = 30.0
#: Seconds between two looks: "Logging quotas" allow 60 reads a minute for a project.
_POLL = 2.0
#: Entries of one page: as many as there can be.
_PAGE = 1000


def read(
    engine: Engine,
    *,
    function: str | None,
    since: float | None,
    follow: bool,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[LogRecord]:
    """Of one function or of all. With ``follow`` it goes on for ever."""
    services = {
        engine.names.function(f.name): f.name for f in engine.deployment.service.functions if function in (None, f.name)
    }
    if not services:
        return
    start = since if since is not None else 0.0
    if not follow:
        for _, record in _records(engine.cloud, services, start):
            yield record
        return
    yield from followed(
        lambda since: _records(engine.cloud, services, since), start, delay=_DELAY, poll=_POLL, wait=wait
    )


def _records(cloud: Cloud, services: Mapping[str, str], since: float) -> Iterator[tuple[str, LogRecord]]:
    names = " OR ".join(f'resource.labels.service_name="{name}"' for name in services)
    wanted = f'resource.type="cloud_run_revision" AND ({names}) AND timestamp>="{_text(since)}"'
    body: Json = {
        "resourceNames": [f"projects/{cloud.project}"],
        "filter": wanted,
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    while True:
        page = cloud.call("logging.v2.entries", "list", body=body)
        for entry in page.get("entries") or ():
            record = record_of(entry, services)
            if record is not None:
                yield f"{entry.get('insertId')} {entry.get('timestamp')}", record
        if not page.get("nextPageToken"):
            return
        body = {**body, "pageToken": page["nextPageToken"]}


def record_of(entry: Mapping[str, Any], services: Mapping[str, str]) -> LogRecord | None:
    """An entry of Cloud Logging as a record; None for what says nothing.

    services: name of the service on Cloud Run → function.
    """
    labels = entry.get("resource", {}).get("labels", {})
    own = entry.get("labels") or {}
    payload = entry.get("jsonPayload") or {}
    request = entry.get("httpRequest")
    level = str(payload.get("level") or entry.get("severity") or "info").lower()
    fields = fields_of(payload)
    message = payload.get("message", entry.get("textPayload"))
    if message is None and request:
        # Cloud Run's own line of a request.
        message = (
            f"{request.get('requestMethod', '')} {request.get('requestUrl', '')} {request.get('status', '')}".strip()
        )
        level, fields = "debug", dict(request)
    if message is None:
        return None
    if "instanceId" in own:
        own = {key: value for key, value in own.items() if key != "instanceId"}
    return LogRecord(
        time=seconds(str(entry.get("timestamp") or entry.get("receiveTimestamp") or "")),
        level="info" if level == "default" else level,
        function=services.get(str(labels.get("service_name", "")), ""),
        message=str(message).rstrip("\n"),
        request_id=str(payload.get("request_id", "")),
        instance=str((entry.get("labels") or {}).get("instanceId", ""))[-8:],
        fields={**own, **fields},
    )


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
