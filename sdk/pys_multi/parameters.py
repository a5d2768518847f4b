"""How a handler's parameters are filled from a request: decided once per handler, from its signature.

    bind(handler, {"id": "int"}, "POST") → Binding.call(request, path_params) → what the handler returns

Where a parameter comes from, first rule that fits: named in the path → path; annotated Request or Context (or
named so, without annotation) → that; marked Query(), Header(), Cookie(), Form() or Body() → there; a dataclass,
TypedDict, model, dict or list of such → the body, as JSON; str, int, … and lists of them → the query.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError
from pys_multi.http import Request
from pys_multi.messages import Context
from pys_multi.readers import caller_of, location_of, reader_of
from pys_multi.scalars import full_name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pys_multi.readers import Read
    from pys_multi.shape import Shape

_NO_BODY = ("GET", "HEAD", "OPTIONS", "TRACE")
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
    """A query parameter, under the name ``alias`` where it has another name than the parameter; of a dataclass or model
    all parameters of the query.

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
    empty for a body, and for a form or query that is taken as a whole. default: `REQUIRED` where it has none.
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
        self.read: Read

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
                parameter.read = reader_of(parameter)
            except DefinitionError as error:
                raise DefinitionError(f"parameter {name!r}: {error}") from None
            parameters.append(parameter)
        _check_together(parameters, path_parameters)
        if getattr(handler, "needs_request", False) and not any(p.location == "request" for p in parameters):
            raise DefinitionError("@idempotent reads its key from a header of the request; take `request: Request`")
    except DefinitionError as error:
        code = function.__code__
        raise DefinitionError(f"{code.co_filename}:{code.co_firstlineno}: {function.__name__}(): {error}") from None
    return Binding(parameters, caller_of(handler, parameters))


def signature_of(handler: Any) -> list[tuple[str, Any, bool]]:
    """(name, default or `REQUIRED`, keyword only) of each parameter a caller fills. Raises DefinitionError."""
    function, skip = _function_of(handler)
    return _signature(function, skip)


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
    skip = 0
    while True:
        if hasattr(handler, "__func__"):  # a bound method, which passes for what it wraps: so this comes first
            handler, skip = handler.__func__, skip + 1
        elif hasattr(handler, "__wrapped__"):  # what functools.wraps leaves behind
            handler = handler.__wrapped__
        elif hasattr(handler, "__code__"):
            return handler, skip
        elif hasattr(handler.__call__, "__func__"):  # an object that is callable
            handler = handler.__call__
        else:
            raise DefinitionError(
                f"{handler!r} is not a Python function: its parameters cannot be seen; wrap it in one"
            )


def _signature(function: Any, skip: int) -> list[tuple[str, Any, bool]]:
    """(name, default, keyword only) of each parameter."""
    code = function.__code__
    count = code.co_argcount
    if code.co_flags & 0x0C:  # CO_VARARGS, CO_VARKEYWORDS
        raise DefinitionError("*args and **kwargs cannot be filled; name the parameters")
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
        if full_name_of(annotation):
            return "query"
    shape = parameter.shape()
    location = location_of(shape)
    if not location:
        hint = " It could come from anywhere: mark it." if shape.kind == "any" else ""
        raise DefinitionError(f"cannot be placed.{hint} Possible is: {_POSSIBLE}")
    return location


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
