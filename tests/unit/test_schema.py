"""schema.py: annotations as JSON Schema, and their agreement with the decoders."""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import annotated_types as at
import hypothesis
import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import strategies as st

from pys_multi.scalars import Invalid
from pys_multi.shapes import shape_of
from pys_multi.validation import decoder
from pys_multi_tools.schema import SchemaWriter, json_schema


class Colour(enum.Enum):
    """What colour it has."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Line:
    """One line of an order.

    More about it.
    """

    sku: str
    quantity: Annotated[int, at.Ge(1)] = 1
    colour: Colour = Colour.RED
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


class Address(TypedDict):
    street: str
    zip: NotRequired[str]


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass
class Cat:
    kind: Literal["cat"]


@dataclass
class Dog:
    kind: Literal["dog"]
    tricks: set[str]


class Model(pydantic.BaseModel):
    id: UUID
    line: dict[str, int] = {}


class Struct(msgspec.Struct):
    name: str
    inner: Struct | None = None


def schema(annotation: Any) -> dict[str, Any]:
    document = json_schema(annotation, globals())
    jsonschema.Draft202012Validator.check_schema(document)
    json.dumps(document)
    assert document.pop("$schema") == "https://json-schema.org/draft/2020-12/schema"
    return document


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (None, {"type": "null"}),
        (Any, {}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (date, {"type": "string", "format": "date"}),
        (time, {"type": "string", "format": "time"}),
        (timedelta, {"type": "string", "format": "duration"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (list, {"type": "array"}),
        (dict, {"type": "object"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (set[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (
            dict[int, Any],
            {"type": "object", "propertyNames": {"pattern": "^-?[0-9]+$"}},
        ),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"], {"const": "a"}),
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),
        (
            Annotated[int, at.Ge(1), at.Lt(5), at.MultipleOf(2)],
            {"type": "integer", "minimum": 1, "exclusiveMaximum": 5, "multipleOf": 2},
        ),
        (
            Annotated[str, pydantic.Field(min_length=1, max_length=3, pattern="^a", description="Its name")],
            {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^a", "description": "Its name"},
        ),
        (Annotated[list[int], at.MinLen(1)], {"type": "array", "items": {"type": "integer"}, "minItems": 1}),
        (Annotated[dict[str, Any], at.MaxLen(1)], {"type": "object", "maxProperties": 1}),
    ],
    ids=lambda case: str(case)[:50],
)
def test_the_schema_of_an_annotation(annotation: Any, expected: dict[str, Any]) -> None:
    assert schema(annotation) == expected


def test_a_named_type_is_a_definition_with_its_description_and_defaults() -> None:
    assert schema(list[Line]) == {
        "type": "array",
        "items": {"$ref": "#/$defs/Line"},
        "$defs": {
            "Line": {
                "type": "object",
                "description": "One line of an order.\n\nMore about it.",
                "properties": {
                    "sku": {"type": "string"},
                    "quantity": {"type": "integer", "minimum": 1, "default": 1},
                    "colour": {"$ref": "#/$defs/Colour", "default": "red"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["sku"],
            },
            "Colour": {"type": "string", "enum": ["red", "blue"]},
        },
    }


def test_a_recursive_type_refers_to_itself() -> None:
    assert schema(Tree)["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_a_union_told_apart_by_a_literal_says_so() -> None:
    assert schema(Cat | Dog)["discriminator"] == {
        "propertyName": "kind",
        "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
    }


def test_libraries_describe_their_own_types() -> None:
    described = schema(dict[str, Model])
    assert described["additionalProperties"] == {"$ref": "#/$defs/Model"}
    assert described["$defs"]["Model"]["properties"]["id"]["format"] == "uuid"
    described = schema(list[Struct])
    assert described["items"] == {"$ref": "#/$defs/Struct"}
    assert described["$defs"]["Struct"]["required"] == ["name"]


def test_two_types_of_one_name_keep_two_definitions() -> None:
    first = dataclasses.make_dataclass("Thing", [("a", int)])
    second = dataclasses.make_dataclass("Thing", [("b", int)])
    third = pydantic.create_model("Thing", c=(int, ...))
    writer = SchemaWriter("#/components/schemas/")
    refs = [writer.write(shape_of(kind))["$ref"] for kind in (first, second, third, first, second, third)]
    assert refs[:3] == refs[3:]
    assert len(set(refs)) == 3
    assert [list(item["properties"]) for item in writer.definitions.values()] == [["a"], ["b"], ["c"]]


# --- what a decoder accepts is what its schema accepts


scalars = st.sampled_from([str, int, float, bool, type(None), Decimal, Colour, Level, Literal["a", 1], Any])
constrained = st.sampled_from(
    [
        Annotated[int, at.Ge(0), at.Le(2)],
        Annotated[str, at.MinLen(1), at.MaxLen(2)],
        Annotated[list[int], at.MinLen(1)],
        Annotated[int | None, at.Gt(0)],
    ]
)
names = st.sampled_from(["a", "b", "c"])


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    fields = draw(st.dictionaries(names, st.tuples(inner, st.booleans()), max_size=3))
    declared = [
        (name, annotation, field(default=None)) if optional else (name, annotation)
        for name, (annotation, optional) in fields.items()
    ]
    return dataclasses.make_dataclass("Made", declared, kw_only=True)


annotations = st.recursive(
    scalars | constrained | st.sampled_from([Line, Tree, Address, Point, Cat | Dog]),
    lambda inner: st.one_of(
        inner.map(lambda a: list[a]),
        inner.map(lambda a: dict[str, a]),
        inner.map(lambda a: dict[int, a]),
        inner.map(lambda a: tuple[a, ...]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1] if Any not in pair else pair[0]),
        objects(inner),
    ),
    max_leaves=6,
)
# Values that are often nearly right: the words, numbers and names that the annotations above are about.
values = st.recursive(
    st.sampled_from(
        [None, True, False, 0, 1, 2, 3, -1, 1.0, 0.5, "", "a", "b", "abc", "red", "1", "-1.5", "cat", "dog"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["a", "b", "c", "1", "-2", "sku", "quantity", "value", "children", "street", "kind", "tricks"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@st.composite
def values_of(draw: st.DrawFn, annotation: Any) -> Any:
    """A value that fits the schema, mostly; so that acceptance is seen as often as refusal."""
    return draw(values | _fitting(json_schema(annotation, globals())))


def _fitting(document: dict[str, Any]) -> st.SearchStrategy[Any]:
    def of(part: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
        if "$ref" in part:
            return of(document["$defs"][part["$ref"].rpartition("/")[2]], depth)
        if depth > 4:
            return values
        if "const" in part:
            return st.just(part["const"])
        if "enum" in part:
            return st.sampled_from(part["enum"])
        if "anyOf" in part:
            return st.one_of([of(option, depth + 1) for option in part["anyOf"]])
        kind = part.get("type")
        if kind == "object":
            properties = {
                name: of(item, depth + 1) if name in part.get("required", ()) else of(item, depth + 1) | st.just(None)
                for name, item in part.get("properties", {}).items()
            }
            if properties:
                return st.fixed_dictionaries(properties)
            return st.dictionaries(st.sampled_from(["1", "a"]), of(part.get("additionalProperties", {}), depth + 1))
        if kind == "array":
            if "prefixItems" in part:
                return st.tuples(*(of(item, depth + 1) for item in part["prefixItems"])).map(list)
            return st.lists(of(part.get("items", {}), depth + 1), max_size=3)
        plain = {
            "string": st.sampled_from(["", "a", "1.5"]),
            "integer": st.integers(-2, 3) | st.just(2.0),
            "number": st.floats(-2, 2) | st.integers(-2, 3),
            "boolean": st.booleans(),
            "null": st.none(),
        }
        return plain.get(kind or "", values)

    return of(document, 0)


@hypothesis.settings(max_examples=300, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(st.data())
def test_the_decoder_accepts_exactly_what_the_schema_accepts(data: st.DataObject) -> None:
    annotation = data.draw(annotations)
    decode = decoder(annotation, globals())
    document = json_schema(annotation, globals())
    jsonschema.Draft202012Validator.check_schema(document)
    value = data.draw(values_of(annotation))
    try:
        decode(value)
        accepted = True
    except Invalid:
        accepted = False
    assert accepted == jsonschema.Draft202012Validator(document).is_valid(value)


def test_a_decimal_limit_is_a_number() -> None:
    limits = Annotated[Decimal, at.Ge(Decimal("0.5")), at.Lt(Decimal(9))]
    found = json_schema(limits)
    assert (found["minimum"], found["exclusiveMaximum"]) == (0.5, 9)
    assert json.loads(json.dumps(found)) == found
