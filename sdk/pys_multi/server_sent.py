"""Server-sent events: values → the lines of a ``text/event-stream`` (WHATWG HTML, section 9.2)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from typing import Any

_EVENT_FIELDS = frozenset(("data", "event", "id", "retry"))


def _encode_event(event: object) -> bytes:
    fields = (
        event if isinstance(event, dict) and "data" in event and _EVENT_FIELDS.issuperset(event) else {"data": event}
    )
    lines = []
    for name in ("event", "id", "retry"):
        if name in fields:
            value = str(fields[name])
            if "\n" in value or "\r" in value or "\0" in value:
                raise ValueError(f"the {name} of a server-sent event cannot hold a line break or a zero")
            lines.append(f"{name}: {value}")
    data = fields["data"]
    if not isinstance(data, str):
        from pys_multi.encoding import to_json_bytes

        data = to_json_bytes(data).decode()
    # A stream ends lines at CR, LF or CRLF alike, and at nothing else.
    for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        lines.append(f"data: {line}")
    return ("\n".join(lines) + "\n\n").encode()


def encode_events(events: Any) -> Iterable[bytes] | AsyncIterable[bytes]:
    if hasattr(events, "__aiter__"):

        async def encode_async() -> AsyncIterable[bytes]:
            async for event in events:
                yield _encode_event(event)

        return encode_async()

    def encode() -> Iterable[bytes]:
        for event in events:
            yield _encode_event(event)

    return encode()
