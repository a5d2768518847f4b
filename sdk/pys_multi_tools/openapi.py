"""The OpenAPI 3.1 document of a service: from its routes, the signatures of their handlers and its authenticators.

    app ─ each route: bind() → parameters, body, responses; auth → security ─→ document, the same for the same app

The document says what the runtime does: both read handlers with `pys_multi.parameters.bind`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, get_args, get_origin

from pys_multi.app import App, Endpoint
from pys_multi.encoding import to_json_value
from pys_multi.errors import DefinitionError
from pys_multi.http import Response
from pys_multi.parameters import REQUIRED, Marker, Parameter, bind, return_annotation_of
from pys_multi.shape import Shape
from pys_multi.shapes import shape_of
from pys_multi_tools.schema import Schema, SchemaWriter

_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
_PREFIX = "#/components/schemas/"
_PROBLEM = "application/problem+json"
_CONVERTERS: dict[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "uuid": {"type": "string", "format": "uuid"},
}
_STREAMS = ("Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable")

#: RFC 9457, with what this service adds.
_PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 writes it.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "default": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "Finds the request in the log."},
    },
    "required": ["title", "status"],
}
_VALIDATION_SCHEMA: Schema = {
    "allOf": [{"$ref": f"{_PREFIX}Problem"}],
    "type": "object",
    "description": "Every field that does not fit.",
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "in": {"enum": ["body", "path", "query", "header", "cookie", "form"]},
                    "field": {
                        "type": "string",
                        "description": "Where in it, such as items.0.sku; empty for all of it.",
                    },
                    "message": {"type": "string"},
                },
                "required": ["in", "field", "message"],
            },
        }
    },
    "required": ["errors"],
}


def document(app: App, *, version: str = "1.0.0") -> dict[str, Any]:
    """The OpenAPI 3.1 document of an app. version: of the API, shown in the document.

    What OpenAPI cannot describe (a mounted application, a method of one's own) is listed under ``x-undescribed``.
    Raises DefinitionError where a handler cannot be bound.
    """
    return _Document(app).write(version)


class _Document:
    def __init__(self, app: App) -> None:
        self.app = app
        self.schemas = SchemaWriter(_PREFIX)
        self.schemas.definitions.update(Problem=_PROBLEM_SCHEMA, ValidationProblem=_VALIDATION_SCHEMA)
        self.security: dict[str, Schema] = {}
        self.undescribed: list[dict[str, str]] = []
        self.paths: dict[str, dict[str, Any]] = {}
        self.path_names: dict[str, tuple[str, list[str]]] = {}
        endpoints = [endpoint for function in app.functions.values() for endpoint in function.endpoints]
        self.operation_ids = _operation_ids(endpoints)

    def write(self, version: str) -> dict[str, Any]:
        for function in self.app.functions.values():
            for endpoint in function.endpoints:
                self._add(endpoint)
            for mount in function.mounts:
                reason = f"{mount.interface.upper()} application: it describes itself"
                self.undescribed.append({"path": mount.path or "/", "reason": reason})
        components: dict[str, Any] = {
            "schemas": self.schemas.definitions,
            "responses": {"Problem": _response("Any other error", _PROBLEM, {"$ref": f"{_PREFIX}Problem"})},
        }
        if self.security:
            components["securitySchemes"] = self.security
        result: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {"title": self.app.name, "version": version},
            "paths": self.paths,
            "components": components,
            "tags": [{"name": function.name} for function in self.app.functions.values() if function.endpoints],
        }
        if self.undescribed:
            result["x-undescribed"] = self.undescribed
        return result

    def _add(self, endpoint: Endpoint) -> None:
        """Puts the operation under its path; of two templates that OpenAPI cannot tell apart the first is described."""
        template = endpoint.template
        written = re.sub(r"\{(\w+):\w+\}", r"{\1}", template.text)
        erased = re.sub(r"\{\w+\}", "{}", written)
        path, names = self.path_names.setdefault(erased, (written, list(template.parameters)))
        item = self.paths.setdefault(path, {})
        method = endpoint.method.lower()
        if endpoint.method not in _METHODS or method in item:
            reason = "OpenAPI has no such method" if endpoint.method not in _METHODS else f"OpenAPI sees {path} in it"
            self.undescribed.append({"path": template.text, "method": endpoint.method, "reason": reason})
            if not item:
                del self.paths[path]
            return
        # `/a/{id}` and `/a/{name}` are one path to OpenAPI: its parameters have the names of the first.
        item[method] = self._operation(endpoint, dict(zip(template.parameters, names, strict=True)))

    def _operation(self, endpoint: Endpoint, path_names: Mapping[str, str]) -> dict[str, Any]:
        handler = endpoint.handler
        parameters = bind(handler, endpoint.template.parameters, endpoint.method).parameters
        summary, _, description = cleandoc(getattr(handler, "__doc__", None) or "").partition("\n")
        operation: dict[str, Any] = {
            "operationId": self.operation_ids[endpoint.id],
            "tags": [endpoint.function.name],
            "summary": summary.rstrip(".") or _name_of(handler).replace("_", " ").strip().capitalize(),
        }
        if description.strip():
            operation["description"] = description.strip()
        if hasattr(handler, "__deprecated__"):  # warnings.deprecated, PEP 702
            operation["deprecated"] = True
        described: list[dict[str, Any]] = []
        for parameter in parameters:
            if parameter.location == "query" and not parameter.alias:
                described += self._whole_query(parameter)
            elif parameter.location in _IN:
                described.append(self._parameter(parameter, path_names))
        taken = {parameter.name for parameter in parameters}
        described += [
            {"name": path_names[name], "in": "path", "required": True, "schema": _converter_schema(converter)}
            for name, converter in endpoint.template.parameters.items()
            if name not in taken
        ]
        if described:
            operation["parameters"] = described
        body = self._body(parameters)
        if body:
            operation["requestBody"] = body
        operation["responses"] = self._responses(endpoint, parameters)
        if endpoint.auth is not None:
            operation["security"] = [{self._scheme(endpoint.auth): []}]
        elif endpoint.public:
            operation["security"] = []
        else:
            operation["x-private"] = True
        return operation

    # --- what goes in

    def _parameter(self, parameter: Parameter, path_names: Mapping[str, str]) -> dict[str, Any]:
        if parameter.location == "path" and parameter.annotation is None:
            schema = _converter_schema(parameter.converter)
        else:
            schema = self._text_schema(parameter)
        name = path_names.get(parameter.alias, parameter.alias) if parameter.location == "path" else parameter.alias
        described: dict[str, Any] = {"name": name, "in": parameter.location}
        if parameter.required:
            described["required"] = True
        described["schema"] = schema
        description = schema.pop("description", "") if "$ref" not in schema else ""
        if parameter.marker is not None:
            description = parameter.marker.description or description
            if parameter.marker.deprecated:
                described["deprecated"] = True
        if description:
            described["description"] = description
        return described

    def _whole_query(self, parameter: Parameter) -> list[dict[str, Any]]:
        """The fields of a dataclass or model that is taken from the whole query, each a parameter of its own."""
        schema = self.schemas.write(_without_none(parameter.shape()))
        written = self.schemas.definitions.get(schema.get("$ref", "").removeprefix(_PREFIX), schema)
        if "properties" not in written:  # one of several models: OpenAPI has no more than "any of these objects"
            return [{"name": parameter.name, "in": "query", "style": "form", "explode": True, "schema": schema}]
        described: list[dict[str, Any]] = []
        for name, field in written["properties"].items():
            one: dict[str, Any] = {"name": name, "in": "query", "schema": field}
            if parameter.required and name in written.get("required", ()):
                one["required"] = True
            described.append(one)
        return described

    def _text_schema(self, parameter: Parameter) -> Schema:
        """Without null, which text cannot say: leaving the parameter out is how to say it."""
        schema = self.schemas.write(_without_none(parameter.shape()))
        if parameter.default is not REQUIRED and parameter.default is not None:
            with suppress(TypeError, ValueError):  # JSON has no form for it: still a default, not shown
                schema = {**schema, "default": to_json_value(parameter.default)}
        return schema

    def _body(self, parameters: list[Parameter]) -> dict[str, Any]:
        body = next((parameter for parameter in parameters if parameter.location == "body"), None)
        if body is not None:
            content = self._body_content(body)
            # As it came: then nothing at all is a value, too.
            described = {"content": content, "required": body.required and "application/json" in content}
            if body.marker is not None and body.marker.description:
                described["description"] = body.marker.description
            return described
        forms = [parameter for parameter in parameters if parameter.location == "form"]
        if not forms:
            return {}
        files = False
        properties: Schema = {}
        for parameter in forms:
            shape = parameter.shape()
            files = files or _has_file(shape)
            if not parameter.alias:  # the whole form
                schema = self.schemas.write(shape)
                break
            properties[parameter.alias] = self._text_schema(parameter)
        else:
            schema = {"type": "object", "properties": properties}
            required = [parameter.alias for parameter in forms if parameter.required]
            if required:
                schema["required"] = required
        kinds = ["multipart/form-data"] if files else ["application/x-www-form-urlencoded", "multipart/form-data"]
        needed = any(parameter.required for parameter in forms)
        return {"content": {kind: {"schema": schema} for kind in kinds}, "required": needed}

    def _body_content(self, body: Parameter) -> dict[str, Any]:
        annotation = body.annotation
        if any(isinstance(item, Marker) for item in getattr(annotation, "__metadata__", ())):
            annotation = annotation.__origin__
        if annotation is bytes:
            return {"application/octet-stream": {}}
        if annotation is str:
            return {"text/plain": {"schema": {"type": "string"}}}
        return {"application/json": {"schema": self.schemas.write(body.shape())}}

    # --- what comes out

    def _responses(self, endpoint: Endpoint, parameters: list[Parameter]) -> dict[str, Any]:
        responses = self._success(endpoint)
        if endpoint.auth is not None:
            responses["401"] = _response("Nobody is signed in", _PROBLEM, {"$ref": f"{_PREFIX}Problem"})
        if not endpoint.public:
            responses["403"] = _response("Not allowed", _PROBLEM, {"$ref": f"{_PREFIX}Problem"})
        if any(parameter.location in (*_IN, "body", "form") for parameter in parameters):
            responses["422"] = _response("The input does not fit", _PROBLEM, {"$ref": f"{_PREFIX}ValidationProblem"})
        responses["default"] = {"$ref": "#/components/responses/Problem"}
        return responses

    def _success(self, endpoint: Endpoint) -> dict[str, Any]:
        annotation = return_annotation_of(endpoint.handler)
        status = str(endpoint.status or 200)
        if annotation is None:
            return {status: {"description": _phrase(status)}}
        members = list(_members(annotation))
        nothing = type(None) in members
        contents: dict[str, Any] = {}
        shapes: list[Shape] = []
        anything = False
        for member in members:
            if member is str:
                contents["text/plain"] = {"schema": {"type": "string"}}
            elif member is bytes:
                contents["application/octet-stream"] = {}
            elif isinstance(member, type) and not get_args(member) and issubclass(member, Response):
                anything = True
            elif getattr(get_origin(member) or member, "__name__", "") in _STREAMS:
                contents["application/octet-stream"] = {}
            elif member is not type(None):
                shapes.append(_returned_shape(member, endpoint.handler))
        if shapes:
            shape = shapes[0] if len(shapes) == 1 else Shape("union", items=shapes)
            contents["application/json"] = {"schema": self.schemas.write(shape, output=True)}
        responses: dict[str, Any] = {}
        if contents or anything:
            responses[status] = {"description": _phrase(status)}
            if contents and not anything:
                responses[status]["content"] = contents
        if nothing:
            empty = str(endpoint.status or 204)
            responses.setdefault(empty, {"description": _phrase(empty)})
        return dict(sorted(responses.items()))

    # --- who may call

    def _scheme(self, auth: Any) -> str:
        describe: Callable[[], Mapping[str, Any]] | None = getattr(auth, "describe", None)
        description = describe() if describe is not None else {}
        scheme = _security_scheme(description)
        wanted = str(description.get("kind") or type(auth).__name__)
        name, number = wanted, 1
        while self.security.get(name, scheme) != scheme:
            number += 1
            name = f"{wanted}{number}"
        self.security[name] = scheme
        return name


_IN = ("path", "query", "header", "cookie")


def _security_scheme(description: Mapping[str, Any]) -> Schema:
    kind = description.get("kind")
    if kind == "jwt":
        scheme: Schema = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        if description.get("issuer"):
            scheme["description"] = f"A token of {description['issuer']}."
        return scheme
    header = str(description.get("header") or "Authorization")
    scheme = {"type": "apiKey", "in": "header", "name": header}
    if kind == "webhook":
        scheme["description"] = "The HMAC signature of the request by whoever sends the event."
    elif kind != "api_key":
        scheme["description"] = "As the service's own authenticator asks for it."
    return scheme


def _operation_ids(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """Route id → the handler's name, with function, method and number in front or behind where it is not alone."""
    endpoints = list(endpoints)
    names = Counter(_name_of(endpoint.handler) for endpoint in endpoints)
    result: dict[str, str] = {}
    taken: set[str] = set()
    for endpoint in endpoints:
        name = _name_of(endpoint.handler)
        wanted = name if names[name] == 1 else f"{endpoint.function.name}_{name}_{endpoint.method.lower()}"
        unique, number = wanted, 1
        while unique in taken:
            number += 1
            unique = f"{wanted}_{number}"
        taken.add(unique)
        result[endpoint.id] = unique
    return result


def _name_of(handler: Any) -> str:
    name = getattr(handler, "__name__", None) or type(handler).__name__
    return name if name != "<lambda>" else "anonymous"


def _converter_schema(converter: str) -> Schema:
    return dict(_CONVERTERS.get(converter, {"type": "string"}))


def _without_none(shape: Shape) -> Shape:
    if shape.kind == "union":
        items = [item for item in shape.items if item.type is not type(None)]
        return items[0] if len(items) == 1 else Shape("union", items=items)
    if shape.kind == "constrained":
        stripped = Shape("constrained", shape.type, items=[_without_none(shape.items[0])])
        stripped.constraints, stripped.description = shape.constraints, shape.description
        return stripped
    return shape


def _has_file(shape: Shape) -> bool:
    if shape.kind == "object":
        return any(_has_file(field.shape) for field in shape.fields)
    return shape.kind == "file" or (
        shape.kind in ("union", "constrained", "array") and any(map(_has_file, shape.items))
    )


def _members(annotation: Any) -> Iterable[Any]:
    """The types a handler may return: the members of a union, and of (body, status, headers) the body."""
    if hasattr(annotation, "__metadata__"):
        yield from _members(annotation.__origin__)
    elif type(annotation) is type(int | str) or str(get_origin(annotation)) == "typing.Union":
        for member in get_args(annotation):
            yield from _members(member)
    elif get_origin(annotation) is tuple and get_args(annotation):
        yield from _members(get_args(annotation)[0])
    else:
        yield annotation


def _returned_shape(annotation: Any, handler: Any) -> Shape:
    try:
        return shape_of(annotation, getattr(handler, "__globals__", {}))
    except DefinitionError:
        return Shape("any")  # it can be sent though it cannot be read: a type with its own way to JSON


def _response(description: str, media_type: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _phrase(status: str) -> str:
    try:
        return HTTPStatus(int(status)).phrase
    except ValueError:
        return "Success"
