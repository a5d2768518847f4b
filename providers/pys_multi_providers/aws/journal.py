"""The logs of all functions as one stream, in order of time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_tools import journal
from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.journal import followed, in_order
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Seconds that CloudWatch may take until a record can be read; so far back every look goes again.
_DELAY = 20.0
#: Seconds that a record may wait for an older one of another function, and between two looks.
_POLL = 1.0
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
        streams = [
            in_order((record for _, record in _records(cloud, group, function, start)), _DELAY)
            for function, group in groups.items()
        ]
        yield from heapq.merge(*streams, key=lambda record: record.time)
        return

    def look(since: float) -> list[tuple[str, LogRecord]]:
        looks = [(cloud, group, function, since) for function, group in groups.items()]
        return [entry for entries in each(lambda one: list(_records(*one)), looks) for entry in entries]

    yield from followed(look, start, delay=_DELAY, poll=_POLL, wait=wait)


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


def _id(event: Mapping[str, Any]) -> str:
    """What tells events apart that two looks both found."""
    given = event.get("eventId")
    return given or f"{event.get('logStreamName')} {event['timestamp']} {event['message']}"


def record_of(event: Mapping[str, Any], function: str) -> LogRecord | None:
    """An event of CloudWatch as a record; None for lines of Lambda that say nothing."""
    text = str(event["message"]).rstrip("\n")
    at = event["timestamp"] / 1000
    instance = str(event.get("logStreamName", "")).rpartition("]")[2]
    if text.startswith(_NOISE):
        return None
    if text.startswith("REPORT RequestId: "):
        request, shown = text.split()[2], text.replace("\t", " ").strip()
        return LogRecord(
            time=at, level="debug", function=function, message=shown, request_id=request, instance=instance
        )
    return journal.record_of(text, at=at, level="info", function=function, instance=instance)
