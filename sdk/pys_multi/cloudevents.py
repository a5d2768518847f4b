"""CloudEvents 1.0 (CNCF specification, with its HTTP binding and JSON format), in and out.

    events = from_http(request.headers, request.body)      binary, structured or batched: a list
    headers, body = to_http(CloudEvent("order.paid", "/shop", {"order": 7}))

Strict about attributes: an event that another implementation would refuse is neither made nor let in.
"""

from __future__ import annotations

from pys_multi.errors import HTTPError
from pys_multi.http import Headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, NoReturn

    Extension = str | int | bool

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_OPTIONAL = ("datacontenttype", "dataschema", "subject", "time")
_ATTRIBUTES = ("specversion", "id", "source", "type", *_OPTIONAL)

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
# RFC 3986, section 2; what is not in here has to be percent-encoded.
_URI = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%")


class InvalidEvent(HTTPError):
    """What is no CloudEvent; a 400 where it ends a request."""

    def __init__(self, why: str) -> None:
        super().__init__(400, f"this is no CloudEvent: {why}")


class CloudEvent:
    """An event: what happened (type), where (source), its id, unique within the source, and its data.

    data: any value that JSON has a form for, text, bytes or None. subject: of the event within its source. time: an
    RFC 3339 time, that of now unless given; an empty string leaves it out. datacontenttype: found from the data unless
    given. dataschema: a URI. extensions: attributes by lower-case name; text, whole numbers of 32 bits, truth values.

    Raises InvalidEvent.
    """

    __slots__ = (
        "data",
        "datacontenttype",
        "dataschema",
        "extensions",
        "id",
        "source",
        "specversion",
        "subject",
        "time",
        "type",
    )

    def __init__(
        self,
        type: str,
        source: str,
        data: object = None,
        *,
        id: str | None = None,
        subject: str | None = None,
        time: str | None = None,
        datacontenttype: str | None = None,
        dataschema: str | None = None,
        extensions: Mapping[str, Extension] | None = None,
    ) -> None:
        self.specversion = "1.0"
        self.type = type
        self.source = source
        self.id = _new_id() if id is None else id
        self.subject = subject
        self.time = _now() if time is None else time or None
        self.datacontenttype = datacontenttype if datacontenttype is not None else _content_type_of(data)
        self.dataschema = dataschema
        self.extensions = dict(extensions or {})
        self.data = data
        self._check()

    @property
    def timestamp(self) -> float | None:
        """``time`` as seconds since the epoch, or None without it."""
        from datetime import datetime

        return None if self.time is None else datetime.fromisoformat(_readable(self.time)).timestamp()

    def _check(self) -> None:
        for name in ("id", "source", "type"):
            _check_text(name, getattr(self, name))
        for name in _OPTIONAL:
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if not _URI.issuperset(self.source):
            _refuse("its source is no URI reference")
        if self.dataschema is not None:
            scheme, colon, _ = self.dataschema.partition(":")
            if not colon or not scheme[:1].isalpha() or "/" in scheme or not _URI.issuperset(self.dataschema):
                _refuse("its dataschema is no absolute URI")
        if self.datacontenttype is not None:
            kind, slash, subtype = self.datacontenttype.partition(";")[0].strip(" ").partition("/")
            if not slash or not kind or not subtype or not self.datacontenttype.isascii():
                _refuse("its datacontenttype is no media type")
        if self.time is not None:
            _check_time(self.time)
        for name, value in self.extensions.items():
            if not isinstance(name, str) or not name or not _NAME.issuperset(name):
                _refuse(f"an attribute is named {name!r}; names are lower-case letters and digits")
            if name in _ATTRIBUTES or name in ("data", "data_base64"):
                _refuse(f"{name!r} is no extension")
            if isinstance(value, bool):
                continue
            if isinstance(value, int):
                if not -(2**31) <= value < 2**31:
                    _refuse(f"the number in attribute {name!r} has more than 32 bits")
                continue
            _check_text(name, value, empty=True)

    def attributes(self) -> dict[str, Extension]:
        """Every attribute that is there, extensions too, by name."""
        found: dict[str, Extension] = {
            name: getattr(self, name) for name in _ATTRIBUTES if getattr(self, name) is not None
        }
        return {**found, **self.extensions}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CloudEvent):
            return NotImplemented
        return self.attributes() == other.attributes() and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # its data may be of any kind

    def __repr__(self) -> str:
        return f"<CloudEvent {self.type} {self.id}>"


def to_http(event: CloudEvent, *, structured: bool = False) -> tuple[dict[str, str], bytes]:
    """The header fields and the body of a request or response that carries one event, in binary mode by default.

    Raises TypeError for data that has no form in the event's content type.
    """
    if structured:
        from pys_multi.encoding import to_json_bytes

        return {"content-type": _STRUCTURED}, to_json_bytes(_to_json(event))
    headers = {
        f"ce-{name}": _encode_header(_text_of(value))
        for name, value in event.attributes().items()
        if name != "datacontenttype"
    }
    if event.datacontenttype is not None:
        headers["content-type"] = event.datacontenttype
    return headers, _to_bytes(event)


def batch_to_http(events: Iterable[CloudEvent]) -> tuple[dict[str, str], bytes]:
    """The header fields and the body that carry several events, in JSON batch mode. Raises TypeError as above."""
    from pys_multi.encoding import to_json_bytes

    return {"content-type": _BATCH}, to_json_bytes([_to_json(event) for event in events])


def from_http(headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> list[CloudEvent]:
    """The events in a request or response: one in binary and structured mode, any number in batch mode.

    Raises InvalidEvent, and HTTPError 415 for a format of CloudEvents that is not JSON.
    """
    if not isinstance(headers, Headers):
        headers = Headers(headers)
    kind = (headers.get("content-type") or "").partition(";")[0].strip(" \t").lower()
    if kind == _STRUCTURED:
        return [_from_json(_parse(body))]
    if kind == _BATCH:
        items = _parse(body)
        if not isinstance(items, list):
            _refuse("a batch is a JSON array")
        return [_from_json(item) for item in items]
    if kind.startswith("application/cloudevents"):
        raise HTTPError(415, f"CloudEvents are read as {_STRUCTURED}, {_BATCH} or in binary mode, not as {kind}")
    return [_from_binary(headers, body)]


def from_json(text: bytes | str) -> CloudEvent:
    """An event in the JSON format, as a queue may carry it. Raises InvalidEvent."""
    return _from_json(_parse(text))


def to_json(event: CloudEvent) -> bytes:
    """An event in the JSON format. Raises TypeError for data that JSON has no form for."""
    from pys_multi.encoding import to_json_bytes

    return to_json_bytes(_to_json(event))


# ---- binary mode


def _from_binary(headers: Headers, body: bytes) -> CloudEvent:
    found: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        if name.startswith("ce-"):
            if name[3:] in found:
                _refuse(f"the header {name} is there twice")
            found[name[3:]] = _decode_header(name, value)
    if "specversion" not in found:
        _refuse("neither its content type nor a header ce-specversion says that it is one")
    if "datacontenttype" in found or "data" in found:
        _refuse("its content type is in Content-Type, and its data in the body")
    content_type = headers.get("content-type")
    return _make(found, _from_bytes(content_type, body), content_type)


def _encode_header(text: str) -> str:
    """HTTP binding, section 3.1.3.2: everything but visible ASCII without ``"`` and ``%`` is percent-encoded."""
    return "".join(
        character
        if "!" <= character <= "~" and character not in '"%'
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in text
    )


def _decode_header(name: str, value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        unquoted: list[str] = []
        characters = iter(value[1:-1])
        for character in characters:
            unquoted.append(next(characters, "") if character == "\\" else character)
        value = "".join(unquoted)
    if "%" not in value:
        return value
    from urllib.parse import unquote_to_bytes

    pieces = value.split("%")[1:]
    if any(len(piece) < 2 or not _HEX.issuperset(piece[:2]) for piece in pieces):
        _refuse(f"the header {name} is not properly percent-encoded")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        _refuse(f"the header {name} is not properly percent-encoded")


_HEX = frozenset("0123456789abcdefABCDEF")


# ---- the JSON format


def _to_json(event: CloudEvent) -> dict[str, object]:
    document: dict[str, object] = dict(event.attributes())
    data = event.data
    if isinstance(data, bytes):
        from base64 import b64encode

        document["data_base64"] = b64encode(data).decode()
    elif data is not None:
        if not _is_json(event.datacontenttype) and not isinstance(data, str):
            raise TypeError(f"data of type {event.datacontenttype} is text or bytes, not {type(data).__name__}")
        document["data"] = data
    return document


def _from_json(document: object) -> CloudEvent:
    if not isinstance(document, dict):
        _refuse("an event in the JSON format is an object")
    # null says the same as not being there (JSON format, section 2.2).
    found = {name: value for name, value in document.items() if value is not None or name == "data"}
    data = found.pop("data", None)
    encoded = found.pop("data_base64", None)
    content_type = found.pop("datacontenttype", None)
    if encoded is not None:
        from base64 import b64decode

        if data is not None:
            _refuse("it has both data and data_base64")
        try:
            data = b64decode(encoded, validate=True)
        except (ValueError, TypeError):
            _refuse("its data_base64 is not base64")
    elif data is not None and content_type is None:
        content_type = "application/json"  # section 3.1: that is what it means
    elif data is not None and not _is_json(content_type) and not isinstance(data, str):
        _refuse("its data is of a type other than JSON, and no text")
    return _make(found, data, content_type)


def _parse(text: bytes | str) -> Any:
    from pys_multi.encoding import parse_json

    try:
        return parse_json(text)
    except HTTPError as error:
        raise InvalidEvent(error.detail) from None


# ---- both


def _make(found: dict[str, Any], data: object, content_type: object) -> CloudEvent:
    version = found.pop("specversion", None)
    if version != "1.0":
        _refuse("its specversion is not 1.0")
    known = {name: found.pop(name, None) for name in ("type", "source", "id", "subject", "time", "dataschema")}
    event = CloudEvent.__new__(CloudEvent)
    event.specversion = "1.0"
    for name, value in known.items():
        setattr(event, name, value)
    event.datacontenttype = content_type  # type: ignore[assignment]  # checked with the rest
    event.extensions = found
    event.data = data
    event._check()
    return event


def _content_type_of(data: object) -> str | None:
    if data is None:
        return None
    if isinstance(data, bytes):
        return "application/octet-stream"
    return "text/plain; charset=utf-8" if isinstance(data, str) else "application/json"


def _is_json(content_type: object) -> bool:
    kind = str(content_type or "").partition(";")[0].strip(" \t").lower()
    return kind.endswith(("/json", "+json"))


def _to_bytes(event: CloudEvent) -> bytes:
    data = event.data
    if data is None:
        return b""
    if isinstance(data, bytes):
        return data
    if _is_json(event.datacontenttype):
        from pys_multi.encoding import to_json_bytes

        return to_json_bytes(data)
    if isinstance(data, str):
        return data.encode()
    raise TypeError(f"data of type {event.datacontenttype} is text or bytes, not {type(data).__name__}")


def _from_bytes(content_type: str | None, body: bytes) -> object:
    if not body:
        return None
    if _is_json(content_type):
        return _parse(body)
    if content_type is not None and content_type.lower().startswith("text/"):
        from pys_multi.http import Request

        return Request("POST", "/", headers={"content-type": content_type}, body=body).text
    return body


def _text_of(value: Extension) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _check_text(name: str, value: object, *, empty: bool = False) -> None:
    """A String of the type system (section 3.3): no control characters, no half surrogate pairs, no noncharacters."""
    if not isinstance(value, str):
        _refuse(f"its {name} is {'missing' if value is None else 'no text'}")
    if not value and not empty:
        _refuse(f"its {name} is empty")
    if value.isascii() and value.isprintable():
        return
    for character in value:
        code = ord(character)
        if (
            code < 0x20
            or 0x7F <= code <= 0x9F
            or 0xD800 <= code <= 0xDFFF
            or 0xFDD0 <= code <= 0xFDEF
            or (code & 0xFFFE == 0xFFFE)
        ):
            _refuse(f"its {name} has a character that is not allowed")


def _check_time(text: str) -> None:
    """RFC 3339, which is less than what Python reads as ISO 8601."""
    from datetime import datetime

    shape = "".join("0" if character in "0123456789" else character for character in text.upper())
    rest = shape[19:]
    if rest.startswith(".0"):
        rest = rest[1:].lstrip("0")
    try:
        if shape[:19] != "0000-00-00T00:00:00" or rest not in ("Z", "+00:00", "-00:00"):
            raise ValueError
        datetime.fromisoformat(_readable(text))
    except ValueError:
        _refuse("its time is not of RFC 3339")


def _readable(time: str) -> str:
    """The time as ``datetime.fromisoformat`` takes it: upper case, and without a leap second."""
    time = time.upper()
    return time[:17] + "59" + time[19:] if time[17:19] == "60" else time


def _new_id() -> str:
    from os import urandom

    return urandom(16).hex()


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse(why: str) -> NoReturn:
    raise InvalidEvent(why)
