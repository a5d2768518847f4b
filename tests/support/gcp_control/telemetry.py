"""Cloud Logging's entries, buckets and sinks, and Cloud Monitoring's time series of what ran here."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.support.gcp_control.compute import _compute
from tests.support.gcp_control.handlers import Handler, answers, patched
from tests.support.gcp_control.schema import Refusal, Request, invalid
from tests.support.gcp_control.state import PROJECT, REGION, State, now

Json = dict[str, Any]


def _collect(state: State) -> None:
    """What the revisions printed since the last look, as entries."""
    compute = _compute(state)
    read: dict[str, int] = state.__dict__.setdefault("read", {})
    for revision, running in list(compute.revisions.items()):
        lines = running.log.splitlines(keepends=True)
        for line in lines[read.get(revision, 0) :]:
            if not line.endswith("\n"):
                break
            read[revision] = read.get(revision, 0) + 1
            state.logs.append(_entry(revision, line.rstrip("\n"), len(state.logs)))


def _entry(revision: str, line: str, number: int) -> Json:
    service = re.sub(r"-\d{5}-[a-z0-9]+$", "", revision)
    labels = {"service_name": service, "revision_name": revision, "location": REGION, "project_id": PROJECT}
    entry: Json = {
        "logName": f"projects/{PROJECT}/logs/run.googleapis.com%2Fstdout",
        "resource": {"type": "cloud_run_revision", "labels": {**labels, "configuration_name": service}},
        "insertId": f"{number:08d}",
        "timestamp": _text(time.time()),
        "severity": "DEFAULT",
        "labels": {"instanceId": f"instance-of-{revision}"},
    }
    try:
        payload = json.loads(line)
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        return {**entry, "textPayload": line}
    # What Cloud Logging takes out of a structured line ("Structured logging").
    if "severity" in payload:
        entry["severity"] = str(payload.pop("severity")).upper()
    if isinstance(payload.get("time"), str):
        entry["timestamp"] = payload.pop("time")
    entry["labels"] |= payload.pop("logging.googleapis.com/labels", {})
    for special in ("trace", "spanId"):
        if (value := payload.pop(f"logging.googleapis.com/{special}", None)) is not None:
            entry[special] = value
    return {**entry, "jsonPayload": payload}


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


_TERM = re.compile(r'\s*([A-Za-z_.]+)\s*(>=|<=|=|>|<)\s*("(?:[^"\\]|\\.)*"|[A-Z]+)\s*')
_LEVELS = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")


def _value(entry: Json, path: str) -> str:
    found: Any = entry
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return str(found or "")


def _matches(entry: Json, text: str) -> bool:
    """Of Logging's query language: terms joined by AND, and alternatives in brackets."""
    for clause in re.split(r"\s+AND\s+", text.strip()):
        clause = clause.strip()
        options = re.split(r"\s+OR\s+", clause[1:-1]) if clause.startswith("(") else [clause]
        if not any(_term(entry, option) for option in options):
            return False
    return True


def _term(entry: Json, text: str) -> bool:
    found = _TERM.fullmatch(text)
    if found is None:
        raise invalid(f"Unparseable filter: {text}")
    path, sign, wanted = found.group(1), found.group(2), found.group(3)
    wanted = json.loads(wanted) if wanted.startswith('"') else wanted
    value = _value(entry, path)
    if path == "severity":
        left, right = _LEVELS.index(value or "DEFAULT"), _LEVELS.index(wanted)
        return {"=": left == right, ">=": left >= right, "<=": left <= right, ">": left > right, "<": left < right}[
            sign
        ]
    return {
        "=": value == wanted,
        ">=": value >= wanted,
        "<=": value <= wanted,
        ">": value > wanted,
        "<": value < wanted,
    }[sign]


@answers("logging.entries.list")
def entries(state: State, request: Request) -> Json:
    if not request.body.get("resourceNames"):
        raise invalid("resourceNames is required")
    _collect(state)
    wanted = request.body.get("filter", "")
    found = sorted(
        (e for e in state.logs if not wanted or _matches(e, wanted)), key=lambda e: (e["timestamp"], e["insertId"])
    )
    if request.body.get("orderBy") == "timestamp desc":
        found.reverse()
    parameters = {"pageToken": request.body.get("pageToken", ""), "pageSize": str(request.body.get("pageSize", 50))}
    return state.shown(found, parameters, "entries")


@answers("monitoring.projects.timeSeries.list")
def series(state: State, request: Request) -> Json:
    wanted = request.parameters["filter"]
    kind = re.search(r'metric\.type\s*=\s*"([^"]+)"', wanted)
    if kind is None:
        raise invalid("filter must name one metric.type")
    for name in ("interval.startTime", "interval.endTime"):
        datetime.fromisoformat(request.parameters[name])
    names = re.search(r"resource\.labels?\.(?:service_name|subscription_id)\s*=\s*one_of\(([^)]*)\)", wanted)
    among = set(re.findall(r'"([^"]+)"', names.group(1))) if names else None
    metric = kind.group(1)
    found: list[Json] = []
    compute = _compute(state)
    if metric == "run.googleapis.com/request_count":
        for (service, revision, status), count in compute.calls.items():
            if among is None or service in among:
                labels = {"response_code_class": status}
                found.append(
                    _series(
                        metric, labels, {"service_name": service, "revision_name": revision}, {"int64Value": str(count)}
                    )
                )
    elif metric == "run.googleapis.com/request_latencies":
        share = re.search(r"\d+", request.parameters.get("aggregation.crossSeriesReducer", "50"))
        for service, times in compute.times.items():
            if among is None or service in among:
                index = int(share.group()) if share else 50
                value = statistics.quantiles(times, n=100)[index - 1] if len(times) > 1 else times[0]
                found.append(_series(metric, {}, {"service_name": service}, {"doubleValue": value}))
    elif metric == "pubsub.googleapis.com/subscription/num_undelivered_messages":
        for name, messages in state.messages.items():
            id = name.rpartition("/")[2]
            if among is None or id in among:
                found.append(_series(metric, {}, {"subscription_id": id}, {"int64Value": str(len(messages))}))
    return state.shown(found, request.parameters, "timeSeries")


def _series(metric: str, labels: Json, resource: Json, value: Json) -> Json:
    at = _text(time.time())
    return {
        "metric": {"type": metric, "labels": labels},
        "resource": {"type": "x", "labels": resource},
        "points": [{"interval": {"startTime": at, "endTime": at}, "value": value}],
    }


# ---- where logs are kept


def _answers(id: str) -> Callable[[Handler], Handler]:
    """The same method is there for projects, and for whatever has logs."""
    return answers(f"logging.projects.{id}", f"logging.{id}")


@_answers("locations.buckets.create")
def create_bucket(state: State, request: Request) -> Json:
    id = request.parameters.get("bucketId", "")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", id):
        raise invalid(f"Invalid bucket id: {id}")
    _check_days(request.body)
    name = f"{request.parameters['parent']}/buckets/{id}"
    found = {"retentionDays": 30, **request.body, "name": name, "lifecycleState": "ACTIVE", "createTime": now()}
    return state.add("log buckets", name, found)


def _check_days(body: Json) -> None:
    if not 0 <= body.get("retentionDays", 0) <= 3650:
        raise invalid("retentionDays must be between 1 and 3650.")


@_answers("locations.buckets.get")
def get_bucket(state: State, request: Request) -> Json:
    return state.get("log buckets", request.parameters["name"])


@_answers("locations.buckets.list")
def list_buckets(state: State, request: Request) -> Json:
    parent = request.parameters["parent"]
    found = [bucket for name, bucket in state.of("log buckets").items() if name.startswith(f"{parent}/")]
    return state.shown(found, request.parameters, "buckets")


@_answers("locations.buckets.patch")
def patch_bucket(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live = state.get("log buckets", name)
    if live["lifecycleState"] != "ACTIVE":
        raise Refusal(400, "FAILED_PRECONDITION", "Buckets must be in an ACTIVE state to be modified.")
    _check_days(request.body)
    found = patched(live, request, request.body, request.parameters.get("updateMask", ""), "LogBucket")
    state.of("log buckets")[name] = found
    return found


@_answers("locations.buckets.delete")
def delete_bucket(state: State, request: Request) -> Json:
    state.get("log buckets", request.parameters["name"])["lifecycleState"] = "DELETE_REQUESTED"
    return {}


@_answers("locations.buckets.undelete")
def undelete_bucket(state: State, request: Request) -> Json:
    live = state.get("log buckets", request.parameters["name"])
    if live["lifecycleState"] != "DELETE_REQUESTED":
        raise Refusal(400, "FAILED_PRECONDITION", "The bucket is not deleted.")
    live["lifecycleState"] = "ACTIVE"
    return {}


def _check_sink(state: State, body: Json) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", body.get("name", "")):
        raise invalid(f"Invalid sink name: {body.get('name')}")
    destination = body.get("destination", "")
    if not destination.startswith("logging.googleapis.com/projects/"):
        raise invalid(f"Invalid destination: {destination}")
    state.get("log buckets", destination.removeprefix("logging.googleapis.com/"))
    if len(body.get("filter", "")) > 20_000:
        raise invalid("The filter is too long.")


@_answers("sinks.create")
def create_sink(state: State, request: Request) -> Json:
    _check_sink(state, request.body)
    name = f"{request.parameters['parent']}/sinks/{request.body['name']}"
    return state.add("sinks", name, {**request.body, "resourceName": name, "createTime": now()})


@_answers("sinks.get")
def get_sink(state: State, request: Request) -> Json:
    return state.get("sinks", request.parameters["sinkName"])


@_answers("sinks.list")
def list_sinks(state: State, request: Request) -> Json:
    return state.shown(list(state.of("sinks").values()), request.parameters, "sinks")


@_answers("sinks.patch")
def patch_sink(state: State, request: Request) -> Json:
    name = request.parameters["sinkName"]
    live = state.get("sinks", name)
    found = patched(live, request, request.body, request.parameters.get("updateMask", ""), "LogSink")
    _check_sink(state, found)
    state.of("sinks")[name] = found
    return found


@_answers("sinks.delete")
def delete_sink(state: State, request: Request) -> Json:
    state.remove("sinks", request.parameters["sinkName"])
    return {}
