"""Records of SQS, SNS and S3, and pys-multi's own envelope ↔ Message and Event; imported when one arrives."""

from __future__ import annotations

from pys_multi.messages import Event, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]

#: SQS and SNS carry text; a body that is none goes in base64 and says so in this attribute.
ENCODING = "pys-multi-encoding"


def messages_of_sqs(records: list[Json]) -> list[Message]:
    """Messages of an SQS event ("Using Lambda with Amazon SQS", example event)."""
    return [
        _message(
            record["body"],
            {
                name: value["stringValue"]
                for name, value in record.get("messageAttributes", {}).items()
                if "stringValue" in value
            },
            id=record["messageId"],
            attempt=int(record["attributes"].get("ApproximateReceiveCount", 1)),
            sent_at=int(record["attributes"].get("SentTimestamp", 0)) / 1000,
            group=record["attributes"].get("MessageGroupId", ""),
        )
        for record in records
    ]


def unhandled(messages: list[Message], failed: set[str], *, ordered: bool) -> list[str]:
    """Ids to report: those that failed and, of an ordered queue, those that come after one in its group."""
    if not ordered:
        return [message.id for message in messages if message.id in failed]
    groups: set[str] = set()
    reported = []
    for message in messages:
        if message.id in failed or message.group in groups:
            groups.add(message.group)
            reported.append(message.id)
    return reported


def messages_of_sns(records: list[Json]) -> list[Message]:
    """Messages of an SNS event ("Using Lambda with Amazon SNS", example event)."""
    return [
        _message(
            record["Sns"]["Message"],
            {name: value["Value"] for name, value in record["Sns"].get("MessageAttributes", {}).items()},
            id=record["Sns"]["MessageId"],
            sent_at=_seconds(record["Sns"].get("Timestamp", "")),
        )
        for record in records
    ]


def _message(text: str, attributes: dict[str, str], **fields: Any) -> Message:
    body = text.encode()
    if attributes.pop(ENCODING, "") == "base64":
        from base64 import b64decode

        body = b64decode(text)
    return Message(body, attributes=attributes, **fields)


def events_of_s3(records: list[Json]) -> Iterator[tuple[str, Event]]:
    """(name of the bucket, event) of an S3 event ("Event message structure" of the S3 user guide)."""
    from urllib.parse import unquote_plus

    for record in records:
        about = record["s3"]["object"]
        created = record["eventName"].startswith("ObjectCreated:")
        event = Event(
            "created" if created else "deleted",
            id=f"{record['s3']['bucket']['name']}/{about.get('sequencer', '')}",
            time=_seconds(record["eventTime"]),
            key=unquote_plus(about["key"]),
            size=about.get("size", 0),
            etag=about.get("eTag", ""),
        )
        yield record["s3"]["bucket"]["name"], event


def messages_of(plain: list[Json]) -> list[Message]:
    """Messages of pys-multi's own envelope."""
    return [
        _message(
            entry["body"],
            {**entry.get("attributes", {}), **({ENCODING: "base64"} if entry.get("base64") else {})},
            id=entry.get("id", ""),
            attempt=entry.get("attempt", 1),
            sent_at=entry.get("sent_at", 0.0),
            group=entry.get("group", ""),
        )
        for entry in plain
    ]


def event_of(plain: Json) -> Event:
    """The event of pys-multi's own envelope; EventBridge Scheduler fills its time in, as ISO 8601 text."""
    time = plain.get("time", 0.0)
    return Event(
        plain.get("kind", "schedule"),
        id=plain.get("id", ""),
        time=_seconds(time) if isinstance(time, str) else time,
        bucket=plain.get("bucket", ""),
        key=plain.get("key", ""),
        size=plain.get("size", 0),
        etag=plain.get("etag", ""),
        attempt=plain.get("attempt", 1),
    )


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
