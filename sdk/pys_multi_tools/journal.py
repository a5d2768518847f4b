"""The logs of a cloud as one stream: lines that pys_multi.logs wrote become records, in order of time."""

from __future__ import annotations

import heapq
import json
import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pys_multi_tools.deployment import LogRecord

#: What has a place of its own in a record; everything else of a line is in its fields.
_KNOWN = ("time", "level", "message", "request_id", "function")
#: Seconds that a line may say it was made before or after it came; else it is somebody else's idea of a time.
_PLAUSIBLE = 3600.0


def record_of(text: str, *, at: float, level: str, function: str, instance: str) -> LogRecord:
    """A line as a record: its own fields where it is one of pys_multi.logs, else its text.

    at: when it came, in seconds since the epoch. level: where it says none.
    """
    line = _parsed(text)
    if line is None:
        return LogRecord(time=at, level=level, function=function, message=text, instance=instance)
    said = line.get("time")
    return LogRecord(
        time=float(said) if isinstance(said, int | float) and abs(said - at) < _PLAUSIBLE else at,
        level=str(line.get("level", level)).lower(),
        function=function,
        message=line["message"],
        request_id=str(line.get("request_id", "")),
        instance=instance,
        fields=fields_of(line),
    )


def fields_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """What of a line has no place of its own in a record."""
    return {key: value for key, value in line.items() if key not in _KNOWN}


def _parsed(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("message"), str) else None


def in_order(records: Iterable[LogRecord], late: float) -> Iterator[LogRecord]:
    """By when they were made; clouds give them by when they came, which is so many seconds later at most."""
    held: list[tuple[float, int, LogRecord]] = []
    for number, record in enumerate(records):
        heapq.heappush(held, (record.time, number, record))
        while held[0][0] < record.time - late:
            yield heapq.heappop(held)[2]
    yield from (heapq.heappop(held)[2] for _ in range(len(held)))


def followed(
    look: Callable[[float], Iterable[tuple[str, LogRecord]]],
    since: float,
    *,
    delay: float,
    poll: float,
    wait: Callable[[float], None],
) -> Iterator[LogRecord]:
    """What looks find, each record once, for ever.

    look: time → what there is since then, with what tells two records apart. delay: seconds until what was written is
    found; so far back every look goes again. poll: seconds between two looks.
    """
    seen: dict[str, float] = {}
    while True:
        now = clock.time()
        found = dict(look(since))
        fresh = (record for id, record in found.items() if id not in seen)
        yield from sorted(fresh, key=lambda record: record.time)
        seen |= dict.fromkeys(found, now)
        since = max(since, now - delay)
        seen = {id: at for id, at in seen.items() if at > now - 3 * delay}
        wait(poll)
