"""How the value of one parameter is read from a request: a closure for each, made once per handler."""

from __future__ import annotations

from pys_multi.encoding import parse_json
from pys_multi.errors import DefinitionError, FieldError, HTTPError, InvalidInput
from pys_multi.scalars import Invalid, field_path, full_name_of, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pys_multi.http import Request
    from pys_multi.parameters import Parameter
    from pys_multi.scalars import Decode
    from pys_multi.shape import Shape

    Read = Callable[[Request, Mapping[str, Any]], Any]

#: Converter of a path template → the full name of the type it makes.
_CONVERTED = {"int": "builtins.int", "float": "builtins.float", "uuid": "uuid.UUID"}


def reader_of(parameter: Parameter) -> Read:
    location = parameter.location
    if location == "request":
        return lambda request, params: request  # noqa: ARG005
    if location == "context":
        return lambda request, params: request.context  # noqa: ARG005
    if location == "path":
        return _path_reader(parameter)
    if location == "body":
        return _body_reader(parameter)
    if location == "form":
        return _form_reader(parameter)
    if parameter.marker is not None and location_of(parameter.shape()) == "body":
        if location == "query":
            return _whole_reader(parameter)
        raise DefinitionError(f"has fields, and a {location} is one text; take them one by one")
    decode, several = _text_decoder(parameter)
    return _field_reader(location, parameter, decode, several)


def _text_decoder(parameter: Parameter) -> tuple[Decode | None, bool]:
    """How its text is decoded, None where the text is the value; and whether it takes every value of its name."""
    if parameter.annotation is str and parameter.marker is None:
        return None, False
    name = full_name_of(parameter.annotation)
    if name and parameter.marker is None:
        return scalar(name, parameter.annotation, True), False
    from pys_multi.validation import compile_shape, is_list

    shape = parameter.shape()
    return compile_shape(shape, text=True), is_list(shape)


def _path_reader(parameter: Parameter) -> Read:
    name, converter, annotation = parameter.name, parameter.converter, parameter.annotation
    converted = _CONVERTED.get(converter)
    if annotation is None or (full_name_of(annotation) or None) == (converted or "builtins.str"):
        return lambda request, params: params[name]  # noqa: ARG005
    if converted is None:
        decode, several = _text_decoder(parameter)
        if several or decode is None:
            raise DefinitionError("is one text of the path and cannot be a list")
        return lambda request, params: decode(params[name])  # noqa: ARG005
    from pys_multi.validation import compile_shape

    shape = parameter.shape()
    bare = shape
    while bare.kind == "constrained":
        bare = bare.items[0]
    plain = full_name_of(bare.type) if bare.kind == "scalar" else ""
    if plain == converted:
        check = compile_shape(shape, text=converted == "uuid.UUID")
        if bare is shape:
            return lambda request, params: params[name]  # noqa: ARG005
        if converted == "uuid.UUID":
            return lambda request, params: check(str(params[name]))  # noqa: ARG005
        return lambda request, params: check(params[name])  # noqa: ARG005
    if converted == "uuid.UUID" or not (plain in ("builtins.float", "decimal.Decimal") or bare.kind == "choice"):
        raise DefinitionError(
            f"is annotated {getattr(annotation, '__name__', annotation)}, and {{{name}:{converter}}} in the path makes "
            f"it {converted.rpartition('.')[2]}; change one of them"
        )
    check = compile_shape(shape)
    return lambda request, params: check(params[name])  # noqa: ARG005


def _field_reader(location: str, parameter: Parameter, decode: Decode | None, several: bool) -> Read:
    alias, default, required = parameter.alias, parameter.default, parameter.required

    def value_of(request: Request) -> Any:
        if location == "query":
            if not request.query_string:
                return None
            return request.query.get_all(alias) or None if several else request.query.get(alias)
        if location == "header":
            return request.headers.get_all(alias) or None if several else request.headers.get(alias)
        value = request.cookies.get(alias)
        return [value] if several and value is not None else value

    def read(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
        value = value_of(request)
        if value is None:
            if required:
                raise Invalid("is required")
            return default
        return value if decode is None else decode(value)

    return read


def _form_reader(parameter: Parameter) -> Read:
    from pys_multi.validation import form_decoder, is_list

    shape = parameter.shape()
    if location_of(shape) == "body":
        return _whole_reader(parameter)
    alias, default, required = parameter.alias, parameter.default, parameter.required
    decode, several = form_decoder(shape), is_list(shape)

    def read(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
        values = request.form().get_all(alias) if request.body else []
        if not values:
            if required:
                raise Invalid("is required")
            return default
        return decode(values if several else values[-1])

    return read


def _whole_reader(parameter: Parameter) -> Read:
    """All fields of a form or query, as one dataclass or model."""
    from pys_multi.validation import compile_shape, form_decoder

    shape = parameter.shape()
    if not _is_whole(shape):
        raise DefinitionError("cannot be read from text; take the fields one by one, or a dataclass or model of them")
    is_form, default, required = parameter.location == "form", parameter.default, parameter.required
    decode = form_decoder(shape) if is_form else compile_shape(shape, text=True)
    parameter.alias = ""

    def read(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
        fields: dict[str, list[Any]] = {}
        if request.body if is_form else request.query_string:
            for name, value in (request.form() if is_form else request.query).items():
                fields.setdefault(name, []).append(value)
        elif not required:
            return default
        return decode(fields)

    return read


def _is_whole(shape: Shape) -> bool:
    if shape.kind in ("union", "constrained"):
        return all(_is_whole(item) for item in shape.items if item.type is not type(None))
    return shape.kind in ("object", "foreign")


def _body_reader(parameter: Parameter) -> Read:
    default, required = parameter.default, parameter.required
    raw = parameter.annotation
    raw = raw.__origin__ if hasattr(raw, "__metadata__") else raw
    decode: Decode
    if raw is bytes or raw is str:
        read_raw: Read = (
            (lambda request, params: request.body) if raw is bytes else (lambda request, params: request.text)  # noqa: ARG005
        )
        return lambda request, params: read_raw(request, params) if request._body or required else default
    if raw is dict and parameter.marker is None:
        decode = _json_object
    elif raw is list and parameter.marker is None:
        decode = _json_array
    else:
        decode = _shaped_body(parameter)

    def read(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
        body = request._body
        if not body:
            if required:
                raise Invalid("is required")
            return default
        headers = request._headers
        if type(headers) is not dict or headers.get("content-type") != "application/json":
            _require_json(request)
        return decode(body)

    return read


def _shaped_body(parameter: Parameter) -> Decode:
    shape = parameter.shape()
    if shape.kind == "foreign":
        from pys_multi.foreign import body_decoder

        return body_decoder(shape)
    from pys_multi.validation import compile_shape

    decode = compile_shape(shape)
    return lambda body: decode(parse_json(body))


def _json_object(body: bytes | str) -> Any:
    value = parse_json(body)
    if type(value) is dict:
        return value
    raise Invalid("must be an object")


def _json_array(body: bytes | str) -> Any:
    value = parse_json(body)
    if type(value) is list:
        return value
    raise Invalid("must be an array")


def _require_json(request: Request) -> None:
    """Raises HTTPError 415 for another content type than JSON.

    Not a formality: a page of another origin can make a browser send text/plain or no content type at all
    without asking this service first (CORS preflight), and such a request always carries an Origin.
    """
    content_type = request.headers.get("content-type")
    if content_type is None:
        if "origin" not in request.headers:
            return
        raise HTTPError(415, "the body has no content type; send application/json")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPError(415, "the body must be JSON, sent as application/json")


def location_of(shape: Shape) -> str:
    """Query for single values and lists of them, form for files, body for everything with a structure."""
    if shape.kind in ("scalar", "choice"):
        return "query"
    if shape.kind == "any":
        return ""
    if shape.kind == "file":
        return "form"
    if shape.kind in ("array", "tuple", "union", "constrained"):
        places = {location_of(item) for item in shape.items if item.type is not type(None)}
        nested = shape.kind in ("array", "tuple") and any(item.kind in ("array", "tuple") for item in shape.items)
        for place in ("form", "body", "query"):
            if place in places:
                return "body" if nested else place
        return "body" if shape.kind == "array" else ""
    return "body"


def caller_of(handler: Any, parameters: list[Parameter]) -> Callable[[Request, Mapping[str, Any]], Any]:
    """A specialised call: most handlers take one or two parameters, and this is on the way of every request."""
    if not parameters:
        return lambda request, params: handler()  # noqa: ARG005
    by_keyword = [parameter for parameter in parameters if parameter.keyword]
    if len(parameters) == 1 and not by_keyword:
        only = parameters[0]
        read_only = only.read
        if only.location == "request":
            return lambda request, params: handler(request)  # noqa: ARG005

        def call_with_one(request: Request, params: Mapping[str, Any]) -> Any:
            try:
                value = read_only(request, params)
            except Invalid as error:
                raise InvalidInput(_located(only, error)) from None
            return handler(value)

        return call_with_one
    reads = [parameter.read for parameter in parameters if not parameter.keyword]

    def call(request: Request, params: Mapping[str, Any]) -> Any:
        try:
            values = [read(request, params) for read in reads]
            named = {parameter.name: parameter.read(request, params) for parameter in by_keyword}
        except Invalid:
            raise _everything_wrong(parameters, request, params) from None
        return handler(*values, **named)

    return call


def _everything_wrong(parameters: list[Parameter], request: Request, params: Mapping[str, Any]) -> InvalidInput:
    """Reads every parameter again, for the first problem hid the others."""
    errors: list[FieldError] = []
    for parameter in parameters:
        try:
            parameter.read(request, params)
        except Invalid as error:
            errors += _located(parameter, error)
    return InvalidInput(errors)


def _located(parameter: Parameter, error: Invalid) -> list[FieldError]:
    prefix = (parameter.alias,) if parameter.alias else ()
    return [FieldError(parameter.location, field_path((*prefix, *path)), message) for path, message in error.problems]
