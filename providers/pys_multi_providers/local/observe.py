"""What a stage is doing, as the values of the contract: from what its supervisor says, and from its files."""

from __future__ import annotations

from typing import Any

from pys_multi.errors import ResourceError
from pys_multi.model import ObjectEvent, Schedule, Service, Subscribe
from pys_multi_providers.local.definitions import queue_of
from pys_multi_providers.local.meter import Counts
from pys_multi_providers.local.state import State
from pys_multi_tools.deployment import FunctionMetrics, FunctionStatus, InstanceStatus, QueueStatus


def queues(state: State, service: Service) -> tuple[QueueStatus, ...]:
    """Every queue and what triggers hold, read from the store itself."""
    if not (state.data / "state.db").exists():
        return ()
    from pys_multi_providers.local.store import Store

    names = {resource.name: resource.name for resource in service.resources if resource.kind == "queue"}
    for function in service.functions:
        for trigger in function.triggers:
            if isinstance(trigger, Subscribe | ObjectEvent | Schedule) and (queue := queue_of(trigger)):
                names[queue] = queue
    store = Store(state.data)
    found = []
    try:
        for name in names:
            try:
                stats = store.stats(name)
            except ResourceError:
                continue  # defined since the last deploy
            found.append(
                QueueStatus(
                    name=name,
                    waiting=stats.waiting,
                    in_flight=stats.in_flight,
                    dead=stats.dead,
                    oldest_age=stats.oldest_age,
                )
            )
    finally:
        store.close()
    return tuple(found)


def function_status(entry: dict[str, Any]) -> FunctionStatus:
    instances = tuple(InstanceStatus(**instance) for instance in entry.pop("instances"))
    return FunctionStatus(instances=instances, **entry)


def function_metrics(name: str, counts: Counts, concurrency: int) -> FunctionMetrics:
    return FunctionMetrics(
        name=name,
        invocations=counts.invocations,
        errors=counts.errors,
        throttles=counts.throttles,
        p50_ms=counts.percentile(0.5),
        p95_ms=counts.percentile(0.95),
        p99_ms=counts.percentile(0.99),
        concurrency=concurrency,
    )
