"""What Cloud Monitoring knows: calls, errors and times of functions, and what waits in subscriptions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pys_multi_providers.gcp.client import Cloud
from pys_multi_tools.canary import Failures

Json = dict[str, Any]

_SERIES = "monitoring.v3.projects.timeSeries"
REQUESTS = "run.googleapis.com/request_count"
LATENCIES = "run.googleapis.com/request_latencies"
CONCURRENCY = "run.googleapis.com/container/max_request_concurrencies"
WAITING = "pubsub.googleapis.com/subscription/num_undelivered_messages"
OLDEST = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"


def series(
    cloud: Cloud,
    metric: str,
    label: str,
    among: Iterable[str],
    since: float,
    *,
    aligner: str,
    reducer: str = "REDUCE_SUM",
    by: tuple[str, ...] = (),
) -> list[tuple[Json, float]]:
    """Labels and one number of each series of a metric since a time, of the resources whose label is among names."""
    names = sorted(among)
    if not names:
        return []
    listed = ", ".join(f'"{name}"' for name in names)
    end = max(time.time(), since + 1)
    groups = [f"resource.labels.{label}", *by]
    found = cloud.pages(
        _SERIES,
        "timeSeries",
        name=f"projects/{cloud.project}",
        filter=f'metric.type = "{metric}" AND resource.labels.{label} = one_of({listed})',
        interval_startTime=_text(since),
        interval_endTime=_text(end),
        # One period for the whole span, so that percentiles are those of the whole.
        aggregation_alignmentPeriod=f"{max(int(end - since), 60)}s",
        aggregation_perSeriesAligner=aligner,
        aggregation_crossSeriesReducer=reducer,
        aggregation_groupByFields=groups,
    )
    numbers = []
    for entry in found:
        labels = {**entry.get("resource", {}).get("labels", {}), **entry.get("metric", {}).get("labels", {})}
        values = [_number(point.get("value", {})) for point in entry.get("points") or ()]
        if values:
            numbers.append((labels, sum(values) if reducer == "REDUCE_SUM" else max(values)))
    return numbers


def newest(cloud: Cloud, metric: str, label: str, among: Iterable[str], since: float) -> list[tuple[Json, float]]:
    """Labels and the newest number of each series, of the resources whose label is among names."""
    names = sorted(among)
    if not names:
        return []
    listed = ", ".join(f'"{name}"' for name in names)
    found = cloud.pages(
        _SERIES,
        "timeSeries",
        name=f"projects/{cloud.project}",
        filter=f'metric.type = "{metric}" AND resource.labels.{label} = one_of({listed})',
        interval_startTime=_text(since),
        interval_endTime=_text(max(time.time(), since + 1)),
    )
    # The points of a series come newest first.
    return [
        (entry.get("resource", {}).get("labels", {}), _number(entry["points"][0].get("value", {})))
        for entry in found
        if entry.get("points")
    ]


def _number(value: Json) -> float:
    found: Any = value.get("doubleValue", value.get("int64Value", 0))
    return float(found)


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def failures(cloud: Cloud, service: str, since: float) -> dict[str, Failures]:
    """Calls of a service since a time, and those that failed, by revision.

    A handler that raised is answered with 500, and so is a message that failed: both are of the class 5xx.
    """
    by = ("resource.labels.revision_name", "metric.labels.response_code_class")
    found: dict[str, Failures] = {}
    for labels, number in series(cloud, REQUESTS, "service_name", [service], since, aligner="ALIGN_DELTA", by=by):
        revision = str(labels.get("revision_name", ""))
        before = found.get(revision, Failures())
        failed = int(number) if labels.get("response_code_class") == "5xx" else 0
        found[revision] = Failures(before.calls + int(number), before.failed + failed)
    return found
