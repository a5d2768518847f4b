"""What is live and how it is: functions, queues, builds and their numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from pys_multi.model import ObjectEvent, Queue, Subscribe
from pys_multi_providers.gcp import telemetry
from pys_multi_providers.gcp.artefacts import Release
from pys_multi_providers.gcp.client import FUNCTIONS, SERVICES
from pys_multi_providers.gcp.engine import Engine
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.rollout import build_of, revision_of, traffic_of
from pys_multi_providers.gcp.steps import unfinished
from pys_multi_tools.deployment import FunctionMetrics, FunctionStatus, Metrics, QueueStatus, Status
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Seconds that metrics go back without `--since`, and that the newest count of messages may be old.
_DAY, _FRESH = 86_400.0, 600.0


def status(engine: Engine) -> Status:
    """The stage as it is now."""
    common: Json = {
        "provider": "gcp",
        "service": engine.deployment.service.name,
        "stage": engine.deployment.stage,
    }
    functions, services = listed(engine)
    if not any(engine.is_owned(FUNCTIONS, function) for function in functions.values()):
        return Status(state="absent", **common)
    last = engine.artefacts.last()
    found = tuple(
        _function(engine, f.name, functions.get(engine.names.function(f.name)), services, last)
        for f in engine.deployment.service.functions
    )
    well = bool(found) and all(function.state == "serving" for function in found)
    return Status(
        state="serving" if well else "degraded",
        url=engine.main_url(urls(engine, functions)),
        functions=found,
        queues=queues(engine, patient=True),
        builds=engine.artefacts.builds(),
        **common,
    )


def listed(engine: Engine) -> tuple[dict[str, Json], dict[str, Json]]:
    """The functions, and the services of Cloud Run, of the region, by their last names."""
    parent = engine.cloud.location

    def listed(kind: tuple[str, str]) -> dict[str, Json]:
        found = engine.cloud.pages(*kind, parent=parent)
        return {str(thing["name"]).rpartition("/")[2]: thing for thing in found}

    functions, services = each(listed, [(FUNCTIONS, "functions"), (SERVICES, "services")])
    return functions, services


def urls(engine: Engine, functions: Mapping[str, Json]) -> dict[str, str]:
    """The addresses of the functions with routes, by their names in the service."""
    found = {}
    for function in engine.deployment.service.functions:
        live = functions.get(engine.names.function(function.name), {})
        uri = str(live.get("serviceConfig", {}).get("uri", "")).rstrip("/")
        if uri and engine.routes(function.name):
            found[function.name] = uri
    return found


def _function(
    engine: Engine, name: str, live: Json | None, services: Mapping[str, Json], last: Release | None
) -> FunctionStatus:
    if live is None:
        return FunctionStatus(name=name, state="absent", reason="it is not there; deploy")
    if not engine.is_owned(FUNCTIONS, live):
        return FunctionStatus(name=name, state="absent", reason="somebody else's function has its name")
    revision, reason = revision_of(live), unfinished(live)
    service = services.get(str(live.get("serviceConfig", {}).get("service", "")).rpartition("/")[2])
    if service is None or not service.get("latestReadyRevision"):
        state = "starting" if live.get("state") == "DEPLOYING" else "failing"
        return FunctionStatus(name=name, state=state, reason=reason or "no build was made live yet; deploy")
    traffic = traffic_of(service)
    build = build_of(live) if traffic.main == revision and not reason else ""
    if not build and last is not None and last.revisions.get(name) == traffic.main:
        build = last.builds.get(name, "")
    if len(traffic.shares) > 1:
        shares = ", ".join(f"{share}% of the calls go to revision {name}" for name, share in traffic.shares.items())
        reason = reason or f"a canary is on its way: {shares}"
    elif traffic.main != revision:
        reason = reason or "the last deploy did not end: what serves is the build before it; deploy again"
    return FunctionStatus(name=name, state="serving", build_id=build, reason=reason)


# ---- queues


def queue_names(engine: Engine) -> Iterator[tuple[str, str, str]]:
    """(as `status` names it, its subscription, the subscription of its dead letters, which is there once it was
    consumed)."""
    names, service = engine.names, engine.deployment.service
    for resource in service.resources:
        if isinstance(resource, Queue):
            yield resource.name, names.topic(resource.name), names.dead(resource.name)
    for function in service.functions:
        for trigger in function.triggers:
            if isinstance(trigger, Subscribe | ObjectEvent):
                yield trigger.id, names.trigger(trigger.id), names.dead_trigger(trigger.id)


def queues(engine: Engine, *, patient: bool = False) -> tuple[QueueStatus, ...]:
    """What waits, by queue and by subscription or bucket event, as Monitoring counted it a minute or two ago.

    patient: none where Monitoring cannot be asked.
    """
    named = list(queue_names(engine))
    subscriptions = [name for _, *names in named for name in names]
    try:
        waiting = _newest(engine, telemetry.WAITING, subscriptions)
        ages = _newest(engine, telemetry.OLDEST, subscriptions)
    except GcpError as error:
        if patient and error.code in ("SERVICE_DISABLED", "PERMISSION_DENIED"):
            return ()
        raise
    return tuple(
        QueueStatus(
            name=name,
            waiting=int(waiting.get(subscription, 0)),
            dead=int(waiting.get(dead, 0)),
            oldest_age=ages.get(subscription) if waiting.get(subscription) else None,
        )
        for name, subscription, dead in named
    )


def _newest(engine: Engine, metric: str, subscriptions: list[str]) -> dict[str, float]:
    since = time.time() - _FRESH
    found = telemetry.newest(engine.cloud, metric, "subscription_id", subscriptions, since)
    return {str(labels["subscription_id"]): number for labels, number in found}


# ---- numbers

_TIMES = {"p50_ms": "REDUCE_PERCENTILE_50", "p95_ms": "REDUCE_PERCENTILE_95", "p99_ms": "REDUCE_PERCENTILE_99"}


def metrics(engine: Engine, since: float | None) -> Metrics:
    """Counts and times since a time, of the last day without one."""
    start = since if since is not None else time.time() - _DAY
    services = {engine.names.function(f.name): f.name for f in engine.deployment.service.functions}
    counts = _counts(engine, services, start)
    times = dict(
        zip(_TIMES, each(lambda reducer: _times(engine, services, start, reducer), _TIMES.values()), strict=True)
    )
    functions = tuple(
        FunctionMetrics(
            name=name,
            invocations=counts.get((service, ""), 0),
            errors=counts.get((service, "5xx"), 0),
            throttles=counts.get((service, "429"), 0),
            p50_ms=times["p50_ms"].get(service),
            p95_ms=times["p95_ms"].get(service),
            p99_ms=times["p99_ms"].get(service),
        )
        for service, name in services.items()
    )
    return Metrics(since=start, functions=functions, queues=queues(engine))


def _counts(engine: Engine, services: Mapping[str, str], since: float) -> dict[tuple[str, str], int]:
    """Calls by service and class of status, all under the class ""; those that Cloud Run itself refused under 429."""
    by = ("metric.labels.response_code_class", "metric.labels.response_code")
    found: dict[tuple[str, str], int] = {}
    rows = telemetry.series(
        engine.cloud, telemetry.REQUESTS, "service_name", services, since, aligner="ALIGN_DELTA", by=by
    )
    for labels, number in rows:
        for kind in {"", str(labels.get("response_code_class", "")), str(labels.get("response_code", ""))}:
            key = (str(labels["service_name"]), kind)
            found[key] = found.get(key, 0) + int(number)
    return found


def _times(engine: Engine, services: Mapping[str, str], since: float, reducer: str) -> dict[str, float]:
    rows = telemetry.series(
        engine.cloud,
        telemetry.LATENCIES,
        "service_name",
        services,
        since,
        aligner="ALIGN_DELTA",
        reducer=reducer,
    )
    return {str(labels["service_name"]): number for labels, number in rows}
