"""Records of SQS, SNS, S3 and EventBridge → Message and Event; imported when one comes."""

from __future__ import annotations

from pys_multi.events import seconds
from pys_multi.messages import Event, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Json = dict[str, Any]

#: SQS and SNS carry text that is not empty; a body that is none goes in base64 and says so in this attribute.
ENCODING = "pys-multi-encoding"
#: They carry ten attributes with simple names and values; what does not fit goes, as a JSON object, into this one.
ATTRIBUTES = "pys-multi-attributes"
#: A group that SQS does not take is in here, as JSON text; its id is then a hash of it.
GROUP = "pys-multi-group"


def source_of(event: Any) -> str:
    """Who sent an event: "pys_multi", what AWS calls the event's source, or words that describe it."""
    if not isinstance(event, dict):
        return f"a {type(event).__name__}"
    if "pys_multi" in event:
        return "pys_multi"
    if "detail-type" in event and "source" in event:  # EventBridge
        return str(event["source"])
    records = event.get("Records")
    if not records:
        return f"an event with {', '.join(map(str, list(event)[:10])) or 'nothing in it'}"
    # SNS spells it with a capital.
    source: str = records[0].get("eventSource") or records[0].get("EventSource") or "records of an unknown source"
    return source


def trace_of(context: Any) -> str:
    """The W3C ``traceparent`` that an invocation's client context carries, or an empty string."""
    w3c = getattr(context, "w3c", None)
    found = w3c().get("traceparent") if callable(w3c) else None
    if not found:
        custom = getattr(getattr(context, "client_context", None), "custom", None)
        found = custom.get("traceparent") if isinstance(custom, dict) else None
    return found if isinstance(found, str) else ""


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


def messages_of_sns(records: list[Json]) -> list[Message]:
    """Messages of an SNS event ("Using Lambda with Amazon SNS", example event)."""
    return [
        _message(
            record["Sns"]["Message"],
            {
                name: value["Value"]
                for name, value in (record["Sns"].get("MessageAttributes") or {}).items()
                if value["Type"] != "Binary"
            },
            id=record["Sns"]["MessageId"],
            sent_at=seconds(record["Sns"].get("Timestamp", "")),
        )
        for record in records
    ]


def _message(text: str, attributes: dict[str, str], **fields: Any) -> Message:
    body = text.encode()
    if attributes.pop(ENCODING, "") == "base64":
        from binascii import a2b_base64

        body = a2b_base64(text)
    packed, group = attributes.pop(ATTRIBUTES, ""), attributes.pop(GROUP, "")
    if packed or group:
        from json import loads

        if packed:
            attributes.update(loads(packed))
        if group:
            fields["group"] = loads(group)
    return Message(body, attributes=attributes, **fields)


def events_of_s3(records: list[Json], buckets: Mapping[str, str], attempt: int = 1) -> Iterator[Event]:
    """Events of an S3 notification ("Event message structure" of the S3 user guide).

    buckets: name of an S3 bucket → name of the resource. Raises LookupError for a bucket that is none of them.
    """
    from urllib.parse import unquote_plus

    for record in records:
        bucket, about = record["s3"]["bucket"]["name"], record["s3"]["object"]
        yield Event(
            "created" if record["eventName"].startswith("ObjectCreated:") else "deleted",
            # The sequencer orders the events of one key, and tells two of them apart.
            id=f"{bucket}/{about['key']}/{about.get('sequencer', '')}",
            time=seconds(record["eventTime"]),
            bucket=_resource(bucket, buckets),
            key=unquote_plus(about["key"]),
            size=about.get("size", 0),
            etag=about.get("eTag", ""),
            attempt=attempt,
        )


def event_of_s3(event: Json, buckets: Mapping[str, str]) -> Event:
    """The same through EventBridge ("EventBridge event message structure" of the S3 user guide): keys come plain."""
    kind = {"Object Created": "created", "Object Deleted": "deleted"}.get(event["detail-type"])
    if kind is None:
        raise LookupError(f"no handler is for {event['detail-type']!r} of a bucket: let the rule name two detail types")
    bucket, about = event["detail"]["bucket"]["name"], event["detail"]["object"]
    return Event(
        kind,
        id=event["id"],
        time=seconds(event["time"]),
        bucket=_resource(bucket, buckets),
        key=about["key"],
        size=about.get("size", 0),
        etag=about.get("etag", ""),
    )


def _resource(bucket: str, buckets: Mapping[str, str]) -> str:
    if bucket not in buckets:
        raise LookupError(f"{bucket!r} is no bucket of this service: it has {', '.join(buckets) or 'none'}")
    return buckets[bucket]
