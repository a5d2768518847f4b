"""What goes into the handlers of events, and the context of every invocation: the same on every provider.

    Message → handler                   queue and topic
    Event   → handler                   schedule, and objects created or deleted in a bucket

A provider's ``runtime.py`` makes these from its cloud's own events; nothing is decoded
before a handler asks for it. Request and Response are in ``http.py``.
"""

from __future__ import annotations

from _contextvars import ContextVar  # contextvars would be one more file to read at a cold start
from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any


class Context:
    """What is known about the invocation that is running.

    deadline: seconds since the epoch at which the provider stops the handler, or None.
    trace_parent: the W3C ``traceparent`` of the caller, or an empty string.
    """

    __slots__ = (
        "build_id",
        "deadline",
        "function",
        "request_id",
        "service",
        "stage",
        "trace_parent",
        "trigger",
    )

    def __init__(
        self,
        request_id: str,
        *,
        service: str = "",
        function: str = "",
        stage: str = "",
        build_id: str = "",
        trigger: str = "",
        trace_parent: str = "",
        deadline: float | None = None,
    ) -> None:
        self.request_id = request_id
        self.service = service
        self.function = function
        self.stage = stage
        self.build_id = build_id
        self.trigger = trigger
        self.trace_parent = trace_parent
        self.deadline = deadline

    @property
    def trace_id(self) -> str:
        """The trace id inside ``trace_parent``, or an empty string."""
        parts = self.trace_parent.split("-")
        return parts[1] if len(parts) >= 4 else ""

    def remaining(self) -> float:
        """Seconds until the deadline; infinity without one."""
        return float("inf") if self.deadline is None else self.deadline - time()


def is_trace(text: str) -> bool:
    """Whether it is a ``traceparent`` (W3C Trace Context, section 3.2)."""
    parts = text.split("-")
    return [len(part) for part in parts[:4]] == [2, 32, 16, 2] and _HEX.issuperset("".join(parts[:4]))


_HEX = frozenset("0123456789abcdef")

_current: ContextVar[Context | None] = ContextVar("pys_multi_context", default=None)


def current_context() -> Context | None:
    """The context of the invocation that is running here, or None outside of one."""
    return _current.get()


class Message:
    """A message from a queue or topic.

    id: the provider's id of the message, the same at every delivery. body: bytes. attributes: text
    by name. attempt: 1 at the first delivery. sent_at: seconds since the epoch.
    group: messages of one group are delivered in order, where the queue is ordered.

    In a batch handler ``with message:`` lets an exception fail this message alone, and the loop goes on::

        for message in batch:
            with message:
                ship(message.json())
    """

    __slots__ = ("attempt", "attributes", "body", "error", "group", "id", "sent_at")

    def __init__(
        self,
        body: bytes,
        *,
        id: str = "",
        attributes: Mapping[str, str] | None = None,
        attempt: int = 1,
        sent_at: float = 0.0,
        group: str = "",
    ) -> None:
        self.id = id
        self.body = body
        self.attributes = dict(attributes or {})
        self.attempt = attempt
        self.sent_at = sent_at
        self.group = group
        self.error: BaseException | str | None = None

    @classmethod
    def of(cls, value: object, **fields: object) -> Message:
        """A message as ``queue.send(value)`` would make it, for calling a handler in a unit test."""
        return cls(encode_payload(value), **fields)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """The body as UTF-8 text. Raises UnicodeDecodeError."""
        return self.body.decode()

    def json(self) -> Any:
        """The body parsed as JSON. Raises ValueError."""
        from json import loads

        try:
            return loads(self.body)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None

    def fail(self, reason: str = "failed by its handler") -> None:
        """Marks this message alone as failed: it is delivered again, and dead-lettered after its retries."""
        self.error = reason

    def __enter__(self) -> Message:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self.error = error
        return True

    def __repr__(self) -> str:
        return f"<Message {self.id} attempt {self.attempt}>"


class Event:
    """Something that happened: ``created`` or ``deleted`` in a bucket, or ``schedule``.

    time: seconds since the epoch; of a schedule, the time it was due. bucket, key, size (bytes) and
    etag are of the object, empty for a schedule.
    """

    __slots__ = ("attempt", "bucket", "etag", "id", "key", "kind", "size", "time")

    def __init__(
        self,
        kind: str,
        *,
        id: str = "",
        time: float = 0.0,
        bucket: str = "",
        key: str = "",
        size: int = 0,
        etag: str = "",
        attempt: int = 1,
    ) -> None:
        self.kind = kind
        self.id = id
        self.time = time
        self.bucket = bucket
        self.key = key
        self.size = size
        self.etag = etag
        self.attempt = attempt

    def __repr__(self) -> str:
        return f"<Event {self.kind} {self.bucket}/{self.key}>" if self.bucket else f"<Event {self.kind}>"


def encode_payload(value: object) -> bytes:
    """What ``queue.send`` and ``topic.publish`` put on the wire: bytes as they are, str as UTF-8, else JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    from pys_multi.encoding import to_json_bytes

    return to_json_bytes(value)
