"""What the ``events.py`` of every provider needs: pys-multi's own envelope → Message and Event, and times as text.

The envelope is what schedules of a cloud, and ``pys-multi invoke``, hand to a function::

    {"messages": [{"body": "…", "base64": true, "id": "…", "attributes": {…}, "attempt": 1, "sent_at": …}]}
    {"event": {"kind": "schedule", "time": …}, "only": {"expression": "…", "timezone": "…"}, "unless": …}
"""

from __future__ import annotations

from time import time

from pys_multi.messages import Event, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]


def messages_of(plain: list[Json], request_id: str) -> list[Message]:
    """The messages of an envelope; one without an id gets one from the request's."""
    messages = []
    for number, entry in enumerate(plain):
        body = entry["body"].encode()
        if entry.get("base64"):
            from binascii import a2b_base64

            body = a2b_base64(body)
        messages.append(
            Message(
                body,
                id=entry.get("id") or f"{request_id}-{number}",
                attributes=entry.get("attributes"),
                attempt=entry.get("attempt", 1),
                sent_at=entry.get("sent_at", 0.0),
                group=entry.get("group", ""),
            )
        )
    return messages


def event_of(plain: Json) -> Event:
    """The event of an envelope. Its time is in seconds since the epoch or ISO 8601, and now where it has none; what a
    cloud fills in, such as the attempt, is text."""
    moment = plain.get("time") or time()
    return Event(
        plain.get("kind", "schedule"),
        id=plain.get("id", ""),
        time=seconds(moment) if isinstance(moment, str) else moment,
        bucket=plain.get("bucket", ""),
        key=plain.get("key", ""),
        size=plain.get("size", 0),
        etag=plain.get("etag", ""),
        attempt=int(plain.get("attempt", 1)),
    )


def is_due(envelope: Json, time: float) -> bool:
    """Whether a run counts that a cloud's scheduler made at a time that it thought due.

    Not every neutral schedule has a counterpart there: such a one is made more often, and its envelope says under
    ``only`` when it has to have a tick, under ``unless`` when it must not.
    """
    return not any(
        wanted in envelope and _has_tick(envelope[wanted], time) is not (wanted == "only")
        for wanted in ("only", "unless")
    )


def _has_tick(schedule: Json, time: float) -> bool:
    from datetime import UTC, datetime, timedelta

    from pys_multi.schedules import parse

    minute = datetime.fromtimestamp(time // 60 * 60, UTC)
    return parse(schedule["expression"], schedule["timezone"]).next_after(minute - timedelta(minutes=1)) == minute


def answer_of(failures: Mapping[str, str]) -> Json:
    """What an envelope is answered: why the messages or the event failed, by their ids, without secrets."""
    if not failures:
        return {"failures": {}}
    from pys_multi.logs import masked

    return {"failures": {id: masked(why) for id, why in failures.items()}}


def seconds(text: str) -> float:
    """Seconds since the epoch of a time in ISO 8601, in UTC where it says no zone; what is beyond microseconds is cut
    off. 0 for an empty text."""
    if not text:
        return 0.0
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def without_secrets(error: Exception) -> Exception:
    """The exception, or one of the same name without the secrets in its text, where a cloud writes it into a log."""
    from pys_multi.logs import masked

    text = str(error)
    shown = masked(text)
    if text == shown:
        return error
    renamed: Exception = type(type(error).__name__, (Exception,), {})(shown)
    return renamed.with_traceback(error.__traceback__)
