"""Decoders of single values: from JSON, strict about types, and from text (path, query, header, cookie, form).

Each takes the value and returns what the annotation asks for, or raises Invalid. A message says what
is expected and never repeats what came: it may have been a secret.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from decimal import Decimal
    from typing import Any

    Decode = Callable[[Any], Any]
    Problem = tuple[tuple[object, ...], str]

#: The exponent range of IEEE 754 decimal128: beyond it, `int(value)` is a way to fill the memory.
_MAX_DECIMAL_EXPONENT = 6144
#: Characters that it may have, as Python's own limit for integers: more take quadratic time to be made a number of.
_MAX_DECIMAL_LENGTH = 4300

#: What None as text is told; a union leaves it out of its message, for nobody means to be told that.
NOT_EMPTY = "must be empty"

_TRUE = frozenset(("true", "1", "yes", "on"))
_FALSE = frozenset(("false", "0", "no", "off"))


class Invalid(Exception):
    """A value does not fit. problems: (path, message) of each, path as the keys and indices that lead there."""

    def __init__(self, message: str = "", problems: list[Problem] | None = None) -> None:
        self.problems: list[Problem] = [((), message)] if problems is None else problems
        super().__init__(message)

    def __str__(self) -> str:
        return "; ".join(": ".join(filter(None, (field_path(path), message))) for path, message in self.problems)


def field_path(path: tuple[object, ...]) -> str:
    """`items.0.sku`; names that come from the caller are cut short."""
    return ".".join(text if len(text) <= 100 else f"{text[:100]}…" for text in map(str, path))


def json_str(value: Any) -> str:
    if type(value) is str:
        return value
    raise Invalid("must be a string")


def json_int(value: Any) -> int:
    if type(value) is int:
        return value
    # JSON has one kind of number: 3.0 is the integer 3, and JavaScript cannot tell the two apart.
    if type(value) is float and value.is_integer():
        return int(value)
    raise Invalid("must be an integer")


def json_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Invalid("must be a number that a double can hold") from None
    raise Invalid("must be a number")


def json_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise Invalid("must be true or false")


def json_none(value: Any) -> None:
    if value is not None:
        raise Invalid("must be null")


def text_int(value: str) -> int:
    # int() alone also takes "1_000", " 5 " and the digits of other scripts.
    digits = value[1:] if value[:1] == "-" else value
    if digits.isdigit() and digits.isascii():
        try:
            return int(value)
        except ValueError:  # more digits than sys.set_int_max_str_digits allows
            pass
    raise Invalid("must be an integer")


def text_float(value: str) -> float:
    if value.isascii() and "_" not in value and value == value.strip():
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            if number - number == 0:  # neither NaN nor infinite
                return number
    raise Invalid("must be a number")


def text_bool(value: str) -> bool:
    lower = value.lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise Invalid("must be true or false")


def text_none(value: str) -> None:
    if value:
        raise Invalid(NOT_EMPTY)


def base64_bytes(value: str) -> bytes:
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(value, strict_mode=True)
    except (Error, ValueError):
        raise Invalid("must be base64") from None


def iso_datetime(kind: Any) -> Decode:
    def decode(value: str) -> Any:
        # fromisoformat also takes a date alone, week dates and forms without separators (RFC 3339 has none).
        if len(value) >= 16 and value[4] == value[7] == "-" and value[10] in "Tt " and value[13] == ":":
            try:
                return kind.fromisoformat(value)
            except ValueError:
                pass
        raise Invalid("must be a date and time such as 2026-01-31T12:30:00Z")

    return decode


def iso_date(kind: Any) -> Decode:
    def decode(value: str) -> Any:
        if len(value) == 10 and value[4] == value[7] == "-":
            try:
                return kind.fromisoformat(value)
            except ValueError:
                pass
        raise Invalid("must be a date such as 2026-01-31")

    return decode


def iso_time(kind: Any) -> Decode:
    def decode(value: str) -> Any:
        if value[2:3] == ":":
            try:
                return kind.fromisoformat(value)
            except ValueError:
                pass
        raise Invalid("must be a time such as 12:30:00")

    return decode


def iso_duration(value: str) -> timedelta:
    """ISO 8601 with weeks, days, hours, minutes and seconds; a year or a month has no fixed length."""
    from datetime import timedelta
    from re import ASCII, fullmatch

    match = len(value) <= 64 and fullmatch(
        r"([+-]?)P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,9})?)S)?)?", value, ASCII
    )
    if match and value[-1] not in "PT":
        sign, weeks, days, hours, minutes, seconds = match.groups("0")
        try:
            duration = timedelta(
                weeks=int(weeks), days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds)
            )
        except OverflowError:
            pass
        else:
            return -duration if sign == "-" else duration
    raise Invalid("must be an ISO 8601 duration such as PT1H30M")


def uuid_from(kind: Any) -> Decode:
    def decode(value: str) -> Any:
        if len(value) == 36:
            try:
                identity = kind(value)
            except ValueError:
                pass
            else:
                # UUID() also takes braces, a urn: prefix and hyphens anywhere.
                if str(identity) == value.lower():
                    return identity
        raise Invalid("must be a UUID")

    return decode


def decimal_from_text(value: str) -> Decimal:
    from decimal import Decimal, InvalidOperation

    if len(value) <= _MAX_DECIMAL_LENGTH and value.isascii() and "_" not in value and value == value.strip():
        try:
            number = Decimal(value)
        except InvalidOperation:
            pass
        else:
            if number.is_finite() and abs(number.adjusted()) <= _MAX_DECIMAL_EXPONENT:
                return number
    raise Invalid("must be a decimal number")


def json_decimal(value: Any) -> Decimal:
    """A string is exact; of a JSON number the shortest digits that make the same double count."""
    if type(value) is str:
        return decimal_from_text(value)
    if type(value) is float or type(value) is int:
        from decimal import Decimal

        return Decimal(repr(value)) if type(value) is float else Decimal(value)
    raise Invalid("must be a decimal number")


def from_string(decode: Decode) -> Decode:
    """A decoder of text as a decoder of JSON, where only a string will do."""

    def strict(value: Any) -> Any:
        if type(value) is str:
            return decode(value)
        decode("")  # raises, with the message of this kind
        raise Invalid("must be a string")

    return strict


def choice(choices: Sequence[tuple[Any, Any]], text: bool, missing: Decode | None) -> Decode:
    """One of (value on the wire, value for the handler). missing: an Enum's own ``_missing_``, where it has one."""
    found = {_as_text(wire) if text else _key(wire): value for wire, value in choices}
    allowed = ", ".join(repr(wire) if type(wire) is str else _as_text(wire) for wire, _ in choices)

    def decode(value: Any) -> Any:
        try:
            return found[value if text else _key(value)]
        except (KeyError, TypeError):  # TypeError: a list or dict is no key
            pass
        if missing is not None and isinstance(value, str):
            try:
                return missing(value)
            except ValueError:
                pass
        raise Invalid(f"must be one of {allowed}")

    return decode


def _key(wire: Any) -> object:
    """Tells 1 from True, which are equal to Python, but not from 1.0, which is the same to JSON."""
    return (float if type(wire) is int else type(wire), wire)


def _as_text(wire: Any) -> str:
    return "null" if wire is None else str(wire).lower() if isinstance(wire, bool) else str(wire)


def scalar(name: str, kind: Any, text: bool) -> Decode:
    """The decoder of the type of this full name (`builtins.int`, `uuid.UUID`). kind: the type itself."""
    if name in _PLAIN:
        return _PLAIN[name][text]
    made: Decode = _MAKERS[name](kind) if name in _MAKERS else _TEXT[name]
    return made if text else from_string(made)


_PLAIN: dict[str, tuple[Decode, Decode]] = {
    "builtins.str": (json_str, lambda value: value),
    "builtins.int": (json_int, text_int),
    "builtins.float": (json_float, text_float),
    "builtins.bool": (json_bool, text_bool),
    "builtins.NoneType": (json_none, text_none),
    "decimal.Decimal": (json_decimal, decimal_from_text),
}
_TEXT: dict[str, Decode] = {
    "builtins.bytes": base64_bytes,
    "datetime.timedelta": iso_duration,
}
_MAKERS: dict[str, Callable[[Any], Decode]] = {
    "datetime.datetime": iso_datetime,
    "datetime.date": iso_date,
    "datetime.time": iso_time,
    "uuid.UUID": uuid_from,
}
#: Every type this module decodes, by its full name.
NAMES = frozenset((*_PLAIN, *_TEXT, *_MAKERS))


def full_name_of(annotation: object) -> str:
    """The full name of a type that is decoded here, empty for any other."""
    name = f"{getattr(annotation, '__module__', '')}.{getattr(annotation, '__qualname__', '')}"
    return name if name in NAMES else ""
