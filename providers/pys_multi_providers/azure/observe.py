"""What is live and how it is: functions, queues, builds and their numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pys_multi.model import ObjectEvent, Queue, Subscribe
from pys_multi_providers.azure.apps import Live
from pys_multi_providers.azure.engine import Engine
from pys_multi_providers.azure.index import id_of
from pys_multi_providers.azure.journal import telemetry
from pys_multi_providers.azure.kinds import KINDS, VERSIONS
from pys_multi_providers.azure.telemetry import among
from pys_multi_tools.deployment import FunctionMetrics, FunctionStatus, Metrics, QueueStatus, Status
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Seconds that metrics go back without `--since`.
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Named:
    """A queue or subscription. name: as `status` has it; path: in the namespace; ordered: whether it has sessions."""

    name: str
    kind: str
    path: tuple[str, ...]
    ordered: bool = False


def status(engine: Engine) -> Status:
    """The stage as it is now."""
    common: Json = {"provider": "azure", "service": engine.service.name, "stage": engine.deployment.stage}
    state = engine.stack.read()
    if state is None:
        return Status(state="absent", **common)
    live = engine.apps.all_live()
    functions = tuple(_function(name, found) for name, found in live.items())
    well = state.status == "Succeeded" and bool(functions) and all(f.state == "serving" for f in functions)
    return Status(
        state="serving" if well else "degraded",
        url=engine.url(engine.urls(state)),
        functions=functions,
        queues=queues(engine),
        builds=engine.artefacts.builds(),
        **common,
    )


def _function(name: str, live: Live) -> FunctionStatus:
    if live.app is None:
        return FunctionStatus(name=name, state="absent", reason=live.reason)
    if not live.build_id:
        return FunctionStatus(name=name, state="failing", reason=live.reason)
    return FunctionStatus(name=name, state="serving", build_id=live.build_id)


def queues(engine: Engine) -> tuple[QueueStatus, ...]:
    """What waits, by queue and by subscription or bucket event."""

    def one(named: Named) -> QueueStatus | None:
        path = "/".join((engine.names.namespace, *named.path))
        found = engine.cloud.found(id_of(engine.cloud.group, KINDS[named.kind], path), VERSIONS[named.kind])
        if found is None:
            return None
        counts = (found.get("properties") or {}).get("countDetails") or {}
        # Service Bus counts a message that is being handled among the active ones.
        waiting = int(counts.get("activeMessageCount") or 0) + int(counts.get("scheduledMessageCount") or 0)
        return QueueStatus(name=named.name, waiting=waiting, dead=int(counts.get("deadLetterMessageCount") or 0))

    return tuple(status for status in each(one, queue_names(engine)) if status is not None)


def queue_names(engine: Engine) -> Iterator[Named]:
    """Everything that messages wait in."""
    names = engine.names
    for resource in engine.service.resources:
        if isinstance(resource, Queue):
            yield Named(resource.name, "queue", (names.queue(resource.name),), resource.ordered)
    for function in engine.service.functions:
        for trigger in function.triggers:
            if isinstance(trigger, Subscribe):
                path = (names.topic(trigger.topic), names.subscription(trigger.id))
                yield Named(trigger.id, "subscription", path)
            elif isinstance(trigger, ObjectEvent):
                yield Named(trigger.id, "queue", (names.inbox(trigger.id),))


def metrics(engine: Engine, since: float | None) -> Metrics:
    """Counts and times since a time, of the last day without one."""
    now = time.time()
    start = since if since is not None else now - _DAY
    apps = {function.name: engine.names.site(function.name).lower() for function in engine.service.functions}
    # What is sampled stands for several: ItemCount says for how many.
    query = (
        "AppRequests\n"
        f"| where AppRoleName in~ {among(apps.values())}\n"
        "| summarize invocations = sum(ItemCount), errors = sumif(ItemCount, Success == false), "
        "p50 = percentile(DurationMs, 50), p95 = percentile(DurationMs, 95), p99 = percentile(DurationMs, 99) "
        "by AppRoleName"
    )
    rows = {str(row["AppRoleName"]).lower(): row for row in telemetry(engine).ask(query, start, now + 60)}
    functions = tuple(_metrics(name, rows.get(app, {})) for name, app in apps.items())
    return Metrics(since=start, functions=functions, queues=queues(engine))


def _metrics(name: str, row: Json) -> FunctionMetrics:
    def number(column: str) -> float | None:
        value = row.get(column)
        return float(value) if value is not None else None

    return FunctionMetrics(
        name=name,
        invocations=int(number("invocations") or 0),
        errors=int(number("errors") or 0),
        p50_ms=number("p50"),
        p95_ms=number("p95"),
        p99_ms=number("p99"),
    )
