"""Pub/Sub pushes, Storage notifications and CloudEvents → Message and Event; imported when one arrives.

Formats: "Push subscriptions" (wrapped messages) and "Pub/Sub notifications for Cloud Storage", in Google's
documentation of 2026-11.
"""

from __future__ import annotations

from pys_multi.events import seconds
from pys_multi.messages import Event, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pys_multi.cloudevents import CloudEvent

    Json = dict[str, Any]

#: Pub/Sub carries short attributes, and no message without any byte. With this attribute the data is a line of JSON,
#: with attributes and group, and then the body.
PACKED = "pys-multi-packed"
#: When a delayed message is due (seconds since the epoch): Pub/Sub delays none.
DUE = "pys-multi-due"
#: Of a message that was published again: its first id, and when it was sent.
ID, SENT = "pys-multi-id", "pys-multi-sent"

#: Kinds of Storage's notifications that are no news for a service, as they say themselves or by another attribute.
_CREATED, _DELETED = ("OBJECT_FINALIZE", "OBJECT_DELETE")
#: What Eventarc calls the same, as the type of a CloudEvent.
_OBJECT_TYPES = {
    "google.cloud.storage.object.v1.finalized": _CREATED,
    "google.cloud.storage.object.v1.deleted": _DELETED,
}
_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"


class Push:
    """A delivery of Pub/Sub, taken apart.

    attempt: 1 at the first delivery, also where the subscription does not count. data, attributes and group: as
    Pub/Sub carries them, for publishing them again; published: when, as Pub/Sub writes it.
    """

    __slots__ = ("attempt", "attributes", "data", "group", "id", "published", "subscription")

    def __init__(self, envelope: Json) -> None:
        message: Json = envelope["message"]
        self.id: str = message["messageId"]
        self.data: str = message.get("data", "")
        self.attributes: dict[str, str] = message.get("attributes") or {}
        self.group: str = message.get("orderingKey", "")
        self.published: str = message.get("publishTime", "")
        self.attempt: int = envelope.get("deliveryAttempt") or 1
        self.subscription: str = envelope.get("subscription", "")

    @property
    def due(self) -> float:
        """When it is due, in seconds since the epoch; 0 where it was not delayed."""
        return float(self.attributes.get(DUE, 0))

    def message(self) -> Message:
        """What the handler gets. Raises ValueError for data that is not base64."""
        from binascii import a2b_base64

        body = a2b_base64(self.data)
        attributes = {name: value for name, value in self.attributes.items() if name not in (PACKED, DUE, ID, SENT)}
        group = self.group
        if PACKED in self.attributes:
            from json import loads

            head, _, body = body.partition(b"\n")
            packed: Json = loads(head)
            attributes |= packed.get("attributes", {})
            group = packed.get("group", group)
        return Message(
            body,
            id=self.attributes.get(ID) or self.id,
            attributes=attributes,
            attempt=self.attempt,
            sent_at=float(self.attributes.get(SENT) or seconds(self.published)),
            group=group,
        )

    def again(self, **attributes: str) -> Json:
        """The same message for another publish call: it has a new id there, and keeps the one it had."""
        sent = self.attributes.get(SENT) or f"{seconds(self.published):.3f}"
        kept = {name: value for name, value in self.attributes.items() if name != DUE}
        entry: Json = {
            "data": self.data,
            "attributes": {**kept, ID: self.attributes.get(ID) or self.id, SENT: sent, **attributes},
        }
        if self.group:
            entry["orderingKey"] = self.group
        return entry


def pack(packed: Json, body: bytes) -> bytes:
    """The data of a message with what Pub/Sub does not carry beside it."""
    from json import dumps

    return dumps(packed, separators=(",", ":")).encode() + b"\n" + body


def event_of_notification(attributes: Mapping[str, str], found: Json, bucket: str, attempt: int) -> Event | None:
    """The event of a notification of Storage; None for one that is no news.

    attributes: of the message. found: the object as the JSON API has it, the data of the message. bucket: the name of
    the resource. An object that is replaced is deleted and archived as well, and says by which generation.
    """
    kind = attributes.get("eventType")
    if kind not in (_CREATED, _DELETED, "OBJECT_ARCHIVE") or "overwrittenByGeneration" in attributes:
        return None
    name = attributes.get("objectId") or found["name"]
    generation = attributes.get("objectGeneration") or found.get("generation", "")
    return Event(
        "created" if kind == _CREATED else "deleted",
        id=f"{attributes.get('bucketId') or found.get('bucket', '')}/{name}/{generation}",
        time=seconds(attributes.get("eventTime") or found.get("updated", "")),
        bucket=bucket,
        key=name,
        size=int(found.get("size", 0)),
        etag=found.get("etag", ""),
        attempt=attempt,
    )


def push_of_cloud_event(event: CloudEvent) -> Push | None:
    """The delivery of Pub/Sub that Eventarc made a CloudEvent of; None for another one."""
    return Push(event.data) if event.type == _PUBLISHED and isinstance(event.data, dict) else None


def message_of_cloud_event(event: CloudEvent) -> Message:
    """A message of any other CloudEvent: its data, and its attributes under the names that they have as headers."""
    from pys_multi.messages import encode_payload

    attributes = {f"ce-{name}": str(value) for name, value in event.attributes().items()}
    body = b"" if event.data is None else encode_payload(event.data)
    return Message(body, id=event.id, attributes=attributes, sent_at=event.timestamp or 0.0)


def object_event_of_cloud_event(event: CloudEvent, bucket: str) -> Event | None:
    """The event of a CloudEvent about an object, as Eventarc makes it; None for one that is no news."""
    if event.type not in _OBJECT_TYPES or not isinstance(event.data, dict):
        return None
    return event_of_notification({"eventType": _OBJECT_TYPES[event.type]}, event.data, bucket, 1)
