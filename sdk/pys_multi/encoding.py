"""JSON in and out: the bytes of a body → a value, and any value a handler has → bytes.

What JSON has no word for travels as text: dates, times and durations in ISO 8601, UUID and Decimal as
their digits, bytes as base64; a set as an array, an Enum as its value, a dataclass as an object.
`validation.py` reads every one of them back.

No type is imported to be recognised: a type is known by the name of a class it descends from, so
that a function which never uses a Decimal never pays for the module.
"""

from __future__ import annotations

import sys

# The C half of the json package: the other half brings the re package, which together take longer to import than
# all of this package. It is imported where a body is not JSON, to say why.
from _json import encode_basestring, make_encoder, make_scanner

from pys_multi.errors import HTTPError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from json import JSONDecoder
    from typing import Any, NoReturn

#: How deep arrays and objects may stand in each other in a body: far past what people send, far below
#: what makes a recursive decoder run out of stack.
MAX_DEPTH = 64


def parse_json(body: bytes | str) -> Any:
    """The JSON value of a body. Of a repeated key the last one counts, as in every common parser.

    Raises HTTPError 400 for what is not JSON (RFC 8259): also for NaN, Infinity, numbers that a float
    cannot hold, text that is not UTF-8, half a surrogate pair, and nesting deeper than `MAX_DEPTH`.
    """
    try:
        text = body if isinstance(body, str) else str(body, "utf-8")
        try:
            # The scanner alone is the fast path; white space around the value, or an error, needs the rest.
            value, end = _scan(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):
            value = _slow_decoder().decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        _refuse(error)
    # A value is never nested deeper than it has opening brackets, and most bodies have few.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        _refuse(RecursionError())
    if "\\ud" in text or "\\uD" in text or not (text.isascii() or text is not body):
        try:
            _encode(value)
        except UnicodeEncodeError:
            _refuse(ValueError("half of a surrogate pair stands alone"))
    return value


def _refuse(error: Exception) -> NoReturn:
    if hasattr(error, "lineno"):  # a JSONDecodeError
        what = error.msg.removesuffix(" at")  # type: ignore[attr-defined]
        why = f"{what[:1].lower()}{what[1:]} at line {error.lineno}, column {error.colno}"  # type: ignore[attr-defined]
    elif isinstance(error, UnicodeDecodeError):
        why = f"byte {error.start} is not UTF-8"
    elif isinstance(error, RecursionError):
        why = f"it is nested deeper than {MAX_DEPTH} levels"
    elif "int_max_str_digits" in str(error):
        why = "a number has too many digits"
    else:
        why = str(error)
    raise HTTPError(400, f"the body is not valid JSON: {why}") from None


def _is_deeper(value: object, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (_INFINITY, -_INFINITY):
        raise ValueError("a number is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_INFINITY = float("inf")


class _Options:
    """What the scanner asks of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_int = int
    parse_float = staticmethod(_finite)
    parse_constant = staticmethod(_no_constant)


_scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_Options)  # type: ignore[arg-type]  # anything with these names will do


def _slow_decoder() -> JSONDecoder:
    from json import JSONDecoder

    return JSONDecoder(parse_float=_finite, parse_constant=_no_constant)


def to_json_bytes(value: object) -> bytes:
    """The value as JSON in UTF-8, without white space.

    Raises TypeError for a value that JSON has no form for, and ValueError for NaN, infinity, and a value
    that contains itself; the message says where in the value (`items.0.price`).
    """
    kind = type(value)
    if kind is not dict and kind is not list:
        validator = getattr(kind, "__pydantic_serializer__", None)
        if validator is not None:
            return validator.to_json(value, by_alias=True)  # type: ignore[no-any-return]
        if hasattr(kind, "__struct_fields__"):
            return sys.modules["msgspec"].json.encode(value)  # type: ignore[no-any-return]
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        # The slow way takes keys that JSON's own encoder does not, and knows where the trouble is.
        return _encode(to_json_value(value))


def to_json_value(value: object) -> Any:
    """The value as dict, list, str, int, float, bool and None only; raises as `to_json_bytes` does."""
    try:
        return _plain(value, ())
    except RecursionError:
        raise ValueError("the value contains itself, or is nested too deeply to be JSON") from None


def _plain(value: Any, path: tuple[object, ...]) -> Any:
    kind = type(value)
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{_where(path)} has half of a surrogate pair and cannot be UTF-8") from None
        return value
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if value - value != 0:
            raise ValueError(f"{_where(path)} is {value}, which JSON cannot hold; use None or a str")
        return value
    if kind is dict:
        return {_key(key, path): _plain(item, (*path, key)) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item, (*path, index)) for index, item in enumerate(value)]
    try:
        converted = _convert(value)
    except TypeError as error:
        raise TypeError(f"{_where(path)} {error}") from None
    return _plain(converted, path)


def _key(key: object, path: tuple[object, ...]) -> Any:
    if key is None or isinstance(key, bool):
        return "null" if key is None else "true" if key else "false"
    plain = _plain(key, (*path, key))
    if isinstance(plain, str | int | float):
        return plain if isinstance(plain, str) else _encode(plain).decode()
    raise TypeError(f"{_where(path)} has a key of type {type(key).__name__}, which cannot be a JSON name")


def _where(path: tuple[object, ...]) -> str:
    return ".".join(str(part) for part in path) or "the value"


def _convert(value: object) -> object:
    """One step towards JSON: the hook of the encoder for each value that it does not know."""
    kind = type(value)
    convert = _converters.get(kind)
    if convert is None:
        convert = _converters[kind] = _converter(kind)
    return convert(value)


def _converter(kind: type) -> Callable[[Any], object]:
    serializer = getattr(kind, "__pydantic_serializer__", None)
    if serializer is not None:
        return lambda value: serializer.to_python(value, mode="json", by_alias=True)
    if hasattr(kind, "__struct_fields__"):
        return sys.modules["msgspec"].to_builtins  # type: ignore[no-any-return]
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import fields

        names = tuple(field.name for field in fields(kind))
        return lambda value: {name: getattr(value, name) for name in names}
    if hasattr(kind, "__attrs_attrs__"):
        # The alias is what its __init__ and so the decoder calls it: `_size` of a class is `size` outside.
        keys = tuple((attribute.alias, attribute.name) for attribute in kind.__attrs_attrs__)
        return lambda value: {alias: getattr(value, name) for alias, name in keys}
    for base in kind.__mro__:
        convert = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if convert is not None:
            return convert
    hint = "; return it alone to stream it" if hasattr(kind, "__next__") or hasattr(kind, "__anext__") else ""
    name = kind.__qualname__

    def refuse(value: object) -> NoReturn:  # noqa: ARG001
        raise TypeError(f"is of type {name}, which JSON has no form for{hint}")

    return refuse


def _iso(value: Any) -> str:
    text: str = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _duration(value: timedelta) -> str:
    """ISO 8601: days, and seconds with their fraction; a year or a month has no fixed length."""
    sign = "-" if value.days < 0 else ""
    value = abs(value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".")
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}T{seconds}S" if seconds != "0" or not days else f"{sign}P{days}"


def _decimal(value: Any) -> str:
    if not value.is_finite():
        raise TypeError(f"is Decimal({str(value)!r}), which JSON cannot hold")
    return str(value)


def _base64(value: bytes) -> str:
    from binascii import b2a_base64

    return b2a_base64(value, newline=False).decode()


_BY_NAME: dict[str, Callable[[Any], object]] = {
    "builtins.str": str.__str__,
    "builtins.int": int,
    "builtins.float": float.__float__,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": list,
    "builtins.set": list,
    "builtins.frozenset": list,
    "builtins.bytes": _base64,
    "builtins.bytearray": _base64,
    "builtins.memoryview": _base64,
    "builtins.mappingproxy": dict,
    "enum.Enum": lambda value: value.value,
    "datetime.datetime": _iso,
    "datetime.date": _iso,
    "datetime.time": _iso,
    "datetime.timedelta": _duration,
    "uuid.UUID": str,
    "decimal.Decimal": _decimal,
    "_pydecimal.Decimal": _decimal,
    "collections.deque": list,
    "collections.UserDict": dict,
    "collections.UserList": list,
}
_converters: dict[type, Callable[[Any], object]] = {}


# Made once, not per value as json.dumps does: half the time. Without the table of what is being encoded it keeps
# no state between calls; a value that contains itself ends in RecursionError.
_chunks = make_encoder(None, _convert, encode_basestring, None, ":", ",", False, False, False)


def _encode(value: object) -> bytes:
    return "".join(_chunks(value, 0)).encode()
