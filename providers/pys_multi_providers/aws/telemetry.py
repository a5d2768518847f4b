"""What CloudWatch knows: calls, errors and times of functions, and the age of what waits in queues."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_providers.aws.names import ALIAS
from pys_multi_tools.canary import Failures

Json = dict[str, Any]

#: Queries that one GetMetricData takes ("CloudWatch quotas").
_MAX_QUERIES = 500


@dataclass(frozen=True, slots=True)
class Query:
    """One number of CloudWatch. dimensions: (name, value); statistic: Sum, Maximum, p95, …"""

    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str


def numbers(cloud: Cloud, queries: Iterable[Query], since: float) -> dict[Query, float]:
    """What CloudWatch has of each since a time, as one number; those that it has nothing of are missing."""
    asked = list(dict.fromkeys(queries))
    # One period for the whole span, so that percentiles are those of the whole; CloudWatch counts in whole minutes.
    start = int(since) // 60 * 60
    end = (int(time.time()) // 60 + 1) * 60
    found: dict[Query, float] = {}
    for first in range(0, len(asked), _MAX_QUERIES):
        part = asked[first : first + _MAX_QUERIES]
        results = cloud.pages(
            "cloudwatch",
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=[_data_query(f"q{number}", query, end - start) for number, query in enumerate(part)],
            StartTime=start,
            EndTime=end,
        )
        for result in results:
            values = [float(value) for value in result.get("Values") or ()]
            query = part[int(result["Id"][1:])]
            if values:
                values += [found[query]] if query in found else []
                found[query] = sum(values) if query.statistic == "Sum" else max(values)
    return found


def _data_query(id: str, query: Query, period: int) -> Json:
    metric = {
        "Namespace": query.namespace,
        "MetricName": query.metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions],
    }
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": query.statistic}}


def failures(cloud: Cloud, function: str, version: str, since: float) -> Failures:
    """Calls of a version that is behind the alias, and those of them that failed.

    A handler that raised is answered with 500 by the runtime, which is no error to Lambda: it is in the log, in a
    stream whose name has the version in it.
    """
    dimensions = (
        ("FunctionName", function),
        ("Resource", f"{function}:{ALIAS}"),
        ("ExecutedVersion", version),
    )
    calls, errors = (Query("AWS/Lambda", metric, dimensions, "Sum") for metric in ("Invocations", "Errors"))
    found = numbers(cloud, (calls, errors), since)
    logged = _logged_errors(cloud, f"/aws/lambda/{function}", version, since)
    return Failures(int(found.get(calls, 0)), int(found.get(errors, 0)) + logged)


def _logged_errors(cloud: Cloud, group: str, version: str, since: float) -> int:
    """Requests and messages that left a record of level ERROR."""
    seen = set()
    try:
        for event in cloud.pages(
            "logs",
            "filter_log_events",
            "events",
            logGroupName=group,
            startTime=int(since * 1000),
            filterPattern='"ERROR"',
        ):
            if f"[{version}]" not in event.get("logStreamName", ""):
                continue
            try:
                record = json.loads(event["message"])
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("level") in ("ERROR", "CRITICAL"):
                seen.add(record.get("request_id") or event["message"])
    except AwsError as error:
        if error.code != "ResourceNotFoundException":
            raise
    return len(seen)
