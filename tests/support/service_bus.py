"""Service Bus, as far as its REST API and a Functions host see it: queues, topics, sessions, dead letters.

REST ("Service Bus runtime REST", 2026-11): send (one message or a batch), peek-lock, receive and delete, complete,
unlock and renew, on ``queue``, ``topic/subscriptions/name`` and their ``$DeadLetterQueue``. It is strict: another
path, method, content type or property is refused, and a token of another audience as well. The host uses the same
queues in this process (``take``, ``complete``, ``abandon``).
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DEAD = "$DeadLetterQueue"
#: Bytes of one message or batch in the standard tier.
MAX_BYTES = 256 * 1024
_BATCH = "application/vnd.microsoft.servicebus.json"
_BROKER = frozenset(
    (
        *("ContentType", "CorrelationId", "Label", "MessageId", "PartitionKey", "ReplyTo", "ReplyToSessionId"),
        *("ScheduledEnqueueTimeUtc", "SessionId", "TimeToLive", "To"),
    )
)


@dataclass(slots=True, eq=False)
class Stored:
    """A message in a queue or subscription. times in seconds since the epoch."""

    id: str
    body: bytes
    sequence: int
    content_type: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    session: str = ""
    enqueued: float = 0.0
    visible: float = 0.0
    deliveries: int = 0
    locked_until: float = 0.0
    lock: str = ""
    reason: str = ""

    def is_free(self, now: float) -> bool:
        return self.visible <= now and self.locked_until <= now


class Queue:
    """A queue, a subscription, or the dead letters of one."""

    def __init__(self, name: str, changed: threading.Condition, deliveries: int, sessions: bool, lock: float) -> None:
        self.name = name
        self.deliveries = deliveries
        self.sessions = sessions
        self._lock_seconds = lock
        self._changed = changed
        self.messages: list[Stored] = []
        self.dead: Queue | None = None

    def add(self, message: Stored) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def take(self) -> Stored | None:
        """Locks the next message; of a session, only where none of it is locked."""
        with self._changed:
            now = time.time()
            busy = {m.session for m in self.messages if self.sessions and m.locked_until > now}
            for message in sorted(self.messages, key=lambda m: (m.visible > m.enqueued, m.sequence)):
                if self.sessions and message.session in busy:
                    continue
                if message.is_free(now):
                    if message.deliveries >= self.deliveries:  # a lock that ran out counts as well
                        self._bury(message, "MaxDeliveryCountExceeded")
                        continue
                    message.deliveries += 1
                    message.lock = str(uuid.uuid4())
                    message.locked_until = now + self._lock_seconds
                    return message
                if self.sessions and message.visible <= now:
                    busy.add(message.session)
            return None

    def complete(self, lock: str) -> bool:
        with self._changed:
            message = self._locked(lock)
            if message is not None:
                self.messages.remove(message)
                self._changed.notify_all()
            return message is not None

    def abandon(self, lock: str) -> bool:
        with self._changed:
            message = self._locked(lock)
            if message is None:
                return False
            message.locked_until, message.lock = 0.0, ""
            if message.deliveries >= self.deliveries:
                self._bury(message, "MaxDeliveryCountExceeded")
            self._changed.notify_all()
            return True

    def renew(self, lock: str) -> bool:
        with self._changed:
            message = self._locked(lock)
            if message is not None:
                message.locked_until = time.time() + self._lock_seconds
            return message is not None

    def _bury(self, message: Stored, reason: str) -> None:
        self.messages.remove(message)
        if self.dead is not None:
            self.dead.messages.append(replace(message, lock="", locked_until=0.0, deliveries=0, reason=reason))

    def _locked(self, lock: str) -> Stored | None:
        now = time.time()
        return next((m for m in self.messages if m.lock == lock and lock and m.locked_until > now), None)


class Namespace:
    """A namespace with its REST API on loopback. on_audience: told of the audience of each token."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.queues: dict[str, Queue] = {}
        self._topics: dict[str, list[Queue]] = {}
        self._numbers = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.namespace = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_queue(self, name: str, *, deliveries: int = 10, sessions: bool = False, lock: float = 60.0) -> Queue:
        """A queue with its dead-letter queue. deliveries: its maximum delivery count."""
        queue = self.queues[name] = Queue(name, self.changed, deliveries, sessions, lock)
        queue.dead = self.queues[f"{name}/{DEAD}"] = Queue(f"{name}/{DEAD}", self.changed, 10**9, False, lock)
        return queue

    def add_topic(self, name: str) -> None:
        self._topics.setdefault(name, [])

    def add_subscription(self, topic: str, name: str, *, deliveries: int = 10, lock: float = 60.0) -> Queue:
        queue = self.add_queue(f"{topic}/subscriptions/{name}", deliveries=deliveries, lock=lock)
        self._topics[topic].append(queue)
        return queue

    def targets(self, name: str) -> list[Queue] | None:
        """Where a message to a queue or topic goes; None where there is none of the name."""
        if name in self._topics:
            return self._topics[name]
        found = self.queues.get(name)
        return [found] if found is not None and "/" not in name else None

    def send(self, name: str, messages: Iterable[Stored]) -> None:
        targets = self.targets(name)
        assert targets is not None, name
        for message in messages:
            for target in targets:
                target.add(replace(message, sequence=next(self._numbers), properties=dict(message.properties)))

    def make(self, body: bytes, **fields: Any) -> Stored:
        """A message that was sent now."""
        now = time.time()
        return Stored(fields.pop("id", uuid.uuid4().hex), body, 0, enqueued=now, visible=now, **fields)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    namespace: Namespace


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail
        super().__init__(detail)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        try:
            self._check_token()
            entity, marker, rest = unquote(parts.path)[1:].partition("/messages")
            if not marker or set(parse_qs(parts.query)) - {"timeout", "api-version"}:
                raise _Refused(400, f"{self.path} is not known")
            action = self._action(entity, rest.strip("/").split("/") if rest else [])
            action(entity, body)
        except _Refused as error:
            detail = f"<Error><Code>{error.status}</Code><Detail>{error.detail}</Detail></Error>"
            self._answer(error.status, detail.encode(), {"Content-Type": "application/xml"})

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _action(self, entity: str, rest: list[str]) -> Callable[[str, bytes], None]:
        match (self.command, rest):
            case ("POST", []):
                return self._send
            case ("POST", ["head"]):
                return lambda name, _: self._receive(name, keep=True)
            case ("DELETE", ["head"]):
                return lambda name, _: self._receive(name, keep=False)
            case (("DELETE" | "PUT" | "POST") as method, [_, lock]):
                return lambda name, _: self._settle(name, method, lock)
        raise _Refused(405, f"{self.command} of {self.path} is not known")

    def _check_token(self) -> None:
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        try:
            claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        except (ValueError, IndexError):
            raise _Refused(401, "MalformedToken") from None
        if kind != "Bearer" or claims["aud"] != "https://servicebus.azure.net" or claims["exp"] < time.time():
            raise _Refused(401, "InvalidAudience or ExpiredToken")

    def _queue(self, name: str) -> Queue:
        queue = self.server.namespace.queues.get(name)
        if queue is None:
            raise _Refused(404, f"MessagingEntityNotFound: {name}")
        return queue

    def _send(self, name: str, body: bytes) -> None:
        namespace = self.server.namespace
        targets = namespace.targets(name)
        if targets is None:
            raise _Refused(410, f"MessagingEntityNotFound: {name}")
        if len(body) > MAX_BYTES:
            raise _Refused(413, "MessageSizeExceeded")
        kind = self.headers.get("content-type", "")
        if kind == _BATCH:
            messages = [_of_batch(namespace, entry) for entry in json.loads(body)]
        else:
            messages = [_alone(namespace, dict(self.headers.items()), body)]
        if any(target.sessions for target in targets) and any(not message.session for message in messages):
            raise _Refused(400, "a message to an entity with sessions has a SessionId")
        namespace.send(name, messages)
        self._answer(201, b"", {})

    def _receive(self, name: str, *, keep: bool) -> None:
        queue = self._queue(name)
        message = queue.take()
        if message is None:
            self._answer(204, b"", {})
            return
        broker = {
            "DeliveryCount": message.deliveries,
            "EnqueuedTimeUtc": formatdate(message.enqueued, usegmt=True),
            "MessageId": message.id,
            "SequenceNumber": message.sequence,
            "State": "Active",
            "TimeToLive": 1209600,
            **({"SessionId": message.session} if message.session else {}),
        }
        if keep:
            broker |= {"LockToken": message.lock, "LockedUntilUtc": formatdate(message.locked_until, usegmt=True)}
        else:
            queue.complete(message.lock)
        fields = {
            "BrokerProperties": json.dumps(broker),
            "Content-Type": message.content_type or "application/octet-stream",
            **{name: json.dumps(value) for name, value in message.properties.items()},
        }
        if message.reason:
            fields["DeadLetterReason"] = json.dumps(message.reason)
        if keep:
            fields["Location"] = f"{self.server.namespace.url}/{name}/messages/{message.sequence}/{message.lock}"
        self._answer(201 if keep else 200, message.body, fields)

    def _settle(self, name: str, method: str, lock: str) -> None:
        queue = self._queue(name)
        settle = {"DELETE": queue.complete, "PUT": queue.abandon, "POST": queue.renew}[method]
        if not settle(lock):
            raise _Refused(404, "MessageLockLost")
        self._answer(200, b"", {})

    def _answer(self, status: int, body: bytes, fields: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _alone(namespace: Namespace, fields: dict[str, str], body: bytes) -> Stored:
    """A message that is sent alone: its properties are header fields, texts in quotation marks."""
    named = {name.lower(): value for name, value in fields.items()}
    broker = json.loads(named.pop("brokerproperties", "{}"))
    properties = {name: json.loads(value) for name, value in fields.items() if value.startswith('"')}
    made = namespace.make(body, content_type=named.get("content-type", ""), properties=properties)
    return _brokered(made, broker)


def _of_batch(namespace: Namespace, entry: Any) -> Stored:
    if set(entry) - {"Body", "BrokerProperties", "UserProperties"} or not isinstance(entry["Body"], str):
        raise _Refused(400, f"an entry of a batch has other keys: {sorted(entry)}")
    properties = entry.get("UserProperties", {})
    if not all(isinstance(value, str | int | float | bool) for value in properties.values()):
        raise _Refused(400, "a property of a message is a plain value")
    made = namespace.make(entry["Body"].encode(), properties=dict(properties))
    broker = entry.get("BrokerProperties", {})
    if "ScheduledEnqueueTimeUtc" in broker:
        # What Microsoft documents of batches does not agree on the name: nobody is to count on it.
        raise _Refused(400, "whether a batch can be scheduled is not known here")
    return _brokered(made, broker)


def _brokered(message: Stored, broker: dict[str, Any]) -> Stored:
    if unknown := set(broker) - _BROKER:
        raise _Refused(400, f"unknown broker properties: {sorted(unknown)}")
    message.id = broker.get("MessageId", message.id)
    message.session = broker.get("SessionId", "")
    if len(message.session) > 128 or len(message.id) > 128:
        raise _Refused(400, "an id has at most 128 characters")
    if scheduled := broker.get("ScheduledEnqueueTimeUtc"):
        message.visible = message.enqueued = parsedate_to_datetime(scheduled).timestamp()
    return message
