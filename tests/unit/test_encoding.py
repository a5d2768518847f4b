"""encoding.py: bodies in, values out."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pys_multi.encoding
from pys_multi.encoding import MAX_DEPTH, parse_json, to_json_bytes, to_json_value
from pys_multi.errors import HTTPError

IDENTITY = UUID("12345678-1234-5678-1234-567812345678")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal
    tags: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True, frozen=True)
class Order:
    id: UUID
    lines: list[Line]


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    pass


class Model(pydantic.BaseModel):
    id: UUID
    at: datetime
    from_: str = pydantic.Field(alias="from")


class Struct(msgspec.Struct):
    name: str
    price: Decimal


def refusal(body: bytes | str) -> str:
    with pytest.raises(HTTPError) as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert caught.value.__suppress_context__  # no input in the log by way of a chained exception
    return caught.value.detail


@given(json_values)
def test_what_is_written_reads_back(value: Any) -> None:
    assert parse_json(to_json_bytes(value)) == value
    assert to_json_value(value) == value


@given(json_values, st.sampled_from(["", " ", "\n\t "]), st.booleans())
def test_bodies_of_the_standard_library_are_read(value: Any, space: str, ascii_only: bool) -> None:
    text = space + json.dumps(value, ensure_ascii=ascii_only, indent=1 if space else None) + space
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_any_body_is_a_value_or_a_400(body: bytes | str) -> None:
    try:
        parse_json(body)
    except HTTPError as error:
        status = error.status
    else:
        status = 400
    assert status == 400


def test_the_last_of_a_repeated_key_counts() -> None:
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "expecting value at line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'"a\0"', "invalid control character at line 1, column 3"),
        (b'{"a": 1} x', "extra data at line 1, column 10"),
        (b'{\n "a" 1}', "line 2, column 6"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not JSON"),
        (b"1e999", "too large"),
        (b"1" * 5000, "too many digits"),
        (b'"\xff"', "byte 1 is not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        ('"x"'.encode("utf-16"), "not UTF-8"),
        (rb'"\ud800"', "surrogate"),
        (rb'{"\uDFFF": 1}', "surrogate"),
        ('"\ud800"', "surrogate"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 64 levels"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper than 64 levels"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested deeper than 64 levels"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(body: bytes | str, why: str) -> None:
    detail = refusal(body)
    assert detail.startswith("the body is not valid JSON: ")
    assert why in detail


def test_a_wide_body_is_not_a_deep_one() -> None:
    assert len(parse_json(b"[" + b"[[]]," * 500 + b"1]")) == 501
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(deepest) == parse_json(deepest.decode())
    assert parse_json('"' + "[" * 500 + '"') == "[" * 500


def test_a_byte_order_mark_and_a_surrogate_pair_are_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert parse_json(rb'"\ud83d\ude00"') == "😀"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T00:00:00+02:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(0), "PT0S"),
        (timedelta(days=2), "P2D"),
        (timedelta(days=1, hours=1, microseconds=500_000), "P1DT3600.5S"),
        (timedelta(seconds=-90), "-PT90S"),
        (IDENTITY, str(IDENTITY)),
        (Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Name("n"), "n"),
        (b"\x00\xff", "AP8="),
        (bytearray(b"ab"), "YWI="),
        ((1, "a"), [1, "a"]),
        ({1}, [1]),
        (frozenset({"a"}), ["a"]),
        (deque([1, 2]), [1, 2]),
        (namedtuple("P", "x y")(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        (Counter("aa"), {"a": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({1.5: 1, None: 2, False: 3}, {"1.5": 1, "null": 2, "false": 3}),
        ({IDENTITY: 1, Colour.RED: 2, date(2026, 1, 2): 3}, {str(IDENTITY): 1, "red": 2, "2026-01-02": 3}),
        (
            Order(IDENTITY, [Line("a", Decimal("2"), {"x"})]),
            {"id": str(IDENTITY), "lines": [{"sku": "a", "price": "2", "tags": ["x"]}]},
        ),
        (
            Model(id=IDENTITY, at=datetime(2026, 1, 2, tzinfo=UTC), **{"from": "x"}),
            {"id": str(IDENTITY), "at": "2026-01-02T00:00:00Z", "from": "x"},
        ),
        (Struct("n", Decimal("1.5")), {"name": "n", "price": "1.5"}),
    ],
)
def test_every_value_a_handler_may_return(value: Any, expected: Any) -> None:
    assert json.loads(to_json_bytes(value)) == expected
    assert json.loads(to_json_bytes([{"deep": value}])) == [{"deep": expected}]
    assert to_json_value(value) == expected


def test_an_attrs_class_is_an_object() -> None:
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class Point:
        x: int

    assert to_json_bytes([Point(1)]) == b'[{"x":1}]'


def test_the_bytes_are_compact_utf8() -> None:
    assert to_json_bytes({"a": ["é", None, True, 1.0]}) == '{"a":["é",null,true,1.0]}'.encode()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [1, math.nan]}, ValueError, "a.1 is nan, which JSON cannot hold"),
        (math.inf, ValueError, "the value is inf"),
        ({"a": Decimal("NaN")}, TypeError, "a is Decimal('NaN')"),
        ({"a": object()}, TypeError, "a is of type object, which JSON has no form for"),
        ([1, (x for x in "ab")], TypeError, "1 is of type generator, which JSON has no form for; return it alone"),
        ({(1, 2): 3}, TypeError, "a key of type tuple"),
        (["\ud800"], ValueError, "0 has half of a surrogate pair"),
    ],
)
def test_what_json_has_no_form_for_says_where(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        to_json_bytes(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append({"again": circle})
    with pytest.raises(ValueError, match="contains itself"):
        to_json_bytes(circle)
    assert to_json_bytes([1]) == b"[1]"


def test_nothing_heavy_is_imported_to_encode() -> None:
    sdk = str(Path(pys_multi.encoding.__file__).parents[1])
    code = f"""
import sys
sys.path.insert(0, {sdk!r})
import pys_multi.encoding as encoding
encoding.to_json_bytes({{"a": {{1}}, "b": b"x"}})
encoding.parse_json("{{}}")
heavy = ("typing", "dataclasses", "inspect", "decimal", "datetime", "uuid", "base64", "asyncio")
print([name for name in heavy if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
