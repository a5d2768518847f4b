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
    from pys_multi.shapes import Shape


def decoder(shape: Shape, text: bool) -> Decode:
    """The decoder of a shape of kind `foreign`; text: the fields of a form or query, each with all its values."""
    decode = _pydantic(shape.type) if shape.library == "pydantic" else _msgspec(shape.type, strict=not text)
    if not text:
        return decode
    take = _list_fields(shape)

    def decode_fields(value: Any) -> Any:
        from pys_multi.validation import pick

        return decode(pick(value, take))

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
            return validate(body)
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
    found = error.errors(include_url=False, include_context=False, include_input=False)
    problems: list[Problem] = [(tuple(item["loc"]), item["msg"]) for item in found]
    raise Invalid(problems=problems) from None


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
    return path, message.replace("`", "")


def _list_fields(shape: Shape) -> dict[str, bool]:
    """Which fields of a model take every value of a repeated name."""
    from pys_multi.shapes import shape_of
    from pys_multi.validation import is_list

    if shape.library == "pydantic":
        declared = getattr(shape.type, "model_fields", {})
        fields = [(field.alias or name, field.annotation) for name, field in declared.items()]
    else:
        fields = [(field.encode_name, field.type) for field in sys.modules["msgspec"].structs.fields(shape.type)]
    found = {}
    for name, annotation in fields:
        try:
            found[name] = is_list(shape_of(annotation))
        except DefinitionError:  # a type that only its own library knows, made of one text
            found[name] = False
    return found
