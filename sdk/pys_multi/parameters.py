"""How a handler's parameters are filled from a request: decided once per handler, from its signature.

    bind(handler, {"id": "int"}, "POST") → Binding.call(request, path_params) → what the handler returns

Where a parameter comes from, first rule that fits: named in the path → path; annotated Request or Context (or
named so, without annotation) → that; marked Query(), Header(), Cookie(), Form() or Body() → there; a dataclass,
TypedDict, model, dict or list of such → the body, as JSON; str, int, … and lists of them → the query.
"""

from __future__ import annotations

from pys_multi.encoding import parse_json
from pys_multi.errors import DefinitionError, FieldError, HTTPError, InvalidInput
from pys_multi.http import Request
from pys_multi.messages import Context
from pys_multi.scalars import NAMES, Invalid, field_path, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from pys_multi.scalars import Decode
    from pys_multi.shapes import Shape

    Read = Callable[[Request, Mapping[str, Any]], Any]

_NO_BODY = ("GET", "HEAD", "OPTIONS", "TRACE")
_CONVERTED = {"int": "builtins.int", "float": "builtins.float", "uuid": "uuid.UUID"}
_POSSIBLE = (
    "a parameter is one of the path, annotated Request or Context, of the query (str, int, … or a list of them), "
    "the JSON body (a dataclass, TypedDict, pydantic, msgspec or attrs class, dict, list), "
    "or marked Query(), Header(), Cookie(), Form() or Body()"
)


class _Required:
    """The default of what has none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


class Marker:
    """Says where a parameter comes from, and what its value must be; made by `Query` and its like."""

    __slots__ = (
        "alias",
        "default",
        "deprecated",
        "description",
        "ge",
        "gt",
        "le",
        "location",
        "lt",
        "max_length",
        "min_length",
        "multiple_of",
        "pattern",
    )

    def __init__(
        self,
        location: str,
        alias: str | None = None,
        default: Any = REQUIRED,
        *,
        gt: float | None = None,
        ge: float | None = None,
        lt: float | None = None,
        le: float | None = None,
        multiple_of: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        pattern: str | None = None,
        description: str = "",
        deprecated: bool = False,
    ) -> None:
        self.location = location
        self.alias = alias
        self.default = default
        self.gt = gt
        self.ge = ge
        self.lt = lt
        self.le = le
        self.multiple_of = multiple_of
        self.min_length = min_length
        self.max_length = max_length
        self.pattern = pattern
        self.description = description
        self.deprecated = deprecated

    def __repr__(self) -> str:
        return f"{self.location.capitalize()}({self.alias or ''})"


# Functions that return Any, so that a marker can stand as the default of a parameter of any type.


def Query(alias: str | None = None, *, default: Any = REQUIRED, **limits: Any) -> Any:
    """A query parameter, under the name ``alias`` where it has another name than the parameter.

    ``limit: Annotated[int, Query(ge=1, le=100)] = 20``, or ``limit: int = Query(default=20, ge=1)``.
    limits: gt, ge, lt, le, multiple_of, min_length, max_length, pattern (a regular expression that must be found
    in the text); description and deprecated go to the OpenAPI document.
    """
    return Marker("query", alias, default, **limits)


def Header(alias: str | None = None, *, default: Any = REQUIRED, **limits: Any) -> Any:
    """A header field, by default of the parameter's name with ``-`` for ``_``; limits as for `Query`."""
    return Marker("header", alias, default, **limits)


def Cookie(alias: str | None = None, *, default: Any = REQUIRED, **limits: Any) -> Any:
    """A cookie; limits as for `Query`."""
    return Marker("cookie", alias, default, **limits)


def Form(alias: str | None = None, *, default: Any = REQUIRED, **limits: Any) -> Any:
    """A field or file of a form, or of a dataclass or model all fields of the form; limits as for `Query`."""
    return Marker("form", alias, default, **limits)


def Body(*, default: Any = REQUIRED, **limits: Any) -> Any:
    """The body: of ``bytes`` as it came, of ``str`` as text, of any other type as JSON; limits as for `Query`."""
    return Marker("body", None, default, **limits)


class Parameter:
    """One parameter of a handler.

    location: `path`, `query`, `header`, `cookie`, `form`, `body`, `request` or `context`. alias: its name there,
    empty for a body and for a form that is taken as a whole. default: `REQUIRED` where it has none.
    """

    __slots__ = (
        "alias",
        "annotation",
        "converter",
        "default",
        "keyword",
        "location",
        "marker",
        "name",
        "namespace",
        "read",
    )

    def __init__(self, name: str, location: str, alias: str, annotation: Any, default: Any, keyword: bool) -> None:
        self.name = name
        self.location = location
        self.alias = alias
        self.annotation = annotation
        self.default = default
        self.keyword = keyword
        self.marker: Marker | None = None
        self.converter = ""
        self.namespace: Mapping[str, Any] = {}
        self.read: Read = _unreadable

    @property
    def required(self) -> bool:
        """Whether a request without it is refused."""
        return self.default is REQUIRED

    def shape(self) -> Shape:
        """What its value looks like. Raises DefinitionError."""
        from pys_multi.shapes import constrained, shape_of

        shape = shape_of(self.annotation, self.namespace)
        # A marker in Annotated was read with the annotation; one that stands as the default was not.
        if self.marker is None or self.marker in getattr(self.annotation, "__metadata__", ()):
            return shape
        return constrained(shape, (self.marker,))

    def __repr__(self) -> str:
        return f"<Parameter {self.name} in {self.location}>"


class Binding:
    """What `bind` found out. call(request, path_params): the handler's result, a coroutine of an async handler.

    call raises InvalidInput with every problem of every parameter, and HTTPError 400 or 415 for a body that
    cannot be read at all.
    """

    __slots__ = ("call", "parameters")

    def __init__(self, parameters: list[Parameter], call: Callable[[Request, Mapping[str, Any]], Any]) -> None:
        self.parameters = parameters
        self.call = call


def bind(handler: Any, path_parameters: Mapping[str, str], method: str) -> Binding:
    """Decides for each parameter of a handler where it comes from.

    path_parameters: name → converter of the route's template. Raises DefinitionError, which says function,
    file and line, what is wrong and what is possible.
    """
    function, skip = _function_of(handler)
    parameters: list[Parameter] = []
    try:
        annotations = annotations_of(handler)
        for name, default, keyword in _signature(function, skip):
            annotation = annotations.get(name)
            try:
                parameter = _place(name, annotation, default, keyword, path_parameters, method)
                parameter.namespace = function.__globals__
                parameter.converter = path_parameters.get(name, "")
                parameter.read = _reader(parameter)
            except DefinitionError as error:
                raise DefinitionError(f"parameter {name!r}: {error}") from None
            parameters.append(parameter)
        _check_together(parameters, path_parameters)
    except DefinitionError as error:
        code = function.__code__
        raise DefinitionError(f"{code.co_filename}:{code.co_firstlineno}: {function.__name__}(): {error}") from None
    return Binding(parameters, _caller(handler, parameters))


def annotations_of(handler: Any) -> dict[str, Any]:
    """The annotations of a handler's parameters, strings evaluated. Raises DefinitionError."""
    function, _ = _function_of(handler)
    return {name: annotation for name, annotation in _evaluated(function).items() if name != "return"}


def return_annotation_of(handler: Any) -> Any:
    """What a handler says it returns; None where it says nothing, the type of None where it says None.

    Raises DefinitionError.
    """
    function, _ = _function_of(handler)
    annotation = _raw_annotations(function).get("return", REQUIRED)
    if annotation is REQUIRED:
        return None
    return type(None) if annotation in (None, "None") else _evaluate(annotation, function)


def _evaluated(function: Any) -> dict[str, Any]:
    return {
        name: _evaluate(annotation, function)
        for name, annotation in _raw_annotations(function).items()
        if name != "return"
    }


def _raw_annotations(function: Any) -> dict[str, Any]:
    try:
        return function.__annotations__  # type: ignore[no-any-return]
    except NameError as error:  # Python 3.14 evaluates them here
        raise DefinitionError(
            f"an annotation names {error.name!r}, which does not exist at run time: "
            f"import it outside of `if TYPE_CHECKING:`"
        ) from None


def _evaluate(annotation: Any, function: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    from pys_multi.shapes import evaluate

    return evaluate(annotation, function.__globals__)


def _function_of(handler: Any) -> tuple[Any, int]:
    """The Python function that says what the handler takes, and how many first parameters are bound already."""
    while hasattr(handler, "__wrapped__"):  # what functools.wraps leaves behind
        handler = handler.__wrapped__
    if hasattr(handler, "__code__") and not hasattr(handler, "__func__"):
        return handler, 0
    method = handler if hasattr(handler, "__func__") else handler.__call__  # of an object that is callable
    function = getattr(method, "__func__", method)
    if not hasattr(function, "__code__"):
        raise DefinitionError(f"{handler!r} is not a Python function: its parameters cannot be seen; wrap it in one")
    return function, 1


def _signature(function: Any, skip: int) -> list[tuple[str, Any, bool]]:
    """(name, default, keyword only) of each parameter."""
    code = function.__code__
    count = code.co_argcount
    if code.co_flags & 0x0C:  # CO_VARARGS, CO_VARKEYWORDS
        raise DefinitionError("*args and **kwargs cannot be filled from a request; name the parameters")
    defaults = function.__defaults__ or ()
    first = count - len(defaults)
    found = [
        (name, defaults[index - first] if index >= first else REQUIRED, False)
        for index, name in enumerate(code.co_varnames[:count])
    ]
    by_keyword = function.__kwdefaults__ or {}
    found += [
        (name, by_keyword.get(name, REQUIRED), True)
        for name in code.co_varnames[count : count + code.co_kwonlyargcount]
    ]
    return found[skip:]


def _place(
    name: str, annotation: Any, default: Any, keyword: bool, path_parameters: Mapping[str, str], method: str
) -> Parameter:
    """The parameter with its location."""
    marker = default if isinstance(default, Marker) else None
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, Marker):
            if marker is not None:
                raise DefinitionError("is marked twice")
            marker = item
    if (marker is default and marker is not None) or (marker is not None and default is REQUIRED):
        default = marker.default
    parameter = Parameter(name, "", name, annotation, default, keyword)
    parameter.marker = marker
    if name in path_parameters:
        if marker is not None:
            raise DefinitionError(f"is in the path and cannot be {marker!r} as well")
        parameter.location = "path"
        parameter.default = REQUIRED  # the route has it, or does not match
    elif isinstance(annotation, type) and issubclass(annotation, Request | Context):
        parameter.location = "request" if issubclass(annotation, Request) else "context"
    elif marker is not None:
        parameter.location = marker.location
        parameter.alias = marker.alias or (name.replace("_", "-") if marker.location == "header" else name)
        if annotation is None:
            parameter.annotation = str
    elif annotation is None:
        if name not in ("request", "context"):
            raise DefinitionError(f"has no annotation and is not in the path; {_POSSIBLE}")
        parameter.location = name
    else:
        parameter.location = _implied(parameter)
    if parameter.location == "body":
        parameter.alias = ""
        if method in _NO_BODY:
            raise DefinitionError(
                f"is a body, and a {method} request has none; use POST, PUT, PATCH or DELETE, or take its fields "
                f"from the query one by one"
            )
    return parameter


def _implied(parameter: Parameter) -> str:
    annotation = parameter.annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        if annotation in (dict, list):
            return "body"
        if annotation is bytes:
            raise DefinitionError("is bytes: mark it Body() for the body as it came, or Query() for base64 text")
        if _simple(annotation):
            return "query"
    shape = parameter.shape()
    location = _location_of(shape)
    if not location:
        hint = " It could come from anywhere: mark it." if shape.kind == "any" else ""
        raise DefinitionError(f"cannot be placed.{hint} Possible is: {_POSSIBLE}")
    return location


def _location_of(shape: Shape) -> str:
    """Query for single values and lists of them, form for files, body for everything with a structure."""
    if shape.kind in ("scalar", "choice"):
        return "query"
    if shape.kind == "any":
        return ""
    if shape.kind == "file":
        return "form"
    if shape.kind in ("array", "tuple", "union", "constrained"):
        places = {_location_of(item) for item in shape.items if item.type is not type(None)}
        nested = shape.kind in ("array", "tuple") and any(item.kind in ("array", "tuple") for item in shape.items)
        for place in ("form", "body", "query"):
            if place in places:
                return "body" if nested else place
        return "body" if shape.kind == "array" else ""
    return "body"


def _simple(annotation: Any) -> str:
    """The full name of a type that scalars.py decodes, empty for any other."""
    name = f"{getattr(annotation, '__module__', '')}.{getattr(annotation, '__qualname__', '')}"
    return name if name in NAMES else ""


def _check_together(parameters: list[Parameter], path_parameters: Mapping[str, str]) -> None:
    bodies = [parameter.name for parameter in parameters if parameter.location == "body"]
    forms = [parameter.name for parameter in parameters if parameter.location == "form"]
    if len(bodies) > 1:
        raise DefinitionError(f"parameters {', '.join(bodies)}: a request has one body; put them into one dataclass")
    if bodies and forms:
        raise DefinitionError(f"parameter {bodies[0]} is the body and {', '.join(forms)} a form: take one or the other")
    missing = path_parameters.keys() - {parameter.name for parameter in parameters}
    if missing and not any(parameter.location == "request" for parameter in parameters):
        raise DefinitionError(f"the path has {', '.join(sorted(missing))}, which the function does not take")


# --- readers: closures over one parameter ---------------------------------------------------------------


def _reader(parameter: Parameter) -> Read:
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
    decode, several = _text_decoder(parameter)
    return _field_reader(location, parameter, decode, several)


def _unreadable(request: Request, params: Mapping[str, Any]) -> NoReturn:  # noqa: ARG001
    raise DefinitionError("the parameter was not placed")


def _text_decoder(parameter: Parameter) -> tuple[Decode | None, bool]:
    """How its text is decoded, None where the text is the value; and whether it takes every value of its name."""
    if parameter.annotation is str and parameter.marker is None:
        return None, False
    name = _simple(parameter.annotation)
    if name and parameter.marker is None:
        return scalar(name, parameter.annotation, True), False
    from pys_multi.validation import compile_shape, is_list

    shape = parameter.shape()
    return compile_shape(shape, text=True), is_list(shape)


def _path_reader(parameter: Parameter) -> Read:
    name, converter, annotation = parameter.name, parameter.converter, parameter.annotation
    converted = _CONVERTED.get(converter)
    if annotation is None or (_simple(annotation) or None) == (converted or "builtins.str"):
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
    plain = _simple(bare.type) if bare.kind == "scalar" else ""
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
    alias, default = parameter.alias, parameter.default

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
            if default is REQUIRED:
                raise Invalid("is required")
            return default
        return value if decode is None else decode(value)

    return read


def _form_reader(parameter: Parameter) -> Read:
    from pys_multi.validation import compile_shape, is_list

    shape = parameter.shape()
    alias, default = parameter.alias, parameter.default
    decode, several = compile_shape(shape, text=True), is_list(shape)
    if _location_of(shape) == "body":
        parameter.alias = ""

        def read_all(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
            fields: dict[str, list[Any]] = {}
            if request.body:
                for name, value in request.form().items():
                    fields.setdefault(name, []).append(value)
            elif default is not REQUIRED:
                return default
            return decode(fields)

        return read_all

    def read(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
        values = request.form().get_all(alias) if request.body else []
        if not values:
            if default is REQUIRED:
                raise Invalid("is required")
            return default
        return decode(values if several else values[-1])

    return read


def _body_reader(parameter: Parameter) -> Read:
    default = parameter.default
    raw = parameter.annotation
    raw = raw.__origin__ if hasattr(raw, "__metadata__") else raw
    decode: Decode
    if raw is bytes or raw is str:
        read_raw: Read = (
            (lambda request, params: request.body) if raw is bytes else (lambda request, params: request.text)  # noqa: ARG005
        )
        return lambda request, params: read_raw(request, params) if request._body or default is REQUIRED else default
    if raw is dict and parameter.marker is None:
        decode = _json_object
    elif raw is list and parameter.marker is None:
        decode = _json_array
    else:
        decode = _shaped_body(parameter)

    def read(request: Request, params: Mapping[str, Any]) -> Any:  # noqa: ARG001
        body = request._body
        if not body:
            if default is REQUIRED:
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


# --- the call ---------------------------------------------------------------------------------------------


def _caller(handler: Any, parameters: list[Parameter]) -> Callable[[Request, Mapping[str, Any]], Any]:
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
