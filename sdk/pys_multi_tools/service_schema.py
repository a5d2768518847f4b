"""The JSON Schema of the neutral model; ``service.schema.json`` is its published copy.

python -m pys_multi_tools.service_schema     writes the copy anew
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pys_multi import model

PUBLISHED = Path(__file__).with_name("service.schema.json")

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def service_schema() -> dict[str, Any]:
    """Return the JSON Schema of what ``Service.to_json`` writes and ``Service.from_json`` reads."""
    definitions: dict[str, Any] = {}
    root = _object(model.Service, definitions)
    root["properties"] = {"schema_version": {"const": model.SCHEMA_VERSION}, **root["properties"]}
    root["required"] = ["schema_version", *root["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Service of pys-multi",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties = {field.name: _schema(hints[field.name], definitions) for field in fields(kind)}
    required = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    tag = getattr(kind, "kind", None)
    if tag is not None:
        properties, required = {"kind": {"const": tag}, **properties}, ["kind", *required]
    return {
        "description": " ".join((kind.__doc__ or "").split()),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind is Any:
        return {}
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind is type(None):
        return {"type": "null"}
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # it may refer to itself
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin in (types.UnionType, Union):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    raise TypeError(f"the model has a field of type {kind!r}, which this module does not know")


def text() -> str:
    """Return the schema as it is published."""
    return json.dumps(service_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PUBLISHED.write_text(text(), encoding="utf-8")
