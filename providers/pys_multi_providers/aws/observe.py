"""What is live and how it is: functions, queues, builds and their numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pys_multi.model import ObjectEvent, Queue, Subscribe
from pys_multi_providers.aws.client import AwsError
from pys_multi_providers.aws.engine import Engine
from pys_multi_providers.aws.rollout import LATEST, Live
from pys_multi_providers.aws.telemetry import Query, numbers
from pys_multi_tools.deployment import FunctionMetrics, FunctionStatus, Metrics, QueueStatus, Status
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Seconds that metrics go back without `--since`.
_DAY = 86_400.0
_WAITING = "ApproximateNumberOfMessages"
_IN_FLIGHT = "ApproximateNumberOfMessagesNotVisible"


def status(engine: Engine) -> Status:
    """The stage as it is now."""
    state = engine.stack.read()
    common: Json = {
        "provider": "aws",
        "service": engine.deployment.service.name,
        "stage": engine.deployment.stage,
    }
    if state is None or state.is_empty:
        return Status(state="absent", **common)
    live = engine.functions().all_live()
    functions = tuple(_function(name, found) for name, found in live.items())
    well = not state.never_served and bool(functions) and all(f.state == "serving" for f in functions)
    return Status(
        state="serving" if well else "degraded",
        url=(state.outputs.get("DomainUrl") or state.outputs.get("Url", "")).rstrip("/"),
        functions=functions,
        queues=queues(engine),
        builds=engine.artefacts.builds(),
        **common,
    )


def _function(name: str, live: Live | None) -> FunctionStatus:
    if live is None:
        return FunctionStatus(name=name, state="absent", reason="it is not there; deploy")
    state, reason = str(live.served.get("State", "Active")), str(live.served.get("StateReason", ""))
    if state == "Failed":
        return FunctionStatus(name=name, state="failing", build_id=live.build_id, reason=reason)
    if live.version == LATEST or state == "Pending":
        return FunctionStatus(name=name, state="starting", reason=reason or "no build was made live yet; deploy")
    if live.weights:
        shares = ", ".join(f"{share:.0%} of the calls go to version {v}" for v, share in live.weights.items())
        reason = f"a canary is on its way: {shares}"
    elif not live.is_current:
        reason = "the last deploy did not end: what serves is the build before it; deploy again"
    return FunctionStatus(name=name, state="serving", build_id=live.build_id, reason=reason)


def queues(engine: Engine) -> tuple[QueueStatus, ...]:
    """What waits, by queue and by subscription or bucket event."""
    named = list(queue_names(engine))
    asked = {queue: _age(queue) for _, queue, _ in named}
    ages = numbers(engine.cloud, asked.values(), time.time() - 300) if named else {}

    def one(entry: tuple[str, str, str]) -> QueueStatus | None:
        name, queue, dead = entry
        found, letters = _attributes(engine, queue), _attributes(engine, dead)
        if found is None:
            return None
        waiting = int(found[_WAITING])
        return QueueStatus(
            name=name,
            waiting=waiting,
            in_flight=int(found[_IN_FLIGHT]),
            dead=int(letters[_WAITING]) if letters else 0,
            oldest_age=ages.get(asked[queue]) if waiting else None,
        )

    return tuple(status for status in each(one, named) if status is not None)


def queue_names(engine: Engine) -> Iterator[tuple[str, str, str]]:
    """(as `status` names it, the queue, its dead letters' queue)."""
    names, service = engine.names, engine.deployment.service
    for resource in service.resources:
        if isinstance(resource, Queue):
            ordered = resource.ordered
            yield (
                resource.name,
                names.queue(resource.name, ordered=ordered),
                names.dead_queue(resource.name, ordered=ordered),
            )
    for function in service.functions:
        for trigger in function.triggers:
            if isinstance(trigger, Subscribe | ObjectEvent):
                yield trigger.id, names.trigger_queue(trigger.id), names.dead_trigger_queue(trigger.id)


def _attributes(engine: Engine, queue: str) -> Json | None:
    try:
        url = engine.cloud.call("sqs", "get_queue_url", QueueName=queue)["QueueUrl"]
        answer = engine.cloud.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=[_WAITING, _IN_FLIGHT])
    except AwsError as error:
        if error.code.endswith(("NonExistentQueue", "QueueDoesNotExist")):
            return None
        raise
    attributes: Json = answer["Attributes"]
    return attributes


def _age(queue: str) -> Query:
    return Query("AWS/SQS", "ApproximateAgeOfOldestMessage", (("QueueName", queue),), "Maximum")


_COUNTS = {"invocations": "Invocations", "errors": "Errors", "throttles": "Throttles"}
_TIMES = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99"}


def metrics(engine: Engine, since: float | None) -> Metrics:
    """Counts and times since a time, of the last day without one."""
    start = since if since is not None else time.time() - _DAY
    names = {f.name: engine.names.function(f.name) for f in engine.deployment.service.functions}
    wanted: dict[tuple[str, str], Query] = {}
    for name, physical in names.items():
        dimensions = (("FunctionName", physical),)
        for field, metric in _COUNTS.items():
            wanted[name, field] = Query("AWS/Lambda", metric, dimensions, "Sum")
        for field, percentile in _TIMES.items():
            wanted[name, field] = Query("AWS/Lambda", "Duration", dimensions, percentile)
        wanted[name, "concurrency"] = Query("AWS/Lambda", "ConcurrentExecutions", dimensions, "Maximum")
    found = numbers(engine.cloud, wanted.values(), start)

    def value(name: str, field: str) -> float | None:
        return found.get(wanted[name, field])

    functions = []
    for name in names:
        concurrency = value(name, "concurrency")
        functions.append(
            FunctionMetrics(
                name=name,
                invocations=int(value(name, "invocations") or 0),
                errors=int(value(name, "errors") or 0),
                throttles=int(value(name, "throttles") or 0),
                p50_ms=value(name, "p50_ms"),
                p95_ms=value(name, "p95_ms"),
                p99_ms=value(name, "p99_ms"),
                concurrency=int(concurrency) if concurrency is not None else None,
            )
        )
    return Metrics(since=start, functions=tuple(functions), queues=queues(engine))
