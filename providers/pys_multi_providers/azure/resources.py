"""The verbs of queues, topics, buckets and secrets on Service Bus, Blob Storage and the app's settings, over REST.

What a name of the service stands for is in the app's settings, for what it was granted and nothing else. Secrets are
settings too, which the platform fills from Key Vault before the app starts: a rotated one is there after the next
start, which the platform itself brings about within a day ("Use Key Vault references as app settings").
"""

from __future__ import annotations

from json import dumps
from os import environ
from time import time
from urllib.parse import quote
from uuid import uuid4

from pys_multi.encoding import parse_json
from pys_multi.errors import NotFound, ResourceError
from pys_multi.outgoing import encoded_word, in_groups
from pys_multi.resources import ObjectInfo, Table
from pys_multi.rest import Answer, Connections
from pys_multi_providers.azure.calls import Absent, sent
from pys_multi_providers.azure.events import ATTRIBUTES, ENCODING, GROUP, SENT
from pys_multi_providers.azure.tables import TableVerbs
from pys_multi_providers.azure.tokens import SERVICE_BUS, STORAGE, Tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any
    from xml.etree.ElementTree import Element

    from pys_multi.app import App
    from pys_multi.resources import Outgoing

    Json = dict[str, Any]

#: App setting: {name of a resource: URL of the queue, topic, container or table, or the setting of a secret}.
RESOURCES = "PYS_MULTI_RESOURCES"
#: Version of Blob Storage's protocol; what is signed depends on it ("Create a user delegation SAS").
VERSION = "2020-12-06"
#: Bytes of one message, and of those sent together, with room for what stands around them ("Service Bus quotas",
#: standard tier, 2026-11: 256 KB).
_MAX_MESSAGE = 256 * 1024 - 8 * 1024
#: Messages sent together.
_BATCH = 100
#: Characters of a session's id.
_MAX_GROUP = 128
#: Seconds that a key to sign URLs with holds at least, of seven days at most, and those that clocks may differ.
_KEY_HOLDS, _SKEW = 86_400, 900


class AzureBackend(TableVerbs):
    """`pys_multi.resources.Backend` on Azure; thread-safe."""

    def __init__(self, app: App) -> None:
        super().__init__(self._table_of, self._storage)
        self._app = app
        self._connections = Connections()
        self._tokens = Tokens(self._connections)
        self._physical: dict[str, str] = parse_json(environ.get(RESOURCES, "{}"))
        #: Account → the key to sign its URLs with.
        self._keys: dict[str, Json] = {}

    def _where(self, kind: str, name: str) -> str:
        physical = self._physical.get(name)
        if physical is None:
            raise ResourceError(
                f"{kind} {name!r}: {RESOURCES} of this app does not say where it is; deploy the service again"
            )
        return physical.rstrip("/")

    def _table_of(self, name: str) -> tuple[Table, str]:
        handle = self._app.resources[name]
        assert isinstance(handle, Table)  # only a table's handle calls these verbs
        return handle, self._where("table", name)

    def _storage(
        self, what: str, method: str, url: str, fields: Mapping[str, str], body: bytes = b"", once: bool = False
    ) -> Answer:
        token = self._tokens.get(STORAGE)
        given = {"x-ms-version": VERSION, **fields, "authorization": f"Bearer {token}"}
        return sent(self._connections, what, method, url, given, body, once=once)

    # ---- queues and topics

    def queue_send(self, queue: str, messages: list[Outgoing]) -> list[str]:
        return self._send(f"queue {queue!r}", self._where("queue", queue), messages)

    def topic_publish(self, topic: str, message: Outgoing) -> str:
        return self._send(f"topic {topic!r}", self._where("topic", topic), [message])[0]

    def _send(self, what: str, url: str, messages: list[Outgoing]) -> list[str]:
        """Sends messages; what is sent again after a lost answer has the same id.

        Together ("Send message batch"), but those with a delay one by one ("Send message"): which of the properties
        with a time a batch knows is documented in two ways, and one that is not known would be sent at once.
        """
        ids = [uuid4().hex for _ in messages]
        together: list[str] = []
        for id, message in zip(ids, messages, strict=True):
            written = dumps(_message(id, message))
            if len(written) > _MAX_MESSAGE:
                raise ValueError(f"{what}: a message has at most {_MAX_MESSAGE:,} bytes on Azure; this one has more")
            if not message.delay:
                together.append(written)
        for batch in in_groups(together, lambda text: len(text) + 1, most=_BATCH, room=_MAX_MESSAGE):
            fields = {"content-type": "application/vnd.microsoft.servicebus.json"}
            self._post(what, url, fields, f"[{','.join(batch)}]".encode())
        for id, message in zip(ids, messages, strict=True):
            if message.delay:
                self._post(what, url, _delayed(id, message), message.body)
        return ids

    def _post(self, what: str, url: str, fields: Mapping[str, str], body: bytes) -> None:
        given = {**fields, "authorization": f"Bearer {self._tokens.get(SERVICE_BUS)}"}
        try:
            sent(self._connections, what, "POST", f"{url}/messages", given, body)
        except NotFound as error:
            raise _not_deployed(what, error) from error

    # ---- buckets

    def bucket_get(self, bucket: str, key: str) -> bytes:
        return self._object(bucket, key, "GET").body

    def bucket_put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        fields = {"x-ms-blob-type": "BlockBlob", "content-type": content_type}
        fields |= {f"x-ms-meta-{_identifier(name)}": encoded_word(value) for name, value in metadata.items()}
        return self._object(bucket, key, "PUT", fields, data).fields.get("etag", "").strip('"')

    def bucket_delete(self, bucket: str, key: str) -> None:
        try:
            self._object(bucket, key, "DELETE")
        except NotFound:
            return

    def bucket_head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            found = self._object(bucket, key, "HEAD").fields
        except NotFound:
            return None
        return ObjectInfo(
            key,
            int(found.get("content-length") or 0),
            etag=found.get("etag", "").strip('"'),
            modified=_seconds(found.get("last-modified", "")),
            content_type=found.get("content-type", ""),
        )

    def _object(
        self, bucket: str, key: str, method: str, fields: Mapping[str, str] | None = None, data: bytes = b""
    ) -> Answer:
        """A call about one object. Raises NotFound where it is absent, ResourceError where its bucket is."""
        what, container = f"object {key!r} of bucket {bucket!r}", self._where("bucket", bucket)
        try:
            return self._storage(what, method, f"{container}/{quote(key)}", fields or {}, data)
        except Absent as error:
            if error.code == "ContainerNotFound":
                raise _not_deployed(f"bucket {bucket!r}", error) from error
            raise

    def bucket_list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        return self._objects(bucket, self._where("bucket", bucket), prefix)

    def _objects(self, bucket: str, container: str, prefix: str) -> Iterator[ObjectInfo]:
        from xml.etree.ElementTree import fromstring

        after = ""
        while True:
            url = f"{container}?restype=container&comp=list&prefix={quote(prefix, safe='')}"
            try:
                answer = self._storage(
                    f"bucket {bucket!r}", "GET", f"{url}&marker={quote(after, safe='')}" if after else url, {}
                )
            except NotFound as error:
                raise _not_deployed(f"bucket {bucket!r}", error) from error
            found = fromstring(answer.body.decode("utf-8-sig"))  # noqa: S314  (of Azure Storage itself)
            for blob in found.iterfind("Blobs/Blob"):
                yield _info(blob)
            after = found.findtext("NextMarker") or ""
            if not after:
                return

    def bucket_presign(self, bucket: str, key: str, method: str, expires: int) -> str:
        from pys_multi_providers.azure.signatures import signed

        container = self._where("bucket", bucket)
        account = container.rpartition("/")[0]
        ends = time() + expires
        kept = self._keys.get(account)
        if kept is None or kept["until"] < ends:
            kept = self._keys[account] = self._signing_key(bucket, account, max(expires, _KEY_HOLDS))
        return signed(kept, container, key, "r" if method == "GET" else "cw", ends, VERSION)

    def _signing_key(self, bucket: str, account: str, holds: float) -> Json:
        """A key of the account that URLs are signed with, good for so many seconds ("Get user delegation key")."""
        from xml.etree.ElementTree import fromstring

        from pys_multi_providers.azure.signatures import MOST, utc

        now = time()
        until = now + min(holds + _SKEW, MOST)
        body = f"<KeyInfo><Start>{utc(now - _SKEW)}</Start><Expiry>{utc(until)}</Expiry></KeyInfo>"
        answer = self._storage(
            f"a signed URL of bucket {bucket!r}",
            "POST",
            f"{account}/?restype=service&comp=userdelegationkey",
            {"content-type": "application/xml"},
            body.encode(),
        )
        found = fromstring(answer.body.decode("utf-8-sig"))  # noqa: S314  (of Azure Storage itself)
        return {"until": until, **{part.tag: part.text or "" for part in found}}

    # ---- secrets

    def secret_value(self, secret: str) -> str:
        name = self._where("secret", secret)
        value = environ.get(name)
        if value is None:
            raise NotFound(f"secret {secret!r}: the app has no setting {name}; deploy the service again")
        if value.startswith("@Microsoft.KeyVault("):
            raise ResourceError(
                f"secret {secret!r}: Azure could not read it from Key Vault. The setting {name} of the app says why in "
                "the portal: mostly the role of its identity is not there yet, or the secret is deleted or disabled"
            )
        return value


def _not_deployed(what: str, error: NotFound) -> ResourceError:
    return ResourceError(f"{what}: it is not there; deploy the service that defines it ({error})")


# ---- what Service Bus carries


def _message(id: str, message: Outgoing) -> Json:
    """A message as one entry of a batch. Its body is text there: what is no text goes in base64."""
    properties: dict[str, str] = {}
    try:
        body = message.body.decode()
    except UnicodeDecodeError:
        from binascii import b2a_base64

        body = b2a_base64(message.body, newline=False).decode()
        properties[ENCODING] = "base64"
    plain = message.attributes
    if all(name.isascii() and name.replace("-", "_").isidentifier() and name not in _OWN for name in plain):
        properties |= plain
    else:
        properties[ATTRIBUTES] = dumps(dict(plain))
    broker: Json = {"MessageId": id}
    if message.group:
        broker["SessionId"] = _session(message.group)
        if broker["SessionId"] != message.group:
            properties[GROUP] = message.group
    entry: Json = {"Body": body, "BrokerProperties": broker}
    return {**entry, "UserProperties": properties} if properties else entry


def _delayed(id: str, message: Outgoing) -> dict[str, str]:
    """The header fields of a message that is sent alone, to be delivered later; its body goes as it is."""
    from email.utils import formatdate

    now = time()
    # Whole seconds, and not before its time.
    due = formatdate(-int(-(now + message.delay) // 1), usegmt=True)
    broker = {"MessageId": id, "ScheduledEnqueueTimeUtc": due}
    properties = {SENT: f"{now:.3f}"}
    if message.attributes:
        properties[ATTRIBUTES] = quote(dumps(dict(message.attributes)), safe="")
    if message.group:
        broker["SessionId"] = _session(message.group)
        if broker["SessionId"] != message.group:
            properties[GROUP] = quote(message.group, safe="")
    texts = {name: f'"{value}"' for name, value in properties.items()}
    return {"content-type": "application/octet-stream", "BrokerProperties": dumps(broker), **texts}


def _session(group: str) -> str:
    """The id of the session that a group is."""
    if len(group) <= _MAX_GROUP:
        return group
    from hashlib import sha256

    return sha256(group.encode()).hexdigest()


_OWN = frozenset((ENCODING, ATTRIBUTES, GROUP, SENT))


# ---- what Blob Storage says


def _info(blob: Element) -> ObjectInfo:
    name = blob.find("Name")
    assert name is not None  # every blob has one
    key = name.text or ""
    if name.get("Encoded") == "true":  # where it has what XML cannot carry
        from urllib.parse import unquote

        key = unquote(key)
    about = blob.find("Properties")
    assert about is not None
    return ObjectInfo(
        key,
        int(about.findtext("Content-Length") or 0),
        etag=(about.findtext("Etag") or "").strip('"'),
        modified=_seconds(about.findtext("Last-Modified") or ""),
        content_type=about.findtext("Content-Type") or "",
    )


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(text).timestamp()


def _identifier(name: str) -> str:
    """A name of metadata, which on Azure is an identifier: other characters are an underscore."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    return plain if plain and not plain[0].isdigit() else f"_{plain}"
