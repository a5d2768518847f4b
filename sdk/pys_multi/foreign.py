"""Types of pydantic and msgspec, validated by their own library, which the user's module has imported."""

from __future__ import annotations

import sys

from pys_multi.encoding import parse_json, to_json_bytes
from pys_multi.errors import DefinitionError
from pys_multi.scalars import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pys_multi.scalars import Decode, Problem
    from pys_multi.shape import Shape


_BOM = b"\xef\xbb\xbf"


def decoder(shape: Shape, text: bool) -> Decode:
    """The decoder of a shape of kind `foreign`; text: the fields of a form or query, each with all its values."""
    decode = _pydantic(shape.type) if shape.library == "pydantic" else _msgspec(shape.type, strict=not text)
    if not text:
        return decode
    take, nullable = _text_fields(shape)

    def decode_fields(value: Any) -> Any:
        from pys_multi.validation import pick

        if type(value) is not dict:
            raise Invalid("must be an object")
        picked = pick(value, take)
        problems: list[Problem] = []
        for name, found in picked.items():
            if any(type(item) is not str for item in (found if type(found) is list else (found,))):
                problems.append(((name,), "must be text, not a file"))
            elif found == "" and name in nullable:
                picked[name] = None
        if problems:
            raise Invalid(problems=problems)
        return decode(picked)

    return decode_fields


def body_decoder(shape: Shape) -> Decode:
    """A decoder of the bytes of a body."""
    if shape.library != "pydantic":
        decode = _msgspec(shape.type, strict=True)
        return lambda body: decode(parse_json(body))
    validate, error_type = _pydantic_validator(shape.type)

    def decode_body(body: bytes | str) -> Any:
        parse_json(body)  # one rule for what is JSON, whichever library the handler's types come from
        try:
            # Which allows a byte order mark, and pydantic does not.
            return validate(body.removeprefix("\ufeff") if isinstance(body, str) else body.removeprefix(_BOM))
        except error_type as error:
            _raise_pydantic(error)

    return decode_body


def _pydantic_validator(annotation: Any) -> tuple[Any, type[Exception]]:
    pydantic = sys.modules["pydantic"]
    try:
        validator = getattr(annotation, "__pydantic_validator__", None)
        if validator is None or not isinstance(annotation, type):
            validator = pydantic.TypeAdapter(annotation).validator
        # In JSON mode a strict model still takes a date or UUID from a string, for JSON has no other way.
        return validator.validate_json, pydantic.ValidationError
    except Exception as error:
        raise DefinitionError(f"pydantic cannot validate {annotation!r}: {error}") from error


def _pydantic(annotation: Any) -> Decode:
    validate, error_type = _pydantic_validator(annotation)

    def decode(value: Any) -> Any:
        try:
            return validate(to_json_bytes(value))
        except error_type as error:
            _raise_pydantic(error)

    return decode


def _raise_pydantic(error: Any) -> NoReturn:
    found = error.errors(include_url=False, include_input=False)
    problems: list[Problem] = [(tuple(item["loc"]), _pydantic_message(item)) for item in found]
    raise Invalid(problems=problems) from None


def _pydantic_message(item: Any) -> str:
    if item["type"] == "union_tag_invalid":  # the only message of pydantic's that repeats what came
        return f"{item['ctx']['discriminator']} must be one of {item['ctx']['expected_tags']}"
    message: str = item["msg"]
    return message


def _msgspec(annotation: Any, strict: bool) -> Decode:
    msgspec = sys.modules["msgspec"]
    convert, error_type = msgspec.convert, msgspec.ValidationError

    def decode(value: Any) -> Any:
        try:
            return convert(value, annotation, strict=strict)
        except error_type as error:
            raise Invalid(problems=[_msgspec_problem(str(error))]) from None

    return decode


def _msgspec_problem(text: str) -> Problem:
    """From ``Expected `int`, got `str` - at `$.items[0].sku` `` to the path and the rest."""
    from re import findall, fullmatch

    message, _, place = text.partition(" - at `")
    place = place.removesuffix("`").removeprefix("key in `")
    path: tuple[object, ...] = tuple(name or int(index) for name, index in findall(r"\.([^.\[]+)|\[(\d+)\]", place))
    missing = fullmatch(r"Object missing required field `(.+)`", message)
    if missing:
        return (*path, missing[1]), "is required"
    unknown = fullmatch(r"(?s)Object contains unknown field `(.+)`", message)
    if unknown:
        return (*path, unknown[1]), "is not known"
    invalid = fullmatch(r"(?s)(Invalid (?:enum )?value) .+", message)  # which repeats the value
    return path, invalid[1] if invalid else message.replace("`", "")


def _text_fields(shape: Shape) -> tuple[dict[str, bool], set[str]]:
    """Of the fields of a model by their names outside: whether each takes every value of a repeated name, and which of
    them take the empty text for None."""
    from pys_multi.shapes import shape_of
    from pys_multi.validation import is_list, is_nullable

    take: dict[str, bool] = {}
    nullable: set[str] = set()
    for names, annotation in _declared(shape):
        try:
            field = shape_of(annotation)
        except DefinitionError:  # a type that only its own library knows, made of one text
            continue
        take.update(dict.fromkeys(names, is_list(field)))
        if is_nullable(field):
            nullable.update(names)
    return take, nullable


def _declared(shape: Shape) -> list[tuple[list[str], Any]]:
    model = shape.type
    while hasattr(model, "__metadata__"):
        model = model.__origin__
    if shape.library == "msgspec":
        if not hasattr(model, "__struct_fields__"):  # a union of structs
            return []
        return [([field.encode_name], field.type) for field in sys.modules["msgspec"].structs.fields(model)]
    fields = getattr(model, "__pydantic_fields__", None) or getattr(model, "model_fields", {})
    return [(_pydantic_names(name, field), field.annotation) for name, field in fields.items()]


def _pydantic_names(name: str, field: Any) -> list[str]:
    """What a field may be called in the input: the name itself too, for a model may allow it beside its aliases."""
    alias = field.validation_alias
    return [name, *(choice for choice in getattr(alias, "choices", (alias,)) if isinstance(choice, str))]
