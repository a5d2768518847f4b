"""The logs of all functions as one stream, in order of time."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Seconds that CloudWatch may take until a record can be read; so far back every look goes again.
_DELAY = 20.0
#: Seconds that a record may wait for an older one of another function, and between two looks.
_POLL = 1.0
#: What pys_multi.logs calls them; everything else of a record is in its fields.
_KNOWN = ("time", "level", "message", "request_id", "function")
#: Lambda's own lines that say nothing a record does not.
_NOISE = ("START RequestId: ", "END RequestId: ", "INIT_START ")


def read(
    cloud: Cloud,
    groups: Mapping[str, str],
    *,
    since: float | None,
    follow: bool,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[LogRecord]:
    """groups: function → name of its log group. With ``follow`` it goes on for ever."""
    start = since if since is not None else 0.0
    if not follow:
        # Each group comes in order of time, page by page; so does all of it.
        streams = [_in_order(_records(cloud, group, function, start)) for function, group in groups.items()]
        yield from heapq.merge(*streams, key=lambda record: record.time)
        return
    seen: dict[str, float] = {}
    while True:
        looks = [(cloud, group, function, start) for function, group in groups.items()]
        found = each(lambda look: list(_records(*look)), looks)
        fresh = [(id, record) for entries in found for id, record in entries if id not in seen]
        yield from (record for _, record in sorted(fresh, key=lambda entry: entry[1].time))
        now = time.time()
        seen |= dict.fromkeys((id for id, _ in fresh), now)
        start = max(start, now - _DELAY)
        seen = {id: at for id, at in seen.items() if at > now - 3 * _DELAY}
        wait(_POLL)


def _records(cloud: Cloud, group: str, function: str, since: float) -> Iterator[tuple[str, LogRecord]]:
    try:
        for event in cloud.pages(
            "logs", "filter_log_events", "events", logGroupName=group, startTime=int(since * 1000)
        ):
            record = record_of(event, function)
            if record is not None:
                yield _id(event), record
    except AwsError as error:
        if error.code != "ResourceNotFoundException":  # nothing ran yet
            raise


def _in_order(records: Iterator[tuple[str, LogRecord]]) -> Iterator[LogRecord]:
    """The same in order of when they were made: CloudWatch has them in order of when they came, a little later."""
    held: list[tuple[float, int, LogRecord]] = []
    for number, (_, record) in enumerate(records):
        heapq.heappush(held, (record.time, number, record))
        while held[0][0] < record.time - _DELAY:
            yield heapq.heappop(held)[2]
    yield from (heapq.heappop(held)[2] for _ in range(len(held)))


def _id(event: Mapping[str, Any]) -> str:
    """What tells events apart that two looks both found."""
    given = event.get("eventId")
    return given or f"{event.get('logStreamName')} {event['timestamp']} {event['message']}"


def record_of(event: Mapping[str, Any], function: str) -> LogRecord | None:
    """An event of CloudWatch as a record; None for lines of Lambda that say nothing."""
    text = str(event["message"]).rstrip("\n")
    at = event["timestamp"] / 1000
    instance = str(event.get("logStreamName", "")).rpartition("]")[2]
    if text.startswith("{"):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict) and isinstance(line.get("message"), str):
            said = line.get("time")
            return LogRecord(
                time=float(said) if isinstance(said, int | float) and abs(said - at) < 3600 else at,
                level=str(line.get("level", "info")).lower(),
                function=function,
                message=line["message"],
                request_id=str(line.get("request_id", "")),
                instance=instance,
                fields={key: value for key, value in line.items() if key not in _KNOWN},
            )
    if text.startswith(_NOISE):
        return None
    level, request = "info", ""
    if text.startswith("REPORT RequestId: "):
        level, request = "debug", text.split()[2]
        text = text.replace("\t", " ").strip()
    return LogRecord(time=at, level=level, function=function, message=text, request_id=request, instance=instance)
