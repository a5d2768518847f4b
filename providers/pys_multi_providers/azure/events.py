"""Service Bus messages, timers and Event Grid's events → Message and Event.

Service Bus. The body comes as bytes (the trigger's data type is binary), what was sent with it as application
properties ("Message metadata" of the Service Bus trigger; ``servicebus.py`` of azure-functions 1.26 and 2.3). The
delivery count is 1 at the first delivery.

Timers. What the host passes is the status before this run, whose ``Next`` is the time that is due (TimerListener.cs of
azure-webjobs-sdk-extensions).

Buckets. Event Grid delivers into a queue, one event a message, in its own schema or as a CloudEvent ("Azure Blob
Storage as an Event Grid source").
"""

from __future__ import annotations

from time import time

from pys_multi.events import seconds
from pys_multi.messages import Event, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pys_multi.schedules import Schedule

    Json = dict[str, Any]

#: A body that is no text goes in base64 and says so in this property.
ENCODING = "pys-multi-encoding"
#: Attributes whose names Service Bus does not keep as they are, as a JSON object; with SENT percent-encoded, for it
#: came in a header field.
ATTRIBUTES = "pys-multi-attributes"
#: A group that is too long for the id of a session, which is then a hash of it; with SENT percent-encoded.
GROUP = "pys-multi-group"
#: When a delayed message was sent, in seconds since the epoch: to Service Bus that is when it is delivered first.
SENT = "pys-multi-sent"

_CREATED, _DELETED = "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted"


# ---- Service Bus


def message_of(given: Any) -> Message:
    """The message of an azure-functions ServiceBusMessage."""
    properties = given.application_properties or given.user_properties or {}
    # Service Bus has properties of other types as well, which no text stands for.
    texts = {_name(name): value for name, value in properties.items() if isinstance(value, str)}
    sent = given.enqueued_time_utc
    return _message(
        given.get_body(),
        texts,
        id=given.message_id or str(given.sequence_number or ""),
        attempt=max(given.delivery_count or 1, 1),
        sent_at=_utc(sent) if sent is not None else 0.0,
        group=given.session_id or "",
    )


def _name(name: str) -> str:
    """The name of a property; those of pys-multi may have come as header fields, whose case is not their own."""
    return name.lower() if name.lower().startswith("pys-multi-") else name


def _utc(moment: Any) -> float:
    if moment.tzinfo is None:
        from datetime import UTC

        moment = moment.replace(tzinfo=UTC)
    found: float = moment.timestamp()
    return found


def _message(body: bytes, attributes: dict[str, str], **fields: Any) -> Message:
    if attributes.pop(ENCODING, "") == "base64":
        from binascii import a2b_base64

        body = a2b_base64(body)
    packed, group, sent = (attributes.pop(name, "") for name in (ATTRIBUTES, GROUP, SENT))
    if sent:
        from urllib.parse import unquote

        packed, group = unquote(packed), unquote(group)
    if packed:
        from json import loads

        attributes.update(loads(packed))
    if group:
        fields["group"] = group
    if sent:
        fields["sent_at"] = float(sent)
    return Message(body, attributes=attributes, **fields)


# ---- buckets


def events_of_blobs(body: bytes, bucket: str, attempt: int, sent_at: float) -> list[Event]:
    """The events in a message from Event Grid; none for its test of a new subscription.

    Raises ValueError for what is no event of a blob.
    """
    from json import loads

    found = loads(body)
    entries = found if isinstance(found, list) else [found]
    return [_blob_event(entry, bucket, attempt, sent_at) for entry in entries if not _is_test(entry)]


def _is_test(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("eventType") or entry.get("type")).startswith(
        "Microsoft.EventGrid."
    )


def _blob_event(entry: Any, bucket: str, attempt: int, sent_at: float) -> Event:
    kind = entry.get("eventType") or entry.get("type") if isinstance(entry, dict) else None
    if kind not in (_CREATED, _DELETED):
        raise ValueError(f"a message of bucket {bucket!r} is no event of a blob, but {str(kind)[:100]!r}")
    data = entry.get("data") or {}
    time_text = entry.get("eventTime") or entry.get("time") or ""
    return Event(
        "created" if kind == _CREATED else "deleted",
        id=str(entry.get("id", "")),
        time=seconds(time_text) if time_text else sent_at,
        bucket=bucket,
        key=_key(entry.get("subject", ""), data.get("url", "")),
        size=int(data.get("contentLength") or 0),
        etag=str(data.get("eTag") or "").strip('"'),
        attempt=attempt,
    )


def _key(subject: str, url: str) -> str:
    """The key of the blob: the subject has it as it is, behind the name of its container."""
    key = subject.partition("/blobs/")[2]
    if key:
        return key
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path)[1:].partition("/")[2]


# ---- timers


def due_at(timer: Any, schedule: Schedule) -> float | None:
    """The tick of the schedule that a timer ran for, in seconds since the epoch; None where it was for none.

    Azure's timers know no time zones and no days counted from the epoch: such a schedule has timers that run more
    often than it is due.
    """
    from datetime import UTC, datetime, timedelta

    now = time()
    moment = now
    if text := (timer.schedule_status or {}).get("Next"):
        planned = seconds(text)
        # A host that never ran writes year 1; and where a clock is a little slow, a run comes before its time.
        moment = planned if now - 366 * 86_400 < planned <= now + 60 else now
    minute = datetime.fromtimestamp(moment // 60 * 60, UTC)
    is_due = schedule.next_after(minute - timedelta(minutes=1)) == minute
    return minute.timestamp() if is_due else None
