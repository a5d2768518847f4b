"""Requests against Google's own discovery documents, as google-api-python-client ships them: which method a request is,
and whether its parameters and body are what the schema says. Unknown fields and parameters are errors, as at Google."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote

from googleapiclient import discovery_cache

Json = dict[str, Any]

APIS = (
    "cloudfunctions.v2",
    "run.v2",
    "pubsub.v1",
    "cloudscheduler.v1",
    "storage.v1",
    "iam.v1",
    "secretmanager.v1",
    "firestore.v1",
    "cloudresourcemanager.v3",
    "logging.v2",
    "monitoring.v3",
    "iamcredentials.v1",
    "serviceusage.v1",
)


class Refusal(Exception):
    """An answer that is an error. status: Google's name of it."""

    def __init__(self, code: int, status: str, message: str, details: list[Json] | None = None) -> None:
        self.code, self.status, self.message, self.details = code, status, message, details or []
        super().__init__(message)


def invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)


@dataclass(frozen=True)
class Method:
    """A method of an API. id: "pubsub.projects.topics.create"."""

    id: str
    api: str
    verb: str
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    parameters: Json
    common: Json
    request: str
    schemas: Json = field(repr=False)
    is_upload: bool = False
    has_verb: bool = False

    @property
    def is_mutating(self) -> bool:
        last = self.id.rpartition(".")[2]
        reads = ("get", "list", "access", "generate", "test", "query", "pull")
        return self.verb != "GET" and not last.startswith(reads)

    @property
    def permission(self) -> str:
        """The permission of IAM that it asks for."""
        *_, collection, verb = self.id.split(".")
        verb = {"patch": "update", "insert": "create", "addVersion": "add"}.get(verb, verb)
        if self.id.endswith("secrets.addVersion"):
            collection = "versions"
        api = {"cloudresourcemanager": "resourcemanager"}.get(self.api, self.api)
        return f"{api}.{collection}.{verb}"


@dataclass
class Request:
    """A request that its schema allows. parameters: of path and query; body: with enumerations by name."""

    method: Method
    parameters: dict[str, str]
    body: Json
    data: bytes
    headers: dict[str, str]
    caller: str = ""


@cache
def methods() -> tuple[Method, ...]:
    found = [method for api in APIS for method in _of(api)]
    # A name may have a colon in it as far as patterns go, so verbs after one come first.
    return tuple(sorted(found, key=lambda method: not method.has_verb))


def _of(name: str) -> Iterator[Method]:
    api, _, version = name.partition(".")
    document = json.loads(discovery_cache.get_static_doc(api, version))

    def walk(node: Json) -> Iterator[Json]:
        yield from node.get("methods", {}).values()
        for child in node.get("resources", {}).values():
            yield from walk(child)

    for method in walk(document):
        pattern, names = _pattern(f"/{document['servicePath']}{method['path']}", method.get("parameters", {}))
        shared: Json = {
            "api": api,
            "verb": method["httpMethod"],
            "names": names,
            "parameters": method.get("parameters", {}),
            "common": document.get("parameters", {}),
            "request": method.get("request", {}).get("$ref", ""),
            "schemas": document["schemas"],
            "has_verb": "}:" in method["path"],
        }
        yield Method(id=method["id"], pattern=pattern, **shared)
        if "mediaUpload" in method:
            path = method["mediaUpload"]["protocols"]["simple"]["path"]
            pattern, names = _pattern(path, method["parameters"])
            yield Method(id=method["id"], pattern=pattern, is_upload=True, **{**shared, "names": names})


def _pattern(path: str, parameters: Json) -> tuple[re.Pattern[str], tuple[str, ...]]:
    names: list[str] = []
    text = ""
    for literal, name in re.findall(r"([^{]*)(?:\{\+?([^}]+)\})?", path):
        text += re.escape(literal)
        if name:
            inner = parameters[name].get("pattern", "^[^/]+$").removeprefix("^").removesuffix("$")
            text += f"({inner})" if "{+" in path else "([^/]+)"
            names.append(name)
    return re.compile(text), tuple(names)


def find(verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
    """The method of a request, and the parameters in its path, still encoded."""
    for method in methods():
        if method.verb == verb and (found := method.pattern.fullmatch(path)) is not None:
            return method, dict(zip(method.names, map(unquote, found.groups()), strict=True))
    return None


def check_query(method: Method, query: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters of the query. Raises Refusal for one that the method does not have."""
    found = {}
    for name, value in query:
        known = method.parameters.get(name) or method.common.get(name)
        if known is None and name not in ("$alt", "uploadType"):
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
        if known is not None and "enum" in known and value not in known["enum"]:
            raise invalid(f"Invalid value at '{name}': {value}")
        found[name] = value
    for name, known in method.parameters.items():
        if known.get("required") and known.get("location") == "query" and name not in found:
            raise invalid(f"Required parameter: {name}")
    return found


def check_body(method: Method, body: Any, *, numbers: bool) -> Any:
    """The body as its schema has it. numbers: whether enumerations may be numbers. Raises Refusal."""
    return _checked(method.schemas, {"$ref": method.request}, body, "", numbers)


_INTEGER = re.compile(r"-?\d+")


def _checked(schemas: Json, schema: Json, value: Any, where: str, numbers: bool) -> Any:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            raise invalid(f"Invalid value at '{where}' (an object is wanted)")
        properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
        found = {}
        for name, inner in value.items():
            place = f"{where}.{name}".lstrip(".")
            known = properties.get(name) or extra
            if known is None:
                raise invalid(
                    f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field."
                )
            if known.get("readOnly"):
                continue  # Google takes no notice of them
            if inner is None:
                continue  # null is a field that is not there ("ProtoJSON Format")
            found[name] = _checked(schemas, known, inner, place, numbers)
        return found
    if kind == "array":
        if not isinstance(value, list):
            raise invalid(f"Invalid value at '{where}' (a list is wanted)")
        return [_checked(schemas, schema["items"], inner, f"{where}[{n}]", numbers) for n, inner in enumerate(value)]
    if kind == "string":
        if "enum" in schema and isinstance(value, int) and numbers:
            return schema["enum"][value]
        if schema.get("format") in ("int64", "uint64") and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        wrong = not isinstance(value, str) or ("enum" in schema and value not in schema["enum"])
        wrong = wrong or (schema.get("format") in ("int64", "uint64") and not _INTEGER.fullmatch(value))
        wrong = wrong or (schema.get("format") == "google-duration" and not re.fullmatch(r"-?\d+(\.\d+)?s", value))
    elif kind == "integer":
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        wrong = not isinstance(value, int) or isinstance(value, bool)
    elif kind == "boolean":
        wrong = not isinstance(value, bool)
    elif kind == "number":
        wrong = not isinstance(value, int | float) or isinstance(value, bool)
    else:
        wrong = False
    if wrong:
        raise invalid(f"Invalid value at '{where}' ({schema.get('format') or kind}): {value!r}")
    return value


def masked(method: Method, mask: str, schema: str) -> list[list[str]]:
    """The fields of an update mask, in camel case. Raises Refusal for one that is none."""
    if not mask:
        raise invalid("The update_mask must not be empty.")
    paths = []
    for path in mask.split(","):
        parts = [_camel(part) for part in path.split(".")]
        known = method.schemas[schema]
        for part in parts:
            inner = known.get("properties", {}).get(part)
            if inner is None:
                raise invalid(f"Invalid field in update_mask: {path}")
            known = method.schemas[inner["$ref"]] if "$ref" in inner else inner
        paths.append(parts)
    return paths


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def merged(live: Json, wanted: Json, paths: list[list[str]]) -> Json:
    """The resource with the masked fields of a request: what is masked and not there is cleared."""
    found: Json = json.loads(json.dumps(live))
    for path in paths:
        target, source = found, wanted
        for part in path[:-1]:
            target = target.setdefault(part, {})
            source = source.get(part) or {}
        if path[-1] in source:
            target[path[-1]] = source[path[-1]]
        else:
            target.pop(path[-1], None)
    return found
