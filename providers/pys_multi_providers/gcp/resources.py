"""The verbs of queues, topics, buckets and secrets on Pub/Sub, Cloud Storage and Secret Manager, over their REST APIs.

No library of Google's is imported. What a name of the service stands for on Google Cloud is in the function's
environment, for what it was granted and nothing else; a secret's value is there as well, put there by the platform.
"""

from __future__ import annotations

from os import environ
from time import time

from pys_multi.encoding import parse_json
from pys_multi.errors import NotFound, ResourceError
from pys_multi.events import seconds
from pys_multi.outgoing import in_groups
from pys_multi.resources import ObjectInfo, Table
from pys_multi_providers.gcp.calls import Google, Refused, address_of
from pys_multi_providers.gcp.events import DUE, PACKED, pack
from pys_multi_providers.gcp.tables import TableVerbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pys_multi.app import App
    from pys_multi.resources import Outgoing
    from pys_multi.rest import Answer

    Json = dict[str, Any]

#: Environment: {name of a resource: topic | bucket | collection (the path of it) | variable of a secret}.
RESOURCES = "PYS_MULTI_RESOURCES"
#: Messages of one publish call, and bytes of it ("Pub/Sub quotas and limits", 2026-11).
_BATCH, _BATCH_BYTES = 1_000, 10_000_000
#: Attributes of one message, bytes of a name, a value and of an ordering key (same place).
_MAX_ATTRIBUTES, _MAX_NAME, _MAX_VALUE, _MAX_GROUP = 100, 256, 1_024, 1_024
#: Of the attributes, for pys-multi's own, and for those that a dead letter gets.
_OWN_ATTRIBUTES = 10


class GcpBackend(TableVerbs):
    """`pys_multi.resources.Backend` on Google Cloud; thread-safe."""

    def __init__(self, app: App, google: Google) -> None:
        super().__init__(self._table_of, google)
        self._app = app
        self._physical: dict[str, str] = parse_json(environ.get(RESOURCES, "{}"))

    def _where(self, kind: str, name: str) -> str:
        physical = self._physical.get(name)
        if physical is None:
            raise ResourceError(
                f"{kind} {name!r}: {RESOURCES} of this function does not say where it is; deploy the service again"
            )
        return physical

    def _table_of(self, name: str) -> tuple[Table, str]:
        handle = self._app.resources[name]
        assert isinstance(handle, Table)  # only a table's handle calls these verbs
        return handle, self._where("table", name)

    # ---- queues and topics

    def queue_send(self, queue: str, messages: list[Outgoing]) -> list[str]:
        topic = self._where("queue", queue)
        ids: list[str] = []
        entries = [_entry(message) for message in messages]
        for batch in in_groups(entries, _size, most=_BATCH, room=_BATCH_BYTES):
            try:
                ids += publish(self._google, topic, batch, what=f"queue {queue!r}")
            except Refused as error:
                if ids:
                    error.args = (f"{error} (after {len(ids)} of {len(messages)} messages were sent)",)
                raise
        return ids

    def topic_publish(self, topic: str, message: Outgoing) -> str:
        [id] = publish(self._google, self._where("topic", topic), [_entry(message)], what=f"topic {topic!r}")
        return id

    # ---- buckets

    def bucket_get(self, bucket: str, key: str) -> bytes:
        return self._object(bucket, key, "GET", "storage.objects.get", "?alt=media").body

    def bucket_put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        from pys_multi.encoding import to_json_bytes

        about: Json = {"name": key, "contentType": content_type}
        if metadata:
            about["metadata"] = dict(metadata)
        kind, body = _related(to_json_bytes(about), data)
        answer = self._google.call(
            "storage",
            "POST",
            f"/upload/storage/v1/b/{self._where('bucket', bucket)}/o?uploadType=multipart",
            what=f"object {key!r} of bucket {bucket!r}",
            permission="storage.objects.create",
            body=body,
            headers={"content-type": kind},
        )
        return str(answer.json()["etag"])

    def bucket_delete(self, bucket: str, key: str) -> None:
        try:
            self._object(bucket, key, "DELETE", "storage.objects.delete")
        except NotFound:
            return

    def bucket_head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            return _info(self._object(bucket, key, "GET", "storage.objects.get").json())
        except NotFound:
            return None

    def _object(self, bucket: str, key: str, method: str, permission: str, query: str = "") -> Answer:
        return self._google.call(
            "storage",
            method,
            f"/storage/v1/b/{self._where('bucket', bucket)}/o/{_escaped(key, slash=False)}{query}",
            what=f"object {key!r} of bucket {bucket!r}",
            permission=permission,
        )

    def bucket_list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        return self._objects(bucket, self._where("bucket", bucket), prefix)

    def _objects(self, bucket: str, name: str, prefix: str) -> Iterator[ObjectInfo]:
        fields = "nextPageToken,items(name,size,etag,updated,contentType)"
        query = f"prefix={_escaped(prefix, slash=False)}&fields={_escaped(fields, slash=False)}"
        page = ""
        while True:
            found = self._google.call(
                "storage",
                "GET",
                f"/storage/v1/b/{name}/o?{query}{page}",
                what=f"bucket {bucket!r}",
                permission="storage.objects.list",
            ).json()
            yield from map(_info, found.get("items", ()))
            if not found.get("nextPageToken"):
                return
            page = f"&pageToken={_escaped(found['nextPageToken'], slash=False)}"

    def bucket_presign(self, bucket: str, key: str, method: str, expires: int) -> str:
        """A V4 signed URL ("V4 signing process with your own program"), signed by IAM in the name of the function's
        service account, whose key Google keeps: it promises 12 hours ("signBlob", keyId), and mostly keeps it longer.
        """
        from binascii import a2b_base64, b2a_base64
        from hashlib import sha256
        from time import gmtime, strftime

        what = f"object {key!r} of bucket {bucket!r}"
        now = strftime("%Y%m%dT%H%M%SZ", gmtime())
        scope = f"{now[:8]}/auto/storage/goog4_request"
        email = self._google.identity.email()
        address = address_of("storage")
        host = address.partition("://")[2]
        path = f"/{self._where('bucket', bucket)}/{_escaped(key, slash=True)}"
        query = "&".join(
            f"{name}={_escaped(value, slash=False)}"
            for name, value in (
                ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"),
                ("X-Goog-Credential", f"{email}/{scope}"),
                ("X-Goog-Date", now),
                ("X-Goog-Expires", str(expires)),
                ("X-Goog-SignedHeaders", "host"),
            )
        )
        request = f"{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"GOOG4-RSA-SHA256\n{now}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        answer = self._google.call(
            "iamcredentials",
            "POST",
            f"/v1/projects/-/serviceAccounts/{email}:signBlob",
            what=what,
            permission="iam.serviceAccounts.signBlob",
            body={"payload": b2a_base64(text.encode(), newline=False).decode()},
        )
        signature = a2b_base64(answer.json()["signedBlob"]).hex()
        return f"{address}{path}?{query}&X-Goog-Signature={signature}"

    # ---- secrets

    def secret_value(self, secret: str) -> str:
        variable = self._where("secret", secret)
        value = environ.get(variable)
        if value is None:
            raise NotFound(f"secret {secret!r}: {variable} is not in the environment; deploy the service again")
        return value


def publish(google: Google, topic: str, messages: list[Json], *, what: str) -> list[str]:
    """Publishes messages to a topic, as the REST API has them, and returns their ids. Raises Refused."""
    answer = google.call(
        "pubsub",
        "POST",
        f"/v1/{topic}:publish",
        what=what,
        permission="pubsub.topics.publish",
        body={"messages": messages},
    )
    ids: list[str] = answer.json()["messageIds"]
    return ids


# ---- what Pub/Sub carries


def _entry(message: Outgoing) -> Json:
    """A message as it is published ("PubsubMessage"); what Pub/Sub does not take as it is goes into the data."""
    from binascii import b2a_base64

    body, attributes, group = message.body, dict(message.attributes), message.group
    packed: Json = {}
    if len(attributes) > _MAX_ATTRIBUTES - _OWN_ATTRIBUTES or not all(
        _is_name(name) and len(value.encode()) <= _MAX_VALUE for name, value in attributes.items()
    ):
        packed["attributes"], attributes = attributes, {}
    if len(group.encode()) > _MAX_GROUP:
        from hashlib import sha256

        packed["group"], group = group, sha256(group.encode()).hexdigest()
    if packed or (not body and not attributes):
        body = pack(packed, body)
        attributes[PACKED] = "1"
    if message.delay:
        if group:
            raise ValueError("a message of an ordered queue is not delayed: it would keep its group waiting")
        attributes[DUE] = f"{time() + message.delay:.3f}"
    entry: Json = {"data": b2a_base64(body, newline=False).decode()}
    if attributes:
        entry["attributes"] = attributes
    if group:
        entry["orderingKey"] = group
    return entry


def _is_name(name: str) -> bool:
    """Whether Pub/Sub takes the name of an attribute, and it is not one of pys-multi's or Pub/Sub's own."""
    return 0 < len(name.encode()) <= _MAX_NAME and not name.startswith(("goog", "pys-multi-", "CloudPubSub"))


def _size(entry: Json) -> int:
    """At most the bytes of it in a request: what is not ASCII may be escaped, and each part has its punctuation."""
    attributes: Mapping[str, str] = entry.get("attributes", {})
    texts = [entry.get("orderingKey", ""), *attributes, *attributes.values()]
    return len(entry["data"]) + 100 + sum(6 * len(text) + 6 for text in texts)


# ---- what Storage carries


def _related(about: bytes, data: bytes) -> tuple[str, bytes]:
    """Content type and body of a multipart upload: what the object is, and its content."""
    from os import urandom

    boundary = urandom(16).hex()
    parts = (
        f"--{boundary}\r\ncontent-type: application/json; charset=utf-8\r\n\r\n".encode(),
        about,
        # The object's own type is in the first part; this one says how the part is written.
        f"\r\n--{boundary}\r\ncontent-type: application/octet-stream\r\n\r\n".encode(),
        data,
        f"\r\n--{boundary}--\r\n".encode(),
    )
    return f"multipart/related; boundary={boundary}", b"".join(parts)


def _info(found: Json) -> ObjectInfo:
    return ObjectInfo(
        found["name"],
        int(found.get("size", 0)),
        etag=found.get("etag", ""),
        modified=seconds(found.get("updated", "")),
        content_type=found.get("contentType", ""),
    )


def _escaped(text: str, *, slash: bool) -> str:
    from urllib.parse import quote

    return quote(text, safe="/" if slash else "")
