"""validation.py (with shapes.py, scalars.py and foreign.py): annotations → decoders."""

from __future__ import annotations

import collections.abc
import enum
import math
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    Self,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pys_multi.validation
from pys_multi.encoding import parse_json, to_json_bytes
from pys_multi.errors import DefinitionError
from pys_multi.scalars import Invalid
from pys_multi.validation import MAX_PROBLEMS, decoder

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

T = TypeVar("T")
IDENTITY = "12345678-1234-5678-1234-56781234567a"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Loose(enum.Enum):
    ON = "on"

    @classmethod
    def _missing_(cls, value: object) -> Loose | None:
        return cls.ON if str(value).lower() == "on" else None


@dataclass
class Line:
    sku: str
    quantity: int = 1
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.quantity < 1:
            raise ValueError("quantity must be positive")


@dataclass(kw_only=True, slots=True, frozen=True)
class Order:
    id: UUID
    lines: list[Line]
    note: str | None = None
    total: Decimal = field(init=False, default=Decimal(0))
    kind: typing.ClassVar[str] = "order"


class Address(TypedDict):
    street: str
    zip: NotRequired[str]


class Patch(TypedDict, total=False):
    name: Required[str]
    age: int


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass
class Link:
    to: Self | None = None


@dataclass
class NamedLink(Link):
    name: str = ""


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: Page[T] | None = None


@dataclass
class Orders(Page[Line]):
    total: int = 0


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int


@dataclass
class Dog:
    kind: Literal["dog"]
    tricks: list[str]


@dataclass
class Left:
    left: int


@dataclass
class Right:
    right: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: UUID
    tags: set[str] = set()


class Strange(pydantic.BaseModel):
    at: Annotated[int, pydantic.Field(ge=1)] = pydantic.Field(alias="@")


@pydantic.dataclasses.dataclass
class PydanticPoint:
    x: int


class Struct(msgspec.Struct):
    name: str
    inner: Struct | None = None
    born: date | None = None


UserId = NewType("UserId", int)


def problems(annotation: Any, value: Any, *, text: bool = False) -> list[tuple[str, str]]:
    decode = decoder(annotation, globals(), text=text)
    with pytest.raises(Invalid) as caught:
        decode(value)
    return [(".".join(map(str, path)), message) for path, message in caught.value.problems]


JSON_CASES: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 3, 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (float, 1.5, 1.5),
    (bool, True, True),
    (None, None, None),
    (type(None), None, None),
    (Any, [1, {"a": None}], [1, {"a": None}]),
    (object, "x", "x"),
    (bytes, "AP8=", b"\x00\xff"),
    (UUID, IDENTITY, UUID(IDENTITY)),
    (UUID, IDENTITY.upper(), UUID(IDENTITY)),
    (Decimal, "1.10", Decimal("1.10")),
    (Decimal, 1.1, Decimal("1.1")),
    (Decimal, 7, Decimal(7)),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (datetime, "2026-01-02 03:04", datetime(2026, 1, 2, 3, 4)),
    (datetime, "2026-01-02T03:04:05.5+02:00", datetime(2026, 1, 2, 3, 4, 5, 500000, timezone(timedelta(hours=2)))),
    (date, "2026-01-02", date(2026, 1, 2)),
    (time, "03:04:05", time(3, 4, 5)),
    (timedelta, "P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    (timedelta, "-P1W", timedelta(weeks=-1)),
    (list, [1, "a"], [1, "a"]),
    (dict, {"a": 1}, {"a": 1}),
    (list[int], [1, 2.0], [1, 2]),
    (typing.List[int], [1], [1]),  # noqa: UP006  (the old spelling is what is tested)
    (Sequence[int], [1], [1]),
    (collections.abc.Iterable[str], ["a"], ["a"]),
    (set[int], [1, 1], {1}),
    (frozenset[str], ["a"], frozenset("a")),
    (tuple, [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[int, str], {"-5": "a"}, {-5: "a"}),
    (dict[UUID, Colour], {IDENTITY: "red"}, {UUID(IDENTITY): Colour.RED}),
    (dict[Literal["a"], Any], {"a": 1}, {"a": 1}),
    (Optional[int], None, None),  # noqa: UP045
    (Union[int, str], "5", "5"),  # noqa: UP007
    (int | float, 1.0, 1.0),
    (float | int, 1, 1),
    (str | date, "2026-01-02", date(2026, 1, 2)),
    (str | date, "x", "x"),
    (list[int] | dict[str, int], {"a": 1}, {"a": 1}),
    (Literal["a", 1, None, True], True, True),
    (Literal["a", 1, None], 1.0, 1),
    (Literal[Colour.RED], "red", Colour.RED),
    (Colour, "blue", Colour.BLUE),
    (Level, 2, Level.HIGH),
    (Level, 2.0, Level.HIGH),
    (Loose, "ON", Loose.ON),
    (UserId, 5, 5),
    (Annotated[int, "a comment"], 5, 5),
    (Line, {"sku": "a"}, Line("a")),
    (Line, {"sku": "a", "tags": ["x"], "unknown": 1}, Line("a", 1, {"x"})),
    (
        Order,
        {"id": IDENTITY, "lines": [{"sku": "a"}], "total": "9"},
        Order(id=UUID(IDENTITY), lines=[Line("a")]),
    ),
    (Address, {"street": "x", "other": 1}, {"street": "x"}),
    (Patch, {"name": "x", "age": 1}, {"name": "x", "age": 1}),
    (Point, [1], Point(1)),
    (Point, [1, 2], Point(1, 2.0)),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
    (Page[Line], {"items": [{"sku": "a"}], "next": {"items": []}}, Page([Line("a")], Page([]))),
    (Orders, {"items": [{"sku": "a"}], "total": 1}, Orders([Line("a")], None, 1)),
    (Page, {"items": ["anything", 1]}, Page(["anything", 1])),
    (Cat | Dog, {"kind": "dog", "tricks": ["sit"]}, Dog("dog", ["sit"])),
    (Left | Right | None, {"right": 1}, Right(1)),
    (Model, {"id": IDENTITY, "tags": ["a"]}, Model(id=UUID(IDENTITY), tags={"a"})),
    (list[Model] | None, [{"id": IDENTITY}], [Model(id=UUID(IDENTITY))]),
    (PydanticPoint, {"x": 1}, PydanticPoint(1)),
    (Struct, {"name": "a", "inner": {"name": "b"}, "born": "2026-01-02"}, Struct("a", Struct("b"), date(2026, 1, 2))),
    (dict[str, Struct], {"k": {"name": "a"}}, {"k": Struct("a")}),
    ("Line", {"sku": "a"}, Line("a")),
    ("list['Line'] | None", [{"sku": "a"}], [Line("a")]),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), JSON_CASES, ids=lambda case: str(case)[:60])
def test_a_json_value_becomes_what_is_annotated(annotation: Any, value: Any, expected: Any) -> None:
    decoded = decoder(annotation, globals())(value)
    assert decoded == expected
    assert type(decoded) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [case for case in JSON_CASES if case[0] not in (Any, object, Page, tuple)],
    ids=lambda case: str(case)[:60],
)
def test_what_is_decoded_encodes_and_decodes_again(annotation: Any, value: Any, expected: Any) -> None:
    decode = decoder(annotation, globals())
    assert decode(parse_json(to_json_bytes(decode(value)))) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (str, 1, "must be a string"),
        (int, "1", "must be an integer"),
        (int, True, "must be an integer"),
        (int, 1.5, "must be an integer"),
        (float, True, "must be a number"),
        (float, 10**400, "must be a number that a double can hold"),
        (bool, 1, "must be true or false"),
        (None, 0, "must be null"),
        (bytes, "*", "must be base64"),
        (bytes, 5, "must be a string"),
        (UUID, "x", "must be a UUID"),
        (UUID, "1234567_-1234-5678-1234-567812345678", "must be a UUID"),
        (UUID, "{" + IDENTITY + "}", "must be a UUID"),
        (UUID, 5, "must be a UUID"),
        (Decimal, "NaN", "must be a decimal number"),
        (Decimal, "1_0", "must be a decimal number"),
        (Decimal, "1e999999", "must be a decimal number"),
        (Decimal, True, "must be a decimal number"),
        (datetime, "2026-01-02", "must be a date and time such as 2026-01-31T12:30:00Z"),
        (datetime, 1700000000, "must be a date and time such as 2026-01-31T12:30:00Z"),
        (date, "2026-13-02", "must be a date such as 2026-01-31"),
        (date, "20260102", "must be a date such as 2026-01-31"),
        (date, "2026-W01-1", "must be a date such as 2026-01-31"),
        (datetime, "2026-W01-1T00:00:00", "must be a date and time such as 2026-01-31T12:30:00Z"),
        (datetime, "2026-01-02T000000Z", "must be a date and time such as 2026-01-31T12:30:00Z"),
        (time, "25:00", "must be a time such as 12:30:00"),
        (timedelta, "P1Y", "must be an ISO 8601 duration such as PT1H30M"),
        (timedelta, "PT", "must be an ISO 8601 duration such as PT1H30M"),
        (timedelta, "P" + "9" * 60 + "D", "must be an ISO 8601 duration such as PT1H30M"),
        (list[int], {"a": 1}, "must be an array"),
        (set[Any], [[]], "must be an array of values that are no arrays or objects"),
        (tuple[int, str], [1], "must be an array of 2 items"),
        (Point, [], "must be an array of 1 to 2 items"),
        (dict[str, int], [], "must be an object"),
        (dict, [], "must be an object"),
        (Line, [], "must be an object"),
        (int | None, "x", "must be an integer, or must be null"),
        (Colour, "green", "must be one of 'red', 'blue'"),
        (Colour, ["red"], "must be one of 'red', 'blue'"),
        (Level, True, "must be one of 1, 2"),
        (Literal[1, True], "1", "must be one of 1, true"),
        (Loose, "off", "must be one of 'on'"),
        (Line, {"sku": "a", "quantity": 0}, "quantity must be positive"),
    ],
    ids=lambda case: str(case)[:60],
)
def test_a_json_value_of_another_type_is_refused(annotation: Any, value: Any, message: str) -> None:
    assert problems(annotation, value) == [("", message)]


def test_every_problem_is_told_at_once_with_its_path() -> None:
    value = {"lines": [{"sku": 1, "tags": ["a", 2]}, {"quantity": "x"}, 3], "note": 4}
    assert problems(Order, value) == [
        ("id", "is required"),
        ("lines.0.sku", "must be a string"),
        ("lines.0.tags.1", "must be a string"),
        ("lines.1.sku", "is required"),
        ("lines.1.quantity", "must be an integer"),
        ("lines.2", "must be an object"),
        ("note", "must be a string, or must be null"),
    ]


def test_a_name_of_a_dict_is_told_apart_from_its_value() -> None:
    assert problems(dict[int, int], {"x": 1, "2": "y"}) == [
        ("x", "the name must be an integer"),
        ("2", "must be an integer"),
    ]


def test_a_hostile_list_gets_no_million_answers() -> None:
    assert len(problems(list[int], ["x"] * 100_000)) == MAX_PROBLEMS
    assert len(problems(dict[str, int], {str(n): "x" for n in range(1000)})) == MAX_PROBLEMS
    assert len(problems(list[list[int]], [["x"] * 90] * 90)) == MAX_PROBLEMS


def test_messages_never_repeat_what_came() -> None:
    secret = "hunter2-very-secret"
    for annotation in (int, UUID, date, Decimal, Colour, Line, Model, Struct, int | date, list[int], bytes, timedelta):
        for value in (secret, {"id": secret, "name": 5, "sku": 5}, [secret]):
            decode = decoder(annotation, globals())
            told = ""
            try:
                decode(value)
            except Invalid as error:
                told = str(error)
            assert secret not in told


def test_a_union_of_objects_is_told_apart_by_its_literal() -> None:
    assert problems(Cat | Dog, {"kind": "cow"}) == [("kind", "must be one of 'cat', 'dog'")]
    assert problems(Cat | Dog, {"kind": "cat", "lives": "x", "tricks": 3}) == [("lives", "must be an integer")]
    assert problems(Cat | Dog, {}) == [("kind", "must be one of 'cat', 'dog'")]
    assert problems(Cat | Dog, 5) == [("", "must be an object")]
    assert problems(Left | Right, {"left": "x"}) == [("left", "must be an integer")]


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (str, " a ", " a "),
        (int, "-5", -5),
        (int, "007", 7),
        (float, "1e3", 1000.0),
        (float, "-.5", -0.5),
        (bool, "true", True),
        (bool, "0", False),
        (bool, "On", True),
        (bool, "NO", False),
        (UUID, IDENTITY, UUID(IDENTITY)),
        (date, "2026-01-02", date(2026, 1, 2)),
        (Decimal, "1.10", Decimal("1.10")),
        (Colour, "red", Colour.RED),
        (Level, "2", Level.HIGH),
        (Literal[1, True, "x"], "true", True),
        (Literal[1, "x"], "1", 1),
        (bytes, "AP8=", b"\x00\xff"),
        (int | None, "5", 5),
        (int | None, "", None),
        (str | None, "", ""),
        (str | int, "5", 5),
        (int | str, "x", "x"),
        (Any, "x", "x"),
        (list[int], ["1", "2"], [1, 2]),
        (set[str] | None, ["a"], {"a"}),
        (tuple[int, str], ["1", "a"], (1, "a")),
        (UserId, "5", 5),
    ],
    ids=lambda case: str(case)[:60],
)
def test_text_is_read_as_what_is_annotated(annotation: Any, text: Any, expected: Any) -> None:
    decoded = decoder(annotation, globals(), text=True)(text)
    assert decoded == expected
    assert type(decoded) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (int, "1_000", "must be an integer"),
        (int, " 5", "must be an integer"),
        (int, "٣", "must be an integer"),
        (int, "5.0", "must be an integer"),
        (int, "-", "must be an integer"),
        (int, "", "must be an integer"),
        (int, "9" * 5000, "must be an integer"),
        (float, "nan", "must be a number"),
        (float, "1e999", "must be a number"),
        (float, "1_0.5", "must be a number"),
        (float, " 1", "must be a number"),
        (bool, "2", "must be true or false"),
        (int | None, "x", "must be an integer"),
        (Level, "3", "must be one of 1, 2"),
        (int | date, "x", "must be an integer, or must be a date such as 2026-01-31"),
    ],
    ids=lambda case: str(case)[:60],
)
def test_text_that_is_something_else_is_refused(annotation: Any, text: str, message: str) -> None:
    assert problems(annotation, text, text=True) == [("", message)]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for annotation in (int, float, bool, UUID, date, datetime, time, timedelta, Decimal, bytes, Colour, int | None):
        try:
            decoded = decoder(annotation, text=True)(text)
        except Invalid:
            continue
        assert decoded is None or isinstance(decoded, annotation)


@given(st.from_type(timedelta) | st.datetimes(timezones=st.just(UTC)) | st.datetimes() | st.dates() | st.times())
def test_every_moment_comes_back(value: Any) -> None:
    assert decoder(type(value))(parse_json(to_json_bytes(value))) == value


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.binary() | st.uuids() | st.floats(allow_nan=False))
def test_every_scalar_comes_back(value: Any) -> None:
    if isinstance(value, float) and math.isinf(value):
        return
    assert decoder(type(value))(parse_json(to_json_bytes(value))) == value


def test_constraints_of_every_library_are_kept() -> None:
    import annotated_types as at

    assert problems(Annotated[int, at.Ge(1), at.Lt(9)], 9) == [("", "must be less than 9")]
    assert problems(Annotated[int, at.Interval(gt=1, le=5)], 1) == [("", "must be greater than 1")]
    assert problems(Annotated[int, pydantic.Field(ge=1, multiple_of=2)], -1) == [
        ("", "must be at least 1"),
        ("", "must be a multiple of 2"),
    ]
    assert problems(Annotated[str, msgspec.Meta(min_length=2, pattern="^a")], "b") == [
        ("", "must have a length of at least 2"),
        ("", "must match the pattern ^a"),
    ]
    assert problems(list[Annotated[str, at.MaxLen(1)]], ["aa"]) == [("0", "must have a length of at most 1")]
    assert decoder(Annotated[int | None, at.Ge(1)])(None) is None


@pytest.mark.parametrize(
    ("annotation", "limits", "fits", "misfits"),
    [
        (Decimal, {"multiple_of": 0.01}, ["1.5", "1e6000"], ["0.005", "0." + "1" * 4298, "1" * 4301]),
        (Decimal, {"multiple_of": Decimal("0.01")}, ["1e6000"], ["1e-6000"]),
        (Decimal, {"ge": 0.1}, ["0.1"], ["0.09"]),
        (float, {"multiple_of": 0.1}, [0.3, -0.7, 1e308], [0.25]),
        (int, {"multiple_of": 0.5}, [10**400], []),
        (int | str, {"ge": 3}, [3, "a"], [2]),
        (int | str, {"min_length": 2}, [1, "ab"], ["a"]),
        (datetime, {"ge": datetime(2020, 1, 1, tzinfo=UTC)}, ["2020-01-01T00:00:00Z"], ["2021-01-01T00:00:00"]),
        (datetime, {"lt": datetime(2020, 1, 1)}, ["2019-01-01T00:00:00"], ["2019-01-01T00:00:00Z"]),
        (str, {"ge": "b"}, ["b"], ["a"]),
        (bytes, {"max_length": 1}, ["YQ=="], ["YWE="]),
    ],
)
def test_limits_are_exact_and_no_value_breaks_them(
    annotation: Any, limits: dict[str, Any], fits: list[Any], misfits: list[Any]
) -> None:
    decode = decoder(Annotated[annotation, SimpleNamespace(**limits)])
    for value in fits:
        decode(value)
    for value in misfits:
        with pytest.raises(Invalid, match="must"):
            decode(value)


@pytest.mark.parametrize(
    ("annotation", "limits"),
    [
        (int, {"min_length": 2}),
        (int, {"pattern": "a"}),
        (str, {"ge": 3}),
        (str, {"multiple_of": 3}),
        (int, {"multiple_of": 0}),
        (str, {"min_length": -1}),
        (str, {"pattern": "("}),
        (date, {"ge": datetime(2020, 1, 1, tzinfo=UTC)}),
        (list[int], {"ge": 3}),
        (Colour, {"max_length": 3}),
    ],
)
def test_limits_that_mean_nothing_are_refused_when_defined(annotation: Any, limits: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=f"{next(iter(limits))}="):
        decoder(Annotated[annotation, SimpleNamespace(**limits)])


def test_self_is_the_class_that_has_or_inherits_it() -> None:
    assert decoder(Link)({"to": {"to": None}}) == Link(Link())
    assert decoder(NamedLink)({"to": {"name": "a"}}) == NamedLink(NamedLink(None, "a"))


def test_names_from_the_caller_are_cut_short() -> None:
    with pytest.raises(Invalid, match=f"^a.{'k' * 100}…: must be an integer$"):
        decoder(dict[str, dict[str, int]])({"a": {"k" * 1_000_000: "x"}})


def test_no_message_of_a_library_repeats_what_came() -> None:
    class Cat(pydantic.BaseModel):
        kind: Literal["cat"]

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"]

    class Tagged(msgspec.Struct, tag="a", forbid_unknown_fields=True):
        colour: Colour

    class Other(msgspec.Struct, tag="b"): ...

    animal = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
    assert problems(animal, {"kind": "s3cret"}) == [("", "'kind' must be one of 'cat', 'dog'")]
    assert problems(Tagged, {"type": "a", "colour": "s3cret"}) == [("colour", "Invalid enum value")]
    assert problems(Tagged | Other, {"type": "s3cret"}) == [("type", "Invalid value")]
    assert problems(Tagged, {"type": "a", "colour": "red", "more\n": "s3cret"}) == [("more\n", "is not known")]


def test_libraries_say_what_is_wrong_with_their_own_types() -> None:
    [(path, message)] = problems(Model, {"id": "x"})
    assert path == "id"
    assert "valid UUID" in message
    assert problems(Strange, {"@": 0}) == [("@", "Input should be greater than or equal to 1")]
    assert problems(list[Struct], [{"name": "a", "inner": {"name": 5}}]) == [("0.inner.name", "Expected str, got int")]
    assert problems(Struct, {"name": "a", "inner": {}}) == [("inner.name", "is required")]


def test_a_form_of_a_model_takes_one_or_all_values_of_a_name() -> None:
    form = {"sku": ["a", "b"], "quantity": ["2"], "tags": ["x", "y"]}
    assert decoder(Line, text=True)(form) == Line("b", 2, {"x", "y"})
    assert problems(Line, {"sku": []}, text=True) == [("sku", "is required")]

    class Search(pydantic.BaseModel):
        words: list[str]
        limit: int = 1

    class Find(msgspec.Struct):
        words: list[str]
        limit: int = 1

    for kind in (Search, Find):
        decoded = decoder(kind, text=True)({"words": ["a"], "limit": ["1", "5"]})
        assert (decoded.words, decoded.limit) == (["a"], 5)


def test_an_attrs_class_is_filled() -> None:
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class Thing:
        name: str
        _size: int = 3
        parts: list[str] = attrs.Factory(list)

    assert decoder(Thing)({"name": "a", "size": 4}) == Thing("a", 4)
    assert problems(Thing, {"parts": [1]}) == [("name", "is required"), ("parts.0", "must be a string")]
    assert decoder(Thing)(parse_json(to_json_bytes(Thing("a", 4, ["x"])))) == Thing("a", 4, ["x"])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is of Python 3.12")
def test_type_aliases_and_type_parameters() -> None:
    names: dict[str, Any] = {"__name__": __name__, "dataclass": dataclass}
    source = (
        "type Json = dict[str, Json] | list[Json] | str | int | float | bool | None\n"
        "type Pair[A] = tuple[A, A]\n"
        "@dataclass\n"
        "class Box[A]:\n"
        "    content: A\n"
        "    pair: Pair[A]\n"
    )
    exec(compile(source, "<types>", "exec", dont_inherit=True), names)
    value = {"a": [1, {"b": None}]}
    assert decoder(names["Json"])(value) == value
    assert problems(names["Json"], {"a": [object()]})[0][0] == "a.0"
    assert decoder(names["Pair"][int])([1, 2]) == (1, 2)
    box = decoder(names["Box"][int])({"content": 1, "pair": [1, 2]})
    assert (box.content, box.pair) == (1, (1, 2))
    assert problems(names["Box"][int], {"content": "x", "pair": [1, "y"]}) == [
        ("content", "must be an integer"),
        ("pair.1", "must be an integer"),
    ]


@dataclass
class WithInit:
    a: InitVar[int]


@dataclass
class AmbiguousA:
    child: AmbiguousA | AmbiguousB | None = None


@dataclass
class AmbiguousB:
    child: AmbiguousA | AmbiguousB | None = None


@dataclass
class Unknown:
    a: Missing


class Shapes(enum.Enum):
    A = (1, 2)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (complex, "complex is not a type that a value can be read into; use str, int"),
        (typing.Callable[[], int], "is not a type that a value can be read into"),
        (type("Plain", (), {}), "Plain is not a type"),
        (WithInit, "WithInit.a is an InitVar"),
        (dict[tuple[int, int], int], "the keys of a dict come as strings"),
        (Literal[b"x"], "a choice that comes as JSON is a str, int, bool or None"),
        (Shapes, "Shapes.A has a value of type tuple"),
        (AmbiguousA, "contains itself, and its members cannot be told apart"),
        (Unknown, "names 'Missing', which its module does not have at run time"),
        ("Missing", "names 'Missing', which its module does not have at run time"),
        ("list[", "cannot be evaluated"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_a_type_that_cannot_be_read_is_refused_where_it_is_defined(annotation: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        decoder(annotation, globals())
    assert message in str(caught.value)


def test_a_dict_is_no_text() -> None:
    with pytest.raises(DefinitionError, match="cannot be read from text"):
        decoder(dict[str, int], text=True)


def test_deep_input_of_a_recursive_type_costs_no_stack_and_no_time() -> None:
    value: dict[str, Any] = {"value": "wrong"}
    for _ in range(60):
        value = {"value": 1, "children": [value]}
    assert problems(Tree, value) == [(".".join(["children.0"] * 60 + ["value"]), "must be an integer")]


def test_only_valueerror_of_a_class_is_the_callers_mistake() -> None:
    @dataclass
    class Broken:
        a: int

        def __post_init__(self) -> None:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        decoder(Broken)({"a": 1})


def test_plain_types_import_nothing() -> None:
    sdk = str(Path(pys_multi.validation.__file__).parents[1])
    code = f"""
import sys
sys.path.insert(0, {sdk!r})
from pys_multi.validation import decoder
for annotation in (str, int, float, bool, list[int], dict[str, int], int | None, list, dict, tuple[int, str]):
    decoder(annotation), decoder("list[int]"), decoder(int | None, text=True)
heavy = ("typing", "dataclasses", "inspect", "decimal", "datetime", "uuid", "asyncio", "annotationlib")
print([name for name in heavy if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
